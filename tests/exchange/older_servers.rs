//! HTTP servers of the older revisions: what they remember of a session, streams that break off and go on, and HTTP+SSE.

use std::collections::HashMap;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};
use strait_tests::client::{initialize_as, legacy, post};
use strait_tests::gateway::{PATIENCE, wait_for};
use strait_tests::scripted::{
    self, ACCEPTED, Arrived, Deed, NOT_INITIALIZED, echoed, event, event_stream, http, initialized,
    json_reply, method,
};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, call, config, text};
use crate::suspend;

fn up(url: &str, more: &str) -> String {
    config(&format!("  up: {{ http: \"{url}\"{more} }}"))
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A server that keeps sessions: each handshake begins one, with the next number as its id. Those up to `lost` it does
/// not know any more.
fn remembering(
    lost: Arc<AtomicUsize>,
    rest: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
) -> Scripted {
    remembering_and(lost, |request| json_reply(&emptied(request)), rest)
}

/// An answer that says nothing.
fn emptied(request: &Arrived) -> Value {
    json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {}})
}

/// The same, with what it does when it is told a log level.
fn remembering_and(
    lost: Arc<AtomicUsize>,
    told: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
    rest: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
) -> Scripted {
    let opened = AtomicUsize::new(0);
    Scripted::start(move |request| {
        let session = request.header("Mcp-Session-Id").and_then(|id| id.parse::<usize>().ok());
        match method(request) {
            "initialize" => {
                let id = opened.fetch_add(1, Ordering::SeqCst) + 1;
                let mut answer = initialized(request);
                answer["result"]["capabilities"]["logging"] = json!({});
                let body = answer.to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {id}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                vec![Step::Send([head.into_bytes(), body.into_bytes()].concat())]
            }
            "server/discover" => vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))],
            _ if session <= Some(lost.load(Ordering::SeqCst)) => {
                vec![Step::Send(http(404, "text/plain", b"session not found"))]
            }
            "DELETE" => vec![Step::Send(http(200, "text/plain", b""))],
            "logging/setLevel" => told(request),
            _ => rest(request),
        }
    })
}

#[test]
fn the_end_of_a_clients_session_ends_the_servers() {
    for force_wrong_worker in [false, true] {
        let rest = scripted::legacy(|request| json_reply(&echoed(request)));
        let upstream = remembering(Arc::default(), rest);
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(up(&upstream.url(), "")) });
        let mut client = Client::connect(gateway.address);
        let mut begin = || {
            let capabilities = json!({"elicitation": {}});
            let session = initialize_as(&mut client, KEY, "2025-06-18", capabilities);
            let params = json!({"name": "echo", "arguments": {}});
            let answer = client.roundtrip(legacy(KEY, &session, 1, "tools/call", params));
            assert!(answer.json()["result"].is_object(), "{}", text(&answer));
            session
        };
        let (session, other) = (begin(), begin());
        let called = upstream.arrived("tools/call");
        let upstreams: Vec<_> =
            called.iter().map(|call| call.header("Mcp-Session-Id").unwrap().to_owned()).collect();
        assert_ne!(upstreams[0], upstreams[1], "each client has a session of its own");
        let delete = |session: &str| {
            format!(
                "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nMcp-Session-Id: {session}\r\n\r\n"
            )
        };
        let ended = || upstream.arrived("DELETE").len();
        assert_eq!(ended(), 0);
        assert_eq!(client.roundtrip(delete(&session)).status, 204);
        wait_for("the server to be told", || ended() == 1);
        assert_eq!(client.roundtrip(delete(&other)).status, 204);
        wait_for("the server to be told of the other", || ended() == 2);
        let told = upstream.arrived("DELETE");
        let told: Vec<_> = told.iter().map(|request| request.header("Mcp-Session-Id").unwrap()).collect();
        assert_eq!(told, upstreams);
        assert_lives(&gateway);
    }
}

