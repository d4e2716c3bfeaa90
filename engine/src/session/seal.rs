//! Sealing of session ids: ChaCha20-Poly1305 under the key of this gateway, no key derivation per
//! request. Nonces are chosen at random, which is sound for 2^32 seals under one key: whoever keeps the key from one
//! process to the next replaces it in time. A client can neither read an id nor make one; every worker can open it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use strait_protocol::mcp::{Declared, Revision};

use super::SessionId;
use crate::io::random;

const NONCE: usize = 12;
const TAG: usize = 16;
/// worker 2, server 8, revision 1, principal 8, serial 16, declared 2, begun 8
const PLAIN: usize = 45;
const SEALED: usize = NONCE + PLAIN + TAG;
/// Visible characters of an id: 98. The limit other parts may rely on is 128.
pub const ID_CHARS_MAX: usize = (SEALED * 4).div_ceil(3);

const _: () = assert!(ID_CHARS_MAX <= 128);

/// What a session id is carried by. One is of no use as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// The header `Mcp-Session-Id` of Streamable HTTP.
    Header,
    /// The URL that an HTTP+SSE client is told to send its messages to.
    Url,
}

impl Carriage {
    fn purpose(self) -> &'static [u8] {
        match self {
            Carriage::Header => b"",
            Carriage::Url => b"url",
        }
    }
}

/// The key of all session ids. `Clone` shares the key with every worker.
#[derive(Clone)]
pub struct Seal {
    cipher: ChaCha20Poly1305,
    /// For codes over what a client may know but not make.
    code_key: [u8; 32],
}

impl Seal {
    /// A fresh key.
    pub fn random() -> std::io::Result<Seal> {
        let mut key = [0; 32];
        random::fill(&mut key)?;
        Ok(Seal::of(&key))
    }

    /// Under a key that is kept.
    pub fn of(key: &[u8; 32]) -> Seal {
        let code_key = blake3::derive_key("strait 2026-11 codes over cursors", key);
        Seal { cipher: ChaCha20Poly1305::new(Key::from_slice(key)), code_key }
    }

    /// A keyed hash, for a code over what is told to a client and comes back.
    pub fn code(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.code_key)
    }

    /// A number nobody can guess.
    pub fn serial() -> std::io::Result<u128> {
        let mut bytes = [0; 16];
        random::fill(&mut bytes)?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// The id as text, appended to `out`.
    pub fn seal(&self, id: &SessionId, carriage: Carriage, out: &mut Vec<u8>) -> std::io::Result<()> {
        let mut sealed = [0; SEALED];
        random::fill(&mut sealed[..NONCE])?;
        let nonce = *Nonce::from_slice(&sealed[..NONCE]);
        let plain = &mut sealed[NONCE..NONCE + PLAIN];
        plain[0..2].copy_from_slice(&id.worker.to_le_bytes());
        plain[2..10].copy_from_slice(&id.server.to_le_bytes());
        plain[10] = id.revision as u8;
        plain[11..19].copy_from_slice(&id.principal.to_le_bytes());
        plain[19..35].copy_from_slice(&id.serial.to_le_bytes());
        plain[35..37].copy_from_slice(&id.declared.bits().to_le_bytes());
        plain[37..45].copy_from_slice(&id.begun_unix_ms.to_le_bytes());
        let tag = self
            .cipher
            .encrypt_in_place_detached(&nonce, carriage.purpose(), plain)
            .map_err(|_| std::io::Error::other("sealing a session id failed"))?;
        sealed[NONCE + PLAIN..].copy_from_slice(&tag);
        let mut text = [0; ID_CHARS_MAX];
        let written = BASE64_URL_SAFE_NO_PAD
            .encode_slice(sealed, &mut text)
            .map_err(|_| std::io::Error::other("a session id has an unexpected length"))?;
        out.extend_from_slice(&text[..written]);
        Ok(())
    }

    /// Seals anything, for one purpose only, and appends it as text. `plain` is used up.
    pub fn seal_bytes(&self, purpose: &[u8], plain: &mut [u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let mut nonce = [0; NONCE];
        random::fill(&mut nonce)?;
        let sealed = self.cipher.encrypt_in_place_detached(Nonce::from_slice(&nonce), purpose, plain);
        let tag = sealed.map_err(|_| std::io::Error::other("sealing failed"))?;
        let whole = [&nonce[..], plain, &tag].concat();
        out.extend_from_slice(BASE64_URL_SAFE_NO_PAD.encode(whole).as_bytes());
        Ok(())
    }

    /// What was sealed for this purpose; `None` for anything else.
    pub fn open_bytes(&self, purpose: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let mut whole = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let tag = whole.split_off(whole.len().checked_sub(TAG)?);
        let mut plain = whole.split_off(NONCE.min(whole.len()));
        let nonce = (whole.len() == NONCE).then(|| Nonce::from_slice(&whole))?;
        let opened = self.cipher.decrypt_in_place_detached(nonce, purpose, &mut plain, Tag::from_slice(&tag));
        opened.ok().map(|()| plain)
    }

    /// What an id says; `None` for anything that was not sealed under this key.
    pub fn open(&self, carriage: Carriage, text: &[u8]) -> Option<SessionId> {
        let mut sealed = [0; SEALED];
        if text.len() != ID_CHARS_MAX || BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut sealed) != Ok(SEALED)
        {
            return None;
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let (plain, tag) = rest.split_at_mut(PLAIN);
        self.cipher
            .decrypt_in_place_detached(
                Nonce::from_slice(nonce),
                carriage.purpose(),
                plain,
                Tag::from_slice(tag),
            )
            .ok()?;
        Some(SessionId {
            worker: u16::from_le_bytes([plain[0], plain[1]]),
            server: u64::from_le_bytes(*plain[2..].first_chunk()?),
            revision: Revision::from_index(plain[10])?,
            principal: u64::from_le_bytes(*plain[11..].first_chunk()?),
            serial: u128::from_le_bytes(*plain[19..].first_chunk()?),
            declared: Declared::from_bits(u16::from_le_bytes([plain[35], plain[36]])),
            begun_unix_ms: u64::from_le_bytes(*plain[37..].first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId {
            worker: 3,
            server: 7,
            revision: Revision::V2025_06_18,
            principal: u64::MAX - 5,
            serial: 1 << 100,
            declared: Declared::SAMPLING.and(Declared::ROOTS),
            begun_unix_ms: 1_790_000_000_000,
        }
    }

    #[test]
    fn an_id_opens_to_what_was_sealed_and_only_under_its_key() {
        let (seal, other) = (Seal::random().unwrap(), Seal::random().unwrap());
        let mut text = Vec::new();
        seal.seal(&id(), Carriage::Header, &mut text).unwrap();
        assert_eq!(text.len(), ID_CHARS_MAX);
        assert!(text.iter().all(|byte| (0x21..=0x7e).contains(byte)));
        assert_eq!(seal.open(Carriage::Header, &text), Some(id()));
        assert_eq!(other.open(Carriage::Header, &text), None);
        assert_eq!(seal.open(Carriage::Url, &text), None, "no URL");
    }

    #[test]
    fn a_changed_id_does_not_open() {
        let seal = Seal::random().unwrap();
        let mut text = Vec::new();
        seal.seal(&id(), Carriage::Header, &mut text).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(seal.open(Carriage::Header, &changed), None, "changed at {at}");
        }
        assert_eq!(seal.open(Carriage::Header, &text[1..]), None);
        assert_eq!(seal.open(Carriage::Header, b""), None);
    }
}
