//! The other direction: what a server says of its own accord while a call is under way.
//!
//! attribute -> authorize -> screen -> deliver. Attribution happened where the event was received: an
//! event of a reply belongs to that reply's call. Notifications about the call are delivered. A server's
//! request goes to the client if it declared that it can answer; else it is declined here.

use std::rc::Rc;

use strait_protocol::jsonrpc::{Kind, Members, ResultType};
use strait_protocol::mcp::{LogLevel, Method, codes};

use super::{replay, rounds, suspend, tasks};
use crate::changes::List;
use crate::core::Core;
use crate::upstream::dialect::Client;
use crate::upstream::errors::is_about_us;
use crate::upstream::{Affinity, Era, Event, Reply, UpstreamFault, decline};

/// What becomes of an event.
#[allow(clippy::large_enum_variant)] // the large one is the usual one, and a box would be an allocation per exchange
pub enum Direction {
    Deliver(Event),
    Drop,
}

pub fn run(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: Event,
) -> Result<Direction, UpstreamFault> {
    let Some(event) = tasks::reworded(core, reply, client, event)? else { return Ok(Direction::Drop) };
    let Event::Message { envelope, .. } = &event else { return Ok(Direction::Deliver(event)) };
    let down = !client.modern && reply.era() == Some(Era::Modern);
    Ok(match envelope.kind() {
        Some(Kind::Response) if envelope.has_error => return failed(core, reply, client, event),
        Some(Kind::Response) if down => return ended(core, reply, client, event),
        Some(Kind::Response) => Direction::Deliver(event),
        Some(Kind::Notification) => match envelope.method_known {
            Some(Method::NotifyProgress) if down && !progresses(reply, &event) => Direction::Drop,
            Some(Method::NotifyMessage) if is_too_quiet(core, reply, client, &event) => Direction::Drop,
            Some(Method::NotifyProgress | Method::NotifyMessage) => Direction::Deliver(event),
            Some(Method::NotifyTasksStatus) if reply.tasks.is_some() => Direction::Deliver(event),
            _ => {
                overheard(core, reply, client, &event);
                Direction::Drop
            }
        },
        Some(Kind::Request) => ask(core, reply, client, &event),
        None => Direction::Drop,
    })
}

/// An error of a server. Some say more to this gateway than to a client.
fn failed(
    core: &Rc<Core>,
    reply: &Reply,
    client: &Client<'_>,
    event: Event,
) -> Result<Direction, UpstreamFault> {
    let Event::Message { envelope, .. } = &event else { return Ok(Direction::Deliver(event)) };
    match (reply.era(), envelope.error_code) {
        (Some(Era::Modern), Some(code)) if is_about_us(code) => Err(UpstreamFault::Misunderstood { code }),
        (Some(Era::Legacy), Some(codes::URL_ELICITATION_REQUIRED_LEGACY)) if client.modern => {
            let bytes = replay::ask(core, reply, client, event.bytes(), envelope)?;
            Ok(Direction::Deliver(Event::Ready { bytes, last: true }))
        }
        _ => Ok(Direction::Deliver(event)),
    }
}

/// What a server says on a call's stream though it belongs to no call: that a list or a resource changed.
fn overheard(core: &Rc<Core>, reply: &Reply, client: &Client<'_>, event: &Event) {
    let Event::Message { envelope, .. } = event else { return };
    let (Some(method), Some(upstream)) = (envelope.method_known, reply.upstream()) else { return };
    if let Some(list) = List::of(method) {
        upstream.lists_changed(core, list.into());
    }
    if method == Method::NotifyResourcesUpdated {
        let session = client.session.map(|session| Affinity::key_of(session.id.serial));
        let whose = session.or_else(|| reply.subject().map(|subject| subject.principal));
        upstream.topics.heard(core, event.bytes(), envelope, |of| Some(of.key) == whose);
    }
}

/// A modern server's result, for a client that knows only complete ones.
fn ended(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: Event,
) -> Result<Direction, UpstreamFault> {
    let Event::Message { envelope, .. } = &event else { return Ok(Direction::Deliver(event)) };
    match envelope.result_type {
        ResultType::Absent | ResultType::Complete => Ok(Direction::Deliver(event)),
        ResultType::InputRequired => {
            rounds::begin(core, reply, client, &event)?;
            Ok(Direction::Drop)
        }
        ResultType::Task | ResultType::Other => Err(UpstreamFault::NotMcp(
            "its `resultType` is none that the client could have asked for".to_owned(),
        )),
    }
}

/// A log message below the level that the client's session asked for, or its request: a client of 2026-07-28 hears
/// none without asking. A modern server has been told itself.
fn is_too_quiet(core: &Rc<Core>, reply: &Reply, client: &Client<'_>, event: &Event) -> bool {
    let Event::Message { envelope, .. } = event else { return false };
    if !client.modern || reply.era() != Some(Era::Legacy) {
        return client.session.is_some_and(|session| !session.wants(event.bytes(), envelope));
    }
    let said =
        envelope.level.and_then(|level| level.of(event.bytes()).strip_prefix(b"\"")?.strip_suffix(b"\""));
    let message = core.decoder.borrow_mut().decode(client.body).copied().ok();
    let wanted = message.and_then(|message| {
        let mut text = Vec::new();
        LogLevel::parse(message.log_level?.read(client.body, &mut text))
    });
    let (Some(level), Some(wanted)) = (said.and_then(LogLevel::parse), wanted) else { return true };
    level < wanted
}

/// Progress must increase, also over the rounds of one call.
fn progresses(reply: &mut Reply, event: &Event) -> bool {
    let Event::Message { envelope, .. } = event else { return true };
    let bytes = event.bytes();
    let said = envelope.params.and_then(|params| Members::find(bytes, params, "progress").ok().flatten());
    let value = said.and_then(|said| std::str::from_utf8(said.of(bytes)).ok()?.parse().ok());
    value.is_some_and(|value| reply.progresses(value))
}

fn ask(core: &Rc<Core>, reply: &mut Reply, client: &Client<'_>, event: &Event) -> Direction {
    let Event::Message { envelope, .. } = event else { return Direction::Drop };
    let (Some(responder), Some(id)) = (reply.responder(), envelope.id) else { return Direction::Drop };
    if client.modern
        && suspend::permits(core, client, event, envelope)
        && suspend::ask(core, reply, client, event, envelope)
    {
        return Direction::Drop;
    }
    let asked = client.session.and_then(|session| session.ask(core, &responder, event.bytes(), envelope));
    match asked {
        Some(bytes) => Direction::Deliver(Event::Ready { bytes, last: false }),
        None => {
            responder.send(core, decline(event.bytes(), id, envelope.method_known));
            Direction::Drop
        }
    }
}
