//! `{"mcpServers": {…}}`: the file of Claude Desktop, Claude Code, Cursor, Windsurf and of everybody who took the form
//! over. Servers become upstreams of one server at /mcp, open to this machine as the client's file was. Tools that were
//! switched off are denied; what the client lets pass without asking its user is the client's affair.

use super::{
    draft::{Draft, Reach, Server},
    entry::Candidate,
    report::{Reader, shown, text_of},
    variables::Variables,
};
use crate::source::{Entry, Node, Value};

pub fn read(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft, variables: &Variables) {
    let Value::Map(entries) = &root.value else { return };
    for entry in entries {
        match entry.key.as_str() {
            "mcpServers" => {
                let Some(servers) = reader.map(entry) else { continue };
                reader.mapped(entry, "upstreams");
                self::servers(reader, servers, draft, variables);
            }
            "$schema" => reader.ignored(entry, "the schema of another form"),
            // Claude Code's own file keeps the servers of projects in it.
            "projects" => projects(reader, entry),
            _ => reader.ignored_whole(entry, "not about servers: a setting of the client"),
        }
    }
    publish(draft);
}

fn projects(reader: &mut Reader<'_>, entry: &Entry) {
    let has_servers = |project: &Entry| match project.value.get("mcpServers").map(|node| &node.value) {
        Some(Value::Map(servers)) => !servers.is_empty(),
        _ => false,
    };
    match &entry.value.value {
        Value::Map(projects) if projects.iter().any(has_servers) => {
            let count = projects.iter().filter(|project| has_servers(project)).count();
            let asks = format!(
                "{count} of these projects have servers of their own: import them one by one if they are meant"
            );
            reader.asked_whole(entry, asks);
        }
        _ => reader.ignored_whole(entry, "no servers in it"),
    }
}

pub fn servers(reader: &mut Reader<'_>, servers: &[Entry], draft: &mut Draft, variables: &Variables) {
    for entry in servers {
        server(reader, entry, draft, variables);
    }
}

/// One server at /mcp with all that came in, open as the client's file was.
pub fn publish(draft: &mut Draft) {
    let names: Vec<String> = draft.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    draft.allow_all("imported", &names);
    draft.servers.push(Server {
        name: "default".to_owned(),
        path: "/mcp".to_owned(),
        auth: false,
        upstreams: names,
    });
}

fn server(reader: &mut Reader<'_>, entry: &Entry, draft: &mut Draft, variables: &Variables) {
    let Some(name) = draft.name(&entry.key) else {
        reader.asked_whole(entry, "left out: there are more servers than a configuration may have");
        return;
    };
    let mut candidate = Candidate::new(name);
    let Some(entries) = reader.map(entry) else {
        candidate.why.push("it is no mapping".to_owned());
        candidate.settle(draft, reader, entry);
        return;
    };
    // Some wrap how a server is reached in a mapping of its own.
    let nested =
        entries.iter().find(|entry| entry.key == "transport" && matches!(entry.value.value, Value::Map(_)));
    let inner = match nested {
        Some(nested) => {
            reader.mapped(nested, "how it is reached");
            reader.map(nested).unwrap_or_default()
        }
        None => &[],
    };
    let all = || {
        entries.iter().chain(inner).filter(|entry| nested.is_none_or(|nested| !std::ptr::eq(*entry, nested)))
    };
    if all().any(is_switched_off) {
        for entry in all() {
            match is_switched_off(entry) {
                true => reader.mapped(entry, "left out: it is switched off"),
                false => reader.ignored_whole(entry, "its server is switched off"),
            }
        }
        reader.ignored(entry, "it is switched off");
        return;
    }
    let mut said = Said::default();
    for entry in all() {
        key(reader, entry, &mut candidate, &mut said, variables);
    }
    said.conclude(reader, entry, &mut candidate);
    candidate.settle(draft, reader, entry);
}

fn is_switched_off(entry: &Entry) -> bool {
    let says = |word: &str| text_of(&entry.value).is_some_and(|text| text.eq_ignore_ascii_case(word));
    (entry.key == "disabled" && says("true")) || (entry.key == "enabled" && says("false"))
}

/// What the keys of one server say together.
#[derive(Default)]
struct Said {
    has_url: bool,
    command: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<String>,
    kind: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdio,
    Http,
    Sse,
}

