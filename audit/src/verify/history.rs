//! The files of `checkpoints`, read in order as the tree grows: each checkpoint is signed, and each is of the tree as it was.
//!
//! The decision: every file begins with the checkpoint that the one before it ends with. So a file that is missing, or that ends too
//! early, is known by what follows it, and the oldest one there is needs none before it.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Damage, LogError};
use crate::key::PublicKey;
use crate::limits;
use crate::note::Checkpoint;
use crate::segment::{checkpoints_path, damaged};

/// Lines of a checkpoint: three of text, an empty one, a signature.
const LINES: usize = 5;

pub struct History<'k> {
    key: &'k PublicKey,
    dir: PathBuf,
    /// The segments that are known, by their first records.
    segments: Vec<u64>,
    /// How many files of theirs were looked for.
    looked: usize,
    file: Option<Open>,
    /// The last that was read.
    last: Option<(u64, String)>,
    pub count: u64,
}

struct Open {
    first: u64,
    file: BufReader<File>,
    at: u64,
}

/// One of them.
pub struct Signed {
    pub checkpoint: Checkpoint,
    /// The segment whose file has it.
    pub file: u64,
    pub offset: u64,
    pub note: String,
}

impl<'k> History<'k> {
    pub fn new(dir: &Path, key: &'k PublicKey, segments: Vec<u64>) -> History<'k> {
        History { key, dir: dir.to_owned(), segments, looked: 0, file: None, last: None, count: 0 }
    }

    /// The file that a checkpoint of that size belongs to: that of the segment of its last record.
    pub fn file_of(&self, size: u64) -> u64 {
        let place = self.segments.partition_point(|first| *first < size);
        self.segments.get(place.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// The next; `None` at the end. What is no checkpoint is damage.
    pub fn read(&mut self) -> Result<Option<Signed>, LogError> {
        loop {
            if self.file.is_none() && !self.open()? {
                return Ok(None);
            }
            let Some(signed) = self.read_one()? else {
                self.file = None;
                continue;
            };
            if signed.offset == 0 && !self.is_new(&signed)? {
                continue;
            }
            self.follows(&signed)?;
            self.last = Some((signed.checkpoint.size, signed.note.clone()));
            self.count += 1;
            return Ok(Some(signed));
        }
    }

    /// Opens the next file that there is: of a segment that was full before it was signed there is none. Without records there is one.
    fn open(&mut self) -> Result<bool, LogError> {
        while let Some(first) = match self.segments.is_empty() {
            true => Some(0).filter(|_| self.looked == 0),
            false => self.segments.get(self.looked).copied(),
        } {
            self.looked += 1;
            let path = self.dir.join(checkpoints_path(first));
            match File::open(&path) {
                Ok(file) => {
                    self.file = Some(Open { first, file: BufReader::new(file), at: 0 });
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(LogError::io("open", &path, error)),
            }
        }
        Ok(false)
    }

    fn read_one(&mut self) -> Result<Option<Signed>, LogError> {
        let Some(open) = &mut self.file else { return Ok(None) };
        let (file, offset) = (open.first, open.at);
        let damage = |what: &str| damaged(&self.dir, Damage::of(checkpoints_path(file), what).at(offset));
        let mut note = String::new();
        for _ in 0..LINES {
            let mut limited = (&mut open.file).take(limits::NOTE_BYTES_MAX as u64);
            limited.read_line(&mut note).map_err(|error| match error.kind() {
                ErrorKind::InvalidData => damage("it is no text"),
                _ => LogError::io("read", &self.dir.join(checkpoints_path(file)), error),
            })?;
        }
        if note.is_empty() {
            return Ok(None);
        }
        let checkpoint = Checkpoint::open_own(&note, self.key).map_err(|error| damage(&error.to_string()))?;
        open.at += note.len() as u64;
        Ok(Some(Signed { checkpoint, file, offset, note }))
    }

    /// Whether what a file begins with was not read already, at the end of the file before.
    fn is_new(&self, begin: &Signed) -> Result<bool, LogError> {
        let (size, file) = (begin.checkpoint.size, begin.file);
        let oldest = self.segments.first().copied().unwrap_or(0);
        let is_repeated = self.last.as_ref().is_some_and(|(_, note)| *note == begin.note);
        // The log's first checkpoint, or the one with which a file ended that was removed before this.
        let is_first = self.last.is_none()
            && match oldest {
                0 => (file, size) == (0, 0),
                _ => size <= oldest,
            };
        if is_repeated || is_first {
            return Ok(is_first);
        }
        let whose = self.file_of(size);
        let damage = match size <= file {
            true if whose < file => {
                let what = format!("the checkpoint of {size} records is missing, and more behind it may be");
                Damage::of(checkpoints_path(whose), what)
            }
            _ => Damage::of(checkpoints_path(file), "it does not begin with the checkpoint before").at(0),
        };
        Err(damaged(&self.dir, damage))
    }

    /// Whether it is in its place: behind a smaller one, in the file of its segment.
    fn follows(&self, signed: &Signed) -> Result<(), LogError> {
        let size = signed.checkpoint.size;
        let before = self.last.as_ref().map_or(0, |(size, _)| *size);
        let is_begin = signed.offset == 0;
        let what = match () {
            () if size < before => format!("the tree shrinks from {before} records to {size}"),
            () if !is_begin && self.file_of(size) != signed.file => {
                format!("it is of {size} records: expected it in `{}`", checkpoints_path(self.file_of(size)))
            }
            () => return Ok(()),
        };
        Err(damaged(&self.dir, Damage::of(checkpoints_path(signed.file), what).at(signed.offset)))
    }
}
