//! Who vouches for a table: the place of a signature in the header, and what it is a signature of.
//!
//! This crate knows no cryptography but hashes: it says which bytes are signed ([`Header::signed`]) and puts 64 bytes
//! where they belong ([`sign`]). `strait-control` makes and checks them (Ed25519). What is signed is the whole header but the
//! signature itself and the checksum, so by the sections' hashes, places and the length the whole file; behind a text that no other
//! use of the key begins with.

use crate::file::{HEADER_BYTES, Header, OpenError};

/// What a signature is of begins with this.
pub const DOMAIN: &[u8; 32] = b"strait table, signed, version 1\n";
/// The domain, and the header up to its checksum with zeros in the signature's place.
pub const SIGNED_BYTES: usize = DOMAIN.len() + CHECKED;

/// The last 32 bytes of the header are the blake3 of what stands before them.
pub(crate) const CHECKED: usize = HEADER_BYTES - 32;
/// Key id, sequence, signature.
pub(crate) const AT: usize = 120;
const BYTES_AT: usize = AT + 16;
/// Zeros from here to the checksum.
const END: usize = BYTES_AT + 64;

/// Names a key: the first bytes of the blake3 of the raw public key. A hint which key to try, and no proof of anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// Of a raw Ed25519 public key.
    pub fn of(public: &[u8]) -> KeyId {
        let mut id = [0; 8];
        id.copy_from_slice(&blake3::hash(public).as_bytes()[..8]);
        KeyId(id)
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose it says it is.
    pub key: KeyId,
    /// A table with a smaller one is older. Seconds of Unix time, where nobody said otherwise.
    pub sequence: u64,
    pub bytes: [u8; 64],
}

impl Signature {
    pub(crate) fn put(&self, header: &mut [u8; HEADER_BYTES]) {
        header[AT..AT + 8].copy_from_slice(&self.key.0);
        header[AT + 8..BYTES_AT].copy_from_slice(&self.sequence.to_le_bytes());
        header[BYTES_AT..END].copy_from_slice(&self.bytes);
    }

    /// Reads it out of a header; `None`: nobody signed it, and all of its place is zero.
    pub(crate) fn at(header: &[u8; HEADER_BYTES]) -> Result<Option<Signature>, OpenError> {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if !is_zero(&header[END..CHECKED]) {
            return Err(OpenError::Meaning { what: "what is reserved in its header is not zero" });
        }
        if is_zero(&header[AT..END]) {
            return Ok(None);
        }
        let (mut key, mut sequence, mut bytes) = ([0; 8], [0; 8], [0; 64]);
        key.copy_from_slice(&header[AT..AT + 8]);
        sequence.copy_from_slice(&header[AT + 8..BYTES_AT]);
        bytes.copy_from_slice(&header[BYTES_AT..END]);
        Ok(Some(Signature { key: KeyId(key), sequence: u64::from_le_bytes(sequence), bytes }))
    }
}

impl Header {
    /// What its signature is of: the key id and the sequence are in it, whoever signs sets them before.
    pub fn signed(&self) -> [u8; SIGNED_BYTES] {
        let mut out = [0; SIGNED_BYTES];
        out[..DOMAIN.len()].copy_from_slice(DOMAIN);
        let mut header = *self;
        if let Some(signature) = &mut header.signature {
            signature.bytes = [0; 64];
        }
        out[DOMAIN.len()..].copy_from_slice(&header.encode()[..CHECKED]);
        out
    }
}

/// Signs the bytes of a table, in the place of whoever did before. The rest of it stays as it is, its generation too.
pub fn sign(
    table: &mut [u8],
    key: KeyId,
    sequence: u64,
    with: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<Signature, OpenError> {
    let mut header = Header::parse(table)?;
    header.signature = Some(Signature { key, sequence, bytes: [0; 64] });
    let signature = Signature { key, sequence, bytes: with(&header.signed()) };
    header.signature = Some(signature);
    // It was parsed, so it is there.
    table[..HEADER_BYTES].copy_from_slice(&header.encode());
    Ok(signature)
}
