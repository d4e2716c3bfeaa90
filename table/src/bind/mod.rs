//! `bind(rules, catalog)`: joins rules with what upstreams really offer.
//!
//! A pure function with two callers: the compiler, where a lock file pins the catalog, and control,
//! whenever an upstream's lists change. Globs are matched here and nowhere else, so that a request on
//! its way finds numbers only.

mod fragment;
mod mirrored;
mod patterns;
mod quarantine;
mod variant;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use strait_policy::glob;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Members, string_at};

use crate::bound::{Bound, BoundServer, Capabilities, Held, Item, Kind, Mirrored, Section, Shelf};
use crate::catalog::{Catalog, Definition, Known, Lists};
use crate::limit;
use crate::names::Names;
use crate::rules::{
    ArchivedNaming, ArchivedPattern, ArchivedPatternKind, ArchivedRules, ArchivedServer, ArchivedTransport,
};
use crate::shape::{ArchivedShape, written};
use crate::uris;

use patterns::Patterns;
pub use quarantine::{Quarantined, What, quarantined};

/// Bytes of a name that an upstream may list; longer ones are left out.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of instructions that a server passes on from all its upstreams; what is more is cut.
pub const INSTRUCTIONS_BYTES_MAX: usize = 64 * 1024;
/// Separates upstream and name where a server joins several upstreams.
pub const SEPARATOR: &str = "__";

/// Something that could not be exposed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindFinding {
    pub server: String,
    pub upstream: String,
    /// As the upstream calls it, shortened, with control characters escaped: fit to be printed.
    pub name: String,
    pub reason: Cow<'static, str>,
}

/// Joins `rules` with `catalog`. What cannot be exposed is left out and told. Where rules pin what upstreams offer, that
/// is exposed, as far as `catalog` does not say otherwise.
pub fn bind(rules: &ArchivedRules, catalog: &Catalog) -> (Bound, Vec<BindFinding>) {
    let pinned = (!rules.pins.is_empty()).then(|| quarantine::held_to(&rules.pins, catalog));
    let (catalog, held) = pinned.as_ref().map_or((catalog, None), |(pinned, held)| (pinned, Some(held)));
    let mut binder = Binder {
        rules,
        patterns: Patterns::of(&rules.policy.rules),
        catalog,
        held,
        bound: Bound::default(),
        interned: HashMap::new(),
        judged: HashMap::new(),
        moved: HashMap::new(),
        findings: Vec::new(),
    };
    let upstreams = 0..rules.upstreams.len();
    binder.bound.upstreams =
        upstreams.map(|upstream| capabilities_of(catalog.upstreams.get(upstream))).collect();
    for server in rules.servers.iter() {
        let bound = binder.server(server);
        binder.bound.servers.push(bound);
    }
    (binder.bound, binder.findings)
}

struct Binder<'r> {
    rules: &'r ArchivedRules,
    patterns: Patterns<'r>,
    catalog: &'r Catalog,
    /// What of the catalog is quarantined, where there are pins.
    held: Option<&'r quarantine::Marked>,
    bound: Bound,
    interned: HashMap<String, u32>,
    /// By upstream, kind and place in its list.
    judged: HashMap<(usize, Kind, usize), Rc<Judged>>,
    /// Of the server at hand: resources by upstream and URI, shown under other URIs.
    moved: HashMap<(usize, String), String>,
    findings: Vec<BindFinding>,
}

/// What is true of a definition whichever server shows it.
struct Judged {
    /// Where it says its name.
    name: Result<Span, &'static str>,
    rules: Vec<u32>,
    limits: Vec<u16>,
    price: Option<u16>,
    /// Of a tool.
    mirrored: Vec<Mirrored>,
}

