//! The front against a scripted gateway: a test writes lines, answers each HTTP request that they become, and reads
//! the lines that come of it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Duration;

use super::*;

/// No step of a test takes as long.
const WITHIN: Duration = Duration::from_secs(20);

struct Stand {
    lines: Option<mpsc::Sender<Line>>,
    written: mpsc::UnboundedReceiver<Value>,
    requests: mpsc::UnboundedReceiver<Seen>,
    /// Requests that came while another was waited for.
    early: VecDeque<Seen>,
    stop: Option<oneshot::Sender<()>>,
    front: tokio::task::JoinHandle<()>,
}

/// A request that the scripted gateway got.
struct Seen {
    method: String,
    headers: HeaderMap,
    body: Value,
    answer: oneshot::Sender<Response>,
}

/// A stream that a test writes.
struct Stream(mpsc::Sender<Result<Bytes, io::Error>>);

struct Pieces(mpsc::Receiver<Result<Bytes, io::Error>>);

impl futures_core::Stream for Pieces {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Lines back to the test.
struct Paper(mpsc::UnboundedSender<Value>, Vec<u8>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        while let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.1.drain(..=end).collect();
            let line = serde_json::from_slice(&line).unwrap();
            self.0.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn receive(State(requests): State<mpsc::UnboundedSender<Seen>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let (answer, given) = oneshot::channel();
    let seen = Seen { method: head.method.to_string(), headers: head.headers, body, answer };
    requests.send(seen).ok();
    given.await.unwrap_or_else(|_| status(500))
}

fn status(status: u16) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn on_stand<F: Future<Output = ()>>(test: impl FnOnce(Stand) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        let router = Router::new().fallback(receive).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (paper, written) = mpsc::unbounded_channel();
        let (outbox, ended) = Outbox::start(Paper(paper, Vec::new())).unwrap();
        let budget = Budget::new(FRONT_BYTES_MAX);
        let link = Link::new(Endpoint::parse(&url).unwrap(), Some("k"), budget.clone()).unwrap();
        let (lines, read) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let front = tokio::task::spawn_local(bridge(link, budget, read, outbox, ended, stopped));
        let (lines, stop) = (Some(lines), Some(stop));
        test(Stand { lines, written, requests, early: VecDeque::new(), stop, front }).await;
    });
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(WITHIN, what).await.expect("it comes within 20 s")
}

impl Stand {
    async fn say(&self, line: impl ToString) {
        let line = Line::Whole(line.to_string().into_bytes());
        self.lines.as_ref().unwrap().send(line).await.unwrap();
    }

    /// The next line of stdout.
    async fn read(&mut self) -> Value {
        soon(self.written.recv()).await.unwrap()
    }

    /// The next request that speaks of `what`: its HTTP method, or the method or id of its message.
    async fn next(&mut self, what: &str) -> Seen {
        let is_it =
            |seen: &Seen| seen.method == what || seen.body["method"] == what || seen.body["id"] == what;
        if let Some(at) = self.early.iter().position(is_it) {
            return self.early.remove(at).unwrap();
        }
        loop {
            let seen = soon(self.requests.recv()).await.unwrap();
            if is_it(&seen) {
                return seen;
            }
            self.early.push_back(seen);
        }
    }

    /// Nothing more is written or asked, also not by the end.
    async fn ends_silently(mut self) {
        self.lines = None;
        loop {
            tokio::select! {
                done = soon(&mut self.front) => break done.unwrap(),
                Some(seen) = self.requests.recv() => match seen.method.as_str() {
                    "DELETE" => seen.give(status(200)),
                    _ => panic!("unexpected: {} {}", seen.method, seen.body),
                },
            }
        }
        assert_eq!(self.written.recv().await, None);
        assert!(self.early.iter().all(|seen| seen.method == "GET"));
    }

    /// Shakes hands as 2025-11-25, and leaves a GET stream to the test.
    async fn session(&mut self) -> Seen {
        self.say(initialize()).await;
        self.next("initialize").await.give_session("s1");
        assert_eq!(self.read().await["id"], 0);
        self.say(json!({"jsonrpc":"2.0","method":"notifications/initialized"})).await;
        self.next("notifications/initialized").await.give(status(202));
        self.next("GET").await
    }
}

fn initialize() -> Value {
    json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"t","version":"1"}}})
}

fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":{}});
    json!({"jsonrpc":"2.0","id":id.into(),"method":method,"params":params})
}

fn legacy(id: impl Into<Value>, method: &str) -> Value {
    json!({"jsonrpc":"2.0","id":id.into(),"method":method})
}

