//! What is known of every upstream: its last good lists, how fresh they are, and its last error.
//!
//! Lists stay when their upstream goes: they are marked stale and serve on, so that one bad upstream
//! never empties a catalog. The ledger says when the catalog has changed and must be bound again.
//!
//! Reports and lists belong to an upstream's id, never to its place in a table: a report that was under
//! way while tables were swapped finds its upstream, or nobody.

use strait_engine::UpstreamId;
use strait_table::catalog::{Announced, Catalog, FreshUntil, Known, Lists};
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
    /// By upstream of the table, like everything here.
    ids: Vec<UpstreamId>,
    catalog: Catalog,
    standings: Vec<Standing>,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// Only what is told of the upstream.
    Standing,
    /// Only until when its lists may be kept, or how often it announced that they changed, and perhaps what is told of
    /// it.
    Freshness,
    /// What it offers: to be bound again.
    Catalog,
}

impl Ledger {
    pub fn new(upstreams: impl Iterator<Item = (UpstreamId, String)>) -> Ledger {
        let (ids, standings): (Vec<UpstreamId>, Vec<Standing>) =
            upstreams.map(|(id, name)| (id, Standing { name, ..Standing::default() })).unzip();
        let upstreams = standings.iter().map(|_| Lists::default()).collect();
        Ledger { ids, catalog: Catalog { upstreams }, standings }
    }

    /// The ledger of another table. An upstream that stayed the same keeps all that is known of it; one that
    /// only kept its name shows its last lists, as stale ones, until it has answered: a swap empties no list.
    pub fn succeed(&self, upstreams: impl Iterator<Item = (UpstreamId, String)>) -> Ledger {
        let mut next = Ledger::new(upstreams);
        for (index, id) in next.ids.iter().enumerate() {
            if let Some(same) = self.place(*id) {
                next.standings[index] = self.standings[same].clone();
                next.catalog.upstreams[index] = self.catalog.upstreams[same].clone();
                continue;
            }
            let name = &next.standings[index].name;
            if let Some(namesake) = self.standings.iter().position(|standing| standing.name == *name) {
                let last = self.catalog.upstreams[namesake].clone();
                let known = if last.known == Known::Not { Known::Not } else { Known::Stale };
                next.catalog.upstreams[index] = Lists {
                    known,
                    fresh_until: FreshUntil::default(),
                    announced: Announced::default(),
                    ..last
                };
            }
        }
        next
    }

    fn place(&self, id: UpstreamId) -> Option<usize> {
        self.ids.iter().position(|known| *known == id)
    }

    pub fn learned(&mut self, upstream: UpstreamId, outcome: Result<Lists, String>) -> Change {
        let Some(index) = self.place(upstream) else { return Change::Nothing };
        let (standing, lists) = (&mut self.standings[index], &mut self.catalog.upstreams[index]);
        let error = outcome.as_ref().err().cloned();
        let is_news = !standing.heard || standing.error != error;
        standing.heard = true;
        standing.error = error;
        let otherwise = if is_news { Change::Standing } else { Change::Nothing };
        match outcome {
            Ok(offered) => {
                let offered = Lists { known: Known::Fresh, ..offered };
                let last = std::mem::replace(lists, offered);
                let is_as_fresh = lists.fresh_until == last.fresh_until && lists.announced == last.announced;
                match (same(lists, &last), is_as_fresh) {
                    (false, _) => Change::Catalog,
                    (true, false) => Change::Freshness,
                    (true, true) => otherwise,
                }
            }
            Err(_) if lists.known == Known::Fresh => {
                // What it once promised of them is no longer known to hold.
                (lists.known, lists.fresh_until) = (Known::Stale, FreshUntil::default());
                Change::Catalog
            }
            Err(_) => otherwise,
        }
    }

    pub fn all_heard(&self) -> bool {
        self.standings.iter().all(|standing| standing.heard)
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub fn standing(&self, upstream: UpstreamId) -> Option<&Standing> {
        self.place(upstream).map(|index| &self.standings[index])
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Standing, &Lists)> {
        self.standings.iter().zip(&self.catalog.upstreams)
    }
}

/// Whether binding them gives the same.
fn same(a: &Lists, b: &Lists) -> bool {
    let Lists {
        known,
        older,
        tools,
        prompts,
        resources,
        templates,
        instructions,
        capabilities,
        scopes,
        fresh_until: _,
        announced: _,
    } = a;
    *known == b.known
        && *older == b.older
        && *tools == b.tools
        && *prompts == b.prompts
        && *resources == b.resources
        && *templates == b.templates
        && *instructions == b.instructions
        && *capabilities == b.capabilities
        && *scopes == b.scopes
}

/// When changed lists reach the workers: a fixed time after the first change, however many follow. A steady
/// stream of changes is bound again and again; it never postpones itself.
#[derive(Debug, Default)]
pub struct Pending {
    due: Option<Instant>,
    /// They must be bound before.
    binds: bool,
}

impl Pending {
    pub fn changed(&mut self, change: Change, now: Instant) {
        match change {
            Change::Nothing | Change::Standing => return,
            Change::Freshness => {}
            Change::Catalog => self.binds = true,
        }
        self.due.get_or_insert(now + BIND_TOGETHER);
    }

