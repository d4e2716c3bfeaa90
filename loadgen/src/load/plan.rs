//! When each request is due. The decision: the plan is made from the clock's start and a seed, and never
//! looks at how the target is doing. That is what an open loop is: a target that stalls meets the
//! requests that were due meanwhile, as it would meet its users.

use serde::{Deserialize, Serialize};

use super::rates::Rates;
use crate::random::Random;

/// How requests arrive in an open loop.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// At random, as independent users do.
    Poisson,
}

impl Arrivals {
    pub const fn word(self) -> &'static str {
        match self {
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        }
    }
}

/// Requests counted one by one when a run leaves some unsent: a fraction of a second.
const COUNTED_MAX: u64 = 1_000_000;

/// What a run waits for before each request.
#[derive(Clone, PartialEq, Debug)]
pub enum Loop {
    /// The next point of a schedule.
    Open { rates: Rates, arrivals: Arrivals },
    /// A connection that has its answer.
    Closed,
}

/// How long a part of a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Length {
    Requests(u64),
    Time {
        ns: u64,
    },
    /// Of a warm-up: until the target is steady, or that long.
    Steady {
        within_ns: u64,
    },
}

/// One request to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Counted from 0, warm-up included.
    pub number: u64,
    /// In a closed loop: as soon as a connection is free.
    pub at: u64,
    /// Part of what is reported; false while warming up.
    pub measured: bool,
}

/// Which requests of a plan one machine sends when several share it: every `of`th, from `index` on. The union of all portions is the plan
/// that one machine would have had, whatever its schedule and arrivals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Portion {
    pub index: u64,
    pub of: u64,
}

impl Portion {
    pub const WHOLE: Portion = Portion { index: 0, of: 1 };

    fn has(self, number: u64) -> bool {
        number % self.of.max(1) == self.index
    }

    /// Where the choices of this machine begin: for each another point, and the same ones again with the same seed.
    pub fn seed(self, seed: u64) -> u64 {
        match self.of {
            0 | 1 => seed,
            _ => Random::new(seed ^ self.index.rotate_right(16)).next_u64(),
        }
    }

    /// As even a part of something that is counted as there is.
    pub fn part(self, whole: u64) -> u64 {
        let of = self.of.max(1);
        whole / of + u64::from(self.index < whole % of)
    }
}

/// A sequence of due requests.
#[derive(Clone)]
pub struct Plan {
    portion: Portion,
    kind: Loop,
    warmup: Length,
    length: Length,
    random: Random,
    start: u64,
    number: u64,
    /// When the next request of an open loop is due.
    next: u64,
    /// What that is counted from, and how many requests, or random gaps worth as many, have been due since.
    base: u64,
    passed: f64,
    /// Number and time of the first measured request, once the warm-up is over.
    began: Option<(u64, u64)>,
    /// From when on a warm-up until the target is steady is over.
    settled: u64,
}

impl Plan {
    /// `start` is the time of the first request.
    pub fn new(kind: Loop, warmup: Length, length: Length, seed: u64, start: u64) -> Plan {
        let random = Random::new(seed);
        Plan {
            portion: Portion::WHOLE,
            kind,
            warmup,
            length,
            random,
            start,
            number: 0,
            next: start,
            base: start,
            passed: 0.0,
            began: None,
            settled: u64::MAX,
        }
    }

    /// Only these requests of it.
    pub fn portion(self, portion: Portion) -> Plan {
        Plan { portion, ..self }
    }

    /// When the measured part began.
    pub fn began(&self) -> Option<u64> {
        self.began.map(|(_, at)| at)
    }

    /// The target is steady: requests due from then on are measured.
    pub fn settle(&mut self, at: u64) {
        self.settled = self.settled.min(at);
    }

    /// Whether the time of the measured part is over.
    pub fn is_over_at(&self, at: u64) -> bool {
        let is_over = |began: u64| match self.length {
            Length::Time { ns } => at.saturating_sub(began) >= ns,
            Length::Requests(_) | Length::Steady { .. } => false,
        };
        self.began().is_some_and(is_over)
    }

