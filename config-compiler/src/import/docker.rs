//! Docker's MCP catalogs (`registry: {…}`), single server entries, and profiles (`servers: […]` with snapshots). A server
//! that is an image becomes the `docker run` that Docker's own gateway starts, with its secrets as references; a remote
//! becomes an upstream by URL.

use super::{
    clients,
    draft::{Draft, Reach},
    entry::{Candidate, kept_secret},
    report::{Reader, shown, text_of},
    secret,
    variables::{self, Place, Variables},
};
use crate::source::{Entry, Node, Value};

/// What Docker's gateway gives a server, and no more.
const LIMITS: [&str; 9] =
    ["run", "--rm", "-i", "--init", "--security-opt", "no-new-privileges", "--cpus", "1", "--memory=2g"];

pub fn read(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft) {
    let Value::Map(entries) = &root.value else { return };
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    if let Some(catalog) = of("registry") {
        for entry in entries.iter().filter(|entry| entry.key != "registry") {
            about(reader, entry);
        }
        for server in reader.map(catalog).unwrap_or_default() {
            let Some(name) = draft.name(&server.key) else {
                reader.asked_whole(server, "left out: there are more servers than a configuration may have");
                continue;
            };
            let mut candidate = Candidate::new(name);
            match reader.map(server) {
                Some(keys) => definition(reader, keys, &mut candidate),
                None => candidate.why.push("it is no mapping".to_owned()),
            }
            candidate.settle(draft, reader, server);
        }
        reader.mapped(catalog, "upstreams");
    } else if let Some(servers) = of("servers") {
        for entry in entries.iter().filter(|entry| entry.key != "servers") {
            match entry.key.as_str() {
                "secrets" => {
                    reader.ignored_whole(entry, "where Docker keeps secrets: ours are in .strait/secrets")
                }
                _ => about(reader, entry),
            }
        }
        profile(reader, servers, draft);
    } else {
        single(reader, entries, draft);
    }
    clients::publish(draft);
}

fn about(reader: &mut Reader<'_>, entry: &Entry) {
    match entry.key.as_str() {
        "policy" => {
            reader.asked_whole(entry, "a decision of Docker's own policy is not carried: say it as rules")
        }
        _ => reader.ignored_whole(entry, "what the catalog or profile says of itself"),
    }
}

fn single(reader: &mut Reader<'_>, entries: &[Entry], draft: &mut Draft) {
    let at = entries.iter().find(|entry| entry.key == "name").or(entries.first());
    let name = at.and_then(|entry| text_of(&entry.value)).unwrap_or("server");
    let (Some(name), Some(at)) = (draft.name(name), at) else { return };
    let mut candidate = Candidate::new(name);
    definition(reader, entries, &mut candidate);
    candidate.settle(draft, reader, at);
}

