//! More than there are places for: an early answer that says when to come back, and nobody else notices.

use std::net::TcpStream;

use serde_json::json;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Gate, echoed, json_reply};
use strait_tests::{Client, Gateway, Setup, Step};

use crate::common::{
    KIB, MIB, assert_serves, at_most, attack, call, config, echo, figure, reason, text, upstream,
    wait_for_quiet,
};
use crate::host::Host;

/// `TURNED_AWAY_MAX` of the engine.
const TURNED_AWAY_MAX: u64 = 256;

#[test]
fn a_flood_of_connections_is_turned_away_and_costs_those_inside_nothing() {
    const PLACES: usize = 50;
    const FLOOD: usize = 3_000;
    let upstream = echo();
    let config = config(&upstream, &format!("caps: {{ connections: {PLACES} }}"));
    let mut host = Host::start(&config, json!({"workers": 1}));
    let mut inside: Vec<Client> = (0..PLACES).map(|_| Client::connect(host.address)).collect();
    for client in &mut inside {
        assert_eq!(client.roundtrip(call(0, json!({}))).status, 200);
    }
    host.forget_peak();
    let (memory, files) = (host.peak(), host.open_files() as u64);
    let (mut flood, mut told, mut most_files) = (Vec::new(), 0, 0);
    for number in 0..FLOOD {
        flood.push(TcpStream::connect(host.address).expect("the queue has room"));
        if number % 10 == 0 {
            let client = &mut inside[number / 10 % PLACES];
            assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
            most_files = most_files.max(host.open_files() as u64);
        }
    }
    for stream in flood {
        let mut client = Client::of(stream);
        if let Some(answer) = client.answer() {
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
            told += 1;
        }
        client.assert_closed();
    }
    assert!(told >= 1, "nobody was told");
    let name = format!("{FLOOD} connections over a cap of {PLACES}");
    at_most(&name, "files opened for them", most_files.saturating_sub(files), TURNED_AWAY_MAX + 8);
    at_most(&name, "memory for them in KiB", host.peak().saturating_sub(memory) / KIB, 16 * MIB / KIB);
    for client in &mut inside {
        assert_eq!(client.roundtrip(call(2, json!({}))).status, 200, "those inside stay");
    }
    drop(inside);
    wait_for("places to be free", || host.figure("connections") == 0);
    assert_serves(host.address, 10);
}

#[test]
fn calls_over_the_cap_are_refused_at_once_and_the_others_answered() {
    const CALLS: usize = 4;
    let gate = Gate::default();
    let held = gate.clone();
    let upstream =
        upstream(move |request| [vec![Step::Await(held.clone())], json_reply(&echoed(request))].concat());
    let config = config(&upstream, &format!("caps: {{ calls: {CALLS} }}"));
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
    let mut admitted: Vec<Client> = (0..CALLS).map(|_| Client::connect(gateway.address)).collect();
    for (id, client) in admitted.iter_mut().enumerate() {
        client.send(attack(id as i64, "wait"));
    }
    wait_for("all places to be taken", || figure(&gateway, |worker| worker.inflight.get()) == CALLS as u64);
    let mut other = Client::connect(gateway.address);
    for id in 0..200 {
        let refused = other.roundtrip(call(id, json!({})));
        assert_eq!((refused.status, reason(&refused).as_str()), (503, "overloaded"), "{}", text(&refused));
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(refused.error().1, "gateway: overloaded: too many calls at once; retry later");
        assert_eq!(refused.json()["id"], id, "it says which call, and the connection stays");
    }
    let arrived = upstream.arrived("tools/call").len() as u64;
    at_most("calls over the cap", "calls at the upstream", arrived, CALLS as u64);
    gate.open();
    for (id, client) in admitted.iter_mut().enumerate() {
        assert_eq!(client.answer().expect("an answer").json()["id"], id);
    }
    assert_eq!(other.roundtrip(call(1, json!({}))).status, 200);
    drop((admitted, other));
    wait_for_quiet(&gateway);
}
