//! The rule by which numbers become a verdict; `docs/PROOF.md` says it in prose, sentence by sentence.
//!
//! The decision that shaped it: being slow to judge is the feature. PASS needs a measurement that was
//! able to see the limit (a quiet null arm, enough samples, a tail that is not the scheduler's); FAIL
//! needs a lower bound over the limit; everything else is INCONCLUSIVE, with its cause and what would
//! settle it.

use serde::{Deserialize, Serialize};

use super::bootstrap::Estimate;
use super::estimates::{Added, Row};
use super::limit::{Limit, Percentile};
use super::residence::{FAMILY, Residence, Within};
use super::schedule::{Arm, BLOCKS_MIN};

/// Samples that must lie beyond a percentile before a limit on it is judged.
pub const BEYOND_JUDGED: u64 = 100;
/// More slots without times than this share, and nothing is judged.
pub const FAILED_SHARE_MAX: f64 = 0.001;
/// The null arm's half width, and its offset when it misses 0, are at most the limit over this.
pub const QUIET_DIVISOR: i64 = 4;
/// A tail this many limits above the median is judged only where the host was undisturbed.
pub const TAIL_LIMITS_MAX: i64 = 10;
/// Up to this share of the time taken away by others, a host counts as undisturbed.
pub const DISTURBED_SHARE_MAX: f64 = 0.005;
const STEADIER: &str = "run again, longer, on a host that does the same all the time";
/// Narrowing an interval needs slots by the square; beyond this many times more, isolation is the advice.
const MORE_SLOTS_MAX: f64 = 50.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    Inconclusive,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// Of several limits: one failed is failed, one unsettled is unsettled.
    pub fn of_all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let mut all = Verdict::Pass;
        for verdict in verdicts {
            match verdict {
                Verdict::Fail => return Verdict::Fail,
                Verdict::Inconclusive => all = Verdict::Inconclusive,
                Verdict::Pass => {}
            }
        }
        all
    }
}

/// What a limit speaks of. They are different questions, and none stands in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// How much longer the client waits.
    Added,
    /// How long the gateway says it had the request.
    Residence,
}

impl About {
    pub fn name(self) -> &'static str {
        match self {
            About::Added => "added",
            About::Residence => "residence",
        }
    }
}

/// A limit, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub limit: Limit,
    /// Whose addition it is.
    pub arm: Arm,
    pub about: About,
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub cause: String,
    /// What would settle an INCONCLUSIVE.
    pub remedy: Option<String>,
}

impl Judged {
    /// `p50=30us`, and whose where it is not the gateway as it is.
    pub fn name(&self) -> String {
        let whose = if self.arm == Arm::Policy { " with full policy" } else { "" };
        let what = if self.about == About::Residence { "residence " } else { "" };
        format!("{what}{}{whose}", self.limit)
    }
}

/// Which shares of the run's time the host gave to others; unknown where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Somebody runnable waited for a processor (PSI).
    pub pressure: Option<f64>,
    /// The hypervisor ran somebody else.
    pub steal: Option<f64>,
    /// This tool was runnable and waited.
    pub run_delay: Option<f64>,
}

impl Disturbance {
    /// What speaks against the host; nothing when all that is known is below the bound and the tool's own
    /// waiting is known.
    pub fn complaint(&self) -> Option<String> {
        let known = [
            ("processor pressure", self.pressure),
            ("steal", self.steal),
            ("run delay of this tool", self.run_delay),
        ];
        let over = known.into_iter().filter_map(|(name, share)| Some((name, share?)));
        let over: Vec<String> = over
            .filter(|(_, share)| *share > DISTURBED_SHARE_MAX)
            .map(|(name, share)| format!("{name} {:.1} %", share * 100.0))
            .collect();
        match over.is_empty() {
            false => Some(over.join(", ")),
            true if self.run_delay.is_none() => Some("run delay unknown".to_owned()),
            true => None,
        }
    }
}

/// Everything the rule looks at besides the limit.
pub struct Evidence<'a> {
    pub rows: &'a [Row],
    pub slots: usize,
    pub failures: usize,
    pub blocks: usize,
    pub disturbance: Disturbance,
}

