//! The key that wraps the keys of secrets: 32 bytes in a file that only its owner may read.
//!
//! It lies in the state folder unless somebody says where: on another disk, or as a credential that systemd decrypts at start, it
//! is what makes a copied state folder worthless.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::SealedError;

/// Names a file with the key, for every verb and for serving.
pub const KEK_VARIABLE: &str = "STRAIT_KEK_FILE";
/// The credential of systemd with the key.
const CREDENTIAL: &str = "strait-kek";
const BYTES: usize = 32;

pub struct Kek {
    bytes: Zeroizing<[u8; BYTES]>,
}

impl Kek {
    pub fn random() -> Result<Kek, SealedError> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        super::random(&mut *bytes)?;
        Ok(Kek { bytes })
    }

    /// Says which key it is, and nothing about it.
    pub fn id(&self) -> String {
        let tag = self.tag(b"strait vault: id");
        tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.bytes
    }

    /// The key of the file's own code.
    pub(super) fn mac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.tag(b"strait vault: mac").as_ref())
    }

    fn tag(&self, what: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.bytes()), what)
    }

    pub fn read(path: &Path) -> Result<Kek, SealedError> {
        let io = |error: io::Error| SealedError::Kek { path: path.to_owned(), why: error.to_string() };
        let wrong = |why: &str| SealedError::Kek { path: path.to_owned(), why: why.to_owned() };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(&format!("others may read it (mode {:o}): chmod 400 it", mode & 0o777)));
        }
        let text = Zeroizing::new(crate::state::read_secret(path).map_err(io)?);
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| wrong("it is no base64"))?);
        let bytes = <[u8; BYTES]>::try_from(decoded.as_slice());
        let bytes =
            bytes.map_err(|_| wrong(&format!("it holds {} bytes instead of {BYTES}", decoded.len())))?;
        Ok(Kek { bytes: Zeroizing::new(bytes) })
    }

    /// Writes it where no file is, 0400.
    pub fn write(&self, path: &Path) -> Result<(), SealedError> {
        let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*self.bytes)));
        let written = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        written().map_err(|error| SealedError::Kek { path: path.to_owned(), why: error.to_string() })
    }
}

/// Where the key is: as said, or in the variable, or with systemd, or in the state folder.
pub fn place(said: Option<&Path>, root: &Path, env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    if let Some(path) = said {
        return path.to_owned();
    }
    if let Some(path) = env(KEK_VARIABLE).filter(|path| !path.is_empty()) {
        return path.into();
    }
    let credential = env("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(CREDENTIAL));
    credential.filter(|path| path.exists()).unwrap_or_else(|| root.join("vault.key"))
}
