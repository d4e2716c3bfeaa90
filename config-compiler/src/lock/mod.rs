//! `strait.lock`: what every upstream offers, pinned by hash, beside the configuration that names them.
//!
//! `strait lock` writes the file ([`write`]); every load of the configuration reads it ([`read`]), so that rules meet
//! real names and a serving gateway exposes what somebody has reviewed and nothing else. The decision: the file is
//! JSON that people read. One definition is one block of lines in a fixed order, tokens stand as the upstream
//! wrote them, and only the white space between them is ours, so that a change of an upstream is a small
//! difference in a review.

pub mod diff;
pub mod hidden;
pub mod input;
mod read;
mod text;
mod words;
mod write;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use strait_protocol::jsonrpc::tight;
use strait_table::bound::Kind;
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::pins;
use strait_table::rules::{Pin, Pins};

use crate::source::Span;

pub use read::{read, read_alone, read_text};
pub use write::write;

/// Its name, in the folder of the configuration.
pub const FILE_NAME: &str = "strait.lock";
/// Of the form that this file describes.
pub const VERSION: u64 = 1;

/// A lock file that was read.
#[derive(Debug)]
pub struct Lock {
    /// All of its text.
    pub span: Span,
    /// In the order of the file.
    pub upstreams: Vec<Locked>,
    /// `upstreams` by name.
    by_name: HashMap<String, usize>,
}

/// One upstream of a lock file.
#[derive(Debug)]
pub struct Locked {
    pub pinned: Pinned,
    /// Names of items, by kind as in [`Kind::ALL`]: their places in the list.
    names: [HashMap<String, usize>; 4],
    pub name_at: Span,
    pub instructions_at: Option<Span>,
    /// By kind as in [`Kind::ALL`], and item of its list.
    pub places: [Vec<Place>; 4],
}

/// Where a definition stands in the lock file.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The name beside it, with its quotes.
    pub name: Span,
    pub definition: Span,
}

/// What is pinned of one upstream: items by name, no name twice, definitions without white space around their tokens.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub name: String,
    pub lists: Lists,
}

/// Something that an upstream offers and that cannot be pinned, so that it is not exposed either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub upstream: String,
    pub kind: Kind,
    pub name: String,
    pub why: &'static str,
}

impl Lock {
    fn new(span: Span, upstreams: Vec<Locked>) -> Lock {
        let name = |(at, locked): (usize, &Locked)| (locked.pinned.name.clone(), at);
        let by_name = upstreams.iter().enumerate().map(name).collect();
        Lock { span, upstreams, by_name }
    }

    pub fn find(&self, upstream: &str) -> Option<&Locked> {
        self.by_name.get(upstream).and_then(|at| self.upstreams.get(*at))
    }

    /// Whether an upstream is pinned with an item of this kind and name.
    pub fn has(&self, upstream: &str, kind: Kind, name: &str) -> bool {
        self.find(upstream).is_some_and(|locked| locked.place(kind, name).is_some())
    }

    /// The same as a table holds it.
    pub fn pins<'n>(&self, upstreams: impl Iterator<Item = &'n str>) -> Vec<Pins> {
        let pins = |name| self.find(name).map(|locked| locked.pinned.pins()).unwrap_or_default();
        upstreams.map(pins).collect()
    }

    /// What is pinned, for upstreams in this order; nothing is known of one that is not in the file.
    pub fn catalog<'n>(&self, upstreams: impl Iterator<Item = &'n str>) -> Catalog {
        let lists = |name| self.find(name).map(|locked| locked.pinned.lists.clone()).unwrap_or_default();
        Catalog { upstreams: upstreams.map(lists).collect() }
    }
}

impl Locked {
    fn new(pinned: Pinned, name_at: Span, instructions_at: Option<Span>, places: [Vec<Place>; 4]) -> Locked {
        let names = Kind::ALL.map(|kind| {
            let items = pinned.lists.of(kind).iter().enumerate();
            items.map(|(at, item)| (item.name.clone(), at)).collect()
        });
        Locked { pinned, names, name_at, instructions_at, places }
    }

    /// An item's place in the list of its kind.
    pub fn index(&self, kind: Kind, name: &str) -> Option<usize> {
        self.names.get(kind as usize)?.get(name).copied()
    }

    /// Where an item stands.
    pub fn place(&self, kind: Kind, name: &str) -> Option<&Place> {
        self.places.get(kind as usize)?.get(self.index(kind, name)?)
    }
}

impl Pinned {
    fn pins(&self) -> Pins {
        let pin = |definition: &Definition| {
            let blake3 = pins::hash(&definition.json)?;
            Some(Pin { name: definition.name.clone(), json: definition.json.clone(), blake3 })
        };
        let list = |kind| -> Vec<Pin> {
            let mut all: Vec<Pin> = self.lists.of(kind).iter().filter_map(pin).collect();
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all
        };
        Pins {
            older: self.lists.older,
            capabilities: self.lists.capabilities,
            instructions: self.lists.instructions.clone(),
            tools: list(Kind::Tool),
            prompts: list(Kind::Prompt),
            resources: list(Kind::Resource),
            templates: list(Kind::Template),
        }
    }

    /// Pins what an upstream offers. What cannot be pinned is left out and told.
    pub fn of(name: &str, offered: &Lists) -> (Pinned, Vec<Unfit>) {
        let mut unfit = Vec::new();
        let mut list = |kind: Kind| {
            let (mut all, mut seen) = (Vec::new(), HashSet::new());
            for definition in offered.of(kind) {
                let why = if pins::hash(&definition.json).is_none() {
                    "its definition is not JSON that every client can read, or nested more than 64 deep"
                } else if !seen.insert(definition.name.as_str()) {
                    "its upstream lists it twice"
                } else {
                    all.push(Definition { name: definition.name.clone(), json: compact(&definition.json) });
                    continue;
                };
                unfit.push(Unfit { upstream: name.to_owned(), kind, name: definition.name.clone(), why });
            }
            all.sort_by(|one, other| one.name.cmp(&other.name));
            all
        };
        let lists = Lists {
            known: Known::Fresh,
            older: offered.older,
            tools: list(Kind::Tool),
            prompts: list(Kind::Prompt),
            resources: list(Kind::Resource),
            templates: list(Kind::Template),
            instructions: offered.instructions.clone().filter(|text| !text.is_empty()),
            capabilities: offered.capabilities,
            ..Lists::default()
        };
        (Pinned { name: name.to_owned(), lists }, unfit)
    }
}

/// JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    tight(json.as_bytes(), |piece| out.extend_from_slice(piece));
    String::from_utf8(out).unwrap_or_default()
}

/// How the file calls the lists.
pub fn list_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tools",
        Kind::Prompt => "prompts",
        Kind::Resource => "resources",
        Kind::Template => "templates",
    }
}

/// The lock file of a configuration.
pub fn beside(config: &Path) -> std::path::PathBuf {
    config.with_file_name(FILE_NAME)
}
