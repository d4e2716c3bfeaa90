//! `strait lock CONFIG`: writes down what every upstream offers, or with `--check` tells what has changed since.

use std::path::PathBuf;
use std::time::Duration;

use strait_control::{Code, Failure, lock};
use strait_loadgen::words;

use crate::output::Output;

#[derive(clap::Args)]
pub struct Lock {
    /// The configuration.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// The lock file; `strait.lock` beside CONFIG when not said, which is where it is read.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing; fail when upstreams offer something else than the lock file pins.
    #[arg(long)]
    check: bool,
    /// Only these upstreams; what is pinned of others stays.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    upstream: Vec<String>,
    /// How long an upstream may take to answer.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = within)]
    within: Duration,
    /// Where secrets are kept.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
}

fn within(text: &str) -> Result<Duration, String> {
    words::duration_ns(text).map(Duration::from_nanos)
}

impl Lock {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let report = lock::run(&lock::Wish {
            config: self.config,
            lock: self.output,
            state: self.state,
            only: self.upstream,
            check: self.check,
            within: self.within,
        })?;
        if let Some(outcome) = &report.outcome {
            output.warnings(outcome);
        }
        output.facts(&report.to_json(), || report.text());
        match self.check && !report.is_same() {
            true => Err(Failure::silent(Code::Failed)),
            false => Ok(()),
        }
    }
}
