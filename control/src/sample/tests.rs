//! The samples in both eras, through the core and through each face.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::envelope::{LEGACY, MODERN};
use super::*;

fn modern(method: &str, params: Value) -> Value {
    let mut message = legacy(method, params);
    message["params"]["_meta"][envelope::VERSION] = MODERN.into();
    message["params"]["_meta"][envelope::CAPABILITIES] = json!({});
    message
}

fn legacy(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

fn hello(message: &Value) -> Value {
    Sample::new(Kind::Hello).answer(message).unwrap()
}

#[test]
fn every_legacy_revision_is_agreed_on() {
    for version in LEGACY {
        let answer = hello(&legacy("initialize", json!({ "protocolVersion": version, "capabilities": {} })));
        assert_eq!(answer["result"]["protocolVersion"], version);
    }
    let answer = hello(&legacy("initialize", json!({ "protocolVersion": "1999-01-01" })));
    assert_eq!(answer["result"]["protocolVersion"], LEGACY[0]);
    assert_eq!(hello(&legacy("ping", json!({})))["result"], json!({}));
}

#[test]
fn modern_results_say_what_they_are() {
    let answer = hello(&modern("server/discover", json!({})));
    assert_eq!(answer["result"]["supportedVersions"], json!([MODERN]));
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(answer["result"]["ttlMs"], 0);
    let answer = hello(&modern("tools/call", json!({ "name": "greet", "arguments": { "name": "Ada" } })));
    assert_eq!(answer["result"]["content"][0]["text"], "Hello, Ada!");
    assert!(answer["result"].get("ttlMs").is_none());
    let answer = hello(&legacy("tools/call", json!({ "name": "add", "arguments": { "a": 19, "b": 23 } })));
    assert_eq!(answer["result"]["content"][0]["text"], "42");
    assert!(answer["result"].get("resultType").is_none());
}

#[test]
fn faults_have_the_codes_of_their_era() {
    let check = |message: Value, code: i32| assert_eq!(hello(&message)["error"]["code"], code, "{message}");
    check(legacy("server/discover", json!({})), -32602);
    check(modern("initialize", json!({})), -32601);
    check(modern("ping", json!({})), -32601);
    check(legacy("nonsense", json!({})), -32601);
    check(modern("tools/call", json!({ "name": "none" })), -32602);
    check(modern("resources/read", json!({ "uri": "note://none" })), -32602);
    check(legacy("resources/read", json!({ "uri": "note://none" })), -32002);
    check(json!([]), -32600);
    check(json!({ "jsonrpc": "2.0", "id": null, "method": "ping" }), -32600);
    let mut other = modern("tools/list", json!({}));
    other["params"]["_meta"][envelope::VERSION] = "2030-01-01".into();
    check(other, -32022);
    assert!(
        Sample::new(Kind::Hello)
            .answer(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .is_none()
    );
}

#[test]
fn a_deleted_note_is_gone_and_wrong_arguments_are_the_models_to_read() {
    let sample = Sample::new(Kind::Hello);
    let call = |name: &str, arguments: Value| {
        sample.answer(&legacy("tools/call", json!({ "name": name, "arguments": arguments }))).unwrap()["result"].clone()
    };
    assert_eq!(call("delete_note", json!({ "id": "todo" }))["isError"], false);
    assert_eq!(call("delete_note", json!({ "id": "todo" }))["isError"], true);
    let answer = call("greet", json!({ "name": 5 }));
    assert_eq!(answer["content"][0]["text"], "argument `name`: expected a string, found `5`");
}

#[test]
fn a_refund_stays_within_the_order() {
    let sample = Sample::new(Kind::Shop);
    let refund = |amount: f64| {
        let call = json!({ "name": "refund_order", "arguments": { "id": "1001", "amount": amount } });
        sample.answer(&legacy("tools/call", call)).unwrap()["result"].clone()
    };
    assert_eq!(refund(40.0)["structuredContent"]["refunded_eur"], 40.0);
    for amount in [9.01, 0.0, -1.0, 1e300] {
        assert_eq!(refund(amount)["isError"], true, "{amount}");
    }
    assert_eq!(refund(9.0)["isError"], false);
}

#[test]
fn tools_that_read_say_so() {
    for kind in [Kind::Hello, Kind::Shop] {
        let answer = Sample::new(kind).answer(&legacy("tools/list", json!({}))).unwrap();
        for tool in answer["result"]["tools"].as_array().unwrap() {
            let name = tool["name"].as_str().unwrap();
            let writes = name.starts_with("delete") || name.starts_with("refund");
            assert_eq!(tool["annotations"]["readOnlyHint"], !writes, "{name}");
        }
    }
}

#[test]
fn stdio_answers_line_by_line_and_survives_nonsense() {
    let input = format!("{}\n\nnonsense\n{}", legacy("ping", json!({})), modern("tools/list", json!({})));
    let mut output = Vec::new();
    stdio::run(Kind::Hello, input.as_bytes(), &mut output).unwrap();
    let lines: Vec<Value> =
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["error"]["code"], -32700);
    assert_eq!(lines[2]["result"]["tools"].as_array().unwrap().len(), 4);
}

/// Sends `message` with the headers that belong to it, changed by `edit`.
fn post(message: &Value, edit: impl FnOnce(&mut axum::http::HeaderMap)) -> (StatusCode, String) {
    let mut request = Request::post(http::PATH).body(Body::from(message.to_string())).unwrap();
    let headers = request.headers_mut();
    let mut set = |name: &'static str, value: &str| headers.insert(name, value.parse().unwrap());
    set("host", "127.0.0.1:9");
    set("content-type", "application/json");
    set("accept", "application/json, text/event-stream");
    if let Some(version) = message["params"]["_meta"][envelope::VERSION].as_str() {
        set("mcp-protocol-version", version);
        set("mcp-method", message["method"].as_str().unwrap());
        if let Some(name) = message["params"]["name"].as_str().or(message["params"]["uri"].as_str()) {
            set("mcp-name", name);
        }
    }
    edit(headers);
    crate::test_support::run(async {
        let response = crate::test_support::send(http::router(Kind::Shop), request).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    })
}

#[test]
fn http_checks_headers_against_the_body() {
    let check = |message: &Value, header: &'static str, value: Option<&str>, status: u16, contains: &str| {
        let (found, body) = post(message, |headers| {
            headers.remove(header);
            value.map(|value| headers.insert(header, value.parse().unwrap()));
        });
        assert_eq!(found.as_u16(), status, "{header}: {value:?}: {body}");
        assert!(body.contains(contains), "{header}: {value:?}: {body}");
    };
    let call = modern("tools/call", json!({ "name": "get_order", "arguments": { "id": "1001" } }));
    check(&call, "x-none", None, 200, "p-1");
    check(&call, "mcp-name", Some("=?base64?Z2V0X29yZGVy?="), 200, "p-1");
    check(&call, "mcp-name", Some("other"), 400, "-32020");
    check(&call, "mcp-name", None, 400, "-32020");
    check(&call, "mcp-method", None, 400, "-32020");
    check(&call, "mcp-protocol-version", Some("2025-11-25"), 400, "-32020");
    check(&call, "host", Some("evil.example"), 403, "loopback");
    check(&call, "origin", Some("https://evil.example"), 403, "Origin");
    check(&call, "accept", Some("application/json"), 406, "text/event-stream");
    check(&call, "content-type", Some("text/plain"), 415, "application/json");
    let list = legacy("tools/list", json!({}));
    check(&list, "x-none", None, 200, "search_products");
    check(&list, "mcp-protocol-version", Some("2025-06-18"), 200, "search_products");
    check(&list, "mcp-protocol-version", Some(MODERN), 400, "-32602");
    check(&list, "mcp-protocol-version", Some("2030-01-01"), 400, "-32022");
    check(&modern("ping", json!({})), "x-none", None, 404, "-32601");
    check(&modern("tools/call", json!({ "name": "none" })), "x-none", None, 200, "-32602");
    check(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), "x-none", None, 202, "");
}

#[test]
fn a_tracked_order_reports_three_times() {
    let call =
        json!({ "name": "track_order", "arguments": { "id": "1001" }, "_meta": { "progressToken": "t" } });
    let (status, body) = post(&modern("tools/call", call.clone()), |_| {});
    assert_eq!(status, 200);
    let events: Vec<Value> = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(events.len(), 4);
    assert_eq!(
        events[2]["params"],
        json!({ "progressToken": "t", "progress": 3, "total": 3, "message": "at the door" })
    );
    assert_eq!(events[3]["result"]["structuredContent"]["state"], "delivered");
    let mut quiet = modern("tools/call", call);
    quiet["params"]["_meta"].as_object_mut().unwrap().remove("progressToken");
    assert!(!post(&quiet, |_| {}).1.contains("event:"));
}
