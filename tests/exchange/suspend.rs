//! A legacy server that asks something in the middle of a modern client's call: the call is suspended, and goes on when
//! the client makes it again with the answers, on whatever connection and worker.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_tests::client::{modern, modern_as};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, ACCEPTED, Arrived, Deed, event, event_stream, method};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config};

/// A call of `echo`, by a client that can be asked everything.
pub fn call(key: &str, id: i64, more: Value) -> Vec<u8> {
    call_as(key, id, more, json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}))
}

pub fn call_as(key: &str, id: i64, more: Value, capabilities: Value) -> Vec<u8> {
    let mut params =
        json!({"name": "echo", "arguments": {"a": 1}, "_meta": {"progressToken": format!("t{id}")}});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    modern_as(key, id, "tools/call", params, capabilities)
}

/// What the client of a legacy server answered it, by the server's ids.
pub type Answers = Arc<Mutex<Vec<Value>>>;

/// A server that asks `rounds` of questions in each call, and then says what it was told.
pub fn asks(rounds: Vec<Vec<Value>>, answers: Answers) -> Scripted {
    let gates: Arc<Vec<Gate>> = Arc::new(rounds.iter().map(|_| Gate::default()).collect());
    let opened = gates.clone();
    let counts: Vec<usize> = rounds.iter().map(Vec::len).collect();
    let told = answers.clone();
    let script = scripted::legacy(move |request| {
        let mut steps = vec![Step::Send(event_stream())];
        for (questions, gate) in rounds.iter().zip(opened.iter()) {
            let events: Vec<u8> = questions.iter().flat_map(event).collect();
            steps.push(Step::Send(events));
            steps.push(Step::Await(gate.clone()));
        }
        let (token, id) =
            (request.body["params"]["_meta"]["progressToken"].clone(), request.body["id"].clone());
        let answers = answers.clone();
        steps.push(Deed::step(move |stream| {
            use std::io::Write;
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params":
                {"progressToken": token, "progress": 1}});
            let text = Value::from(answers.lock().unwrap().clone()).to_string();
            let last =
                json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}});
            stream.write_all(&[event(&progress), event(&last), b"0\r\n\r\n".to_vec()].concat()).is_ok()
        }));
        steps
    });
    Scripted::start(move |request: &Arrived| {
        if method(request).is_empty() && request.body.get("id").is_some() {
            let mut told = told.lock().unwrap();
            told.push(request.body.clone());
            let mut due = 0;
            for (count, gate) in counts.iter().zip(gates.iter()) {
                due += count;
                if told.len() >= due {
                    gate.open();
                }
            }
            return vec![Step::Send(ACCEPTED.to_vec())];
        }
        if method(request) == "notifications/cancelled" {
            return vec![Step::Send(ACCEPTED.to_vec())];
        }
        script(request)
    })
}

pub fn form(id: i64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {"message": "Name?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}})
}

fn url(id: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {
        "mode": "url", "elicitationId": "e-1", "message": "m", "url": "https://x/"}})
}

pub fn roots(id: i64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"})
}

pub fn start(force_wrong_worker: bool, upstream: &Scripted) -> Gateway {
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) })
}

pub fn send(gateway: &Gateway, request: Vec<u8>) -> Answer {
    Client::connect(gateway.address).roundtrip(request)
}

pub fn last(answer: &Answer) -> Value {
    answer.messages().last().expect("a message").clone()
}

