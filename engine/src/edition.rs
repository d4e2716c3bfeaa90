//! What workers serve from, whole: a snapshot with the keys and the addresses that belong to it.
//!
//! Tables number upstreams anew in every generation, so an upstream's place in a table says nothing about
//! the one before. What outlives a generation (connections, children, sessions, learnt lists) hangs on an
//! [`UpstreamId`] instead: the same name with the same content keeps its id for as long as editions follow
//! each other, and an id is never given twice. A changed upstream is another one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use strait_table::Snapshot;
use strait_table::catalog::{Announced, Catalog, FreshUntil};
use strait_table::rules::{ArchivedEra, ArchivedPer, ArchivedTransport, ArchivedUpstream};

use crate::allowance::{Metering, OnceCells};
use crate::figures::generations::Tally;
use crate::figures::places::{Books, Place};
use crate::handle::{Facts, KeyRing, ListenerTls, Reach};
use crate::trust::Trust;
use crate::upstream::stdio::Per;
use crate::upstream::{Era, SharedEra};

/// Names an upstream across generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub u32);

/// One edition: workers adopt it whole, between two exchanges.
#[derive(Debug)]
pub struct Edition {
    /// Counts editions of this process; workers acknowledge by it.
    pub serial: u64,
    pub snapshot: Arc<Snapshot>,
    pub keys: Arc<KeyRing>,
    /// How listeners speak TLS, by listener of the table.
    pub listeners: Arc<Vec<Option<ListenerTls>>>,
    pub trust: Arc<Trust>,
    /// Digests of the virtual servers' names, by server of the table: what sessions are bound to.
    pub(crate) servers: Arc<[u64]>,
    /// The same: where workers count what comes to them.
    pub(crate) server_places: Arc<[Place]>,
    /// By upstream of the table.
    wirings: Arc<[Arc<Wiring>]>,
    /// The same: until when what it listed may be kept.
    pub(crate) fresh_until: Arc<[FreshUntil]>,
    /// The same: how often it announced changes.
    pub(crate) announced: Arc<[Announced]>,
    /// The id that the next new upstream gets, whichever edition it is in: a candidate's are never given again.
    ids: Arc<AtomicU32>,
    pub(crate) books: Books,
    /// Where exchanges of its generation are counted.
    pub tally: Arc<Tally>,
    /// The table's limits, if it has any.
    pub(crate) metering: Option<Arc<Metering>>,
    cells: Arc<OnceCells>,
}

/// Upstreams of the edition before.
#[derive(Default)]
struct Known<'a> {
    wirings: HashMap<&'a str, &'a Arc<Wiring>>,
    is_of_same_rules: bool,
}

/// What all editions of a process share.
struct Lasting {
    ids: Arc<AtomicU32>,
    books: Books,
    cells: Arc<OnceCells>,
}

/// All that a worker needs to know of an upstream, in whichever generation it is.
#[derive(Debug)]
pub struct Wiring {
    pub id: UpstreamId,
    pub content: Content,
    /// Asked once for all workers.
    pub era: Arc<SharedEra>,
    /// Where workers count what they do with it.
    pub place: Place,
}

/// What makes an upstream the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub name: String,
    pub timeouts: Timeouts,
    /// As configured; `None`: ask.
    pub fixed_era: Option<Era>,
    /// Configured as HTTP+SSE of 2024-11-05.
    pub fixed_sse: bool,
    pub list_ttl_ms: u64,
    pub sharing: Sharing,
    pub reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_ms: u32,
    pub first_byte_ms: u32,
    pub call_ms: u32,
}

/// Who shares a stdio child, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    pub per: Per,
    pub max: usize,
    pub idle_ms: u64,
}

impl Edition {
    /// The edition that a process of so many workers starts with.
    pub fn first(snapshot: Arc<Snapshot>, facts: Facts, workers: usize) -> Edition {
        let tally = Arc::new(Tally::new(snapshot.generation(), workers));
        let lasting = Lasting { ids: Arc::default(), books: Books::default(), cells: Arc::default() };
        Edition::build(1, snapshot, facts, Known::default(), tally, lasting)
    }

