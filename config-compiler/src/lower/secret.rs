//! Secrets with a place of their own. What is written here is asked over the network later, so what could never be asked or found
//! is said now.

use strait_table::rules::{Text, TextPart};
use strait_table::secret::{Aws, Secret, Source, Vault, VaultLogin};

use super::{blocks::Declared, credential, path, token::url};
use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::{Entry, Node, reference::Spelling},
    walk::{Fields, Walk, keys},
};

const REFRESH_S: u32 = 5 * 60;
const REFRESH_MS_MAX: u64 = 24 * 3_600_000;
/// What AWS takes as a name or ARN.
const AWS_NAME_BYTES_MAX: usize = 2_048;

/// `all`: every declared secret, since one may be the way to another.
pub fn lower(walk: &mut Walk<'_>, declared: &Declared<'_>, all: &[Declared<'_>]) -> Option<Secret> {
    let mut fields = walk.fields(declared.node, &keys::SECRET)?;
    let kinds = ["file", "env", "systemd", "vault", "aws"];
    let written = fields.exactly_one(walk, &kinds, declared.name_span);
    fields.finish();
    let source = written.and_then(|entry| source(walk, entry, all));
    Some(Secret { name: declared.name.to_owned(), source: source? })
}

fn source(walk: &mut Walk<'_>, entry: &Entry, all: &[Declared<'_>]) -> Option<Source> {
    let node = &entry.value;
    match entry.key.as_str() {
        "file" => path(walk, node).map(Source::File),
        "env" => plain(walk, node, "an environment variable").map(Source::Env),
        "systemd" => plain(walk, node, "a credential of systemd").map(Source::Systemd),
        "vault" => vault(walk, entry, all).map(Source::Vault),
        _ => aws(walk, node).map(Source::Aws),
    }
}

fn vault(walk: &mut Walk<'_>, entry: &Entry, all: &[Declared<'_>]) -> Option<Vault> {
    let node = &entry.value;
    let mut fields = walk.fields(node, &keys::VAULT)?;
    let mut needed = |walk: &mut Walk<'_>, key| {
        fields.required(walk, key, entry.key_span, "`address`, `path` and `field` are needed")
    };
    let address = needed(walk, "address").and_then(|node| address(walk, node));
    let path = needed(walk, "path").and_then(|node| kv_path(walk, node));
    let field = needed(walk, "field").and_then(|node| some_text(walk, node, "a field"));
    let namespace = fields.get("namespace").map(|node| below(walk, node, "a namespace"));
    let written = fields.exactly_one(walk, &["token", "approle"], entry.key_span);
    let refresh_s = refresh(walk, &mut fields);
    let ca = fields.get("ca").map(|node| super::path(walk, node));
    fields.finish();
    let login = match written? {
        entry if entry.key == "token" => shown(walk, &entry.value, all).map(VaultLogin::Token),
        entry => approle(walk, entry, all),
    };
    let (namespace, ca) = (optional(namespace)?, optional(ca)?);
    Some(Vault { address: address?, path: path?, field: field?, namespace, login: login?, refresh_s, ca })
}

fn approle(walk: &mut Walk<'_>, entry: &Entry, all: &[Declared<'_>]) -> Option<VaultLogin> {
    let mut fields = walk.fields(&entry.value, &keys::APPROLE)?;
    let mut needed = |walk: &mut Walk<'_>, key| {
        fields.required(walk, key, entry.key_span, "`role` and `secret` are needed")
    };
    // The id of a role is a name rather than a secret, and may be written.
    let role = needed(walk, "role").and_then(|node| walk.secret(node, Spelling::Native));
    let secret = needed(walk, "secret").and_then(|node| shown(walk, node, all));
    let mount = fields.get("mount").map(|node| below(walk, node, "a mount"));
    fields.finish();
    let mount = optional(mount)?.unwrap_or_else(|| "approle".to_owned());
    Some(VaultLogin::AppRole { mount, role: role?, secret: secret? })
}

fn aws(walk: &mut Walk<'_>, node: &Node) -> Option<Aws> {
    let mut fields = walk.fields(node, &keys::AWS)?;
    let mut needed =
        |walk: &mut Walk<'_>, key| fields.required(walk, key, node.span, "`region` and `name` are needed");
    let region = needed(walk, "region").and_then(|node| region(walk, node));
    let name = needed(walk, "name").and_then(|node| aws_name(walk, node));
    let field = fields.get("field").map(|node| some_text(walk, node, "a field"));
    let endpoint = fields.get("endpoint").map(|node| address(walk, node));
    let refresh_s = refresh(walk, &mut fields);
    fields.finish();
    let (field, endpoint) = (optional(field)?, optional(endpoint)?);
    Some(Aws { region: region?, name: name?, field, endpoint, refresh_s })
}

