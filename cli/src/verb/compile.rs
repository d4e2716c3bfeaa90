//! `strait compile CONFIG -o TABLE`: deterministic, and written whole or not at all. A reader of the
//! table's path sees the old file or the new one, also after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use strait_control::load::compile;
use strait_control::{Code, Failure, Source, source};
use strait_table::{Snapshot, snapshot};

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
        let bytes = snapshot::table_of(rules).map_err(unsound)?;
        let snapshot = Snapshot::from_bytes(&bytes).map_err(unsound)?;
        write_whole(&self.output, &bytes).map_err(|error| {
            let message = format!("cannot write `{}`: {error}", self.output.display());
            Failure::new(Code::Unfit, message).help("name a file in a folder that this user may write")
        })?;
        let generation = snapshot.generation().to_string();
        if self.confined {
            return Ok(());
        }
        let table = self.output.display().to_string();
        let facts = json!({ "table": table, "generation": generation, "bytes": bytes.len(), "warnings": outcome.warnings() });
        output.facts(&facts, || format!("{table}: generation {generation}, {} bytes\n", bytes.len()));
        Ok(())
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = name.to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = folder.join(temporary);
    let written = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    written().inspect_err(|_| {
        // Best effort: the error that matters is the caller's.
        let _ = fs::remove_file(&temporary);
    })
}
