//! What is said otherwise in the other era: errors, and results that an older revision has no words for.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::scripted::{self, Arrived, json_reply, method};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup};

use crate::common::{KEY, assert_lives, reason};

/// A server of either era that has the resource `note://a`, and answers calls and reads with `said` (a `result` or an
/// `error`).
fn server(is_legacy: bool, said: Value) -> Scripted {
    let answer = move |request: &Arrived| {
        let mut body = json!({"jsonrpc": "2.0", "id": request.body["id"]});
        body.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        json_reply(&body)
    };
    let older = scripted::legacy(answer.clone());
    let newer = scripted::modern(scripted::tools(), answer.clone());
    let capabilities = json!({"tools": {}, "resources": {}});
    let result = move |request: &Arrived, mut result: Value| {
        if !is_legacy {
            result.as_object_mut().unwrap().extend(
                json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public"})
                    .as_object()
                    .unwrap()
                    .clone(),
            );
        }
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
    };
    Scripted::start(move |request| match method(request) {
        "initialize" if is_legacy => result(
            request,
            json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
                "serverInfo": {"name": "s", "version": "1"}}),
        ),
        "server/discover" if !is_legacy => {
            result(request, json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities}))
        }
        "resources/list" => result(request, json!({"resources": [{"uri": "note://a", "name": "n"}]})),
        "resources/templates/list" => result(request, json!({"resourceTemplates": []})),
        "resources/read" => answer(request),
        _ if is_legacy => older(request),
        _ => newer(request),
    })
}

