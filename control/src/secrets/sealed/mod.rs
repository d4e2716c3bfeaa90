//! The embedded vault: secrets in one file of the state folder, `vault`, that says nothing without its key.
//!
//! Each secret is encrypted under a key of its own (AES-256-GCM), and that key is wrapped by the one of [`kek`]. Name and version
//! of a secret are authenticated with both, so that no value passes for another one or for a later one. The whole file bears a
//! code: who cannot read it cannot remove a secret from it either. It counts how often it was written, and `vault.count` beside it
//! remembers the highest count that was seen: an older copy put in its place is an error, not an old password. Every write
//! replaces the file whole and is on the disk before it is there.

mod file;
pub mod kek;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use strait_engine::Secret;
use zeroize::Zeroizing;

use crate::limits::{SECRET_BYTES_MAX, VAULT_SECRETS_MAX};
use file::{Entry, File};
use kek::Kek;

/// Why the vault cannot be used. Names files, secrets and versions, never a value.
#[derive(Debug, PartialEq, Eq)]
pub enum SealedError {
    /// The key is not there, or is none.
    Kek {
        path: PathBuf,
        why: String,
    },
    /// It was written under another key.
    WrongKek {
        of_file: String,
        given: String,
        path: PathBuf,
    },
    /// Cut short, changed, or not a vault at all.
    Damaged {
        path: PathBuf,
        why: String,
    },
    /// Written by a later version.
    Newer {
        path: PathBuf,
        format: u64,
    },
    /// An older copy was put in its place.
    RolledBack {
        path: PathBuf,
        count: u64,
        seen: u64,
    },
    /// What was asked cannot be done.
    Refused(String),
    Io {
        path: PathBuf,
        why: String,
    },
}

impl std::fmt::Display for SealedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SealedError::Kek { path, why } => {
                write!(f, "cannot use the vault's key `{}`: {why}", path.display())
            }
            SealedError::WrongKek { of_file, given, path } => write!(
                f,
                "the vault was written under another key: it is {of_file}, and `{}` holds {given}; name the right one with --kek \
                 or {}",
                path.display(),
                kek::KEK_VARIABLE
            ),
            SealedError::Damaged { path, why } => write!(
                f,
                "the vault `{}` is damaged: {why}; put a copy of it back, or remove it and set its secrets again",
                path.display()
            ),
            SealedError::Newer { path, format } => write!(
                f,
                "the vault `{}` has format {format}, and this strait reads {}: upgrade strait",
                path.display(),
                file::FORMAT
            ),
            SealedError::RolledBack { path, count, seen } => write!(
                f,
                "the vault `{}` is an older copy: it was written {count} times, and {seen} were seen; put the newer one back, or \
                 remove `vault.count` beside it to accept this one",
                path.display()
            ),
            SealedError::Refused(why) => f.write_str(why),
            SealedError::Io { path, why } => write!(f, "cannot use the vault `{}`: {why}", path.display()),
        }
    }
}

/// Where vault and key are.
#[derive(Clone)]
pub struct Place {
    pub file: PathBuf,
    pub kek: PathBuf,
}

/// What is told of a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub version: u64,
    pub set: String,
}

impl Place {
    pub fn of(root: &Path, said: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Place {
        Place { file: root.join("vault"), kek: kek::place(said, root, env) }
    }

    pub fn exists(&self) -> bool {
        self.file.exists()
    }

    /// All of it, decrypted; `None`: there is no vault.
    pub fn open(&self) -> Result<Option<BTreeMap<String, Secret>>, SealedError> {
        if !self.exists() {
            return Ok(None);
        }
        let kek = Kek::read(&self.kek)?;
        let file = self.read(&kek)?;
        let open = |(name, entry): (&String, &Entry)| Ok((name.clone(), self.unseal(&kek, name, entry)?));
        file.secrets.iter().map(open).collect::<Result<_, _>>().map(Some)
    }

    /// What is in it, without values.
    pub fn list(&self) -> Result<Vec<Listed>, SealedError> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        let file = self.read(&Kek::read(&self.kek)?)?;
        let listed = |(name, entry): (String, Entry)| Listed { name, version: entry.version, set: entry.set };
        Ok(file.secrets.into_iter().map(listed).collect())
    }

    /// Keeps a value under a name, and says its version. The first one makes vault and key.
    pub fn set(&self, name: &str, value: &str) -> Result<u64, SealedError> {
        if value.is_empty() || value.len() as u64 > SECRET_BYTES_MAX {
            let why = format!("a secret has 1 to {SECRET_BYTES_MAX} bytes, and this has {}", value.len());
            return Err(SealedError::Refused(why));
        }
        if !is_name(name) {
            let why =
                format!("`{}` cannot name a secret: use letters, digits and `_-./`", name.escape_debug());
            return Err(SealedError::Refused(why));
        }
        let _lock = self.lock()?;
        if !self.exists() && !self.kek.exists() {
            Kek::random()?.write(&self.kek)?;
        }
        let kek = Kek::read(&self.kek)?;
        let mut file = if self.exists() { self.read(&kek)? } else { File::default() };
        if !file.secrets.contains_key(name) && file.secrets.len() >= VAULT_SECRETS_MAX {
            return Err(SealedError::Refused(format!("the vault holds {VAULT_SECRETS_MAX} secrets already")));
        }
        let version = file.secrets.get(name).map_or(1, |entry| entry.version + 1);
        file.secrets.insert(name.to_owned(), seal(&kek, name, version, value)?);
        self.write(&kek, file)?;
        Ok(version)
    }

