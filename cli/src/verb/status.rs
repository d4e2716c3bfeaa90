//! `strait status`: what a running gateway serves, on whose word, whom, and how it speaks to its upstreams.

use strait_control::{Failure, status};

use super::running::Running;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Status {
    #[command(flatten)]
    running: Running,
}

impl Status {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let facts = status::ask(&self.running.gateway()?)?;
        output.facts(&facts, || status::text(&facts));
        Ok(())
    }
}
