//! Identities that are learnt from tokens: which are accepted, and which claim is what of a principal. What is written here is
//! asked over the network later, so a URL that could not be asked is found now.

use strait_table::rules::{Accepted, AuthMethod, Introspection, Jwks, Jwt, PrincipalClaims};

use super::{path, scopes};
use crate::{
    diagnostic::{Finding, codes},
    source::{Node, reference::Spelling},
    walk::{Fields, Walk, keys, scalar},
};

const SKEW_S: u32 = 30;
const SKEW_MS_MAX: u64 = 5 * 60_000;
const KEEP_S: u32 = 60;

pub fn jwt(walk: &mut Walk<'_>, node: &Node) -> Option<AuthMethod> {
    let mut fields = walk.fields(node, &keys::JWT)?;
    let issuer =
        fields.required(walk, "issuer", node.span, "write `issuer: https://…`, as its tokens say it");
    let issuer = issuer.and_then(|node| url(walk, node));
    let jwks = match fields.get("jwks") {
        Some(node) => jwks(walk, node),
        None => Some(Jwks::Discovered),
    };
    let algorithms = fields.get("algorithms").map(|node| algorithms(walk, node));
    let types = fields.get("type").map(|node| texts(walk, node));
    let skew_ms = fields.get("skew").and_then(|node| walk.duration(node, 0..=SKEW_MS_MAX));
    let accepted = accepted(walk, &mut fields);
    fields.finish();
    let types = types.unwrap_or_else(|| vec!["at+jwt".to_owned(), "jwt".to_owned()]);
    let bare = |text: String| {
        let text = text.to_ascii_lowercase();
        text.strip_prefix("application/").map(str::to_owned).unwrap_or(text)
    };
    Some(AuthMethod::Jwt(Jwt {
        issuer: issuer?,
        jwks: jwks?,
        algorithms: algorithms.unwrap_or_else(|| keys::ALGORITHMS.map(str::to_owned).to_vec()),
        types: types.into_iter().map(bare).collect(),
        skew_s: skew_ms.map_or(SKEW_S, |ms| ms.div_ceil(1_000) as u32),
        accepted,
    }))
}

pub fn introspection(walk: &mut Walk<'_>, node: &Node) -> Option<AuthMethod> {
    let mut fields = walk.fields(node, &keys::INTROSPECTION)?;
    let mut needed = |walk: &mut Walk<'_>, key| fields.required(walk, key, node.span, "all four are needed");
    let endpoint = needed(walk, "endpoint").and_then(|node| url(walk, node));
    let issuer = needed(walk, "issuer").and_then(|node| url(walk, node));
    let client = needed(walk, "client").and_then(|node| walk.text(node));
    let secret = needed(walk, "secret").and_then(|node| walk.secret(node, Spelling::Native));
    let keep_ms = fields.get("keep").and_then(|node| walk.duration(node, 1_000..=SKEW_MS_MAX));
    let accepted = accepted(walk, &mut fields);
    fields.finish();
    Some(AuthMethod::Introspection(Introspection {
        endpoint: endpoint?,
        issuer: issuer?,
        client: client?,
        secret: secret?,
        keep_s: keep_ms.map_or(KEEP_S, |ms| (ms / 1_000) as u32),
        accepted,
    }))
}

fn accepted(walk: &mut Walk<'_>, fields: &mut Fields<'_>) -> Accepted {
    let audiences = fields.get("audience").map(|node| texts(walk, node)).unwrap_or_default();
    let scopes = fields.get("scopes").map(|node| scopes::read(walk, node)).unwrap_or_default();
    let mut principal = PrincipalClaims {
        id: vec!["sub".to_owned()],
        user: vec!["sub".to_owned()],
        agent: ["act.sub", "azp", "client_id"].map(str::to_owned).to_vec(),
        tenant: Vec::new(),
        groups: vec!["groups".to_owned()],
    };
    if let Some(mut claims) = fields.get("principal").and_then(|node| walk.fields(node, &keys::CLAIMS)) {
        for (key, of) in [
            ("id", &mut principal.id),
            ("user", &mut principal.user),
            ("agent", &mut principal.agent),
            ("tenant", &mut principal.tenant),
            ("groups", &mut principal.groups),
        ] {
            if let Some(node) = claims.get(key) {
                *of = texts(walk, node);
            }
        }
        claims.finish();
    }
    Accepted { audiences, scopes, principal }
}

pub fn texts(walk: &mut Walk<'_>, node: &Node) -> Vec<String> {
    let mut texts = Vec::new();
    for node in walk.one_or_many(node) {
        match walk.text(node) {
            Some(text) if text.is_empty() => {
                walk.report(Finding::new(&codes::NAME, node.span, "this text is empty"));
            }
            Some(text) => texts.push(text),
            None => {}
        }
    }
    texts
}

fn algorithms(walk: &mut Walk<'_>, node: &Node) -> Vec<String> {
    let words = keys::ALGORITHMS.map(|name| (name, name));
    let items = walk.list(node, "algorithms").unwrap_or_default();
    items.iter().filter_map(|node| walk.word(node, &words)).map(str::to_owned).collect()
}

fn jwks(walk: &mut Walk<'_>, node: &Node) -> Option<Jwks> {
    let text = walk.text(node)?;
    match text.contains("://") {
        true => url(walk, node).map(Jwks::Url),
        false => path(walk, node).map(Jwks::File),
    }
}

/// Whether a host is this machine, by its name alone.
pub fn is_here(host: &str) -> bool {
    ["localhost", "[::1]", "::1"].contains(&host)
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// A URL that this gateway asks, or that a client is to ask: in clear text only on this machine, where nobody is between.
pub fn url(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let url = walk.text(node)?;
    let rest = url.strip_prefix("https://");
    let Some(rest) = rest.or_else(|| url.strip_prefix("http://")) else {
        walk.bad_url(node, &url, "it begins with neither `https://` nor `http://`");
        return None;
    };
    if let Err(why) = scalar::split_url(rest, url.starts_with("https:")) {
        walk.bad_url(node, &url, &why);
        return None;
    }
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    if url.starts_with("http://") && !is_here(host) {
        walk.bad_url(
            node,
            &url,
            "it is clear text to another machine: whoever is between could answer; use https",
        );
        return None;
    }
    Some(url)
}
