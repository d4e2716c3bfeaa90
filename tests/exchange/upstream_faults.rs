//! Upstreams that fail: each fault reaches the client as an error that names the upstream and what it
//! did, with the client's own id; the next call is served; nothing is ever made up, and no call runs
//! more often than it was asked.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{
    self, Arrived, echoed, event, event_stream, http, initialized, json_reply, method, tools,
};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, call, config, reason, text};

const TIMEOUT: &str = "timeout: { connect: 500ms, first_byte: 2s, call: 3s }";

fn one(url: &str) -> String {
    config(&format!("  up: {{ http: \"{url}\", {TIMEOUT} }}"))
}

/// The same where nothing is to be given up.
fn patient(url: &str) -> String {
    config(&format!("  up: {{ http: \"{url}\", timeout: {{ first_byte: 60s, call: 60s }} }}"))
}

fn json_head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}

fn sent(bytes: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Send(bytes.into())]
}

/// What the script does for a call whose argument `case` says so.
fn misbehave(request: &Arrived) -> Vec<Step> {
    let id = request.body["id"].as_i64().unwrap_or(0);
    let good = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    let whole = http(200, "application/json", good.to_string().as_bytes());
    let json = |value: Value| json_reply(&value);
    let token = &request.body["params"]["_meta"]["progressToken"];
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
    let stream = |events: &[&Value]| {
        let mut out = event_stream();
        for message in events {
            out.extend(event(message));
        }
        out
    };
    let then = |bytes: Vec<u8>, last: Step| vec![Step::Send(bytes), last];
    let with_header = |line: &str| {
        let text = String::from_utf8(whole.clone()).unwrap();
        sent(text.replacen("\r\n", &format!("\r\n{line}\r\n"), 1))
    };
    match request.argument("case") {
        "closes" => vec![Step::Close],
        "closes in its head" => then(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec(), Step::Close),
        "closes in its body" => then(whole[..whole.len() - 5].to_vec(), Step::Close),
        "closes in a chunk" => {
            let head =
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            then([&head[..], b"40\r\n{\"jsonrpc\":"].concat(), Step::Close)
        }
        "closes between chunks" => {
            let head =
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = format!("{:x}\r\n{good}\r\n", good.to_string().len());
            then([&head[..], chunk.as_bytes()].concat(), Step::Close)
        }
        "closes before an event" => then(stream(&[]), Step::Close),
        "closes after an event" => then(stream(&[&progress]), Step::Close),
        "closes in an event" => {
            then([stream(&[&progress]), b"40\r\ndata: {\"jsonrpc\"".to_vec()].concat(), Step::Close)
        }
        "ends a stream too soon" => sent([stream(&[&progress]), b"0\r\n\r\n".to_vec()].concat()),
        "never answers" => vec![Step::Hang],
        "stops in its head" => then(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec(), Step::Hang),
        "stops in its body" => then(whole[..whole.len() - 5].to_vec(), Step::Hang),
        "stops after an event" => then(stream(&[&progress]), Step::Hang),
        "speaks TLS" => then(b"\x15\x03\x01\x00\x02\x02\x46".to_vec(), Step::Hang),
        "speaks lines" => sent("220 mail.example ready\r\n\r\n"),
        "bare line feeds" => sent("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        "other version" => sent("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        "status 99" => sent("HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n"),
        "length and chunks" => with_header("Transfer-Encoding: chunked"),
        "two lengths" => with_header("Content-Length: 5"),
        "a folded header" => with_header("X: a\r\n b"),
        "space before colon" => with_header("X : a"),
        "endless head" => sent(format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(100_000))),
        "a bad chunk" => sent(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ),
        "gzip" => with_header("Content-Encoding: gzip"),
        "HTML" => sent(http(200, "text/html", b"<h1>Hello</h1>")),
        "HTML 500" => sent(http(500, "text/html", b"<h1>Oops</h1>")),
        "JSON 500" => sent(http(500, "application/json", b"{\"detail\":\"oops\"}")),
        "empty 502" => sent("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
        "401" => sent("HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer realm=secret\r\nContent-Length: 0\r\n\r\n"),
        "401 of OAuth" => sent(http(401, "application/json", b"{\"error\":\"invalid_token\"}")),
        "401 with a code" => {
            sent(http(401, "application/json", b"{\"error\":{\"code\":401,\"message\":\"who?\"}}"))
        }
        "error of OAuth" => sent(http(200, "application/json", b"{\"error\":\"temporarily_unavailable\"}")),
        "403" => sent(http(403, "text/plain", b"no")),
        "429" => sent(http(429, "text/plain", b"slowly")),
        "302" => sent("HTTP/1.1 302 X\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n"),
        "404" => sent(http(404, "text/plain", b"nothing here")),
        "204" => sent("HTTP/1.1 204 No Content\r\n\r\n"),
        "202" => sent("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
        "101" => sent("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
        "other JSON" => json(json!({"hello": 1})),
        "an array" => json(json!([good])),
        "a string" => json(json!("x")),
        "half JSON" => sent(http(200, "application/json", b"{\"jsonrpc\":\"2.0\",\"id\":")),
        "no JSON" => sent(http(200, "application/json", b"<html>")),
        "two messages" => sent(http(200, "application/json", format!("{good}{good}").as_bytes())),
        "nothing" => sent(json_head(0)),
        "a repeated id" => sent(http(
            200,
            "application/json",
            format!(r#"{{"jsonrpc":"2.0","id":{id},"id":{id},"result":{{}}}}"#).as_bytes(),
        )),
        "result and error" => {
            json(json!({"jsonrpc": "2.0", "id": id, "result": {}, "error": {"code": 1, "message": "m"}}))
        }
        "a deep answer" => sent(http(
            200,
            "application/json",
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}{}}}"#, "[".repeat(600), "]".repeat(600))
                .as_bytes(),
        )),
        "a notification" => json(progress),
        "a request" => json(json!({"jsonrpc": "2.0", "id": id, "method": "ping"})),
        "wrong id" => json(json!({"jsonrpc": "2.0", "id": id + 1000, "result": {}})),
        "id as text" => json(json!({"jsonrpc": "2.0", "id": id.to_string(), "result": {}})),
        "id as fraction" => sent(http(
            200,
            "application/json",
            format!(r#"{{"jsonrpc":"2.0","id":{id}.0,"result":{{}}}}"#).as_bytes(),
        )),
        "null id" => json(json!({"jsonrpc": "2.0", "id": null, "result": {}})),
        "no id" => json(json!({"jsonrpc": "2.0", "result": {}})),
        "wrong id in a stream" => sent(
            [stream(&[&json!({"jsonrpc": "2.0", "id": id + 1, "result": {}})]), b"0\r\n\r\n".to_vec()]
                .concat(),
        ),
        "no JSON in a stream" => {
            sent([event_stream(), b"c\r\ndata: hello\n\r\n1\r\n\n\r\n0\r\n\r\n".to_vec()].concat())
        }
        "" => json_reply(&echoed(request)),
        other => panic!("no such case: {other}"),
    }
}

/// What each case comes to: the reason, and words of the message.
const CASES: &[(&str, &str, &str)] = &[
    ("closes", "upstream_closed", "closed the connection without an answer"),
    ("closes in its head", "upstream_closed", "in the middle of its answer"),
    ("closes in its body", "upstream_closed", "in the middle of its answer"),
    ("closes in a chunk", "upstream_closed", "in the middle of its answer"),
    ("closes between chunks", "upstream_closed", "in the middle of its answer"),
    ("closes before an event", "upstream_closed", "in the middle of its answer"),
    ("closes after an event", "upstream_closed", "in the middle of its answer"),
    ("closes in an event", "upstream_closed", "in the middle of its answer"),
    ("ends a stream too soon", "upstream_closed", "in the middle of its answer"),
    ("never answers", "upstream_first_byte_timeout", "within 2000 ms"),
    ("stops in its head", "upstream_first_byte_timeout", "within 2000 ms"),
    ("stops in its body", "upstream_call_timeout", "within 3000 ms"),
    ("stops after an event", "upstream_call_timeout", "within 3000 ms"),
    ("speaks TLS", "upstream_http", "malformed HTTP"),
    ("speaks lines", "upstream_http", "malformed HTTP"),
    ("bare line feeds", "upstream_http", "bare LF"),
    ("other version", "upstream_http", "malformed HTTP"),
    ("status 99", "upstream_http", "malformed HTTP"),
    ("length and chunks", "upstream_http", "found both"),
    ("two lengths", "upstream_http", "Content-Length"),
    ("a folded header", "upstream_http", "folded"),
    ("space before colon", "upstream_http", "white space"),
    ("endless head", "upstream_http", "32 KiB"),
    ("a bad chunk", "upstream_http", "chunk_size_invalid"),
    ("gzip", "upstream_http", "Content-Encoding"),
    ("HTML", "upstream_not_mcp", "HTTP 200"),
    ("HTML 500", "upstream_status", "HTTP 500"),
    ("JSON 500", "upstream_status", "HTTP 500"),
    ("empty 502", "upstream_status", "HTTP 502"),
    ("401", "upstream_status", "HTTP 401"),
    ("401 of OAuth", "upstream_status", "HTTP 401"),
    ("401 with a code", "upstream_status", "HTTP 401"),
    ("error of OAuth", "upstream_not_mcp", "not JSON-RPC's"),
    ("403", "upstream_status", "HTTP 403"),
    ("429", "upstream_status", "HTTP 429"),
    ("302", "upstream_status", "HTTP 302"),
    ("404", "upstream_status", "HTTP 404"),
    ("204", "upstream_not_mcp", "HTTP 204"),
    ("202", "upstream_not_mcp", "HTTP 202"),
    ("101", "upstream_not_mcp", "HTTP 101"),
    ("other JSON", "upstream_not_mcp", "found none of them"),
    ("an array", "upstream_not_mcp", "expected a JSON object"),
    ("a string", "upstream_not_mcp", "expected a JSON object"),
    ("half JSON", "upstream_not_mcp", "the end of the input"),
    ("no JSON", "upstream_not_mcp", "expected a JSON object"),
    ("two messages", "upstream_not_mcp", "nothing after the message"),
    ("nothing", "upstream_not_mcp", "the end of the input"),
    ("a repeated id", "upstream_not_mcp", "repeated"),
    ("result and error", "upstream_not_mcp", "found both"),
    ("a deep answer", "upstream_not_mcp", "512 levels"),
    ("a notification", "upstream_not_mcp", "expected a response"),
    ("a request", "upstream_not_mcp", "expected a response"),
    ("wrong id", "upstream_wrong_id", "another request's id"),
    ("id as text", "upstream_wrong_id", "another request's id"),
    ("id as fraction", "upstream_wrong_id", "another request's id"),
    ("null id", "upstream_wrong_id", "another request's id"),
    ("no id", "upstream_wrong_id", "another request's id"),
    ("wrong id in a stream", "upstream_wrong_id", "another request's id"),
    ("no JSON in a stream", "upstream_not_mcp", "expected a JSON object"),
];

fn assert_names_upstream(answer: &Answer, case: &str, label: &str, words: &str) {
    assert_eq!(answer.status, 200, "{case}: {}", text(answer));
    assert!(!answer.cut_short, "{case}");
    let (code, message) = answer.error();
    assert!(message.starts_with("upstream `up`: ") && message.contains(words), "{case}: {message}");
    assert_eq!((code, reason(answer).as_str()), (-32603, label), "{case}: {message}");
    let last = answer.messages().last().cloned().expect("a message");
    assert_eq!((&last["id"], &last["error"]["data"]["layer"]), (&json!(7), &json!("upstream")), "{case}");
    for name in ["www-authenticate", "location", "set-cookie"] {
        assert_eq!(answer.header(name), None, "{case}");
    }
}

#[test]
fn every_fault_names_the_upstream_and_leaves_the_next_call_alone() {
    for upstream in [Scripted::modern(misbehave), Scripted::legacy(misbehave)] {
        for force_wrong_worker in [false, true] {
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(one(&upstream.url())) });
            let mut client = Client::connect(gateway.address);
            let session = initialize(&mut client, KEY, "2025-11-25");
            for (case, label, words) in CASES {
                let before = upstream.arrived("tools/call").len();
                let params =
                    json!({"name": "echo", "arguments": {"case": case}, "_meta": {"progressToken": "t"}});
                let answer = client.roundtrip(modern(KEY, 7, "tools/call", params.clone()));
                assert_names_upstream(&answer, case, label, words);
                let runs = upstream.arrived("tools/call").len() - before;
                // A 404 of a modern server may mean that it was replaced by an older one, and proves that nothing ran.
                assert!(runs == 1 || *case == "404", "{case}: ran {runs} times");
                // What takes its time takes it once.
                if !label.ends_with("timeout") {
                    let answer = client.roundtrip(legacy(KEY, &session, 7, "tools/call", params));
                    assert_names_upstream(&answer, case, label, words);
                }
                let next = client.roundtrip(call(8, json!({"n": case})));
                assert_eq!(next.json()["id"], 8, "after {case}");
                assert!(next.json()["result"]["content"][0]["text"].as_str().unwrap().contains(case));
            }
            assert_lives(&gateway);
            let lines = {
                drop(client);
                gateway.stop()
            };
            for (case, label, _) in CASES {
                assert!(lines.iter().any(|line| line["refused"] == *label), "{case}: no line says {label}");
            }
        }
    }
}

