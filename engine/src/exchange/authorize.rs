//! May this caller do this, now? The answer was worked out when the caller's view was made; here it is
//! read. What the caller may not do is answered exactly like what does not exist.

use std::rc::Rc;

use strait_policy::{RoleSet, Verdict};
use strait_protocol::mcp::Names;

use super::Incoming;
use super::decode::{Asked, Call};
use super::identify::Caller;
use super::record::Record;
use super::refusal::Refusal;
use super::resolve::{Foreign, Item, Target, unknown};
use super::tasks;
use crate::core::{Adopted, Core};

/// Proof that policy allows the exchange. Only [`run`] makes one.
pub struct Permit(());

pub fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    caller: &Caller,
    call: &Call,
    target: &Target,
    record: &mut Record,
) -> Result<Permit, Refusal> {
    let item = match target {
        // Lists show what the view shows; acts concern the caller's own session.
        // A listen hears of what the view shows; each URI that it names is decided on itself.
        Target::Local { .. } | Target::Session(_) | Target::Listen(_) => {
            record.verdict(Verdict::Permit(None));
            return Ok(Permit(()));
        }
        Target::Foreign(Foreign { server, upstream, method }) => {
            let verdict = adopted.snapshot.decide_method(*server, *upstream, method, &caller.roles);
            record.verdict(verdict);
            return match verdict.is_permit() {
                true => Ok(Permit(())),
                false => Err(Refusal::UnknownMethod { method: method.clone() }),
            };
        }
        Target::Upstream(item) => item,
        // It is allowed to whom the call that began it is.
        Target::Task(held) => &held.item,
    };
    let mut scratch = core.scratch.borrow_mut();
    let name = match &call.asked {
        Asked::Message(message) => match message.method.names() {
            Names::Uri => message.uri,
            Names::Reference => message.reference_name.or(message.reference_uri),
            Names::Task => message.task_id,
            Names::Nothing | Names::Name => message.name,
        },
        Asked::EndSession(_) => None,
    };
    let name = name.map_or(&b""[..], |name| name.read(incoming.body, &mut scratch.text));
    let verdict = decide(adopted, item, &caller.roles, name);
    record.verdict(verdict);
    match target {
        _ if verdict.is_permit() => Ok(Permit(())),
        Target::Task(_) => Err(tasks::unknown(name)),
        _ => Err(unknown(item.kind, name, record.modern)),
    }
}

/// Decides on an item, by what the caller calls it.
pub fn decide(adopted: &Adopted, item: &Item, roles: &RoleSet, name: &[u8]) -> Verdict {
    let verdict = item.view.kind(item.kind).verdict(item.index);
    if !item.covered || !verdict.is_permit() {
        return verdict;
    }
    // A template's URIs are open-ended: each is decided on itself.
    let name = item.own_uri.as_ref().map_or(name, |own| own.as_bytes());
    match std::str::from_utf8(name) {
        Ok(uri) => adopted.snapshot.decide_uri(item.upstream, uri, roles),
        Err(_) => Verdict::Deny(None),
    }
}
