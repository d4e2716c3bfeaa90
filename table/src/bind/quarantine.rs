//! What upstreams offer, held against the pins of a lock file.
//!
//! The decision: what is exposed is the pin itself, not what the upstream says now, and what the upstream says now only
//! decides whether the pin still holds. So nobody is ever shown a text that nobody has reviewed; an upstream that cannot
//! be asked shows what is pinned, like the last lists that were good.

use std::collections::HashMap;

use rkyv::vec::ArchivedVec;

use crate::bound::Kind;
use crate::catalog::{Catalog, Definition, Known, Lists};
use crate::pins;
use crate::rules::{ArchivedPin, ArchivedPins, ArchivedRules};

/// Something that an upstream offers otherwise than it is pinned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quarantined {
    /// Of the table.
    pub upstream: usize,
    /// `tool`, `prompt`, `resource`, `template`, `instructions` or `capability`.
    pub part: &'static str,
    /// As the upstream calls it; empty of instructions.
    pub name: String,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is offered under the same name and says something else.
    Changed,
    /// It is not offered any more.
    Gone,
    /// It is not pinned.
    New,
}

impl What {
    pub const fn word(self) -> &'static str {
        match self {
            What::Changed => "changed",
            What::Gone => "gone",
            What::New => "new",
        }
    }
}

/// Pins that do not hold, by upstream and kind: names, and whether they are gone.
#[derive(Default)]
pub struct Marked(HashMap<(usize, Kind), HashMap<String, bool>>);

impl Marked {
    /// Whether the pin of this name does not hold, and then whether it is gone.
    pub fn get(&self, upstream: usize, kind: Kind, name: &str) -> Option<bool> {
        self.0.get(&(upstream, kind))?.get(name).copied()
    }
}

/// Everything that is offered otherwise than it is pinned. Nothing, where nothing is pinned.
pub fn quarantined(rules: &ArchivedRules, offered: &Catalog) -> Vec<Quarantined> {
    let mut all = Vec::new();
    for (upstream, pins) in rules.pins.iter().enumerate() {
        let Some(lists) = offered.upstreams.get(upstream).filter(|lists| lists.known != Known::Not) else {
            continue;
        };
        let mut tell =
            |part, name: &str, what| all.push(Quarantined { upstream, part, name: name.to_owned(), what });
        for kind in Kind::ALL {
            let offers = by_name(lists.of(kind));
            for pin in of(pins, kind).iter() {
                if let Err(what) = holds(pin, &offers) {
                    tell(kind.word(), &pin.name, what);
                }
            }
            let pinned: HashMap<&str, ()> =
                of(pins, kind).iter().map(|pin| (pin.name.as_str(), ())).collect();
            let mut new: Vec<&str> =
                offers.keys().copied().filter(|name| !pinned.contains_key(name)).collect();
            new.sort_unstable();
            new.into_iter().for_each(|name| tell(kind.word(), name, What::New));
        }
        if let Some(what) = instructions(pins, lists) {
            tell("instructions", "", what);
        }
        let pinned = pins.capabilities.read().words();
        for word in lists.capabilities.words().into_iter().filter(|word| !pinned.contains(word)) {
            tell("capability", word, What::New);
        }
    }
    all
}

/// What may be bound, and which of it is quarantined.
pub fn held_to(pins: &[ArchivedPins], offered: &Catalog) -> (Catalog, Marked) {
    let mut marked = Marked::default();
    let upstreams = pins.iter().enumerate().map(|(upstream, pins)| {
        let offered = offered.upstreams.get(upstream).filter(|lists| lists.known != Known::Not);
        let mut lists = match offered {
            None => Lists {
                known: Known::Stale,
                older: pins.older,
                capabilities: pins.capabilities.read(),
                instructions: pins.instructions.as_ref().map(|text| text.as_str().to_owned()),
                ..Lists::default()
            },
            Some(offered) => Lists {
                known: offered.known,
                older: offered.older,
                capabilities: pins.capabilities.read().and(offered.capabilities),
                instructions: offered.instructions.clone().filter(|_| instructions(pins, offered).is_none()),
                scopes: offered.scopes,
                fresh_until: offered.fresh_until,
                announced: offered.announced,
                ..Lists::default()
            },
        };
        for kind in Kind::ALL {
            let pinned = of(pins, kind).iter();
            let shown = |pin: &ArchivedPin| Definition {
                name: pin.name.as_str().to_owned(),
                json: pin.json.as_str().to_owned(),
            };
            *lists.of_mut(kind) = pinned.map(shown).collect();
            let Some(offered) = offered else { continue };
            let offers = by_name(offered.of(kind));
            for pin in of(pins, kind).iter() {
                if let Err(what) = holds(pin, &offers) {
                    let names = marked.0.entry((upstream, kind)).or_default();
                    names.insert(pin.name.as_str().to_owned(), what == What::Gone);
                }
            }
        }
        lists
    });
    let upstreams = upstreams.collect();
    (Catalog { upstreams }, marked)
}

fn by_name(definitions: &[Definition]) -> HashMap<&str, Vec<&str>> {
    let mut all: HashMap<&str, Vec<&str>> = HashMap::new();
    for definition in definitions {
        all.entry(&definition.name).or_default().push(&definition.json);
    }
    all
}

/// Each definition of the name must be the pinned one: nobody can say which of several a call would reach.
fn holds(pin: &ArchivedPin, offers: &HashMap<&str, Vec<&str>>) -> Result<(), What> {
    let offered = offers.get(pin.name.as_str()).ok_or(What::Gone)?;
    // Mostly they are the same bytes, and nothing is hashed.
    let is_same = |json: &&str| **json == *pin.json || pins::hash(json) == Some(pin.blake3);
    if offered.iter().all(is_same) { Ok(()) } else { Err(What::Changed) }
}

fn instructions(pins: &ArchivedPins, offered: &Lists) -> Option<What> {
    let pinned = pins.instructions.as_ref().map(|text| text.as_str());
    match (pinned, offered.instructions.as_deref().filter(|text| !text.is_empty())) {
        (None, None) => None,
        (Some(pinned), Some(offered)) => (pinned != offered).then_some(What::Changed),
        (Some(_), None) => Some(What::Gone),
        (None, Some(_)) => Some(What::New),
    }
}

fn of(pins: &ArchivedPins, kind: Kind) -> &ArchivedVec<ArchivedPin> {
    match kind {
        Kind::Tool => &pins.tools,
        Kind::Prompt => &pins.prompts,
        Kind::Resource => &pins.resources,
        Kind::Template => &pins.templates,
    }
}
