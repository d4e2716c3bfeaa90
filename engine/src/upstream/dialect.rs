//! Splices between what a client said and what an upstream understands, and back.
//!
//! Nothing is re-serialised: the client's bytes go on with another id, another name, and, towards the
//! other era, the `_meta` members it asks for. Unknown members and every JSON Schema keyword survive.

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::decimal;
use strait_protocol::jsonrpc::{Envelope, Members, Open, SpliceFault, Splices, append_string};
use strait_protocol::mcp::meta::{self, Meta};
use strait_protocol::mcp::{Method, Names, Revision};

use super::{Affinity, Era, Order, UpstreamFault, content, errors};
use crate::core::{Core, Scratch};
use crate::io::buffer::Buf;
use crate::session::Session;
use crate::trace::Missing;

/// What an answer needs to know of the client.
pub struct Client<'a> {
    /// The id of its request, as written.
    pub id: &'a [u8],
    /// Its progress token, as written.
    pub token: Option<&'a [u8]>,
    pub modern: bool,
    pub method: Method,
    /// A client of the older revisions, on this worker: a server may ask it.
    pub session: Option<&'a Rc<Session>>,
    /// Its whole message, for a call that must be made again; empty when nobody kept it.
    pub body: &'a [u8],
}

impl Client<'_> {
    /// For what nobody reads, or whoever comes for it later.
    pub fn nobody() -> Client<'static> {
        Client { id: b"null", token: None, modern: false, method: Method::Unknown, session: None, body: b"" }
    }
}

/// The member of a result's `_meta` that says who serves it.
pub fn append_server(out: &mut Vec<u8>) {
    append_string(out, meta::SERVER_INFO.as_bytes());
    out.push(b':');
    out.extend_from_slice(OUR_INFO.as_bytes());
}

/// Whether other calls share the channel, so that tokens must be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// One HTTP request and its own answer.
    Own,
    Shared,
}

/// Appends the client's message as this upstream is to see it.
pub fn request(
    core: &Rc<Core>,
    order: &Order<'_>,
    era: Era,
    channel: Channel,
    id: i64,
    out: &mut Buf,
) -> Result<(), UpstreamFault> {
    let mut scratch = core.scratch.borrow_mut();
    let Scratch { splices, other: capabilities, .. } = &mut *scratch;
    splices.clear();
    let unfit = |fault: SpliceFault| {
        UpstreamFault::NotMcp(format!("the call cannot be edited for it ({})", fault.label()))
    };
    plan_request(splices, order, channel, id).map_err(unfit)?;
    let message = order.message;
    let task = message.task.filter(|_| !begins_tasks(order, era));
    // What answers this gateway's own `input_required` is no part of the call.
    let answers = era == Era::Legacy && order.client.is_modern();
    let responses = message.input_responses.filter(|_| answers);
    let state = message.request_state.filter(|_| answers).map(|state| state.raw);
    if task.is_some() || responses.is_some() || state.is_some() {
        splices.omit(order.body, [task, responses, state, None]).map_err(unfit)?;
    }
    if let Some(params) = order.message.params.filter(|_| order.whom.needs_task && era == Era::Legacy) {
        splices.insert(params.start + 1, b"\"task\":{},").map_err(unfit)?;
    }
    let missing = match &order.whom.trace {
        Some(trace) => trace.plan(splices, order, era).map_err(unfit)?,
        None => Missing::default(),
    };
    if era == Era::Modern && !order.client.is_modern() {
        add_meta(splices, order, capabilities, &missing).map_err(unfit)?;
    }
    out.reserve(order.body.len().saturating_add_signed(splices.delta() as isize));
    splices.write(order.body, out.vec()).map_err(unfit)
}

fn plan_request(
    splices: &mut Splices,
    order: &Order<'_>,
    channel: Channel,
    id: i64,
) -> Result<(), SpliceFault> {
    let message = order.message;
    if let Some(span) = message.id {
        splices.replace_with(span, |out| append_id(out, id))?;
    }
    if let (Some(bare), Some(name)) = (order.bare, named(order)) {
        splices.replace_with(name, |out| append_string(out, bare))?;
    }
    if let (Channel::Shared, Some(token)) = (channel, message.progress_token) {
        splices.replace_with(token, |out| append_id(out, id))?;
    }
    Ok(())
}

/// Whether both sides know `params.task`; who does not must not see it.
fn begins_tasks(order: &Order<'_>, era: Era) -> bool {
    era == Era::Legacy && order.client == Revision::V2025_11_25
}

fn append_id(out: &mut Vec<u8>, id: i64) {
    decimal::append(out, id.unsigned_abs());
}

fn named(order: &Order<'_>) -> Option<Span> {
    let text = match order.message.method.names() {
        Names::Name => order.message.name,
        Names::Uri => order.message.uri,
        Names::Reference => order.message.reference_name.or(order.message.reference_uri),
        Names::Task => order.message.task_id,
        Names::Nothing => None,
    };
    text.map(|text| text.raw)
}

