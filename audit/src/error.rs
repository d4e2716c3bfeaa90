//! What can be wrong with a log: with the machine that it lies on, with how it was asked for, or with itself.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Something in the folder is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Seen from the folder.
    pub file: String,
    /// Where in the file, if it is about a place.
    pub offset: Option<u64>,
    /// Of which record.
    pub index: Option<u64>,
    pub what: String,
}

impl Damage {
    pub fn of(file: impl Into<String>, what: impl Into<String>) -> Damage {
        Damage { file: file.into(), offset: None, index: None, what: what.into() }
    }

    pub fn at(self, offset: u64) -> Damage {
        Damage { offset: Some(offset), ..self }
    }

    pub fn record(self, index: u64) -> Damage {
        Damage { index: Some(index), ..self }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.file.escape_debug())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(index) = self.index {
            write!(f, ", record {index}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why a log does not open, or a question about it has no answer.
#[derive(Debug)]
pub enum LogError {
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// Another process writes it.
    Locked {
        path: PathBuf,
    },
    /// The folder is the log of another key.
    OtherKey {
        path: PathBuf,
        expected: String,
        found: String,
    },
    /// A file with something else than a key in it.
    Key {
        path: PathBuf,
    },
    /// No name for a log.
    Origin(String),
    /// The system gave no random bytes.
    Random,
    /// Not a folder of a log.
    NoLog {
        path: PathBuf,
    },
    Damage {
        folder: PathBuf,
        damage: Damage,
    },
    /// What was asked for is not there, or cannot be had.
    Refused(String),
}

impl LogError {
    pub fn io(doing: &'static str, path: &Path, error: io::Error) -> LogError {
        LogError::Io { doing, path: path.to_owned(), error }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io { doing, path, error } => write!(f, "cannot {doing} `{}`: {error}", path.display()),
            LogError::Locked { path } => {
                write!(
                    f,
                    "the audit log `{}` is written by another process: give each gateway a folder of its own",
                    path.display()
                )
            }
            LogError::OtherKey { path, expected, found } => write!(
                f,
                "`{}` says that this log is signed by {found}, and the key here is {expected}: bring back the log's own key \
                 (`audit.key` in the state folder), or begin a log in another folder",
                path.display()
            ),
            LogError::Key { path } => write!(
                f,
                "`{}` is no key to sign with: expected an Ed25519 private key, PKCS#8 in PEM, without a password",
                path.display()
            ),
            LogError::Origin(name) => {
                write!(
                    f,
                    "`{}` cannot be the name of a log: expected a word without `+`",
                    name.escape_debug()
                )
            }
            LogError::Random => f.write_str("the system gives no random bytes"),
            LogError::NoLog { path } => write!(
                f,
                "`{}` is no audit log: expected a folder with `key.pub`, `checkpoint` and `entries` in it",
                path.display()
            ),
            LogError::Damage { folder, damage } => {
                write!(f, "the audit log `{}` is damaged: {damage}", folder.display())
            }
            LogError::Refused(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for LogError {}
