//! Virtual servers: what agents see at a path, and who may come in. A server without `auth` is open
//! to anyone who can reach its listener; beyond loopback that must be written (`auth: none`), because
//! nobody should open a gateway to a network by leaving a line out.

use std::collections::HashMap;

use strait_table::rules::{Naming, Pattern, PatternKind, Server};

use super::{
    blocks::Declared,
    listener::Reachable,
    pattern::{self, Written},
    scope::Scope,
    shape,
};
use crate::{
    check::reach::ServerPlaces,
    diagnostic::{Finding, codes},
    source::{Node, Span, Value},
    walk::{Walk, keys},
};

pub fn lower(
    walk: &mut Walk<'_>,
    scope: &Scope<'_>,
    upstreams: &mut Scope<'_>,
    identities: &mut Scope<'_>,
    reachable: &[Reachable],
) -> Vec<Server> {
    let mut paths: HashMap<String, Span> = HashMap::new();
    let mut servers = Vec::new();
    for declared in &scope.declared {
        let Some((server, path_span)) = server(walk, declared, upstreams, identities, reachable) else {
            continue;
        };
        if let Some(first) = paths.get(&server.path) {
            let message = format!("two servers are at `{}`", server.path);
            let finding = Finding::new(&codes::DECLARED_TWICE, path_span, message)
                .label("again here")
                .note(*first, "first here");
            walk.report(finding);
            continue;
        }
        paths.insert(server.path.clone(), path_span);
        servers.push(server);
    }
    servers
}

fn server(
    walk: &mut Walk<'_>,
    declared: &Declared<'_>,
    upstreams: &mut Scope<'_>,
    identities: &mut Scope<'_>,
    reachable: &[Reachable],
) -> Option<(Server, Span)> {
    let by = format!("server `{}`", declared.name);
    let mut fields = walk.fields(declared.node, &keys::SERVER)?;
    let path_node = fields.required(
        walk,
        "path",
        declared.name_span,
        "write where it is reached, for example `path: /mcp`",
    );
    let path = path_node.and_then(|node| path(walk, node));
    let auth = match fields.get("auth") {
        Some(node) => auth(walk, node, identities, &by),
        None => {
            refuse_open(walk, declared, reachable);
            Vec::new()
        }
    };
    let mut list =
        |walk: &mut Walk<'_>, node: Option<&Node>, kind| patterns(walk, node, kind, upstreams, &by);
    let written = list(walk, fields.get("tools"), PatternKind::Tool);
    let tools = patterns_of(written.clone());
    let prompts = patterns_of(list(walk, fields.get("prompts"), PatternKind::Prompt));
    let resources = patterns_of(list(walk, fields.get("resources"), PatternKind::Resource));
    let naming = fields.get("naming").and_then(|node| {
        walk.word(node, &[("auto", Naming::Auto), ("prefix", Naming::Prefix), ("bare", Naming::Bare)])
    });
    let instructions = fields.get("instructions").and_then(|node| walk.text(node)).unwrap_or_default();
    let shapes = shape::lower(walk, fields.get("shape"), &tools, upstreams, &by);
    let silent = ["tools", "prompts", "resources"].iter().all(|key| declared.node.get(key).is_none());
    fields.finish();
    if silent {
        let finding =
            Finding::new(&codes::MISSING, declared.name_span, format!("{by} shows nothing to anyone"))
                .help("write `tools: [\"*\"]`, or the patterns of what agents shall see");
        walk.report(finding);
    }
    walk.places.servers.push(ServerPlaces { name: declared.name_span, tools: written });
    let server = Server {
        name: declared.name.to_owned(),
        path: path?,
        auth,
        tools,
        prompts,
        resources,
        naming: naming.unwrap_or(Naming::Auto),
        instructions,
        shapes,
    };
    Some((server, path_node?.span))
}

fn patterns(
    walk: &mut Walk<'_>,
    node: Option<&Node>,
    kind: PatternKind,
    scope: &mut Scope<'_>,
    by: &str,
) -> Vec<Written> {
    let Some(node) = node else { return Vec::new() };
    let items = walk.list(node, "patterns").unwrap_or_default();
    let written: Vec<Written> = items.iter().filter_map(|item| pattern::read(walk, item, kind)).collect();
    for pattern in &written {
        for at in pattern::upstreams(walk, pattern, scope, by) {
            scope.used[at] = true;
        }
    }
    written
}

fn patterns_of(written: Vec<Written>) -> Vec<Pattern> {
    written.into_iter().map(|written| written.pattern).collect()
}

fn auth(walk: &mut Walk<'_>, node: &Node, identities: &mut Scope<'_>, by: &str) -> Vec<u16> {
    if matches!(&node.value, Value::Scalar(scalar) if scalar.text == "none") {
        return Vec::new();
    }
    let Some(items) = walk.list(node, "identities, or `none`") else { return Vec::new() };
    if items.is_empty() {
        let finding = Finding::new(&codes::MISSING, node.span, format!("{by} names no identity"))
            .help("write `auth: none` to open it to anyone who can reach it");
        walk.report(finding);
    }
    let mut auth = Vec::new();
    for item in items {
        match identities.resolve(walk, item, &codes::UNKNOWN_IDENTITY, by) {
            Some(at) if !auth.contains(&at) => auth.push(at),
            _ => {}
        }
    }
    auth
}

fn refuse_open(walk: &mut Walk<'_>, declared: &Declared<'_>, reachable: &[Reachable]) {
    let Some(listener) = reachable.first() else { return };
    let message = format!("server `{}` has no `auth` and is reachable at `{}`", declared.name, listener.bind);
    let finding = Finding::new(&codes::OPEN_SERVER, declared.name_span, message)
        .label("open to anyone who can connect")
        .note(listener.span, "listens beyond this machine")
        .help("name an identity in `auth`, or write `auth: none` if this is meant");
    walk.report(finding);
}

/// `/` and segments of unreserved characters: what a URL shows is what is compared, byte for byte.
fn path(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let path = walk.text(node)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    let why = if !path.starts_with('/') {
        "it does not begin with `/`"
    } else if !path.chars().all(legal) {
        "it holds a character other than letters, digits and `-._~/`"
    } else if path.split('/').skip(1).any(|part| matches!(part, "." | "..")) || path.contains("//") {
        "it holds `//`, `.` or `..`"
    } else if path.len() > 1 && path.ends_with('/') {
        "it ends in `/`"
    } else if path.starts_with("/.well-known") || matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics")
    {
        "Strait answers there itself"
    } else {
        return Some(path);
    };
    let quoted = walk.quote(node.span.file, &path);
    walk.report(Finding::new(&codes::NAME, node.span, format!("{quoted} cannot be a server's path: {why}")));
    None
}
