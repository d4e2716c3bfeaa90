//! What is counted by tool and by principal, for `/admin/traffic`. Not in `/metrics`: who calls what is for those who hold
//! the admin token, and names that come and go make bad series.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strait_engine::WorkerFigures;
use strait_engine::figures::callers::{CallFigures, Named};
use strait_engine::figures::histogram::Distribution;

pub fn by_name(workers: &[&WorkerFigures]) -> Value {
    json!({
        "tools": merged(workers.iter().map(|worker| &worker.tools)),
        "principals": merged(workers.iter().map(|worker| &worker.principals)),
    })
}

/// Names of all workers, each once. Durations as `[largest value in ns, how many]`, empty buckets left out.
fn merged<'w>(all: impl Iterator<Item = &'w Named>) -> Value {
    let mut by_name: BTreeMap<&str, Vec<&CallFigures>> = BTreeMap::new();
    for (name, figures) in all.flat_map(Named::iter) {
        by_name.entry(name).or_default().push(figures);
    }
    let one = |(name, workers): (&str, Vec<&CallFigures>)| {
        let sum = |count: fn(&CallFigures) -> u64| workers.iter().map(|figures| count(figures)).sum::<u64>();
        let duration: Vec<_> =
            Distribution::of(workers.iter().map(|figures| &figures.duration)).buckets().collect();
        json!({
            "name": name,
            "calls": sum(|figures| figures.calls.get()),
            "failed": sum(|figures| figures.failed.get()),
            "denied": sum(|figures| figures.denied.get()),
            "duration": duration,
        })
    };
    by_name.into_iter().map(one).collect()
}