#[test]
fn what_was_set_in_a_lost_session_is_set_again_before_the_call_is_repeated() {
    // The server loses its session after it has answered what was set in it; or before, and answers when it has
    // another one.
    for (capabilities, late) in [(json!({}), false), (json!({"elicitation": {}}), false), (json!({}), true)] {
        let lost = Arc::<AtomicUsize>::default();
        let rest = scripted::legacy(|request| json_reply(&echoed(request)));
        let (answered, answers) = (Arc::<AtomicUsize>::default(), Gate::default());
        if !late {
            answers.open();
        }
        let (told, gate) = (answered.clone(), answers.clone());
        let set = move |request: &Arrived| {
            let told = told.clone();
            let count = Deed::step(move |_| {
                told.fetch_add(1, Ordering::SeqCst);
                true
            });
            [vec![Step::Await(gate.clone())], json_reply(&emptied(request)), vec![count]].concat()
        };
        let upstream = remembering_and(lost.clone(), set, rest);
        let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(up(&upstream.url(), "")) });
        let mut client = Client::connect(gateway.address);
        let session = initialize_as(&mut client, KEY, "2025-06-18", capabilities);
        let mut ask =
            |method: &str, params: Value| client.roundtrip(legacy(KEY, &session, 7, method, params));
        let echo = || json!({"name": "echo", "arguments": {"n": 1}});
        assert!(ask("tools/call", echo()).json()["result"].is_object());
        ask("logging/setLevel", json!({"level": "warning"}));
        let set = || upstream.arrived("logging/setLevel");
        wait_for("the server to be told", || set().len() == 1);
        if !late {
            wait_for("the server to have answered", || answered.load(Ordering::SeqCst) == 1);
        }
        let before = upstream.arrived("tools/call")[0].header("Mcp-Session-Id").unwrap().to_owned();
        assert_eq!(set()[0].header("Mcp-Session-Id"), Some(before.as_str()));
        lost.store(before.parse().unwrap(), Ordering::SeqCst);
        let answer = ask("tools/call", echo());
        assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"n\":1}", "{}", text(&answer));
        let calls = upstream.arrived("tools/call");
        assert_eq!(calls.len(), 3, "refused once, answered once");
        let after = calls[2].header("Mcp-Session-Id").unwrap();
        assert_ne!(after, before);
        if late {
            assert_eq!(set().len(), 1, "it was not taken yet");
            answers.open();
            wait_for("the server to be told again", || set().len() == 2);
        }
        let set = set();
        assert_eq!(set.len(), 2);
        assert_eq!(set[1].header("Mcp-Session-Id"), Some(after));
        assert_eq!(set[1].body["params"]["level"], "warning");
        assert_lives(&gateway);
    }
}

/// A server of 2025-11-25 names where to go on, hangs up, and is asked again later.
#[test]
fn a_stream_that_its_server_closed_goes_on_behind_its_last_event() {
    for politely in [true, false] {
        for (asks, retry) in [(false, "retry: 60\n"), (true, "retry: 60\n"), (false, "")] {
            let called = Arc::new(Mutex::new(Value::Null));
            let (calls, resumed) = (called.clone(), AtomicUsize::new(0));
            let rest = scripted::legacy(move |request| {
                *calls.lock().unwrap() = request.body["id"].clone();
                let begun = [event_stream(), chunk(&format!("id: a-1\n{retry}data:\n\n"))].concat();
                let end = if politely { Step::Send(b"0\r\n\r\n".to_vec()) } else { Step::Close };
                vec![Step::Send(begun), end]
            });
            let upstream = Scripted::start(move |request| {
                let Some(after) = request.header("Last-Event-ID") else { return rest(request) };
                let progress = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {
                    "level": "error", "data": "still at it"}});
                let result = json!({"jsonrpc": "2.0", "id": *called.lock().unwrap(), "result": {
                    "content": [{"type": "text", "text": after}]}});
                // It hangs up once more in between.
                let said = match resumed.fetch_add(1, Ordering::SeqCst) {
                    0 => chunk(&format!("id: a-2\nevent: message\ndata: {progress}\n\n")),
                    _ => chunk(&format!("id: a-3\nevent: message\ndata: {result}\n\n")),
                };
                vec![Step::Send([event_stream(), said, b"0\r\n\r\n".to_vec()].concat())]
            });
            let gateway = Gateway::start(Setup::new(up(&upstream.url(), "")));
            let mut client = Client::connect(gateway.address);
            let capabilities = if asks { json!({"elicitation": {}}) } else { json!({}) };
            // One that does not poll itself: it waits.
            let session = initialize_as(&mut client, KEY, "2025-06-18", capabilities);
            let params = json!({"name": "echo", "arguments": {}});
            let heard = client.roundtrip(legacy(KEY, &session, 5, "tools/call", params)).messages();
            assert_eq!(heard[0]["params"]["data"], "still at it", "{heard:?}");
            let result = heard.last().expect("an answer");
            assert_eq!((&result["id"], &result["result"]["content"][0]["text"]), (&json!(5), &json!("a-2")));
            let gets = upstream.arrived("GET");
            let named: Vec<_> = gets.iter().filter_map(|get| get.header("Last-Event-ID")).collect();
            assert_eq!(named, ["a-1", "a-2"]);
            assert_eq!(upstream.arrived("tools/call").len(), 1, "called once");
            assert_lives(&gateway);
        }
    }
}

