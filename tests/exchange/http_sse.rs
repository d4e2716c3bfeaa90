//! Clients of 2024-11-05, which POST messages and are answered on one event stream.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_engine::limits::{OUTLET_BYTES_MAX, REPLY_WINDOW_BYTES, WIRE_MESSAGES_MAX};
use strait_tests::client::{initialize, post, post_to};
use strait_tests::gateway::{assert_no_worker_panicked, wait_for};
use strait_tests::scripted::{self, echoed, event, event_stream, json_reply, method};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, text};
use crate::listen::lists;
use crate::sessions::asking;

/// More than an upstream's answer is held before it is passed on in pieces.
const LARGE: usize = REPLY_WINDOW_BYTES * 3 / 2;

/// A client with its stream open.
pub struct SseClient {
    stream: Client,
    posts: Client,
    key: &'static str,
    url: String,
}

impl SseClient {
    pub fn open(gateway: &Gateway, path: &str, key: &'static str) -> SseClient {
        let (mut stream, posts) = (Client::connect(gateway.address), Client::connect(gateway.address));
        stream.send(get(path, key));
        let head = stream.stream_head();
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        let first = String::from_utf8(stream.until_unread(b"\n\n")).expect("UTF-8");
        assert!(first.contains("event: endpoint\n"), "{first}");
        let url = first.lines().find_map(|line| line.strip_prefix("data: ")).expect("a URL").to_owned();
        assert!(url.starts_with(&format!("{path}?")), "{url}");
        SseClient { stream, posts, key, url }
    }

    fn post(&mut self, message: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let bytes = post_to(&self.url, &[("Authorization", &bearer)], message.to_string().as_bytes());
        self.posts.roundtrip(bytes)
    }

    fn say(&mut self, message: &Value) {
        let answer = self.post(message);
        assert_eq!((answer.status, answer.body.len()), (202, 0), "{}", text(&answer));
    }

    fn ask(&mut self, id: i64, method: &str, params: Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    pub fn call(&mut self, id: i64) {
        self.ask(id, "tools/call", json!({"name": "echo", "arguments": {"n": id}}));
    }

    pub fn hear(&mut self) -> Value {
        self.stream.next_event()
    }

    pub fn initialize(&mut self, version: &str, capabilities: Value) -> Value {
        self.ask(
            0,
            "initialize",
            json!({"protocolVersion": version, "capabilities": capabilities,
                "clientInfo": {"name": "test", "version": "1"}}),
        );
        let answer = self.hear();
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        answer
    }
}

fn get(path: &str, key: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
}

fn gateway(upstream: &Scripted, force_wrong_worker: bool) -> Gateway {
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) })
}

#[test]
fn everything_is_answered_on_the_stream() {
    for force_wrong_worker in [false, true] {
        let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
        let gateway = gateway(&upstream, force_wrong_worker);
        for version in ["2024-11-05", "2025-06-18"] {
            let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
            client.ask(7, "tools/list", json!({}));
            let refused = client.hear();
            assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(7), &json!(-32600)), "{refused}");
            let answer = client.initialize(version, json!({}));
            assert_eq!(answer["result"]["protocolVersion"], version, "{answer}");
            client.ask(1, "tools/list", json!({}));
            let listed = client.hear();
            assert_eq!(listed["id"], 1);
            assert_eq!(listed["result"]["tools"].as_array().expect("tools").len(), 3, "{listed}");
            client.call(2);
            let called = client.hear();
            assert_eq!(
                (&called["id"], &called["result"]["content"][0]["text"]),
                (&json!(2), &json!("{\"n\":2}"))
            );
            client.ask(3, "tools/call", json!({"name": "none"}));
            assert_eq!(client.hear()["error"]["message"], "Unknown tool: none");
            client.ask(4, "no/such", json!({}));
            assert_eq!(client.hear()["error"]["code"], -32601);
            client.ask(5, "initialize", json!({"protocolVersion": version, "capabilities": {}}));
            assert_eq!(client.hear()["error"]["code"], -32600, "a second time");
            client.ask(6, "ping", json!({}));
            assert_eq!(client.hear(), json!({"jsonrpc": "2.0", "id": 6, "result": {}}));
        }
        assert_lives(&gateway);
    }
}

