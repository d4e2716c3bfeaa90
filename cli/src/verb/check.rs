//! `strait check FILE`: all findings of a configuration in one run, or whether a table is sound.

use std::path::PathBuf;

use serde_json::json;
use strait_control::{Code, Failure, Source, source};

use crate::output::Output;

#[derive(clap::Args)]
pub struct Check {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Fail on warnings too.
    #[arg(long)]
    deny_warnings: bool,
}

impl Check {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let source = Source::detect(&self.file)?;
        if let Source::Table(path) = &source {
            let opened = source.open()?;
            let generation = opened.snapshot.generation().to_string();
            let facts =
                json!({ "ok": true, "errors": 0, "warnings": 0, "findings": [], "generation": generation });
            output.facts(&facts, || format!("{}: a sound table, generation {generation}\n", path.display()));
            return Ok(());
        }
        let outcome = source::compile(&self.file);
        output.findings(&outcome);
        let failed = outcome.rules.is_none() || (self.deny_warnings && outcome.warnings() > 0);
        // The findings say it all: the failure adds its exit code alone.
        if failed { Err(Failure::silent(Code::Failed)) } else { Ok(()) }
    }
}
