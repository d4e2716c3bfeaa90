//! What is asked, and in which revision. The body is parsed once, strictly; headers that mirror it
//! must agree with it, so that whoever routes or filters by header sees what the server will do.

use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::Span;
use strait_protocol::http1::Method as Verb;
use strait_protocol::jsonrpc::{Kind, Message};
use strait_protocol::mcp::{Method, Names, Revision, header};

use super::Incoming;
use super::record::Record;
use super::refusal::Refusal;
use crate::core::{Core, Scratch};
use crate::session::Session;

/// A decoded request of a client.
#[derive(Clone)]
pub struct Call {
    pub asked: Asked,
    /// How the client wants to be spoken to.
    pub revision: Revision,
    pub session: Option<Rc<Session>>,
}

impl Call {
    /// Where in the body the arguments are.
    pub fn arguments(&self) -> Option<Span> {
        match &self.asked {
            Asked::Message(message) => message.arguments,
            Asked::EndSession(_) => None,
        }
    }
}

#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // the large one is the usual one, and a box would be an allocation per exchange
pub enum Asked {
    Message(Message),
    /// DELETE of a session.
    EndSession(Rc<Session>),
}

pub fn run(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    session: Option<Rc<Session>>,
    record: &mut Record,
) -> Result<Call, Refusal> {
    if let (Verb::Delete, Some(ended)) = (incoming.head.method, &session) {
        record.ends_session();
        return Ok(Call { asked: Asked::EndSession(ended.clone()), revision: ended.id.revision, session });
    }
    let mut decoder = core.decoder.borrow_mut();
    let message = decoder.decode(incoming.body).map_err(|fault| {
        record.id = fault.id;
        record.modern = claims_modern(incoming);
        Refusal::Decode(fault)
    })?;
    record.id = message.id;
    record.token = message.progress_token;
    record.method(message.method);
    record.arguments(message.arguments);
    let mut scratch = core.scratch.borrow_mut();
    if let Some(trace) = record.trace.as_mut().and_then(Arc::get_mut) {
        trace.read(incoming.body, message, &mut scratch.text);
    }
    let modern = message.protocol_version.is_some() || claims_modern(incoming);
    record.modern = modern;
    let revision = if modern {
        modern_checks(incoming, message, &mut scratch)?;
        Revision::V2026_07_28
    } else {
        legacy_checks(incoming, message, session.as_deref(), &mut scratch)?
    };
    let session = session.filter(|_| !modern);
    record.session = session.clone();
    Ok(Call { asked: Asked::Message(*message), revision, session })
}

fn claims_modern(incoming: &Incoming<'_>) -> bool {
    incoming.head.protocol_version.is_some_and(|span| Revision::claims_modern(span.of(incoming.bytes)))
}

/// In the specification's order: version, mirrored headers, required `_meta`, method.
fn modern_checks(incoming: &Incoming<'_>, message: &Message, scratch: &mut Scratch) -> Result<(), Refusal> {
    let head = incoming.head;
    if message.kind == Kind::Response {
        return Err(Refusal::Invalid("2026-07-28 clients send no responses"));
    }
    let Some(said) = message.protocol_version else {
        return Err(Refusal::Params("`_meta[\"io.modelcontextprotocol/protocolVersion\"]` is missing"));
    };
    let Scratch { text, other, .. } = scratch;
    let version = said.read(incoming.body, text);
    let same = |span: Option<strait_protocol::Span>, value: &[u8], other: &mut Vec<u8>| {
        span.is_some_and(|span| header::equals_text(span.of(incoming.bytes), value, other) == Ok(true))
    };
    if !same(head.protocol_version, version, other) {
        return Err(Refusal::HeaderMismatch("MCP-Protocol-Version is missing or differs from `_meta`"));
    }
    if version != Revision::V2026_07_28.as_str().as_bytes() {
        return Err(Refusal::Unsupported {
            requested: String::from_utf8_lossy(version).chars().take(64).collect(),
        });
    }
    if message.kind == Kind::Notification {
        return Ok(());
    }
    let method = message.method_text.ok_or(Refusal::Invalid("a request needs a method"))?;
    if !same(head.mcp_method, method.read(incoming.body, text), other) {
        return Err(Refusal::HeaderMismatch("Mcp-Method is missing or differs from the body's method"));
    }
    if let Some(named) = message.mirrored_name() {
        if !same(head.mcp_name, named.read(incoming.body, text), other) {
            return Err(Refusal::HeaderMismatch("Mcp-Name is missing or differs from the body"));
        }
    } else if head.mcp_name.is_some() && message.method.mirrors() != Names::Nothing {
        return Err(Refusal::HeaderMismatch("Mcp-Name names something, the body does not"));
    }
    if message.client_capabilities.is_none() {
        return Err(Refusal::Params("`_meta[\"io.modelcontextprotocol/clientCapabilities\"]` is missing"));
    }
    if !is_of(message.method, Revision::V2026_07_28) {
        return Err(unknown_method(incoming, message, text));
    }
    Ok(())
}

fn legacy_checks(
    incoming: &Incoming<'_>,
    message: &Message,
    session: Option<&Session>,
    scratch: &mut Scratch,
) -> Result<Revision, Refusal> {
    if message.client_capabilities.is_some() || message.client_info.is_some() || message.log_level.is_some() {
        return Err(Refusal::Params("`_meta` has keys of 2026-07-28, but not its protocolVersion"));
    }
    if message.method == Method::Initialize {
        let Some(requested) = message.initialize_version else {
            return Err(Refusal::Params("initialize without `protocolVersion`"));
        };
        return Ok(Revision::negotiate(requested.read(incoming.body, &mut scratch.text)));
    }
    let session = session.ok_or(Refusal::SessionNeeded)?;
    if let Some(said) = incoming.head.protocol_version
        && said.of(incoming.bytes) != session.id.revision.as_str().as_bytes()
    {
        return Err(Refusal::SessionRevision);
    }
    if message.kind == Kind::Request && !is_of(message.method, session.id.revision) {
        return Err(unknown_method(incoming, message, &mut scratch.text));
    }
    Ok(session.id.revision)
}

/// Whether a client of this revision may ask that. What nobody knows, a server may.
fn is_of(method: Method, revision: Revision) -> bool {
    method == Method::Unknown || (method.is_known_in(revision) && method.from_client())
}

pub fn unknown_method(incoming: &Incoming<'_>, message: &Message, text: &mut Vec<u8>) -> Refusal {
    let method = message.method_text.map_or(&b""[..], |method| method.read(incoming.body, text));
    Refusal::UnknownMethod { method: String::from_utf8_lossy(method).chars().take(128).collect() }
}
