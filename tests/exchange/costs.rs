//! What calls cost where that is known only afterwards: set aside before, and come to what was really spent, however a call ends.

use serde_json::{Value, json};
use strait_engine::figures::costs::By;
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{event, event_stream, http};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{self, KEY, assert_lives, text};
use crate::http_sse::SseClient;

/// The answer to a call whose arguments say it: `meta` as text of `_meta`, `bytes` of content.
fn answer(request: &strait_tests::scripted::Arrived) -> Vec<u8> {
    let arguments = &request.body["params"]["arguments"];
    let meta = arguments["meta"].as_str().map(|meta| format!(",\"_meta\":{meta}")).unwrap_or_default();
    let content = "x".repeat(arguments["bytes"].as_u64().unwrap_or(0) as usize);
    let id = &request.body["id"];
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{content}"}}]{meta}}}}}"#
    )
    .into_bytes()
}

fn telling() -> Scripted {
    Scripted::modern(|request| vec![Step::Send(http(200, "application/json", &answer(request)))])
}

fn gateway(upstream: &Scripted, prices: &str, limits: &str, workers: usize) -> Gateway {
    let upstreams = format!("  up: {{ http: \"{}\" }}", upstream.url());
    let config = format!("{}prices: {prices}\nlimits: {limits}\n", common::config(&upstreams));
    Gateway::start(Setup { workers, ..Setup::new(config) })
}

fn call(tool: &str, arguments: Value) -> Vec<u8> {
    modern(KEY, 1, "tools/call", json!({"name": tool, "arguments": arguments}))
}

fn ask(gateway: &Gateway, tool: &str, arguments: Value) -> Value {
    Client::connect(gateway.address).roundtrip(call(tool, arguments)).json()
}

fn is_refused(answer: &Value) -> bool {
    answer["result"]["_meta"]["dev.strait/refusal"]["reason"] == "limit_cost"
}

/// What access lines of calls say, in their order: the cost, and why a call was refused.
fn lines(gateway: Gateway) -> Vec<(Option<u64>, Option<String>)> {
    let lines = gateway.stop();
    let calls = lines.iter().filter(|line| line["method"] == "tools/call" && line["tool"].is_string());
    calls.map(|line| (line["cost_micro_usd"].as_u64(), line["refused"].as_str().map(str::to_owned))).collect()
}

