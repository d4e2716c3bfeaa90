//! How suspended calls end that are not simply answered: nobody comes back, too many wait, the client leaves; and what is
//! told of them meanwhile.

use serde_json::{Value, json};
use strait_engine::roll::SuspendedLine;
use strait_engine::{Deadlines, digest};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, ACCEPTED, Arrived, event, event_stream, method};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, reason};
use crate::suspend::{Answers, asks, call, form, last, roots, send};

fn setup(upstream: &Scripted) -> Setup {
    Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url())))
}

fn suspended(gateway: &Gateway) -> u64 {
    gateway.handle().figures().iter().map(|worker| worker.suspended.get()).sum()
}

/// What workers tell of suspended calls.
fn lines(gateway: &Gateway) -> Vec<SuspendedLine> {
    let mut rolls = gateway.handle().rolls().call();
    let mut lines = Vec::new();
    while let Some(roll) = rolls.blocking_recv() {
        assert_eq!(roll.suspended.total, roll.suspended.told.len());
        lines.extend(roll.suspended.told);
    }
    lines
}

fn cancelled(upstream: &Scripted) -> usize {
    upstream.arrived("notifications/cancelled").len()
}

#[test]
fn nothing_suspended_outlives_its_deadline() {
    for force_wrong_worker in [false, true] {
        let answers = Answers::default();
        let upstream = asks(vec![vec![form(1), roots(2)]], answers.clone());
        let deadlines = Deadlines { suspended_ms: 400, ..Deadlines::default() };
        let gateway = Gateway::start(Setup { force_wrong_worker, deadlines, ..setup(&upstream) });
        let first = last(&send(&gateway, call(KEY, 1, json!({}))));
        let told = lines(&gateway);
        assert_eq!(told.len(), 1, "{told:?}");
        let line = &told[0];
        assert_eq!((line.principal, line.server), (digest("ann"), digest("default")));
        assert_eq!((line.upstream.as_str(), line.method.as_str()), ("up", "tools/call"));
        assert_eq!((line.item.as_str(), line.questions), ("echo", 2));
        assert!(line.left_ms <= 400, "{line:?}");
        wait_for("the call to be given up", || cancelled(&upstream) == 1);
        wait_for("its questions to be refused", || answers.lock().unwrap().len() == 2);
        let mut told = answers.lock().unwrap().clone();
        told.sort_by_key(|answer| answer["id"].as_i64());
        assert_eq!(told[0], json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "cancel"}}));
        assert_eq!((&told[1]["id"], &told[1]["error"]["code"]), (&json!(2), &json!(-32603)));
        assert!(lines(&gateway).is_empty());
        wait_for("the figure", || suspended(&gateway) == 0);
        let late = json!({"requestState": first["result"]["requestState"],
            "inputResponses": {"r1": {"action": "decline"}, "r2": {"roots": []}}});
        let answer = send(&gateway, call(KEY, 2, late));
        assert_eq!((answer.status, answer.error().0), (400, -32602));
        assert_lives(&gateway);
    }
}

#[test]
fn no_more_calls_wait_than_a_core_may_have() {
    let answers = Answers::default();
    let upstream = asks(vec![vec![roots(1)]], answers.clone());
    let setup = setup(&upstream);
    let config = format!("caps: {{ calls: 2 }}\n{}", setup.config);
    let gateway = Gateway::start(Setup { config, workers: 1, ..setup });
    let first = last(&send(&gateway, call(KEY, 1, json!({}))));
    last(&send(&gateway, call(KEY, 2, json!({}))));
    wait_for("the figure", || suspended(&gateway) == 2);
    let third = send(&gateway, call(KEY, 3, json!({})));
    assert_eq!(reason(&third), "overloaded", "{third:?}");
    wait_for("the server to be told", || cancelled(&upstream) == 1 && answers.lock().unwrap().len() == 1);
    assert_eq!(answers.lock().unwrap()[0]["error"]["code"], -32603);
    assert_eq!(suspended(&gateway), 2);
    // Those that wait are none the worse.
    let state = &first["result"]["requestState"];
    let answer = json!({"requestState": state, "inputResponses": {"r1": {"roots": []}}});
    assert_eq!(last(&send(&gateway, call(KEY, 4, answer)))["result"]["resultType"], "complete");
    assert_lives(&gateway);
}

/// A server that waits for the first gate, asks for roots, and then for the second, which nobody opens.
fn never_ends(asks: Gate, ends: Gate) -> Scripted {
    let script = scripted::legacy(move |_| {
        let question = Step::Send(event(&roots(1)));
        vec![Step::Send(event_stream()), Step::Await(asks.clone()), question, Step::Await(ends.clone())]
    });
    Scripted::start(move |request: &Arrived| match method(request) {
        "" | "notifications/cancelled" => vec![Step::Send(ACCEPTED.to_vec())],
        _ => script(request),
    })
}

