//! API keys. One is never stored or compared as text: its keyed blake3 digest is looked up, so that neither a timing nor a memory
//! dump tells anything about keys nobody presented.

use crate::core::Adopted;

/// Longer credentials are not keys of ours.
const KEY_BYTES_MAX: usize = 256;

/// Whose key this is, and its digest, by the first of a server's identities that knows it.
pub fn find(
    adopted: &Adopted,
    mut identities: impl Iterator<Item = usize>,
    key: &[u8],
) -> Option<(u32, [u8; 32])> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return None;
    }
    identities.find_map(|identity| {
        let keys = adopted.keys.identities.get(identity)?;
        // One of tokens has none: there is nothing to hash for.
        if keys.by_digest.is_empty() {
            return None;
        }
        let digest = *blake3::keyed_hash(&keys.pepper, key).as_bytes();
        keys.by_digest.get(&digest).map(|principal| (*principal, digest))
    })
}

/// Whose key has this digest now.
pub fn again(
    adopted: &Adopted,
    mut identities: impl Iterator<Item = usize>,
    digest: &[u8; 32],
) -> Option<u32> {
    identities.find_map(|identity| adopted.keys.identities.get(identity)?.by_digest.get(digest).copied())
}
