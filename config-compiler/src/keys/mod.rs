//! Files of API keys: who a key stands for, and a digest of it; never the key. [`token`] makes and
//! digests keys, [`file`] reads a key file with the configuration's own walker and writes it back
//! whole or not at all. A key file is confidential: no error ever repeats anything that stands in it,
//! because what stands where a digest should may well be a key.

mod file;
mod token;

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use file::{claims, load, parse};
use strait_policy::Principal;
pub use token::{KEY_LEN, KEY_PREFIX, digest, generate, random, rfc3339};

/// Digests of API keys, and the secret that makes them useless elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    pub pepper: [u8; 32],
    pub keys: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whom it stands for. Several keys may stand for one principal while one replaces another.
    pub principal: Principal,
    /// `blake3::keyed_hash(pepper, key)`.
    pub digest: [u8; 32],
    /// RFC 3339.
    pub created: String,
    pub revoked: Option<String>,
}

impl Key {
    /// Enough of the digest to tell one key from another.
    pub fn fingerprint(&self) -> String {
        self.digest[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl KeyFile {
    /// The key that this text is, unless it was revoked.
    pub fn find(&self, key: &str) -> Option<&Key> {
        let digest = digest(&self.pepper, key);
        // blake3's hash compares in constant time.
        self.keys.iter().find(|known| known.revoked.is_none() && blake3::Hash::from(known.digest) == digest)
    }
}

/// Why a key file could not be used. Holds no part of its contents.
#[derive(Debug)]
pub enum KeyFileError {
    Io {
        what: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    Unreadable {
        path: PathBuf,
        why: String,
    },
    /// One line per finding, with places.
    Malformed {
        path: PathBuf,
        findings: Vec<String>,
    },
    /// Nobody by that id or fingerprint, or all were revoked before.
    Unknown {
        path: PathBuf,
    },
    Refused {
        why: String,
    },
}

impl KeyFileError {
    /// The error without the file's path, for where that is known.
    pub fn why(&self) -> String {
        match self {
            KeyFileError::Io { what, error, .. } => format!("cannot {what} it: {error}"),
            KeyFileError::Unreadable { why, .. } => format!("it cannot be read: {why}"),
            KeyFileError::Malformed { findings, .. } => format!("it is malformed: {}", findings.join("; ")),
            KeyFileError::Unknown { .. } => "no key in use has that id or fingerprint".to_owned(),
            KeyFileError::Refused { why } => why.clone(),
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::Io { what, path, error } => {
                write!(f, "cannot {what} `{}`: {error}", path.display())
            }
            KeyFileError::Unreadable { path, .. }
            | KeyFileError::Malformed { path, .. }
            | KeyFileError::Unknown { path } => {
                write!(f, "the key file `{}`: {}", path.display(), self.why())
            }
            KeyFileError::Refused { .. } => f.write_str(&self.why()),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// Makes a key for `principal`, adds its digest to the file (made if it is not there), and gives the key:
/// the only time anybody sees it. Its claims are as [`claims`] reads them.
pub fn new_key(path: &Path, principal: &Principal) -> Result<String, KeyFileError> {
    let Principal { id, user, agent, tenant, groups, claims: _ } = principal;
    let controls = |text: &String| text.chars().any(char::is_control);
    let named = [id].into_iter().chain(groups);
    if id == "anonymous" || named.clone().any(String::is_empty) {
        let why = "an id or group is empty, or the id is `anonymous`".to_owned();
        return Err(KeyFileError::Refused { why });
    }
    if named.chain([user, agent, tenant]).any(controls) {
        let why = "an id, group, user, agent or tenant holds a control character".to_owned();
        return Err(KeyFileError::Refused { why });
    }
    let _lock = lock(path)?;
    let mut file = match path.exists() {
        true => load(path)?,
        false => KeyFile { pepper: token::random()?, keys: Vec::new() },
    };
    let key = token::generate()?;
    file.keys.push(Key {
        principal: principal.clone(),
        digest: *digest(&file.pepper, &key).as_bytes(),
        created: rfc3339(SystemTime::now()),
        revoked: None,
    });
    file::write(path, &file)?;
    Ok(key)
}

pub fn list(path: &Path) -> Result<Vec<Key>, KeyFileError> {
    load(path).map(|file| file.keys)
}

/// Revokes every key in use whose id or fingerprint is `which`; how many there were. A revoked key
/// stays in the file, so that whoever reads it later sees what happened.
pub fn revoke(path: &Path, which: &str) -> Result<usize, KeyFileError> {
    let _lock = lock(path)?;
    let mut file = load(path)?;
    let now = rfc3339(SystemTime::now());
    let mut count = 0;
    for key in &mut file.keys {
        if key.revoked.is_none() && (key.principal.id == which || key.fingerprint() == which) {
            key.revoked = Some(now.clone());
            count += 1;
        }
    }
    if count == 0 {
        return Err(KeyFileError::Unknown { path: path.to_path_buf() });
    }
    file::write(path, &file)?;
    Ok(count)
}

/// Keeps two `strait keys` apart. The folder is locked, not the file: the file is replaced by a rename.
fn lock(path: &Path) -> Result<File, KeyFileError> {
    let folder = file::folder_of(path);
    let io = |error| KeyFileError::Io { what: "lock", path: folder.clone(), error };
    let lock = File::open(&folder).map_err(io)?;
    lock.lock().map_err(io)?;
    Ok(lock)
}

#[cfg(test)]
mod tests;
