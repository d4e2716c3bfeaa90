//! May this caller do this, now? The answer was worked out when the caller's view was made; here it is
//! read. Only where rules ask for what the call brings with it are they asked, with the call at hand.
//!
//! What the caller may never do is answered exactly like what does not exist. What it may do, and may not do like this, is
//! refused by name: the model that asked can ask otherwise.

use std::net::IpAddr;
use std::rc::Rc;

use strait_policy::Verdict;
use strait_protocol::jsonrpc::Message;
use strait_protocol::mcp::Names;
use strait_table::condition::evaluate::{Header, Thing};
use strait_table::condition::{self, Moment, Request};
use strait_table::view::Ruled;

use super::Incoming;
use super::decode::{Asked, Call};
use super::denied::Denied;
use super::identify::{self, Caller};
use super::record::Record;
use super::refusal::Refusal;
use super::resolve::{Foreign, Item, Target, unknown};
use super::tasks;
use crate::core::{Adopted, Core};

/// Proof that policy allows the exchange. Only [`run`] makes one.
pub struct Permit(());

#[allow(clippy::too_many_arguments)]
pub fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    server: usize,
    caller: &Caller,
    call: &Call,
    target: &Target,
    record: &mut Record,
) -> Result<Permit, Refusal> {
    let message = match &call.asked {
        Asked::Message(message) => Some(message),
        Asked::EndSession(_) => None,
    };
    let item = match target {
        // Lists show what the view shows; acts concern the caller's own session.
        // A listen hears of what the view shows; each URI that it names is decided on itself.
        Target::Local { .. } | Target::Session(_) | Target::Listen(_) => {
            record.verdict(Verdict::Permit(None));
            return Ok(Permit(()));
        }
        Target::Foreign(Foreign { server, upstream, method }) => {
            let mut scratch = core.scratch.borrow_mut();
            let verdict = with_call(adopted, caller, Some((incoming, message)), |moment| {
                adopted.snapshot.decide_method(*server, *upstream, method, moment, &mut scratch.policy)
            });
            let verdict = verdict.map_err(Refusal::Decode)?;
            record.verdict(verdict);
            return match verdict.is_permit() {
                true => Ok(Permit(())),
                false => Err(Refusal::UnknownMethod { method: method.clone() }),
            };
        }
        Target::Upstream(item) => item,
        // It is allowed to whom some call of its tool is: with which arguments it began was decided then.
        Target::Task(held) => &held.item,
    };
    let shown = item.view.kind(item.kind).shows(item.index);
    let mut text = std::mem::take(&mut core.scratch.borrow_mut().text);
    let name = message.and_then(|message| match message.method.names() {
        Names::Uri => message.uri,
        Names::Reference => message.reference_name.or(message.reference_uri),
        Names::Task => message.task_id,
        Names::Nothing | Names::Name => message.name,
    });
    let name = name.map_or(&b""[..], |name| name.read(incoming.body, &mut text));
    // A URI under a template is decided on itself, whatever is asked about it.
    let about = !item.covered && message.is_some_and(|message| message.method.names() == Names::Reference);
    let outcome = match item.view.kind(item.kind).ruled(item.index) {
        // A completion helps to write a call that is decided when it comes.
        ruled if matches!(target, Target::Task(_)) || about => match shown {
            true => Ok(Verdict::Permit(ruled.so_far().rule())),
            false => Ok(ruled.so_far()),
        },
        Ruled::Settled(verdict) if !item.covered => Ok(verdict),
        _ => decide(core, adopted, server, item, caller, Some((incoming, message)), name),
    };
    let refusal = match outcome {
        Err(refusal) => Some(refusal),
        Ok(verdict) => {
            record.verdict(verdict);
            match target {
                _ if verdict.is_permit() => None,
                Target::Task(_) => Some(tasks::unknown(name)),
                _ if shown && !item.covered => {
                    let nobody_allows = verdict == Verdict::Deny(None);
                    let step_up = nobody_allows
                        .then(|| step_up(core, adopted, server, item, caller, (incoming, message)))
                        .flatten();
                    let denied =
                        || Refusal::Denied(Box::new(Denied::of(adopted, item, name, verdict, message)));
                    Some(step_up.unwrap_or_else(denied))
                }
                _ => Some(unknown(item.kind, name, record.modern)),
            }
        }
    };
    core.scratch.borrow_mut().text = text;
    match refusal {
        None => Ok(Permit(())),
        Some(refusal) => Err(refusal),
    }
}

