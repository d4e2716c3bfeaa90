//! Rules that others cover. An allow is void when denies speak wherever it does, and reads as a permission all the same: an
//! error. A rule is superfluous when one other of its kind speaks wherever it does: a warning, since taking it out changes
//! nothing.
//!
//! Which rules can cover a pattern is looked up: by its text, and by the letters that patterns with a star begin and end with.
//! So the work grows with the rules over the same tools, not with all of them; what is left is bounded by
//! [`COVER_PAIRS_MAX`] and [`COVER_CONDITIONS_MAX`], beyond which nothing is said.

use std::collections::{BTreeSet, HashMap, HashSet};

use strait_table::rules::{Effect, PatternKind, To};

use crate::{
    condition::{
        Tree,
        logic::Logic,
        tree::{Asks, Needs, Possible, Root, Value},
    },
    diagnostic::{Finding, codes},
    limits::{COVER_CONDITIONS_MAX, COVER_PAIRS_MAX},
    lower::{
        pattern::{Written, covers},
        policy::{Draft, spoken_to},
    },
    walk::Walk,
};

/// How many times a pattern is looked up in what two patterns cost that are compared.
const LOOK_UPS_A_PAIR: usize = 4;

pub fn run(walk: &mut Walk<'_>, drafts: &[Draft<'_>], logic: &mut Logic<'_>) {
    let of = |effect: Effect| Index::of(drafts, effect);
    let (allows, holds, denies) = (of(Effect::Allow), of(Effect::Hold), of(Effect::Deny));
    let kin = Kin::of(logic.roles);
    let mut left = COVER_PAIRS_MAX;
    for (at, draft) in drafts.iter().enumerate() {
        let same = match draft.effect {
            Effect::Allow => {
                if let Some((deny, by)) = void(drafts, draft, &denies, &kin, logic, &mut left) {
                    walk.report(denied(draft, &drafts[deny], by));
                    continue;
                }
                &allows
            }
            Effect::Hold => &holds,
            Effect::Deny => &denies,
        };
        if let Some(wider) = superfluous(drafts, at, same, &kin, logic, &mut left) {
            walk.report(subsumed(draft, &drafts[wider]));
        }
        if left == 0 {
            return;
        }
    }
}

/// Patterns of the rules of one effect, those that speak always first.
#[derive(Default)]
struct Index<'d> {
    exact: HashMap<&'d str, Vec<(usize, &'d Written)>>,
    /// By what stands before the first star, and after the last.
    ends: HashMap<(&'d str, &'d str), Vec<(usize, &'d Written)>>,
    /// How long those two are.
    lengths: BTreeSet<(usize, usize)>,
}

impl<'d> Index<'d> {
    fn of(drafts: &'d [Draft<'_>], effect: Effect) -> Index<'d> {
        let mut index = Index::default();
        for always in [true, false] {
            let of = |draft: &Draft<'_>| draft.effect == effect && draft.is_unconditional() == always;
            for (at, draft) in drafts.iter().enumerate().filter(|(_, draft)| of(draft)) {
                draft.patterns.iter().for_each(|written| index.add(at, written));
            }
        }
        index
    }

    fn add(&mut self, at: usize, written: &'d Written) {
        let glob = written.pattern.glob.as_str();
        match literal_ends(glob) {
            Some((begin, end)) => {
                self.lengths.insert((begin.len(), end.len()));
                self.ends.entry((begin, end)).or_default().push((at, written));
            }
            None => self.exact.entry(glob).or_default().push((at, written)),
        }
    }

    /// Patterns that may cover this one, with the rules they are of.
    fn near<'i>(&'i self, inner: &'i Written) -> impl Iterator<Item = (usize, &'d Written)> + 'i {
        let glob = inner.pattern.glob.as_str();
        let (begin, end) = literal_ends(glob).unwrap_or((glob, glob));
        let ends = self.lengths.range(..=(begin.len(), usize::MAX)).filter_map(move |(from, until)| {
            self.ends.get(&(begin.get(..*from)?, end.get(end.len().checked_sub(*until)?..)?))
        });
        self.exact.get(glob).into_iter().chain(ends).flatten().copied()
    }
}

/// What stands before the first star and after the last; `None`: there is none.
fn literal_ends(glob: &str) -> Option<(&str, &str)> {
    Some((glob.split_once('*')?.0, glob.rsplit_once('*')?.1))
}