#[test]
fn an_error_without_an_id_answers_the_call_it_was_sent_for() {
    let script = |request: &Arrived| {
        let error = json!({"code": -31999, "message": "cannot read that"});
        match request.argument("case") {
            "null" => json_reply(&json!({"jsonrpc": "2.0", "id": null, "error": error})),
            "absent" => json_reply(&json!({"jsonrpc": "2.0", "error": error})),
            "400" => {
                let body =
                    json!({"jsonrpc": "2.0", "error": {"code": -32602, "message": "cannot read that"}});
                sent(http(400, "application/json", body.to_string().as_bytes()))
            }
            "stream" => {
                let last = event(&json!({"error": error, "jsonrpc": "2.0"}));
                sent([event_stream(), last, b"0\r\n\r\n".to_vec()].concat())
            }
            _ => json_reply(&echoed(request)),
        }
    };
    for upstream in [Scripted::modern(script), Scripted::legacy(script)] {
        let gateway = Gateway::start(Setup::new(one(&upstream.url())));
        let mut client = Client::connect(gateway.address);
        for case in ["null", "absent", "400", "stream"] {
            let answer = client.roundtrip(call(7, json!({"case": case})));
            assert_eq!(answer.error().1, "cannot read that", "{case}");
            assert_eq!(answer.messages().last().unwrap()["id"], 7, "{case}: {}", text(&answer));
        }
        assert_lives(&gateway);
    }
}

