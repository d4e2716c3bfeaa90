//! What becomes of those who say nothing: a session that nobody uses ends, a stream that says nothing stays open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use strait_engine::Deadlines;
use strait_tests::client::{initialize_as, legacy, session_stream};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{
    self, Arrived, echoed, event, event_stream, http, initialized, json_reply, method,
};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config};
use crate::listen::listening;

/// A legacy server whose sessions have numbers. A call that waits says something at once, and its answer when the gate
/// opens.
fn upstream(gate: &Gate) -> Scripted {
    let (gate, opened) = (gate.clone(), Arc::<AtomicUsize>::default());
    let rest = scripted::legacy(move |request| match request.argument("case") {
        "waits" => {
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {
                "level": "error", "data": "at it"}});
            let answer = [event(&echoed(request)), b"0\r\n\r\n".to_vec()].concat();
            let begun = [event_stream(), event(&log)].concat();
            vec![Step::Send(begun), Step::Await(gate.clone()), Step::Send(answer)]
        }
        _ => json_reply(&echoed(request)),
    });
    Scripted::start(move |request: &Arrived| match method(request) {
        "initialize" => {
            let (id, body) = (opened.fetch_add(1, Ordering::SeqCst), initialized(request).to_string());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {id}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            vec![Step::Send([head.into_bytes(), body.into_bytes()].concat())]
        }
        "DELETE" => vec![Step::Send(http(200, "text/plain", b""))],
        _ => rest(request),
    })
}

fn start(upstream: &Scripted, deadlines: Deadlines, force_wrong_worker: bool) -> Gateway {
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup { deadlines, force_wrong_worker, ..Setup::new(config) })
}

fn call(session: &str, case: &str) -> Vec<u8> {
    legacy(KEY, session, 5, "tools/call", json!({"name": "echo", "arguments": {"case": case}}))
}

#[test]
fn a_session_that_nobody_uses_ends_and_with_it_what_servers_keep_for_it() {
    for force_wrong_worker in [false, true] {
        let gate = Gate::default();
        let upstream = upstream(&gate);
        let deadlines = Deadlines { session_idle_ms: 4_000, ..Deadlines::default() };
        let gateway = start(&upstream, deadlines, force_wrong_worker);
        let sessions = || gateway.handle().figures().iter().map(|worker| worker.sessions.get()).sum::<u64>();
        let mut client = Client::connect(gateway.address);
        let mut begin = || initialize_as(&mut client, KEY, "2025-11-25", json!({}));
        // One is listened to, one waits for an answer, one is left.
        let heard = begin();
        let stream = session_stream(gateway.address, KEY, &heard);
        let waiting = begin();
        let mut waits = Client::connect(gateway.address);
        waits.send(call(&waiting, "waits"));
        waits.stream_head();
        let left = begin();
        assert!(client.roundtrip(call(&left, "")).json()["result"].is_object());
        let its = upstream.arrived("tools/call").last().unwrap().header("Mcp-Session-Id").unwrap().to_owned();
        wait_for("all three to be counted", || sessions() == 3);
        wait_for("the one that is left to end", || sessions() == 2);
        wait_for("the server to be told", || !upstream.arrived("DELETE").is_empty());
        let told = upstream.arrived("DELETE");
        assert_eq!(told[0].header("Mcp-Session-Id"), Some(its.as_str()));
        assert_eq!(told.len(), 1);
        let status = |session: &str| {
            Client::connect(gateway.address).roundtrip(legacy(KEY, session, 6, "ping", json!({}))).status
        };
        assert_eq!([&left, &heard, &waiting].map(|session| status(session)), [404, 200, 200]);
        // Nobody listens any more, and the answer is here.
        gate.open();
        let mut answers = std::iter::from_fn(|| waits.event());
        assert_eq!(answers.by_ref().last().expect("an answer").message["id"], 5);
        drop(stream);
        wait_for("the others to end", || sessions() == 0);
        assert_eq!([&heard, &waiting].map(|session| status(session)), [404, 404]);
        assert_lives(&gateway);
    }
}

#[test]
fn streams_that_have_nothing_to_say_say_so() {
    for force_wrong_worker in [false, true] {
        let gate = Gate::default();
        let upstream = upstream(&gate);
        let deadlines = Deadlines { keep_alive_ms: 500, ..Deadlines::default() };
        let gateway = start(&upstream, deadlines, force_wrong_worker);
        let mut client = Client::connect(gateway.address);
        let session = initialize_as(&mut client, KEY, "2025-11-25", json!({}));
        let own = session_stream(gateway.address, KEY, &session);
        let (listen, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
        let mut answer = Client::connect(gateway.address);
        answer.send(call(&session, "waits"));
        answer.stream_head();
        let mut wire = Client::connect(gateway.address);
        wire.send(format!(
            "GET /mcp/sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nAccept: text/event-stream\r\n\r\n"
        ));
        wire.stream_head();
        for mut stream in [own, listen, answer, wire] {
            for _ in 0..2 {
                // A chunk that holds a comment: a line that begins with a colon, and an empty one.
                stream.until_unread(b"\r\n:\r\n\r\n");
            }
        }
        gate.open();
        assert_lives(&gateway);
    }
}
