//! `strait load search`: the highest rate at which every demand is met, and the curve of latency on the way there.
//!
//! The decision: a search is a series of whole runs, each an open loop with its own warm-up, and every one of them is shown. Rates double
//! until one does not meet the demands, then the gap between the best that did and the worst that did not is halved (in
//! proportion) until it is as small as was asked. What was found is run once more: a rate that passed by luck falls here, in the open,
//! and the one below it is tried. A run in which the generator was late by itself ends the search, because what comes after it would be about
//! the generator.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::plan::{Arrivals, Length, Loop};
use super::rates::Rates;
use super::record::{PERCENTILES, Times};
use super::report::{Report, Verdict};
use super::{Fault, Options, Told};
use crate::words::shown_ns;

/// Runs of one search.
const TRIALS_MAX: usize = 64;
/// More samples than a demand needs, so that a few failures do not undecide it.
const SAMPLES_SPARE: f64 = 1.1;
pub const SCHEMA: &str = "strait.load.search/1";

/// Where to look.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Between {
    pub from: f64,
    pub to: f64,
    /// How much the worst rate that passed and the best that did not may differ, as a share.
    pub precision: f64,
}

/// What a run came to, for the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Met,
    NotMet,
    /// It says more about this machine than about the target.
    Unclear,
}

impl Outcome {
    fn of(report: &Report) -> Outcome {
        match report.verdict() {
            Verdict::Passed => Outcome::Met,
            Verdict::Failed => Outcome::NotMet,
            // What it left unsent is the target's doing, unless the generator was late by itself.
            Verdict::Inconclusive if report.own_fault.is_none() && !report.saturation.is_empty() => {
                Outcome::NotMet
            }
            Verdict::Inconclusive | Verdict::Interrupted => Outcome::Unclear,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Met => "met",
            Outcome::NotMet => "not met",
            Outcome::Unclear => "unclear",
        }
    }
}

/// Which rate is tried next. Pure: it is told outcomes and knows nothing else.
struct Course {
    between: Between,
    best: Option<f64>,
    worst: Option<f64>,
    /// How often the best one has passed.
    passed: u32,
}

/// One that passed once may have been lucky.
const PASSES: u32 = 2;

impl Course {
    fn new(between: Between) -> Course {
        Course { between, best: None, worst: None, passed: 0 }
    }

    fn next(&self) -> Option<f64> {
        let Between { from, to, precision } = self.between;
        match (self.best, self.worst) {
            (None, None) => Some(from),
            // Not even the lowest.
            (None, Some(_)) => None,
            (Some(best), None) if best < to => Some((best * 2.0).min(to)),
            (Some(best), Some(worst)) if worst / best > 1.0 + precision => Some((best * worst).sqrt()),
            (Some(best), _) => (self.passed < PASSES).then_some(best),
        }
    }

    fn told(&mut self, rate: f64, outcome: Outcome) {
        match (outcome, self.best) {
            (Outcome::Met, Some(best)) if rate == best => self.passed += 1,
            (Outcome::Met, _) => (self.best, self.passed) = (Some(rate), 1),
            (Outcome::NotMet, Some(best)) if rate == best => {
                // It had passed by luck: the one below it is looked at, if there is one.
                self.worst = Some(rate);
                let below = rate / (1.0 + self.between.precision);
                (self.best, self.passed) = ((below >= self.between.from).then_some(below), 0);
            }
            (Outcome::NotMet, _) => self.worst = Some(rate),
            (Outcome::Unclear, _) => {}
        }
    }

    fn found(&self) -> Option<f64> {
        self.best.filter(|_| self.passed >= PASSES)
    }
}

/// One run of a search.
#[derive(Clone)]
pub struct Trial {
    pub rate: f64,
    pub outcome: Outcome,
    pub report: Report,
}

