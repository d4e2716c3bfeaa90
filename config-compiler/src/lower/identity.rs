//! Identities: who calls, learnt from an API key, a token (`token.rs`) or a certificate (`mtls.rs`). A key file is not part of the table (a new or
//! revoked key needs no compile), but a malformed one is found here, before it refuses everybody at
//! run time.

use std::collections::HashMap;

use strait_policy::Principal;
use strait_table::rules::{AuthMethod, GeneratedKey, Identity};

use super::{blocks::Declared, mtls, path, token};
use crate::{
    diagnostic::{Finding, codes},
    source::{Node, Span, Value},
    walk::{Walk, keys},
};

pub fn lower(walk: &mut Walk<'_>, declared: &Declared<'_>) -> Option<Identity> {
    let mut fields = walk.fields(declared.node, &keys::IDENTITY)?;
    let entry = fields.exactly_one(walk, &["api_keys", "jwt", "introspection", "mtls"], declared.name_span);
    fields.finish();
    let entry = entry?;
    let node = &entry.value;
    let method = match (entry.key.as_str(), &node.value) {
        ("jwt", _) => (token::jwt(walk, node)?, None),
        ("introspection", _) => (token::introspection(walk, node)?, None),
        ("mtls", _) => (mtls::lower(walk, node)?, None),
        (_, Value::Map(_)) => generated(walk, node, declared.name_span)?,
        _ => key_file(walk, node)?,
    };
    let (method, known) = method;
    walk.places.known.push(known);
    Some(Identity { name: declared.name.to_owned(), method })
}

/// With whom it knows, where that can be read.
type Known = (AuthMethod, Option<Vec<Principal>>);

fn key_file(walk: &mut Walk<'_>, node: &Node) -> Option<Known> {
    let mut known = None;
    let path = path(walk, node)?;
    let root = walk.files.files().next().map(|root| root.folder().to_path_buf());
    let in_memory = walk.files.file(node.span.file).path.as_os_str().is_empty();
    if let (Some(folder), false) = (root, in_memory) {
        let real = folder.join(&path);
        if !real.exists() {
            let finding =
                Finding::new(&codes::KEY_FILE_ABSENT, node.span, format!("`{path}` does not exist yet"))
                    .label("nobody is known by it")
                    .help(format!("make a first key: `strait keys new {path} --id NAME --groups GROUP`"));
            walk.report(finding);
        } else {
            match crate::keys::load(&real) {
                Ok(file) => {
                    let keys = file.keys.into_iter().filter(|key| key.revoked.is_none());
                    known = Some(keys.map(|key| key.principal).collect());
                }
                Err(error) => walk.report(Finding::new(
                    &codes::KEY_FILE,
                    node.span,
                    format!("`{path}` is no key file: {}", error.why()),
                )),
            }
        }
    }
    Some((AuthMethod::KeyFile { path }, known))
}

fn generated(walk: &mut Walk<'_>, node: &Node, at: Span) -> Option<Known> {
    let mut fields = walk.fields(node, &keys::API_KEYS)?;
    let list = fields.required(walk, "generate", at, "write `generate: [{ id: you, groups: [everyone] }]`");
    fields.finish();
    let items = walk.list(list?, "keys")?;
    if items.is_empty() {
        let finding =
            Finding::new(&codes::MISSING, node.span, "no key would be generated: nobody could call");
        walk.report(finding);
    }
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut generated = Vec::new();
    for item in items {
        let Some((key, span)) = described(walk, item, &keys::GENERATED_KEY) else { continue };
        if let Some(first) = seen.insert(key.id.clone(), span) {
            let message = format!("two keys are generated for `{}`", key.id);
            walk.report(Finding::new(&codes::DECLARED_TWICE, span, message).note(first, "first here"));
        }
        generated.push(key);
    }
    let known = generated.iter().map(principal).collect();
    Some((AuthMethod::Generated { keys: generated }, Some(known)))
}

fn principal(key: &GeneratedKey) -> Principal {
    Principal {
        id: key.id.clone(),
        user: key.user.clone(),
        agent: key.agent.clone(),
        tenant: key.tenant.clone(),
        groups: key.groups.clone(),
        claims: key.claims.clone(),
    }
}

/// A principal, by the table of its block, and where its id stands.
pub fn described(
    walk: &mut Walk<'_>,
    node: &Node,
    block: &'static keys::Block,
) -> Option<(GeneratedKey, Span)> {
    let mut fields = walk.fields(node, block)?;
    let id_node = fields.required(walk, "id", node.span, "write whose name it is: `id: NAME`");
    let id = id_node.and_then(|node| walk.text(node));
    let groups = match fields.get("groups") {
        Some(node) => {
            let items = walk.list(node, "groups").unwrap_or_default();
            items.iter().filter_map(|item| walk.text(item)).collect()
        }
        None => Vec::new(),
    };
    let mut fact = |key| fields.get(key).and_then(|node| walk.text(node)).unwrap_or_default();
    let (user, agent, tenant) = (fact("user"), fact("agent"), fact("tenant"));
    let claims = fields
        .get("claims")
        .and_then(|node| walk.json_object(node, |walk, node| walk.text(node)))
        .unwrap_or_default();
    fields.finish();
    let span = id_node?.span;
    let id = id?;
    if id.is_empty() || id == "anonymous" {
        let message = format!("`{id}` cannot be a principal's id");
        walk.report(Finding::new(&codes::NAME, span, message));
        return None;
    }
    Some((GeneratedKey { id, user, agent, tenant, groups, claims }, span))
}
