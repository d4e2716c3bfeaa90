//! A client's request head, read once into spans and small facts. HOT: one pass for line ends, one by httparse, one
//! over the headers; no allocation.
//!
//! The decision: [`RequestHead`] borrows nothing and is `Copy`. The buffer may grow while the body arrives, the
//! request may be handed to another worker with its bytes, and the head stays valid for both.

use std::mem::MaybeUninit;

use super::HeadFault;
use super::head::{
    Connection, ContentType, Delimiters, Framing, Headers, diagnose, frame, may_begin, once, place,
};
use crate::Span;
use crate::limits::{HEADERS_MAX, TARGET_BYTES_MAX};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Post,
    Delete,
    Options,
    Head,
    Other,
}

/// What the client says it can read, from all its `Accept` headers together; a range with `q=0` does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accept {
    pub json: bool,
    pub event_stream: bool,
    /// `*/*`
    pub any: bool,
    pub absent: bool,
}

/// A request head that every reader would agree on.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// Starts with `/`; empty for an absolute-form target without a path (treat as `/`); `*` only with OPTIONS.
    pub path: Span,
    /// After the `?`; empty when there is none.
    pub query: Span,
    /// Bytes of the head, its empty line included: the body starts here.
    pub head_bytes: u32,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expect_continue: bool,
    pub http10: bool,
    pub content_type: ContentType,
    pub accept: Accept,
    pub host: Option<Span>,
    pub origin: Option<Span>,
    pub authorization: Option<Span>,
    pub protocol_version: Option<Span>,
    pub mcp_method: Option<Span>,
    pub mcp_name: Option<Span>,
    /// How many `Mcp-Param-*` headers there are; read them with [`RequestHead::headers`].
    pub mcp_params: u8,
    pub session_id: Option<Span>,
    pub last_event_id: Option<Span>,
    /// The last such header: its rightmost entry was written by the proxy nearest to us.
    pub x_forwarded_for: Option<Span>,
    /// Absent when repeated, as W3C Trace Context asks.
    pub traceparent: Option<Span>,
    pub tracestate: Option<Span>,
    pub user_agent: Option<Span>,
    /// For CORS preflights: `Access-Control-Request-Method` was there.
    pub preflight: bool,
}

impl RequestHead {
    /// All headers, for those without a field here. `bytes` are those the head was parsed from.
    pub fn headers<'a>(&self, bytes: &'a [u8]) -> Headers<'a> {
        Headers::new(bytes.get(..self.head_bytes as usize).unwrap_or_default())
    }

    /// The one header of this name (compared without case); two of them are refused.
    pub fn find<'a>(&self, bytes: &'a [u8], name: &'static str) -> Result<Option<&'a [u8]>, HeadFault> {
        let mut values = self.headers(bytes).filter(|header| header.0.eq_ignore_ascii_case(name.as_bytes()));
        let first = values.next();
        match values.next() {
            Some(_) => Err(HeadFault::DuplicateHeader(name)),
            None => Ok(first.map(|header| header.1)),
        }
    }
}

/// Parses a request head from the start of `bytes`; `None` means that more bytes are needed. Ask
/// [`super::worth_parsing`] before calling again for the same head.
pub fn parse_request(bytes: &[u8]) -> Result<Option<RequestHead>, HeadFault> {
    if !may_begin(bytes) {
        return Err(HeadFault::RequestLineInvalid);
    }
    let Some(frame) = frame(bytes)? else { return Ok(None) };
    let head = bytes.get(frame.start..frame.end).unwrap_or_default();
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadFault::RequestLineInvalid),
        Err(error) => return Err(diagnose(error, head, blame_request_line(head))),
    }
    let http10 = match parsed.version {
        Some(0) => true,
        Some(1) => false,
        _ => return Err(HeadFault::VersionUnsupported),
    };
    let method = match parsed.method.unwrap_or_default() {
        "POST" => Method::Post,
        "GET" => Method::Get,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let target = Target::parse(bytes, parsed.path.unwrap_or_default().as_bytes(), method)?;
    let mut gathered = Gathered::new(method, &target, frame.end as u32, http10);
    for header in parsed.headers.iter() {
        gathered.header(bytes, header.name.as_bytes(), header.value.trim_ascii())?;
    }
    if gathered.head.mcp_params > 1 {
        refuse_repeated_parameters(parsed.headers)?;
    }
    gathered.finish(bytes, &target).map(Some)
}

