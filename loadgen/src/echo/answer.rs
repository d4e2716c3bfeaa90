//! What the echo server says: one HTTP request in, the bytes of its reply out. The decision: a reply is
//! complete before its time has come, so that all that is left to do on time is a write. HOT: bytes go
//! into buffers that are reused; ids and echoed texts are copied as they were written.

use strait_protocol::http1::{Method as HttpMethod, RequestHead, write};
use strait_protocol::jsonrpc::{ErrorId, IdValue, Kind, Members, Scanner, append_error, append_string};
use strait_protocol::mcp::{Method, Revision, codes, header};
use strait_protocol::{Span, decimal, sse};

use super::Options;
use crate::random::Random;

/// Tools on one page of `tools/list`.
const PAGE: usize = 500;
const SESSION_PREFIX: &[u8] = b"echo-";
const SERVER_INFO: &str = concat!(r#"{"name":"strait-echo","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
const SCHEMA: &str =
    r#"{"type":"object","properties":{"text":{"type":"string","description":"What comes back"}}}"#;

/// When a reply that was written may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaves {
    AtOnce,
    /// It is a call's: the server's latency and capacity apply.
    InTime,
}

pub(super) struct Answers {
    options: Options,
    /// The text of every result as a JSON string; none echoes the call's own.
    payload: Option<Vec<u8>>,
    random: Random,
    scanner: Scanner,
    body: Vec<u8>,
    scratch: Vec<u8>,
    sessions: u64,
}

/// What is read of a request's message.
struct Asked {
    id: Option<Span>,
    method: Method,
    params: Span,
    modern: bool,
}

impl Answers {
    pub fn new(options: &Options) -> Answers {
        let payload = options.size.map(|size| {
            let mut text = vec![b'x'; size + 2];
            text[0] = b'"';
            text[size + 1] = b'"';
            text
        });
        Answers {
            options: options.clone(),
            payload,
            random: Random::new(options.seed ^ 0x6563_686f),
            scanner: Scanner::new(),
            body: Vec::new(),
            scratch: Vec::new(),
            sessions: 0,
        }
    }

    /// Appends the reply to `out`, and to `cuts` where it may be cut into pieces that leave one by one.
    pub fn answer(
        &mut self,
        head: &RequestHead,
        bytes: &[u8],
        message: &[u8],
        out: &mut Vec<u8>,
        cuts: &mut Vec<u32>,
    ) -> Leaves {
        match head.method {
            HttpMethod::Post => self.post(head, bytes, message, out, cuts),
            HttpMethod::Delete if self.session_is_ours(head, bytes) == Some(true) => {
                plain(out, 200);
                Leaves::AtOnce
            }
            HttpMethod::Delete => {
                plain(out, 404);
                Leaves::AtOnce
            }
            // Streams that a server opens by itself are not offered.
            _ => {
                let _ = write::reply(out, 405).header("Allow", b"POST, DELETE").content_length(0).finish();
                Leaves::AtOnce
            }
        }
    }

    fn post(
        &mut self,
        head: &RequestHead,
        bytes: &[u8],
        message: &[u8],
        out: &mut Vec<u8>,
        cuts: &mut Vec<u32>,
    ) -> Leaves {
        self.scanner.reset();
        let envelope = self.scanner.feed(message).and_then(|()| self.scanner.finish());
        let Ok(envelope) = envelope else {
            self.refuse(out, 400, None, codes::PARSE_ERROR, "Parse error: no JSON-RPC message");
            return Leaves::AtOnce;
        };
        if envelope.kind() != Some(Kind::Request) {
            plain(out, 202);
            return Leaves::AtOnce;
        }
        let version = head.protocol_version.map(|span| span.of(bytes));
        let asked = Asked {
            id: envelope.id.filter(|_| !matches!(envelope.id_value, IdValue::Null | IdValue::Other)),
            method: envelope.method_known.unwrap_or(Method::Unknown),
            params: envelope.params.unwrap_or_default(),
            modern: version.is_some_and(Revision::claims_modern),
        };
        let id = asked.id.map(|span| span.of(message));
        if let Some(fault) = self.fault(&asked, head, bytes, envelope.method, message) {
            self.refuse(out, fault.0, id, fault.1, fault.2);
            return Leaves::AtOnce;
        }
        match asked.method {
            Method::ToolsCall => self.call(&asked, message, out, cuts),
            method => {
                self.local(&asked, method, message, out);
                Leaves::AtOnce
            }
        }
    }

