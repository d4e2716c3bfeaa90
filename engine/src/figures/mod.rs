//! What is counted: by each worker for itself, read by anyone at any time.
//!
//! The decision: every figure is one `AtomicU64` that a single thread writes with a plain load and store
//! ([`cell`]), in a block of cache lines of its own. A worker pays no locked instruction, no allocation and no
//! lock; a reader never stops a worker, never sees half a number, and a counter it reads twice never falls.
//! Distributions are fixed arrays of such counters ([`histogram`]); labels are enums ([`labels`]) or words of the
//! code ([`reasons`]), so the number of series has a bound that is known when the process starts.
//!
//! What each figure means, and how many series it makes, is in docs/METRICS.md.

pub mod callers;
pub mod cell;
pub mod costs;
pub mod generations;
pub mod handshakes;
pub mod histogram;
pub mod labels;
pub mod limits;
pub mod places;
pub mod reasons;
pub mod servers;
pub mod tools;
pub mod upstreams;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::edition::Edition;
use crate::exchange::record::PHASES;
use callers::Named;
use cell::{Counter, Gauge};
use costs::Costs;
use handshakes::Handshakes;
use histogram::Histogram;
use labels::{Difference, MethodClass, Outcome};
use limits::LimitFigures;
use places::{Place, Places};
use reasons::Reasons;
use servers::ServerFigures;
use tools::Tools;
use upstreams::UpstreamFigures;

/// Figures of one worker. Aligned so that no two workers share a line, the neighbour's prefetch included.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerFigures {
    /// One more with every tick: a worker whose beats stand still is stalled.
    pub beats: Counter,
    /// How late the tick's timer fired.
    pub lag: Histogram,

    requests: [[Counter; Outcome::ALL.len()]; MethodClass::ALL.len()],
    pub refusals: Reasons,
    /// From the whole request to the last byte of its answer, by [`MethodClass`].
    pub duration: [Histogram; MethodClass::ALL.len()],
    /// Of forwarded calls: duration less what was spent waiting for the upstream.
    pub added: Histogram,
    pub phases: [Histogram; PHASES.len()],
    pub received_bytes: Counter,
    pub sent_bytes: Counter,

    pub accepted: Counter,
    /// Answered 503 at the cap of connections.
    pub turned_away: Counter,
    pub accept_errors: Counter,
    pub handshakes: Handshakes,

    pub connections: Gauge,
    pub inflight: Gauge,
    pub sessions: Gauge,
    /// Calls that wait for their clients to bring input.
    pub suspended: Gauge,
    /// Open `subscriptions/listen`.
    pub listens: Gauge,
    /// Answers that stand open: listens, and streams of sessions.
    pub standing: Gauge,
    pub held_bytes: Gauge,
    pub pooled_bytes: Gauge,

    pub mailbox_trips: Counter,
    pub mailbox_full: Counter,
    pub log_lines_dropped: Counter,
    /// Exchanges that control was too far behind to be told of.
    pub traces_dropped: Counter,
    /// Answers that gave way to others before their clients came back for them.
    pub answers_dropped: Counter,
    pub panics: Counter,
    /// How often it looked for work instead of sleeping, as `--busy-poll` asks.
    pub busy_polls: Counter,

    /// The serial of the edition it serves from.
    pub edition: AtomicU64,
    /// The serial of what it was told last of a candidate beside that.
    pub trial: AtomicU64,
    /// Decisions of a candidate that shadows the live edition, by what they are beside the live ones.
    pub shadow: [Counter; Difference::ALL.len()],
    /// How long they took.
    pub shadow_decision: Histogram,
    upstreams: Places<UpstreamFigures>,
    limits: Places<LimitFigures>,
    servers: Places<ServerFigures>,
    /// By `upstream.tool`.
    pub tools: Tools,
    /// By id.
    pub principals: Named,
    /// Of calls that have a price.
    pub costs: Costs,
}

impl WorkerFigures {
    pub fn requests(&self, method: MethodClass, outcome: Outcome) -> &Counter {
        &self.requests[method as usize][outcome as usize]
    }

    /// By the worker whose figures these are: from now on it serves from `edition`, whose upstreams, servers and limits are
    /// shown from the start, with nothing counted.
    pub(crate) fn serves(&self, edition: &Edition) {
        self.meets(edition);
        self.edition.store(edition.serial, Ordering::Release);
    }

    /// The same for an edition that a candidate is.
    pub(crate) fn meets(&self, edition: &Edition) {
        for wiring in edition.wirings().iter() {
            self.upstreams.at(wiring.place);
        }
        for place in edition.server_places.iter() {
            self.servers.at(*place);
        }
        for limit in edition.metering.iter().flat_map(|metering| &metering.limits) {
            self.limits.at(limit.place);
        }
    }

    /// Of an upstream; by the worker whose figures these are.
    pub(crate) fn upstream(&self, place: Place) -> &UpstreamFigures {
        self.upstreams.at(place)
    }

    /// Of a limit; by the worker whose figures these are.
    pub(crate) fn limit(&self, place: Place) -> &LimitFigures {
        self.limits.at(place)
    }

    /// Of a server; by the worker whose figures these are.
    pub(crate) fn server(&self, place: Place) -> &ServerFigures {
        self.servers.at(place)
    }

    /// The same for everybody else: `None` until the worker has met it.
    pub fn server_seen(&self, place: Place) -> Option<&ServerFigures> {
        self.servers.seen(place)
    }

    /// The same of a limit.
    pub fn limit_seen(&self, place: Place) -> Option<&LimitFigures> {
        self.limits.seen(place)
    }

    /// The same of an upstream.
    pub fn upstream_seen(&self, place: Place) -> Option<&UpstreamFigures> {
        self.upstreams.seen(place)
    }

    /// Requests told to their end, whatever it was.
    pub fn exchanges(&self) -> u64 {
        self.requests.iter().flatten().map(Counter::get).sum()
    }

    /// Of those, the ones that got no answer of whom they asked.
    pub fn refused(&self) -> u64 {
        let refused = |outcome: &Outcome| !matches!(outcome, Outcome::Ok | Outcome::Error);
        let all = MethodClass::ALL.iter().flat_map(|method| Outcome::ALL.iter().map(move |o| (method, o)));
        all.filter(|(_, outcome)| refused(outcome)).map(|(m, o)| self.requests(*m, *o).get()).sum()
    }
}

/// The words for [`WorkerFigures::phases`], in its order.
pub fn phases() -> impl Iterator<Item = &'static str> {
    PHASES.iter().map(|(_, word)| *word)
}

#[cfg(test)]
mod tests;
