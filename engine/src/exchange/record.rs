//! What is remembered of an exchange: gathered on the way, written once, on every exit.
//!
//! One JSON line: who (principal), what (method, server, upstream, item), the verdict and its rule,
//! the generation that decided, the HTTP status, the reason of a refusal, bytes, and how long each
//! phase took in nanoseconds. Arguments and results are never in it. Refusals are always written;
//! other lines are sampled as `access_log.sample` says. Every exchange is counted (`figures`), here and nowhere else.
//!
//! The same facts, and what is kept of arguments and result, go into the audit log where there is one ([`audited`]): of every
//! exchange, once.

pub mod audited;

mod line;
mod traced;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use strait_policy::Verdict;
use strait_protocol::decimal;
use strait_protocol::http1;
use strait_protocol::mcp::Method;
use strait_protocol::{Span, mcp};
use strait_table::Kind;

use super::cost::Cost;
use super::refusal::Refusal;
use super::shape::Edited;
use super::{Incoming, timing};
use crate::connection::audience::{Caller, Ear, Who};
use crate::connection::standing::Tally;
use crate::core::{Adopted, Core};
use crate::figures::labels::{CallerKind, Decision, Layer, MethodClass, Outcome};
use crate::pooled::Pooled;
use crate::session::Session;
use crate::session::calls::UnderWay;
use crate::trace::{self, Trace};
use crate::upstream::{Reply, Upstream, UpstreamFault};
use audited::{Kind as RecordKind, Pieces, Way};
use line::{Form, append_number, append_text, stamp};

/// Parts of an exchange's time, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the whole request to a known caller.
    Identify,
    Decode,
    /// Resolve, authorize, limits, screening.
    Policy,
    /// From sending to the first event of the answer.
    Upstream,
    /// To the last byte handed to the kernel.
    Respond,
}

pub const PHASES: [(Phase, &str); 5] = [
    (Phase::Identify, "identify"),
    (Phase::Decode, "decode"),
    (Phase::Policy, "policy"),
    (Phase::Upstream, "upstream"),
    (Phase::Respond, "respond"),
];

/// One exchange so far.
pub struct Record {
    /// The request's id, as written in its body.
    pub id: Option<Span>,
    /// The request's progress token, as written in its body.
    pub token: Option<Span>,
    /// The page that asks, where its origin may.
    pub origin: Option<Span>,
    /// Whether the client speaks 2026-07-28.
    pub modern: bool,
    /// The session that the request belongs to.
    pub session: Option<Rc<Session>>,
    /// A call of that session, on its way to an upstream or answered by it: its client may cancel it.
    pub under_way: Option<UnderWay>,
    /// Ends an answer of several events when its caller was revoked, or its connection put outside.
    pub ear: Option<Ear>,
    /// What the upstream was sent, where that is not what the client sent.
    pub edited: Option<Pooled<Edited>>,
    /// The call's arguments, as written in its body, or in the one that it was edited to.
    arguments: Option<Span>,
    kind: RecordKind,
    /// Whether the audit log has it.
    way: Way,
    /// Where it is in a trace, where anything is traced.
    pub trace: Option<Arc<Trace>>,
    /// Its answer says how long its parts took.
    pub is_timed: bool,
    /// The digest of an answer that is too large to hold, so far.
    pieces: Option<Box<Pieces>>,
    /// What a call costs that has a price and was let through.
    pub cost: Option<Cost>,
    began_ns: u64,
    marked_ns: u64,
    phases: [u64; PHASES.len()],
    principal: Option<u32>,
    server: Option<usize>,
    item: Option<(Kind, usize, u16)>,
    method: Method,
    /// What is told where there is no such method.
    http: http1::Method,
    class: MethodClass,
    verdict: Option<Verdict>,
    /// The limit that stood against it.
    limit: Option<usize>,
    refusal: Option<&'static str>,
    outcome: Outcome,
    /// Whom the call was sent to.
    asked: Option<Rc<Upstream>>,
    /// Where the upstream failed.
    layer: Option<Layer>,
    /// Time spent waiting for the upstream: it is not ours.
    waited_ns: u64,
    status: u16,
    bytes_out: u64,
    peer: Option<IpAddr>,
}

/// What a story came to when it was decided.
pub struct Decided<'a> {
    pub word: &'static str,
    pub rule: Option<&'a str>,
    pub limit: Option<&'a str>,
    pub principal: Option<&'a str>,
    pub item: Option<(Kind, &'a str, &'a str)>,
    method: Method,
}