impl Binder<'_> {
    fn server(&mut self, server: &ArchivedServer) -> BoundServer {
        let members: Vec<usize> =
            (0..self.rules.upstreams.len()).filter(|upstream| self.reaches(server, *upstream)).collect();
        let prefixed = match server.naming {
            ArchivedNaming::Auto => {
                members.iter().filter(|upstream| self.names(server, **upstream)).count() > 1
            }
            ArchivedNaming::Prefix => true,
            ArchivedNaming::Bare => false,
        };
        // Tools speak of resources by their URIs.
        self.moved.clear();
        let mut held = Vec::new();
        let resources = self.shelf(server, Kind::Resource, &members, prefixed, &mut held);
        let templates = self.shelf(server, Kind::Template, &members, prefixed, &mut held);
        let renamed = [&resources, &templates].into_iter().flat_map(|shelf| &shelf.items);
        let renamed = renamed.filter(|item| item.exposed != item.bare).map(|item| item.upstream);
        let renamed_uris: BTreeSet<u16> = renamed.collect();
        let mut bound = BoundServer {
            tools: self.shelf(server, Kind::Tool, &members, prefixed, &mut held),
            prompts: self.shelf(server, Kind::Prompt, &members, prefixed, &mut held),
            resources,
            templates,
            renamed_uris: renamed_uris.into_iter().collect(),
            instructions: server.instructions.as_str().to_owned(),
            public: is_open(server),
            upstreams: members.iter().map(|upstream| *upstream as u16).collect(),
            ..BoundServer::default()
        };
        held.sort_by(|one, other| (one.kind, &one.exposed).cmp(&(other.kind, &other.exposed)));
        bound.held = held;
        for upstream in &members {
            bound.capabilities = bound.capabilities.or(self.through(server, *upstream));
            let lists = self.catalog.upstreams.get(*upstream);
            bound.partial |= lists.is_none_or(|lists| lists.known != Known::Fresh);
            bound.public &= lists.is_some_and(|lists| lists.scopes.about);
        }
        if server.instructions.is_empty() {
            bound.sections = self.sections(server, &members);
        }
        bound
    }

    /// What of an upstream's capabilities this server lets through: a kind of things that no pattern of it speaks of
    /// does not exist here.
    fn through(&self, server: &ArchivedServer, upstream: usize) -> Capabilities {
        let said = self.bound.upstreams.get(upstream).copied().unwrap_or_default();
        let [tools, prompts, resources] = [Kind::Tool, Kind::Prompt, Kind::Resource]
            .map(|kind| self.is_named_in(patterns_of(server, kind), upstream));
        let resources = resources || over_bare_uris(server);
        Capabilities {
            tools: said.tools && tools,
            prompts: said.prompts && prompts,
            resources: said.resources && resources,
            subscribe: said.subscribe && resources,
            completions: said.completions && (prompts || resources),
            logging: said.logging,
            core_tasks: said.core_tasks && tools,
            tasks: said.tasks && tools,
            ui: said.ui && tools,
        }
    }

    /// What upstreams tell of themselves, under their names where there is more than one.
    fn sections(&mut self, server: &ArchivedServer, members: &[usize]) -> Vec<Section> {
        let mut sections = Vec::new();
        let mut left = INSTRUCTIONS_BYTES_MAX;
        for upstream in members.iter().copied() {
            let told = self.catalog.upstreams.get(upstream).and_then(|lists| lists.instructions.as_deref());
            let Some(told) = told.filter(|text| !text.is_empty()) else { continue };
            let name = self.rules.upstreams[upstream].name.as_str();
            let mut text = if members.len() > 1 { format!("# {name}\n{told}\n") } else { told.to_owned() };
            if text.len() > left {
                text.truncate(text.floor_char_boundary(left));
                self.findings.push(BindFinding {
                    server: server.name.as_str().to_owned(),
                    upstream: name.to_owned(),
                    name: "instructions".to_owned(),
                    reason: "with them the server's are longer than 65,536 bytes: cut".into(),
                });
            }
            left -= text.len();
            if !text.is_empty() {
                sections.push(Section { upstream: upstream as u16, text });
            }
        }
        sections
    }

    /// Can this server's patterns reach anything of this upstream, whatever it lists? A pattern over bare URIs can
    /// reach every upstream.
    fn reaches(&self, server: &ArchivedServer, upstream: usize) -> bool {
        over_bare_uris(server) || self.names(server, upstream)
    }

    /// Does a pattern name this upstream, by itself or by a star? A pattern over bare URIs names none: it must not
    /// change what tools are called.
    fn names(&self, server: &ArchivedServer, upstream: usize) -> bool {
        let kinds = [&server.tools, &server.prompts, &server.resources];
        kinds.into_iter().any(|patterns| self.is_named_in(patterns, upstream))
    }

    fn is_named_in(&self, patterns: &[ArchivedPattern], upstream: usize) -> bool {
        let prefix = format!("{}.", self.rules.upstreams[upstream].name.as_str());
        patterns.iter().any(|pattern| {
            let literal = pattern.glob.split('*').next().unwrap_or("");
            literal.starts_with(&prefix)
                || (prefix.starts_with(literal) && literal.len() < pattern.glob.len())
        })
    }

    fn shelf(
        &mut self,
        server: &ArchivedServer,
        kind: Kind,
        members: &[usize],
        prefixed: bool,
        held: &mut Vec<Held>,
    ) -> Shelf {
        let mut items: Vec<Item> = Vec::new();
        let mut taken: HashMap<String, usize> = HashMap::new();
        for upstream in members.iter().copied() {
            let Some(lists) = self.catalog.upstreams.get(upstream) else { continue };
            let upstream_name = self.rules.upstreams[upstream].name.as_str();
            for (place, definition) in lists.of(kind).iter().enumerate() {
                let full = format!("{upstream_name}.{}", definition.name);
                if !patterns_of(server, kind).iter().any(|p| speaks(p, kind, &full, &definition.name)) {
                    continue;
                }
                let judged = self.judge(upstream, kind, place, definition, &full);
                for shape in shapes_of(server, kind, upstream, &definition.name) {
                    let exposed = match (kind, shape.and_then(|(_, shape)| shape.name.as_deref())) {
                        (_, Some(name)) => name.to_owned(),
                        (Kind::Tool | Kind::Prompt, None) if prefixed => {
                            format!("{upstream_name}{SEPARATOR}{}", definition.name)
                        }
                        (Kind::Resource | Kind::Template, None)
                            if is_others(kind, &definition.name, upstream, &taken, &items) =>
                        {
                            uris::renamed(upstream_name, kind, &definition.name)
                        }
                        _ => definition.name.clone(),
                    };
                    let shown = match (&judged.name, taken.get(&exposed)) {
                        (Err(reason), _) => Err((*reason).into()),
                        (Ok(_), _) if is_reserved(server, kind, shape, &exposed) => {
                            Err("a shape of this server has its name".into())
                        }
                        (Ok(_), Some(by)) if *by == upstream => Err("its upstream lists it twice".into()),
                        (Ok(_), Some(_)) => Err("another upstream exposes this name already".into()),
                        (Ok(name), None) => match shape {
                            None => self.fragments(definition, *name, kind, upstream, &exposed),
                            Some((_, shape)) => self.shaped(server, definition, upstream, &exposed, shape),
                        },
                    };
                    let (fragment, modern_fragment) = match shown {
                        Ok(fragments) => fragments,
                        Err(reason) => {
                            self.find(server, upstream, &definition.name, reason);
                            continue;
                        }
                    };
                    taken.insert(exposed.clone(), upstream);
                    // A name that is quarantined is nobody else's.
                    if let Some(gone) = self.held.and_then(|held| held.get(upstream, kind, &definition.name))
                    {
                        let rules = judged.rules.clone();
                        held.push(Held { kind, exposed, upstream: upstream as u16, rules, gone });
                        continue;
                    }
                    if kind == Kind::Resource && exposed != definition.name {
                        self.moved.insert((upstream, definition.name.clone()), exposed.clone());
                    }
                    let is_template = kind == Kind::Template;
                    items.push(Item {
                        bare: definition.name.clone(),
                        upstream: upstream as u16,
                        fragment,
                        modern_fragment,
                        mirrored: judged.mirrored.clone(),
                        rules: judged.rules.clone(),
                        limits: judged.limits.clone(),
                        price: judged.price,
                        print: limit::print_of(kind, &full),
                        glob: if is_template { uris::template_glob(&exposed) } else { String::new() },
                        exposed,
                        shape: shape.map(|(index, _)| index),
                    });
                }
            }
            if kind == Kind::Tool && lists.known == Known::Fresh {
                self.find_unlisted(server, upstream, lists);
            }
        }
        let contributors = members.iter().copied().filter(|upstream| {
            self.bound.upstreams.get(*upstream).is_some_and(|said| said.lists(kind))
                && (self.is_named_in(patterns_of(server, kind), *upstream)
                    || (matches!(kind, Kind::Resource | Kind::Template) && over_bare_uris(server)))
        });
        let upstreams: Vec<usize> = contributors.collect();
        let is_public = |upstream: &usize| {
            self.catalog.upstreams.get(*upstream).is_some_and(|lists| lists.scopes.of(kind))
        };
        Shelf {
            index: Names::build(items.iter().map(|item| item.exposed.as_str())),
            items,
            public: is_open(server) && upstreams.iter().all(is_public),
            upstreams: upstreams.into_iter().map(|upstream| upstream as u16).collect(),
        }
    }

    fn find(
        &mut self,
        server: &ArchivedServer,
        upstream: usize,
        name: &str,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.findings.push(BindFinding {
            server: server.name.as_str().to_owned(),
            upstream: self.rules.upstreams[upstream].name.as_str().to_owned(),
            name: printable(name),
            reason: reason.into(),
        });
    }

    /// Shapes of tools that their upstream does not have.
    fn find_unlisted(&mut self, server: &ArchivedServer, upstream: usize, lists: &Lists) {
        let its = server.shapes.iter().filter(|shape| usize::from(shape.upstream.to_native()) == upstream);
        let unlisted: BTreeSet<&str> = its
            .map(|shape| shape.tool.as_str())
            .filter(|tool| !lists.tools.iter().any(|definition| definition.name == *tool))
            .collect();
        for tool in unlisted {
            self.find(server, upstream, tool, "a shape is of this tool, which its upstream does not list");
        }
    }

    /// As a shape shows a tool.
    fn shaped(
        &mut self,
        server: &ArchivedServer,
        definition: &Definition,
        upstream: usize,
        exposed: &str,
        shape: &ArchivedShape,
    ) -> Result<(u32, u32), Cow<'static, str>> {
        let variant = variant::variant(&definition.json, shape)?;
        let shown = Definition { name: definition.name.clone(), json: variant.json };
        let fragments =
            self.fragments(&shown, the_name(&shown, Kind::Tool)?, Kind::Tool, upstream, exposed)?;
        for at in variant.unmet {
            let path = shape.drops.get(at).map(|path| written(path)).unwrap_or_default();
            let reason = format!("shown; its output schema has no `{path}`, which is dropped where it comes");
            self.find(server, upstream, &definition.name, reason);
        }
        Ok(fragments)
    }

    fn judge(
        &mut self,
        upstream: usize,
        kind: Kind,
        place: usize,
        definition: &Definition,
        full: &str,
    ) -> Rc<Judged> {
        if let Some(judged) = self.judged.get(&(upstream, kind, place)) {
            return judged.clone();
        }
        let name = unfit(&definition.name).map_or_else(|| the_name(definition, kind), Err);
        let mirrored = match kind {
            Kind::Tool if name.is_ok() => mirrored::mirrored(&definition.json),
            _ => Ok(Vec::new()),
        };
        let is_http = matches!(self.rules.upstreams[upstream].transport, ArchivedTransport::Http { .. });
        let (name, mirrored) = match mirrored {
            Ok(mirrored) => (name, mirrored),
            Err(reason) if is_http => (Err(reason), Vec::new()),
            // Only HTTP has headers to be wrong.
            Err(_) => (name, Vec::new()),
        };
        let rules = self.patterns.speaking(kind, full, &definition.name);
        let limits = limit::speaking(&self.rules.limits, kind, full, &definition.name);
        let price = limit::price(&self.rules.prices, kind, full, &definition.name);
        let judged = Rc::new(Judged { name, rules, limits, price, mirrored });
        self.judged.insert((upstream, kind, place), judged.clone());
        judged
    }

    /// What lists show of a definition, to clients of the older revisions and to those of 2026-07-28.
    fn fragments(
        &mut self,
        definition: &Definition,
        name: Span,
        kind: Kind,
        upstream: usize,
        exposed: &str,
    ) -> Result<(u32, u32), Cow<'static, str>> {
        let mut edits = Vec::new();
        if exposed != definition.name {
            edits.push((name, fragment::quoted(exposed)));
        }
        if kind == Kind::Tool && !self.moved.is_empty() {
            let moved = |uri| self.moved.get(&(upstream, uri)).cloned();
            let surfaces = fragment::surfaces(definition.json.as_bytes()).into_iter();
            edits.extend(surfaces.filter_map(|(place, uri)| Some((place, fragment::quoted(&moved(uri)?)))));
        }
        let of_older = self.catalog.upstreams.get(upstream).is_some_and(|lists| lists.older);
        let fragments = fragment::rendered(&definition.json, edits, kind, of_older).ok_or(AMBIGUOUS)?;
        let older = self.intern(fragments.older);
        Ok((older, fragments.newer.map_or(older, |newer| self.intern(newer))))
    }

    fn intern(&mut self, json: String) -> u32 {
        if let Some(known) = self.interned.get(&json) {
            return *known;
        }
        let index = self.bound.fragments.len() as u32;
        self.bound.fragments.push(json.clone());
        self.interned.insert(json, index);
        index
    }
}