fn profile(reader: &mut Reader<'_>, entry: &Entry, draft: &mut Draft) {
    reader.mapped(entry, "upstreams");
    for (at, item) in reader.list(entry).unwrap_or_default().iter().enumerate() {
        let Value::Map(keys) = &item.value else {
            reader.asked(entry, format!("server {at} is no mapping"));
            continue;
        };
        let of = |key: &str| keys.iter().find(|entry| entry.key == key);
        let text = |key: &str| of(key).and_then(|entry| text_of(&entry.value));
        let snapshot = of("snapshot").and_then(|snapshot| snapshot.value.get("server"));
        let named = snapshot.and_then(|server| server.get("name")).and_then(text_of);
        let image = text("image").map(|image| image_name(image).to_owned());
        let theirs = named.map(str::to_owned).or(image).unwrap_or_else(|| format!("server-{}", at + 1));
        let (Some(name), Some(first)) = (draft.name(&theirs), keys.first()) else { continue };
        let mut candidate = Candidate::new(name);
        if let Some(snapshot) = of("snapshot") {
            reader.mapped(snapshot, format!("upstreams.{}", candidate.name));
            for inner in reader.map(snapshot).unwrap_or_default() {
                match (inner.key.as_str(), &inner.value.value) {
                    ("server", Value::Map(server)) => {
                        reader.mapped(inner, format!("upstreams.{}", candidate.name));
                        definition(reader, server, &mut candidate);
                    }
                    _ => reader.ignored_whole(inner, "what the snapshot says of itself"),
                }
            }
        }
        let is_known = snapshot.is_some();
        for key in keys {
            match key.key.as_str() {
                "snapshot" => {}
                "type" => reader.mapped(key, "how it is reached"),
                "image" if is_known => reader.ignored(key, "the snapshot says it"),
                "image" => {
                    let image = reader.text(key).unwrap_or_default().to_owned();
                    if is_image(&image) {
                        reader.mapped(key, format!("upstreams.{}.stdio", candidate.name));
                        candidate.upstream.reach = run(&image, Vec::new(), Vec::new(), Vec::new());
                    } else {
                        candidate.blocked(reader, key, "this names no image");
                    }
                }
                "source" if is_known => reader.ignored(key, "the snapshot says it"),
                "source" => candidate.blocked(
                    reader,
                    key,
                    "what the registry says of it is not asked for: import its server.json",
                ),
                "endpoint" if is_known => reader.ignored(key, "the snapshot says it"),
                "endpoint" => candidate.url(reader, key, &Variables::default()),
                "tools" if key.value.is_nothing() => reader.ignored(key, "all of its tools"),
                "tools" => {
                    if let Some(names) = candidate.tool_names(reader, key) {
                        reader.mapped(key, "the server shows these alone");
                        candidate.upstream.tools = Some(names);
                    }
                }
                "config" => candidate.blocked_whole(
                    reader,
                    key,
                    "what is filled in here is not carried into the server's templates",
                ),
                "secrets" => reader.ignored(key, "where Docker keeps secrets: ours are in .strait/secrets"),
                "policy" => {
                    candidate.blocked_whole(reader, key, "a decision of Docker's own policy is not carried")
                }
                _ => reader.ignored_whole(key, "where the profile has it from"),
            }
        }
        candidate.settle(draft, reader, first);
    }
}

/// `mcp/github:latest` is called github.
fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
}

fn is_image(image: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    !image.is_empty() && !image.starts_with('-') && image.len() <= 512 && image.chars().all(legal)
}

fn run(image: &str, options: Vec<String>, command: Vec<String>, env: Vec<(String, String)>) -> Reach {
    let mut args: Vec<String> = LIMITS.iter().map(|arg| (*arg).to_owned()).collect();
    args.extend(options);
    args.extend(env.iter().flat_map(|(name, _)| ["-e".to_owned(), name.clone()]));
    args.push(image.to_owned());
    args.extend(command);
    Reach::Stdio { command: "docker".to_owned(), args, env, cwd: None }
}

