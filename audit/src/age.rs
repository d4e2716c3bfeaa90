//! Keys of age (X25519) and a key wrapped for them, in age's own file form (C2SP `age`, version 1): what is wrapped here is opened by
//! `age --decrypt`, and by any other implementation.
//!
//! The decision: only what a log needs, over the cryptography that the log has anyway. A file holds one key of 32 bytes, so its
//! payload is one chunk; of recipients there are those of X25519, no passwords, no plugins. The crate `age` does all of it and
//! brings fifty others along, translations among them, into the process that holds everybody's secrets.

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine;
use base64::alphabet::STANDARD as LETTERS;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

/// Without padding, and with one way to write each: as the form asks.
const BASE64: GeneralPurpose = GeneralPurpose::new(&LETTERS, NO_PAD);
const VERSION: &str = "age-encryption.org/v1";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const RECIPIENT: Hrp = Hrp::parse_unchecked("age");
const IDENTITY: Hrp = Hrp::parse_unchecked("age-secret-key-");
const FILE_KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// Of the only chunk, which is the last.
const LAST_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A key that is kept secret.
pub type Secret = Zeroizing<[u8; 32]>;

/// Whom something is encrypted for: `age1…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Recipient {
    pub fn new(key: [u8; 32]) -> Recipient {
        Recipient(key)
    }

    pub fn parse(text: &str) -> Option<Recipient> {
        decoded(RECIPIENT, text).map(|key| Recipient(*key))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32::encode_lower_to_fmt::<Bech32, _>(f, RECIPIENT, &self.0).map_err(|_| fmt::Error)
    }
}

/// Who opens it. No `Debug`.
pub struct Identity {
    key: PrivateKey,
    recipient: Recipient,
}

impl Identity {
    /// The identities of a file as `age-keygen` writes it: one a line, and lines that begin with `#`. `None`: it is no such file.
    pub fn read(text: &str) -> Option<Vec<Identity>> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities: Vec<Identity> = lines.map(Identity::parse).collect::<Option<_>>()?;
        (!identities.is_empty()).then_some(identities)
    }

    /// `AGE-SECRET-KEY-1…`.
    pub fn parse(text: &str) -> Option<Identity> {
        let bytes = decoded(IDENTITY, text)?;
        let key = PrivateKey::from_private_key(&X25519, &*bytes).ok()?;
        let recipient = Recipient(key.compute_public_key().ok()?.as_ref().try_into().ok()?);
        Some(Identity { key, recipient })
    }

    /// Whom to encrypt for so that this one opens it.
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }
}

fn decoded(expected: Hrp, text: &str) -> Option<Secret> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok().filter(|checked| checked.hrp() == expected)?;
    let mut key = Zeroizing::new([0; 32]);
    let mut bytes = checked.byte_iter();
    for byte in key.iter_mut() {
        *byte = bytes.next()?;
    }
    bytes.next().is_none().then_some(key)
}

/// Why a wrapped key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgeError {
    Form,
    /// It is for others.
    NotFor,
    /// It is for this identity, and was changed.
    Changed,
}

/// A key as an age file for all of them. `None`: the system gives no random bytes, or a recipient is no key that one can agree with.
pub fn wrap(key: &Secret, recipients: &[Recipient]) -> Option<Vec<u8>> {
    let (mut file_key, mut nonce) = (Zeroizing::new([0; FILE_KEY_BYTES]), [0; 16]);
    rand::fill(&mut *file_key).ok()?;
    rand::fill(&mut nonce).ok()?;
    let mut head = format!("{VERSION}\n");
    for recipient in recipients {
        let ephemeral = PrivateKey::generate(&X25519).ok()?;
        let share: [u8; 32] = ephemeral.compute_public_key().ok()?.as_ref().try_into().ok()?;
        let wrapping = agreed(&ephemeral, &recipient.0, &share, &recipient.0)?;
        let body = sealed(&wrapping, [0; 12], &*file_key)?;
        head.push_str(&format!("-> X25519 {}\n{}\n", BASE64.encode(share), BASE64.encode(body)));
    }
    head.push_str("---");
    let mac = hmac::sign(&mac_key(&*file_key)?, head.as_bytes());
    head.push_str(&format!(" {}\n", BASE64.encode(mac)));
    let mut file = head.into_bytes();
    file.extend_from_slice(&nonce);
    file.extend_from_slice(&sealed(&derived(&nonce, &*file_key, b"payload")?, LAST_CHUNK, &**key)?);
    Some(file)
}

