//! Open files: every connection is one, towards clients and towards upstreams.

use strait_engine::io::files::{Files, wanted};

use super::Line;

/// Below this a gateway is of no use: two workers with their rings, listeners and children.
const FILES_MIN: u64 = 256;

pub fn judge(files: &Files, workers: usize) -> Vec<Line> {
    let told = |limit: Option<u64>| limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string());
    let found = match (files.soft_before, files.soft) {
        (before, now) if before == now => told(now),
        (before, now) => format!("{} (the shell said {}, raised to the hard limit)", told(now), told(before)),
    };
    let need = wanted(workers);
    let fix = format!(
        "raise the hard limit: LimitNOFILE={need} in the unit, `--ulimit nofile={need}` of a container"
    );
    vec![if files.suffice_for(workers) {
        Line::ok("open files", found)
    } else if files.soft.is_some_and(|soft| soft < FILES_MIN) {
        Line::fail("open files", format!("{found}: too few to serve anybody"), fix)
    } else {
        let found =
            format!("{found}; the caps of {workers} workers need {need}, fewer connections are let in");
        Line::warn("open files", found, fix)
    }]
}
