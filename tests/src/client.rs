//! A client that sends exactly the bytes it is given and reads HTTP answers plainly: independent of
//! the crates under test, so that a shared mistake cannot hide.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::PATIENCE;

/// One connection.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The other side has closed or reset the connection.
    ended: bool,
    /// It ended by a reset, which may destroy what was on its way.
    pub reset: bool,
    /// Answers 100 so far.
    pub invitations: usize,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEvent {
    pub id: Option<String>,
    pub message: Value,
}

/// One HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection ended before the body did.
    pub cut_short: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The JSON body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The messages of an event stream, or the one of a JSON body.
    pub fn messages(&self) -> Vec<Value> {
        if self.header("content-type") != Some("text/event-stream") {
            return vec![self.json()];
        }
        let text = String::from_utf8(self.body.clone()).expect("UTF-8");
        let events = text.split("\n\n").filter(|event| !event.trim().is_empty());
        let data = |event: &str| {
            event.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>().join("\n")
        };
        // One without data only says where the stream is.
        let data = events.map(data).filter(|data| !data.is_empty());
        data.map(|data| serde_json::from_str(&data).expect("JSON in an event")).collect()
    }

    /// `error.code` and `error.message`.
    pub fn error(&self) -> (i64, String) {
        let messages = self.messages();
        let error = &messages.last().expect("a message")["error"];
        let code = error["code"].as_i64();
        (
            code.unwrap_or_else(|| panic!("no error in {messages:?}")),
            error["message"].as_str().unwrap_or("").to_owned(),
        )
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect(address).expect("connect"))
    }

    pub fn of(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        Client { stream, unread: Vec::new(), ended: false, reset: false, invitations: 0 }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A gateway that has refused may have closed: its answer is what counts. A reset is told once, here or to a read.
        if let Err(error) = self.stream.write_all(bytes.as_ref()) {
            self.reset |= error.kind() == std::io::ErrorKind::ConnectionReset;
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends byte by byte, each in a packet of its own as far as the kernel is willing.
    pub fn dribble(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    /// Nothing more will be sent.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// What comes until the other side closes; fails when it does not.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        assert!(self.ended, "still open; read {:?}", String::from_utf8_lossy(&self.unread));
        std::mem::take(&mut self.unread)
    }

    /// Asserts that the other side closes without another byte.
    pub fn assert_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "unexpected: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Reads one answer; `None` when the connection ended without one.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to("POST")
    }

    /// Reads the answer to a request of this HTTP method: one to HEAD has no body.
    pub fn answer_to(&mut self, method: &str) -> Option<Answer> {
        loop {
            let end = loop {
                if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at + 4;
                }
                if !self.more() {
                    assert!(self.ended, "no answer in time");
                    assert!(
                        self.unread.is_empty(),
                        "half a head: {:?}",
                        String::from_utf8_lossy(&self.unread)
                    );
                    return None;
                }
            };
            let head = String::from_utf8(self.unread.drain(..end).collect()).expect("an ASCII head");
            let mut lines = head.lines();
            let status_line = lines.next().expect("a status line");
            let status: u16 = status_line.split(' ').nth(1).expect("a status").parse().expect("a number");
            let headers =
                lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned()));
            let mut answer =
                Answer { status, headers: headers.collect(), body: Vec::new(), cut_short: false };
            if status == 100 {
                self.invitations += 1;
                continue;
            }
            if method == "HEAD" {
                return Some(answer);
            }
            if answer.header("transfer-encoding") == Some("chunked") {
                self.chunked(&mut answer);
            } else if let Some(length) = answer.header("content-length") {
                let length: usize = length.parse().expect("a length");
                while self.unread.len() < length && self.more() {}
                answer.cut_short = self.unread.len() < length;
                answer.body = self.unread.drain(..length.min(self.unread.len())).collect();
            } else if status != 204 {
                while self.more() {}
                answer.body = std::mem::take(&mut self.unread);
            }
            return Some(answer);
        }
    }

    fn chunked(&mut self, answer: &mut Answer) {
        loop {
            let Some(line_end) = self.until(|unread| unread.windows(2).position(|w| w == b"\r\n")) else {
                answer.cut_short = true;
                return;
            };
            let line: Vec<u8> = self.unread.drain(..line_end + 2).collect();
            let size =
                usize::from_str_radix(std::str::from_utf8(&line).expect("ASCII").trim(), 16).expect("hex");
            if self.until(|unread| (unread.len() >= size + 2).then_some(0)).is_none() {
                answer.body.append(&mut self.unread);
                answer.cut_short = true;
                return;
            }
            answer.body.extend(self.unread.drain(..size));
            self.unread.drain(..2);
            if size == 0 {
                return;
            }
        }
    }

    /// The head of an answer that stands open; its events are for [`Client::event`].
    pub fn stream_head(&mut self) -> Answer {
        let head = String::from_utf8(self.until_unread(b"\r\n\r\n")).expect("an ASCII head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned()));
        Answer { status, headers: headers.collect(), body: Vec::new(), cut_short: false }
    }

    /// The next event of a chunked stream, comments passed over; `None` when the stream has ended.
    pub fn event(&mut self) -> Option<StreamEvent> {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "waited {PATIENCE:?} for an event, comments came");
            let line = self.until_unread(b"\r\n");
            let size = std::str::from_utf8(&line).expect("ASCII").trim();
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            self.wait_for_unread(size + 2);
            let chunk: Vec<u8> = self.unread.drain(..size + 2).take(size).collect();
            if size == 0 {
                return None;
            }
            // Every event of the gateway is a chunk of its own.
            let text = String::from_utf8(chunk).expect("UTF-8");
            let field =
                |name: &str| text.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
            let data = field("data: ").join("\n");
            if !data.is_empty() {
                let id = field("id: ").first().map(|id| (*id).to_owned());
                return Some(StreamEvent { id, message: serde_json::from_str(&data).expect("JSON") });
            }
        }
    }

    /// A stream that only says comments is never silent, so there is an end to waiting besides.
    fn until(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        let until = Instant::now() + PATIENCE * 3;
        loop {
            if let Some(found) = find(&self.unread) {
                return Some(found);
            }
            if !self.more() || Instant::now() > until {
                return None;
            }
        }
    }

    /// Takes what arrives up to and including `end`.
    pub fn until_unread(&mut self, end: &[u8]) -> Vec<u8> {
        let at = self.until(|unread| unread.windows(end.len()).position(|window| window == end));
        let at = at.unwrap_or_else(|| panic!("ended: {:?}", String::from_utf8_lossy(&self.unread)));
        self.unread.drain(..at + end.len()).collect()
    }

    /// The next message of an event stream whose head was read.
    pub fn next_event(&mut self) -> Value {
        loop {
            let event = String::from_utf8(self.until_unread(b"\n\n")).expect("UTF-8");
            let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            // One without data only says where the stream is.
            if !data.is_empty() {
                let message = serde_json::from_str(&data.join("\n"));
                return message.unwrap_or_else(|error| panic!("{error} in {event:?}"));
            }
        }
    }

    /// Waits until at least so many bytes have arrived; they are read later.
    pub fn wait_for_unread(&mut self, bytes: usize) {
        self.until(|unread| (unread.len() >= bytes).then_some(0)).expect("more bytes");
    }

    /// Forgets what has arrived, and says how much it was.
    pub fn take_unread(&mut self) -> usize {
        std::mem::take(&mut self.unread).len()
    }

    /// What arrives within a short while, for looking at an answer that has not ended.
    pub fn peek(&mut self, wait: Duration) -> Vec<u8> {
        self.stream.set_read_timeout(Some(wait)).expect("timeout");
        while self.more() {}
        self.stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        self.unread.clone()
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                self.ended = true;
                false
            }
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                (self.ended, self.reset) = (true, true);
                false
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("read: {error}"),
        }
    }

    /// Sends a request and reads its answer.
    pub fn roundtrip(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes);
        self.answer().expect("an answer")
    }
}

