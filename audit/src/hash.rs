//! The hashes of RFC 6962, over SHA-256, and what commits to a payload.

use aws_lc_rs::digest::{Context, SHA256, digest};

use crate::frame::SALT_BYTES;

pub type Hash = [u8; 32];

/// Of a tree without leaves: of no bytes.
pub const EMPTY: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// What stands before a record when it is hashed.
pub const LEAF: u8 = 0;

/// Of a record.
pub fn leaf(record: &[u8]) -> Hash {
    of(&[&[LEAF], record])
}

/// Of what lies under two hashes.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    plain(&bytes)
}

/// Of as many hashes as a power of two, as the leaves of a whole tree.
pub fn subtree(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => EMPTY,
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node(&subtree(left), &subtree(right))
        }
    }
}

/// What a record says of what is kept of a payload: without the salt, nobody can try what it was.
pub fn commitment(salt: &[u8; SALT_BYTES], kept: &[u8]) -> Hash {
    of(&[salt, kept])
}

pub fn plain(bytes: &[u8]) -> Hash {
    hash_of(digest(&SHA256, bytes).as_ref())
}

fn of(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    hash_of(context.finish().as_ref())
}

/// SHA-256 has 32 bytes.
fn hash_of(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_6962() {
        assert_eq!(plain(b""), EMPTY);
        // Of the tree with one empty leaf, from the test vectors of Certificate Transparency.
        let hex: String = leaf(b"").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }
}
