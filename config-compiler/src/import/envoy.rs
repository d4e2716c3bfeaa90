//! Envoy AI Gateway: `MCPRoute` documents with the `Backend`s they name. A route becomes a server at its path; tool
//! selectors become what is shown, or conditions where they are regular expressions. Who may call which tools
//! (`authorization`) is not carried, and then nothing of the route is.

use std::collections::{HashMap, HashSet};

use super::{
    draft::{Credential, Draft, Rule, Server},
    entry::Candidate,
    report::{Reader, shown, text_of},
    variables::Variables,
};
use crate::condition::{self, Of, Shared};
use crate::source::{Entry, Node, Value};

pub fn read(reader: &mut Reader<'_>, roots: &[Node], draft: &mut Draft) {
    let mut backends: HashMap<&str, &Node> = HashMap::new();
    let mut behind_tls: HashSet<&str> = HashSet::new();
    for root in roots {
        match kind(root) {
            "Backend" => drop(name(root).map(|name| backends.insert(name, root))),
            "BackendTLSPolicy" => {
                let targets = root.get("spec").and_then(|spec| spec.get("targetRefs"));
                if let Some(Value::List(items)) = targets.map(|node| &node.value) {
                    behind_tls.extend(items.iter().filter_map(|item| item.get("name").and_then(text_of)));
                }
            }
            _ => {}
        }
    }
    for root in roots {
        let Value::Map(entries) = &root.value else { continue };
        match kind(root) {
            "MCPRoute" => route(reader, entries, draft, &backends, &behind_tls),
            "Backend" => entries.iter().for_each(|entry| match entry.key.as_str() {
                "spec" => reader.mapped_whole(entry, "the address of the upstreams that name it"),
                _ => reader.ignored_whole(entry, "of the cluster"),
            }),
            "Secret" => entries.iter().for_each(|entry| {
                reader.ignored_whole(
                    entry,
                    "secrets are not carried: each reference says where to write its value",
                );
            }),
            "BackendTLSPolicy" => entries.iter().for_each(|entry| {
                reader.ignored_whole(
                    entry,
                    "told with the upstream: there is no TLS to upstreams in this version",
                );
            }),
            "SecurityPolicy" | "BackendTrafficPolicy" | "ClientTrafficPolicy" => {
                entries.iter().for_each(|entry| {
                    reader.asked_whole(
                        entry,
                        "a policy of Envoy's own is not carried, and it may hold something back",
                    );
                })
            }
            _ => {
                entries.iter().for_each(|entry| reader.ignored_whole(entry, "of the cluster, not about MCP"))
            }
        }
    }
}

fn kind(root: &Node) -> &str {
    root.get("kind").and_then(text_of).unwrap_or_default()
}

fn name(root: &Node) -> Option<&str> {
    root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(text_of)
}

fn route(
    reader: &mut Reader<'_>,
    entries: &[Entry],
    draft: &mut Draft,
    backends: &HashMap<&str, &Node>,
    behind_tls: &HashSet<&str>,
) {
    let Some(spec) = entries.iter().find(|entry| entry.key == "spec") else { return };
    for entry in entries.iter().filter(|entry| entry.key != "spec") {
        reader.ignored_whole(entry, "of the cluster");
    }
    reader.mapped(spec, "a server");
    let mut path = "/mcp".to_owned();
    let mut auth = false;
    let mut closed: Vec<String> = Vec::new();
    for key in reader.map(spec).unwrap_or_default() {
        match key.key.as_str() {
            "parentRefs" => reader.ignored_whole(key, "which gateway of the cluster serves it"),
            "path" => match text_of(&key.value).filter(|path| is_path(path)) {
                Some(text) => {
                    reader.mapped(key, "the server's path");
                    path = text.to_owned();
                }
                None => reader.asked(key, "this cannot be a server's path: it is at /mcp"),
            },
            "backendRefs" => {}
            "securityPolicy" => {
                reader.mapped(key, "who may call");
                for policy in reader.map(key).unwrap_or_default() {
                    match policy.key.as_str() {
                        "oauth" | "apiKeyAuth" => {
                            auth = true;
                            reader.asked_whole(
                                policy,
                                "callers show an API key here: make them with `strait keys new callers.yaml`",
                            );
                        }
                        _ => closed.push(closes(reader, policy)),
                    }
                }
            }
            "hostnames" | "headers" | "backendSelector" => closed.push(closes(reader, key)),
            _ => closed.push(closes(reader, key)),
        }
    }
    let mut names = Vec::new();
    for key in reader.map(spec).unwrap_or_default().iter().filter(|key| key.key == "backendRefs") {
        reader.mapped(key, "upstreams");
        for item in reader.list(key).unwrap_or_default() {
            if let Value::Map(keys) = &item.value {
                names.extend(backend(reader, keys, draft, backends, behind_tls, &closed));
            } else {
                reader.asked(key, "a backend is no mapping");
            }
        }
    }
    if names.is_empty() {
        return;
    }
    let wanted = path.clone();
    let mut next = 2;
    while draft.servers.iter().any(|server| server.path == path) {
        path = format!("{wanted}-{next}");
        next += 1;
    }
    let name = if draft.servers.is_empty() {
        "default".to_owned()
    } else {
        format!("server-{}", draft.servers.len() + 1)
    };
    draft.servers.push(Server { name, path, auth, upstreams: names });
}