/// What [`wrap`] made, opened by one of the identities.
pub fn unwrap(file: &[u8], identities: &[Identity]) -> Result<Secret, AgeError> {
    let wrapped = Wrapped::read(file).ok_or(AgeError::Form)?;
    let tries = identities.iter().flat_map(|identity| wrapped.stanzas.iter().map(move |of| (identity, of)));
    let file_key = tries.into_iter().find_map(|(identity, (share, body))| {
        let wrapping = agreed(&identity.key, share, share, &identity.recipient.0)?;
        opened::<FILE_KEY_BYTES>(&wrapping, [0; 12], body)
    });
    let file_key = file_key.ok_or(AgeError::NotFor)?;
    let mac_key = mac_key(&*file_key).ok_or(AgeError::Changed)?;
    hmac::verify(&mac_key, wrapped.head, &wrapped.mac).map_err(|_| AgeError::Changed)?;
    let (nonce, chunk) = wrapped.rest.split_first_chunk::<16>().ok_or(AgeError::Form)?;
    let payload_key = derived(nonce, &*file_key, b"payload").ok_or(AgeError::Changed)?;
    opened::<32>(&payload_key, LAST_CHUNK, chunk).ok_or(AgeError::Changed)
}

/// An age file, taken apart.
struct Wrapped<'f> {
    /// Of X25519: the share, and the wrapped file key.
    stanzas: Vec<([u8; 32], [u8; FILE_KEY_BYTES + TAG_BYTES])>,
    /// What the code is over.
    head: &'f [u8],
    mac: [u8; 32],
    rest: &'f [u8],
}

impl Wrapped<'_> {
    fn read(file: &[u8]) -> Option<Wrapped<'_>> {
        let mut at = 0;
        let mut line = || {
            let rest = file.get(at..)?;
            let begin = at;
            let length = rest.iter().position(|byte| *byte == b'\n')?;
            at += length + 1;
            Some((begin, std::str::from_utf8(rest.get(..length)?).ok()?))
        };
        line().filter(|(_, version)| *version == VERSION)?;
        let mut stanzas = Vec::new();
        loop {
            let (begin, text) = line()?;
            if let Some(mac) = text.strip_prefix("--- ") {
                let mac = BASE64.decode(mac).ok()?.try_into().ok()?;
                return Some(Wrapped { stanzas, head: file.get(..begin + 3)?, mac, rest: file.get(at..)? });
            }
            let share = text.strip_prefix("-> X25519 ")?;
            let (share, body) = (BASE64.decode(share).ok()?, BASE64.decode(line()?.1).ok()?);
            stanzas.push((share.try_into().ok()?, body.try_into().ok()?));
        }
    }
}

/// What both sides of an agreement know, as the key that wraps.
fn agreed(mine: &PrivateKey, theirs: &[u8; 32], share: &[u8; 32], recipient: &[u8; 32]) -> Option<Secret> {
    let salt = [&share[..], &recipient[..]].concat();
    agree(mine, UnparsedPublicKey::new(&X25519, theirs), (), |secret| derived(&salt, secret, LABEL).ok_or(()))
        .ok()
}

fn derived(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<Secret> {
    let mut key = Zeroizing::new([0; 32]);
    let made = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    made.expand(&[info], hkdf::HKDF_SHA256).and_then(|made| made.fill(&mut *key)).ok()?;
    Some(key)
}

fn mac_key(file_key: &[u8]) -> Option<hmac::Key> {
    Some(hmac::Key::new(hmac::HMAC_SHA256, &*derived(&[], file_key, b"header")?))
}

fn chacha(key: &Secret) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &**key).ok()?))
}

fn sealed(key: &Secret, nonce: [u8; 12], plain: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    chacha(key)?.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).ok()?;
    Some(bytes)
}