#[test]
fn an_upstreams_own_errors_pass_as_they_are() {
    let script = |request: &Arrived| {
        let code: i64 = request.argument("code").parse().unwrap_or(0);
        let status: u16 = request.argument("status").parse().unwrap_or(200);
        let error = json!({"code": code, "message": "mine", "data": {"x": 1.50}});
        let body = json!({"jsonrpc": "2.0", "id": request.body["id"], "error": error}).to_string();
        sent(http(status, "application/json", body.as_bytes()))
    };
    for (upstream, modern_upstream) in [(Scripted::modern(script), true), (Scripted::legacy(script), false)] {
        let gateway = Gateway::start(Setup::new(one(&upstream.url())));
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        for (code, status, shown) in [
            ("-32602", "200", 200),
            ("-32603", "200", 200),
            ("-32000", "200", 200),
            ("7", "200", 200),
            ("-32602", "400", 400),
        ] {
            let arguments = json!({"code": code, "status": status});
            let answer = client.roundtrip(call(7, arguments.clone()));
            let error = json!({"code": code.parse::<i64>().unwrap(), "message": "mine", "data": {"x": 1.5}});
            let what = format!("{code} under {status}, modern: {modern_upstream}");
            assert_eq!((answer.status, answer.json()["error"].clone()), (shown, error.clone()), "{what}");
            assert_eq!(answer.json()["id"], 7, "{what}");
            let params = json!({"name": "echo", "arguments": arguments});
            let answer = client.roundtrip(legacy(KEY, &session, 7, "tools/call", params));
            assert_eq!((answer.status, answer.json()["error"].clone()), (200, error), "{what}, older client");
        }
        assert_lives(&gateway);
    }
}