#[test]
fn a_stream_without_numbers_that_breaks_fails_its_call() {
    let upstream = Scripted::legacy(|_| {
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {
            "level": "error", "data": "begun"}});
        vec![Step::Send([event_stream(), event(&log)].concat()), Step::Close]
    });
    let gateway = Gateway::start(Setup::new(up(&upstream.url(), "")));
    let mut client = Client::connect(gateway.address);
    let session = initialize_as(&mut client, KEY, "2025-11-25", json!({}));
    let params = json!({"name": "echo", "arguments": {}});
    let heard = client.roundtrip(legacy(KEY, &session, 5, "tools/call", params)).messages();
    assert_eq!((&heard[1]["id"], &heard[1]["error"]["code"]), (&json!(5), &json!(-32603)), "{heard:?}");
    assert_eq!(upstream.arrived("tools/call").len(), 1, "whether it ran is not known, so it is not repeated");
    assert_lives(&gateway);
}

/// A server of 2024-11-05: one stream per session, messages are posted beside it.
struct SseServer {
    upstream: Scripted,
    streams: Arc<Mutex<HashMap<usize, mpsc::Sender<Option<Value>>>>>,
}

impl SseServer {
    /// `called` says what comes of a call, in order.
    fn start(called: impl Fn(&Arrived) -> Vec<Value> + Send + Sync + 'static) -> SseServer {
        let streams = Arc::new(Mutex::new(HashMap::<usize, mpsc::Sender<Option<Value>>>::new()));
        let (open, opened) = (streams.clone(), AtomicUsize::new(0));
        let upstream = Scripted::start(move |request| {
            let target = request.head.split(' ').nth(1).unwrap_or_default();
            if request.verb() == "GET" && target == "/sse" {
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let (sender, messages) = mpsc::channel();
                open.lock().unwrap().insert(number, sender);
                let messages = Mutex::new(messages);
                let first = chunk(&format!("event: endpoint\ndata: /messages?session={number}\n\n"));
                let say = Deed::step(move |stream| {
                    while let Ok(Some(message)) = messages.lock().unwrap().recv_timeout(PATIENCE * 3) {
                        if stream.write_all(&event(&message)).is_err() {
                            break;
                        }
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                    false
                });
                return vec![Step::Send([event_stream(), first].concat()), say];
            }
            let Some(session) = target.strip_prefix("/messages?session=") else {
                return vec![Step::Send(http(405, "text/plain", b"GET only"))];
            };
            let stream = open.lock().unwrap().get(&session.parse().unwrap_or(usize::MAX)).cloned();
            let Some(stream) = stream else {
                return vec![Step::Send(http(404, "text/plain", b"no session"))];
            };
            let answer =
                |result: Value| json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result});
            let said = match method(request) {
                "initialize" => vec![answer(json!({"protocolVersion": "2024-11-05",
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "sse", "version": "1"}}))],
                "tools/list" => vec![answer(json!({"tools": scripted::tools()}))],
                "tools/call" => called(request),
                _ => Vec::new(),
            };
            for message in said {
                let _ = stream.send(Some(message));
            }
            vec![Step::Send(ACCEPTED.to_vec())]
        });
        SseServer { upstream, streams }
    }

    fn url(&self) -> String {
        format!("http://{}/sse", self.upstream.address)
    }

    /// Ends every stream, and with them the sessions.
    fn die(&self) {
        for (_, stream) in self.streams.lock().unwrap().drain() {
            let _ = stream.send(None);
        }
    }
}

