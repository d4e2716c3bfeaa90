//! mcp-proxy's TOML: `[[backends]]` become upstreams of one server. Which tools it exposes or hides are patterns there as
//! here; a regular expression is a condition. Who may call which tools by which token is not carried: then nothing is.

use super::{
    draft::{Credential, Draft, Limit, Reach, Rule, Server},
    entry::{Candidate, kept_secret},
    report::{Reader, text_of},
    secret,
    variables::{Place, Variables},
};
use crate::source::{Entry, Node, Value};

pub fn read(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft) {
    let Value::Map(entries) = &root.value else { return };
    let mut auth = false;
    let mut why = None;
    for entry in entries {
        match entry.key.as_str() {
            "proxy" => proxy(reader, entry, draft),
            "auth" => {
                auth = true;
                let tokens = ["scoped_tokens", "roles", "role_mapping", "required_scopes"];
                if tokens.iter().any(|key| entry.value.get(key).is_some()) {
                    let asks = "who may call what by token or role is not carried, so nothing is: write `roles` and rules";
                    reader.asked_whole(entry, asks);
                    why = Some(asks);
                } else {
                    reader.asked_whole(
                        entry,
                        "callers show an API key here: make them with `strait keys new callers.yaml`",
                    );
                }
            }
            "backends" => {}
            "composite_tools" => reader.asked_whole(entry, "a tool that calls several is not carried"),
            "security" => {
                reader.asked_whole(entry, "`body_max` bounds a request; the admin token is made anew")
            }
            "observability" | "performance" | "cache" => {
                reader.ignored_whole(
                    entry,
                    "figures and access lines are there without it; answers are not kept",
                );
            }
            _ => reader.asked_whole(entry, "Strait does not know this key, and it may restrict something"),
        }
    }
    for entry in entries.iter().filter(|entry| entry.key == "backends") {
        reader.mapped(entry, "upstreams");
        for item in reader.list(entry).unwrap_or_default() {
            if let Value::Map(keys) = &item.value {
                backend(reader, keys, draft, why);
            } else {
                reader.asked(entry, "a backend is no table");
            }
        }
    }
    let names: Vec<String> = draft.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    draft.allow_all("imported", &names);
    draft.servers.push(Server {
        name: "default".to_owned(),
        path: "/mcp".to_owned(),
        auth,
        upstreams: names,
    });
}

fn proxy(reader: &mut Reader<'_>, entry: &Entry, draft: &mut Draft) {
    reader.mapped(entry, "the gateway");
    for key in reader.map(entry).unwrap_or_default() {
        match key.key.as_str() {
            "listen" => {
                reader.mapped(key, "listeners.main");
                let text = |name: &str| key.value.get(name).and_then(text_of);
                let port = text("port").unwrap_or("8080").parse::<u16>().ok().filter(|port| *port > 0);
                let is_loopback =
                    matches!(text("host").unwrap_or("127.0.0.1"), "127.0.0.1" | "localhost" | "::1");
                for part in reader.map(key).unwrap_or_default() {
                    match part.key.as_str() {
                        "host" if !is_loopback => reader.asked(part, "loopback alone is listened on: write another address, and who may call, if others shall reach it"),
                        "host" | "port" => reader.mapped(part, "listeners.main.bind"),
                        _ => {}
                    }
                }
                draft.bind = port.map(|port| format!("127.0.0.1:{port}"));
            }
            "rate_limit" => limit(reader, key, draft, "proxy", Vec::new()),
            "import_backends" => reader.asked(key, "import that file too"),
            "instructions" => reader.asked(key, "a server may have `instructions`: copy them"),
            "name"
            | "version"
            | "separator"
            | "hot_reload"
            | "shutdown_timeout_seconds"
            | "tool_discovery"
            | "tool_exposure" => {
                reader.ignored(key, "how mcp-proxy shows itself; tools are called upstream__tool here");
            }
            _ => reader.asked_whole(key, "Strait does not know this key, and it may restrict something"),
        }
    }
}

