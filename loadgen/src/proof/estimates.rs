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
use super::schedule::Arm;

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
    /// The times themselves, per arm.
    pub times: [i64; 3],
    pub added: Estimate,
    pub null: Estimate,
    pub delta: Estimate,
    pub null_delta: Estimate,
    /// What each quarter of the run says is added, on its own. Resampling treats blocks as exchangeable; a
    /// host that changes its mood in mid-run shows here.
    pub added_quarters: [i64; 4],
}

/// Rows for p50, p90, p99 and whatever a limit names, as far as there are samples enough to show them.
pub fn rows(whole: &Whole, limits: &[Limit], method: Method) -> Vec<Row> {
    let mut percentiles = vec![Percentile::P50, Percentile::P90, Percentile::P99];
    percentiles.extend(limits.iter().map(|limit| limit.percentile));
    percentiles.sort_unstable();
    percentiles.dedup();
    percentiles.retain(|percentile| percentile.beyond(whole.len() as u64) >= BEYOND_SHOWN);

    let sizes = whole.sizes();
    let rank = |values: &[i64]| Ranked::new(values, &whole.blocks, sizes.len());
    let [direct, again, through] = Arm::ALL.map(|arm| rank(&whole.arms[arm.index()]));
    let delta = rank(&whole.differences(Arm::Through, Arm::Direct));
    let null_delta = rank(&whole.differences(Arm::Again, Arm::Direct));
    let contrasts: Vec<Contrast<'_>> = percentiles
        .iter()
        .flat_map(|&percentile| {
            [
                Contrast { of: &through, minus: Some(&direct), percentile },
                Contrast { of: &again, minus: Some(&direct), percentile },
                Contrast { of: &delta, minus: None, percentile },
                Contrast { of: &null_delta, minus: None, percentile },
            ]
        })
        .collect();
    let quarters: [[Vec<i64>; 2]; 4] = std::array::from_fn(|quarter| {
        let of = whole.part(quarter, 4);
        [Arm::Through, Arm::Direct].map(|arm| {
            let mut values = whole.arms[arm.index()][of.clone()].to_vec();
            values.sort_unstable();
            values
        })
    });
    let estimates = estimate(&contrasts, &sizes, method).unwrap_or_default();
    let rows = percentiles.iter().zip(estimates.chunks_exact(4)).map(|(&percentile, four)| {
        let times = [&direct, &again, &through].map(|arm| arm.quantile(percentile).unwrap_or_default());
        let [added, null] = [four[0].widened(SCALE_ERROR), four[1]];
        let [delta, null_delta] = [four[2].widened(SCALE_ERROR), four[3]];
        let added_quarters = quarters.each_ref().map(|[through, direct]| {
            let rank = percentile.rank(direct.len() as u64) as usize;
            let at = |values: &[i64]| values.get(rank - 1).copied().unwrap_or_default();
            at(through) - at(direct)
        });
        Row { percentile, times, added, null, delta, null_delta, added_quarters }
    });
    rows.collect()
}
