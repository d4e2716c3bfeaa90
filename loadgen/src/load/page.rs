//! A run as a page: the same figures as its text and its JSON, and drawn what numbers hide. The page's form is `crate::report`, which proofs use as well.
//!
//! The decision: nothing is drawn that the text refuses to say. A curve ends at the last percentile that ten samples lie beyond, and a window of time has
//! a point of a percentile only when that many lie beyond it there.

use hdrhistogram::Histogram;

use super::plan::{Length, Loop};
use super::record::{PERCENTILES, Percentile, Times};
use super::report::{CLOSED_NOTE, Report, Verdict};
use super::steady::Steadiness;
use super::think::Think;
use crate::proof::environment::Environment;
use crate::report::{Axis, Figure, Finding, Heat, Line, Lines, Mark, Page, Scale, Shape, Table};
use crate::target::Cause;
use crate::words::shown_ns;

/// Cells of a column of the heat map.
const CELLS: usize = 28;
/// Points of a percentile curve.
const STEPS: u32 = 80;

impl Verdict {
    fn mark(self) -> Mark {
        match self {
            Verdict::Passed => Mark::Good,
            Verdict::Failed => Mark::Bad,
            Verdict::Inconclusive | Verdict::Interrupted => Mark::Unsure,
        }
    }
}

impl Report {
    /// The whole page; `environment` is this machine while it ran, `command` what was typed, without credentials.
    pub fn to_html(&self, environment: &Environment, command: String) -> String {
        let mut figures = vec![self.percentile_curve()];
        figures.extend(self.over_time());
        figures.extend(self.heat());
        figures.extend(self.lag());
        let notes = match figures.iter().any(|figure| matches!(figure.shape, Shape::Heat(_))) {
            true => Vec::new(),
            false => {
                vec!["Too few windows of time with twenty answers to draw what happened when.".to_owned()]
            }
        };
        let page = Page {
            mark: self.verdict().mark(),
            verdict: self.verdict().word().to_uppercase(),
            headline: self.headline(),
            findings: self.findings(),
            warnings: self.warnings(environment),
            tables: self.tables(),
            figures,
            notes,
            environment: self.surroundings(environment),
            command,
        };
        page.to_html()
    }

    /// What was demanded and what came of it, then what was run: the first line of the page.
    fn headline(&self) -> String {
        let demands: Vec<String> =
            self.judged.iter().map(|judged| format!("{} ({})", judged.text, judged.words)).collect();
        let demands = match demands.is_empty() {
            true => String::new(),
            false => format!("{}: ", demands.join(", ")),
        };
        let saturated = if self.saturation.is_empty() { "" } else { "SELF-SATURATED, " };
        format!(
            "{saturated}{demands}{}, {:.1}/s achieved over {:.2} s, {} measured, {} failed, {}",
            self.asked(),
            self.achieved_rate(),
            self.duration_ns as f64 / 1e9,
            self.measured(),
            self.record.failed(),
            self.url
        )
    }

    fn asked(&self) -> String {
        match &self.kind {
            Loop::Open { rates, arrivals } => {
                format!("open loop, {} arrivals, {} asked", arrivals.word(), rates.shown())
            }
            Loop::Closed => format!("closed loop, {} connections", self.connections),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let finding = |mark, verdict: &str, text: String| Finding { mark, verdict: verdict.to_owned(), text };
        let judged = self.judged.iter().map(|judged| match judged.passed {
            Some(true) => finding(Mark::Good, "MET", format!("{}: {}", judged.text, judged.words)),
            Some(false) => finding(Mark::Bad, "NOT MET", format!("{}: {}", judged.text, judged.words)),
            None => finding(Mark::Unsure, "UNDECIDED", format!("{}: {}", judged.text, judged.words)),
        });
        let late =
            self.saturation.iter().map(|reason| finding(Mark::Unsure, "SELF-SATURATED", reason.clone()));
        let moved = match &self.steadiness {
            Steadiness::NotSteady(why) => Some(finding(Mark::Unsure, "NOT STEADY", why.clone())),
            Steadiness::Steady | Steadiness::Unknown(_) => None,
        };
        judged.chain(late).chain(moved).collect()
    }

    fn warnings(&self, environment: &Environment) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.kind == Loop::Closed {
            warnings.push(CLOSED_NOTE.to_owned());
        }
        if self.interrupted {
            warnings.push("it was interrupted: this is what was measured until then".to_owned());
        }
        warnings.extend(
            self.lost.as_ref().map(|lost| {
                format!("a demand could no longer be met, and the run was ended: {}", lost.words)
            }),
        );
        if let Length::Steady { .. } = self.warmup
            && !self.settled
        {
            warnings.push("the target was NOT STEADY when measuring began".to_owned());
        }
        warnings.extend(self.notes.iter().cloned());
        warnings.extend(environment.warnings());
        if !self.agents.is_empty() {
            warnings.push(
                "what is said of the machine is of the one that led the agents, and sent nothing".to_owned(),
            );
        }
        warnings
    }

