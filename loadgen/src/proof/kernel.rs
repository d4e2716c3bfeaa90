//! The second clock: what the kernel's own stamps say of the same exchanges, beside what this tool's clock says.
//!
//! The kernel's time of an exchange goes from its request's last byte on its way to the device to its answer's last
//! byte received; this tool's time has two system calls and a wake-up more, in every arm alike. So the kernel's is never
//! the longer one, and what an arm adds has to come out the same by both, as far as the two direct arms do.
//!
//! The decision: stamps judge nothing by themselves. They can take a verdict away, as the gateway's own account can,
//! and what they lack is counted, never made up.

use super::bootstrap::{Contrast, Estimate, Method, Ranked, estimate};
use super::estimates::{Row, SCALE_ERROR, shown};
use super::limit::Percentile;
use super::result::Context;
use super::samples::{Samples, Whole};
use super::schedule::{ARMS, Arm};
use super::verdict::{FAILED_SHARE_MAX, Judged, QUIET_DIVISOR, Verdict, micros};

/// With fewer of the slots stamped in every arm than this share, the clocks are not compared: who is missing
/// might be who is odd.
pub const STAMPED_SHARE_MIN: f64 = 0.99;

/// A run by the kernel's stamps.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    pub arms: Vec<Stamped>,
    /// Slots that have times, and those of them in which every arm has both stamps.
    pub timed: usize,
    pub slots: usize,
    /// Of the slots with all stamps.
    pub rows: Vec<KernelRow>,
}

/// The exchanges of one arm, of slots that have times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    pub arm: Arm,
    /// With both stamps.
    pub both: usize,
    /// Which the kernel had longer than this tool: that cannot be.
    pub longer: usize,
}

/// One percentile by the kernel's stamps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelRow {
    pub percentile: Percentile,
    /// At [`Arm::index`].
    pub times: [i64; ARMS],
    /// Of the differences, this tool's time minus the kernel's of one exchange.
    pub apart: [i64; ARMS],
    pub null: Estimate,
    pub null_parted: Estimate,
    added: [Option<(Estimate, Estimate)>; ARMS],
}

impl KernelRow {
    /// What one longer way adds.
    pub fn added(&self, arm: Arm) -> Option<Estimate> {
        Some(self.added[arm.index()]?.0)
    }

    /// How much further apart the clocks are in that arm than in the direct one.
    pub fn parted(&self, arm: Arm) -> Option<Estimate> {
        Some(self.added[arm.index()]?.1)
    }
}

impl Kernel {
    /// Why there is none is said in a few words.
    pub fn of(context: &Context, samples: &Samples, method: Method) -> Result<Kernel, String> {
        if !context.kernel_stamps {
            return Err(context.unstamped.clone().unwrap_or_else(|| "nobody asked for them".to_owned()));
        }
        let arms: Vec<Arm> = context.arms();
        let stamped: Vec<Stamped> = arms.iter().map(|arm| Stamped::of(*arm, samples)).collect();
        let (own, kernel) = samples.stamped();
        if kernel.is_empty() {
            return Err("no slot has both stamps in every arm".to_owned());
        }
        Ok(Kernel {
            arms: stamped,
            timed: samples.slots.len() - samples.failures(),
            slots: kernel.len(),
            rows: rows(&own, &kernel, &arms, shown(&context.limits, kernel.len()), method),
        })
    }

    /// Whether there are stamps enough to compare the clocks.
    pub fn is_complete(&self) -> bool {
        self.slots as f64 >= self.timed as f64 * STAMPED_SHARE_MIN
    }

    /// How many exchanges have both stamps, and what speaks against them.
    pub fn told(&self) -> String {
        let counts = |name: &str, count: &dyn Fn(&Stamped) -> usize| {
            let arms = self.arms.iter().filter(|stamped| count(stamped) > 0);
            let arms: Vec<String> =
                arms.map(|stamped| format!("{} {}", stamped.arm.name(), count(stamped))).collect();
            if arms.is_empty() { String::new() } else { format!("; {name}: {}", arms.join(", ")) }
        };
        let missing = counts("missing", &|stamped| self.timed - stamped.both);
        let longer = counts("longer than this tool saw them take", &|stamped| stamped.longer);
        let too_few = if self.is_complete() { "" } else { "; too few to compare the clocks" };
        format!("both in every arm of {} of {} slots{missing}{longer}{too_few}", self.slots, self.timed)
    }