#[test]
fn interim_answers_are_passed_over_and_bytes_behind_an_answer_answer_nothing() {
    let upstream = Scripted::modern(|request| {
        let good = http(200, "application/json", echoed(request).to_string().as_bytes());
        match request.argument("case") {
            "interim" => {
                let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
                sent([&interim[..], &good].concat())
            }
            "forged" => {
                let next = request.body["id"].as_i64().unwrap() + 1;
                let forged = json!({"jsonrpc": "2.0", "id": next, "result": {"content": [{"type": "text", "text": "forged"}]}});
                sent([good, http(200, "application/json", forged.to_string().as_bytes())].concat())
            }
            _ => sent(good),
        }
    });
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(one(&upstream.url())) });
    let mut client = Client::connect(gateway.address);
    for case in ["interim", "forged", "", "forged", "interim", ""] {
        let answer = client.roundtrip(call(7, json!({"case": case, "n": 1})));
        assert_eq!(answer.json()["result"]["content"][0]["text"], format!("{{\"case\":\"{case}\",\"n\":1}}"));
    }
    assert_lives(&gateway);
}

/// What a server asks in the middle of a call: a ping is answered, anything else declined, and the call goes on.
#[test]
fn a_servers_own_requests_are_answered_by_the_gateway() {
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = heard.clone();
    let script = move |request: &Arrived| {
        if request.body["method"].is_null() {
            let right = match request.body["id"].as_str() {
                Some("ping-1") => request.body["result"] == json!({}),
                Some("sample-1") => request.body["error"]["code"] == -32601,
                _ => false,
            };
            counter.fetch_add(usize::from(right), Ordering::SeqCst);
            return sent(scripted::ACCEPTED);
        }
        let ping = json!({"jsonrpc": "2.0", "id": "ping-1", "method": "ping"});
        let sample =
            json!({"jsonrpc": "2.0", "id": "sample-1", "method": "sampling/createMessage", "params": {}});
        let events =
            [event_stream(), event(&ping), event(&sample), event(&echoed(request)), b"0\r\n\r\n".to_vec()];
        sent(events.concat())
    };
    let lists = scripted::legacy(script.clone());
    let upstream = Scripted::start(move |request| match method(request) {
        "" => script(request),
        _ => lists(request),
    });
    let gateway = Gateway::start(Setup::new(one(&upstream.url())));
    let answer = Client::connect(gateway.address).roundtrip(call(7, json!({"a": 1})));
    assert_eq!(answer.messages().len(), 1, "the client sees nothing of it: {}", text(&answer));
    assert_eq!(answer.messages()[0]["result"]["content"][0]["text"], "{\"a\":1}");
    wait_for("both answers", || heard.load(Ordering::SeqCst) == 2);
    assert_lives(&gateway);
}