fn start(upstream: &Scripted) -> Gateway {
    let config = crate::common::config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup::new(config.replace(r#"tools: ["*"] }"#, r#"tools: ["*"], resources: ["*"] }"#)))
}

/// Asks as a client of this revision, and gives the whole answer.
fn ask(gateway: &Gateway, version: &str, asked: &str) -> Answer {
    let params = match asked {
        "resources/read" => json!({"uri": "note://a"}),
        _ => json!({"name": "echo", "arguments": {}}),
    };
    let mut client = Client::connect(gateway.address);
    if version == "2026-07-28" {
        return client.roundtrip(modern(KEY, 1, asked, params));
    }
    let session = initialize(&mut client, KEY, version);
    client.roundtrip(legacy(KEY, &session, 1, asked, params))
}

#[test]
fn errors_have_the_code_of_the_clients_era() {
    let error = |code: i64, data: Value| json!({"error": {"code": code, "message": "m", "data": data}});
    let uri = json!({"uri": "note://a"});
    // Of a legacy server, to a modern client and to one of its own era.
    let upstream = server(true, error(-32002, uri.clone()));
    let gateway = start(&upstream);
    let answer = ask(&gateway, "2026-07-28", "resources/read");
    assert_eq!(answer.json()["error"], json!({"code": -32602, "message": "m", "data": uri}));
    let answer = ask(&gateway, "2025-06-18", "resources/read");
    assert_eq!(answer.json()["error"]["code"], -32002);
    assert_lives(&gateway);
    // Of a modern server, to a legacy client and to one of its own era.
    let upstream = server(false, error(-32602, uri.clone()));
    let gateway = start(&upstream);
    let answer = ask(&gateway, "2025-11-25", "resources/read");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["error"], json!({"code": -32002, "message": "m", "data": uri}));
    assert_eq!(ask(&gateway, "2025-11-25", "tools/call").json()["error"]["code"], -32602);
    assert_eq!(ask(&gateway, "2026-07-28", "resources/read").json()["error"]["code"], -32602);
    assert_lives(&gateway);
}

#[test]
fn a_missing_capability_is_named_to_an_older_client() {
    let data = json!({"requiredCapabilities": {"elicitation": {"url": {}}}});
    let upstream = server(false, json!({"error": {"code": -32021, "message": "no", "data": data}}));
    let gateway = start(&upstream);
    let error = ask(&gateway, "2025-11-25", "tools/call").json()["error"].clone();
    assert_eq!((&error["code"], &error["data"]), (&json!(-32021), &data));
    assert!(error["message"].as_str().unwrap().contains("elicitation.url"), "{error}");
    let error = ask(&gateway, "2026-07-28", "tools/call").json()["error"].clone();
    assert_eq!(error, json!({"code": -32021, "message": "no", "data": data}));
    assert_lives(&gateway);
}

#[test]
fn what_a_server_says_of_this_gateways_requests_is_no_business_of_clients() {
    for code in [-32020, -32022] {
        let data =
            json!({"supported": ["2099-01-01"], "requested": "2026-07-28", "pad": "x".repeat(100_000)});
        for data in [data, json!({})] {
            let upstream = server(false, json!({"error": {"code": code, "message": "m", "data": data}}));
            let gateway = start(&upstream);
            for version in ["2025-11-25", "2026-07-28"] {
                let answer = ask(&gateway, version, "tools/call");
                let (told, message) = answer.error();
                assert_eq!((told, answer.status), (-32603, 200), "{message}");
                assert!(
                    message.contains("upstream `up`") && message.contains(&code.to_string()),
                    "{message}"
                );
                assert_eq!(reason(&answer), "upstream_misunderstood");
            }
            assert_lives(&gateway);
        }
    }
}

#[test]
fn a_method_that_a_legacy_server_has_not_is_not_found() {
    let upstream = server(true, json!({"error": {"code": -32601, "message": "Method not found"}}));
    let gateway = start(&upstream);
    let answer = ask(&gateway, "2026-07-28", "resources/read");
    assert_eq!((answer.status, answer.error().0), (404, -32601));
    let answer = ask(&gateway, "2025-11-25", "resources/read");
    assert_eq!((answer.status, answer.error().0), (200, -32601));
    assert_lives(&gateway);
}

#[test]
fn results_say_what_the_clients_revision_demands_and_nothing_else() {
    let name = "io.modelcontextprotocol/serverInfo";
    let ours = ask_info();
    for (meta, expected) in [
        (None, json!({name: ours})),
        (Some(json!({})), json!({name: ours})),
        (Some(json!({"x/y": [1]})), json!({"x/y": [1], name: ours})),
        (Some(json!({name: {"name": "theirs"}})), json!({name: {"name": "theirs"}})),
    ] {
        let mut result = json!({"content": [], "unknown": {"kept": 1.50}});
        if let Some(meta) = &meta {
            result["_meta"] = meta.clone();
        }
        let upstream = server(true, json!({"result": result}));
        let gateway = start(&upstream);
        let mut told = result.clone();
        told["_meta"] = expected;
        told["resultType"] = json!("complete");
        assert_eq!(ask(&gateway, "2026-07-28", "tools/call").json()["result"], told);
        (told["ttlMs"], told["cacheScope"]) = (json!(0), json!("private"));
        assert_eq!(ask(&gateway, "2026-07-28", "resources/read").json()["result"], told);
        assert_eq!(ask(&gateway, "2025-11-25", "tools/call").json()["result"], result);
        assert_lives(&gateway);
    }
    let result = json!({"resultType": "complete", "content": [], "ttlMs": 5, "cacheScope": "public", "_meta": {"a": 1}});
    let upstream = server(false, json!({"result": result}));
    let gateway = start(&upstream);
    assert_eq!(ask(&gateway, "2026-07-28", "tools/call").json()["result"], result);
    let older = json!({"content": [], "_meta": {"a": 1}});
    assert_eq!(ask(&gateway, "2025-11-25", "tools/call").json()["result"], older);
    assert_lives(&gateway);
}

/// How this gateway introduces itself.
fn ask_info() -> Value {
    json!({"name": "strait", "version": env!("CARGO_PKG_VERSION")})
}

#[test]
fn content_that_a_revision_has_no_words_for_is_text() {
    let link = json!({"type": "resource_link", "uri": "note://a", "name": "n"});
    let text = json!({"type": "text", "text": "t"});
    let result = json!({"resultType": "complete", "content": [text, link], "structuredContent": [1, 2]});
    let upstream = server(false, json!({"result": result}));
    let gateway = start(&upstream);
    let said = json!({"type": "text", "text": link.to_string()});
    let list = json!({"type": "text", "text": "[1,2]"});
    for (version, content) in [
        ("2024-11-05", json!([text, said, list])),
        ("2025-03-26", json!([text, said, list])),
        ("2025-06-18", json!([text, link, list])),
        ("2025-11-25", json!([text, link, list])),
    ] {
        let seen = ask(&gateway, version, "tools/call").json()["result"].clone();
        assert_eq!(seen, json!({"content": content}), "{version}");
    }
    assert_eq!(ask(&gateway, "2026-07-28", "tools/call").json()["result"], result);
    assert_lives(&gateway);
}

#[test]
fn content_too_large_for_a_window_is_looked_at_where_it_must_be() {
    let sound = json!({"type": "audio", "data": "A".repeat(400_000), "mimeType": "audio/wav"});
    let result = json!({"content": [sound], "resultType": "complete"});
    let upstream = server(false, json!({"result": result}));
    let gateway = start(&upstream);
    let note = "[audio, audio/wav, 300000 bytes: this client's revision of MCP has no audio]";
    let seen = ask(&gateway, "2024-11-05", "tools/call").json()["result"].clone();
    assert_eq!(seen, json!({"content": [{"type": "text", "text": note}]}));
    let seen = ask(&gateway, "2025-06-18", "tools/call").json()["result"].clone();
    assert_eq!(seen, json!({"content": [sound]}));
    assert_eq!(ask(&gateway, "2026-07-28", "tools/call").json()["result"], result);
    assert_lives(&gateway);
}
