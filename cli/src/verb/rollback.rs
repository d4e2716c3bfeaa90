//! `strait rollback [ID]`: the generation that was served before, or another one that is kept, again. While a candidate is on trial, its end.

use strait_control::Failure;

use super::apply::done;
use super::plan::generation;
use super::running::Running;
use crate::output::Output;

#[derive(clap::Args)]
pub struct Rollback {
    /// The beginning of a generation's hash, four digits at least; the one served before when not said, or, while a candidate is on trial, its end.
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    running: Running,
    /// What the history says of it.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

impl Rollback {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let gateway = self.running.gateway()?;
        let expected = generation(&gateway.get("/admin/rollout")?)?;
        done(output, &gateway.rollback(self.id.as_deref(), &expected, self.message.as_deref())?)
    }
}