/// A server of a catalog.
fn definition(reader: &mut Reader<'_>, keys: &[Entry], candidate: &mut Candidate) {
    let of = |key: &str| keys.iter().find(|entry| entry.key == key);
    let mut env: Vec<(String, String)> = Vec::new();
    let mut by_variable: Vec<(String, String)> = Vec::new();
    if let Some(entry) = of("secrets") {
        by_variable = secrets(reader, entry, candidate);
        env.extend(by_variable.iter().map(|(name, secret)| (name.clone(), format!("${{secret:{secret}}}"))));
    }
    if let Some(entry) = of("env") {
        environment(reader, entry, candidate, &mut env);
    }
    let mut options = Vec::new();
    let mut command = Vec::new();
    let mut image = None;
    let mut is_remote = false;
    for key in keys {
        match key.key.as_str() {
            "secrets" | "env" => {}
            "type" => match text_of(&key.value) {
                Some("server" | "remote") => reader.mapped(key, "how it is reached"),
                _ => candidate.blocked(reader, key, "tools that are containers of their own are no server"),
            },
            "image" => {
                image = reader.text(key).filter(|image| is_image(image)).map(str::to_owned);
                match &image {
                    Some(_) => reader.mapped(key, format!("upstreams.{}.stdio.args", candidate.name)),
                    None => candidate.blocked(reader, key, "this names no image"),
                }
            }
            "command" => command = plain_list(reader, key, candidate).unwrap_or_default(),
            "volumes" => {
                for volume in plain_list(reader, key, candidate).unwrap_or_default() {
                    match volume.starts_with('-') {
                        true => candidate.blocked(reader, key, "a volume looks like an option"),
                        // What says nothing is for reading alone, as Docker's gateway has it.
                        false => options.extend(["-v".to_owned(), read_only(volume)]),
                    }
                }
            }
            "user" => match candidate.plain(reader, key, &Variables::default(), "stdio.args") {
                Some(user) if !user.starts_with('-') => options.extend(["-u".to_owned(), user]),
                Some(_) => candidate.blocked(reader, key, "a user looks like an option"),
                None => {}
            },
            "disableNetwork" => match reader.flag(key) {
                Some(true) => {
                    reader.mapped(key, "docker run --network none");
                    options.push("--network=none".to_owned());
                }
                Some(false) => reader.mapped(key, "docker run, with a network"),
                None => candidate.why.push("whether it may use the network cannot be read".to_owned()),
            },
            "allowHosts" => reader.asked_whole(key, "nothing here holds the container to these hosts; Docker's gateway does with --block-network alone"),
            "extraHosts" => candidate.blocked_whole(reader, key, "names of hosts that are given to the container are not carried"),
            "remote" => {
                is_remote = true;
                remote(reader, key, candidate, &by_variable);
            }
            "sseEndpoint" => {
                is_remote = true;
                candidate.upstream.is_sse = true;
                candidate.url(reader, key, &Variables::default());
            }
            "oauth" => candidate.blocked_whole(reader, key, "this version cannot authenticate to it with OAuth"),
            "policy" => candidate.blocked_whole(reader, key, "a decision of Docker's own policy is not carried"),
            "config" => reader.ignored_whole(key, "what is filled in stands in its templates, which are asked about"),
            "tools" => reader.ignored_whole(key, "a description: tools are learned from the server"),
            "longLived" => reader.ignored(key, "a server runs for as long as it is used"),
            "prefix" => reader.ignored(key, "tools are called upstream__tool here"),
            _ => reader.ignored_whole(key, "what the catalog says of the server"),
        }
    }
    match (image, is_remote) {
        (Some(image), false) => candidate.upstream.reach = run(&image, options, command, env),
        (None, true) => {}
        _ if !candidate.why.is_empty() => {}
        _ => {
            if let Some(first) = keys.first() {
                candidate.blocked(reader, first, "it has neither an image nor a remote address, or both");
            }
        }
    }
}

fn read_only(volume: String) -> String {
    let modes = volume.split(':').count();
    // A named volume has no folder of the host to protect.
    let is_host = volume.starts_with(['/', '.', '~']) || volume.starts_with("${");
    if is_host && modes == 2 { format!("{volume}:ro") } else { volume }
}

/// Texts without templates and secrets.
fn plain_list(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) -> Option<Vec<String>> {
    if has_template(&entry.value) {
        candidate.blocked_whole(reader, entry, TEMPLATE);
        return None;
    }
    Some(candidate.args(reader, entry, &Variables::default()))
}

const TEMPLATE: &str = "`{{…}}` stands for what is filled in in Docker's own configuration: write the value";

fn has_template(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.contains("{{"),
        Value::List(items) => items.iter().any(has_template),
        Value::Map(entries) => entries.iter().any(|entry| has_template(&entry.value)),
    }
}

