//! Judges one reply at a time from its bytes as they arrive: HTTP head, body however it is delimited,
//! JSON or an event stream, and in it the one message that answers. HOT: nothing is allocated once the
//! buffers have met the longest head and event of a run.
//!
//! The decision: the message is scanned for balance and its envelope only, as a gateway does with an
//! upstream's reply. What a call is judged by (its id, its error, `isError`, its end) is in there.

use strait_protocol::http1::{Body, ContentType, ReplyHead, parse_reply, worth_parsing};
use strait_protocol::jsonrpc::{Envelope, IdValue, Kind, Scanner};
use strait_protocol::mcp::codes;
use strait_protocol::sse;

use super::Cause;

/// A denial is told from other errors by its words, which stand near the start of a small message.
const START_BYTES: usize = 2 * 1024;
/// How a gateway, and the reference servers, word it.
const UNKNOWN_TOOL: &[u8] = b"nknown tool";

/// What a piece of input came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes are needed; all that were given are dealt with.
    More,
    /// The answer is complete and `result` is final, but the body goes on (an event stream that its
    /// server has not ended yet): its time is now. Told once; feed on until `Done`.
    Answered { result: Result<(), Cause> },
    /// The reply is over. Bytes after `consumed` belong to nothing that was asked.
    Done { result: Result<(), Cause>, consumed: usize, reusable: bool },
}

enum Phase {
    Head,
    Json,
    Events,
    /// A body that is not read: its status was the answer.
    Skipped,
}

/// A reader for one connection, used for one reply after another.
pub struct ReplyReader {
    phase: Phase,
    expected: u64,
    /// A head that came in pieces.
    head: Vec<u8>,
    status: u16,
    keep_alive: bool,
    body: Body,
    body_bytes: u64,
    scanner: Scanner,
    fault: bool,
    /// The first bytes of a JSON body.
    start: Vec<u8>,
    stream: sse::Reader,
    event: Vec<u8>,
    events: u32,
    verdict: Option<Result<(), Cause>>,
    /// A notification: its status is all there is.
    accepts: bool,
    told: bool,
    began: bool,
}

impl Default for ReplyReader {
    fn default() -> Self {
        ReplyReader::new()
    }
}

impl ReplyReader {
    pub fn new() -> ReplyReader {
        ReplyReader {
            phase: Phase::Head,
            expected: 0,
            head: Vec::new(),
            status: 0,
            keep_alive: false,
            body: Body::Length { left: 0 },
            body_bytes: 0,
            scanner: Scanner::new(),
            fault: false,
            start: Vec::new(),
            stream: sse::Reader::new(),
            event: Vec::new(),
            events: 0,
            verdict: None,
            accepts: false,
            told: false,
            began: false,
        }
    }

    /// Prepares for the reply to the request with this id.
    pub fn expect(&mut self, id: u64) {
        self.phase = Phase::Head;
        self.expected = id;
        self.head.clear();
        self.start.clear();
        self.body_bytes = 0;
        self.events = 0;
        self.fault = false;
        self.verdict = None;
        self.accepts = false;
        self.told = false;
        self.began = false;
    }

    /// Prepares for what comes back for a notification: a status of success, and nothing to read.
    pub fn expect_accepted(&mut self) {
        self.expect(0);
        self.accepts = true;
    }

    /// Bytes of the body so far.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Events of a stream so far, the answer included.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Whether a byte of this reply has arrived.
    pub fn has_begun(&self) -> bool {
        self.began
    }

    pub fn feed(&mut self, input: &[u8]) -> Progress {
        self.began |= !input.is_empty();
        let mut at = 0;
        while matches!(self.phase, Phase::Head) {
            match self.head(input.get(at..).unwrap_or_default()) {
                Ok(Some((consumed, interim))) => {
                    at += consumed;
                    if !interim {
                        break;
                    }
                }
                Ok(None) => return Progress::More,
                Err(cause) => return Progress::Done { result: Err(cause), consumed: at, reusable: false },
            }
        }
        self.body(input, at)
    }

    /// The connection ended. What came of the reply?
    pub fn end(&mut self) -> Result<(), Cause> {
        if let Some(result) = self.verdict {
            return result;
        }
        match self.phase {
            _ if !self.began => Err(Cause::Transport),
            Phase::Head => Err(Cause::Truncated),
            _ if self.body.may_end_here() => self.conclude(),
            _ => Err(Cause::Truncated),
        }
    }

    /// Bytes of the head at the front of `input`, and whether it was an interim one (100 to 199).
    fn head(&mut self, input: &[u8]) -> Result<Option<(usize, bool)>, Cause> {
        // A head in one piece, which is nearly every head, is read where it stands.
        let held = self.head.len();
        let parsed = match held {
            0 => parse_reply(input),
            _ => {
                self.head.extend_from_slice(input);
                match worth_parsing(&self.head, held) {
                    true => parse_reply(&self.head),
                    false => return Ok(None),
                }
            }
        };
        match parsed {
            Ok(Some(head)) => {
                let consumed = (head.head_bytes as usize).saturating_sub(held);
                self.head.clear();
                let interim = head.is_interim();
                if !interim {
                    self.open(&head);
                }
                Ok(Some((consumed, interim)))
            }
            Ok(None) => {
                if held == 0 {
                    self.head.extend_from_slice(input);
                }
                Ok(None)
            }
            Err(_) => Err(Cause::Malformed),
        }
    }

