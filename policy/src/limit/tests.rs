//! Each measure beside a slow and obvious one, on random calls, amounts, clocks and workers.

use proptest::prelude::*;

use super::*;

fn at(ns: u64) -> Moment {
    Moment { steady_ns: ns, unix_ms: ns / 1_000_000 }
}

fn passes(measure: &Measure, cell: u64, now: &Moment, least: u64) -> bool {
    matches!(measure.take(cell, now, least, 1), Taken::Granted { .. })
}

const SECOND: u64 = 1_000_000_000;

#[track_caller]
fn granted(taken: Taken) -> (u64, u64) {
    match taken {
        Taken::Granted { cell, units } => (cell, units),
        Taken::Refused { wait_ns } => panic!("refused, {wait_ns:?}"),
    }
}

#[test]
fn a_burst_then_the_rate() {
    let rate = Measure::Rate(Rate::new(20, SECOND, 40).unwrap());
    let now = at(5 * SECOND);
    let mut cell = 0;
    for _ in 0..40 {
        cell = granted(rate.take(cell, &now, 1, 1)).0;
    }
    assert_eq!(rate.take(cell, &now, 1, 1), Taken::Refused { wait_ns: Some(SECOND / 20) });
    let next = at(5 * SECOND + SECOND / 20);
    let (cell, _) = granted(rate.take(cell, &next, 1, 1));
    assert!(matches!(rate.take(cell, &next, 1, 1), Taken::Refused { .. }));
    assert!(!rate.class().is_idle(cell, &next));
    assert!(rate.class().is_idle(cell, &at(8 * SECOND)));
}

#[test]
fn impossible_rates_are_none() {
    assert_eq!(Rate::new(0, SECOND, 1), None);
    assert_eq!(Rate::new(1, 0, 1), None);
    assert_eq!(Rate::new(1, SECOND, 0), None);
    assert_eq!(Rate::new(1, 86_400 * SECOND, 367), None);
    assert_eq!(Rate::new(1, u64::MAX, u64::MAX), None);
    assert!(Rate::new(1, 86_400 * SECOND, 366).is_some());
}

#[test]
fn a_window_is_whole_again_when_the_next_begins() {
    let day = Measure::Calls(Window { period: Period::Day, max: 2 });
    let noon = Moment { steady_ns: 0, unix_ms: (20_778 * 24 + 12) * 3_600_000 };
    let midnight = Moment { unix_ms: noon.unix_ms + 12 * 3_600_000, ..noon };
    let mut cell = 0;
    for _ in 0..2 {
        cell = granted(day.take(cell, &noon, 1, 1)).0;
    }
    assert_eq!(day.good_until_ms(cell, &noon), midnight.unix_ms);
    assert_eq!(day.take(cell, &noon, 1, 1), Taken::Refused { wait_ns: Some(12 * 3_600 * SECOND) });
    let late = Moment { unix_ms: midnight.unix_ms - 1, ..noon };
    assert!(matches!(day.take(cell, &late, 1, 1), Taken::Refused { .. }));
    assert!(!day.class().is_idle(cell, &late));
    assert!(day.class().is_idle(cell, &midnight));
    let (next, _) = granted(day.take(cell, &midnight, 1, 1));
    // What was taken yesterday is not given back today.
    assert_eq!(day.give_back(next, cell, 2), next);
    assert_eq!(day.take(next, &midnight, 3, 1), Taken::Refused { wait_ns: None });
    // The clock went back over midnight: what is noted goes on.
    let (next, _) = granted(day.take(next, &late, 1, 1));
    assert!(matches!(day.take(next, &late, 1, 1), Taken::Refused { .. }));
}

#[test]
fn calls_at_once_are_counted_up_and_down() {
    let two = Measure::Concurrency(2);
    let (cell, _) = granted(two.take(0, &at(0), 1, 4));
    let (cell, _) = granted(two.take(cell, &at(0), 1, 4));
    assert_eq!(two.take(cell, &at(0), 1, 4), Taken::Refused { wait_ns: Some(0) });
    assert!(matches!(two.take(two.give_back(cell, cell, 1), &at(0), 1, 4), Taken::Granted { .. }));
    assert!(two.class().is_idle(two.give_back(cell, cell, 2), &at(0)));
}

#[derive(Clone, Copy, Debug)]
struct Step {
    /// How far the clock moves; it may go back.
    by: i64,
    least: u64,
}

fn steps(scale: i64) -> impl Strategy<Value = Vec<Step>> {
    let by = prop_oneof![8 => 0..scale, 1 => -20 * scale..0, 1 => 0..20 * scale];
    proptest::collection::vec((by, 1u64..4).prop_map(|(by, least)| Step { by, least }), 1..200)
}

/// Tokens in a bucket, in exact fractions: `burst * interval` is full, and time fills it. Its clock never goes back.
struct Bucket {
    interval: u128,
    full: u128,
    level: u128,
    latest: u64,
}

impl Bucket {
    fn take(&mut self, now: u64, least: u64) -> bool {
        let needed = self.interval * u128::from(least);
        if needed > self.full {
            return false;
        }
        let now = now.max(self.latest);
        self.level = (self.level + u128::from(now - self.latest)).min(self.full);
        self.latest = now;
        let has = self.level >= needed;
        self.level -= if has { needed } else { 0 };
        has
    }
}

