//! The bytes of segments and of payload files: frames, one after the other, nothing between them.
//!
//! The decision: a frame says how long it is and carries a checksum (CRC-32C), so that a torn tail is told from a whole record
//! without knowing what is in it. A checksum tells accidents; who changes a record on purpose makes it right, and is found by the
//! tree. The checksum of a payload covers its head as well: whoever reads one frame knows that all of it is as it was written.

use crate::limits;

/// Length and checksum, both u32 in little endian.
pub const HEAD_BYTES: usize = 8;
pub use crate::limits::RECORD_BYTES_MAX;

/// Index (u64), which (u8), mode (u8), length (u32), checksum (u32), salt.
pub const PAYLOAD_HEAD_BYTES: usize = CHECKSUM_AT + 4 + SALT_BYTES;
pub const SALT_BYTES: usize = 16;
/// Where a payload's checksum stands: it covers everything but itself.
const CHECKSUM_AT: usize = 14;

/// A record's frame. The record has at most [`RECORD_BYTES_MAX`] bytes.
pub fn append(out: &mut Vec<u8>, record: &[u8]) {
    debug_assert!(!record.is_empty() && record.len() <= RECORD_BYTES_MAX);
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
    out.extend_from_slice(record);
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub length: usize,
    checksum: u32,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The file ends in it.
    Short {
        wanted: u64,
        found: u64,
    },
    Length {
        max: usize,
        found: u64,
    },
    Checksum {
        expected: u32,
        found: u32,
    },
    /// No such payload, or no such way of keeping one.
    Word {
        what: &'static str,
        found: u8,
    },
    /// It says that it is erased, and something is there.
    NotErased,
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameFault::Short { wanted, found } => {
                write!(f, "the file ends in a frame: expected {wanted} bytes, found {found}")
            }
            FrameFault::Length { max, found } => {
                write!(f, "a frame says that it has {found} bytes: expected 1 to {max}")
            }
            FrameFault::Checksum { expected, found } => {
                write!(
                    f,
                    "the checksum does not fit: the frame says {expected:08x}, its bytes have {found:08x}"
                )
            }
            FrameFault::Word { what, found } => write!(f, "there is no {what} {found}"),
            FrameFault::NotErased => {
                f.write_str("the payload says that it is erased, and bytes of it are still there")
            }
        }
    }
}

impl Head {
    pub fn read(bytes: [u8; HEAD_BYTES]) -> Result<Head, FrameFault> {
        let [a, b, c, d, checksum @ ..] = bytes;
        let length = u32::from_le_bytes([a, b, c, d]);
        let is_possible = (1..=RECORD_BYTES_MAX as u32).contains(&length);
        if !is_possible {
            return Err(FrameFault::Length { max: RECORD_BYTES_MAX, found: length.into() });
        }
        Ok(Head { length: length as usize, checksum: u32::from_le_bytes(checksum) })
    }

    /// Whether these are the bytes that it speaks of.
    pub fn check(&self, record: &[u8]) -> Result<(), FrameFault> {
        let found = crc32c::crc32c(record);
        if found == self.checksum {
            return Ok(());
        }
        Err(FrameFault::Checksum { expected: self.checksum, found })
    }
}

/// The first frame of some bytes, and how many of them it takes.
pub fn read(bytes: &[u8]) -> Result<(&[u8], usize), FrameFault> {
    let short = |wanted: usize| FrameFault::Short { wanted: wanted as u64, found: bytes.len() as u64 };
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| short(HEAD_BYTES))?;
    let head = Head::read(*head)?;
    let record = rest.get(..head.length).ok_or_else(|| short(HEAD_BYTES + head.length))?;
    head.check(record)?;
    Ok((record, HEAD_BYTES + head.length))
}

/// Which of the two payloads of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Arguments = 1,
    Result = 2,
}

impl Which {
    pub fn of_word(word: &str) -> Option<Which> {
        [Which::Arguments, Which::Result].into_iter().find(|which| which.word() == word)
    }

    /// The member of the record that commits to it.
    pub fn word(self) -> &'static str {
        match self {
            Which::Arguments => "arguments",
            Which::Result => "result",
        }
    }
}

/// What is kept of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing any more; only a frame says so, never a record.
    Erased = 0,
    Hash = 1,
    Redacted = 2,
    Full = 3,
    /// Full, encrypted for those who may read it.
    Sealed = 4,
}

impl Mode {
    pub fn word(self) -> &'static str {
        match self {
            Mode::Erased => "erased",
            Mode::Hash => "hash",
            Mode::Redacted => "redacted",
            Mode::Full => "full",
            Mode::Sealed => "sealed",
        }
    }
}

/// The head of a payload's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadHead {
    /// Of the record that commits to it.
    pub index: u64,
    pub which: Which,
    pub mode: Mode,
    pub length: usize,
    checksum: u32,
    pub salt: [u8; SALT_BYTES],
}

impl PayloadHead {
    pub fn new(index: u64, which: Which, mode: Mode, salt: [u8; SALT_BYTES], kept: &[u8]) -> PayloadHead {
        let mut head = PayloadHead { index, which, mode, length: kept.len(), checksum: 0, salt };
        head.checksum = head.sum(kept);
        head
    }

