//! What a run found, as text for a person and as JSON with stable names (docs/LOAD.md lists them). The
//! decision: latency and service time always stand side by side, the sample count always with them, and
//! a figure that cannot be told says why in its place.

use serde_json::{Map, Value, json};

use super::drive::Cancel;
use super::hope::Lost;
use super::plan::{Length, Loop};
use super::rates::Rates;
use super::raw;
use super::record::{PERCENTILES, Percentile, Record, Times};
use super::steady::{Steadiness, Windows};
use super::think::Think;
use super::threshold::{Judged, Threshold};
use crate::target::Cause;
use crate::words::{printable, shown_ns};

/// What every closed loop is labelled with.
pub const CLOSED_NOTE: &str = "closed loop: percentiles not comparable";
pub const SCHEMA: &str = "strait.load/1";
/// What a result looks like, as a JSON Schema.
pub const RESULT_SCHEMA: &str = include_str!("result.schema.json");

/// One request template and how often it was sent.
#[derive(Clone, Debug)]
pub struct Share {
    pub method: &'static str,
    pub name: Option<String>,
    pub weight: f64,
    pub sent: u64,
}

/// A finished run.
#[derive(Clone)]
pub struct Report {
    pub url: String,
    pub server: String,
    pub revision: &'static str,
    pub kind: Loop,
    pub warmup: Length,
    pub connections: usize,
    pub reconnects: u64,
    pub seed: u64,
    pub spin_ns: u64,
    pub not_sent: u64,
    pub behind: u64,
    pub duration_ns: u64,
    pub interrupted: bool,
    /// The demand that ended the run before its time.
    pub lost: Option<Lost>,
    /// How long the warm-up was; none when the run never came to measuring.
    pub warmed_ns: Option<u64>,
    /// Whether the target was steady when a warm-up that waits for it ended.
    pub settled: bool,
    pub steadiness: Steadiness,
    pub windows: Windows,
    pub think: Option<Think>,
    pub cancel: Option<Cancel>,
    pub size: usize,
    pub progress: bool,
    pub timeout_ns: u64,
    pub record: Record,
    pub shares: Vec<Share>,
    /// Why the generator did not keep up; empty when it did.
    pub saturation: Vec<String>,
    /// That of them which is the generator's own lateness.
    pub own_fault: Option<String>,
    pub notes: Vec<String>,
    pub judged: Vec<Judged>,
    /// Of the machines that drove it together; empty when one did.
    pub agents: Vec<AgentPart>,
}

/// What one of several machines did, as both forms tell it.
#[derive(Clone, Debug)]
pub struct AgentPart {
    pub json: Value,
    pub text: String,
}

/// The end of a run, the worst that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Passed,
    /// A demand was not met, or calls failed and nothing was said about errors.
    Failed,
    /// Self-saturated, or a demand that cannot be decided.
    Inconclusive,
    Interrupted,
}

impl Report {
    pub fn measured(&self) -> u64 {
        self.record.succeeded() + self.record.failed() + self.record.cancelled
    }

    pub fn achieved_rate(&self) -> f64 {
        match self.duration_ns {
            0 => 0.0,
            ns => self.measured() as f64 * 1e9 / ns as f64,
        }
    }

    pub fn judge(&mut self, thresholds: &[Threshold]) {
        let mut judged: Vec<Judged> = thresholds.iter().map(|threshold| threshold.judge(self)).collect();
        if !thresholds.iter().any(Threshold::is_about_errors) && self.record.failed() > 0 {
            let failed = self.record.failed();
            judged.push(Judged {
                text: "errors==0".to_owned(),
                value: Some(failed as f64),
                passed: Some(false),
                words: format!("{failed}; no `--assert` speaks of errors"),
            });
        }
        // What was lost is lost, although the run ended before there were samples enough to show it.
        if let Some(lost) = &self.lost
            && let Some(judged) = lost.demand.and_then(|place| judged.get_mut(place))
        {
            (judged.passed, judged.words) = (Some(false), format!("{}: it can no longer be met", lost.words));
        }
        self.judged = judged;
    }

