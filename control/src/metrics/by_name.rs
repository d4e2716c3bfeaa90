//! What is counted by tool and by principal, for `/admin/traffic`: rows for those who hold the admin token. `/metrics` has the tools that
//! are called most ([`super::tools`]), and no principals: who calls what is not for everybody on the machine.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strait_engine::WorkerFigures;
use strait_engine::figures::callers::Named;
use strait_engine::figures::histogram::{Distribution, Histogram};
use strait_engine::figures::labels::Outcome;
use strait_engine::figures::places::OTHER;
use strait_engine::figures::tools::ToolFigures;

/// Of one name, so far.
#[derive(Default)]
struct Row<'w> {
    calls: u64,
    failed: u64,
    denied: u64,
    durations: Vec<&'w Histogram>,
}

pub fn by_name(workers: &[&WorkerFigures]) -> Value {
    json!({ "tools": tools(workers), "principals": principals(workers.iter().map(|worker| &worker.principals)) })
}

/// Those that have a histogram on some worker, the rest together.
fn tools(workers: &[&WorkerFigures]) -> Value {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    let all = || workers.iter().flat_map(|worker| worker.tools.iter());
    for (name, figures) in all() {
        if let Some(duration) = figures.duration() {
            rows.entry(name).or_default().durations.push(duration);
        }
    }
    for (name, figures) in all() {
        let name = if rows.contains_key(name) { name } else { OTHER };
        rows.entry(name).or_default().adds(figures);
    }
    let is_met = |rest: &&ToolFigures| rest.outcomes().iter().any(|count| *count > 0);
    for rest in workers.iter().map(|worker| worker.tools.rest()).filter(is_met) {
        rows.entry(OTHER).or_default().adds(rest);
    }
    told(rows)
}

/// Names of all workers, each once.
fn principals<'w>(all: impl Iterator<Item = &'w Named>) -> Value {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    for (name, figures) in all.flat_map(Named::iter) {
        let row = rows.entry(name).or_default();
        row.calls += figures.calls.get();
        row.failed += figures.failed.get();
        row.denied += figures.denied.get();
        row.durations.push(&figures.duration);
    }
    told(rows)
}

/// Durations as `[largest value in ns, how many]`, empty buckets left out.
fn told(rows: BTreeMap<&str, Row<'_>>) -> Value {
    let one = |(name, row): (&str, Row<'_>)| {
        let duration: Vec<_> = Distribution::of(row.durations).buckets().collect();
        json!({ "name": name, "calls": row.calls, "failed": row.failed, "denied": row.denied, "duration": duration })
    };
    rows.into_iter().map(one).collect()
}

impl Row<'_> {
    fn adds(&mut self, figures: &ToolFigures) {
        for (outcome, count) in Outcome::ALL.iter().zip(figures.outcomes()) {
            self.calls += count;
            match outcome {
                Outcome::Ok | Outcome::ClientGone => {}
                Outcome::Refused => self.denied += count,
                Outcome::Error | Outcome::Overloaded | Outcome::UpstreamFault | Outcome::Internal => {
                    self.failed += count
                }
            }
        }
    }
}
