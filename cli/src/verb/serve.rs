//! `strait up FILE` and `strait serve FILE`: the same process; `up` greets a person, `serve` logs a line.

use std::path::PathBuf;
use std::time::Duration;

use strait_control::rollout::Rollout;
use strait_control::serve::{Setup, run};
use strait_control::signing::Trust;
use strait_control::{Code, Failure, load};
use strait_engine::DriverChoice;
use strait_engine::limits::BUSY_POLL_MAX;
use strait_loadgen::words;

use crate::output::Output;

#[derive(clap::Args)]
pub struct Serve {
    /// A configuration or a table.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where generated keys, the admin token and secrets are kept.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
    /// Worker threads; one per core when not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How workers talk to the kernel; also by STRAIT_DRIVER.
    #[arg(long, value_enum, value_name = "DRIVER")]
    driver: Option<Driver>,
    /// After something was received, look this long for more before sleeping, while calls come densely: less latency
    /// at low load for more of a core. Up to 1ms; off when not said.
    #[arg(long, value_name = "DURATION", value_parser = busy_poll)]
    busy_poll: Option<Duration>,
    /// Refuse to start when FILE is bad, instead of serving the last good table that was kept of it.
    #[arg(long)]
    strict: bool,
    /// Serve only tables that this key has signed, wherever they come from: a file with its public half (PEM). Once more for
    /// each further key.
    #[arg(long, value_name = "PUBKEY")]
    require_signed: Vec<PathBuf>,
    /// Take tables that were signed before the one in use, too.
    #[arg(long, requires = "require_signed")]
    allow_downgrade: bool,
    /// Let only one worker accept, and another own everything: every request is handed over.
    #[arg(long, hide = true)]
    force_wrong_worker: bool,
}

fn busy_poll(text: &str) -> Result<Duration, String> {
    let window = Duration::from_nanos(words::duration_ns(text)?);
    match window <= BUSY_POLL_MAX {
        true => Ok(window),
        false => Err(format!("`{text}` is too long: expected at most 1ms")),
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Driver {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// io_uring or nothing.
    #[value(name = "io_uring", alias = "io-uring")]
    IoUring,
    /// io_uring with the kernel's default flags, to measure what ours gain.
    #[value(name = "io_uring_plain", hide = true)]
    IoUringPlain,
    Epoll,
}

impl Serve {
    pub fn run(self, output: &Output, banner: bool) -> Result<(), Failure> {
        let driver = self.driver()?;
        let trust = Trust::read(&self.require_signed, self.allow_downgrade)?;
        let rollout = Rollout::open(&self.state, &self.file);
        let start = load::first(&self.file, &self.state, self.strict, Some(rollout), trust)?;
        if let Some(outcome) = &start.opened.outcome {
            output.warnings(outcome);
        }
        run(Setup {
            start,
            state: self.state,
            workers: self.workers.map(usize::from),
            driver,
            busy_poll: self.busy_poll.unwrap_or_default(),
            force_wrong_worker: self.force_wrong_worker,
            banner,
            private: None,
        })
    }

    fn driver(&self) -> Result<DriverChoice, Failure> {
        driver(self.driver)
    }
}

/// The driver that was asked for, by an option or by STRAIT_DRIVER.
pub fn driver(option: Option<Driver>) -> Result<DriverChoice, Failure> {
    let from_env = || match std::env::var("STRAIT_DRIVER") {
        Ok(name) if !name.is_empty() => <Driver as clap::ValueEnum>::from_str(&name, false).map_err(|_| {
            let message = format!("STRAIT_DRIVER is `{name}`: expected `auto`, `io_uring` or `epoll`");
            Failure::new(Code::Usage, message)
        }),
        _ => Ok(Driver::Auto),
    };
    Ok(match option.map_or_else(from_env, Ok)? {
        Driver::Auto => DriverChoice::Auto,
        Driver::IoUring => DriverChoice::IoUring,
        Driver::IoUringPlain => DriverChoice::IoUringPlain,
        Driver::Epoll => DriverChoice::Epoll,
    })
}