    /// Another table, in which upstreams that stayed what they were keep their ids.
    pub fn succeed(&self, snapshot: Arc<Snapshot>, facts: Facts) -> Edition {
        let known = Known {
            wirings: self.wirings.iter().map(|wiring| (wiring.content.name.as_str(), wiring)).collect(),
            is_of_same_rules: snapshot.generation() == self.snapshot.generation(),
        };
        let lasting = Lasting { ids: self.ids.clone(), books: self.books.clone(), cells: self.cells.clone() };
        let tally = match snapshot.generation() {
            same if same == self.tally.generation => self.tally.clone(),
            other => Arc::new(Tally::new(other, self.tally.workers().len())),
        };
        let next = Edition::build(self.serial + 1, snapshot, facts, known, tally, lasting);
        let before = |id| self.index_of(id).and_then(|index| self.announced.get(index).copied());
        let announced = next.ids().map(|id| before(id).unwrap_or_default()).collect();
        Edition { announced, ..next }
    }

    fn build(
        serial: u64,
        snapshot: Arc<Snapshot>,
        facts: Facts,
        known: Known<'_>,
        tally: Arc<Tally>,
        Lasting { ids, books, cells }: Lasting,
    ) -> Edition {
        let wirings = snapshot.rules().upstreams.iter().enumerate().map(|(index, rules)| {
            let content = Content::of(rules, reach_of(&facts.reaches, index));
            match known.wirings.get(content.name.as_str()) {
                Some(kept) if kept.content == content => (*kept).clone(),
                // Of other rules it could stand beside a candidate's, and one of the two would be shown the other's secret.
                Some(kept)
                    if known.is_of_same_rules && kept.content.is_same_but_for_credentials(&content) =>
                {
                    Arc::new(Wiring { content, era: kept.era.clone(), ..***kept })
                }
                _ => {
                    let id = UpstreamId(ids.fetch_add(1, Ordering::Relaxed));
                    let place = books.upstreams.place_of(&content.name);
                    Arc::new(Wiring { id, content, era: Arc::default(), place })
                }
            }
        });
        let wirings = wirings.collect();
        let servers = snapshot.rules().servers.iter().map(|server| digest(&server.name)).collect();
        let server_places =
            snapshot.rules().servers.iter().map(|server| books.servers.place_of(&server.name)).collect();
        let fresh_until = snapshot.rules().upstreams.iter().map(|_| FreshUntil::default()).collect();
        let announced = snapshot.rules().upstreams.iter().map(|_| Announced::default()).collect();
        let metering = Metering::of(&snapshot, &cells, &books.limits).map(Arc::new);
        Edition {
            serial,
            snapshot,
            keys: facts.keys,
            listeners: facts.listeners,
            trust: facts.trust,
            servers,
            server_places,
            wirings,
            fresh_until,
            announced,
            ids,
            books,
            tally,
            metering,
            cells,
        }
    }

    /// The same rules, bound to this catalog.
    pub fn rebound(&self, snapshot: Arc<Snapshot>, catalog: &Catalog) -> Edition {
        Edition {
            serial: self.serial + 1,
            snapshot,
            keys: self.keys.clone(),
            listeners: self.listeners.clone(),
            trust: self.trust.clone(),
            servers: self.servers.clone(),
            server_places: self.server_places.clone(),
            wirings: self.wirings.clone(),
            fresh_until: catalog.upstreams.iter().map(|lists| lists.fresh_until).collect(),
            announced: catalog.upstreams.iter().map(|lists| lists.announced).collect(),
            ids: self.ids.clone(),
            books: self.books.clone(),
            tally: self.tally.clone(),
            metering: self.metering.clone(),
            cells: self.cells.clone(),
        }
    }

    /// The same table with other keys, or with addresses that were found since. Every upstream stays the
    /// one it is.
    pub fn informed(&self, facts: Facts) -> Edition {
        let same = self
            .wirings
            .iter()
            .enumerate()
            .all(|(index, w)| Some(&w.content.reach) == facts.reaches.get(index));
        let wirings = if same {
            self.wirings.clone()
        } else {
            let renewed = self.wirings.iter().enumerate().map(|(index, wiring)| {
                let reach = reach_of(&facts.reaches, index);
                if reach == wiring.content.reach {
                    return wiring.clone();
                }
                let content = Content { reach, ..wiring.content.clone() };
                Arc::new(Wiring { content, era: wiring.era.clone(), ..**wiring })
            });
            renewed.collect()
        };
        self.rewired(self.serial + 1, facts, wirings)
    }

