//! The client's edge: headers that mirror the body, versions, sessions, who may come from where, ids
//! byte for byte, lists page by page.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, post, post_to};
use strait_tests::scripted::{echoed, event, event_stream, json_reply, method};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup, Step};

use crate::basics::config;
use crate::common::{KEY, assert_lives, call, reason, text};

fn gateway() -> (Scripted, Gateway) {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup::new(config(&upstream.url())));
    (upstream, gateway)
}

const AUTH: (&str, &str) = ("Authorization", "Bearer key-full");
const VERSION: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");
const METHOD: (&str, &str) = ("Mcp-Method", "tools/call");
const NAME: (&str, &str) = ("Mcp-Name", "echo");

/// `_meta` of 2026-07-28.
fn meta(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {}})
}

fn body(method: &str, params: Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string().into_bytes()
}

fn echo_body() -> Vec<u8> {
    body("tools/call", json!({"name": "echo", "arguments": {}, "_meta": meta("2026-07-28")}))
}

/// Status, code and reason, once it is sure that the id came back and the request is named as the layer.
fn refused(answer: &Answer, what: &str) -> (u16, i64, String) {
    let (code, message) = answer.error();
    assert!(message.starts_with("request: "), "{what}: {message}");
    assert_eq!(answer.json()["id"], 7, "{what}: {}", text(answer));
    (answer.status, code, reason(answer))
}

#[test]
fn mirrored_headers_must_say_what_the_body_says() {
    let (upstream, gateway) = gateway();
    let mut client = Client::connect(gateway.address);
    let wrong: &[(&str, &[(&str, &str)])] = &[
        ("no version", &[METHOD, NAME]),
        ("older version", &[("MCP-Protocol-Version", "2025-11-25"), METHOD, NAME]),
        ("newer version", &[("MCP-Protocol-Version", "2027-01-01"), METHOD, NAME]),
        ("no version at all", &[("MCP-Protocol-Version", ""), METHOD, NAME]),
        ("no method", &[VERSION, NAME]),
        ("other method", &[VERSION, ("Mcp-Method", "tools/list"), NAME]),
        ("method in capitals", &[VERSION, ("Mcp-Method", "Tools/Call"), NAME]),
        ("no name", &[VERSION, METHOD]),
        ("other name", &[VERSION, METHOD, ("Mcp-Name", "secret")]),
        ("name in capitals", &[VERSION, METHOD, ("Mcp-Name", "Echo")]),
        ("longer name", &[VERSION, METHOD, ("Mcp-Name", "echo2")]),
        ("empty name", &[VERSION, METHOD, ("Mcp-Name", "")]),
        ("other name encoded", &[VERSION, METHOD, ("Mcp-Name", "=?base64?c2VjcmV0?=")]),
        ("name badly padded", &[VERSION, METHOD, ("Mcp-Name", "=?base64?ZWNobw?=")]),
        ("name not base64", &[VERSION, METHOD, ("Mcp-Name", "=?base64?!!!!?=")]),
        ("name of another alphabet", &[VERSION, METHOD, ("Mcp-Name", "=?base64?_-==?=")]),
        ("marker in capitals", &[VERSION, METHOD, ("Mcp-Name", "=?BASE64?ZWNobw==?=")]),
        ("marker left open", &[VERSION, METHOD, ("Mcp-Name", "=?base64?ZWNobw==")]),
    ];
    for (what, headers) in wrong {
        let mut all = vec![AUTH];
        all.extend_from_slice(headers);
        let answer = client.roundtrip(post(&all, &echo_body()));
        assert_eq!(refused(&answer, what), (400, -32020, "header_mismatch".into()), "{what}");
    }
    let nameless = body("tools/call", json!({"arguments": {}, "_meta": meta("2026-07-28")}));
    let answer = client.roundtrip(post(&[AUTH, VERSION, METHOD, NAME], &nameless));
    assert_eq!(refused(&answer, "a name for nothing"), (400, -32020, "header_mismatch".into()));
    let answer = client.roundtrip(post(&[AUTH, VERSION, METHOD], &nameless));
    assert_eq!(refused(&answer, "no name anywhere"), (400, -32602, "invalid_params".into()));
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    let right: &[&[(&str, &str)]] = &[
        &[VERSION, METHOD, NAME],
        &[("mcp-protocol-version", "  2026-07-28 "), ("MCP-METHOD", "tools/call"), ("mcp-name", "echo\t")],
        &[VERSION, METHOD, ("Mcp-Name", "=?base64?ZWNobw==?=")],
        &[VERSION, ("Mcp-Method", "=?base64?dG9vbHMvY2FsbA==?="), NAME],
        &[VERSION, METHOD, NAME, ("Mcp-Session-Id", "ignored"), ("Last-Event-ID", "ignored")],
    ];
    for headers in right {
        let mut all = vec![AUTH];
        all.extend_from_slice(headers);
        let answer = client.roundtrip(post(&all, &echo_body()));
        assert_eq!(answer.status, 200, "{headers:?}: {}", text(&answer));
        assert_eq!(answer.header("mcp-session-id"), None);
    }
    assert_lives(&gateway);
}

