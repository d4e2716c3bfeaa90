//! The policy: its default, which must be written, and its rules, whose order never matters. Rules of
//! all files are one list; their ids are unique because refusals and logs name them.

use std::collections::HashMap;

use strait_table::{
    audit::AuditOfRule,
    condition::Condition,
    rules::{Effect, PatternKind, Place, Policy, Rule, To},
};

use super::{
    audit,
    blocks::Blocks,
    cedar,
    condition::{Asked, Conditions, guard},
    pattern::{self, Written},
    scope::Scope,
    scopes,
};
use crate::{
    check,
    condition::{Tree, logic::Logic, tree::Asks},
    diagnostic::{Finding, codes},
    limits::RULES_MAX,
    source::{Entry, Node, Span},
    walk::{Walk, keys},
};

/// A rule before its places are forgotten.
pub struct Draft<'n> {
    pub id: String,
    pub id_span: Span,
    pub effect: Effect,
    pub effect_span: Span,
    pub patterns: Vec<Written>,
    pub to: To,
    /// What it asks, and the program of it.
    pub asked: Option<Asked<'n>>,
    pub condition: Option<Condition>,
    pub scopes: Vec<String>,
    pub audit: AuditOfRule,
    pub place: Place,
}

impl Draft<'_> {
    /// Whether it speaks whoever asks, whatever is asked, whenever.
    pub fn is_unconditional(&self) -> bool {
        matches!(self.to, To::Everyone) && self.asked.is_none()
    }
}

pub fn lower(
    walk: &mut Walk<'_>,
    blocks: &Blocks<'_>,
    servers: &Scope<'_>,
    upstreams: &mut Scope<'_>,
    roles: &mut Scope<'_>,
    conditions: &mut Conditions,
) -> Policy {
    let files = cedar::parse(walk, blocks);
    let mut default: Option<(Effect, Span)> = None;
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    let mut attempted = false;
    let mut written = 0;
    for node in &blocks.policies {
        let Some(mut fields) = walk.fields(node, &keys::POLICY) else {
            attempted = true;
            continue;
        };
        if let Some(entry) = fields.entry("default") {
            attempted = true;
            read_default(walk, entry, &mut default);
        }
        if let Some(list) = fields.get("rules").filter(|node| !node.is_nothing()) {
            for item in walk.list(list, "rules").unwrap_or_default() {
                written += 1;
                drafts.extend(rule(walk, item, upstreams, roles, conditions));
            }
        }
        if let Some(node) = fields.get("cedar") {
            // Read when files were gathered.
            for item in walk.one_or_many(node) {
                walk.scalar(item, "the path of a Cedar file");
            }
        }
        fields.finish();
    }
    let servers: Vec<&str> = servers.names().collect();
    let (from_cedar, understood) = cedar::lower(walk, &files, &servers, upstreams, roles, conditions);
    let understood = understood && written == drafts.len();
    drafts.extend(from_cedar);
    if !attempted && walk.whole {
        let at = blocks.policies.first().map(|node| walk.files.first_line(node.span)).or(blocks.begin);
        if let Some(at) = at {
            let finding = Finding::new(&codes::MISSING, at, "`policy.default` is not written")
                .help("write `policy: { default: deny }`: what nobody allowed is refused");
            walk.report(finding);
        }
    }
    for role in conditions.roles_used.drain() {
        roles.used[usize::from(role)] = true;
    }
    unique_ids(walk, &drafts);
    // A rule that could not be read may have been meant to allow.
    if let (Some((Effect::Deny, at)), true) = (default, understood) {
        check::nothing_allowed::run(walk, at, &drafts);
    }
    let mut logic = Logic::new(&conditions.roles, &conditions.shared.windows, &conditions.shared.automata);
    check::never_true::run(walk, roles, &drafts, &mut logic);
    check::covered::run(walk, &drafts, &mut logic);
    check::arguments::run(walk, &drafts);
    if drafts.len() > RULES_MAX {
        let message = format!("there are more than {RULES_MAX} rules");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, drafts[RULES_MAX].id_span, message));
    }
    walk.places.rules = drafts.iter().map(|draft| draft.effect_span).collect();
    walk.places.default = default.map(|(_, at)| at);
    Policy {
        default: default.map_or(Effect::Deny, |(effect, _)| effect),
        rules: drafts.into_iter().map(finish).collect(),
    }
}

fn finish(draft: Draft<'_>) -> Rule {
    let patterns = draft.patterns.into_iter().map(|written| written.pattern).collect();
    let Draft { id, effect, to, condition, scopes, audit, place, .. } = draft;
    Rule { id, effect, patterns, to, condition, scopes, audit, place }
}

fn read_default(walk: &mut Walk<'_>, entry: &Entry, default: &mut Option<(Effect, Span)>) {
    let words = [("deny", Effect::Deny), ("allow", Effect::Allow)];
    let Some(effect) = walk.word(&entry.value, &words) else { return };
    match default {
        Some((_, first)) => {
            let message = "`policy.default` is written twice";
            let finding =
                Finding::new(&codes::DECLARED_TWICE, entry.value.span, message).note(*first, "first here");
            walk.report(finding);
        }
        None => *default = Some((effect, entry.value.span)),
    }
}

