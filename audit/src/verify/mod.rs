//! Whether a log is as it was written: every byte of every file of its folder.
//!
//! The decision: the tree is built anew from the records, and everything else in the folder is held against it, so that nothing
//! is believed because it is there. Where a record and a tile disagree, the next checkpoint tells which of them was changed.
//!
//! A log that is being written is checked as far as it was when the check began. What a crash may leave, and the next start
//! mends, is told and is no damage, unless the log says that it was closed.

mod chain;
mod history;
mod inventory;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use crate::erasures::{self, ERASURES};
use crate::error::{Damage, LogError};
use crate::frame::{FrameFault, Which};
use crate::hash;
use crate::key::PublicKey;
use crate::limits;
use crate::log::{CHECKPOINT, KEY, Lock};
use crate::note::Checkpoint;
use crate::payload::{self, Tally};
use crate::record::{self, ErasedAct, Known};
use crate::segment::{
    self, ENTRIES, Next, PAYLOAD, Payloads, Segment, damaged, entries_path, payload_path, unreadable,
};
use chain::{At, Chains};
use tree::Tree;

/// What a log is held against, beside itself.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// Checkpoints that somebody kept elsewhere: their names, and the notes.
    pub checkpoints: Vec<(String, String)>,
    /// The key that it must be signed with.
    pub key: Option<PublicKey>,
}

/// What a sound log was found to have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    pub origin: String,
    pub key: String,
    pub records: u64,
    /// Of which a checkpoint covers so many.
    pub signed: u64,
    /// The first that is there.
    pub first: u64,
    pub segments: u64,
    pub bytes: u64,
    pub checkpoints: u64,
    pub starts: u64,
    /// Records that cores have counted and that the log says it has not.
    pub lost: u64,
    pub payloads: u64,
    pub erased: u64,
    /// Erasures that no record of the log speaks of yet, and a line beside it does.
    pub erasures_waiting: u64,
    /// Records of which something was erased, and nobody said so; the first of them.
    pub unexplained: Vec<u64>,
    /// Whether the log is being written.
    pub live: bool,
    /// What a crash left and the next start mends.
    pub unfinished: Vec<String>,
}

/// Checks a folder. `Err(LogError::Damage)`: the first thing that is wrong.
pub fn verify(dir: &Path, against: &Against) -> Result<Report, LogError> {
    let key = public_key(dir, against.key.as_ref())?;
    let live = Lock::is_held(dir);
    let mut tree = Tree::open(dir, &key, against)?;
    let mut check = Check {
        dir,
        chains: Chains::default(),
        tally: Tally::default(),
        told: BTreeSet::new(),
        bytes: 0,
        unfinished: Vec::new(),
        live,
        signed: tree.signed(),
    };
    let firsts = tree.segments().to_vec();
    let first = firsts.first().copied().unwrap_or(0);
    // What was removed has left its hashes.
    tree.retired(first)?;
    let mut next = first;
    for (place, found) in firsts.iter().copied().enumerate() {
        next = check.segment(found, firsts.get(place + 1).copied(), &mut tree)?;
    }
    if next < check.signed {
        return Err(check.ends(first, next, check.signed));
    }
    if first > check.chains.retired {
        let what =
            format!("the records before {first} are missing, and no record says that they were removed");
        return Err(damaged(dir, Damage::of(ENTRIES, what).record(check.chains.retired)));
    }
    let signed = check.signed;
    let checkpoints = tree.finish(&mut check.unfinished, live)?;
    inventory::check(dir, &firsts, check.chains.retired, signed, live, &mut check.unfinished)?;
    let waiting = check.waiting()?;
    let unexplained = check.tally.erased.difference(&check.told).map(|(index, _)| *index);
    let unexplained: BTreeSet<u64> = unexplained.collect();
    Ok(Report {
        origin: key.name().to_owned(),
        key: key.line(),
        records: next,
        signed,
        first,
        segments: firsts.len() as u64,
        bytes: check.bytes,
        checkpoints,
        starts: check.chains.starts,
        lost: check.chains.lost,
        payloads: check.tally.kept,
        erased: check.tally.erased.len() as u64,
        erasures_waiting: waiting,
        unexplained: unexplained.into_iter().take(limits::UNEXPLAINED_TOLD_MAX).collect(),
        live,
        unfinished: check.unfinished,
    })
}