    /// A warm-up was to last until the target is steady, and it was not: then, or while it was measured.
    fn is_unsettled(&self) -> bool {
        let was_asked = matches!(self.warmup, Length::Steady { .. });
        was_asked && (!self.settled || matches!(self.steadiness, Steadiness::NotSteady(_)))
    }

    pub fn verdict(&self) -> Verdict {
        if self.interrupted {
            Verdict::Interrupted
        } else if self.lost.is_some() {
            Verdict::Failed
        } else if self.is_unsettled()
            || !self.saturation.is_empty()
            || self.judged.iter().any(|judged| judged.passed.is_none())
        {
            Verdict::Inconclusive
        } else if self.judged.iter().any(|judged| judged.passed == Some(false)) {
            Verdict::Failed
        } else {
            Verdict::Passed
        }
    }

    pub fn to_json(&self) -> Value {
        let record = &self.record;
        let mut errors = Map::new();
        errors.insert("total".to_owned(), record.failed().into());
        for (word, count) in Cause::WORDS.iter().zip(record.causes) {
            errors.insert((*word).to_owned(), count.into());
        }
        let codes = |codes: &super::record::Codes| -> Map<String, Value> {
            let mut all: Vec<_> = codes.iter().collect();
            all.sort_unstable();
            let mut map: Map<String, Value> =
                all.into_iter().map(|(c, n)| (c.to_string(), n.into())).collect();
            if codes.others > 0 {
                map.insert("other".to_owned(), codes.others.into());
            }
            map
        };
        let shares = self.shares.iter().map(
            |share| json!({ "method": share.method, "name": share.name, "weight": share.weight, "sent": share.sent }),
        );
        let asserts = self.judged.iter().map(|judged| {
            json!({ "assert": judged.text, "value": judged.value, "passed": judged.passed, "found": judged.words })
        });
        let (kind, rates, arrivals) = match &self.kind {
            Loop::Open { rates, arrivals } => ("open", Some(rates), json!(arrivals.word())),
            Loop::Closed => ("closed", None, Value::Null),
        };
        let warmup = match self.warmup {
            Length::Requests(requests) => json!({ "requests": requests }),
            Length::Time { ns } => json!({ "duration_s": ns as f64 / 1e9 }),
            Length::Steady { within_ns } => {
                json!({ "steady_within_s": within_ns as f64 / 1e9, "settled": self.settled })
            }
        };
        let mut all = json!({
            "schema": SCHEMA,
            "url": self.url,
            "server": self.server,
            "revision": self.revision,
            "loop": kind,
            "note": (self.kind == Loop::Closed).then_some(CLOSED_NOTE),
            "arrivals": arrivals,
            "requested_rate": rates.and_then(Rates::constant),
            "schedule": rates.map(Rates::to_json),
            "achieved_rate": self.achieved_rate(),
            "measured": self.measured(),
            "succeeded": record.succeeded(),
            "failed": record.failed(),
            "cancelled": record.cancelled,
            "cancel_crossed": record.crossed,
            "not_sent": self.not_sent,
            "behind_at_end": self.behind,
            "duration_s": self.duration_ns as f64 / 1e9,
            "warmup": warmup,
            "warmed_s": self.warmed_ns.map(|ns| ns as f64 / 1e9),
            "steadiness": self.steadiness.to_json(),
            "think": self.think.map(Think::shown),
            "cancel": self.cancel.map(|cancel| json!({ "share": cancel.share, "after_s": cancel.after_ns as f64 / 1e9 })),
            "size": self.size,
            "progress": self.progress,
            "timeout_s": self.timeout_ns as f64 / 1e9,
            "connections": self.connections,
            "reconnects": self.reconnects,
        });
        let found = json!({
            "errors": errors,
            "http_statuses": codes(&record.statuses),
            "jsonrpc_codes": codes(&record.codes),
            "latency_ns": times_json(&record.latency),
            "service_ns": times_json(&record.service),
            "send_lag_ns": times_json(&record.send_lag),
            "own_lag_ns": times_json(&record.own_lag),
            "failed_latency_ns": times_json(&record.failed_latency),
            "failed_service_ns": times_json(&record.failed_service),
            "first_event_ns": times_json(&record.first_event),
            "event_gap_ns": times_json(&record.event_gap),
            "body_bytes": record.body_bytes,
            "events": record.events,
            "self_saturated": !self.saturation.is_empty(),
            "saturation": self.saturation,
            "interrupted": self.interrupted,
            "aborted": self.lost.as_ref().map(|lost| &lost.words),
            "mix": shares.collect::<Vec<_>>(),
            "seed": self.seed,
            "spin_ns": self.spin_ns,
            "notes": self.notes,
            "asserts": asserts.collect::<Vec<_>>(),
            "verdict": self.verdict().word(),
            "histograms": {
                "latency": raw::encode(record.latency.histogram()),
                "service": raw::encode(record.service.histogram()),
                "send_lag": raw::encode(record.send_lag.histogram()),
            },
            "windows": self.windows.full().map(raw::encode).collect::<Vec<_>>(),
            "agents": (!self.agents.is_empty()).then(|| self.agents.iter().map(|agent| &agent.json).collect::<Vec<_>>()),
        });
        if let (Value::Object(all), Value::Object(found)) = (&mut all, found) {
            all.extend(found);
        }
        all
    }

