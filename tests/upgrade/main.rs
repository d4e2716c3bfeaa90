//! One process of a gateway takes another's place while agents use it: no connection is refused or reset, no call
//! fails, sessions live on. Real processes, with the load of `strait load` and clients of our own.
//!
//! Runs with the package of the binary, which it starts; the process and its folder are those of `tests/reload`.

mod failures;
mod manager;
mod rollout;
mod under_load;

#[path = "../reload/process.rs"]
#[allow(dead_code, reason = "all of it is used by tests/reload")]
mod process;

use std::fs;

use process::{Folder, Process, signal};
use strait_tests::gateway::wait_for;

/// A process that was not started by the test, but by another gateway: ended with the test all the same.
pub struct Successor(pub u32);

impl Drop for Successor {
    fn drop(&mut self) {
        if is_running(self.0) {
            signal(self.0, "KILL");
        }
    }
}

/// Whether it runs: one that has ended and was not waited for does not.
pub fn is_running(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Asks the process `pid` of this gateway for a successor, and waits until that one serves. All of them write one log.
pub fn upgrade(process: &Process, pid: u32) -> Successor {
    let before = successors(process).len();
    let refused = || process.log().matches("no successor ").count();
    let refused_before = refused();
    signal(pid, "USR2");
    wait_for("a successor", || successors(process).len() > before || refused() > refused_before);
    let all = successors(process);
    assert!(all.len() > before, "{}", process.log());
    Successor(all[before])
}

fn successors(process: &Process) -> Vec<u32> {
    let log = process.log();
    let lines = log.lines().filter_map(|line| line.split_once(" serves from here on"));
    lines.map(|(start, _)| start.rsplit_once(' ').expect("a number").1.parse().expect("a number")).collect()
}

/// The folder's gateway on this driver.
pub fn serve_on(folder: &Folder, driver: &str) -> Process {
    Process::start(folder, &["serve", "strait.yaml", "--driver", driver])
}
