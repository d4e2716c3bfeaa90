//! Opening a log to write it: what is there, what a crash left behind, and where to go on.
//!
//! The decision: what a checkpoint covers was on the disk before it was signed, so anything missing or wrong there is damage, and
//! a gateway that wrote on would bury it; it does not start. Behind the newest checkpoint a crash may have torn the last batch:
//! records are taken up to the first that is not whole, or whose payloads are not, and the rest is cut off and told in the log.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::disk::{Disk, NEW};
use crate::error::{Damage, LogError};
use crate::folder::{self, Folder, Found, Options, SegmentFacts};
use crate::hash::{self, Hash};
use crate::key::{PublicKey, SigningKey};
use crate::note::{Checkpoint, notes};
use crate::record::{self, Known, Link};
use crate::segment::{
    self, CHECKPOINTS, ENTRIES, Next, PAYLOAD, Payloads, Segment, checkpoints_path, damaged, entries_path,
    payload_path,
};
use crate::tile::{self, Tile};
use crate::tree::{Edge, FullTile};
use crate::{limits, moment, payload};

pub const KEY: &str = "key.pub";
pub const LOCK: &str = "lock";
pub const CHECKPOINT: &str = "checkpoint";

/// What of the history's end is looked at: the newest checkpoint, and one that its signing may have got no further than.
const HISTORY_BYTES: u64 = 4 * 1_024;

/// A log that this process may write.
pub struct Opened {
    pub folder: Folder,
    /// As long as this lives no other process opens the log.
    pub lock: Lock,
    /// What a crash had left and was cut off.
    pub cut: Option<Cut>,
    pub disk: Disk,
}

/// Bytes that were no whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub entries_bytes: u64,
    pub payload_bytes: u64,
}

/// A held lock.
pub struct Lock {
    _file: File,
}

pub struct Log;

impl Log {
    /// Opens or makes the log in a folder. Reads its last segment; blocks.
    pub fn open(dir: &Path, key: &SigningKey, options: &Options) -> Result<Opened, LogError> {
        let signer = key.signer(&options.origin)?;
        let disk = Disk::new(dir);
        disk.make().map_err(|error| LogError::io("make", dir, error))?;
        let lock = Lock::take(&disk.join(LOCK))?;
        lock_is_empty(&disk)?;
        let io = |doing: &'static str, file: &str| {
            let path = disk.join(file);
            move |error| LogError::io(doing, &path, error)
        };
        disk.remove(NEW).map_err(io("remove", NEW))?;
        check_key(&disk, signer.public())?;
        let entries = segment::firsts(dir, ENTRIES)?;
        let History { checkpoint, end: history, before } = match history(&disk, signer.public(), &entries)? {
            Some(history) => history,
            None if is_fresh(&disk, &entries)? => {
                let note = Checkpoint::empty(&options.origin).sign(&signer).into_bytes();
                let path = checkpoints_path(0);
                disk.replace(&path, &note).map_err(io("write", &path))?;
                disk.replace(CHECKPOINT, &note).map_err(io("write", CHECKPOINT))?;
                let checkpoint = Checkpoint::empty(&options.origin);
                let end = folder::History { first: 0, bytes: note.len() as u64, note };
                History { checkpoint, end, before: Vec::new() }
            }
            None => {
                let what =
                    "it is missing, and the log has records: bring it back, or begin a log in another folder";
                return Err(damaged(dir, Damage::of(CHECKPOINT, what)));
            }
        };
        let edge = edge(&disk, &checkpoint)?;
        let end = End::read(dir, &entries, edge)?;
        for (path, bytes) in end.files() {
            disk.cut(&path, bytes).map_err(io("cut", &path))?;
        }
        remove_outdated(&disk, &before, checkpoint.size, end.edge.size())?;
        let cut = end.cut;
        let found = Found {
            full: end.full,
            signed: checkpoint.size,
            link: end.link,
            segments: segments(dir, &entries, options.now_ms)?,
            entries_bytes: end.entries_bytes,
            payload_bytes: end.payload_bytes,
            edge: end.edge,
            history,
        };
        let said = cut.map(|cut| {
            format!(r#"{{"entries_bytes":{},"payload_bytes":{}}}"#, cut.entries_bytes, cut.payload_bytes)
        });
        Ok(Opened { folder: Folder::begin(signer, options, found, said)?, lock, cut, disk })
    }
}

