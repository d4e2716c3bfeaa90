//! The records of a log in order, one in memory at a time, also while it grows.

use std::path::{Path, PathBuf};

use crate::error::{Damage, LogError};
use crate::frame::{FrameFault, Mode, SALT_BYTES, Which};
use crate::log::Lock;
use crate::record::Known;
use crate::segment::{
    self, ENTRIES, Kept, Next, Payloads, Segment, damaged, entries_path, payload_path, unreadable,
};

/// A record and where it lies.
#[derive(Debug)]
pub struct Entry<'r> {
    pub index: u64,
    /// The first record of its segment.
    pub first: u64,
    pub offset: u64,
    pub bytes: &'r [u8],
}

pub struct Reader {
    dir: PathBuf,
    segment: Option<(u64, Segment)>,
    next: u64,
}

impl Reader {
    /// From the oldest record that is there, or from that one.
    pub fn open(dir: &Path, from: u64) -> Result<Reader, LogError> {
        if !dir.join(ENTRIES).is_dir() {
            return Err(LogError::NoLog { path: dir.to_owned() });
        }
        let firsts = segment::firsts(dir, ENTRIES)?;
        let place = firsts.partition_point(|first| *first <= from).saturating_sub(1);
        let first = firsts.get(place).copied().unwrap_or(0);
        let mut reader = Reader { dir: dir.to_owned(), segment: None, next: first };
        while reader.next < from && reader.read()?.is_some() {}
        Ok(reader)
    }

    /// The next record; `None` when there is none yet. A log that nobody writes and that ends within a record is damaged there.
    pub fn read(&mut self) -> Result<Option<Entry<'_>>, LogError> {
        loop {
            let (first, mut segment) = match self.segment.take() {
                Some(open) => open,
                None if self.dir.join(entries_path(self.next)).exists() => {
                    (self.next, Segment::open(&self.dir, self.next)?)
                }
                None => return Ok(None),
            };
            let (offset, index) = (segment.at(), self.next);
            let fault = match segment.read().map_err(unreadable(&self.dir, &entries_path(first)))? {
                Next::Frame(_) => {
                    self.next += 1;
                    let (_, segment) = self.segment.insert((first, segment));
                    return Ok(Some(Entry { index, first, offset, bytes: segment.last() }));
                }
                // The next one begins where this ends.
                Next::End if index > first && self.dir.join(entries_path(index)).exists() => continue,
                Next::End => None,
                Next::Bad(FrameFault::Short { .. }) if Lock::is_held(&self.dir) => None,
                Next::Bad(fault) => Some(fault),
            };
            self.segment = Some((first, segment));
            return match fault {
                None => Ok(None),
                Some(fault) => {
                    let damage = Damage::of(entries_path(first), fault.to_string()).at(offset).record(index);
                    Err(damaged(&self.dir, damage))
                }
            };
        }
    }
}

/// What a record is called by: its index, `<start>-<core>-<n>`, or `<core>-<n>` of the last start that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Index(u64),
    Id { start: Option<u64>, core: u16, n: u64 },
}

impl Name {
    pub fn parse(text: &str) -> Option<Name> {
        let parts: Vec<&str> = text.split('-').collect();
        Some(match parts[..] {
            [index] => Name::Index(index.parse().ok()?),
            [core, n] => Name::Id { start: None, core: core.parse().ok()?, n: n.parse().ok()? },
            [start, core, n] => {
                Name::Id { start: Some(start.parse().ok()?), core: core.parse().ok()?, n: n.parse().ok()? }
            }
            _ => return None,
        })
    }
}

/// A record that was looked for.
#[derive(Clone, Debug)]
pub struct Found {
    pub index: u64,
    pub first: u64,
    pub bytes: Vec<u8>,
}

/// Looks for a record. An id is looked for in the whole log.
pub fn find(dir: &Path, name: Name) -> Result<Found, LogError> {
    let (mut reader, mut found) =
        (Reader::open(dir, if let Name::Index(index) = name { index } else { 0 })?, None);
    while let Some(entry) = reader.read()? {
        let is_it = match name {
            Name::Index(index) => entry.index == index,
            Name::Id { start, core, n } => Known::read(entry.bytes).is_ok_and(|known| {
                (known.core, known.n) == (core, n) && start.is_none_or(|start| start == known.start)
            }),
        };
        if is_it {
            found = Some(Found { index: entry.index, first: entry.first, bytes: entry.bytes.to_vec() });
        }
        if let Name::Index(index) = name
            && entry.index >= index
        {
            break;
        }
    }
    found.ok_or_else(|| {
        let what = match name {
            Name::Index(index) => format!("there is no record {index} in `{}`", dir.display()),
            Name::Id { core, n, .. } => format!("no record of core {core} counts {n} in `{}`", dir.display()),
        };
        LogError::Refused(what)
    })
}

/// A payload as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPayload {
    pub which: Which,
    pub mode: Mode,
    /// The first record of its segment.
    pub first: u64,
    /// Where its frame begins.
    pub at: u64,
    pub salt: [u8; SALT_BYTES],
    pub bytes: Vec<u8>,
}

