//! Declared names of one kind and who spoke of them. A name's index in its scope is its number in the
//! table, whether or not its block could be lowered: numbers must not shift because of a mistake
//! elsewhere.

use std::{collections::BTreeMap, ops::Bound};

use super::blocks::Declared;
use crate::{
    diagnostic::{Code, Finding, codes},
    source::{Node, Span},
    walk::{Walk, suggest},
};

pub struct Scope<'n> {
    /// "upstream", "role": as it is called in findings.
    pub what: &'static str,
    pub declared: Vec<Declared<'n>>,
    index: BTreeMap<&'n str, usize>,
    pub used: Vec<bool>,
}

impl<'n> Scope<'n> {
    /// Takes the declarations in, refusing names that cannot be and names that are there already.
    pub fn declare(
        walk: &mut Walk<'_>,
        blocks: &[Declared<'n>],
        what: &'static str,
        max: usize,
    ) -> Scope<'n> {
        let mut scope = Scope { what, declared: Vec::new(), index: BTreeMap::new(), used: Vec::new() };
        let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        for declared in blocks {
            walk.name(declared.name, declared.name_span, &format!("{article} {what}"), what != "upstream");
            if let Some(first) = scope.index.get(declared.name) {
                let message = format!("the {what} `{}` is declared twice", declared.name);
                let finding = Finding::new(&codes::DECLARED_TWICE, declared.name_span, message)
                    .label("again here")
                    .note(scope.declared[*first].name_span, "first here");
                walk.report(finding);
                continue;
            }
            if scope.declared.len() == max {
                let message = format!("there are more than {max} of this kind: {what}");
                walk.report(Finding::new(&codes::OUT_OF_RANGE, declared.name_span, message));
                break;
            }
            scope.index.insert(declared.name, scope.declared.len());
            scope.declared.push(*declared);
            scope.used.push(false);
        }
        scope
    }

    /// Every declaration through `lower`; one that fails leaves its finding and no item.
    pub fn lower<T>(
        &self,
        walk: &mut Walk<'_>,
        mut lower: impl FnMut(&mut Walk<'_>, &Declared<'n>) -> Option<T>,
    ) -> Vec<T> {
        self.declared.iter().filter_map(|declared| lower(walk, declared)).collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &'n str> + '_ {
        self.declared.iter().map(|declared| declared.name)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Declared things whose names begin so, by name.
    pub fn beginning_with(&self, beginning: &str) -> impl Iterator<Item = usize> + '_ {
        let from = (Bound::Included(beginning), Bound::Unbounded);
        let names = self.index.range::<str, _>(from);
        let beginning = beginning.to_owned();
        names.take_while(move |(name, _)| name.starts_with(&beginning)).map(|(_, at)| *at)
    }

    /// The declared thing whose name is written at `node`. `by` says who speaks of it.
    pub fn resolve(
        &mut self,
        walk: &mut Walk<'_>,
        node: &Node,
        code: &'static Code,
        by: &str,
    ) -> Option<u16> {
        let name = walk.text(node)?;
        if let Some(at) = self.find(&name) {
            self.used[at] = true;
            return Some(at as u16);
        }
        self.unknown(walk, &name, node.span, code, by);
        None
    }

    pub fn unknown(&self, walk: &mut Walk<'_>, name: &str, span: Span, code: &'static Code, by: &str) {
        // A file is missing: the name may be declared there, and a second complaint helps nobody.
        if !walk.whole {
            return;
        }
        let meant = if walk.findings.is_full() { None } else { suggest::nearest(name, self.names()) };
        let finding =
            Finding::new(code, span, format!("unknown {} `{name}` in {by}", self.what)).meant(meant);
        let finding = match meant.and_then(|name| self.find(name)) {
            Some(at) => {
                let declared = &self.declared[at];
                finding.note(declared.name_span, format!("`{}` is declared here", declared.name))
            }
            None => {
                let known: Vec<&str> = self.names().collect();
                finding.help(match known.is_empty() {
                    true => format!("no {} is declared", self.what),
                    false => format!("declared: {}", suggest::listed(&known)),
                })
            }
        };
        walk.report(finding);
    }
}
