//! A gateway that ends loses nothing: whoever has sent a request gets its answer, whoever may not send
//! another has been told with `Connection: close`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::basics::config;
use crate::common::{KEY, call, text};

/// What one client under load saw.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    lost: AtomicUsize,
    told: AtomicUsize,
}

#[test]
fn a_drain_under_load_loses_no_request() {
    let upstream = Scripted::modern(|request| {
        let mut steps = json_reply(&echoed(request));
        steps.insert(0, Step::Wait(Duration::from_millis(3)));
        steps
    });
    for force_wrong_worker in [false, true] {
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config(&upstream.url())) });
        let (seen, before) = (Seen::default(), upstream.arrived("tools/call").len());
        let address = gateway.address;
        let seen_at_start = &seen;
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let seen = seen_at_start;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    // Half of them older clients, whose requests another worker answers.
                    let session = (thread % 2 == 0).then(|| initialize(&mut client, KEY, "2025-06-18"));
                    for id in 0.. {
                        let params = json!({"name": "echo", "arguments": {"n": id}});
                        client.send(match &session {
                            Some(session) => legacy(KEY, session, id, "tools/call", params),
                            None => modern(KEY, id, "tools/call", params),
                        });
                        let Some(answer) = client.answer() else {
                            seen.lost.fetch_add(1, Ordering::SeqCst);
                            return;
                        };
                        assert_eq!(
                            (answer.status, answer.json()["id"].clone()),
                            (200, json!(id)),
                            "{}",
                            text(&answer)
                        );
                        assert!(answer.json()["result"].is_object(), "{}", text(&answer));
                        seen.answers.fetch_add(1, Ordering::SeqCst);
                        if answer.header("connection") == Some("close") {
                            client.assert_closed();
                            seen.told.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                });
            }
            wait_for("some load", || seen.answers.load(Ordering::SeqCst) > 400);
            gateway.drain();
        });
        let answers = seen.answers.load(Ordering::SeqCst);
        assert_eq!((seen.lost.load(Ordering::SeqCst), seen.told.load(Ordering::SeqCst)), (0, 8));
        let lines = gateway.stop();
        let calls: Vec<&Value> = lines.iter().filter(|line| line["method"] == "tools/call").collect();
        assert_eq!(calls.len(), answers, "one line for each answer");
        assert!(calls.iter().all(|line| line["status"] == 200));
        assert_eq!(upstream.arrived("tools/call").len() - before, answers);
    }
}

/// Long calls of every kind are under way when the drain begins, and are let end.
#[test]
fn a_drain_waits_for_what_is_under_way() {
    for force_wrong_worker in [false, true] {
        let gate = Gate::default();
        let held = gate.clone();
        let upstream = Scripted::modern(move |request| {
            let mut steps = match request.argument("case") {
                "stream" => {
                    let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
                    vec![Step::Send([event_stream(), event(&note)].concat()), Step::Await(held.clone())]
                }
                _ => vec![Step::Await(held.clone())],
            };
            steps.extend(match request.argument("case") {
                "stream" => vec![Step::Send([event(&echoed(request)), b"0\r\n\r\n".to_vec()].concat())],
                _ => json_reply(&echoed(request)),
            });
            steps
        });
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config(&upstream.url())) });
        let mut clients = Vec::new();
        for case in ["json", "stream"] {
            let mut client = Client::connect(gateway.address);
            client.send(call(7, json!({"case": case})));
            clients.push(client);
            let mut client = Client::connect(gateway.address);
            let session = initialize(&mut client, KEY, "2025-11-25");
            let params = json!({"name": "echo", "arguments": {"case": case}});
            client.send(legacy(KEY, &session, 7, "tools/call", params));
            clients.push(client);
        }
        wait_for("all calls", || upstream.arrived("tools/call").len() == 4);
        gateway.drain();
        // Connections are refused once the drain has really begun; the calls are still held then.
        wait_for("the listeners to close", || std::net::TcpStream::connect(gateway.address).is_err());
        let beats = || gateway.handle().figures().iter().map(|worker| worker.beats.get()).max();
        let from = beats();
        wait_for("ten more ticks", || beats() > from.map(|beats| beats + 10));
        gate.open();
        for client in &mut clients {
            let answer = client.answer().expect("an answer");
            assert!(!answer.cut_short);
            let last = answer.messages().pop().expect("a message");
            assert_eq!(
                (last["id"].clone(), last["result"].is_object()),
                (json!(7), true),
                "{}",
                text(&answer)
            );
        }
        // Those whose stream had begun before the drain could not be told: they are let go.
        for client in &mut clients {
            client.assert_closed();
        }
        gateway.stop();
    }
}