/// Nothing of ours writes into it: `verify` says so, too.
pub fn lock_is_empty(disk: &Disk) -> Result<(), LogError> {
    let found = disk.read(LOCK, 0).map_err(|error| LogError::io("read", &disk.join(LOCK), error))?;
    let what = match found {
        Some(bytes) if bytes.is_empty() => return Ok(()),
        Some(_) => "expected no bytes: it is held, and says nothing; look who wrote into it, and empty it",
        None => "it is missing",
    };
    Err(damaged(disk.path(), Damage::of(LOCK, what).at(0)))
}

impl Lock {
    fn take(path: &Path) -> Result<Lock, LogError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|error| LogError::io("open", path, error))?;
        // A verb looks for an instant whether somebody writes.
        const STEP_MS: u64 = 10;
        for waited_ms in (0..=limits::LOCK_WAIT_MS).step_by(STEP_MS as usize) {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if waited_ms < limits::LOCK_WAIT_MS => {
                    std::thread::sleep(Duration::from_millis(STEP_MS));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(error) => return Err(LogError::io("lock", path, error.into())),
            }
        }
        Err(LogError::Locked { path: path.parent().unwrap_or(path).to_owned() })
    }

    /// Whether somebody writes the log now.
    pub fn is_held(dir: &Path) -> bool {
        let file = File::open(dir.join(LOCK));
        file.is_ok_and(|file| {
            flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
        })
    }
}

/// The log is of this key, or of none yet.
fn check_key(disk: &Disk, key: &PublicKey) -> Result<(), LogError> {
    let io = |error| LogError::io("read", &disk.join(KEY), error);
    let expected = format!("{}\n", key.line());
    match disk.read(KEY, limits::KEY_FILE_BYTES_MAX).map_err(io)? {
        Some(found) if found == expected.as_bytes() => Ok(()),
        Some(found) => Err(LogError::OtherKey {
            path: disk.join(KEY),
            expected: format!("`{}`", key.line()),
            found: format!("`{}`", String::from_utf8_lossy(&found).trim_end().escape_debug()),
        }),
        None => disk
            .replace(KEY, expected.as_bytes())
            .map_err(|error| LogError::io("write", &disk.join(KEY), error)),
    }
}

/// What was signed.
struct History {
    checkpoint: Checkpoint,
    end: folder::History,
    /// Sizes of some checkpoints before the newest.
    before: Vec<u64>,
}

