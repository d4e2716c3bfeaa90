//! agentgateway's configuration, in its short form (`mcp:`) and its long one (`binds:`). Each route to MCP targets becomes
//! a server of ours at its path, each target an upstream. A policy that is not known here may hold something back, so
//! its route is left out; rules in CEL go through [`super::rules`]. What stands at a route is in [`policies`], what is behind it in
//! [`backend`].

mod backend;
mod policies;

use super::{
    draft::Draft,
    report::{Reader, shown, text_of},
    rules::Spoken,
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
                    backend::backend(reader, entry, keys, &mut route, draft);
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
            "policies" => policies::policies(reader, entry, &mut route),
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
                policies::policies(reader, entry, &mut route);
            }
            for entry in keys {
                match entry.key.as_str() {
                    "policies" => {}
                    "mcp" => {
                        reader.mapped(entry, "a server");
                        if let Some(keys) = reader.map(entry) {
                            backend::backend(reader, entry, keys, &mut route, draft);
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
