//! What changed in the lists that a client sees.
//!
//! There is one source of change, a new edition, and one question: does this client see another list than before? Both
//! lists need not be kept for that: a listener, be it a session or a listen, keeps an [`Outline`], a number per list. Outlines belong to views, which are
//! interned per server and set of roles, so a thousand listeners with the same roles cost one comparison of numbers
//! each; the items are looked at once per view and edition, by the task of [`keep`], never by an exchange that waits.

use std::cell::Cell;
use std::hash::Hasher;
use std::num::NonZeroU64;
use std::rc::Rc;

use strait_protocol::mcp::Method;
use strait_table::catalog::Announced;
use strait_table::{Kind, Snapshot, View};

use crate::connection::Seat;
use crate::core::{Adopted, Core};
use crate::fold::FoldHasher;
use crate::io::runtime;
use crate::limits::{CHANGES_PER_TURN, VERIFIED_PER_TURN};
use crate::session::Session;
use crate::trial::Side;

/// A list that clients are told of when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum List {
    Tools,
    Prompts,
    /// With templates.
    Resources,
}

impl List {
    pub const ALL: [List; 3] = [List::Tools, List::Prompts, List::Resources];

    /// How `subscriptions/listen` asks for it.
    pub const fn key(self) -> &'static str {
        match self {
            List::Tools => "toolsListChanged",
            List::Prompts => "promptsListChanged",
            List::Resources => "resourcesListChanged",
        }
    }

    /// How a change is told.
    pub const fn method(self) -> Method {
        match self {
            List::Tools => Method::NotifyToolsListChanged,
            List::Prompts => Method::NotifyPromptsListChanged,
            List::Resources => Method::NotifyResourcesListChanged,
        }
    }

    /// The list that this notification tells of.
    pub fn of(method: Method) -> Option<List> {
        List::ALL.into_iter().find(|list| list.method() == method)
    }

    /// How often its change was announced.
    const fn announced(self, announced: &Announced) -> u64 {
        match self {
            List::Tools => announced.tools,
            List::Prompts => announced.prompts,
            List::Resources => announced.resources,
        }
    }

    const fn kinds(self) -> &'static [Kind] {
        match self {
            List::Tools => &[Kind::Tool],
            List::Prompts => &[Kind::Prompt],
            List::Resources => &[Kind::Resource, Kind::Template],
        }
    }
}

/// Some lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSet(u8);

impl ListSet {
    pub const EVERY: ListSet = ListSet(0b111);

    pub fn insert(&mut self, list: List) {
        self.0 |= 1 << list as u8;
    }

