//! The policies of Cedar files, as rules beside those of `policy.rules`.
//!
//! Each policy is kept as a node of its own, with its text and place, so that whatever looks at rules points into `.cedar` files
//! in the way it points into YAML.

use std::collections::HashSet;
use std::ops::Range;

use strait_table::rules::{Effect, Pattern, Place, To};

use super::{
    blocks::Blocks,
    condition::{Asked, Conditions, Part, can_miss},
    pattern::{self, Written},
    policy::Draft,
    scope::Scope,
};
use crate::{
    cedar::{
        meaning::{Both, Declared, Reader},
        scope::{Kinds, scope},
        syntax,
        tree::Policy,
    },
    condition::{
        Wrong,
        tree::{Asks, Path, Possible, Question, Root, Tree, Value as Operand},
    },
    diagnostic::{Finding, codes},
    limits::RULES_MAX,
    source::{FileId, Node, Scalar, Span, Style, Value},
    walk::{Walk, suggest},
};

/// The policies of one file, each with its text.
pub struct Parsed {
    file: FileId,
    policies: Vec<(Policy, Node)>,
    /// All of it was understood.
    whole: bool,
}

/// Reads the files that are named, before any rule is made of them.
pub fn parse(walk: &mut Walk<'_>, blocks: &Blocks<'_>) -> Vec<Parsed> {
    let mut all = Vec::new();
    let mut count = 0;
    for file in blocks.cedar.iter().copied() {
        let text = walk.files.file(file).text.as_str();
        let (policies, wrongs) = syntax::parse(text);
        let whole = wrongs.is_empty();
        for wrong in wrongs {
            report(walk, file, "", wrong);
        }
        count += policies.len();
        if count > RULES_MAX {
            let message = format!("there are more than {RULES_MAX} rules");
            walk.report(Finding::new(&codes::OUT_OF_RANGE, Span::new(file, 0, 0), message));
            break;
        }
        let node = |policy: &Policy| Node {
            span: Span::new(file, policy.at.start, policy.at.end),
            value: Value::Scalar(Scalar {
                text: text.get(policy.at.clone()).unwrap_or_default().to_owned(),
                style: Style::Plain,
            }),
        };
        let policies = policies.into_iter().map(|policy| {
            let node = node(&policy);
            (policy, node)
        });
        all.push(Parsed { file, policies: policies.collect(), whole });
    }
    all
}

/// What is wrong with a policy, in the file it stands in.
fn report(walk: &mut Walk<'_>, file: FileId, by: &str, wrong: Wrong) {
    let at = walk.files.first_line(Span::new(file, wrong.at.start, wrong.at.end));
    walk.report(Finding::new(wrong.code, at, format!("{by}{}", wrong.message)).help(wrong.help));
}

/// The rules of all files, and whether one of them could not be understood.
pub fn lower<'n>(
    walk: &mut Walk<'_>,
    parsed: &'n [Parsed],
    servers: &[&str],
    upstreams: &Scope<'_>,
    roles: &Scope<'_>,
    conditions: &mut Conditions,
) -> (Vec<Draft<'n>>, bool) {
    let role = |name: &str| match roles.find(name) {
        Some(role) => Ok(role as u16),
        None => Err(suggest::nearest(name, roles.names()).map(str::to_owned)),
    };
    let declared =
        Declared { roles: &role, upstreams: upstreams.names().collect(), servers: servers.to_vec() };
    let (mut drafts, mut whole) = (Vec::new(), true);
    for parsed in parsed {
        whole &= parsed.whole;
        for (number, (policy, node)) in parsed.policies.iter().enumerate() {
            let id = named(walk, parsed.file, number, policy);
            match rule(walk, policy, node, &id, &declared, upstreams, conditions) {
                Ok(draft) => drafts.extend(draft),
                Err(wrong) => {
                    whole = false;
                    report(walk, parsed.file, &format!("policy `{id}`: "), wrong);
                }
            }
        }
    }
    (drafts, whole)
}

/// What `@id` says, or the file and the number that Cedar's own tools give a policy without it.
fn named(walk: &mut Walk<'_>, file: FileId, number: usize, policy: &Policy) -> String {
    match &policy.id {
        Some((id, at)) => {
            walk.name(id, Span::new(file, at.start, at.end), "a rule", true);
            id.clone()
        }
        None => format!("{}:policy{number}", walk.files.file(file).name),
    }
}

