//! A JSON message larger than the window, edited while it passes.
//!
//! The scanner runs ahead of what leaves: the last [`HOLD_BYTES`] stay until more has come, so that an
//! id which ends a megabyte message is still here when it is recognised. An id that is not ours ends
//! the reply; what has left by then is an answer cut short, which no client takes for a whole one.

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Envelope, IdValue, ResultType, Scanner};
use strait_protocol::limits::EVENT_BYTES_MAX;
use strait_protocol::mcp::{Method, Revision};

use crate::core::Core;
use crate::io::buffer::Buf;
use crate::limits::REPLY_WINDOW_BYTES;
use crate::upstream::UpstreamFault;
use crate::upstream::dialect::{self, Client};
use crate::upstream::errors::is_about_us;

/// More than an id of ours can be long.
const HOLD_BYTES: usize = 64;

/// A comma and a key of ours before its value, with a little white space.
const KEY_BYTES: u32 = 24;

/// Whether an answer may leave before all of it is here. What a client of the older revisions is to see of a modern server's
/// answer depends on which kind of result it is, and before 2025-06-18 on the content.
pub fn may_stream(client: &Client<'_>, envelope: &Envelope, legacy: bool) -> bool {
    let Some(session) = client.session else { return true };
    let is_content = matches!(client.method, Method::ToolsCall | Method::PromptsGet);
    let is_decided = legacy || envelope.has_error || envelope.result_type == ResultType::Complete;
    is_decided && !(is_content && session.id.revision < Revision::V2025_06_18)
}

pub struct Large {
    scanner: Scanner,
    /// Fed, but not yet sent on.
    held: Buf,
    /// Bytes sent on before `held`.
    sent: u32,
}

impl Large {
    /// Goes on where a gathering of `held`, all of it fed to `scanner`, became too much.
    pub fn begin(scanner: Scanner, held: Buf) -> Large {
        Large { scanner, held, sent: 0 }
    }

    pub fn feed(&mut self, piece: &[u8]) -> Result<(), UpstreamFault> {
        self.scanner.feed(piece).map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
        self.held.extend_from_slice(piece);
        Ok(())
    }

    /// What can leave now, once it is worth a send.
    pub fn take(
        &mut self,
        core: &Rc<Core>,
        client: &Client<'_>,
        legacy: bool,
        id: Option<i64>,
    ) -> Result<Option<Buf>, UpstreamFault> {
        if self.held.len() < REPLY_WINDOW_BYTES / 2 {
            return Ok(None);
        }
        let envelope = *self.scanner.envelope();
        if envelope.id.is_some() && envelope.id_value != id.map_or(IdValue::Absent, IdValue::Integer) {
            return Err(UpstreamFault::WrongId);
        }
        if let Some(code) = envelope.error_code.filter(|code| !legacy && is_about_us(*code)) {
            return Err(UpstreamFault::Misunderstood { code });
        }
        let mut leaving = self.held.len() - HOLD_BYTES;
        // A place to edit that the cut would split stays whole; a cut before it may split one that reaches into it.
        let split = |leaving: usize| {
            let within = |at: u32| (at as usize).saturating_sub(self.sent as usize);
            edited(&envelope)
                .map(|span| (within(span.start), within(span.end())))
                .find_map(|(start, end)| (start < leaving && end > leaving).then_some(start))
        };
        while let Some(earlier) = split(leaving) {
            leaving = earlier;
        }
        if leaving == 0 {
            return Ok(None);
        }
        self.leave(core, client, legacy, &envelope, leaving).map(Some)
    }

    /// The rest, when the message is whole and ours.
    pub fn finish(
        &mut self,
        core: &Rc<Core>,
        client: &Client<'_>,
        legacy: bool,
        id: Option<i64>,
    ) -> Result<Buf, UpstreamFault> {
        let envelope = *self.scanner.finish().map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
        if envelope.id_value != id.map_or(IdValue::Absent, IdValue::Integer) {
            return Err(UpstreamFault::WrongId);
        }
        let is_complete = matches!(envelope.result_type, ResultType::Absent | ResultType::Complete);
        if !legacy && client.session.is_some() && !is_complete {
            return Err(UpstreamFault::TooLarge { limit: EVENT_BYTES_MAX });
        }
        let rest = self.held.len();
        self.leave(core, client, legacy, &envelope, rest)
    }

    fn leave(
        &mut self,
        core: &Rc<Core>,
        client: &Client<'_>,
        legacy: bool,
        envelope: &Envelope,
        bytes: usize,
    ) -> Result<Buf, UpstreamFault> {
        let (from, to) = (self.sent, self.sent + bytes as u32);
        let within =
            |span: Span| (from..to).contains(&span.start).then(|| Span { start: span.start - from, ..span });
        let mut here = Envelope {
            id: envelope.id.and_then(within),
            result_type_span: envelope.result_type_span.and_then(within),
            ttl_span: envelope.ttl_span.and_then(within),
            cache_scope_span: envelope.cache_scope_span.and_then(within),
            has_error: envelope.has_error,
            error_code: envelope.error_code,
            error_code_span: envelope.error_code_span.and_then(within),
            ..Envelope::default()
        };
        here.result_open =
            envelope.result_open.filter(|open| (from..to).contains(&open.after)).map(|mut open| {
                open.after -= from;
                open
            });
        let mut scratch = core.scratch.borrow_mut();
        scratch.splices.clear();
        let piece = self.held.get(..bytes).unwrap_or_default();
        dialect::answer(&mut scratch.splices, piece, &here, client, legacy);
        let mut out = Buf::with_capacity(bytes.saturating_add_signed(scratch.splices.delta() as isize));
        scratch
            .splices
            .write(piece, out.vec())
            .map_err(|fault| UpstreamFault::NotMcp(fault.label().to_owned()))?;
        self.held.consume_front(bytes);
        self.sent = to;
        Ok(out)
    }
}

fn edited(envelope: &Envelope) -> impl Iterator<Item = Span> {
    let open = envelope.result_open.map(|open| Span { start: open.after, len: 0 });
    // With the comma and the key before a member that may have to go.
    let member = |value: Option<Span>| {
        let start = value?.start.saturating_sub(KEY_BYTES);
        Some(Span::between(start as usize, value?.end() as usize + 1))
    };
    let members = [envelope.result_type_span, envelope.ttl_span, envelope.cache_scope_span].map(member);
    [envelope.id, envelope.error_code_span, open].into_iter().chain(members).flatten()
}
