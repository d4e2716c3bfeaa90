//! The *bound catalog* section: rules joined with what upstreams really offer.
//!
//! For every virtual server and kind it holds the exposed items in their listing order, a name index,
//! the fragment of JSON that a list shows for each, and the rules whose patterns speak of it. Workers
//! read the archived form in place; [`crate::bind`] makes it.

use rkyv::{Archive, Deserialize, Serialize};

use crate::names::Names;

#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Bound {
    /// One per server of the rules, in their order.
    pub servers: Vec<BoundServer>,
    /// Definitions as listed, shared by the items that show them.
    pub fragments: Vec<String>,
}

#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct BoundServer {
    pub tools: Shelf,
    pub prompts: Shelf,
    pub resources: Shelf,
    pub templates: Shelf,
    pub instructions: String,
    pub completions: bool,
    pub logging: bool,
    /// Some upstream of this server is unreachable: lists are its last good ones, or lack its part.
    pub partial: bool,
}

/// The items of one kind under one server.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Shelf {
    pub index: Names,
    pub items: Vec<Item>,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Item {
    /// What agents call it. For a template, the URI template.
    pub exposed: String,
    /// What its upstream calls it.
    pub bare: String,
    pub upstream: u16,
    pub fragment: u32,
    /// Rules that speak of it, ascending.
    pub rules: Vec<u16>,
    /// For a template, the glob that the URIs it makes satisfy; else empty.
    pub glob: String,
}

/// What kind of thing an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Tool,
    Prompt,
    Resource,
    Template,
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
}

impl ArchivedShelf {
    /// The item exposed under `name`.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.index.find(name, |item| self.items.get(item).is_some_and(|i| i.exposed.as_bytes() == name))
    }
}