/// Judges one limit on what one arm adds.
pub fn judge(limit: Limit, arm: Arm, evidence: &Evidence<'_>) -> Judged {
    let judged = |verdict, cause: String, remedy: Option<String>| Judged {
        limit,
        arm,
        about: About::Added,
        verdict,
        cause,
        remedy,
    };
    if let Some((cause, remedy)) = unfit(limit.percentile, evidence) {
        return judged(Verdict::Inconclusive, cause, Some(remedy));
    }
    let row = evidence.rows.iter().find(|row| row.percentile == limit.percentile);
    let Some((row, of_arm)) = row.and_then(|row| Some((row, row.of(arm)?))) else {
        return judged(Verdict::Inconclusive, "no estimate".to_owned(), None);
    };
    let bound = i64::try_from(limit.added_ns_max).unwrap_or(i64::MAX);
    let (added, null) = (of_arm.added, row.null);
    let bias = null.distance_from(0);
    let is_over = added.low.saturating_sub(bias) > bound;
    let is_under = added.high < bound;
    if (is_over || is_under)
        && let Some(cause) = unsteady(of_arm, bound)
    {
        return judged(Verdict::Inconclusive, cause, Some(STEADIER.to_owned()));
    }
    if is_over {
        let cause = format!("at least {} is added, more than {}", micros(added.low - bias), micros(bound));
        return judged(Verdict::Fail, cause, None);
    }
    // Whether the measurement could have seen the limit at all.
    if let Some(cause) = loud(null, bound) {
        let remedy = widen_or_isolate(evidence.slots, null.half_width(), bound / QUIET_DIVISOR, bias);
        return judged(Verdict::Inconclusive, cause, Some(remedy));
    }
    if let Some(cause) = foreign_tail(row, evidence, bound) {
        let remedy =
            "give the tool, the gateway and the server a core each with nothing else on it, or judge p50";
        return judged(Verdict::Inconclusive, cause, Some(remedy.to_owned()));
    }
    if is_under {
        return judged(
            Verdict::Pass,
            format!("at most {} is added, less than {}", micros(added.high), micros(bound)),
            None,
        );
    }
    let cause = format!("the interval {} to {} holds the limit", micros(added.low), micros(added.high));
    let gap = (bound - added.estimate).abs();
    let remedy = match gap * 20 < bound {
        true => "the estimate lies on the limit: no number of slots tells which side; name another limit"
            .to_owned(),
        false => widen_or_isolate(evidence.slots, added.half_width(), gap, 0),
    };
    judged(Verdict::Inconclusive, cause, Some(remedy))
}

/// A PASS that the gateway's own clock gainsays is none: what it says it had the request for is a part of what
/// it added.
pub fn unless_contradicted(judged: Judged, residence: Option<&Residence>) -> Judged {
    let within = residence.and_then(|residence| residence.at(judged.limit.percentile));
    let over = within.map(|within| within.over_ns).filter(|over| *over >= judged.limit.added_ns_max);
    match over {
        Some(over) if judged.verdict == Verdict::Pass => Judged {
            verdict: Verdict::Inconclusive,
            cause: format!(
                "{}, but by its own clock the gateway had the request for more than {}",
                judged.cause,
                micros(i64::try_from(over).unwrap_or(i64::MAX))
            ),
            remedy: Some("send nobody else's requests to that gateway while it is measured".to_owned()),
            ..judged
        },
        _ => judged,
    }
}

/// Judges a limit on the gateway's residence time by its own histogram: no client and no wire is in it, so
/// no null arm has to license a PASS. A FAIL in the tail wants an undisturbed host: a gateway that was made
/// to wait for its core counts that as its own time.
pub fn judge_residence(limit: Limit, residence: Option<&Residence>, disturbance: &Disturbance) -> Judged {
    let judged = |verdict, cause: String, remedy: Option<&str>| Judged {
        limit,
        arm: Arm::Through,
        about: About::Residence,
        verdict,
        cause,
        remedy: remedy.map(str::to_owned),
    };
    let count = residence.map_or(0, Residence::count);
    let beyond = limit.percentile.beyond(count);
    let Some(within) = residence.and_then(|residence| residence.at(limit.percentile)) else {
        let cause = format!("the gateway's metrics have no `{FAMILY}` of these requests");
        return judged(Verdict::Inconclusive, cause, Some("--metrics with the page of a Strait gateway"));
    };
    if beyond < BEYOND_JUDGED {
        let cause = format!("{beyond} requests beyond {}, {BEYOND_JUDGED} are needed", limit.percentile);
        return judged(Verdict::Inconclusive, cause, Some("more slots"));
    }
    let told = |ns: u64| micros(i64::try_from(ns).unwrap_or(i64::MAX));
    match within {
        Within { at_most_ns: Some(most), .. } if most < limit.added_ns_max => {
            judged(Verdict::Pass, format!("at most {} of {count} requests", told(most)), None)
        }
        Within { over_ns, .. } if over_ns >= limit.added_ns_max => {
            match disturbance.complaint().filter(|_| limit.percentile.is_tail()) {
                None => judged(Verdict::Fail, format!("more than {}", told(over_ns)), None),
                Some(complaint) => judged(
                    Verdict::Inconclusive,
                    format!("more than {}, on a disturbed host ({complaint})", told(over_ns)),
                    Some("give the gateway a core with nothing else on it"),
                ),
            }
        }
        within => {
            let cause = format!("{} holds the limit, and no bucket is finer", within.told());
            judged(Verdict::Inconclusive, cause, Some("a limit outside of that bucket"))
        }
    }
}

