//! What is known of every upstream: its last good lists, how fresh they are, and its last error.
//!
//! Lists stay when their upstream goes: they are marked stale and serve on, so that one bad upstream
//! never empties a catalog. The ledger says when the catalog has changed and must be bound again.

use strait_table::catalog::{Catalog, Known, Lists};
use tokio::time::Instant;

use crate::limits::BIND_TOGETHER;

/// Of one upstream.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub name: String,
    /// It has answered or failed at least once.
    pub heard: bool,
    pub error: Option<String>,
}

#[derive(Debug)]
pub struct Ledger {
    catalog: Catalog,
    standings: Vec<Standing>,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// Only what is told of the upstream.
    Standing,
    /// What it offers: to be bound again.
    Catalog,
}

impl Ledger {
    pub fn new(names: impl Iterator<Item = String>) -> Ledger {
        let standings: Vec<Standing> = names.map(|name| Standing { name, ..Standing::default() }).collect();
        let upstreams = standings.iter().map(|_| Lists::default()).collect();
        Ledger { catalog: Catalog { upstreams }, standings }
    }

    pub fn learned(&mut self, upstream: usize, outcome: Result<Lists, String>) -> Change {
        let (Some(standing), Some(lists)) =
            (self.standings.get_mut(upstream), self.catalog.upstreams.get_mut(upstream))
        else {
            return Change::Nothing;
        };
        let error = outcome.as_ref().err().cloned();
        let is_news = !standing.heard || standing.error != error;
        standing.heard = true;
        standing.error = error;
        let changed = match outcome {
            Ok(offered) => {
                let offered = Lists { known: Known::Fresh, ..offered };
                let changed = !same(lists, &offered);
                *lists = offered;
                changed
            }
            Err(_) if lists.known == Known::Fresh => {
                lists.known = Known::Stale;
                true
            }
            Err(_) => false,
        };
        match (changed, is_news) {
            (true, _) => Change::Catalog,
            (false, true) => Change::Standing,
            (false, false) => Change::Nothing,
        }
    }

    pub fn all_heard(&self) -> bool {
        self.standings.iter().all(|standing| standing.heard)
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub fn standing(&self, upstream: usize) -> Option<&Standing> {
        self.standings.get(upstream)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Standing, &Lists)> {
        self.standings.iter().zip(&self.catalog.upstreams)
    }
}

fn same(a: &Lists, b: &Lists) -> bool {
    let Lists { known, tools, prompts, resources, templates, instructions, completions, logging } = a;
    *known == b.known
        && *tools == b.tools
        && *prompts == b.prompts
        && *resources == b.resources
        && *templates == b.templates
        && *instructions == b.instructions
        && *completions == b.completions
        && *logging == b.logging
}

/// When changed lists are bound: a fixed time after the first change, however many follow. A steady
/// stream of changes is bound again and again; it never postpones itself.
#[derive(Debug, Default)]
pub struct Pending {
    due: Option<Instant>,
}

impl Pending {
    pub fn changed(&mut self, now: Instant) {
        self.due.get_or_insert(now + BIND_TOGETHER);
    }

    /// `None`: nothing has changed.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    pub fn done(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use strait_table::catalog::Definition;

    fn offers(tools: &[&str]) -> Result<Lists, String> {
        let tool =
            |name: &&str| Definition { name: (*name).into(), json: format!("{{\"name\":\"{name}\"}}") };
        Ok(Lists { tools: tools.iter().map(tool).collect(), ..Lists::default() })
    }

    #[test]
    fn only_what_changes_an_offer_is_bound_again() {
        let mut ledger = Ledger::new(["a".to_owned(), "b".to_owned()].into_iter());
        let mut check = |upstream, outcome, expected, known| {
            assert_eq!(ledger.learned(upstream, outcome), expected);
            assert_eq!(ledger.catalog().upstreams[upstream].known, known);
        };
        check(0, Err("down".into()), Change::Standing, Known::Not);
        check(0, Err("down".into()), Change::Nothing, Known::Not);
        check(0, offers(&["t"]), Change::Catalog, Known::Fresh);
        check(0, offers(&["t"]), Change::Nothing, Known::Fresh);
        check(0, Err("gone".into()), Change::Catalog, Known::Stale);
        check(0, Err("still gone".into()), Change::Standing, Known::Stale);
        check(0, offers(&["t"]), Change::Catalog, Known::Fresh);
        check(0, offers(&["t", "u"]), Change::Catalog, Known::Fresh);
        assert!(!ledger.all_heard());
        assert_eq!(ledger.learned(1, Err("no".into())), Change::Standing);
        assert!(ledger.all_heard());
        assert_eq!(ledger.learned(9, offers(&[])), Change::Nothing);
    }

    #[test]
    fn changes_are_bound_together_and_never_postponed() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        assert_eq!(pending.due(), None);
        for ms in [0, 10, 49] {
            pending.changed(start + Duration::from_millis(ms));
        }
        assert_eq!(pending.due(), Some(start + BIND_TOGETHER));
        pending.done();
        assert_eq!(pending.due(), None);
    }

    #[test]
    fn a_lost_upstream_keeps_its_last_good_lists() {
        let mut ledger = Ledger::new(["a".to_owned()].into_iter());
        ledger.learned(0, offers(&["t"]));
        ledger.learned(0, Err("gone".into()));
        assert_eq!(ledger.catalog().upstreams[0].tools.len(), 1);
        assert_eq!(ledger.standing(0).unwrap().error.as_deref(), Some("gone"));
    }
}