#[test]
fn a_url_is_of_use_only_to_its_principal_at_its_server_while_the_stream_is_open() {
    for force_wrong_worker in [false, true] {
        let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
        let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url())).replace(
            "servers: { default:",
            "servers: { other: { path: /other/mcp, auth: [staff], tools: [\"*\"] }, default:",
        );
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
        client.initialize("2024-11-05", json!({}));
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        let mut other = Client::connect(gateway.address);
        let mut status = |url: &str, key: &str| {
            let bearer = format!("Bearer {key}");
            other.roundtrip(post_to(url, &[("Authorization", &bearer)], ping.as_bytes())).status
        };
        let url = client.url.clone();
        let token = url.split_once("session=").expect("a token").1;
        assert_eq!(status(&url, "key-small"), 404, "another principal");
        assert_eq!(status(&url, "key-none"), 401, "nobody");
        assert_eq!(status(&url.replace("/mcp/sse", "/other/mcp/sse"), KEY), 404, "another server");
        assert_eq!(status(&url.replace("session=", "session=A"), KEY), 404, "another token");
        assert_eq!(status(&format!("/mcp/sse?x=1&session={token}"), KEY), 202, "among other parameters");
        assert_eq!(status("/mcp/sse", KEY), 405, "no token");
        assert_eq!(status("/mcp", KEY), 400, "Streamable HTTP without a session");
        let (auth, mut plain) = (("Authorization", "Bearer key-full"), Client::connect(gateway.address));
        let answer = plain.roundtrip(post(&[auth, ("Mcp-Session-Id", token)], ping.as_bytes()));
        assert_eq!(answer.status, 404, "the token is no session id");
        let session = initialize(&mut plain, KEY, "2025-06-18");
        assert_eq!(status(&format!("/mcp/sse?session={session}"), KEY), 404, "nor the other way round");
        assert_eq!(client.hear()["id"], 1, "what was accepted is answered");
        let SseClient { stream, .. } = client;
        drop(stream);
        wait_for("the session to end with its stream", || status(&url, KEY) == 404);
        let answer = plain.roundtrip("GET /mcp/sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        assert_eq!(answer.status, 401);
        let answer = plain.roundtrip(get("/none/sse", KEY));
        assert_eq!(answer.status, 404);
        assert_lives(&gateway);
    }
}

#[test]
fn progress_and_questions_come_on_the_stream_before_their_answer() {
    for force_wrong_worker in [false, true] {
        let upstream = asking();
        let gateway = gateway(&upstream, force_wrong_worker);
        let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
        client.initialize("2025-06-18", json!({"elicitation": {}}));
        client.call(5);
        let question = client.hear();
        assert_eq!(question["method"], "elicitation/create", "{question}");
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}});
        client.say(&answer);
        let said = client.hear();
        assert_eq!(said["id"], 5, "{said}");
        assert_eq!(upstream.arrived("")[0].body["result"], answer["result"]);
        assert_lives(&gateway);

        let upstream = Scripted::legacy(|request| {
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                "progressToken": request.body["params"]["_meta"]["progressToken"], "progress": 1}});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {
                "level": "info", "data": "at work"}});
            let said = [
                event_stream(),
                event(&progress),
                event(&log),
                event(&echoed(request)),
                b"0\r\n\r\n".to_vec(),
            ];
            vec![Step::Send(said.concat())]
        });
        let gateway = self::gateway(&upstream, force_wrong_worker);
        let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
        client.initialize("2024-11-05", json!({}));
        client.ask(
            8,
            "tools/call",
            json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": "mine"}}),
        );
        assert_eq!(client.hear()["params"], json!({"progressToken": "mine", "progress": 1}));
        assert_eq!(client.hear()["params"]["data"], "at work");
        assert_eq!(client.hear()["id"], 8);
        assert_lives(&gateway);
    }
}

