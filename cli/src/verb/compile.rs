//! `strait compile CONFIG -o TABLE`: deterministic, and written whole or not at all. A reader of the
//! table's path sees the old file or the new one, also after a power cut.

use std::path::PathBuf;

use serde_json::json;
use strait_control::load::compile;
use strait_control::{Code, Failure, Source, signing, source, whole};
use strait_table::{Snapshot, snapshot};

use super::sign::{Seal, said};
use crate::output::{Output, print};

#[derive(clap::Args)]
pub struct Compile {
    /// The configuration.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Where the table is written.
    #[arg(short, long, value_name = "TABLE")]
    output: PathBuf,
    /// Write nothing when there are warnings.
    #[arg(long)]
    deny_warnings: bool,
    #[command(flatten)]
    seal: Seal,
    /// Compile beside a gateway that serves: within limits, with a report on stdout.
    #[arg(long, hide = true)]
    confined: bool,
}

impl Compile {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        if self.confined {
            compile::confine().map_err(|error| {
                Failure::new(Code::Unfit, format!("cannot take the limits of a compilation: {error}"))
            })?;
        }
        if let Source::Table(path) = Source::detect(&self.config)? {
            let message = format!("`{}` is a table already: expected a configuration", path.display());
            return Err(Failure::new(Code::Usage, message));
        }
        let outcome = source::compile(&self.config);
        if self.confined {
            print(&compile::report(&outcome).to_string());
        }
        let Some(rules) = outcome.rules.as_ref().filter(|_| !self.deny_warnings || outcome.warnings() == 0)
        else {
            return Err(source::findings(&self.config, outcome));
        };
        if !self.confined {
            output.warnings(&outcome);
        }
        let unsound = |error| Failure::bug(format!("the compiled table does not open: {error}"));
        let mut bytes = snapshot::table_of(rules).map_err(unsound)?;
        let signature = self.seal.sign(&mut bytes)?;
        let snapshot = Snapshot::from_bytes(&bytes).map_err(unsound)?;
        whole::write(&self.output, &bytes).map_err(|error| {
            let message = format!("cannot write `{}`: {error}", self.output.display());
            Failure::new(Code::Unfit, message).help("name a file in a folder that this user may write")
        })?;
        let generation = snapshot.generation().to_string();
        if self.confined {
            return Ok(());
        }
        let table = self.output.display().to_string();
        let facts = json!({
            "table": table,
            "generation": generation,
            "bytes": bytes.len(),
            "warnings": outcome.warnings(),
            "signature": signing::facts(&snapshot),
        });
        output.facts(&facts, || {
            format!("{table}: generation {generation}, {} bytes{}\n", bytes.len(), said(signature.as_ref()))
        });
        Ok(())
    }
}
