//! Who vouches for a table: the key that signs one, and the keys that a gateway takes one from (`--require-signed`).
//!
//! The decision: signing is about who made a table, so it stands beside the tokens, which are about who may put one into use. With
//! `--require-signed` nothing is served that none of the keys has signed, wherever it comes from: the file, an operator, the state
//! folder. What is checked is the sealed copy that workers will read. A table that is older than the one in use, by its
//! sequence, is an attack or a mistake, and refused; what goes back on purpose is `strait rollback` (docs/ROLLOUT.md).
//!
//! Ed25519 (RFC 8032) alone, which is deterministic: the same table, key and sequence give the same bytes. Keys are files as
//! `openssl genpkey -algorithm ed25519` makes them: PKCS#8, and SubjectPublicKeyInfo for the public one, both as PEM.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use strait_table::signature::{KeyId, Signature, sign};
use strait_table::{OpenError, Snapshot};
use zeroize::Zeroizing;

use crate::failure::{Code, Failure};
use crate::limits::{SIGNING_KEY_BYTES_MAX, TRUSTED_KEYS_MAX};
use crate::source::Source;

/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410); there is one way to write it.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Likewise before the seed, in PKCS#8.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A private key. No `Debug`.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    pub fn read(path: &Path) -> Result<Signer, Failure> {
        let text = Zeroizing::new(read(path)?);
        let wrong = |what: &str| {
            Failure::new(Code::Failed, format!("`{}` is no key to sign with: {what}", path.display())).help(
                "make one with `strait keys signing FILE`, or `openssl genpkey -algorithm ed25519 -out FILE`",
            )
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|_| wrong("expected one Ed25519 private key, PKCS#8 in PEM, without a password"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Ok(Signer { pair: pair.map_err(|_| wrong("expected an Ed25519 key, found one of another kind"))? })
    }

    /// Makes a key pair: `path`, for its user alone, and `path.pub`. Neither may be there.
    pub fn make(path: &Path) -> Result<(Signer, PathBuf), Failure> {
        let bug = |_| Failure::bug("no key could be made");
        let pair = Ed25519KeyPair::generate().map_err(bug)?;
        let seed = pair.seed().map_err(bug)?.as_be_bytes().map_err(bug)?;
        let private = Zeroizing::new([&PKCS8_HEAD[..], seed.as_ref()].concat());
        let public = [&SPKI_HEAD[..], pair.public_key().as_ref()].concat();
        let mut beside = path.as_os_str().to_owned();
        beside.push(".pub");
        let beside = PathBuf::from(beside);
        write_new(path, 0o600, &Zeroizing::new(pem("PRIVATE KEY", &private)))?;
        write_new(&beside, 0o644, &pem("PUBLIC KEY", &public))?;
        Ok((Signer { pair }, beside))
    }

    pub fn id(&self) -> KeyId {
        KeyId::of(self.pair.public_key().as_ref())
    }

    /// Signs the bytes of a table.
    pub fn sign(&self, table: &mut [u8], sequence: u64) -> Result<Signature, OpenError> {
        sign(table, self.id(), sequence, |signed| {
            let mut bytes = [0; 64];
            bytes.copy_from_slice(self.pair.sign(signed).as_ref());
            bytes
        })
    }
}

/// What a table is signed with when nobody says a sequence: the second of now.
pub fn sequence_now() -> u64 {
    crate::time::unix_s().max(0) as u64
}

/// Whose tables are served; nobody is asked for a signature where there are no keys.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<Trusted>,
    allow_downgrade: bool,
}

/// A public key that tables are taken from.
#[derive(Clone, Debug)]
struct Trusted {
    id: KeyId,
    raw: [u8; 32],
    path: PathBuf,
}

