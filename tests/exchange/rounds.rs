//! A modern server that requires input, in front of clients of the older revisions: its wants become requests on the
//! stream of the client's own call.

use serde_json::{Value, json};
use strait_tests::client::{initialize_as, legacy, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Arrived, event, event_stream, http, json_reply};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config};

/// Everything an older client can be asked.
fn all() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": true}})
}

fn result(request: &Arrived, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result})
}

fn wants(request: &Arrived, requests: Value, state: &str) -> Value {
    result(request, json!({"resultType": "input_required", "inputRequests": requests, "requestState": state}))
}

fn form() -> Value {
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": "Name?", "requestedSchema":
        {"type": "object", "properties": {"name": {"type": "string"}}}}})
}

/// Answers a question of the gateway in the same session.
fn answer(gateway: &Gateway, session: &str, question: &Value, answer: Value) {
    let mut body = json!({"jsonrpc": "2.0", "id": question["id"]});
    body.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    let bearer = format!("Bearer {KEY}");
    let headers = [("Authorization", bearer.as_str()), ("Mcp-Session-Id", session)];
    let answer = Client::connect(gateway.address).roundtrip(post(&headers, body.to_string().as_bytes()));
    assert_eq!(answer.status, 202);
}

struct Peers {
    gateway: Gateway,
    upstream: Scripted,
    client: Client,
    session: String,
}

fn start(
    force_wrong_worker: bool,
    version: &str,
    capabilities: Value,
    script: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
) -> Peers {
    let upstream = Scripted::modern(script);
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
    let mut client = Client::connect(gateway.address);
    let session = initialize_as(&mut client, KEY, version, capabilities);
    Peers { gateway, upstream, client, session }
}

impl Peers {
    fn call(&mut self, id: i64) {
        let params = json!({"name": "echo", "arguments": {"a": 1}, "_meta": {"progressToken": "t"}});
        self.client.send(legacy(KEY, &self.session, id, "tools/call", params));
    }

    fn answer(&self, question: &Value, with: Value) {
        answer(&self.gateway, &self.session, question, with);
    }
}

#[test]
fn a_modern_servers_wants_are_asked_on_the_calls_own_stream() {
    for force_wrong_worker in [false, true] {
        let mut peers = start(force_wrong_worker, "2025-11-25", all(), |request| {
            let params = &request.body["params"];
            if params["requestState"] == "two" {
                return json_reply(&result(
                    request,
                    json!({"resultType": "complete", "content": [], "ttlMs": 5,
                    "got": params["inputResponses"]}),
                ));
            }
            if params["requestState"] == "one" {
                // Progress that does not go on from what the client was told is not progress.
                let tell = |progress: f64| {
                    event(&json!({"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": params["_meta"]["progressToken"], "progress": progress}}))
                };
                let wants = wants(request, json!({"c\"3": {"method": "roots/list"}}), "two");
                let steps = [event_stream(), tell(1.0), tell(2.5), event(&wants), b"0\r\n\r\n".to_vec()];
                return vec![Step::Send(steps.concat())];
            }
            let url = json!({"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x/"}});
            let tell = event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                "progressToken": params["_meta"]["progressToken"], "progress": 2}}));
            let wants = wants(request, json!({"a": form(), "b": url}), "one");
            vec![Step::Send([event_stream(), tell, event(&wants), b"0\r\n\r\n".to_vec()].concat())]
        });
        peers.call(7);
        let head = String::from_utf8(peers.client.until_unread(b"\r\n\r\n")).unwrap();
        assert!(head.contains("text/event-stream"), "{head}");
        let progress = peers.client.next_event();
        assert_eq!(progress["params"], json!({"progressToken": "t", "progress": 2}));
        let (first, second) = (peers.client.next_event(), peers.client.next_event());
        assert_eq!((&first["method"], &first["params"]), (&json!("elicitation/create"), &form()["params"]));
        assert_eq!(second["params"]["url"], "https://x/");
        assert!(second["params"]["elicitationId"].as_str().is_some_and(|id| id.len() == 32), "{second}");
        assert_ne!(first["id"], second["id"]);
        // In any order; an elicitation that fails at the client counts as cancelled.
        peers.answer(&second, json!({"error": {"code": -1, "message": "no browser"}}));
        peers.answer(&first, json!({"result": {"action": "accept", "content": {"name": "ann"}}}));
        assert_eq!(peers.client.next_event()["params"]["progress"], 2.5);
        let third = peers.client.next_event();
        assert_eq!(third["method"], "roots/list");
        peers.answer(&third, json!({"result": {"roots": []}}));
        let last = peers.client.next_event();
        assert_eq!(
            last,
            json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [], "got": {"c\"3": {"roots": []}}}}),
        );
        let calls = peers.upstream.arrived("tools/call");
        assert_eq!(calls.len(), 3);
        let said = &calls[1].body["params"];
        assert_eq!(
            said["inputResponses"],
            json!({"a": {"action": "accept", "content": {"name": "ann"}}, "b": {"action": "cancel"}}),
        );
        assert_eq!((&said["name"], &said["arguments"]), (&json!("echo"), &json!({"a": 1})));
        let ids: std::collections::HashSet<String> =
            calls.iter().map(|call| call.body["id"].to_string()).collect();
        assert_eq!(ids.len(), 3, "each round has an id of its own");
        for call in &calls {
            let meta = &call.body["params"]["_meta"];
            assert_eq!(
                meta["io.modelcontextprotocol/clientCapabilities"],
                json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}),
            );
            assert_eq!(meta["io.modelcontextprotocol/clientInfo"], json!({"name": "test", "version": "1"}));
        }
        assert_lives(&peers.gateway);
    }
}