fn result(id: impl Into<Value>) -> Value {
    json!({"jsonrpc":"2.0","id":id.into(),"result":{}})
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn give(self, response: Response) {
        self.answer.send(response).ok();
    }

    fn give_json(self, status: u16, body: impl ToString) {
        let response = Response::builder().status(status).header("content-type", "application/json");
        self.give(response.body(body.to_string().into()).unwrap());
    }

    fn give_session(self, id: &str) {
        let body = json!({"jsonrpc":"2.0","id":self.body["id"],"result":{"protocolVersion":"2025-11-25",
            "capabilities":{},"serverInfo":{"name":"g","version":"1"}}});
        let response =
            Response::builder().header("content-type", "application/json").header("mcp-session-id", id);
        self.give(response.body(body.to_string().into()).unwrap());
    }

    fn give_stream(self) -> Stream {
        let (pieces, read) = mpsc::channel(4);
        let response = Response::builder().header("content-type", "text/event-stream; charset=utf-8");
        self.give(response.body(Body::from_stream(Pieces(read))).unwrap());
        Stream(pieces)
    }
}

impl Stream {
    async fn send(&self, text: impl Into<Bytes>) {
        self.0.send(Ok(text.into())).await.unwrap();
    }

    async fn event(&self, message: &Value) {
        self.send(format!("event: message\ndata: {message}\n\n")).await;
    }

    /// Breaks the connection.
    async fn tear(self) {
        self.0.send(Err(io::ErrorKind::ConnectionReset.into())).await.unwrap();
    }

    /// The other side has gone.
    async fn closed(&self) {
        soon(self.0.closed()).await;
    }
}

#[test]
fn a_modern_request_has_its_headers_and_answers_come_in_any_order() {
    on_stand(|mut stand| async move {
        stand.say(modern("a", "tools/call", json!({"name":"grüß","arguments":{}}))).await;
        stand.say(modern(0, "prompts/list", json!({}))).await;
        let call = stand.next("a").await;
        let list = stand.next("prompts/list").await;
        for (name, said) in [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?Z3LDvMOf?="),
            ("authorization", "Bearer k"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ] {
            assert_eq!(call.header(name), Some(said));
        }
        assert_eq!((list.header("mcp-method"), list.header("mcp-name")), (Some("prompts/list"), None));
        // A body may be pretty; a line may not.
        list.give_json(200, "{\r\n \"jsonrpc\": \"2.0\",\n \"id\": 0, \"result\": {\"n\": \"a\\nb\"}\n}");
        assert_eq!(stand.read().await, json!({"jsonrpc":"2.0","id":0,"result":{"n":"a\nb"}}));
        let stream = call.give_stream();
        let progress = json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}});
        stream.event(&progress).await;
        assert_eq!(stand.read().await, progress);
        stream.event(&result("a")).await;
        assert_eq!(stand.read().await, result("a"));
        drop(stream);
        stand.ends_silently().await;
    });
}

