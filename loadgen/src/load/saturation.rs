//! Whether the generator kept up with its own plan. A run that it could not keep up with says more
//! about us than about the target, so it gets no pretty number: SELF-SATURATED, exit 3.
//!
//! The rules, and why they are these:
//!
//! - *Something was never sent*: a run with a hole in its plan is not the run that was asked for.
//! - *Behind at the end*: requests that were due and unsent when the plan ended, more than 1 % of it.
//!   Then the rate was above what the target takes over so many connections, and every percentile only
//!   tells how long the run was. A stall that the run recovered from leaves nothing behind and is no
//!   saturation: it is what the latencies are for.
//! - *Our own lag in the figures*: the generator's own lateness is more than a tenth of the latency at
//!   p50, or more than half of it at p99, and more than what a wake-up costs. A tenth at the median is a
//!   steady error in everything reported; at p99, where a preempted generator shows first, more than
//!   half means that the tail tells more about us than about the target. Own lateness counts only when a
//!   connection was free: waiting for one is the target's doing.

use super::drive::{Driven, Idle};
use super::plan::Loop;
use super::record::Percentile;
use crate::words::shown_ns;

/// Requests left behind, as a share of the plan.
const BEHIND_SHARE_MAX: f64 = 0.01;
/// Always allowed to be behind: what becomes due in the last moments.
const BEHIND_ALLOWED: u64 = 2;
/// The share of a reported figure that may be our own lateness: its name, quantile and share.
const OWN_SHARES_MAX: [(&str, f64, f64); 2] = [("p99", 0.99, 0.5), ("p50", 0.5, 0.1)];
/// Lateness below this is a wake-up and a cache miss, whatever the share.
const OWN_NS_MIN: u64 = 20_000;

/// What a run could not send in time, and what to try; empty when there is nothing. The target is the first suspect.
pub(super) fn unsent(kind: &Loop, connections: usize, driven: &Driven) -> Vec<String> {
    if *kind == Loop::Closed || driven.interrupted || driven.lost.is_some() {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    let planned = driven.sent + driven.not_sent;
    if driven.not_sent > 0 {
        reasons.push(format!("{} of {planned} requests were never sent; {SLOWER}", driven.not_sent));
    }
    let allowed = BEHIND_ALLOWED.max((planned as f64 * BEHIND_SHARE_MAX) as u64);
    if driven.behind > allowed {
        reasons.push(format!(
            "{} of {planned} requests were due and unsent when the plan ended: all {connections} connections were \
             busy, or the generator was; {SLOWER}",
            driven.behind
        ));
    }
    reasons
}

/// Without a connection for what is due, the target is the first suspect.
const SLOWER: &str = "try a lower `--rate`, or more `--connections` if the target takes more at once";

/// A generator that is late by itself needs a core, and less to do on it.
const fn steadier(idle: Idle) -> &'static str {
    match idle {
        Idle::Spin => {
            "try `--cores N` with a core that nothing else runs on, fewer `--connections`, or a quieter machine"
        }
        Idle::Hybrid | Idle::Sleep => {
            "try `--idle spin` with `--cores N` on a core that nothing else runs on, fewer `--connections`, or a quieter \
             machine"
        }
    }
}

/// How late the generator was by itself, where that is too much of what is told.
pub(super) fn own_lag(kind: &Loop, idle: Idle, driven: &Driven) -> Option<String> {
    if *kind == Loop::Closed || driven.interrupted || driven.lost.is_some() {
        return None;
    }
    let record = &driven.record;
    OWN_SHARES_MAX.into_iter().find_map(|(name, quantile, share)| {
        let Percentile::Known(latency) = record.latency.percentile(quantile) else { return None };
        let own = record.own_lag.quantile(quantile);
        let too_late = own > OWN_NS_MIN && own as f64 > latency as f64 * share;
        too_late.then(|| {
            format!(
                "the generator itself was {} late at {name}, of the {} reported there; {}",
                shown_ns(own as f64),
                shown_ns(latency as f64),
                steadier(idle)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::plan::Arrivals;
    use super::super::rates::Rates;
    use super::*;

    const OPEN: Loop = Loop::Open { rates: Rates::Constant(1_000.0), arrivals: Arrivals::Constant };

    fn driven(latency: u64, own: u64) -> Driven {
        let mut record = super::super::record::Record::new();
        for _ in 0..10_000 {
            record.latency.record(latency);
            record.own_lag.record(own);
        }
        Driven {
            record,
            sent: 10_000,
            not_sent: 0,
            behind: 0,
            reconnects: 0,
            spin_ns: 0,
            duration_ns: 1,
            interrupted: false,
            lost: None,
            windows: super::super::steady::Windows::new(None),
            warmed_ns: Some(0),
            settled: false,
            by_template: Vec::new(),
        }
    }

    fn reasons(kind: &Loop, connections: usize, idle: Idle, driven: &Driven) -> Vec<String> {
        let mut reasons = unsent(kind, connections, driven);
        reasons.extend(own_lag(kind, idle, driven));
        reasons
    }

    #[test]
    fn each_cause_comes_with_what_to_try() {
        let told = |idle, driven: &Driven| reasons(&OPEN, 16, idle, driven).concat();
        let (late, unsent) = (driven(1_000_000, 900_000), Driven { not_sent: 9, ..driven(1_000_000, 0) });
        let backlog = Driven { behind: 900, ..driven(1_000_000, 0) };
        for (idle, driven, words, not) in [
            (Idle::Hybrid, &late, "`--idle spin` with `--cores N`", "--rate"),
            (Idle::Spin, &late, "try `--cores N`", "--idle"),
            (Idle::Hybrid, &unsent, "a lower `--rate`", "--cores"),
            (Idle::Hybrid, &backlog, "more `--connections`", "--cores"),
        ] {
            let told = told(idle, driven);
            assert!(told.contains(words) && !told.contains(not), "{told}");
        }
    }

    #[test]
    fn a_hole_in_the_plan_a_backlog_and_own_lag_are_told_and_a_stall_is_not() {
        let is = |kind, driven: &Driven| !reasons(&kind, 16, Idle::Hybrid, driven).is_empty();
        assert!(!is(OPEN, &driven(1_000_000, 50_000)));
        assert!(is(OPEN, &driven(1_000_000, 110_000)));
        assert!(!is(OPEN, &driven(100_000, 19_000)), "a wake-up");
        assert!(is(OPEN, &Driven { not_sent: 1, ..driven(1_000_000, 0) }));
        assert!(!is(OPEN, &Driven { behind: 100, ..driven(1_000_000, 0) }));
        assert!(is(OPEN, &Driven { behind: 101, ..driven(1_000_000, 0) }));
        assert!(!is(Loop::Closed, &Driven { behind: 101, ..driven(1_000_000, 900_000) }));
    }
}
