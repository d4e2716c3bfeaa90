//! What only the real process can show: a wall clock that jumps under it, an overload made with the tools its users
//! have. Bounds are rows of docs/ABUSE.md.
//!
//! Runs with the package of the binary, which it starts; the process and its folder are those of `tests/reload`.

mod clock;
mod overload;
mod status;

#[path = "../reload/process.rs"]
#[allow(dead_code, reason = "all of it is used by tests/reload")]
mod process;

use std::ffi::OsStr;
use std::fs::File;
use std::process::{Command, Stdio};

use process::{Folder, Process, binary};

/// A gateway with the folder's `strait.yaml`, so many workers, and these variables.
fn serve(folder: &Folder, workers: usize, variables: &[(&str, &OsStr)]) -> Process {
    let log = folder.at("log");
    let file = File::create(&log).expect("make the log");
    let child = Command::new(binary())
        .args(["serve", "strait.yaml", "--state", "state", "--workers", &workers.to_string()])
        .envs(variables.iter().copied())
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("clone"))
        .stderr(file)
        .spawn()
        .expect("start strait");
    Process::opened(child, log)
}
