//! Every verb at a gateway that is under load: none of them costs anybody a call or a session.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;

use crate::gateway::{Ran, Site};
use crate::process::*;

const RATE: u32 = 150;
/// Longer than the verbs take, so that each of them meets the load; the load's own report says that all of it was sent.
const SECONDS: u32 = 25;

#[test]
fn every_verb_leaves_everybody_served() {
    let site = Site::new();
    site.folder.write("bad.yaml", open_to_all(&site.upstream.url()).replace("up.*", "upp.*"));
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let loads = ["modern", "legacy"].map(|era| load(&process, era));
    let session = initialize(&mut process.client(), "", "2025-11-25");
    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = process.client();
            while !done.load(Ordering::SeqCst) {
                let params = json!({"name": "echo", "arguments": {}});
                let answer = client.roundtrip(legacy("", &session, 3, "tools/call", params));
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(answer.status == 200 && body.contains("\"result\""), "{}: {body}", answer.status);
                calls.fetch_add(1, Ordering::SeqCst);
            }
        });
        // However the verbs end, the load does.
        let _over = Raise(&done);
        let between = |code: i32, arguments: &[&str]| -> Ran {
            let ran = site.run(arguments);
            assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
            let before = calls.load(Ordering::SeqCst);
            wait_for("calls after a verb", || calls.load(Ordering::SeqCst) > before + 5);
            ran
        };
        between(0, &["plan", "fewer.yaml", "-o", "saved"]);
        between(0, &["apply", "saved"]);
        between(6, &["apply", "saved"]);
        between(0, &["rollback"]);
        between(0, &["apply", "fewer.yaml", "--shadow"]);
        between(0, &["status"]);
        between(0, &["rollback"]);
        between(0, &["apply", "fewer.yaml", "--canary", "50%", "--bake", "1h"]);
        between(0, &["status", "--json"]);
        between(0, &["rollback"]);
        between(1, &["apply", "bad.yaml"]);
        between(0, &["apply", "fewer.yaml", "-m", "the last one"]);
        between(0, &["history"]);
        between(0, &["top", "--once", "--interval", "200ms"]);
    });
    assert_eq!(process.generation(), site.fewer);
    for load in loads {
        everything_succeeded(load);
    }
    assert!(calls.load(Ordering::SeqCst) > 70);
    assert_eq!(process.stop(), Some(0));
}

/// Raised however its holder ends.
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn load(process: &Process, era: &str) -> Child {
    Command::new(binary())
        .args(["load", &format!("http://{}/mcp", process.address), "--era", era, "--tool", "echo", "--json"])
        .args(["--connections", "8", "--rate", &RATE.to_string()])
        .args(["--duration", &format!("{SECONDS}s"), "--timeout", "20s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start strait load")
}

fn everything_succeeded(load: Child) {
    let out = load.wait_with_output().expect("the load ends");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let found = ["failed", "not_sent", "succeeded"].map(|key| report[key].as_u64());
    assert_eq!(found, [Some(0), Some(0), Some(u64::from(RATE * SECONDS))], "{report:#}");
}