    fn tables(&self) -> Vec<Table> {
        let record = &self.record;
        let strings = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        let mut rows = vec![times_row("latency", &record.latency), times_row("service", &record.service)];
        let more = [
            ("first event", &record.first_event, true),
            ("event gap", &record.event_gap, true),
            ("send lag", &record.send_lag, self.has_lag()),
            ("our own", &record.own_lag, self.has_lag()),
            ("failed", &record.failed_latency, true),
        ];
        let told = more.into_iter().filter(|(_, times, is_told)| *is_told && times.count() > 0);
        rows.extend(told.map(|(name, times, _)| times_row(name, times)));
        let columns = strings(&["", "n", "p50", "p90", "p99", "p99.9", "max", "mean"]);
        let mut tables = vec![Table { title: "Times".to_owned(), columns, rows }];
        if !self.agents.is_empty() {
            let rows = self.agents.iter().map(|agent| vec![agent.text.clone()]).collect();
            tables.push(Table { title: "Machines".to_owned(), columns: strings(&["agent"]), rows });
        }
        if record.failed() > 0 {
            let causes = Cause::WORDS.iter().zip(record.causes).filter(|(_, count)| *count > 0);
            let rows = causes.map(|(word, count)| vec![(*word).to_owned(), count.to_string()]).collect();
            tables.push(Table { title: "Failures".to_owned(), columns: strings(&["cause", "count"]), rows });
        }
        let rows = self.shares.iter().map(|share| {
            let name = share.name.clone().unwrap_or_default();
            vec![share.method.to_owned(), name, format!("{}", share.weight), share.sent.to_string()]
        });
        let columns = strings(&["method", "name", "weight", "sent"]);
        tables.push(Table { title: "What was sent".to_owned(), columns, rows: rows.collect() });
        tables
    }

    /// A closed loop without thinking has no plan to be late for.
    fn has_lag(&self) -> bool {
        self.kind != Loop::Closed || self.think.is_some()
    }

    fn surroundings(&self, environment: &Environment) -> Vec<(String, String)> {
        let mut facts: Vec<(String, String)> = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        fact("target", self.url.clone());
        fact("server", format!("{}, {}", self.server, self.revision));
        fact("plan", self.asked());
        fact("connections", format!("{}, {} of them made anew", self.connections, self.reconnects));
        if let Some(ns) = self.warmed_ns.filter(|ns| *ns > 0) {
            fact("warm-up", shown_ns(ns as f64));
        }
        if let Some(think) = self.think {
            fact("users think for", Think::shown(think));
        }
        if let Some(cancel) = self.cancel {
            let (cancelled, crossed) = (self.record.cancelled, self.record.crossed);
            let told = format!("{}: {cancelled}, and {crossed} answered all the same", cancel.shown());
            fact("cancelled", told);
        }
        fact("seed", self.seed.to_string());
        fact("spins before a request is due", shown_ns(self.spin_ns as f64));
        // The generator waits by epoll, whatever rings there are.
        for (name, value) in environment.told().into_iter().filter(|(name, _)| *name != "io_uring") {
            fact(name, value);
        }
        facts
    }

    fn percentile_curve(&self) -> Figure {
        let record = &self.record;
        let lines = vec![curve("latency", &record.latency), curve("service", &record.service)];
        let caption = match self.kind {
            Loop::Open { .. } => {
                "From the fastest on the left to the slowest that ten others were slower than. Latency counts from the \
                 moment a request was due, service time from when it was sent: what lies between the lines was waiting."
            }
            Loop::Closed => {
                "From the fastest on the left to the slowest that ten others were slower than. In a closed loop a slow \
                 target is asked less often: compare it with nothing that was measured otherwise."
            }
        };
        percentiles("Latency by percentile", caption, "time", lines)
    }