/// A worker that has nothing left to do must not end while its idle clients could still ask: another
/// worker may be busy for long, and they would wait as long.
#[test]
fn idle_clients_are_served_or_let_go_while_a_drain_waits_for_others() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Scripted::modern(move |request| match request.argument("case") {
        "" => json_reply(&echoed(request)),
        _ => [vec![Step::Await(held.clone())], json_reply(&echoed(request))].concat(),
    });
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    let mut busy = Client::connect(gateway.address);
    busy.send(call(7, json!({"case": "long"})));
    wait_for("the long call", || upstream.arrived("tools/call").len() == 1);
    // On both workers, some of them idle for long enough to have given their buffers back.
    let connect = || {
        let mut client = Client::connect(gateway.address);
        assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
        client
    };
    let mut idle: Vec<Client> = (0..8).map(|_| connect()).collect();
    std::thread::sleep(Duration::from_millis(1_200));
    idle.extend((0..8).map(|_| connect()));
    let mut asking: Vec<Client> = (0..8).map(|_| connect()).collect();
    let began = Instant::now();
    gateway.drain();
    for client in &mut asking {
        // The first may still be answered before its worker hears of the drain.
        loop {
            client.send(call(2, json!({})));
            let in_time = began.elapsed() < Duration::from_millis(150);
            let Some(answer) = client.answer() else {
                assert!(!in_time, "idle connections have 200 ms for another request");
                break;
            };
            assert_eq!(answer.status, 200, "{}", text(&answer));
            if answer.header("connection") == Some("close") {
                client.assert_closed();
                break;
            }
        }
    }
    for client in &mut idle {
        client.assert_closed();
        assert!(!client.reset);
    }
    gate.open();
    assert_eq!(busy.answer().expect("an answer").status, 200);
    gateway.stop();
}

/// New clients keep coming while the gateway stops: each is either refused at the door or served.
#[test]
fn whoever_is_let_in_during_a_drain_is_served() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    let (stop, served, told) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let address = gateway.address;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let Ok(stream) = std::net::TcpStream::connect(address) else { return };
                    let mut client = Client::of(stream);
                    client.send(call(1, json!({})));
                    // Whoever is let in and says nothing for 200 ms is let go.
                    let in_time = began.elapsed() < Duration::from_millis(150);
                    // The kernel may let somebody in whom the closing listener then resets: not accepted by us.
                    let Some(answer) = client.answer() else {
                        assert!(client.reset || !in_time, "closed without an answer");
                        continue;
                    };
                    assert_eq!(answer.status, 200, "{}", text(&answer));
                    served.fetch_add(1, Ordering::SeqCst);
                    told.fetch_add(
                        usize::from(answer.header("connection") == Some("close")),
                        Ordering::SeqCst,
                    );
                }
            });
        }
        wait_for("some load", || served.load(Ordering::SeqCst) > 100);
        gateway.drain();
        wait_for("somebody who is told", || told.load(Ordering::SeqCst) > 0);
        wait_for("the listeners to close", || std::net::TcpStream::connect(address).is_err());
        stop.store(true, Ordering::SeqCst);
    });
    gateway.stop();
}