/// A request target taken apart: origin-form, absolute-form, or `*`.
struct Target {
    authority: Option<Span>,
    path: Span,
    query: Span,
}

impl Target {
    fn parse(bytes: &[u8], target: &[u8], method: Method) -> Result<Target, HeadFault> {
        if target.len() > TARGET_BYTES_MAX {
            return Err(HeadFault::TargetTooLong);
        }
        if target.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
            return Err(HeadFault::TargetInvalid);
        }
        let (authority, resource) = match target {
            [b'/', ..] => (None, target),
            b"*" if method == Method::Options => (None, target),
            _ => {
                let rest = after_scheme(target).ok_or(HeadFault::TargetInvalid)?;
                let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
                let (authority, resource) = rest.split_at_checked(end).ok_or(HeadFault::TargetInvalid)?;
                (Some(place(bytes, authority)), resource)
            }
        };
        let mark = memchr::memchr(b'?', resource);
        let (path, query) = match mark.and_then(|at| Some((resource.get(..at)?, resource.get(at + 1..)?))) {
            Some(parts) => parts,
            None => (resource, resource.get(resource.len()..).unwrap_or_default()),
        };
        Ok(Target { authority, path: place(bytes, path), query: place(bytes, query) })
    }
}

fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let scheme_is = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    scheme_is(b"http://").or_else(|| scheme_is(b"https://"))
}

/// The head as it fills up, with the facts that only make sense once all headers were seen.
struct Gathered {
    head: RequestHead,
    delimiters: Delimiters,
    connection: Connection,
    traceparents: u8,
    expects: bool,
}

impl Gathered {
    fn new(method: Method, target: &Target, head_bytes: u32, http10: bool) -> Gathered {
        let head = RequestHead {
            method,
            path: target.path,
            query: target.query,
            head_bytes,
            framing: Framing::None,
            keep_alive: !http10,
            expect_continue: false,
            http10,
            content_type: ContentType::Absent,
            accept: Accept { json: false, event_stream: false, any: false, absent: true },
            host: None,
            origin: None,
            authorization: None,
            protocol_version: None,
            mcp_method: None,
            mcp_name: None,
            mcp_params: 0,
            session_id: None,
            last_event_id: None,
            x_forwarded_for: None,
            traceparent: None,
            tracestate: None,
            user_agent: None,
            preflight: false,
        };
        Gathered {
            head,
            delimiters: Delimiters::default(),
            connection: Connection::default(),
            traceparents: 0,
            expects: false,
        }
    }

