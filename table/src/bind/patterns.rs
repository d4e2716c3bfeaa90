//! Which rules may speak of a name, without asking each of them.
//!
//! The decision: most patterns are a name, or a name's beginning and a star; those are looked up by what they say. What is
//! found is still put to [`super::speaks`], so that this can only be fast, never wrong. Patterns of other forms are asked one by one.

use std::collections::{BTreeSet, HashMap};

use super::speaks;
use crate::bound::Kind;
use crate::rules::{ArchivedPattern, ArchivedRule};

/// The patterns of all rules, by their form.
#[derive(Default)]
pub(super) struct Patterns<'r> {
    exact: HashMap<&'r str, Vec<Entry<'r>>>,
    /// By what stands before the star at the end.
    beginnings: HashMap<&'r str, Vec<Entry<'r>>>,
    lengths: BTreeSet<usize>,
    others: Vec<Entry<'r>>,
}

type Entry<'r> = (u32, &'r ArchivedPattern);

impl<'r> Patterns<'r> {
    pub fn of(rules: &'r [ArchivedRule]) -> Patterns<'r> {
        let mut all = Patterns::default();
        for (index, rule) in rules.iter().enumerate() {
            for pattern in rule.patterns.iter() {
                let (glob, entry) = (pattern.glob.as_str(), (index as u32, pattern));
                match glob.find('*') {
                    None => all.exact.entry(glob).or_default().push(entry),
                    Some(star) if star + 1 == glob.len() => {
                        all.beginnings.entry(&glob[..star]).or_default().push(entry);
                        all.lengths.insert(star);
                    }
                    Some(_) => all.others.push(entry),
                }
            }
        }
        all
    }

    /// The rules that speak of a thing, ascending.
    pub fn speaking(&self, kind: Kind, full: &str, bare: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let mut ask = |entries: &[Entry<'r>]| {
            found.extend(entries.iter().filter(|(_, p)| speaks(p, kind, full, bare)).map(|(rule, _)| *rule));
        };
        for name in [full, bare] {
            self.exact.get(name).into_iter().for_each(|entries| ask(entries));
            let beginnings = self.lengths.iter().map_while(|length| {
                // A cut inside a letter is no pattern's beginning.
                (*length <= name.len())
                    .then(|| name.get(..*length).and_then(|begin| self.beginnings.get(begin)))
            });
            beginnings.flatten().for_each(|entries| ask(entries));
        }
        ask(&self.others);
        found.sort_unstable();
        found.dedup();
        found
    }
}
