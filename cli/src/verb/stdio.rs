//! `strait stdio CONFIG|URL`: a gateway for a client that starts its servers itself and speaks lines over stdin and
//! stdout. Nothing but MCP is on stdout, so nothing here prints there.

use std::path::{Path, PathBuf};

use strait_control::private::Wish;
use strait_control::serve::Setup;
use strait_control::signing::Trust;
use strait_control::{Code, Failure, Source, load, stdio_front};

use super::serve::{Driver, driver};
use crate::output::Output;

#[derive(clap::Args)]
pub struct Stdio {
    /// A configuration or a table, served in this process to this client alone; or `http://HOST:PORT/PATH`, a server
    /// of a gateway that is running.
    #[arg(value_name = "CONFIG|URL")]
    to: String,
    /// A file with the key of this client, alone on its first line; else STRAIT_KEY says it. With CONFIG, the first
    /// key that it generates for the server is meant when none is given.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// With CONFIG: which of its servers; `default` or the only one when not said.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// With CONFIG: where secrets are kept; `.strait` beside it when not said.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// With CONFIG: serve its admin endpoints too.
    #[arg(long)]
    admin: bool,
    /// With CONFIG: how workers talk to the kernel; also by STRAIT_DRIVER.
    #[arg(long, value_enum, value_name = "DRIVER")]
    driver: Option<Driver>,
}

/// One client keeps one worker busy at most.
const WORKERS: usize = 1;

impl Stdio {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let key = stdio_front::key(self.key_file.as_deref())?;
        if self.to.contains("://") {
            if self.server.is_some() || self.state.is_some() || self.admin || self.driver.is_some() {
                let message = "--server, --state, --admin and --driver are for a CONFIG: the gateway of a URL has its own";
                return Err(Failure::new(Code::Usage, message));
            }
            return stdio_front::to(&self.to, key.as_deref());
        }
        let file = Path::new(&self.to);
        let state = self.state.unwrap_or_else(|| Source::Config(file.to_owned()).base().join(".strait"));
        let start = load::first(file, &state, false, None, Trust::default())?;
        if let Some(outcome) = &start.opened.outcome {
            output.warnings(outcome);
        }
        let setup = Setup {
            start,
            state,
            workers: Some(WORKERS),
            driver: driver(self.driver)?,
            busy_poll: Default::default(),
            force_wrong_worker: false,
            banner: false,
            private: None,
        };
        stdio_front::with_gateway(setup, Wish { server: self.server, key, admin: self.admin })
    }
}