    pub fn text(&self) -> String {
        let record = &self.record;
        let mut out = String::new();
        // Names of servers and tools are the peer's words.
        let mut line = |text: String| {
            out.push_str(&printable(&text));
            out.push('\n');
        };
        line(format!("{}  ({}, {})", self.url, self.server, self.revision));
        match &self.kind {
            Loop::Open { rates, arrivals } => line(format!(
                "open loop, {} arrivals: {} asked, {:.1}/s achieved over {:.2} s, {} connections",
                arrivals.word(),
                rates.shown(),
                self.achieved_rate(),
                self.duration_ns as f64 / 1e9,
                self.connections
            )),
            Loop::Closed => {
                line(CLOSED_NOTE.to_owned());
                line(format!(
                    "{:.1}/s over {:.2} s, {} connections",
                    self.achieved_rate(),
                    self.duration_ns as f64 / 1e9,
                    self.connections
                ));
            }
        }
        self.agents.iter().for_each(|agent| line(agent.text.clone()));
        for share in self.shares.iter().filter(|share| self.shares.len() > 1 || share.name.is_some()) {
            let name = share.name.as_deref().unwrap_or_default();
            line(format!("  {:>9}  {} {name}", share.sent, share.method));
        }
        line(format!(
            "{} measured: {} succeeded, {} failed",
            self.measured(),
            record.succeeded(),
            record.failed()
        ));
        if let Some(think) = self.think {
            line(format!("users think for {}; a call is due when its user has done so", think.shown()));
        }
        if let Some(cancel) = self.cancel {
            line(format!(
                "{} cancelled ({}), {} answered all the same",
                record.cancelled,
                cancel.shown(),
                record.crossed
            ));
        }
        if let (Length::Steady { .. }, Some(ns)) = (self.warmup, self.warmed_ns) {
            let found = if self.settled { "steady" } else { "NOT STEADY" };
            line(format!("warm-up: {found} after {}", shown_ns(ns as f64)));
        }
        line(String::new());
        let columns = ["n", "p50", "p90", "p99", "p99.9", "max", "mean"];
        line(format!("{:<14}{}", "", columns.map(|column| format!("{column:>10}")).concat()));
        line(times_line("latency", &record.latency));
        line(times_line("service", &record.service));
        if record.first_event.count() > 0 {
            line(times_line("first event", &record.first_event));
            line(times_line("event gap", &record.event_gap));
        }
        if self.kind != Loop::Closed || self.think.is_some() {
            line(times_line("send lag", &record.send_lag));
            line(times_line("  our own", &record.own_lag));
        }
        if record.failed() > 0 {
            line(times_line("failed", &record.failed_latency));
        }
        if self.kind != Loop::Closed {
            line("latency counts from when a request was due, service time from when it was sent".to_owned());
        }
        let takes: Vec<String> = refused(&record.latency)
            .iter()
            .map(|(name, needs)| format!("{} takes {needs}", name.replace("p999", "p99.9")))
            .collect();
        if !takes.is_empty() && record.succeeded() > 0 {
            line(format!("n/a: a percentile needs 10 samples beyond it; {}", takes.join(", ")));
        }
        if record.failed() > 0 {
            line(String::new());
            for (word, count) in Cause::WORDS.iter().zip(record.causes).filter(|(_, count)| *count > 0) {
                let codes = match *word {
                    "http_status" => listed(&record.statuses),
                    "jsonrpc" => listed(&record.codes),
                    _ => String::new(),
                };
                line(format!("{count:>9}  {word}{codes}"));
            }
        }
        for note in &self.notes {
            line(format!("note: {note}"));
        }
        if let Steadiness::NotSteady(why) = &self.steadiness {
            line(format!("NOT STEADY: {why}"));
        }
        for judged in &self.judged {
            let word = match judged.passed {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "UNDECIDED",
            };
            // What was refused says itself what was found and what it takes.
            let found = if judged.passed.is_some() { "found " } else { "" };
            line(format!("{word}: {} ({found}{})", judged.text, judged.words));
        }
        if self.not_sent > 0 && self.saturation.is_empty() {
            line(format!("{} planned requests were not sent", self.not_sent));
        }
        for reason in &self.saturation {
            line(format!("SELF-SATURATED: {reason}"));
        }
        if let Some(lost) = &self.lost {
            line(format!(
                "aborted after {}: a demand can no longer be met ({})",
                shown_ns(self.duration_ns as f64),
                lost.words
            ));
        }
        if self.interrupted {
            line("interrupted: this is what was measured until then".to_owned());
        }
        out
    }
}

