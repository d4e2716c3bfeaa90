//! `Mcp-Param` headers: compared with the arguments they mirror, and made of them for clients that know nothing of them.

use serde_json::{Value, json};
use strait_tests::client::{initialize, modern, post};
use strait_tests::scripted::{Arrived, json_reply, method};
use strait_tests::{Client, Scripted};

use crate::catalog::{Offer, ask, start};
use crate::common::{KEY, reason};

#[test]
fn headers_that_mirror_arguments_must_say_what_they_say_and_broken_annotations_hide_a_tool() {
    let tool = |name: &str, properties: Value| json!({"name": name, "inputSchema": {"type": "object", "properties": properties}});
    let sound = json!({"region": {"type": "string", "x-mcp-header": "Region"},
        "in": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}});
    let broken = json!({"region": {"type": "number", "x-mcp-header": "Region"}});
    let offer = Offer { capabilities: json!({"tools": {}}), ..Offer::default() };
    let lists = json!({"tools/list": {"tools": [tool("good", sound), tool("bad", broken), tool("plain", json!({}))]}});
    let a = Offer { lists: lists.clone(), ..offer.clone() }.start();
    let b = Offer { lists, ..offer }.start();
    let gateway = start(&a, &b);
    let tools = ask(&gateway, KEY, "tools/list", json!({}))["tools"].clone();
    let names: Vec<&str> =
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a__good", "a__plain", "b__good", "b__plain"]);
    let mut client = Client::connect(gateway.address);
    let mut call = |key: &str, name: &str, arguments: Value, headers: &[(&str, &str)]| {
        let request = modern(key, 1, "tools/call", json!({"name": name, "arguments": arguments}));
        let head = b"POST /mcp HTTP/1.1\r\n".len();
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = [&request[..head], lines.as_bytes(), &request[head..]].concat();
        let answer = client.roundtrip(request);
        let message = answer.json();
        assert_eq!(message["id"], 1);
        (answer.status, message["error"]["code"].as_i64())
    };
    let (region, n) = (|value| ("mcp-PARAM-region", value), |value| ("Mcp-Param-N", value));
    let both = json!({"region": "Z\u{fc}rich", "in": {"n": 42}});
    let zurich = "=?base64?WsO8cmljaA==?=";
    for (arguments, headers) in [
        (both.clone(), vec![region(zurich), n("42")]),
        (both.clone(), vec![region(zurich), n("42.0"), ("Mcp-Param-Other", "x")]),
        (json!({}), vec![]),
        (json!({"region": null, "in": {"n": null}}), vec![]),
        (json!({"region": ""}), vec![region("")]),
    ] {
        assert_eq!(call(KEY, "a__good", arguments.clone(), &headers), (200, None), "{arguments} {headers:?}");
    }
    let passed = a.arrived("tools/call");
    assert_eq!(passed.len(), 5);
    assert_eq!(passed[1].header("mcp-param-other"), Some("x"), "what nobody annotates goes on");
    for (arguments, headers) in [
        (both.clone(), vec![]),
        (both.clone(), vec![region(zurich)]),
        (both.clone(), vec![region("Zurich"), n("42")]),
        (both.clone(), vec![region(zurich), n("43")]),
        (both.clone(), vec![region("=?base64?WsO8?=x?="), n("42")]),
        (json!({"region": null}), vec![region("")]),
        (json!({}), vec![n("1")]),
        (json!({"in": 7}), vec![n("7")]),
        (json!({"region": ["a"]}), vec![region("a")]),
    ] {
        let found = call(KEY, "a__good", arguments.clone(), &headers);
        assert_eq!(found, (400, Some(-32020)), "{arguments} {headers:?}");
    }
    // What is hidden is not there, whatever its headers say; and what annotates nothing wants nothing.
    assert_eq!(call("key-small", "b__good", both.clone(), &[]), (200, Some(-32602)));
    assert_eq!(call(KEY, "a__bad", json!({}), &[]), (200, Some(-32602)));
    assert_eq!(call(KEY, "a__plain", both, &[region("other")]), (200, None));
    assert_eq!(a.arrived("tools/call").len(), 6);
}

