//! What is suspicious in the words of upstreams whose lists are learned: names that look alike, text that nobody sees, words
//! about another's tools (`strait_config_compiler::names`). Told once in the log and shown in `/readyz`; nothing is refused.
//! With a lock file the compiler has told it already, of everything that is exposed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strait_config_compiler::names::{Offered, suspicions};
use strait_table::Snapshot;

use crate::ledger::Ledger;
use crate::limits::SUSPICIONS_SHOWN_MAX;
use crate::log;

/// As of the last time that lists were bound.
#[derive(Debug, Default)]
pub struct Suspicions(BTreeSet<String>);

impl Suspicions {
    /// Looks again, and logs what is new.
    pub fn renew(&mut self, snapshot: &Snapshot, ledger: &Ledger) {
        let all: Vec<Offered<'_>> = match snapshot.rules().pins.is_empty() {
            true => ledger.iter().map(|(standing, lists)| Offered { name: &standing.name, lists }).collect(),
            false => Vec::new(),
        };
        let found = suspicions(&all).into_iter().map(|one| format!("{}: {}", one.code, one.message));
        let last = std::mem::replace(&mut self.0, found.collect());
        let mut new = self.0.difference(&last);
        new.by_ref().take(SUSPICIONS_SHOWN_MAX).for_each(|text| log::warn(format!("suspicious: {text}")));
        match new.count() {
            0 => {}
            more => {
                log::warn(format!("suspicious: and {more} more; `strait lock` and `strait check` tell all"))
            }
        }
    }

    pub fn to_json(&self) -> Value {
        json!({ "count": self.0.len(), "first": self.0.iter().take(SUSPICIONS_SHOWN_MAX).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use strait_engine::UpstreamId;
    use strait_table::catalog::{Definition, Lists};

    use super::*;
    use crate::test_support::rules;

    #[test]
    fn what_is_learned_is_looked_at() {
        let mut ledger = Ledger::new([(UpstreamId(0), "crm".to_owned())].into_iter());
        let tool = Definition { name: "a\u{202e}".into(), json: "{}".into() };
        ledger.learned(UpstreamId(0), Ok(Lists { tools: vec![tool], ..Lists::default() }));
        let mut found = Suspicions::default();
        found.renew(&strait_table::snapshot::of_rules(&rules()).unwrap(), &ledger);
        assert_eq!(found.to_json()["count"], 1);
        assert!(found.to_json()["first"][0].as_str().unwrap().contains("`crm.a\\u{202e}`"));
    }
}