/// Whether a URI is another upstream's already; a template's, whether it may make such a URI.
fn is_others(kind: Kind, uri: &str, upstream: usize, taken: &HashMap<String, usize>, items: &[Item]) -> bool {
    if taken.get(uri).is_some_and(|by| *by != upstream) {
        return true;
    }
    let glob = uris::template_glob(uri);
    kind == Kind::Template
        && items
            .iter()
            .any(|item| usize::from(item.upstream) != upstream && uris::may_overlap(&item.glob, &glob))
}

/// The shapes that a server gives a tool; one that has none is shown as it is.
fn shapes_of<'r>(
    server: &'r ArchivedServer,
    kind: Kind,
    upstream: usize,
    name: &str,
) -> Vec<Option<(u16, &'r ArchivedShape)>> {
    let shapes = server.shapes.iter().enumerate().filter(|(_, shape)| {
        kind == Kind::Tool && usize::from(shape.upstream.to_native()) == upstream && shape.tool == *name
    });
    let shapes: Vec<_> = shapes.map(|(index, shape)| Some((index as u16, shape))).collect();
    if shapes.is_empty() { vec![None] } else { shapes }
}

/// A name that the author gives to a shape is nothing else's, or an upstream could take it by listing a tool of that name.
fn is_reserved(
    server: &ArchivedServer,
    kind: Kind,
    shape: Option<(u16, &ArchivedShape)>,
    exposed: &str,
) -> bool {
    let own = shape.is_some_and(|(_, shape)| shape.name.is_some());
    kind == Kind::Tool && !own && server.shapes.iter().any(|shape| shape.name.as_deref() == Some(exposed))
}

