//! What upstreams offer: the tools, prompts, resources and templates that they listed, with their
//! definitions as received, byte for byte. Learned at run time, or pinned by a lock file.

use crate::bound::{Capabilities, Kind};

/// One entry per upstream of the table, in its order.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub upstreams: Vec<Lists>,
}

/// What one upstream offers.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    pub known: Known,
    /// It speaks a revision before 2026-07-28.
    pub older: bool,
    pub tools: Vec<Definition>,
    pub prompts: Vec<Definition>,
    pub resources: Vec<Definition>,
    pub templates: Vec<Definition>,
    pub instructions: Option<String>,
    pub capabilities: Capabilities,
    pub scopes: Scopes,
    pub fresh_until: FreshUntil,
    pub announced: Announced,
}

impl Lists {
    /// The list of a kind.
    pub fn of(&self, kind: Kind) -> &[Definition] {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
        }
    }

    pub fn of_mut(&mut self, kind: Kind) -> &mut Vec<Definition> {
        match kind {
            Kind::Tool => &mut self.tools,
            Kind::Prompt => &mut self.prompts,
            Kind::Resource => &mut self.resources,
            Kind::Template => &mut self.templates,
        }
    }
}

/// How often an upstream has said that a list of it changed, whether it did or not. Not part of what is bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Announced {
    pub tools: u64,
    pub prompts: u64,
    /// With templates.
    pub resources: u64,
}

/// Which answers an upstream lets be shared between principals (`cacheScope: public`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
    pub templates: bool,
    /// What it says of itself.
    pub about: bool,
}

/// Until when an upstream lets its answers be kept, in milliseconds on the process's clock. Not part of what is bound:
/// asking again and finding the same changes nothing but this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreshUntil {
    pub tools: u64,
    pub prompts: u64,
    pub resources: u64,
    pub templates: u64,
    /// What it says of itself.
    pub about: u64,
}

impl FreshUntil {
    /// Of the list of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Tool => self.tools,
            Kind::Prompt => self.prompts,
            Kind::Resource => self.resources,
            Kind::Template => self.templates,
        }
    }

    /// When the first of them is over, of those that may be kept at all.
    pub fn first(&self) -> Option<u64> {
        let all = [self.tools, self.prompts, self.resources, self.templates, self.about];
        all.into_iter().filter(|until| *until > 0).min()
    }
}

impl Scopes {
    /// Of the list of a kind.
    pub fn of(&self, kind: Kind) -> bool {
        match kind {
            Kind::Tool => self.tools,
            Kind::Prompt => self.prompts,
            Kind::Resource => self.resources,
            Kind::Template => self.templates,
        }
    }
}

/// How fresh [`Lists`] are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Known {
    /// Never reached so far.
    #[default]
    Not,
    Fresh,
    /// The upstream is unreachable; this is the last that was good.
    Stale,
}

/// One listed thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// A tool's or prompt's `name`, a resource's `uri`, a template's `uriTemplate`.
    pub name: String,
    /// The JSON object as the upstream sent it.
    pub json: String,
}
