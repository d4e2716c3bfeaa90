//! The parts of two configurations that differ, by name: what policy cannot tell of them.

use std::collections::BTreeMap;

use strait_table::condition::show;
use strait_table::rules::{Pattern, PatternKind, Rules, To};
use strait_table::{OpenError, Snapshot};

/// One part that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The block it stands in.
    pub block: &'static str,
    /// Its name there; empty: the block itself.
    pub name: String,
    pub change: &'static str,
}

type Blocks = BTreeMap<(&'static str, String), String>;

/// What was added, removed or changed from one to the other.
pub fn parts(before: &Snapshot, after: &Snapshot) -> Result<Vec<Part>, OpenError> {
    let (before, after) = (blocks(before)?, blocks(after)?);
    let mut keys: Vec<&(&str, String)> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let change = |key| match (before.get(key), after.get(key)) {
        (None, Some(_)) => Some("added"),
        (Some(_), None) => Some("removed"),
        (one, other) => (one != other).then_some("changed"),
    };
    let changed = keys.into_iter().filter_map(|key| Some((key, change(key)?)));
    Ok(changed.map(|((block, name), change)| Part { block, name: name.clone(), change }).collect())
}

/// Every part as a text that is the same when it says the same: without the numbers by which one part knows another.
fn blocks(snapshot: &Snapshot) -> Result<Blocks, OpenError> {
    let rules = snapshot.unpacked()?;
    let archived = snapshot.rules();
    let mut blocks = Blocks::new();
    let mut add = |block: &'static str, name: &str, text: String| {
        blocks.entry((block, name.to_owned())).or_default().push_str(&text);
    };
    for listener in &rules.listeners {
        add("listeners", &listener.name, format!("{listener:?}"));
    }
    add("admin", "", rules.admin_bind.clone());
    for upstream in &rules.upstreams {
        add("upstreams", &upstream.name, format!("{upstream:?}"));
    }
    for secret in &rules.secrets {
        add("secrets", &secret.name, format!("{:?}", secret.source));
    }
    for server in &rules.servers {
        let auth: Vec<&str> = server
            .auth
            .iter()
            .filter_map(|at| Some(rules.identities.get(usize::from(*at))?.name.as_str()))
            .collect();
        let said = (&server.path, auth, &server.tools, &server.prompts, &server.resources, server.naming);
        add("servers", &server.name, format!("{said:?}{}", server.instructions));
        for shape in &server.shapes {
            let upstream = rules.upstreams.get(usize::from(shape.upstream)).map_or("", |known| &known.name);
            let exposed = shape.name.as_deref().unwrap_or(&shape.tool);
            let said = (upstream, &shape.tool, &shape.name, &shape.title, &shape.description);
            let name = format!("{}: {exposed}", server.name);
            add("shapes", &name, format!("{said:?}{:?}{:?}", shape.arguments, shape.drops));
        }
    }
    for identity in &rules.identities {
        add("identity", &identity.name, format!("{:?}", identity.method));
    }
    for role in archived.roles.iter() {
        let condition = archived.traits.get(usize::from(role.yes.to_native()));
        let condition = condition.map(|one| show::shown(&one.condition, archived));
        add("roles", role.name.as_str(), condition.unwrap_or_default());
    }
    add("policy", "default", format!("{:?}", rules.policy.default));
    for (rule, archived_rule) in rules.policy.rules.iter().zip(archived.policy.rules.iter()) {
        let condition = archived_rule.condition.as_ref().map(|condition| show::shown(condition, archived));
        let said = (rule.effect, patterns(&rule.patterns), to(&rule.to, &rules), condition, rule.audit);
        add("rules", &rule.id, format!("{said:?}"));
    }
    for limit in &rules.limits {
        let said = (&limit.per, patterns(&limit.on), to(&limit.to, &rules), limit.measure);
        add("limits", &limit.id, format!("{said:?}"));
    }
    for (price, archived_price) in rules.prices.iter().zip(archived.prices.iter()) {
        add("prices", &written(&price.on), archived_price.describe());
    }
    add("access_log", "", format!("{:?}", rules.access_log));
    if let Some(audit) = &rules.audit {
        add("audit", "", format!("{audit:?}"));
    }
    add("telemetry", "", format!("{:?}", rules.telemetry));
    add("body_max", "", rules.body_bytes_max.to_string());
    add("caps", "", format!("{:?}", rules.caps));
    for (upstream, pins) in rules.upstreams.iter().zip(&rules.pins) {
        add("strait.lock", &upstream.name, format!("{pins:?}"));
    }
    Ok(blocks)
}

fn to(to: &To, rules: &Rules) -> Option<Vec<String>> {
    let To::Roles(roles) = to else { return None };
    let names = roles.iter().filter_map(|at| Some(rules.roles.get(usize::from(*at))?.name.clone()));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Some(names)
}

fn patterns(patterns: &[Pattern]) -> Vec<String> {
    let mut all: Vec<String> = patterns.iter().map(written).collect();
    all.sort_unstable();
    all
}

fn written(pattern: &Pattern) -> String {
    let kind = match pattern.kind {
        PatternKind::Any => "",
        PatternKind::Tool => "tool:",
        PatternKind::Prompt => "prompt:",
        PatternKind::Resource => "resource:",
    };
    format!("{kind}{}", pattern.glob)
}
