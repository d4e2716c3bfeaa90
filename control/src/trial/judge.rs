//! Whether a canary bakes on, is promoted, or goes.
//!
//! The decision: a verdict is a function of three things, the time that has passed and what was counted of either generation in it.
//! A bound stands against a candidate that is over it and worse than the live generation was in the same time: an upstream that
//! fails for everybody is no fault of the candidate's. With too few samples nothing is judged, and at the end of the bake such a candidate
//! goes: it has shown nothing. Denials are told and not judged: whom a policy refuses is its author's business.

use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::figures::generations::Tally;
use strait_engine::figures::histogram::Distribution;
use strait_engine::figures::labels::Outcome;

use super::terms::{Bound, Terms};

/// What was counted of one generation, at one moment or since another.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Exchanges that came to an answer or a fault.
    pub answered: u64,
    /// Of those: faults of upstreams and of the gateway, and upstreams' own JSON-RPC errors.
    pub failed: u64,
    pub denied: u64,
    /// Of forwarded calls: the time that was not the upstream's.
    pub added: Distribution,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Bakes,
    Promote,
    RollBack(String),
}

impl Reading {
    pub fn of(tally: &Tally) -> Reading {
        let failed = [Outcome::Error, Outcome::UpstreamFault, Outcome::Internal];
        let failed = failed.into_iter().map(|outcome| tally.outcome(outcome)).sum();
        Reading {
            answered: tally.outcome(Outcome::Ok) + failed,
            failed,
            denied: tally.outcome(Outcome::Refused),
            added: Distribution::of(tally.workers().iter().map(|worker| &worker.added)),
        }
    }

    pub fn since(&self, before: &Reading) -> Reading {
        Reading {
            answered: self.answered.saturating_sub(before.answered),
            failed: self.failed.saturating_sub(before.failed),
            denied: self.denied.saturating_sub(before.denied),
            added: self.added.since(&before.added),
        }
    }

    fn error_ppm(&self) -> u64 {
        self.failed * 1_000_000 / self.answered.max(1)
    }

    fn added_p99_ns(&self) -> u64 {
        self.added.quantile_ns(99, 100).unwrap_or_default()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "answered": self.answered,
            "failed": self.failed,
            "error_rate": self.error_ppm() as f64 / 1e6,
            "denied": self.denied,
            "added_p99_us": self.added.quantile_ns(99, 100).map(|ns| ns / 1_000),
        })
    }
}

/// `passed`: since the canary began, as the readings.
pub fn look(terms: &Terms, passed: Duration, live: &Reading, candidate: &Reading) -> Verdict {
    if candidate.answered >= terms.samples
        && let Some(why) = terms.abort_if.iter().find_map(|bound| bound.broken(live, candidate))
    {
        return Verdict::RollBack(why);
    }
    match passed >= terms.bake {
        false => Verdict::Bakes,
        true if candidate.answered >= terms.samples => Verdict::Promote,
        true => Verdict::RollBack(format!(
            "it answered {} in its {} s, and {} are needed to judge it: bake it longer, or let it serve more",
            exchanges(candidate.answered),
            terms.bake.as_secs(),
            terms.samples
        )),
    }
}

impl Bound {
    /// Why it stands against the candidate, if it does.
    fn broken(self, live: &Reading, candidate: &Reading) -> Option<String> {
        match self {
            Bound::ErrorRate { ppm } => {
                let (is, was) = (candidate.error_ppm(), live.error_ppm());
                let share = |ppm: u64| format!("{:.2} %", ppm as f64 / 10_000.0);
                (is > ppm && is > was).then(|| {
                    format!(
                        "{self}: {} of its {} failed, of the live generation's {} of {}",
                        share(is),
                        exchanges(candidate.answered),
                        share(was),
                        live.answered
                    )
                })
            }
            Bound::AddedP99 { ns } => {
                let (is, was) = (candidate.added_p99_ns(), live.added_p99_ns());
                (is > ns && is > was).then(|| {
                    format!("{self}: it adds {} us (p99), the live generation {} us", is / 1_000, was / 1_000)
                })
            }
        }
    }
}

