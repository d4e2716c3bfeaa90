//! What changed in the lists that a client sees.
//!
//! There is one source of change, a new edition, and one question: does this client see another list than before? Both
//! lists need not be kept for that: a listener keeps an [`Outline`], a number per list. Outlines belong to views, which are
//! interned per server and set of roles, so a thousand listeners with the same roles cost one comparison of numbers
//! each; the items are looked at once per view and edition, by the task of [`keep`], never by an exchange that waits.

use std::hash::Hasher;
use std::rc::Rc;

use strait_protocol::mcp::Method;
use strait_table::{Kind, Snapshot, View};

use crate::core::Core;
use crate::fold::FoldHasher;
use crate::io::runtime;
use crate::limits::CHANGES_PER_TURN;

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
}

/// What a view shows, as a number per list: two lists that differ have the same one by accident once in 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline([u64; List::ALL.len()]);

impl Outline {
    /// `prints` are those of the snapshot's fragments.
    pub fn of(snapshot: &Snapshot, server: usize, view: &View, prints: &[u64]) -> Outline {
        let shelf = |kind| snapshot.bound().servers.get(server).map(|server| server.shelf(kind));
        Outline(List::ALL.map(|list| {
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
        }))
    }

    /// The lists that differ.
    pub fn differing(self, other: Outline) -> ListSet {
        let mut lists = ListSet::default();
        for (list, (one, two)) in List::ALL.into_iter().zip(self.0.iter().zip(other.0)) {
            if *one != two {
                lists.insert(list);
            }
        }
        lists
    }
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
    loop {
        core.changed.wait().await;
        for (told, listen) in core.listens.all().into_iter().enumerate() {
            if told > 0 && told % CHANGES_PER_TURN == 0 {
                runtime::yield_turn().await;
            }
            listen.look_again(&core);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_differ_one_by_one() {
        let (one, two) = (Outline([1, 2, 3]), Outline([1, 5, 3]));
        let differing: Vec<List> = one.differing(two).iter().collect();
        assert_eq!(differing, [List::Prompts]);
        assert_eq!(one.differing(one), ListSet::default());
        assert_eq!(ListSet::EVERY.iter().count(), List::ALL.len());
    }
}