impl Verdict {
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Interrupted => "interrupted",
        }
    }
}

fn listed(codes: &super::record::Codes) -> String {
    let all: Vec<String> = codes.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    format!(" ({})", all.join(", "))
}

/// Percentiles that there are too few samples for, and how many it would take.
fn refused(times: &Times) -> Vec<(&'static str, u64)> {
    let each = PERCENTILES.iter().filter_map(|(name, quantile)| match times.percentile(*quantile) {
        Percentile::Refused { needs } => Some((*name, needs)),
        Percentile::Known(_) => None,
    });
    each.collect()
}

pub fn times_json(times: &Times) -> Value {
    let mut map = Map::new();
    map.insert("n".to_owned(), times.count().into());
    for (name, quantile) in PERCENTILES {
        map.insert(name.to_owned(), times.percentile(quantile).known().into());
    }
    map.insert("max".to_owned(), times.max().into());
    map.insert("mean".to_owned(), times.mean().map(|mean| mean.round() as u64).into());
    let reasons = refused(times).into_iter().map(|(name, needs)| {
        (name.to_owned(), Value::String(format!("needs {needs} samples, found {}", times.count())))
    });
    map.insert("refused".to_owned(), Value::Object(reasons.collect()));
    Value::Object(map)
}

fn times_line(name: &str, times: &Times) -> String {
    let mut line = format!("{name:<14}{:>10}", times.count());
    let mut cell = |ns: Option<f64>| line.push_str(&format!("{:>10}", ns.map_or("n/a".to_owned(), shown_ns)));
    for (_, quantile) in PERCENTILES {
        cell(times.percentile(quantile).known().map(|ns| ns as f64));
    }
    cell(times.max().map(|ns| ns as f64));
    cell(times.mean());
    line
}
