//! Traces of some of the requests that a histogram counts: whoever sees a slow bucket can look one of its requests up.
//!
//! Kept where traces pass through control, so workers do nothing for them: the last one of each bucket. Whether a trace was really
//! taken by its collector is not known yet when it is shown.

use strait_engine::figures::labels::MethodClass;
use strait_engine::trace::Traced;

/// Powers of two of a nanosecond, as [`strait_engine::figures::histogram::Distribution::cumulative`] has them: up to 2^7, each further
/// one up to 2^36, and over that.
const LEAST_BITS: u32 = 7;
const MOST_BITS: u32 = 36;
const BUCKETS: usize = (MOST_BITS - LEAST_BITS) as usize + 2;

/// A request that was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub ns: u64,
    /// When it was over.
    pub unix_ns: u64,
}

/// By bucket of one histogram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buckets([Option<Exemplar>; BUCKETS]);

impl Buckets {
    pub fn keep(&mut self, one: Exemplar) {
        let bits = one.ns.saturating_sub(1).checked_ilog2().map_or(0, |bits| bits + 1);
        let at = bits.clamp(LEAST_BITS, MOST_BITS + 1) - LEAST_BITS;
        if let Some(place) = self.0.get_mut(at as usize) {
            *place = Some(one);
        }
    }

    /// Of the bucket at this place, counted from the lowest; the one after the last has no bound.
    pub fn get(&self, at: usize) -> Option<&Exemplar> {
        self.0.get(at)?.as_ref()
    }
}

/// Of `strait_request_duration_seconds`, by method.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exemplars([Buckets; MethodClass::ALL.len()]);

impl Exemplars {
    pub fn saw(&mut self, traced: &Traced) {
        let one = Exemplar {
            trace: traced.own.trace,
            span: traced.own.span,
            ns: traced.total_ns,
            unix_ns: traced.began_unix_ns + traced.total_ns,
        };
        if let Some(of) = self.0.get_mut(traced.class as usize) {
            of.keep(one);
        }
    }

    pub fn of(&self, class: MethodClass) -> Option<&Buckets> {
        self.0.get(class as usize)
    }
}

#[cfg(test)]
mod tests {
    use strait_engine::figures::histogram::{Distribution, Histogram, PARTS};

    use super::*;

    #[test]
    fn a_request_stands_beside_the_bucket_that_counts_it() {
        for ns in [0, 1, 127, 128, 129, 1_000, 1_024, 1_025, 1 << 36, (1 << 36) + 1, u64::MAX] {
            let histogram = Histogram::default();
            histogram.record(ns);
            let counted: Vec<u64> =
                Distribution::of([&histogram]).cumulative(PARTS).map(|(_, count)| count).collect();
            let at = counted.iter().position(|count| *count == 1).unwrap_or(counted.len());
            let mut buckets = Buckets::default();
            buckets.keep(Exemplar { trace: [1; 16], span: [2; 8], ns, unix_ns: 3 });
            let held: Vec<usize> = (0..=counted.len()).filter(|at| buckets.get(*at).is_some()).collect();
            assert_eq!(held, [at], "{ns} ns");
        }
    }
}
