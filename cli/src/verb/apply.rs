//! `strait apply FILE|PLAN`: another configuration for the running gateway, without a restart.

use std::path::PathBuf;

use serde_json::Value;
use strait_control::rollout::plan::Saved;
use strait_control::source::settled;
use strait_control::{Code, Failure};

use super::plan::generation;
use super::running::Running;
use crate::output::{Output, count};

#[derive(clap::Args)]
pub struct Apply {
    /// A configuration, a table, or a plan that `strait plan -o` saved.
    #[arg(value_name = "FILE|PLAN")]
    file: PathBuf,
    #[command(flatten)]
    running: Running,
    /// What the history says of it.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    trial: Trial,
}

/// To try it beside what is served, before it is.
#[derive(clap::Args)]
struct Trial {
    /// Serve some with it first: a share of the principals (`5%`), `principals=a,b` or `header=Name:value`.
    #[arg(long, value_name = "WHOM", conflicts_with = "shadow")]
    canary: Option<String>,
    /// How long a canary is tried before everybody gets it; 10m when not said.
    #[arg(long, value_name = "TIME", requires = "canary")]
    bake: Option<String>,
    /// What ends a canary before: `error_rate>1%`, which it is when nothing is said, or `added_p99>2ms`.
    #[arg(long, value_name = "CONDITION", requires = "canary")]
    abort_if: Vec<String>,
    /// Exchanges that a canary must have answered before it is judged; 100 when not said.
    #[arg(long, value_name = "N", requires = "canary")]
    samples: Option<u64>,
    /// Serve nobody with it, decide beside what is served, and tell what would differ.
    #[arg(long)]
    shadow: bool,
}

impl Apply {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let gateway = self.running.gateway()?;
        let (table, expected) = match Saved::open(&self.file)? {
            Some(Saved { plan, table }) => {
                let from = plan["from"].as_str().unwrap_or_default().to_owned();
                (table, from)
            }
            None => {
                let expected = generation(&gateway.get("/admin/rollout")?)?;
                let candidate = settled(&self.file)?;
                if let Some(outcome) = &candidate.outcome {
                    output.warnings(outcome);
                }
                (candidate.table, expected)
            }
        };
        let message = self.message.as_deref();
        let facts = match self.trial.terms() {
            None => gateway.apply(table, &expected, message, false)?,
            Some(terms) => {
                let terms: Vec<(&str, &str)> =
                    terms.iter().map(|(name, value)| (*name, value.as_str())).collect();
                gateway.try_out(table, &expected, message, &terms)?
            }
        };
        done(output, &facts)
    }
}

impl Trial {
    /// How the gateway is told, if it is to be tried.
    fn terms(self) -> Option<Vec<(&'static str, String)>> {
        if self.shadow {
            return Some(vec![("strait-shadow", "true".to_owned())]);
        }
        let mut terms = vec![("strait-canary", self.canary?)];
        terms.extend(self.bake.map(|bake| ("strait-bake", bake)));
        terms.extend(self.abort_if.into_iter().map(|condition| ("strait-abort-if", condition)));
        terms.extend(self.samples.map(|samples| ("strait-samples", samples.to_string())));
        Some(terms)
    }
}

/// Tells what came of an act; not every worker may have it yet.
pub fn done(output: &Output, facts: &Value) -> Result<(), Failure> {
    let word = |name: &str| facts[name].as_str().unwrap_or("-").to_owned();
    let workers = facts["workers"].as_u64().unwrap_or_default() as usize;
    let behind: Vec<String> =
        facts["behind"].as_array().into_iter().flatten().map(|worker| format!("worker {worker}")).collect();
    output.facts(facts, || {
        let (taken, us) = (count(workers - behind.len().min(workers), "worker"), &facts["took_us"]);
        let (from, to) = (word("from"), word("to"));
        match facts["trial"].as_str() {
            None => format!("generation {from} -> {to}: in use by {taken} after {us} us\n"),
            Some("rolled_back") => {
                format!("generation {from} is not on trial any more, {to} serves everybody: {taken} after {us} us\n")
            }
            Some(kind) => format!(
                "generation {to} is on trial beside {from} as a {kind}: {taken} after {us} us; `strait status` tells how it does\n"
            ),
        }
    });
    if behind.is_empty() {
        return Ok(());
    }
    let message = format!(
        "not taken up in time by {}: they serve the generation of before, or stand still",
        behind.join(", ")
    );
    Err(Failure::new(Code::Unreachable, message)
        .help("`strait status` tells when they have; `/healthz` names a worker that stands still"))
}