#[test]
fn versions_and_metadata_are_checked_in_order() {
    let (_upstream, gateway) = gateway();
    let mut client = Client::connect(gateway.address);
    let params = |meta: Value| json!({"name": "echo", "arguments": {}, "_meta": meta});
    let unknown = [AUTH, ("MCP-Protocol-Version", "2027-01-01"), METHOD, NAME];
    let answer = client.roundtrip(post(&unknown, &body("tools/call", params(meta("2027-01-01")))));
    assert_eq!((answer.status, answer.error().0), (400, -32022), "{}", text(&answer));
    let data = &answer.json()["error"]["data"];
    assert_eq!(*data, json!({"supported": ["2026-07-28"], "requested": "2027-01-01"}));
    let all = [AUTH, VERSION, METHOD, NAME];
    let bare = body("tools/call", json!({"name": "echo", "arguments": {}}));
    let halves = [
        ("no _meta", bare),
        ("no version", body("tools/call", params(json!({"io.modelcontextprotocol/clientCapabilities": {}})))),
        (
            "no capabilities",
            body("tools/call", params(json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}))),
        ),
        (
            "null capabilities",
            body(
                "tools/call",
                params(json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": null})),
            ),
        ),
    ];
    for (what, half) in halves {
        let answer = client.roundtrip(post(&all, &half));
        assert_eq!(refused(&answer, what), (400, -32602, "invalid_params".into()), "{what}");
    }
    for method in
        ["tools/calls", "", "ping", "initialize", "logging/setLevel", "sampling/createMessage", "x/é"]
    {
        let encoded = if method.is_ascii() { method.to_owned() } else { "=?base64?eC/DqQ==?=".to_owned() };
        let headers = [AUTH, VERSION, ("Mcp-Method", encoded.as_str())];
        let answer = client.roundtrip(post(&headers, &body(method, json!({"_meta": meta("2026-07-28")}))));
        let words = match method {
            // Nobody here knows it, so the only upstream is asked, and says so itself.
            "tools/calls" => "Method not found".to_owned(),
            _ => format!("Method not found: {method}"),
        };
        assert_eq!((answer.status, answer.error()), (404, (-32601, words)));
        assert_eq!(answer.json()["id"], 7);
    }
    let response = br#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
    let answer = client.roundtrip(post(&[AUTH, VERSION], response));
    assert_eq!(refused(&answer, "a response"), (400, -32600, "invalid_request".into()));
    let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {
        "requestId": 1, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
    let answer = client.roundtrip(post(&[AUTH, VERSION], told.to_string().as_bytes()));
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    let answer = client.roundtrip(
        modern(KEY, 7, "tools/call", json!({"name": "ech\u{f6}", "arguments": {}}))
            .replace_name("=?base64?ZWNow7Y=?="),
    );
    assert_eq!((answer.status, answer.error()), (200, (-32602, "Unknown tool: ech\u{f6}".into())));
    assert_lives(&gateway);
}

/// The header a client writes for a name that is not plain ASCII.
trait ReplaceName {
    fn replace_name(self, encoded: &str) -> Vec<u8>;
}

