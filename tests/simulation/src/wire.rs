//! HTTP as the simulated peers speak it: plain, and independent of the crates under test, so that a shared mistake
//! cannot hide.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use strait_engine::io::buffer::Buf;
use strait_engine::io::runtime::sleep;
use strait_engine::io::simulated::Chance;
use strait_engine::io::tcp::Stream;

/// How fast a peer takes what it is sent.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Before each look, now and then.
    pub pause_ms: u64,
    pub bytes_at_once: usize,
}

impl Pace {
    pub fn prompt() -> Pace {
        Pace { pause_ms: 0, bytes_at_once: 64 * 1024 }
    }

    pub fn slow(chance: &mut Chance) -> Pace {
        Pace { pause_ms: chance.magnitude(1..300), bytes_at_once: chance.magnitude(16..4_096) as usize }
    }
}

/// One end of a connection, with what it has received and not yet read.
pub struct Wire {
    pub stream: Stream,
    unread: Vec<u8>,
    pub pace: Pace,
    looks: u64,
    /// Nothing more will come.
    pub is_over: bool,
}

/// The first line and the fields of a message.
#[derive(Clone, Debug)]
pub struct Head {
    pub first: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> io::Result<Wire> {
        Stream::connect(address, Duration::from_secs(5)).await.map(Wire::of)
    }

    pub fn of(stream: Stream) -> Wire {
        Wire { stream, unread: Vec::new(), pace: Pace::prompt(), looks: 0, is_over: false }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.send_all(Buf::from(bytes)).await.0.is_ok()
    }

    /// Takes in what arrives; `false` at the end.
    async fn more(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        self.looks += 1;
        // A slow reader pauses for a while, not for ever: only its first looks are slow.
        if self.pace.pause_ms > 0 && self.looks < 40 {
            sleep(Duration::from_millis(self.pace.pause_ms)).await;
        }
        let room = Buf::with_capacity(self.pace.bytes_at_once);
        let (received, buf) = self.stream.recv(room).await;
        self.unread.extend_from_slice(&buf);
        self.is_over = !matches!(received, Ok(1..));
        !self.is_over
    }

    /// Waits until the other side has ended.
    pub async fn ended(&mut self) {
        while self.more().await {}
    }

    /// Up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.unread.len() < bytes {
            if !self.more().await {
                return None;
            }
        }
        Some(self.unread.drain(..bytes).collect())
    }

    /// The next head; `None` when there is none.
    pub async fn head(&mut self) -> Option<Head> {
        let bytes = self.until(b"\r\n\r\n").await?;
        let text = String::from_utf8(bytes).ok()?;
        let mut lines = text.trim_end().split("\r\n");
        let first = lines.next()?.to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        Some(Head { first, fields: fields.map(|(n, v)| (n.to_owned(), v.to_owned())).collect() })
    }

    /// The body of a request.
    pub async fn body(&mut self, head: &Head) -> Option<Vec<u8>> {
        match head.field("content-length") {
            Some(length) => self.exactly(length.parse().ok()?).await,
            None => Some(Vec::new()),
        }
    }

    /// Whether bytes came that nobody has read.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }
}

/// What of an answer's body came next.
#[derive(Debug)]
pub enum Part {
    /// A JSON body, or an event of a stream.
    Message(Vec<u8>),
    /// The body is complete.
    End,
    /// The connection ended before the body did.
    Cut,
}

/// An answer that is being read.
pub struct Answer {
    pub status: u16,
    pub head: Head,
    is_stream: bool,
    framing: Framing,
    events: Vec<u8>,
    /// Of the last event that had one.
    pub last_id: Option<String>,
    is_over: bool,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

impl Answer {
    /// Reads the head of an answer; `None` when the connection ended before it came.
    pub async fn begin(wire: &mut Wire) -> Option<Answer> {
        loop {
            let head = wire.head().await?;
            let status: u16 = head.first.split(' ').nth(1)?.parse().ok()?;
            if status == 100 {
                continue;
            }
            let framing = match (head.field("transfer-encoding"), head.field("content-length")) {
                (Some("chunked"), _) => Framing::Chunked,
                (_, Some(length)) => Framing::Length(length.parse().ok()?),
                _ if matches!(status, 202 | 204) => Framing::Length(0),
                _ => Framing::UntilEnd,
            };
            let is_stream =
                head.field("content-type").is_some_and(|value| value.starts_with("text/event-stream"));
            let (events, last_id) = (Vec::new(), None);
            return Some(Answer { status, head, is_stream, framing, events, last_id, is_over: false });
        }
    }

    /// The connection can be used again once the body has ended.
    pub fn keeps_connection(&self) -> bool {
        !matches!(self.framing, Framing::UntilEnd)
            && !self.head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub async fn next(&mut self, wire: &mut Wire) -> Part {
        loop {
            if let Some(part) = self.event() {
                return part;
            }
            if self.is_over {
                return if self.events.is_empty() { Part::End } else { Part::Cut };
            }
            let Some(piece) = self.piece(wire).await else { return Part::Cut };
            self.events.extend_from_slice(&piece);
            if !self.is_stream && self.is_over {
                let data = std::mem::take(&mut self.events);
                if !data.is_empty() {
                    return Part::Message(data);
                }
            }
        }
    }

    fn event(&mut self) -> Option<Part> {
        if !self.is_stream {
            return None;
        }
        let at = self.events.windows(2).position(|window| window == b"\n\n")?;
        let event: Vec<u8> = self.events.drain(..at + 2).collect();
        let text = String::from_utf8_lossy(&event);
        let mut data = String::new();
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("data:") {
                data.push_str(value.strip_prefix(' ').unwrap_or(value));
            } else if let Some(id) = line.strip_prefix("id: ") {
                self.last_id = Some(id.to_owned());
            }
        }
        Some(Part::Message(data.into_bytes()))
    }

    /// The next piece of the body, without its framing; sets `is_over` with the last one.
    async fn piece(&mut self, wire: &mut Wire) -> Option<Vec<u8>> {
        match self.framing {
            Framing::Length(length) => {
                self.is_over = true;
                wire.exactly(length).await
            }
            Framing::Chunked => {
                let line = wire.until(b"\r\n").await?;
                let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
                let piece = wire.exactly(size + 2).await?;
                self.is_over = size == 0;
                Some(piece[..size].to_vec())
            }
            Framing::UntilEnd => {
                if wire.unread.is_empty() && !wire.more().await {
                    self.is_over = true;
                }
                Some(std::mem::take(&mut wire.unread))
            }
        }
    }
}

/// An answer with its length.
pub fn answer(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    append_fields(&mut out, fields);
    out.extend_from_slice(body);
    out
}

/// The head of an answer whose body comes in chunks.
pub fn chunked(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".to_vec();
    append_fields(&mut out, fields);
    out
}

pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// A request.
pub fn request(verb: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n").into_bytes();
    if verb == "POST" {
        out.extend_from_slice(
            b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n",
        );
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    append_fields(&mut out, fields);
    out.extend_from_slice(body);
    out
}

fn append_fields(out: &mut Vec<u8>, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
