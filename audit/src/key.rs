//! Keys of checkpoints: Ed25519, the private one as PKCS#8 in PEM (what `openssl genpkey -algorithm ed25519` makes), the public one
//! as the line that C2SP's verifiers take: name, id and key.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::LogError;
use crate::{hash, limits};

/// What stands before the 32 bytes of a seed in PKCS#8 (RFC 8410).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PEM_FIRST: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_LAST: &str = "-----END PRIVATE KEY-----";
/// Ed25519, in the words of signed-note.
const ALGORITHM: u8 = 1;

/// A private key. No `Debug`.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
}

impl SigningKey {
    /// Reads the key in a file, or makes one there, for its user alone.
    pub fn open_or_make(path: &Path) -> Result<SigningKey, LogError> {
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => SigningKey::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => SigningKey::make(path),
            Err(error) => Err(LogError::io("open", path, error)),
        }
    }

    pub fn generate() -> Result<SigningKey, LogError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| LogError::Random)?;
        Ok(SigningKey { pair: Arc::new(pair) })
    }

    /// To sign in the name of a log.
    pub fn signer(&self, origin: &str) -> Result<Signer, LogError> {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        let public = PublicKey::new(origin, key).ok_or_else(|| LogError::Origin(origin.to_owned()))?;
        Ok(Signer { pair: self.pair.clone(), public })
    }

    fn read(path: &Path, file: impl Read) -> Result<SigningKey, LogError> {
        let mut text = Zeroizing::new(String::with_capacity(limits::KEY_FILE_BYTES_MAX + 1));
        let read = file.take(limits::KEY_FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| LogError::io("read", path, error))?;
        let body = text.trim().strip_prefix(PEM_FIRST).and_then(|rest| rest.strip_suffix(PEM_LAST));
        let body = Zeroizing::new(body.unwrap_or_default().replace(['\n', '\r'], ""));
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).unwrap_or_default());
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        let pair = pair.map_err(|_| LogError::Key { path: path.to_owned() })?;
        Ok(SigningKey { pair: Arc::new(pair) })
    }

    fn make(path: &Path) -> Result<SigningKey, LogError> {
        let key = SigningKey::generate()?;
        let seed = key.pair.seed().and_then(|seed| seed.as_be_bytes()).map_err(|_| LogError::Random)?;
        let der = Zeroizing::new([&PKCS8_HEAD[..], seed.as_ref()].concat());
        let body = Zeroizing::new(STANDARD.encode(&*der));
        let text = Zeroizing::new(format!("{PEM_FIRST}\n{}\n{PEM_LAST}\n", &*body));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let written =
            file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(|error| LogError::io("write", path, error))?;
        Ok(key)
    }
}

/// A private key with the name of the log that it signs for.
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Signer {
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(text).as_ref());
        signature
    }
}

/// Who signs the checkpoints of a log, and the log's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

impl PublicKey {
    /// A name is a word without `+`, as signed-note has it.
    pub fn new(name: &str, key: [u8; 32]) -> Option<PublicKey> {
        let is_possible = !name.is_empty() && name.len() <= limits::ORIGIN_BYTES_MAX;
        let is_word = !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
        (is_possible && is_word).then(|| PublicKey { name: name.to_owned(), key })
    }

    /// `name+id+key`, without a line break; there is one way to write each.
    pub fn parse(line: &str) -> Option<PublicKey> {
        let (name, rest) = line.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let bytes = STANDARD.decode(key).ok()?;
        let key = PublicKey::new(name, bytes.strip_prefix(&[ALGORITHM])?.try_into().ok()?)?;
        (key.line() == line).then_some(key)
    }

    pub fn line(&self) -> String {
        let id: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}+{id}+{}", self.name, STANDARD.encode([&[ALGORITHM][..], &self.key].concat()))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> [u8; 4] {
        let of = [self.name.as_bytes(), &[b'\n', ALGORITHM], &self.key].concat();
        let [a, b, c, d, ..] = hash::plain(&of);
        [a, b, c, d]
    }

    pub fn has_signed(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(text, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification of signed-note.
    #[test]
    fn a_line_of_another_maker_is_read() {
        let line = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = PublicKey::parse(line).unwrap();
        assert_eq!(key.name(), "PeterNeumann");
        assert_eq!(key.line(), line);
        assert_eq!(PublicKey::parse(&line.replace("c74f", "c74e")), None);
        assert_eq!(PublicKey::parse(&line.replace("c74f20a3", "C74F20A3")), None);
    }

    #[test]
    fn a_key_that_was_made_is_read_again() {
        let folder = crate::testing::Folder::new("key");
        let path = folder.path().join("audit.key");
        let made = SigningKey::open_or_make(&path).unwrap().signer("a/b").unwrap();
        let read = SigningKey::open_or_make(&path).unwrap().signer("a/b").unwrap();
        assert_eq!(made.public(), read.public());
        assert!(made.public().has_signed(b"text", &read.sign(b"text")));
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(matches!(SigningKey::open_or_make(&path), Err(LogError::Key { .. })));
    }

    #[test]
    fn a_name_is_one_word() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
            assert!(PublicKey::new(name, [1; 32]).is_none(), "{name:?}");
        }
    }
}
