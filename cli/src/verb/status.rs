//! `strait status`: what a running gateway serves, whom, and how it speaks to its upstreams.

use std::path::PathBuf;

use strait_control::{Failure, status};

use crate::output::Output;

#[derive(clap::Args)]
pub struct Status {
    /// Where the gateway's admin endpoints are.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    admin: String,
    /// The gateway's state folder: the admin token is there.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
}

impl Status {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let facts = status::ask(&self.admin, &self.state)?;
        output.facts(&facts, || status::text(&facts));
        Ok(())
    }
}
