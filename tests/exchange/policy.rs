//! Rules with conditions: what is listed, what is called, what is refused and in which words; and calls that differ from a
//! permitted one by a trick of JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, post};
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup};

use crate::common::KEY;
use crate::listen::{listening, told};

/// `echo` to whoever is `full`, as far as these rules let it.
fn config(url: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("    - {rule}\n")).collect();
    format!(
        r#"
upstreams: {{ up: {{ http: "{url}" }} }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
{rules}"#
    )
}

fn gateway(upstream: &Scripted, rules: &[&str]) -> Gateway {
    Gateway::start(Setup::new(config(&upstream.url(), rules)))
}

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// A call of `echo` with arguments as written, in 2026-07-28.
fn call_as_written(arguments: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"echo","arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let bearer = format!("Bearer {KEY}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "echo"),
    ];
    post(&headers, body.as_bytes())
}

/// The word of a refusal, wherever it stands; nothing when the call went through.
fn refused(answer: &Answer) -> Option<String> {
    let json = answer.json();
    let result = &json["result"]["_meta"]["dev.strait/refusal"]["reason"];
    let reason = if result.is_null() { &json["error"]["data"]["reason"] } else { result };
    reason.as_str().map(str::to_owned)
}

const SMALL_SUMS: &str =
    r#"{ id: refunds, allow: [up.echo], when: 'args.amount <= 500 && args.currency in ["USD", "EUR"]' }"#;

#[test]
fn a_call_is_decided_by_what_it_brings() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = gateway(
        &upstream,
        &[SMALL_SUMS, "{ id: no-night, deny: [up.echo], when: 'args.note == \"night\"' }"],
    );
    let mut client = Client::connect(gateway.address);
    let list = client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).json();
    assert_eq!(names(&list), ["echo"], "what some call may do is shown");

    let mut call = |arguments: Value| {
        client.roundtrip(modern(KEY, 7, "tools/call", json!({"name": "echo", "arguments": arguments})))
    };
    let fine = call(json!({"amount": 500, "currency": "EUR", "note": "day"}));
    assert_eq!(refused(&fine), None, "{}", fine.json());
    let much = call(json!({"amount": 501, "currency": "EUR", "note": "day"}));
    assert_eq!((much.status, refused(&much)), (200, Some("no_rule".to_owned())));
    let json = much.json();
    assert_eq!(
        (&json["result"]["isError"], &json["result"]["resultType"]),
        (&json!(true), &json!("complete"))
    );
    assert_eq!(
        json["result"]["content"][0]["text"],
        "policy: no rule allows tool `echo` with these arguments, from here, now"
    );
    let night = call(json!({"amount": 5, "currency": "EUR", "note": "night"}));
    assert_eq!(refused(&night).as_deref(), Some("denied_by_rule"));
    assert_eq!(night.json()["result"]["_meta"]["dev.strait/refusal"]["rule"], "no-night");
    // Whoever leaves out what a deny asks for, or gives it another type, has not found a way round it.
    for note in [json!({"amount": 5, "currency": "EUR"}), json!({"amount": 5, "currency": "EUR", "note": 1})]
    {
        assert_eq!(refused(&call(note)).as_deref(), Some("denied_by_rule"));
    }
    assert_eq!(upstream.arrived("tools/call").len(), 1);

    let session = initialize(&mut client, KEY, "2025-06-18");
    let call = json!({"name": "echo", "arguments": {"amount": 501, "currency": "EUR", "note": "day"}});
    let answer = client.roundtrip(legacy(KEY, &session, 2, "tools/call", call)).json();
    assert_eq!((&answer["result"]["isError"], &answer["result"]["resultType"]), (&json!(true), &Value::Null));
    drop(client);
    let lines = gateway.stop();
    let rules: Vec<&str> = lines.iter().filter_map(|line| line["rule"].as_str()).collect();
    assert!(rules.contains(&"refunds") && rules.contains(&"no-night"), "{rules:?}");
}

