//! Where a request arrived: listener, Host, Origin, path and HTTP method. Nothing here needs to know
//! who asks, and nobody who fails it learns more than that.

use strait_protocol::http1::{ContentType, Method};
use strait_table::rules::ArchivedListener;

use super::Incoming;
use super::record::Record;
use super::refusal::Refusal;
use crate::core::Adopted;

/// The virtual server a request is for, and what its HTTP method asks.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub server: usize,
    pub verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Post,
    /// Opens an event stream of a session.
    Stream,
    /// Ends a session.
    Delete,
}

pub fn run(incoming: &Incoming<'_>, adopted: &Adopted, record: &mut Record) -> Result<Place, Refusal> {
    let head = incoming.head;
    let rules = adopted.snapshot.rules();
    if let Some(listener) = rules.listeners.get(usize::from(incoming.listener)) {
        // Only HTTP/1.0 may come without one; a foreign one is foreign in every version.
        if !head.host.map_or(head.http10, |span| host_allowed(listener, span.of(incoming.bytes))) {
            return Err(Refusal::Host);
        }
        if head.origin.is_some_and(|span| !origin_allowed(listener, span.of(incoming.bytes))) {
            return Err(Refusal::Origin);
        }
    }
    let path = head.path.of(incoming.bytes);
    let server = adopted.snapshot.server_at(path).ok_or(Refusal::NoSuchPath)?;
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
        _ if claims_modern => return Err(Refusal::Method { allow: "POST" }),
        _ => return Err(Refusal::Method { allow: "POST, DELETE" }),
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
    Ok(Place { server, verb })
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