#[test]
fn a_refused_header_lists_the_tools_once_and_calls_again() {
    on_stand(|mut stand| async move {
        let mismatch =
            |id: &str| json!({"jsonrpc":"2.0","id":id,"error":{"code":-32020,"message":"Mcp-Param-Region"}});
        let call = |id: &str| modern(id, "tools/call", json!({"name":"t","arguments":{"region":"eu"}}));
        stand.say(call("a")).await;
        let first = stand.next("a").await;
        assert_eq!(first.header("mcp-param-region"), None);
        first.give_json(400, mismatch("a"));
        let page = stand.next("tools/list").await;
        assert_eq!(page.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(page.header("mcp-method"), Some("tools/list"));
        page.give_json(200, json!({"jsonrpc":"2.0","id":"x","result":{"tools":[],"nextCursor":"c\"1"}}));
        let page = stand.next("tools/list").await;
        assert_eq!(page.body["params"]["cursor"], "c\"1");
        page.give_json(
            200,
            json!({"jsonrpc":"2.0","id":"x","result":{"tools":[{"name":"t","inputSchema":{
            "type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}}),
        );
        let again = stand.next("a").await;
        assert_eq!(again.header("mcp-param-region"), Some("eu"));
        again.give_json(200, result("a"));
        assert_eq!(stand.read().await, result("a"));
        // Known now; a second refusal of one call is the client's to hear.
        stand.say(call("b")).await;
        let known = stand.next("b").await;
        assert_eq!(known.header("mcp-param-region"), Some("eu"));
        known.give_json(400, mismatch("b"));
        stand
            .next("tools/list")
            .await
            .give_json(200, json!({"jsonrpc":"2.0","id":"x","result":{"tools":[]}}));
        stand.next("b").await.give_json(400, mismatch("b"));
        assert_eq!(stand.read().await, mismatch("b"));
        stand.ends_silently().await;
    });
}

#[test]
fn what_a_list_says_of_headers_is_learned_as_it_passes() {
    on_stand(|mut stand| async move {
        stand.say(modern(1, "tools/list", json!({}))).await;
        stand.next("tools/list").await.give_json(
            200,
            json!({"jsonrpc":"2.0","id":1,"result":{"tools":[
            {"name":"t","inputSchema":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}]}}),
        );
        stand.read().await;
        stand.say(modern("a", "tools/call", json!({"name":"t","arguments":{"n":7}}))).await;
        let call = stand.next("a").await;
        assert_eq!(call.header("mcp-param-n"), Some("7"));
        call.give_json(200, result("a"));
        stand.read().await;
        stand.ends_silently().await;
    });
}

#[test]
fn a_session_is_kept_listened_to_and_ended() {
    on_stand(|mut stand| async move {
        // All at once, as a script writes it: the order holds.
        stand.say(initialize()).await;
        stand.say(json!({"jsonrpc":"2.0","method":"notifications/initialized"})).await;
        stand.say(legacy("c", "tools/list")).await;
        let begun = stand.next("POST").await;
        assert_eq!((begun.header("mcp-session-id"), begun.header("mcp-protocol-version")), (None, None));
        begun.give_session("s1");
        assert_eq!(stand.read().await["result"]["protocolVersion"], "2025-11-25");
        let told = stand.next("POST").await;
        assert_eq!(told.body["method"], "notifications/initialized");
        told.give(status(202));
        let ear = stand.next("GET").await;
        let call = stand.next("c").await;
        for seen in [&ear, &call] {
            assert_eq!(seen.header("mcp-session-id"), Some("s1"));
            assert_eq!(seen.header("mcp-protocol-version"), Some("2025-11-25"));
        }
        assert_eq!(ear.header("accept"), Some("text/event-stream"));
        let (ear, call) = (ear.give_stream(), call.give_stream());
        // Questions on either stream, and the answers of the client.
        for (stream, id) in [(&ear, "q1"), (&call, "q2")] {
            stream.event(&legacy(id, "roots/list")).await;
            assert_eq!(stand.read().await, legacy(id, "roots/list"));
            stand.say(result(id)).await;
            let answer = stand.next(id).await;
            assert_eq!((&answer.body, answer.header("mcp-session-id")), (&result(id), Some("s1")));
            answer.give(status(202));
        }
        call.event(&result("c")).await;
        assert_eq!(stand.read().await, result("c"));
        stand.lines = None;
        ear.closed().await;
        let end = stand.next("DELETE").await;
        assert_eq!(end.header("mcp-session-id"), Some("s1"));
        end.give(status(200));
        stand.ends_silently().await;
    });
}

#[test]
fn older_revisions_get_no_version_header_and_405_is_no_trouble() {
    on_stand(|mut stand| async move {
        stand.say(initialize()).await;
        let seen = stand.next("initialize").await;
        let body = json!({"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26"}});
        let response =
            Response::builder().header("content-type", "application/json").header("mcp-session-id", "s");
        seen.give(response.body(body.to_string().into()).unwrap());
        stand.read().await;
        stand.say(json!({"jsonrpc":"2.0","method":"notifications/initialized"})).await;
        stand.next("notifications/initialized").await.give(status(202));
        stand.next("GET").await.give(status(405));
        // A batch goes as it is, and its answer too.
        stand.say(json!([legacy(1, "ping"), legacy("b", "ping")])).await;
        let batch = stand.next("POST").await;
        assert_eq!(batch.header("mcp-protocol-version"), None);
        assert_eq!(batch.body, json!([legacy(1, "ping"), legacy("b", "ping")]));
        batch.give_json(200, json!([result("b"), result(1)]));
        assert_eq!(stand.read().await, json!([result("b"), result(1)]));
        stand.say(json!([legacy(2, "ping"), legacy("c", "ping")])).await;
        stand.next("POST").await.give(status(503));
        let errors = stand.read().await;
        assert_eq!((&errors[0]["id"], &errors[1]["id"]), (&2.into(), &"c".into()));
        assert_eq!(errors[1]["error"]["data"], json!({"layer":"gateway","status":503}));
        stand.ends_silently().await;
    });
}

#[test]
fn a_lost_session_is_begun_again_behind_the_clients_back() {
    on_stand(|mut stand| async move {
        stand.session().await.give(status(405));
        let level = json!({"jsonrpc":"2.0","id":"l","method":"logging/setLevel","params":{"level":"info"}});
        stand.say(&level).await;
        stand.next("l").await.give_json(200, result("l"));
        stand.read().await;
        stand.say(legacy("a", "tools/list")).await;
        stand.say(legacy("b", "tools/list")).await;
        let gone = json!({"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"session unknown"}});
        let (a, b) = (stand.next("a").await, stand.next("b").await);
        a.give_json(404, &gone);
        b.give_json(404, &gone);
        let again = stand.next("initialize").await;
        assert_eq!((&again.body, again.header("mcp-session-id")), (&initialize(), None));
        again.give_session("s2");
        stand.next("notifications/initialized").await.give(status(202));
        let told = stand.next("l").await;
        assert_eq!((&told.body, told.header("mcp-session-id")), (&level, Some("s2")));
        told.give_json(200, result("l"));
        for id in ["a", "b"] {
            let again = stand.next(id).await;
            assert_eq!(again.header("mcp-session-id"), Some("s2"));
            again.give_json(200, result(id));
            assert_eq!(stand.read().await, result(id));
        }
        // Lost once more, and for good.
        stand.next("GET").await.give(status(405));
        stand.say(legacy("c", "tools/list")).await;
        stand.next("c").await.give(status(404));
        stand.next("initialize").await.give(status(503));
        let said = stand.read().await;
        assert_eq!((&said["id"], &said["error"]["data"]["layer"]), (&"c".into(), &"gateway".into()));
        assert!(said["error"]["message"].as_str().unwrap().contains("503"), "{said}");
        stand.ends_silently().await;
    });
}

#[test]
fn a_broken_stream_is_asked_for_where_it_ended() {
    on_stand(|mut stand| async move {
        stand.session().await.give(status(405));
        stand.say(legacy("a", "tools/call")).await;
        let stream = stand.next("a").await.give_stream();
        stream.send("id: e1\nretry: 20\ndata:\n\n").await;
        let note = json!({"jsonrpc":"2.0","method":"notifications/message","params":{}});
        stream.send(format!("data: {note}\nid: e2\n\n")).await;
        assert_eq!(stand.read().await, note);
        drop(stream);
        let again = stand.next("GET").await;
        assert_eq!((again.header("last-event-id"), again.header("mcp-session-id")), (Some("e2"), Some("s1")));
        // A failure is no end, nor is a torn connection.
        again.give(status(503));
        let stream = stand.next("GET").await.give_stream();
        stream.send(format!("id: e3\ndata: {note}\n\n")).await;
        assert_eq!(stand.read().await, note);
        stream.tear().await;
        let again = stand.next("GET").await;
        assert_eq!(again.header("last-event-id"), Some("e3"));
        again.give_stream().event(&result("a")).await;
        assert_eq!(stand.read().await, result("a"));
        // Without ids there is no way back.
        stand.say(legacy("b", "tools/call")).await;
        drop(stand.next("b").await.give_stream());
        let said = stand.read().await;
        assert_eq!((&said["id"], &said["error"]["code"]), (&"b".into(), &(-32603).into()));
        stand.ends_silently().await;
    });
}

#[test]
fn a_cancelled_request_ends_by_the_rules_of_its_revision() {
    on_stand(|mut stand| async move {
        let cancel =
            |id: Value| json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":id}});
        // 2026-07-28: its stream is closed, and nothing more is written for it.
        stand.say(modern("m", "tools/call", json!({"name":"t"}))).await;
        let stream = stand.next("m").await.give_stream();
        stand.say(cancel("m".into())).await;
        stream.closed().await;
        // Also before the head of its answer has come; the id may be used again.
        stand.say(modern("m", "tools/call", json!({"name":"t"}))).await;
        let mut waiting = stand.next("m").await;
        stand.say(cancel("m".into())).await;
        soon(waiting.answer.closed()).await;
        stand.say(cancel("unknown".into())).await;
        // Before: it is told, and no answer comes.
        stand.session().await.give(status(405));
        stand.say(legacy("a", "tools/call")).await;
        let stream = stand.next("a").await.give_stream();
        stand.say(cancel("a".into())).await;
        let told = stand.next("notifications/cancelled").await;
        assert_eq!((&told.body, told.header("mcp-session-id")), (&cancel("a".into()), Some("s1")));
        told.give(status(202));
        drop(stream);
        stand.ends_silently().await;
    });
}

#[test]
fn a_listen_goes_on_until_stdin_ends() {
    on_stand(|mut stand| async move {
        let wanted = json!({"notifications":{"toolsListChanged":true}});
        stand.say(modern("l", "subscriptions/listen", wanted)).await;
        let stream = stand.next("l").await.give_stream();
        for method in ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"] {
            let note = json!({"jsonrpc":"2.0","method":method,"params":{}});
            stream.event(&note).await;
            assert_eq!(stand.read().await, note);
        }
        stand.lines = None;
        stream.closed().await;
        stand.ends_silently().await;
    });
}

#[test]
fn bad_input_harms_nobody() {
    on_stand(|mut stand| async move {
        stand.session().await.give(status(405));
        stand.say("").await;
        stand.say("nonsense").await;
        stand.lines.as_ref().unwrap().send(Line::TooLong).await.unwrap();
        for _ in 0..2 {
            let said = stand.read().await;
            assert_eq!((&said["id"], &said["error"]["code"]), (&Value::Null, &(-32700).into()));
        }
        stand.say(r#"{"jsonrpc":"2.0","id":7,"method":"ping","id":7}"#).await;
        assert_eq!(stand.read().await["error"]["code"], -32600);
        stand.say("[1").await;
        assert_eq!(stand.read().await["error"]["code"], -32700);
        // The gateway judges an answer that nobody waits for.
        stand.say(result("never-asked")).await;
        stand.next("never-asked").await.give(status(400));
        // An id of a request under way.
        stand.say(legacy("a", "tools/list")).await;
        let first = stand.next("a").await;
        stand.say(legacy("a", "ping")).await;
        assert_eq!(stand.read().await["error"]["code"], -32600);
        first.give_json(200, result("a"));
        assert_eq!(stand.read().await, result("a"));
        stand.ends_silently().await;
    });
}

#[test]
fn bad_answers_become_errors_of_their_request() {
    let cases: [(&str, u16, &str, &str); 7] = [
        ("application/json", 200, "{", "no MCP"),
        ("application/json", 200, r#"{"jsonrpc":"2.0","id":"other","result":{}}"#, "does not answer"),
        ("text/html", 200, "<html>", "neither JSON nor an event stream"),
        ("text/plain", 202, "", "202"),
        ("text/plain", 503, "busy\nmore", "503 Service Unavailable: busy"),
        (
            "application/json",
            401,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#,
            "STRAIT_KEY",
        ),
        ("text/event-stream", 200, "data: {}\n\n", "ended before the answer"),
    ];
    on_stand(|mut stand| async move {
        for (media, code, body, text) in cases {
            stand.say(modern("a", "tools/list", json!({}))).await;
            let response = Response::builder().status(code).header("content-type", media);
            stand.next("a").await.give(response.body(body.into()).unwrap());
            let said = stand.read().await;
            assert_eq!(
                (&said["id"], &said["error"]["data"]["layer"]),
                (&"a".into(), &"gateway".into()),
                "{said}"
            );
            assert!(said["error"]["message"].as_str().unwrap().contains(text), "{text}: {said}");
        }
        // It dies in the middle of a call.
        stand.say(modern("a", "tools/list", json!({}))).await;
        stand.next("a").await.give_stream().tear().await;
        let said = stand.read().await;
        assert_eq!(
            (&said["id"], &said["error"]["data"]["layer"]),
            (&"a".into(), &"connection".into()),
            "{said}"
        );
        stand.ends_silently().await;
    });
}

#[test]
fn told_to_stop_it_says_goodbye_and_leaves_what_is_under_way() {
    on_stand(|mut stand| async move {
        let ear = stand.session().await.give_stream();
        stand.say(legacy("a", "tools/call")).await;
        let _waiting = stand.next("a").await;
        stand.stop.take().unwrap().send(()).unwrap();
        ear.closed().await;
        stand.next("DELETE").await.give(status(200));
        soon(&mut stand.front).await.unwrap();
        assert!(stand.written.try_recv().is_err());
    });
}

#[test]
fn only_plain_http_addresses_without_secrets_are_taken() {
    let parsed = Endpoint::parse("http://[::1]:8080/mcp?a=b").unwrap();
    assert_eq!(parsed.to_string(), "http://[::1]:8080/mcp");
    assert_eq!(Endpoint::parse("http://h").unwrap().to_string(), "http://h:80/");
    for (url, why) in [
        ("https://h/mcp", "https is not there yet"),
        ("http://me:secret@h/mcp", "STRAIT_KEY"),
        ("ftp://h/", "expected http://"),
        ("http://", "expected http://"),
    ] {
        let said = Endpoint::parse(url).unwrap_err();
        assert!(said.contains(why) && !said.contains("secret"), "{said}");
    }
}
