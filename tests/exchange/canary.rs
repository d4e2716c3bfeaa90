//! A candidate beside the live edition: who is served by which, what stays where, and what its end leaves alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strait_engine::figures::labels::Outcome;
use strait_engine::trial::{Mode, Selector};
use strait_tests::client::{initialize, legacy, modern, post, session_stream};
use strait_tests::edition::Key;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, http, json_reply};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, call, config, text};
use crate::http_sse::SseClient;
use crate::listen::{assert_ends, listening, lists, told};

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

/// A config with one upstream, `up`, at this address.
fn to(upstream: &Scripted) -> String {
    config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))
}

/// The same, but that nobody may use `secret`.
fn but_secret(upstream: &Scripted) -> String {
    format!("{}    - {{ id: no, deny: [up.secret] }}\n", to(upstream))
}

fn principals(names: &[&str]) -> Mode {
    Mode::Canary(Selector::principals(names.iter().copied()))
}

fn header() -> Mode {
    Mode::Canary(Selector::Header { name: "X-Canary".into(), value: "yes".into() })
}

/// Calls that have arrived there.
fn calls(upstream: &Scripted) -> usize {
    upstream.arrived("tools/call").len()
}

fn ask(gateway: &Gateway, key: &str) {
    let answer = Client::connect(gateway.address).roundtrip(modern(
        key,
        1,
        "tools/call",
        json!({"name": "echo", "arguments": {}}),
    ));
    assert_eq!(answer.status, 200, "{}", text(&answer));
}

/// An exchange is counted once its last byte has left: its client may be ahead.
fn wait_for_counts(gateway: &Gateway, outcome: Outcome, expected: (u64, u64)) {
    let (live, candidate) = gateway.tallies();
    let candidate = candidate.expect("a candidate");
    let counts = || (live.outcome(outcome), candidate.outcome(outcome));
    wait_for(&format!("{expected:?} `{}`", outcome.label()), || counts() == expected);
}

fn with_header(request: Vec<u8>, line: &str) -> Vec<u8> {
    let request = String::from_utf8(request).expect("UTF-8");
    request.replacen("\r\n", &format!("\r\n{line}\r\n"), 1).into_bytes()
}

#[test]
fn a_canary_by_principal_serves_those_and_nobody_else() {
    let (stable, fresh) = (echoes(), echoes());
    let gateway = Gateway::start(Setup::new(to(&stable)));
    let live = gateway.tallies().0.generation.to_string();
    let candidate = gateway.attempt(&to(&fresh), principals(&["sam"]));
    for _ in 0..3 {
        ask(&gateway, "key-small");
        ask(&gateway, KEY);
        ask(&gateway, KEY);
    }
    assert_eq!((calls(&stable), calls(&fresh)), (6, 3));
    // Whom the live edition does not know, the candidate does not get to see.
    let answer = Client::connect(gateway.address).roundtrip(modern("key-of-nobody", 1, "ping", json!({})));
    assert_eq!(answer.status, 401);
    wait_for_counts(&gateway, Outcome::Ok, (6, 3));
    wait_for_counts(&gateway, Outcome::Refused, (1, 0));
    assert_lives(&gateway);
    for line in gateway.stop().iter().filter(|line| line["tool"] == "echo") {
        let expected = if line["principal"] == "sam" { &candidate } else { &live };
        assert_eq!(line["generation"], expected.as_str(), "{line}");
    }
}

#[test]
fn a_share_is_always_the_same_principals_and_another_candidate_has_others() {
    let keys: Vec<Key> = (0..64)
        .map(|n| (&*format!("key-{n}").leak(), &*format!("agent-{n}").leak(), &["full"] as &[_]))
        .collect();
    let (stable, fresh, other) = (echoes(), echoes(), echoes());
    let gateway = Gateway::start(Setup { keys: keys.clone(), ..Setup::new(to(&stable)) });
    let picked = |config: &str, candidate: &Scripted, ppm: u32| -> BTreeSet<&str> {
        gateway.attempt(config, Mode::Canary(Selector::Share { ppm }));
        let mut picked = BTreeSet::new();
        for round in 0..2 {
            for (key, name, _) in &keys {
                let before = calls(candidate);
                ask(&gateway, key);
                let is_new = calls(candidate) > before && picked.insert(*name);
                assert!(!is_new || round == 0, "{name} went to both");
            }
        }
        gateway.end_trial(false);
        picked
    };
    assert_eq!(picked(&to(&fresh), &fresh, 0).len(), 0);
    assert_eq!(picked(&to(&fresh), &fresh, 1_000_000).len(), 64);
    let quarter = picked(&to(&fresh), &fresh, 250_000);
    assert!((4..=32).contains(&quarter.len()), "{quarter:?}");
    assert_eq!(picked(&to(&fresh), &fresh, 250_000), quarter);
    // More of them are the same ones and others.
    let half = picked(&to(&fresh), &fresh, 500_000);
    assert!(half.is_superset(&quarter) && half.len() > quarter.len(), "{half:?}");
    assert_ne!(picked(&to(&other), &other, 250_000), quarter);
    assert_lives_as(&gateway, "key-0");
}