    /// A verdict on what is added stands only as far as both clocks tell the same; `rows` are by this tool's.
    pub fn unless_clocks_disagree(&self, judged: Judged, rows: &[Row]) -> Judged {
        if judged.verdict == Verdict::Inconclusive || !self.is_complete() {
            return judged;
        }
        let Some((cause, remedy)) = self.impossible(&judged).or_else(|| self.parted(&judged, rows)) else {
            return judged;
        };
        Judged {
            verdict: Verdict::Inconclusive,
            cause: format!("{}, but {cause}", judged.cause),
            remedy: Some(remedy.to_owned()),
            ..judged
        }
    }

    /// Exchanges that took longer between two moments inside than between two outside.
    fn impossible(&self, judged: &Judged) -> Option<(String, &'static str)> {
        let compared = [Arm::Direct, Arm::Again, judged.arm];
        let odd = self.arms.iter().filter(|stamped| compared.contains(&stamped.arm));
        let odd = odd.filter(|stamped| stamped.longer as f64 > stamped.both as f64 * FAILED_SHARE_MAX);
        let odd = odd.max_by_key(|stamped| stamped.longer)?;
        let (longer, both, arm) = (odd.longer, odd.both, odd.arm.name());
        let cause = format!(
            "by the kernel's stamps {longer} of {both} exchanges of arm {arm} took longer than this tool saw them take"
        );
        Some((cause, "one of the two clocks is wrong: look at the clock source, and at who sets the clock"))
    }

    /// More is added by one clock than by the other, by more than the null arms differ and than the limit forgives.
    fn parted(&self, judged: &Judged, rows: &[Row]) -> Option<(String, &'static str)> {
        let percentile = judged.limit.percentile;
        // A tail of this tool's clock is that of its wake-ups.
        if percentile.is_tail() {
            return None;
        }
        let row = self.rows.iter().find(|row| row.percentile == percentile)?;
        let own = rows.iter().find(|row| row.percentile == percentile)?;
        let (added, parted) = (row.added(judged.arm)?, row.parted(judged.arm)?);
        let bound = i64::try_from(judged.limit.added_ns_max).unwrap_or(i64::MAX);
        let reach = |null: Estimate| null.low.abs().max(null.high.abs());
        let forgiven = reach(own.null).max(reach(row.null_parted)).max(bound / QUIET_DIVISOR);
        let confirmed =
            judged.verdict == Verdict::Fail && added.low.saturating_sub(row.null.distance_from(0)) > bound;
        if parted.distance_from(0) <= forgiven || confirmed {
            return None;
        }
        let (low, high) = (micros(parted.low), micros(parted.high));
        let (by_own, by_kernel) = (own.of(judged.arm)?.added.estimate, added.estimate);
        let cause = format!(
            "by the kernel's stamps {} is added and by this tool's clock {}: they part by {low} to {high}, more than {}",
            micros(by_kernel),
            micros(by_own),
            micros(forgiven)
        );
        Some((
            cause,
            "give this tool a core of its own, or --busy-poll there: it may wake up later behind a longer wait",
        ))
    }
}

impl Stamped {
    fn of(arm: Arm, samples: &Samples) -> Stamped {
        let mut stamped = Stamped { arm, both: 0, longer: 0 };
        for slot in &samples.slots {
            let Ok(times) = &slot.outcome else { continue };
            if let Some(ns) = slot.wire[arm.index()] {
                stamped.both += 1;
                stamped.longer += usize::from(ns > times[arm.index()]);
            }
        }
        stamped
    }
}