#[test]
fn an_upstream_may_go_and_come_back_in_another_era() {
    let mut upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let address = upstream.address;
    let gateway = Gateway::start(Setup::new(one(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
    upstream.stop();
    for _ in 0..4 {
        let answer = client.roundtrip(call(7, json!({})));
        let found = reason(&answer);
        // The first may meet the connection that has just closed.
        assert!(
            ["upstream_connect", "upstream_closed", "upstream_send"].contains(&found.as_str()),
            "{found}"
        );
    }
    let answer = client.roundtrip(call(7, json!({})));
    assert_names_upstream(&answer, "down", "upstream_connect", "is it running?");
    let list = client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).json();
    assert_eq!(list["result"]["tools"].as_array().map(Vec::len), Some(3), "the last good list stays");
    let mut upstream = Scripted::start_at(address, scripted::legacy(|request| json_reply(&echoed(request))));
    for n in 0..4 {
        let answer = client.roundtrip(call(7, json!({"n": n})));
        assert_eq!(
            answer.json()["result"]["content"][0]["text"],
            format!("{{\"n\":{n}}}"),
            "{}",
            text(&answer)
        );
    }
    assert!(!upstream.arrived("initialize").is_empty());
    // Replaced by a modern one between two calls, without a moment of being down that we could notice.
    upstream.stop();
    let upstream =
        Scripted::start_at(address, scripted::modern(tools(), |request| json_reply(&echoed(request))));
    wait_for("a call to the new server", || {
        client.roundtrip(call(7, json!({}))).json()["result"].is_object()
    });
    assert!(!upstream.arrived("tools/call").is_empty());
    assert_lives(&gateway);
}

#[test]
fn one_dead_upstream_among_several_spoils_nothing() {
    let good = Scripted::modern(|request| json_reply(&echoed(request)));
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing_at = refusing.local_addr().unwrap();
    drop(refusing);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();
    let html = Scripted::start(|_| sent(http(200, "text/html", b"<h1>hi</h1>")));
    let upstreams = format!(
        "  dead: {{ http: \"http://{refusing_at}/mcp\", {TIMEOUT} }}\n  good: {{ http: \"{}\" }}\n  silent: {{ http: \"http://{silent_at}/mcp\", {TIMEOUT} }}\n  page: {{ http: \"{}\" }}",
        good.url(),
        html.url()
    );
    let gateway = Gateway::start(Setup::new(config(&upstreams)));
    let faults: Vec<String> = (0..4).map(|n| gateway.learning_fault(n).unwrap_or_default()).collect();
    assert!(faults[0].contains("connect failed"), "{faults:?}");
    assert_eq!(faults[1], "");
    assert!(faults[2].contains("no first byte"), "{faults:?}");
    assert!(faults[3].contains("not a JSON-RPC message"), "{faults:?}");
    let mut client = Client::connect(gateway.address);
    let list = client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).json();
    let names: Vec<&str> = list["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["good__echo", "good__slow", "good__secret"]);
    let answer =
        client.roundtrip(modern(KEY, 2, "tools/call", json!({"name": "good__echo", "arguments": {"n": 1}})));
    assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"n\":1}");
    assert_eq!(good.arrived("tools/call")[0].header("Mcp-Name"), Some("echo"), "it is told its own name");
    let answer =
        client.roundtrip(modern(KEY, 2, "tools/call", json!({"name": "dead__echo", "arguments": {}})));
    assert_eq!(answer.error(), (-32602, "Unknown tool: dead__echo".into()));
    assert_lives(&gateway);
}

/// A server with prompts, for calls that are safe to repeat.
fn with_prompts(call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
    let lists = scripted::modern(tools(), |request| json_reply(&echoed(request)));
    Scripted::start(move |request| match method(request) {
        "server/discover" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "prompts": {}}, "ttlMs": 0, "cacheScope": "public"}})),
        "prompts/list" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "prompts": [{"name": "hello"}], "ttlMs": 0, "cacheScope": "public"}})),
        "prompts/get" | "tools/call" => call(request),
        _ => lists(request),
    })
}

