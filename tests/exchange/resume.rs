//! Answers of several messages to older clients: event streams that outlive the connection they began on.

use serde_json::{Value, json};
use strait_engine::limits::{CALL_STREAMS_MAX, OUTLET_EVENTS_MAX, OVER_BYTES_PER_SESSION_MAX, OVER_EIGHTHS};
use strait_tests::client::{initialize, initialize_as, legacy, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, ACCEPTED, Arrived, echoed, event, event_stream, json_reply, method};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, text};

fn progress(request: &Arrived, number: usize, text: &str) -> Value {
    let token = &request.body["params"]["_meta"]["progressToken"];
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
        "progressToken": token, "progress": number, "message": text}})
}

fn last(message: &Value) -> Step {
    Step::Send([event(message), b"0\r\n\r\n".to_vec()].concat())
}

/// Tells one thing, waits for the gate, tells `count` more and answers.
fn told(request: &Arrived, gate: &Gate, count: usize, text: &str) -> Vec<Step> {
    let more = (2..2 + count).flat_map(|number| event(&progress(request, number, text))).collect();
    vec![
        Step::Send([event_stream(), event(&progress(request, 1, text))].concat()),
        Step::Await(gate.clone()),
        Step::Send(more),
        last(&echoed(request)),
    ]
}

struct Peers {
    gateway: Gateway,
    upstream: Scripted,
    gate: Gate,
}

/// An upstream whose call `told` is as told; others are answered at once.
fn start(modern: bool, force_wrong_worker: bool, count: usize, size: usize) -> Peers {
    let gate = Gate::default();
    let opens = gate.clone();
    let call = move |request: &Arrived| match request.argument("case") {
        "told" => told(request, &opens, count, &"x".repeat(size)),
        _ => json_reply(&echoed(request)),
    };
    let upstream = if modern { Scripted::modern(call) } else { Scripted::legacy(call) };
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
    Peers { gateway, upstream, gate }
}

fn call(session: &str, id: i64, case: &str) -> Vec<u8> {
    let params = json!({"name": "echo", "arguments": {"case": case}, "_meta": {"progressToken": "t"}});
    legacy(KEY, session, id, "tools/call", params)
}

/// A stream that goes on behind this event.
fn resume(gateway: &Gateway, session: &str, after: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.send(format!(
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: {session}\r\nLast-Event-ID: {after}\r\n\r\n"
    ));
    assert_eq!(client.stream_head().status, 200);
    client
}

/// The id and what tells the message apart: its progress, or its id.
fn next(client: &mut Client) -> (String, Value) {
    let event = client.event().expect("an event");
    let message = event.message;
    let what = if message["method"].is_null() { &message["id"] } else { &message["params"]["progress"] };
    (event.id.expect("an id"), what.clone())
}

fn standing(gateway: &Gateway) -> u64 {
    gateway.handle().figures().iter().map(|worker| worker.standing.get()).sum()
}

/// A client that leaves its stream, and is missed. Figures are told at every tick: those of before the stream began say nothing.
fn leave(gateway: &Gateway, client: Client) {
    wait_for("the stream to stand", || standing(gateway) > 0);
    drop(client);
    wait_for("the client to be missed", || standing(gateway) == 0);
}