/// Which roles may have to do with each other: those that ask for the same group, or for something else of a principal. Of the
/// others, nobody has the one because of the other.
struct Kin<'t> {
    of: Vec<Topics<'t>>,
}

#[derive(Default)]
struct Topics<'t> {
    groups: HashSet<&'t str>,
    any_group: bool,
    others: bool,
}

impl<'t> Kin<'t> {
    fn of(roles: &'t [Option<Tree>]) -> Kin<'t> {
        let topics = |role: &'t Option<Tree>| {
            let mut topics = Topics { others: role.is_none(), ..Topics::default() };
            if let Some(tree) = role {
                tree.questions(&mut |question| match &question.asks {
                    Asks::InGroups(Value::Text(group)) => {
                        topics.groups.insert(group);
                    }
                    Asks::InGroups(_) | Asks::AnyGroup { .. } => topics.any_group = true,
                    _ => topics.others = true,
                });
            }
            topics
        };
        Kin { of: roles.iter().map(topics).collect() }
    }

    fn related(&self, one: u16, other: u16) -> bool {
        let (Some(one), Some(other)) = (self.of.get(usize::from(one)), self.of.get(usize::from(other)))
        else {
            return true;
        };
        let any = one.any_group || other.any_group;
        any || (one.others && other.others) || !one.groups.is_disjoint(&other.groups)
    }
}

/// The deny that covers the last pattern of an allow of which denies cover every one.
fn void<'d>(
    drafts: &[Draft<'_>],
    allow: &Draft<'_>,
    denies: &Index<'d>,
    kin: &Kin<'_>,
    logic: &mut Logic<'_>,
    left: &mut usize,
) -> Option<(usize, &'d Written)> {
    let mut asked = 0;
    // Whether a deny speaks wherever the allow does, by rule.
    let mut known: HashMap<usize, bool> = HashMap::new();
    let mut cover = None;
    for inner in &allow.patterns {
        *left = left.saturating_sub(denies.lengths.len() / LOOK_UPS_A_PAIR);
        cover = denies.near(inner).find(|(deny, outer)| {
            *left = left.saturating_sub(1);
            let within = *left > 0 && covers(&outer.pattern, &inner.pattern);
            within
                && *known.entry(*deny).or_insert_with(|| {
                    asked += 1;
                    asked <= COVER_CONDITIONS_MAX && speaks_wherever(&drafts[*deny], allow, kin, logic)
                })
        });
        cover?;
    }
    cover
}