/// What was signed; mends what a crash left between the history and `checkpoint`.
fn history(disk: &Disk, key: &PublicKey, entries: &[u64]) -> Result<Option<History>, LogError> {
    let io = |doing: &'static str, file: &str| {
        let path = disk.join(file);
        move |error| LogError::io(doing, &path, error)
    };
    let Some(newest) = disk.read(CHECKPOINT, limits::NOTE_BYTES_MAX).map_err(io("read", CHECKPOINT))? else {
        return Ok(None);
    };
    let damage = |file: &str, what: String| damaged(disk.path(), Damage::of(file, what));
    let newest = String::from_utf8(newest).map_err(|_| damage(CHECKPOINT, "it is no text".to_owned()))?;
    let checkpoint =
        Checkpoint::open_own(&newest, key).map_err(|error| damage(CHECKPOINT, error.to_string()))?;
    let (first, begin, end) = last_of_history(disk, &newest)?;
    let path = checkpoints_path(first);
    // In bytes: what was read may begin within a letter.
    let at = end.windows(newest.len()).rposition(|part| part == newest.as_bytes());
    let Some((before, rest)) = at.and_then(|at| end.split_at_checked(at + newest.len())) else {
        return Err(damage(&path, "it does not end with what `checkpoint` says".to_owned()));
    };
    if first > 0 && !entries.contains(&first) {
        return Err(damage(
            &entries_path(first),
            "it is missing, and there are checkpoints of it".to_owned(),
        ));
    }
    let bytes = begin + before.len() as u64;
    let (before, rest) = (String::from_utf8_lossy(before), String::from_utf8_lossy(rest));
    let earlier = notes(&before).filter_map(|(_, note)| Some(Checkpoint::open_own(note, key).ok()?.size));
    let before = earlier.collect();
    // A crash after the history was written and before `checkpoint` was.
    let later = notes(&rest).next().and_then(|(_, note)| Some((note, Checkpoint::open_own(note, key).ok()?)));
    let (checkpoint, note, bytes) = match later {
        Some((note, later)) => {
            disk.replace(CHECKPOINT, note.as_bytes()).map_err(io("write", CHECKPOINT))?;
            (later, note.to_owned(), bytes + note.len() as u64)
        }
        None => (checkpoint, newest, bytes),
    };
    disk.cut(&path, bytes).map_err(io("cut", &path))?;
    let end = folder::History { first, bytes, note: note.into_bytes() };
    Ok(Some(History { checkpoint, end, before }))
}

/// The end of the history's last file: the segment it is of, where what was read begins, and that. A file of which a crash has left
/// less than the checkpoint it begins with goes.
fn last_of_history(disk: &Disk, newest: &str) -> Result<(u64, u64, Vec<u8>), LogError> {
    let missing = |first| damaged(disk.path(), Damage::of(checkpoints_path(first), "it is missing"));
    let mut files = segment::firsts(disk.path(), CHECKPOINTS)?;
    loop {
        let first = files.pop().ok_or_else(|| missing(0))?;
        let path = checkpoints_path(first);
        let (begin, end) = tail(&disk.join(&path))?;
        let is_torn = begin == 0 && end.len() < newest.len() && newest.as_bytes().starts_with(&end);
        if !is_torn || files.is_empty() {
            return Ok((first, begin, end));
        }
        disk.remove(&path).map_err(|error| LogError::io("remove", &disk.join(&path), error))?;
    }
}

/// The end of a file, and where it begins.
fn tail(path: &Path) -> Result<(u64, Vec<u8>), LogError> {
    use std::os::unix::fs::FileExt;
    let read = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        let begin = length.saturating_sub(HISTORY_BYTES);
        let mut bytes = vec![0; (length - begin) as usize];
        file.read_exact_at(&mut bytes, begin)?;
        Ok((begin, bytes))
    });
    read.map_err(|error| LogError::io("read", path, error))
}

/// Whether nothing was ever written: a start that got no further than making the folder is one.
fn is_fresh(disk: &Disk, entries: &[u64]) -> Result<bool, LogError> {
    let io = |error| LogError::io("read", disk.path(), error);
    let is_empty = |path: String| disk.read(&path, 0).map(|bytes| bytes.is_none_or(|bytes| bytes.is_empty()));
    let mut is_fresh = entries.len() <= 1;
    for first in entries {
        is_fresh &= is_empty(entries_path(*first)).map_err(io)?;
    }
    let has_tiles = std::fs::read_dir(disk.join("tile")).map_err(io)?.next().is_some();
    Ok(is_fresh && !has_tiles)
}

/// The right edge of the tree that a checkpoint signs, from its tiles.
fn edge(disk: &Disk, checkpoint: &Checkpoint) -> Result<Edge, LogError> {
    let edge = Edge::load(checkpoint.size, |tile| tile_hashes(disk, tile))?;
    if edge.root() != checkpoint.root {
        let what =
            "its root hash is not that of the tiles at the right edge (`tile/`): one of them was changed";
        return Err(damaged(disk.path(), Damage::of(CHECKPOINT, what)));
    }
    Ok(edge)
}

