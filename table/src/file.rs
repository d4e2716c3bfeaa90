//! The file around the sections: a header that says what follows, and checksums over all of it.
//!
//! The header stands outside rkyv and has a fixed layout (docs/TABLE_FORMAT.md), so that a file of
//! another version, machine or program is told apart from a damaged one before anything is read.

use std::ops::Range;

use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::bound::Bound;
use crate::rules::Rules;
use crate::signature::{CHECKED, Signature};

pub const MAGIC: [u8; 8] = *b"STRAIT\0\x01";
/// Bumped with every change of the archived layout; each version keeps a golden file.
pub const FORMAT_VERSION: u32 = 9;
pub const HEADER_BYTES: usize = 256;
/// Sections begin at multiples of this.
pub const ALIGN: usize = 64;
/// rkyv's 32-bit relative pointers reach this far.
pub const TABLE_BYTES_MAX: u64 = 1 << 31;

/// The content hash of the rules; the first 12 hex digits name it everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub [u8; 32]);

impl Generation {
    /// The 12 hex digits, without allocating.
    pub fn short(&self) -> [u8; 12] {
        let mut out = [0; 12];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        out
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.short().iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generation({self})")
    }
}

/// Where the sections are, what they must hash to, and who vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: u64,
    pub rules: Extent,
    pub bound: Extent,
    pub signature: Option<Signature>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
    pub blake3: [u8; 32],
}