/// A POST to `/mcp` with these headers besides the usual ones.
pub fn post(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    post_to("/mcp", headers, body)
}

pub fn post_to(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nContent-Length: {}\r\n",
        body.len()
    )
    .into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// A request of 2026-07-28 with its mirrored headers, under `key` unless that is empty.
pub fn modern(key: &str, id: i64, method: &str, params: Value) -> Vec<u8> {
    modern_as(key, id, method, params, json!({}))
}

/// As [`modern`], for a client that has these capabilities.
pub fn modern_as(key: &str, id: i64, method: &str, mut params: Value, capabilities: Value) -> Vec<u8> {
    let name = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str).map(str::to_owned);
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let bearer = format!("Bearer {key}");
    let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    if !key.is_empty() {
        headers.push(("Authorization", bearer.as_str()));
    }
    if let Some(name) = &name {
        headers.push(("Mcp-Name", name));
    }
    post(&headers, body.as_bytes())
}

/// Opens a session of an older revision and returns its id.
pub fn initialize(client: &mut Client, key: &str, version: &str) -> String {
    initialize_as(client, key, version, json!({}))
}

/// As [`initialize`], for a client that has these capabilities.
pub fn initialize_as(client: &mut Client, key: &str, version: &str, capabilities: Value) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}}});
    let bearer = format!("Bearer {key}");
    let answer = client.roundtrip(post(&[("Authorization", &bearer)], body.to_string().as_bytes()));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.json()["result"]["protocolVersion"], version);
    let id = answer.header("mcp-session-id").expect("a session id").to_owned();
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let answer =
        client.roundtrip(post(&[("Authorization", &bearer), ("Mcp-Session-Id", &id)], told.as_bytes()));
    assert_eq!(answer.status, 202);
    id
}

/// A request within a session.
pub fn legacy(key: &str, session: &str, id: i64, method: &str, params: Value) -> Vec<u8> {
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let bearer = format!("Bearer {key}");
    post(&[("Authorization", &bearer), ("Mcp-Session-Id", session)], body.as_bytes())
}

/// The stream of a session that its client opened with GET; its head was read.
pub fn session_stream(address: SocketAddr, key: &str, session: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!(
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: {session}\r\n\r\n"
    ));
    let head = client.stream_head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    client
}

/// Ends a session.
pub fn delete(key: &str, session: &str) -> String {
    format!(
        "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nMcp-Session-Id: {session}\r\n\r\n"
    )
}
