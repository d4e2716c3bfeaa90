//! What there is to ask about. Where a lock file pins what upstreams offer, that; else the names that the policy itself writes,
//! since nobody has asked the upstreams.
//!
//! The decision: a pattern stands for a name of its own, its star filled in with letters that no pattern has. So `crm.*` tells
//! what is true of every tool of `crm` that nothing else is said about, and all of it is bound and decided like real names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use strait_table::bind::bind;
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::condition::{ArchivedCallFact, ArchivedOp, ArchivedOperand};
use strait_table::rules::{ArchivedPattern, ArchivedPatternKind, ArchivedRules};
use strait_table::{Kind, Snapshot};

use crate::Failure;

/// Kinds that a policy writes names of; what a template makes are resources.
pub const KINDS: [Kind; 3] = [Kind::Tool, Kind::Prompt, Kind::Resource];
/// Patterns that begin with a star are put together with those that end with one, up to so many of each.
const CROSSED_MAX: usize = 64;

/// Names to ask about, by upstream and kind; a pattern maps to itself as it is written, beneath its upstream.
#[derive(Default)]
pub struct Names(BTreeMap<(String, Kind), BTreeMap<String, Option<String>>>);

impl Names {
    /// The names that these policies write, and those that they pin.
    pub fn of(all: &[&ArchivedRules]) -> Names {
        let mut names = Names::default();
        let upstreams: BTreeSet<&str> = all
            .iter()
            .flat_map(|rules| rules.upstreams.iter().map(|upstream| upstream.name.as_str()))
            .collect();
        for kind in KINDS {
            let globs = globs(all, kind);
            let filler = filler(&globs);
            for upstream in &upstreams {
                let prefix = format!("{upstream}.");
                let mut rests: BTreeSet<String> =
                    globs.iter().flat_map(|glob| rests(glob, &prefix)).collect();
                if kind == Kind::Tool {
                    rests.extend(all.iter().flat_map(|rules| spelled(rules, upstream)));
                }
                crossed(&mut rests);
                for rest in rests {
                    names.add(upstream, kind, &rest, &filler);
                }
            }
        }
        for rules in all {
            for (upstream, pins) in rules.upstreams.iter().zip(rules.pins.iter()) {
                for (kind, pins) in [
                    (Kind::Tool, &pins.tools),
                    (Kind::Prompt, &pins.prompts),
                    (Kind::Resource, &pins.resources),
                ] {
                    pins.iter()
                        .for_each(|pin| names.add(upstream.name.as_str(), kind, pin.name.as_str(), ""));
                }
            }
        }
        names
    }

    fn add(&mut self, upstream: &str, kind: Kind, written: &str, filler: &str) {
        let of = self.0.entry((upstream.to_owned(), kind)).or_default();
        match filler.is_empty() || !written.contains('*') {
            true => of.insert(written.to_owned(), None),
            false => of.insert(written.replace('*', filler), Some(written.to_owned())),
        };
    }

    /// One more tool, by its full name.
    pub fn add_tool(&mut self, full: &str) {
        if let Some((upstream, name)) = full.split_once('.').filter(|(_, name)| !name.contains('*')) {
            self.add(upstream, Kind::Tool, name, "");
        }
    }

