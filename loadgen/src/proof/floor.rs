//! What this host can prove at all: the same schedule with nothing between, in a few seconds.
//!
//! Three direct arms go to an echo server of this process. The smallest limit that the verdict's rule
//! could pass at a percentile follows from how loud the null arm is there, and from whose the tail is;
//! beside it stand the two habits of a host that ruin small figures: sleeping too long, and taking the
//! core away from a thread that has work.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::environment::Environment;
use super::estimates::Row;
use super::limit::Percentile;
use super::result::Proof;
use super::schedule::Arm;
use super::verdict::{BEYOND_JUDGED, DISTURBED_SHARE_MAX, QUIET_DIVISOR, TAIL_LIMITS_MAX, micros};
use crate::words::shown_ns;

/// What was found.
pub struct Floor {
    /// The smallest limit that could be passed, ns, per percentile.
    pub limits: Vec<(Percentile, i64)>,
    pub habits: Habits,
    pub proof: Proof,
}

/// How a host treats a thread.
pub struct Habits {
    /// How much longer than asked a sleep of 100 us takes, ns, sorted.
    pub(super) oversleep_ns: Vec<u64>,
    /// The longest time for which a spinning thread did not run, ns.
    pub(super) longest_gap_ns: u64,
    /// The share of a spinning thread's time that it did not get.
    pub(super) lost_share: f64,
}

const SLEEP: Duration = Duration::from_micros(100);
const SLEEPS: usize = 200;
const SPIN: Duration = Duration::from_millis(500);
/// Between two looks at the clock lie some tens of ns; a thread that saw this long a gap did not run.
const GAP: Duration = Duration::from_micros(5);

impl Floor {
    /// `proof` is a run with three direct arms.
    pub fn of(proof: Proof, habits: Habits) -> Floor {
        let limits = provable_limits(&proof.rows, proof.slots, &proof.context.environment);
        Floor { limits, habits, proof }
    }

    pub fn to_json(&self) -> Value {
        let limits = self.limits.iter().map(|(percentile, ns)| (percentile.to_string(), json!(ns)));
        let mut facts = self.proof.to_json();
        let [p50, p99] = self.habits.oversleep();
        // Nothing was to be proved, so there is no verdict.
        facts["verdict"] = Value::Null;
        facts["provable_ns"] = Value::Object(limits.collect::<Map<String, Value>>());
        facts["oversleep_ns"] = json!({ "p50": p50, "p99": p99 });
        facts["spin"] = json!({
            "longest_gap_ns": self.habits.longest_gap_ns, "lost_share": self.habits.lost_share,
            "disturbed": self.habits.is_disturbed(),
        });
        facts
    }

    pub fn to_text(&self) -> String {
        let mut out = String::from("This host can prove:");
        // Writing to a string cannot fail.
        for (percentile, ns) in &self.limits {
            let _ = write!(out, "  added {percentile} of {} and more", shown_ns(*ns as f64));
        }
        let cost = clock_cost_ns(&self.proof.context.environment);
        if self.limits.iter().any(|(_, ns)| *ns <= cost) {
            let _ = write!(out, "\nno floor is lower than what asking the clock costs, {cost} ns");
        }
        let [p50, p99] = self.habits.oversleep().map(|ns| micros(ns as i64));
        let (gap, lost) = (micros(self.habits.longest_gap_ns as i64), self.habits.lost_share * 100.0);
        let _ = writeln!(out, "\na sleep of 100 us takes {p50} more at p50, {p99} at p99");
        let _ = writeln!(out, "a spinning thread lost {lost:.1} % of its time, {gap} at a stretch");
        if self.habits.is_disturbed() {
            let _ = writeln!(
                out,
                "this host is disturbed: a thread that has work loses more than {} % of its time to others; these floors are \
                 of this moment, and a quieter one has lower ones",
                DISTURBED_SHARE_MAX * 100.0
            );
        }
        let table = self.proof.to_text();
        out.push_str(table.split_once('\n').map_or("", |(_, rest)| rest));
        out
    }
}

/// The least limits that a run could have passed, for percentiles that it has samples enough for.
pub fn provable_limits(rows: &[Row], slots: usize, environment: &Environment) -> Vec<(Percentile, i64)> {
    let judged = |row: &&Row| row.percentile.beyond(slots as u64) >= BEYOND_JUDGED;
    rows.iter().filter(judged).map(|row| (row.percentile, provable(row, rows, environment))).collect()
}

/// The least limit for which the null arm is quiet and the tail is not the host's.
fn provable(row: &Row, rows: &[Row], environment: &Environment) -> i64 {
    let null = row.null;
    let mut least = null.half_width();
    if !null.contains(0) {
        least = least.max(null.low.abs().max(null.high.abs()));
    }
    let mut least = least * QUIET_DIVISOR;
    let median = rows.first().map_or(0, |row| row.times[0]);
    if row.percentile.is_tail() && environment.disturbance.complaint().is_some() {
        least = least.max((row.times[0] - median) / TAIL_LIMITS_MAX);
    }
    // A limit has to lie above the whole interval of an arm that adds nothing.
    let high = row.of(Arm::Through).map_or(0, |through| through.added.high);
    (least.max(high) + 1).max(clock_cost_ns(environment))
}

/// A time is two looks at the clock: nothing shorter than one can be told from nothing.
fn clock_cost_ns(environment: &Environment) -> i64 {
    environment.clock_cost_ns.ceil() as i64
}

impl Habits {
    /// Takes about half a second.
    pub fn watch() -> Habits {
        let oversleep = |_| {
            let start = Instant::now();
            std::thread::sleep(SLEEP);
            u64::try_from(start.elapsed().saturating_sub(SLEEP).as_nanos()).unwrap_or(u64::MAX)
        };
        let mut oversleep_ns: Vec<u64> = (0..SLEEPS).map(oversleep).collect();
        oversleep_ns.sort_unstable();
        let start = Instant::now();
        let (mut last, mut lost, mut longest) = (start, Duration::ZERO, Duration::ZERO);
        while last - start < SPIN {
            let now = Instant::now();
            let gap = now - last;
            if gap > GAP {
                lost += gap;
                longest = longest.max(gap);
            }
            last = now;
        }
        Habits {
            oversleep_ns,
            longest_gap_ns: u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX),
            lost_share: lost.as_secs_f64() / (last - start).as_secs_f64(),
        }
    }

    /// By the same bound as a run.
    fn is_disturbed(&self) -> bool {
        self.lost_share > DISTURBED_SHARE_MAX
    }

    /// p50 and p99.
    fn oversleep(&self) -> [u64; 2] {
        [Percentile::P50, Percentile::P99].map(|percentile| {
            let rank = percentile.rank(self.oversleep_ns.len() as u64) as usize;
            self.oversleep_ns.get(rank - 1).copied().unwrap_or_default()
        })
    }
}