/// Whoever asks is nobody in particular, so everyone sees the same.
fn is_open(server: &ArchivedServer) -> bool {
    server.auth.is_empty()
}

fn over_bare_uris(server: &ArchivedServer) -> bool {
    server.resources.iter().any(|pattern| matches!(pattern.kind, ArchivedPatternKind::Resource))
}

/// What an upstream can do. One that was never reached may have anything: a client that is told otherwise would
/// not ask again.
fn capabilities_of(lists: Option<&Lists>) -> Capabilities {
    let Some(lists) = lists.filter(|lists| lists.known != Known::Not) else {
        return Capabilities { tools: true, prompts: true, resources: true, ..Capabilities::default() };
    };
    Capabilities {
        tools: lists.capabilities.tools || !lists.tools.is_empty(),
        prompts: lists.capabilities.prompts || !lists.prompts.is_empty(),
        resources: lists.capabilities.resources || !lists.resources.is_empty() || !lists.templates.is_empty(),
        ..lists.capabilities
    }
}

fn patterns_of(server: &ArchivedServer, kind: Kind) -> &[ArchivedPattern] {
    match kind {
        Kind::Tool => &server.tools,
        Kind::Prompt => &server.prompts,
        Kind::Resource | Kind::Template => &server.resources,
    }
}