/// The hashes of a partial tile; of the full one, where that is there already.
fn tile_hashes(disk: &Disk, tile: Tile) -> Result<Vec<Hash>, LogError> {
    let read = |tile: Tile| {
        let path = tile.path();
        disk.read(&path, tile.bytes()).map_err(|error| LogError::io("read", &disk.join(&path), error))
    };
    let bytes = match read(tile)? {
        Some(bytes) => bytes,
        None => {
            let full = read(Tile::full(tile.level, tile.index))?;
            let full = full.and_then(|bytes| bytes.get(..tile.bytes()).map(<[u8]>::to_vec));
            full.ok_or_else(|| damaged(disk.path(), Damage::of(tile.path(), "it is missing")))?
        }
    };
    let hashes = tile::hashes(&bytes).filter(|hashes| hashes.len() == usize::from(tile.width));
    hashes.ok_or_else(|| {
        let what = format!("expected {} bytes, found {}", tile.bytes(), bytes.len());
        damaged(disk.path(), Damage::of(tile.path(), what))
    })
}

/// The end of the log: what follows the newest checkpoint.
struct End {
    edge: Edge,
    full: Vec<FullTile>,
    link: Link,
    last: Option<u64>,
    entries_bytes: u64,
    payload_bytes: u64,
    cut: Option<Cut>,
}

impl End {
    fn read(dir: &Path, entries: &[u64], edge: Edge) -> Result<End, LogError> {
        let signed = edge.size();
        let mut end = End {
            edge,
            full: Vec::new(),
            link: record::FIRST,
            last: None,
            entries_bytes: 0,
            payload_bytes: 0,
            cut: None,
        };
        // With the last record that is signed: the next one is bound to it.
        let before = entries.partition_point(|first| *first < signed.max(1));
        let from = before.saturating_sub(1);
        let mut next = entries.get(from).copied().unwrap_or(0);
        if next > signed.saturating_sub(1) && next > 0 {
            let what = format!("the records before {next} are missing, and {signed} are signed");
            return Err(damaged(dir, Damage::of(ENTRIES, what).record(signed.saturating_sub(1))));
        }
        for (place, first) in entries.iter().copied().enumerate().skip(from) {
            if first != next {
                let what = format!("expected the segment that begins with record {next}");
                return Err(damaged(dir, Damage::of(entries_path(first), what).record(next)));
            }
            let is_last = place + 1 == entries.len();
            next = end.read_segment(dir, first, signed, is_last)?;
        }
        if next < signed {
            let what = format!("the newest checkpoint signs {signed} records, and the segments have {next}");
            return Err(damaged(dir, Damage::of(entries_path(end.last.unwrap_or(0)), what).record(next)));
        }
        Ok(end)
    }

    /// Gives the index behind the last whole record.
    fn read_segment(&mut self, dir: &Path, first: u64, signed: u64, is_last: bool) -> Result<u64, LogError> {
        let mut entries = Segment::open(dir, first)?;
        // A crash may have come between the making of the two files.
        let is_begun = dir.join(payload_path(first)).exists();
        let mut payloads = if is_begun { Some(Payloads::open(dir, first)?) } else { None };
        let io = segment::unreadable(dir, &entries_path(first));
        let (mut index, mut good) = (first, (0, 0));
        let fault = loop {
            let record = match entries.read().map_err(&io)? {
                Next::Frame(record) => record,
                Next::End => break None,
                Next::Bad(fault) => break Some((entries_path(first), good.0, fault.to_string())),
            };
            let leaf = hash::leaf(record);
            let link = record::link(&leaf);
            let known = match Known::read(record) {
                Ok(known) => known,
                Err(what) => break Some((entries_path(first), good.0, what)),
            };
            let checked = match &mut payloads {
                Some(payloads) => payload::check(payloads, index, &known, &mut payload::Tally::default())
                    .map_err(segment::unreadable(dir, &payload_path(first)))?,
                None if known.committed().next().is_none() => Ok(()),
                None => Err(payload::Mismatch { at: 0, what: "it is missing".to_owned() }),
            };
            if let Err(mismatch) = checked {
                break Some((payload_path(first), mismatch.at, mismatch.what));
            }
            if index >= signed {
                self.edge.push(leaf, &mut self.full);
            }
            self.link = link;
            good = (entries.at(), payloads.as_ref().map_or(0, Payloads::at));
            index += 1;
        };
        let rest = Cut {
            entries_bytes: entries.bytes().map_err(&io)?.saturating_sub(good.0),
            payload_bytes: match &payloads {
                Some(payloads) => payloads.bytes().map_err(&io)?.saturating_sub(good.1),
                None => 0,
            },
        };
        let is_torn = is_last
            && index >= signed
            && rest.entries_bytes.max(rest.payload_bytes) <= limits::TORN_BYTES_MAX;
        if let Some((file, at, what)) = fault.filter(|_| !is_torn) {
            return Err(damaged(dir, Damage::of(file, what).at(at).record(index)));
        }
        if is_last && (rest.entries_bytes > 0 || rest.payload_bytes > 0) {
            self.cut = Some(rest);
        }
        self.last = Some(first);
        (self.entries_bytes, self.payload_bytes) = good;
        Ok(index)
    }