#[test]
fn a_legacy_servers_questions_suspend_a_modern_clients_call() {
    for force_wrong_worker in [false, true] {
        let answers = Answers::default();
        let upstream = asks(vec![vec![form(1), url("u")], vec![roots(2)]], answers.clone());
        let gateway = start(force_wrong_worker, &upstream);
        let first = last(&send(&gateway, call(KEY, 5, json!({}))));
        assert_eq!(first["id"], 5);
        let wanted = &first["result"];
        assert_eq!(wanted["resultType"], "input_required");
        assert_eq!(
            wanted["inputRequests"],
            json!({
                "r1": {"method": "elicitation/create", "params": form(1)["params"]},
                "r2": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x/"}},
            }),
        );
        let state = wanted["requestState"].clone();
        // Half of it: the rest is asked for again, under a new state.
        let accept = json!({"action": "accept", "content": {"name": "ann"}});
        let half = json!({"requestState": state, "inputResponses": {"r1": accept, "unknown": {}}});
        let second = last(&send(&gateway, call(KEY, 6, half.clone())));
        assert_eq!(second["result"]["inputRequests"].as_object().unwrap().keys().collect::<Vec<_>>(), ["r2"]);
        let again = last(&send(&gateway, call(KEY, 7, half)));
        assert_eq!(again["error"]["code"], -32602, "a state is good once: {again}");
        let rest = json!({"requestState": second["result"]["requestState"], "inputResponses": {"r2": {"action": "decline"}}});
        let third = last(&send(&gateway, call(KEY, 8, rest)));
        assert_eq!(third["result"]["inputRequests"], json!({"r3": {"method": "roots/list"}}), "{third}");
        let rest =
            json!({"requestState": third["result"]["requestState"], "inputResponses": {"r3": {"roots": []}}});
        let answer = send(&gateway, call(KEY, 9, rest));
        let messages = answer.messages();
        assert_eq!(messages[0]["params"], json!({"progressToken": "t9", "progress": 1}), "{messages:?}");
        assert_eq!(
            (&messages[1]["id"], &messages[1]["result"]["resultType"]),
            (&json!(9), &json!("complete"))
        );
        let mut said: Vec<Value> =
            serde_json::from_str(messages[1]["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
        // Each answer is a POST of its own: nothing says which arrives first.
        said.sort_by_key(|answer| answer["id"].to_string());
        assert_eq!(
            said,
            [
                json!({"jsonrpc": "2.0", "id": "u", "result": {"action": "decline"}}),
                json!({"jsonrpc": "2.0", "id": 1, "result": accept}),
                json!({"jsonrpc": "2.0", "id": 2, "result": {"roots": []}}),
            ],
        );
        assert_eq!(upstream.arrived("tools/call").len(), 1, "one call all along");
        assert_eq!(upstream.arrived("notifications/cancelled").len(), 0);
        assert_lives(&gateway);
    }
}

#[test]
fn a_ping_is_answered_while_the_client_of_a_suspended_call_is_away() {
    for force_wrong_worker in [false, true] {
        let (pings, ends) = (Gate::default(), Gate::default());
        let (ping, end) = (pings.clone(), ends.clone());
        let rest = scripted::legacy(move |request| {
            let pinged = json!({"jsonrpc": "2.0", "id": "p", "method": "ping"});
            let last = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}});
            vec![
                Step::Send([event_stream(), event(&roots(1))].concat()),
                Step::Await(ping.clone()),
                Step::Send(event(&pinged)),
                Step::Await(end.clone()),
                Step::Send([event(&last), b"0\r\n\r\n".to_vec()].concat()),
            ]
        });
        let upstream = Scripted::start(move |request: &Arrived| match method(request) {
            "" => vec![Step::Send(ACCEPTED.to_vec())],
            _ => rest(request),
        });
        let gateway = start(force_wrong_worker, &upstream);
        let first = last(&send(&gateway, call(KEY, 5, json!({}))));
        assert_eq!(first["result"]["resultType"], "input_required");
        pings.open();
        wait_for("the ping to be answered", || upstream.arrived("").len() == 1);
        let answer = upstream.arrived("")[0].body.clone();
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
        let state = first["result"]["requestState"].clone();
        ends.open();
        let back = json!({"requestState": state, "inputResponses": {"r1": {"roots": []}}});
        assert_eq!(last(&send(&gateway, call(KEY, 6, back)))["result"]["resultType"], "complete");
        assert_lives(&gateway);
    }
}

#[test]
fn a_state_is_good_for_one_call_of_one_caller() {
    let answers = Answers::default();
    let upstream = asks(vec![vec![roots(1)]], answers.clone());
    let gateway = start(false, &upstream);
    let first = last(&send(&gateway, call(KEY, 1, json!({}))));
    let state = first["result"]["requestState"].as_str().expect("a state").to_owned();
    let with = |state: &str| json!({"requestState": state, "inputResponses": {"r1": {"roots": []}}});
    let mut other = with(&state);
    other["arguments"] = json!({"a": 2});
    for request in [
        call("key-small", 2, with(&state)),
        call(KEY, 3, other),
        call(KEY, 4, with(&format!("{state}-TAMPERED"))),
        call(KEY, 5, with("s1.AAAA")),
        call(KEY, 6, with("somebody else's")),
    ] {
        let answer = send(&gateway, request);
        assert_eq!((answer.status, answer.error().0), (400, -32602), "{answer:?}");
    }
    // None of this has used it up.
    let done = last(&send(&gateway, call(KEY, 7, with(&state))));
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    assert_lives(&gateway);
}

#[test]
fn log_messages_come_only_as_this_request_asked() {
    let upstream = Scripted::legacy(|request| {
        let tell = |level: &str| {
            event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params":
            {"level": level, "data": level}}))
        };
        let last = event(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}}));
        let events = [event_stream(), tell("info"), tell("error"), last, b"0\r\n\r\n".to_vec()];
        vec![Step::Send(events.concat())]
    });
    let gateway = start(false, &upstream);
    for (wanted, heard) in
        [(None, &[][..]), (Some("debug"), &["info", "error"]), (Some("warning"), &["error"])]
    {
        let mut params = json!({"name": "echo", "arguments": {}});
        if let Some(wanted) = wanted {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(wanted);
        }
        let messages = send(&gateway, modern(KEY, 1, "tools/call", params)).messages();
        let levels = messages.iter().filter_map(|message| message["params"]["level"].as_str());
        assert_eq!(levels.collect::<Vec<_>>(), heard, "{wanted:?}");
        assert_eq!(messages.last().unwrap()["result"]["resultType"], "complete");
    }
    assert_lives(&gateway);
}

#[test]
fn what_this_request_did_not_declare_is_declined() {
    let answers = Answers::default();
    let upstream = asks(vec![vec![roots(1), form(2)]], answers.clone());
    let gateway = start(false, &upstream);
    let first = last(&send(&gateway, call_as(KEY, 1, json!({}), json!({"roots": {}}))));
    assert_eq!(first["result"]["inputRequests"], json!({"r1": {"method": "roots/list"}}));
    wait_for("the other question to be declined", || answers.lock().unwrap().len() == 1);
    assert_eq!(answers.lock().unwrap()[0]["error"]["code"], -32601);
    assert_lives(&gateway);
}