impl ReplaceName for Vec<u8> {
    fn replace_name(self, encoded: &str) -> Vec<u8> {
        let text = String::from_utf8(self).expect("UTF-8");
        let at = text.find("Mcp-Name: ").expect("the header") + 10;
        let end = at + text[at..].find("\r\n").expect("its end");
        format!("{}{encoded}{}", &text[..at], &text[end..]).into_bytes()
    }
}

#[test]
fn only_known_hosts_and_origins_may_ask() {
    let (_upstream, gateway) = gateway();
    let request = String::from_utf8(call(7, json!({}))).unwrap();
    let hosts = [
        ("127.0.0.1", 200),
        ("127.0.0.1:8080", 200),
        ("LOCALHOST", 200),
        ("localhost:1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.2", 403),
        ("localhost:8080:8080", 403),
        ("::1", 403),
        ("", 403),
    ];
    for (host, status) in hosts {
        let answer = Client::connect(gateway.address)
            .roundtrip(request.replace("Host: 127.0.0.1", &format!("Host: {host}")));
        assert_eq!(answer.status, status, "{host:?}: {}", text(&answer));
        if status == 403 {
            assert_eq!((reason(&answer).as_str(), answer.error().0), ("host", -32600), "{host:?}");
            assert!(answer.error().1.starts_with("request: "), "{host:?}");
        }
    }
    let origins = [
        ("http://localhost", 200),
        ("http://localhost:3000", 200),
        ("HTTP://LocalHost:3000", 200),
        ("http://127.0.0.1:9", 200),
        ("http://[::1]:9", 200),
        ("null", 403),
        ("", 403),
        ("http://evil.example", 403),
        ("https://localhost", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost:", 403),
        ("http://localhost:x", 403),
        ("http://localhost:1@evil.example", 403),
        ("http://localhost:3000, http://evil.example", 403),
        ("http://localhost:3000/", 403),
    ];
    for (origin, status) in origins {
        let answer = Client::connect(gateway.address)
            .roundtrip(request.replace("Host: 127.0.0.1", &format!("Host: 127.0.0.1\r\nOrigin: {origin}")));
        assert_eq!(answer.status, status, "{origin:?}: {}", text(&answer));
        if status == 403 {
            assert_eq!((reason(&answer).as_str(), answer.error().0), ("origin", -32600), "{origin:?}");
        }
    }
    assert_lives(&gateway);
}

#[test]
fn media_types_paths_and_keys_are_checked_before_the_body() {
    let (upstream, gateway) = gateway();
    let mut client = Client::connect(gateway.address);
    let request = String::from_utf8(call(7, json!({}))).unwrap();
    let json = "Content-Type: application/json\r\n";
    let accept = "Accept: application/json, text/event-stream\r\n";
    let cases = [
        (json, "", 415, "content_type"),
        (json, "Content-Type: text/plain\r\n", 415, "content_type"),
        (json, "Content-Type: application/jsonx\r\n", 415, "content_type"),
        (json, "Content-Type: application/x-www-form-urlencoded\r\n", 415, "content_type"),
        (json, "Content-Type:\r\n", 415, "content_type"),
        (json, "Content-Type: Application/JSON; charset=utf-8\r\n", 200, ""),
        (accept, "Accept: application/json\r\n", 406, "accept"),
        (accept, "Accept: text/event-stream\r\n", 406, "accept"),
        (accept, "Accept: text/html\r\n", 406, "accept"),
        (accept, "Accept: application/json, text/event-stream;q=0\r\n", 406, "accept"),
        (accept, "Accept: */*;q=0\r\n", 406, "accept"),
        (accept, "Accept: */*\r\n", 200, ""),
        (accept, "Accept: application/json\r\nAccept: text/event-stream\r\n", 200, ""),
        (accept, "Accept: text/*;q=0.1, application/*\r\n", 200, ""),
        (accept, "", 200, ""),
        ("POST /mcp ", "POST / ", 404, "no_such_path"),
        ("POST /mcp ", "POST /mcp/ ", 404, "no_such_path"),
        ("POST /mcp ", "POST /MCP ", 404, "no_such_path"),
        ("POST /mcp ", "POST /mcp%00 ", 404, "no_such_path"),
        ("POST /mcp ", "POST /x/../mcp ", 404, "no_such_path"),
        ("POST /mcp ", "POST //mcp ", 404, "no_such_path"),
        ("Authorization: Bearer key-full\r\n", "", 401, "unauthenticated"),
        ("Bearer key-full", "Bearer key-ful", 401, "unauthenticated"),
        ("Bearer key-full", "Bearer ", 401, "unauthenticated"),
        ("Bearer key-full", "Basic key-full", 401, "unauthenticated"),
        ("Bearer key-full", "key-full", 401, "unauthenticated"),
        ("Bearer key-full", "Bearer key-full, Bearer key-full", 401, "unauthenticated"),
        ("Bearer key-full", "bearer  key-full", 200, ""),
    ];
    let mut served = 0;
    for (from, to, status, label) in cases {
        let answer = client.roundtrip(request.replace(from, to));
        assert_eq!(answer.status, status, "{to:?}: {}", text(&answer));
        served += usize::from(status == 200);
        if status != 200 {
            assert_eq!(reason(&answer), label, "{to:?}");
            assert!(answer.error().1.starts_with("request: "), "{to:?}");
            assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"), "{to:?}");
        }
    }
    assert_eq!(upstream.arrived("tools/call").len(), served);
    assert_lives(&gateway);
}

fn two_servers(url: &str) -> String {
    format!(
        r#"
upstreams: {{ up: {{ http: "{url}" }} }}
servers:
  default: {{ path: /mcp, auth: [staff], tools: ["*"] }}
  other: {{ path: /other, auth: [staff], tools: ["*"] }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
policy: {{ default: deny, rules: [{{ id: all, allow: ["*"] }}] }}
"#
    )
}

#[test]
fn a_session_serves_its_principal_at_its_server_in_its_revision_until_it_ends() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    for force_wrong_worker in [false, true] {
        let gateway =
            Gateway::start(Setup { force_wrong_worker, ..Setup::new(two_servers(&upstream.url())) });
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-06-18");
        let list = body("tools/list", json!({}));
        let id = ("Mcp-Session-Id", session.as_str());
        let good = [AUTH, id, ("MCP-Protocol-Version", "2025-06-18")];
        assert_eq!(client.roundtrip(post(&good, &list)).status, 200);
        assert_eq!(client.roundtrip(post(&[AUTH, id], &list)).status, 200, "without a version header");
        let mut forged = session.clone();
        let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
        forged.push(last);
        let shorter = &session[..session.len() - 1];
        let longer = format!("{session}A");
        let cases: Vec<(&str, Vec<u8>, u16, i64, &str)> = vec![
            ("missing", post(&[AUTH], &list), 400, -32600, "session_needed"),
            ("unknown", post(&[AUTH, ("Mcp-Session-Id", "x")], &list), 404, -32001, "session_unknown"),
            ("empty", post(&[AUTH, ("Mcp-Session-Id", "")], &list), 404, -32001, "session_unknown"),
            ("forged", post(&[AUTH, ("Mcp-Session-Id", &forged)], &list), 404, -32001, "session_unknown"),
            ("cut", post(&[AUTH, ("Mcp-Session-Id", shorter)], &list), 404, -32001, "session_unknown"),
            ("longer", post(&[AUTH, ("Mcp-Session-Id", &longer)], &list), 404, -32001, "session_unknown"),
            ("elsewhere", post_to("/other", &[AUTH, id], &list), 404, -32001, "session_unknown"),
            (
                "another's",
                post(&[("Authorization", "Bearer key-small"), id], &list),
                404,
                -32001,
                "session_unknown",
            ),
            (
                "other revision",
                post(&[AUTH, id, ("MCP-Protocol-Version", "2025-11-25")], &list),
                400,
                -32600,
                "session_revision",
            ),
            (
                "no revision",
                post(&[AUTH, id, ("MCP-Protocol-Version", "1999-01-01")], &list),
                400,
                -32600,
                "session_revision",
            ),
            (
                "garbage revision",
                post(&[AUTH, id, ("MCP-Protocol-Version", "x")], &list),
                400,
                -32600,
                "session_revision",
            ),
            (
                "batch",
                post(&[AUTH, id], format!("[{}]", String::from_utf8_lossy(&list)).as_bytes()),
                400,
                -32600,
                "batch",
            ),
            ("nobody's", post(&[id], &list), 401, -32600, "unauthenticated"),
        ];
        for (what, request, status, code, label) in &cases {
            let answer = client.roundtrip(request);
            let found = (answer.status, answer.error().0, reason(&answer));
            assert_eq!(found, (*status, *code, (*label).to_owned()), "{what}: {}", text(&answer));
        }
        // Methods its revision does not know, and messages that need no answer.
        for method in ["server/discover", "subscriptions/listen", "sampling/createMessage", "tools/nothing"] {
            let answer = client.roundtrip(post(&[AUTH, id], &body(method, json!({}))));
            assert_eq!(
                (answer.status, answer.error().0, answer.json()["id"].clone()),
                (200, -32601, json!(7)),
                "{method}"
            );
        }
        let pong = client.roundtrip(post(&[AUTH, id], &body("ping", json!({}))));
        assert_eq!((pong.status, pong.json()["result"].clone()), (200, json!({})));
        for silent in [
            json!({"jsonrpc": "2.0", "id": 3, "result": {}}),
            json!({"jsonrpc": "2.0", "id": 3, "error": {"code": 1, "message": "m"}}),
            json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}),
        ] {
            let answer = client.roundtrip(post(&[AUTH, id], silent.to_string().as_bytes()));
            assert_eq!((answer.status, answer.body.len()), (202, 0), "{silent}");
        }
        // It still lives after all this, ends once, and then is gone.
        assert_eq!(client.roundtrip(post(&[AUTH, id], &list)).status, 200);
        let delete = |key: &str| {
            format!(
                "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nMcp-Session-Id: {session}\r\n\r\n"
            )
        };
        assert_eq!(client.roundtrip(delete("key-small")).status, 404, "only its principal ends it");
        assert_eq!(client.roundtrip(delete(KEY)).status, 204);
        for request in [post(&[AUTH, id], &list), delete(KEY).into_bytes()] {
            let answer = client.roundtrip(request);
            assert_eq!((answer.status, reason(&answer).as_str()), (404, "session_unknown"));
        }
        for (asked, agreed) in
            [("1999-01-01", "2025-11-25"), ("2026-07-28", "2025-11-25"), ("2024-11-05", "2024-11-05")]
        {
            let hello = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
            let answer = client.roundtrip(post(&[AUTH], &body("initialize", hello)));
            assert_eq!(answer.json()["result"]["protocolVersion"], agreed, "{asked}");
        }
        assert_lives(&gateway);
    }
}

