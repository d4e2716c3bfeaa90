//! What a stdio child can do to those who wait for it, beside what `tests/children` shows: begin again
//! and never answer, and have more calls than it may.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use strait_tests::gateway::{scratch_folder, wait_for};
use strait_tests::{Client, Gateway, Setup};

use crate::common::{assert_lives, call, config, reason, text};

/// A modern server that ends at the call `exit`; the next one of its kind answers nothing. Calls with
/// `hold` are answered when there are `count` of them, or never.
const SCRIPT: &str = r#"
import json, os, sys
folder = sys.argv[1]
silent = os.path.exists(folder + "/ended")
held = 0
for line in sys.stdin:
    message = json.loads(line)
    if silent or "id" not in message:
        continue
    say = lambda more: print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **more}), flush=True)
    method = message["method"]
    if method == "server/discover":
        say({"result": {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}})
    elif method == "tools/list":
        say({"result": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}})
    elif method != "tools/call":
        say({"error": {"code": -32601, "message": "Method not found"}})
    elif "exit" in message["params"]["arguments"]:
        open(folder + "/ended", "w").close()
        sys.exit(3)
    elif "hold" in message["params"]["arguments"]:
        held += 1
        open(folder + "/held", "w").write(str(held))
    else:
        say({"result": {"content": []}})
"#;

fn start(force_wrong_worker: bool, timeout: &str) -> (Gateway, PathBuf) {
    let folder = scratch_folder();
    std::fs::write(folder.join("child.py"), SCRIPT).expect("write the script");
    let script = folder.join("child.py");
    let upstream = format!(
        "  up: {{ stdio: {{ command: python3, args: [\"{}\", \"{}\"] }}, timeout: {{ {timeout} }} }}",
        script.display(),
        folder.display()
    );
    let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config(&upstream)) });
    assert_eq!(gateway.learning_fault(0), None);
    (gateway, folder)
}

/// Clients and gateway share this process, and 1024 files are a usual limit.
fn allow_open_files(count: u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let soft: u64 = line.split_whitespace().nth(3).and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    if soft < count {
        let pid = std::process::id().to_string();
        let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={count}:")]).status();
        assert!(
            raised.is_ok_and(|status| status.success()),
            "cannot raise the limit of open files over {soft}"
        );
    }
}

fn held(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("held")).ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[test]
fn a_call_does_not_wait_for_a_restart_longer_than_for_an_answer() {
    for force_wrong_worker in [false, true] {
        let (gateway, folder) = start(force_wrong_worker, "first_byte: 2s, call: 3s");
        let mut client = Client::connect(gateway.address);
        assert!(client.roundtrip(call(1, json!({}))).json()["result"].is_object());
        let answer = client.roundtrip(call(2, json!({"exit": 1})));
        assert_eq!(reason(&answer), "upstream_exited");
        // It comes back, and says nothing: callers are told in their own time, not in that of a start.
        wait_for("a call that met the silent child", || {
            let answer = client.roundtrip(call(7, json!({})));
            assert_eq!(answer.json()["id"], 7);
            assert!(answer.error().1.starts_with("upstream `up`: "), "{}", text(&answer));
            reason(&answer) == "upstream_call_timeout"
        });
        assert_lives(&gateway);
        drop(client);
        drop(gateway);
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[test]
fn more_calls_than_a_child_may_have_are_refused_as_busy() {
    const LIMIT: usize = 1_024;
    allow_open_files(8_192);
    let (gateway, folder) = start(false, "first_byte: 60s, call: 60s");
    let mut clients: Vec<Client> = (0..LIMIT)
        .map(|id| {
            let mut client = Client::connect(gateway.address);
            client.send(call(id as i64, json!({"hold": 1})));
            client
        })
        .collect();
    wait_for("the child to have its fill", || held(&folder) == LIMIT);
    for _ in 0..10 {
        let answer = Client::connect(gateway.address).roundtrip(call(7, json!({})));
        assert_eq!((answer.status, reason(&answer).as_str()), (200, "upstream_busy"), "{}", text(&answer));
        assert_eq!(answer.error().1, "upstream `up`: busy: 1024 calls are waiting for it already");
        assert_eq!(answer.json()["error"]["data"]["retryable"], true);
    }
    // Clients that go away make room.
    clients.truncate(LIMIT / 2);
    wait_for("room", || {
        Client::connect(gateway.address).roundtrip(call(7, json!({}))).json()["result"].is_object()
    });
    assert_lives(&gateway);
    drop(clients);
    drop(gateway);
    let _ = std::fs::remove_dir_all(folder);
}
