//! What clients that need a token ask first: the document of RFC 9728 of an endpoint, and, for those of 2025-03-26, where its
//! issuer tells of itself.
//!
//! Both are public: any page may read them, nobody is asked who it is, and a path that no server with tokens has is as unknown as any
//! other.

use std::rc::Rc;

use strait_protocol::http1::{Method, write};

use super::Incoming;
use super::arrive::{Place, Verb};
use super::record::Record;
use super::refusal::Refusal;
use super::respond::{Next, Sink};
use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::trust::Endpoint;

const RESOURCES: &[u8] = b"/.well-known/oauth-protected-resource";
const ISSUERS: &[u8] = b"/.well-known/oauth-authorization-server";

/// What both take.
const TAKEN: &str = "GET, HEAD, OPTIONS";

/// The head of a document without its end and its body.
const HEAD_ROOM: usize = 512;

const LINES: &str = "Access-Control-Allow-Origin: *\r\nCache-Control: public, max-age=300\r\n";
const DOCUMENT: &str = "Content-Type: application/json\r\n";
const PREFLIGHT: &str = "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Headers: *, Authorization\r\n\
                         Access-Control-Max-Age: 600\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    Resource,
    Issuer,
}

/// The document at this path, if there is one.
pub fn wanted(
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    path: &[u8],
    record: &mut Record,
) -> Option<Result<Place, Refusal>> {
    if !path.starts_with(b"/.well-known/oauth-") {
        return None;
    }
    let (document, of) = match (path.strip_prefix(RESOURCES), path.strip_prefix(ISSUERS)) {
        (Some(of), _) => (Document::Resource, of),
        (_, Some(of)) => (Document::Issuer, of),
        _ => return None,
    };
    let server = server(adopted, usize::from(incoming.listener), of)?;
    record.server(server);
    Some(match incoming.head.method {
        Method::Get | Method::Head | Method::Options => {
            Ok(Place { server, verb: Verb::Document(document), session: None })
        }
        _ => Err(Refusal::Method { allow: TAKEN }),
    })
}

/// The server whose path this is; at the root the first that accepts tokens.
fn server(adopted: &Adopted, listener: usize, path: &[u8]) -> Option<usize> {
    let is_it = |endpoint: &Endpoint| path.is_empty() || endpoint.path.as_bytes() == path;
    let endpoints = adopted.trust.endpoints.iter().map(|of| of.get(listener));
    let accepts = |endpoint: &Option<&Endpoint>| {
        endpoint.is_some_and(|endpoint| !endpoint.metadata.is_empty() && is_it(endpoint))
    };
    let root = |endpoint: &Option<&Endpoint>| endpoint.is_some_and(|endpoint| endpoint.path.is_empty());
    let mut found = endpoints.enumerate().filter(|(_, endpoint)| accepts(endpoint)).peekable();
    let first = found.peek().map(|(server, _)| *server);
    found.find(|(_, endpoint)| root(endpoint)).map(|(server, _)| server).or(first)
}

pub async fn respond(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    (server, document): (usize, Document),
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Next {
    let Some(endpoint) = adopted.trust.endpoint(server, usize::from(incoming.listener)) else {
        return Next::Close;
    };
    let close = !incoming.head.keep_alive || core.draining.get();
    let method = incoming.head.method;
    let mut out = Buf::with_capacity(HEAD_ROOM + endpoint.metadata.len());
    let (status, body): (u16, &[u8]) = match (method, document) {
        (Method::Options, _) => (204, b""),
        (_, Document::Resource) => (200, &endpoint.metadata),
        (_, Document::Issuer) => (307, b""),
    };
    record.status(status);
    let head = write::reply(out.vec(), status).lines(LINES);
    let head = match status {
        204 => head.lines(PREFLIGHT),
        200 => head.lines(DOCUMENT).content_length(body.len() as u64),
        _ => head
            .header_if("Location", endpoint.issuer_metadata.as_ref().map(|url| url.as_bytes()))
            .content_length(0),
    };
    let head = if close { head.connection_close() } else { head };
    if head.finish().is_err() {
        return Next::Close;
    }
    if method != Method::Head {
        out.vec().extend_from_slice(body);
    }
    record.sent(out.len());
    Next::after(sink.send(core, out).await, close)
}
