//! What a worker needs to judge tokens that were verified, and whom to ask about one that was not.
//!
//! Control makes it: which issuers each server believes, which of their keys stand, what was revoked. It comes with an
//! edition; another one means that whatever stands open is looked at again. Nothing here is a secret.

use std::collections::HashMap;

use strait_policy::Principal;
use tokio::sync::{mpsc, oneshot};

use crate::fold::Fold;

/// What the servers of one table believe.
#[derive(Default)]
pub struct Trust {
    /// By identity of the table; `None`: it is not learnt from tokens.
    pub issuers: Vec<Option<Issuer>>,
    /// By identity of the table, of those that certificates show: of everything that it says, as [`Issuer::content`] is.
    pub certificates: Vec<Option<u64>>,
    /// By server of the table, of each by listener.
    pub endpoints: Vec<Vec<Endpoint>>,
    pub revoked: Revoked,
    /// Who is asked about a token that this worker does not know; bounded, and nobody waits for room in it.
    pub questions: Option<mpsc::Sender<Question>>,
}

/// An identity whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Of everything that its identity says: a changed one believes nothing of what was verified before.
    pub content: u64,
    /// Numbers of the keys that stand; `None`: its tokens are verified by asking.
    pub keys: Option<Vec<u64>>,
}

/// A server at a listener, as clients know it that need a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Of its URL: what a token was verified for.
    pub digest: u64,
    /// Its path, percent-encoded as in its URL.
    pub path: String,
    /// The member of a challenge that says where its metadata is; empty: nobody has tokens for it.
    pub challenge: String,
    /// Scopes that every token for it must have.
    pub scopes: Vec<String>,
    /// Its document of RFC 9728.
    pub metadata: Vec<u8>,
    /// Where its first issuer says of itself what clients of 2025-03-26 look for here.
    pub issuer_metadata: Option<String>,
}

/// What nobody shall believe any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(pub HashMap<u64, i64, Fold>);

impl Revoked {
    /// Whether something that has this digest was revoked when it was issued, or later.
    fn has(&self, digest: u64, issued_unix_s: i64) -> bool {
        self.0.get(&digest).is_some_and(|until| issued_unix_s <= *until)
    }
}

/// A token that was verified: of whom it tells, and what has to stay true.
#[derive(Debug, Default)]
pub struct Verified {
    pub principal: Principal,
    /// What sessions are bound to: of the identity and the principal's id, since two issuers may call people the same.
    pub digest: u64,
    /// [`Issuer::content`] of the identity that accepted it.
    pub issuer: u64,
    /// The one of [`Issuer::keys`] that signed it.
    pub key: Option<u64>,
    /// [`Endpoint::digest`] of the endpoint that it is for.
    pub endpoint: u64,
    /// Digests by which it can be revoked: its own id, its principal's.
    pub known_by: Vec<u64>,
    pub issued_unix_s: i64,
    /// When it ends, skew included.
    pub ends_unix_ms: u64,
    /// How long this worker may believe it without asking again.
    pub keep_ms: u64,
    /// The SHA-256 of the client certificate that it is bound to.
    pub certificate: Option<[u8; 32]>,
}

/// Asked of control.
pub struct Question {
    /// As presented; nobody keeps it longer than the answer takes.
    pub token: Box<[u8]>,
    pub server: usize,
    pub listener: usize,
    pub answer: oneshot::Sender<Result<Verified, Doubt>>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is wrong; a word for its presenter.
    Invalid(&'static str),
    /// It is good, and has too few scopes.
    Scope,
    /// Nobody can say at the moment.
    Unavailable(&'static str),
}

impl Trust {
    /// Nobody presents tokens anywhere.
    pub fn none() -> Trust {
        Trust::default()
    }

    pub fn endpoint(&self, server: usize, listener: usize) -> Option<&Endpoint> {
        self.endpoints.get(server)?.get(listener)
    }

    /// Whether one of these identities is learnt from tokens.
    pub fn is_asked_for(&self, mut identities: impl Iterator<Item = usize>) -> bool {
        identities.any(|identity| self.issuers.get(identity).is_some_and(Option::is_some))
    }

    /// Whether one of these identities accepted it.
    pub fn is_of(&self, verified: &Verified, mut identities: impl Iterator<Item = usize>) -> bool {
        let content =
            |at| self.issuers.get(at).and_then(Option::as_ref).map(|issuer: &Issuer| issuer.content);
        identities.any(|at| content(at) == Some(verified.issuer))
    }

    /// Whether somebody has taken it back, or all that its principal had.
    pub fn has_revoked(&self, verified: &Verified) -> bool {
        verified.known_by.iter().any(|by| self.revoked.has(*by, verified.issued_unix_s))
    }

    /// Whether a token that was verified once, for an endpoint that is the same still, is to be believed by one of these
    /// identities.
    pub fn believes(&self, verified: &Verified, mut identities: impl Iterator<Item = usize>) -> bool {
        let stands = |issuer: &Issuer| {
            issuer.content == verified.issuer
                && match (&issuer.keys, verified.key) {
                    (Some(keys), Some(key)) => keys.contains(&key),
                    (None, None) => true,
                    _ => false,
                }
        };
        let is_shown =
            |at| self.certificates.get(at).is_some_and(|content| *content == Some(verified.issuer));
        !self.has_revoked(verified)
            && identities
                .any(|at| is_shown(at) || self.issuers.get(at).and_then(Option::as_ref).is_some_and(stands))
    }
}

// The sender of questions has nothing to show.
impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}