    fn open(&mut self, head: &ReplyHead) {
        self.status = head.status;
        self.keep_alive = head.keep_alive;
        self.body = Body::of_reply(head.framing);
        self.phase = match head.content_type {
            ContentType::Json if !head.encoded => {
                self.scanner.reset();
                Phase::Json
            }
            ContentType::EventStream if !head.encoded => {
                self.scanner.reset();
                self.stream.restart();
                Phase::Events
            }
            _ => Phase::Skipped,
        };
    }

    fn body(&mut self, input: &[u8], mut at: usize) -> Progress {
        while !self.body.is_done() {
            let rest = input.get(at..).unwrap_or_default();
            let Ok(step) = self.body.next(rest) else {
                return Progress::Done { result: Err(Cause::Malformed), consumed: at, reusable: false };
            };
            at += step.consumed;
            let data = rest.get(step.data.clone()).unwrap_or_default();
            if !data.is_empty() {
                self.body_bytes += data.len() as u64;
                self.data(data);
            }
            if step.consumed == 0 || (at >= input.len() && !step.done) {
                return match self.verdict {
                    Some(result) if !std::mem::replace(&mut self.told, true) => Progress::Answered { result },
                    _ => Progress::More,
                };
            }
        }
        let result = self.verdict.unwrap_or_else(|| self.conclude());
        Progress::Done { result, consumed: at, reusable: self.keep_alive && !self.fault }
    }

    fn data(&mut self, data: &[u8]) {
        match self.phase {
            Phase::Json => {
                let room = START_BYTES.saturating_sub(self.start.len());
                self.start.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
                self.fault |= self.scanner.feed(data).is_err();
            }
            Phase::Events => self.events_in(data),
            Phase::Head | Phase::Skipped => {}
        }
    }

    fn events_in(&mut self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() && !self.fault {
            let Ok(step) = self.stream.push(rest, &mut self.event) else {
                self.fault = true;
                return;
            };
            rest = rest.get(step.consumed..).unwrap_or_default();
            if step.event.is_some_and(|event| event.kind == sse::EventKind::Message) {
                self.events += 1;
                self.scanner.reset();
                let envelope = self.scanner.feed(&self.event).and_then(|()| self.scanner.finish());
                match envelope {
                    // Progress and log messages come before the answer; what follows it changes nothing.
                    Ok(envelope) if envelope.kind() == Some(Kind::Response) => {
                        if self.verdict.is_none() {
                            let start = self.event.get(..START_BYTES.min(self.event.len()));
                            let judged = judge(envelope, self.expected, start.unwrap_or_default());
                            self.verdict = Some(self.with_status(judged));
                        }
                    }
                    Ok(_) => {}
                    Err(_) => self.fault = true,
                }
            }
        }
    }

    /// The body is complete.
    fn conclude(&mut self) -> Result<(), Cause> {
        let judged = match self.phase {
            _ if self.accepts => Ok(()),
            _ if self.fault => Err(Cause::Malformed),
            Phase::Json => match self.scanner.finish() {
                Ok(envelope) => judge(envelope, self.expected, &self.start),
                Err(_) => Err(Cause::Malformed),
            },
            // The stream ended in order, without the answer it was for.
            Phase::Events => Err(Cause::Truncated),
            Phase::Head | Phase::Skipped => Err(Cause::Malformed),
        };
        self.with_status(judged)
    }

    /// A denial is one under any status; everything else that is not 2xx is counted by its status.
    fn with_status(&self, judged: Result<(), Cause>) -> Result<(), Cause> {
        match judged {
            Err(Cause::Denied) => judged,
            _ if (200..300).contains(&self.status) => judged,
            _ => Err(Cause::HttpStatus(self.status)),
        }
    }
}