fn opened<const N: usize>(key: &Secret, nonce: [u8; 12], sealed: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = chacha(key)?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
    Some(Zeroizing::new((&*plain).try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `age-keygen` 1.1.1.
    const ONE: (&str, &str) = (
        "AGE-SECRET-KEY-12UF6PXU7T5JWDC74RT6J27GRSAAYGFD4KFP5H8N0TQQ5SE53A3MQLUCFNW",
        "age1sah4jl4wdtqn3x85mq0rvrd20zqafjameyfemmned548zt29genq0u2tr3",
    );
    const OTHER: (&str, &str) = (
        "AGE-SECRET-KEY-1H3W2QLY66M79GTCFATG2XZDPUEXXVH0QWQJS87YDC736XWAV4HRQSWNUX5",
        "age1ngw3uxe9tzne2xlctpa27dnlhv7l3d95y7q0m6ynxnev0pa4698q0g3jyv",
    );

    fn identity(of: (&str, &str)) -> Identity {
        Identity::parse(of.0).unwrap()
    }

    #[test]
    fn keys_are_read_as_age_writes_them() {
        for of in [ONE, OTHER] {
            let recipient = Recipient::parse(of.1).unwrap();
            assert_eq!(identity(of).recipient(), recipient);
            assert_eq!(recipient.to_string(), of.1);
        }
        let wrong = ONE.1.replace("age1", "age2");
        for text in ["", "age1", ONE.0, &ONE.1[..61], &wrong] {
            assert_eq!(Recipient::parse(text), None, "{text:?}");
        }
        let file = format!("# created: today\n# public key: {}\n{}\n\n{}\n", ONE.1, ONE.0, OTHER.0);
        assert_eq!(Identity::read(&file).map(|read| read.len()), Some(2));
        assert!(Identity::read("# nothing\n").is_none() && Identity::read(ONE.1).is_none());
    }

    #[test]
    fn each_recipient_opens_what_was_wrapped_and_nobody_else() {
        let key = Zeroizing::new([7; 32]);
        let both = wrap(&key, &[identity(ONE).recipient(), identity(OTHER).recipient()]).unwrap();
        for of in [ONE, OTHER] {
            assert_eq!(unwrap(&both, &[identity(of)]), Ok(key.clone()));
        }
        let one = wrap(&key, &[identity(ONE).recipient()]).unwrap();
        assert_eq!(unwrap(&one, &[identity(OTHER)]), Err(AgeError::NotFor));
        assert_eq!(unwrap(&one, &[identity(OTHER), identity(ONE)]), Ok(key));
    }

    #[test]
    fn every_changed_byte_of_what_was_wrapped_is_seen() {
        let file = wrap(&Zeroizing::new([7; 32]), &[identity(ONE).recipient()]).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(unwrap(&changed, &[identity(ONE)]).is_err(), "byte {at}");
        }
        assert_eq!(unwrap(&file[..file.len() - 1], &[identity(ONE)]), Err(AgeError::Changed));
        assert_eq!(unwrap(b"age-encryption.org/v1\n", &[identity(ONE)]), Err(AgeError::Form));
    }

    #[test]
    fn a_recipient_that_nobody_agrees_with_is_refused() {
        assert_eq!(wrap(&Zeroizing::new([7; 32]), &[Recipient::new([0; 32])]), None);
    }

    #[test]
    fn what_another_implementation_wrapped_is_opened() {
        let file = BASE64.decode("YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBTa2JBY1ErS1Y0TXJZeWpNc0VyaG5oZ1NHYU1SaGY4OEFwYnhyRXpBK1JjCkFnTEMzRkxBYi83Wm45WVdETGkzaXl0WkN2cjA1dDd1SjdUbnRabXZsYXMKLT4gWDI1NTE5IE42aTEreWJvamN4TjhWRExFU3lZYUEwaXFsVWNXdVlJVHBERGVpNDdSM2sKSnc5cjdVSmRaRllXbXk0a3EwbS94SkgwQVZ2ZWF1Z21sZUp5VFB1cjhjWQotLS0gZDh2cFUrYVdGM29pTTBHYnl6N2NZei9vbnY3NmlORWhqQ3VCTFhuRDBNVQpuixLSuMEFhExzqrrSSvvJsH8fxKGin0+RGGIVU1em2vbaOzaV7FaenwTZDKq9HWPrLhvYgTPtPde1MEG8WB0r").unwrap();
        assert_eq!(unwrap(&file, &[identity(ONE)]), Ok(Zeroizing::new(*b"0123456789abcdef0123456789abcdef")));
    }
}
