//! What replaying a log has shown: what changes, counted by what was called and by the rules of both sides, with some records of each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strait_audit::view::text;

use super::{Came, Missing, Said, Way};
use crate::limits::REPLAY_GROUPS_MAX;

/// Records that came to the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub records: u64,
    /// The first of them, by their indexes.
    pub witnesses: Vec<u64>,
}

/// What was decided otherwise, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub way: Way,
    /// `tool up.echo`.
    pub what: String,
    pub server: String,
    pub before: Said,
    pub after: Said,
}

/// What was not decided, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undecided {
    pub what: String,
    pub server: String,
    pub missing: BTreeSet<Missing>,
    pub rules: Vec<String>,
}

#[derive(Default)]
pub struct Report {
    /// Records of which each group names.
    pub witnesses_max: usize,
    pub records: u64,
    pub calls: u64,
    pub same: u64,
    pub unknown: u64,
    pub changes: BTreeMap<Change, Group>,
    pub undecided: BTreeMap<Undecided, Group>,
    /// Calls that changed or stayed open and found no room among the groups, by names that somebody chose.
    pub ungrouped: u64,
    changed: BTreeMap<Way, u64>,
}

impl Report {
    pub fn new(witnesses_max: usize) -> Report {
        Report { witnesses_max, ..Report::default() }
    }

    pub fn add(&mut self, index: u64, record: &Value, came: Came) {
        self.records += 1;
        if came != Came::NoCall {
            self.calls += 1;
        }
        let is_full = self.changes.len() + self.undecided.len() >= REPLAY_GROUPS_MAX;
        let server = text(record, "server").unwrap_or_default().to_owned();
        let group = match came {
            Came::NoCall => return,
            Came::Same => return self.same += 1,
            Came::Changed(way, after) => {
                *self.changed.entry(way).or_default() += 1;
                let change = Change { way, what: what(record), server, before: before(record), after };
                room(&mut self.changes, change, is_full)
            }
            Came::Unknown(missing, rules) => {
                self.unknown += 1;
                let undecided = Undecided { what: what(record), server, missing, rules };
                room(&mut self.undecided, undecided, is_full)
            }
        };
        let Some(group) = group else { return self.ungrouped += 1 };
        group.records += 1;
        if group.witnesses.len() < self.witnesses_max {
            group.witnesses.push(index);
        }
    }

    pub fn changed(&self, way: Way) -> u64 {
        self.changed.get(&way).copied().unwrap_or(0)
    }

    pub fn differs(&self) -> bool {
        !self.changed.is_empty()
    }

    pub fn to_json(&self) -> Value {
        let said = |said: &Said| {
            let mut out = json!({ "verdict": said.verdict, "rule": said.rule });
            if !said.reason.is_empty() {
                out["reason"] = said.reason.as_str().into();
                out["at"] = said.at.clone().into();
            }
            out
        };
        let changes = self.changes.iter().map(|(change, group)| {
            json!({
                "way": change.way.word(),
                "what": change.what,
                "server": change.server,
                "before": said(&change.before),
                "after": said(&change.after),
                "records": group.records,
                "witnesses": group.witnesses,
            })
        });
        let undecided = self.undecided.iter().map(|(undecided, group)| {
            json!({
                "what": undecided.what,
                "server": undecided.server,
                "missing": undecided.missing.iter().map(|missing| missing.word()).collect::<Vec<_>>(),
                "rules": undecided.rules,
                "records": group.records,
                "witnesses": group.witnesses,
            })
        });
        json!({
            "differs": self.differs(),
            "records": self.records,
            "calls": self.calls,
            "same": self.same,
            "opened": self.changed(Way::Opened),
            "closed": self.changed(Way::Closed),
            "otherwise": self.changed(Way::Otherwise),
            "unknown": self.unknown,
            "ungrouped": self.ungrouped,
            "changes": changes.collect::<Vec<_>>(),
            "undecided": undecided.collect::<Vec<_>>(),
        })
    }
}

fn room<K: Ord>(groups: &mut BTreeMap<K, Group>, key: K, is_full: bool) -> Option<&mut Group> {
    match is_full {
        true => groups.get_mut(&key),
        false => Some(groups.entry(key).or_default()),
    }
}

/// As the record says it.
fn what(record: &Value) -> String {
    let found = ["tool", "prompt", "resource", "template"]
        .into_iter()
        .find_map(|word| Some(format!("{word} {}", text(record, word)?)));
    found.unwrap_or_default()
}

fn before(record: &Value) -> Said {
    Said {
        verdict: text(record, "verdict").unwrap_or_default().to_owned(),
        rule: text(record, "rule").map(str::to_owned),
        reason: String::new(),
        at: None,
    }
}
