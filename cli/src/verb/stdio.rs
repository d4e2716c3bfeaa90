//! `strait stdio URL`: a gateway for a client that starts its servers itself and speaks lines over stdin and stdout.

use std::path::PathBuf;

use strait_control::{Failure, stdio_front};

#[derive(clap::Args)]
pub struct Stdio {
    /// The address of a running gateway's server: `http://HOST:PORT/PATH`.
    #[arg(value_name = "URL")]
    to: String,
    /// A file with the key of this client, alone on its first line; else STRAIT_KEY says it.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Stdio {
    pub fn run(self) -> Result<(), Failure> {
        let key = stdio_front::key(self.key_file.as_deref())?;
        stdio_front::to(&self.to, key.as_deref())
    }
}