#[test]
fn a_broken_answer_is_resumed_where_it_broke() {
    for (modern, capabilities) in [(false, json!({})), (false, json!({"elicitation": {}})), (true, json!({}))]
    {
        for force_wrong_worker in [false, true] {
            println!("modern {modern}, {capabilities}, wrong worker {force_wrong_worker}");
            let Peers { gateway, upstream: _upstream, gate } = start(modern, force_wrong_worker, 2, 0);
            let mut client = Client::connect(gateway.address);
            let session = initialize_as(&mut client, KEY, "2025-06-18", capabilities.clone());
            let stranger = initialize(&mut client, KEY, "2025-06-18");
            client.send(call(&session, 7, "told"));
            client.stream_head();
            let (first, progress) = next(&mut client);
            assert_eq!(progress, 1);
            leave(&gateway, client);
            gate.open();
            let mut back = resume(&gateway, &session, &first);
            let rest: Vec<(String, Value)> = (0..3).map(|_| next(&mut back)).collect();
            let whats: Vec<Value> = rest.iter().map(|(_, what)| what.clone()).collect();
            assert_eq!(whats, [json!(2), json!(3), json!(7)]);
            assert_eq!(back.event(), None, "the stream ends behind the answer");
            // The connection is good for more; and once more for another part, on the same stream.
            let answer = back.roundtrip(call(&session, 8, ""));
            assert_eq!(answer.header("content-type"), Some("application/json"), "{}", text(&answer));
            let mut again = resume(&gateway, &session, &rest[1].0);
            assert_eq!(next(&mut again), rest[2]);
            assert_eq!(again.event(), None);
            // Nobody else's session has it, and what no session has does not take over a session's own stream.
            let gone = format!("{}9-1", first.split_once('-').expect("two numbers").0);
            for (session, id) in [(&stranger, &first), (&session, &gone)] {
                let mut own = Client::connect(gateway.address);
                own.send(format!(
                    "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nAccept: text/event-stream\r\n\
                     Mcp-Session-Id: {session}\r\n\r\n"
                ));
                own.stream_head();
                let mut other = resume(&gateway, session, id);
                assert_eq!(other.event(), None);
                assert_eq!(own.peek(std::time::Duration::from_millis(100)), b"", "it stands");
            }
            assert_lives(&gateway);
        }
    }
}

#[test]
fn only_clients_that_know_it_are_told_where_to_go_on_before_anything_else() {
    let Peers { gateway, upstream: _upstream, gate } = start(true, false, 0, 0);
    gate.open();
    for (version, primed) in [("2025-03-26", false), ("2025-06-18", false), ("2025-11-25", true)] {
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, version);
        for stream in 1..3 {
            client.send(call(&session, 7, "told"));
            client.stream_head();
            let first = String::from_utf8(client.until_unread(b"\n\n")).unwrap();
            if primed {
                assert!(first.ends_with(&format!("id: {stream}-0\nretry: 1000\ndata:\n\n")), "{first}");
                client.until_unread(b"\r\n");
            } else {
                assert!(first.contains(&format!("id: {stream}-1\n")) && !first.contains("retry"), "{first}");
                client.until_unread(b"\r\n");
            }
            while client.event().is_some() {}
            let plain = client.roundtrip(call(&session, 8, ""));
            assert_eq!(plain.header("content-type"), Some("application/json"), "{version}: {}", text(&plain));
        }
    }
    // A client of 2026-07-28 starts over instead: no ids.
    let mut client = Client::connect(gateway.address);
    let params = json!({"name": "echo", "arguments": {"case": "told"}, "_meta": {"progressToken": "t"}});
    client.send(strait_tests::client::modern(KEY, 1, "tools/call", params));
    client.stream_head();
    while let Some(event) = client.event() {
        assert_eq!(event.id, None);
    }
    assert_lives(&gateway);
}