#[test]
fn a_connection_that_died_while_idle_fails_no_call_that_may_be_repeated() {
    let upstream = with_prompts(|request| json_reply(&echoed(request)));
    let config = one(&upstream.url()).replace("tools: [\"*\"]", "tools: [\"*\"], prompts: [\"*\"]");
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
    let mut client = Client::connect(gateway.address);
    let prompt = modern(KEY, 1, "prompts/get", json!({"name": "hello"}));
    for _ in 0..10 {
        assert!(client.roundtrip(&prompt).json()["result"].is_object());
        upstream.close_connections();
    }
    let before = upstream.connections();
    assert!(client.roundtrip(&prompt).json()["result"].is_object());
    assert_eq!(upstream.connections(), before + 1, "it was really dead");
    // A tool may have run, so its call is not repeated; but a connection that was idle for longer is looked at.
    upstream.close_connections();
    std::thread::sleep(Duration::from_millis(1_200));
    let runs = upstream.arrived("tools/call").len();
    assert!(client.roundtrip(call(1, json!({}))).json()["result"].is_object());
    assert_eq!(upstream.arrived("tools/call").len(), runs + 1);
    assert_lives(&gateway);
}

#[test]
fn a_lost_session_is_opened_again_once_and_the_call_repeated_once() {
    for status in [404, 400] {
        for always in [false, true] {
            let opened = Arc::new(AtomicUsize::new(0));
            let lost = Arc::new(AtomicUsize::new(usize::MAX));
            let (opening, losing) = (opened.clone(), lost.clone());
            let lists = scripted::legacy(|request| json_reply(&echoed(request)));
            let upstream = Scripted::start(move |request| {
                let session: Option<usize> = request.header("Mcp-Session-Id").and_then(|id| id.parse().ok());
                match method(request) {
                    "initialize" => {
                        let id = opening.fetch_add(1, Ordering::SeqCst) + 1;
                        let body = initialized(request).to_string();
                        sent(format!(
                            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        ))
                    }
                    "server/discover" => lists(request),
                    _ if session.is_none() => sent(http(400, "text/plain", b"no session")),
                    "tools/call" if session <= Some(losing.load(Ordering::SeqCst)) => {
                        sent(http(status, "text/plain", b"session not found"))
                    }
                    _ => lists(request),
                }
            });
            lost.store(0, Ordering::SeqCst);
            let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(one(&upstream.url())) });
            let mut client = Client::connect(gateway.address);
            assert!(client.roundtrip(call(1, json!({}))).json()["result"].is_object());
            let (sessions, runs) = (opened.load(Ordering::SeqCst), upstream.arrived("tools/call").len());
            lost.store(if always { 1_000 } else { sessions }, Ordering::SeqCst);
            let answer = client.roundtrip(call(7, json!({"n": 2})));
            if always {
                assert_names_upstream(&answer, "lost for good", "upstream_status", &format!("HTTP {status}"));
            } else {
                assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"n\":2}");
            }
            assert_eq!(opened.load(Ordering::SeqCst), sessions + 1, "opened again once");
            assert_eq!(upstream.arrived("tools/call").len(), runs + 2, "sent once more");
            let last = upstream.arrived("tools/call").pop().unwrap();
            assert_eq!(last.header("Mcp-Session-Id"), Some((sessions + 1).to_string().as_str()));
            assert_lives(&gateway);
        }
    }
}