#[test]
fn a_budget_comes_to_what_servers_have_told() {
    let upstream = telling();
    let prices = r#"{ "up.*": { call: 0.001 usd, meta: usageTotalUsd, up_to: 0.5 usd } }"#;
    let gateway = gateway(&upstream, prices, "[{ id: purse, per: [], cost: 1 usd/day }]", 2);
    let mut passed = 0;
    loop {
        let answer = ask(&gateway, "echo", json!({"meta": r#"{"usageTotalUsd":0.099}"#}));
        if is_refused(&answer) {
            break;
        }
        assert!(answer["result"]["content"].is_array(), "{answer}");
        passed += 1;
    }
    // Half a dollar is set aside for each: as long as less than that is spent, there is room for one more.
    assert_eq!((passed, upstream.arrived("tools/call").len()), (6, 6));
    let figures = gateway.handle().figures();
    let spent = |by: By, name: &str| -> u64 {
        let of = figures.iter().flat_map(|worker| worker.costs.iter(by)).filter(|(known, _)| *known == name);
        of.map(|(_, spent)| spent).sum()
    };
    assert_eq!((spent(By::Tool, "up.echo"), spent(By::Principal, "ann")), (600_000, 600_000));
    // Of two workers, each of which writes its lines when it likes.
    let mut lines = lines(gateway);
    lines.sort();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0], (None, Some("limit_cost".to_owned())), "what is refused costs nothing");
    assert!(lines[1..].iter().all(|line| *line == (Some(100_000), None)), "{lines:?}");
}

#[test]
fn what_a_server_says_in_no_readable_way_costs_the_most_that_the_call_may() {
    let upstream = telling();
    let prices = r#"{ "up.*": { call: 0.01 usd, meta: usageTotalUsd, up_to: 0.5 usd } }"#;
    let gateway = gateway(&upstream, prices, "[{ per: [], cost: 1000 usd/day }]", 1);
    let mut expected = Vec::new();
    for (meta, cost) in [
        (None, 10_000),
        (Some("{}"), 10_000),
        (Some(r#"{"other":5,"nested":{"usageTotalUsd":1}}"#), 10_000),
        (Some(r#"{"usageTotalUsd":0}"#), 10_000),
        (Some(r#"{"usageTotalUsd":0.25}"#), 260_000),
        (Some(r#"{"usageTotalUsd":2.5e-1}"#), 260_000),
        (Some(r#"{"usageTotalUsd":0.0000001}"#), 10_001),
        (Some(r#"{"usageTotalUsd":1e400}"#), 500_000),
        (Some(r#"{"usageTotalUsd":99999999999999999999999999999999}"#), 500_000),
        (Some(r#"{"usageTotalUsd":-0.2}"#), 500_000),
        (Some(r#"{"usageTotalUsd":-1e400}"#), 500_000),
        (Some(r#"{"usageTotalUsd":"0.2"}"#), 500_000),
        (Some(r#"{"usageTotalUsd":null}"#), 500_000),
        (Some(r#"{"usageTotalUsd":[0.2]}"#), 500_000),
        (Some(r#"{"usageTotalUsd":{"usd":0.2}}"#), 500_000),
        (Some(r#"{"usageTotalUsd":0.2,"usageTotalUsd":0}"#), 500_000),
    ] {
        // Numbers that our own reader does not take go through as they are.
        let answer = Client::connect(gateway.address).roundtrip(call("echo", json!({"meta": meta})));
        assert!(text(&answer).contains("\"content\""), "{meta:?}: {}", text(&answer));
        expected.push((Some(cost), None));
    }
    // No JSON at all is no answer: that its server worked for it is what the call costs.
    let answer = ask(&gateway, "echo", json!({"meta": r#"{"usageTotalUsd":NaN}"#}));
    assert_eq!(answer["error"]["data"]["reason"], "upstream_not_mcp", "{answer}");
    expected.push((Some(10_000), Some("upstream_not_mcp".to_owned())));
    // More than anybody holds: nobody has read what it says at its end.
    let answer = ask(&gateway, "echo", json!({"bytes": 300_000, "meta": r#"{"usageTotalUsd":0}"#}));
    assert!(answer["result"]["content"].is_array());
    expected.push((Some(500_000), None));
    assert_lives(&gateway);
    assert_eq!(lines(gateway), expected);
}

#[test]
fn a_price_by_size_is_that_of_what_the_upstream_said() {
    let upstream = Scripted::modern(|request| match request.argument("kind") {
        "stream" => {
            let token = &request.body["params"]["_meta"]["progressToken"];
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": 1, "message": "y".repeat(2_000)}});
            let last: Value = serde_json::from_slice(&answer(request)).expect("JSON");
            vec![
                Step::Send(event_stream()),
                Step::Send(event(&progress)),
                Step::Send(event(&last)),
                Step::Close,
            ]
        }
        _ => vec![Step::Send(http(200, "application/json", &answer(request)))],
    });
    let prices = r#"{ "up.*": { per_kib: 0.001 usd, up_to: 0.4 usd }, up.slow: 0.5 usd, up.secret: { call: 0.6 usd, per_kib: 0.000001 usd, up_to: 0.6 usd } }"#;
    let gateway = gateway(&upstream, prices, "[]", 1);
    for bytes in [0, 900, 10_000, 300_000] {
        ask(&gateway, "echo", json!({"bytes": bytes}));
    }
    let mut client = Client::connect(gateway.address);
    let arguments = json!({"bytes": 3_000, "kind": "stream"});
    let streamed = modern(
        KEY,
        1,
        "tools/call",
        json!({"name": "echo", "arguments": arguments, "_meta": {"progressToken": "p"}}),
    );
    assert_eq!(client.roundtrip(streamed).messages().len(), 2);
    ask(&gateway, "slow", json!({"bytes": 10_000}));
    ask(&gateway, "secret", json!({"bytes": 10_000}));
    let costs: Vec<u64> = lines(gateway).into_iter().map(|(cost, _)| cost.expect("a cost")).collect();
    // A frame of some 90 bytes besides; of the progress some 120.
    assert_eq!(costs, [1_000, 1_000, 10_000, 294_000, 6_000, 500_000, 600_000], "without any limit as well");
}

/// Ends of calls of which no server says what they cost, each with what it comes to.
#[test]
fn whatever_becomes_of_a_call_the_rest_goes_back() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Scripted::modern(move |request| match request.argument("kind") {
        "close" => vec![Step::Close],
        "status" => vec![Step::Send(http(500, "text/plain", b"no"))],
        "error" => {
            let error = json!({"jsonrpc": "2.0", "id": request.body["id"], "error": {"code": -32000, "message": "no"}});
            vec![Step::Send(http(200, "application/json", error.to_string().as_bytes()))]
        }
        "hang" => vec![Step::Hang],
        "held" => {
            vec![Step::Await(held.clone()), Step::Send(http(200, "application/json", &answer(request)))]
        }
        "half" => vec![Step::Send(event_stream()), Step::Close],
        _ => vec![Step::Send(http(200, "application/json", &answer(request)))],
    });
    let prices = r#"{ up.echo: { call: 0.01 usd, meta: usageTotalUsd, up_to: 0.2 usd }, up.slow: 0.01 usd }"#;
    let limits = "[{ id: purse, per: [], cost: 1 usd/day }, { id: few, per: [principal], on: [up.echo], rate: 1/day, burst: 11 }]";
    let gateway = gateway(&upstream, prices, limits, 1);
    for kind in ["close", "status", "error", "half"] {
        ask(&gateway, "echo", json!({"kind": kind}));
    }
    // Who leaves hears nothing of what it cost: the most that it may.
    let mut client = Client::connect(gateway.address);
    client.send(call("echo", json!({"kind": "hang"})));
    wait_for("the call", || upstream.arrived("tools/call").iter().any(|one| one.argument("kind") == "hang"));
    drop(client);
    // In a session the answer goes on without its client; and so it costs what it costs.
    let mut older = Client::connect(gateway.address);
    let session = initialize(&mut older, KEY, "2025-06-18");
    let params = json!({"name": "echo", "arguments": {"meta": r#"{"usageTotalUsd":0.02}"#}});
    assert_eq!(older.roundtrip(legacy(KEY, &session, 2, "tools/call", params)).status, 200);
    let mut wire = SseClient::open(&gateway, "/mcp/sse", KEY);
    wire.initialize("2024-11-05", json!({}));
    wire.call(3);
    assert!(wire.hear()["result"].is_object());
    drop(wire);
    // One under way, whose part is set aside: 0.01 by 4, 0.2, 0.03, 0.01 and 0.2 leave 0.52.
    let mut waiting = Client::connect(gateway.address);
    waiting.send(call("echo", json!({"kind": "held", "meta": r#"{"usageTotalUsd":0.04}"#})));
    wait_for("the call", || upstream.arrived("tools/call").iter().any(|one| one.argument("kind") == "held"));
    wait_for("the one who left to be noticed", || {
        let figures = gateway.handle().figures();
        let spent = figures.iter().flat_map(|one| one.costs.iter(By::Tool)).map(|(_, spent)| spent);
        spent.sum::<u64>() == 280_000
    });
    let mut passed = 3;
    for _ in 0..passed {
        assert!(!is_refused(&ask(&gateway, "slow", json!({}))));
    }
    gate.open();
    assert!(waiting.answer().expect("an answer").json()["result"].is_object());
    // Whom another limit refuses has nothing set aside: eleven calls are all that it lets through.
    for _ in 0..3 {
        ask(&gateway, "echo", json!({"kind": "error"}));
    }
    for _ in 0..5 {
        let answer = ask(&gateway, "echo", json!({}));
        assert_eq!(answer["result"]["_meta"]["dev.strait/refusal"]["limit"], "few", "{answer}");
    }
    // 0.28 + 0.03 + 0.05 + 0.03 are spent: what is left is there to the last hundredth.
    while !is_refused(&ask(&gateway, "slow", json!({}))) {
        passed += 1;
    }
    assert_eq!(passed, 3 + 61);
    assert_lives(&gateway);
    let lines = lines(gateway);
    let spent: u64 = lines.iter().filter_map(|(cost, _)| *cost).sum();
    assert_eq!(spent, 1_000_000, "{lines:?}");
}
