//! Event streams that a client opens with GET: what belongs to no call, and what a broken connection missed.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_tests::client::{initialize, initialize_as, legacy, post};
use strait_tests::gateway::{scratch_folder, wait_for};
use strait_tests::{Client, Gateway, Setup};

use crate::common::{KEY, assert_lives, config, text};

/// A legacy server, one child for each session. A call says how many messages of no call precede its answer.
const SCRIPT: &str = r#"
import json, sys
told = 0
def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = lambda result: say({"id": message["id"], "result": result})
    method = message.get("method")
    if method == "initialize":
        answer({"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "t", "version": "1"}})
    elif method == "tools/list":
        answer({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        for _ in range(message["params"]["arguments"].get("tell", 0)):
            told += 1
            say({"method": "notifications/message", "params": {"level": "info", "data": told}})
        answer({"content": []})
    else:
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
"#;

fn start(setup: impl FnOnce(String) -> Setup) -> (Gateway, PathBuf) {
    let folder = scratch_folder();
    let script = folder.join("child.py");
    std::fs::write(&script, SCRIPT).expect("write the script");
    let upstream =
        format!("  up: {{ stdio: {{ command: python3, args: [\"{}\"], per: session }} }}", script.display());
    let gateway = Gateway::start(setup(config(&upstream)));
    assert_eq!(gateway.learning_fault(0), None);
    (gateway, folder)
}

/// A GET within a session.
fn get(key: &str, session: &str, last_event_id: Option<&str>) -> String {
    let resumed = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    format!(
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: {session}\r\n{resumed}\r\n"
    )
}

/// Opens a stream and takes its head.
fn open(gateway: &Gateway, session: &str, last_event_id: Option<&str>) -> Client {
    let mut client = Client::connect(gateway.address);
    client.send(get(KEY, session, last_event_id));
    let head = String::from_utf8(client.until_unread(b"\r\n\r\n")).expect("UTF-8");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
    client
}

/// The next event: its id and its message; a priming event has none.
fn event(client: &mut Client) -> (String, Value) {
    let text = String::from_utf8(client.until_unread(b"\n\n")).expect("UTF-8");
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
    let message = line("data: ").map(|data| serde_json::from_str(&data).expect("JSON"));
    (line("id: ").unwrap_or_default(), message.unwrap_or(Value::Null))
}

fn message(number: usize) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": number}})
}

fn tell(client: &mut Client, session: &str, count: usize) {
    let params = json!({"name": "echo", "arguments": {"tell": count}});
    let answer = client.roundtrip(legacy(KEY, session, 1, "tools/call", params));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert_eq!(answer.messages().len(), 1, "only the answer belongs to the call: {}", text(&answer));
}

#[test]
fn what_belongs_to_no_call_comes_on_the_sessions_stream() {
    for force_wrong_worker in [false, true] {
        let (gateway, _folder) = start(|config| Setup { force_wrong_worker, ..Setup::new(config) });
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-06-18");
        // What was said before anybody listened waits.
        tell(&mut client, &session, 2);
        let mut first = open(&gateway, &session, None);
        assert_eq!(event(&mut first), ("0-1".into(), message(1)));
        assert_eq!(event(&mut first), ("0-2".into(), message(2)));
        tell(&mut client, &session, 1);
        assert_eq!(event(&mut first), ("0-3".into(), message(3)));
        // A newer stream takes over; the older one ends.
        let mut second = open(&gateway, &session, None);
        first.until_unread(b"0\r\n\r\n");
        tell(&mut client, &session, 1);
        assert_eq!(event(&mut second), ("0-4".into(), message(4)));
        drop(second);
        let standing = || gateway.handle().figures().iter().map(|worker| worker.standing.get()).sum::<u64>();
        wait_for("the stream's client to be missed", || standing() == 0);
        // Whoever says what it has seen gets the rest.
        tell(&mut client, &session, 1);
        let mut resumed = open(&gateway, &session, Some("0-2"));
        for number in 3..=5 {
            assert_eq!(event(&mut resumed), (format!("0-{number}"), message(number)));
        }
        // What was never given there, and what is not ours, begins where the session is.
        let unknown = ["0-99", "x", "-", "0-", "0-99999999999999999999"];
        for (number, unknown) in (6..).zip(unknown) {
            let mut fresh = open(&gateway, &session, Some(unknown));
            resumed.until_unread(b"0\r\n\r\n");
            tell(&mut client, &session, 1);
            assert_eq!(event(&mut fresh), (format!("0-{number}"), message(number)), "{unknown}");
            resumed = fresh;
        }
        // The rest of an answer that is not kept cannot be had there: such a stream ends, and the session's own stays.
        for answer in ["7-1", "99999999999-1"] {
            open(&gateway, &session, Some(answer)).until_unread(b"0\r\n\r\n");
        }
        tell(&mut client, &session, 1);
        assert_eq!(event(&mut resumed), ("0-11".into(), message(11)));
        // Its end is the stream's.
        let delete = format!(
            "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nMcp-Session-Id: {session}\r\n\r\n"
        );
        assert_eq!(client.roundtrip(delete).status, 204);
        resumed.until_unread(b"0\r\n\r\n");
        let gone = Client::connect(gateway.address).roundtrip(get(KEY, &session, None));
        assert_eq!(gone.status, 404);
        assert_lives(&gateway);
    }
}

#[test]
fn a_stream_of_2025_11_25_is_primed_and_a_drain_ends_it() {
    let (gateway, _folder) = start(Setup::new);
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-11-25");
    let mut stream = open(&gateway, &session, None);
    let primed = String::from_utf8(stream.until_unread(b"\n\n")).expect("UTF-8");
    assert!(primed.ends_with("id: 0-0\nretry: 1000\ndata:\n\n"), "{primed}");
    tell(&mut client, &session, 1);
    assert_eq!(event(&mut stream), ("0-1".into(), message(1)));
    gateway.drain();
    stream.until_unread(b"0\r\n\r\n");
    stream.assert_closed();
}

#[test]
fn a_stream_needs_a_session_of_its_own_and_the_right_accept() {
    let (gateway, _folder) = start(Setup::new);
    let mut client = Client::connect(gateway.address);
    let session = initialize_as(&mut client, KEY, "2025-06-18", json!({}));
    let request = |accept: &str, session: &str, more: &str| {
        format!(
            "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n{accept}{session}{more}\r\n"
        )
    };
    let ours = format!("Mcp-Session-Id: {session}\r\n");
    let events = "Accept: text/event-stream\r\n";
    let cases = [
        (request(events, "", ""), 400),
        (request("Accept: application/json\r\n", &ours, ""), 406),
        (request(events, "Mcp-Session-Id: x\r\n", ""), 404),
        (request(events, &ours, "MCP-Protocol-Version: 2026-07-28\r\n"), 405),
        (get("key-small", &session, None), 404),
        (get("key-wrong", &session, None), 401),
    ];
    for (request, status) in cases {
        let answer = client.roundtrip(&request);
        assert_eq!(answer.status, status, "{request}{}", text(&answer));
    }
    assert_eq!(client.roundtrip(post(&[("Authorization", "Bearer key-full")], b"[]")).status, 400);
}

#[test]
fn a_stream_ends_before_it_says_more_to_a_key_that_was_revoked() {
    let (gateway, _folder) = start(Setup::new);
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-06-18");
    let mut stream = open(&gateway, &session, None);
    tell(&mut client, &session, 1);
    assert_eq!(event(&mut stream), ("0-1".into(), message(1)));
    // The same principal has another key now: its session goes on, the stream of the old key does not.
    gateway.rekey(vec![("key-new", "ann", &["full"])]);
    let params = json!({"name": "echo", "arguments": {"tell": 1}});
    wait_for("the new key", || {
        client.roundtrip(legacy("key-new", &session, 1, "tools/call", params.clone())).status == 200
    });
    let rest = stream.until_unread(b"0\r\n\r\n");
    assert!(!String::from_utf8_lossy(&rest).contains("data:"), "{}", String::from_utf8_lossy(&rest));
}
