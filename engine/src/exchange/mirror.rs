//! `Mcp-Param-*` against the arguments (2026-07-28): a header that a tool annotates must be there exactly when its
//! argument is, and say the same, so that whoever routes by header sees what the server will do. Headers that no tool
//! annotates are nobody's concern here, and go on as they came.

use std::rc::Rc;

use strait_protocol::jsonrpc::{Message, unescape};
use strait_protocol::mcp::header;
use strait_table::Kind;
use strait_table::bound::ArchivedMirrored;

use super::Incoming;
use super::arrive::Place;
use super::decode::{Asked, Call};
use super::refusal::Refusal;
use super::resolve::Target;
use crate::core::{Adopted, Core, Scratch};

pub fn run(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    call: &Call,
    target: &Target,
) -> Result<(), Refusal> {
    let (Target::Upstream(item), Asked::Message(message)) = (target, &call.asked) else { return Ok(()) };
    if item.kind != Kind::Tool || !call.revision.is_modern() {
        return Ok(());
    }
    let shelf = adopted.shelf(place.server, item.kind).ok_or(Refusal::NoSuchPath)?;
    let mirrored = &shelf.items.get(item.index).ok_or(Refusal::NoSuchPath)?.mirrored;
    if mirrored.is_empty() {
        return Ok(());
    }
    let mut scratch = core.scratch.borrow_mut();
    match mirrored.iter().all(|one| agrees(incoming, message, one, &mut scratch)) {
        true => Ok(()),
        false => Err(Refusal::HeaderMismatch("an Mcp-Param header is missing or differs from its argument")),
    }
}

fn agrees(incoming: &Incoming<'_>, message: &Message, one: &ArchivedMirrored, scratch: &mut Scratch) -> bool {
    let Scratch { text, other, .. } = scratch;
    let prefix = header::PARAMETER_PREFIX.as_bytes();
    let is_its = |name: &[u8]| {
        name.split_at_checked(prefix.len()).is_some_and(|(start, word)| {
            start.eq_ignore_ascii_case(prefix) && word.eq_ignore_ascii_case(one.header.as_bytes())
        })
    };
    let said = match incoming.head.mcp_params {
        0 => None,
        _ => incoming.head.headers(incoming.bytes).find(|(name, _)| is_its(name)).map(|(_, value)| value),
    };
    match (one.argument(incoming.body, message.arguments), said) {
        (None, None) => true,
        (Some(raw), Some(said)) => match raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")) {
            Some(inner) => {
                text.clear();
                unescape(inner, text) && header::equals_text(said, text, other) == Ok(true)
            }
            None => header::equals_scalar(said, raw, other) == Ok(true),
        },
        (Some(_), None) | (None, Some(_)) => false,
    }
}