    /// What is wrong with the request before it is looked at: status, code and words.
    fn fault(
        &self,
        asked: &Asked,
        head: &RequestHead,
        bytes: &[u8],
        method: Option<Span>,
        message: &[u8],
    ) -> Option<(u16, i64, &'static str)> {
        if asked.id.is_none() {
            return Some((
                400,
                codes::INVALID_REQUEST,
                "Invalid request: the id is no string and no integer",
            ));
        }
        if !asked.modern {
            return match self.session_is_ours(head, bytes) {
                Some(false) => Some((404, -32001, "Session not found")),
                _ if asked.method.is_known_in(Revision::LATEST_LEGACY) => None,
                _ => Some((200, codes::METHOD_NOT_FOUND, "Method not found")),
            };
        }
        let version = head.protocol_version.map(|span| span.of(bytes));
        if version != Some(Revision::LATEST.as_str().as_bytes()) {
            return Some((400, codes::UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version"));
        }
        let quoted = method.map(|span| span.of(message)).unwrap_or_default();
        let said = quoted.get(1..quoted.len().saturating_sub(1));
        if head.mcp_method.map(|span| span.of(bytes)) != said {
            return Some((400, codes::HEADER_MISMATCH, "Mcp-Method does not say the method"));
        }
        (!asked.method.is_known_in(Revision::LATEST)).then_some((
            404,
            codes::METHOD_NOT_FOUND,
            "Method not found",
        ))
    }

    fn call(&mut self, asked: &Asked, message: &[u8], out: &mut Vec<u8>, cuts: &mut Vec<u32>) -> Leaves {
        let id = asked.id.map(|span| span.of(message)).unwrap_or_default();
        let member = |within: Span, key: &str| Members::find(message, within, key).ok().flatten();
        let name = member(asked.params, "name").map(|span| span.of(message)).unwrap_or_default();
        if !is_tool(name, self.options.tools) {
            let name =
                name.get(1..name.len().saturating_sub(1)).and_then(|name| std::str::from_utf8(name).ok());
            let words =
                format!("Unknown tool: {}", name.filter(|name| name.len() <= 256).unwrap_or_default());
            self.refuse(out, 200, Some(id), codes::INVALID_PARAMS, &words);
            return Leaves::AtOnce;
        }
        let text = member(asked.params, "arguments").and_then(|arguments| member(arguments, "text"));
        let text = text.map(|span| span.of(message)).filter(|text| text.starts_with(b"\""));
        let fails = self.options.errors > 0.0 && self.random.unit() < self.options.errors;
        self.body.clear();
        open(&mut self.body, id);
        self.body.extend_from_slice(br#"{"content":[{"type":"text","text":"#);
        self.body.extend_from_slice(self.payload.as_deref().or(text).unwrap_or(br#""ok""#));
        self.body.extend_from_slice(if fails { br#"}],"isError":true"# } else { br#"}],"isError":false"# });
        close(&mut self.body, asked.modern);
        match self.options.events {
            0 => self.send_json(out, None),
            events => {
                let token = member(asked.params, "_meta").and_then(|meta| member(meta, "progressToken"));
                let token = token.map_or(id, |span| span.of(message));
                self.send_events(out, cuts, token, events);
            }
        }
        Leaves::InTime
    }

    /// Everything but calls.
    fn local(&mut self, asked: &Asked, method: Method, message: &[u8], out: &mut Vec<u8>) {
        let id = asked.id.map(|span| span.of(message)).unwrap_or_default();
        let member = |key: &str| Members::find(message, asked.params, key).ok().flatten();
        self.body.clear();
        open(&mut self.body, id);
        let body = &mut self.body;
        let mut session = None;
        match method {
            Method::Ping => body.push(b'{'),
            Method::ServerDiscover => {
                body.extend_from_slice(br#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{},"resources":{}},"_meta":{"io.modelcontextprotocol/serverInfo":"#);
                body.extend_from_slice(SERVER_INFO.as_bytes());
                body.push(b'}');
            }
            Method::Initialize => {
                let wanted = member("protocolVersion").map(|span| span.of(message)).unwrap_or_default();
                let wanted = wanted.get(1..wanted.len().saturating_sub(1)).unwrap_or_default();
                let revision = Revision::negotiate(wanted);
                body.extend_from_slice(br#"{"protocolVersion":"#);
                append_string(body, revision.as_str().as_bytes());
                body.extend_from_slice(
                    br#","capabilities":{"tools":{},"prompts":{},"resources":{}},"serverInfo":"#,
                );
                body.extend_from_slice(SERVER_INFO.as_bytes());
                self.sessions += 1;
                self.scratch.clear();
                self.scratch.extend_from_slice(SESSION_PREFIX);
                decimal::append_hex(&mut self.scratch, self.random.next_u64() ^ self.sessions);
                session = Some(std::mem::take(&mut self.scratch));
            }
            Method::ToolsList => {
                let cursor = member("cursor").map(|span| span.of(message));
                let Some(from) = first_of_page(cursor, self.options.tools) else {
                    return self.refuse(out, 200, Some(id), codes::INVALID_PARAMS, "Invalid cursor");
                };
                let to = (from + PAGE).min(self.options.tools);
                body.extend_from_slice(br#"{"tools":["#);
                for index in from..to {
                    append_tool(body, index, index > from);
                }
                body.push(b']');
                if to < self.options.tools {
                    body.extend_from_slice(br#","nextCursor":""#);
                    decimal::append(body, to as u64);
                    body.push(b'"');
                }
            }
            Method::PromptsList => body.extend_from_slice(br#"{"prompts":[]"#),
            Method::ResourcesList => body.extend_from_slice(br#"{"resources":[]"#),
            Method::ResourcesTemplatesList => body.extend_from_slice(br#"{"resourceTemplates":[]"#),
            Method::ResourcesRead | Method::PromptsGet => {
                let code = match (asked.modern, method) {
                    (false, Method::ResourcesRead) => codes::RESOURCE_NOT_FOUND_LEGACY,
                    _ => codes::INVALID_PARAMS,
                };
                return self.refuse(out, 200, Some(id), code, "Not found: this server has none");
            }
            _ => {
                let status = if asked.modern { 404 } else { 200 };
                return self.refuse(out, status, Some(id), codes::METHOD_NOT_FOUND, "Method not found");
            }
        }
        if asked.modern && (method.is_list() || method == Method::ServerDiscover) {
            self.body.extend_from_slice(br#","ttlMs":60000,"cacheScope":"public""#);
        }
        close(&mut self.body, asked.modern);
        self.send_json(out, session.as_deref());
        if let Some(session) = session {
            self.scratch = session;
        }
    }

    fn send_json(&self, out: &mut Vec<u8>, session: Option<&[u8]>) {
        let _ = write::reply(out, 200)
            .header("Content-Type", b"application/json")
            .header_if(header::SESSION_ID, session)
            .content_length(self.body.len() as u64)
            .finish();
        out.extend_from_slice(&self.body);
    }

    /// Progress events, each in a chunk that may leave by itself, then the answer in `body`.
    fn send_events(&mut self, out: &mut Vec<u8>, cuts: &mut Vec<u32>, token: &[u8], events: u32) {
        let _ = write::reply(out, 200)
            .header("Content-Type", b"text/event-stream")
            .header("Cache-Control", b"no-cache")
            .chunked()
            .finish();
        for event in 1..=events {
            self.scratch.clear();
            self.scratch.extend_from_slice(
                br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#,
            );
            self.scratch.extend_from_slice(token);
            self.scratch.extend_from_slice(br#","progress":"#);
            decimal::append(&mut self.scratch, u64::from(event));
            self.scratch.extend_from_slice(br#","total":"#);
            decimal::append(&mut self.scratch, u64::from(events));
            self.scratch.extend_from_slice(b"}}");
            append_event_chunk(out, &self.scratch);
            cuts.push(out.len() as u32);
        }
        append_event_chunk(out, &self.body);
        write::last_chunk(out);
    }

    fn refuse(&mut self, out: &mut Vec<u8>, status: u16, id: Option<&[u8]>, code: i64, words: &str) {
        self.body.clear();
        let id = id.map_or(ErrorId::Null, ErrorId::Raw);
        let data: Option<&[u8]> = match code {
            codes::UNSUPPORTED_PROTOCOL_VERSION => Some(br#"{"supported":["2026-07-28"]}"#),
            _ => None,
        };
        append_error(&mut self.body, id, code, words, data);
        let _ = write::reply(out, status)
            .header("Content-Type", b"application/json")
            .content_length(self.body.len() as u64)
            .finish();
        out.extend_from_slice(&self.body);
    }

    /// `None` without a session. Every id that looks like ours is accepted: this server remembers none.
    fn session_is_ours(&self, head: &RequestHead, bytes: &[u8]) -> Option<bool> {
        head.session_id.map(|span| span.of(bytes).starts_with(SESSION_PREFIX))
    }
}

/// A reply without a body.
pub(super) fn plain(out: &mut Vec<u8>, status: u16) {
    let _ = write::reply(out, status).content_length(0).finish();
}

fn open(body: &mut Vec<u8>, id: &[u8]) {
    body.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    body.extend_from_slice(id);
    body.extend_from_slice(br#","result":"#);
}

/// Ends a result, in which something may have been said already.
fn close(body: &mut Vec<u8>, modern: bool) {
    if modern {
        let first = body.last() == Some(&b'{');
        body.extend_from_slice(if first {
            br#""resultType":"complete""#
        } else {
            br#","resultType":"complete""#
        });
    }
    body.extend_from_slice(b"}}");
}

/// One event as one chunk: its size is known, so nothing is written twice.
fn append_event_chunk(out: &mut Vec<u8>, data: &[u8]) {
    const AROUND: usize = b"event: message\ndata: \n\n".len();
    write::chunk_open(out, (data.len() + AROUND) as u64);
    let before = out.len();
    sse::append_event(out, None, data);
    debug_assert_eq!(out.len() - before, data.len() + AROUND, "messages are one line");
    write::chunk_close(out);
}

/// `echo`, then `echo_2` to `echo_N`.
fn append_tool(body: &mut Vec<u8>, index: usize, comma: bool) {
    body.extend_from_slice(if comma { br#",{"name":"echo"# } else { br#"{"name":"echo"# });
    if index > 0 {
        body.push(b'_');
        decimal::append(body, index as u64 + 1);
    }
    body.extend_from_slice(br#"","description":"Says the text it was given.","inputSchema":"#);
    body.extend_from_slice(SCHEMA.as_bytes());
    body.extend_from_slice(
        br#","annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}"#,
    );
}

/// Whether a quoted name is one of the tools; found by its number, whatever their count.
fn is_tool(quoted: &[u8], tools: usize) -> bool {
    let Some(rest) = quoted.strip_prefix(b"\"echo").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return false;
    };
    match rest {
        b"" => tools > 0,
        [b'_', digits @ ..] if digits.first() != Some(&b'0') => {
            decimal::parse(digits).is_some_and(|number| (2..=tools as u64).contains(&number))
        }
        _ => false,
    }
}

fn first_of_page(cursor: Option<&[u8]>, tools: usize) -> Option<usize> {
    let Some(cursor) = cursor else { return Some(0) };
    let digits = cursor.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let from = usize::try_from(decimal::parse(digits)?).ok()?;
    (from < tools && from % PAGE == 0).then_some(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_known_by_its_number() {
        for (name, tools, known) in [
            ("\"echo\"", 1, true),
            ("\"echo_2\"", 1, false),
            ("\"echo_2\"", 2, true),
            ("\"echo_100000\"", 100_000, true),
            ("\"echo_1\"", 9, false),
            ("\"echo_02\"", 9, false),
            ("\"echo_\"", 9, false),
            ("\"echo2\"", 9, false),
            ("echo", 9, false),
            ("", 9, false),
        ] {
            assert_eq!(is_tool(name.as_bytes(), tools), known, "{name}");
        }
    }

    #[test]
    fn a_cursor_is_one_of_ours_or_refused() {
        assert_eq!(first_of_page(None, 1), Some(0));
        assert_eq!(first_of_page(Some(b"\"500\""), 1_000), Some(500));
        for cursor in ["\"\"", "\"1\"", "\"1000\"", "500", "\"x\"", "null"] {
            assert_eq!(first_of_page(Some(cursor.as_bytes()), 1_000), None, "{cursor}");
        }
    }
}
