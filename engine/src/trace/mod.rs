//! Where an exchange is in a trace, and whether anybody is told of it.
//!
//! The decision: an exchange that might be told of carries one [`Trace`], and whether it is told of is decided when it is over
//! ([`Tracing::keeps`]): what failed or was slow is worth more than what was drawn by lot. What is told is a [`Traced`] of a fixed size,
//! numbers and a snapshot to look them up in, over one bounded channel per worker to control, which makes spans of it. A full channel
//! loses it and counts that: telemetry slows no call. With `telemetry.traces` left out all of this is one branch per exchange.

mod carried;
mod fact;

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

use strait_protocol::trace::{Parent, State};
use strait_table::rules::ArchivedRules;
use strait_table::telemetry::ArchivedServerTiming;

use crate::core::{Adopted, Core};
use crate::exchange::Incoming;
use crate::figures::labels::Outcome;
use crate::io::random;
use crate::limits::TRACES_KEPT_MAX;
pub use carried::{Missing, Trace};
pub use fact::{Short, Traced};

/// What a table says of telemetry, as a worker asks it. Most say nothing, which is one look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watching {
    pub traces: Option<Tracing>,
    pub timing: Timing,
    /// Any of the two.
    pub is_on: bool,
}

/// Whether answers say how long their parts took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    #[default]
    Never,
    Asked,
    Always,
}

impl Watching {
    pub fn of(rules: &ArchivedRules) -> Watching {
        let telemetry = &rules.telemetry;
        let traces = telemetry.traces.as_ref().map(|traces| Tracing {
            below: ((u128::from(traces.sample_ppm.to_native()) << LOT_BITS) / 1_000_000) as u64,
            slower_than_ns: traces
                .slower_than_ms
                .as_ref()
                .map_or(u64::MAX, |ms| u64::from(ms.to_native()) * 1_000_000),
            errors: traces.errors,
        });
        let timing = match telemetry.server_timing {
            ArchivedServerTiming::Never => Timing::Never,
            ArchivedServerTiming::Asked => Timing::Asked,
            ArchivedServerTiming::Always => Timing::Always,
        };
        Watching { traces, timing, is_on: traces.is_some() || timing != Timing::Never }
    }
}

/// Which exchanges are told of.
#[derive(Clone, Copy, Debug)]
pub struct Tracing {
    /// Traces whose lot is below are sampled.
    below: u64,
    slower_than_ns: u64,
    errors: bool,
}

/// The low bits of a trace's id, which are drawn by whoever begins it: everybody who samples by them samples the same traces.
const LOT_BITS: u32 = 56;

impl Tracing {
    /// Of a trace that begins here.
    fn samples(&self, trace: &[u8; 16]) -> bool {
        let lot = trace.last_chunk().map_or(0, |low| u64::from_be_bytes(*low)) & ((1 << LOT_BITS) - 1);
        lot < self.below
    }

    /// Whether an exchange that is over is told of.
    pub fn keeps(&self, is_sampled: bool, outcome: Outcome, ns: u64) -> bool {
        is_sampled || (self.errors && outcome != Outcome::Ok) || ns > self.slower_than_ns
    }
}

/// Where control has the other end, once it wants to hear.
pub type Port = OnceLock<SyncSender<Traced>>;

/// What one worker needs for traces.
pub struct Tracer {
    port: Arc<Port>,
    /// Of the ids that it makes. They tell spans apart; nothing depends on that nobody can guess them.
    seed: OnceCell<Cell<u64>>,
    /// Traces of exchanges that are over, for those to come.
    spare: RefCell<Vec<Arc<Trace>>>,
}

impl Tracer {
    pub fn new(port: Arc<Port>) -> Tracer {
        Tracer { port, seed: OnceCell::new(), spare: RefCell::default() }
    }

    /// The exchange's place in a trace: behind what its client's headers say, else at the beginning of one.
    fn begin(&self, tracing: &Tracing, parent: Option<Parent>, state: State) -> Arc<Trace> {
        let trace = parent.map_or_else(|| self.id(), |parent| parent.trace);
        let sampled = parent.map_or_else(|| tracing.samples(&trace), |parent| parent.sampled);
        let own = Parent { trace, span: self.id(), sampled };
        let begun = Trace::new(own, parent, self.id(), state);
        let Some(mut spare) = self.spare.borrow_mut().pop() else { return Arc::new(begun) };
        match Arc::get_mut(&mut spare) {
            Some(place) => *place = begun,
            // An answer that goes on without its exchange has it still.
            None => return Arc::new(begun),
        }
        spare
    }

