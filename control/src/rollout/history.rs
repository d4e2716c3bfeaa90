//! What was put into use on a gateway, when, and on whose word: a file that only grows, each line chained to the one before.
//!
//! A line is the blake3 of a JSON text, and that text, which begins with the hash of the line before. So a line that was changed, taken
//! out or put in breaks the chain, and reading tells where; that lines were cut off the end it cannot tell. A line is written by one write
//! and one fsync, and counts when it ends with its line break: what a power cut leaves of one is told, not believed, and cut off by
//! the next. It is also what a restart goes by (`standing`): that an apply is in the history is what makes it last.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{HISTORY_BYTES_MAX, HISTORY_LINE_BYTES_MAX};
use crate::state::make_folder;

/// The hash before the first line.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_DIGITS: usize = NOTHING.len();

/// What somebody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// The process started with something else than it served last.
    Start,
    /// The file that is served was changed, or read again after a hangup.
    File,
    Apply,
    Rollback,
    /// Somebody is not believed any more; what is served stays.
    Revoke,
    /// Somebody is believed again.
    Unrevoke,
}

impl Act {
    pub fn word(self) -> &'static str {
        match self {
            Act::Start => "start",
            Act::File => "file",
            Act::Apply => "apply",
            Act::Rollback => "rollback",
            Act::Revoke => "revoke",
            Act::Unrevoke => "unrevoke",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Adopted,
    Refused,
    /// On trial beside what is served.
    Tried,
    /// Not on trial any more, and not put into use.
    RolledBack,
}

/// A line of the history. Generations are whole hashes, 64 digits; the first twelve name them elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub prev: String,
    pub n: u64,
    pub at: String,
    pub act: Act,
    pub outcome: Outcome,
    /// Who wanted it.
    pub by: Value,
    /// What was served before.
    pub from: String,
    /// What was to be served from then on; empty where it could not be read.
    pub to: String,
    /// What the file said then, where something else is served in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// The files that it was made from, each with its hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub summary: Value,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What its author said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Acts before this one that are not here: they were refused, and there were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unrecorded: u64,
    /// Bytes of an unfinished line that were cut off before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub torn: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Entry {
    /// Whether it put something into use.
    pub fn is_adopted(&self) -> bool {
        self.outcome == Outcome::Adopted && !matches!(self.act, Act::Revoke | Act::Unrevoke)
    }
}

/// What is in a history.
#[derive(Debug, Default)]
pub struct Told {
    pub entries: Vec<Entry>,
    /// The hash of the last line.
    pub head: String,
    /// Bytes after the last whole line.
    pub torn: u64,
    /// Where and how the chain is broken: nothing from there on is in `entries`.
    pub broken: Option<String>,
    /// Length of the current file without what is torn.
    whole: u64,
}

/// The history of one gateway: `history` in its folder, and `history.1` with what came before that.
pub struct History {
    folder: PathBuf,
    /// Where the chain ended when this process last wrote.
    end: Option<End>,
}

/// The end of the chain, and the file as it was then.
struct End {
    inode: u64,
    length: u64,
    head: String,
    n: u64,
}

impl History {
    pub fn at(folder: &Path) -> History {
        History { folder: folder.to_owned(), end: None }
    }

    fn current(&self) -> PathBuf {
        self.folder.join("history")
    }

    fn older(&self) -> PathBuf {
        self.folder.join("history.1")
    }

    /// Reads and checks all of it.
    pub fn read(&self) -> io::Result<Told> {
        let mut told = Told { head: NOTHING.to_owned(), ..Told::default() };
        let older = read(&self.older())?;
        let current = read(&self.current())?;
        if !older.is_empty() {
            told.take("history.1", &older);
            if told.torn > 0 && told.broken.is_none() {
                told.broken =
                    Some(format!("`history.1` ends in the middle of a line, {} bytes long", told.torn));
            }
        }
        told.torn = 0;
        if told.broken.is_none() {
            told.whole = told.take("history", &current);
        }
        Ok(told)
    }