    fn lag(&self) -> Option<Figure> {
        let record = &self.record;
        if !self.has_lag() || record.send_lag.count() < Percentile::needs(0.5) {
            return None;
        }
        let lines = vec![curve("send lag", &record.send_lag), curve("our own", &record.own_lag)];
        let caption = "How long after it was due a request was sent. Our own is the part of it in which a connection was free: \
                       the rest waited for the target to answer others.";
        Some(percentiles("Send lag", caption, "lag", lines))
    }

    fn over_time(&self) -> Option<Figure> {
        let windows: Vec<_> = self.windows.timed().collect();
        if windows.len() < 2 {
            return None;
        }
        let lines = PERCENTILES[..3].iter().map(|(name, quantile)| {
            let told = windows.iter().filter(|(_, set)| set.len() >= Percentile::needs(*quantile));
            let points = told.map(|(at, set)| (*at as f64 / 1e9, in_us(set.value_at_quantile(*quantile))));
            Line { name: (*name).to_owned(), points: points.collect() }
        });
        Some(Figure {
            title: "Percentiles over the run".to_owned(),
            caption: format!(
                "Latencies of {} windows of time, one after the other, by when they were answered. A percentile is there \
                 where ten answers of the window lie beyond it.",
                windows.len()
            ),
            shape: Shape::Lines(Lines {
                x: seconds(),
                y: us("latency"),
                lines: lines.filter(|line| line.points.len() > 1).collect(),
            }),
        })
    }

    fn heat(&self) -> Option<Figure> {
        let windows: Vec<_> = self.windows.timed().collect();
        let values = || windows.iter().flat_map(|(_, set)| set.iter_recorded());
        let low = values().map(|value| value.value_iterated_to()).min()?.max(1);
        let high = values().map(|value| value.value_iterated_to()).max()?;
        if windows.len() < 2 || low >= high {
            return None;
        }
        let (low, high) = (in_us(low).ln(), in_us(high).ln());
        let edges = (0..=CELLS).map(|edge| (low + (high - low) * edge as f64 / CELLS as f64).exp());
        let cells = |set: &Histogram<u64>| {
            let mut counts = vec![0; CELLS];
            for value in set.iter_recorded() {
                let share = (in_us(value.value_iterated_to().max(1)).ln() - low) / (high - low);
                counts[((share * CELLS as f64) as usize).min(CELLS - 1)] += value.count_at_value();
            }
            counts
        };
        Some(Figure {
            title: "All answers".to_owned(),
            caption: "Every answer: darker where more of them took that long at that time, by the logarithm of their number."
                .to_owned(),
            shape: Shape::Heat(Heat {
                x: seconds(),
                y: us("latency"),
                columns: windows.iter().map(|(at, _)| *at as f64 / 1e9).collect(),
                edges: edges.collect(),
                counts: windows.iter().map(|(_, set)| cells(set)).collect(),
            }),
        })
    }
}

fn in_us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

fn us(label: &str) -> Axis {
    Axis { label: label.to_owned(), unit: " us".to_owned(), scale: Scale::Log }
}

fn seconds() -> Axis {
    Axis { label: "seconds since the first answer".to_owned(), unit: " s".to_owned(), scale: Scale::Linear }
}

fn percentiles(title: &str, caption: &str, what: &str, lines: Vec<Line>) -> Figure {
    let x = Axis { label: "percentile".to_owned(), unit: String::new(), scale: Scale::Percentile };
    let shape = Shape::Lines(Lines { x, y: us(what), lines });
    Figure { title: title.to_owned(), caption: caption.to_owned(), shape }
}

/// Even steps of the logarithm, up to the last percentile that ten samples lie beyond.
fn curve(name: &str, times: &Times) -> Line {
    let most = times.count() as f64 / 10.0;
    let points = (0..=STEPS).filter(|_| most >= 2.0).map(|step| {
        let beyond = most.powf(f64::from(step) / f64::from(STEPS));
        // A logarithm has no place for nothing at all.
        (beyond, in_us(times.quantile(1.0 - 1.0 / beyond).max(1)))
    });
    Line { name: name.to_owned(), points: points.collect() }
}

fn times_row(name: &str, times: &Times) -> Vec<String> {
    let told = |ns: Option<f64>| ns.map_or("n/a".to_owned(), shown_ns);
    let mut row = vec![name.to_owned(), times.count().to_string()];
    row.extend(PERCENTILES.iter().map(|(_, at)| told(times.percentile(*at).known().map(|ns| ns as f64))));
    row.push(told(times.max().map(|ns| ns as f64)));
    row.push(told(times.mean()));
    row
}
