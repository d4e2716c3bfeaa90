//! The conditions of a configuration: of roles, and `when`, `unless` and `during` of rules.

use std::collections::{HashMap, HashSet};

use strait_table::{
    condition::{Condition, NONE},
    rules::{Effect, Role},
    window::Window,
};

use super::{blocks::Declared, scope::Scope};
use crate::{
    condition::{
        self, Of, Shared, Tree, Wrong, during,
        tree::{Asks, Path, Possible, Question, Root, Value},
    },
    diagnostic::{Code, Finding, codes},
    source::{Entry, Kind, Node, Span},
    walk::{Walk, suggest},
};

/// All conditions of a load, and what they share.
#[derive(Default)]
pub struct Conditions {
    pub shared: Shared,
    /// Texts of rules that were understood: generated policies write the same one often.
    known: HashMap<String, Tree>,
    /// What roles are, by number; `None`: not understood.
    pub roles: Vec<Option<Tree>>,
    pub roles_used: HashSet<u16>,
}

/// What a rule asks before it speaks.
pub struct Asked<'n> {
    pub tree: Tree,
    /// `when`, `unless` and `during`, as far as they are written.
    pub parts: Vec<Part<'n>>,
}

/// One entry of a rule.
pub struct Part<'n> {
    pub key: &'n str,
    /// Questions have their places in this text.
    pub node: &'n Node,
    /// What it asks of the rule: of `unless`, the contrary of what is written.
    pub tree: Tree,
}

impl Asked<'_> {
    /// Where the first of them is written.
    pub fn span(&self, walk: &Walk<'_>) -> Option<Span> {
        self.parts.first().map(|part| walk.files.first_line(part.node.span))
    }
}

const EXPECTED: &str = "a condition like `'args.amount <= 500'`";

impl Conditions {
    /// The condition of a role. One that is not understood keeps its number.
    pub fn role(&mut self, walk: &mut Walk<'_>, declared: &Declared<'_>) -> Option<Role> {
        let read = self.read_role(walk, declared);
        let (tree, role) = read.map_or((None, None), |(tree, role)| (Some(tree), Some(role)));
        self.roles.push(tree);
        let (yes, error) = role.unwrap_or((NONE, NONE));
        self.shared.roles.push((yes, error));
        role.map(|_| Role { name: declared.name.to_owned(), yes, error })
    }

    fn read_role(&mut self, walk: &mut Walk<'_>, declared: &Declared<'_>) -> Option<(Tree, (u16, u16))> {
        let text = text(walk, declared.node, "a condition like `'\"support\" in principal.groups'`")?;
        let nobody = |_: &str| Err(None);
        let by = format!("role `{}`", declared.name);
        let read = condition::read(&text, Of::Role, &nobody, &mut self.shared);
        let tree = read.map_err(|wrong| report(walk, declared.node, &by, wrong)).ok()?;
        let bits = self.shared.principal(&tree);
        let bits = bits.map_err(|much| too_much(walk, declared.node.span, &by, &much.says())).ok()?;
        Some((tree, bits))
    }