    /// `None`: nothing has changed.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what is pending; true when it must be bound.
    pub fn done(&mut self) -> bool {
        std::mem::take(self).binds
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

    fn named(upstreams: &[(u32, &str)]) -> impl Iterator<Item = (UpstreamId, String)> {
        let named = |(id, name): &(u32, &str)| (UpstreamId(*id), (*name).to_owned());
        upstreams.iter().map(named).collect::<Vec<_>>().into_iter()
    }

    fn ledger(upstreams: &[(u32, &str)]) -> Ledger {
        Ledger::new(named(upstreams))
    }

    #[test]
    fn what_is_known_follows_the_upstream_and_not_its_place() {
        let mut old = ledger(&[(0, "a"), (1, "b"), (2, "c")]);
        for (id, tool) in [(0, "of-a"), (1, "of-b"), (2, "of-c")] {
            old.learned(UpstreamId(id), offers(&[tool]));
        }
        // `a` has gone, `b` moved, `c` changed, `d` is new.
        let mut new = old.succeed(named(&[(1, "b"), (3, "c"), (4, "d")]));
        let shown = |ledger: &Ledger| -> Vec<(String, Known, bool)> {
            let tools = |lists: &Lists| lists.tools.iter().map(|tool| tool.name.clone()).collect();
            ledger.iter().map(|(standing, lists)| (tools(lists), lists.known, standing.heard)).collect()
        };
        let expected = [("of-b", Known::Fresh, true), ("of-c", Known::Stale, false), ("", Known::Not, false)];
        assert_eq!(shown(&new), expected.map(|(tools, known, heard)| (tools.to_owned(), known, heard)));
        // Answers that were under way: of an upstream that is gone, and of the old `c`.
        for id in [0, 2] {
            assert_eq!(new.learned(UpstreamId(id), offers(&["late"])), Change::Nothing);
        }
        assert_eq!(new.learned(UpstreamId(3), offers(&["of-new-c"])), Change::Catalog);
        assert_eq!(shown(&new)[1].0, "of-new-c");
    }

    #[test]
    fn only_what_changes_an_offer_is_bound_again() {
        let mut ledger = ledger(&[(0, "a"), (1, "b")]);
        let mut check = |upstream, outcome, expected, known| {
            assert_eq!(ledger.learned(UpstreamId(upstream), outcome), expected);
            assert_eq!(ledger.catalog().upstreams[upstream as usize].known, known);
        };
        check(0, Err("down".into()), Change::Standing, Known::Not);
        check(0, Err("down".into()), Change::Nothing, Known::Not);
        check(0, offers(&["t"]), Change::Catalog, Known::Fresh);
        check(0, offers(&["t"]), Change::Nothing, Known::Fresh);
        let kept = FreshUntil { tools: 7, ..FreshUntil::default() };
        let later = offers(&["t"]).map(|lists| Lists { fresh_until: kept, ..lists });
        check(0, later, Change::Freshness, Known::Fresh);
        let announced = Announced { tools: 1, ..Announced::default() };
        let again = offers(&["t"]).map(|lists| Lists { fresh_until: kept, announced, ..lists });
        check(0, again, Change::Freshness, Known::Fresh);
        check(0, Err("gone".into()), Change::Catalog, Known::Stale);
        check(0, Err("still gone".into()), Change::Standing, Known::Stale);
        check(0, offers(&["t"]), Change::Catalog, Known::Fresh);
        check(0, offers(&["t", "u"]), Change::Catalog, Known::Fresh);
        assert!(!ledger.all_heard());
        assert_eq!(ledger.learned(UpstreamId(1), Err("no".into())), Change::Standing);
        assert!(ledger.all_heard());
        assert_eq!(ledger.learned(UpstreamId(9), offers(&[])), Change::Nothing);
    }

    #[test]
    fn changes_are_bound_together_and_never_postponed() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        assert_eq!(pending.due(), None);
        for ms in [0, 10, 49] {
            pending.changed(Change::Freshness, start + Duration::from_millis(ms));
        }
        assert_eq!(pending.due(), Some(start + BIND_TOGETHER));
        assert!(!pending.done());
        assert_eq!(pending.due(), None);
        pending.changed(Change::Standing, start);
        assert_eq!(pending.due(), None);
        pending.changed(Change::Catalog, start);
        pending.changed(Change::Freshness, start);
        assert!(pending.done());
        assert!(!pending.done());
    }

    #[test]
    fn a_lost_upstream_keeps_its_last_good_lists() {
        let mut ledger = ledger(&[(0, "a")]);
        let kept = FreshUntil { tools: 7, ..FreshUntil::default() };
        ledger.learned(UpstreamId(0), offers(&["t"]).map(|lists| Lists { fresh_until: kept, ..lists }));
        ledger.learned(UpstreamId(0), Err("gone".into()));
        let lists = &ledger.catalog().upstreams[0];
        assert_eq!(
            (lists.tools.len(), lists.fresh_until),
            (1, FreshUntil::default()),
            "shown, and not to be kept"
        );
        assert_eq!(ledger.standing(UpstreamId(0)).unwrap().error.as_deref(), Some("gone"));
    }
}
