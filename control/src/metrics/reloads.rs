//! What became of attempts to serve another configuration.

use super::exposition::{Exposition, Kind};

/// Attempts of this process, by how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Another generation is in use, or the same with other keys.
    pub adopted: u64,
    /// What was read is what was in use.
    pub unchanged: u64,
    /// It could not be read, compiled or opened; the last good one serves on.
    pub refused: u64,
    /// What is in use is what the files say, as far as somebody looked.
    pub last_good: bool,
}

impl Default for Reloads {
    fn default() -> Reloads {
        Reloads { adopted: 0, unchanged: 0, refused: 0, last_good: true }
    }
}

impl Reloads {
    pub(super) fn write(&self, out: &mut Exposition) {
        let help = "Attempts to serve another configuration, by how they ended.";
        let mut family = out.family(Kind::Counter, "strait_config_reloads_total", help);
        for (result, count) in
            [("adopted", self.adopted), ("unchanged", self.unchanged), ("refused", self.refused)]
        {
            family.series(&[("result", result)], count);
        }
        let help = "Whether what is in use is what the files said when they were last read.";
        out.one(Kind::Gauge, "strait_config_last_reload_successful", help, self.last_good);
    }
}
