//! How long things take: a fixed number of buckets, each a [`Counter`].
//!
//! Every power of two between 2^7 ns (128 ns) and 2^36 ns (69 s) is split into eight equal parts, so a value is
//! known to within an eighth of itself, a record costs a shift, a mask and two counters, and a histogram is 1.9 KB
//! for ever. Buckets are the same in all of them: merging cores is adding, and loses nothing. A bucket includes its
//! upper bound, as `le` of Prometheus does, so every power of two is an exact `le`.
//!
//! (An `hdrhistogram` grows, locks or allocates, and cannot be read while another thread writes it. Who wants one makes it
//! of [`Distribution::buckets`].)

use super::cell::Counter;

const LEAST_BITS: u32 = 7;
const MOST_BITS: u32 = 36;
const PART_BITS: u32 = 3;
/// Into which every power of two is split.
pub const PARTS: usize = 1 << PART_BITS;
/// Up to 2^7 ns, eight for every power of two, and over 2^36 ns.
pub const BUCKETS: usize = 1 + (MOST_BITS - LEAST_BITS) as usize * PARTS + 1;

/// A distribution of nanoseconds, written by one thread.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: std::array::from_fn(|_| Counter::default()), sum_ns: Counter::default() }
    }
}

impl Histogram {
    /// By the one thread that owns it.
    #[inline]
    pub fn record(&self, ns: u64) {
        // The index is in range by construction; `get` keeps a mistake from costing the exchange.
        if let Some(bucket) = self.buckets.get(index(ns)) {
            bucket.add(1);
        }
        self.sum_ns.add(ns);
    }

    /// Adds what was recorded so far. The sum may lag behind the counts by what is being recorded just now.
    pub fn read_into(&self, into: &mut Distribution) {
        for (count, bucket) in into.counts.iter_mut().zip(&self.buckets) {
            *count += bucket.get();
        }
        into.sum_ns += self.sum_ns.get();
    }
}

fn index(ns: u64) -> usize {
    let below = ns.saturating_sub(1);
    let bits = below.checked_ilog2().unwrap_or(0);
    if bits < LEAST_BITS {
        return 0;
    }
    if bits >= MOST_BITS {
        return BUCKETS - 1;
    }
    let part = (below >> (bits - PART_BITS)) as usize & (PARTS - 1);
    1 + (bits - LEAST_BITS) as usize * PARTS + part
}

/// The largest value of a bucket; `None` for the last, which has no end.
fn bound_ns(index: usize) -> Option<u64> {
    match index.checked_sub(1) {
        None => Some(1 << LEAST_BITS),
        Some(_) if index == BUCKETS - 1 => None,
        Some(at) => {
            Some(((PARTS + at % PARTS + 1) as u64) << (LEAST_BITS as usize + at / PARTS - PART_BITS as usize))
        }
    }
}

/// What one or several histograms had counted at one moment.
#[derive(Clone, Debug)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    pub sum_ns: u64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { counts: [0; BUCKETS], sum_ns: 0 }
    }
}

impl Distribution {
    pub fn of<'h>(histograms: impl IntoIterator<Item = &'h Histogram>) -> Distribution {
        let mut all = Distribution::default();
        histograms.into_iter().for_each(|histogram| histogram.read_into(&mut all));
        all
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Counts up to and including 2^`LEAST_BITS` ns, then up to the end of every `step` further buckets: with [`PARTS`] that is every
    /// power of two. `(bound in ns, count)`; what is above the last is in [`Distribution::count`] alone.
    pub fn cumulative(&self, step: usize) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        let mut from = 0;
        (0..BUCKETS - 1).step_by(step).map(move |last| {
            below += self.counts.get(from..=last).unwrap_or_default().iter().sum::<u64>();
            from = last + 1;
            (bound_ns(last).unwrap_or(u64::MAX), below)
        })
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Distribution) -> Distribution {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(before.counts) {
            *count = count.saturating_sub(before);
        }
        since.sum_ns = since.sum_ns.saturating_sub(before.sum_ns);
        since
    }

    /// A bound that `part` of `whole` are within, less than an eighth over the largest of them; `None`: of nothing.
    pub fn quantile_ns(&self, part: u64, whole: u64) -> Option<u64> {
        let wanted = (self.count() * part).div_ceil(whole.max(1));
        let mut seen = 0;
        let mut filled = self.buckets();
        filled
            .find(|(_, count)| {
                seen += count;
                seen >= wanted
            })
            .map(|(bound, _)| bound)
    }

    /// Every bucket that holds something: `(largest value in ns, count)`; for the last, the least it can be.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (bound_ns(index).unwrap_or(1 << MOST_BITS), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let check = |ns: u64| {
            let at = index(ns);
            assert!(bound_ns(at).is_none_or(|bound| ns <= bound), "{ns} is over the bound of bucket {at}");
            assert!(at == 0 || bound_ns(at - 1).is_some_and(|bound| ns > bound), "{ns} belongs before {at}");
        };
        for bits in 0..64 {
            for near in [-2i64, -1, 0, 1, 2] {
                check((1u64 << bits).saturating_add_signed(near));
            }
        }
        (0..10_000).for_each(check);
        check(u64::MAX);
    }

    #[test]
    fn a_bound_is_within_an_eighth_of_the_value() {
        for ns in [130u64, 999, 12_345, 1_000_000, 7_654_321_000] {
            let bound = bound_ns(index(ns)).unwrap();
            assert!(bound >= ns && bound <= ns + ns / 8 + 1, "{ns}: {bound}");
        }
    }

    #[test]
    fn cumulative_counts_are_exact_at_powers_of_two() {
        let histogram = Histogram::default();
        for ns in [0, 128, 129, 256, 257, 1 << 20, (1 << 20) + 1, 1 << 36, (1 << 36) + 1, u64::MAX / 4] {
            histogram.record(ns);
        }
        for step in [1, PARTS, 2 * PARTS] {
            let read = Distribution::of([&histogram]);
            let at = |bound: u64| read.cumulative(step).find(|(ns, _)| *ns == bound).map(|(_, count)| count);
            assert_eq!(at(128), Some(2));
            assert_eq!(at(512), Some(5));
            assert_eq!(at(1 << 21), Some(7));
            assert_eq!(read.count(), 10);
        }
        let read = Distribution::of([&histogram]);
        assert_eq!(read.quantile_ns(1, 2), Some(257 + 31));
        assert_eq!((read.quantile_ns(0, 1), read.quantile_ns(1, 1)), (Some(128), Some(1 << 36)));
        assert_eq!(read.since(&read).quantile_ns(1, 2), None);
        let read = Distribution::of([&histogram, &histogram]);
        assert_eq!(read.count(), 20);
        assert_eq!(read.cumulative(PARTS).last(), Some((1 << 36, 16)));
        let told: u64 = read.buckets().filter(|(bound, _)| *bound <= 288).map(|(_, count)| count).sum();
        assert_eq!(read.cumulative(1).find(|(bound, _)| *bound == 288), Some((288, told)));
        assert_eq!(read.buckets().map(|(_, count)| count).sum::<u64>(), 20);
    }
}
