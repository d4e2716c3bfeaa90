//! What an exchange carries of the trace that it is part of, and how its upstream is told.
//!
//! MCP has two places for it: the headers of the request, and `params._meta`. What the message itself says counts, as OpenTelemetry's
//! conventions for MCP have it: one HTTP request may carry several messages, and a message may have come by other ways before. What the
//! headers say beside is a link.

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Members, Message, SpliceFault, Splices, append_string};
use strait_protocol::mcp::meta;
use strait_protocol::trace::{Parent, State, TRACEPARENT_BYTES};

use super::Short;
use crate::upstream::{Era, Order};

/// Where an exchange is in a trace.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    own: Parent,
    parent: Option<Parent>,
    /// The span around asking its upstream.
    asks: [u8; 8],
    /// What the headers said, where the message says otherwise.
    link: Option<Parent>,
    state: State,
    /// The request's id.
    pub id: Short,
}

impl Trace {
    pub(super) fn new(own: Parent, parent: Option<Parent>, asks: [u8; 8], state: State) -> Trace {
        Trace { own, parent, asks, link: None, state, id: Short::default() }
    }

    /// The exchange itself.
    pub fn own(&self) -> Parent {
        self.own
    }

    /// Whose child it is.
    pub fn parent(&self) -> Option<[u8; 8]> {
        self.parent.map(|parent| parent.span)
    }

    pub fn link(&self) -> Option<Parent> {
        self.link
    }

    /// The parent of whatever the upstream does.
    pub fn asks(&self) -> Parent {
        Parent { span: self.asks, ..self.own }
    }

    /// For the request's header.
    pub fn state(&self) -> Option<&[u8]> {
        Some(self.state.as_bytes()).filter(|state| !state.is_empty())
    }

    /// What the message says of it.
    pub fn read(&mut self, body: &[u8], message: &Message, scratch: &mut Vec<u8>) {
        self.id = message.id.map(|id| Short::of_id(id.of(body))).unwrap_or_default();
        let said = message.traceparent.and_then(|text| Parent::parse(text.read(body, scratch)));
        let Some(said) = said else { return };
        self.link = self.parent.filter(|parent| (parent.trace, parent.span) != (said.trace, said.span));
        self.own = Parent { trace: said.trace, span: self.own.span, sampled: said.sampled };
        self.parent = Some(said);
        let state = message.meta.and_then(|meta| text_of(body, meta, meta::TRACESTATE));
        self.state = State::gather(state);
    }

    /// Plans what an upstream reads of it in the message, and gives what a `_meta` of ours must still say: the `traceparent`, and
    /// whether the state. What the client wrote is replaced where it stands; a modern server's message gets it where it is missing.
    pub fn plan(&self, splices: &mut Splices, order: &Order<'_>, era: Era) -> Result<Missing, SpliceFault> {
        let (body, message) = (order.body, order.message);
        let place = |key| message.meta.and_then(|meta| Members::find(body, meta, key).ok().flatten());
        let parent = self.asks().written();
        let mut missing = Missing { parent: Some(parent), state: self.state().is_some() };
        if let Some(place) = place(meta::TRACEPARENT) {
            splices.replace_with(place, |out| append_string(out, &parent))?;
            missing.parent = None;
        }
        if let Some(place) = place(meta::TRACESTATE) {
            splices.replace_with(place, |out| append_string(out, self.state.as_bytes()))?;
            missing.state = false;
        }
        if let (Era::Modern, true, Some(meta)) = (era, order.client.is_modern(), message.meta) {
            let at = Span { start: meta.start + 1, len: 0 };
            if let Some(parent) = missing.parent.take() {
                splices.replace_with(at, |out| member(out, meta::TRACEPARENT, &parent))?;
            }
            if std::mem::take(&mut missing.state) {
                splices.replace_with(at, |out| member(out, meta::TRACESTATE, self.state.as_bytes()))?;
            }
        }
        Ok(missing)
    }
}

/// What the message does not say yet.
#[derive(Default)]
pub struct Missing {
    pub parent: Option<[u8; TRACEPARENT_BYTES]>,
    pub state: bool,
}

/// Before others: a `_meta` of a modern client has some.
fn member(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    append_string(out, key.as_bytes());
    out.push(b':');
    append_string(out, value);
    out.push(b',');
}

/// A text without escapes, which nothing of a trace has.
fn text_of<'b>(body: &'b [u8], meta: Span, key: &str) -> Option<&'b [u8]> {
    let raw = Members::find(body, meta, key).ok()??.of(body);
    raw.strip_prefix(b"\"")?.strip_suffix(b"\"").filter(|text| !text.contains(&b'\\'))
}
