//! What is behind a route: targets as upstreams, and the rules over them.

use super::{Route, UNKNOWN, block, entries, policies::policies, port};
use crate::import::{
    draft::{Credential, Draft, LeftOut, Limit, Reach, Rule, Server, is_literal},
    entry::Candidate,
    report::{Reader, text_of},
    rules::Spoken,
    variables::Variables,
};
use crate::source::{Entry, Node};

/// The targets behind one route, and the rules over them.
pub fn backend(reader: &mut Reader<'_>, at: &Entry, keys: &[Entry], route: &mut Route, draft: &mut Draft) {
    for entry in keys {
        match entry.key.as_str() {
            "policies" => policies(reader, entry, route),
            "port" => port(reader, entry, draft),
            "targets" => {}
            "statefulMode" | "prefixMode" | "failureMode" | "name" => {
                reader.ignored(entry, "one upstream never stops another here, and tools are called upstream__tool where there are several");
            }
            "dnsRebindingProtection" => reader.ignored(entry, "`Host` and `Origin` are always checked"),
            _ => block(reader, entry, route, UNKNOWN),
        }
    }
    let mut names: Vec<(String, String)> = Vec::new();
    for entry in keys.iter().filter(|entry| entry.key == "targets") {
        reader.mapped(entry, "upstreams");
        for item in reader.list(entry).unwrap_or_default() {
            names.extend(target(reader, item, route, draft));
        }
    }
    if names.is_empty() {
        return;
    }
    let ours: Vec<String> = names.iter().map(|(_, ours)| ours.clone()).collect();
    let allows = rules_of(route, &names, draft);
    if !route.why.is_empty() || !allows {
        let why = match route.why.is_empty() {
            true => "no rule that allows anything could be carried".to_owned(),
            false => route.why.join("; "),
        };
        draft.upstreams.retain(|upstream| !ours.contains(&upstream.name));
        draft.rules.retain(|rule| !rule.patterns.iter().any(|pattern| is_of(pattern, &ours)));
        reader.asked(at, format!("left out: {why}"));
        reader.left_out(at);
        draft.left_out.push(LeftOut { name: ours.join(", "), at: reader.at(at.key_span), why });
        return;
    }
    for (value, burst) in &route.limits {
        let id = draft.rule_id("imported-rate");
        let on = ours.iter().map(|name| format!("{name}.*")).collect();
        draft.limits.push(Limit { id, on, what: "rate", value: value.clone(), burst: *burst });
    }
    let wanted = route.path.clone().unwrap_or_else(|| "/mcp".to_owned());
    let mut path = wanted.clone();
    let mut next = 2;
    while draft.servers.iter().any(|server| server.path == path) {
        path = format!("{wanted}-{next}");
        next += 1;
    }
    if path != wanted {
        reader.asked(at, format!("another server is at {wanted} already: this one is at {path}"));
    }
    let name = if draft.servers.is_empty() {
        "default".to_owned()
    } else {
        format!("server-{}", draft.servers.len() + 1)
    };
    draft.servers.push(Server { name, path, auth: route.auth, upstreams: ours });
}

fn is_of(pattern: &str, upstreams: &[String]) -> bool {
    let rest = pattern.split_once(':').map_or(pattern, |(_, rest)| rest);
    upstreams.iter().any(|name| rest.split_once('.').is_some_and(|(head, _)| head == name))
}

/// Whether anything is allowed.
fn rules_of(route: &mut Route, names: &[(String, String)], draft: &mut Draft) -> bool {
    let everything: Vec<String> = names.iter().map(|(_, ours)| format!("{ours}.*")).collect();
    let asks_who = |rules: &[Spoken]| rules.iter().any(|rule| rule.asks_who);
    route.auth |= asks_who(&route.allow) || asks_who(&route.deny) || asks_who(&route.require);
    let mut allows = false;
    for rule in &route.allow {
        let Some(patterns) = patterns(rule, names) else { continue };
        if !patterns.is_empty() {
            let id = draft.rule_id("imported");
            draft.rules.push(Rule { id, effect: "allow", patterns, when: rule.when.clone(), unless: None });
            allows = true;
        }
    }
    if !route.has_allow {
        let id = draft.rule_id("imported");
        draft.rules.push(Rule {
            id,
            effect: "allow",
            patterns: everything.clone(),
            when: None,
            unless: None,
        });
        allows = true;
    }
    for rule in &route.deny {
        match patterns(rule, names) {
            Some(patterns) if patterns.is_empty() => {}
            Some(patterns) => {
                let id = draft.rule_id("imported-deny");
                draft.rules.push(Rule {
                    id,
                    effect: "deny",
                    patterns,
                    when: rule.when.clone(),
                    unless: None,
                });
            }
            None => route.why.push("a rule that denies names something that is no name of ours".to_owned()),
        }
    }
    for rule in &route.require {
        let id = draft.rule_id("imported-require");
        draft.rules.push(Rule {
            id,
            effect: "deny",
            patterns: everything.clone(),
            when: None,
            unless: rule.when.clone(),
        });
    }
    allows
}