    fn rewired(&self, serial: u64, facts: Facts, wirings: Arc<[Arc<Wiring>]>) -> Edition {
        Edition {
            serial,
            snapshot: self.snapshot.clone(),
            keys: facts.keys,
            listeners: facts.listeners,
            trust: facts.trust,
            servers: self.servers.clone(),
            server_places: self.server_places.clone(),
            wirings,
            fresh_until: self.fresh_until.clone(),
            announced: self.announced.clone(),
            ids: self.ids.clone(),
            books: self.books.clone(),
            tally: self.tally.clone(),
            metering: self.metering.clone(),
            cells: self.cells.clone(),
        }
    }

    /// What it was made from beside its table.
    pub fn facts(&self) -> Facts {
        let reaches = self.wirings.iter().map(|wiring| wiring.content.reach.clone()).collect();
        Facts {
            keys: self.keys.clone(),
            trust: self.trust.clone(),
            reaches: Arc::new(reaches),
            listeners: self.listeners.clone(),
        }
    }

    /// This candidate as the edition that follows `live`.
    pub fn promoted(&self, live: &Edition) -> Edition {
        let facts = Facts { listeners: live.listeners.clone(), ..self.facts() };
        self.rewired(live.serial + 1, facts, self.wirings.clone())
    }

    /// The ids of its upstreams, by upstream of the table.
    pub fn ids(&self) -> impl Iterator<Item = UpstreamId> + '_ {
        self.wirings.iter().map(|wiring| wiring.id)
    }

    /// Where its table has the upstream; `None` when it is of another generation only.
    pub fn index_of(&self, id: UpstreamId) -> Option<usize> {
        self.wirings.iter().position(|wiring| wiring.id == id)
    }

    pub fn wirings(&self) -> &Arc<[Arc<Wiring>]> {
        &self.wirings
    }
}

