//! Who asks. A server lists the identities it accepts, in order; one without any is open, and its
//! caller is the principal `anonymous`.
//!
//! An API key is never stored or compared as text: its keyed blake3 digest is looked up, so that
//! neither a timing nor a memory dump tells anything about keys nobody presented.

use strait_policy::RoleSet;

use super::Incoming;
use super::arrive::Place;
use super::record::Record;
use super::refusal::Refusal;
use crate::core::Adopted;

/// A verified caller.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Index into the key ring's principals.
    pub principal: u32,
    /// Of the principal's id: what sessions are bound to.
    pub digest: u64,
    pub roles: RoleSet,
}

/// Longer credentials are not keys of ours.
const KEY_BYTES_MAX: usize = 256;

pub fn run(
    incoming: &Incoming<'_>,
    adopted: &Adopted,
    place: &Place,
    record: &mut Record,
) -> Result<Caller, Refusal> {
    let principal = principal(incoming, adopted, place).ok_or(Refusal::Unauthenticated)?;
    record.principal(principal);
    let known = adopted.known(principal);
    Ok(Caller { principal, digest: known.digest, roles: known.roles })
}

fn principal(incoming: &Incoming<'_>, adopted: &Adopted, place: &Place) -> Option<u32> {
    let server = adopted.snapshot.rules().servers.get(place.server)?;
    if server.auth.is_empty() {
        return Some(0);
    }
    let key = bearer(incoming.head.authorization?.of(incoming.bytes))?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return None;
    }
    server.auth.iter().find_map(|identity| {
        let keys = adopted.keys.identities.get(identity.to_native() as usize)?;
        let digest = blake3::keyed_hash(&keys.pepper, key);
        keys.by_digest.get(digest.as_bytes()).copied()
    })
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}
