//! The *bound catalog* section: rules joined with what upstreams really offer.
//!
//! For every virtual server and kind it holds the exposed items in their listing order, a name index,
//! the fragment of JSON that a list shows for each, and the rules whose patterns speak of it. Workers
//! read the archived form in place; [`crate::bind`] makes it.

use rkyv::{Archive, Deserialize, Serialize};
use strait_protocol::Span;
use strait_protocol::jsonrpc::Members;

use crate::names::Names;

#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Bound {
    /// One per server of the rules, in their order.
    pub servers: Vec<BoundServer>,
    /// What each upstream of the rules can do, in their order.
    pub upstreams: Vec<Capabilities>,
    /// Definitions as listed, shared by the items that show them.
    pub fragments: Vec<String>,
}

#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct BoundServer {
    pub tools: Shelf,
    pub prompts: Shelf,
    pub resources: Shelf,
    pub templates: Shelf,
    /// Those that patterns reach, ascending.
    pub upstreams: Vec<u16>,
    /// What some upstream of this server can do.
    pub capabilities: Capabilities,
    /// As configured; empty: the sections of those upstreams of which a caller sees something.
    pub instructions: String,
    pub sections: Vec<Section>,
    /// Some upstream of this server is unreachable: lists are its last good ones, or lack its part.
    pub partial: bool,
    /// Every caller is told the same, and no upstream of it asked for less.
    pub public: bool,
    /// Upstreams some of whose URIs are shown here under other URIs, ascending.
    pub renamed_uris: Vec<u16>,
    /// What would be exposed here and is quarantined, by kind and name.
    pub held: Vec<Held>,
}

/// An item whose definition is not the one that is pinned: no list shows it and nobody calls it until somebody has looked.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Held {
    pub kind: Kind,
    pub exposed: String,
    pub upstream: u16,
    /// Rules that speak of it, ascending.
    pub rules: Vec<u32>,
    /// Its upstream does not offer it any more; else it offers something else under this name.
    pub gone: bool,
}

/// What a server declares, in the words of either era. What it lists it can do, whether it says so or not.
#[derive(Archive, Deserialize, Serialize, Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
    /// Of resources.
    pub subscribe: bool,
    pub completions: bool,
    pub logging: bool,
    /// The task methods of 2025-11-25.
    pub core_tasks: bool,
    /// The extension `tasks`.
    pub tasks: bool,
    /// The extension `ui`.
    pub ui: bool,
}

impl Capabilities {
    /// The words for what can be declared.
    pub const WORDS: [&str; 9] =
        ["tools", "prompts", "resources", "subscribe", "completions", "logging", "core_tasks", "tasks", "ui"];

    /// In the order of [`Capabilities::WORDS`].
    pub fn flags(&mut self) -> [&mut bool; 9] {
        let Capabilities {
            tools,
            prompts,
            resources,
            subscribe,
            completions,
            logging,
            core_tasks,
            tasks,
            ui,
        } = self;
        [tools, prompts, resources, subscribe, completions, logging, core_tasks, tasks, ui]
    }

    /// The words for what is declared.
    pub fn words(mut self) -> Vec<&'static str> {
        let said = self.flags().map(|flag| *flag);
        Capabilities::WORDS.into_iter().zip(said).filter(|(_, said)| *said).map(|(word, _)| word).collect()
    }

    /// What both can do.
    pub fn and(mut self, mut other: Capabilities) -> Capabilities {
        for (ours, theirs) in self.flags().into_iter().zip(other.flags()) {
            *ours &= *theirs;
        }
        self
    }

    /// What one or the other can do.
    pub fn or(self, other: Capabilities) -> Capabilities {
        Capabilities {
            tools: self.tools | other.tools,
            prompts: self.prompts | other.prompts,
            resources: self.resources | other.resources,
            subscribe: self.subscribe | other.subscribe,
            completions: self.completions | other.completions,
            logging: self.logging | other.logging,
            core_tasks: self.core_tasks | other.core_tasks,
            tasks: self.tasks | other.tasks,
            ui: self.ui | other.ui,
        }
    }
}

/// What an upstream tells clients about itself.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub upstream: u16,
    pub text: String,
}