    /// The names of an upstream, with the pattern that each stands for.
    fn under(&self, upstream: &str, kind: Kind) -> impl Iterator<Item = (&str, Option<&str>)> {
        let of = self.0.get(&(upstream.to_owned(), kind)).into_iter().flatten();
        of.map(|(name, written)| (name.as_str(), written.as_deref()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Kind, &str, Option<&str>)> {
        self.0.iter().flat_map(|((upstream, kind), of)| {
            of.iter().map(|(name, written)| (upstream.as_str(), *kind, name.as_str(), written.as_deref()))
        })
    }
}

/// A policy bound to what there is to ask about.
pub struct Offered {
    pub snapshot: Snapshot,
    /// What upstreams offer is pinned: these are all the names there are.
    pub pinned: bool,
    /// Patterns by upstream, kind and the name that stands for them.
    written: HashMap<(usize, Kind, String), String>,
}

impl Offered {
    pub fn of(snapshot: &Snapshot, names: &Names) -> Result<Offered, Failure> {
        let rules = snapshot.rules();
        if !rules.pins.is_empty() {
            return Ok(Offered { snapshot: snapshot.clone(), pinned: true, written: HashMap::new() });
        }
        let mut written = HashMap::new();
        let mut catalog = Catalog::default();
        for (index, upstream) in rules.upstreams.iter().enumerate() {
            let mut lists = Lists { known: Known::Fresh, ..Lists::default() };
            for kind in KINDS {
                for (name, pattern) in names.under(upstream.name.as_str(), kind) {
                    lists.of_mut(kind).push(definition(kind, name));
                    if let Some(pattern) = pattern {
                        written.insert((index, kind, name.to_owned()), pattern.to_owned());
                    }
                }
            }
            catalog.upstreams.push(lists);
        }
        let (bound, _) = bind(rules, &catalog);
        let bound = snapshot.with_bound(&bound);
        let snapshot = bound.map_err(|error| Failure::bug(format!("names do not bind: {error}")))?;
        Ok(Offered { snapshot, pinned: false, written })
    }

    /// The pattern that a name stands for.
    pub fn pattern(&self, upstream: usize, kind: Kind, name: &str) -> Option<&str> {
        self.written.get(&(upstream, kind, name.to_owned())).map(String::as_str)
    }
}

fn definition(kind: Kind, name: &str) -> Definition {
    let json = match kind {
        Kind::Tool => serde_json::json!({ "name": name, "inputSchema": { "type": "object" } }),
        Kind::Prompt => serde_json::json!({ "name": name }),
        Kind::Resource | Kind::Template => serde_json::json!({ "uri": name, "name": name }),
    };
    Definition { name: name.to_owned(), json: json.to_string() }
}

/// Patterns that speak of a kind, of rules and of servers.
fn globs<'r>(all: &[&'r ArchivedRules], kind: Kind) -> BTreeSet<&'r str> {
    let mut globs = BTreeSet::new();
    let mut add = |pattern: &'r ArchivedPattern| {
        let speaks = match pattern.kind {
            ArchivedPatternKind::Any => true,
            ArchivedPatternKind::Tool => kind == Kind::Tool,
            ArchivedPatternKind::Prompt => kind == Kind::Prompt,
            ArchivedPatternKind::Resource => kind == Kind::Resource,
        };
        if speaks {
            globs.insert(pattern.glob.as_str());
        }
    };
    for rules in all {
        rules.policy.rules.iter().flat_map(|rule| rule.patterns.iter()).for_each(&mut add);
        let shown = rules.servers.iter().flat_map(|server| match kind {
            Kind::Tool => server.tools.iter(),
            Kind::Prompt => server.prompts.iter(),
            Kind::Resource | Kind::Template => server.resources.iter(),
        });
        shown.for_each(&mut add);
    }
    globs
}

/// Letters that no pattern has, so that a name made of them is spoken of by stars alone.
fn filler(globs: &BTreeSet<&str>) -> String {
    let words = ["any", "other", "some", "else"].map(str::to_owned).into_iter();
    let mut candidates = words.chain((0..).map(|number| format!("any{number}")));
    candidates.find(|word| !globs.iter().any(|glob| glob.contains(word.as_str()))).unwrap_or_default()
}