    /// Measured requests of an open loop that are still to come. Past [`COUNTED_MAX`] of them they are
    /// reckoned by the rate: exactly for evenly spaced arrivals but for a rounding, as the mean for random ones.
    pub fn left(&mut self) -> u64 {
        let mut left = 0;
        for _ in 0..COUNTED_MAX {
            match self.next(0) {
                Some(due) => left += u64::from(due.measured),
                None => return left,
            }
        }
        left + self.reckoned() / self.portion.of.max(1)
    }

    /// The same, without counting.
    fn reckoned(&self) -> u64 {
        let Loop::Open { rates, .. } = &self.kind else { return 0 };
        let rate = rates.first();
        let (number, began) = self.began.unwrap_or_else(|| match self.warmup {
            Length::Requests(requests) => {
                let wait = requests.saturating_sub(self.number) as f64 * 1e9 / rate;
                (requests.max(self.number), self.next.saturating_add(wait as u64))
            }
            Length::Time { ns } | Length::Steady { within_ns: ns } => {
                let began = self.next.max(self.start.saturating_add(ns));
                (self.number + ((began - self.next) as f64 * rate / 1e9) as u64, began)
            }
        });
        match self.length {
            Length::Requests(all) => number.saturating_add(all).saturating_sub(self.number.max(number)),
            Length::Time { ns } | Length::Steady { within_ns: ns } => {
                let passed = rates.expected(self.next.max(began) - began);
                (rates.expected(ns) - passed).max(0.0).ceil() as u64
            }
        }
    }

    /// The next request, or none when the plan is through. `now` matters to a closed loop alone.
    pub fn next(&mut self, now: u64) -> Option<Due> {
        loop {
            let due = self.step(now)?;
            if self.portion.has(due.number) {
                return Some(due);
            }
        }
    }

    /// The next request of the whole plan.
    fn step(&mut self, now: u64) -> Option<Due> {
        let at = match self.kind {
            Loop::Open { .. } => self.next,
            Loop::Closed => now,
        };
        if self.began.is_none() && (at >= self.settled || self.warmup.is_over(self.number, at - self.start)) {
            self.began = Some((self.number, at));
            // A course begins when measuring does. A rate that stays goes on as it is, so that not even a nanosecond is lost.
            if matches!(&self.kind, Loop::Open { rates, .. } if rates.constant().is_none()) {
                (self.base, self.passed) = (at, 0.0);
            }
        }
        if self.began.is_some_and(|(number, began)| self.length.is_over(self.number - number, at - began)) {
            return None;
        }
        let due = Due { number: self.number, at, measured: self.began.is_some() };
        self.number += 1;
        if let Loop::Open { rates, arrivals } = &self.kind {
            self.passed += match arrivals {
                Arrivals::Constant => 1.0,
                Arrivals::Poisson => self.random.exponential(),
            };
            let wait = match self.began {
                Some(_) => rates.due_ns(self.passed),
                None => (self.passed * 1e9 / rates.first()) as u64,
            };
            self.next = self.base.saturating_add(wait);
        }
        Some(due)
    }
}