#[test]
fn headers_that_mirror_arguments_are_made_for_clients_that_know_nothing_of_them() {
    let properties = json!({"region": {"type": "string", "x-mcp-header": "Region"},
        "in": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"},
            "dry": {"type": "boolean", "x-mcp-header": "Dry"}}}});
    let tools = json!([{"name": "good", "inputSchema": {"type": "object", "properties": properties}}, {"name": "plain"}]);
    let offer = |legacy| Offer {
        legacy,
        capabilities: json!({"tools": {}}),
        lists: json!({"tools/list": {"tools": tools}}),
        ..Offer::default()
    };
    // The first call is to be made again.
    let newer = offer(false);
    let a = Scripted::start(move |request| {
        let wants_more =
            request.argument("region") == "again" && request.body["params"].get("requestState").is_none();
        match method(request) {
            "tools/call" if wants_more => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"],
                "result": {"resultType": "input_required", "requestState": "s"}})),
            _ => newer.answer(request),
        }
    });
    let b = offer(true).start();
    let gateway = start(&a, &b);
    let mut client = Client::connect(gateway.address);
    let session = initialize(&mut client, KEY, "2025-06-18");
    let mut call = |name: &str, arguments: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        );
        let bearer = format!("Bearer {KEY}");
        let headers =
            [("Authorization", bearer.as_str()), ("Mcp-Session-Id", &session), ("Mcp-Param-Region", "mine")];
        client.roundtrip(post(&headers, body.as_bytes()))
    };
    let said = |request: &Arrived| {
        ["Region", "N", "Dry"].map(|name| request.header(&format!("Mcp-Param-{name}")).map(str::to_owned))
    };
    let zurich = "=?base64?WsO8cmljaA==?=";
    for (arguments, expected) in [
        (r#"{"region":"eu","in":{"n":42,"dry":true}}"#, [Some("eu"), Some("42"), Some("true")]),
        (r#"{"region":"Z\u00fcrich","in":{"n":-4.0}}"#, [Some(zurich), Some("-4"), None]),
        (r#"{"region":null,"in":{"n":null,"dry":false}}"#, [None, None, Some("false")]),
        (r#"{"region":"","in":7}"#, [Some(""), None, None]),
        (r#"{"region":["eu"]}"#, [None; 3]),
        (r#"{"region":" a\tb"}"#, [Some("=?base64?IGEJYg==?="), None, None]),
        ("{}", [None; 3]),
    ] {
        assert_eq!(call("a__good", arguments).status, 200);
        let arrived = a.arrived("tools/call").pop().expect("a call");
        assert_eq!(said(&arrived), expected.map(|value| value.map(str::to_owned)), "{arguments}");
        assert_eq!(arrived.header("mcp-name"), Some("good"));
    }
    let before = a.arrived("tools/call").len();
    assert!(
        call("a__good", r#"{"region":"again"}"#).messages().last().expect("an answer")["result"].is_object()
    );
    let again = a.arrived("tools/call").split_off(before);
    assert_eq!(
        again.iter().map(|call| said(call)[0].clone()).collect::<Vec<_>>(),
        vec![Some("again".to_owned()); 2]
    );
    // Nobody wants them of what annotates nothing, and an older server knows none.
    assert_eq!((call("a__plain", "{}").status, call("b__good", r#"{"region":"eu"}"#).status), (200, 200));
    for arrived in [a.arrived("tools/call").pop(), b.arrived("tools/call").pop()] {
        assert_eq!(said(&arrived.expect("a call")), [None, None, None]);
    }
    // What no server would take is not sent.
    let before = a.arrived("tools/call").len();
    let answer = call("a__good", &format!(r#"{{"region":"{}"}}"#, "x".repeat(20_000)));
    assert_eq!(reason(&answer), "upstream_input");
    assert_eq!(a.arrived("tools/call").len(), before);
}

#[test]
fn headers_are_compared_for_a_server_that_knows_nothing_of_them() {
    let offer = Offer { legacy: true, capabilities: json!({"tools": {}}), ..Offer::default() };
    let tools = json!([{"name": "t", "inputSchema": {"type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}}]);
    let a = Offer { lists: json!({"tools/list": {"tools": tools}}), ..offer.clone() }.start();
    let b = Offer { lists: json!({"tools/list": {"tools": []}}), ..offer }.start();
    let gateway = start(&a, &b);
    let mut client = Client::connect(gateway.address);
    let mut call = |said: &str, header: Option<&str>| {
        let request = modern(KEY, 1, "tools/call", json!({"name": "a__t", "arguments": {"region": said}}));
        let head = b"POST /mcp HTTP/1.1\r\n".len();
        let line = header.map_or(String::new(), |value| format!("Mcp-Param-Region: {value}\r\n"));
        let answer = client.roundtrip([&request[..head], line.as_bytes(), &request[head..]].concat());
        (answer.status, answer.json()["error"]["code"].as_i64())
    };
    for (said, header) in [
        ("Hello", "=?base64?SGVsbG8=?="),
        ("SGVsbG8=", "SGVsbG8="),
        ("=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
    ] {
        assert_eq!(call(said, Some(header)), (200, None), "{header}");
    }
    for header in [Some("=?base64?SGVsbG8?="), Some("=?base64?SGVs!!!bG8=?="), Some("hello"), None] {
        assert_eq!(call("Hello", header), (400, Some(-32020)), "{header:?}");
    }
    assert_eq!(a.arrived("tools/call").len(), 3);
    assert!(a.arrived("tools/call").iter().all(|call| call.header("Mcp-Param-Region").is_none()));
}
