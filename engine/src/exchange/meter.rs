//! Within limits? The caps of the core first: an early 503 with Retry-After, not memory growth. Then the limits that
//! concern this call; a table without any costs a branch.
//!
//! A call is within all of its limits or takes nothing from any: what was taken before the one that stands against it
//! is put back. What a limit counts is a request for an item: a call, a read, and also a completion or a subscription, which
//! cost an upstream the same. Only what gives content has a price. A list, a listen, a task that is asked after and an act
//! on a session are not counted: they belong to what was, or are answered here.

use std::rc::Rc;

use strait_policy::limit::Measure;
use strait_protocol::mcp::{Method, Revision};
use strait_table::bound::ArchivedItem;

use super::Incoming;
use super::arrive::Place;
use super::authorize::Permit;
use super::cost::{Cost, Tariff};
use super::decode::{Asked, Call};
use super::identify::Caller;
use super::reached::Reached;
use super::record::Record;
use super::refusal::Refusal;
use super::resolve::Target;
use crate::allowance::cells::Denial;
use crate::allowance::{Limit, Metering, Whose};
use crate::core::{Adopted, Core, InFlight};
use crate::limits::RETRY_AFTER_S;

/// Proof that the exchange is within limits; it holds its places until dropped.
pub struct Admission {
    place: InFlight,
}

impl Admission {
    pub(super) fn into_place(self) -> InFlight {
        self.place
    }
}

#[allow(clippy::too_many_arguments)] // whose call of what it is, is spread over the stages before
pub fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    target: &Target,
    _permit: Permit,
    record: &mut Record,
) -> Result<Admission, Refusal> {
    let mut admitted = core.admit().map_err(Refusal::Overloaded)?;
    let concerning = concerning(core, adopted, incoming, place, caller, call, target)?;
    let Some((metering, subject)) = concerning else { return Ok(Admission { place: admitted }) };
    let mut cost = subject.price.map(|(index, tariff)| Cost::new(core, index, tariff));
    if let Some(metering) = metering {
        let asking = Asking { core, adopted, metering, caller };
        if let Err((index, denial)) = asking.take(&subject, &mut admitted, cost.as_mut()) {
            record.limit(index);
            cost.into_iter().for_each(Cost::nothing);
            return Err(asking.refusal(index, denial, subject.most(), as_result(call)));
        }
    }
    record.cost = cost;
    Ok(Admission { place: admitted })
}

/// Whether it would be within limits now. Nothing is taken: a limit that nobody has used yet stands against nothing but what it
/// never allows.
#[allow(clippy::too_many_arguments)] // as for `run`
pub fn foresee(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    target: &Target,
    record: &mut Record,
) -> Result<(), Refusal> {
    let Some((Some(metering), subject)) = concerning(core, adopted, incoming, place, caller, call, target)?
    else {
        return Ok(());
    };
    let asking = Asking { core, adopted, metering, caller };
    let Err((index, denial)) = asking.foresee(&subject) else { return Ok(()) };
    record.limit(index);
    Err(asking.refusal(index, denial, subject.most(), as_result(call)))
}

/// Whether the answer to a limit is a tool's result.
fn as_result(call: &Call) -> bool {
    let Asked::Message(message) = &call.asked else { return false };
    let begins_task = call.revision == Revision::V2025_11_25 && message.task.is_some();
    message.method == Method::ToolsCall && !begins_task
}