/// `{ requests, period_seconds }`.
fn limit(reader: &mut Reader<'_>, entry: &Entry, draft: &mut Draft, of: &str, on: Vec<String>) {
    let number =
        |name: &str| entry.value.get(name).and_then(text_of).and_then(|text| text.parse::<u64>().ok());
    let unit = match number("period_seconds").unwrap_or(1) {
        1 => Some("s"),
        60 => Some("min"),
        3_600 => Some("h"),
        86_400 => Some("day"),
        _ => None,
    };
    let requests = number("requests").filter(|requests| (1..=1_000_000).contains(requests));
    let (Some(requests), Some(unit)) = (requests, unit) else {
        reader.asked_whole(entry, "this limit cannot be said: `limits` counts calls per s, min, h or day");
        return;
    };
    reader.mapped_whole(entry, "limits");
    let id = draft.rule_id(&format!("{of}-rate"));
    draft.limits.push(Limit { id, on, what: "rate", value: format!("{requests}/{unit}"), burst: None });
}

const HARMLESS: [&str; 6] = ["circuit_breaker", "retry", "outlier_detection", "hedging", "cache", "priority"];

fn backend(reader: &mut Reader<'_>, keys: &[Entry], draft: &mut Draft, closed: Option<&str>) {
    let of = |name: &str| keys.iter().find(|entry| entry.key == name);
    let text = |name: &str| of(name).and_then(|entry| text_of(&entry.value));
    let Some(at) = of("name").or(keys.first()) else { return };
    let Some(name) = draft.name(text("name").unwrap_or("backend")) else { return };
    let mut candidate = Candidate::new(name.clone());
    candidate.why.extend(closed.map(str::to_owned));
    let variables = Variables::default();
    let (mut command, mut args, mut env) = (None, Vec::new(), Vec::new());
    let (mut rules, mut limits) = (Vec::new(), Vec::new());
    for key in keys {
        match key.key.as_str() {
            "name" => {}
            "transport" => match text_of(&key.value) {
                Some("stdio" | "http") => reader.mapped(key, "how it is reached"),
                _ => candidate.blocked(reader, key, "WebSocket servers are not reached"),
            },
            "command" => command = candidate.plain(reader, key, &variables, "stdio.command"),
            "args" => args = candidate.args(reader, key, &variables),
            "env" => env = candidate.env(reader, key, &variables),
            "url" => candidate.url(reader, key, &variables),
            "bearer_token" => bearer(reader, key, &mut candidate),
            "timeout" => {
                let seconds =
                    key.value.get("seconds").and_then(text_of).and_then(|text| text.parse::<u64>().ok());
                candidate.upstream.call_ms = seconds.filter(|s| (1..=3_600).contains(s)).map(|s| s * 1_000);
                match candidate.upstream.call_ms {
                    Some(_) => reader.mapped_whole(key, "timeout.call"),
                    None => {
                        reader.asked_whole(key, "a deadline of 1 to 3600 seconds can be said; 60 s holds")
                    }
                }
            }
            "rate_limit" | "concurrency" => limits.push(key),
            "expose_tools" | "expose_prompts" | "expose_resources" => {
                exposed(reader, key, &mut candidate, &mut rules)
            }
            "hide_tools" | "hide_prompts" | "hide_resources" => {
                hidden(reader, key, &mut candidate, &mut rules)
            }
            "forward_auth" if text_of(&key.value) != Some("true") => reader.mapped(key, "never done"),
            "forward_auth" => reader.asked(key, "a caller's token is never sent to an upstream"),
            "hide_destructive" | "read_only_only" if text_of(&key.value) == Some("false") => {
                reader.mapped(key, "all of its tools")
            }
            "hide_destructive" | "read_only_only" => {
                candidate.blocked(
                    reader,
                    key,
                    "what tools say of themselves is no rule here: name those that may be called",
                );
            }
            "mirror_of" | "failover_for" | "canary_of" => {
                candidate.blocked(reader, key, "it stands in for another, which is not carried");
            }
            "mirror_percent" | "weight" => reader.ignored(key, "how often it stands in for another"),
            key_name if HARMLESS.contains(&key_name) => {
                reader.ignored_whole(key, "how mcp-proxy deals with a server that is slow or fails");
            }
            _ => candidate.blocked_whole(
                reader,
                key,
                "it changes what tools are called, take or are given: write `shape`",
            ),
        }
    }
    match (command, of("url").is_some()) {
        (Some(command), false) => candidate.upstream.reach = Reach::Stdio { command, args, env, cwd: None },
        (None, true) => {}
        _ if !candidate.why.is_empty() => {}
        _ => candidate.blocked(reader, at, "it has neither a command nor a URL, or both"),
    }
    if !candidate.settle(draft, reader, at) {
        return;
    }
    for (effect, patterns) in rules {
        let id = draft.rule_id(&format!("{name}-{effect}"));
        draft.rules.push(Rule { id, effect, patterns, when: None, unless: None });
    }
    for key in limits {
        let on = vec![format!("{name}.*")];
        if key.key == "rate_limit" {
            limit(reader, key, draft, &name, on);
            continue;
        }
        let most =
            key.value.get("max_concurrent").and_then(text_of).and_then(|text| text.parse::<u64>().ok());
        match most.filter(|most| (1..=1_000_000).contains(most)) {
            Some(most) => {
                reader.mapped_whole(key, "limits");
                let id = draft.rule_id(&format!("{name}-concurrency"));
                draft.limits.push(Limit {
                    id,
                    on,
                    what: "concurrency",
                    value: most.to_string(),
                    burst: None,
                });
            }
            None => reader.asked_whole(key, "this limit cannot be said"),
        }
    }
}

