//! The file that agents' users already have: `{"mcpServers": {...}}`. Every server in it becomes an
//! upstream of `servers.default` at `/mcp`, with all of its tools, prompts and resources, open to this
//! machine. Keys that other clients added for themselves are warned about and left alone; what would
//! change who is trusted (`oauth`) is refused.

use std::collections::BTreeMap;

use strait_table::{
    names::Names,
    rules::{
        AccessLog, Caps, Credential, Effect, Era, Pattern, PatternKind, Per, Policy, Rules, Server, Stdio,
        TextPart, Timeouts, Transport, Upstream,
    },
};

use super::{ADMIN_BIND, BODY_BYTES_MAX, credential, listener, upstream};
use crate::{
    check::{self, clear_text},
    diagnostic::{Finding, codes},
    import::draft::folded,
    limits::UPSTREAMS_MAX,
    source::{Entry, Node, Span, include::seen_from_root, reference::Spelling},
    walk::{Fields, Walk, keys},
};

const FORM: Spelling = Spelling::McpServers;
const IDLE_MS: u64 = 600_000;

pub fn lower(walk: &mut Walk<'_>, root: &Node) -> Rules {
    let mut upstreams = Vec::new();
    if let Some(mut fields) = walk.fields(root, &keys::MCP_ROOT) {
        let servers =
            fields.get("mcpServers").and_then(|node| walk.map(node, "a mapping of servers by name"));
        fields.finish();
        upstreams = self::servers(walk, servers.unwrap_or_default());
        if servers.is_some_and(|servers| servers.is_empty()) {
            let at = walk.files.first_line(root.span);
            walk.report(Finding::new(&codes::MISSING, at, "`mcpServers` names no server"));
        }
    }
    let all = |kind| vec![Pattern { kind, glob: "*".to_owned() }];
    let server = Server {
        name: "default".to_owned(),
        path: "/mcp".to_owned(),
        auth: Vec::new(),
        tools: all(PatternKind::Tool),
        prompts: all(PatternKind::Prompt),
        resources: all(PatternKind::Resource),
        naming: strait_table::rules::Naming::Auto,
        instructions: String::new(),
        shapes: Vec::new(),
    };
    Rules {
        listeners: vec![listener::fallback()],
        admin_bind: ADMIN_BIND.to_owned(),
        upstreams,
        paths: Names::build([server.path.as_str()].into_iter()),
        servers: vec![server],
        identities: Vec::new(),
        traits: Vec::new(),
        roles: Vec::new(),
        windows: Vec::new(),
        automata: Vec::new(),
        policy: Policy { default: Effect::Allow, rules: Vec::new() },
        limits: Vec::new(),
        secrets: Vec::new(),
        prices: Vec::new(),
        access_log: AccessLog::default(),
        audit: None,
        telemetry: Default::default(),
        body_bytes_max: BODY_BYTES_MAX,
        caps: Caps::default(),
        pins: Vec::new(),
        sources: Vec::new(),
    }
}

fn servers(walk: &mut Walk<'_>, entries: &[Entry]) -> Vec<Upstream> {
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    let mut upstreams = Vec::new();
    if let Some(beyond) = entries.get(UPSTREAMS_MAX) {
        let message = format!("there are more than {UPSTREAMS_MAX} servers");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, beyond.key_span, message));
    }
    for entry in entries.iter().take(UPSTREAMS_MAX) {
        let name = normalised(walk, entry);
        check::stale_lock::is_pinned(walk, &name, entry.key_span);
        if let Some(first) = names.insert(name.clone(), entry.key_span) {
            let message = format!("two servers would be called `{name}`");
            walk.report(
                Finding::new(&codes::DECLARED_TWICE, entry.key_span, message)
                    .note(first, "the other is here"),
            );
            continue;
        }
        upstreams.extend(server(walk, entry, name));
    }
    upstreams
}

/// Names here are free text; ours are not.
fn normalised(walk: &mut Walk<'_>, entry: &Entry) -> String {
    let name = folded(&entry.key);
    if name != entry.key {
        let quoted = walk.quote(entry.key_span.file, &entry.key);
        let finding =
            Finding::new(&codes::RENAMED, entry.key_span, format!("{quoted} is called `{name}` here"))
                .label("names are made of letters, digits, `_` and `-`");
        walk.report(finding);
    }
    name
}

fn server(walk: &mut Walk<'_>, entry: &Entry, name: String) -> Option<Upstream> {
    let mut fields = walk.fields(&entry.value, &keys::MCP_SERVER)?;
    let era = fields.get("type").and_then(|node| kind(walk, node)).unwrap_or(Era::Auto);
    let said = fields.exactly_one(walk, &["command", "url"], entry.key_span);
    let disabled =
        fields.get("disabled").and_then(|node| walk.word(node, &[("true", true), ("false", false)]));
    let stdio = stdio(walk, &mut fields);
    let credential = fields.get("headers").and_then(|node| headers(walk, node));
    fields.finish();
    let said = said.filter(|_| disabled != Some(true))?;
    let transport = match said.key.as_str() {
        "url" => Transport::Http { endpoints: url(walk, &said.value).into_iter().collect() },
        _ => Transport::Stdio(Stdio { command: upstream::command(walk, &said.value, FORM)?, ..stdio }),
    };
    Some(Upstream {
        name,
        transport,
        era,
        credential,
        identity_header: None,
        timeout: Timeouts::default(),
        list_ttl_ms: 0,
        tls: Default::default(),
    })
}

/// Only one of these words says more than the other keys do.
fn kind(walk: &mut Walk<'_>, node: &Node) -> Option<Era> {
    walk.word(
        node,
        &[
            ("stdio", Era::Auto),
            ("http", Era::Auto),
            ("streamable-http", Era::Auto),
            ("streamableHttp", Era::Auto),
            ("sse", Era::Sse),
        ],
    )
}

/// All of a command but the command.
fn stdio(walk: &mut Walk<'_>, fields: &mut Fields<'_>) -> Stdio {
    let cwd = fields.get("cwd").and_then(|node| {
        let written = walk.text_spelt(node, FORM)?;
        Some(seen_from_root(&walk.files.file(node.span.file).name, &written))
    });
    Stdio {
        command: String::new(),
        args: fields.get("args").map(|node| upstream::args(walk, node, FORM)).unwrap_or_default(),
        env: fields.get("env").map(|node| upstream::env(walk, node, FORM)).unwrap_or_default(),
        cwd,
        per: Per::Shared,
        max: 1,
        idle_ms: IDLE_MS,
    }
}

fn url(walk: &mut Walk<'_>, node: &Node) -> Option<strait_table::rules::Endpoint> {
    let text = walk.text_spelt(node, FORM)?;
    walk.endpoint_of(node, &text)
}

/// One header is a credential; more than one is more than an upstream can carry in this version.
fn headers(walk: &mut Walk<'_>, node: &Node) -> Option<Credential> {
    clear_text::mask_literals(walk, node);
    let entries = walk.map(node, "a mapping of headers")?;
    if let Some(second) = entries.get(1) {
        walk.not_supported("a second header", second.key_span);
    }
    let entry = entries.first()?;
    credential::check_header_name(walk, &entry.key, entry.key_span);
    let value = credential::header_value(walk, &entry.value, FORM)?;
    if value.parts.iter().all(|part| matches!(part, TextPart::Literal(_))) {
        clear_text::report(walk, entry.value.span, "this header");
    }
    Some(Credential::Header { name: entry.key.clone(), value })
}