    /// Adds a line, whole or not at all. `entry` is completed with its number and its place in the chain.
    pub fn append(&mut self, mut entry: Entry) -> io::Result<Entry> {
        make_folder(&self.folder)?;
        let path = self.current();
        let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let mut file = open()?;
        // Two processes have one history while one of them takes the other's place.
        flock(&file, FlockOperation::LockExclusive)?;
        let found = file.metadata()?;
        let end = self.end.take().filter(|end| (end.inode, end.length) == (found.ino(), found.len()));
        let end = match end {
            Some(end) => end,
            None => {
                let told = self.read()?;
                if let Some(broken) = told.broken {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, broken));
                }
                if told.torn > 0 {
                    file.set_len(told.whole)?;
                    entry.torn = told.torn;
                }
                let n = told.entries.last().map_or(0, |last| last.n);
                End { inode: found.ino(), length: told.whole, head: told.head, n }
            }
        };
        (entry.n, entry.prev) = (end.n + 1, end.head);
        let (line, head) = line(&entry)?;
        let mut before = end.length;
        if before > 0 && before + line.len() as u64 > HISTORY_BYTES_MAX {
            fs::rename(&path, self.older())?;
            (file, before) = (open()?, 0);
            flock(&file, FlockOperation::LockExclusive)?;
        }
        let mut written = || {
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            if before == 0 { File::open(&self.folder)?.sync_all() } else { Ok(()) }
        };
        if let Err(error) = written() {
            // What is left of it, if this fails too, has no line break: the next one cuts it off.
            let _ = file.set_len(before).and_then(|()| file.sync_all());
            return Err(error);
        }
        let inode = file.metadata()?.ino();
        self.end = Some(End { inode, length: before + line.len() as u64, head, n: entry.n });
        Ok(entry)
    }

    /// Puts a broken history aside, for somebody to look at, and gives its new name.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.folder.join(format!("broken-{}", crate::time::unix_s()));
        make_folder(&aside)?;
        for path in [self.older(), self.current()] {
            if let (true, Some(name)) = (path.exists(), path.file_name()) {
                fs::rename(&path, aside.join(name))?;
            }
        }
        Ok(aside)
    }
}

impl Told {
    /// Takes the lines of one file; gives the length of what is whole.
    fn take(&mut self, name: &str, bytes: &[u8]) -> u64 {
        let mut at = 0;
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            // A power cut can leave the length of a line without its bytes.
            let is_last = at + line.len() == bytes.len();
            if !line.ends_with(b"\n") || (is_last && line.contains(&0)) {
                self.torn = line.len() as u64;
                break;
            }
            match self.entry(&line[..line.len() - 1]) {
                Ok(entry) => self.entries.push(entry),
                Err(why) => {
                    self.broken = Some(format!("`{name}`, line {}: {why}", number + 1));
                    break;
                }
            }
            at += line.len();
        }
        at as u64
    }

    fn entry(&mut self, line: &[u8]) -> Result<Entry, &'static str> {
        let (hash, text) = line.split_at_checked(HASH_DIGITS).ok_or("it is too short")?;
        let text = text.strip_prefix(b" ").ok_or("a hash and a blank were expected")?;
        let found = blake3::hash(text).to_hex();
        if found.as_bytes() != hash {
            return Err("its hash is not that of its text: it was changed");
        }
        let entry: Entry = serde_json::from_slice(text).map_err(|_| "it is not an entry of this version")?;
        // What came before the oldest file is not here any more.
        let is_first = self.entries.is_empty();
        if entry.prev != self.head && !(is_first && entry.n > 1) {
            return Err("it does not follow the line before: one was taken out or put in");
        }
        self.head = found.to_string();
        Ok(entry)
    }

    /// The last thing that was put into use.
    pub fn standing(&self) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.is_adopted())
    }
}

/// The line of an entry, and its hash.
fn line(entry: &Entry) -> io::Result<(String, String)> {
    let text = serde_json::to_string(entry)?;
    let head = blake3::hash(text.as_bytes()).to_hex().to_string();
    let line = format!("{head} {text}\n");
    match line.len() <= HISTORY_LINE_BYTES_MAX {
        true => Ok((line, head)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "the entry is too long for the history")),
    }
}

/// As much of a file as a history may have; nothing where there is no file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(2 * HISTORY_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}