fn assert_lives_as(gateway: &Gateway, key: &str) {
    let answer = Client::connect(gateway.address).roundtrip(modern(key, 9, "tools/list", json!({})));
    assert_eq!(answer.status, 200, "{}", text(&answer));
}

#[test]
fn a_canary_by_header_serves_requests_that_say_so() {
    let (stable, fresh) = (echoes(), echoes());
    let gateway = Gateway::start(Setup::new(to(&stable)));
    gateway.attempt(&to(&fresh), header());
    let mut client = Client::connect(gateway.address);
    let mut ask = |line: &str| {
        let answer = client.roundtrip(with_header(call(1, json!({})), line));
        assert_eq!(answer.status, 200, "{}", text(&answer));
        (calls(&stable), calls(&fresh))
    };
    assert_eq!(ask("x-canary: yes"), (0, 1));
    assert_eq!(ask("X-Canary: no"), (1, 1));
    assert_eq!(ask("X-Canary: yes\r\nX-Canary: yes"), (2, 1), "said twice");
    assert_eq!(ask("X-Other: yes"), (3, 1));
    gateway.end_trial(false);
    assert_eq!(ask("X-Canary: yes"), (4, 1));
    assert_lives(&gateway);
}

#[test]
fn a_session_stays_where_it_was_opened_until_the_candidate_is_ended() {
    for force_wrong_worker in [false, true] {
        for promoted in [false, true] {
            let (stable, fresh) = (echoes(), Scripted::legacy(|request| json_reply(&echoed(request))));
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(to(&stable)) });
            let mut client = Client::connect(gateway.address);
            let older = initialize(&mut client, KEY, "2025-06-18");
            gateway.attempt(&to(&fresh), principals(&["ann"]));
            let newer = initialize(&mut client, KEY, "2025-11-25");
            let mut streams = [&older, &newer].map(|id| session_stream(gateway.address, KEY, id));
            let mut ask = |session: &str| {
                let echo = json!({"name": "echo", "arguments": {}});
                let answer = client.roundtrip(legacy(KEY, session, 3, "tools/call", echo));
                assert_eq!(answer.status, 200, "{}", text(&answer));
                (calls(&stable), calls(&fresh))
            };
            assert_eq!(ask(&older), (1, 0), "opened before the canary");
            assert_eq!(ask(&newer), (1, 1));
            assert_eq!(ask(&newer), (1, 2));
            gateway.end_trial(promoted);
            let expected = if promoted { [(1, 3), (1, 4)] } else { [(2, 2), (3, 2)] };
            assert_eq!([ask(&older), ask(&newer)], expected);
            // Both streams are open, and the first thing that they say is what changes now.
            gateway.offer(lists(&["more"], &[]));
            for stream in &mut streams {
                assert_eq!(stream.next_event()["method"], "notifications/tools/list_changed");
            }
            assert_lives(&gateway);
        }
    }
}

#[test]
fn a_client_of_http_sse_stays_with_its_stream() {
    let (stable, fresh) = (echoes(), echoes());
    let gateway = Gateway::start(Setup::new(to(&stable)));
    gateway.attempt(&but_secret(&fresh), principals(&["ann"]));
    let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
    client.initialize("2024-11-05", json!({}));
    client.call(1);
    assert_eq!(client.hear()["id"], 1);
    assert_eq!((calls(&stable), calls(&fresh)), (0, 1));
    gateway.end_trial(false);
    assert_eq!(client.hear()["method"], "notifications/tools/list_changed", "`secret` is there again");
    client.call(2);
    assert_eq!(client.hear()["id"], 2);
    assert_eq!((calls(&stable), calls(&fresh)), (1, 1));
    assert_lives(&gateway);
}