/// Large answers are gathered; a client that does not read keeps them waiting, and gets each of them once when it does.
#[test]
fn a_slow_reader_loses_nothing_and_may_keep_only_so_many_answers_waiting() {
    for force_wrong_worker in [false, true] {
        let upstream = Scripted::modern(|request| {
            let text = "x".repeat(LARGE);
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
                "content": [{"type": "text", "text": text}]}}))
        });
        let gateway = gateway(&upstream, force_wrong_worker);
        let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
        client.initialize("2024-11-05", json!({}));
        // More than sockets and the outlet hold.
        let (mut asked, mut refused) = (0, false);
        while !refused {
            asked += 1;
            let answer = client.post(&json!({"jsonrpc": "2.0", "id": asked, "method": "tools/call",
                "params": {"name": "echo", "arguments": {}}}));
            refused = answer.status == 503;
            assert!(refused || answer.status == 202, "{}", text(&answer));
            assert!(asked <= 4 * WIRE_MESSAGES_MAX as i64, "nothing was refused");
        }
        let mut heard: Vec<i64> = (1..asked)
            .map(|_| {
                let message = client.hear();
                let text = message["result"]["content"][0]["text"].as_str().expect("a text");
                assert_eq!(text.len(), LARGE);
                message["id"].as_i64().expect("an id")
            })
            .collect();
        heard.sort_unstable();
        assert_eq!(heard, (1..asked).collect::<Vec<_>>(), "each once");
        client.call(asked);
        assert_eq!(client.hear()["id"], asked, "there is room again");
        assert_lives(&gateway);
    }
}

/// A session is told of changed lists on its stream. One whose stream had no room for that is told when it has.
#[test]
fn changed_lists_are_told_also_when_there_was_no_room() {
    let upstream = Scripted::modern(|request| {
        let text = "x".repeat(OUTLET_BYTES_MAX);
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "content": [{"type": "text", "text": text}]}}))
    });
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
    let mut reading = SseClient::open(&gateway, "/mcp/sse", KEY);
    let answer = reading.initialize("2024-11-05", json!({}));
    assert_eq!(answer["result"]["capabilities"]["tools"], json!({"listChanged": true}), "{answer}");
    let mut late = SseClient::open(&gateway, "/mcp/sse", KEY);
    late.initialize("2024-11-05", json!({}));
    let mut asked = 0;
    let mut ask = || {
        asked += 1;
        let call = json!({"jsonrpc": "2.0", "id": asked, "method": "tools/call",
            "params": {"name": "echo", "arguments": {}}});
        late.post(&call).status
    };
    while ask() == 202 {}
    gateway.offer(lists(&["new"], &[]));
    assert_eq!(reading.hear()["method"], "notifications/tools/list_changed");
    let changed = |heard: &Value| heard["method"] == "notifications/tools/list_changed";
    let (mut answers, mut is_told) = (1, false);
    // There may have been room after all, between two answers.
    while answers < asked {
        let heard = late.hear();
        answers += i32::from(heard["result"].is_object());
        assert!(heard["result"].is_object() || changed(&heard) && !is_told, "{heard}");
        is_told |= changed(&heard);
    }
    // A ping may overtake it, but not each of them.
    let is_told = is_told
        || (0..100).any(|_| {
            late.ask(0, "ping", json!({}));
            let heard = late.hear();
            assert!(heard["id"] == 0 || changed(&heard), "{heard}");
            changed(&heard)
        });
    assert!(is_told);
    assert_lives(&gateway);
}

#[test]
fn a_closed_stream_cancels_what_it_asked_and_so_does_its_client() {
    for (force_wrong_worker, has_begun, closes) in [
        (false, true, true),
        (true, true, true),
        (false, false, true),
        (false, true, false),
        (true, false, false),
    ] {
        let upstream = Scripted::legacy(move |_| {
            let head = has_begun.then(|| Step::Send(event_stream()));
            head.into_iter().chain([Step::Await(Gate::default())]).collect()
        });
        let gateway = gateway(&upstream, force_wrong_worker);
        let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
        client.initialize("2024-11-05", json!({}));
        client.call(1);
        wait_for("the call to arrive", || upstream.arrived("tools/call").len() == 1);
        let called = upstream.arrived("tools/call")[0].body["id"].clone();
        let SseClient { stream, posts, key, url } = client;
        if closes {
            drop(stream);
        } else {
            let mut client = SseClient { stream, posts, key, url };
            client.say(
                &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
            );
            client.ask(2, "ping", json!({}));
            assert_eq!(client.hear()["id"], 2, "what was cancelled is not answered");
        }
        wait_for("the server to be told", || upstream.arrived("notifications/cancelled").len() == 1);
        assert_eq!(upstream.arrived("notifications/cancelled")[0].body["params"]["requestId"], called);
        assert_lives(&gateway);
    }
}

