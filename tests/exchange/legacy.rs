//! What only the older revisions have: sessions with upstreams that are lost, and clients whose leaving cancels nothing.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{
    self, Deed, echoed, event, event_stream, http, initialized, json_reply, method,
};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, call, config, text};

const CALLS: usize = 12;

#[test]
fn calls_that_lose_one_session_open_one_new() {
    let (opened, lost, refused) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (one_lost, all_lost, reopen) = (Gate::default(), Gate::default(), Gate::default());
    let (opening, losing, refusing) = (opened.clone(), lost.clone(), refused.clone());
    let (early, late, slow) = (one_lost.clone(), all_lost.clone(), reopen.clone());
    let lists = scripted::legacy(|request| json_reply(&echoed(request)));
    let upstream = Scripted::start(move |request| {
        let session: usize = request.header("Mcp-Session-Id").and_then(|id| id.parse().ok()).unwrap_or(0);
        match method(request) {
            "initialize" => {
                let id = opening.fetch_add(1, Ordering::SeqCst) + 1;
                let body = initialized(request).to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {id}\r\nContent-Length: \
                     {}\r\n\r\n{body}",
                    body.len()
                );
                let wait = (losing.load(Ordering::SeqCst) > 0).then(|| Step::Await(slow.clone()));
                wait.into_iter().chain([Step::Send(answer.into_bytes())]).collect()
            }
            "tools/call" if session <= losing.load(Ordering::SeqCst) => {
                // One is told while the others still wait to be: they lose it while it is opened, or later.
                let first = refusing.fetch_add(1, Ordering::SeqCst) == 0;
                let wait = Step::Await(if first { early.clone() } else { late.clone() });
                let answer = Step::Send(http(404, "text/plain", b"session not found"));
                vec![wait, answer]
            }
            _ => lists(request),
        }
    });
    let url = upstream.url();
    let gateway =
        Gateway::start(Setup { workers: 1, ..Setup::new(config(&format!("  up: {{ http: \"{url}\" }}"))) });
    let mut clients: Vec<Client> = (0..CALLS).map(|_| Client::connect(gateway.address)).collect();
    // Whoever comes first to a principal without a session opens it; the others use it.
    let before = opened.load(Ordering::SeqCst);
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(call(id as i64, json!({})));
    }
    for client in &mut clients {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    let sessions = opened.load(Ordering::SeqCst);
    assert_eq!(sessions, before + 1, "opened once for all");

    lost.store(sessions, Ordering::SeqCst);
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(call(id as i64, json!({"n": id})));
    }
    wait_for("all calls in the lost session", || refused.load(Ordering::SeqCst) == CALLS);
    one_lost.open();
    wait_for("a new session to be asked for", || opened.load(Ordering::SeqCst) == sessions + 1);
    all_lost.open();
    reopen.open();
    for (id, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().expect("an answer");
        assert_eq!(
            (answer.status, answer.json()["id"].as_u64()),
            (200, Some(id as u64)),
            "{}",
            text(&answer)
        );
    }
    assert_eq!(opened.load(Ordering::SeqCst), sessions + 1, "opened again once");
    assert_lives(&gateway);
}

/// A call that is held until the gate opens, then reports whether the gateway still waits for it, answers with two
/// events, and reports whether the gateway still reads.
fn held(gate: &Gate, kept: &Arc<Mutex<Vec<bool>>>, request: &scripted::Arrived) -> Vec<Step> {
    let look = || {
        let kept = kept.clone();
        Deed::step(move |stream| {
            stream.set_nonblocking(true).expect("nonblocking");
            let open = stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            stream.set_nonblocking(false).expect("blocking");
            kept.lock().unwrap().push(open);
            true
        })
    };
    let note = event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
        "progressToken": request.body["params"]["_meta"]["progressToken"], "progress": 1}}));
    let result = event(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}}));
    vec![
        Step::Await(gate.clone()),
        look(),
        Step::Send([event_stream(), note.clone()].concat()),
        Step::Send(note),
        Step::Send([result, b"0\r\n\r\n".to_vec()].concat()),
        look(),
    ]
}

#[test]
fn a_legacy_client_that_leaves_cancels_nothing() {
    for force_wrong_worker in [false, true] {
        let (gate, kept) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
        let (holding, looks) = (gate.clone(), kept.clone());
        let upstream = Scripted::modern(move |request| match request.argument("case") {
            "" => json_reply(&echoed(request)),
            "held" => held(&holding, &looks, request),
            _ => vec![Step::Hang],
        });
        let url = upstream.url();
        let config = config(&format!("  up: {{ http: \"{url}\" }}"));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        let figure = |of: fn(&strait_engine::WorkerFigures) -> u64| {
            gateway.handle().figures().iter().map(|worker| of(worker)).sum::<u64>()
        };
        let inflight = || figure(|worker| worker.inflight.get());
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        client.send(legacy(
            KEY,
            &session,
            5,
            "tools/call",
            json!({
            "name": "echo", "arguments": {"case": "held"}, "_meta": {"progressToken": "t"}}),
        ));
        wait_for("the legacy call", || upstream.arrived("tools/call").len() == 1);
        drop(client);
        // A younger call of a modern client that leaves is let go: by then the older one was looked at as well.
        let mut modern = Client::connect(gateway.address);
        modern.send(call(6, json!({"case": "hang"})));
        wait_for("the modern call", || upstream.arrived("tools/call").len() == 2);
        wait_for("both to be under way", || inflight() >= 2);
        drop(modern);
        // The worker that a handed-over request came to gives its place back at once.
        wait_for("the modern call, and only it, to end", || inflight() == 1);
        wait_for("both clients' connections to be let go", || {
            figure(|worker| worker.connections.get()) == u64::from(!force_wrong_worker)
        });
        gate.open();
        wait_for("the legacy call to end", || inflight() == 0 && kept.lock().unwrap().len() == 2);
        assert_eq!(*kept.lock().unwrap(), [true, true], "the upstream was let finish");
        assert_lives(&gateway);
    }
}

#[test]
fn a_server_that_answers_the_probe_with_nothing_is_an_older_one() {
    let rest = scripted::legacy(|request| json_reply(&echoed(request)));
    let upstream = Scripted::start(move |request| match method(request) {
        "server/discover" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {}})),
        _ => rest(request),
    });
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))));
    let answer = Client::connect(gateway.address).roundtrip(call(1, json!({"n": 1})));
    assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"n\":1}", "{}", text(&answer));
    assert!(!upstream.arrived("initialize").is_empty(), "it was greeted as older servers are");
    let call = upstream.arrived("tools/call").pop().unwrap();
    assert_eq!(call.header("Mcp-Method"), None, "and called as they are");
}