    fn header(&mut self, bytes: &[u8], name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        let head = &mut self.head;
        let span = place(bytes, value);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            4 if is("Host") => once(&mut head.host, span, "Host")?,
            6 if is("Accept") => head.accept.merge(value),
            6 if is("Origin") => once(&mut head.origin, span, "Origin")?,
            6 if is("Expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadFault::ExpectationUnknown);
                }
                self.expects = true;
            }
            8 if is("Mcp-Name") => once(&mut head.mcp_name, span, "Mcp-Name")?,
            10 if is("Connection") => self.connection.options(value),
            10 if is("Mcp-Method") => once(&mut head.mcp_method, span, "Mcp-Method")?,
            10 if is("User-Agent") => once(&mut head.user_agent, span, "User-Agent")?,
            10 if is("tracestate") => head.tracestate = head.tracestate.or(Some(span)),
            11 if is("traceparent") => {
                head.traceparent = Some(span);
                self.traceparents = self.traceparents.saturating_add(1);
            }
            12 if is("Content-Type") => {
                if head.content_type != ContentType::Absent {
                    return Err(HeadFault::DuplicateHeader("Content-Type"));
                }
                head.content_type = ContentType::of(value);
            }
            13 if is("Authorization") => once(&mut head.authorization, span, "Authorization")?,
            13 if is("Last-Event-ID") => once(&mut head.last_event_id, span, "Last-Event-ID")?,
            14 if is("Content-Length") => self.delimiters.content_length(value)?,
            14 if is("Mcp-Session-Id") => once(&mut head.session_id, span, "Mcp-Session-Id")?,
            15 if is("X-Forwarded-For") => head.x_forwarded_for = Some(span),
            17 if is("Transfer-Encoding") => self.delimiters.transfer_encoding(value)?,
            20 if is("MCP-Protocol-Version") => {
                once(&mut head.protocol_version, span, "MCP-Protocol-Version")?
            }
            29 if is("Access-Control-Request-Method") => head.preflight = true,
            _ if is_parameter(name) => head.mcp_params = head.mcp_params.saturating_add(1),
            _ => {}
        }
        Ok(())
    }

    fn finish(self, bytes: &[u8], target: &Target) -> Result<RequestHead, HeadFault> {
        let mut head = self.head;
        head.framing = self.delimiters.framing(head.http10)?;
        head.keep_alive = self.connection.persists(head.http10);
        head.expect_continue = self.expects && !head.http10;
        if self.traceparents > 1 {
            head.traceparent = None;
        }
        match head.host {
            None if !head.http10 => return Err(HeadFault::HostMissing),
            Some(host) if !host.of(bytes).iter().all(|byte| is_authority(*byte)) => {
                return Err(HeadFault::HostInvalid);
            }
            _ => {}
        }
        if let Some(authority) = target.authority {
            let authority = authority.of(bytes);
            if authority.is_empty() || !authority.iter().all(|byte| is_authority(*byte)) {
                return Err(HeadFault::TargetInvalid);
            }
            if head.host.is_some_and(|host| !host.of(bytes).eq_ignore_ascii_case(authority)) {
                return Err(HeadFault::AuthorityMismatch);
            }
        }
        Ok(head)
    }
}

impl Accept {
    fn merge(&mut self, value: &[u8]) {
        self.absent = false;
        // As nearly all MCP clients write it.
        if value == b"application/json, text/event-stream" {
            (self.json, self.event_stream) = (true, true);
            return;
        }
        for range in value.split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let media = parts.next().unwrap_or_default();
            if parts.any(is_zero_weight) {
                continue;
            }
            self.any |= media == b"*/*";
            self.json |= media.eq_ignore_ascii_case(b"application/json")
                || media.eq_ignore_ascii_case(b"application/*");
            self.event_stream |=
                media.eq_ignore_ascii_case(b"text/event-stream") || media.eq_ignore_ascii_case(b"text/*");
        }
    }
}

fn is_zero_weight(parameter: &[u8]) -> bool {
    matches!(parameter, [b'q' | b'Q', b'=', b'0', rest @ ..] if rest.iter().all(|byte| matches!(byte, b'.' | b'0')))
}

fn is_parameter(name: &[u8]) -> bool {
    name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"Mcp-Param-"))
}

/// Host, port, brackets of an IPv6 address; user information and list separators are refused.
fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
}

fn refuse_repeated_parameters(headers: &[httparse::Header<'_>]) -> Result<(), HeadFault> {
    for (index, header) in
        headers.iter().enumerate().filter(|(_, header)| is_parameter(header.name.as_bytes()))
    {
        if headers.iter().skip(index + 1).any(|other| other.name.eq_ignore_ascii_case(header.name)) {
            return Err(HeadFault::DuplicateMcpHeader);
        }
    }
    Ok(())
}

/// httparse says only "token"; a request line of three parts whose second holds the bad byte is a bad target.
#[cold]
fn blame_request_line(head: &[u8]) -> HeadFault {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some([_, ..]), Some(target @ [_, ..]), Some(version), None) if version.starts_with(b"HTTP/") => {
            match target.iter().all(u8::is_ascii_graphic) {
                true => HeadFault::RequestLineInvalid,
                false => HeadFault::TargetInvalid,
            }
        }
        _ => HeadFault::RequestLineInvalid,
    }
}
