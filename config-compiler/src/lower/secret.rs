//! Secrets with a place of their own.

use strait_table::secret::{Secret, Source};

use super::{blocks::Declared, path};
use crate::{
    diagnostic::{Finding, codes},
    source::{Entry, Node},
    walk::{Walk, keys},
};

pub fn lower(walk: &mut Walk<'_>, declared: &Declared<'_>) -> Option<Secret> {
    let mut fields = walk.fields(declared.node, &keys::SECRET)?;
    let kinds = ["file", "env", "systemd"];
    let source = fields.exactly_one(walk, &kinds, declared.name_span).and_then(|entry| source(walk, entry));
    fields.finish();
    Some(Secret { name: declared.name.to_owned(), source: source? })
}

fn source(walk: &mut Walk<'_>, entry: &Entry) -> Option<Source> {
    let node = &entry.value;
    match entry.key.as_str() {
        "file" => path(walk, node).map(Source::File),
        "env" => plain(walk, node, "an environment variable").map(Source::Env),
        _ => plain(walk, node, "a credential of systemd").map(Source::Systemd),
    }
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