/// Decides on an item, by what the caller calls it. Without a call (a subscription that is looked at again), rules that ask for
/// one do not allow, and do deny.
pub fn decide(
    core: &Core,
    adopted: &Adopted,
    server: usize,
    item: &Item,
    caller: &Caller,
    call: Option<(&Incoming<'_>, Option<&Message>)>,
    name: &[u8],
) -> Result<Verdict, Refusal> {
    let ruled = item.view.kind(item.kind).ruled(item.index);
    let mut scratch = core.scratch.borrow_mut();
    let workspace = &mut scratch.policy;
    let verdict = match ruled {
        Ruled::Settled(verdict) if !item.covered || !verdict.is_permit() => return Ok(verdict),
        // A template's URIs are open-ended: each is decided on itself.
        _ if item.covered => {
            let name = item.own_uri.as_ref().map_or(name, |own| own.as_bytes());
            let Ok(uri) = std::str::from_utf8(name) else { return Ok(Verdict::Deny(None)) };
            with_call(adopted, caller, call, |moment| {
                adopted.snapshot.decide_uri(server, item.upstream, uri, moment, workspace)
            })
        }
        Ruled::Settled(verdict) => return Ok(verdict),
        Ruled::Open { so_far, rules } => {
            let thing = thing(adopted, server, item);
            with_call(adopted, caller, call, |moment| {
                let moment = Moment { thing, ..*moment };
                adopted.snapshot.settle(so_far, rules, &moment, workspace)
            })
        }
    };
    verdict.map_err(Refusal::Decode)
}

/// The refusal of a call that another token of its caller would be allowed.
fn step_up(
    core: &Core,
    adopted: &Adopted,
    server: usize,
    item: &Item,
    caller: &Caller,
    (incoming, message): (&Incoming<'_>, Option<&Message>),
) -> Option<Refusal> {
    let Ruled::Open { rules, .. } = item.view.kind(item.kind).ruled(item.index) else { return None };
    let thing = thing(adopted, server, item);
    let mut scratch = core.scratch.borrow_mut();
    let scopes = with_call(adopted, caller, Some((incoming, message)), |moment| {
        let moment = Moment { thing, ..*moment };
        let concerned = rules.iter().map(|rule| rule.index);
        adopted.snapshot.scopes_wanted(concerned, &moment, &mut scratch.policy)
    });
    identify::step_up(adopted, server, incoming.listener, &scopes)
}

/// What rules are asked about.
fn thing<'a>(adopted: &'a Adopted, server: usize, item: &Item) -> Option<Thing<'a>> {
    let rules = adopted.snapshot.rules();
    let bound = adopted.shelf(server, item.kind).and_then(|shelf| shelf.items.get(item.index))?;
    let (server, upstream) = (rules.servers.get(server)?, rules.upstreams.get(item.upstream)?);
    Some(Thing { server: &server.name, upstream: &upstream.name, name: &bound.bare })
}

/// All that is known of a call, for rules to ask.
fn with_call<T>(
    adopted: &Adopted,
    caller: &Caller,
    call: Option<(&Incoming<'_>, Option<&Message>)>,
    decide: impl FnOnce(&Moment<'_>) -> T,
) -> T {
    let traits = adopted.traits(caller.traits);
    let principal = adopted.principal(caller.principal);
    let asked = call.map(|(incoming, message)| condition::Asked {
        method: message.map_or("", |message| message.method.as_str()),
        body: incoming.body,
        arguments: message.and_then(|message| message.arguments),
        request: incoming,
        with_scopes: false,
    });
    decide(&Moment {
        traits: traits.as_deref(),
        windows: Some(&adopted.windows.bits),
        principal,
        thing: None,
        asked: asked.as_ref(),
    })
}

impl Request for Incoming<'_> {
    fn header(&self, name: &str) -> Header<'_> {
        let mut values =
            self.head.headers(self.bytes).filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        match (values.next(), values.next()) {
            (None, _) => Header::Missing,
            (Some((_, value)), None) => Header::One(value),
            (Some(_), Some(_)) => Header::Several,
        }
    }

    fn ip(&self) -> IpAddr {
        self.peer
    }
}