    /// The two files of the last segment, and how long they are to be.
    fn files(&self) -> impl Iterator<Item = (String, u64)> {
        let of =
            |first| [(entries_path(first), self.entries_bytes), (payload_path(first), self.payload_bytes)];
        self.last.map(of).into_iter().flatten()
    }
}

/// Partial tiles that a crash left: of checkpoints before the newest, and of one that was never signed.
fn remove_outdated(disk: &Disk, before: &[u64], signed: u64, size: u64) -> Result<(), LogError> {
    let remove =
        |path: String| disk.remove(&path).map_err(|error| LogError::io("remove", &disk.join(&path), error));
    for level in tile::levels(size.max(signed)) {
        let newest = Tile::partial(level, signed);
        let outdated = before.iter().filter_map(|size| Tile::partial(level, *size));
        outdated.filter(|tile| Some(*tile) != newest).try_for_each(|tile| remove(tile.path()))?;
        let of = |size| tile::hashes_at(level, size) / tile::WIDTH;
        for index in of(signed)..=of(size) {
            let folder = format!("{}.p", Tile::full(level, index).path());
            let Ok(entries) = std::fs::read_dir(disk.join(&folder)) else { continue };
            for entry in entries.flatten() {
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                let is_outdated = Tile::parse(&path).is_some_and(|tile| Some(tile) != newest);
                if is_outdated {
                    remove(path)?;
                }
            }
        }
    }
    Ok(())
}

/// The segments, and when each began: by its first record. Before them those of which a kill has left a part while they were
/// removed: they are removed again, on a word of the log, with the next that are.
fn segments(dir: &Path, entries: &[u64], now_ms: u64) -> Result<VecDeque<SegmentFacts>, LogError> {
    let mut segments = VecDeque::new();
    for first in entries.iter().copied() {
        let mut segment = Segment::open(dir, first)?;
        let next = segment.read().map_err(segment::unreadable(dir, &entries_path(first)))?;
        // What tells no time counts as new: nothing is removed on a guess.
        let began_ms = match next {
            Next::Frame(record) => Known::read(record).ok().and_then(|known| moment::parse(&known.ts)),
            _ => None,
        };
        segments.push_back(SegmentFacts { first, began_ms: began_ms.unwrap_or(now_ms) });
    }
    let Some(SegmentFacts { first: oldest, began_ms }) = segments.front().copied() else {
        return Ok(segments);
    };
    let left = [segment::firsts(dir, PAYLOAD)?, segment::firsts(dir, CHECKPOINTS)?].concat();
    let left: BTreeSet<u64> = left.into_iter().filter(|first| *first < oldest).collect();
    left.into_iter().rev().for_each(|first| segments.push_front(SegmentFacts { first, began_ms }));
    Ok(segments)
}

#[cfg(test)]
mod tests;