/// The word of a story that nothing refused.
const PERMIT: &str = "permit";

impl Decided<'_> {
    pub fn permits(&self) -> bool {
        self.word == PERMIT
    }

    /// What it is about, never with what: `tool up.echo`.
    pub fn what(&self) -> String {
        match self.item {
            Some((kind, upstream, bare)) => format!("{} {upstream}.{bare}", word_of(kind)),
            None => format!("method {}", self.method.as_str()),
        }
    }
}

fn word_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tool",
        Kind::Prompt => "prompt",
        Kind::Resource => "resource",
        Kind::Template => "template",
    }
}

impl Record {
    /// Of a request that was here, whole, at `now_ns`.
    pub fn begin(now_ns: u64) -> Record {
        Record {
            id: None,
            token: None,
            origin: None,
            modern: false,
            session: None,
            under_way: None,
            ear: None,
            edited: None,
            arguments: None,
            kind: RecordKind::default(),
            way: Way::default(),
            trace: None,
            is_timed: false,
            pieces: None,
            cost: None,
            began_ns: now_ns,
            marked_ns: now_ns,
            phases: [0; PHASES.len()],
            principal: None,
            server: None,
            item: None,
            method: Method::Unknown,
            http: http1::Method::Post,
            class: MethodClass::Unread,
            verdict: None,
            limit: None,
            refusal: None,
            outcome: Outcome::Ok,
            asked: None,
            layer: None,
            waited_ns: 0,
            status: 0,
            bytes_out: 0,
            peer: None,
        }
    }

    /// Begins what is told of it beside its line, if anything is.
    pub fn is_watched(&mut self, core: &Core, adopted: &Adopted, incoming: &Incoming<'_>) {
        if adopted.watching.is_on {
            self.trace = trace::begin(core, adopted, incoming);
            self.is_timed = timing::is_wanted(adopted, incoming);
        }
    }

    /// How long its parts took so far.
    pub fn times(&self) -> [u64; PHASES.len()] {
        self.phases
    }

    /// Of that, what was spent waiting for the upstream.
    pub fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    /// The time since the last mark belongs to `phase`.
    pub fn mark(&mut self, core: &Core, phase: Phase) {
        let now = core.clock.now_ns();
        self.phases[phase as usize] += now.saturating_sub(self.marked_ns);
        self.marked_ns = now;
    }

    pub fn server(&mut self, server: usize) {
        self.server = Some(server);
    }

    pub fn principal(&mut self, principal: u32) {
        self.principal = Some(principal);
    }

    /// The number of its caller, once that is known.
    pub fn caller(&self) -> Option<u32> {
        self.principal
    }

    /// Whether its caller was revoked since.
    pub fn is_revoked(&self, core: &Core, adopted: &Adopted) -> bool {
        self.principal.is_some_and(|principal| core.has_revoked(adopted, principal))
    }

    /// From now on the answer ends as soon as its caller is revoked, or its connection put outside, also between two events.
    pub fn listens(&mut self, core: &Rc<Core>, adopted: &Rc<Adopted>, incoming: &Incoming<'_>) {
        let caller = self.principal.map(|principal| Caller::of(principal, adopted, incoming));
        self.ear = caller.map(|caller| Ear::new(core, Who::Caller(caller)));
    }

    /// Another edition tells the story from its beginning.
    pub fn begin_again(&mut self) {
        (self.server, self.principal) = (None, None);
    }