fn rule<'n>(
    walk: &mut Walk<'_>,
    node: &'n Node,
    upstreams: &Scope<'_>,
    roles: &mut Scope<'_>,
    conditions: &mut Conditions,
) -> Option<Draft<'n>> {
    let mut fields = walk.fields(node, &keys::RULE)?;
    let id_node = fields.required(walk, "id", node.span, "name the rule: refusals and logs speak of it");
    let id = id_node.and_then(|node| walk.text(node));
    if let (Some(id), Some(node)) = (&id, id_node) {
        walk.name(id, node.span, "a rule", true);
    }
    let by = id.as_ref().map_or("this rule".to_owned(), |id| format!("rule `{id}`"));
    let said =
        fields.exactly_one(walk, &["allow", "deny", "hold"], id_node.map_or(node.span, |node| node.span));
    let patterns = said.map(|entry| patterns(walk, entry, upstreams, &by)).unwrap_or_default();
    let to = match fields.entry("to") {
        Some(entry) => To::Roles(audience(walk, entry, roles, &by)),
        None => To::Everyone,
    };
    let entries = ["when", "unless", "during"].map(|key| fields.entry(key));
    let wanted = fields.entry("scopes");
    let audit = fields.entry("audit").map(|entry| {
        walk.audited.extend(id.clone().map(|id| (id, entry.key_span)));
        audit::of_rule(walk, entry)
    });
    let audit = audit.unwrap_or_default();
    let asked = conditions.rule(walk, roles, &by, entries);
    fields.finish();
    // One that was not understood must not become a rule without it.
    if asked.is_none() && entries.iter().any(Option::is_some) {
        return None;
    }
    let (asked, scopes) = match wanted {
        Some(entry) => {
            let scopes = scopes::of_rule(walk, entry, &by)?;
            (Some(scopes::asked(asked, entry, &scopes)), scopes)
        }
        None => (asked, Vec::new()),
    };
    let said = said?;
    let effect = match said.key.as_str() {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        _ => {
            let message = format!("{by} denies: this version has no channel to ask an approver");
            let finding = Finding::new(&codes::HOLD_DENIES, said.key_span, message)
                .label("held calls are refused")
                .help("write `deny` if that is meant");
            walk.report(finding);
            Effect::Hold
        }
    };
    let id_span = id_node.map_or(node.span, |node| node.span);
    let several = patterns.len() != 1 || patterns.iter().any(|written| written.pattern.glob.contains('*'));
    if let Some(asked) = asked.as_ref().filter(|_| several) {
        guard(walk, &by, effect, asked);
    }
    if let (Some(entry), false) = (wanted, effect == Effect::Allow) {
        let finding =
            Finding::new(&codes::WRONG_TYPE, entry.key_span, format!("{by} refuses, and has `scopes`"))
                .label("who has too few is told to come back with them")
                .help("write `scopes` at the rule that allows");
        walk.report(finding);
        return None;
    }
    let condition = match &asked {
        Some(asked) if !scopes.is_empty() => Some(scopes::program(walk, conditions, &by, asked, &scopes)?),
        Some(asked) => Some(conditions.program(walk, &by, asked)?),
        None => None,
    };
    let place = walk.files.place(id_span);
    let place = Place { source: id_span.file.0 as u16, line: place.line as u32, column: place.column as u32 };
    let effect_span = said.key_span;
    Some(Draft {
        id: id?,
        id_span,
        effect,
        effect_span,
        patterns,
        to,
        asked,
        condition,
        scopes,
        audit,
        place,
    })
}

pub fn patterns(walk: &mut Walk<'_>, entry: &Entry, upstreams: &Scope<'_>, by: &str) -> Vec<Written> {
    let Some(items) = walk.list(&entry.value, "patterns") else { return Vec::new() };
    if items.is_empty() {
        let message = format!("{by} speaks of nothing");
        walk.report(
            Finding::new(&codes::PATTERN, entry.value.span, message).help("name at least one pattern"),
        );
    }
    let written: Vec<Written> =
        items.iter().filter_map(|item| pattern::read(walk, item, PatternKind::Any)).collect();
    for pattern in &written {
        pattern::upstreams(walk, pattern, upstreams, by);
    }
    written
}

pub fn audience(walk: &mut Walk<'_>, entry: &Entry, roles: &mut Scope<'_>, by: &str) -> Vec<u16> {
    let Some(items) = walk.list(&entry.value, "roles") else { return Vec::new() };
    if items.is_empty() {
        let finding = Finding::new(&codes::MISSING, entry.value.span, format!("{by} speaks to nobody"))
            .help("leave `to` out to speak to everyone");
        walk.report(finding);
    }
    let mut to: Vec<u16> =
        items.iter().filter_map(|item| roles.resolve(walk, item, &codes::UNKNOWN_ROLE, by)).collect();
    to.sort_unstable();
    to.dedup();
    to
}

/// To whom a rule speaks, as a condition.
pub fn spoken_to(to: &To) -> Tree {
    match to {
        To::Everyone => Tree::Const(true),
        To::Roles(roles) => Tree::or(roles.iter().map(|role| Tree::ask(Asks::Role(*role), 0..0))),
    }
}

fn unique_ids(walk: &mut Walk<'_>, drafts: &[Draft<'_>]) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for draft in drafts {
        if let Some(first) = seen.get(draft.id.as_str()) {
            let message = format!("two rules have the id `{}`", draft.id);
            let finding = Finding::new(&codes::DECLARED_TWICE, draft.id_span, message)
                .label("again here")
                .note(*first, "first here");
            walk.report(finding);
            continue;
        }
        seen.insert(&draft.id, draft.id_span);
    }
}
