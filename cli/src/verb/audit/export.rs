//! `strait audit export DIR --format …`.

use std::io::Write;
use std::path::PathBuf;

use strait_audit::export::Format;
use strait_audit::reader::Reader;
use strait_control::Failure;

use super::show::Filters;
use super::{failed, show};

#[derive(clap::Args)]
pub struct Export {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The records as they are; OCSF's API Activity; Elastic's Common Schema; the Common Event Format. One a line.
    #[arg(long, value_name = "FORM", default_value = "ndjson")]
    format: Form,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Ndjson,
    Ocsf,
    Ecs,
    Cef,
}

impl Export {
    pub fn run(self) -> Result<(), Failure> {
        let format = match self.format {
            Form::Ndjson => Format::Ndjson,
            Form::Ocsf => Format::Ocsf,
            Form::Ecs => Format::Ecs,
            Form::Cef => Format::Cef,
        };
        let (filter, from) = self.filters.read()?;
        let mut reader = Reader::open(&self.dir, from).map_err(failed)?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        while let Some(entry) = reader.read().map_err(failed)? {
            let record = show::record(&self.dir, &entry)?;
            // A closed pipe: whoever closed it has seen enough.
            if filter.takes(&record) && writeln!(out, "{}", format.line(entry.index, &record)).is_err() {
                return Ok(());
            }
        }
        let _ = out.flush();
        Ok(())
    }
}