#[test]
fn a_question_is_there_again_for_a_client_that_lost_it() {
    let rest = scripted::legacy(|request| {
        let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
            "message": "m", "requestedSchema": {"type": "object", "properties": {}}}});
        vec![
            Step::Send([event_stream(), event(&progress(request, 1, "")), event(&question)].concat()),
            Step::Hang,
        ]
    });
    let upstream = Scripted::start(move |request: &Arrived| match method(request) {
        "" => vec![Step::Send(ACCEPTED.to_vec())],
        _ => rest(request),
    });
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))));
    let mut client = Client::connect(gateway.address);
    let session = initialize_as(&mut client, KEY, "2025-11-25", json!({"elicitation": {}}));
    client.send(call(&session, 7, ""));
    client.stream_head();
    let (first, _) = next(&mut client);
    leave(&gateway, client);
    let mut back = resume(&gateway, &session, &first);
    let question = back.event().expect("the question").message;
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}).to_string();
    let headers = [("Authorization", "Bearer key-full"), ("Mcp-Session-Id", session.as_str())];
    assert_eq!(Client::connect(gateway.address).roundtrip(post(&headers, answer.as_bytes())).status, 202);
    wait_for("the answer", || upstream.arrived("").len() == 1);
    // The call is still its client's to cancel.
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
        .to_string();
    assert_eq!(Client::connect(gateway.address).roundtrip(post(&headers, cancel.as_bytes())).status, 202);
    assert_eq!(back.event(), None);
    wait_for("the server to be told", || upstream.arrived("notifications/cancelled").len() == 1);
    assert_lives(&gateway);
}

#[test]
fn a_slow_client_loses_nothing_and_one_that_is_gone_not_the_answer() {
    let (count, size) = (4 * OUTLET_EVENTS_MAX, 16 * 1024);
    for force_wrong_worker in [false, true] {
        let Peers { gateway, upstream: _upstream, gate } = start(true, force_wrong_worker, count, size);
        gate.open();
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-06-18");
        client.send(call(&session, 7, "told"));
        client.stream_head();
        next(&mut client);
        // Far more than any buffer between here and there takes.
        let held = || gateway.handle().figures().iter().map(|worker| worker.held_bytes.get()).sum::<u64>();
        assert!(held() < 8 * 1024 * 1024, "{}", held());
        for number in 2..2 + count {
            assert_eq!(next(&mut client).1, json!(number));
        }
        assert_eq!(next(&mut client).1, 7);
        assert_eq!(client.event(), None);
        // Somebody who left: the first parts give way, the answer is kept.
        client.send(call(&session, 9, "told"));
        client.stream_head();
        let (second, _) = next(&mut client);
        drop(client);
        let inflight = || gateway.handle().figures().iter().map(|worker| worker.inflight.get()).sum::<u64>();
        wait_for("the call to end without its client", || inflight() == 0);
        let stream = second.split('-').next().unwrap();
        // Of what gave way nothing is told; what is left is, and the answer.
        let mut late = resume(&gateway, &session, &second);
        let (left, progress) = next(&mut late);
        assert!(left != format!("{stream}-2"), "it gave way");
        for number in progress.as_u64().expect("a progress") + 1..=count as u64 + 1 {
            assert_eq!(next(&mut late).1, number);
        }
        assert_eq!(next(&mut late), (format!("{stream}-{}", count + 2), json!(9)));
        assert_eq!(late.event(), None);
        let mut back = resume(&gateway, &session, &format!("{stream}-{}", count + 1));
        assert_eq!(next(&mut back), (format!("{stream}-{}", count + 2), json!(9)));
        assert_eq!(back.event(), None);
        // What was never said there cannot be had.
        assert!(resume(&gateway, &session, &format!("{stream}-{}", count + 3)).event().is_none());
        assert_lives(&gateway);
    }
}

#[test]
fn a_drain_waits_for_an_answer_and_so_does_the_next_request() {
    for force_wrong_worker in [false, true] {
        let Peers { gateway, upstream: _upstream, gate } = start(true, force_wrong_worker, 1, 0);
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-06-18");
        // Behind each other on one connection.
        client.send([call(&session, 7, "told"), call(&session, 8, "")].concat());
        client.stream_head();
        assert_eq!(next(&mut client).1, 1);
        let mut drained = Client::connect(gateway.address);
        drained.send(call(&session, 9, "told"));
        drained.stream_head();
        assert_eq!(next(&mut drained).1, 1);
        gate.open();
        assert_eq!((next(&mut client).1, next(&mut client).1), (json!(2), json!(7)));
        assert_eq!(client.event(), None);
        assert_eq!(client.answer().expect("an answer").json()["id"], 8);
        gateway.drain();
        assert_eq!((next(&mut drained).1, next(&mut drained).1), (json!(2), json!(9)));
        assert_eq!(drained.event(), None);
        drained.assert_closed();
    }
}

