//! An allow that can never win, because a deny to everyone covers each of its patterns. Such a rule
//! reads as a permission and is none. The number of comparisons is bounded: patterns without `*` are
//! looked up, the others compared one by one within a budget.

use std::collections::HashMap;

use strait_table::rules::{Effect, PatternKind};

use crate::{
    diagnostic::{Finding, codes},
    limits::CONTRADICTION_PAIRS_MAX,
    lower::{
        pattern::{Written, covers},
        policy::Draft,
    },
    walk::Walk,
};

pub fn run(walk: &mut Walk<'_>, drafts: &[Draft<'_>]) {
    let mut exact: HashMap<&str, Vec<(&Draft<'_>, &Written)>> = HashMap::new();
    let mut globs: Vec<(&Draft<'_>, &Written)> = Vec::new();
    let denies = drafts.iter().filter(|d| d.effect == Effect::Deny && d.is_unconditional());
    for (draft, written) in
        denies.flat_map(|draft| draft.patterns.iter().map(move |written| (draft, written)))
    {
        match written.pattern.glob.contains('*') {
            true => globs.push((draft, written)),
            // One of each kind says all that can be said about a name.
            false => {
                let same = exact.entry(&written.pattern.glob).or_default();
                if same.iter().all(|(_, other)| other.pattern.kind != written.pattern.kind) {
                    same.push((draft, written));
                }
            }
        }
    }
    let mut budget = CONTRADICTION_PAIRS_MAX;
    for allow in drafts.iter().filter(|draft| draft.effect == Effect::Allow) {
        let mut cover = None;
        for written in &allow.patterns {
            let named = exact.get(written.pattern.glob.as_str()).map(Vec::as_slice).unwrap_or_default();
            let Some(left) = budget.checked_sub(globs.len() + 1) else { return };
            budget = left;
            cover =
                named.iter().chain(&globs).find(|(_, deny)| covers(&deny.pattern, &written.pattern)).copied();
            if cover.is_none() {
                break;
            }
        }
        if let Some((deny, by)) = cover {
            report(walk, allow, deny, by);
        }
    }
}

fn report(walk: &mut Walk<'_>, allow: &Draft<'_>, deny: &Draft<'_>, by: &Written) {
    let message =
        format!("rule `{}` allows nothing: rule `{}` denies all of it to everyone", allow.id, deny.id);
    let prefix = match by.pattern.kind {
        PatternKind::Any => "",
        PatternKind::Tool => "tool:",
        PatternKind::Prompt => "prompt:",
        PatternKind::Resource => "resource:",
    };
    let finding = Finding::new(&codes::CONTRADICTION, allow.effect_span, message)
        .label("deny wins over this")
        .note(by.span, format!("denied here by `{prefix}{}`", by.pattern.glob))
        .help("leave one of the two out, or narrow the deny");
    walk.report(finding);
}