/// What is asked for, where the table has limits or prices and there may be some that speak of it.
fn concerning<'a>(
    core: &'a Rc<Core>,
    adopted: &'a Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &'a Caller,
    call: &Call,
    target: &Target,
) -> Result<Option<(Option<&'a Metering>, Subject<'a>)>, Refusal> {
    let rules = adopted.snapshot.rules();
    if let Asked::Message(message) = &call.asked
        && !(rules.limits.is_empty() && rules.prices.is_empty())
    {
        let whose = |print, upstream| whose(adopted, caller, print, upstream, place.server);
        let priced = |price: Option<u16>| {
            let index = usize::from(price?);
            rules.prices.get(index).map(|price| (index, Tariff::of(price)))
        };
        let uri = message.uri.or(message.reference_uri);
        let gives = matches!(message.method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead);
        let subject = match target {
            Target::Upstream(item) if item.covered => {
                let mut scratch = core.scratch.borrow_mut();
                let own = item.own_uri.as_ref().map(|own| own.as_bytes());
                let uri = own.or_else(|| Some(uri?.read(incoming.body, &mut scratch.text)));
                let uri = uri.and_then(|uri| std::str::from_utf8(uri).ok());
                let found = uri.and_then(|uri| adopted.snapshot.limits_of_uri(item.upstream, uri));
                let found = found.ok_or(Refusal::Internal("a resource without a URI was allowed"))?;
                let whose = whose(found.print, item.upstream);
                let price = priced(found.price).filter(|_| gives);
                Subject { whose, price, limits: Concerned::Found(found.limits) }
            }
            Target::Upstream(item) => {
                let shelf = adopted.shelf(place.server, item.kind);
                let bound = shelf.and_then(|shelf| shelf.items.get(item.index));
                let bound = bound.ok_or(Refusal::Internal("an item that was found is gone"))?;
                let price = priced(bound.price.as_ref().map(|price| price.to_native())).filter(|_| gives);
                if bound.limits.is_empty() && price.is_none() {
                    return Ok(None);
                }
                let whose = whose(bound.print.to_native(), item.upstream);
                Subject { whose, price, limits: Concerned::Bound(bound) }
            }
            Target::Foreign(foreign) => {
                let found = adopted.snapshot.limits_of_method(foreign.upstream, &foreign.method);
                let found = found.ok_or(Refusal::Internal("an upstream that was found is gone"))?;
                let whose = whose(found.print, foreign.upstream);
                Subject { whose, price: priced(found.price), limits: Concerned::Found(found.limits) }
            }
            Target::Local { .. } | Target::Session(_) | Target::Task(_) | Target::Listen(_) => {
                return Ok(None);
            }
        };
        return Ok(Some((adopted.metering.as_deref(), subject)));
    }
    Ok(None)
}

struct Asking<'a> {
    core: &'a Rc<Core>,
    adopted: &'a Adopted,
    metering: &'a Metering,
    caller: &'a Caller,
}

/// What is asked for, as limits see it.
struct Subject<'a> {
    whose: Whose,
    /// Of what gives content: which price of the table.
    price: Option<(usize, Tariff)>,
    limits: Concerned<'a>,
}

impl Subject<'_> {
    /// The most that it may cost, in micro-USD.
    fn most(&self) -> u64 {
        self.price.map_or(0, |(_, tariff)| tariff.most())
    }
}

fn whose(adopted: &Adopted, caller: &Caller, tool: u64, upstream: usize, server: usize) -> Whose {
    let known = adopted.known(caller.principal);
    let upstreams = adopted.metering.as_ref().map(|metering| &metering.upstreams);
    Whose {
        principal: known.digest,
        agent: known.agent,
        user: known.user,
        tenant: known.tenant,
        tool,
        upstream: upstreams.and_then(|all| all.get(upstream)).copied().unwrap_or(0),
        server: adopted.server_digest(server).unwrap_or(0),
    }
}

/// The limits that speak of it, by index.
enum Concerned<'a> {
    Bound(&'a ArchivedItem),
    Found(Vec<u16>),
}

impl Concerned<'_> {
    fn get(&self, at: usize) -> Option<usize> {
        match self {
            Concerned::Bound(item) => item.limits.get(at).map(|limit| usize::from(limit.to_native())),
            Concerned::Found(limits) => limits.get(at).copied().map(usize::from),
        }
    }

    /// From the first to before the `end`th.
    fn until(&self, end: usize) -> impl Iterator<Item = usize> + '_ {
        (0..end).map_while(|at| self.get(at))
    }
}

