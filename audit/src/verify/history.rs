//! The file `checkpoints`, read as the tree grows: each is signed, and each is of the tree as it was.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::error::{Damage, LogError};
use crate::key::PublicKey;
use crate::limits;
use crate::log::CHECKPOINTS;
use crate::note::Checkpoint;
use crate::segment::damaged;

/// Lines of a checkpoint: three of text, an empty one, a signature.
const LINES: usize = 5;

pub struct History<'k> {
    file: BufReader<File>,
    key: &'k PublicKey,
    dir: std::path::PathBuf,
    at: u64,
    size: u64,
    pub count: u64,
}

/// One of them.
pub struct Signed {
    pub checkpoint: Checkpoint,
    pub offset: u64,
    pub note: String,
}

impl<'k> History<'k> {
    pub fn open(dir: &Path, key: &'k PublicKey) -> Result<History<'k>, LogError> {
        let path = dir.join(CHECKPOINTS);
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => damaged(dir, Damage::of(CHECKPOINTS, "it is missing")),
            _ => LogError::io("open", &path, error),
        })?;
        Ok(History { file: BufReader::new(file), key, dir: dir.to_owned(), at: 0, size: 0, count: 0 })
    }

    /// The next; `None` at the end. What is no checkpoint is damage.
    pub fn read(&mut self) -> Result<Option<Signed>, LogError> {
        let mut note = String::new();
        for _ in 0..LINES {
            let mut limited = (&mut self.file).take(limits::NOTE_BYTES_MAX as u64);
            limited.read_line(&mut note).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => self.damage("it is no text"),
                _ => LogError::io("read", &self.dir.join(CHECKPOINTS), error),
            })?;
        }
        if note.is_empty() {
            return Ok(None);
        }
        let checkpoint =
            Checkpoint::open_own(&note, self.key).map_err(|error| self.damage(&error.to_string()))?;
        if checkpoint.size < self.size {
            return Err(
                self.damage(&format!("the tree shrinks from {} records to {}", self.size, checkpoint.size))
            );
        }
        let offset = self.at;
        self.at += note.len() as u64;
        self.size = checkpoint.size;
        self.count += 1;
        Ok(Some(Signed { checkpoint, offset, note }))
    }

    fn damage(&self, what: &str) -> LogError {
        damaged(&self.dir, Damage::of(CHECKPOINTS, what).at(self.at))
    }
}
