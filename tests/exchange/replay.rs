//! A legacy server that wants its user to open a page before it does what was asked (-32042): a modern client is told so
//! as `input_required`, and its next call is a new one.

use serde_json::{Value, json};
use strait_tests::client::{initialize_as, legacy, modern_as};
use strait_tests::scripted::{Arrived, echoed, json_reply};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup};

use crate::common::{KEY, assert_lives, config};

fn url() -> Value {
    json!({"elicitation": {"url": {}}})
}

fn required() -> Value {
    json!({"code": -32042, "message": "Sign in first", "data": {"elicitations": [
        {"mode": "url", "elicitationId": "e-1", "url": "https://x/1", "message": "Sign in", "more": [1]},
        {"mode": "url", "elicitationId": "e \"2\"", "url": "https://x/2", "message": "Pay"}]}})
}

/// A server that wants two pages opened, `times` over.
fn wants(times: usize) -> Scripted {
    let left = std::sync::atomic::AtomicUsize::new(times);
    let next = move || {
        let order = std::sync::atomic::Ordering::SeqCst;
        left.fetch_update(order, order, |left| left.checked_sub(1)).is_ok()
    };
    Scripted::legacy(move |request: &Arrived| {
        if next() {
            return json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "error": required()}));
        }
        json_reply(&echoed(request))
    })
}

fn call(gateway: &Gateway, key: &str, capabilities: Value, more: Value) -> Answer {
    let mut params = json!({"name": "echo", "arguments": {"a": 1}});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Client::connect(gateway.address).roundtrip(modern_as(key, 1, "tools/call", params, capabilities))
}

fn start(force_wrong_worker: bool, upstream: &Scripted) -> Gateway {
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) })
}

fn last(answer: &Answer) -> Value {
    answer.messages().last().expect("a message").clone()
}

/// The client's answers, and the state that it was given.
fn answers(first: &Answer, two: &str) -> Value {
    let state = last(first)["result"]["requestState"].clone();
    json!({"requestState": state, "inputResponses": {
        "e-1": {"action": "accept"}, "e \"2\"": {"action": two}, "unknown": {"action": "decline"}}})
}

#[test]
fn a_page_to_open_is_input_that_is_required_and_then_the_call_is_made_again() {
    for force_wrong_worker in [false, true] {
        let upstream = wants(2);
        let gateway = start(force_wrong_worker, &upstream);
        let first = call(&gateway, KEY, url(), json!({}));
        let result = last(&first)["result"].clone();
        assert_eq!(result["resultType"], "input_required", "{result}");
        assert_eq!(
            result["inputRequests"],
            json!({
                "e-1": {"method": "elicitation/create", "params":
                    {"mode": "url", "url": "https://x/1", "message": "Sign in", "more": [1]}},
                "e \"2\"": {"method": "elicitation/create", "params":
                    {"mode": "url", "url": "https://x/2", "message": "Pay"}},
            }),
        );
        // Still not: it is asked once more, under another state.
        let second = call(&gateway, KEY, url(), answers(&first, "accept"));
        assert_eq!(last(&second)["result"]["resultType"], "input_required");
        assert_ne!(answers(&second, "")["requestState"], answers(&first, "")["requestState"]);
        let third = call(&gateway, KEY, url(), answers(&second, "accept"));
        let done = last(&third)["result"].clone();
        assert_eq!(done["content"][0]["text"], r#"{"a":1}"#, "{done}");
        let calls = upstream.arrived("tools/call");
        assert_eq!(calls.len(), 3);
        for call in calls {
            let params = &call.body["params"];
            assert_eq!((&params["inputResponses"], &params["requestState"]), (&Value::Null, &Value::Null));
        }
        assert_lives(&gateway);
    }
}

#[test]
fn what_the_user_declines_is_the_result_in_the_servers_words() {
    let upstream = wants(1);
    let gateway = start(false, &upstream);
    let first = call(&gateway, KEY, url(), json!({}));
    for answer in ["decline", "cancel"] {
        let told = last(&call(&gateway, KEY, url(), answers(&first, answer)));
        let result = &told["result"];
        assert_eq!((&result["isError"], &result["resultType"]), (&json!(true), &json!("complete")), "{told}");
        assert_eq!(result["content"], json!([{"type": "text", "text": "Sign in first"}]));
    }
    assert_eq!(upstream.arrived("tools/call").len(), 1, "nobody asked the server again");
    let stranger = call(&gateway, "key-small", url(), answers(&first, "accept"));
    assert_eq!((stranger.status, stranger.error().0), (400, -32602));
    assert_lives(&gateway);
}

#[test]
fn a_client_that_cannot_open_pages_is_told_what_it_lacks() {
    let upstream = wants(2);
    let gateway = start(false, &upstream);
    // One that nobody asks anything, and one whose call is attended to.
    for capabilities in [json!({}), json!({"elicitation": {"form": {}}})] {
        let answer = call(&gateway, KEY, capabilities, json!({}));
        let error = last(&answer)["error"].clone();
        assert_eq!((answer.status, &error["code"]), (400, &json!(-32021)), "{error}");
        assert_eq!(error["data"], json!({"requiredCapabilities": {"elicitation": {"url": {}}}}));
    }
    assert_lives(&gateway);
}

#[test]
fn a_client_of_the_older_revisions_gets_the_error_itself() {
    let upstream = wants(1);
    let gateway = start(false, &upstream);
    let mut client = Client::connect(gateway.address);
    let session = initialize_as(&mut client, KEY, "2025-11-25", url());
    let answer = client.roundtrip(legacy(KEY, &session, 1, "tools/call", json!({"name": "echo"})));
    assert_eq!(last(&answer)["error"], required());
    assert_lives(&gateway);
}

#[test]
fn an_error_that_names_no_page_cannot_be_carried_out() {
    let upstream = Scripted::legacy(|request| {
        let error = json!({"code": -32042, "message": "m", "data": {"elicitations": request.body["params"]["arguments"]["pages"]}});
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "error": error}))
    });
    let gateway = start(false, &upstream);
    for pages in [json!(null), json!([]), json!([{"mode": "url", "url": "u"}])] {
        let (code, message) = call(&gateway, KEY, url(), json!({"arguments": {"pages": pages}})).error();
        assert_eq!(code, -32603);
        assert!(message.contains("upstream `up`"), "{message}");
    }
    assert_lives(&gateway);
}