impl Trust {
    /// Reads the public keys of some files; each may hold several.
    pub fn read(paths: &[PathBuf], allow_downgrade: bool) -> Result<Trust, Failure> {
        let mut keys = Vec::new();
        for path in paths {
            let text = read(path)?;
            let wrong = |what: &str| {
                Failure::new(Code::Failed, format!("`{}` holds no key to trust: {what}", path.display()))
                    .help("`openssl pkey -in KEY -pubout` prints the public half of a key")
            };
            let found = keys.len();
            for der in SubjectPublicKeyInfoDer::pem_slice_iter(&text) {
                let der = der.map_err(|_| wrong("it is not the PEM of a public key"))?;
                let raw = der.strip_prefix(&SPKI_HEAD).and_then(|raw| <[u8; 32]>::try_from(raw).ok());
                let raw = raw.ok_or_else(|| wrong("expected Ed25519, found a key of another kind"))?;
                keys.push(Trusted { id: KeyId::of(&raw), raw, path: path.clone() });
            }
            if keys.len() == found {
                return Err(wrong("expected an Ed25519 public key in PEM (`BEGIN PUBLIC KEY`)"));
            }
        }
        if keys.len() > TRUSTED_KEYS_MAX {
            let message = format!("{} keys to trust: at most {TRUSTED_KEYS_MAX} are taken", keys.len());
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(Trust { keys, allow_downgrade })
    }

    /// Whether only signed tables are served.
    pub fn is_required(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Refuses what nobody who is trusted has signed.
    pub fn verify(&self, table: &Snapshot) -> Result<(), String> {
        if !self.is_required() {
            return Ok(());
        }
        let Some(signature) = table.signature() else {
            return Err(format!("{}, and it is not signed", self.wanted()));
        };
        let mut known = self.keys.iter().filter(|key| key.id == signature.key).peekable();
        if known.peek().is_none() {
            return Err(format!("{}, and it is signed by {}", self.wanted(), signature.key));
        }
        if known.any(|key| key.has_signed(table, signature)) {
            return Ok(());
        }
        Err(format!(
            "its signature by {} is not valid: the table was changed after it was signed, or somebody else signed it",
            signature.key
        ))
    }

    /// Refuses what is older than a table with this sequence.
    pub fn follows(&self, floor: Option<u64>, table: &Snapshot) -> Result<(), String> {
        let found = table.signature().map(|signature| signature.sequence);
        match (floor, found) {
            (Some(floor), Some(found)) if self.is_required() && !self.allow_downgrade && found < floor => {
                Err(format!(
                    "it is older than the table in use: its sequence is {found}, expected {floor} or more; sign it anew, go back \
                     with `strait rollback`, or start with --allow-downgrade"
                ))
            }
            _ => Ok(()),
        }
    }

    fn wanted(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| key.id.to_string()).collect();
        format!("expected a table signed by {}", keys.join(" or "))
    }

    /// What status says of who signed a table.
    pub fn shown(&self, table: &Snapshot) -> Value {
        let mut shown = facts(table);
        if shown.is_object() && self.is_required() {
            let key = self.keys.iter().find(|key| table.signature().is_some_and(|of| of.key == key.id));
            shown["verified"] = self.verify(table).is_ok().into();
            shown["by"] = key.map(|key| key.path.display().to_string()).into();
        }
        json!({ "required": self.is_required(), "signature": shown })
    }
}

impl Trusted {
    fn has_signed(&self, table: &Snapshot, signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.raw).verify(&table.signed(), &signature.bytes).is_ok()
    }
}

/// A configuration has nobody's signature: it is refused before it is read.
pub fn takes(trust: &Trust, source: &Source) -> Result<(), Failure> {
    let Source::Config(path) = source else { return Ok(()) };
    if !trust.is_required() {
        return Ok(());
    }
    let message = format!(
        "`{}` is a configuration: with --require-signed only signed tables are served",
        path.display()
    );
    Err(Failure::new(Code::Usage, message)
        .help("compile it where the key is: `strait compile CONFIG -o TABLE --sign KEY`"))
}

/// What a table says of its signature; whether that is so is another question.
pub fn facts(table: &Snapshot) -> Value {
    table.signature().map_or(
        Value::Null,
        |signature| json!({ "key": signature.key.to_string(), "sequence": signature.sequence }),
    )
}

/// What a file of a key holds.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(Code::Usage, format!("cannot read the key `{}`: {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity(SIGNING_KEY_BYTES_MAX as usize);
    file.take(SIGNING_KEY_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let code = if error.kind() == io::ErrorKind::AlreadyExists { Code::Conflict } else { Code::Unfit };
        Failure::new(code, format!("cannot write the key `{}`: {error}", path.display()))
            .help("a key that is there is never replaced: name another file")
    })
}

