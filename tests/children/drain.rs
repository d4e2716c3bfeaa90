//! A drain loses nothing: what was asked is answered whole, and whoever may not ask again is told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::{assert_no_worker_panicked, wait_for};
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::child::{ERAS, KEY, Script, config, doing, said};

const CALLERS: usize = 8;

/// Calls of one connection until it was told to close, or found itself closed.
#[derive(Default)]
struct Tally {
    answered: usize,
    /// Closed under a request although no answer had announced it.
    unannounced: usize,
}

fn closes(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// Calls until the gateway says that this was the last answer. `idle` is the time between calls.
fn call_until_told(
    gateway: &Gateway,
    number: usize,
    calls: &AtomicUsize,
    stop: &AtomicBool,
    idle: Duration,
) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client::connect(gateway.address);
    let session = (number % 2 == 1).then(|| initialize(&mut client, KEY, "2025-11-25"));
    while !stop.load(Ordering::Relaxed) {
        let id = calls.fetch_add(1, Ordering::Relaxed) as i64 + 1;
        let params = json!({"name": "echo", "arguments": {"id": id}});
        client.send(match &session {
            Some(session) => legacy(KEY, session, id, "tools/call", params),
            None => modern(KEY, id, "tools/call", params),
        });
        let Some(answer) = client.answer() else {
            assert!(!client.reset, "an answer may have been destroyed");
            tally.unannounced += 1;
            return tally;
        };
        assert_eq!(said(&answer, id), format!("{{\"id\":{id}}}"));
        tally.answered += 1;
        if closes(&answer) {
            client.assert_closed();
            assert!(!client.reset);
            return tally;
        }
        std::thread::sleep(idle);
    }
    panic!("the drain never reached this connection");
}

fn drain_under_load(force_wrong_worker: bool, idle: Duration) -> Vec<Tally> {
    let upstream = Scripted::modern(|request| {
        let id = request.body["params"]["arguments"]["id"].as_u64().unwrap();
        let mut steps = vec![Step::Wait(Duration::from_millis(5 + id * 7 % 16))];
        steps.extend(json_reply(&echoed(request)));
        steps
    });
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
    let (calls, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let (gateway, calls, stop) = (&gateway, &calls, &stop);
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| scope.spawn(move || call_until_told(gateway, number, calls, stop, idle)))
            .collect();
        wait_for("some calls", || calls.load(Ordering::Relaxed) > 20 * CALLERS);
        gateway.drain();
        let until = Instant::now() + Duration::from_secs(5);
        while callers.iter().any(|caller| !caller.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().expect("a caller")).collect()
    });
    gateway.stop();
    assert_no_worker_panicked();
    let answered: usize = tallies.iter().map(|tally| tally.answered).sum();
    assert_eq!(upstream.arrived("tools/call").len(), answered, "what reached the upstream was answered");
    tallies
}

#[test]
fn busy_connections_are_told_to_close_and_lose_nothing() {
    for _ in 0..3 {
        for force_wrong_worker in [false, true] {
            for tally in drain_under_load(force_wrong_worker, Duration::ZERO) {
                assert_eq!(tally.unannounced, 0, "it was never idle");
                assert!(tally.answered > 1);
            }
        }
    }
}

#[test]
fn connections_that_pause_lose_no_answer() {
    for force_wrong_worker in [false, true] {
        for idle in [3, 60, 150] {
            // Any of them may find itself closed while it was idle: then nothing of its call was done.
            let tallies = drain_under_load(force_wrong_worker, Duration::from_millis(idle));
            assert_eq!(tallies.len(), CALLERS);
        }
    }
}

#[test]
fn an_event_stream_is_finished_and_nobody_new_is_let_in() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Scripted::modern(move |request| {
        let token = &request.body["params"]["_meta"]["progressToken"];
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1}});
        let mut last = event(&echoed(request));
        last.extend_from_slice(b"0\r\n\r\n");
        let open = Step::Send(event_stream());
        vec![open, Step::Send(event(&progress)), Step::Await(held.clone()), Step::Send(last)]
    });
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))));
    let mut client = Client::connect(gateway.address);
    let params = json!({"name": "echo", "arguments": {"a": 1}, "_meta": {"progressToken": "tok"}});
    client.send(modern(KEY, 3, "tools/call", params));
    wait_for("the first event", || !client.peek(Duration::from_millis(20)).is_empty());
    gateway.drain();
    wait_for("the listener to close", || std::net::TcpStream::connect(gateway.address).is_err());
    // Longer than a drain without exchanges takes.
    std::thread::sleep(Duration::from_millis(400));
    gate.open();
    let answer = client.answer().expect("an answer");
    assert_eq!(said(&answer, 3), "{\"a\":1}");
    assert_eq!(answer.messages().len(), 2);
    client.assert_closed();
    gateway.stop();
}

#[test]
fn a_call_to_a_child_is_finished() {
    let script = Script::write();
    for era in ERAS {
        for force_wrong_worker in [false, true] {
            let config = config(&script.kid(era, "", ""));
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
            let (mut first, mut second) =
                (Client::connect(gateway.address), Client::connect(gateway.address));
            assert_eq!(said(&second.roundtrip(doing(1, json!({}))), 1), "{}");
            let arguments = json!({"do": "reverse", "count": 2});
            first.send(doing(2, arguments.clone()));
            std::thread::sleep(Duration::from_millis(50));
            gateway.drain();
            // For a moment a connection that is open may still ask; this lets the child answer both.
            std::thread::sleep(Duration::from_millis(50));
            second.send(doing(3, arguments.clone()));
            for (client, id) in [(&mut second, 3), (&mut first, 2)] {
                let answer = client.answer().expect("an answer");
                assert!(said(&answer, id).contains("reverse"));
            }
            second.assert_closed();
            first.assert_closed();
            gateway.stop();
            assert_no_worker_panicked();
        }
    }
}

#[test]
fn idle_connections_are_closed() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))));
    let call = || modern(KEY, 1, "tools/call", json!({"name": "echo", "arguments": {}}));
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(gateway.address)).collect();
    clients.iter_mut().skip(2).for_each(|client| drop(said(&client.roundtrip(call()), 1)));
    // Time to be parked; then some are fresh again.
    std::thread::sleep(Duration::from_millis(1_300));
    clients.iter_mut().skip(5).for_each(|client| drop(said(&client.roundtrip(call()), 1)));
    gateway.drain();
    for client in &mut clients {
        client.assert_closed();
        assert!(!client.reset);
    }
    gateway.stop();
}