#[test]
fn a_stream_ends_before_it_says_more_to_a_key_that_was_revoked() {
    let gate = Gate::default();
    let waits = gate.clone();
    let upstream = Scripted::modern(move |request| {
        let mut steps = vec![Step::Await(waits.clone())];
        steps.extend(json_reply(&echoed(request)));
        steps
    });
    let gateway = gateway(&upstream, false);
    let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
    client.initialize("2024-11-05", json!({}));
    client.call(1);
    wait_for("the call to arrive", || upstream.arrived("tools/call").len() == 1);
    // The same principal has another key now.
    gateway.rekey(vec![("key-new", "ann", &["full"])]);
    client.key = "key-new";
    let ping = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    wait_for("the new key", || client.post(&ping).status != 401);
    gate.open();
    let rest = client.stream.until_unread(b"0\r\n\r\n");
    assert!(!String::from_utf8_lossy(&rest).contains("data:"), "{}", String::from_utf8_lossy(&rest));
    wait_for("the session to end", || client.post(&ping).status == 404);
    assert_no_worker_panicked();
}

/// The worker that has a client's stream is the one that owns it, except where tests force another.
#[test]
fn a_drain_lets_answers_out_first() {
    let gate = Gate::default();
    let waits = gate.clone();
    let upstream = Scripted::modern(move |request| {
        let mut steps = vec![Step::Await(waits.clone())];
        steps.extend(json_reply(&echoed(request)));
        steps
    });
    let gateway = gateway(&upstream, false);
    let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
    client.initialize("2024-11-05", json!({}));
    client.call(1);
    wait_for("the call to arrive", || upstream.arrived("tools/call").len() == 1);
    gateway.drain();
    let answer = client.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}));
    assert!(matches!(answer.status, 202 | 503), "{}", text(&answer));
    gate.open();
    let mut heard = vec![client.hear()["id"].clone()];
    if answer.status == 202 {
        heard.push(client.hear()["id"].clone());
    }
    assert!(heard.contains(&json!(1)), "{heard:?}");
    client.stream.until_unread(b"\r\n0\r\n\r\n");
    gateway.stop();
}

#[test]
fn a_server_that_hangs_up_to_be_asked_again_ends_nobodys_stream() {
    for force_wrong_worker in [false, true] {
        let answer = Arc::new(Mutex::new(Value::Null));
        let rest = scripted::legacy(|request| json_reply(&echoed(request)));
        let upstream = Scripted::start(move |request| {
            let whole =
                |event: Vec<u8>| vec![Step::Send([event_stream(), event, b"0\r\n\r\n".to_vec()].concat())];
            match (method(request), request.header("Last-Event-ID")) {
                ("tools/call", _) if request.argument("case") == "polled" => {
                    *answer.lock().unwrap() = echoed(request);
                    let mark = "id: 7\nretry: 20\ndata:\n\n";
                    whole(format!("{:x}\r\n{mark}\r\n", mark.len()).into_bytes())
                }
                ("GET", Some("7")) => whole(event(&answer.lock().unwrap())),
                _ => rest(request),
            }
        });
        let gateway = gateway(&upstream, force_wrong_worker);
        let mut client = SseClient::open(&gateway, "/mcp/sse", KEY);
        client.initialize("2025-11-25", json!({}));
        client.ask(1, "tools/call", json!({"name": "echo", "arguments": {"case": "polled"}}));
        let answer = client.hear();
        assert_eq!(answer["id"], 1);
        assert!(answer.to_string().contains("polled"), "{answer}");
        client.call(2);
        assert_eq!(client.hear()["id"], 2);
        assert_lives(&gateway);
    }
}