/// A legacy client's call, for a modern server: what the client said once, in its handshake, every call says. What a
/// server asks of it in return is carried out as requests of the older revisions.
fn add_meta(
    splices: &mut Splices,
    order: &Order<'_>,
    capabilities: &mut Vec<u8>,
    missing: &Missing,
) -> Result<(), SpliceFault> {
    capabilities.clear();
    let affinity = Affinity::of(&order.whom, order.whom.declared);
    affinity.declares().append(Revision::V2026_07_28, capabilities);
    let introduction = order.whom.introduction.as_ref().map(|introduction| &*introduction.client_info);
    let meta = Meta {
        client_capabilities: capabilities,
        client_info: introduction.filter(|said| !said.is_empty()).or(Some(OUR_INFO.as_bytes())),
        log_level: order.whom.log_level.map(|level| level.as_str().as_bytes()),
        traceparent: missing.parent.as_ref().map(<[u8; _]>::as_slice),
        tracestate: order.whom.trace.as_ref().and_then(|trace| trace.state()).filter(|_| missing.state),
        ..our_meta()
    };
    let message = order.message;
    let insert = |splices: &mut Splices, at: u32, write: &dyn Fn(&mut Vec<u8>)| {
        splices.replace_with(Span { start: at, len: 0 }, write)
    };
    let comma = |out: &mut Vec<u8>, alone: bool| {
        if !alone {
            out.push(b',');
        }
    };
    match (message.meta, message.params) {
        (Some(span), _) => insert(splices, span.start + 1, &|out| {
            meta.append_members(out);
            comma(out, message.meta_empty);
        }),
        (None, Some(params)) => insert(splices, params.start + 1, &|out| {
            out.extend_from_slice(b"\"_meta\":");
            meta.append(out);
            comma(out, message.params_empty);
        }),
        (None, None) => insert(splices, message.open, &|out| {
            out.extend_from_slice(b"\"params\":{\"_meta\":");
            meta.append(out);
            out.extend_from_slice(b"},");
        }),
    }
}

/// The `_meta` of a request that is this gateway's own, or that it must complete.
pub fn our_meta() -> Meta<'static> {
    Meta {
        protocol_version: Revision::V2026_07_28.as_str(),
        client_capabilities: b"{}",
        client_info: Some(OUR_INFO.as_bytes()),
        log_level: None,
        progress_token: None,
        traceparent: None,
        tracestate: None,
    }
}

/// How this gateway introduces itself, to clients and to upstreams.
pub const OUR_INFO: &str = concat!("{\"name\":\"strait\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// Plans the id of an error that came without one: a server that could not read the request cannot echo
/// it, but the client must know which of its calls failed.
pub fn identify(splices: &mut Splices, bytes: &[u8], client: &Client<'_>) {
    if let Some(open) = bytes.iter().position(|byte| *byte == b'{') {
        let _ = splices.replace_with(Span { start: open as u32 + 1, len: 0 }, |out| {
            out.extend_from_slice(b"\"id\":");
            out.extend_from_slice(client.id);
            out.push(b',');
        });
    }
}

/// Plans the edits of an upstream's message, or of a piece of one, for the client. What cannot be edited within the
/// splice limit is left as it is.
pub fn answer(splices: &mut Splices, bytes: &[u8], envelope: &Envelope, client: &Client<'_>, legacy: bool) {
    if let Some(id) = envelope.id {
        let _ = splices.replace(id, client.id);
    }
    if let (Some(span), Some(token)) = (envelope.progress_token, client.token) {
        let _ = splices.replace(span, token);
    }
    if envelope.has_error {
        return errors::answer(splices, bytes, envelope, client, legacy);
    }
    if let Some(session) = client.session {
        let unfit = content::fit(splices, bytes, envelope, client.method, session.id.revision, legacy);
        if !legacy {
            let newer = [envelope.result_type_span, envelope.ttl_span, envelope.cache_scope_span, unfit];
            let _ = splices.omit(bytes, newer);
        }
    }
    if client.modern
        && legacy
        && let Some(open) = envelope.result_open
    {
        complete(splices, bytes, envelope, client, open);
    }
}

/// What a result of 2026-07-28 says beside. A result that arrives in pieces may have a `_meta` further on: then who
/// serves it is not said.
fn complete(splices: &mut Splices, bytes: &[u8], envelope: &Envelope, client: &Client<'_>, open: Open) {
    let said = envelope.result_meta.map(|said| (said, said.of(bytes)));
    let _ = splices.replace_with(Span { start: open.after, len: 0 }, |out| {
        out.extend_from_slice(b"\"resultType\":\"complete\"");
        if client.method == Method::ResourcesRead {
            out.extend_from_slice(b",\"ttlMs\":0,\"cacheScope\":\"private\"");
        }
        if said.is_none() && envelope.end.is_some() {
            out.extend_from_slice(b",\"_meta\":{");
            append_server(out);
            out.push(b'}');
        }
        if !open.empty {
            out.push(b',');
        }
    });
    if let Some((place, said)) = said
        && said.starts_with(b"{")
        && matches!(Members::find(bytes, place, meta::SERVER_INFO), Ok(None))
    {
        let _ = splices.replace_with(Span { start: place.start + 1, len: 0 }, |out| {
            append_server(out);
            if Members::of(bytes, place).next().is_some() {
                out.push(b',');
            }
        });
    }
}
