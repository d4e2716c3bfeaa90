//! Batches: several messages in one POST, which only sessions of 2025-03-26 have.

use serde_json::{Value, json};
use strait_engine::limits::{BATCH_MAX, CALL_STREAMS_MAX};
use strait_tests::client::{initialize, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, ACCEPTED, Arrived, echoed, json_reply, method};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, text};

fn start(force_wrong_worker: bool, gate: &Gate) -> (Gateway, Scripted) {
    let gate = gate.clone();
    let rest = scripted::legacy(move |request| match request.argument("case") {
        "late" => [vec![Step::Await(gate.clone())], json_reply(&echoed(request))].concat(),
        "never" => vec![Step::Hang],
        _ => json_reply(&echoed(request)),
    });
    let upstream = Scripted::start(move |request: &Arrived| match method(request) {
        "notifications/cancelled" => vec![Step::Send(ACCEPTED.to_vec())],
        _ => rest(request),
    });
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    (Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) }), upstream)
}

fn say(session: &str, body: &str) -> Vec<u8> {
    post(&[("Authorization", "Bearer key-full"), ("Mcp-Session-Id", session)], body.as_bytes())
}

fn call(id: i64, case: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": {"case": case}}})
}

fn ping(id: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
}

/// What the answers are to, and what they say, sorted.
fn answers(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", text(answer));
    let messages = answer.messages();
    let mut said: Vec<String> = messages
        .iter()
        .map(|message| match message["error"]["code"].as_i64() {
            Some(code) => format!("{} {code}", message["id"]),
            None => message["id"].to_string(),
        })
        .collect();
    said.sort();
    said
}

#[test]
fn every_message_of_a_batch_is_answered_on_one_stream() {
    for force_wrong_worker in [false, true] {
        let gate = Gate::default();
        let (gateway, upstream) = start(force_wrong_worker, &gate);
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-03-26");
        let unknown = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "x"}});
        let note = json!({"jsonrpc": "2.0", "method": "notifications/x"});
        let batch = json!([call(1, "late"), ping(json!("a")), unknown, note, call(2, "")]);
        client.send(say(&session, &format!(" {batch}\r\n")));
        let head = client.stream_head();
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        // What is there does not wait for what is not.
        let mut early: Vec<String> =
            (0..3).map(|_| client.event().expect("an event").message["id"].to_string()).collect();
        early.sort();
        assert_eq!(early, ["\"a\"", "2", "3"]);
        gate.open();
        assert_eq!(client.event().expect("the last").message["id"], 1);
        assert_eq!(client.event(), None);
        assert_eq!(upstream.arrived("tools/call").len(), 2);
        // Nothing to answer.
        let answer = client.roundtrip(say(&session, &json!([note, note]).to_string()));
        assert_eq!((answer.status, answer.body.len()), (202, 0));
        // A part that is wrong spoils no other.
        let wrong = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}, 5, {"jsonrpc":"2.0","id":2,"id":2,"method":"ping"}, [],
            {"jsonrpc":"2.0","id":4,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{}}}]"#;
        let answer = client.roundtrip(say(&session, wrong));
        assert_eq!(answers(&answer), ["1", "4 -32600", "null -32600", "null -32600", "null -32600"]);
        // Each is its client's to cancel.
        client.send(say(&session, &json!([call(8, "never"), ping(json!(9))]).to_string()));
        client.stream_head();
        assert_eq!(client.event().expect("the other").message["id"], 9);
        let cancel =
            json!([{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}}]);
        let answer = Client::connect(gateway.address).roundtrip(say(&session, &cancel.to_string()));
        assert_eq!(answer.status, 202);
        assert_eq!(client.event(), None);
        wait_for("the server to be told", || upstream.arrived("notifications/cancelled").len() == 1);
        let inflight = || gateway.handle().figures().iter().map(|worker| worker.inflight.get()).sum::<u64>();
        wait_for("nothing to be under way", || inflight() == 0);
        assert_lives(&gateway);
    }
}

#[test]
fn what_is_no_batch_or_has_none_is_refused_whole() {
    let (gateway, upstream) = start(false, &Gate::default());
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-03-26");
    let many = |count: usize| Value::from(vec![ping(json!(1)); count]).to_string();
    let one = ping(json!(1)).to_string();
    for body in [
        "[]".to_owned(),
        "[ ]".to_owned(),
        format!("[{one}"),
        format!("[{one},]"),
        format!("[{one}] []"),
        format!("[{one} {one}]"),
        many(BATCH_MAX + 1),
    ] {
        let answer = client.roundtrip(say(&session, &body));
        assert_eq!((answer.status, answer.error().0), (400, -32600), "{body}: {}", text(&answer));
    }
    let answer = client.roundtrip(say(&session, &many(BATCH_MAX)));
    assert_eq!(answers(&answer).len(), BATCH_MAX);
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let session = initialize(&mut client, KEY, version);
        let answer = client.roundtrip(say(&session, &format!("[{one}]")));
        assert_eq!((answer.status, answer.error().0), (400, -32600), "{version}");
    }
    let no_session = post(&[("Authorization", "Bearer key-full")], format!("[{one}]").as_bytes());
    assert_eq!(client.roundtrip(no_session).status, 400);
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    assert_lives(&gateway);
}

/// Beyond the streams that a session may come back for, a batch's answers have no reader but its connection.
#[test]
fn a_batch_that_nobody_can_come_back_for_ends_with_its_client() {
    for force_wrong_worker in [false, true] {
        let gate = Gate::default();
        let (gateway, upstream) = start(force_wrong_worker, &gate);
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-03-26");
        let mut held: Vec<Client> = (0..CALL_STREAMS_MAX)
            .map(|id| {
                let mut client = Client::connect(gateway.address);
                client.send(say(&session, &json!([call(id as i64, "late")]).to_string()));
                client.stream_head();
                client
            })
            .collect();
        // More than its stream has room for.
        let large: Vec<Value> = (100..100 + BATCH_MAX as i64)
            .map(|id| {
                let mut call = call(id, "late");
                call["params"]["arguments"]["text"] = "x".repeat(16_000).into();
                call
            })
            .collect();
        let mut gone = Client::connect(gateway.address);
        gone.send(say(&session, &Value::from(large).to_string()));
        gone.stream_head();
        wait_for("all calls", || upstream.arrived("tools/call").len() == CALL_STREAMS_MAX + BATCH_MAX);
        drop(gone);
        gate.open();
        for (id, client) in held.iter_mut().enumerate() {
            assert_eq!(client.event().expect("the answer").message["id"], id);
        }
        wait_for("no call to be under way", || {
            gateway.handle().figures().iter().map(|worker| worker.inflight.get()).sum::<u64>() == 0
        });
        assert_lives(&gateway);
    }
}

/// A body does not make a DELETE a batch.
#[test]
fn only_a_post_is_a_batch() {
    let (gateway, _upstream) = start(false, &Gate::default());
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-03-26");
    let answer = client.roundtrip(format!(
        "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nMcp-Session-Id: {session}\r\n\
         Content-Type: application/json\r\nContent-Length: 6\r\n\r\n[{{}},0]"
    ));
    assert_eq!(answer.status, 204, "{}", text(&answer));
    assert_lives(&gateway);
}
