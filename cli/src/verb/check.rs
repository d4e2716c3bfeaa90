//! `strait check FILE`: all findings of a configuration in one run, or whether a table is sound, and signed by whom it should; of
//! either, which certificates have expired or are about to.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strait_control::certificates::{self, Expiry};
use strait_control::signing::{self, Trust};
use strait_control::{Code, Failure, Source, source};
use strait_table::{Snapshot, snapshot};

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
            let ending = Ending::of(&opened.snapshot, &opened.base);
            ending.tell(output);
            let generation = opened.snapshot.generation().to_string();
            let facts = json!({
                "certificates": ending.to_json(),
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
            let failed = self.deny_warnings && !ending.0.is_empty();
            return if failed { Err(Failure::silent(Code::Failed)) } else { Ok(()) };
        }
        let outcome = source::compile(&self.file);
        let compiled = outcome.rules.as_ref().map(snapshot::of_rules).transpose();
        let compiled =
            compiled.map_err(|error| Failure::bug(format!("the compiled table does not open: {error}")))?;
        let ending = compiled.map_or(Ending::default(), |snapshot| Ending::of(&snapshot, &source.base()));
        output.findings(&outcome, json!({ "certificates": ending.to_json() }));
        ending.tell(output);
        let warnings = outcome.warnings() + ending.0.len();
        let failed = outcome.rules.is_none() || (self.deny_warnings && warnings > 0);
        // The findings say it all: the failure adds its exit code alone.
        if failed { Err(Failure::silent(Code::Failed)) } else { Ok(()) }
    }
}

/// Certificates that have expired, or will soon. It is no finding: the same text compiles to the same table whatever day it is.
#[derive(Default)]
struct Ending(Vec<Expiry>);

impl Ending {
    fn of(snapshot: &Snapshot, base: &Path) -> Ending {
        // Files that are not here are perhaps where it is served.
        let all = certificates::ends(snapshot, base).into_iter().filter_map(Result::ok);
        Ending(all.filter(|expiry| expiry.warning().is_some()).collect())
    }

    fn tell(&self, output: &Output) {
        for told in self.0.iter().filter_map(Expiry::warning) {
            output.note(&format!("warning: {told}\n"));
        }
    }

    fn to_json(&self) -> Value {
        let one = |expiry: &Expiry| {
            json!({
                "path": expiry.path.display().to_string(),
                "not_after": expiry.not_after_unix_s,
                "expired": expiry.left_s() <= 0,
            })
        };
        self.0.iter().map(one).collect()
    }
}
