//! What a worker needs to judge tokens that were verified, and whom to ask about one that was not.
//!
//! Control makes it: which issuers each server believes, which of their keys stand, what was revoked. It comes with an
//! edition; another one means that whatever stands open is looked at again. Nothing here is a secret.

use std::collections::HashSet;
use std::sync::Arc;

use strait_policy::Principal;
use tokio::sync::{mpsc, oneshot};

use crate::edition::digest;
use crate::fold::{Fold, mixed};

/// What the servers of one table believe.
#[derive(Default)]
pub struct Trust {
    /// By identity of the table; `None`: it is not learnt from tokens.
    pub issuers: Vec<Option<Issuer>>,
    /// By identity of the table, of those that certificates show: of everything that it says, as [`Issuer::content`] is.
    pub certificates: Vec<Option<u64>>,
    /// By server of the table, of each by listener.
    pub endpoints: Vec<Vec<Endpoint>>,
    pub revoked: Arc<Revoked>,
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

/// Whom and what nobody shall believe any more, whatever they bring: digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(HashSet<u64, Fold>);

/// As what a name was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Principal,
    User,
    Agent,
    /// A token's own id (`jti`), or the fingerprint of a certificate.
    Token,
}

/// Digests of what a caller goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub principal: u64,
    pub user: u64,
    pub agent: u64,
    /// Of the token that it has brought, if that has an id.
    pub token: Option<u64>,
}

impl Revoked {
    pub fn add(&mut self, role: Role, name: &str) {
        self.0.insert(role.of(digest(name)));
    }

    /// Whether the caller that goes by these names was revoked, or the token that it has brought.
    pub fn has(&self, names: &Names) -> bool {
        let has = |role: Role, digest: u64| self.0.contains(&role.of(digest));
        !self.0.is_empty()
            && (has(Role::Principal, names.principal)
                || has(Role::User, names.user)
                || has(Role::Agent, names.agent)
                || names.token.is_some_and(|token| has(Role::Token, token)))
    }
}

impl Role {
    /// The same name in two roles is two.
    fn of(self, digest: u64) -> u64 {
        mixed(digest.wrapping_add(self as u64))
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
    /// Of its own id (`jti`, or a certificate's fingerprint), by which it can be revoked.
    pub id: Option<u64>,
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

    /// Whether a worker that goes by `other` would do something else by this one.
    pub fn is_another_than(&self, other: &Trust) -> bool {
        let asks_the_same = match (&self.questions, &other.questions) {
            (Some(one), Some(other)) => one.same_channel(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let Trust { issuers, certificates, endpoints, revoked, questions: _ } = self;
        !asks_the_same
            || (issuers, certificates, endpoints, revoked)
                != (&other.issuers, &other.certificates, &other.endpoints, &other.revoked)
    }

    /// Whether one of these identities is learnt from tokens.
    pub fn is_asked_for(&self, mut identities: impl Iterator<Item = usize>) -> bool {
        identities.any(|identity| self.issuers.get(identity).is_some_and(Option::is_some))
    }

    /// The identity of the table that accepted it.
    pub fn identity_of(&self, verified: &Verified) -> Option<usize> {
        let is_it = |issuer: &Option<Issuer>| issuer.as_ref().is_some_and(|of| of.content == verified.issuer);
        let shown = || self.certificates.iter().position(|content| *content == Some(verified.issuer));
        self.issuers.iter().position(is_it).or_else(shown)
    }

    /// Whether one of these identities accepted it.
    pub fn is_of(&self, verified: &Verified, mut identities: impl Iterator<Item = usize>) -> bool {
        let content =
            |at| self.issuers.get(at).and_then(Option::as_ref).map(|issuer: &Issuer| issuer.content);
        identities.any(|at| content(at) == Some(verified.issuer))
    }

    /// Whether a token that was verified once, for an endpoint that is the same still, is to be believed by one of these
    /// identities. Whether its principal was revoked is asked of whoever it tells of ([`Revoked::has`]).
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
        identities.any(|at| is_shown(at) || self.issuers.get(at).and_then(Option::as_ref).is_some_and(stands))
    }
}

// The sender of questions has nothing to show.
impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_revoked_in_its_role_alone() {
        let names = |principal: &str, user: &str, agent: &str, token: Option<&str>| Names {
            principal: digest(principal),
            user: digest(user),
            agent: digest(agent),
            token: token.map(digest),
        };
        let mut revoked = Revoked::default();
        assert!(!revoked.has(&names("ada", "", "", None)));
        revoked.add(Role::User, "ada");
        revoked.add(Role::Token, "7");
        assert!(revoked.has(&names("x", "ada", "", None)));
        assert!(revoked.has(&names("x", "y", "", Some("7"))));
        assert!(!revoked.has(&names("ada", "y", "ada", Some("ada"))));
        assert!(!revoked.has(&names("7", "7", "7", None)));
    }
}