/// The part of a name's hash that session ids hold.
pub fn digest(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes().first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

fn reach_of(reaches: &[Reach], index: usize) -> Reach {
    reaches.get(index).cloned().unwrap_or_else(|| Reach::Unreachable("not resolved yet".to_owned()))
}

impl Content {
    /// Whether it is the same upstream with other secrets: its connections, sessions and lists stay.
    fn is_same_but_for_credentials(&self, other: &Content) -> bool {
        let Content { name, timeouts, fixed_era, fixed_sse, list_ttl_ms, sharing, reach } = self;
        (name, timeouts, fixed_era, fixed_sse, list_ttl_ms, sharing)
            == (
                &other.name,
                &other.timeouts,
                &other.fixed_era,
                &other.fixed_sse,
                &other.list_ttl_ms,
                &other.sharing,
            )
            && reach.is_same_but_for_credentials(&other.reach)
    }

    fn of(rules: &ArchivedUpstream, reach: Reach) -> Content {
        let sharing = match &rules.transport {
            ArchivedTransport::Stdio(stdio) => Sharing {
                per: match stdio.per {
                    ArchivedPer::Shared => Per::Shared,
                    ArchivedPer::Session => Per::Session,
                    ArchivedPer::Principal => Per::Principal,
                },
                max: stdio.max.to_native() as usize,
                idle_ms: stdio.idle_ms.to_native(),
            },
            ArchivedTransport::Http { .. } | ArchivedTransport::Sample(_) => {
                Sharing { per: Per::Shared, max: 1, idle_ms: u64::MAX }
            }
        };
        Content {
            name: rules.name.as_str().to_owned(),
            timeouts: Timeouts {
                connect_ms: rules.timeout.connect_ms.to_native(),
                first_byte_ms: rules.timeout.first_byte_ms.to_native(),
                call_ms: rules.timeout.call_ms.to_native(),
            },
            fixed_era: match rules.era {
                ArchivedEra::Auto => None,
                ArchivedEra::Modern => Some(Era::Modern),
                ArchivedEra::Legacy | ArchivedEra::Sse => Some(Era::Legacy),
            },
            fixed_sse: matches!(rules.era, ArchivedEra::Sse),
            list_ttl_ms: rules.list_ttl_ms.to_native().into(),
            sharing,
            reach,
        }
    }
}

#[cfg(test)]
mod tests {
    use strait_table::rules::{Listener, Rules, Sample, Timeouts as Configured, Transport, Upstream};

    use super::*;

    fn table(upstreams: &[(&str, u32)]) -> Arc<Snapshot> {
        let upstream = |(name, call_ms): &(&str, u32)| Upstream {
            name: (*name).into(),
            transport: Transport::Sample(Sample::Stdio),
            era: strait_table::rules::Era::Auto,
            credential: None,
            identity_header: None,
            timeout: Configured { call_ms: *call_ms, ..Configured::default() },
            list_ttl_ms: 0,
            tls: Default::default(),
        };
        let listener = Listener {
            name: "main".into(),
            bind: "127.0.0.1:0".into(),
            public: None,
            hosts: vec!["localhost".into()],
            origins: Vec::new(),
            tls: None,
        };
        let rules = Rules {
            listeners: vec![listener],
            admin_bind: "127.0.0.1:0".into(),
            upstreams: upstreams.iter().map(upstream).collect(),
            body_bytes_max: 1 << 20,
            ..Rules::default()
        };
        Arc::new(strait_table::snapshot::of_rules(&rules).unwrap())
    }

    fn ids(edition: &Edition) -> Vec<u32> {
        edition.ids().map(|id| id.0).collect()
    }

    #[test]
    fn an_upstream_is_known_by_name_and_content_and_an_id_is_never_given_twice() {
        let first = Edition::first(table(&[("a", 1), ("b", 1), ("c", 1)]), Facts::default(), 1);
        assert_eq!(ids(&first), [0, 1, 2]);
        // Moved, changed, gone.
        let second = first.succeed(table(&[("b", 1), ("a", 2)]), Facts::default());
        assert_eq!(ids(&second), [1, 3]);
        assert_eq!(second.index_of(UpstreamId(1)), Some(0));
        assert_eq!(second.index_of(UpstreamId(0)), None);
        // Come back: another one, since what it had is gone.
        let third = second.succeed(table(&[("a", 1), ("b", 1), ("c", 1)]), Facts::default());
        assert_eq!(ids(&third), [4, 1, 5]);
        assert_eq!((first.serial, second.serial, third.serial), (1, 2, 3));
    }

    #[test]
    fn what_a_candidate_brought_keeps_its_id_and_its_tally_when_it_is_promoted() {
        let live = Edition::first(table(&[("a", 1)]), Facts::default(), 2);
        let candidate = live.succeed(table(&[("a", 1), ("b", 1)]), Facts::default());
        // The live edition gets another one meanwhile.
        let live = live.succeed(table(&[("a", 1), ("c", 1)]), Facts::default());
        assert_eq!((ids(&candidate), ids(&live)), (vec![0, 1], vec![0, 2]));
        let promoted = candidate.promoted(&live);
        assert_eq!((ids(&promoted), promoted.serial), (vec![0, 1], live.serial + 1));
        assert!(Arc::ptr_eq(&promoted.tally, &candidate.tally));
        assert!(!Arc::ptr_eq(&promoted.tally, &live.tally));
    }

    #[test]
    fn a_rotated_secret_leaves_its_upstream_what_it_is() {
        let facts = |line: &str| {
            let endpoint = crate::HttpEndpoint {
                address: "127.0.0.1:1".parse().unwrap(),
                host: "h".to_owned(),
                path: "/".to_owned(),
                headers: vec![("Authorization".to_owned(), crate::Secret::new(line))],
                previous: Vec::new(),
                stated: None,
                tls: None,
                lender: None,
            };
            Facts { reaches: Arc::new(vec![Reach::Http { endpoints: vec![endpoint] }]), ..Facts::default() }
        };
        let first = Edition::first(table(&[("a", 1)]), facts("one"), 1);
        let rotated = first.succeed(first.snapshot.clone(), facts("two"));
        assert_eq!(ids(&rotated), [0]);
        assert!(rotated.wirings()[0].content.reach != first.wirings()[0].content.reach);
        // Other rules may stand beside these.
        assert_eq!(ids(&first.succeed(table(&[("a", 1), ("b", 1)]), facts("two"))), [1, 2]);
    }

    #[test]
    fn another_address_is_another_upstream_unless_it_was_only_found_late() {
        let facts = |why: &str| Facts {
            reaches: Arc::new(vec![Reach::Unreachable(why.to_owned()), Reach::Unreachable("b".to_owned())]),
            ..Facts::default()
        };
        let first = Edition::first(table(&[("a", 1), ("b", 1)]), facts("x"), 1);
        assert_eq!(ids(&first.informed(facts("y"))), [0, 1]);
        assert_eq!(ids(&first.succeed(first.snapshot.clone(), facts("y"))), [2, 1]);
    }
}