/// What is left of a pattern beneath an upstream. A bare URI is left as it is.
fn rests(glob: &str, prefix: &str) -> Vec<String> {
    let bytes = glob.as_bytes();
    let mut places = BTreeSet::from([0]);
    for byte in prefix.bytes() {
        let mut next = BTreeSet::new();
        let mut open: Vec<usize> = places.into_iter().collect();
        while let Some(at) = open.pop() {
            match bytes.get(at) {
                Some(b'*') => {
                    next.insert(at);
                    open.push(at + 1);
                }
                Some(found) if *found == byte => {
                    next.insert(at + 1);
                }
                _ => {}
            }
        }
        places = next;
    }
    let rests: Vec<&str> =
        places.into_iter().filter_map(|at| glob.get(at..)).filter(|rest| !rest.is_empty()).collect();
    // A star that goes on beyond the prefix says less than what follows it.
    let plain: Vec<String> =
        rests.iter().filter(|rest| !rest.starts_with('*')).map(|rest| (*rest).to_owned()).collect();
    match (plain.is_empty(), glob.contains("://")) {
        (false, _) => plain,
        (true, true) => vec![glob.to_owned()],
        (true, false) => rests.last().map(|rest| (*rest).to_owned()).into_iter().collect(),
    }
}

/// Tools that shapes and conditions spell out.
fn spelled(rules: &ArchivedRules, upstream: &str) -> BTreeSet<String> {
    let is_it = |index: usize| rules.upstreams.get(index).is_some_and(|known| known.name == upstream);
    let shapes = rules.servers.iter().flat_map(|server| server.shapes.iter());
    let shaped =
        shapes.filter(|shape| is_it(shape.upstream.to_native().into())).map(|shape| shape.tool.as_str());
    let mut spelled: BTreeSet<String> = shaped.map(str::to_owned).collect();
    let conditions = rules.policy.rules.iter().filter_map(|rule| rule.condition.as_ref());
    for op in conditions.flat_map(|condition| condition.ops.iter()) {
        let is_tool =
            |operand: &ArchivedOperand| matches!(operand, ArchivedOperand::Call(ArchivedCallFact::Tool));
        match op {
            ArchivedOp::Compare { left, right: ArchivedOperand::Text(text), .. } if is_tool(left) => {
                spelled.insert(text.as_str().to_owned());
            }
            ArchivedOp::In { of, texts, .. } if is_tool(of) => {
                spelled.extend(texts.iter().map(|text| text.as_str().to_owned()));
            }
            _ => {}
        }
    }
    spelled.retain(|name| !name.is_empty() && !name.contains('*'));
    spelled
}

/// Where one pattern ends with a star and another begins with one, a name may be spoken of by both.
fn crossed(rests: &mut BTreeSet<String>) {
    let one_star = |rest: &&String| rest.matches('*').count() == 1 && rest.len() > 1;
    let begins: Vec<&str> =
        rests.iter().filter(one_star).filter_map(|rest| rest.strip_suffix('*')).take(CROSSED_MAX).collect();
    let ends: Vec<&str> =
        rests.iter().filter(one_star).filter_map(|rest| rest.strip_prefix('*')).take(CROSSED_MAX).collect();
    let crossed: Vec<String> =
        begins.iter().flat_map(|begin| ends.iter().map(move |end| format!("{begin}*{end}"))).collect();
    rests.extend(crossed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_says_of_an_upstream() {
        let check = |glob: &str, expected: &[&str]| assert_eq!(rests(glob, "crm."), expected, "{glob}");
        check("*", &["*"]);
        check("crm.*", &["*"]);
        check("c*", &["*"]);
        check("crm.refund", &["refund"]);
        check("erp.refund", &[]);
        check("*.delete_*", &["delete_*"]);
        check("*_delete", &["*_delete"]);
        check("file:///*", &["file:///*"]);
        check("crm.", &[]);
    }

    #[test]
    fn a_name_for_a_star_is_spoken_of_by_stars_alone() {
        assert_eq!(filler(&BTreeSet::from(["crm.*", "crm.get"])), "any");
        assert_eq!(filler(&BTreeSet::from(["crm.any", "crm.another"])), "some");
    }
}
