//! Credentials to upstreams. Secrets stay references on their way through; a literal one is reported and remembered, so that no
//! rendering of any finding shows it.

use strait_table::rules::{Credential, Text, TextPart};

use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::{Node, Span, reference::Spelling},
    walk::{Fields, Walk, keys},
};

pub fn lower(walk: &mut Walk<'_>, upstream: &mut Fields<'_>) -> Option<Credential> {
    let entry = upstream.entry("credential")?;
    clear_text::mask_literals(walk, &entry.value);
    let mut fields = walk.fields(&entry.value, &keys::CREDENTIAL)?;
    let written = fields.exactly_one(walk, &["bearer", "header", "basic"], entry.key_span);
    fields.finish();
    let written = written?;
    match written.key.as_str() {
        "bearer" => literal_free(walk, &written.value).map(Credential::Bearer),
        "basic" => literal_free(walk, &written.value).map(Credential::Basic),
        _ => {
            let mut header = walk.fields(&written.value, &keys::HEADER)?;
            let name = header
                .required(walk, "name", written.key_span, "write the header's name")
                .and_then(|node| header_name(walk, node));
            let value = header
                .required(
                    walk,
                    "value",
                    written.key_span,
                    "write its value, for example `\"${secret:name}\"`",
                )
                .and_then(|node| literal_free(walk, node));
            header.finish();
            Some(Credential::Header { name: name?, value: value? })
        }
    }
}

/// A secret of which at least some part is a reference; a wholly literal one is reported.
fn literal_free(walk: &mut Walk<'_>, node: &Node) -> Option<Text> {
    let text = header_value(walk, node, Spelling::Native)?;
    if text.parts.iter().all(|part| matches!(part, TextPart::Literal(_))) {
        clear_text::report(walk, node.span, "this credential");
    }
    Some(text)
}

/// A secret that will stand in a header: its literal parts must not end the line.
pub fn header_value(walk: &mut Walk<'_>, node: &Node, spelling: Spelling) -> Option<Text> {
    let text = walk.secret(node, spelling)?;
    let breaks =
        |part: &TextPart| matches!(part, TextPart::Literal(text) if text.chars().any(char::is_control));
    if text.parts.iter().any(breaks) {
        let finding =
            Finding::new(&codes::NAME, node.span, "a header cannot hold a line break or control character");
        walk.report(finding);
        return None;
    }
    Some(text)
}

fn header_name(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let name = walk.text(node)?;
    check_header_name(walk, &name, node.span).then_some(name)
}

/// Headers that frame or route a message are not for credentials.
pub fn check_header_name(walk: &mut Walk<'_>, name: &str, span: Span) -> bool {
    let Some(why) = header_refused(name) else { return true };
    walk.report(Finding::new(&codes::NAME, span, format!("`{name}` cannot carry a credential: {why}")));
    false
}

/// Why a header of this name is not for credentials.
pub fn header_refused(name: &str) -> Option<&'static str> {
    const OURS: [&str; 9] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-type",
        "accept",
        "expect",
        "te",
        "upgrade",
    ];
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || !name.chars().all(token) {
        Some("it is not a header name")
    } else if OURS.contains(&lower.as_str()) || lower.starts_with("mcp-") {
        Some("Strait writes this header itself")
    } else {
        None
    }
}