impl KeptPayload {
    fn of(first: u64, kept: &Kept<'_>) -> KeptPayload {
        let Kept { head, at, bytes } = kept;
        let (which, mode, salt) = (head.which, head.mode, head.salt);
        KeptPayload { which, mode, first, at: *at, salt, bytes: bytes.to_vec() }
    }
}

/// What is kept of the payloads of a record, whether it is whole or not.
pub fn payloads(dir: &Path, first: u64, index: u64) -> Result<Vec<KeptPayload>, LogError> {
    let mut payloads = Payloads::open(dir, first)?;
    let mut found = Vec::new();
    loop {
        match payloads.read_unchecked().map_err(unreadable(dir, &payload_path(first)))? {
            Next::Frame(kept) if kept.head.index < index => {}
            Next::Frame(kept) if kept.head.index == index => found.push(KeptPayload::of(first, &kept)),
            _ => return Ok(found),
        }
    }
}

/// What is kept of the payloads of records that are read in order, each file once.
pub struct Beside {
    dir: PathBuf,
    payloads: Option<(u64, Payloads)>,
    /// Read already, of a later record.
    ahead: Option<(u64, KeptPayload)>,
}

impl Beside {
    pub fn new(dir: &Path) -> Beside {
        Beside { dir: dir.to_owned(), payloads: None, ahead: None }
    }

    /// Those of a record; its frames must be whole.
    pub fn of(&mut self, first: u64, index: u64) -> Result<Vec<KeptPayload>, LogError> {
        let mut payloads = match self.payloads.take().filter(|(of, _)| *of == first) {
            Some((_, payloads)) => payloads,
            None => {
                self.ahead = None;
                Payloads::open(&self.dir, first)?
            }
        };
        let mut found = Vec::new();
        loop {
            if let Some((of, _)) = &self.ahead {
                match of.cmp(&index) {
                    std::cmp::Ordering::Less => self.ahead = None,
                    std::cmp::Ordering::Equal => found.extend(self.ahead.take().map(|(_, kept)| kept)),
                    std::cmp::Ordering::Greater => break,
                }
                continue;
            }
            let at = payloads.at();
            match payloads.read().map_err(unreadable(&self.dir, &payload_path(first)))? {
                Next::Frame(kept) => {
                    self.ahead = Some((kept.head.index, KeptPayload::of(first, &kept)));
                }
                Next::End => break,
                Next::Bad(FrameFault::Short { .. }) if Lock::is_held(&self.dir) => break,
                Next::Bad(fault) => {
                    let damage = Damage::of(payload_path(first), fault.to_string()).at(at).record(index);
                    return Err(damaged(&self.dir, damage));
                }
            }
        }
        self.payloads = Some((first, payloads));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Folder, Written};

    #[test]
    fn a_growing_log_is_followed_over_segments() {
        let folder = Folder::new("reader");
        let dir = folder.path().join("audit");
        let mut log = Written::open(&dir);
        let mut reader = Reader::open(&dir, 0).unwrap();
        assert!(reader.read().unwrap().is_none());
        let mut seen = 0;
        for _ in 0..5 {
            log.fill(30);
            while let Some(entry) = reader.read().unwrap() {
                assert_eq!(entry.index, seen);
                seen += 1;
            }
            assert_eq!(seen, log.folder().committed_size());
        }
        let mut reader = Reader::open(&dir, 77).unwrap();
        assert_eq!(reader.read().unwrap().unwrap().index, 77);
    }

    #[test]
    fn a_record_has_three_names() {
        let folder = Folder::new("names");
        let dir = folder.path().join("audit");
        for _ in 0..2 {
            Written::open(&dir).fill(30);
        }
        let found = |text: &str| find(&dir, Name::parse(text).unwrap()).map(|found| found.index);
        assert_eq!(found("7").unwrap(), 7);
        assert_eq!(found("0-1-3").unwrap(), 7);
        assert_eq!(found("1-3").unwrap(), 38, "of the last start");
        assert!(matches!(found("62"), Err(LogError::Refused(_))));
        assert_eq!(Name::parse("x"), None);
        assert_eq!(Name::parse("1-2-3-4"), None);
        let kept = payloads(&dir, find(&dir, Name::Index(7)).unwrap().first, 7).unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0].bytes, br#"{"q":"number 3"}"#);
    }

    #[test]
    fn payloads_are_read_beside_their_records() {
        let folder = Folder::new("beside");
        let dir = folder.path().join("audit");
        let mut log = Written::open(&dir);
        (0..5).for_each(|_| log.fill(30));
        for (from, step) in [(0, 1), (31, 3)] {
            let (mut reader, mut beside) = (Reader::open(&dir, from).unwrap(), Beside::new(&dir));
            while let Some(entry) = reader.read().unwrap() {
                let (first, index) = (entry.first, entry.index);
                if index % step == 0 {
                    assert_eq!(
                        beside.of(first, index).unwrap(),
                        payloads(&dir, first, index).unwrap(),
                        "{index}"
                    );
                }
            }
        }
    }
}
