//! The MCP registry's `server.json`: one server, as packages that somebody may run or as remotes. One way of them is
//! taken: the first package whose runner is known, else the first remote that this version can reach. What its user has
//! to fill in becomes a variable of the environment, a secret where it is marked as one.

use super::{
    clients,
    draft::{Draft, Reach},
    entry::{Candidate, kept_secret},
    report::{Reader, text_of},
    secret,
    variables::{self, Place, Variables},
};
use crate::source::{Entry, Node, Value};

const ANOTHER: &str = "another way to the same server, and one is taken";

pub fn read(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft) {
    let Value::Map(entries) = &root.value else { return };
    // An answer of the registry's API wraps it.
    if let Some(inner) =
        entries.iter().find(|entry| entry.key == "server" && entry.value.get("name").is_some())
    {
        reader.mapped(inner, "the server");
        for entry in entries.iter().filter(|entry| !std::ptr::eq(*entry, inner)) {
            reader.ignored_whole(entry, "what the registry says of its own entry");
        }
        return read(reader, &inner.value, draft);
    }
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    let name = of("name").and_then(|entry| text_of(&entry.value)).unwrap_or("server");
    // `io.github.owner/weather` is called weather.
    let short = name.rsplit('/').next().unwrap_or(name);
    let Some(ours) = draft.name(short) else { return };
    let mut candidate = Candidate::new(ours);
    let mut taken = None;
    if let Some(packages) = of("packages") {
        taken = packages_of(reader, packages, &mut candidate);
    }
    if let Some(remotes) = of("remotes") {
        let another = taken.is_some();
        taken = remotes_of(reader, remotes, &mut candidate, another).or(taken);
    }
    for entry in entries {
        match entry.key.as_str() {
            "name" => reader.mapped(entry, format!("upstreams.{}", candidate.name)),
            "packages" | "remotes" => {}
            _ => reader.ignored_whole(entry, "what the registry says of the server"),
        }
    }
    let Some(at) = of("name").or(entries.first()) else { return };
    if taken.is_none() && candidate.why.is_empty() {
        candidate.blocked(reader, at, "it offers no way that this version can take");
    }
    candidate.settle(draft, reader, at);
    clients::publish(draft);
}

fn of<'n>(node: &'n Node, names: &[&str]) -> Option<&'n Entry> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| names.contains(&entry.key.as_str())),
        _ => None,
    }
}

fn word<'n>(node: &'n Node, names: &[&str]) -> Option<&'n str> {
    of(node, names).and_then(|entry| text_of(&entry.value))
}

