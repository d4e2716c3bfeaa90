//! `strait check FILE`: all findings of a configuration in one run, or whether a table is sound, and signed by whom it should.

use std::path::PathBuf;

use serde_json::json;
use strait_control::signing::{self, Trust};
use strait_control::{Code, Failure, Source, source};

use super::sign::said;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Check {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Fail on warnings too.
    #[arg(long)]
    deny_warnings: bool,
    /// Fail unless FILE is a table that this key has signed: a file with its public half (PEM). Once more for each further key.
    #[arg(long, value_name = "PUBKEY")]
    require_signed: Vec<PathBuf>,
}

impl Check {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let trust = Trust::read(&self.require_signed, false)?;
        let source = Source::detect(&self.file)?;
        signing::takes(&trust, &source)?;
        if let Source::Table(path) = &source {
            let opened = source.open()?;
            trust
                .verify(&opened.snapshot)
                .map_err(|why| Failure::new(Code::Failed, format!("`{}`: {why}", path.display())))?;
            let generation = opened.snapshot.generation().to_string();
            let facts = json!({
                "ok": true,
                "errors": 0,
                "warnings": 0,
                "findings": [],
                "generation": generation,
                "signature": signing::facts(&opened.snapshot),
            });
            output.facts(&facts, || {
                let signed = said(opened.snapshot.signature());
                format!("{}: a sound table, generation {generation}{signed}\n", path.display())
            });
            return Ok(());
        }
        let outcome = source::compile(&self.file);
        output.findings(&outcome);
        let failed = outcome.rules.is_none() || (self.deny_warnings && outcome.warnings() > 0);
        // The findings say it all: the failure adds its exit code alone.
        if failed { Err(Failure::silent(Code::Failed)) } else { Ok(()) }
    }
}
