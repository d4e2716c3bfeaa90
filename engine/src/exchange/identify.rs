//! Who asks. A server lists the identities it accepts, in order; one without any is open, and its
//! caller is the principal `anonymous`.
//!
//! An API key is never stored or compared as text: its keyed blake3 digest is looked up, so that
//! neither a timing nor a memory dump tells anything about keys nobody presented.

use std::cell::Cell;

use super::Incoming;
use super::arrive::Place;
use super::record::Record;
use super::refusal::Refusal;
use crate::core::{Adopted, Core, TraitsId};
use crate::trial::Side;

/// A verified caller.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Index into the key ring's principals.
    pub principal: u32,
    /// Of the principal's id: what sessions are bound to.
    pub digest: u64,
    pub traits: TraitsId,
}

impl Caller {
    /// Whoever comes to a server that asks for no credential.
    pub fn is_anonymous(&self) -> bool {
        self.principal == 0
    }
}

/// Longer credentials are not keys of ours.
const KEY_BYTES_MAX: usize = 256;

pub fn run(
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    place: &Place,
    record: &mut Record,
) -> Result<Caller, Refusal> {
    let principal = principal(incoming, adopted, place.server).ok_or(Refusal::Unauthenticated)?.0;
    record.principal(principal);
    Ok(caller(adopted, principal))
}

/// What an answer that stands open remembers of its caller, to look again who that is: keys are revoked, and roles change,
/// while it stands. A digest, never the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential(Option<[u8; 32]>);

/// The credential that [`run`] accepted.
pub fn credential(incoming: &Incoming<'_>, adopted: &Adopted, server: usize) -> Option<Credential> {
    principal(incoming, adopted, server).map(|(_, credential)| credential)
}

/// Whom an answer that stands open is for: asked again before each event that follows a change.
pub struct Listener {
    /// Digests of the server and the principal.
    server: u64,
    principal: u64,
    credential: Credential,
    side: Side,
    /// The edition that allowed it last.
    allowed: Cell<u64>,
}

impl Listener {
    /// The caller of this request, which [`run`] accepted.
    pub fn of(
        incoming: &Incoming<'_>,
        adopted: &Adopted,
        server: usize,
        caller: &Caller,
    ) -> Result<Listener, Refusal> {
        let credential = credential(incoming, adopted, server).ok_or(Refusal::Unauthenticated)?;
        let digest = adopted.server_digest(server).ok_or(Refusal::NoSuchPath)?;
        let (principal, allowed) = (caller.digest, Cell::new(adopted.serial));
        Ok(Listener { server: digest, principal, credential, side: adopted.side, allowed })
    }

    /// Whether it may still hear what is said.
    pub fn is_welcome(&self, core: &Core) -> bool {
        let adopted = core.adopted_on(self.side);
        if self.allowed.replace(adopted.serial) == adopted.serial {
            return true;
        }
        let server = adopted.server_of(self.server);
        let caller = server.and_then(|server| again(&adopted, server, self.credential));
        caller.is_some_and(|caller| caller.digest == self.principal)
    }
}

/// Who has this credential now; `None` when the server does not accept it any more.
pub fn again(adopted: &Adopted, server: usize, credential: Credential) -> Option<Caller> {
    let auth = &adopted.snapshot.rules().servers.get(server)?.auth;
    if auth.is_empty() {
        return Some(caller(adopted, 0));
    }
    let digest = credential.0?;
    let principal = auth.iter().find_map(|identity| {
        let keys = adopted.keys.identities.get(identity.to_native() as usize)?;
        keys.by_digest.get(&digest).copied()
    });
    principal.map(|principal| caller(adopted, principal))
}

/// The principal that has this digest, as a caller of now.
pub fn known(adopted: &Adopted, digest: u64) -> Option<Caller> {
    adopted.principal_of(digest).map(|principal| caller(adopted, principal))
}

fn caller(adopted: &Adopted, principal: u32) -> Caller {
    let known = adopted.known(principal);
    Caller { principal, digest: known.digest, traits: known.traits }
}

fn principal(incoming: &Incoming<'_>, adopted: &Adopted, server: usize) -> Option<(u32, Credential)> {
    let server = adopted.snapshot.rules().servers.get(server)?;
    if server.auth.is_empty() {
        return Some((0, Credential(None)));
    }
    let key = bearer(incoming.head.authorization?.of(incoming.bytes))?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return None;
    }
    server.auth.iter().find_map(|identity| {
        let keys = adopted.keys.identities.get(identity.to_native() as usize)?;
        let digest = *blake3::keyed_hash(&keys.pepper, key).as_bytes();
        keys.by_digest.get(&digest).map(|principal| (*principal, Credential(Some(digest))))
    })
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}
