//! Identities that clients' certificates show: patterns over their names, and what is true of everybody who has one.

use strait_table::mtls::{Mtls, San};
use strait_table::rules::AuthMethod;

use crate::{
    diagnostic::{Finding, codes},
    source::Node,
    walk::{Walk, keys},
};

pub fn lower(walk: &mut Walk<'_>, node: &Node) -> Option<AuthMethod> {
    let mut fields = walk.fields(node, &keys::MTLS)?;
    let help = "write whose certificates: `san: \"spiffe://corp/agent/*\"`";
    let written = fields.required(walk, "san", node.span, help);
    let mut sans = Vec::new();
    for node in written.map(|node| walk.one_or_many(node)).unwrap_or_default() {
        sans.extend(walk.text(node).and_then(|text| san(walk, node, &text)));
    }
    let mut fact = |key| fields.get(key).and_then(|node| walk.text(node)).unwrap_or_default();
    let (user, agent, tenant) = (fact("user"), fact("agent"), fact("tenant"));
    let groups = match fields.get("groups") {
        Some(node) => {
            let items = walk.list(node, "groups").unwrap_or_default();
            items.iter().filter_map(|item| walk.text(item)).collect()
        }
        None => Vec::new(),
    };
    fields.finish();
    if let (Some(node), true) = (written, sans.is_empty()) {
        walk.report(Finding::new(&codes::MISSING, node.span, "no name is accepted: nobody could call"));
    }
    (!sans.is_empty()).then_some(AuthMethod::Mtls(Mtls { sans, user, agent, tenant, groups }))
}

/// Names in certificates are printable ASCII, so a pattern with anything else fits none.
fn san(walk: &mut Walk<'_>, node: &Node, text: &str) -> Option<San> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(San::read(text));
    }
    let message = format!("`{text}` is the name of nobody: expected printable ASCII without spaces");
    let finding = Finding::new(&codes::NAME, node.span, message)
        .help("a URI like `spiffe://corp/agent/*`, a host like `*.agents.corp`, or a mail address");
    walk.report(finding);
    None
}
