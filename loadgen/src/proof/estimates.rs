//! The numbers a verdict rests on. Two questions are answered side by side and never mixed:
//!
//! - **added**: the quantile of the gateway's times minus the quantile of the direct times. This is what a
//!   limit speaks of: "the median becomes so much larger".
//! - **delta**: the quantile of the differences within a slot. Its upper part holds the noise of two
//!   measurements at once, so at p99 it is larger than any gateway; it is there to be seen.
//!
//! Each has its null beside it: the same with the second direct arm in place of the gateway.

use super::bootstrap::{Contrast, Estimate, Method, Ranked, estimate};
use super::limit::{Limit, Percentile};
use super::samples::Whole;
use super::schedule::{ARMS, Arm};

/// A percentile with fewer values beyond it than this is not shown at all.
pub const BEYOND_SHOWN: u64 = 10;

/// What resampling cannot see: a wait makes what follows it slower (colder caches, more interrupts that
/// fall into it), so that a delay is measured longer than it is. The self-test finds 0.2 to 0.7 % with all
/// threads on one core; intervals of what is added are this share of the estimate wider at both ends.
pub const SCALE_ERROR: f64 = 0.01;

/// One percentile of everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub percentile: Percentile,
    /// The times themselves, at [`Arm::index`].
    pub times: [i64; ARMS],
    pub null: Estimate,
    pub null_delta: Estimate,
    /// What each longer way adds, at [`Arm::index`]; a run always has the gateway's.
    added: [Option<Added>; ARMS],
    /// The gateway's quantile minus the rival's.
    pub less_rival: Option<Estimate>,
}

/// What one longer way adds at a percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Added {
    pub added: Estimate,
    pub delta: Estimate,
    /// What each quarter of the run says is added, on its own. Resampling treats blocks as exchangeable; a
    /// host that changes its mood in mid-run shows here.
    pub quarters: [i64; 4],
}

impl Row {
    pub fn of(&self, arm: Arm) -> Option<&Added> {
        self.added[arm.index()].as_ref()
    }
}

/// p50, p90, p99 and whatever a limit names, as far as so many samples are enough to show them.
pub(super) fn shown(limits: &[Limit], samples: usize) -> Vec<Percentile> {
    let mut percentiles = vec![Percentile::P50, Percentile::P90, Percentile::P99];
    percentiles.extend(limits.iter().map(|limit| limit.percentile));
    percentiles.sort_unstable();
    percentiles.dedup();
    percentiles.retain(|percentile| percentile.beyond(samples as u64) >= BEYOND_SHOWN);
    percentiles
}

/// A row for each of these.
pub fn rows(whole: &Whole, arms: &[Arm], limits: &[Limit], method: Method) -> Vec<Row> {
    let percentiles = shown(limits, whole.len());
    let sizes = whole.sizes();
    let rank = |values: &[i64]| Ranked::new(values, &whole.blocks, sizes.len());
    let times = Arm::ALL.map(|arm| rank(&whole.arms[arm.index()]));
    let of = |arm: Arm| &times[arm.index()];
    let longer: Vec<Arm> = arms.iter().copied().filter(|arm| arm.is_longer()).collect();
    let null_delta = rank(&whole.differences(Arm::Again, Arm::Direct));
    let deltas: Vec<Ranked> = longer.iter().map(|arm| rank(&whole.differences(*arm, Arm::Direct))).collect();
    let has_rival = longer.contains(&Arm::Rival);

    // In this order they are read back below.
    let contrasts = |percentile: Percentile| {
        let minus = |of, minus| Contrast { of, minus: Some(minus), percentile };
        let alone = |of| Contrast { of, minus: None, percentile };
        let mut contrasts = vec![minus(of(Arm::Again), of(Arm::Direct)), alone(&null_delta)];
        for (arm, delta) in longer.iter().zip(&deltas) {
            contrasts.extend([minus(of(*arm), of(Arm::Direct)), alone(delta)]);
        }
        contrasts.extend(has_rival.then(|| minus(of(Arm::Through), of(Arm::Rival))));
        contrasts
    };
    let all: Vec<Contrast<'_>> = percentiles.iter().copied().flat_map(contrasts).collect();
    let estimates = estimate(&all, &sizes, method).unwrap_or_default();
    let quarters = Quarters::of(whole);
    let each = 2 + 2 * longer.len() + usize::from(has_rival);
    let rows = percentiles.iter().zip(estimates.chunks_exact(each)).map(|(&percentile, estimates)| {
        let mut added = [None; ARMS];
        for (arm, pair) in longer.iter().zip(estimates[2..].chunks_exact(2)) {
            added[arm.index()] = Some(Added {
                added: pair[0].widened(SCALE_ERROR),
                delta: pair[1].widened(SCALE_ERROR),
                quarters: quarters.added(*arm, percentile),
            });
        }
        Row {
            percentile,
            times: Arm::ALL.map(|arm| of(arm).quantile(percentile).unwrap_or_default()),
            null: estimates[0],
            null_delta: estimates[1],
            added,
            less_rival: has_rival.then(|| estimates[each - 1].widened(SCALE_ERROR)),
        }
    });
    rows.collect()
}

/// Four parts of the run, one after the other; times of each arm in order of size.
struct Quarters([[Vec<i64>; ARMS]; 4]);

impl Quarters {
    fn of(whole: &Whole) -> Quarters {
        Quarters(std::array::from_fn(|quarter| {
            let part = whole.part(quarter, 4);
            whole.arms.each_ref().map(|times| {
                let mut values = times.get(part.clone()).unwrap_or_default().to_vec();
                values.sort_unstable();
                values
            })
        }))
    }

    fn added(&self, arm: Arm, percentile: Percentile) -> [i64; 4] {
        self.0.each_ref().map(|times| {
            let at = |arm: Arm| {
                let values = &times[arm.index()];
                let rank = percentile.rank(values.len() as u64) as usize;
                values.get(rank - 1).copied().unwrap_or_default()
            };
            at(arm) - at(Arm::Direct)
        })
    }
}