impl Asking<'_> {
    /// The limit of this number if it is for this caller, and how much of it the call needs.
    fn concerning(&self, index: usize, subject: &Subject<'_>) -> Option<(&Limit, u64)> {
        let traits = self.adopted.traits(self.caller.traits)?;
        let limit = self.metering.limits.get(index).filter(|limit| limit.is_for(&traits))?;
        let units = match limit.measure {
            Measure::Cost(_) => subject.most(),
            Measure::Rate(_) | Measure::Calls(_) | Measure::Concurrency(_) => 1,
        };
        (units > 0).then_some((limit, units))
    }

    /// All that the call needs, or nothing, and which limit stands against it.
    fn take(
        &self,
        subject: &Subject<'_>,
        admitted: &mut InFlight,
        mut cost: Option<&mut Cost>,
    ) -> Result<(), (usize, Denial)> {
        let core = self.core;
        let settles = subject.price.is_some_and(|(_, tariff)| tariff.settles());
        for (at, index) in subject.limits.until(usize::MAX).enumerate() {
            let Some((limit, units)) = self.concerning(index, subject) else { continue };
            let key = limit.key(&subject.whose);
            let taken = match &limit.measure {
                // Given back with the exchange's place, also when another limit stands against it.
                Measure::Concurrency(_) => admitted.hold(key, &limit.measure),
                // The same, with what it is set aside for.
                measure @ Measure::Cost(_) if settles => match &mut cost {
                    Some(cost) => core.allowances.set_aside(&core.clock, key, measure, units, cost.aside()),
                    None => Ok(()),
                },
                measure => core.allowances.take(&core.clock, key, measure, units),
            };
            let Err(denial) = taken else { continue };
            core.figures.limit(limit.place).refused.add(1);
            for index in subject.limits.until(at) {
                let Some((limit, units)) = self.concerning(index, subject) else { continue };
                match limit.measure {
                    Measure::Concurrency(_) => {}
                    Measure::Cost(_) if settles => {}
                    _ => core.allowances.put_back(&core.clock, limit.key(&subject.whose), units),
                }
            }
            return Err((index, denial));
        }
        for index in subject.limits.until(usize::MAX) {
            if let Some((limit, ..)) = self.concerning(index, subject) {
                core.figures.limit(limit.place).admitted.add(1);
            }
        }
        Ok(())
    }

    /// The first limit that would stand against the call.
    fn foresee(&self, subject: &Subject<'_>) -> Result<(), (usize, Denial)> {
        let core = self.core;
        for index in subject.limits.until(usize::MAX) {
            if let Some((limit, units)) = self.concerning(index, subject) {
                let foreseen =
                    core.allowances.foresee(&core.clock, limit.key(&subject.whose), &limit.measure, units);
                foreseen.map_err(|denial| (index, denial))?;
            }
        }
        Ok(())
    }

    fn refusal(&self, index: usize, denial: Denial, cost: u64, as_result: bool) -> Refusal {
        let rules = self.adopted.snapshot.rules();
        let (Some(limit), Some(running)) = (rules.limits.get(index), self.metering.limits.get(index)) else {
            return Refusal::Internal("a limit that was reached is gone");
        };
        let wait_ns = match denial {
            Denial::Full => return Refusal::Overloaded("more allowances in use than can be kept count of"),
            Denial::Reached { wait_ns } => wait_ns,
        };
        let seconds = |wait_ns: u64| wait_ns.div_ceil(1_000_000_000).max(RETRY_AFTER_S);
        Refusal::Limited(Box::new(Reached {
            limit: limit.id.as_str().to_owned(),
            measure: running.measure,
            allows: limit.describe(),
            never: wait_ns.is_none().then(|| strait_table::limit::usd(cost)),
            retry_after_s: wait_ns.map(seconds),
            as_result,
        }))
    }
}
