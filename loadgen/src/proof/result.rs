//! The whole result: what was measured and where, the estimates, and the verdict.
//!
//! It is computed from a [`Context`] and [`Samples`] alone, whether they come from a run that has just
//! ended or from a file: a replay cannot say anything else than the run did.

use serde::{Deserialize, Serialize};

use super::bootstrap::Method;
use super::bundle::Subject;
use super::cpu::Cpu;
use super::environment::Environment;
use super::estimates::{self, Row};
use super::kernel::Kernel;
use super::limit::{Limit, Percentile};
use super::residence::Residence;
use super::samples::{FailureCount, Samples};
use super::schedule::{Arm, Interleave};
use super::self_test;
use super::verdict::{self, Evidence, Judged, Verdict};

/// Everything about a run but its slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub purpose: Purpose,
    pub direct: String,
    pub through: String,
    /// The gateway with everything on.
    #[serde(default)]
    pub policy: Option<String>,
    /// Somebody else's gateway.
    #[serde(default)]
    pub rival: Option<String>,
    #[serde(default)]
    pub interleave: Interleave,
    /// What every request calls.
    pub call: String,
    pub seed: u64,
    /// How many slots were planned.
    pub slots: usize,
    pub blocks: usize,
    pub limits: Vec<Limit>,
    pub cpu: Option<Cpu>,
    pub busy_poll: bool,
    /// Whether the kernel was asked when bytes left and came.
    #[serde(default)]
    pub kernel_stamps: bool,
    /// Why it was not, or would not say.
    #[serde(default)]
    pub unstamped: Option<String>,
    pub environment: Environment,
    /// Seconds since 1970 at the start.
    pub started_unix_s: u64,
    /// The gateway's own account of the slots.
    #[serde(default)]
    pub residence: Option<Residence>,
    #[serde(default)]
    pub residence_limits: Vec<Limit>,
    /// The least limits that the null arm would have licensed just before, ns.
    #[serde(default)]
    pub floor: Vec<(Percentile, i64)>,
    /// What ran: binaries and tables by their hashes.
    #[serde(default)]
    pub subjects: Vec<Subject>,
    /// Which version of this tool measured.
    #[serde(default)]
    pub made_by: String,
    /// The command line that repeats the run, without any credential.
    pub command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Prove,
    /// A known delay is inserted, and has to be found; what the relay's own clock says stands beside it.
    SelfTest {
        inserted_ns: u64,
        clocked_ns: u64,
    },
}

/// A run, judged.
#[derive(Clone, Debug)]
pub struct Proof {
    pub context: Context,
    pub method: Method,
    pub verdict: Verdict,
    pub limits: Vec<Judged>,
    /// Only of a self-test: what had to be found, and whether it was.
    pub checks: Vec<self_test::Check>,
    pub rows: Vec<Row>,
    /// The same by the kernel's stamps, or why it is not there.
    pub kernel: Result<Kernel, String>,
    pub slots: usize,
    pub failures: usize,
    pub failure_counts: Vec<FailureCount>,
    pub warnings: Vec<String>,
}

/// Resamples for a 95 % interval: its ends are then known to about a twentieth of its width.
const RESAMPLES: usize = 2_000;
/// An interval that misses only once in a thousand runs has its ends further out, and needs more.
const RESAMPLES_SELF_TEST: usize = 10_000;

/// The version of this tool.
pub fn made_by() -> String {
    concat!("strait ", env!("CARGO_PKG_VERSION")).to_owned()
}

impl Purpose {
    pub(super) fn method(self, seed: u64) -> Method {
        match self {
            Purpose::Prove => Method { resamples: RESAMPLES, confidence: 0.95, seed },
            Purpose::SelfTest { .. } => {
                Method { resamples: RESAMPLES_SELF_TEST, confidence: self_test::CONFIDENCE, seed }
            }
        }
    }
}

impl Context {
    /// The arms of the run, in the order of [`Arm`].
    pub fn arms(&self) -> Vec<Arm> {
        Arm::ALL.into_iter().filter(|arm| self.url(*arm).is_some()).collect()
    }

    pub fn url(&self, arm: Arm) -> Option<&str> {
        match arm {
            Arm::Direct | Arm::Again => Some(&self.direct),
            Arm::Through => Some(&self.through),
            Arm::Policy => self.policy.as_deref(),
            Arm::Rival => self.rival.as_deref(),
        }
    }

    /// The arms that limits speak of: ours.
    fn judged(&self) -> impl Iterator<Item = Arm> {
        let policy = self.policy.as_ref().map(|_| Arm::Policy);
        [Arm::Through].into_iter().chain(policy)
    }
}

impl Proof {
    pub fn of(context: Context, samples: &Samples) -> Proof {
        // Not the schedule's own numbers again.
        let method = context.purpose.method(context.seed ^ 0x626f_6f74);
        let whole = samples.whole();
        let rows = estimates::rows(&whole, &context.arms(), &context.limits, method);
        let kernel = Kernel::of(&context, samples, method);
        let evidence = Evidence {
            rows: &rows,
            slots: samples.slots.len(),
            failures: samples.failures(),
            blocks: whole.sizes().iter().filter(|size| **size > 0).count(),
            disturbance: context.environment.disturbance,
        };
        let of = |arm| context.limits.iter().map(move |limit| (*limit, arm));
        let residence = context.residence.as_ref();
        let added = context.judged().flat_map(of).map(|(limit, arm)| {
            let judged = verdict::judge(limit, arm, &evidence);
            let judged = verdict::unless_contradicted(judged, residence);
            match &kernel {
                Ok(kernel) => kernel.unless_clocks_disagree(judged, &rows),
                Err(_) => judged,
            }
        });
        let stayed = context
            .residence_limits
            .iter()
            .map(|limit| verdict::judge_residence(*limit, residence, &evidence.disturbance));
        let limits: Vec<Judged> = added.chain(stayed).collect();
        let checks = match context.purpose {
            Purpose::Prove => Vec::new(),
            Purpose::SelfTest { inserted_ns, .. } => self_test::checks(inserted_ns, &evidence),
        };
        let all = limits.iter().map(|judged| judged.verdict).chain(checks.iter().map(|check| check.verdict));
        let mut verdict = Verdict::of_all(all);
        let mut warnings = context.environment.warnings();
        for limit in &context.limits {
            let floor = context.floor.iter().find(|(percentile, _)| *percentile == limit.percentile);
            let bound = i64::try_from(limit.added_ns_max).unwrap_or(i64::MAX);
            if let Some((_, ns)) = floor.filter(|(_, ns)| *ns > bound) {
                let least = verdict::micros(*ns);
                warnings
                    .push(format!("{limit} is less than what this host could prove just before, {least}"));
            }
        }
        if samples.slots.len() < context.slots {
            let done = samples.slots.len();
            warnings.insert(0, format!("interrupted: {done} of {} slots were done", context.slots));
            // Whoever stops when they like what they see chooses the verdict.
            verdict = Verdict::Inconclusive;
        }
        Proof {
            verdict,
            limits,
            checks,
            slots: samples.slots.len(),
            failures: samples.failures(),
            failure_counts: samples.failure_counts(),
            warnings,
            rows,
            kernel,
            method,
            context,
        }
    }
}