    pub fn read(bytes: [u8; PAYLOAD_HEAD_BYTES]) -> Result<PayloadHead, FrameFault> {
        let ([index @ .., which, mode], rest) = bytes.split_first_chunk::<10>().unwrap_or((&[0; 10], &[]));
        let (length, rest) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let (checksum, rest) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let (salt, _) = rest.split_first_chunk().unwrap_or((&[0; SALT_BYTES], &[]));
        let length = u32::from_le_bytes(*length);
        if length as usize > limits::PAYLOAD_BYTES_MAX {
            return Err(FrameFault::Length { max: limits::PAYLOAD_BYTES_MAX, found: length.into() });
        }
        Ok(PayloadHead {
            index: u64::from_le_bytes(*index),
            which: match which {
                1 => Which::Arguments,
                2 => Which::Result,
                _ => return Err(FrameFault::Word { what: "payload of kind", found: *which }),
            },
            mode: match mode {
                0 => Mode::Erased,
                1 => Mode::Hash,
                2 => Mode::Redacted,
                3 => Mode::Full,
                4 => Mode::Sealed,
                _ => return Err(FrameFault::Word { what: "mode of keeping a payload", found: *mode }),
            },
            length: length as usize,
            checksum: u32::from_le_bytes(*checksum),
            salt: *salt,
        })
    }

    /// As it stands before the payload.
    pub fn bytes(&self) -> [u8; PAYLOAD_HEAD_BYTES] {
        let mut bytes = [0; PAYLOAD_HEAD_BYTES];
        bytes[..CHECKSUM_AT].copy_from_slice(&self.start());
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[CHECKSUM_AT + 4..].copy_from_slice(&self.salt);
        bytes
    }

    /// Whether these are the bytes that it speaks of.
    pub fn check(&self, kept: &[u8]) -> Result<(), FrameFault> {
        let found = self.sum(kept);
        if found != self.checksum {
            return Err(FrameFault::Checksum { expected: self.checksum, found });
        }
        if self.mode == Mode::Erased && self.salt.iter().chain(kept).any(|byte| *byte != 0) {
            return Err(FrameFault::NotErased);
        }
        Ok(())
    }

    /// Of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        (PAYLOAD_HEAD_BYTES + self.length) as u64
    }

    fn start(&self) -> [u8; CHECKSUM_AT] {
        let mut start = [0; CHECKSUM_AT];
        start[..8].copy_from_slice(&self.index.to_le_bytes());
        start[8..10].copy_from_slice(&[self.which as u8, self.mode as u8]);
        start[10..].copy_from_slice(&(self.length as u32).to_le_bytes());
        start
    }

    fn sum(&self, kept: &[u8]) -> u32 {
        let sum = crc32c::crc32c_append(crc32c::crc32c(&self.start()), &self.salt);
        crc32c::crc32c_append(sum, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20)) {
            let mut bytes = Vec::new();
            records.iter().for_each(|record| append(&mut bytes, record));
            let (mut rest, mut found) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                let (record, taken) = read(rest).unwrap();
                found.push(record.to_vec());
                rest = &rest[taken..];
            }
            prop_assert_eq!(found, records);
        }

        #[test]
        fn every_changed_byte_is_seen(record in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = Vec::new();
            append(&mut bytes, &record);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn every_changed_byte_of_a_payload_is_seen(kept in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = PayloadHead::new(7, Which::Result, Mode::Full, [3; SALT_BYTES], &kept).bytes().to_vec();
            bytes.extend_from_slice(&kept);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let head = PayloadHead::read(bytes[..PAYLOAD_HEAD_BYTES].try_into().unwrap());
            // A changed length is another number of bytes for the checksum.
            let kept = &bytes[PAYLOAD_HEAD_BYTES..];
            let is_seen = head.is_err() || head.is_ok_and(|head| {
                let found = &kept[..head.length.min(kept.len())];
                head.length > kept.len() || head.check(found).is_err()
            });
            prop_assert!(is_seen);
        }
    }

    #[test]
    fn what_is_no_frame_says_why() {
        assert_eq!(read(&[1, 0]), Err(FrameFault::Short { wanted: 8, found: 2 }));
        assert_eq!(read(&[0; 8]), Err(FrameFault::Length { max: RECORD_BYTES_MAX, found: 0 }));
        let mut whole = Vec::new();
        append(&mut whole, b"{}");
        assert_eq!(read(&whole), Ok((&b"{}"[..], 10)));
        assert_eq!(read(&whole[..9]), Err(FrameFault::Short { wanted: 10, found: 9 }));
    }

    #[test]
    fn an_erased_payload_is_empty() {
        let of =
            |salt, kept: &[u8]| PayloadHead::new(1, Which::Arguments, Mode::Erased, salt, kept).check(kept);
        assert_eq!(of([0; SALT_BYTES], &[0; 9]), Ok(()));
        assert_eq!(of([1; SALT_BYTES], &[0; 9]), Err(FrameFault::NotErased));
        assert_eq!(of([0; SALT_BYTES], b"secret"), Err(FrameFault::NotErased));
    }
}
