//! Scopes of OAuth: those that every token must have, and those that a rule asks for. A caller whose token has too few for a rule
//! is shown what it allows, and told at a call which scopes to come back with; so such a rule asks one thing more than its author
//! wrote: whether another token would do.

use strait_table::condition::Condition;

use super::condition::{Asked, Conditions, Part};
use crate::{
    condition::{
        Tree,
        tree::{Asks, Path, Root},
    },
    diagnostic::{Finding, codes},
    source::{Entry, Node},
    walk::Walk,
};

/// Scopes stand in a header, between quotation marks.
pub fn read(walk: &mut Walk<'_>, node: &Node) -> Vec<String> {
    let mut scopes = Vec::new();
    for node in walk.list(node, "scopes").unwrap_or_default() {
        let Some(scope) = walk.text(node) else { continue };
        let legal = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        match !scope.is_empty() && scope.bytes().all(legal) {
            true => scopes.push(scope),
            false => {
                let message =
                    format!("`{scope}` is no scope: expected printable ASCII without spaces, `\"` and `\\`");
                walk.report(Finding::new(&codes::NAME, node.span, message));
            }
        }
    }
    scopes
}

/// The scopes of a rule, which are more than none.
pub fn of_rule(walk: &mut Walk<'_>, entry: &Entry, by: &str) -> Option<Vec<String>> {
    let scopes = read(walk, &entry.value);
    if walk.one_or_many(&entry.value).is_empty() {
        let finding = Finding::new(&codes::MISSING, entry.value.span, format!("{by} asks for no scope"))
            .help("name one, or leave `scopes` out");
        walk.report(finding);
    }
    (!scopes.is_empty() && scopes.len() == walk.one_or_many(&entry.value).len()).then_some(scopes)
}

/// What a rule asks, and its scopes beside it.
pub fn asked<'n>(asked: Option<Asked<'n>>, entry: &'n Entry, scopes: &[String]) -> Asked<'n> {
    let tree = has_all(scopes);
    let part = Part { key: &entry.key, node: &entry.value, tree: tree.clone() };
    match asked {
        None => Asked { tree, parts: vec![part] },
        Some(Asked { tree: others, mut parts }) => {
            parts.push(part);
            Asked { tree: Tree::and([tree, others]), parts }
        }
    }
}

/// The program of a rule with scopes: what it asks, or what it would if the caller came with another token. Only who has one can
/// bring another, and all of them have an end.
pub fn program(
    walk: &mut Walk<'_>,
    conditions: &mut Conditions,
    by: &str,
    asked: &Asked<'_>,
    scopes: &[String],
) -> Option<Condition> {
    let ends = Path { from: Root::Claims, keys: vec!["exp".to_owned()] };
    let another = Tree::and([Tree::ask(Asks::Has(ends), 0..0), Tree::ask(Asks::StepUp, 0..0)]);
    let others = asked.parts.iter().filter(|part| part.key != "scopes").map(|part| part.tree.clone());
    let scoped = Tree::or([has_all(scopes), another]);
    let tree = Tree::and(others.chain([scoped]));
    let parts = asked.parts.iter().map(|part| Part { tree: part.tree.clone(), ..*part }).collect();
    conditions.program(walk, by, &Asked { tree, parts })
}

fn has_all(scopes: &[String]) -> Tree {
    Tree::and(scopes.iter().map(|scope| Tree::ask(Asks::Scope(scope.clone()), 0..0)))
}
