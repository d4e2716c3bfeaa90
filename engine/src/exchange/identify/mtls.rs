//! Clients' certificates: verified by the listener's TLS, known by their names.
//!
//! Which names an identity accepts stands in the table. Whom a certificate shows is worked out when this worker meets it first,
//! and kept with the tokens ([`super::cache`]), by its fingerprint and the content of the identity: from then on it costs what a token
//! costs. An identity that says something else judges it anew, on connections that are open, too; it is over when the certificate is,
//! however long its connection lasts.

use std::rc::Rc;

use strait_protocol::jsonrpc::append_string;
use strait_table::mtls::{ArchivedMtls, Names};
use strait_table::rules::ArchivedAuthMethod;

use super::cache::Token;
use crate::core::{Adopted, Core};
use crate::edition::digest;
use crate::io::tls::PeerCertificate;
use crate::trust::Verified;

/// Whom a certificate shows.
pub struct Shown {
    /// The place of its identity among those of the server.
    pub place: usize,
    pub token: Rc<Token>,
}

/// By the first of a server's identities that knows it; `None`: none does.
pub fn find(
    core: &Core,
    adopted: &Adopted,
    identities: impl Iterator<Item = usize>,
    certificate: &PeerCertificate,
) -> Option<Shown> {
    let cache = &core.tokens.cache;
    let key = key(certificate);
    identities.enumerate().find_map(|(place, identity)| {
        let content = (*adopted.trust.certificates.get(identity)?)?;
        let hash = cache.hash.of(content, &key);
        let token = match cache.find(hash, content, &key) {
            Some(token) => token,
            None => {
                let verified = verified(adopted, identity, content, certificate)?;
                cache.learn(hash, content, key.into(), verified, &core.clock)
            }
        };
        // Known or new, it was judged by what this edition's identity says: an identity that says otherwise has another content.
        (!token.is_over(&core.clock)).then_some(Shown { place, token })
    })
}

/// Where it is kept: no header can have a zero, so no token falls together with it.
fn key(certificate: &PeerCertificate) -> [u8; 33] {
    let mut key = [0; 33];
    if let Some(hash) = key.get_mut(1..) {
        hash.copy_from_slice(&certificate.sha256);
    }
    key
}

fn verified(
    adopted: &Adopted,
    identity: usize,
    content: u64,
    certificate: &PeerCertificate,
) -> Option<Verified> {
    let identity = adopted.snapshot.rules().identities.get(identity)?;
    let ArchivedAuthMethod::Mtls(method) = &identity.method else { return None };
    let method: &ArchivedMtls = method;
    let PeerCertificate { uris, dns, emails, .. } = certificate;
    let id = method.name_of(Names { uris, dns, emails })?;
    let principal = method.principal(id, claims(certificate));
    Some(Verified {
        digest: digest(&format!("{}\0{id}", identity.name.as_str())),
        principal,
        issuer: content,
        id: Some(digest(&fingerprint(certificate))),
        ends_unix_ms: u64::try_from(certificate.not_after_unix_s).unwrap_or(0).saturating_mul(1_000),
        keep_ms: u64::MAX,
        certificate: Some(certificate.sha256),
        ..Verified::default()
    })
}

fn fingerprint(certificate: &PeerCertificate) -> String {
    certificate.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What conditions may ask of a certificate.
fn claims(certificate: &PeerCertificate) -> String {
    let mut out = br#"{"san":{"#.to_vec();
    let PeerCertificate { uris, dns, emails, .. } = certificate;
    for (at, (kind, names)) in [("uri", uris), ("dns", dns), ("email", emails)].into_iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\":[");
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            append_string(&mut out, name.as_bytes());
        }
        out.push(b']');
    }
    out.extend_from_slice(br#"},"subject":"#);
    append_string(&mut out, certificate.subject.as_bytes());
    out.extend_from_slice(br#","fingerprint":"#);
    append_string(&mut out, fingerprint(certificate).as_bytes());
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}
