//! What a table says, as JSON: short, in the table's order, and without anything it does not hold (keys and secrets are never in a
//! table). `strait inspect` shows it of a file, `/admin/config` of the snapshot that workers have.

use serde_json::{Value, json};
use strait_table::Snapshot;
use strait_table::condition::{cost::Cost, show};
use strait_table::rules::*;

pub fn facts(snapshot: &Snapshot) -> Value {
    let rules = snapshot.rules();
    let listeners = rules.listeners.iter().map(|listener| {
        json!({ "name": listener.name.as_str(), "bind": listener.bind.as_str(), "hosts": texts(&listener.hosts) })
    });
    let upstreams = rules
        .upstreams
        .iter()
        .map(|upstream| json!({ "name": upstream.name.as_str(), "reach": reach(&upstream.transport) }));
    let identity = |index: usize| rules.identities.get(index).map_or("?", |identity| identity.name.as_str());
    let servers = rules.servers.iter().map(|server| {
        let auth: Vec<&str> = server.auth.iter().map(|index| identity(index.to_native().into())).collect();
        json!({
            "name": server.name.as_str(),
            "path": server.path.as_str(),
            "auth": auth,
            "tools": patterns(&server.tools),
            "prompts": patterns(&server.prompts),
            "resources": patterns(&server.resources),
            "shapes": shapes(rules, server),
        })
    });
    let identities = rules
        .identities
        .iter()
        .map(|identity| json!({ "name": identity.name.as_str(), "keys": keys(&identity.method) }));
    let roles = rules
        .roles
        .iter()
        .map(|role| json!({ "name": role.name.as_str(), "when": role_condition(rules, role) }));
    let policy = rules.policy.rules.iter().map(|rule| {
        let to = match &rule.to {
            ArchivedTo::Everyone => Value::Null,
            ArchivedTo::Roles(indexes) => {
                let name = |index: usize| rules.roles.get(index).map_or("?", |role| role.name.as_str());
                indexes.iter().map(|index| name(index.to_native().into())).collect()
            }
        };
        let condition = rule.condition.as_ref();
        json!({
            "id": rule.id.as_str(),
            "effect": effect(&rule.effect),
            "on": patterns(&rule.patterns),
            "to": to,
            "when": condition.map(|condition| show::shown(condition, rules)),
            "cost": condition.map(|condition| Cost::of(condition).to_string()),
        })
    });
    let limits = rules.limits.iter().map(|limit| {
        let name = |index: usize| rules.roles.get(index).map_or("?", |role| role.name.as_str());
        let to: Value = match &limit.to {
            ArchivedTo::Everyone => Value::Null,
            ArchivedTo::Roles(roles) => roles.iter().map(|role| name(role.to_native().into())).collect(),
        };
        json!({ "id": limit.id.as_str(), "allows": limit.describe(), "on": patterns(&limit.on), "to": to })
    });
    let prices = rules.prices.iter().map(|price| {
        let on = patterns(std::slice::from_ref(&price.on));
        json!({ "on": on, "price": price.describe() })
    });
    let audit = rules.audit.as_ref().map(|audit| {
        json!({
            "path": audit.path.as_str(),
            "payload": format!("{:?}", audit.payload).to_lowercase(),
            "durability": format!("{:?}", audit.durability).to_lowercase(),
            "when_full": format!("{:?}", audit.when_full).to_lowercase(),
        })
    });
    json!({
        "generation": snapshot.generation().to_string(),
        "signature": crate::signing::facts(snapshot),
        "admin": rules.admin_bind.as_str(),
        "listeners": listeners.collect::<Vec<_>>(),
        "upstreams": upstreams.collect::<Vec<_>>(),
        "servers": servers.collect::<Vec<_>>(),
        "identities": identities.collect::<Vec<_>>(),
        "roles": roles.collect::<Vec<_>>(),
        "policy": { "default": effect(&rules.policy.default), "rules": policy.collect::<Vec<_>>() },
        "limits": limits.collect::<Vec<_>>(),
        "prices": prices.collect::<Vec<_>>(),
        "audit": audit,
        "sources": rules.sources.iter().map(|source| source.path.as_str()).collect::<Vec<_>>(),
    })
}

/// What is shown otherwise than its upstream lists it.
fn shapes(rules: &ArchivedRules, server: &ArchivedServer) -> Vec<String> {
    let upstream = |at: usize| rules.upstreams.get(at).map_or("?", |upstream| upstream.name.as_str());
    server.shapes.iter().map(|shape| shape.describe(upstream(shape.upstream.to_native().into()))).collect()
}

fn reach(transport: &ArchivedTransport) -> String {
    match transport {
        ArchivedTransport::Http { endpoints } => {
            let url =
                |e: &ArchivedEndpoint| format!("http://{}:{}{}", e.host.as_str(), e.port, e.path.as_str());
            endpoints.iter().map(url).collect::<Vec<_>>().join(" ")
        }
        // Arguments may hold what their author thinks private.
        ArchivedTransport::Stdio(stdio) => format!("stdio {}", stdio.command.as_str()),
        ArchivedTransport::Sample(ArchivedSample::Stdio) => "sample stdio".to_owned(),
        ArchivedTransport::Sample(ArchivedSample::Http) => "sample http".to_owned(),
    }
}

fn keys(method: &ArchivedAuthMethod) -> String {
    match method {
        ArchivedAuthMethod::KeyFile { path } => path.as_str().to_owned(),
        ArchivedAuthMethod::Generated { keys } => {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            format!("generated for {}", ids.join(", "))
        }
        ArchivedAuthMethod::Jwt(jwt) => format!("signed tokens of {}", jwt.issuer.as_str()),
        ArchivedAuthMethod::Introspection(asked) => format!("tokens of {}, by asking", asked.issuer.as_str()),
        ArchivedAuthMethod::Mtls(shown) => {
            let sans: Vec<&str> = shown.sans.iter().map(|san| san.glob.as_str()).collect();
            format!("certificates of {}", sans.join(", "))
        }
    }
}

fn effect(effect: &ArchivedEffect) -> &'static str {
    match effect {
        ArchivedEffect::Allow => "allow",
        ArchivedEffect::Hold => "hold",
        ArchivedEffect::Deny => "deny",
    }
}

fn role_condition(rules: &ArchivedRules, role: &ArchivedRole) -> String {
    let of = rules.traits.get(usize::from(role.yes.to_native()));
    of.map_or("?".to_owned(), |one| show::shown(&one.condition, rules))
}

fn texts(texts: &[impl AsRef<str>]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}

fn patterns(patterns: &[ArchivedPattern]) -> Vec<String> {
    let prefix = |kind: &ArchivedPatternKind| match kind {
        ArchivedPatternKind::Any => "",
        ArchivedPatternKind::Tool => "tool:",
        ArchivedPatternKind::Prompt => "prompt:",
        ArchivedPatternKind::Resource => "resource:",
    };
    patterns.iter().map(|pattern| format!("{}{}", prefix(&pattern.kind), pattern.glob.as_str())).collect()
}
