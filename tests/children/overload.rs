//! Peers that take their time, or ask for more than one child can bear, at nobody else's cost.

use std::time::{Duration, Instant};

use serde_json::json;
use strait_tests::client::modern;
use strait_tests::gateway::{PATIENCE, assert_no_worker_panicked, wait_for};
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Client, Gateway, Scripted, Setup};

use crate::child::{ERAS, KEY, Script, ask, assert_recovers, config, doing, fault, said};

/// `HEAD_MS_MAX` of the engine, and how far from it the coarse clock and a busy machine may be.
const HEAD: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn half_a_head_does_not_keep_a_connection() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
    let begun = Instant::now();
    let half = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ";
    let mut silent: Vec<Client> = (0..20).map(|_| Client::connect(gateway.address)).collect();
    silent.iter_mut().for_each(|client| client.send(half));
    let mut dribbling = Client::connect(gateway.address);
    dribbling.send(half);
    let mut other = Client::connect(gateway.address);
    let mut id = 0;
    // Each byte on time, and yet the head takes too long.
    while begun.elapsed() < HEAD + SLACK && dribbling.peek(Duration::from_millis(1)).is_empty() {
        dribbling.send(b"x");
        id += 1;
        let call = modern(KEY, id, "tools/call", json!({"name": "echo", "arguments": {}}));
        assert_eq!(said(&other.roundtrip(call), id), "{}", "others are served meanwhile");
        std::thread::sleep(Duration::from_millis(100));
    }
    for client in silent.iter_mut().chain([&mut dribbling]) {
        if let Some(answer) = client.answer() {
            assert_eq!(answer.status, 408);
        }
        client.assert_closed();
    }
    let took = begun.elapsed();
    assert!(took > HEAD - SLACK && took < PATIENCE, "{took:?}");
    assert_no_worker_panicked();
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_else() {
    const BYTES: usize = 8 * 1024 * 1024;
    let script = Script::write();
    for era in ERAS {
        let upstream = Scripted::modern(|request| {
            let text = "x".repeat(BYTES);
            let result = json!({"resultType": "complete", "content": [{"type": "text", "text": text}]});
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
        });
        let config =
            config(&format!("{}\n  up: {{ http: \"{}\" }}", script.kid(era, "", ""), upstream.url()));
        let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
        let mut idlers: Vec<Client> = (0..8).map(|_| Client::connect(gateway.address)).collect();
        for (number, client) in idlers.iter_mut().enumerate() {
            client.send(if number % 2 == 0 {
                doing(1, json!({"do": "large", "bytes": BYTES}))
            } else {
                modern(KEY, 1, "tools/call", json!({"name": "echo", "arguments": {}}))
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let mut client = Client::connect(gateway.address);
        for id in 1..101 {
            assert_eq!(said(&client.roundtrip(doing(id, json!({}))), id), "{}");
        }
        for client in &mut idlers {
            assert_eq!(said(&client.answer().expect("an answer"), 1).len(), BYTES);
        }
        assert_no_worker_panicked();
    }
}

/// `CHILD_PENDING_MAX` of the engine.
const PENDING: usize = 1024;

#[test]
fn more_calls_than_a_child_can_bear_are_refused_at_once() {
    if open_files_max() < 4 * PENDING {
        eprintln!("skipped: needs `ulimit -n` of at least {}", 4 * PENDING);
        return;
    }
    let script = Script::write();
    for force_wrong_worker in [false, true] {
        let config = config(&script.kid("modern", "", ""));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        let mut clients: Vec<Client> = (0..=PENDING).map(|_| Client::connect(gateway.address)).collect();
        clients.iter_mut().for_each(|client| client.send(doing(1, json!({"do": "never"}))));
        // None of them is answered but the one too many: from then on the child is full.
        wait_for("the one too many to be refused", || {
            gateway.handle().figures().iter().any(|worker| worker.refused() > 0)
        });
        let refused = ask(&gateway, 2, json!({}));
        assert_eq!(fault(&refused, 2), "upstream `kid`: busy: 1024 calls are waiting for it already");
        assert_eq!(refused.json()["error"]["data"]["retryable"], true);
        drop(clients);
        assert_recovers(&gateway);
    }
}

fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(usize::MAX)
}