proptest! {
    /// The same calls pass, as long as the clock goes on; when it goes back, fewer.
    #[test]
    fn a_rate_is_a_bucket(count in 1u64..50, burst in 1u64..20, steps in steps(SECOND as i64 / 10)) {
        let measure = Measure::Rate(Rate::new(count, SECOND, burst).unwrap());
        let interval = u128::from(SECOND.div_ceil(count));
        let mut model = Bucket { interval, full: interval * u128::from(burst), level: interval * u128::from(burst), latest: 0 };
        let (mut cell, mut now, mut went_back) = (0, 1_000 * SECOND, false);
        for (at_step, step) in steps.into_iter().enumerate() {
            went_back |= step.by < 0 && at_step > 0;
            now = now.saturating_add_signed(step.by);
            let allowed = match measure.take(cell, &at(now), step.least, 1) {
                Taken::Granted { cell: next, units } => {
                    prop_assert_eq!(units, step.least);
                    cell = next;
                    true
                }
                Taken::Refused { wait_ns: Some(wait_ns) } => {
                    let first = at(now + wait_ns);
                    prop_assert!(passes(&measure, cell, &first, step.least));
                    let early = at(now + wait_ns - 1);
                    prop_assert!(!passes(&measure, cell, &early, step.least));
                    false
                }
                Taken::Refused { wait_ns: None } => {
                    prop_assert!(step.least > burst);
                    false
                }
            };
            if !went_back {
                prop_assert_eq!(allowed, model.take(now, step.least));
            } else if allowed {
                prop_assert!(model.take(now, step.least), "a clock that went back gave something");
            }
        }
    }

    /// In every window at most what is allowed, by a count per window; a clock that went back is in no new one.
    #[test]
    fn a_window_counts(max in 1u64..50, steps in steps(40_000)) {
        let measure = Measure::Cost(Window { period: Period::Minute, max });
        let mut now_ms: u64 = 29_000_000 * 60_000;
        let (mut cell, mut window, mut used) = (0, 0, 0);
        for step in steps {
            now_ms = now_ms.saturating_add_signed(step.by);
            let minute = now_ms / 60_000;
            let used_in = if minute > window { 0 } else { used };
            let now = Moment { steady_ns: 0, unix_ms: now_ms };
            match measure.take(cell, &now, step.least, 1) {
                Taken::Granted { cell: next, units } => {
                    // A window begins with what is first taken in it.
                    (window, used) = (window.max(minute), used_in + units);
                    prop_assert!(used <= max);
                    cell = next;
                }
                Taken::Refused { wait_ns } => {
                    prop_assert!(used_in + step.least > max);
                    let wait = (step.least <= max).then_some(((window + 1) * 60_000).saturating_sub(now_ms) * 1_000_000);
                    prop_assert_eq!(wait_ns, wait);
                }
            }
        }
    }

    /// Workers that lease: never more than the window allows; and what they hold unused is at most a sixteenth.
    #[test]
    fn leases_come_out_of_the_allowance(
        max in 1u64..5_000,
        turns in proptest::collection::vec(0usize..4, 1..6_000),
    ) {
        let measure = Measure::Calls(Window { period: Period::Day, max });
        let now = at(0);
        let (mut cell, mut held, mut used) = (0, [0u64; 4], 0);
        for worker in turns {
            if held[worker] == 0 {
                match measure.take(cell, &now, 1, 4) {
                    Taken::Granted { cell: next, units } => (cell, held[worker]) = (next, units),
                    Taken::Refused { .. } => {
                        prop_assert_eq!(used + held.iter().sum::<u64>(), max);
                        prop_assert!(held.iter().sum::<u64>() <= max / LEASE_PART);
                        // Given back, it is there for others.
                        for units in &mut held {
                            cell = measure.give_back(cell, cell, std::mem::take(units));
                        }
                        prop_assert_eq!(passes(&measure, cell, &now, 1), used < max);
                        break;
                    }
                }
            }
            held[worker] -= 1;
            used += 1;
            prop_assert!(used <= max);
        }
    }

    /// Whatever a cell holds and whenever it is, nothing overflows.
    #[test]
    fn any_cell_at_any_time(cell: u64, steady_ns: u64, unix_ms: u64, least: u64, workers: u64, taken_as: u64) {
        let now = Moment { steady_ns, unix_ms };
        let measures = [
            Measure::Rate(Rate::new(1, 86_400 * SECOND, 366).unwrap()),
            Measure::Calls(Window { period: Period::Minute, max: u64::MAX }),
            Measure::Cost(Window { period: Period::Day, max: 1 }),
            Measure::Concurrency(u64::MAX),
        ];
        for measure in measures {
            if let Taken::Granted { cell, units } = measure.take(cell, &now, least, workers) {
                prop_assert!(units >= least);
                measure.give_back(cell, taken_as, units);
            }
            measure.give_back(cell, taken_as, least);
            measure.class().is_idle(cell, &now);
            measure.good_until_ms(cell, &now);
        }
    }
}