/// All from the same resamples, so that they can be compared with each other.
fn rows(
    own: &Whole,
    kernel: &Whole,
    arms: &[Arm],
    percentiles: Vec<Percentile>,
    method: Method,
) -> Vec<KernelRow> {
    let sizes = kernel.sizes();
    let rank = |values: &[i64]| Ranked::new(values, &kernel.blocks, sizes.len());
    let times = Arm::ALL.map(|arm| rank(&kernel.arms[arm.index()]));
    let apart = Arm::ALL.map(|arm| {
        let pairs = own.arms[arm.index()].iter().zip(&kernel.arms[arm.index()]);
        rank(&pairs.map(|(own, kernel)| own - kernel).collect::<Vec<i64>>())
    });
    let compared: Vec<Arm> = arms.iter().copied().filter(|arm| *arm != Arm::Direct).collect();
    let contrasts = |percentile: Percentile| {
        let pairs = compared.iter().flat_map(|arm| [(&times, *arm), (&apart, *arm)]);
        pairs.map(move |(of, arm)| Contrast {
            of: &of[arm.index()],
            minus: Some(&of[Arm::Direct.index()]),
            percentile,
        })
    };
    let all: Vec<Contrast<'_>> = percentiles.iter().copied().flat_map(contrasts).collect();
    let estimates = estimate(&all, &sizes, method).unwrap_or_default();
    let rows = percentiles.iter().zip(estimates.chunks_exact(2 * compared.len()));
    rows.filter_map(|(&percentile, estimates)| {
        let mut added = [None; ARMS];
        for (arm, pair) in compared.iter().zip(estimates.chunks_exact(2)) {
            added[arm.index()] = Some((pair[0], pair[1]));
        }
        let (null, null_parted) = added[Arm::Again.index()]?;
        for (of, arm) in added.iter_mut().zip(Arm::ALL) {
            *of = of.filter(|_| arm.is_longer()).map(|(added, parted)| (added.widened(SCALE_ERROR), parted));
        }
        let at = |of: &[Ranked; ARMS]| {
            Arm::ALL.map(|arm| of[arm.index()].quantile(percentile).unwrap_or_default())
        };
        Some(KernelRow { percentile, times: at(&times), apart: at(&apart), null, null_parted, added })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::raw;
    use super::super::result::Proof;
    use super::super::tests::{CLEAN, QUIET, context};
    use super::*;
    use crate::random::Random;

    /// A quiet host whose kernel sees 8 to 9 us less of every exchange; `wrong` may change what it saw.
    fn samples(mut wrong: impl FnMut(usize, Arm, u64) -> Option<u64>) -> Samples {
        let mut samples = QUIET.samples(20_000, 1);
        let mut random = Random::new(4);
        for (index, slot) in samples.slots.iter_mut().enumerate() {
            let Ok(times) = &slot.outcome else { continue };
            for arm in Arm::ALWAYS {
                let seen = times[arm.index()] - 8_000 - random.below(1_000);
                slot.wire[arm.index()] = wrong(index, arm, seen);
            }
        }
        samples
    }

    fn proof(samples: &Samples, limits: &[&str]) -> Proof {
        let context = Context { kernel_stamps: true, ..context(limits, samples.slots.len(), CLEAN) };
        let text = raw::print(&context, samples).unwrap();
        assert_eq!(raw::parse(&text).unwrap(), (context.clone(), samples.clone()));
        Proof::of(context, samples)
    }

    #[track_caller]
    fn check(samples: &Samples, cases: &[(&str, Verdict, &str)]) {
        let limits: Vec<&str> = cases.iter().map(|case| case.0).collect();
        let proof = proof(samples, &limits);
        for (judged, (limit, verdict, words)) in proof.limits.iter().zip(cases) {
            assert_eq!(judged.verdict, *verdict, "{limit}: {}\n{}", judged.cause, proof.to_text());
            assert!(judged.cause.contains(words), "{limit}: `{}` has no `{words}`", judged.cause);
            assert_eq!(judged.remedy.is_some(), *verdict == Verdict::Inconclusive, "{}", judged.cause);
        }
    }

    #[test]
    fn clocks_that_agree_take_nothing_away_and_are_told() {
        let samples = samples(|_, _, seen| Some(seen));
        check(
            &samples,
            &[
                ("p50=30us", Verdict::Pass, "is added, less than 30.0 us"),
                ("p50=15us", Verdict::Fail, "more than 15.0 us"),
                ("p99=40us", Verdict::Pass, ""),
            ],
        );
        let proof = proof(&samples, &["p50=30us"]);
        let facts = proof.to_json();
        let stamps = &facts["kernel_stamps"];
        assert_eq!((&stamps["available"], &stamps["compared"]), (&true.into(), &true.into()));
        for arm in ["direct", "again", "through"] {
            let arm = &stamps["arms"][arm];
            assert_eq!(
                (&arm["both"], &arm["missing"], &arm["longer"]),
                (&20_000.into(), &0.into(), &0.into())
            );
            let apart = arm["apart_ns"]["p50"].as_i64().unwrap();
            assert!((8_400..8_600).contains(&apart), "{apart}");
            let apart = arm["apart_ns"]["p99"].as_i64().unwrap();
            assert!((8_980..9_000).contains(&apart), "{apart}");
        }
        let through = &stamps["arms"]["through"];
        let added = &through["added_ns"]["p50"];
        assert!(added["low"].as_i64() < Some(22_000) && added["high"].as_i64() > Some(22_000), "{added}");
        let parted = &through["parted_ns"]["p50"];
        assert!(parted["low"].as_i64() < Some(30) && parted["high"].as_i64() > Some(-30), "{parted}");
        let told = "kernel's stamps: both in every arm of 20000 of 20000 slots\n";
        assert!(proof.to_text().contains(told), "{}", proof.to_text());
        let html = proof.to_html(&samples);
        for words in ["By the kernel&#39;s stamps", "clock minus the kernel&#39;s", "20000 of 20000 slots"] {
            let plain = words.replace("&#39;", "'");
            assert!(html.contains(words) || html.contains(&plain), "{words}");
        }
    }

    /// A kernel cannot see an exchange longer than somebody who looks at it from outside.
    #[test]
    fn stamps_that_cannot_be_take_every_verdict_away() {
        let wrong = |every: usize| {
            samples(move |index, arm, seen| {
                let is_wrong = arm == Arm::Through && index % every == 0;
                Some(if is_wrong { seen + 20_000 } else { seen })
            })
        };
        // 40 of 20,000 are over a thousandth, 10 are not.
        let words = "by the kernel's stamps 40 of 20000 exchanges of arm through took longer";
        check(
            &wrong(500),
            &[
                ("p50=30us", Verdict::Inconclusive, words),
                ("p50=5us", Verdict::Inconclusive, words),
                ("p99=40us", Verdict::Inconclusive, words),
            ],
        );
        check(&wrong(2_000), &[("p50=30us", Verdict::Pass, ""), ("p50=15us", Verdict::Fail, "")]);
        let told = "longer than this tool saw them take: through 10";
        assert!(proof(&wrong(2_000), &[]).to_text().contains(told));
    }

    /// 12 us less through the gateway than there were: too much for some limits, too little for others.
    #[test]
    fn clocks_that_part_take_away_what_hangs_on_it() {
        let samples = samples(|_, arm, seen| Some(if arm == Arm::Through { seen - 12_000 } else { seen }));
        check(
            &samples,
            &[
                ("p50=30us", Verdict::Inconclusive, "10.0 us is added and by this tool's clock"),
                ("p50=15us", Verdict::Inconclusive, "they part by"),
                // By either clock more is added.
                ("p50=5us", Verdict::Fail, "more than 5.0 us"),
                // A quarter of the limit is forgiven, as it is to the null arm.
                ("p50=60us", Verdict::Pass, ""),
                // A tail by this tool's clock is that of its wake-ups.
                ("p99=40us", Verdict::Pass, ""),
            ],
        );
    }

    #[test]
    fn what_is_missing_is_counted_and_too_much_of_it_compares_nothing() {
        let missing = |every: usize| {
            samples(move |index, arm, seen| {
                (arm != Arm::Again || index % every != 0).then_some(if arm == Arm::Through {
                    1
                } else {
                    seen
                })
            })
        };
        let few = missing(200);
        check(&few, &[("p50=30us", Verdict::Inconclusive, "they part by")]);
        let many = missing(50);
        check(&many, &[("p50=30us", Verdict::Pass, "")]);
        let proof = proof(&many, &["p50=30us"]);
        let facts = proof.to_json();
        assert_eq!(
            (&facts["kernel_stamps"]["compared"], &facts["kernel_stamps"]["slots"]),
            (&false.into(), &19_600.into())
        );
        assert_eq!(facts["kernel_stamps"]["arms"]["again"]["missing"], 400);
        assert_eq!(facts["kernel_stamps"]["arms"]["direct"]["missing"], 0);
        let told = "19600 of 20000 slots; missing: again 400; too few to compare the clocks";
        assert!(proof.to_text().contains(told), "{}", proof.to_text());
    }

    #[test]
    fn no_stamps_have_a_reason_and_no_failed_slot_has_stamps() {
        let samples = samples(|_, _, _| None);
        let why = |proof: Proof| {
            let facts = proof.to_json();
            assert_eq!((proof.verdict, &facts["kernel_stamps"]["available"]), (Verdict::Pass, &false.into()));
            let why = facts["kernel_stamps"]["why"].as_str().unwrap().to_owned();
            assert!(proof.to_text().contains(&format!("kernel's stamps: not available: {why}\n")));
            why
        };
        assert_eq!(why(proof(&samples, &["p50=30us"])), "no slot has both stamps in every arm");
        let refused = Some("the kernel refuses SO_TIMESTAMPING: Operation not permitted".to_owned());
        let context = Context { unstamped: refused.clone(), ..context(&["p50=30us"], 20_000, CLEAN) };
        assert_eq!(Some(why(Proof::of(context.clone(), &samples))), refused);

        let text = raw::print(&Context { kernel_stamps: true, ..context }, &samples).unwrap();
        let failed = |stamps: &str| {
            let line = format!("20000,0,dat,,,,{stamps},through,transport,x\n");
            raw::parse(&format!("{text}{line}")).map(|_| ())
        };
        assert_eq!(failed(",,"), Ok(()));
        assert!(failed("1,,").unwrap_err().contains("is no slot"));
    }
}
