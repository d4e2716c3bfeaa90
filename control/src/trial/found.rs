//! What a shadow has found, gathered from the workers when somebody asks.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use strait_engine::exchange::shadow::{Counts, Differences, Ruling, Sample};
use strait_engine::figures::labels::Difference;

use crate::limits::SHADOW_SHOWN_MAX;

/// Of all workers: counts by what was asked for, and the newest samples, newest first.
pub fn shown(found: Vec<Differences>) -> Value {
    let mut counts = BTreeMap::<String, Counts>::new();
    let mut samples = Vec::new();
    for worker in found {
        for (what, more) in worker.counts {
            let sum = counts.entry(what).or_default();
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        samples.extend(worker.samples);
    }
    samples.sort_by_key(|sample| std::cmp::Reverse(sample.unix_ms));
    let counted = counts.iter().map(|(what, counts)| {
        let mut line = json!({ "what": what });
        for (difference, count) in Difference::ALL.iter().zip(counts) {
            if *difference != Difference::Same {
                line[difference.label()] = (*count).into();
            }
        }
        line
    });
    json!({
        "differences": counted.collect::<Vec<_>>(),
        "samples": samples.iter().take(SHADOW_SHOWN_MAX).map(sample).collect::<Vec<_>>(),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "at": crate::time::text(UNIX_EPOCH + Duration::from_millis(sample.unix_ms)),
        "principal": sample.principal,
        "what": sample.what,
        "difference": sample.difference.label(),
        "live": ruling(&sample.live),
        "candidate": ruling(&sample.candidate),
    })
}

fn ruling(ruling: &Ruling) -> Value {
    json!({ "verdict": ruling.word, "rule": ruling.rule, "limit": ruling.limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_found_is_added_up_and_the_newest_comes_first() {
        let ruling = |word| Ruling { word, rule: Some("r".to_owned()), limit: None };
        let sample = |unix_ms| Sample {
            unix_ms,
            principal: Some("ann".to_owned()),
            what: "tool up.echo".to_owned(),
            difference: Difference::Closes,
            live: ruling("permit"),
            candidate: ruling("denied_by_rule"),
        };
        let worker = |counts, samples| Differences {
            number: 1,
            counts: vec![("tool up.echo".to_owned(), counts)],
            samples,
        };
        let shown = shown(vec![
            worker([0, 1, 2, 0], vec![sample(1_000), sample(3_000)]),
            worker([0, 0, 1, 4], vec![sample(2_000)]),
        ]);
        assert_eq!(
            shown["differences"],
            json!([{ "what": "tool up.echo", "opens": 1, "closes": 3, "other_rule": 4 }])
        );
        let at: Vec<&Value> =
            shown["samples"].as_array().unwrap().iter().map(|sample| &sample["at"]).collect();
        assert_eq!(at, ["1970-01-01T00:00:03.000Z", "1970-01-01T00:00:02.000Z", "1970-01-01T00:00:01.000Z"]);
        assert_eq!(
            shown["samples"][0]["candidate"],
            json!({ "verdict": "denied_by_rule", "rule": "r", "limit": null })
        );
    }
}