#[test]
fn ids_come_back_byte_for_byte() {
    let streamed = |request: &strait_tests::scripted::Arrived| {
        let mut last = event(&echoed(request));
        last.extend_from_slice(b"0\r\n\r\n");
        vec![Step::Send(event_stream()), Step::Send(last)]
    };
    let ids = [
        "0",
        "-1",
        "-0",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "\"\"",
        "\"0\"",
        "\"a\\u0062\"",
        "\"\\\"quoted\\\" \\\\ \\/\"",
        "\"\u{fc}n\u{ef} \u{1f600}\"",
        "\"\\ud83d\\ude00\\n\"",
        "\"null\"",
    ];
    for upstream in [
        Scripted::modern(|request| json_reply(&echoed(request))),
        Scripted::legacy(|request| json_reply(&echoed(request))),
        Scripted::modern(streamed),
        Scripted::legacy(streamed),
    ] {
        let gateway = Gateway::start(Setup::new(config(&upstream.url())));
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        for id in ids {
            let requests = [
                call(424242, json!({"b": 1})),
                legacy(KEY, &session, 424242, "tools/call", json!({"name": "echo", "arguments": {}})),
                modern(KEY, 424242, "tools/list", json!({})),
                modern(KEY, 424242, "tools/call", json!({"name": "nothing", "arguments": {}})),
            ];
            for request in requests {
                let written = String::from_utf8(request).unwrap();
                let (head, body) = written.split_once("\r\n\r\n").unwrap();
                let body = body.replace("424242", id);
                let at = head.find("Content-Length: ").unwrap() + 16;
                let end = at + head[at..].find("\r\n").unwrap();
                let request = format!("{}{}{}\r\n\r\n{body}", &head[..at], body.len(), &head[end..]);
                let answer = client.roundtrip(&request);
                assert_eq!(answer.status, 200, "{id}: {}", text(&answer));
                assert!(text(&answer).contains(&format!("\"id\":{id}")), "{id}: {}", text(&answer));
            }
        }
        assert_lives(&gateway);
    }
}