impl Length {
    fn is_over(self, requests: u64, elapsed_ns: u64) -> bool {
        match self {
            Length::Requests(all) => requests >= all,
            Length::Time { ns } | Length::Steady { within_ns: ns } => elapsed_ns >= ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rate: f64, arrivals: Arrivals) -> Loop {
        Loop::Open { rates: Rates::Constant(rate), arrivals }
    }

    fn all(kind: &Loop, warmup: Length, length: Length) -> Vec<Due> {
        let mut plan = Plan::new(kind.clone(), warmup, length, 7, 1_000);
        std::iter::from_fn(|| plan.next(0)).collect()
    }

    const SECOND: Length = Length::Time { ns: 1_000_000_000 };

    #[test]
    fn a_constant_plan_keeps_its_rate_without_drift() {
        let kind = open(3_000.0, Arrivals::Constant);
        let due = all(&kind, Length::Requests(10), Length::Requests(30_000));
        assert_eq!(due.len(), 30_010);
        assert_eq!(due.iter().filter(|due| due.measured).count(), 30_000);
        assert!(!due[9].measured && due[10].measured);
        assert_eq!(due[0].at, 1_000);
        assert_eq!(due[30_000].at, 1_000 + 10_000_000_000);
        assert!(due.iter().enumerate().all(|(index, due)| due.number == index as u64));
        let due = all(&kind, SECOND, SECOND);
        assert_eq!((due.len(), due.iter().filter(|due| due.measured).count()), (6_000, 3_000));
    }

    /// A sum that wrapped would put the second request into the past, and all that follow with it.
    #[test]
    fn the_slowest_rate_is_never_due_again() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let kind = open(f64::MIN_POSITIVE, arrivals);
            let mut plan = Plan::new(kind, Length::Requests(0), Length::Requests(9), 7, 1_000);
            let due = [plan.next(0), plan.next(0), plan.next(0)].map(|due| due.unwrap().at);
            assert_eq!(due, [1_000, u64::MAX, u64::MAX], "{arrivals:?}");
        }
    }

    #[test]
    fn a_poisson_plan_has_its_mean_its_spread_and_its_seed() {
        let kind = open(1_000.0, Arrivals::Poisson);
        let due = all(&kind, Length::Requests(0), Length::Requests(100_000));
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1].at - pair[0].at) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let spread = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((mean / 1e6 - 1.0).abs() < 0.02 && (spread / 1e6 - 1.0).abs() < 0.03, "{mean} {spread}");
        assert_eq!(due, all(&kind, Length::Requests(0), Length::Requests(100_000)));
    }

    /// The longest plan there is would take minutes to count.
    #[test]
    fn what_is_left_of_a_long_plan_is_reckoned_as_it_would_be_counted() {
        const HOUR: Length = Length::Time { ns: 3_600_000_000_000 };
        let cases = [
            (1e7, Length::Requests(0), HOUR, 36_000_000_000),
            (1e7, HOUR, HOUR, 36_000_000_000),
            (1e7, Length::Requests(5), Length::Requests(u64::MAX), u64::MAX - 5),
            (1e7, Length::Requests(20_000_000), SECOND, 10_000_000),
            (3_000.0, SECOND, SECOND, 3_000),
        ];
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            for (rate, warmup, length, expected) in cases {
                let mut plan = Plan::new(open(rate, arrivals), warmup, length, 7, 1_000);
                let off = plan.left() as f64 / expected as f64 - 1.0;
                let allowed = if arrivals == Arrivals::Constant { 1e-6 } else { 0.05 };
                assert!(off.abs() <= allowed, "{arrivals:?}, {rate}/s, {warmup:?}, {length:?}: {off}");
            }
        }
        // Counted and reckoned from the same point come to the same.
        for (warmup, length) in
            [(SECOND, SECOND), (Length::Requests(7), Length::Requests(999)), (SECOND, Length::Requests(5))]
        {
            for sent in [0, 3, 500, 3_100] {
                let kind = open(3_000.0, Arrivals::Constant);
                let mut plan = Plan::new(kind, warmup, length, 7, 1_000);
                for _ in 0..sent {
                    let _ = plan.next(0);
                }
                let (reckoned, counted) = (plan.reckoned(), plan.left());
                assert!(
                    reckoned.abs_diff(counted) <= 1,
                    "{warmup:?}, {length:?}, {sent}: {reckoned}, {counted}"
                );
            }
        }
    }

    #[test]
    fn a_course_of_rates_begins_when_measuring_does() {
        let steps = Rates::Steps { rates: [100.0, 1_000.0, 10.0].into(), each_ns: 1_000_000_000 };
        let ramp = Rates::Ramp { from: 100.0, to: 300.0, over_ns: 3_000_000_000 };
        let trace = Rates::Trace([0, 5, 5, 70].into());
        let three = Length::Time { ns: 3_000_000_000 };
        for (rates, length, counts) in [
            (steps, three, vec![100, 1_000, 10]),
            (ramp.clone(), three, vec![133, 200, 267]),
            (trace, Length::Requests(4), vec![4]),
        ] {
            let kind = Loop::Open { rates, arrivals: Arrivals::Constant };
            let due = all(&kind, Length::Requests(7), length);
            let began = due[7].at;
            assert!(due[..7].iter().all(|due| !due.measured) && due[7].measured);
            let mut found = vec![0; counts.len()];
            due[7..].iter().for_each(|due| found[((due.at - began) / 1_000_000_000) as usize] += 1);
            for (found, expected) in found.iter().zip(&counts) {
                assert!(i32::abs(found - expected) <= 1, "{kind:?}: {found:?} {counts:?}");
            }
            let plan = Plan::new(kind, Length::Requests(7), length, 7, 1_000);
            assert!(plan.reckoned().abs_diff(counts.iter().sum::<i32>() as u64) <= 2, "{}", plan.reckoned());
        }
        // At random as well: as many, and not evenly.
        let kind = Loop::Open { rates: ramp, arrivals: Arrivals::Poisson };
        let due = all(&kind, Length::Requests(0), three);
        assert!((due.len() as f64 / 600.0 - 1.0).abs() < 0.15, "{}", due.len());
        let late = due.iter().filter(|due| due.at > 1_000 + 1_500_000_000).count();
        assert!(late as f64 > 0.52 * due.len() as f64, "{late} of {}", due.len());
    }

    /// Whoever puts the portions of three machines together has the plan of one, request by request.
    #[test]
    fn portions_come_to_the_whole() {
        let ramp = Rates::Ramp { from: 500.0, to: 1_500.0, over_ns: 1_000_000_000 };
        let kinds = [
            open(1_000.0, Arrivals::Constant),
            open(1_000.0, Arrivals::Poisson),
            Loop::Open { rates: ramp, arrivals: Arrivals::Poisson },
            Loop::Open { rates: Rates::Trace([0, 5, 5, 70].into()), arrivals: Arrivals::Constant },
        ];
        for kind in kinds {
            for (warmup, length) in [(Length::Requests(7), Length::Requests(500)), (SECOND, SECOND)] {
                let plan = |portion| Plan::new(kind.clone(), warmup, length, 7, 1_000).portion(portion);
                let mut together: Vec<Due> = (0..3)
                    .flat_map(|index| {
                        let mut plan = plan(Portion { index, of: 3 });
                        std::iter::from_fn(move || plan.next(0))
                    })
                    .collect();
                together.sort_by_key(|due| due.number);
                assert_eq!(together, all(&kind, warmup, length), "{kind:?}");
                let left = (0..3).map(|index| plan(Portion { index, of: 3 }).left()).sum::<u64>();
                assert_eq!(left, plan(Portion::WHOLE).left(), "{kind:?}");
            }
        }
        let parts = |whole: u64| [0, 1, 2].map(|index| Portion { index, of: 3 }.part(whole));
        assert_eq!((parts(16), parts(2)), ([6, 5, 5], [1, 1, 0]));
        let seeds = [0, 1, 2].map(|index| Portion { index, of: 3 }.seed(7));
        assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[0] != 7);
        assert_eq!((Portion::WHOLE.seed(7), Portion { index: 1, of: 3 }.seed(7)), (7, seeds[1]));
    }

    #[test]
    fn a_closed_plan_is_due_at_once_until_it_is_through() {
        let mut plan = Plan::new(Loop::Closed, Length::Requests(1), Length::Time { ns: 100 }, 1, 0);
        let mut at = |now| plan.next(now).map(|due| (due.at, due.measured));
        assert_eq!(at(5), Some((5, false)));
        assert_eq!(at(50), Some((50, true)));
        assert_eq!(at(149), Some((149, true)));
        assert_eq!(at(150), None);
        assert_eq!(plan.began(), Some(50));
    }
}
