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
        done(output, &gateway.apply(table, &expected, self.message.as_deref(), false)?)
    }
}

/// Tells what came of an act; not every worker may have it yet.
pub fn done(output: &Output, facts: &Value) -> Result<(), Failure> {
    let word = |name: &str| facts[name].as_str().unwrap_or("-").to_owned();
    let workers = facts["workers"].as_u64().unwrap_or_default() as usize;
    let behind: Vec<String> =
        facts["behind"].as_array().into_iter().flatten().map(|worker| format!("worker {worker}")).collect();
    output.facts(facts, || {
        let taken = count(workers - behind.len().min(workers), "worker");
        format!(
            "generation {} -> {}: in use by {taken} after {} us\n",
            word("from"),
            word("to"),
            facts["took_us"]
        )
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
