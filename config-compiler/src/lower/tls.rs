//! `tls` of listeners and upstreams: which files, as seen from the configuration's folder. What is in them is for whoever
//! serves: certificates are renewed without anybody compiling anything.

use strait_table::rules::{KeyPair, ListenerTls, Transport, UpstreamTls};

use super::path;
use crate::{
    diagnostic::{Finding, codes},
    source::{Entry, Node, Value},
    walk::{Fields, Walk, keys},
};

/// Certificates of one listener.
const CERTIFICATES_MAX: usize = 1024;

pub fn listener(walk: &mut Walk<'_>, node: &Node) -> Option<ListenerTls> {
    if let Value::List(items) = &node.value {
        let certificates = several(walk, node, items)?;
        return Some(ListenerTls { certificates, client_ca: None, client_required: false });
    }
    let mut fields = walk.fields(node, &keys::LISTENER_TLS)?;
    let own = pair(walk, &mut fields);
    let list = fields.get("certificates");
    let client_ca = fields.get("client_ca").and_then(|node| path(walk, node));
    let client_auth = fields.get("client_auth");
    let required = client_auth.and_then(|node| walk.word(node, &[("required", true), ("optional", false)]));
    fields.finish();
    if let (Some(node), None) = (client_auth, &client_ca) {
        let finding = Finding::new(&codes::TLS, node.span, "`client_auth` without `client_ca`")
            .help("write `client_ca: FILE` with the certificates of those who issue clients theirs");
        walk.report(finding);
    }
    let certificates = match (own, list) {
        (Pair::One(pair), None) => vec![pair],
        (Pair::None, Some(list)) => {
            let items = walk.list(list, "certificates like `{ cert: gw.pem, key: gw.key }`")?;
            several(walk, list, items)?
        }
        (Pair::Spoilt, _) => return None,
        (Pair::One(_), Some(list)) => {
            let finding = Finding::new(&codes::TLS, list.span, "`certificates` beside `cert` and `key`")
                .help("put that pair into the list as well");
            walk.report(finding);
            return None;
        }
        (Pair::None, None) => {
            let finding =
                Finding::new(&codes::TLS, walk.files.first_line(node.span), "`tls` without a certificate")
                    .help("write `tls: { cert: gw.pem, key: gw.key }`");
            walk.report(finding);
            return None;
        }
    };
    let client_required = client_ca.is_some() && required.unwrap_or(true);
    Some(ListenerTls { certificates, client_ca, client_required })
}

fn several(walk: &mut Walk<'_>, node: &Node, items: &[Node]) -> Option<Vec<KeyPair>> {
    if items.is_empty() || items.len() > CERTIFICATES_MAX {
        let message = format!("a listener has 1 to {CERTIFICATES_MAX} certificates, found {}", items.len());
        walk.report(Finding::new(&codes::OUT_OF_RANGE, node.span, message));
        return None;
    }
    let mut certificates = Vec::new();
    for item in items {
        let Some(mut fields) = walk.fields(item, &keys::KEY_PAIR) else { continue };
        if let Pair::One(pair) = pair(walk, &mut fields) {
            certificates.push(pair);
        } else if fields.get("cert").is_none() && fields.get("key").is_none() {
            walk.report(Finding::new(&codes::TLS, item.span, "a certificate needs `cert` and `key`"));
        }
        fields.finish();
    }
    (!certificates.is_empty()).then_some(certificates)
}

pub fn upstream(walk: &mut Walk<'_>, entry: &Entry, transport: Option<&Transport>) -> UpstreamTls {
    let Some(mut fields) = walk.fields(&entry.value, &keys::UPSTREAM_TLS) else {
        return UpstreamTls::default();
    };
    let ca = fields.get("ca").and_then(|node| path(walk, node));
    let pair = match pair(walk, &mut fields) {
        Pair::One(pair) => Some(pair),
        Pair::None | Pair::Spoilt => None,
    };
    fields.finish();
    let speaks_it = |transport: &Transport| match transport {
        Transport::Http { endpoints } => endpoints.iter().any(|endpoint| endpoint.https),
        Transport::Stdio(_) | Transport::Sample(_) => false,
    };
    if transport.is_some_and(|transport| !speaks_it(transport)) {
        let finding =
            Finding::new(&codes::TLS, entry.key_span, "`tls` of an upstream that has no `https` URL")
                .label("would have no effect")
                .help("write its URL with `https://`, or leave `tls` out");
        walk.report(finding);
    }
    UpstreamTls { ca, pair }
}

/// `client_cert`, which says the same as `cert` and `key` of `tls`.
pub fn client_certificate(
    walk: &mut Walk<'_>,
    written: &Entry,
    transport: Option<&Transport>,
    own: &mut UpstreamTls,
) {
    let Some(mut fields) = walk.fields(&written.value, &keys::KEY_PAIR) else { return };
    let pair = pair(walk, &mut fields);
    fields.finish();
    let is_clear = match transport {
        None => false,
        Some(Transport::Http { endpoints }) => endpoints.iter().any(|endpoint| !endpoint.https),
        Some(Transport::Stdio(_) | Transport::Sample(_)) => true,
    };
    if is_clear {
        let message = "`client_cert` of an upstream that is not reached by `https` alone";
        let finding = Finding::new(&codes::CREDENTIAL, written.key_span, message)
            .label("nobody asks for it there")
            .help("write its URLs with `https://`");
        walk.report(finding);
    }
    match (pair, &own.pair) {
        (Pair::One(_), Some(_)) => {
            let message = "`client_cert` beside `cert` and `key` of `tls`";
            let finding = Finding::new(&codes::CREDENTIAL, written.key_span, message)
                .label("one certificate is shown")
                .help("leave out one of the two");
            walk.report(finding);
        }
        (Pair::One(pair), None) => own.pair = Some(pair),
        (Pair::None, _) => {
            let message = "`client_cert` needs `cert` and `key`";
            walk.report(Finding::new(&codes::MISSING, written.key_span, message));
        }
        (Pair::Spoilt, _) => {}
    }
}

enum Pair {
    One(KeyPair),
    None,
    /// Something was said about it.
    Spoilt,
}

fn pair(walk: &mut Walk<'_>, fields: &mut Fields<'_>) -> Pair {
    let (cert, key) = (fields.entry("cert"), fields.entry("key"));
    match (cert, key) {
        (None, None) => Pair::None,
        (Some(cert), Some(key)) => match (path(walk, &cert.value), path(walk, &key.value)) {
            (Some(cert), Some(key)) => Pair::One(KeyPair { cert, key }),
            _ => Pair::Spoilt,
        },
        (Some(alone), None) | (None, Some(alone)) => {
            let missing = if alone.key == "cert" { "key" } else { "cert" };
            let message = format!("`{}` without `{missing}`", alone.key);
            let finding = Finding::new(&codes::TLS, alone.key_span, message).help(format!(
                "write `{missing}: FILE` beside it: a certificate is of no use without its key"
            ));
            walk.report(finding);
            Pair::Spoilt
        }
    }
}
