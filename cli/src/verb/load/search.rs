//! `strait load search URL`: one run after the other, for the highest rate that meets the demands.

use strait_control::{Code, Failure};
use strait_loadgen::load::plan::Loop;
use strait_loadgen::load::search::{Between, Step, search};
use strait_loadgen::load::{self, Told};
use strait_loadgen::words;

use super::progress::Progress;
use super::{Once, ended, failure, stopped_by_signals};
use crate::output::{Output, print};

/// Of each run of a search.
const SEARCH_NS: u64 = 5_000_000_000;

#[derive(clap::Args)]
pub struct Search {
    /// The lowest rate that is tried, and the first.
    #[arg(long, value_name = "N", value_parser = words::rate, default_value = "100")]
    from: f64,
    /// The highest rate that is tried.
    #[arg(long, value_name = "N", value_parser = words::rate, default_value = "100000")]
    to: f64,
    /// How close to look, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    precision: u32,
    #[command(flatten)]
    once: Once,
}

impl Search {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let Search { from, to, precision, mut once } = self;
        if let Some(flag) = once.of_one_run() {
            let why = format!("`{flag}` is of one run, and a search is made of many");
            return Err(Failure::new(Code::Usage, why));
        }
        if once.thresholds.is_empty() {
            return Err(Failure::new(Code::Usage, "a search has nothing to hold a rate against")
                .help("say what has to be met: `--assert 'p99<5ms'`"));
        }
        if to < from {
            return Err(Failure::new(Code::Usage, format!("`--to {to}` is below `--from {from}`")));
        }
        once.duration = once.duration.or(Some(SEARCH_NS));
        // Whether it is one's own is asked for the highest rate that may come.
        once.rate = Some(to);
        once.pin()?;
        let options = once.options()?;
        let Loop::Open { arrivals, .. } = options.kind else {
            return Err(Failure::bug("a search is an open loop"));
        };
        load::check_ownership(&options).map_err(|fault| failure(&options.target, fault))?;
        let stop = stopped_by_signals()?;
        let mut progress = Progress::new(output);
        let between = Between { from, to, precision: f64::from(precision) / 100.0 };
        let found = search(&options, between, arrivals, &stop, &mut |step| match step {
            Step::Told(Told::Glance(glance)) => progress.show(glance),
            // Said once by whoever names it.
            Step::Told(Told::Unlisted { .. }) => {}
            Step::Over(trial) => progress.over(trial),
        });
        progress.clear();
        let found = found.map_err(|fault| failure(&options.target, fault))?;
        match output.json {
            true => print(&format!("{:#}\n", found.to_json())),
            false => print(&found.text()),
        }
        ended(found.verdict())
    }
}
