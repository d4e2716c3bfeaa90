//! `strait top`: a running gateway, live, in the terminal; or once, as text or JSON.

use std::path::PathBuf;
use std::time::Duration;

use strait_control::{Failure, top};
use strait_loadgen::words;

use crate::output::{COLUMNS, Output};

#[derive(clap::Args)]
pub struct Top {
    /// Where the gateway's admin endpoints are, HOST:PORT or a URL; when not said, the socket in the state folder is used, or 127.0.0.1:8081.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The gateway's state folder: its admin socket and tokens are there. Without one of them, nothing is shown by name of tool or principal.
    #[arg(long, value_name = "DIR", default_value = ".strait")]
    state: PathBuf,
    /// How often to look.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Look twice, an interval apart, print what happened between, and be done; --json does so, too.
    #[arg(long)]
    once: bool,
    /// With --once: only this view; all of them when not said.
    #[arg(long, value_name = "VIEW", requires = "once", value_parser = view)]
    view: Option<top::View>,
}

fn interval(text: &str) -> Result<Duration, String> {
    match words::duration_ns(text)? {
        ns @ 100_000_000..=3_600_000_000_000 => Ok(Duration::from_nanos(ns)),
        _ => Err(format!("`{text}` is not between 100ms and 1h")),
    }
}

fn view(text: &str) -> Result<top::View, String> {
    let words = top::View::ALL.map(top::View::word);
    let found = top::View::ALL.into_iter().find(|view| view.word() == text);
    found.ok_or_else(|| format!("expected one of {}", words.join(", ")))
}

impl Top {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let is_colored = output.colors(&std::io::stdout());
        let options =
            top::Options { admin: self.admin, state: self.state, interval: self.interval, is_colored };
        if !self.once && !output.json {
            return top::watch(&options);
        }
        let views = self.view.map_or_else(|| top::View::ALL.to_vec(), |view| vec![view]);
        let once = top::once(&options, &views, COLUMNS)?;
        output.facts(&once.json, || once.text);
        Ok(())
    }
}
