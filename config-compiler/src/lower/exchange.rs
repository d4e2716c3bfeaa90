//! `exchange`: whose tokens may go where, and who could ever bring one.
//!
//! The decision: a token endpoint gets tokens of issuers of its own origin, or of those that are written, and of no others: a second
//! issuer's token shown to the first would be a token given away. Which identities those are is settled here, once all are known.

use strait_table::rules::{AuthMethod, Credential, Identity, Per, Server, Shown, Transport, Upstream};

use super::{credential, pattern, token};
use crate::{
    diagnostic::{Finding, codes},
    source::{Entry, Span},
    walk::{Walk, keys},
};

/// Where an exchange was written, and whose tokens it says to take.
pub struct Written {
    token_url: String,
    span: Span,
    issuers: Vec<String>,
}

pub fn lower(
    walk: &mut Walk<'_>,
    written: &Entry,
    transport: Option<&Transport>,
    shown: Option<Shown>,
) -> Option<Credential> {
    let mut fields = walk.fields(&written.value, &keys::EXCHANGE)?;
    let grant = credential::grant(walk, &mut fields);
    let acts = fields
        .get("actor")
        .and_then(|node| walk.word(node, &[("client_credentials", true), ("none", false)]));
    let issuers = fields.get("issuer").map(|node| token::texts(walk, node)).unwrap_or_default();
    fields.finish();
    if let Some(Transport::Stdio(stdio)) = transport
        && stdio.per == Per::Shared
    {
        let finding = Finding::new(
            &codes::CREDENTIAL,
            written.key_span,
            "`exchange` of a stdio upstream that everybody shares",
        )
        .label("one caller's token would serve all")
        .help("write `per: principal` in `stdio`");
        walk.report(finding);
    }
    let grant = grant?;
    walk.exchanges.push(Written { token_url: grant.token_url.clone(), span: written.key_span, issuers });
    Some(Credential::Exchange { grant, acts: acts.unwrap_or(true), identities: Vec::new(), shown: shown? })
}

/// Says of each exchange whose tokens it takes. One that nobody can ever bring a token to is a finding, by itself or at a server.
pub fn settle(walk: &mut Walk<'_>, upstreams: &mut [Upstream], identities: &[Identity], servers: &[Server]) {
    let written = std::mem::take(&mut walk.exchanges);
    let is_one = |upstream: &&mut Upstream| matches!(upstream.credential, Some(Credential::Exchange { .. }));
    // In the same order, unless one was told of already.
    for (upstream, written) in upstreams.iter_mut().filter(is_one).zip(&written) {
        let Some(Credential::Exchange { identities: takes, .. }) = &mut upstream.credential else { continue };
        *takes = (0..).zip(identities).filter(|(_, one)| written.takes(one)).map(|(at, _)| at).collect();
        if takes.is_empty() {
            let message =
                format!("no identity's tokens may go to the token endpoint of upstream `{}`", upstream.name);
            let finding = Finding::new(&codes::CREDENTIAL, written.span, message)
                .label("nobody can ever call it")
                .help("declare an identity with `jwt` or `introspection` whose issuer has the origin of `token_url`, or name its issuer in `issuer`");
            walk.report(finding);
            continue;
        }
        for (at, server) in servers.iter().enumerate() {
            let patterns = [&server.tools, &server.prompts, &server.resources].into_iter().flatten();
            let speaks_of_it = patterns.into_iter().any(|one| pattern::names(one, &upstream.name));
            if !speaks_of_it || server.auth.iter().any(|identity| takes.contains(identity)) {
                continue;
            }
            let message = format!(
                "server `{}` shows upstream `{}`, and none of its callers brings a token to exchange",
                server.name, upstream.name
            );
            let span = walk.places.servers.get(at).map_or(written.span, |places| places.name);
            let finding = Finding::new(&codes::CREDENTIAL, span, message)
                .label("every call would be refused")
                .note(written.span, "it is shown a token in exchange for the caller's")
                .help("name an identity of its issuer in `auth`, or leave the upstream out of the patterns");
            walk.report(finding);
        }
    }
}

impl Written {
    fn takes(&self, identity: &Identity) -> bool {
        let issuer = match &identity.method {
            AuthMethod::Jwt(jwt) => &jwt.issuer,
            AuthMethod::Introspection(introspection) => &introspection.issuer,
            _ => return false,
        };
        match self.issuers.is_empty() {
            true => origin(issuer) == origin(&self.token_url),
            false => self.issuers.contains(issuer),
        }
    }
}

fn origin(url: &str) -> String {
    let from = url.find("://").map_or(0, |at| at + 3);
    let end = url[from..].find(['/', '?']).map_or(url.len(), |at| from + at);
    url[..end].to_ascii_lowercase()
}