#[test]
fn a_session_has_so_many_answers_that_can_be_resumed_and_more_that_cannot() {
    let Peers { gateway, upstream, gate } = start(true, false, 0, 0);
    let mut first = Client::connect(gateway.address);
    let session = initialize(&mut first, KEY, "2025-11-25");
    let mut clients: Vec<Client> = (0..=CALL_STREAMS_MAX)
        .map(|id| {
            let mut client = Client::connect(gateway.address);
            client.send(call(&session, id as i64, "told"));
            client.stream_head();
            client
        })
        .collect();
    wait_for("all calls", || upstream.arrived("tools/call").len() == CALL_STREAMS_MAX + 1);
    let ids: Vec<Option<String>> =
        clients.iter_mut().map(|client| client.event().expect("an event").id).collect();
    assert_eq!(ids.iter().filter(|id| id.is_some()).count(), CALL_STREAMS_MAX);
    assert_eq!(ids.last(), Some(&None));
    gate.open();
    for (id, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.event().expect("the answer").message["id"], id);
        assert_eq!(client.event(), None);
    }
    // Those that are over give way.
    first.send(call(&session, 99, "told"));
    first.stream_head();
    assert!(next(&mut first).0.starts_with(&format!("{}-", CALL_STREAMS_MAX + 1)));
    assert_lives(&gateway);
}

/// A server that begins each answer at once, and ends it with this many bytes when the gate of its number opens.
fn large(gates: &[Gate], bytes: usize) -> Scripted {
    let gates = gates.to_vec();
    Scripted::modern(move |request| {
        let number: usize = request.argument("number").parse().expect("a number");
        let answer = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "content": [{"type": "text", "text": "x".repeat(bytes)}]}});
        vec![
            Step::Send([event_stream(), event(&progress(request, 1, ""))].concat()),
            Step::Await(gates[number].clone()),
            last(&answer),
        ]
    })
}

/// What clients have left and nobody may ever come back for is bounded by its bytes, and the oldest gives way.
#[test]
fn abandoned_answers_are_kept_up_to_so_many_bytes() {
    const BYTES: usize = 3_000_000;
    const MIB: usize = 1 << 20;
    // One session has its fill; the core has, of two sessions that have not.
    let of_a_core = 64 * MIB / 8 * OVER_EIGHTHS / BYTES;
    for (sessions, caps, kept) in [(1, 512, OVER_BYTES_PER_SESSION_MAX / BYTES), (2, 64, of_a_core)] {
        println!("{sessions} sessions, {caps} MiB");
        let gates: Vec<Gate> = (0..8).map(|_| Gate::default()).collect();
        let upstream = large(&gates, BYTES);
        let config = format!(
            "caps: {{ bytes: {caps}MiB }}\n{}",
            config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))
        );
        let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
        let sum = |figure: fn(&strait_engine::figures::WorkerFigures) -> u64| {
            gateway.handle().figures().iter().map(|worker| figure(worker)).sum::<u64>()
        };
        let mut client = Client::connect(gateway.address);
        let sessions: Vec<String> =
            (0..sessions).map(|_| initialize(&mut client, KEY, "2025-06-18")).collect();
        let mut left = Vec::new();
        for (number, gate) in gates.iter().enumerate() {
            let session = &sessions[number % sessions.len()];
            let mut client = Client::connect(gateway.address);
            let params = json!({"name": "echo", "arguments": {"number": number.to_string()},
                "_meta": {"progressToken": "t"}});
            client.send(legacy(KEY, session, number as i64, "tools/call", params));
            client.stream_head();
            left.push((session, next(&mut client).0));
            leave(&gateway, client);
            gate.open();
            wait_for("the call to end without its client", || sum(|worker| worker.inflight.get()) == 0);
        }
        wait_for("the rest to be dropped", || {
            sum(|worker| worker.answers_dropped.get()) == (gates.len() - kept) as u64
        });
        let held = sum(|worker| worker.held_bytes.get());
        assert!(held < (kept as u64 + 3) * BYTES as u64 * 2, "{held}");
        for (number, (session, after)) in left.iter().enumerate() {
            let mut back = resume(&gateway, session, after);
            let rest = back.event().map(|event| event.message["id"].clone());
            assert_eq!(rest, (number >= gates.len() - kept).then(|| json!(number)));
        }
        assert_lives(&gateway);
    }
}