/// How a package of this kind is run: the program, and its own arguments before the package.
fn runner(kind: &str, hint: Option<&str>) -> Option<(&'static str, &'static [&'static str])> {
    match (kind, hint) {
        ("npm", None | Some("npx")) => Some(("npx", &["-y"])),
        ("pypi", None | Some("uvx")) => Some(("uvx", &[])),
        ("oci" | "docker", None | Some("docker")) => Some(("docker", &["run", "--rm", "-i"])),
        ("nuget", None | Some("dnx")) => Some(("dnx", &["--yes"])),
        _ => None,
    }
}

fn packages_of(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) -> Option<()> {
    let items = reader.list(entry)?;
    reader.mapped(entry, "the first that can be run");
    let mut taken = None;
    for item in items {
        let Value::Map(keys) = &item.value else {
            reader.asked(entry, "a package is no mapping");
            continue;
        };
        let kind = word(item, &["registryType", "registry_type", "registry_name"]).unwrap_or_default();
        let hint = word(item, &["runtimeHint", "runtime_hint"]);
        let transport = of(item, &["transport"]).and_then(|entry| word(&entry.value, &["type"]));
        let is_stdio = matches!(transport, None | Some("stdio"));
        match runner(kind, hint).filter(|_| taken.is_none() && is_stdio) {
            Some(runner) => taken = package(reader, item, keys, runner, candidate),
            None if taken.is_some() => keys.iter().for_each(|key| reader.ignored_whole(key, ANOTHER)),
            None => {
                let why = "how a package of this kind is run, or reached once it runs, is not known here";
                keys.iter().for_each(|key| reader.asked_whole(key, why));
            }
        }
    }
    taken
}

fn package(
    reader: &mut Reader<'_>,
    item: &Node,
    keys: &[Entry],
    (command, own): (&'static str, &'static [&'static str]),
    candidate: &mut Candidate,
) -> Option<()> {
    let to = format!("upstreams.{}.stdio", candidate.name);
    let mut args: Vec<String> = own.iter().map(|arg| (*arg).to_owned()).collect();
    let mut env = Vec::new();
    let list = |names: &[&str]| of(item, names);
    if let Some(entry) = list(&["runtimeArguments", "runtime_arguments"]) {
        // `-y` is said already.
        let said = arguments(reader, entry, candidate);
        args.extend(said.into_iter().filter(|arg| !own.contains(&arg.as_str())));
    }
    if let Some(entry) = list(&["environmentVariables", "environment_variables"]) {
        env = environment(reader, entry, candidate);
        if command == "docker" {
            args.extend(env.iter().flat_map(|(name, _)| ["-e".to_owned(), name.clone()]));
        }
    }
    let identifier = of(item, &["identifier", "name"]);
    let Some(name) = identifier.and_then(|entry| text_of(&entry.value)).filter(|name| !name.is_empty())
    else {
        if let Some(first) = keys.first() {
            candidate.blocked(reader, first, "the package has no identifier");
        }
        return None;
    };
    let version = word(item, &["version"]).filter(|version| !version.is_empty() && *version != "latest");
    args.push(match (command, version) {
        ("npx" | "dnx", Some(version)) => format!("{name}@{version}"),
        ("uvx", Some(version)) => format!("{name}=={version}"),
        ("docker", Some(version)) if !name.contains('@') && !after_slash(name).contains(':') => {
            format!("{name}:{version}")
        }
        _ => name.to_owned(),
    });
    if let Some(entry) = list(&["packageArguments", "package_arguments"]) {
        args.extend(arguments(reader, entry, candidate));
    }
    for key in keys {
        match key.key.as_str() {
            "registryType" | "registry_type" | "registry_name" | "runtimeHint" | "runtime_hint" => {
                reader.mapped(key, format!("{to}.command: {command}"));
            }
            "identifier" | "name" | "version" => reader.mapped(key, format!("{to}.args")),
            "transport" => reader.mapped_whole(key, "a process that speaks on its standard input and output"),
            "fileSha256" | "file_sha256" => reader.asked(key, "the runner is not told which bytes to expect"),
            "registryBaseUrl" | "registry_base_url" => {
                reader.ignored(key, "the runner asks the registry that it is set up for");
            }
            _ => {}
        }
    }
    // A text of the file in a place that the compiler reads.
    for arg in &mut args {
        if arg.contains('\0') || (secret::looks_like_one(arg) && !arg.contains("${")) {
            if let Some(first) = keys.first() {
                candidate.blocked(reader, first, "an argument looks like a secret");
            }
            return None;
        }
    }
    candidate.upstream.reach = Reach::Stdio { command: command.to_owned(), args, env, cwd: None };
    Some(())
}

fn after_slash(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What a user fills in, as a text of ours.
fn filled(
    reader: &mut Reader<'_>,
    item: &Node,
    name: &str,
    place: Place,
    candidate: &mut Candidate,
) -> Option<String> {
    let Value::Map(keys) = &item.value else { return None };
    let of = |wanted: &str| keys.iter().find(|entry| entry.key == wanted);
    let text = |wanted: &str| of(wanted).and_then(|entry| text_of(&entry.value));
    let flag = |wanted: [&str; 2]| wanted.iter().any(|wanted| text(wanted) == Some("true"));
    let is_secret = flag(["isSecret", "is_secret"]) || secret::is_named_like_one(name);
    let is_required = flag(["isRequired", "is_required"]);
    for key in keys {
        match key.key.as_str() {
            "name" if is_secret && place == Place::Secret => {
                let secret = reader.secret(&candidate.name, name);
                reader.mapped(key, kept_secret(&secret));
            }
            "default" if is_secret => reader.ignored(key, "a secret has no default"),
            "value" | "default" | "name" | "valueHint" | "value_hint" => reader.mapped(key, "its value"),
            "isSecret" | "is_secret" | "isRequired" | "is_required" | "type" | "isRepeated"
            | "is_repeated" => {
                reader.mapped(key, "how its value is given");
            }
            "variables" => {}
            _ => reader.ignored_whole(key, "for whoever fills it in"),
        }
    }
    let written = text("value").or(text("default"));
    if let (Some(variables), Some(template)) = (of("variables"), text("value")) {
        return templated(reader, template, variables, place, candidate);
    }
    if is_secret {
        if place == Place::Plain {
            if let Some(key) = keys.first() {
                candidate.blocked(reader, key, "a secret in an argument would be written into the table");
            }
            return None;
        }
        let secret = reader.secret(&candidate.name, name);
        return Some(format!("${{secret:{secret}}}"));
    }
    match written {
        Some(text) => {
            let spoken = Variables::default().spoken(text, place);
            match spoken {
                Ok(spoken) if !secret::looks_like_one(&spoken.literal) => {
                    candidate.needs(spoken.names);
                    Some(spoken.text)
                }
                Ok(_) => {
                    keys.iter()
                        .take(1)
                        .for_each(|key| candidate.blocked(reader, key, "its value looks like a secret"));
                    None
                }
                Err(why) => {
                    keys.iter().take(1).for_each(|key| candidate.blocked(reader, key, why.clone()));
                    None
                }
            }
        }
        None if is_required => {
            let variable = variables::variable_of(name);
            if place == Place::Plain {
                candidate.needs(vec![variable.clone()]);
            }
            Some(format!("${{env:{variable}}}"))
        }
        None => None,
    }
}

/// `{name}` in a value stands for what is filled in under that name.
fn templated(
    reader: &mut Reader<'_>,
    template: &str,
    entry: &Entry,
    place: Place,
    candidate: &mut Candidate,
) -> Option<String> {
    let known = reader.map(entry)?;
    reader.mapped(entry, "parts of the value");
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, inner)) = rest.split_once('{') {
        let Some((name, after)) = inner.split_once('}') else { break };
        let Some(variable) = known.iter().find(|variable| variable.key == name) else {
            candidate.blocked(reader, entry, "its value names a part that is not described");
            return None;
        };
        out.push_str(&before.replace('$', ""));
        reader.mapped(variable, "a part of the value");
        let Some(value) = filled(reader, &variable.value, name, place, candidate) else {
            candidate.blocked(reader, variable, "nothing says what this part is");
            return None;
        };
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    let literal: String =
        out.split("${").map(|part| part.split_once('}').map_or(part, |(_, after)| after)).collect();
    if secret::looks_like_one(&literal) || out.contains('\0') {
        candidate.blocked(reader, entry, "its value looks like a secret");
        return None;
    }
    Some(out)
}

fn arguments(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) -> Vec<String> {
    let Some(items) = reader.list(entry) else {
        candidate.why.push("its arguments are no list".to_owned());
        return Vec::new();
    };
    reader.mapped(entry, format!("upstreams.{}.stdio.args", candidate.name));
    let mut args = Vec::new();
    for item in items {
        let is_named = word(item, &["type"]) == Some("named");
        let name = word(item, &["name", "valueHint", "value_hint"]).unwrap_or("argument");
        let value = filled(reader, item, name, Place::Plain, candidate);
        if is_named {
            let has_value = word(item, &["value", "default"]).is_some() || of(item, &["variables"]).is_some();
            let is_required = matches!(word(item, &["isRequired", "is_required"]), Some("true"));
            // One that nobody must give, and that has no value, is not given.
            if value.is_some() || (!has_value && is_required) || is_switch(item) {
                args.push(name.to_owned());
            }
        }
        args.extend(value);
    }
    args
}

/// `--verbose`: a named argument that takes no value.
fn is_switch(item: &Node) -> bool {
    let describes = ["value", "default", "variables", "format", "valueHint", "choices", "isSecret"];
    of(item, &describes).is_none()
}

fn environment(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) -> Vec<(String, String)> {
    let Some(items) = reader.list(entry) else {
        candidate.why.push("its environment is no list".to_owned());
        return Vec::new();
    };
    reader.mapped(entry, format!("upstreams.{}.stdio.env", candidate.name));
    let mut env = Vec::new();
    for item in items {
        let Some(name) = word(item, &["name"]) else {
            candidate.blocked_whole(reader, entry, "a variable has no name");
            continue;
        };
        if !variables::is_variable(name) {
            candidate.blocked_whole(reader, entry, "a variable cannot be called so");
            continue;
        }
        let name = name.to_owned();
        if let Some(value) = filled(reader, item, &name, Place::Secret, candidate) {
            env.push((name, value));
        }
    }
    env
}

fn remotes_of(
    reader: &mut Reader<'_>,
    entry: &Entry,
    candidate: &mut Candidate,
    another: bool,
) -> Option<()> {
    let items = reader.list(entry)?;
    reader.mapped(entry, "the first that can be reached");
    let mut taken = None;
    for item in items {
        let Value::Map(keys) = &item.value else {
            reader.asked(entry, "a remote is no mapping");
            continue;
        };
        let url = word(item, &["url"]).unwrap_or_default();
        if another || taken.is_some() {
            keys.iter().for_each(|key| reader.ignored_whole(key, ANOTHER));
        } else if !url.starts_with("http://") || url.contains('{') {
            let why = "this version reaches `http://` addresses that are written out";
            keys.iter().for_each(|key| reader.asked_whole(key, why));
        } else {
            remote(reader, keys, candidate);
            taken = Some(());
        }
    }
    taken
}

fn remote(reader: &mut Reader<'_>, keys: &[Entry], candidate: &mut Candidate) {
    for key in keys {
        match key.key.as_str() {
            "url" => candidate.url(reader, key, &Variables::default()),
            "type" | "transport_type" | "transportType" => {
                candidate.upstream.is_sse = text_of(&key.value) == Some("sse");
                reader.mapped(key, "how it is reached");
            }
            "headers" => headers(reader, key, candidate),
            _ => {}
        }
    }
}

fn headers(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) {
    let Some(items) = reader.list(entry) else {
        candidate.why.push("its headers are no list".to_owned());
        return;
    };
    reader.mapped(entry, format!("upstreams.{}.credential", candidate.name));
    let mut sent = Vec::new();
    for item in items {
        let name = word(item, &["name"]).unwrap_or_default().to_owned();
        if let Some(value) = filled(reader, item, &name, Place::Secret, candidate) {
            sent.push((name, value));
        }
    }
    candidate.credential_of(reader, entry, sent);
}