fn exchanges(count: u64) -> String {
    format!("{count} exchange{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use strait_engine::figures::histogram::Histogram;

    use super::*;

    fn reading(answered: u64, failed: u64, added_us: u64) -> Reading {
        let added = Histogram::default();
        (0..answered).for_each(|_| added.record(added_us * 1_000));
        Reading { answered, failed, denied: 0, added: Distribution::of([&added]) }
    }

    fn terms() -> Terms {
        let bounds = ["error_rate>1%", "added_p99>2ms"];
        Terms::parse("5%", Some("10m"), &bounds, Some(100)).unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_candidate_like_the_live_generation_is_promoted_when_the_bake_is_over_and_not_before() {
        let (live, candidate) = (reading(2_000, 2, 50), reading(150, 1, 60));
        let at = |passed| look(&terms(), passed, &live, &candidate);
        assert_eq!(at(Duration::ZERO), Verdict::Bakes);
        assert_eq!(at(10 * MINUTE - Duration::from_nanos(1)), Verdict::Bakes);
        assert_eq!(at(10 * MINUTE), Verdict::Promote);
    }

    #[test]
    fn errors_end_it_at_once_but_not_before_there_are_enough_to_judge() {
        let live = reading(2_000, 2, 50);
        assert_eq!(look(&terms(), MINUTE, &live, &reading(99, 99, 50)), Verdict::Bakes);
        let Verdict::RollBack(why) = look(&terms(), MINUTE, &live, &reading(100, 2, 50)) else {
            panic!("2 % are over 1 %")
        };
        assert_eq!(
            why,
            "error_rate>1%: 2.00 % of its 100 exchanges failed, of the live generation's 0.10 % of 2000"
        );
        // Exactly at the bound is not over it.
        assert_eq!(look(&terms(), MINUTE, &live, &reading(100, 1, 50)), Verdict::Bakes);
    }

    #[test]
    fn what_fails_for_everybody_is_no_fault_of_the_candidate() {
        let candidate = reading(100, 30, 50);
        assert_eq!(look(&terms(), MINUTE, &reading(2_000, 700, 50), &candidate), Verdict::Bakes);
        assert!(matches!(look(&terms(), MINUTE, &reading(2_000, 500, 50), &candidate), Verdict::RollBack(_)));
        // Where nobody is served by the live generation there is nothing to compare with.
        assert!(matches!(look(&terms(), MINUTE, &reading(0, 0, 50), &candidate), Verdict::RollBack(_)));
    }

    #[test]
    fn what_it_adds_ends_it() {
        let slow = reading(100, 0, 2_900);
        let Verdict::RollBack(why) = look(&terms(), MINUTE, &reading(500, 0, 50), &slow) else {
            panic!("2.9 ms are over 2 ms")
        };
        assert!(why.starts_with("added_p99>2000us: it adds "), "{why}");
        assert_eq!(look(&terms(), MINUTE, &reading(500, 0, 9_000), &slow), Verdict::Bakes);
        // One in a hundred may be slow.
        let mut mostly = reading(99, 0, 50);
        mostly.added = Distribution::of([&{
            let added = Histogram::default();
            (0..99).for_each(|_| added.record(50_000));
            added.record(90_000_000);
            added
        }]);
        mostly.answered = 100;
        assert_eq!(look(&terms(), MINUTE, &reading(500, 0, 50), &mostly), Verdict::Bakes);
    }

    #[test]
    fn a_candidate_that_hardly_anybody_used_goes_when_the_bake_is_over() {
        let Verdict::RollBack(why) = look(&terms(), 10 * MINUTE, &reading(500, 0, 50), &reading(1, 0, 50))
        else {
            panic!("one sample shows nothing")
        };
        assert!(why.contains("answered 1 exchange in its 600 s, and 100 are needed"), "{why}");
    }

    #[test]
    fn what_was_before_the_canary_does_not_count() {
        let (before, after) = (reading(1_000, 900, 50), reading(1_100, 900, 50));
        let since = after.since(&before);
        assert_eq!((since.answered, since.failed, since.added.count()), (100, 0, 100));
    }
}