/// A legacy server with sessions that hangs up on every call, and answers whoever comes back; `token` before or after.
fn polling(gate: &Gate) -> Scripted {
    let (opens, asked) = (gate.clone(), std::sync::Arc::new(std::sync::Mutex::new(Value::Null)));
    let asks = asked.clone();
    let rest = scripted::legacy(move |request| {
        *asks.lock().unwrap() = request.body.clone();
        let first = match request.argument("case") {
            "silent" => Vec::new(),
            _ => event(&progress(request, 1, "")),
        };
        let priming = b"1b\r\nid: s-1\nretry: 700\ndata: \n\n\r\n".to_vec();
        vec![Step::Send([event_stream(), priming, first, b"0\r\n\r\n".to_vec()].concat())]
    });
    Scripted::start(move |request: &Arrived| match (method(request), request.header("Last-Event-ID")) {
        ("GET", Some("s-1")) => {
            let answer =
                json!({"jsonrpc": "2.0", "id": asked.lock().unwrap()["id"], "result": {"content": []}});
            vec![Step::Await(opens.clone()), Step::Send(event_stream()), last(&answer)]
        }
        _ => rest(request),
    })
}

#[test]
fn a_server_that_hangs_up_is_polled_and_so_are_we_by_clients_that_know_how() {
    for (version, capabilities) in [
        ("2025-11-25", json!({})),
        ("2025-11-25", json!({"sampling": {}})),
        ("2025-06-18", json!({})),
        ("2025-06-18", json!({"sampling": {}})),
    ] {
        for force_wrong_worker in [false, true] {
            println!("{version}, {capabilities}, wrong worker {force_wrong_worker}");
            let gate = Gate::default();
            let upstream = polling(&gate);
            let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
            let mut client = Client::connect(gateway.address);
            let session = initialize_as(&mut client, KEY, version, capabilities.clone());
            if version == "2025-06-18" {
                // Nobody can tell it to come back: it gets its answer when it is there.
                gate.open();
                let answer = client.roundtrip(call(&session, 7, "silent"));
                assert_eq!(answer.messages().last().expect("an answer")["id"], 7, "{}", text(&answer));
                continue;
            }
            client.send(call(&session, 7, "silent"));
            let hung_up = client.answer().expect("an answer");
            assert_eq!(hung_up.header("content-type"), Some("text/event-stream"));
            assert_eq!(text(&hung_up), "id: 1-0\nretry: 700\ndata:\n\n", "its own time to wait");
            // One that has begun to speak hangs up as well; its connection is good for more.
            client.send(call(&session, 8, ""));
            client.stream_head();
            assert_eq!(next(&mut client), ("2-1".into(), json!(1)));
            assert_eq!(client.event(), None);
            assert_eq!(client.roundtrip(legacy(KEY, &session, 9, "ping", json!({}))).status, 200);
            gate.open();
            let mut back = resume(&gateway, &session, "2-1");
            assert_eq!(next(&mut back), ("2-2".into(), json!(8)));
            assert_eq!(back.event(), None);
            assert_lives(&gateway);
        }
    }
}
