//! `--abort-on-fail`: a demand that can no longer be met ends the run, since the rest of it would decide nothing.
//!
//! The decision: only what is certain ends a run. A p99 of 10,000 requests is lost when more than a hundred of them were too slow, not when the first
//! hundred of a thousand were; where nobody knows how many requests there will be (a closed loop for a time), a percentile is never given up. HOT: a
//! comparison and an addition per demand and answer.

use super::plan::{Arrivals, Length, Loop};
use super::record::PERCENTILES;
use super::threshold::{Figure, Part, Relation, Threshold};
use crate::words::shown_ns;

/// A demand that was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Which of the demands; none: that nothing fails, where none speaks of errors.
    pub demand: Option<usize>,
    pub words: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Of {
    Latency,
    Service,
    SendLag,
    Failures,
}

#[derive(Clone, Debug)]
struct Watched {
    demand: Option<usize>,
    of: Of,
    /// Times above it are counted.
    limit_ns: u64,
    seen: u64,
    allowed: u64,
}

/// Demands as they are while a run goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Hopes {
    watched: Vec<Watched>,
    lost: Option<usize>,
}

impl Hopes {
    pub fn new(thresholds: &[Threshold], kind: &Loop, length: Length) -> Hopes {
        let planned = planned(kind, length);
        let each = thresholds.iter().enumerate();
        let mut watched: Vec<Watched> =
            each.filter_map(|(place, threshold)| Watched::of(place, threshold, planned)).collect();
        if !thresholds.iter().any(Threshold::is_about_errors) {
            watched.push(Watched { demand: None, of: Of::Failures, limit_ns: 0, seen: 0, allowed: 0 });
        }
        Hopes { watched, lost: None }
    }

    #[inline]
    pub fn answered(&mut self, latency: u64, service: u64) {
        self.count(|watched| match watched.of {
            Of::Latency => latency > watched.limit_ns,
            Of::Service => service > watched.limit_ns,
            Of::SendLag | Of::Failures => false,
        });
    }

    #[inline]
    pub fn sent(&mut self, lag: u64) {
        self.count(|watched| watched.of == Of::SendLag && lag > watched.limit_ns);
    }

    #[inline]
    pub fn failed(&mut self) {
        self.count(|watched| watched.of == Of::Failures);
    }

    #[inline]
    fn count(&mut self, is_against: impl Fn(&Watched) -> bool) {
        for (place, watched) in self.watched.iter_mut().enumerate() {
            watched.seen += u64::from(is_against(watched));
            if watched.seen > watched.allowed {
                self.lost = self.lost.or(Some(place));
            }
        }
    }

    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// The first that was given up.
    pub fn lost(&self) -> Option<Lost> {
        let watched = self.watched.get(self.lost?)?;
        let words = match watched.of {
            Of::Failures => {
                format!("{} failed, where {} may", watched.seen, watched.allowed)
            }
            _ => format!(
                "{} above {}, where {} may be",
                watched.seen,
                shown_ns(watched.limit_ns as f64),
                watched.allowed
            ),
        };
        Some(Lost { demand: watched.demand, words })
    }
}

impl Watched {
    fn of(place: usize, threshold: &Threshold, planned: Option<u64>) -> Option<Watched> {
        let limit = threshold.limit;
        let is_less = matches!(threshold.relation, Relation::Less | Relation::LessOrEqual);
        let of = match threshold.figure {
            Figure::Latency(_) => Of::Latency,
            Figure::Service(_) => Of::Service,
            Figure::SendLag(_) => Of::SendLag,
            Figure::Errors | Figure::ErrorRate => Of::Failures,
            Figure::Rate => return None,
        };
        let allowed = match threshold.figure {
            Figure::Latency(part) | Figure::Service(part) | Figure::SendLag(part) if is_less => match part {
                Part::Max => 0,
                // The value at the percentile is above the limit when fewer than its share are not.
                Part::Percentile(index) => {
                    let planned = planned?;
                    planned - (planned as f64 * PERCENTILES.get(index)?.1).ceil() as u64
                }
                Part::Mean => return None,
            },
            Figure::Errors if threshold.relation == Relation::Less => (limit.ceil() as u64).checked_sub(1)?,
            Figure::Errors if is_less || threshold.relation == Relation::Equal => limit as u64,
            Figure::ErrorRate if is_less || threshold.relation == Relation::Equal => {
                (planned? as f64 * limit) as u64
            }
            _ => return None,
        };
        Some(Watched { demand: Some(place), of, limit_ns: limit as u64, seen: 0, allowed })
    }
}

/// The most requests that there may be.
fn planned(kind: &Loop, length: Length) -> Option<u64> {
    match (kind, length) {
        (_, Length::Requests(requests)) => Some(requests),
        (Loop::Open { rates, arrivals }, Length::Time { ns }) => {
            let expected = rates.expected(ns);
            // Random arrivals may be more than their mean: by five deviations once in three million runs.
            let more = if *arrivals == Arrivals::Poisson { 5.0 * expected.sqrt() } else { 1.0 };
            Some((expected + more).ceil() as u64)
        }
        (Loop::Closed, Length::Time { .. }) | (_, Length::Steady { .. }) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rates::Rates;
    use super::*;

    fn hopes(demand: &str, kind: &Loop, length: Length) -> Hopes {
        Hopes::new(&[Threshold::parse(demand).unwrap()], kind, length)
    }

    #[test]
    fn a_demand_is_given_up_when_it_is_lost_and_not_before() {
        let thousand = Length::Requests(1_000);
        for (demand, allowed) in [
            ("p99<5ms", 10),
            ("p50<=5ms", 500),
            ("max<5ms", 0),
            ("service.p90<5ms", 100),
            ("send_lag.max<5ms", 0),
        ] {
            let mut hopes = hopes(demand, &Loop::Closed, thousand);
            for slow in 0..=allowed {
                assert!(!hopes.is_lost(), "{demand}: {slow}");
                // What is just at the limit may yet be rounded to it.
                hopes.answered(5_000_000, 5_000_000);
                hopes.answered(5_000_001, 5_000_001);
                hopes.sent(5_000_001);
            }
            assert!(hopes.is_lost(), "{demand}");
            assert!(hopes.lost().unwrap().words.contains(&format!("where {allowed} may be")), "{demand}");
        }
        for (demand, allowed) in
            [("errors==0", 0), ("errors<=3", 3), ("errors<3", 2), ("error_rate<0.01", 10), ("p99<1s", 0)]
        {
            let mut hopes = hopes(demand, &Loop::Closed, thousand);
            (0..allowed).for_each(|_| hopes.failed());
            assert!(!hopes.is_lost(), "{demand}");
            hopes.failed();
            assert!(hopes.is_lost(), "{demand}");
        }
    }

    #[test]
    fn what_cannot_be_known_is_not_given_up() {
        let second = Length::Time { ns: 1_000_000_000 };
        let lost = |demand: &str, kind: &Loop| {
            let mut hopes = hopes(demand, kind, second);
            (0..100_000).for_each(|_| hopes.answered(u64::MAX, u64::MAX));
            hopes.is_lost()
        };
        let open = Loop::Open { rates: Rates::Constant(1_000.0), arrivals: Arrivals::Poisson };
        assert!(!lost("p99<5ms", &Loop::Closed) && lost("max<5ms", &Loop::Closed) && lost("p99<5ms", &open));
        assert!(!lost("rate>=5", &open) && !lost("p99>5ms", &open) && !lost("mean<5ms", &open));
        assert_eq!(planned(&open, second), Some(1_159));
    }
}
