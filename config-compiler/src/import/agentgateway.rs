//! agentgateway's configuration, in its short form (`mcp:`) and its long one (`binds:`). Each route to MCP targets becomes
//! a server of ours at its path, each target an upstream. A policy that is not known here may hold something back, so
//! its route is left out; rules in CEL go through [`rules`].

use super::{
    draft::{Draft, LeftOut, Limit, Reach, Rule, Server, is_literal},
    entry::Candidate,
    report::{Reader, shown, text_of},
    rules::{self, Spoken},
    secret,
    variables::{Place, Variables},
};
use crate::source::{Entry, Node, Value};

/// One way in, while it is read.
#[derive(Default)]
struct Route {
    path: Option<String>,
    auth: bool,
    /// Why nothing of it may be reached.
    why: Vec<String>,
    allow: Vec<Spoken>,
    has_allow: bool,
    deny: Vec<Spoken>,
    require: Vec<Spoken>,
    /// `rate` and `burst`.
    limits: Vec<(String, Option<u64>)>,
    call_ms: Option<u64>,
    /// What all its targets are sent.
    credential: Option<String>,
}

pub fn read(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft) {
    let Value::Map(entries) = &root.value else { return };
    for entry in entries {
        match entry.key.as_str() {
            "mcp" => {
                reader.mapped(entry, "a server");
                let mut route = Route::default();
                if let Some(keys) = reader.map(entry) {
                    backend(reader, entry, keys, &mut route, draft);
                }
            }
            "binds" => {
                reader.mapped(entry, "servers");
                for bind in reader.list(entry).unwrap_or_default() {
                    self::bind(reader, bind, draft);
                }
            }
            "config" => {
                reader.ignored_whole(entry, "how agentgateway itself runs: admin address, tracing, logging")
            }
            _ => reader.ignored_whole(entry, "not about MCP servers"),
        }
    }
}

fn bind(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for entry in entries(node) {
        match entry.key.as_str() {
            "port" => port(reader, entry, draft),
            "listeners" => {
                reader.mapped(entry, "servers");
                for listener in reader.list(entry).unwrap_or_default() {
                    self::listener(reader, listener, draft);
                }
            }
            _ => {}
        }
    }
}

fn port(reader: &mut Reader<'_>, entry: &Entry, draft: &mut Draft) {
    let Some(port) = text_of(&entry.value).and_then(|text| text.parse::<u16>().ok()).filter(|port| *port > 0)
    else {
        reader.asked(entry, "this is no port: 8080 is listened on");
        return;
    };
    let bind = format!("127.0.0.1:{port}");
    match &draft.bind {
        Some(known) if *known != bind => {
            reader.asked(entry, "one address is listened on, and this is another")
        }
        _ => {
            reader.mapped(
                entry,
                format!("listeners.main at {bind}; write another address if others shall reach it"),
            );
            draft.bind = Some(bind);
        }
    }
}

