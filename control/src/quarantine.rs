//! What upstreams offer otherwise than `strait.lock` pins it: known to whoever asks, told in the log once per change.
//!
//! The decision about each item is `strait_table::bind`'s; this only says what it decided, in words.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strait_config_compiler::lock::hidden::shown;
use strait_table::Snapshot;
use strait_table::bind::{What, quarantined};
use strait_table::catalog::Catalog;

use crate::limits::QUARANTINED_SHOWN_MAX;
use crate::log;

/// As of the last time that lists were bound.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    /// Where a lock file pins what is offered: its upstreams, by place in the table.
    upstreams: Vec<String>,
    now: BTreeSet<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    upstream: String,
    part: &'static str,
    name: String,
    what: What,
}

impl Quarantine {
    /// Looks again, and logs what is new and what is over.
    pub fn renew(&mut self, snapshot: &Snapshot, offered: &Catalog) {
        let rules = snapshot.rules();
        let name = |upstream: usize| {
            rules.upstreams.get(upstream).map_or("?", |upstream| upstream.name.as_str()).to_owned()
        };
        let told = quarantined(rules, offered).into_iter().map(|one| Told {
            upstream: name(one.upstream),
            part: one.part,
            name: shown(&one.name),
            what: one.what,
        });
        let now: BTreeSet<Told> = told.collect();
        for one in now.difference(&self.now) {
            log::warn(one.text());
        }
        for one in self.now.difference(&now) {
            log::info(format!("no longer quarantined: {}", one.subject()));
        }
        self.upstreams = (0..rules.pins.len()).map(name).collect();
        self.now = now;
    }

    /// How many there are, and the first of them.
    pub fn to_json(&self, shown_max: usize) -> Value {
        let first: Vec<Value> = self.now.iter().take(shown_max).map(Told::to_json).collect();
        json!({ "locked": !self.upstreams.is_empty(), "count": self.now.len(), "shown": first })
    }

    /// As `/readyz` says it.
    pub fn brief(&self) -> Value {
        self.to_json(QUARANTINED_SHOWN_MAX)
    }

    /// By upstream that is pinned: how many of each kind of difference.
    pub fn counts(&self) -> impl Iterator<Item = (&str, What, usize)> {
        self.upstreams.iter().flat_map(move |upstream| {
            [What::Changed, What::Gone, What::New].into_iter().map(move |what| {
                let of = self.now.iter().filter(|one| one.upstream == *upstream && one.what == what);
                (upstream.as_str(), what, of.count())
            })
        })
    }
}

impl Told {
    fn subject(&self) -> String {
        match self.name.is_empty() {
            true => format!("{} of `{}`", self.part, self.upstream),
            false => format!("{} `{}.{}`", self.part, self.upstream, self.name),
        }
    }

    fn text(&self) -> String {
        let what = match self.what {
            What::Changed => {
                "is not what strait.lock pins: quarantined until somebody has looked and run `strait lock`"
            }
            What::Gone => {
                "is pinned in strait.lock and not offered any more: quarantined until `strait lock` is run"
            }
            What::New => "is not pinned in strait.lock: not exposed until `strait lock` is run",
        };
        format!("{} {what}", self.subject())
    }

    fn to_json(&self) -> Value {
        json!({ "upstream": self.upstream, "part": self.part, "name": self.name, "what": self.what.word() })
    }
}

#[cfg(test)]
mod tests {
    use strait_table::catalog::{Definition, Known, Lists};
    use strait_table::rules::{Era, Pin, Pins, Sample, Timeouts, Transport, Upstream};

    use super::*;
    use crate::test_support::rules;

    #[test]
    fn what_differs_is_counted_and_shown() {
        let json = r#"{"name":"a"}"#;
        let pin = |name: &str| Pin {
            name: name.into(),
            json: json.into(),
            blake3: strait_table::pins::hash(json).unwrap(),
        };
        let mut rules = rules();
        rules.upstreams = vec![Upstream {
            name: "crm".into(),
            transport: Transport::Sample(Sample::Http),
            era: Era::Auto,
            credential: None,
            identity_header: None,
            timeout: Timeouts::default(),
            list_ttl_ms: 0,
            tls: Default::default(),
        }];
        let pinned = |_: &_| Pins { tools: vec![pin("a"), pin("b"), pin("c")], ..Pins::default() };
        rules.pins = rules.upstreams.iter().map(pinned).collect();
        let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
        let tool = |name: &str, json: &str| Definition { name: name.into(), json: json.into() };
        let tools =
            vec![tool("a", "{ \"name\" : \"a\" }"), tool("b", r#"{"name":"b"}"#), tool("n\u{202e}", "{}")];
        let catalog = Catalog { upstreams: vec![Lists { known: Known::Fresh, tools, ..Lists::default() }] };
        let mut quarantine = Quarantine::default();
        quarantine.renew(&snapshot, &catalog);
        let shown = quarantine.brief();
        assert_eq!((&shown["locked"], &shown["count"]), (&true.into(), &3.into()));
        assert_eq!(
            shown["shown"][0],
            json!({"upstream": "crm", "part": "tool", "name": "b", "what": "changed"})
        );
        assert_eq!(shown["shown"][2]["name"], "n\\u{202e}");
        let counts: Vec<usize> = quarantine.counts().map(|(_, _, count)| count).collect();
        assert_eq!(counts, [1, 1, 1]);
        assert_eq!(quarantine.to_json(1)["shown"].as_array().unwrap().len(), 1);
        quarantine.renew(&snapshot, &Catalog::default());
        assert_eq!(quarantine.brief()["count"], 0);
    }
}
