//! What must work for anyone: lists, calls, both eras at both ends, two keys that see different things.

use serde_json::json;
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

/// One upstream `up`, everything for `full`, `echo` alone for `small`.
pub fn config(url: &str) -> String {
    format!(
        r#"
upstreams: {{ up: {{ http: "{url}" }} }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full] }}
    - {{ id: few, allow: [up.echo], to: [small] }}
"#
    )
}

fn names(list: &serde_json::Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools in {list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_modern_client_lists_and_calls_a_modern_server() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    let list = client.roundtrip(modern("key-full", 1, "tools/list", json!({})));
    assert_eq!(list.status, 200);
    let list = list.json();
    assert_eq!(names(&list), ["echo", "slow", "secret"]);
    assert_eq!(list["result"]["tools"][0]["inputSchema"]["$defs"]["x"], 1, "schemas survive");
    assert_eq!(list["result"]["resultType"], "complete");
    let call = json!({"name": "echo", "arguments": {"text": "hé", "n": 1.50}});
    let answer = client.roundtrip(modern("key-full", 7, "tools/call", call));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["id"], 7);
    assert!(answer.json()["result"]["content"][0]["text"].as_str().unwrap().contains("hé"));
    let seen = &upstream.arrived("tools/call")[0];
    assert!(seen.head.contains("Mcp-Name: echo\r\n"), "{}", seen.head);
    assert!(!seen.head.contains("key-full"), "the caller's key never goes upstream");
    drop(client);
    let lines = gateway.stop();
    let line = lines.iter().find(|line| line["method"] == "tools/call").expect("a line for the call");
    assert_eq!(line["principal"], "ann");
    assert_eq!(line["tool"], "echo");
    assert_eq!(line["upstream"], "up");
    assert_eq!(line["verdict"], "permit");
    assert_eq!(line["rule"], "all");
    assert_eq!(line["generation"].as_str().map(str::len), Some(12));
    assert!(line["ns"]["total"].as_u64() > line["ns"]["upstream"].as_u64());
}

#[test]
fn a_smaller_role_sees_and_reaches_less() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    let list = client.roundtrip(modern("key-small", 1, "tools/list", json!({}))).json();
    assert_eq!(names(&list), ["echo"]);
    let hidden =
        client.roundtrip(modern("key-small", 2, "tools/call", json!({"name": "secret", "arguments": {}})));
    let missing =
        client.roundtrip(modern("key-small", 2, "tools/call", json!({"name": "secreu", "arguments": {}})));
    assert_eq!(hidden.error(), (-32602, "Unknown tool: secret".to_owned()));
    assert_eq!(missing.error(), (-32602, "Unknown tool: secreu".to_owned()));
    let same =
        |answer: &strait_tests::Answer| String::from_utf8_lossy(&answer.body).replace("secreu", "secret");
    assert_eq!(same(&hidden), same(&missing), "hidden and unknown read the same");
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    let nobody = client.roundtrip(modern("key-wrong", 3, "tools/list", json!({})));
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
}

#[test]
fn every_pair_of_eras_works() {
    for upstream in [
        Scripted::modern(|request| json_reply(&echoed(request))),
        Scripted::legacy(|request| json_reply(&echoed(request))),
    ] {
        for force_wrong_worker in [false, true] {
            let setup = Setup { force_wrong_worker, ..Setup::new(config(&upstream.url())) };
            let gateway = Gateway::start(setup);
            let mut client = Client::connect(gateway.address);
            let call = json!({"name": "echo", "arguments": {"a": 1}});
            let answer = client.roundtrip(modern("key-full", 5, "tools/call", call.clone()));
            assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"a\":1}");
            for version in ["2025-06-18", "2025-11-25"] {
                let session = initialize(&mut client, "key-full", version);
                let list = client.roundtrip(legacy("key-full", &session, 1, "tools/list", json!({}))).json();
                assert_eq!(names(&list), ["echo", "slow", "secret"]);
                let answer = client.roundtrip(legacy("key-full", &session, 2, "tools/call", call.clone()));
                assert_eq!(answer.status, 200);
                assert_eq!(answer.json()["id"], 2);
                assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"a\":1}");
                let other = client.roundtrip(legacy("key-small", &session, 2, "tools/call", call.clone()));
                assert_eq!(other.status, 404, "another principal's session is unknown");
                let bearer = "Bearer key-full";
                let delete = format!(
                    "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer}\r\nMcp-Session-Id: {session}\r\n\r\n"
                );
                assert_eq!(client.roundtrip(delete).status, 204);
                let ended = client.roundtrip(legacy("key-full", &session, 3, "tools/list", json!({})));
                assert_eq!(ended.status, 404);
            }
            drop(client);
            drop(gateway);
        }
    }
}

#[test]
fn an_event_stream_passes_event_by_event() {
    let upstream = Scripted::modern(|request| {
        let id = request.body["id"].clone();
        let token = request.body["params"]["_meta"]["progressToken"].clone();
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
        let done = json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "content": []}});
        let mut last = event(&done);
        last.extend_from_slice(b"0\r\n\r\n");
        vec![
            Step::Send(event_stream()),
            Step::Send(event(&progress)),
            Step::Wait(std::time::Duration::from_millis(300)),
            Step::Send(last),
        ]
    });
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    let params = json!({"name": "slow", "arguments": {}, "_meta": {"progressToken": "tok"}});
    client.send(modern("key-full", 9, "tools/call", params));
    let early = String::from_utf8(client.peek(std::time::Duration::from_millis(150))).unwrap();
    assert!(early.contains("text/event-stream") && early.contains("\"tok\""), "{early}");
    assert!(!early.contains("result"), "the first event did not wait for the second");
    let answer = client.answer().expect("an answer");
    let messages = answer.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["params"]["progressToken"], "tok");
    assert_eq!(messages[1]["id"], 9);
    assert!(!answer.cut_short);
}