fn entries(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn listener(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for entry in entries(node) {
        match entry.key.as_str() {
            "routes" => {
                reader.mapped(entry, "servers");
                for route in reader.list(entry).unwrap_or_default() {
                    self::route(reader, route, draft);
                }
            }
            "name" => reader.ignored(entry, "a name of agentgateway's own"),
            "protocol" if text_of(&entry.value) == Some("HTTP") => reader.mapped(entry, "HTTP"),
            "hostname" => {
                reader.asked(entry, "which `Host` names are accepted is said in `listeners.main.hosts`")
            }
            "policies" => reader.asked_whole(entry, "policies of a listener are not carried"),
            _ => reader.asked_whole(
                entry,
                "TLS, and protocols other than HTTP, are not in this version: it listens on loopback alone",
            ),
        }
    }
}

fn route(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    let mut route = Route::default();
    let all = entries(node);
    for entry in all {
        match entry.key.as_str() {
            "matches" => matches(reader, entry, &mut route),
            "policies" => policies(reader, entry, &mut route),
            "name" | "namespace" | "ruleName" => reader.ignored(entry, "a name of agentgateway's own"),
            "backends" => {}
            "hostnames" => block(reader, entry, &mut route, "a route for some host names alone"),
            _ => block(reader, entry, &mut route, UNKNOWN),
        }
    }
    // Policies first, wherever they stand: they hold for every backend.
    for entry in all.iter().filter(|entry| entry.key == "backends") {
        reader.mapped(entry, "a server");
        for item in reader.list(entry).unwrap_or_default() {
            let keys = entries(item);
            for entry in keys.iter().filter(|entry| entry.key == "policies") {
                policies(reader, entry, &mut route);
            }
            for entry in keys {
                match entry.key.as_str() {
                    "policies" => {}
                    "mcp" => {
                        reader.mapped(entry, "a server");
                        if let Some(keys) = reader.map(entry) {
                            backend(reader, entry, keys, &mut route, draft);
                        }
                    }
                    "weight" | "name" => reader.ignored(entry, "of one backend"),
                    _ => reader.ignored_whole(entry, "no MCP server"),
                }
            }
        }
    }
}

const UNKNOWN: &str = "this version does not know this key, and it may hold something back";

/// Nothing of the route may be reached until it is decided.
fn block(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route, why: &str) {
    reader.asked_whole(entry, format!("the route is left out until it is decided: {why}"));
    route.why.push(format!("{}: {why}", shown(&entry.key)));
}

fn matches(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.mapped(entry, "the server's path");
    for item in reader.list(entry).unwrap_or_default() {
        for key in entries(item) {
            if key.key != "path" {
                block(reader, key, route, "it is held to some requests alone");
                continue;
            }
            reader.mapped(key, "the server's path");
            for how in entries(&key.value) {
                let path = text_of(&how.value).unwrap_or_default();
                if path.starts_with("/.well-known/") {
                    reader.ignored(how, "metadata of OAuth, which agentgateway answers itself");
                } else if how.key == "regex" {
                    block(reader, how, route, "a path is written out here");
                } else if path == "/" {
                    reader.mapped(how, "/mcp");
                } else if !is_path(path) {
                    block(reader, how, route, "this cannot be a server's path");
                } else if route.path.is_some() {
                    reader.asked(how, "a server has one path, and this is another");
                } else {
                    reader.mapped(how, "the server's path");
                    route.path = Some(path.trim_end_matches('/').to_owned());
                }
            }
        }
    }
}

fn is_path(path: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    path.starts_with('/')
        && path.chars().all(legal)
        && !path.contains("//")
        && !path.split('/').any(|part| matches!(part, "." | ".."))
        && !matches!(path, "/healthz" | "/readyz" | "/metrics")
        && !path.trim_end_matches('/').is_empty()
}

fn policies(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.mapped(entry, "policy");
    let Some(keys) = reader.map(entry) else {
        route.why.push("its policies cannot be read".to_owned());
        return;
    };
    for key in keys {
        match key.key.as_str() {
            "cors" => reader.ignored_whole(
                key,
                "only pages of this machine are accepted, unless `origins` of the listener says more",
            ),
            "jwtAuth" | "mcpAuthentication" | "apiKey" | "basicAuth" | "oidc" => {
                route.auth = true;
                reader.asked_whole(key, "callers show an API key here: make them with `strait keys new callers.yaml`, with the claims that rules ask for");
            }
            "mcpAuthorization" => authorization(reader, key, route),
            "localRateLimit" => rate(reader, key, route),
            "backendAuth" => backend_auth(reader, key, route),
            "timeout" => timeout(reader, key, route),
            "retry" => reader.ignored_whole(key, "Strait asks again only where nothing was accepted"),
            _ => block(reader, key, route, UNKNOWN),
        }
    }
}

fn authorization(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.guard(entry);
    reader.mapped(entry, "policy.rules");
    let Some(keys) = reader.map(entry) else {
        route.why.push("its rules cannot be read".to_owned());
        return;
    };
    for key in keys {
        if key.key != "rules" {
            block(reader, key, route, UNKNOWN);
            continue;
        }
        reader.mapped(key, "policy.rules");
        let Some(items) = reader.list(key) else {
            route.why.push("its rules cannot be read".to_owned());
            continue;
        };
        for (at, item) in items.iter().enumerate() {
            let (how, text) = match &item.value {
                Value::Map(keys) => match keys.as_slice() {
                    [one] => (one.key.as_str(), text_of(&one.value)),
                    _ => ("", None),
                },
                _ => ("allow", text_of(item)),
            };
            entries(item).iter().for_each(|said| reader.mapped(said, "a rule"));
            rule(reader, key, route, at + 1, how, text);
        }
    }
}

fn rule(
    reader: &mut Reader<'_>,
    entry: &Entry,
    route: &mut Route,
    number: usize,
    how: &str,
    text: Option<&str>,
) {
    let is_exact = how != "allow";
    let said =
        text.ok_or_else(|| "it cannot be read".to_owned()).and_then(|text| rules::spoken(text, is_exact));
    route.has_allow |= how == "allow";
    match (how, said) {
        ("allow", Ok(rule)) => route.allow.push(rule),
        ("deny", Ok(rule)) => route.deny.push(rule),
        ("require", Ok(rule)) if rule.kind.is_none() => route.require.push(rule),
        // Without it less is allowed.
        ("allow", Err(why)) => {
            reader.asked(entry, format!("rule {number} is not carried, so that it allows nothing: {why}"))
        }
        (_, said) => {
            let why =
                said.err().unwrap_or_else(|| "what it requires cannot be said of single things".to_owned());
            let why = format!("rule {number} holds something back and cannot be said: {why}");
            reader.asked(entry, format!("the route is left out until it is decided: {why}"));
            route.why.push(why);
        }
    }
}

fn rate(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.guard(entry);
    reader.mapped(entry, "limits");
    for item in reader.list(entry).unwrap_or_default() {
        let of = |key: &str| entries(item).iter().find(|entry| entry.key == key);
        let number = |key: &str| {
            of(key).and_then(|entry| text_of(&entry.value)).and_then(|text| text.parse::<u64>().ok())
        };
        let unit = match of("fillInterval").and_then(|entry| text_of(&entry.value)) {
            Some("1s") => Some("s"),
            Some("1m" | "60s") => Some("min"),
            Some("1h" | "60m") => Some("h"),
            _ => None,
        };
        let kind = of("type").and_then(|entry| text_of(&entry.value)).unwrap_or("requests");
        let fill =
            number("tokensPerFill").or(number("maxTokens")).filter(|fill| (1..=1_000_000).contains(fill));
        let (Some(fill), Some(unit), "requests") = (fill, unit, kind) else {
            block(reader, entry, route, "this limit cannot be said: `limits` counts calls per s, min or h");
            continue;
        };
        for key in entries(item) {
            if matches!(key.key.as_str(), "maxTokens" | "tokensPerFill" | "fillInterval" | "type") {
                reader.mapped(key, "limits");
            }
        }
        let burst = number("maxTokens").filter(|burst| (1..=1_000_000).contains(burst) && *burst != fill);
        route.limits.push((format!("{fill}/{unit}"), burst));
    }
}

fn timeout(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    reader.mapped(entry, "timeout");
    for key in reader.map(entry).unwrap_or_default() {
        let seconds = text_of(&key.value)
            .and_then(|text| text.strip_suffix('s'))
            .and_then(|text| text.parse::<u64>().ok());
        match seconds.filter(|seconds| (1..=3_600).contains(seconds)) {
            Some(seconds) => {
                reader.mapped(key, "timeout.call");
                route.call_ms = Some(seconds * 1_000);
            }
            None => reader.asked(key, "a deadline of 1 to 3600 whole seconds can be said; 60 s holds"),
        }
    }
}

fn backend_auth(reader: &mut Reader<'_>, entry: &Entry, route: &mut Route) {
    let keys = reader.map(entry).unwrap_or_default();
    reader.mapped(entry, "credential");
    for key in keys {
        match (key.key.as_str(), text_of(&key.value)) {
            ("passthrough", _) => reader.asked_whole(
                key,
                "a caller's token is never sent to an upstream: give it a `credential` of its own",
            ),
            ("key", Some(text)) => {
                let spoken = Variables::default().spoken(text, Place::Secret);
                route.credential = match spoken {
                    Ok(spoken) if spoken.has_reference && !secret::looks_like_one(&spoken.literal) => {
                        Some(spoken.text)
                    }
                    _ => Some("${secret:imported-backend-key}".to_owned()),
                };
                reader.mapped(key, "credential, as a reference");
            }
            _ => block(reader, key, route, "this version cannot authenticate to an upstream in this way"),
        }
    }
}

/// The targets behind one route, and the rules over them.
fn backend(reader: &mut Reader<'_>, at: &Entry, keys: &[Entry], route: &mut Route, draft: &mut Draft) {
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
                candidate.upstream.credential =
                    route.credential.clone().map(super::draft::Credential::Bearer);
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