impl Said {
    fn conclude(self, reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) {
        candidate.upstream.is_sse = self.kind == Some(Kind::Sse) && self.has_url;
        match (self.command, self.has_url) {
            (Some(_), true) => candidate.blocked(reader, entry, "it has a command and a URL"),
            (None, false) => {
                if candidate.why.is_empty() {
                    candidate.blocked(reader, entry, "it has neither a command nor a URL");
                }
            }
            (None, true) => {
                if self.kind == Some(Kind::Stdio) {
                    candidate.blocked(reader, entry, "it says that it is a command, and has a URL");
                }
                if !self.env.is_empty() || !self.args.is_empty() {
                    candidate.blocked(
                        reader,
                        entry,
                        "it has a URL, and an environment or arguments for a command",
                    );
                }
            }
            (Some(command), false) => {
                if matches!(self.kind, Some(Kind::Http | Kind::Sse)) {
                    candidate.blocked(
                        reader,
                        entry,
                        "it says that it is reached by a URL, and has a command",
                    );
                }
                if candidate.upstream.credential.is_some() {
                    candidate.blocked(reader, entry, "it has headers, and is a command");
                }
                candidate.upstream.reach =
                    Reach::Stdio { command, args: self.args, env: self.env, cwd: self.cwd };
            }
        }
    }
}

fn key(
    reader: &mut Reader<'_>,
    entry: &Entry,
    candidate: &mut Candidate,
    said: &mut Said,
    variables: &Variables,
) {
    match entry.key.as_str() {
        "command" => said.command = candidate.plain(reader, entry, variables, "stdio.command"),
        "args" => said.args = candidate.args(reader, entry, variables),
        "env" => said.env = candidate.env(reader, entry, variables),
        "cwd" => said.cwd = candidate.plain(reader, entry, variables, "stdio.cwd"),
        "url" | "serverUrl" | "httpUrl" => {
            if said.has_url {
                candidate.blocked(reader, entry, "it has two URLs");
            }
            said.has_url = true;
            candidate.url(reader, entry, variables);
        }
        "headers" => candidate.headers(reader, entry, variables),
        "type" | "transport" | "transportType" => kind(reader, entry, candidate, said),
        "disabled" | "enabled" => match reader.flag(entry) {
            Some(_) => reader.mapped(entry, "it is switched on"),
            None => candidate.why.push("whether it is switched on cannot be read".to_owned()),
        },
        "disabledTools" | "excludeTools" | "disabled_tools" => {
            if let Some(names) = candidate.tool_names(reader, entry) {
                reader.mapped(entry, format!("the rule {}-disabled denies them", candidate.name));
                candidate.disabled_tools.extend(names);
            }
        }
        "tools" | "includeTools" | "enabledTools" | "allowedTools" | "enabled_tools" => {
            only(reader, entry, candidate)
        }
        "alwaysAllow" | "autoApprove" | "trust" => {
            reader
                .ignored_whole(entry, "what the client calls without asking its user is the client's affair");
        }
        "timeout" | "initTimeout" | "startupTimeout" | "startup_timeout_sec" | "tool_timeout_sec" => {
            reader.ignored(
                entry,
                "its unit differs from client to client; a call has 60 s here (`timeout: { call: … }`)",
            );
        }
        "envFile" => {
            candidate.blocked(reader, entry, "variables of a file are not read: name those it needs in `env`")
        }
        "oauth" | "auth" | "authProviderType" | "headersHelper" => {
            candidate.blocked_whole(reader, entry, "this version cannot authenticate to it in this way");
        }
        "sandbox" | "sandboxEnabled" => {
            candidate.blocked_whole(reader, entry, "this version runs a server without a sandbox of its own");
        }
        "dev" => reader.ignored_whole(entry, "for whoever develops the server, in the editor"),
        "description" | "name" | "title" | "icon" | "gallery" | "version" | "note" | "notes" | "comment"
        | "metadata" | "$schema" | "alwaysLoad" | "deferLoading" => {
            reader.ignored_whole(entry, "for the client and its user alone");
        }
        _ => {}
    }
}

fn kind(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate, said: &mut Said) {
    let word = reader.text(entry).unwrap_or_default();
    said.kind = match word {
        "stdio" | "local" => Some(Kind::Stdio),
        "http" | "streamable-http" | "streamableHttp" | "streamable_http" | "remote" => Some(Kind::Http),
        "sse" => Some(Kind::Sse),
        _ => {
            candidate.blocked(
                reader,
                entry,
                format!("Strait does not reach servers of the kind `{}`", shown(word)),
            );
            return;
        }
    };
    reader.mapped(entry, if word == "sse" { "era: sse" } else { "follows from how it is reached" });
}

/// The tools that may be used, where not all may.
fn only(reader: &mut Reader<'_>, entry: &Entry, candidate: &mut Candidate) {
    if let Value::List(items) = &entry.value.value
        && matches!(items.as_slice(), [one] if text_of(one) == Some("*"))
    {
        reader.mapped(entry, "all of its tools");
        return;
    }
    // Elsewhere this key describes tools, and restricts nothing.
    if matches!(&entry.value.value, Value::Map(_)) {
        candidate.blocked_whole(
            reader,
            entry,
            "what this says of single tools cannot be told apart from a restriction",
        );
        return;
    }
    if let Some(names) = candidate.tool_names(reader, entry) {
        reader.mapped(entry, "the server shows these alone");
        match &mut candidate.upstream.tools {
            // Both lists must hold.
            Some(known) => known.retain(|name| names.contains(name)),
            tools => *tools = Some(names),
        }
    }
}