#[test]
fn an_http_sse_server_answers_on_its_stream_whether_it_was_named_or_found_out() {
    for (era, force_wrong_worker) in [("", false), (", era: sse", false), ("", true)] {
        let server = SseServer::start(|request| {
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                "progressToken": request.body["params"]["_meta"]["progressToken"], "progress": 1}});
            let has_token = progress["params"]["progressToken"].is_i64();
            has_token.then_some(progress).into_iter().chain([echoed(request)]).collect()
        });
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(up(&server.url(), era)) });
        let mut client = Client::connect(gateway.address);
        let answer = client.roundtrip(call(1, json!({"n": 1})));
        assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"n\":1}", "{}", text(&answer));
        assert_eq!(answer.json()["result"]["resultType"], "complete");
        let session = initialize_as(&mut client, KEY, "2025-06-18", json!({}));
        let params = json!({"name": "echo", "arguments": {"n": 2}, "_meta": {"progressToken": "mine"}});
        let heard = client.roundtrip(legacy(KEY, &session, 5, "tools/call", params)).messages();
        assert_eq!(heard[0]["params"], json!({"progressToken": "mine", "progress": 1}), "{heard:?}");
        assert_eq!(heard[1]["id"], 5);
        assert_lives(&gateway);
    }
}

#[test]
fn an_http_sse_server_asks_its_client_on_the_stream() {
    let server = SseServer::start(|_| {
        vec![json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
            "message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}})]
    });
    let gateway = Gateway::start(Setup::new(up(&server.url(), ", era: sse")));
    let mut client = Client::connect(gateway.address);
    let session = initialize_as(&mut client, KEY, "2025-06-18", json!({"elicitation": {}}));
    let params = json!({"name": "echo", "arguments": {}});
    client.send(legacy(KEY, &session, 5, "tools/call", params));
    client.stream_head();
    let question = client.next_event();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "cancel"}});
    let mut other = Client::connect(gateway.address);
    let (bearer, answer) = (format!("Bearer {KEY}"), answer.to_string());
    let headers = [("Authorization", bearer.as_str()), ("Mcp-Session-Id", &session)];
    assert_eq!(other.roundtrip(post(&headers, answer.as_bytes())).status, 202);
    wait_for("the answer to reach the server", || server.upstream.arrived("").len() == 1);
    let heard = server.upstream.arrived("")[0].body.clone();
    assert_eq!((&heard["id"], &heard["result"]["action"]), (&json!("q"), &json!("cancel")));
    // The answer to the call: in whichever session it was made.
    let called = server.upstream.arrived("tools/call")[0].clone();
    let number = called.head.split_once("session=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let stream = server.streams.lock().unwrap()[&number].clone();
    stream.send(Some(echoed(&called))).expect("the stream is open");
    assert_eq!(client.next_event()["id"], 5);
    assert_lives(&gateway);
}

#[test]
fn an_http_sse_server_that_dies_fails_what_was_under_way_and_comes_back() {
    for era in ["", ", era: sse"] {
        let server = SseServer::start(|request| match request.argument("answered") {
            "never" => Vec::new(),
            _ => vec![echoed(request)],
        });
        let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(up(&server.url(), era)) });
        let mut client = Client::connect(gateway.address);
        let session = initialize_as(&mut client, KEY, "2025-06-18", json!({}));
        let params = json!({"name": "echo", "arguments": {"answered": "never"}});
        client.send(legacy(KEY, &session, 5, "tools/call", params));
        wait_for("the call to arrive", || server.upstream.arrived("tools/call").len() == 1);
        server.die();
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.error().0, -32603, "{}", text(&answer));
        assert!(answer.error().1.contains("`up`"), "{}", text(&answer));
        let calls = server.upstream.arrived("tools/call").len();
        assert_eq!(calls, 1, "whether it ran is not known, so it is not repeated");
        let params = json!({"name": "echo", "arguments": {"n": 1}});
        let answer = client.roundtrip(legacy(KEY, &session, 6, "tools/call", params));
        assert_eq!(answer.json()["result"]["content"][0]["text"], "{\"n\":1}", "{}", text(&answer));
        assert_lives(&gateway);
    }
}