/// `None`: a name that is no pattern for itself alone.
fn patterns(rule: &Spoken, names: &[(String, String)]) -> Option<Vec<String>> {
    let prefix = rule.kind.map_or(String::new(), |kind| format!("{kind}:"));
    let is_meant =
        |theirs: &str| rule.targets.as_ref().is_none_or(|targets| targets.iter().any(|name| name == theirs));
    let mut patterns = Vec::new();
    for (_, ours) in names.iter().filter(|(theirs, _)| is_meant(theirs)) {
        match &rule.names {
            None => patterns.push(format!("{prefix}{ours}.*")),
            Some(wanted) => {
                for name in wanted {
                    if !is_literal(name) {
                        return None;
                    }
                    patterns.push(format!("{prefix}{ours}.{name}"));
                }
            }
        }
    }
    Some(patterns)
}

/// One target: its name there and here.
fn target(
    reader: &mut Reader<'_>,
    node: &Node,
    route: &Route,
    draft: &mut Draft,
) -> Option<(String, String)> {
    let keys = entries(node);
    let first = keys.first()?;
    let theirs = keys
        .iter()
        .find(|entry| entry.key == "name")
        .and_then(|entry| text_of(&entry.value))
        .unwrap_or("target");
    let mut candidate = Candidate::new(draft.name(theirs)?);
    candidate.upstream.call_ms = route.call_ms;
    let variables = Variables::default();
    let mut is_reached = false;
    for entry in keys {
        match entry.key.as_str() {
            "name" => {}
            "stdio" => {
                is_reached = true;
                stdio(reader, entry, &mut candidate, &variables);
            }
            "mcp" | "sse" => {
                is_reached = true;
                candidate.upstream.is_sse = entry.key == "sse";
                http(reader, entry, &mut candidate);
                candidate.upstream.credential = route.credential.clone().map(Credential::Bearer);
            }
            "openapi" => {
                candidate.blocked_whole(reader, entry, "this version makes no tools of an OpenAPI document")
            }
            _ => candidate.blocked_whole(reader, entry, UNKNOWN),
        }
    }
    if !is_reached && candidate.why.is_empty() {
        candidate.blocked(reader, first, "how it is reached is not said");
    }
    let ours = candidate.name.clone();
    let at = keys.iter().find(|entry| entry.key == "name").unwrap_or(first);
    candidate.settle(draft, reader, at).then(|| (theirs.to_owned(), ours))
}

fn stdio(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate, variables: &Variables) {
    reader.mapped(entry, format!("upstreams.{}.stdio", candidate.name));
    let (mut command, mut args, mut env) = (None, Vec::new(), Vec::new());
    for key in reader.map(entry).unwrap_or_default() {
        match key.key.as_str() {
            "cmd" => command = candidate.plain(reader, key, variables, "stdio.command"),
            "args" => args = candidate.args(reader, key, variables),
            "env" => env = candidate.env(reader, key, variables),
            "clear_env" | "clearEnv" => {
                reader.ignored(key, "a server is given PATH, HOME, LANG, TMPDIR, USER and `env` alone")
            }
            _ => candidate.blocked_whole(reader, key, UNKNOWN),
        }
    }
    match command {
        Some(command) => candidate.upstream.reach = Reach::Stdio { command, args, env, cwd: None },
        None if candidate.why.is_empty() => candidate.blocked(reader, entry, "it names no command"),
        None => {}
    }
}

/// A URL, or a host with port and path.
fn http(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) {
    reader.mapped(entry, format!("upstreams.{}.http", candidate.name));
    let keys = reader.map(entry).unwrap_or_default();
    let of = |name: &str| keys.iter().find(|key| key.key == name);
    for key in keys {
        match key.key.as_str() {
            "host" | "port" | "path" => reader.mapped(key, format!("upstreams.{}.http", candidate.name)),
            _ => candidate.blocked_whole(reader, key, UNKNOWN),
        }
    }
    let text = |name: &str| of(name).and_then(|entry| text_of(&entry.value));
    let Some(host) = text("host") else {
        candidate.blocked(reader, entry, "it names no host");
        return;
    };
    let url = match (host.contains("://"), text("port"), text("path")) {
        (true, _, _) => host.to_owned(),
        (false, Some(port), path) => {
            format!("http://{host}:{port}/{}", path.unwrap_or("").trim_start_matches('/'))
        }
        (false, None, path) => format!("http://{host}{}", path.unwrap_or("")),
    };
    let at = of("host").unwrap_or(entry);
    candidate.address(reader, at, &url, &Variables::default());
}