#[test]
fn a_long_list_comes_in_pages_that_are_complete_and_stable() {
    const TOOLS: usize = 2_345;
    let tool = |n: usize| json!({"name": format!("tool-{n:04}"), "description": "d", "inputSchema": {"type": "object"}});
    let tools: Vec<Value> = (0..TOOLS).map(tool).collect();
    let upstream = Scripted::start(move |request| match method(request) {
        // Pages of its own, 500 each.
        "tools/list" => {
            let from: usize =
                request.body["params"]["cursor"].as_str().map_or(0, |text| text.parse().expect("a cursor"));
            let page: Vec<&Value> = tools.iter().skip(from).take(500).collect();
            let mut result =
                json!({"resultType": "complete", "tools": page, "ttlMs": 0, "cacheScope": "public"});
            if from + 500 < TOOLS {
                result["nextCursor"] = json!((from + 500).to_string());
            }
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
        }
        _ => strait_tests::scripted::modern(json!([]), |request| json_reply(&echoed(request)))(request),
    });
    let gateway = Gateway::start(Setup::new(
        config(&upstream.url()).replace("allow: [up.echo]", "allow: [\"up.tool-1*\"]"),
    ));
    let mut client = Client::connect(gateway.address);
    let mut walk = |key: &str| {
        let (mut names, mut pages, mut cursors) = (Vec::new(), Vec::new(), Vec::new());
        let mut params = json!({});
        loop {
            let answer = client.roundtrip(modern(key, 1, "tools/list", params.clone())).json();
            let page = answer["result"]["tools"].as_array().expect("tools").clone();
            pages.push(page.len());
            names.extend(page.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            match answer["result"]["nextCursor"].as_str() {
                Some(cursor) => {
                    cursors.push(cursor.to_owned());
                    params = json!({"cursor": cursor});
                }
                None => return (names, pages, cursors),
            }
        }
    };
    let (names, pages, cursors) = walk(KEY);
    assert_eq!(pages, [1000, 1000, 345]);
    assert!(names.iter().enumerate().all(|(n, name)| *name == format!("tool-{n:04}")));
    assert_eq!(walk(KEY), (names, pages, cursors.clone()), "twice the same");
    let (few, pages, _) = walk("key-small");
    assert_eq!((few.len(), pages), (1000, vec![1000]));
    assert!(few.iter().all(|name| name.starts_with("tool-1")));
    // Cursors that are not ours, and one of ours in other hands.
    let mut client = Client::connect(gateway.address);
    let flipped = format!("x{}", &cursors[0][1..]);
    let (cut, spaced) = (&cursors[0][1..], format!("{} ", cursors[0]));
    for (key, cursor) in [
        (KEY, ""),
        (KEY, "x"),
        (KEY, "1000"),
        (KEY, &flipped),
        (KEY, cut),
        (KEY, &spaced),
        (KEY, "\u{0}"),
        ("key-small", &cursors[0]),
    ] {
        let answer = client.roundtrip(modern(key, 1, "tools/list", json!({"cursor": cursor})));
        assert_eq!(
            (answer.status, answer.error().0, reason(&answer).as_str()),
            (200, -32602, "bad_cursor"),
            "{cursor:?}"
        );
    }
    assert_lives(&gateway);
}
