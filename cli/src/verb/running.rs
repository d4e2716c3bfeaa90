//! Which running gateway a verb is about: the same two options everywhere.

use std::path::PathBuf;

use strait_control::Failure;
use strait_control::ask::Gateway;

#[derive(clap::Args)]
pub struct Running {
    /// Where the gateway's admin listener is; when not said, the socket in the state folder is used, or 127.0.0.1:8081.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// The gateway's state folder: its admin socket and tokens are there.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
}

impl Running {
    pub fn gateway(&self) -> Result<Gateway, Failure> {
        Gateway::at(self.admin.as_deref(), &self.state)
    }
}
