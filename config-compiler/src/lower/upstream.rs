//! Upstreams: how to reach a real MCP server, what to say to it, how long to wait.

use strait_table::rules::{Era, Per, Sample, Stdio, Text, Timeouts, Transport, Upstream};

use super::{blocks::Declared, credential, identity_header, path, tls};
use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::{Entry, Node, Span, include::seen_from_root, reference::Spelling},
    walk::{Walk, keys},
};

const IDLE_MS: u64 = 600_000;
const DAY_MS: u64 = 86_400_000;
const CHILDREN_MAX: u32 = 16;

pub fn lower(walk: &mut Walk<'_>, declared: &Declared<'_>) -> Option<Upstream> {
    let mut fields = walk.fields(declared.node, &keys::UPSTREAM)?;
    let transport = fields
        .exactly_one(walk, &["http", "stdio", "sample"], declared.name_span)
        .and_then(|entry| transport(walk, entry));
    let mut own =
        fields.entry("tls").map(|entry| tls::upstream(walk, entry, transport.as_ref())).unwrap_or_default();
    let credential = credential::lower(walk, &mut fields, transport.as_ref(), &mut own);
    let told = fields.entry("identity_header").and_then(|entry| {
        identity_header::lower(walk, entry, declared.name, transport.as_ref(), credential.as_ref())
    });
    let upstream = Upstream {
        name: declared.name.to_owned(),
        era: fields.get("era").and_then(|node| era(walk, node)).unwrap_or(Era::Auto),
        credential,
        identity_header: told,
        timeout: fields.get("timeout").and_then(|node| timeout(walk, node)).unwrap_or_default(),
        list_ttl_ms: fields
            .get("list_ttl")
            .and_then(|node| walk.duration(node, 0..=DAY_MS))
            .map_or(0, |ms| ms as u32),
        tls: own,
        transport: transport.unwrap_or(Transport::Sample(Sample::Stdio)),
    };
    fields.finish();
    Some(upstream)
}

fn transport(walk: &mut Walk<'_>, entry: &Entry) -> Option<Transport> {
    let node = &entry.value;
    match entry.key.as_str() {
        "http" => {
            let urls = walk.one_or_many(node);
            if urls.is_empty() {
                let finding = walk.wrong_type(node, "a URL, or a list of at least one");
                walk.report(finding);
            }
            let endpoints = urls.iter().filter_map(|url| walk.endpoint(url)).collect();
            Some(Transport::Http { endpoints })
        }
        "sample" => {
            walk.word(node, &[("stdio", Sample::Stdio), ("http", Sample::Http)]).map(Transport::Sample)
        }
        _ => stdio(walk, node, entry.key_span).map(Transport::Stdio),
    }
}

fn stdio(walk: &mut Walk<'_>, node: &Node, at: Span) -> Option<Stdio> {
    let mut fields = walk.fields(node, &keys::STDIO)?;
    let command = fields
        .required(walk, "command", at, "write the program, for example `command: uvx`")
        .and_then(|node| command(walk, node, Spelling::Native));
    let args = fields.get("args").map(|node| args(walk, node, Spelling::Native)).unwrap_or_default();
    let env = fields.get("env").map(|node| env(walk, node, Spelling::Native)).unwrap_or_default();
    let cwd = fields.get("cwd").and_then(|node| path(walk, node));
    let per = fields.get("per").and_then(|node| {
        walk.word(node, &[("shared", Per::Shared), ("session", Per::Session), ("principal", Per::Principal)])
    });
    let per = per.unwrap_or(Per::Shared);
    let max = fields.get("max").and_then(|node| walk.integer(node, 1..=1024));
    let idle = fields.get("idle").and_then(|node| walk.duration(node, 1_000..=7 * DAY_MS));
    fields.finish();
    let max = max.map_or(if per == Per::Shared { 1 } else { CHILDREN_MAX }, |max| max as u32);
    Some(Stdio { command: command?, args, env, cwd, per, max, idle_ms: idle.unwrap_or(IDLE_MS) })
}

/// A bare name is looked up on PATH. A path is seen from the root's folder, and keeps a `./` so that
/// nobody takes it for a bare name.
pub fn command(walk: &mut Walk<'_>, node: &Node, spelling: Spelling) -> Option<String> {
    let written = walk.text_spelt(node, spelling)?;
    if written.is_empty() || written.contains('\0') {
        walk.report(Finding::new(&codes::NAME, node.span, "this command names no program"));
        return None;
    }
    if !written.contains('/') || written.starts_with('/') {
        return Some(written);
    }
    let seen = seen_from_root(&walk.files.file(node.span.file).name, &written);
    Some(if seen.starts_with("../") || seen.starts_with('/') { seen } else { format!("./{seen}") })
}

pub fn args(walk: &mut Walk<'_>, node: &Node, spelling: Spelling) -> Vec<String> {
    let items = walk.list(node, "arguments").unwrap_or_default();
    items.iter().filter_map(|item| walk.loose_text(item, spelling)).collect()
}

pub fn env(walk: &mut Walk<'_>, node: &Node, spelling: Spelling) -> Vec<(String, Text)> {
    let entries = walk.map(node, "a mapping of variables").unwrap_or_default();
    let mut env = Vec::new();
    for entry in entries {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let message = format!("`{}` cannot name an environment variable", entry.key);
            walk.report(Finding::new(&codes::NAME, entry.key_span, message));
            continue;
        }
        if let Some(text) = walk.secret(&entry.value, spelling) {
            clear_text::in_env(walk, &entry.key, &text, &entry.value);
            env.push((entry.key.clone(), text));
        }
    }
    env
}

fn era(walk: &mut Walk<'_>, node: &Node) -> Option<Era> {
    walk.word(
        node,
        &[("auto", Era::Auto), ("modern", Era::Modern), ("legacy", Era::Legacy), ("sse", Era::Sse)],
    )
}

fn timeout(walk: &mut Walk<'_>, node: &Node) -> Option<Timeouts> {
    const HOUR: u64 = 3_600_000;
    let mut fields = walk.fields(node, &keys::TIMEOUT)?;
    let default = Timeouts::default();
    let mut read = |walk: &mut Walk<'_>, key, otherwise| {
        let written: Option<u64> = fields.get(key).and_then(|node| walk.duration(node, 1..=HOUR));
        written.map_or(otherwise, |ms| ms as u32)
    };
    let timeouts = Timeouts {
        connect_ms: read(walk, "connect", default.connect_ms),
        first_byte_ms: read(walk, "first_byte", default.first_byte_ms),
        call_ms: read(walk, "call", default.call_ms),
    };
    fields.finish();
    Some(timeouts)
}
