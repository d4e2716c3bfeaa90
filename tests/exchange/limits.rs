//! Limits: what is within them passes, what is not is told so in words its caller understands, and two workers count as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, post};
use strait_tests::gateway::{PATIENCE, wait_for};
use strait_tests::scripted::{echoed, json_reply, method, unknown_method};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{self, KEY, assert_lives, call, reason, text};

fn config(upstream: &Scripted, limits: &str) -> String {
    let upstreams = format!("  up: {{ http: \"{}\" }}", upstream.url());
    format!("{}{limits}\n", common::config(&upstreams))
}

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

fn gateway(upstream: &Scripted, limits: &str) -> Gateway {
    Gateway::start(Setup::new(config(upstream, limits)))
}

fn tool(key: &str, name: &str) -> Vec<u8> {
    modern(key, 1, "tools/call", json!({"name": name, "arguments": {}}))
}

fn ask(gateway: &Gateway, request: Vec<u8>) -> Answer {
    Client::connect(gateway.address).roundtrip(request)
}

/// Whether a call was let through; one that was not must say so as a limit does.
fn passes(gateway: &Gateway, request: Vec<u8>) -> bool {
    let answer = ask(gateway, request);
    assert_eq!(answer.status, 200, "{}", text(&answer));
    match &refusal(&answer)["reason"] {
        Value::Null => true,
        reason => {
            assert!(reason.as_str().unwrap().starts_with("limit_"), "{}", text(&answer));
            false
        }
    }
}

fn refusal(answer: &Answer) -> Value {
    answer.json()["result"]["_meta"]["dev.strait/refusal"].clone()
}

const BURST: &str = "limits: [{ id: two, per: [principal, tool], on: [up.echo], rate: 1/h, burst: 2 }]";

#[test]
fn a_call_beyond_a_rate_is_told_the_limit_and_when_to_come_back() {
    let upstream = echoes();
    let gateway = gateway(&upstream, BURST);
    for _ in 0..2 {
        assert!(passes(&gateway, tool(KEY, "echo")));
    }
    let answer = ask(&gateway, tool(KEY, "echo"));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    let result = answer.json()["result"].clone();
    let allows = "1 call per hour and 2 at once, for each principal and tool";
    assert_eq!(result["isError"], true);
    assert_eq!(result["resultType"], "complete");
    assert_eq!(
        result["content"],
        json!([{"type": "text", "text": format!("gateway: limit `two` is reached: {allows}; try again in {wait} s")}])
    );
    let expected = json!({"reason": "limit_rate", "limit": "two", "allows": allows, "retryAfter": wait});
    assert_eq!(refusal(&answer), expected);
    // Another tool, and another caller, have allowances of their own.
    assert!(passes(&gateway, tool(KEY, "slow")));
    assert!(passes(&gateway, tool("key-small", "echo")));
    assert_eq!(upstream.arrived("tools/call").len(), 4);
    assert_lives(&gateway);
    let lines = gateway.stop();
    let line = lines.iter().find(|line| line["refused"] == "limit_rate").expect("an access line");
    assert_eq!(
        (&line["limit"], &line["verdict"], &line["status"]),
        (&json!("two"), &json!("permit"), &json!(200))
    );
    assert!(lines.iter().filter(|line| line["limit"] != Value::Null).count() == 1);
}