    /// What was decided, in words that two tables have in common.
    pub fn decided<'a>(&self, adopted: &'a Adopted, refusal: Option<&Refusal>) -> Decided<'a> {
        let rules = adopted.snapshot.rules();
        let rule =
            self.verdict.and_then(Verdict::rule).and_then(|rule| rules.policy.rules.get(rule as usize));
        let limit = self.limit.and_then(|limit| rules.limits.get(limit));
        let principal = self.principal.and_then(|p| adopted.principal(p));
        let item = self.item.zip(self.server).and_then(|((kind, index, upstream), server)| {
            let upstream = rules.upstreams.get(usize::from(upstream))?;
            let item = adopted.shelf(server, kind)?.items.get(index)?;
            Some((kind, upstream.name.as_str(), item.bare.as_str()))
        });
        Decided {
            word: refusal.map_or(PERMIT, Refusal::label),
            rule: rule.map(|rule| rule.id.as_str()),
            limit: limit.map(|limit| limit.id.as_str()),
            principal: principal.map(|principal| principal.id.as_str()),
            item,
            method: self.method,
        }
    }

    pub fn http(&mut self, method: http1::Method) {
        self.http = method;
    }

    pub fn method(&mut self, method: mcp::Method) {
        self.method = method;
        self.class = MethodClass::of(method);
    }

    /// A GET: its head says everything.
    pub fn opens_stream(&mut self) {
        self.class = MethodClass::Session;
    }

    /// A DELETE: its head says everything.
    pub fn ends_session(&mut self) {
        self.class = MethodClass::Session;
    }

    pub fn item(&mut self, kind: Kind, index: usize, upstream: u16) {
        self.item = Some((kind, index, upstream));
    }

    pub fn verdict(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    /// By index of the table.
    pub fn limit(&mut self, limit: usize) {
        self.limit = Some(limit);
    }

    /// The call is about to be sent.
    pub fn asks(&mut self, upstream: Rc<Upstream>) {
        self.asked = Some(upstream);
    }

    /// The first event of the answer is here.
    pub fn answered(&mut self, core: &Core, reply: &Reply) {
        self.mark(core, Phase::Upstream);
        self.waited_ns = reply.waited_ns();
        if let Some(upstream) = &self.asked {
            upstream.figures(core).latency.record(self.waited_ns);
        }
    }

    /// A further event is here.
    pub fn waited(&mut self, reply: &Reply) {
        self.waited_ns = reply.waited_ns();
    }

    /// The upstream's answer is an error of its own.
    pub fn errored(&mut self) {
        self.outcome = Outcome::Error;
    }

    pub fn refused(&mut self, core: &Core, refusal: &Refusal) {
        self.refusal = Some(refusal.label());
        self.outcome = refusal.outcome();
        if let Refusal::Upstream { fault, .. } = refusal {
            self.layer = fault.layer();
            // Nothing came of it, so all of it was waiting.
            if self.phases[Phase::Upstream as usize] == 0 {
                self.mark(core, Phase::Upstream);
                self.waited_ns = self.phases[Phase::Upstream as usize];
            }
        }
    }

    /// A fault after the answer had begun.
    pub fn broke(&mut self, fault: &UpstreamFault) {
        self.refusal = Some(fault.label());
        self.outcome = fault.outcome();
        self.layer = fault.layer();
    }

    /// The client did not take its answer.
    pub fn left(&mut self) {
        self.outcome = Outcome::ClientGone;
    }

    pub fn status(&mut self, status: u16) {
        self.status = status;
    }

    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Counts the exchange and writes its line.
    pub fn write(mut self, core: &Rc<Core>, adopted: &Adopted, incoming: &Incoming<'_>) {
        self.mark(core, Phase::Respond);
        self.peer = Some(incoming.peer);
        if let Some(cost) = self.cost.as_ref().filter(|_| self.outcome == Outcome::ClientGone) {
            cost.left();
        }
        if core.audit.is_on() {
            self.tell_late(core, adopted, incoming);
        }
        let bytes_in = incoming.bytes.len() + incoming.body.len();
        self.finish(core, adopted, usize::from(incoming.listener), bytes_in);
        if let Some(trace) = self.trace.take() {
            core.tracer.give_back(trace);
        }
    }

    /// The line of a request that could not be read.
    pub fn write_unread(mut self, core: &Rc<Core>, adopted: &Adopted, listener: u16, status: u16) {
        self.status = status;
        self.mark(core, Phase::Respond);
        self.finish(core, adopted, usize::from(listener), 0);
    }

    fn finish(&self, core: &Rc<Core>, adopted: &Adopted, listener: usize, bytes_in: usize) {
        self.count(core, adopted, bytes_in);
        self.tell_trace(core, adopted, bytes_in);
        let sample_ppm = adopted.snapshot.rules().access_log.sample_ppm.to_native();
        if !core.log.is_on() || (self.refusal.is_none() && !sampled(self.began_ns, sample_ppm)) {
            return;
        }
        core.log.line(|out| {
            self.append(out, core, adopted, (listener, bytes_in), (Form::Line, None), usize::MAX)
        });
    }

    fn count(&self, core: &Core, adopted: &Adopted, bytes_in: usize) {
        let figures = &core.figures;
        let total_ns = self.marked_ns.saturating_sub(self.began_ns);
        figures.requests(self.class, self.outcome).add(1);
        figures.duration[self.class as usize].record(total_ns);
        let generation = adopted.tally.of(core.id);
        if let Some(generation) = generation {
            generation.outcomes(self.outcome).add(1);
            generation.duration.record(total_ns);
        }
        figures.received_bytes.add(bytes_in as u64);
        figures.sent_bytes.add(self.bytes_out);
        for (phase, ns) in figures.phases.iter().zip(self.phases) {
            // A phase that an exchange never reached took no time, not 0 ns.
            if ns > 0 {
                phase.record(ns);
            }
        }
        if let Some(reason) = self.refusal {
            figures.refusals.add(reason);
        }
        self.count_by_name(core, adopted, total_ns);
        if let Some(place) = self.server.and_then(|server| adopted.server_place(server)) {
            let caller =
                self.principal.map_or(CallerKind::Unknown, |principal| adopted.known(principal).kind);
            figures.server(place).requests(caller, Decision::of(self.verdict)).add(1);
        }
        if let Some(upstream) = self.asked.as_ref().map(|upstream| upstream.figures(core)) {
            upstream.calls.add(1);
            match (self.layer, self.outcome) {
                (Some(layer), _) => upstream.errors(layer).add(1),
                (None, Outcome::Ok | Outcome::Error) => {
                    let added_ns = total_ns.saturating_sub(self.waited_ns);
                    figures.added.record(added_ns);
                    generation.iter().for_each(|generation| generation.added.record(added_ns));
                }
                (None, _) => {}
            }
        }
    }

    /// For the tool and for whoever called it. Names are looked at once an edition: [`Adopted::place`].
    fn count_by_name(&self, core: &Core, adopted: &Adopted, total_ns: u64) {
        const PRINCIPAL: u64 = 1 << 63;
        if let (Some((Kind::Tool, index, upstream)), Some(server)) = (self.item, self.server) {
            let tools = &core.figures.tools;
            let place = adopted.place((server as u64) << 32 | index as u64, || {
                let rules = adopted.snapshot.rules();
                let upstream = rules.upstreams.get(usize::from(upstream))?.name.as_str();
                let tool = adopted.shelf(server, Kind::Tool)?.items.get(index)?.bare.as_str();
                Some(core.tools_met.borrow_mut().place_of(tools, &format!("{upstream}.{tool}")))
            });
            place.into_iter().for_each(|place| tools.count(place, self.outcome, total_ns));
        }
        if let Some(cost) = &self.cost {
            cost.put_down(adopted, self.principal, self.item.zip(self.server));
        }
        if let Some(principal) = self.principal {
            let principals = &core.figures.principals;
            let place = adopted.place(PRINCIPAL | u64::from(principal), || {
                Some(principals.place_of(&adopted.principal(principal)?.id))
            });
            place.into_iter().for_each(|place| principals.count(place, self.outcome, total_ns));
        }
    }
}