/// A rule of the same effect that speaks wherever this one does. Of two that say the same, the later one is superfluous.
fn superfluous(
    drafts: &[Draft<'_>],
    at: usize,
    same: &Index<'_>,
    kin: &Kin<'_>,
    logic: &mut Logic<'_>,
    left: &mut usize,
) -> Option<usize> {
    let draft = &drafts[at];
    let first = draft.patterns.first()?;
    let mut seen = HashSet::from([at]);
    let mut asked = 0;
    *left = left.saturating_sub(same.lengths.len() / LOOK_UPS_A_PAIR);
    for (other, outer) in same.near(first) {
        *left = left.checked_sub(draft.patterns.len())?;
        if seen.contains(&other)
            || !covers(&outer.pattern, &first.pattern)
            || !all_covered(draft, &drafts[other])
        {
            continue;
        }
        seen.insert(other);
        asked += 1;
        if asked > COVER_CONDITIONS_MAX {
            return None;
        }
        if speaks_wherever(&drafts[other], draft, kin, logic) {
            let both_ways = at < other
                && all_covered(&drafts[other], draft)
                && speaks_wherever(draft, &drafts[other], kin, logic);
            if !both_ways {
                return Some(other);
            }
        }
    }
    None
}

fn all_covered(inner: &Draft<'_>, outer: &Draft<'_>) -> bool {
    // Long lists are mostly not covered by one rule, and would be compared each with each.
    inner.patterns.len() * outer.patterns.len() <= 4_096
        && inner
            .patterns
            .iter()
            .all(|inner| outer.patterns.iter().any(|outer| covers(&outer.pattern, &inner.pattern)))
}

/// Whether `wider` speaks of everything it covers whenever `narrower` does. False where that is not sure.
fn speaks_wherever(wider: &Draft<'_>, narrower: &Draft<'_>, kin: &Kin<'_>, logic: &mut Logic<'_>) -> bool {
    if wider.is_unconditional() {
        return true;
    }
    // An allow speaks where it is true, a deny or hold where it is not false.
    let speaks = |draft: &Draft<'_>| match draft.effect {
        Effect::Allow => Possible::TRUE,
        Effect::Hold | Effect::Deny => Possible::NOT_FALSE,
    };
    let (said, silent) = (speaks(narrower), speaks(wider).others());
    let to_all = match (&wider.to, &narrower.to) {
        (To::Everyone, _) => true,
        (To::Roles(wider), To::Roles(narrower)) => {
            narrower.iter().all(|role| wider.binary_search(role).is_ok())
        }
        (To::Roles(_), To::Everyone) => false,
    };
    let wide = wider.asked.as_ref().map(|asked| &asked.tree);
    let narrow = narrower.asked.as_ref().map(|asked| &asked.tree);
    let always = wide.is_none() || wide == narrow;
    if to_all && always {
        return true;
    }
    // What the narrower one never looks at, it cannot settle.
    let looks_at_principal = matches!(narrower.to, To::Roles(_));
    if !to_all && !narrow.is_some_and(|tree| tree.needs().has(Needs::PRINCIPAL)) {
        let (To::Roles(wide), To::Roles(narrow)) = (&wider.to, &narrower.to) else { return false };
        let settles = |role: &u16| wide.iter().any(|other| other == role || kin.related(*role, *other));
        if !narrow.iter().all(settles) {
            return false;
        }
    }
    if !always && wide.is_some_and(|wide| !is_looked_at(wide, narrow, looks_at_principal)) {
        return false;
    }
    let to = spoken_to(&narrower.to);
    let mut wanted = vec![(&to, said)];
    wanted.extend(narrow.map(|tree| (tree, said)));
    let mut never = |tree: &Tree| logic.never(&[wanted.as_slice(), &[(tree, silent)]].concat());
    (to_all || never(&spoken_to(&wider.to))) && (always || wide.is_none_or(never))
}

/// Whether `narrow` asks for everything that `wide` does, so that it may settle it. `principal`: it speaks to roles.
fn is_looked_at(wide: &Tree, narrow: Option<&Tree>, principal: bool) -> bool {
    let mut needs = narrow.map_or(Needs::NOTHING, Tree::needs);
    if principal {
        needs = needs.with(Needs::PRINCIPAL);
    }
    let mut looked_at = HashSet::new();
    if let Some(narrow) = narrow {
        narrow.paths(&mut |path, _| {
            looked_at.insert((path.from, path.keys.first()));
        });
    }
    let mut all = wide.needs().within(needs);
    wide.paths(&mut |path, _| {
        let by_role = principal && path.from == Root::Claims;
        all &= by_role || path.from == Root::Element || looked_at.contains(&(path.from, path.keys.first()));
    });
    all
}

fn denied(allow: &Draft<'_>, deny: &Draft<'_>, by: &Written) -> Finding {
    let whom = match deny.is_unconditional() {
        true => "all of it to everyone",
        false => "it wherever this rule speaks",
    };
    let message = format!("rule `{}` allows nothing: rule `{}` denies {whom}", allow.id, deny.id);
    let prefix = match by.pattern.kind {
        PatternKind::Any => "",
        PatternKind::Tool => "tool:",
        PatternKind::Prompt => "prompt:",
        PatternKind::Resource => "resource:",
    };
    Finding::new(&codes::CONTRADICTION, allow.effect_span, message)
        .label("deny wins over this")
        .note(by.span, format!("denied here by `{prefix}{}`", by.pattern.glob))
        .help("leave one of the two out, or narrow the deny")
}

fn subsumed(rule: &Draft<'_>, wider: &Draft<'_>) -> Finding {
    let word = match rule.effect {
        Effect::Allow => "allows",
        Effect::Hold => "holds",
        Effect::Deny => "denies",
    };
    let message = format!("rule `{}` changes nothing: rule `{}` {word} all of it", rule.id, wider.id);
    Finding::new(&codes::SUBSUMED, rule.id_span, message)
        .label("superfluous")
        .note(wider.id_span, "this one says it all")
        .help("leave one of the two out")
}