#[test]
fn an_older_client_is_told_in_its_words() {
    let upstream = echoes();
    let gateway = gateway(&upstream, BURST);
    let mut client = Client::connect(gateway.address);
    for version in ["2024-11-05", "2025-11-25"] {
        let session = initialize(&mut client, KEY, version);
        let mut told = Value::Null;
        for id in 1..4 {
            let request = legacy(KEY, &session, id, "tools/call", json!({"name": "echo", "arguments": {}}));
            let answer = client.roundtrip(request);
            assert_eq!(answer.status, 200, "{}", text(&answer));
            told = answer.json();
            assert_eq!(told["id"], id);
        }
        assert_eq!(told["result"]["isError"], true, "{told}");
        assert_eq!(told["result"]["_meta"]["dev.strait/refusal"]["limit"], "two");
        assert!(told["result"].get("resultType").is_none(), "{told}");
    }
    // What begins a task has no such result.
    let session = initialize(&mut client, KEY, "2025-11-25");
    let begun = json!({"name": "echo", "arguments": {}, "task": {"ttl": 1000}});
    let answer = client.roundtrip(legacy(KEY, &session, 9, "tools/call", begun));
    assert_eq!((answer.status, answer.error().0, reason(&answer).as_str()), (200, 429, "limit_rate"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(upstream.arrived("tools/call").len(), 2);
}

/// From many connections at once, so that both workers spend, until `wanted` calls have passed.
fn hammer(gateway: &Gateway, wanted: usize) -> usize {
    let (admitted, until) = (AtomicUsize::new(0), Instant::now() + PATIENCE);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connections: Vec<Client> = (0..4).map(|_| Client::connect(gateway.address)).collect();
                while admitted.load(Ordering::Relaxed) < wanted && Instant::now() < until {
                    for client in &mut connections {
                        let answer = client.roundtrip(tool(KEY, "echo"));
                        if refusal(&answer).is_null() {
                            assert_eq!(answer.status, 200, "{}", text(&answer));
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    admitted.into_inner()
}

/// What one worker holds and does not use comes back to the other; together they never spend more.
#[test]
fn two_workers_spend_one_allowance_to_the_last_call() {
    for limit in ["calls: 700/day", "rate: 1/day, burst: 300", "cost: 0.9 usd/day", "calls: 1/day"] {
        let upstream = echoes();
        let limits = format!("prices: {{ \"up.*\": 0.003 usd }}\nlimits: [{{ per: [], {limit} }}]");
        let gateway = gateway(&upstream, &limits);
        let wanted = match limit {
            "calls: 700/day" => 700,
            "calls: 1/day" => 1,
            _ => 300,
        };
        assert_eq!(hammer(&gateway, wanted), wanted, "{limit}");
        for _ in 0..32 {
            assert!(!passes(&gateway, tool(KEY, "echo")), "{limit}");
        }
        assert_eq!(upstream.arrived("tools/call").len(), wanted, "{limit}");
        let spread = gateway.handle().figures().iter().map(|worker| worker.exchanges());
        assert!(spread.clone().all(|count| count > 0), "{limit}: {:?}", spread.collect::<Vec<_>>());
    }
}

#[test]
fn a_call_is_within_all_of_its_limits_or_takes_from_none() {
    let upstream = echoes();
    let limits = "limits:\n  - { id: all, per: [], calls: 2/day }\n  - { id: own, per: [principal], rate: 1/h }\n  - { id: none, per: [], to: [small], on: [up.secret], concurrency: 1 }";
    let gateway = gateway(&upstream, limits);
    assert!(passes(&gateway, tool(KEY, "echo")));
    for _ in 0..10 {
        assert_eq!(refusal(&ask(&gateway, tool(KEY, "echo")))["limit"], "own");
    }
    // None of those ten has taken anything of what is for all.
    assert!(passes(&gateway, tool("key-small", "slow")));
    assert_eq!(refusal(&ask(&gateway, tool("key-small", "slow")))["limit"], "all");
    let calls = |limit: &str, outcome: &str| {
        let handle = gateway.handle();
        let place = handle.books().limits.place_of(limit);
        let counts = handle.figures().iter().filter_map(|worker| worker.limit_seen(place));
        let count = |figures: &strait_engine::figures::limits::LimitFigures| match outcome {
            "admitted" => figures.admitted.get(),
            _ => figures.refused.get(),
        };
        counts.map(count).sum::<u64>()
    };
    assert_eq!((calls("all/calls", "admitted"), calls("own/rate", "admitted")), (2, 2));
    assert!(calls("own/rate", "refused") >= 10);
    assert_eq!(calls("none/concurrency", "admitted") + calls("none/concurrency", "refused"), 0);
}

#[test]
fn money_is_counted_to_the_millionth() {
    let upstream = echoes();
    let limits = "prices: { \"up.*\": 0.1 usd, up.slow: 0.300001 usd, \"tool:up.secret\": 2 usd }\nlimits: [{ id: purse, per: [principal], cost: 1 usd/day }]";
    let gateway = gateway(&upstream, limits);
    for _ in 0..3 {
        assert!(passes(&gateway, tool(KEY, "slow")));
    }
    // 0.900003 are spent.
    let answer = ask(&gateway, tool(KEY, "echo"));
    assert_eq!(refusal(&answer)["reason"], "limit_cost");
    assert!(answer.header("retry-after").is_some());
    // What can never be is not told to come back.
    let answer = ask(&gateway, tool("key-small", "secret"));
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(
        answer.json()["result"]["content"][0]["text"],
        "gateway: this call costs 2 usd, more than limit `purse` ever allows: 1 usd per day, for each principal"
    );
    assert!(passes(&gateway, tool("key-small", "echo")));
    assert_eq!(upstream.arrived("tools/call").len(), 4);
}

#[test]
fn a_place_among_calls_at_once_comes_back_however_a_call_ends() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Scripted::modern(move |request| match request.argument("case") {
        "held" => [vec![Step::Await(held.clone())], json_reply(&echoed(request))].concat(),
        "hang" => vec![Step::Hang],
        "close" => vec![Step::Close],
        _ => json_reply(&echoed(request)),
    });
    let gateway = gateway(&upstream, "limits: [{ id: room, per: [upstream], concurrency: 2 }]");
    let case = |case: &str| call(1, json!({"case": case}));
    let mut held: Vec<Client> = (0..2).map(|_| Client::connect(gateway.address)).collect();
    held.iter_mut().for_each(|client| client.send(case("held")));
    wait_for("both calls to be under way", || upstream.arrived("tools/call").len() == 2);
    let answer = ask(&gateway, case(""));
    assert_eq!(refusal(&answer)["reason"], "limit_concurrency");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let text = answer.json()["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(
        text.ends_with("2 calls at once, for each upstream; try again when another call has ended"),
        "{text}"
    );
    gate.open();
    for client in &mut held {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    // Whoever has left, or whose server has, holds nothing. More of them than there are places.
    for _ in 0..3 {
        let before = upstream.arrived("tools/call").len();
        let mut client = Client::connect(gateway.address);
        wait_for("a place", || {
            client.send(case("hang"));
            let arrived = || upstream.arrived("tools/call").len() > before;
            let until = Instant::now() + PATIENCE;
            // Refused at once, or on its way.
            while !arrived() && client.peek(std::time::Duration::from_millis(5)).is_empty() {
                assert!(Instant::now() < until);
            }
            if !arrived() {
                client.answer();
            }
            arrived()
        });
        drop(client);
    }
    for _ in 0..3 {
        let answered = Arc::new(AtomicUsize::new(0));
        wait_for("a call whose server closes", || {
            answered.fetch_add(1, Ordering::Relaxed);
            let answer = ask(&gateway, case("close"));
            refusal(&answer).is_null()
        });
    }
    // Cancelled by a client of the older revisions.
    let (mut client, mut other) = (Client::connect(gateway.address), Client::connect(gateway.address));
    let session = initialize(&mut client, KEY, "2025-11-25");
    for id in 1..4 {
        let before = upstream.arrived("tools/call").len();
        let params = json!({"name": "echo", "arguments": {"case": "hang"}});
        client.send(legacy(KEY, &session, id, "tools/call", params));
        wait_for("the call to be under way", || upstream.arrived("tools/call").len() > before);
        let cancel =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        let auth = ("Authorization", "Bearer key-full");
        other.roundtrip(post(&[auth, ("Mcp-Session-Id", &session)], cancel.to_string().as_bytes()));
        client.answer();
        client = Client::connect(gateway.address);
    }
    for _ in 0..4 {
        wait_for("both places to be free", || passes(&gateway, case("")));
    }
    assert_lives(&gateway);
}

/// Resources (one that only a template covers among them), prompts and methods of the server's own.
#[test]
fn what_is_no_tool_is_refused_with_an_error() {
    let upstream = Scripted::start(|request| {
        let result = |result: Value| {
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
        };
        match method(request) {
            "server/discover" => {
                result(json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": {"resources": {}, "prompts": {}}, "ttlMs": 0, "cacheScope": "public"}))
            }
            "resources/list" => result(json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public",
                "resources": [{"uri": "note://a", "name": "a"}]})),
            "resources/templates/list" => {
                result(json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public",
                "resourceTemplates": [{"uriTemplate": "file:///{p}", "name": "f"}]}))
            }
            "prompts/list" => result(json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public",
                "prompts": [{"name": "review"}]})),
            "resources/read" => {
                result(json!({"resultType": "complete", "contents": [], "ttlMs": 0, "cacheScope": "public"}))
            }
            "prompts/get" => result(json!({"resultType": "complete", "messages": []})),
            "vendor/thing" => result(json!({"resultType": "complete"})),
            _ => unknown_method(request, 404),
        }
    });
    let limits = "limits:\n  - { id: a, per: [tool], on: [\"resource:note://a\"], calls: 1/day }\n  - { id: b, per: [], on: [\"resource:file:///x*\"], calls: 1/day }\n  - { id: c, per: [], on: [\"prompt:up.review\"], calls: 1/day }";
    let all = "tools: [\"*\"], prompts: [\"*\"], resources: [\"*\"]";
    let gateway = Gateway::start(Setup::new(config(&upstream, limits).replace("tools: [\"*\"]", all)));
    let read = |uri: &str| modern(KEY, 1, "resources/read", json!({"uri": uri}));
    let get = || modern(KEY, 1, "prompts/get", json!({"name": "review"}));
    let refused = |request: Vec<u8>, limit: &str| {
        let answer = ask(&gateway, request);
        assert_eq!((answer.status, answer.error().0), (429, 429), "{}", text(&answer));
        assert_eq!(answer.json()["error"]["data"]["limit"], limit, "{}", text(&answer));
        assert!(answer.header("retry-after").is_some());
    };
    let passes = |request: Vec<u8>| {
        let answer = ask(&gateway, request);
        assert!(answer.status == 200 && answer.json()["result"].is_object(), "{}", text(&answer));
    };
    passes(read("note://a"));
    refused(read("note://a"), "a");
    passes(read("file:///x1"));
    refused(read("file:///x2"), "b");
    // Of a URI, its own patterns count, not its template's.
    passes(read("file:///y"));
    passes(read("file:///y"));
    passes(get());
    refused(get(), "c");
    // Nobody can say what a method of its own reaches.
    let answer = ask(&gateway, modern(KEY, 1, "vendor/thing", json!({})));
    assert_eq!(answer.status, 429, "{}", text(&answer));
    // To an older client the error rides on 200.
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-06-18");
    let answer = client.roundtrip(legacy(KEY, &session, 2, "prompts/get", json!({"name": "review"})));
    assert_eq!((answer.status, answer.error().0), (200, 429), "{}", text(&answer));
}