#[test]
fn a_client_that_fails_to_sample_ends_its_call_with_its_own_error() {
    let mut peers = start(false, "2025-06-18", all(), |request| {
        let sampling =
            json!({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}});
        json_reply(&wants(request, json!({"s": sampling, "e": form()}), "x"))
    });
    peers.call(1);
    peers.client.until_unread(b"\r\n\r\n");
    let questions = [peers.client.next_event(), peers.client.next_event()];
    let sampling = questions.iter().find(|question| question["method"] == "sampling/createMessage").unwrap();
    let error = json!({"code": -1, "message": "User rejected sampling", "data": [1]});
    peers.answer(sampling, json!({"error": error}));
    assert_eq!(peers.client.next_event(), json!({"jsonrpc": "2.0", "id": 1, "error": error}));
    assert_eq!(peers.upstream.arrived("tools/call").len(), 1);
    assert_lives(&peers.gateway);
}

#[test]
fn an_answer_too_large_to_hold_comes_behind_a_question_as_one_event() {
    let mut peers = start(false, "2025-11-25", all(), |request| {
        if request.body["params"]["requestState"] == "one" {
            let content = json!([{"type": "text", "text": "p".repeat(200_000)}]);
            return json_reply(&result(request, json!({"resultType": "complete", "content": content})));
        }
        json_reply(&wants(request, json!({"a": {"method": "roots/list"}}), "one"))
    });
    // Without chunks, so that the client finds the ends of events.
    let params = json!({"name": "echo", "arguments": {}});
    let request = String::from_utf8(legacy(KEY, &peers.session, 7, "tools/call", params)).unwrap();
    peers.client.send(request.replacen("HTTP/1.1", "HTTP/1.0", 1));
    let question = peers.client.next_event();
    assert_eq!(question["method"], "roots/list");
    peers.answer(&question, json!({"result": {"roots": []}}));
    let last = peers.client.next_event();
    assert_eq!(last["id"], 7);
    assert_eq!(last["result"]["content"][0]["text"].as_str().map(str::len), Some(200_000));
}

#[test]
fn what_the_client_did_not_declare_is_not_asked() {
    for (version, capabilities) in [("2025-11-25", json!({"roots": {}})), ("2024-11-05", all())] {
        let mut peers = start(false, version, capabilities, |request| {
            json_reply(&wants(request, json!({"r": {"method": "roots/list"}, "e": form()}), "x"))
        });
        peers.call(1);
        let (code, message) = peers.client.answer().expect("an answer").error();
        assert_eq!(code, -32603);
        assert!(message.contains("upstream `up`") && message.contains("`elicitation/create`"), "{message}");
        assert_lives(&peers.gateway);
    }
}

#[test]
fn a_state_alone_is_tried_again_and_not_without_end() {
    let mut peers = start(false, "2025-11-25", json!({}), |request| {
        match request.body["params"]["requestState"].as_str() {
            Some("3") if request.argument("end") != "never" => {
                json_reply(&result(request, json!({"resultType": "complete", "content": []})))
            }
            state => {
                let next = state.map_or(1, |state| state.parse::<u32>().unwrap() + 1).to_string();
                json_reply(&result(request, json!({"resultType": "input_required", "requestState": next})))
            }
        }
    });
    peers.call(1);
    assert_eq!(peers.client.answer().expect("an answer").json()["result"], json!({"content": []}));
    let params = json!({"name": "echo", "arguments": {"end": "never"}});
    peers.client.send(legacy(KEY, &peers.session, 2, "tools/call", params));
    let (code, message) = peers.client.answer().expect("an answer").error();
    assert_eq!(code, -32603);
    assert!(message.contains("ten times"), "{message}");
    assert_eq!(peers.upstream.arrived("tools/call").len(), 4 + 11);
    wait_for("the call to end", || {
        peers.gateway.handle().figures().iter().map(|worker| worker.inflight.get()).sum::<u64>() == 0
    });
    assert_lives(&peers.gateway);
}

#[test]
fn wants_too_large_for_a_window_are_asked_as_well() {
    let image = "A".repeat(300_000);
    let messages =
        json!([{"role": "user", "content": {"type": "image", "data": image, "mimeType": "image/png"}}]);
    let sampling =
        json!({"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 5}});
    let asked = sampling.to_string();
    // What kind of result it is comes last, behind everything that could have been sent on.
    let mut peers = start(false, "2025-11-25", all(), move |request| {
        match &request.body["params"]["inputResponses"] {
            Value::Null => {
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{{"inputRequests":{{"s":{asked}}},"resultType":"input_required"}}}}"#,
                    request.body["id"]
                );
                vec![Step::Send(http(200, "application/json", body.as_bytes()))]
            }
            got => json_reply(&result(request, json!({"resultType": "complete", "content": [], "got": got}))),
        }
    });
    peers.call(1);
    peers.client.until_unread(b"\r\n\r\n");
    let question = peers.client.next_event();
    assert_eq!((&question["method"], &question["params"]), (&sampling["method"], &sampling["params"]));
    peers.answer(&question, json!({"result": {"role": "assistant"}}));
    let last = peers.client.next_event();
    assert_eq!(last["result"], json!({"content": [], "got": {"s": {"role": "assistant"}}}));
    assert_lives(&peers.gateway);
}