/// A large answer with its id at this end, as bytes before and after the id.
fn large(id_first: bool, bytes: usize) -> (String, String) {
    let unit = r#"{"$defs":{"x":[1.50,"\u00e9\n"]},"é":null,"n":12345678901234567890},"#;
    let items = format!("[{}0]", unit.repeat(bytes / unit.len()));
    if id_first {
        (
            "{ \"id\" : ".to_owned(),
            format!(" , \"jsonrpc\":\"2.0\", \"result\":{{\"structuredContent\":{items},\"content\":[]}}}}"),
        )
    } else {
        (
            format!(
                "{{\"result\":{{\"structuredContent\":{items},\"content\":[]}},\"jsonrpc\":\"2.0\",\"id\":"
            ),
            "}\n".to_owned(),
        )
    }
}

#[test]
fn a_large_answer_streams_through_byte_for_byte() {
    const BYTES: usize = 5_000_000;
    for id_first in [true, false] {
        for chunked in [true, false] {
            let gate = Gate::default();
            let held = gate.clone();
            let upstream = Scripted::modern(move |request| {
                let (before, after) = large(id_first, BYTES);
                let body = format!("{before}{}{after}", request.body["id"]);
                let (first, rest) = body.as_bytes().split_at(4_000_000);
                let framed = |bytes: &[u8]| match chunked {
                    true => [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
                    false => bytes.to_vec(),
                };
                let (head, end) = match chunked {
                    true => (
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
                        b"0\r\n\r\n".to_vec(),
                    ),
                    false => (json_head(body.len()), Vec::new()),
                };
                vec![
                    Step::Send([head, framed(first)].concat()),
                    Step::Await(held.clone()),
                    Step::Send([framed(rest), end].concat()),
                ]
            });
            let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(patient(&upstream.url())) });
            let mut client = Client::connect(gateway.address);
            client.send(call(7, json!({})));
            // Most of what the upstream has sent is here while the rest has not been made yet.
            client.wait_for_unread(3_800_000);
            let figures = &gateway.handle().figures()[0];
            wait_for("a tick", {
                let beats = figures.beats.get();
                move || figures.beats.get() > beats + 1
            });
            let held_bytes = gateway.handle().figures()[0].held_bytes.get();
            assert!(held_bytes < 1 << 20, "{held_bytes} bytes of a streaming answer are held");
            gate.open();
            let answer = client.answer().expect("an answer");
            assert!(!answer.cut_short);
            let (before, after) = large(id_first, BYTES);
            let expected = format!("{before}7{after}");
            assert_eq!(answer.body.len(), expected.len());
            assert!(answer.body == expected.as_bytes(), "id first: {id_first}, chunked: {chunked}");
            assert_lives(&gateway);
        }
    }
}

#[test]
fn a_large_answer_that_turns_out_wrong_is_cut_short() {
    let upstream = Scripted::modern(|request| {
        let id = request.body["id"].as_i64().unwrap();
        let (before, after) = large(false, 1_000_000);
        match request.argument("case") {
            "wrong id" => {
                sent(http(200, "application/json", format!("{before}{}{after}", id + 1).as_bytes()))
            }
            "no id" => sent(http(200, "application/json", before.replace(",\"id\":", "}").as_bytes())),
            "garbage behind" => {
                sent(http(200, "application/json", format!("{before}{id}{after}x").as_bytes()))
            }
            "ends inside" => sent(http(200, "application/json", before.as_bytes())),
            "closes inside" => {
                let whole = http(200, "application/json", format!("{before}{id}{after}").as_bytes());
                vec![Step::Send(whole[..900_000].to_vec()), Step::Close]
            }
            "hangs inside" => {
                let whole = http(200, "application/json", format!("{before}{id}{after}").as_bytes());
                vec![Step::Send(whole[..900_000].to_vec()), Step::Hang]
            }
            _ => json_reply(&echoed(request)),
        }
    });
    let gateway = Gateway::start(Setup::new(one(&upstream.url())));
    for case in ["wrong id", "no id", "garbage behind", "ends inside", "closes inside", "hangs inside"] {
        let mut client = Client::connect(gateway.address);
        let answer = client.roundtrip(call(7, json!({"case": case})));
        assert!(answer.cut_short, "{case}: {} bytes", answer.body.len());
        assert!(serde_json::from_slice::<Value>(&answer.body).is_err(), "{case}: never a whole answer");
        client.assert_closed();
        assert!(Client::connect(gateway.address).roundtrip(call(8, json!({}))).json()["result"].is_object());
    }
    assert_lives(&gateway);
}

