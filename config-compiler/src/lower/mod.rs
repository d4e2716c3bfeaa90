//! From trees to rules. [`blocks`] merges the files into one set of declarations; then each block has
//! a file that takes its part of the tree and gives its part of the table. Lowering never stops at a
//! mistake: it reports, leaves the thing out, and goes on, so that one run tells everything. What it
//! returns is only meaningful when nothing was an error.

pub mod audit;
pub mod blocks;
pub mod cedar;
pub mod condition;
pub mod credential;
pub mod exchange;
pub mod identity;
pub mod identity_header;
pub mod limits;
pub mod listener;
pub mod mcp_servers;
pub mod mtls;
pub mod pattern;
pub mod policy;
pub mod scope;
mod scopes;
pub mod secret;
pub mod server;
pub mod shape;
mod ship;
mod telemetry;
pub mod tls;
pub mod token;
pub mod upstream;

use strait_table::{
    names::Names,
    rules::{AccessLog, Caps, LogTo, Rules},
};

use crate::{
    check,
    diagnostic::{Finding, codes},
    limits::*,
    source::{Node, Value, include::Document, include::seen_from_root},
    walk::{Walk, keys},
};
use blocks::Blocks;
use condition::Conditions;
use scope::Scope;

/// Where the admin endpoints listen when nothing is written.
pub const ADMIN_BIND: &str = "127.0.0.1:8081";
/// Where agents connect when nothing is written.
pub const LISTENER_BIND: &str = "127.0.0.1:8080";
const BODY_BYTES_MAX: u32 = 4 << 20;

pub fn lower(walk: &mut Walk<'_>, documents: &[Document]) -> Rules {
    let Some(root) = documents.first() else { return Rules::default() };
    if root.root.get("mcpServers").is_some() {
        return mcp_servers::lower(walk, &root.root);
    }
    let blocks = Blocks::collect(walk, documents);
    native(walk, &blocks)
}

fn native(walk: &mut Walk<'_>, blocks: &Blocks<'_>) -> Rules {
    let mut upstream_names = Scope::declare(walk, &blocks.upstreams, "upstream", UPSTREAMS_MAX);
    let mut identity_names = Scope::declare(walk, &blocks.identities, "identity", IDENTITIES_MAX);
    let mut role_names = Scope::declare(walk, &blocks.roles, "role", ROLES_MAX);
    let server_names = Scope::declare(walk, &blocks.servers, "server", SERVERS_MAX);
    let secret_names = Scope::declare(walk, &blocks.secrets, "secret", SECRETS_MAX);
    let listener_names = Scope::declare(walk, &blocks.listeners, "listener", LISTENERS_MAX);

    if let Some(node) = blocks.catalog {
        // Acted on when the lock file was looked for: `load.rs`.
        walk.word(node, &[("dynamic", ()), ("locked", ())]);
    }
    check::stale_lock::run(walk, &upstream_names);
    let (listeners, reachable) = listener::lower(walk, &listener_names);
    let admin_bind = listener::admin(walk, blocks.admin, &listeners, &listener_names);
    let mut upstreams = upstream_names.lower(walk, upstream::lower);
    identity_header::issue(&mut upstreams, &listeners);
    let identities = identity_names.lower(walk, identity::lower);
    let mut conditions = Conditions::default();
    let roles = role_names.lower(walk, |walk, declared| conditions.role(walk, declared));
    let servers = server::lower(walk, &server_names, &mut upstream_names, &mut identity_names, &reachable);
    check::certificates::run(walk, &listeners, &servers, &identities, (&server_names, &identity_names));
    exchange::settle(walk, &mut upstreams, &identities, &servers);
    let policy =
        policy::lower(walk, blocks, &server_names, &mut upstream_names, &mut role_names, &mut conditions);

    let prices = limits::prices(walk, blocks, &upstream_names);
    let limits = limits::lower(walk, blocks, &upstream_names, &mut role_names, &prices);

    let roles_at = role_names.declared.iter().zip(&role_names.used);
    walk.places.roles = roles_at.map(|(declared, used)| used.then_some(declared.name_span)).collect();
    check::unused::run(walk, &[&upstream_names, &identity_names, &role_names]);
    let telemetry = blocks.telemetry.map(|node| telemetry::lower(walk, node)).unwrap_or_default();
    let secrets = secret_names.lower(walk, |walk, declared| secret::lower(walk, declared, &blocks.secrets));
    check::unused::secrets(walk, &secret_names);
    let audit = blocks.audit.and_then(|node| {
        let at = walk.files.first_line(node.span);
        audit::lower(walk, node, at)
    });
    if blocks.audit.is_none() {
        let audited = std::mem::take(&mut walk.audited);
        audit::without_log(walk, &audited);
    }
    let shared = conditions.shared;
    let paths = Names::build(servers.iter().map(|server| server.path.as_str()));
    Rules {
        listeners,
        admin_bind,
        upstreams,
        servers,
        paths,
        identities,
        traits: shared.traits,
        roles,
        windows: shared.windows,
        automata: shared.automata,
        policy,
        limits,
        prices,
        secrets,
        access_log: blocks.access_log.map(|node| access_log(walk, node)).unwrap_or_default(),
        audit,
        telemetry,
        body_bytes_max: blocks.body_max.and_then(|node| body_max(walk, node)).unwrap_or(BODY_BYTES_MAX),
        caps: blocks.caps.map(|node| caps(walk, node)).unwrap_or_default(),
        pins: Vec::new(),
        sources: Vec::new(),
    }
}

fn body_max(walk: &mut Walk<'_>, node: &Node) -> Option<u32> {
    walk.size(node, 1 << 10..=1 << 30).map(|bytes| bytes as u32)
}

fn caps(walk: &mut Walk<'_>, node: &Node) -> Caps {
    let mut caps = Caps::default();
    let Some(mut fields) = walk.fields(node, &keys::CAPS) else { return caps };
    if let Some(count) = fields.get("connections").and_then(|node| walk.integer(node, 1..=1 << 20)) {
        caps.connections = count as u32;
    }
    if let Some(count) = fields.get("calls").and_then(|node| walk.integer(node, 1..=1 << 20)) {
        caps.calls = count as u32;
    }
    if let Some(bytes) = fields.get("bytes").and_then(|node| walk.size(node, 1 << 20..=1 << 40)) {
        caps.bytes = bytes;
    }
    fields.finish();
    caps
}

fn access_log(walk: &mut Walk<'_>, node: &Node) -> AccessLog {
    let mut log = AccessLog::default();
    if let Value::Scalar(_) = node.value {
        if let Some(off) = walk.word(node, &[("stdout", false), ("off", true)]) {
            log.to = if off { LogTo::Off } else { LogTo::Stdout };
        }
        return log;
    }
    let Some(mut fields) = walk.fields(node, &keys::ACCESS_LOG) else { return log };
    if let Some(path) = fields.get("path").and_then(|node| path(walk, node)) {
        log.to = match path.as_str() {
            "stdout" => LogTo::Stdout,
            "off" => LogTo::Off,
            _ => LogTo::File(path),
        };
    }
    if let Some(ppm) = fields.get("sample").and_then(|node| walk.share_ppm(node)) {
        log.sample_ppm = ppm;
    }
    fields.finish();
    log
}

/// A path as kept in the table: seen from the root's folder.
pub fn path(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let written = walk.text(node)?;
    if written.is_empty() {
        walk.report(Finding::new(&codes::NAME, node.span, "this path is empty"));
        return None;
    }
    Some(seen_from_root(&walk.files.file(node.span.file).name, &written))
}