fn bearer(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) {
    let Some(text) = reader.text(entry) else {
        candidate.why.push("its token is no text".to_owned());
        return;
    };
    let value = match Variables::default().spoken(text, Place::Secret) {
        Ok(spoken) if spoken.has_reference && !secret::looks_like_one(&spoken.literal) => {
            reader.mapped(entry, "credential");
            spoken.text
        }
        _ => {
            let name = reader.secret(&candidate.name, "token");
            reader.mapped(entry, kept_secret(&name));
            format!("${{secret:{name}}}")
        }
    };
    candidate.upstream.credential = Some(Credential::Bearer(value));
}

type Drafted = (&'static str, Vec<String>);

/// `*` means here what it means there; `?`, sets and regular expressions do not.
fn globs(
    reader: &mut Reader<'_>,
    entry: &Entry,
    candidate: &mut Candidate,
) -> Option<(&'static str, Vec<String>)> {
    let kind = match entry.key.rsplit('_').next() {
        Some("tools") => "tool",
        Some("prompts") => "prompt",
        _ => "resource",
    };
    let Some(texts) = reader.texts(entry) else {
        candidate.why.push("a list of names cannot be read".to_owned());
        return None;
    };
    let plain = |text: &&str| {
        !text.is_empty()
            && text.len() <= 256
            && !text.starts_with("re:")
            && !text.contains(['?', '[', ']', '{', '}', '!', '\\', ' '])
            && !text.contains(char::is_control)
            && !(text.contains('*') && (kind == "resource" || text.contains('/')))
    };
    if !texts.iter().all(plain) {
        candidate.blocked(reader, entry, "a pattern in it means something else here: write the names");
        return None;
    }
    Some((kind, texts.into_iter().map(|text| text.replace("**", "*")).collect()))
}

fn exposed(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate, rules: &mut Vec<Drafted>) {
    if matches!(&entry.value.value, Value::List(items) if items.is_empty()) {
        reader.mapped(entry, "all of them");
        return;
    }
    let Some((kind, globs)) = globs(reader, entry, candidate) else { return };
    reader.mapped(entry, "the server shows these alone");
    if globs.iter().any(|glob| glob.contains('*')) {
        // A star there ends at a `/`.
        rules.push(("deny", vec![format!("{kind}:{}.*/*", candidate.name)]));
    }
    let only = match kind {
        "tool" => &mut candidate.upstream.tools,
        "prompt" => &mut candidate.upstream.prompts,
        _ => &mut candidate.upstream.resources,
    };
    *only = Some(globs);
}

fn hidden(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate, rules: &mut Vec<Drafted>) {
    let Some((kind, globs)) = globs(reader, entry, candidate) else { return };
    if globs.is_empty() {
        reader.mapped(entry, "nothing is hidden");
        return;
    }
    reader.mapped(entry, "a rule denies them");
    let patterns = globs.iter().map(|glob| format!("{kind}:{}.{glob}", candidate.name)).collect();
    rules.push(("deny", patterns));
}