/// It holds something back that is not carried: nothing of the route is.
fn closes(reader: &mut Reader<'_>, entry: &Entry) -> String {
    let why = format!("`{}` of its route holds something back and is not carried", shown(&entry.key));
    reader.asked_whole(entry, format!("the route is left out until it is decided: {why}"));
    why
}

fn is_path(path: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    path.len() > 1
        && path.starts_with('/')
        && !path.ends_with('/')
        && path.chars().all(legal)
        && !path.contains("//")
        && !path.split('/').any(|part| matches!(part, "." | ".."))
        && !path.starts_with("/.well-known")
        && !matches!(path, "/healthz" | "/readyz" | "/metrics")
}

fn backend(
    reader: &mut Reader<'_>,
    keys: &[Entry],
    draft: &mut Draft,
    backends: &HashMap<&str, &Node>,
    behind_tls: &HashSet<&str>,
    closed: &[String],
) -> Option<String> {
    let at = keys.iter().find(|entry| entry.key == "name").or(keys.first())?;
    let theirs = text_of(&at.value).unwrap_or("backend");
    let mut candidate = Candidate::new(draft.name(theirs)?);
    candidate.why.extend(closed.iter().cloned());
    let mut path = "/mcp";
    let mut rules: Vec<(&'static str, Vec<String>, Option<String>)> = Vec::new();
    let mut is_selected = false;
    for key in keys {
        match key.key.as_str() {
            "name" => {}
            "kind" | "group" | "namespace" => reader.ignored(key, "of the cluster"),
            "path" => {
                reader.mapped(key, format!("upstreams.{}.http", candidate.name));
                path = text_of(&key.value).unwrap_or("/mcp");
            }
            "toolSelector" => selector(reader, key, &mut candidate, &mut rules, &mut is_selected),
            "securityPolicy" => credential(reader, key, &mut candidate),
            "forwardHeaders" => reader.asked_whole(key, "headers of callers are not sent to an upstream"),
            _ => candidate.blocked_whole(
                reader,
                key,
                "this version does not know this key, and it may hold something back",
            ),
        }
    }
    address(reader, at, theirs, path, &mut candidate, backends, behind_tls);
    let name = candidate.name.clone();
    if !candidate.settle(draft, reader, at) {
        return None;
    }
    if !is_selected {
        draft.allow_all("imported", std::slice::from_ref(&name));
    } else {
        let id = draft.rule_id("imported");
        let patterns = vec![format!("prompt:{name}.*"), format!("resource:{name}.*")];
        draft.rules.push(Rule { id, effect: "allow", patterns, when: None, unless: None });
    }
    for (effect, patterns, when) in rules {
        let id = draft.rule_id(&format!("{name}-{effect}"));
        draft.rules.push(Rule { id, effect, patterns, when, unless: None });
    }
    Some(name)
}

fn address(
    reader: &mut Reader<'_>,
    at: &Entry,
    theirs: &str,
    path: &str,
    candidate: &mut Candidate,
    backends: &HashMap<&str, &Node>,
    behind_tls: &HashSet<&str>,
) {
    let endpoints =
        backends.get(theirs).and_then(|root| root.get("spec")).and_then(|spec| spec.get("endpoints"));
    let endpoint = match endpoints.map(|node| &node.value) {
        Some(Value::List(items)) if items.len() == 1 => items.first(),
        Some(Value::List(_)) => {
            candidate.blocked(
                reader,
                at,
                "its `Backend` has several endpoints, or none: write their URLs in `http`",
            );
            return;
        }
        _ => None,
    };
    let host = |endpoint: &Node| {
        let (key, name) = [("fqdn", "hostname"), ("ip", "address")]
            .into_iter()
            .find(|(key, _)| endpoint.get(key).is_some())?;
        let inner = endpoint.get(key)?;
        Some((text_of(inner.get(name)?)?.to_owned(), text_of(inner.get("port")?)?.to_owned()))
    };
    let Some((host, port)) = endpoint.and_then(host) else {
        candidate.blocked(reader, at, "the `Backend` that it names is not in the file, or has no address");
        return;
    };
    let scheme = if behind_tls.contains(theirs) || port == "443" { "https" } else { "http" };
    let url = format!("{scheme}://{host}:{port}/{}", path.trim_start_matches('/'));
    candidate.address(reader, at, &url, &Variables::default());
}

type Drafted = (&'static str, Vec<String>, Option<String>);

fn selector(
    reader: &mut Reader<'_>,
    entry: &Entry,
    candidate: &mut Candidate,
    rules: &mut Vec<Drafted>,
    is_selected: &mut bool,
) {
    reader.mapped(entry, "which tools may be called");
    let Some(keys) = reader.map(entry) else {
        candidate.why.push("which tools it selects cannot be read".to_owned());
        return;
    };
    let all = format!("tool:{}.*", candidate.name);
    for key in keys {
        let effect = match key.key.as_str() {
            "include" | "includeRegex" => "allow",
            "exclude" | "excludeRegex" => "deny",
            _ => {
                candidate.blocked_whole(
                    reader,
                    key,
                    "this version does not know this key, and it may hold something back",
                );
                continue;
            }
        };
        *is_selected |= effect == "allow";
        if !key.key.ends_with("Regex") {
            let Some(names) = candidate.tool_names(reader, key) else { continue };
            reader.mapped(key, "policy.rules");
            let patterns: Vec<String> =
                names.iter().map(|tool| format!("tool:{}.{tool}", candidate.name)).collect();
            if !patterns.is_empty() {
                rules.push((effect, patterns, None));
            }
            continue;
        }
        let Some(texts) = reader.texts(key) else {
            candidate.why.push("which tools it selects cannot be read".to_owned());
            continue;
        };
        reader.mapped(key, "policy.rules, as conditions");
        for text in texts {
            // Both look for a match anywhere in the name.
            let when = format!("call.tool.matches({})", serde_json::Value::from(text));
            let nobody = |_: &str| Err(None);
            match condition::read(&when, Of::Rule, &nobody, &mut Shared::default()) {
                Ok(_) => rules.push((effect, vec![all.clone()], Some(when))),
                Err(wrong) => candidate.blocked(
                    reader,
                    key,
                    format!("a regular expression in it cannot be said: {}", wrong.message),
                ),
            }
        }
    }
}

fn credential(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) {
    reader.mapped(entry, "credential");
    for key in reader.map(entry).unwrap_or_default() {
        if key.key != "apiKey" {
            candidate.blocked_whole(reader, key, "this version cannot authenticate to it in this way");
            continue;
        }
        reader.mapped(key, format!("upstreams.{}.credential", candidate.name));
        let text = |name: &str| key.value.get(name).and_then(text_of);
        let of_secret = key.value.get("secretRef").and_then(|secret| secret.get("name")).and_then(text_of);
        let name = reader.secret("", of_secret.unwrap_or(&format!("{}-api-key", candidate.name)));
        let header = text("header").unwrap_or("Authorization").to_owned();
        let mut is_known = true;
        for part in reader.map(key).unwrap_or_default() {
            match part.key.as_str() {
                "secretRef" | "inline" => {
                    reader.mapped_whole(part, super::entry::kept_secret(&name));
                }
                "header" => reader.mapped(part, "credential.header.name"),
                _ => {
                    is_known = false;
                    candidate.blocked_whole(reader, part, "a key in the URL would be written into the table");
                }
            }
        }
        let value = format!("${{secret:{name}}}");
        if is_known && header.eq_ignore_ascii_case("authorization") {
            candidate.upstream.credential = Some(Credential::Bearer(value));
        } else if is_known {
            candidate.credential_of(reader, key, vec![(header, value)]);
        }
    }
}
