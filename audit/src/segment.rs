//! Segments and payload files as they are read: frame by frame, with one frame in memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Damage, LogError};
use crate::frame::{FrameFault, HEAD_BYTES, Head, PAYLOAD_HEAD_BYTES, PayloadHead};
use crate::limits;

pub const ENTRIES: &str = "entries";
pub const PAYLOAD: &str = "payload";
pub const CHECKPOINTS: &str = "checkpoints";

/// `entries/00000000000000000042`: the segment whose first record is 42.
pub fn entries_path(first: u64) -> String {
    format!("{ENTRIES}/{first:020}")
}

pub fn payload_path(first: u64) -> String {
    format!("{PAYLOAD}/{first:020}")
}

/// The checkpoints whose last record is one of that segment, behind the one before them.
pub fn checkpoints_path(first: u64) -> String {
    format!("{CHECKPOINTS}/{first:020}")
}

/// The first record of a segment, by the name of its file.
pub fn first_of(name: &str) -> Option<u64> {
    let first = name.parse().ok()?;
    (name == format!("{first:020}")).then_some(first)
}

/// The segments of a folder by their first records, in order.
pub fn firsts(folder: &Path, kind: &str) -> Result<Vec<u64>, LogError> {
    let path = folder.join(kind);
    let entries = std::fs::read_dir(&path).map_err(|error| LogError::io("list", &path, error))?;
    let mut firsts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| LogError::io("list", &path, error))?;
        firsts.extend(entry.file_name().to_str().and_then(first_of));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The next thing of a file of frames.
#[derive(Debug)]
pub enum Next<T> {
    Frame(T),
    /// The file ends where a frame ends.
    End,
    /// What follows is no frame.
    Bad(FrameFault),
}

/// A file of frames. After something bad it stays where that begins.
struct Frames {
    file: BufReader<File>,
    /// Where the next frame begins.
    at: u64,
    bytes: Vec<u8>,
}

impl Frames {
    fn open(path: &Path) -> Result<Frames, LogError> {
        let file = File::open(path).map_err(|error| LogError::io("open", path, error))?;
        let file = BufReader::with_capacity(limits::READ_BYTES, file);
        Ok(Frames { file, at: 0, bytes: Vec::new() })
    }

    /// So many bytes, or how many were left.
    fn fill(&mut self, wanted: usize) -> io::Result<Result<(), u64>> {
        self.bytes.resize(wanted, 0);
        let mut filled = 0;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => return Ok(Err(filled as u64)),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(()))
    }

    /// The head of a frame; `Err`: nothing follows, or not all of a head.
    fn head<const N: usize>(&mut self) -> io::Result<Result<[u8; N], Option<FrameFault>>> {
        Ok(match self.fill(N)? {
            Ok(()) => Ok(self.bytes.first_chunk().copied().unwrap_or([0; N])),
            Err(0) => Err(None),
            Err(found) => Err(Some(FrameFault::Short { wanted: N as u64, found })),
        })
    }

    /// What follows a head.
    fn body(&mut self, head: usize, length: usize) -> io::Result<Result<(), FrameFault>> {
        let short = |found| FrameFault::Short { wanted: (head + length) as u64, found: head as u64 + found };
        Ok(self.fill(length)?.map_err(short))
    }

    fn back(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.at)).map(|_| ())
    }
}

/// A segment.
pub struct Segment {
    frames: Frames,
}

impl Segment {
    pub fn open(folder: &Path, first: u64) -> Result<Segment, LogError> {
        Ok(Segment { frames: Frames::open(&folder.join(entries_path(first)))? })
    }