/// Does a pattern speak of this thing? `full` is `upstream.name`, `bare` what the upstream calls it.
pub fn speaks(pattern: &ArchivedPattern, kind: Kind, full: &str, bare: &str) -> bool {
    match (&pattern.kind, kind) {
        (ArchivedPatternKind::Any, _)
        | (ArchivedPatternKind::Tool, Kind::Tool)
        | (ArchivedPatternKind::Prompt, Kind::Prompt) => glob::matches(&pattern.glob, full),
        (ArchivedPatternKind::Resource, Kind::Resource | Kind::Template) => {
            glob::matches(&pattern.glob, full) || glob::matches(&pattern.glob, bare)
        }
        _ => false,
    }
}

fn unfit(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("its name is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Some("its name is longer than 1,024 bytes")
    } else if name.chars().any(char::is_control) {
        Some("its name has a control character")
    } else {
        None
    }
}

const AMBIGUOUS: &str = "its definition does not name it exactly once";

/// Where a definition says its name. What is decided by one name and shown under another would be a hole, so there
/// must be one place, and it must say `name`. And it must be JSON: lists are made of definitions, so one that no parser
/// reads would take those of all other upstreams with it.
fn the_name(definition: &Definition, kind: Kind) -> Result<Span, &'static str> {
    let json = definition.json.as_bytes();
    // Into values, because merely skipping them lets half a surrogate pair pass.
    if !serde_json::from_slice::<serde_json::Value>(json).is_ok_and(|value| value.is_object()) {
        return Err("its definition is not a JSON object that every client can read");
    }
    let key = match kind {
        Kind::Tool | Kind::Prompt => "name",
        Kind::Resource => "uri",
        Kind::Template => "uriTemplate",
    };
    let mut found = None;
    for member in Members::of_all(json) {
        let member = member.map_err(|_| AMBIGUOUS)?;
        if member.key_is(json, key) && found.replace(member.value).is_some() {
            return Err(AMBIGUOUS);
        }
    }
    let value = found.ok_or(AMBIGUOUS)?;
    if string_at(json, value).as_deref() == Some(&definition.name) { Ok(value) } else { Err(AMBIGUOUS) }
}

/// A name as findings show it.
pub fn printable(name: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    name.chars().take(128).map(escape).collect()
}