/// Both kinds fit one line of 64 letters.
fn pem(what: &str, der: &[u8]) -> String {
    let coded = Zeroizing::new(STANDARD.encode(der));
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", *coded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Folder, rules};

    fn table() -> Vec<u8> {
        strait_table::snapshot::table_of(&rules()).unwrap()
    }

    fn open(bytes: &[u8]) -> Snapshot {
        Snapshot::from_bytes(bytes).unwrap()
    }

    fn signed(signer: &Signer, sequence: u64) -> Snapshot {
        let mut bytes = table();
        signer.sign(&mut bytes, sequence).unwrap();
        open(&bytes)
    }

    /// The key of RFC 8032, 7.1, test 1, as openssl writes it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
                           MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                           -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
                          MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                          -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_of_openssl_sign_and_are_trusted() {
        let folder = Folder::new();
        let (private, public) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&private, PRIVATE).unwrap();
        std::fs::write(&public, PUBLIC).unwrap();
        let signer = Signer::read(&private).unwrap();
        let trust = Trust::read(&[public], false).unwrap();
        let first = signed(&signer, 5);
        assert_eq!(trust.verify(&first), Ok(()));
        assert_eq!(first.table(), signed(&signer, 5).table());
        assert_eq!(first.generation(), open(&table()).generation());
    }

    #[test]
    fn a_made_pair_belongs_together_and_is_never_replaced() {
        let folder = Folder::new();
        let path = folder.path().join("release");
        let (made, public) = Signer::make(&path).unwrap();
        let mode = |path: &Path| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        assert_eq!(Signer::read(&path).unwrap().id(), made.id());
        let trust = Trust::read(&[public], false).unwrap();
        assert_eq!(trust.verify(&signed(&made, 1)), Ok(()));
        assert_eq!(Signer::make(&path).err().unwrap().code, Code::Conflict);
    }

    #[test]
    fn what_nobody_trusted_has_signed_is_refused() {
        let folder = Folder::new();
        let make = |name: &str| Signer::make(&folder.path().join(name)).unwrap();
        let ((ours, public), (others, _)) = (make("ours"), make("others"));
        let trust = Trust::read(&[public], false).unwrap();
        let refused = |table: &Snapshot, says: &str| {
            let why = trust.verify(table).unwrap_err();
            assert!(why.contains(says), "{why}");
        };
        refused(&open(&table()), "not signed");
        refused(&signed(&others, 1), &others.id().to_string());
        // Another's signature under our key's name; ours under another sequence; ours of another table.
        let mut bytes = table();
        sign(&mut bytes, ours.id(), 1, |signed| others.pair.sign(signed).as_ref().try_into().unwrap())
            .unwrap();
        refused(&open(&bytes), "not valid");
        let good = *signed(&ours, 1).signature().unwrap();
        let mut bytes = table();
        sign(&mut bytes, ours.id(), 2, |_| good.bytes).unwrap();
        refused(&open(&bytes), "not valid");
        let mut other = rules();
        other.admin_bind = "127.0.0.1:1".into();
        let mut bytes = strait_table::snapshot::table_of(&other).unwrap();
        sign(&mut bytes, ours.id(), 1, |_| good.bytes).unwrap();
        refused(&open(&bytes), "not valid");
        assert_eq!(Trust::default().verify(&open(&table())), Ok(()));
    }

    #[test]
    fn an_older_one_is_refused_unless_that_is_allowed() {
        let folder = Folder::new();
        let (signer, public) = Signer::make(&folder.path().join("key")).unwrap();
        let trust = |allow| Trust::read(std::slice::from_ref(&public), allow).unwrap();
        let table = signed(&signer, 7);
        for (floor, allow, fits) in
            [(None, false, true), (Some(7), false, true), (Some(8), false, false), (Some(8), true, true)]
        {
            assert_eq!(trust(allow).follows(floor, &table).is_ok(), fits, "{floor:?} {allow}");
        }
    }

    #[test]
    fn what_is_no_key_says_so() {
        let folder = Folder::new();
        let path = folder.path().join("key");
        let check = |text: &str| {
            std::fs::write(&path, text).unwrap();
            for failure in [Signer::read(&path).err(), Trust::read(std::slice::from_ref(&path), false).err()]
                .into_iter()
                .flatten()
            {
                assert_eq!(failure.code, Code::Failed, "{failure:?}");
                assert!(failure.message.contains("key"), "{failure:?}");
            }
        };
        check("");
        check("no key");
        check(&PUBLIC.replace("PUBLIC", "CERTIFICATE").replace("MCow", "MAow"));
        check(&PRIVATE.replace("K2Vw", "K2Vu"));
        assert_eq!(Signer::read(&folder.path().join("gone")).err().unwrap().code, Code::Usage);
        // One for the other.
        std::fs::write(&path, PRIVATE).unwrap();
        assert!(Trust::read(std::slice::from_ref(&path), false).is_err());
        std::fs::write(&path, PUBLIC).unwrap();
        assert!(Signer::read(&path).is_err());
    }
}