    /// Where the next frame begins.
    pub fn at(&self) -> u64 {
        self.frames.at
    }

    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.frames.file.get_ref().metadata()?.len())
    }

    /// The next record. What is not whole yet may be asked for again.
    pub fn read(&mut self) -> io::Result<Next<&[u8]>> {
        match self.step()? {
            Ok(Some(taken)) => {
                self.frames.at += taken;
                Ok(Next::Frame(&self.frames.bytes))
            }
            Ok(None) => Ok(Next::End),
            Err(fault) => {
                self.frames.back()?;
                Ok(Next::Bad(fault))
            }
        }
    }

    /// The record that was read last.
    pub fn last(&self) -> &[u8] {
        &self.frames.bytes
    }

    fn step(&mut self) -> io::Result<Result<Option<u64>, FrameFault>> {
        let head = match self.frames.head::<HEAD_BYTES>()? {
            Ok(bytes) => Head::read(bytes),
            Err(None) => return Ok(Ok(None)),
            Err(Some(fault)) => return Ok(Err(fault)),
        };
        let head = match head {
            Ok(head) => head,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Err(fault) = self.frames.body(HEAD_BYTES, head.length)? {
            return Ok(Err(fault));
        }
        Ok(head.check(&self.frames.bytes).map(|()| Some((HEAD_BYTES + head.length) as u64)))
    }
}

/// The payloads of a segment.
pub struct Payloads {
    frames: Frames,
}

/// A payload as it is kept.
#[derive(Debug)]
pub struct Kept<'p> {
    pub head: PayloadHead,
    /// Where its frame begins.
    pub at: u64,
    pub bytes: &'p [u8],
}

impl Payloads {
    pub fn open(folder: &Path, first: u64) -> Result<Payloads, LogError> {
        Ok(Payloads { frames: Frames::open(&folder.join(payload_path(first)))? })
    }

    /// Where the next frame begins.
    pub fn at(&self) -> u64 {
        self.frames.at
    }

    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.frames.file.get_ref().metadata()?.len())
    }

    pub fn read(&mut self) -> io::Result<Next<Kept<'_>>> {
        let at = self.frames.at;
        match self.step(true)? {
            Ok(Some(head)) => {
                self.frames.at += head.frame_bytes();
                Ok(Next::Frame(Kept { head, at, bytes: &self.frames.bytes }))
            }
            Ok(None) => Ok(Next::End),
            Err(fault) => {
                self.frames.back()?;
                Ok(Next::Bad(fault))
            }
        }
    }

    /// The next payload, whatever its checksum says: for whoever is about to overwrite it.
    pub fn read_unchecked(&mut self) -> io::Result<Next<Kept<'_>>> {
        let at = self.frames.at;
        match self.step(false)? {
            Ok(Some(head)) => {
                self.frames.at += head.frame_bytes();
                Ok(Next::Frame(Kept { head, at, bytes: &self.frames.bytes }))
            }
            Ok(None) => Ok(Next::End),
            Err(fault) => Ok(Next::Bad(fault)),
        }
    }

    fn step(&mut self, is_checked: bool) -> io::Result<Result<Option<PayloadHead>, FrameFault>> {
        let head = match self.frames.head::<PAYLOAD_HEAD_BYTES>()? {
            Ok(bytes) => PayloadHead::read(bytes),
            Err(None) => return Ok(Ok(None)),
            Err(Some(fault)) => return Ok(Err(fault)),
        };
        let head = match head {
            Ok(head) => head,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Err(fault) = self.frames.body(PAYLOAD_HEAD_BYTES, head.length)? {
            return Ok(Err(fault));
        }
        let checked = if is_checked { head.check(&self.frames.bytes) } else { Ok(()) };
        Ok(checked.map(|()| Some(head)))
    }
}

/// That a file cannot be read at all.
pub fn unreadable(folder: &Path, file: &str) -> impl Fn(io::Error) -> LogError + use<> {
    let path = folder.join(file);
    move |error| LogError::io("read", &path, error)
}

/// Where in a log something is wrong.
pub fn damaged(folder: &Path, damage: Damage) -> LogError {
    LogError::Damage { folder: folder.to_owned(), damage }
}
