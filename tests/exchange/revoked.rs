//! Somebody who is revoked while something of his is open: it ends, also where nothing was about to be said.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, session_stream};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, reason, text};
use crate::listen::listening;

/// `ann` has the key of these tests.
const ANN: &str = "ann";

fn gateway(upstream: &Scripted, force_wrong_worker: bool) -> Gateway {
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) })
}

/// An upstream that says something of its progress, and answers when the gate opens.
fn slow(gate: &Gate) -> Scripted {
    let gate = gate.clone();
    Scripted::modern(move |request| {
        let token = &request.body["params"]["_meta"]["progressToken"];
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1}});
        vec![
            Step::Send(event_stream()),
            Step::Send(event(&progress)),
            Step::Await(gate.clone()),
            Step::Send(event(&echoed(request))),
            Step::Close,
        ]
    })
}

fn progressing() -> Value {
    json!({"name": "echo", "arguments": {"say": "secret"}, "_meta": {"progressToken": "p"}})
}

/// Nothing is said any more but that it is over.
fn ends_unsaid(stream: &mut Client) {
    let rest = String::from_utf8_lossy(&stream.until_unread(b"0\r\n\r\n")).into_owned();
    assert!(!rest.contains("secret") && !rest.contains("progress"), "{rest}");
}

#[test]
fn whoever_is_revoked_is_refused_on_connections_that_are_open_and_believed_again_when_it_is_undone() {
    let gate = Gate::default();
    gate.open();
    let gateway = gateway(&Scripted::modern(|request| json_reply(&echoed(request))), false);
    let mut client = Client::connect(gateway.address);
    let list = || modern(KEY, 1, "tools/list", json!({}));
    assert_eq!(client.roundtrip(list()).status, 200);
    gateway.revoke(&[ANN]);
    wait_for("the worker to know", || client.roundtrip(list()).status == 401);
    let refused = client.roundtrip(list());
    assert_eq!((refused.status, reason(&refused).as_str()), (401, "revoked"), "{}", text(&refused));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    // Nobody else is meant.
    assert_eq!(client.roundtrip(modern("key-small", 1, "tools/list", json!({}))).status, 200);
    gateway.revoke(&[]);
    wait_for("the worker to know", || client.roundtrip(list()).status == 200);
    assert_lives(&gateway);
}

#[test]
fn streams_that_stand_open_end_although_nothing_is_said_on_them() {
    for force_wrong_worker in [false, true] {
        let gateway = gateway(&Scripted::legacy(|request| json_reply(&echoed(request))), force_wrong_worker);
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-06-18");
        let mut stream = session_stream(gateway.address, KEY, &session);
        let (mut listen, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
        let (mut other, _) = listening(&gateway, "key-small", json!({"toolsListChanged": true}));
        let mut wire = Client::connect(gateway.address);
        wire.send(format!(
            "GET /mcp/sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        ));
        assert_eq!(wire.stream_head().status, 200);
        wire.until_unread(b"\n\n");
        gateway.revoke(&[ANN]);
        for ended in [&mut stream, &mut listen, &mut wire] {
            ends_unsaid(ended);
        }
        let again = format!(
            "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nAccept: text/event-stream\r\n\
             Mcp-Session-Id: {session}\r\n\r\n"
        );
        wait_for("every worker", || Client::connect(gateway.address).roundtrip(again.as_str()).status == 401);
        // Nobody else's: it is still there to be told of the drain.
        gateway.drain();
        assert_eq!(other.event().expect("its end").message["result"]["resultType"], "complete");
    }
}

#[test]
fn an_answer_that_has_begun_ends_and_its_upstream_is_let_go() {
    for force_wrong_worker in [false, true] {
        // Of a client of 2026-07-28, whose answer hangs on its connection.
        let gate = Gate::default();
        let upstream = slow(&gate);
        let gateway = gateway(&upstream, force_wrong_worker);
        let mut client = Client::connect(gateway.address);
        client.send(modern(KEY, 1, "tools/call", progressing()));
        assert_eq!(client.stream_head().status, 200);
        assert_eq!(client.next_event()["params"]["progress"], 1);
        // And of one of a session, whose answer goes on without it.
        let mut older = Client::connect(gateway.address);
        let session = initialize(&mut older, KEY, "2025-06-18");
        older.send(legacy(KEY, &session, 2, "tools/call", progressing()));
        assert_eq!(older.stream_head().status, 200);
        assert_eq!(older.next_event()["params"]["progress"], 1);
        gateway.revoke(&[ANN]);
        let last = client.next_event();
        assert_eq!((&last["id"], &last["error"]["data"]["reason"]), (&json!(1), &json!("revoked")), "{last}");
        ends_unsaid(&mut client);
        ends_unsaid(&mut older);
        gate.open();
        gateway.revoke(&[]);
        wait_for("every worker", || {
            Client::connect(gateway.address).roundtrip(modern(KEY, 1, "tools/list", json!({}))).status == 200
        });
        assert_lives(&gateway);
        let lines = gateway.stop();
        let revoked = lines.iter().filter(|line| line["refused"] == "revoked" && line["tool"] == "echo");
        assert_eq!(revoked.count(), 2, "{lines:?}");
    }
}

#[test]
fn an_answer_that_comes_after_is_not_told() {
    let gate = Gate::default();
    let waits = gate.clone();
    let upstream = Scripted::modern(move |request| {
        let mut steps = vec![Step::Await(waits.clone())];
        steps.extend(json_reply(&echoed(request)));
        steps
    });
    let gateway = gateway(&upstream, false);
    let mut client = Client::connect(gateway.address);
    client.send(modern(KEY, 1, "tools/call", json!({"name": "echo", "arguments": {"say": "secret"}})));
    wait_for("the call to arrive", || upstream.arrived("tools/call").len() == 1);
    gateway.revoke(&[ANN]);
    wait_for("every worker", || gateway.handle().behind(gateway.serial()).is_empty());
    gate.open();
    let answer = client.answer().expect("an answer");
    assert_eq!(reason(&answer), "revoked", "{}", text(&answer));
    assert!(!text(&answer).contains("secret"), "{}", text(&answer));
}