/// What may be left out and, where it is written, must be right.
fn optional<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        None => Some(None),
        Some(right) => right.map(Some),
    }
}

fn refresh(walk: &mut Walk<'_>, fields: &mut Fields<'_>) -> u32 {
    let ms = fields.get("refresh").and_then(|node| walk.duration(node, 1_000..=REFRESH_MS_MAX));
    ms.map_or(REFRESH_S, |ms| (ms / 1_000) as u32)
}

/// What a store is shown. It cannot come out of a store: who would be asked first?
fn shown(walk: &mut Walk<'_>, node: &Node, all: &[Declared<'_>]) -> Option<Text> {
    let text = walk.secret(node, Spelling::Native)?;
    if credential::is_literal(&text) {
        clear_text::report(walk, node.span, "what this store is shown");
    }
    let is_of_a_store = |name: &str| {
        let other = all.iter().find(|declared| declared.name == name);
        other.is_some_and(|other| ["vault", "aws"].iter().any(|key| other.node.get(key).is_some()))
    };
    for part in &text.parts {
        if let TextPart::Secret(name) = part
            && is_of_a_store(name)
        {
            let message =
                format!("secret `{name}` is in a store itself: the way into a store cannot come out of one");
            let finding = Finding::new(&codes::REFERENCE, node.span, message)
                .help("take it from `${file:PATH}`, `${env:NAME}`, systemd or the embedded vault");
            walk.report(finding);
            return None;
        }
    }
    Some(text)
}

/// A URL that ends where the paths of an interface begin.
fn address(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let url = url(walk, node)?;
    let end = url.trim_end_matches('/').to_owned();
    let rest = end.split_once("://").map_or("", |(_, rest)| rest);
    if rest.contains(['/', '?', '#']) {
        walk.bad_url(node, &end, "expected scheme, host and port alone: `https://vault.example:8200`");
        return None;
    }
    Some(end)
}

/// `MOUNT/data/NAME`: how version 2 of a KV store is read.
fn kv_path(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let path = below(walk, node, "a path")?;
    let parts: Vec<&str> = path.split('/').collect();
    let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
    if !inner.contains(&"data") {
        let message = format!("`{path}` is no path of a KV store of version 2");
        let finding = Finding::new(&codes::NAME, node.span, message)
            .help("write `MOUNT/data/NAME`: what `vault kv get` calls `kv/crm` is `kv/data/crm`");
        walk.report(finding);
        return None;
    }
    Some(path)
}

/// Parts between slashes, none of which leads elsewhere.
fn below(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node)?;
    let legal = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.~@:".contains(&byte))
    };
    if !text.split('/').all(legal) {
        let finding = Finding::new(&codes::NAME, node.span, format!("this cannot be {what}"))
            .help("parts of letters, digits and `_-.~@:`, with `/` between them and at neither end");
        walk.report(finding);
        return None;
    }
    Some(text)
}

fn region(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let region = walk.text(node)?;
    let is_one = region.contains('-')
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !region.starts_with('-')
        && !region.ends_with('-');
    if !is_one {
        let finding = Finding::new(&codes::NAME, node.span, "this is no region of AWS")
            .help("a region is written like `eu-central-1`");
        walk.report(finding);
        return None;
    }
    Some(region)
}

fn aws_name(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let name = walk.text(node)?;
    let is_one = (1..=AWS_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-:!".contains(&byte));
    if !is_one {
        let finding = Finding::new(&codes::NAME, node.span, "this cannot name a secret of AWS")
            .help("names have letters, digits and `/_+=.@-`; an ARN has `:` too");
        walk.report(finding);
        return None;
    }
    Some(name)
}

fn some_text(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node)?;
    if text.is_empty() {
        walk.report(Finding::new(&codes::NAME, node.span, format!("this cannot name {what}: it is empty")));
        return None;
    }
    Some(text)
}

/// A name without anything that leads elsewhere.
fn plain(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let name = walk.text(node)?;
    let is_plain = !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte));
    if !is_plain {
        walk.report(Finding::new(&codes::NAME, node.span, format!("this cannot name {what}")));
        return None;
    }
    Some(name)
}