/// What a search came to.
pub struct Found {
    pub url: String,
    pub between: Between,
    pub demands: Vec<String>,
    /// In the order in which they were run.
    pub trials: Vec<Trial>,
    /// Met the demands in [`PASSES`] runs.
    pub highest: Option<f64>,
    /// The lowest that did not.
    pub not_met: Option<f64>,
    /// Why it ended before it was through.
    pub ended: Option<String>,
    pub interrupted: bool,
}

/// Runs until the highest rate is known. `tell` hears what runs tell, and each trial when it is over.
pub fn search(
    options: &Options,
    between: Between,
    arrivals: Arrivals,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<Found, Fault> {
    let mut course = Course::new(between);
    let mut found = Found {
        url: options.target.url.clone(),
        between,
        demands: options.thresholds.iter().map(|demand| demand.text().to_owned()).collect(),
        trials: Vec::new(),
        highest: None,
        not_met: None,
        ended: None,
        interrupted: false,
    };
    while let Some(rate) = course.next() {
        if found.trials.len() == TRIALS_MAX {
            found.ended = Some(format!("{TRIALS_MAX} runs did not come to an end: the target is not steady"));
            break;
        }
        let mut asked = options.clone();
        asked.kind = Loop::Open { rates: Rates::Constant(rate), arrivals };
        asked.length = length(options, rate);
        let report = super::run(&asked, stop, &mut |told| tell(Step::Told(told)))?;
        let outcome = Outcome::of(&report);
        course.told(rate, outcome);
        found.interrupted = report.interrupted || stop.load(Ordering::Relaxed);
        if outcome == Outcome::Unclear && !found.interrupted {
            let why = report.own_fault.clone().or_else(|| {
                let undecided = report.judged.iter().find(|judged| judged.passed.is_none())?;
                Some(format!("`{}` is undecided: {}", undecided.text, undecided.words))
            });
            found.ended = Some(format!("at {rate:.1}/s {}", why.unwrap_or_default()));
        }
        let trial = Trial { rate, outcome, report };
        tell(Step::Over(&trial));
        found.trials.push(trial);
        if found.interrupted || found.ended.is_some() {
            break;
        }
    }
    found.not_met = course.worst;
    found.highest = course.found();
    Ok(found)
}

/// What is told of a search on its way.
pub enum Step<'a> {
    Told(Told<'a>),
    Over(&'a Trial),
}

/// As long as was asked, and long enough for every demand to be decided.
fn length(options: &Options, rate: f64) -> Length {
    let Length::Time { ns } = options.length else { return options.length };
    let needs = options.thresholds.iter().filter_map(|demand| demand.samples_needed()).max().unwrap_or(0);
    let enough_ns = needs as f64 * SAMPLES_SPARE / rate * 1e9;
    Length::Time { ns: ns.max(enough_ns as u64) }
}

impl Found {
    pub fn verdict(&self) -> Verdict {
        match self.highest {
            _ if self.interrupted => Verdict::Interrupted,
            _ if self.ended.is_some() => Verdict::Inconclusive,
            Some(_) => Verdict::Passed,
            None => Verdict::Failed,
        }
    }

    /// Trials by rate: the curve.
    fn curve(&self) -> Vec<&Trial> {
        let mut curve: Vec<&Trial> = self.trials.iter().collect();
        curve.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        curve
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(text.trim_end());
            out.push('\n');
        };
        let demands = self.demands.join(", ");
        let Between { to, precision, .. } = self.between;
        let percent = precision * 100.0;
        line(match (self.highest, self.not_met, &self.ended) {
            _ if self.interrupted => "interrupted: what follows is what was run until then".to_owned(),
            (_, _, Some(why)) => format!("INCONCLUSIVE: {why}"),
            (Some(rate), Some(worst), None) => {
                format!(
                    "{rate:.1}/s is the highest rate that meets {demands}, to {percent:.0} %: {worst:.1}/s does not"
                )
            }
            (Some(rate), None, None) => {
                format!("{rate:.1}/s meets {demands}, and no more was asked: `--to {to}`")
            }
            (None, _, None) => format!("no rate from {:.1}/s on meets {demands}", self.between.from),
        });
        line(String::new());
        let columns = ["rate/s", "achieved", "n", "p50", "p90", "p99", "p99.9", "failed"];
        line(format!("{}  demands", columns.map(|column| format!("{column:>10}")).concat()));
        for trial in self.curve() {
            let report = &trial.report;
            let mut row =
                format!("{:>10.1}{:>10.1}{:>10}", trial.rate, report.achieved_rate(), report.measured());
            for cell in percentiles(&report.record.latency) {
                row.push_str(&format!("{:>10}", cell.map_or("n/a".to_owned(), |ns| shown_ns(ns as f64))));
            }
            line(format!("{row}{:>10}  {}", report.record.failed(), trial.outcome.word()));
        }
        out
    }

    pub fn to_json(&self) -> Value {
        let trials = self.trials.iter().map(|trial| {
            let mut report = trial.report.to_json();
            // Whoever wants to compare runs keeps results of runs.
            for bulky in ["histograms", "windows"] {
                report.as_object_mut().map(|report| report.remove(bulky));
            }
            json!({ "rate": trial.rate, "outcome": trial.outcome.word(), "report": report })
        });
        json!({
            "schema": SCHEMA,
            "url": self.url,
            "demands": self.demands,
            "from": self.between.from,
            "to": self.between.to,
            "precision": self.between.precision,
            "highest_rate": self.highest,
            "not_met_rate": self.not_met,
            "ended": self.ended,
            "interrupted": self.interrupted,
            "verdict": self.verdict().word(),
            "trials": trials.collect::<Vec<_>>(),
        })
    }
}

fn percentiles(times: &Times) -> impl Iterator<Item = Option<u64>> + '_ {
    PERCENTILES.iter().map(|(_, quantile)| times.percentile(*quantile).known())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETWEEN: Between = Between { from: 100.0, to: 100_000.0, precision: 0.05 };

    /// Rates tried, and what was found, of a target that takes so many.
    fn tried(between: Between, mut meets: impl FnMut(usize, f64) -> bool) -> (Vec<f64>, Option<f64>) {
        let (mut course, mut rates) = (Course::new(between), Vec::new());
        while let Some(rate) = course.next() {
            assert!(rates.len() < TRIALS_MAX, "{rates:?}");
            let outcome = if meets(rates.len(), rate) { Outcome::Met } else { Outcome::NotMet };
            rates.push(rate);
            course.told(rate, outcome);
        }
        (rates, course.found())
    }

    #[test]
    fn the_highest_rate_is_found_within_what_was_asked_and_run_twice() {
        for capacity in [101.0, 150.0, 3_333.0, 99_999.0] {
            let (rates, found) = tried(BETWEEN, |_, rate| rate <= capacity);
            let found = found.unwrap();
            assert!(found <= capacity && found * 1.05 >= capacity, "{capacity}: {found}, {rates:?}");
            assert_eq!(rates.iter().filter(|rate| **rate == found).count(), 2, "{rates:?}");
            assert!(rates.len() < 20, "{rates:?}");
        }
    }

    #[test]
    fn the_ends_are_ends() {
        assert_eq!(tried(BETWEEN, |_, rate| rate <= 99.0), (vec![100.0], None));
        let (rates, found) = tried(Between { to: 350.0, ..BETWEEN }, |_, _| true);
        assert_eq!((rates, found), (vec![100.0, 200.0, 350.0, 350.0], Some(350.0)));
    }

    /// One that passed by luck is not what is told.
    #[test]
    fn a_rate_that_passes_once_is_not_found() {
        let between = Between { to: 400.0, ..BETWEEN };
        let (rates, found) = tried(between, |run, rate| rate <= 300.0 || run == 2);
        let found = found.unwrap();
        assert!(found <= 300.0 && found > 250.0, "{found}: {rates:?}");
        assert_eq!(rates.iter().filter(|rate| **rate == found).count(), 2, "{rates:?}");
    }
}
