//! Connections that want nothing: they cost little, and they give way.

use serde_json::json;
use strait_engine::Deadlines;
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;
use strait_tests::{Client, Gateway, Setup};

use crate::common::{KEY, KIB, assert_serves, at_most, call, config, echo, figure};
use crate::host::Host;

/// Each has made a call before it fell idle.
#[test]
fn ten_thousand_idle_connections_cost_little_and_slow_nobody() {
    let files = strait_engine::io::files::raise();
    // Whoever has fewer files measures with fewer.
    let idle = (files.hard.unwrap_or(u64::MAX) / 2).saturating_sub(200).min(10_000) as usize;
    let upstream = echo();
    let mut host = Host::start(&config(&upstream, ""), json!({}));
    assert_serves(host.address, 200);
    wait_for("a quiet gateway", || host.figure("connections") == 0);
    let before = host.rss();
    let mut clients: Vec<Client> = Vec::with_capacity(idle);
    for id in 0..idle {
        let mut client = Client::connect(host.address);
        assert_eq!(client.roundtrip(call(id as i64, json!({}))).status, 200);
        clients.push(client);
    }
    wait_for("all of them to be parked", || {
        let figures = host.figures();
        figures["connections"] == idle && figures["held_bytes"].as_u64() < Some(64 * KIB)
    });
    // Buffers that nobody needs go back to the system over the next seconds.
    let each = |host: &Host| host.rss().saturating_sub(before) / idle as u64;
    wait_for("memory to go back", || each(&host) <= 4 * KIB);
    let each = each(&host);
    at_most(&format!("{idle} idle connections"), "RSS of each in bytes", each, 4 * KIB);
    assert_serves(host.address, 500);
    // They are still there, every one.
    for client in clients.iter_mut().step_by(100) {
        assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
    }
}

/// Each was acknowledged and has nothing to say.
#[test]
fn ten_thousand_idle_listens_cost_little_and_slow_nobody() {
    let files = strait_engine::io::files::raise();
    // Whoever has fewer files measures with fewer.
    let idle = (files.hard.unwrap_or(u64::MAX) / 2).saturating_sub(200).min(10_000) as usize;
    let upstream = echo();
    let mut host = Host::start(&config(&upstream, ""), json!({}));
    assert_serves(host.address, 200);
    wait_for("a quiet gateway", || host.figure("connections") == 0);
    let before = host.rss();
    let asked = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
    let mut clients: Vec<Client> = Vec::with_capacity(idle);
    for id in 0..idle {
        let mut client = Client::connect(host.address);
        client.send(modern(KEY, id as i64, "subscriptions/listen", asked.clone()));
        assert_eq!(client.stream_head().status, 200);
        let first = client.event().expect("an acknowledgement").message;
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        clients.push(client);
    }
    wait_for("all of them to stand", || {
        let figures = host.figures();
        figures["listens"] == idle && figures["held_bytes"].as_u64() < Some(64 * KIB)
    });
    // Buffers that nobody needs go back to the system over the next seconds.
    let each = |host: &Host| host.rss().saturating_sub(before) / idle as u64;
    wait_for("memory to go back", || each(&host) <= 6 * KIB);
    let each = each(&host);
    at_most(&format!("{idle} idle listens"), "RSS of each in bytes", each, 6 * KIB);
    assert_serves(host.address, 500);
}

/// Whoever only sits on connections cannot keep others out; who uses theirs keeps them.
#[test]
fn idle_connections_give_way_when_places_are_few() {
    const PLACES: usize = 40;
    let upstream = echo();
    let config = config(&upstream, &format!("caps: {{ connections: {PLACES} }}"));
    let deadlines = Deadlines { idle_pressed_ms: 1_000, ..Deadlines::default() };
    let gateway = Gateway::start(Setup { workers: 1, deadlines, ..Setup::new(config) });
    let mut busy = Client::connect(gateway.address);
    assert_eq!(busy.roundtrip(call(0, json!({}))).status, 200);
    let mut sitting: Vec<Client> = (1..PLACES).map(|_| Client::connect(gateway.address)).collect();
    wait_for("all places to be taken", || {
        figure(&gateway, |worker| worker.connections.get()) == PLACES as u64
    });
    let refused = Client::connect(gateway.address).answer().expect("an answer");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let mut calls = 0;
    wait_for("newcomers to be served", || {
        calls += 1;
        assert_eq!(busy.roundtrip(call(calls, json!({}))).status, 200, "whoever works is left alone");
        let mut newcomer = Client::connect(gateway.address);
        newcomer.send(call(1, json!({})));
        newcomer.answer().is_some_and(|answer| answer.status == 200)
    });
    for client in &mut sitting {
        client.assert_closed();
    }
    assert_eq!(busy.roundtrip(call(0, json!({}))).status, 200);
}