/// The line of a stream that stood open and is over; the one of its beginning was that of its request.
pub fn stream_ended(core: &Rc<Core>, who: &[u8], began_ns: u64, tally: &Tally) {
    core.figures.sent_bytes.add(tally.bytes);
    let adopted = core.adopted();
    let append = |out: &mut Vec<u8>| {
        out.extend_from_slice(who);
        append_text(out, "ended", Some(tally.ending.label()));
        append_number(out, "events", tally.events);
        append_number(out, "bytes_out", tally.bytes);
        out.extend_from_slice(b",\"ns\":{\"total\":");
        decimal::append(out, core.clock.now_ns().saturating_sub(began_ns));
        out.push(b'}');
    };
    if core.audit.is_on() {
        audited::stream_ended(core, &adopted, append);
    }
    let sample_ppm = adopted.snapshot.rules().access_log.sample_ppm.to_native();
    if !core.log.is_on() || !sampled(began_ns, sample_ppm) {
        return;
    }
    core.log.line(|out| {
        stamp(out, &adopted, None);
        append(out);
        append_number(out, "worker", core.id as u64);
        out.extend_from_slice(b"}\n");
    });
}

/// Spread evenly by mixing the start time; no random state to keep.
fn sampled(began_ns: u64, sample_ppm: u32) -> bool {
    let mixed = began_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    mixed % 1_000_000 < u64::from(sample_ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_keeps_about_the_share_it_should() {
        for ppm in [0, 10_000, 500_000, 1_000_000] {
            let kept = (0..100_000u64).filter(|n| sampled(n * 10_007, ppm)).count() as f64 / 100_000.0;
            assert!((kept - f64::from(ppm) / 1e6).abs() < 0.01, "{ppm}: {kept}");
        }
    }
}
