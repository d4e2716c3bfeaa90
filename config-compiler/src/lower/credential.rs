//! Credentials to upstreams. Secrets stay references on their way through; a literal one is reported and remembered, so that no
//! rendering of any finding shows it.

use strait_table::rules::{Credential, Grant, Shown, Text, TextPart, Transport, UpstreamTls};

use super::{exchange, scopes, tls, token};
use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::{Entry, Node, Span, reference::Spelling},
    walk::{Fields, Walk, keys},
};

const KINDS: [&str; 6] = ["bearer", "header", "basic", "oauth", "exchange", "client_cert"];

pub fn lower(
    walk: &mut Walk<'_>,
    upstream: &mut Fields<'_>,
    transport: Option<&Transport>,
    own: &mut UpstreamTls,
) -> Option<Credential> {
    let entry = upstream.entry("credential")?;
    clear_text::mask_literals(walk, &entry.value);
    let mut fields = walk.fields(&entry.value, &keys::CREDENTIAL)?;
    let written = fields.exactly_one(walk, &KINDS, entry.key_span);
    let variable = fields.entry("env");
    fields.finish();
    let written = written?;
    match written.key.as_str() {
        "client_cert" => {
            no_variable(walk, written, variable);
            tls::client_certificate(walk, written, transport, own);
            None
        }
        "oauth" => {
            let shown = shown(walk, written, variable, transport);
            let mut fields = walk.fields(&written.value, &keys::GRANT)?;
            let grant = grant(walk, &mut fields);
            fields.finish();
            Some(Credential::OAuth { grant: grant?, shown: shown? })
        }
        "exchange" => {
            let shown = shown(walk, written, variable, transport);
            exchange::lower(walk, written, transport, shown)
        }
        _ => {
            no_variable(walk, written, variable);
            in_a_header(walk, written, transport);
            stated(walk, written)
        }
    }
}

/// What is a text of the configuration.
fn stated(walk: &mut Walk<'_>, written: &Entry) -> Option<Credential> {
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

/// What every token endpoint is asked with.
pub fn grant(walk: &mut Walk<'_>, fields: &mut Fields<'_>) -> Option<Grant> {
    let at = fields.node.span;
    let mut needed = |walk: &mut Walk<'_>, key| fields.required(walk, key, at, "all three are needed");
    let token_url = needed(walk, "token_url").and_then(|node| token::url(walk, node));
    let client = needed(walk, "client").and_then(|node| said(walk, node));
    let secret = needed(walk, "secret").and_then(|node| literal_free(walk, node));
    let scope = fields.get("scope").map(|node| scopes::read(walk, node)).unwrap_or_default();
    let resource = fields.get("resource").and_then(|node| said(walk, node));
    let audience = fields.get("audience").and_then(|node| said(walk, node));
    let auth = fields.get("auth").and_then(|node| walk.word(node, &[("basic", false), ("post", true)]));
    let (token_url, client, secret) = (token_url?, client?, secret?);
    Some(Grant { token_url, client, secret, in_body: auth.unwrap_or(false), scope, resource, audience })
}

/// A text that says something.
fn said(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let text = walk.text(node)?;
    if text.is_empty() {
        walk.report(Finding::new(&codes::NAME, node.span, "this text is empty"));
        return None;
    }
    Some(text)
}

/// Where a token is shown: a URL gets it in a header, a child in a variable.
fn shown(
    walk: &mut Walk<'_>,
    written: &Entry,
    variable: Option<&Entry>,
    transport: Option<&Transport>,
) -> Option<Shown> {
    let Some(Transport::Stdio(stdio)) = transport else {
        no_variable(walk, written, variable);
        in_a_header(walk, written, transport);
        return Some(Shown::Line);
    };
    let Some(variable) = variable else {
        let message = format!("`{}` of a stdio upstream without `env`", written.key);
        let finding =
            Finding::new(&codes::CREDENTIAL, written.key_span, message).label("a child has no headers").help(
                "write `env: NAME` beside it, the environment variable that the child reads its token from",
            );
        walk.report(finding);
        return None;
    };
    let name = said(walk, &variable.value)?;
    if name.contains(['=', '\0']) {
        let message = format!("`{name}` cannot name an environment variable");
        walk.report(Finding::new(&codes::NAME, variable.value.span, message));
        return None;
    }
    if stdio.env.iter().any(|(known, _)| *known == name) {
        let message = format!("the variable `{name}` stands in `env` of the child as well");
        let finding = Finding::new(&codes::CREDENTIAL, variable.value.span, message)
            .label("two values for one variable")
            .help("leave it out of `stdio.env`");
        walk.report(finding);
        return None;
    }
    Some(Shown::Variable(name))
}

fn no_variable(walk: &mut Walk<'_>, written: &Entry, variable: Option<&Entry>) {
    let Some(variable) = variable else { return };
    let message = format!("`env` beside a `{}` that is not shown to a child", written.key);
    let finding = Finding::new(&codes::CREDENTIAL, variable.key_span, message)
        .label("would have no effect")
        .help("leave it out; a child's variables with secrets stand in `stdio.env`");
    walk.report(finding);
}

/// What is shown in a header needs a request that has one.
fn in_a_header(walk: &mut Walk<'_>, written: &Entry, transport: Option<&Transport>) {
    let help = match transport {
        None | Some(Transport::Http { .. }) => return,
        Some(Transport::Stdio(_)) => "give the child its secret in `stdio.env`",
        Some(Transport::Sample(_)) => "leave `credential` out: the built-in servers want none",
    };
    let message = format!("`{}` of an upstream that is not reached by HTTP", written.key);
    let finding =
        Finding::new(&codes::CREDENTIAL, written.key_span, message).label("would have no effect").help(help);
    walk.report(finding);
}

/// A secret of which at least some part is a reference; a wholly literal one is reported.
pub fn literal_free(walk: &mut Walk<'_>, node: &Node) -> Option<Text> {
    let text = header_value(walk, node, Spelling::Native)?;
    if is_literal(&text) {
        clear_text::report(walk, node.span, "this credential");
    }
    Some(text)
}

pub fn is_literal(text: &Text) -> bool {
    text.parts.iter().all(|part| matches!(part, TextPart::Literal(_)))
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
