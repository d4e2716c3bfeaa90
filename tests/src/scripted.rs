//! An HTTP upstream that does what a test tells it, well or badly.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::PATIENCE;

/// What to do next on a connection.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Goes on when the test opens the gate.
    Await(Gate),
    /// Whatever a test does with the connection; `false` ends it.
    With(Deed),
    /// Until the gateway gives up.
    Hang,
    Close,
}

/// What a test does with a connection.
#[derive(Clone)]
pub struct Deed(Arc<dyn Fn(&mut TcpStream) -> bool + Send + Sync>);

impl Deed {
    pub fn step(deed: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static) -> Step {
        Step::With(Deed(Arc::new(deed)))
    }
}

impl std::fmt::Debug for Deed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Deed")
    }
}

/// Holds a script until a test lets it go on.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Whether it was opened. It never opens by itself while a test still waits for something.
    fn wait(&self) -> bool {
        let patience = PATIENCE * 3;
        *self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), patience, |open| !*open).unwrap().0
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub head: String,
    pub body: Value,
    /// The body as it was written.
    pub raw: Vec<u8>,
}

impl Arrived {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// `GET`, `POST` or `DELETE`.
    pub fn verb(&self) -> &str {
        self.head.split(' ').next().unwrap_or("")
    }

    /// An argument of a call, as text.
    pub fn argument(&self, name: &str) -> &str {
        self.body["params"]["arguments"][name].as_str().unwrap_or("")
    }
}

type Script = dyn Fn(&Arrived) -> Vec<Step> + Send + Sync;

/// A running upstream.
pub struct Scripted {
    pub address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scripted {
    /// Runs `script` for every request, until [`Scripted::stop`] or the end of the test process.
    pub fn start(script: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
        Scripted::start_at("127.0.0.1:0".parse().expect("an address"), script)
    }

    /// The same at a certain address: what a restarted server does.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind(address).expect("bind");
        let address = listener.local_addr().expect("an address");
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let (log, streams, end) = (arrived.clone(), connections.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                streams.lock().unwrap().push(stream.try_clone().expect("clone"));
                let (script, log) = (script.clone(), log.clone());
                std::thread::spawn(move || serve(stream, &*script, &log));
            }
        });
        Scripted { address, arrived, connections, stopped, thread: Some(thread) }
    }

    /// Closes the listener; from now on connections are refused. Then closes those that are open.
    pub fn stop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the listener's thread");
        }
        self.close_connections();
    }

    /// Closes every connection, those in use as well.
    pub fn close_connections(&self) {
        for stream in self.connections.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// A modern server with the tools `echo`, `slow` and `secret`, whose `tools/call` is up to `call`.
    pub fn modern(call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
        Scripted::start(modern(tools(), call))
    }

    /// A modern server with these tools.
    pub fn modern_with(
        tools: Value,
        call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::start(modern(tools, call))
    }

    /// A server of 2025-11-25 without sessions, with the same tools.
    pub fn legacy(call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
        Scripted::start(legacy(call))
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Requests of a method so far; `""`: responses, `GET` and `DELETE`: those.
    pub fn arrived(&self, wanted: &str) -> Vec<Arrived> {
        let all = self.arrived.lock().unwrap();
        all.iter().filter(|request| method(request) == wanted).cloned().collect()
    }

    /// All requests so far.
    pub fn requests(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

/// The script of [`Scripted::modern_with`].
pub fn modern(
    tools: Value,
    call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
) -> impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static {
    move |request| match method(request) {
        "server/discover" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 0, "cacheScope": "public"}})),
        "tools/list" => json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "public"}})),
        "tools/call" => call(request),
        _ => unknown_method(request, 404),
    }
}

/// The script of [`Scripted::legacy`].
pub fn legacy(
    call: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static,
) -> impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static {
    move |request| match method(request) {
        "GET" | "DELETE" => vec![Step::Send(http(405, "text/plain", b"POST only"))],
        "initialize" => json_reply(&initialized(request)),
        "notifications/initialized" => vec![Step::Send(ACCEPTED.to_vec())],
        "tools/list" => {
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"tools": tools()}}))
        }
        "tools/call" => call(request),
        "server/discover" => vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))],
        _ => unknown_method(request, 200),
    }
}

/// What legacy servers say to a modern request.
pub const NOT_INITIALIZED: &[u8] =
    br#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#;

pub const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// The answer to `initialize`.
pub fn initialized(request: &Arrived) -> Value {
    json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "scripted", "version": "1"}}})
}

/// The method of a message, or the HTTP method of what has none.
pub fn method(request: &Arrived) -> &str {
    match request.verb() {
        "POST" => request.body["method"].as_str().unwrap_or(""),
        verb => verb,
    }
}

/// The tools `echo`, `slow` and `secret`.
pub fn tools() -> Value {
    let tool = |name: &str| json!({"name": name, "description": "d", "inputSchema": {"type": "object", "$defs": {"x": 1}}});
    json!([tool("echo"), tool("slow"), tool("secret")])
}

pub fn unknown_method(request: &Arrived, status: u16) -> Vec<Step> {
    let body = json!({"jsonrpc": "2.0", "id": request.body["id"], "error": {"code": -32601, "message": "Method not found"}});
    vec![Step::Send(http(status, "application/json", body.to_string().as_bytes()))]
}

/// The result of a call that echoes its arguments.
pub fn echoed(request: &Arrived) -> Value {
    let text = request.body["params"]["arguments"].to_string();
    json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": [{"type": "text", "text": text}]}})
}

/// A 200 with a JSON body.
pub fn json_reply(body: &Value) -> Vec<Step> {
    vec![Step::Send(http(200, "application/json", body.to_string().as_bytes()))]
}

pub fn http(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// The head of an event stream, chunked.
pub fn event_stream() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()
}

/// One event as one chunk.
pub fn event(message: &Value) -> Vec<u8> {
    let event = format!("event: message\ndata: {message}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

fn serve(mut stream: TcpStream, script: &Script, log: &Mutex<Vec<Arrived>>) {
    let _ = stream.set_nodelay(true);
    let mut unread = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut unread) else { return };
        log.lock().unwrap().push(request.clone());
        for step in script(&request) {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Step::Wait(pause) => std::thread::sleep(pause),
                Step::Await(gate) => {
                    if !gate.wait() {
                        return;
                    }
                }
                Step::With(Deed(deed)) => {
                    if !deed(&mut stream) {
                        return;
                    }
                }
                Step::Hang => {
                    let _ = stream.read(&mut [0; 64]);
                    return;
                }
                Step::Close => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}

fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Arrived> {
    let mut chunk = [0; 64 * 1024];
    let mut more = |unread: &mut Vec<u8>| match stream.read(&mut chunk) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            unread.extend_from_slice(&chunk[..count]);
            true
        }
    };
    let end = loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if !more(unread) {
            return None;
        }
    };
    let head = String::from_utf8(unread.drain(..end).collect()).ok()?;
    let length = match head.lines().find_map(|line| line.strip_prefix("Content-Length: ")) {
        Some(length) => length.trim().parse::<usize>().ok()?,
        // GET and DELETE.
        None => 0,
    };
    while unread.len() < length {
        if !more(unread) {
            return None;
        }
    }
    let body: Vec<u8> = unread.drain(..length).collect();
    Some(Arrived { head, body: serde_json::from_slice(&body).unwrap_or(Value::Null), raw: body })
}