#[test]
fn a_listen_on_a_candidate_that_is_ended_is_told_what_changed_and_stays() {
    let (stable, fresh) = (echoes(), echoes());
    let gateway = Gateway::start(Setup::new(to(&stable)));
    gateway.attempt(&but_secret(&fresh), principals(&["ann"]));
    let wanted = json!({"toolsListChanged": true});
    let (mut on_candidate, _) = listening(&gateway, KEY, wanted.clone());
    let (mut on_live, _) = listening(&gateway, "key-small", wanted.clone());
    gateway.end_trial(false);
    assert_eq!(told(&mut on_candidate), "notifications/tools/list_changed");
    // The next candidate is not theirs, until it is promoted.
    gateway.attempt(&but_secret(&fresh), principals(&["ann"]));
    gateway.end_trial(true);
    for listen in [&mut on_candidate, &mut on_live] {
        assert_eq!(told(listen), "notifications/tools/list_changed");
    }
    gateway.drain();
    for listen in [&mut on_candidate, &mut on_live] {
        assert_ends(listen);
    }
}

#[test]
fn a_call_on_a_candidate_that_is_ended_is_answered_by_whom_it_asked() {
    let gate = Gate::default();
    let opened = gate.clone();
    let stable = echoes();
    let fresh = Scripted::modern(move |request| {
        let mut steps = vec![Step::Await(opened.clone())];
        steps.extend(json_reply(&echoed(request)));
        steps
    });
    let gateway = Gateway::start(Setup::new(to(&stable)));
    gateway.attempt(&to(&fresh), principals(&["ann"]));
    let mut client = Client::connect(gateway.address);
    client.send(call(4, json!({})));
    wait_for("the call to arrive", || calls(&fresh) == 1);
    gateway.end_trial(false);
    gate.open();
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(4)), "{}", text(&answer));
    assert_eq!((calls(&stable), calls(&fresh)), (0, 1));
    ask(&gateway, KEY);
    assert_eq!((calls(&stable), calls(&fresh)), (1, 1));
    assert_lives(&gateway);
}

#[test]
fn an_upstream_that_both_have_is_one() {
    let upstream = echoes();
    let gateway = Gateway::start(Setup::new(to(&upstream)));
    let mut client = Client::connect(gateway.address);
    let mut say = |key: &str| {
        let echo = json!({"name": "echo", "arguments": {}});
        assert_eq!(client.roundtrip(modern(key, 1, "tools/call", echo)).status, 200);
    };
    say(KEY);
    let before = upstream.connections();
    gateway.attempt(&but_secret(&upstream), principals(&["sam"]));
    for _ in 0..3 {
        say(KEY);
        say("key-small");
    }
    gateway.end_trial(true);
    say("key-small");
    assert_eq!(upstream.connections(), before, "one worker, one connection");
    assert_lives(&gateway);
}

#[test]
fn errors_of_a_candidates_upstream_are_its_generations_own() {
    let stable = echoes();
    let fresh = Scripted::modern(|_| vec![Step::Send(http(500, "text/plain", b"no"))]);
    let gateway = Gateway::start(Setup::new(to(&stable)));
    gateway.attempt(&to(&fresh), principals(&["sam"]));
    let echo = json!({"name": "echo", "arguments": {}});
    for key in [KEY, "key-small", "key-small"] {
        Client::connect(gateway.address).roundtrip(modern(key, 1, "tools/call", echo.clone()));
    }
    wait_for_counts(&gateway, Outcome::Ok, (1, 0));
    wait_for_counts(&gateway, Outcome::UpstreamFault, (0, 2));
    assert_lives(&gateway);
}

