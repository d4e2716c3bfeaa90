//! What is served: a configuration that is compiled now, or a table that was compiled before. Every
//! verb that takes a FILE takes either; the first bytes tell which.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use strait_config_compiler::Outcome;
use strait_table::{OpenError, Snapshot, file, snapshot};

use crate::failure::{Code, Failure};
use crate::limits::READINGS_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Config(PathBuf),
    Table(PathBuf),
}

/// A source that was opened without an error.
pub struct Opened {
    pub snapshot: Arc<Snapshot>,
    /// Relative paths in the table start here.
    pub base: PathBuf,
    /// The compiler's run, with its warnings; a table has none.
    pub outcome: Option<Outcome>,
}

impl Source {
    /// Tells a table from a configuration by its magic.
    pub fn detect(path: &Path) -> Result<Source, Failure> {
        let mut start = [0; file::MAGIC.len()];
        let unreadable = |error: std::io::Error| {
            let failure = Failure::new(Code::Usage, format!("cannot read `{}`: {error}", path.display()));
            failure.help("name a configuration (YAML or JSON) or a table made by `strait compile`")
        };
        let mut opened = open_regular(path).map_err(unreadable)?;
        match opened.read_exact(&mut start) {
            // The last byte of the magic is no part of the name: a later one must be told apart too.
            Ok(()) if start[..7] == file::MAGIC[..7] => Ok(Source::Table(path.to_owned())),
            Ok(()) => Ok(Source::Config(path.to_owned())),
            // Shorter than any table.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Ok(Source::Config(path.to_owned()))
            }
            Err(error) => Err(unreadable(error)),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Source::Config(path) | Source::Table(path) => path,
        }
    }

    /// Where relative paths start.
    pub fn base(&self) -> PathBuf {
        match self.path().parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Compiles or opens. Findings that are errors become a [`Failure`] that carries them.
    pub fn open(&self) -> Result<Opened, Failure> {
        let base = self.base();
        match self {
            Source::Table(path) => {
                let snapshot = Snapshot::open(path).map_err(|error| refused(path, &error))?;
                Ok(Opened { snapshot: Arc::new(snapshot), base, outcome: None })
            }
            Source::Config(path) => {
                let outcome = compile(path);
                let Some(rules) = &outcome.rules else { return Err(findings(path, outcome)) };
                let snapshot = snapshot::of_rules(rules)
                    .map_err(|error| Failure::bug(format!("the compiled table does not open: {error}")))?;
                Ok(Opened { snapshot: Arc::new(snapshot), base, outcome: Some(outcome) })
            }
        }
    }
}

/// A pipe would keep whoever opens it until somebody writes there, or for ever.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let kind = opened.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(opened)
}

/// A table that was read from a file, or compiled from one.
pub struct Candidate {
    pub table: Vec<u8>,
    /// The compiler's run, with its warnings.
    pub outcome: Option<Outcome>,
}

/// What `path` says once it holds still: a configuration is compiled until two readings in a row agree.
pub fn settled(path: &Path) -> Result<Candidate, Failure> {
    let source = Source::detect(path)?;
    let mut last = source.open()?;
    if let Source::Table(_) = source {
        // Its checksums tell a file that was changed while it was read.
        return Ok(Candidate { table: last.snapshot.table().to_vec(), outcome: None });
    }
    for _ in 0..READINGS_MAX {
        let again = source.open()?;
        if again.snapshot.generation() == last.snapshot.generation() {
            return Ok(Candidate { table: again.snapshot.table().to_vec(), outcome: again.outcome });
        }
        last = again;
    }
    let message =
        format!("`{}` changes while it is read: {READINGS_MAX} readings in a row differ", path.display());
    Err(Failure::new(Code::Failed, message).help("wait until whoever writes it has ended"))
}

/// Runs the compiler with this process's environment.
pub fn compile(path: &Path) -> Outcome {
    strait_config_compiler::load(path, &|name| std::env::var(name).ok())
}

/// The same without the lock file, for whoever writes that.
pub fn compile_unlocked(path: &Path) -> Outcome {
    strait_config_compiler::load_unlocked(path, &|name| std::env::var(name).ok())
}

/// The failure that findings amount to.
pub fn findings(path: &Path, outcome: Outcome) -> Failure {
    let count = outcome.errors();
    let message = format!("`{}` has {count} error{}", path.display(), if count == 1 { "" } else { "s" });
    Failure { outcome: Some(Box::new(outcome)), ..Failure::new(Code::Failed, message) }
}

fn refused(path: &Path, error: &OpenError) -> Failure {
    let code = if matches!(error, OpenError::Io { .. }) { Code::Unfit } else { Code::Failed };
    Failure::new(code, format!("`{}`: {error}", path.display()))
        .help("make it again with `strait compile CONFIG -o TABLE`")
}
