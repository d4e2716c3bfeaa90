//! `strait doctor [FILE]`: what this machine offers a gateway, and what to do about what it does not.

use std::path::PathBuf;

use strait_control::{Code, Failure, Source, doctor};

use crate::output::Output;

#[derive(clap::Args)]
pub struct Doctor {
    /// A configuration or a table: its addresses and upstreams are looked at too.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The state folder that will be used.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
    /// Worker threads that will be used; one per core when not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

impl Doctor {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = self.file.map(|file| Source::detect(&file)?.open()).transpose()?;
        let table = opened.as_ref().map(|opened| (&*opened.snapshot, opened.base.as_path()));
        let report = doctor::examine(self.workers.map(usize::from), &self.state, table);
        output.facts(&report.json(), || report.text());
        // The lines say it all: the failure adds its exit code alone.
        if report.failures() == 0 { Ok(()) } else { Err(Failure::silent(Code::Failed)) }
    }
}