/// Data on which no limit at this percentile can be judged.
fn unfit(percentile: Percentile, evidence: &Evidence<'_>) -> Option<(String, String)> {
    let share = evidence.failures as f64 / evidence.slots.max(1) as f64;
    if share > FAILED_SHARE_MAX {
        let cause = format!(
            "{} of {} slots failed, more than {} %",
            evidence.failures,
            evidence.slots,
            FAILED_SHARE_MAX * 100.0
        );
        return Some((cause, "mend what fails first: the failures are listed by arm and layer".to_owned()));
    }
    let whole = evidence.slots - evidence.failures;
    let beyond = percentile.beyond(whole as u64);
    if beyond < BEYOND_JUDGED {
        let cause = format!("{beyond} samples beyond {percentile}, {BEYOND_JUDGED} are needed");
        // Some more, as a few slots may fail.
        let slots = percentile.slots_for(BEYOND_JUDGED);
        return Some((cause, format!("--slots {}", slots + slots.div_ceil(100))));
    }
    if evidence.blocks < BLOCKS_MIN {
        let cause = format!("{} blocks, {BLOCKS_MIN} are needed for an interval", evidence.blocks);
        return Some((cause, "more slots".to_owned()));
    }
    None
}

fn loud(null: Estimate, bound: i64) -> Option<String> {
    let quiet = bound / QUIET_DIVISOR;
    let interval = format!("{} to {}", micros(null.low), micros(null.high));
    if null.half_width() > quiet {
        return Some(format!("the null arm is loud: {interval}, a half width over {}", micros(quiet)));
    }
    let small = null.low.abs().max(null.high.abs()) <= quiet;
    let biased = !null.contains(0) && !small;
    biased.then(|| format!("the two direct arms differ: {interval} does not hold 0"))
}

/// Quarters of the run that lie on different sides of the limit.
fn unsteady(added: &Added, bound: i64) -> Option<String> {
    let over = added.quarters.iter().filter(|quarter| **quarter > bound).count();
    let told = || added.quarters.map(micros).join(", ");
    (over > 0 && over < added.quarters.len()).then(|| format!("quarters of the run disagree: {}", told()))
}

/// A tail so far above the median that the host made it, on a host that was disturbed.
fn foreign_tail(row: &Row, evidence: &Evidence<'_>, bound: i64) -> Option<String> {
    let median = evidence.rows.iter().find(|row| row.percentile == Percentile::P50)?.times[0];
    let reach = row.times[0] - median;
    if !row.percentile.is_tail() || reach <= bound.saturating_mul(TAIL_LIMITS_MAX) {
        return None;
    }
    let complaint = evidence.disturbance.complaint()?;
    let tail = format!("the direct {} lies {} above its median", row.percentile, micros(reach));
    Some(format!("the tail is the host's: {tail}, on a disturbed host ({complaint})"))
}

/// How to bring a half width down to a target: more slots, unless that would be absurd.
fn widen_or_isolate(slots: usize, half_width: i64, target: i64, bias: i64) -> String {
    let isolate = "keep other work off this machine, pin the tool and the gateway to cores of their own";
    if bias > 0 {
        return format!("{isolate}: the bias is no matter of slots");
    }
    // A tenth more than the square says, or the next run ends just as close.
    let factor = (half_width as f64 / target.max(1) as f64).powi(2) * 1.1;
    if factor > MORE_SLOTS_MAX {
        return format!("{isolate}: slots alone would have to be {factor:.0} times as many");
    }
    let wanted = (slots as f64 * factor.max(1.1)).ceil() as usize;
    format!("about --slots {}, or {isolate}", wanted.next_multiple_of(1_000))
}

/// Microseconds with one digit, as everything is told.
pub fn micros(ns: i64) -> String {
    // Adding 0 makes a rounded -0.0 a plain 0.0.
    let tenths = (ns as f64 / 100.0).round() + 0.0;
    format!("{:.1} us", tenths / 10.0)
}