    /// What the entries of a rule come to together. None: there are none, or one was not understood.
    pub fn rule<'n>(
        &mut self,
        walk: &mut Walk<'_>,
        roles: &Scope<'_>,
        by: &str,
        [when, unless, during]: [Option<&'n Entry>; 3],
    ) -> Option<Asked<'n>> {
        let mut parts = Vec::new();
        for (entry, negated) in [(when, false), (unless, true)] {
            if let Some(entry) = entry {
                let tree = self.text(walk, roles, &entry.value, by)?;
                let tree = if negated { tree.negated() } else { tree };
                parts.push(Part { key: &entry.key, node: &entry.value, tree });
            }
        }
        if let Some(entry) = during {
            let tree = self.during(walk, &entry.value, by)?;
            parts.push(Part { key: &entry.key, node: &entry.value, tree });
        }
        let tree = Tree::and(parts.iter().map(|part| part.tree.clone()));
        (!parts.is_empty()).then_some(Asked { tree, parts })
    }

    fn text(&mut self, walk: &mut Walk<'_>, roles: &Scope<'_>, node: &Node, by: &str) -> Option<Tree> {
        let text = text(walk, node, EXPECTED)?;
        if let Some(known) = self.known.get(&text) {
            return Some(known.clone());
        }
        let named = |name: &str| match roles.find(name) {
            Some(role) => Ok(role as u16),
            None => Err(suggest::nearest(name, roles.names()).map(str::to_owned)),
        };
        match condition::read(&text, Of::Rule, &named, &mut self.shared) {
            Ok(tree) => {
                tree.questions(&mut |question| {
                    if let Asks::Role(role) = question.asks {
                        self.roles_used.insert(role);
                    }
                });
                self.known.insert(text, tree.clone());
                Some(tree)
            }
            Err(wrong) => {
                report(walk, node, by, wrong);
                None
            }
        }
    }

    fn during(&mut self, walk: &mut Walk<'_>, node: &Node, by: &str) -> Option<Tree> {
        let mut trees = Vec::new();
        for item in walk.one_or_many(node) {
            let text = text(walk, item, "a window like `Mon-Fri 06:00-18:00 Europe/Berlin`")?;
            match during::window(&text) {
                Ok(window) => trees.push(self.window(window)),
                Err(wrong) => {
                    let code = if wrong.empty { &codes::EMPTY_CONDITION } else { &codes::WINDOW };
                    report(
                        walk,
                        item,
                        by,
                        Wrong { code, message: wrong.message, help: wrong.help, at: wrong.at },
                    );
                    return None;
                }
            }
        }
        Some(Tree::or(trees))
    }

    fn window(&mut self, window: Window) -> Tree {
        let end = window.text.len();
        Tree::ask(Asks::Window(self.shared.window(window)), 0..end)
    }

    /// The program of what a rule asks.
    pub fn program(&mut self, walk: &mut Walk<'_>, by: &str, asked: &Asked<'_>) -> Option<Condition> {
        let at = asked.span(walk)?;
        self.shared.rule(&asked.tree).map_err(|much| too_much(walk, at, by, &much.says())).ok()
    }
}

/// A deny or hold over several tools that reads an argument which some of them may not have: it would be an error, and deny
/// them all. The author says which is meant.
pub fn guard(walk: &mut Walk<'_>, by: &str, effect: Effect, asked: &Asked<'_>) {
    if effect == Effect::Allow {
        return;
    }
    for Part { node, tree, .. } in &asked.parts {
        let mut seen: HashSet<&Path> = HashSet::new();
        let mut unguarded = Vec::new();
        tree.paths(&mut |path, at| {
            if path.from == Root::Arguments && seen.insert(path) && can_miss(tree, path) {
                unguarded.push((path, at.clone()));
            }
        });
        for (path, at) in unguarded {
            let name = path.written();
            let word = if effect == Effect::Deny { "deny" } else { "hold" };
            let message = format!("{by} speaks of several tools and reads `{name}`, which some may not have");
            let span = walk.within(node, at.start, at.end);
            let finding = Finding::new(&codes::UNGUARDED, span, message).help(format!(
                "write `has({name}) && …` to leave calls without it alone, or `!has({name}) || …` to {word} them"
            ));
            walk.report(finding);
        }
    }
}

/// Whether the tree can be an error because `path` is missing.
pub(super) fn can_miss(tree: &Tree, path: &Path) -> bool {
    let of = |question: &Question| match &question.asks {
        Asks::Has(asked) if leads_to(asked, path) => Possible::FALSE,
        Asks::IsType { of: Value::Path(asked), types: 0 } if asked == path => Possible::ERROR,
        asks => {
            let mut reads = false;
            asks.paths(&mut |read| reads |= read == path);
            if reads { Possible::ERROR } else { Possible::EITHER }
        }
    };
    tree.possible(&of).can_be(Possible::ERROR)
}

/// Whether `asked` is `path` or something on the way to it.
fn leads_to(asked: &Path, path: &Path) -> bool {
    asked.from == path.from && path.keys.starts_with(&asked.keys)
}

fn text(walk: &mut Walk<'_>, node: &Node, expected: &'static str) -> Option<String> {
    let scalar = walk.scalar(node, expected)?;
    match scalar.kind() {
        Kind::Text | Kind::Bool => Some(scalar.text.clone()),
        _ => {
            let finding = walk.wrong_type(node, expected);
            walk.report(finding);
            None
        }
    }
}

fn report(walk: &mut Walk<'_>, node: &Node, by: &str, wrong: Wrong) {
    let at = walk.within(node, wrong.at.start, wrong.at.end);
    walk.report(Finding::new(wrong.code, at, format!("{by}: {}", wrong.message)).help(wrong.help));
}

fn too_much(walk: &mut Walk<'_>, at: Span, by: &str, what: &str) {
    let code: &'static Code = &codes::CONDITION_LIMIT;
    let finding = Finding::new(code, walk.files.first_line(at), format!("{by}: {what}"));
    walk.report(finding.help("split it into several rules or roles"));
}