    /// For another exchange.
    pub fn give_back(&self, trace: Arc<Trace>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < TRACES_KEPT_MAX {
            spare.push(trace);
        }
    }

    /// Tells control of an exchange; `false`: nobody takes it.
    pub fn tell(&self, traced: Traced) -> bool {
        self.port.get().is_some_and(|port| port.try_send(traced).is_ok())
    }

    /// Never all zeroes, which is no id.
    fn id<const N: usize>(&self) -> [u8; N] {
        let mut id = [0; N];
        for part in id.chunks_mut(8) {
            part.copy_from_slice(self.next().to_be_bytes().get(..part.len()).unwrap_or(&[1]));
        }
        if id == [0; N] { [1; N] } else { id }
    }

    /// SplitMix64: every number once before any comes again.
    fn next(&self) -> u64 {
        let seed = self.seed.get_or_init(|| {
            let mut bytes = [0; 8];
            // Without a generator workers still differ, by where their state lies.
            if random::fill(&mut bytes).is_err() {
                bytes = (std::ptr::from_ref(self) as u64).to_be_bytes();
            }
            Cell::new(u64::from_be_bytes(bytes))
        });
        seed.set(seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = seed.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The trace of a request that is here; `None`: nothing is traced.
pub fn begin(core: &Core, adopted: &Adopted, incoming: &Incoming<'_>) -> Option<Arc<Trace>> {
    let tracing = adopted.watching.traces.as_ref()?;
    let parent = parent(incoming);
    let state = match parent {
        // A state without a parent is about nothing.
        None => State::default(),
        Some(_) => {
            let headers = incoming.head.headers(incoming.bytes);
            let states = headers.filter(|(name, _)| name.eq_ignore_ascii_case(b"tracestate"));
            State::gather(states.map(|(_, value)| value))
        }
    };
    Some(core.tracer.begin(tracing, parent, state))
}

/// What the headers of a request say of its trace.
pub fn parent(incoming: &Incoming<'_>) -> Option<Parent> {
    incoming.head.traceparent.and_then(|span| Parent::parse(span.of(incoming.bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracing(share: f64) -> Tracing {
        let below = (share * (1u64 << LOT_BITS) as f64) as u64;
        Tracing { below, slower_than_ns: 1_000, errors: true }
    }

    #[test]
    fn the_share_of_traces_is_drawn_by_their_ids_alone() {
        let tracer = Tracer::new(Arc::default());
        for share in [0.0, 0.01, 0.5, 1.0] {
            let tracing = tracing(share);
            let sampled = (0..100_000).filter(|_| tracing.samples(&tracer.id())).count() as f64 / 100_000.0;
            assert!((sampled - share).abs() < 0.01, "{share}: {sampled}");
        }
    }

    #[test]
    fn what_failed_or_was_slow_is_kept_and_the_rest_by_lot() {
        let tracing = tracing(0.0);
        assert!(!tracing.keeps(false, Outcome::Ok, 1_000));
        assert!(tracing.keeps(true, Outcome::Ok, 0));
        assert!(tracing.keeps(false, Outcome::Ok, 1_001));
        assert!(tracing.keeps(false, Outcome::Refused, 0));
        let silent = Tracing { errors: false, ..tracing };
        assert!(!silent.keeps(false, Outcome::Refused, 0));
    }

    #[test]
    fn a_parent_says_whether_it_is_sampled_and_places_are_used_again() {
        let tracer = Tracer::new(Arc::default());
        let parent = Parent { trace: [7; 16], span: [8; 8], sampled: true };
        let trace = tracer.begin(&tracing(0.0), Some(parent), State::default());
        assert_eq!((trace.own().trace, trace.own().sampled), ([7; 16], true));
        assert!(trace.own().span != parent.span && trace.asks().span != trace.own().span);
        assert_eq!(trace.asks().trace, parent.trace);
        let place = Arc::as_ptr(&trace);
        tracer.give_back(trace);
        let other = tracer.begin(&tracing(0.0), None, State::default());
        assert_eq!(Arc::as_ptr(&other), place, "nothing is allocated for it");
        assert!(other.own().trace != parent.trace && !other.own().sampled);
        // One that is in use still is nobody else's.
        tracer.give_back(other.clone());
        assert!(Arc::as_ptr(&tracer.begin(&tracing(0.0), None, State::default())) != place);
    }
}