/// The items of one kind under one server.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Shelf {
    pub index: Names,
    pub items: Vec<Item>,
    /// Upstreams whose list is part of this one, ascending.
    pub upstreams: Vec<u16>,
    /// Every caller is shown the same, and no upstream asked for less.
    pub public: bool,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Item {
    /// What agents call it. For a template, the URI template.
    pub exposed: String,
    /// What its upstream calls it.
    pub bare: String,
    pub upstream: u16,
    /// What a list shows of it.
    pub fragment: u32,
    /// The same, for clients of 2026-07-28.
    pub modern_fragment: u32,
    /// Rules that speak of it, ascending.
    pub rules: Vec<u32>,
    /// The same of limits.
    pub limits: Vec<u16>,
    /// Which price it has.
    pub price: Option<u16>,
    /// Its number in every catalog: what limits per tool are kept under.
    pub print: u64,
    /// For a template, the glob that the URIs it makes satisfy; else empty.
    pub glob: String,
    /// Arguments that headers must repeat (`x-mcp-header`).
    pub mirrored: Vec<Mirrored>,
    /// Which shape of its server it has. Only tools have one.
    pub shape: Option<u16>,
}

/// An argument of a tool that `Mcp-Param-{header}` repeats.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    pub header: String,
    /// Keys from `arguments` down to it.
    pub path: Vec<String>,
    pub scalar: Scalar,
}

/// The type of a mirrored argument.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    Text,
    Integer,
    Boolean,
}

/// What kind of thing an item is.
#[derive(Archive, Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Tool,
    Prompt,
    Resource,
    Template,
}

impl Capabilities {
    /// Whether a list of this kind exists.
    pub fn lists(&self, kind: Kind) -> bool {
        kind.among(self.tools, self.prompts, self.resources)
    }
}

impl ArchivedCapabilities {
    /// As of [`Capabilities::lists`].
    pub fn lists(&self, kind: Kind) -> bool {
        kind.among(self.tools, self.prompts, self.resources)
    }
}

impl ArchivedCapabilities {
    /// Out of the table.
    pub fn read(&self) -> Capabilities {
        // Flags have no bytes that are not one.
        rkyv::deserialize::<Capabilities, rkyv::rancor::Error>(self).unwrap_or_default()
    }
}

impl From<&ArchivedKind> for Kind {
    fn from(kind: &ArchivedKind) -> Kind {
        match kind {
            ArchivedKind::Tool => Kind::Tool,
            ArchivedKind::Prompt => Kind::Prompt,
            ArchivedKind::Resource => Kind::Resource,
            ArchivedKind::Template => Kind::Template,
        }
    }
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Template];

    /// What one of them is called.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Tool => "tool",
            Kind::Prompt => "prompt",
            Kind::Resource => "resource",
            Kind::Template => "template",
        }
    }

    /// Templates are declared and governed with resources.
    fn among<T>(self, tools: T, prompts: T, resources: T) -> T {
        match self {
            Kind::Tool => tools,
            Kind::Prompt => prompts,
            Kind::Resource | Kind::Template => resources,
        }
    }
}

impl ArchivedMirrored {
    /// The argument as written in `body`; one that is null is none.
    pub fn argument<'b>(&self, body: &'b [u8], arguments: Option<Span>) -> Option<&'b [u8]> {
        let mut at = arguments?;
        for key in self.path.iter() {
            at = Members::find(body, at, key).ok()??;
        }
        Some(at.of(body)).filter(|raw| *raw != b"null")
    }
}

impl ArchivedBoundServer {
    pub fn shelf(&self, kind: Kind) -> &ArchivedShelf {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
        }
    }

    /// What is quarantined under `name`.
    pub fn held(&self, kind: Kind, name: &[u8]) -> Option<&ArchivedHeld> {
        let at = self.held.binary_search_by(|held| {
            Kind::from(&held.kind).cmp(&kind).then_with(|| held.exposed.as_bytes().cmp(name))
        });
        at.ok().and_then(|at| self.held.get(at))
    }
}

impl ArchivedShelf {
    /// The item exposed under `name`.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.index.find(name, |item| self.items.get(item).is_some_and(|i| i.exposed.as_bytes() == name))
    }
}