/// The key in the folder; the one that is expected.
pub fn public_key(dir: &Path, expected: Option<&PublicKey>) -> Result<PublicKey, LogError> {
    let text = read_text(dir, KEY, limits::KEY_FILE_BYTES_MAX)?;
    let key = text.strip_suffix('\n').and_then(PublicKey::parse).ok_or_else(|| {
        damaged(dir, Damage::of(KEY, "it is no key: expected a line `name+id+key` as signed-note has it"))
    })?;
    match expected.filter(|expected| **expected != key) {
        None => Ok(key),
        Some(expected) => {
            let what = format!("the log is signed by `{}`: expected `{}`", key.line(), expected.line());
            Err(damaged(dir, Damage::of(KEY, what)))
        }
    }
}

/// The newest checkpoint of a folder.
pub fn newest(dir: &Path, key: &PublicKey) -> Result<(Checkpoint, String), LogError> {
    let note = read_text(dir, CHECKPOINT, limits::NOTE_BYTES_MAX)?;
    let checkpoint = Checkpoint::open_own(&note, key);
    let checkpoint = checkpoint.map_err(|error| damaged(dir, Damage::of(CHECKPOINT, error.to_string())))?;
    Ok((checkpoint, note))
}

fn read_text(dir: &Path, file: &str, bytes_max: usize) -> Result<String, LogError> {
    if !dir.join(ENTRIES).is_dir() && !dir.join(KEY).exists() {
        return Err(LogError::NoLog { path: dir.to_owned() });
    }
    let bytes = crate::disk::Disk::new(dir)
        .read(file, bytes_max)
        .map_err(|error| LogError::io("read", &dir.join(file), error))?;
    let bytes = bytes.ok_or_else(|| damaged(dir, Damage::of(file, "it is missing")))?;
    String::from_utf8(bytes).map_err(|_| damaged(dir, Damage::of(file, "it is no text")))
}

fn missing(dir: &Path, file: &str, error: LogError) -> LogError {
    match error {
        LogError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
            damaged(dir, Damage::of(file, "it is missing"))
        }
        error => error,
    }
}

struct Check<'d> {
    dir: &'d Path,
    chains: Chains,
    tally: Tally,
    /// What is erased as the log, or a line beside it, says.
    told: BTreeSet<(u64, Which)>,
    bytes: u64,
    unfinished: Vec<String>,
    live: bool,
    signed: u64,
}

