//! A gateway with an environment of its own, and upstreams that know who may call them.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use strait_tests::Scripted;
use strait_tests::scripted::{Arrived, Step, echoed, http, json_reply, modern, tools};

use crate::process::{Folder, Process, binary};

/// Starts `serve FILE` with these variables beside the test's own, and waits until it is open.
pub fn serve(folder: &Folder, file: &str, env: &[(&str, &str)]) -> Process {
    let log = folder.at("log");
    let out = File::create(&log).expect("make the log");
    let child = Command::new(binary())
        .args(["serve", file, "--state", "state", "--workers", "2"])
        .envs(env.iter().copied())
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("clone"))
        .stderr(out)
        .spawn()
        .expect("start strait");
    Process::opened(child, log)
}

/// Runs `strait vault …`, with this on stdin.
pub fn vault(folder: &Folder, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(binary())
        .args(["vault", "--state", "state", "--json"])
        .args(arguments)
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run strait vault");
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    child.wait_with_output().expect("its end")
}

pub fn set(folder: &Folder, name: &str, value: &str) {
    let out = vault(folder, &["set", name], &format!("{value}\n"));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The lines of `Authorization` that an upstream takes; any, when there is none.
#[derive(Clone, Default)]
pub struct Accepted(Arc<Mutex<Vec<String>>>);

impl Accepted {
    pub fn only(&self, line: &str) {
        *self.0.lock().unwrap() = vec![line.to_owned()];
    }

    fn takes(&self, request: &Arrived) -> bool {
        let all = self.0.lock().unwrap();
        all.is_empty()
            || request.header("authorization").is_some_and(|line| all.iter().any(|one| one == line))
    }
}

/// A server with the usual tools that answers 401 to whom it does not know.
pub fn guarded(accepted: &Accepted) -> Scripted {
    let accepted = accepted.clone();
    let script = modern(tools(), |request| json_reply(&echoed(request)));
    Scripted::start(move |request| match accepted.takes(request) {
        true => script(request),
        false => {
            vec![Step::Send(http(401, "text/plain", b"who are you?"))]
        }
    })
}
