//! A worker that stands still while a configuration is applied: named, never waited for without an end, and up to date as soon
//! as it runs again.

use std::process::{Child, Command, Stdio};

use serde_json::json;
use strait_tests::gateway::wait_for;

use crate::gateway::Site;
use crate::process::*;

#[test]
fn an_apply_names_the_worker_that_has_not_taken_it_up() {
    let site = Site::new();
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let held = Held::worker(&process, 1);
    let ran = site.run(&["apply", "fewer", "--json"]);
    assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
    let facts: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((&facts["workers"], &facts["behind"]), (&json!(2), &json!([1])), "{facts}");
    assert!(ran.err.contains("not taken up in time by worker 1"), "{}", ran.err);
    assert_eq!(process.reload()["behind"], json!([1]), "{}", process.reload());
    drop(held);
    wait_for("worker 1 to follow", || process.reload()["adopting"].is_null());
    assert_eq!(process.generation(), site.fewer);
    // Whichever worker a connection reaches.
    for _ in 0..8 {
        assert_eq!(process.tools(""), ["echo", "slow"]);
    }
    assert_eq!(process.stop(), Some(0));
}

/// A thread that gets nowhere for as long as this stands: a tracer lets none of its waits for the kernel begin.
struct Held(Child);

impl Held {
    fn worker(process: &Process, number: usize) -> Held {
        let tasks = format!("/proc/{}/task", process.pid());
        let name = format!("strait-worker-{number}");
        let threads = std::fs::read_dir(&tasks).expect("its threads").map(|thread| thread.unwrap().path());
        let is_it = |thread: &std::path::PathBuf| {
            std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let threads: Vec<_> = threads.filter(is_it).collect();
        assert_eq!(threads.len(), 1, "{threads:?}");
        let thread = threads[0].file_name().and_then(|id| id.to_str()).expect("a number").to_owned();
        let waits = "io_uring_enter,epoll_wait,epoll_pwait";
        let tracer = Command::new("strace")
            .args(["-p", &thread, "-e", &format!("trace={waits}")])
            .args(["-e", &format!("inject={waits}:delay_enter=60s")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace; install it with `apt-get install strace`");
        // Stopped by its tracer.
        wait_for("the thread to be held", || {
            let status = std::fs::read_to_string(format!("{tasks}/{thread}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && line.contains("t (tracing stop)"))
        });
        Held(tracer)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}
