//! What this machine offers a gateway, and what to do about what it does not: `strait doctor`.
//!
//! One file per check. Each has its *facts*, a plain value that `look` gathers by really trying, and a `judge` that
//! turns facts into lines and touches nothing: the judgement can be tested with the facts of machines we do not have.
//! A line is `ok`, a warning (it works, less well than it could) or a failure (it will not work), with the fix.

mod certificates;
mod clock;
mod cores;
mod files;
mod memory;
mod ports;
mod rings;
mod sockets;
mod state;
mod stores;
mod upstreams;

use std::path::Path;

use serde_json::{Value, json};
use strait_table::Snapshot;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub level: Level,
    pub about: &'static str,
    pub found: String,
    pub fix: Option<String>,
}

impl Line {
    fn ok(about: &'static str, found: impl Into<String>) -> Line {
        Line { level: Level::Ok, about, found: found.into(), fix: None }
    }

    fn warn(about: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Line {
        Line { level: Level::Warn, about, found: found.into(), fix: Some(fix.into()) }
    }

    fn fail(about: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Line {
        Line { level: Level::Fail, about, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Of io_uring alone, for whoever tells where something was measured.
pub fn rings() -> Vec<Line> {
    rings::judge(&rings::look())
}

/// Looks at the machine; with a table also at what that table needs.
pub fn examine(workers: Option<usize>, state: &Path, table: Option<(&Snapshot, &Path)>) -> Report {
    // As `serve` does before anything else.
    let files = strait_engine::io::files::raise();
    let cores = cores::look(workers);
    let mut lines = rings::judge(&rings::look());
    lines.extend(files::judge(&files, cores.workers));
    lines.extend(memory::judge(&memory::look(), cores.workers, table.map(|(snapshot, _)| snapshot)));
    lines.extend(cores::judge(&cores));
    lines.extend(clock::judge(&clock::look()));
    lines.extend(sockets::judge(&sockets::look()));
    lines.extend(state::judge(&state::look(state)));
    if let Some((snapshot, base)) = table {
        lines.extend(ports::judge(&ports::look(snapshot)));
        lines.extend(certificates::judge(&certificates::look(snapshot, base)));
        lines.extend(upstreams::judge(&upstreams::look(snapshot, base)));
        lines.extend(stores::judge(&stores::look(snapshot)));
    }
    Report { lines }
}

/// All that was found.
pub struct Report {
    pub lines: Vec<Line>,
}

impl Report {
    pub fn failures(&self) -> usize {
        self.count(Level::Fail)
    }

    fn count(&self, level: Level) -> usize {
        self.lines.iter().filter(|line| line.level == level).count()
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&format!("{:<4}  {:<14}  {}\n", line.level.word(), line.about, line.found));
            if let Some(fix) = &line.fix {
                text.push_str(&format!("{:20}  -> {fix}\n", ""));
            }
        }
        let (ok, warn, fail) = (self.count(Level::Ok), self.count(Level::Warn), self.failures());
        text.push_str(&format!("{ok} ok, {warn} to improve, {fail} to mend\n"));
        text
    }

    pub fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "level": line.level.word(), "about": line.about, "found": line.found, "fix": line.fix,
            })
        };
        json!({ "ok": self.failures() == 0, "lines": self.lines.iter().map(line).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests;