fn rule<'n>(
    walk: &mut Walk<'_>,
    policy: &Policy,
    node: &'n Node,
    id: &str,
    declared: &Declared<'_>,
    upstreams: &Scope<'_>,
    conditions: &mut Conditions,
) -> Result<Option<Draft<'n>>, Wrong> {
    let shared = &mut conditions.shared;
    let base = policy.at.start;
    let mut reader = Reader { declared, shared, base, kinds: Kinds::ALL, roles_used: Vec::new() };
    let head = scope(policy, &mut reader)?;
    let mut parts: Vec<Both> = vec![head.asks];
    for clause in &policy.clauses {
        let asks = reader.truth(&clause.asks)?;
        parts.push(if clause.negated { asks.negated() } else { asks });
    }
    let both = reader.all(parts, &policy.at)?;
    conditions.roles_used.extend(reader.roles_used);
    // A permit needs to be true. A forbid needs to be false to be silent: one that cannot be decided denies.
    let (effect, tree) = match policy.permits {
        true => (Effect::Allow, both.yes),
        false => (Effect::Deny, both.no.negated()),
    };
    if tree == Tree::Const(false) {
        let help = "leave the policy out, or the part of it that is never so";
        let message = "this policy never applies";
        return Err(Wrong::new(&codes::EMPTY_CONDITION, message, help, policy.effect_at.clone()));
    }
    let file = node.span.file;
    let by = format!("policy `{id}`");
    let span = Span::new(file, head.at.start, head.at.end);
    let head_span = Span::new(file, head.upstream_at.start, head.upstream_at.end);
    let written = head.patterns.into_iter().map(|(kind, glob)| Written {
        pattern: Pattern { kind, glob },
        span,
        head_span,
    });
    let patterns: Vec<Written> = written.collect();
    for pattern in &patterns {
        pattern::upstreams(walk, pattern, upstreams, &by);
    }
    let to = head.role.map_or(To::Everyone, |role| To::Roles(vec![role]));
    let key = if policy.permits { "permit" } else { "forbid" };
    let asked = (tree != Tree::Const(true))
        .then(|| Asked { tree: tree.clone(), parts: vec![Part { key, node, tree }] });
    let condition = match &asked {
        None => None,
        Some(asked) => match conditions.program(walk, &by, asked) {
            Some(condition) => Some(condition),
            None => return Ok(None),
        },
    };
    // What has a program reads few things.
    if let (Effect::Deny, Some(asked)) = (effect, &asked) {
        guard(&asked.tree, base)?;
    }
    let id_at = policy.id.as_ref().map_or(&policy.effect_at, |(_, at)| at);
    let id_span = Span::new(file, id_at.start, id_at.end);
    let effect_span = Span::new(file, policy.effect_at.start, policy.effect_at.end);
    let place = walk.files.place(effect_span);
    let place = Place { source: file.0 as u16, line: place.line as u32, column: place.column as u32 };
    Ok(Some(Draft {
        id: id.to_owned(),
        id_span,
        effect,
        effect_span,
        patterns,
        to,
        asked,
        condition,
        scopes: Vec::new(),
        audit: Default::default(),
        place,
    }))
}

/// A forbid over something that may not be there: Cedar would skip it, and here it would deny. The author says which is meant.
fn guard(tree: &Tree, base: usize) -> Result<(), Wrong> {
    let mut missing: Option<(String, Range<usize>)> = None;
    let mut seen: HashSet<&Path> = HashSet::new();
    tree.paths(&mut |path, at| {
        let is_read = path.from != Root::Element && !path.keys.is_empty();
        if missing.is_none() && is_read && seen.insert(path) && can_miss(tree, path) {
            missing = Some((asked_for(path), at.clone()));
        }
    });
    let mut seen: HashSet<&str> = HashSet::new();
    tree.questions(&mut |question| {
        if let (None, Some(name)) = (&missing, header_of(&question.asks))
            && seen.insert(name)
            && tree.possible(&|other| without_header(other, name)).can_be(Possible::ERROR)
        {
            missing = Some((format!("context.headers has {name:?}"), question.at.clone()));
        }
    });
    let Some((asked, at)) = missing else { return Ok(()) };
    let message = "this forbid reads what may not be there: Cedar would skip it then, and here it would deny";
    let help =
        format!("write `{asked} && …` to leave calls without it alone, or `!({asked}) || …` to deny them");
    Err(Wrong::new(&codes::CEDAR_UNGUARDED, message, help, base + at.start..base + at.end))
}

/// How an author asks whether it is there.
fn asked_for(path: &Path) -> String {
    let of = if path.from == Root::Claims { "principal.claims" } else { "context.args" };
    let is_word = |key: &&String| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match path.keys.iter().all(|key| is_word(&key)) {
        true => format!("{of} has {}", path.keys.join(".")),
        false => {
            let (last, before) =
                path.keys.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
            let before: String = before.iter().map(|key| format!("[{key:?}]")).collect();
            format!("{of}{before} has {last:?}")
        }
    }
}

fn header_of(asks: &Asks) -> Option<&str> {
    let of = |value: &'_ Operand| matches!(value, Operand::Header(_));
    let value = match asks {
        Asks::Compare { left, right, .. } => [left, right].into_iter().find(|value| of(value)),
        Asks::Text { of: value, .. } | Asks::In { of: value, .. } | Asks::Matches { of: value, .. } => {
            Some(value)
        }
        _ => None,
    };
    match value {
        Some(Operand::Header(name)) => Some(name),
        _ => None,
    }
}

/// What a question can come to where a header is missing.
fn without_header(question: &Question, name: &str) -> Possible {
    match &question.asks {
        Asks::HasHeader(asked) if asked == name => Possible::FALSE,
        asks if header_of(asks) == Some(name) => Possible::ERROR,
        _ => Possible::EITHER,
    }
}