impl Check<'_> {
    /// Gives the index behind the segment's last record.
    fn segment(&mut self, first: u64, following: Option<u64>, tree: &mut Tree<'_>) -> Result<u64, LogError> {
        let (entries_file, payload_file) = (entries_path(first), payload_path(first));
        let entries = Segment::open(self.dir, first).map_err(|error| missing(self.dir, &entries_file, error));
        let payloads =
            Payloads::open(self.dir, first).map_err(|error| missing(self.dir, &payload_file, error));
        let (mut entries, mut payloads) = (entries?, payloads?);
        let (entries_io, payload_io) =
            (unreadable(self.dir, &entries_file), unreadable(self.dir, &payload_file));
        let (mut index, mut keys) = (first, BTreeSet::new());
        let rest = loop {
            let at = At { index, first, offset: entries.at() };
            let record = match entries.read().map_err(&entries_io)? {
                Next::Frame(record) => record,
                Next::End => break None,
                Next::Bad(fault) => break Some(bad(&entries_file, at, fault)),
            };
            let damage = |what| Damage::of(&entries_file, what).at(at.offset).record(index);
            let known = Known::read(record).map_err(|what| damaged(self.dir, damage(what)))?;
            let leaf = hash::leaf(record);
            if let Err(fault) = self.chains.take(at, &known, record, &leaf) {
                return Err(damaged(self.dir, tree.blame(fault, at, &leaf)));
            }
            if known.is_own("admin") {
                self.act(record);
            }
            if known.is_own(record::KEY) {
                keys.insert(index);
            }
            // Without it nobody opens the payload.
            if let Some(by) = known.committed().find_map(|(_, of)| of.key.filter(|by| !keys.contains(by))) {
                return Err(damaged(self.dir, damage(format!("no record of this segment is the key {by}"))));
            }
            match payload::check(&mut payloads, index, &known, &mut self.tally).map_err(&payload_io)? {
                Ok(()) => {}
                Err(mismatch) => {
                    break Some(Damage::of(&payload_file, mismatch.what).at(mismatch.at).record(index));
                }
            }
            tree.push(leaf, at)?;
            index += 1;
        };
        let behind = match rest {
            Some(damage) => Some(damage),
            None if following.unwrap_or(self.signed) > index => {
                return Err(self.ends(first, index, following.unwrap_or(self.signed)));
            }
            None => self.behind(&mut payloads, index, &payload_file)?,
        };
        self.bytes += entries.at() + payloads.at();
        let may_be_torn =
            following.is_none() && index >= self.signed && (self.live || !self.chains.is_closed);
        match behind {
            None => {}
            Some(damage) if !may_be_torn => return Err(damaged(self.dir, damage)),
            Some(_) if self.live => {}
            Some(damage) => {
                self.unfinished.push(format!("{damage} (a crash leaves that; the next start cuts it off)"))
            }
        }
        Ok(index)
    }

    /// What an administrative act says of erasures.
    fn act(&mut self, record: &[u8]) {
        let act: ErasedAct<'_> = serde_json::from_slice(record).unwrap_or_default();
        if act.act == record::ERASED {
            self.tell(act.record, &act.erased);
        }
    }

    fn tell(&mut self, index: u64, erased: &[String]) {
        self.told.extend(erased.iter().filter_map(|word| Some((index, Which::of_word(word)?))));
    }

    /// What was erased and waits for a record; gives how many.
    fn waiting(&mut self) -> Result<u64, LogError> {
        let (waiting, _) = erasures::waiting(self.dir, usize::MAX)?;
        let count = waiting.len() as u64;
        for erasure in waiting {
            match erasure {
                Ok(erasure) => self.tell(erasure.record, &erasure.erased),
                Err(line) => {
                    let what = format!("a line is no erasure: `{}`", line.escape_debug());
                    return Err(damaged(self.dir, Damage::of(ERASURES, what)));
                }
            }
        }
        Ok(count)
    }

    /// Records are missing: the end of a segment, or a whole one.
    fn ends(&self, first: u64, index: u64, until: u64) -> LogError {
        let payloads = segment::firsts(self.dir, PAYLOAD).unwrap_or_default();
        let alone =
            payloads.into_iter().find(|of| *of >= index && !self.dir.join(entries_path(*of)).exists());
        let file = entries_path(alone.unwrap_or(first));
        let what = format!("the records from {index} to {} are missing", until.saturating_sub(1));
        damaged(self.dir, Damage::of(file, what).record(index))
    }

    /// What no record of the segment commits to.
    fn behind(&self, payloads: &mut Payloads, index: u64, file: &str) -> Result<Option<Damage>, LogError> {
        let at = payloads.at();
        let what = match payloads.read().map_err(unreadable(self.dir, file))? {
            Next::End => return Ok(None),
            Next::Frame(kept) => {
                format!(
                    "no record commits to the {} of record {} here",
                    kept.head.which.word(),
                    kept.head.index
                )
            }
            Next::Bad(fault) => fault.to_string(),
        };
        Ok(Some(Damage::of(file, what).at(at).record(index)))
    }
}

fn bad(file: &str, at: At, fault: FrameFault) -> Damage {
    Damage::of(file, fault.to_string()).at(at.offset).record(at.index)
}