    pub fn contains(self, list: List) -> bool {
        self.0 & (1 << list as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = List> {
        List::ALL.into_iter().filter(move |list| self.contains(*list))
    }

    pub fn or(self, other: ListSet) -> ListSet {
        ListSet(self.0 | other.0)
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Other bits are none of its.
    pub const fn of_bits(bits: u8) -> ListSet {
        ListSet(bits & ListSet::EVERY.0)
    }

    /// One more for each of these lists.
    pub fn count(self, announced: &mut Announced) {
        let one = |list| u64::from(self.contains(list));
        announced.tools += one(List::Tools);
        announced.prompts += one(List::Prompts);
        announced.resources += one(List::Resources);
    }
}

impl From<List> for ListSet {
    fn from(list: List) -> ListSet {
        let mut set = ListSet::default();
        set.insert(list);
        set
    }
}

/// What a view shows, as a number per list: two lists that differ have the same one by accident once in 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    lists: [u64; List::ALL.len()],
    /// Of lists that are an upstream's own ([`transparent`]): how often it announced a change.
    announced: [Option<NonZeroU64>; List::ALL.len()],
}

impl Outline {
    /// `prints` are those of the snapshot's fragments, `announced` what its upstreams said of their lists.
    pub fn of(
        snapshot: &Snapshot,
        server: usize,
        view: &View,
        prints: &[u64],
        announced: &[Announced],
    ) -> Outline {
        let shelf = |kind| snapshot.bound().servers.get(server).map(|server| server.shelf(kind));
        let lists = List::ALL.map(|list| {
            let mut hasher = FoldHasher::default();
            for kind in list.kinds() {
                let Some(shelf) = shelf(*kind) else { continue };
                hasher.write_u64(u64::MAX);
                for index in view.kind(*kind).visible_from(0) {
                    let fragment = shelf.items.get(index).map(|item| item.fragment.to_native() as usize);
                    hasher.write_u64(fragment.and_then(|at| prints.get(at)).copied().unwrap_or_default());
                }
            }
            hasher.finish()
        });
        let announced = List::ALL.map(|list| {
            let upstream = transparent(snapshot, server, view, list)?;
            NonZeroU64::new(list.announced(announced.get(upstream)?) + 1)
        });
        Outline { lists, announced }
    }

    /// The lists that differ, or were announced to.
    pub fn differing(self, other: Outline) -> ListSet {
        let mut lists = ListSet::default();
        let numbers = self.lists.iter().zip(other.lists);
        let announced = self.announced.iter().zip(other.announced);
        for ((list, (one, two)), (said, before)) in List::ALL.into_iter().zip(numbers).zip(announced) {
            let is_announced = said.zip(before).is_some_and(|(said, before)| said != before);
            if *one != two || is_announced {
                lists.insert(list);
            }
        }
        lists
    }
}

/// What a listener saw when it was last told, and under which edition that was.
pub struct Sight {
    seen: Cell<Outline>,
    serial: Cell<u64>,
    side: Side,
}

impl Sight {
    pub fn new(adopted: &Adopted, seen: Outline) -> Sight {
        Sight { seen: Cell::new(seen), serial: Cell::new(adopted.serial), side: adopted.side }
    }

    /// Under which of a worker's editions it was begun.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What it compares with now.
    pub fn adopted(&self, core: &Core) -> Rc<Adopted> {
        core.adopted_on(self.side)
    }

    /// Whether there is an edition that it has not looked at; from now on it has.
    pub fn is_due(&self, adopted: &Adopted) -> bool {
        self.serial.replace(adopted.serial) != adopted.serial
    }

    /// What differs from what was seen before.
    pub fn look(&self, now: Outline) -> ListSet {
        now.differing(self.seen.replace(now))
    }
}

/// The upstream whose list this one is, whole and under its own names: whoever sees it is told all that the upstream
/// announces, as on a direct connection, even where nothing differs.
fn transparent(snapshot: &Snapshot, server: usize, view: &View, list: List) -> Option<usize> {
    let bound = snapshot.bound().servers.get(server)?;
    let [upstream] = bound.upstreams.as_slice() else { return None };
    let upstream = usize::from(upstream.to_native());
    let rules = snapshot.rules().servers.get(server)?;
    let patterns = match list {
        List::Tools => &rules.tools,
        List::Prompts => &rules.prompts,
        List::Resources => &rules.resources,
    };
    let all_of_it = format!("{}.*", snapshot.rules().upstreams.get(upstream)?.name.as_str());
    let is_whole = patterns.iter().any(|pattern| pattern.glob == "*" || pattern.glob == all_of_it.as_str());
    let is_bare = list.kinds().iter().all(|kind| {
        let items = &bound.shelf(*kind).items;
        view.kind(*kind).visible_count() == items.len() && items.iter().all(|item| item.exposed == item.bare)
    });
    (is_whole && is_bare).then_some(upstream)
}

/// A number for every fragment: about 8 bytes of it a nanosecond, once per edition that has listeners.
pub fn prints(snapshot: &Snapshot) -> Box<[u64]> {
    let print = |fragment: &[u8]| {
        let mut hasher = FoldHasher::default();
        hasher.write_usize(fragment.len());
        hasher.write(fragment);
        hasher.finish()
    };
    snapshot.bound().fragments.iter().map(|fragment| print(fragment.as_bytes())).collect()
}

/// Tells everybody on this worker what an edition changed for them, a batch per turn. Editions that come meanwhile are
/// told of together.
pub async fn keep(core: Rc<Core>) {
    let mut listeners = core.listeners();
    loop {
        core.changed.wait().await;
        let before = std::mem::replace(&mut listeners, core.listeners());
        let mut told = 0;
        for listen in core.listens.all() {
            pace(&mut told, CHANGES_PER_TURN).await;
            listen.look_again(&core);
        }
        let sessions: Vec<Rc<Session>> = core.sessions.borrow().all().cloned().collect();
        for session in sessions {
            pace(&mut told, CHANGES_PER_TURN).await;
            session.look_again(&core);
        }
        let per_turn = if listeners == before { CHANGES_PER_TURN } else { VERIFIED_PER_TURN };
        for ear in core.audience.all() {
            pace(&mut told, per_turn).await;
            ear.look_again(&core);
        }
        if listeners != before {
            // What stands open on a connection is ended by its task.
            let seats: Vec<Rc<Seat>> =
                core.seats.borrow().values().filter(|seat| seat.stands()).cloned().collect();
            for seat in seats {
                pace(&mut told, per_turn).await;
                seat.nudge_standing();
            }
        }
    }
}

/// Lets others have their turn after each batch.
async fn pace(told: &mut usize, per_turn: usize) {
    *told += 1;
    if told.is_multiple_of(per_turn) {
        runtime::yield_turn().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_differ_one_by_one() {
        let outline =
            |lists, announced: [u64; 3]| Outline { lists, announced: announced.map(NonZeroU64::new) };
        let (one, two) = (outline([1, 2, 3], [1, 0, 1]), outline([1, 5, 3], [1, 1, 2]));
        let differing: Vec<List> = one.differing(two).iter().collect();
        assert_eq!(differing, [List::Prompts, List::Resources]);
        // A list that came to be another's, or its own, says nothing by that.
        assert_eq!(
            outline([1, 2, 3], [1, 0, 1]).differing(outline([1, 2, 3], [0, 4, 1])),
            ListSet::default()
        );
        assert_eq!(one.differing(one), ListSet::default());
        assert_eq!(ListSet::EVERY.iter().count(), List::ALL.len());
    }
}