/// Why a table was not opened.
#[derive(Debug)]
pub enum OpenError {
    Io {
        doing: &'static str,
        error: std::io::Error,
    },
    /// `found`: its first bytes, eight at most.
    NotATable {
        found: Vec<u8>,
    },
    TooShort {
        found: u64,
    },
    TooLong {
        found: u64,
    },
    Version {
        found: u32,
    },
    Machine {
        found: u32,
    },
    Length {
        expected: u64,
        found: u64,
    },
    HeaderDamaged,
    Damaged {
        section: &'static str,
    },
    Extent {
        section: &'static str,
        offset: u64,
        length: u64,
    },
    Layout {
        section: &'static str,
        detail: String,
    },
    Meaning {
        what: &'static str,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use OpenError::*;
        match self {
            Io { doing, error } => write!(f, "cannot {doing} the table: {error}"),
            NotATable { found } => {
                write!(
                    f,
                    "not a strait table: expected the magic `STRAIT\\0\\1`, found `{}`",
                    found.escape_ascii()
                )
            }
            TooShort { found } => {
                write!(f, "table truncated: expected a header of {HEADER_BYTES} bytes, found {found} bytes")
            }
            TooLong { found } => write!(f, "table too large: at most {TABLE_BYTES_MAX} bytes, found {found}"),
            Version { found } if *found > FORMAT_VERSION => write!(
                f,
                "table format {found} is newer than this strait reads ({FORMAT_VERSION}): upgrade strait, or \
                 compile the table with this version"
            ),
            Version { found } => write!(
                f,
                "table format {found} is older than this strait reads ({FORMAT_VERSION}): compile it again"
            ),
            Machine { found } => write!(
                f,
                "table written for another byte order or pointer width: expected {MACHINE:#010x}, found {found:#010x}"
            ),
            Length { expected, found } if found < expected => {
                write!(f, "table truncated: its header says {expected} bytes, found {found}")
            }
            Length { expected, found } => {
                write!(f, "table has bytes after its end: its header says {expected} bytes, found {found}")
            }
            HeaderDamaged => write!(f, "table header damaged: its checksum does not match"),
            Damaged { section } => {
                write!(f, "table damaged: the {section} section does not match its checksum")
            }
            Extent { section, offset, length } => write!(
                f,
                "table damaged: the {section} section ({length} bytes at {offset}) is empty, lies outside the file, \
                 or does not follow what stands before it"
            ),
            Layout { section, detail } => {
                write!(f, "table damaged: the {section} section is not valid: {detail}")
            }
            Meaning { what } => write!(f, "table damaged: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Little endian, 32-bit relative pointers, aligned primitives.
const MACHINE: u32 = 0x4c45_2041;

/// Archives rules, and a bound catalog where a lock file pins one, into the bytes of a table.
///
/// # Panics
/// When a section would exceed [`TABLE_BYTES_MAX`]; the compiler's limits on its sources keep far below it.
pub fn write(rules: &Rules, bound: Option<&Bound>) -> Vec<u8> {
    let rules = always(rkyv::to_bytes::<rancor::Panic>(rules));
    let bound = bound.map(|bound| always(rkyv::to_bytes::<rancor::Panic>(bound)));
    let bound = bound.as_deref().unwrap_or_default();
    let rules_at = HEADER_BYTES;
    let bound_at = (rules_at + rules.len()).next_multiple_of(ALIGN);
    let length = bound_at + bound.len();
    let header = Header {
        length: length as u64,
        rules: Extent::of(rules_at, &rules),
        bound: Extent::of(bound_at, bound),
        signature: None,
    };
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(&rules);
    out.resize(bound_at, 0);
    out.extend_from_slice(bound);
    out
}

fn always<T>(outcome: Result<T, rancor::Panic>) -> T {
    match outcome {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// A catalog comes from upstreams, so its size is not ours to assert.
pub(crate) fn section_of_bound(bound: &Bound) -> Result<AlignedVec, OpenError> {
    rkyv::to_bytes::<rancor::Error>(bound)
        .map_err(|error| OpenError::Layout { section: "catalog", detail: crate::mapping::detail(&error) })
}

impl Extent {
    fn of(offset: usize, bytes: &[u8]) -> Extent {
        Extent { offset: offset as u64, length: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes() }
    }

    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }

    fn misplaced(&self, section: &'static str) -> OpenError {
        OpenError::Extent { section, offset: self.offset, length: self.length }
    }

    /// As indexes; only asked of an extent that lies inside the file.
    fn range(&self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.length as usize
    }
}

/// Where the parts of a file are, as indexes that lie inside of it.
pub(crate) struct Places {
    pub rules: Range<usize>,
    /// Zeros up to the next multiple of [`ALIGN`].
    pub padding: Range<usize>,
    /// Empty when the table pins no catalog.
    pub bound: Range<usize>,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&FORMAT_VERSION.to_le_bytes());
        put(&MACHINE.to_le_bytes());
        put(&self.length.to_le_bytes());
        for extent in [&self.rules, &self.bound] {
            put(&extent.offset.to_le_bytes());
            put(&extent.length.to_le_bytes());
            put(&extent.blake3);
        }
        if let Some(signature) = &self.signature {
            signature.put(&mut out);
        }
        let checksum = blake3::hash(&out[..CHECKED]);
        out[CHECKED..].copy_from_slice(checksum.as_bytes());
        out
    }

    /// Reads the header of `bytes` and checks it against the file's real length.
    pub fn parse(bytes: &[u8]) -> Result<Header, OpenError> {
        let header = Header::parse_start(bytes)?;
        let found = bytes.len() as u64;
        if header.length != found {
            return Err(OpenError::Length { expected: header.length, found });
        }
        Ok(header)
    }

    /// Reads the header from the first bytes of a file.
    pub(crate) fn parse_start(bytes: &[u8]) -> Result<Header, OpenError> {
        let found = bytes.len() as u64;
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(OpenError::NotATable { found: magic.to_vec() });
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(OpenError::TooShort { found });
        };
        let version = u32_at(header, 8);
        if version != FORMAT_VERSION {
            return Err(OpenError::Version { found: version });
        }
        let machine = u32_at(header, 12);
        if machine != MACHINE {
            return Err(OpenError::Machine { found: machine });
        }
        if blake3::hash(&header[..CHECKED]).as_bytes() != &header[CHECKED..] {
            return Err(OpenError::HeaderDamaged);
        }
        let length = u64_at(header, 16);
        if length > TABLE_BYTES_MAX {
            return Err(OpenError::TooLong { found: length });
        }
        let signature = Signature::at(header)?;
        Ok(Header { length, rules: extent_at(header, 24), bound: extent_at(header, 72), signature })
    }

    /// Where the parts are. There is one place for each: behind the header the rules, padding up to the next
    /// multiple of [`ALIGN`], the catalog, the end. So no byte of a file escapes a check.
    pub(crate) fn places(&self) -> Result<Places, OpenError> {
        let rules_end = self.rules.end().filter(|end| {
            self.rules.offset == HEADER_BYTES as u64 && self.rules.length > 0 && *end <= self.length
        });
        let rules_end = rules_end.ok_or_else(|| self.rules.misplaced("rules"))?;
        let follows = self.bound.offset == rules_end.next_multiple_of(ALIGN as u64);
        if !follows || self.bound.end() != Some(self.length) {
            return Err(self.bound.misplaced("catalog"));
        }
        let (rules, bound) = (self.rules.range(), self.bound.range());
        Ok(Places { padding: rules.end..bound.start, rules, bound })
    }
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(header, at)) | u64::from(u32_at(header, at + 4)) << 32
}

fn extent_at(header: &[u8; HEADER_BYTES], at: usize) -> Extent {
    let mut blake3 = [0; 32];
    blake3.copy_from_slice(&header[at + 16..at + 48]);
    Extent { offset: u64_at(header, at), length: u64_at(header, at + 8), blake3 }
}