#[test]
fn a_client_that_leaves_ends_its_call_unless_it_has_been_asked() {
    for force_wrong_worker in [false, true] {
        let (asks, ends) = (Gate::default(), Gate::default());
        let upstream = never_ends(asks.clone(), ends.clone());
        let gateway = Gateway::start(Setup { force_wrong_worker, ..setup(&upstream) });
        // Before it is asked.
        let mut client = Client::connect(gateway.address);
        client.send(call(KEY, 1, json!({})));
        wait_for("the call", || upstream.arrived("tools/call").len() == 1);
        drop(client);
        wait_for("the call to be cancelled", || cancelled(&upstream) == 1);
        // With the question in hand it may leave.
        asks.open();
        let first = last(&send(&gateway, call(KEY, 2, json!({}))));
        assert_eq!(lines(&gateway).len(), 1);
        assert_eq!(cancelled(&upstream), 1);
        // And while it waits for the answer to its answer.
        let state = &first["result"]["requestState"];
        let mut client = Client::connect(gateway.address);
        let answer = json!({"requestState": state, "inputResponses": {"r1": {"roots": []}}});
        client.send(call(KEY, 3, answer));
        wait_for("the answer to arrive", || upstream.arrived("").len() == 1);
        assert!(lines(&gateway).is_empty(), "it does not wait any more");
        drop(client);
        wait_for("the call to be cancelled", || cancelled(&upstream) == 2);
        ends.open();
        assert_lives(&gateway);
    }
}

#[test]
fn a_server_that_asks_without_end_is_answered_for_what_is_too_much() {
    let answers = Answers::default();
    let questions: Vec<Value> = (0..40).map(roots).collect();
    let upstream = asks(vec![questions], answers.clone());
    let gateway = Gateway::start(setup(&upstream));
    let first = last(&send(&gateway, call(KEY, 1, json!({}))));
    let asked = first["result"]["inputRequests"].as_object().unwrap().clone();
    assert!((2..=16).contains(&asked.len()), "{}", asked.len());
    let declined = 40 - asked.len();
    // Only so many answers of ours are under way at once in an upstream's session; what is beyond has none.
    wait_for("the others to be declined", || answers.lock().unwrap().len() >= declined.min(16));
    let told = answers.lock().unwrap().clone();
    assert!(told.iter().all(|answer| answer["error"]["code"] == -32601), "{told:?}");
    assert_lives(&gateway);
}

/// A server with a stream of what belongs to no call, on which it asks for roots as the gates open.
fn asks_beside(gates: Vec<Gate>, ends: Gate) -> Scripted {
    let waits = ends.clone();
    let script = scripted::legacy(move |_| vec![Step::Send(event_stream()), Step::Await(waits.clone())]);
    Scripted::start(move |request: &Arrived| match method(request) {
        "" | "notifications/cancelled" => vec![Step::Send(ACCEPTED.to_vec())],
        "initialize" => {
            let body = scripted::initialized(request).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            vec![Step::Send([head, body].concat().into_bytes())]
        }
        "GET" => {
            let mut steps = vec![Step::Send(event_stream())];
            for (gate, id) in gates.iter().zip(1..) {
                steps.extend([Step::Await(gate.clone()), Step::Send(event(&roots(id)))]);
            }
            steps.push(Step::Await(ends.clone()));
            steps
        }
        _ => script(request),
    })
}

#[test]
fn a_question_beside_the_calls_is_for_the_only_one_and_never_for_one_of_two() {
    let (gates, ends) = (vec![Gate::default(), Gate::default()], Gate::default());
    let upstream = asks_beside(gates.clone(), ends.clone());
    let gateway = Gateway::start(Setup { workers: 1, ..setup(&upstream) });
    let mut client = Client::connect(gateway.address);
    client.send(call(KEY, 1, json!({})));
    wait_for("the call", || upstream.arrived("tools/call").len() == 1);
    gates[0].open();
    let asked = last(&client.answer().expect("an answer"));
    assert_eq!(asked["result"]["inputRequests"], json!({"r1": {"method": "roots/list"}}), "{asked}");
    let mut other = Client::connect(gateway.address);
    other.send(call(KEY, 2, json!({})));
    wait_for("the other call", || upstream.arrived("tools/call").len() == 2);
    gates[1].open();
    wait_for("the refusal", || upstream.arrived("").len() == 1);
    let told = upstream.arrived("")[0].body.clone();
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!(2), &json!(-32603)), "{told}");
    drop(other);
    ends.open();
    assert_lives(&gateway);
}

#[test]
fn a_server_that_is_gone_meanwhile_is_told_to_who_comes_back() {
    let (asks, ends) = (Gate::default(), Gate::default());
    asks.open();
    let upstream = never_ends(asks, ends.clone());
    let gateway = Gateway::start(setup(&upstream));
    let first = last(&send(&gateway, call(KEY, 1, json!({}))));
    upstream.close_connections();
    ends.open();
    let state = &first["result"]["requestState"];
    let back = json!({"requestState": state, "inputResponses": {"r1": {"roots": []}}});
    let answer = send(&gateway, call(KEY, 2, back));
    let (code, message) = answer.error();
    assert!(code == -32603 && message.contains("upstream `up`"), "{message}");
    wait_for("the figure", || suspended(&gateway) == 0);
    assert_lives(&gateway);
}
