//! Intervals by resampling blocks.
//!
//! Slots next to each other are alike (a busy neighbour lasts milliseconds), so single slots must not be
//! resampled as if they were independent: whole blocks are drawn, with replacement, and all arms of a
//! block come together. Drawing a block `w` times is the same as giving its values the weight `w`; so the
//! values are sorted once, and every resample is a walk to a weighted rank in that one order.

use super::limit::Percentile;
use crate::random::Random;

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub estimate: i64,
    pub low: i64,
    pub high: i64,
}

impl Estimate {
    pub fn half_width(&self) -> i64 {
        (self.high - self.low) / 2
    }

    /// The interval with so much of its estimate added at both ends.
    pub fn widened(self, share: f64) -> Estimate {
        let by = (self.estimate.unsigned_abs() as f64 * share).round() as i64;
        Estimate { low: self.low - by, high: self.high + by, ..self }
    }

    pub fn contains(&self, value: i64) -> bool {
        self.low <= value && value <= self.high
    }

    /// How far the interval keeps from a value; nothing when it contains it.
    pub fn distance_from(&self, value: i64) -> i64 {
        (self.low - value).max(value - self.high).max(0)
    }
}

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    pub resamples: usize,
    /// 0.95: one interval in twenty misses.
    pub confidence: f64,
    pub seed: u64,
}

/// The values of one arm in order of size, each with its block.
pub struct Ranked {
    values: Vec<i64>,
    blocks: Vec<u16>,
    /// Row `i` counts, per block, the values before the first of stride `i`.
    strides: Vec<Vec<u32>>,
}

/// Values between two rows of counts: a weighted rank is found by bisecting rows, then walking one stride.
const STRIDE: usize = 128;

impl Ranked {
    /// `block_of[i]` is the block of `values[i]`, below `blocks`.
    pub fn new(values: &[i64], block_of: &[u16], blocks: usize) -> Ranked {
        let mut pairs: Vec<(i64, u16)> = values.iter().copied().zip(block_of.iter().copied()).collect();
        pairs.sort_unstable();
        let mut counts = vec![0u32; blocks];
        let mut strides = Vec::with_capacity(pairs.len() / STRIDE + 1);
        for (index, (_, block)) in pairs.iter().enumerate() {
            if index % STRIDE == 0 {
                strides.push(counts.clone());
            }
            counts[usize::from(*block)] += 1;
        }
        let (values, blocks) = pairs.into_iter().unzip();
        Ranked { values, blocks, strides }
    }

    /// The value at a percentile; nothing among no values.
    pub fn quantile(&self, percentile: Percentile) -> Option<i64> {
        let rank = percentile.rank(self.values.len() as u64);
        self.values.get(usize::try_from(rank).ok()?.checked_sub(1)?).copied()
    }

    /// The value at a percentile when each block counts `weights[block]` times, `total` values in all.
    pub(super) fn weighted(&self, percentile: Percentile, weights: &[u32], total: u64) -> i64 {
        let rank = percentile.rank(total);
        let before = |row: &Vec<u32>| -> u64 {
            row.iter().zip(weights).map(|(count, weight)| u64::from(*count) * u64::from(*weight)).sum()
        };
        let stride = self.strides.partition_point(|row| before(row) < rank).saturating_sub(1);
        let mut reached = before(&self.strides[stride]);
        let from = stride * STRIDE;
        for (value, block) in self.values[from..].iter().zip(&self.blocks[from..]) {
            reached += u64::from(weights[usize::from(*block)]);
            if reached >= rank {
                return *value;
            }
        }
        self.values[self.values.len() - 1]
    }
}

/// A quantity of the data: the quantile of the first, minus that of the second when there is one.
pub struct Contrast<'a> {
    pub of: &'a Ranked,
    pub minus: Option<&'a Ranked>,
    pub percentile: Percentile,
}

/// Estimates all contrasts from the same resamples, so that they can be compared with each other.
/// `sizes[block]` is the number of slots in a block; none at all gives no estimates.
pub fn estimate(contrasts: &[Contrast<'_>], sizes: &[u32], method: Method) -> Option<Vec<Estimate>> {
    let points: Vec<i64> = contrasts.iter().map(point).collect::<Option<_>>()?;
    let mut draws = vec![Vec::with_capacity(method.resamples); contrasts.len()];
    let mut random = Random::new(method.seed);
    let mut weights = vec![0u32; sizes.len()];
    for _ in 0..method.resamples {
        weights.fill(0);
        for _ in 0..sizes.len() {
            weights[random.below(sizes.len() as u64) as usize] += 1;
        }
        let total: u64 = sizes.iter().zip(&weights).map(|(size, w)| u64::from(*size) * u64::from(*w)).sum();
        for (contrast, draws) in contrasts.iter().zip(&mut draws) {
            let first = contrast.of.weighted(contrast.percentile, &weights, total);
            let second = contrast.minus.map_or(0, |m| m.weighted(contrast.percentile, &weights, total));
            draws.push(first - second);
        }
    }
    let interval = |(estimate, mut draws): (i64, Vec<i64>)| {
        draws.sort_unstable();
        let outside = (draws.len() as f64 * (1.0 - method.confidence) / 2.0).floor() as usize;
        let (low, high) = (draws[outside], draws[draws.len() - 1 - outside]);
        Estimate { estimate, low: low.min(estimate), high: high.max(estimate) }
    };
    Some(points.into_iter().zip(draws).map(interval).collect())
}

fn point(contrast: &Contrast<'_>) -> Option<i64> {
    let first = contrast.of.quantile(contrast.percentile)?;
    let second = contrast.minus.map_or(Some(0), |minus| minus.quantile(contrast.percentile))?;
    Some(first - second)
}