#[test]
fn a_shadow_reports_the_planted_differences_and_changes_nothing() {
    let live = |upstream: &Scripted| {
        let rules = "    - { id: no-slow, deny: [up.slow] }\n";
        format!("{}{rules}", to(upstream))
    };
    let shadow = |upstream: &Scripted| {
        let rules = "    - { id: echoes, allow: [up.echo], to: [full] }\n    \
                     - { id: no-secret, deny: [up.secret], to: [small] }\n";
        let all = "- { id: all, allow: [\"*\"], to: [full, small] }";
        let fewer = "- { id: most, allow: [up.slow, up.secret], to: [full, small] }";
        format!("{}{rules}", to(upstream)).replace(all, fewer)
    };
    let requests: Vec<Vec<u8>> = ["echo", "slow", "secret", "absent"]
        .into_iter()
        .flat_map(|tool| [KEY, "key-small"].map(|key| (key, tool)))
        .map(|(key, tool)| modern(key, 1, "tools/call", json!({"name": tool, "arguments": {"x": "planted"}})))
        .collect();
    let run = |is_shadowed: bool| {
        let upstream = echoes();
        let gateway = Gateway::start(Setup::new(live(&upstream)));
        if is_shadowed {
            gateway.attempt(&shadow(&upstream), Mode::Shadow);
        }
        let said: Vec<(u16, String)> = requests
            .iter()
            .map(|request| {
                let answer = Client::connect(gateway.address).roundtrip(request);
                (answer.status, text(&answer))
            })
            .collect();
        let arrived: Vec<String> =
            upstream.arrived("tools/call").iter().map(|call| call.body["params"].to_string()).collect();
        let found = gateway.differences();
        assert_lives(&gateway);
        (said, arrived, found)
    };
    let (said, arrived, none) = run(false);
    let (shadowed, arrived_too, found) = run(true);
    assert!(none.is_empty());
    assert_eq!((said, arrived), (shadowed, arrived_too));
    let mut told: Vec<Value> = Vec::new();
    for sample in found.iter().flat_map(|found| &found.samples) {
        assert!(!format!("{sample:?}").contains("planted"), "{sample:?}");
        let side = |side: &strait_engine::exchange::shadow::Ruling| json!([side.word, side.rule]);
        told.push(json!([
            sample.principal,
            sample.what,
            sample.difference.label(),
            side(&sample.live),
            side(&sample.candidate)
        ]));
    }
    told.sort_by_key(Value::to_string);
    let expected = [
        json!(["ann", "tool up.echo", "other_rule", ["permit", "all"], ["permit", "echoes"]]),
        json!(["ann", "tool up.secret", "other_rule", ["permit", "all"], ["permit", "most"]]),
        json!(["ann", "tool up.slow", "opens", ["unknown_tool", "no-slow"], ["permit", "most"]]),
        json!(["sam", "tool up.echo", "closes", ["permit", "all"], ["unknown_tool", null]]),
        json!(["sam", "tool up.secret", "closes", ["permit", "all"], ["unknown_tool", "no-secret"]]),
        json!(["sam", "tool up.slow", "opens", ["unknown_tool", "no-slow"], ["permit", "most"]]),
    ];
    assert_eq!(told, expected);
    let mut counts = std::collections::BTreeMap::<&str, [u64; 4]>::new();
    for (what, more) in found.iter().flat_map(|found| &found.counts) {
        let sum = counts.entry(what).or_default();
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    let expected =
        [("tool up.echo", [0, 0, 1, 1]), ("tool up.secret", [0, 0, 1, 1]), ("tool up.slow", [0, 2, 0, 0])];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_shadow_looks_at_limits_and_takes_nothing() {
    let limit =
        |max: u32| format!("limits: [{{ id: few, per: [principal], on: [up.echo], calls: {max}/day }}]\n");
    let upstream = echoes();
    let gateway =
        Gateway::start(Setup { workers: 1, ..Setup::new(format!("{}{}", to(&upstream), limit(4))) });
    gateway.attempt(&format!("{}{}", to(&upstream), limit(2)), Mode::Shadow);
    let reached = |_| {
        let answer = Client::connect(gateway.address).roundtrip(call(1, json!({})));
        answer.json()["result"]["isError"] == true
    };
    let reached: Vec<bool> = (0..5).map(reached).collect();
    assert_eq!(reached, [false, false, false, false, true], "as many as without a shadow");
    let found = gateway.differences();
    let samples: Vec<_> = found.iter().flat_map(|found| &found.samples).collect();
    let told: Vec<_> = samples.iter().map(|s| (s.difference.label(), s.candidate.limit.as_deref())).collect();
    assert_eq!(told, [("closes", Some("few")), ("closes", Some("few"))]);
    assert_lives(&gateway);
}

#[test]
fn a_shadow_decides_for_sessions_and_older_clients_too() {
    let upstream = Scripted::legacy(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(to(&upstream)));
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-03-26");
    gateway.attempt(&but_secret(&upstream), Mode::Shadow);
    let secret = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "secret", "arguments": {}}});
    let answer = client.roundtrip(legacy(KEY, &session, 3, "tools/call", secret(3)["params"].clone()));
    assert_eq!((answer.status, answer.json()["error"].is_null()), (200, true), "{}", text(&answer));
    let bearer = format!("Bearer {KEY}");
    let headers = [("Authorization", bearer.as_str()), ("Mcp-Session-Id", &session)];
    let batch = json!([secret(4), secret(5)]).to_string();
    assert_eq!(client.roundtrip(post(&headers, batch.as_bytes())).messages().len(), 2);
    let found = gateway.differences();
    let counts: Vec<_> = found.iter().flat_map(|found| &found.counts).collect();
    assert_eq!(counts, [&("tool up.secret".to_owned(), [0, 0, 3, 0])]);
    assert_lives(&gateway);
}