/// By variable, the names of our secrets.
fn secrets(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) -> Vec<(String, String)> {
    let mut found = Vec::new();
    reader.mapped(entry, format!("upstreams.{}: as references", candidate.name));
    for item in reader.list(entry).unwrap_or_default() {
        let Value::Map(keys) = &item.value else {
            candidate.blocked_whole(reader, entry, "a secret is no mapping");
            continue;
        };
        let text =
            |key: &str| keys.iter().find(|entry| entry.key == key).and_then(|entry| text_of(&entry.value));
        let (Some(name), Some(variable)) =
            (text("name"), text("env").filter(|name| variables::is_variable(name)))
        else {
            candidate.blocked_whole(reader, entry, "a secret has no name, or no variable");
            continue;
        };
        let secret = reader.secret("", name);
        for key in keys {
            match key.key.as_str() {
                "name" => reader.mapped(key, kept_secret(&secret)),
                "env" => reader.mapped(key, format!("upstreams.{}.stdio.env", candidate.name)),
                _ => reader.ignored_whole(key, "for whoever fills it in"),
            }
        }
        found.push((variable.to_owned(), secret));
    }
    found
}

fn environment(
    reader: &mut Reader<'_>,
    entry: &Entry,
    candidate: &mut Candidate,
    env: &mut Vec<(String, String)>,
) {
    reader.mapped(entry, format!("upstreams.{}.stdio.env", candidate.name));
    for item in reader.list(entry).unwrap_or_default() {
        let Value::Map(keys) = &item.value else {
            candidate.blocked_whole(reader, entry, "a variable is no mapping");
            continue;
        };
        let of = |key: &str| keys.iter().find(|entry| entry.key == key);
        let name =
            of("name").and_then(|entry| text_of(&entry.value)).filter(|name| variables::is_variable(name));
        let (Some(name), Some(value)) = (name, of("value")) else {
            candidate.blocked_whole(reader, entry, "a variable has no name, or no value");
            continue;
        };
        of("name").into_iter().for_each(|key| reader.mapped(key, "the variable's name"));
        if has_template(&value.value) {
            candidate.blocked(reader, value, TEMPLATE);
            continue;
        }
        let spoken = text_of(&value.value).map(|text| Variables::default().spoken(text, Place::Secret));
        match spoken {
            Some(Ok(spoken)) => {
                let is_secret = secret::looks_like_one(&spoken.literal)
                    || (secret::is_named_like_one(name)
                        && !spoken.has_reference
                        && !spoken.literal.is_empty());
                match is_secret {
                    true => {
                        let secret = reader.secret(&candidate.name, name);
                        reader.mapped(value, kept_secret(&secret));
                        env.push((name.to_owned(), format!("${{secret:{secret}}}")));
                    }
                    false => {
                        reader.mapped(value, format!("upstreams.{}.stdio.env", candidate.name));
                        env.push((name.to_owned(), spoken.text));
                    }
                }
            }
            Some(Err(why)) => candidate.blocked(reader, value, why),
            None => reader.ignored_whole(value, "it says nothing"),
        }
    }
    // A variable that is a secret too is the secret.
    let mut seen = std::collections::HashSet::new();
    env.retain(|(name, _)| seen.insert(name.clone()));
}

fn remote(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate, secrets: &[(String, String)]) {
    reader.mapped(entry, format!("upstreams.{}.http", candidate.name));
    let Some(keys) = reader.map(entry) else {
        candidate.why.push("how it is reached cannot be read".to_owned());
        return;
    };
    for key in keys {
        match key.key.as_str() {
            "url" => candidate.url(reader, key, &Variables::default()),
            "transport_type" => match text_of(&key.value) {
                Some("sse") => {
                    candidate.upstream.is_sse = true;
                    reader.mapped(key, "era: sse");
                }
                Some("http" | "streamable-http" | "streaming") => reader.mapped(key, "how it is reached"),
                other => {
                    let word = shown(other.unwrap_or("nothing"));
                    candidate.blocked(reader, key, format!("servers of the kind `{word}` are not reached"));
                }
            },
            "headers" => {
                let mut variables = Variables::default();
                variables.secrets.extend(secrets.iter().cloned());
                candidate.headers(reader, key, &variables);
            }
            _ => {}
        }
    }
}
