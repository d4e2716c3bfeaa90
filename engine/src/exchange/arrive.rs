//! Where a request arrived: listener, Host, Origin, path and HTTP method. Nothing here needs to know
//! who asks, and nobody who fails it learns more than that.

use strait_protocol::Span;
use strait_protocol::http1::{ContentType, Method, RequestHead};
use strait_table::rules::ArchivedListener;

use super::Incoming;
use super::metadata::{self, Document};
use super::record::Record;
use super::refusal::{ALLOWED, Refusal};
use crate::core::Adopted;

/// The virtual server a request is for, and what its HTTP method asks.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub server: usize,
    pub verb: Verb,
    /// The id of the session that the request is said to belong to, in its head.
    pub session: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Post,
    /// Opens an event stream of a session.
    Stream,
    /// Ends a session.
    Delete,
    /// GET of an HTTP+SSE client: opens its stream.
    Wire,
    /// A message of an HTTP+SSE client, answered on its stream.
    Say,
    /// What clients ask that need a token.
    Document(Document),
    /// What a browser asks before it sends what a page of an allowed origin wants sent.
    Preflight,
}

/// Below the path of a server, HTTP+SSE clients are served.
const SSE: &[u8] = b"/sse";
/// The parameter of the URL that they send messages to.
pub const SESSION: &[u8] = b"session=";

pub fn run(incoming: &Incoming<'_>, adopted: &Adopted, record: &mut Record) -> Result<Place, Refusal> {
    let head = incoming.head;
    record.http(head.method);
    let rules = adopted.snapshot.rules();
    if let Some(listener) = rules.listeners.get(usize::from(incoming.listener)) {
        // Only HTTP/1.0 may come without one; a foreign one is foreign in every version.
        if !head.host.map_or(head.http10, |span| host_allowed(listener, span.of(incoming.bytes))) {
            return Err(Refusal::Host);
        }
        // Public: a page of any origin may ask.
        if let Some(place) = metadata::wanted(incoming, adopted, head.path.of(incoming.bytes), record) {
            return place;
        }
        if let Some(origin) = head.origin {
            if !origin_allowed(listener, origin.of(incoming.bytes)) {
                return Err(Refusal::Origin);
            }
            record.origin = Some(origin);
        }
    }
    let path = head.path.of(incoming.bytes);
    let Some(server) = adopted.snapshot.server_at(path) else {
        return below(incoming, adopted, path, record);
    };
    record.server(server);
    let claims_modern = head
        .protocol_version
        .is_some_and(|v| strait_protocol::mcp::Revision::claims_modern(v.of(incoming.bytes)));
    let verb = match head.method {
        Method::Post => Verb::Post,
        Method::Delete if head.session_id.is_some() && !claims_modern => Verb::Delete,
        // Some clients ask before they have a session, and go on when they are told so.
        Method::Get if !claims_modern && (head.session_id.is_some() || head.accept.event_stream) => {
            if head.session_id.is_none() {
                return Err(Refusal::SessionNeeded);
            }
            if !(head.accept.event_stream || head.accept.any || head.accept.absent) {
                return Err(Refusal::NotAcceptable { expected: "text/event-stream" });
            }
            Verb::Stream
        }
        Method::Options if record.origin.is_some() => Verb::Preflight,
        _ if claims_modern => return Err(Refusal::Method { allow: "POST" }),
        Method::Get | Method::Delete => return Err(Refusal::MethodOfSession),
        _ => return Err(Refusal::Method { allow: ALLOWED }),
    };
    if verb == Verb::Post {
        if head.content_type != ContentType::Json {
            return Err(Refusal::MediaType);
        }
        let accept = head.accept;
        if !(accept.any || accept.absent || accept.json && accept.event_stream) {
            return Err(Refusal::NotAcceptable { expected: "application/json and text/event-stream" });
        }
    }
    Ok(Place { server, verb, session: head.session_id })
}

/// What is no server's own path may be its path for HTTP+SSE clients.
fn below(
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    path: &[u8],
    record: &mut Record,
) -> Result<Place, Refusal> {
    let head = incoming.head;
    let server = path.strip_suffix(SSE).and_then(|path| adopted.snapshot.server_at(path));
    let server = server.ok_or(Refusal::NoSuchPath)?;
    record.server(server);
    match head.method {
        Method::Get if head.accept.event_stream || head.accept.any || head.accept.absent => {
            Ok(Place { server, verb: Verb::Wire, session: None })
        }
        Method::Get => Err(Refusal::NotAcceptable { expected: "text/event-stream" }),
        // A client of a newer revision that tries Streamable HTTP here learns that it is something else.
        Method::Post => {
            let session = session_in_query(head, incoming.bytes).ok_or(Refusal::Method { allow: "GET" })?;
            if head.content_type != ContentType::Json {
                return Err(Refusal::MediaType);
            }
            Ok(Place { server, verb: Verb::Say, session: Some(session) })
        }
        Method::Options if record.origin.is_some() => {
            Ok(Place { server, verb: Verb::Preflight, session: None })
        }
        _ => Err(Refusal::Method { allow: "GET" }),
    }
}

fn session_in_query(head: &RequestHead, bytes: &[u8]) -> Option<Span> {
    let mut at = head.query.start as usize;
    for parameter in head.query.of(bytes).split(|byte| *byte == b'&') {
        let end = at + parameter.len();
        if parameter.starts_with(SESSION) {
            return Some(Span::between(at + SESSION.len(), end));
        }
        at = end + 1;
    }
    None
}

/// Compares without the port and without case; `[::1]:80` has brackets.
fn host_allowed(listener: &ArchivedListener, host: &[u8]) -> bool {
    let name = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host.get(colon + 1..).is_some_and(|port| port.iter().all(u8::is_ascii_digit)) => {
            host.get(..colon).unwrap_or_default()
        }
        _ => host,
    };
    listener
        .hosts
        .iter()
        .any(|allowed| allowed.as_str() == "*" || allowed.as_bytes().eq_ignore_ascii_case(name))
}

fn origin_allowed(listener: &ArchivedListener, origin: &[u8]) -> bool {
    listener.origins.iter().any(|allowed| {
        let allowed = allowed.as_bytes();
        match allowed.strip_suffix(b":*") {
            _ if allowed == b"*" => true,
            Some(without_port) => {
                let rest = origin.get(without_port.len()..).unwrap_or_default();
                origin.get(..without_port.len()).is_some_and(|start| start.eq_ignore_ascii_case(without_port))
                    && (rest.is_empty()
                        || rest.split_first().is_some_and(|(colon, port)| {
                            *colon == b':' && !port.is_empty() && port.iter().all(u8::is_ascii_digit)
                        }))
            }
            None => allowed.eq_ignore_ascii_case(origin),
        }
    })
}
