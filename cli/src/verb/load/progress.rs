//! What is seen of a run while it goes on: a picture on a terminal, or one line that is written over.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strait_loadgen::load::plan::Loop;
use strait_loadgen::load::report::CLOSED_NOTE;
use strait_loadgen::load::search::Trial;
use strait_loadgen::load::{Glance, Options};
use strait_loadgen::words;

use super::live::Live;
use crate::output::Output;

/// A picture, where there is somebody to look at it.
pub fn live(output: &Output, no_live: bool, options: &Options, stop: &Arc<AtomicBool>) -> Option<Live> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if output.json || no_live || dumb || !is_terminal {
        return None;
    }
    let asked = match &options.kind {
        Loop::Open { rates, arrivals } => {
            format!("open loop, {} arrivals, {} asked", arrivals.word(), rates.shown())
        }
        Loop::Closed => CLOSED_NOTE.to_owned(),
    };
    let asked = format!("{asked}, {} connections", options.connections);
    Live::start(&options.target.url, asked, output.colors(&std::io::stdout()), stop.clone())
}

/// One line on a terminal that is written over once a second.
pub struct Progress {
    shown: bool,
    width: usize,
}

impl Progress {
    pub fn new(output: &Output) -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Progress { shown: !output.json && !dumb && std::io::stderr().is_terminal(), width: 0 }
    }

    pub fn show(&mut self, glance: Glance) {
        if !self.shown {
            return;
        }
        let what = if glance.warming_up { "warming up" } else { "measuring" };
        let p50 =
            glance.latency_p50.map_or_else(String::new, |ns| format!(", p50 {}", words::shown_ns(ns as f64)));
        let line = format!(
            "{what}: {:.0} s, {} sent, {} failed{p50}",
            glance.elapsed_ns as f64 / 1e9,
            glance.sent,
            glance.failed
        );
        let width = self.width.max(line.chars().count());
        // Blanks and no escape sequence: it also suits a terminal without colours.
        let _ = write!(std::io::stderr().lock(), "\r{line:<width$}");
        self.width = line.chars().count();
    }

    /// A run of a search, on a line of its own that stays.
    pub fn over(&mut self, trial: &Trial) {
        if !self.shown {
            return;
        }
        self.clear();
        let p99 = trial.report.record.latency.percentile(0.99).known();
        let p99 = p99.map_or_else(String::new, |ns| format!(", p99 {}", words::shown_ns(ns as f64)));
        let _ = writeln!(std::io::stderr().lock(), "{:.1}/s: {}{p99}", trial.rate, trial.outcome.word());
    }

    pub fn clear(&mut self) {
        if self.shown && self.width > 0 {
            let _ = write!(std::io::stderr().lock(), "\r{:<width$}\r", "", width = self.width);
        }
    }
}