fn judge(envelope: &Envelope, expected: u64, start: &[u8]) -> Result<(), Cause> {
    let is_ours = i64::try_from(expected).is_ok_and(|id| envelope.id_value == IdValue::Integer(id));
    if envelope.kind() != Some(Kind::Response) {
        return Err(Cause::Malformed);
    }
    if envelope.has_error {
        // A server that could not read the id may leave it out of an error.
        let nameless = matches!(envelope.id_value, IdValue::Absent | IdValue::Null);
        return Err(match (is_ours || nameless, envelope.error_code) {
            (false, _) => Cause::WrongId,
            (true, Some(codes::INVALID_PARAMS)) if memchr::memmem::find(start, UNKNOWN_TOOL).is_some() => {
                Cause::Denied
            }
            (true, code) => Cause::JsonRpc(code.unwrap_or_default()),
        });
    }
    match (is_ours, envelope.is_error) {
        (false, _) => Err(Cause::WrongId),
        (true, Some(true)) => Err(Cause::IsError),
        (true, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, kind: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    fn json(body: &str) -> Vec<u8> {
        http(200, "application/json", body)
    }

    fn events(events: &[&str]) -> Vec<u8> {
        let mut out =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec();
        for event in events {
            let text = format!("event: message\ndata: {event}\n\n");
            out.extend_from_slice(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }

    /// Every way of cutting the bytes in two, and byte by byte, must come to the same judgement.
    fn check(bytes: &[u8], expected: Result<(), Cause>) {
        let mut reader = ReplyReader::new();
        for cut in 0..=bytes.len() {
            reader.expect(7);
            let (mut seen, mut done) = (None, None);
            for piece in [&bytes[..cut], &bytes[cut..]] {
                match reader.feed(piece) {
                    Progress::More => {}
                    Progress::Answered { result } => seen = Some(result),
                    Progress::Done { result, .. } => done = done.or(Some(result)),
                }
            }
            let ended = done.unwrap_or_else(|| reader.end());
            assert_eq!(ended, expected, "cut at {cut} of {:?}", String::from_utf8_lossy(bytes));
            assert!(seen.is_none_or(|seen| seen == expected), "cut at {cut}");
        }
        reader.expect(7);
        let mut last = Progress::More;
        for byte in bytes {
            last = match reader.feed(std::slice::from_ref(byte)) {
                done @ Progress::Done { .. } => done,
                _ => last,
            };
        }
        match last {
            Progress::Done { result, .. } => assert_eq!(result, expected),
            _ => assert_eq!(reader.end(), expected),
        }
    }

    #[test]
    fn each_reply_has_its_judgement() {
        let good = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7}}"#;
        let denied = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool: x"}}"#;
        let other = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
        check(&json(good), Ok(()));
        check(&json(r#"{"result":{"content":[]},"id":7,"jsonrpc":"2.0"}"#), Ok(()));
        check(&json(r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true}}"#), Err(Cause::IsError));
        check(&json(other), Err(Cause::WrongId));
        check(&json(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#), Err(Cause::WrongId));
        check(&json(denied), Err(Cause::Denied));
        check(&http(400, "application/json", denied), Err(Cause::Denied));
        let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}"#;
        check(&json(error), Err(Cause::JsonRpc(-32603)));
        check(&http(503, "application/json", error), Err(Cause::HttpStatus(503)));
        check(&http(502, "text/html", "<p>"), Err(Cause::HttpStatus(502)));
        check(&http(200, "text/html", "<p>"), Err(Cause::Malformed));
        check(&json("{"), Err(Cause::Malformed));
        check(&json(progress), Err(Cause::Malformed));
        check(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", Err(Cause::Malformed));
        check(b"\x16\x03\x01", Err(Cause::Malformed));
        check(b"", Err(Cause::Transport));
        check(b"HTTP/1.1 200 OK\r\nContent-Le", Err(Cause::Truncated));
        let whole = json(good);
        check(&whole[..whole.len() - 1], Err(Cause::Truncated));
        check(&events(&[good]), Ok(()));
        check(&events(&[progress, progress, good]), Ok(()));
        check(&events(&[progress, other]), Err(Cause::WrongId));
        check(&events(&[progress]), Err(Cause::Truncated));
        check(&events(&[progress, "{"]), Err(Cause::Malformed));
        let stream = events(&[progress, good]);
        let cut = stream.len() - 120;
        check(&stream[..cut], Err(Cause::Truncated));
        // The answer came; that the stream did not end changes nothing.
        check(&stream[..stream.len() - 5], Ok(()));
        let mut interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        interim.extend_from_slice(&json(good));
        check(&interim, Ok(()));
    }

    #[test]
    fn a_notification_is_accepted_by_its_status() {
        let mut reader = ReplyReader::new();
        for (bytes, expected) in [
            (&b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"[..], Ok(())),
            (&http(200, "text/plain", "fine"), Ok(())),
            (&http(400, "text/plain", "no"), Err(Cause::HttpStatus(400))),
        ] {
            reader.expect_accepted();
            assert!(matches!(reader.feed(bytes), Progress::Done { result, .. } if result == expected));
        }
    }

    #[test]
    fn what_follows_a_reply_is_left_alone_and_a_closing_peer_is_not_used_again() {
        let mut bytes = json(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
        let length = bytes.len();
        bytes.extend_from_slice(b"HTTP/1.1 200");
        let mut reader = ReplyReader::new();
        reader.expect(7);
        assert_eq!(reader.feed(&bytes), Progress::Done { result: Ok(()), consumed: length, reusable: true });
        let body = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
        let closing = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        reader.expect(7);
        let done = reader.feed(closing.as_bytes());
        assert_eq!(done, Progress::Done { result: Ok(()), consumed: closing.len(), reusable: false });
    }
}
