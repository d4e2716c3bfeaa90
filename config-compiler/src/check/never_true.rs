//! Conditions that are never true: of roles, of `when`, `unless` and `during`, and of rules as a whole. What says nothing, or
//! can never be said to anybody, is a slip of its author's.

use strait_table::rules::Effect;

use crate::{
    condition::{Tree, logic::Logic, tree::Possible},
    diagnostic::{Finding, codes},
    lower::{
        condition::Part,
        policy::{Draft, spoken_to},
        scope::Scope,
    },
    source::{Node, Span},
    walk::Walk,
};

const HELP: &str = "correct it, or leave it out";

pub fn run(walk: &mut Walk<'_>, roles: &Scope<'_>, drafts: &[Draft<'_>], logic: &mut Logic<'_>) {
    for (declared, tree) in roles.declared.iter().zip(logic.roles) {
        if let Some(tree) = tree {
            let by = format!("role `{}`", declared.name);
            text(walk, &by, "nobody can have it", declared.node, tree, logic);
        }
    }
    for draft in drafts {
        rule(walk, draft, logic);
    }
}

fn rule(walk: &mut Walk<'_>, draft: &Draft<'_>, logic: &mut Logic<'_>) {
    let Some(asked) = &draft.asked else { return };
    let by = format!("rule `{}`", draft.id);
    // What cannot be decided is denied all the same.
    let (so, never) = match draft.effect {
        Effect::Allow => ("the rule never speaks", "never speaks"),
        Effect::Hold | Effect::Deny => ("the rule speaks only where it cannot be decided", "is never true"),
    };
    let mut told = false;
    for part in &asked.parts {
        told |= match part.key {
            "unless" => text(walk, &by, "it excepts nothing", part.node, &part.tree.clone().negated(), logic),
            // The alternatives of a Cedar policy's tree are not its author's.
            "permit" | "forbid" if !logic.never_true(&part.tree) => false,
            _ => text(walk, &by, so, part.node, &part.tree, logic),
        };
    }
    let to = spoken_to(&draft.to);
    if told || !logic.never(&[(&to, Possible::TRUE), (&asked.tree, Possible::TRUE)]) {
        return;
    }
    let at = |part: &Part<'_>| walk.files.first_line(part.node.span);
    let both = |one: &Part<'_>, other: &Part<'_>, logic: &mut Logic<'_>| {
        logic.never(&[(&one.tree, Possible::TRUE), (&other.tree, Possible::TRUE)])
    };
    let pairs = asked
        .parts
        .iter()
        .enumerate()
        .flat_map(|(index, later)| asked.parts.iter().take(index).map(move |earlier| (earlier, later)));
    for (earlier, later) in pairs {
        if both(earlier, later, logic) {
            let message =
                format!("{by} {never}: its `{}` and its `{}` exclude each other", earlier.key, later.key);
            let finding = Finding::new(&codes::EMPTY_CONDITION, at(later), message)
                .note(at(earlier), "the other is here");
            return walk.report(finding.help(HELP));
        }
    }
    let Some(span) = asked.span(walk) else { return };
    let message = match logic.never_true(&asked.tree) {
        true => format!("{by} {never}: its conditions exclude each other"),
        false => format!("{by} {never}: this is true of nobody whom it speaks to"),
    };
    walk.report(Finding::new(&codes::EMPTY_CONDITION, span, message).help(HELP));
}

/// Whether something was told of one text.
fn text(walk: &mut Walk<'_>, by: &str, so: &str, node: &Node, tree: &Tree, logic: &mut Logic<'_>) -> bool {
    if logic.never_true(tree) {
        let finding = whole(walk, by, so, node, tree, logic);
        walk.report(finding);
        return true;
    }
    // Alternatives of which one is void.
    let (parts, so) = match tree {
        Tree::Or(parts) => (parts, "this alternative says nothing"),
        Tree::And(parts) => (parts, so),
        _ => return false,
    };
    let mut told = false;
    for part in parts.iter().filter(|part| matches!(tree, Tree::Or(_)) || matches!(part, Tree::Or(_))) {
        told |= text(walk, by, so, node, part, logic);
    }
    told
}

/// The part that is never true, or the two that are never true together; else all of it.
fn whole(walk: &Walk<'_>, by: &str, so: &str, node: &Node, tree: &Tree, logic: &mut Logic<'_>) -> Finding {
    let place = |tree: &Tree| match tree.place() {
        Some(at) => walk.within(node, at.start, at.end),
        None => walk.files.first_line(node.span),
    };
    let says = |span: Span| walk.quote(span.file, walk.files.slice(span));
    if let Tree::And(parts) = tree {
        if let Some(part) = parts.iter().find(|part| logic.never_true(part)) {
            return whole(walk, by, so, node, part, logic);
        }
        for (index, later) in parts.iter().enumerate() {
            for earlier in parts.iter().take(index) {
                if !logic.never(&[(earlier, Possible::TRUE), (later, Possible::TRUE)]) {
                    continue;
                }
                let (one, other) = (place(earlier), place(later));
                let message = format!("{by}: {} is never true where {} is: {so}", says(other), says(one));
                return Finding::new(&codes::EMPTY_CONDITION, other, message)
                    .label("never true where")
                    .note(one, "this is")
                    .help(HELP);
            }
        }
    }
    let at = place(tree);
    Finding::new(&codes::EMPTY_CONDITION, at, format!("{by}: this is never true: {so}")).help(HELP)
}