#[test]
fn a_client_that_leaves_ends_no_connection_that_its_call_is_done_with() {
    // Sessions are lost when a test says so; the call whose refusal comes `late` was made before that, and waits for the
    // same handshake. It alone leaves a connection that can be used again.
    let (late, opens, answers) = (Gate::default(), Gate::default(), Gate::default());
    let (refused, port) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU16::new(0)));
    let gates = [&late, &opens, &answers].map(Gate::clone);
    let opened = AtomicUsize::new(0);
    let upstream = Scripted::start(move |request: &Arrived| {
        let [late, opens, answers] = gates.clone();
        let (case, answer) = (request.argument("case").to_owned(), echoed(request));
        let is_new = |case: &str| {
            let mut refused = refused.lock().unwrap();
            let is_new = !refused.iter().any(|known| known == case);
            refused.push(case.to_owned());
            is_new
        };
        let whole = |head: &str, keeps: bool, body: &str| {
            let (connection, length) = (if keeps { "keep-alive" } else { "close" }, body.len());
            let fields = "Content-Type: application/json\r\nContent-Length";
            format!("HTTP/1.1 {head}\r\nConnection: {connection}\r\n{fields}: {length}\r\n\r\n{body}")
                .into_bytes()
        };
        match (method(request), case.as_str()) {
            ("initialize", _) => {
                let id = format!("200 OK\r\nMcp-Session-Id: {}", opened.fetch_add(1, Ordering::SeqCst));
                let is_held = !refused.lock().unwrap().is_empty();
                let gate = is_held.then_some(Step::Await(opens));
                let answer = Step::Send(whole(&id, false, &initialized(request).to_string()));
                gate.into_iter().chain([answer]).collect()
            }
            ("server/discover", _) => vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))],
            ("tools/list", _) => json_reply(
                &json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"tools": scripted::tools()}}),
            ),
            ("tools/call", "lost") if is_new("lost") => vec![Step::Send(whole("404 Gone", false, "{}"))],
            ("tools/call", "late") if is_new("late") => {
                let port = port.clone();
                let seen = Deed::step(move |stream| {
                    port.store(stream.peer_addr().expect("an address").port(), Ordering::SeqCst);
                    true
                });
                let refusal = whole("404 Gone", true, std::str::from_utf8(NOT_INITIALIZED).expect("UTF-8"));
                vec![seen, Step::Await(late), Step::Send(refusal)]
            }
            ("tools/call", "held") => [vec![Step::Await(answers)], json_reply(&answer)].concat(),
            ("tools/call", _) => {
                let port = port.clone();
                vec![Deed::step(move |stream| {
                    let again = stream.peer_addr().expect("an address").port() == port.load(Ordering::SeqCst);
                    let mut answer = answer.clone();
                    answer["result"]["again"] = json!(again);
                    stream.write_all(&whole("200 OK", again, &answer.to_string())).is_ok() && again
                })]
            }
            _ => vec![Step::Send(ACCEPTED.to_vec())],
        }
    });
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(up(&upstream.url(), "")) });
    let call = |key: &str, id: i64, case: &str| suspend::call(key, id, json!({"arguments": {"case": case}}));
    let begun = |case: &str| upstream.arrived("tools/call").iter().any(|call| call.argument("case") == case);
    let [mut leaves, mut stays, mut other] = [(); 3].map(|()| Client::connect(gateway.address));
    stays.roundtrip(call(KEY, 1, "quick"));
    other.roundtrip(call("key-small", 2, "quick"));
    let handshakes = upstream.arrived("initialize").len();
    leaves.send(call(KEY, 3, "late"));
    wait_for("the first call", || begun("late"));
    stays.send(call(KEY, 4, "lost"));
    wait_for("another handshake", || upstream.arrived("initialize").len() == handshakes + 1);
    late.open();
    wait_for("the connection to be free", || {
        other.roundtrip(call("key-small", 5, "quick")).json()["result"]["again"] == json!(true)
    });
    other.send(call("key-small", 6, "held"));
    wait_for("the next call there", || begun("held"));
    drop(leaves);
    let figures =
        || (gateway.handle().figures()[0].inflight.get(), gateway.handle().figures()[0].beats.get());
    wait_for("the first call to end", || figures().0 == 2);
    let before = figures().1;
    wait_for("a look at deadlines", || figures().1 > before + 1);
    answers.open();
    let answer = other.answer().expect("an answer");
    assert!(text(&answer).contains("held"), "{}", text(&answer));
    opens.open();
    let answer = stays.answer().expect("an answer");
    assert!(text(&answer).contains("lost"), "{}", text(&answer));
    assert_lives(&gateway);
}