/// Each is a permitted call, written otherwise. Whatever passes must say the same to the server.
#[test]
fn no_trick_of_json_gets_a_call_through() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = gateway(&upstream, &[SMALL_SUMS]);
    let mut client = Client::connect(gateway.address);
    let permitted = [
        r#"{"amount":5,"currency":"EUR"}"#,
        r#"{"currency":"EUR","amount":5}"#,
        r#"{ "amount" : 5.0 , "currency" : "EUR" }"#,
        r#"{"\u0061mount":5,"currency":"\u0045UR"}"#,
        r#"{"amount":-0,"currency":"EUR"}"#,
        r#"{"amount":5e2,"currency":"EUR"}"#,
        r#"{"amount":0.5E3,"currency":"EUR","more":{"amount":900,"AMOUNT":1}}"#,
    ];
    for arguments in permitted {
        assert_eq!(refused(&client.roundtrip(call_as_written(arguments))), None, "{arguments}");
    }
    let arrived = upstream.arrived("tools/call").len();
    let tricks = [
        // The key again, or as another decoder would take it.
        r#"{"amount":5,"currency":"EUR","amount":900}"#,
        r#"{"amount":900,"currency":"EUR","amount":5}"#,
        r#"{"amount":5,"\u0061mount":900,"currency":"EUR"}"#,
        r#"{"amount":5,"Amount":900,"currency":"EUR"}"#,
        r#"{"Amount":5,"currency":"EUR"}"#,
        r#"{"amount":5,"currency":"EUR","\u212aey":1,"Currency":"XXX"}"#,
        r#"{"amount":5,"amount\u0000":900,"currency":"EUR"}"#,
        // Elsewhere.
        r#"{"arguments":{"amount":5,"currency":"EUR"}}"#,
        r#"{"x":{"amount":5,"currency":"EUR"}}"#,
        r#"[{"amount":5,"currency":"EUR"}]"#,
        r#"{"amount":[5],"currency":"EUR"}"#,
        r#"{"amount":{"amount":5},"currency":"EUR"}"#,
        r#"{"amount.":5,"currency":"EUR"}"#,
        // Other types and other numbers.
        r#"{"amount":"5","currency":"EUR"}"#,
        r#"{"amount":null,"currency":"EUR"}"#,
        r#"{"amount":true,"currency":"EUR"}"#,
        r#"{"amount":500.00000000000000001,"currency":"EUR"}"#,
        r#"{"amount":9007199254740993,"currency":"EUR"}"#,
        r#"{"amount":18446744073709551616,"currency":"EUR"}"#,
        r#"{"amount":1e400,"currency":"EUR"}"#,
        r#"{"amount":1e99999999999999999999,"currency":"EUR"}"#,
        r#"{"amount":-1e-99999999999999999999,"currency":"EUR"}"#,
        r#"{"amount":05,"currency":"EUR"}"#,
        r#"{"amount":+5,"currency":"EUR"}"#,
        r#"{"amount":0x5,"currency":"EUR"}"#,
        r#"{"amount":NaN,"currency":"EUR"}"#,
        // Texts that look the same.
        r#"{"amount":5,"currency":"eur"}"#,
        r#"{"amount":5,"currency":"EUR "}"#,
        r#"{"amount":5,"currency":"EUR\u0000"}"#,
        r#"{"amount":5,"currency":"\u0395UR"}"#,
        r#"{"amount":5,"currency":"\uff25UR"}"#,
        r#"{"amount":5,"currency":"E\u200bUR"}"#,
        r#"{"amount":5,"currency":"\ud83dEUR"}"#,
        r#"{"amount":5,"currency":["EUR"]}"#,
        // Nothing at all.
        r#"{"currency":"EUR"}"#,
        r#"{}"#,
        r#"null"#,
    ];
    for arguments in tricks {
        let answer = Client::connect(gateway.address).roundtrip(call_as_written(arguments));
        let json = answer.json();
        let said_no = json["error"].is_object() || json["result"]["isError"] == true;
        assert!(said_no, "{arguments}: {json}");
    }
    assert_eq!(upstream.arrived("tools/call").len(), arrived, "nothing of it reached the server");
}

#[test]
fn a_list_shows_what_some_call_may_do_and_nothing_else() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let rules = [
        r#"{ id: a, allow: [up.echo], when: '"full" in principal.roles && args.amount <= 5' }"#,
        r#"{ id: b, allow: [up.slow], when: '"small" in principal.roles && args.amount <= 5' }"#,
        r#"{ id: c, allow: [up.secret], when: 'args.amount <= 5' }"#,
        r#"{ id: d, deny: [up.secret], unless: '"small" in principal.roles' }"#,
    ];
    let gateway = gateway(&upstream, &rules);
    let mut client = Client::connect(gateway.address);
    for (key, expected) in [(KEY, &["echo"][..]), ("key-small", &["slow", "secret"])] {
        let list = client.roundtrip(modern(key, 1, "tools/list", json!({}))).json();
        assert_eq!(names(&list), expected, "{key}");
    }
    // What nobody is shown is not told apart from what there is not.
    let hidden =
        client.roundtrip(modern(KEY, 2, "tools/call", json!({"name": "secret", "arguments": {"amount": 1}})));
    assert_eq!(hidden.error(), (-32602, "Unknown tool: secret".to_owned()));
    assert_eq!(upstream.arrived("tools/call").len(), 0);
}

#[test]
fn a_window_that_closes_is_closed_for_lists_and_calls_and_listeners_are_told() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    // Long enough for a gateway to start on a loaded machine.
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 8;
    let end = strait_config_compiler::keys::rfc3339(UNIX_EPOCH + Duration::from_secs(end));
    let rule = format!("{{ id: soon-over, allow: [up.echo], when: 'now < timestamp(\"{end}\")' }}");
    let gateway = gateway(&upstream, &[&rule]);
    let mut client = Client::connect(gateway.address);
    assert_eq!(names(&client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).json()), ["echo"]);
    // Nobody asks for anything while it closes.
    let (mut listener, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
    assert_eq!(told(&mut listener), "notifications/tools/list_changed");
    let list = client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).json();
    assert_eq!(names(&list), Vec::<&str>::new());
    let call = modern(KEY, 2, "tools/call", json!({"name": "echo", "arguments": {}}));
    assert_eq!(client.roundtrip(call).error(), (-32602, "Unknown tool: echo".to_owned()));
}

#[test]
fn rules_may_ask_where_a_call_comes_from() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let rules = [
        r#"{ id: here, allow: [up.echo], when: 'cidr("127.0.0.0/8").containsIP(request.ip)' }"#,
        r#"{ id: there, allow: [up.slow], when: 'cidr("10.0.0.0/8").containsIP(request.ip)' }"#,
        r#"{ id: marked, deny: [up.echo], when: '"x-untrusted" in request.headers' }"#,
    ];
    let gateway = gateway(&upstream, &rules);
    let mut client = Client::connect(gateway.address);
    let call = |name: &str| modern(KEY, 2, "tools/call", json!({"name": name, "arguments": {}}));
    assert_eq!(refused(&client.roundtrip(call("echo"))), None);
    assert_eq!(refused(&client.roundtrip(call("slow"))).as_deref(), Some("no_rule"));
    let marked = String::from_utf8(call("echo")).unwrap().replacen(
        "\r\n",
        "\r\nX-Untrusted: a\r\nX-Untrusted: b\r\n",
        1,
    );
    assert_eq!(refused(&client.roundtrip(marked)).as_deref(), Some("denied_by_rule"));
}