/// HTTP/1.0 knows no chunks: what has no length yet ends with the connection.
#[test]
fn a_large_answer_reaches_a_client_of_http_1_0() {
    let upstream = Scripted::modern(|request| {
        let (before, after) = large(true, 1_000_000);
        sent(http(200, "application/json", format!("{before}{}{after}", request.body["id"]).as_bytes()))
    });
    let gateway = Gateway::start(Setup::new(one(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    let answer =
        client.roundtrip(String::from_utf8(call(7, json!({}))).unwrap().replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(
        (answer.status, answer.header("transfer-encoding"), answer.header("connection")),
        (200, None, Some("close"))
    );
    assert_eq!(answer.json()["id"], 7);
    assert_lives(&gateway);
}

#[test]
fn events_are_read_whatever_their_line_ends_and_cuts() {
    let upstream = Scripted::modern(|request| {
        let case = request.argument("case").to_owned();
        let end = if case.contains("CRLF") {
            "\r\n"
        } else if case.contains("CR") {
            "\r"
        } else {
            "\n"
        };
        let big = if case.contains("big") { "b".repeat(1_000_000) } else { "é\u{1f600}".to_owned() };
        let answer = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": [{"type": "text", "text": big}]}});
        let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hi"}});
        // A priming event, a comment, a message over two lines, fields in every order.
        let halves = note.to_string();
        let (one, two) = halves.split_at(halves.find(",\"params\"").unwrap() + 1);
        let stream = [
            "\u{feff}id: 1",
            "data:",
            "retry: 10",
            "",
            ": comment",
            "",
            &format!("data: {one}"),
            "id: 2",
            &format!("data: {two}"),
            "event: message",
            "",
            "unknown: x",
            &format!("data:{answer}"),
            "",
            "",
        ]
        .join(end);
        if case.contains("bytewise") {
            let mut steps = vec![Step::Send(event_stream())];
            steps.extend(stream.bytes().map(|byte| Step::Send([b"1\r\n", &[byte][..], b"\r\n"].concat())));
            steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
            steps
        } else {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";
            vec![Step::Send([head.as_bytes(), stream.as_bytes()].concat()), Step::Close]
        }
    });
    let gateway = Gateway::start(Setup::new(patient(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    for case in ["LF", "CRLF", "CR", "LF bytewise", "CRLF bytewise", "CR bytewise", "LF big", "CRLF big"] {
        let answer = client.roundtrip(call(7, json!({"case": case})));
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{case}");
        let messages = answer.messages();
        assert_eq!(messages.len(), 2, "{case}");
        assert_eq!(messages[0]["params"]["data"], "hi", "{case}");
        let text = messages[1]["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(text.len(), if case.contains("big") { 1_000_000 } else { 6 }, "{case}");
        assert_eq!(messages[1]["id"], 7, "{case}");
    }
    assert_lives(&gateway);
}

#[test]
fn a_client_that_goes_away_ends_the_call_upstream() {
    let upstream = Scripted::modern(|request| match request.argument("case") {
        "" => json_reply(&echoed(request)),
        _ => vec![Step::Hang],
    });
    let gateway = Gateway::start(Setup::new(patient(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    client.send(call(7, json!({"case": "hang"})));
    wait_for("the call", || upstream.arrived("tools/call").len() == 1);
    let inflight = || gateway.handle().figures().iter().map(|worker| worker.inflight.get()).sum::<u64>();
    wait_for("the call to be under way", || inflight() == 1);
    drop(client);
    wait_for("the call to end", || inflight() == 0);
    assert_lives(&gateway);
}
