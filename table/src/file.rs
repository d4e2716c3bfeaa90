//! The file around the sections: a header that says what follows, and checksums over all of it.
//!
//! The header stands outside rkyv and has a fixed layout (docs/TABLE_FORMAT.md), so that a file of
//! another version, machine or program is told apart from a damaged one before anything is read.

use rkyv::rancor;

use crate::bound::Bound;
use crate::rules::Rules;

pub const MAGIC: [u8; 8] = *b"STRAIT\0\x01";
/// Bumped with every change of the archived layout; each version keeps a golden file.
pub const FORMAT_VERSION: u32 = 1;
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

/// Where the sections are, and what they must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: u64,
    pub rules: Extent,
    pub bound: Extent,
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
    Io { doing: &'static str, error: std::io::Error },
    NotATable { found: [u8; 8] },
    TooShort { found: u64 },
    TooLong { found: u64 },
    Version { found: u32 },
    Machine { found: u32 },
    Length { expected: u64, found: u64 },
    HeaderDamaged,
    Damaged { section: &'static str },
    Extent { section: &'static str },
    Layout { section: &'static str, detail: String },
    Meaning { what: &'static str },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use OpenError::*;
        match self {
            Io { doing, error } => write!(f, "cannot {doing} the table: {error}"),
            NotATable { found } => {
                write!(f, "not a strait table: expected the magic `STRAIT\\0\\1`, found `{}`", found.escape_ascii())
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
            Damaged { section } => write!(f, "table damaged: the {section} section does not match its checksum"),
            Extent { section } => write!(f, "table damaged: the {section} section lies outside the file"),
            Layout { section, detail } => write!(f, "table damaged: the {section} section is not valid: {detail}"),
            Meaning { what } => write!(f, "table damaged: {what}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Little endian, 32-bit relative pointers, aligned primitives.
const MACHINE: u32 = 0x4c45_2041;

/// Archives rules, and a bound catalog where a lock file pins one, into the bytes of a table.
pub fn write(rules: &Rules, bound: Option<&Bound>) -> Vec<u8> {
    let rules = section(rules);
    let bound = bound.map_or_else(Vec::new, section_of_bound);
    let rules_at = HEADER_BYTES;
    let bound_at = (rules_at + rules.len()).next_multiple_of(ALIGN);
    let length = bound_at + bound.len();
    let header = Header {
        length: length as u64,
        rules: Extent::of(rules_at, &rules),
        bound: Extent::of(bound_at, &bound),
    };
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(&rules);
    out.resize(bound_at, 0);
    out.extend_from_slice(&bound);
    out
}

fn section(rules: &Rules) -> Vec<u8> {
    let archived = rkyv::to_bytes::<rancor::Panic>(rules);
    match archived {
        Ok(bytes) => bytes.to_vec(),
        Err(never) => match never {},
    }
}

pub(crate) fn section_of_bound(bound: &Bound) -> Vec<u8> {
    match rkyv::to_bytes::<rancor::Panic>(bound) {
        Ok(bytes) => bytes.to_vec(),
        Err(never) => match never {},
    }
}

impl Extent {
    fn of(offset: usize, bytes: &[u8]) -> Extent {
        Extent { offset: offset as u64, length: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes() }
    }

    /// The extent as indexes, when it lies within `length` bytes behind the header and is aligned.
    pub(crate) fn range(&self, section: &'static str, length: usize) -> Result<std::ops::Range<usize>, OpenError> {
        let outside = || OpenError::Extent { section };
        let start = usize::try_from(self.offset).map_err(|_| outside())?;
        let end = usize::try_from(self.length).ok().and_then(|len| start.checked_add(len)).ok_or_else(outside)?;
        if start < HEADER_BYTES || start % ALIGN != 0 || end > length {
            return Err(outside());
        }
        Ok(start..end)
    }
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
        let checksum = blake3::hash(&out[..CHECKED]);
        out[CHECKED..].copy_from_slice(checksum.as_bytes());
        out
    }

    /// Reads the header of `bytes` and checks it against the file's real length.
    pub fn parse(bytes: &[u8]) -> Result<Header, OpenError> {
        let found = bytes.len() as u64;
        let Some(magic) = bytes.first_chunk::<8>() else { return Err(OpenError::TooShort { found }) };
        if *magic != MAGIC {
            return Err(OpenError::NotATable { found: *magic });
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(OpenError::TooShort { found }) };
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
        if length != found {
            return Err(OpenError::Length { expected: length, found });
        }
        Ok(Header { length, rules: extent_at(header, 24), bound: extent_at(header, 72) })
    }
}

/// The last 32 bytes of the header are the blake3 of what stands before them.
const CHECKED: usize = HEADER_BYTES - 32;

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
