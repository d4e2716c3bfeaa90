//! `identity_header` of an upstream: what it is told of who calls, and with which key that is signed.

use strait_table::rules::{Credential, IdentityHeader, Listener, Transport, Upstream};

use super::credential::{check_header_name, literal_free};
use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::Entry,
    walk::{Walk, keys},
};

pub fn lower(
    walk: &mut Walk<'_>,
    entry: &Entry,
    name: &str,
    transport: Option<&Transport>,
    credential: Option<&Credential>,
) -> Option<IdentityHeader> {
    clear_text::mask_literals(walk, &entry.value);
    let mut fields = walk.fields(&entry.value, &keys::IDENTITY_HEADER)?;
    let named = fields.required(
        walk,
        "name",
        entry.key_span,
        "write the header's name, for example `X-Strait-Identity`",
    );
    let header = named
        .and_then(|node| walk.text(node))
        .filter(|name| named.is_some_and(|node| check_header_name(walk, name, node.span)));
    let key = fields.required(
        walk,
        "key",
        entry.key_span,
        "write what it is signed with, for example `\"${secret:identity}\"`",
    );
    let key = key.and_then(|node| literal_free(walk, node));
    let mut text = |key| fields.get(key).and_then(|node| walk.text(node));
    let (issuer, audience) = (text("issuer"), text("audience"));
    fields.finish();
    if transport.is_some_and(|transport| !matches!(transport, Transport::Http { .. })) {
        let finding = Finding::new(
            &codes::NOT_ENFORCED,
            entry.key_span,
            "`identity_header` of an upstream that has no `http` URL",
        )
        .label("there is no header to say it in")
        .help("leave it out; a child of one principal is what `stdio: { per: principal }` makes");
        walk.report(finding);
    }
    let (header, key) = (header?, key?);
    let shown = match credential {
        None => None,
        Some(Credential::Header { name, .. }) => Some(name.as_str()),
        Some(_) => Some("authorization"),
    };
    if shown.is_some_and(|shown| shown.eq_ignore_ascii_case(&header)) {
        let message = format!("`credential` and `identity_header` are in the same header, `{header}`");
        walk.report(Finding::new(&codes::DECLARED_TWICE, entry.key_span, message));
        return None;
    }
    let audience = audience.unwrap_or_else(|| name.to_owned());
    Some(IdentityHeader { name: header, key, issuer: issuer.unwrap_or_default(), audience })
}

/// Whoever is not said to say it is this gateway, as agents know it.
pub fn issue(upstreams: &mut [Upstream], listeners: &[Listener]) {
    let public = listeners.iter().find_map(|listener| listener.public.as_deref()).unwrap_or("strait");
    let silent = upstreams.iter_mut().filter_map(|upstream| upstream.identity_header.as_mut());
    for header in silent.filter(|header| header.issuer.is_empty()) {
        header.issuer = public.to_owned();
    }
}
