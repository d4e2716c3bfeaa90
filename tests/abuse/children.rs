//! Children that are killed, that never read, and that talk without end.

use std::path::PathBuf;

use serde_json::json;
use strait_tests::gateway::{scratch_folder, wait_for};
use strait_tests::{Client, Gateway, Setup};

use crate::common::{MIB, at_most, call, config_of, figure, text, wait_for_quiet};

/// Answers in 2026-07-28; `case` says what a call does instead.
const CHILD: &str = r#"
import json, os, sys, time
def say(id, result): print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    id, method = asked.get("id"), asked.get("method")
    page = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    if method == "server/discover": say(id, page | {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
    elif method == "tools/list": say(id, page | {"tools": [{"name": "echo", "description": "d", "inputSchema": {"type": "object"}}]})
    elif method == "prompts/list": say(id, page | {"prompts": []})
    elif method == "resources/list": say(id, page | {"resources": []})
    elif method == "resources/templates/list": say(id, page | {"resourceTemplates": []})
    elif method == "tools/call":
        case = asked["params"]["arguments"].get("case")
        if case == "never": continue
        if case == "deaf": time.sleep(600)
        if case == "long line": sys.stdout.write("x" * (20 << 20)); sys.stdout.flush()
        say(id, {"resultType": "complete", "content": [{"type": "text", "text": str(os.getpid())}]})
"#;

fn gateway(timeout: &str) -> (Gateway, PathBuf) {
    let script = scratch_folder().join("child.py");
    std::fs::write(&script, CHILD).expect("write");
    let stdio = format!("stdio: {{ command: python3, args: [\"{}\"] }}", script.display());
    let config = config_of(&format!("kid: {{ {stdio}, era: modern, timeout: {{ {timeout} }} }}"), "");
    let gateway = Gateway::start(Setup::new(config));
    assert_eq!(gateway.learning_fault(0), None);
    (gateway, script)
}

fn pid(gateway: &Gateway) -> Option<i32> {
    let answer = Client::connect(gateway.address).roundtrip(call(1, json!({})));
    answer.json()["result"]["content"][0]["text"].as_str()?.parse().ok()
}

fn assert_comes_back(gateway: &Gateway) {
    wait_for("the child to be back", || pid(gateway).is_some());
}

#[test]
fn killing_a_child_in_the_middle_of_calls_fails_only_these() {
    const CALLS: usize = 20;
    let (gateway, _script) = gateway("call: 60s");
    for round in 0..3 {
        let child = pid(&gateway).expect("it lives");
        let mut clients: Vec<Client> = (0..CALLS).map(|_| Client::connect(gateway.address)).collect();
        for (id, client) in clients.iter_mut().enumerate() {
            client.send(call(id as i64, json!({"case": "never"})));
        }
        wait_for("all calls to be under way", || {
            figure(&gateway, |worker| worker.inflight.get()) >= CALLS as u64
        });
        let child = rustix::process::Pid::from_raw(child).expect("a process");
        rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("kill -9");
        for client in &mut clients {
            let answer = client.answer().expect("an answer");
            assert!(answer.error().1.starts_with("upstream `kid`: its process ended ("), "{}", text(&answer));
        }
        assert_comes_back(&gateway);
        drop(clients);
        wait_for_quiet(&gateway);
        let left = figure(&gateway, |worker| worker.inflight.get());
        at_most("kill -9 of a child with 20 calls", &format!("calls left, round {round}"), left, 0);
    }
}

#[test]
fn a_line_without_end_ends_its_child() {
    let (gateway, _script) = gateway("call: 60s");
    let mut client = Client::connect(gateway.address);
    let answer = client.roundtrip(call(1, json!({"case": "long line"})));
    assert!(answer.error().1.starts_with("upstream `kid`: its process ended ("), "{}", text(&answer));
    wait_for("a notice", || {
        gateway.notices().iter().any(|notice| notice.contains("a line over 16777216 bytes; ending the child"))
    });
    assert_comes_back(&gateway);
}

/// Its pipe is full, so nothing more can be written; calls end by their deadline and leave no bytes behind.
#[test]
fn a_child_that_never_reads_holds_up_nobody_and_gathers_nothing() {
    const CALLS: i64 = 30;
    let (gateway, _script) = gateway("first_byte: 1s, call: 2s");
    std::thread::scope(|scope| {
        for id in 0..CALLS {
            let address = gateway.address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let arguments = json!({"case": "deaf", "pad": "x".repeat(1_000_000)});
                let answer = client.roundtrip(call(id, arguments));
                let (_, message) = answer.error();
                assert_eq!(message, "upstream `kid`: no first byte of an answer within 1000 ms");
            });
        }
    });
    // The one line that is being written stays.
    let held = || figure(&gateway, |worker| worker.held_bytes.get());
    wait_for("the lines to go", || held() < 4 * MIB);
    at_most("30 calls of 1 MB to a child that never reads", "bytes held afterwards", held(), 4 * MIB);
}