    /// Forgets a secret; whether there was one.
    pub fn remove(&self, name: &str) -> Result<bool, SealedError> {
        let _lock = self.lock()?;
        if !self.exists() {
            return Ok(false);
        }
        let kek = Kek::read(&self.kek)?;
        let mut file = self.read(&kek)?;
        let was_there = file.secrets.remove(name).is_some();
        if was_there {
            self.write(&kek, file)?;
        }
        Ok(was_there)
    }

    /// Encrypts every secret anew under a new key. The new one is written beside the old one first, and takes its place when the
    /// vault is on the disk: whoever is interrupted has both.
    pub fn rotate(&self) -> Result<usize, SealedError> {
        let _lock = self.lock()?;
        if !self.exists() {
            return Err(SealedError::Refused(
                "there is no vault: `strait vault set NAME` makes one".to_owned(),
            ));
        }
        let old = Kek::read(&self.kek)?;
        let mut file = self.read(&old)?;
        let new = Kek::random()?;
        let beside = sibling(&self.kek, ".new");
        // What an interrupted rotation left, and no vault was written under.
        let _ = fs::remove_file(&beside);
        new.write(&beside)?;
        for (name, entry) in &mut file.secrets {
            let value = self.unseal(&old, name, entry)?;
            *entry = Entry { set: entry.set.clone(), ..seal(&new, name, entry.version, &value)? };
        }
        let count = file.secrets.len();
        self.write(&new, file)?;
        let io = |error: io::Error| SealedError::Kek { path: self.kek.clone(), why: error.to_string() };
        fs::rename(&beside, &self.kek).map_err(io)?;
        Ok(count)
    }

    fn read(&self, kek: &Kek) -> Result<File, SealedError> {
        let file = File::read(&self.file, kek, &self.kek)?;
        let seen = self.seen();
        if file.count < seen {
            return Err(SealedError::RolledBack { path: self.file.clone(), count: file.count, seen });
        }
        Ok(file)
    }

    fn write(&self, kek: &Kek, mut file: File) -> Result<(), SealedError> {
        let count = file.count.max(self.seen()) + 1;
        file.count = count;
        let io = |error: io::Error| SealedError::Io { path: self.file.clone(), why: error.to_string() };
        crate::state::write_private(&self.file, file.written(kek).as_bytes()).map_err(io)?;
        crate::state::write_private(&self.count(), format!("{count}\n").as_bytes()).map_err(io)
    }

    fn count(&self) -> PathBuf {
        sibling(&self.file, ".count")
    }

    fn seen(&self) -> u64 {
        let text = fs::read_to_string(self.count()).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// One writer at a time.
    fn lock(&self) -> Result<fs::File, SealedError> {
        let io = |error: io::Error| SealedError::Io { path: self.file.clone(), why: error.to_string() };
        let path = sibling(&self.file, ".lock");
        crate::state::make_folder(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let lock = lock.map_err(io)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|e| io(e.into()))?;
        Ok(lock)
    }

    fn unseal(&self, kek: &Kek, name: &str, entry: &Entry) -> Result<Secret, SealedError> {
        let damaged = || SealedError::Damaged {
            path: self.file.clone(),
            why: format!("secret `{name}` does not open"),
        };
        let aad = aad(name, entry.version);
        let key = opened(kek.bytes(), &entry.key, &aad).ok_or_else(damaged)?;
        let value = opened(&key, &entry.value, &aad).ok_or_else(damaged)?;
        let value = std::str::from_utf8(&value).map_err(|_| damaged())?;
        Ok(Secret::new(value))
    }
}

/// Also what a reference may name.
fn is_name(name: &str) -> bool {
    let legal = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    name.len() <= 256 && name.split('/').all(legal)
}

fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn aad(name: &str, version: u64) -> String {
    format!("strait vault\0{name}\0{version}")
}

fn seal(kek: &Kek, name: &str, version: u64, value: &str) -> Result<Entry, SealedError> {
    let mut key = Zeroizing::new([0; 32]);
    random(&mut *key)?;
    let aad = aad(name, version);
    Ok(Entry {
        version,
        set: crate::time::now(),
        key: closed(kek.bytes(), &*key, &aad)?,
        value: closed(&*key, value.as_bytes(), &aad)?,
    })
}

/// Nonce, text, code.
fn closed(key: &[u8], text: &[u8], aad: &str) -> Result<Vec<u8>, SealedError> {
    let bug = || SealedError::Refused("a bug in strait: AES-256-GCM refused to encrypt".to_owned());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| bug())?);
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    let mut sealed = text.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
        .map_err(|_| bug())?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn opened(key: &[u8], sealed: &[u8], aad: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut text = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(aad), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

pub(super) fn random(into: &mut [u8]) -> Result<(), SealedError> {
    let filled = aws_lc_rs::rand::fill(into);
    filled.map_err(|_| SealedError::Refused("this machine gives no random bytes".to_owned()))
}

#[cfg(test)]
mod tests;