#[test]
fn what_was_used_counts_on_over_a_reload() {
    let upstream = echoes();
    let (three, other) = ("{ id: three, per: [principal], calls: 3/day }", "{ per: [tool], rate: 100/s }");
    let gateway = gateway(&upstream, &format!("limits: [{three}]"));
    assert!(passes(&gateway, tool(KEY, "echo")));
    assert!(passes(&gateway, tool(KEY, "echo")));
    let reload = |limits: &str| {
        gateway.reconfigure(&config(&upstream, limits));
        // What only an edition with its table knows: all workers serve from it when none is behind.
        let serial = gateway.serial();
        wait_for("every worker to adopt it", || gateway.handle().behind(serial).is_empty());
    };
    reload(&format!("limits: [{other}, {three}]"));
    // A worker may hold the third: it gives it back when it does not use it.
    wait_for("the third", || passes(&gateway, tool(KEY, "slow")));
    assert_eq!(refusal(&ask(&gateway, tool(KEY, "echo")))["limit"], "three");
    // More are allowed: what was used is still used.
    reload("limits: [{ id: three, per: [principal], calls: 4/day }]");
    wait_for("the fourth", || passes(&gateway, tool(KEY, "echo")));
    assert!(!passes(&gateway, tool(KEY, "echo")));
    // Without limits, and with them again.
    reload("");
    assert!(passes(&gateway, tool(KEY, "echo")));
    reload(&format!("limits: [{three}]"));
    assert!(!passes(&gateway, tool(KEY, "echo")));
    // Another limit.
    reload("limits: [{ id: other, per: [principal], calls: 3/day }]");
    assert!(passes(&gateway, tool(KEY, "echo")));
}
