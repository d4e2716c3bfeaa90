//! From which level on log messages are wanted, said in the words of the server's era.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::scripted::{self, Arrived, echoed, json_reply, method};
use strait_tests::{Client, Gateway, Scripted, Setup};

use crate::common::{KEY, assert_lives, config};

/// A legacy server that declares `logging`, or not.
fn server(logs: bool) -> Scripted {
    let script = scripted::legacy(|request| json_reply(&echoed(request)));
    Scripted::start(move |request: &Arrived| match method(request) {
        "initialize" if logs => {
            let mut answer = scripted::initialized(request);
            answer["result"]["capabilities"]["logging"] = json!({});
            json_reply(&answer)
        }
        "logging/setLevel" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {}})),
        _ => script(request),
    })
}

fn start(upstream: &Scripted) -> Gateway {
    Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))))
}

fn call(gateway: &Gateway, level: Option<&str>) {
    let mut params = json!({"name": "echo", "arguments": {}});
    if let Some(level) = level {
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
    }
    let answer = Client::connect(gateway.address).roundtrip(modern(KEY, 1, "tools/call", params));
    assert_eq!(answer.json()["result"]["resultType"], "complete");
}

#[test]
fn a_legacy_server_is_told_the_level_that_a_modern_call_wants() {
    let upstream = server(true);
    let gateway = start(&upstream);
    // Told when it would say too little, and only then: what is too much is dropped here. Each worker has a session of
    // its own, so this is about what one connection's worker says.
    let mut client = Client::connect(gateway.address);
    let mut ask = |level: Option<&str>| {
        let mut params = json!({"name": "echo", "arguments": {}});
        if let Some(level) = level {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let answer = client.roundtrip(modern(KEY, 1, "tools/call", params));
        assert_eq!(answer.json()["result"]["resultType"], "complete");
        let told = upstream.arrived("logging/setLevel");
        told.iter().map(|told| told.body["params"]["level"].clone()).collect::<Vec<Value>>()
    };
    assert!(ask(None).is_empty());
    assert_eq!(ask(Some("warning")), ["warning"]);
    assert_eq!(ask(Some("error")), ["warning"]);
    assert_eq!(ask(Some("debug")), ["warning", "debug"]);
    assert_eq!(ask(Some("debug")), ["warning", "debug"]);
    // In time for the call that wants it.
    let order = upstream.arrived("logging/setLevel")[1].body["id"].as_i64();
    assert!(order < upstream.arrived("tools/call").last().unwrap().body["id"].as_i64());
    assert_lives(&gateway);
}

#[test]
fn a_legacy_server_without_logging_is_told_no_level() {
    let upstream = server(false);
    let gateway = start(&upstream);
    call(&gateway, Some("debug"));
    assert!(upstream.arrived("logging/setLevel").is_empty());
    assert_lives(&gateway);
}

#[test]
fn a_modern_server_is_told_the_sessions_level_with_each_call() {
    let script = scripted::modern(scripted::tools(), |request| json_reply(&echoed(request)));
    let upstream = Scripted::start(move |request: &Arrived| match method(request) {
        "server/discover" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "logging": {}}, "ttlMs": 0, "cacheScope": "public"}})),
        _ => script(request),
    });
    let gateway = start(&upstream);
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-11-25");
    let call = |client: &mut Client| {
        let params = json!({"name": "echo", "arguments": {}});
        assert_eq!(client.roundtrip(legacy(KEY, &session, 1, "tools/call", params)).status, 200);
        let calls = upstream.arrived("tools/call");
        calls.last().unwrap().body["params"]["_meta"]["io.modelcontextprotocol/logLevel"].clone()
    };
    assert_eq!(call(&mut client), Value::Null);
    for level in ["warning", "debug"] {
        let set = legacy(KEY, &session, 2, "logging/setLevel", json!({"level": level}));
        assert_eq!(client.roundtrip(set).json()["result"], json!({}));
        assert_eq!(call(&mut client), level);
    }
    assert!(upstream.arrived("logging/setLevel").is_empty(), "it has no such method");
    assert_lives(&gateway);
}
