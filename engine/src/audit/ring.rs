//! The way of records from a worker to the writer: a bounded ring of bytes with one producer and one consumer.
//!
//! An entry is a header, the facts, the arguments and the result, one behind the other. It is put in piece by piece once there
//! is room for all of it, and read in place once all of it is there.

use rtrb::{Consumer, Producer, RingBuffer};
use strait_protocol::copy::{PIECE_BYTES, append};
use strait_table::audit::Payload;

/// What an entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The record's number, counted by its worker.
    pub n: u64,
    pub payload: Payload,
    /// Somebody waits until the disk has it.
    pub waits: bool,
    pub facts: usize,
    pub arguments: Option<Length>,
    pub result: Option<Length>,
}

/// How long a payload was, and how much of it is in the entry: all of it or its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    pub bytes: u32,
    pub carried: u32,
}

/// A payload on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Whole(&'a [u8]),
    /// Of one that is too long to carry: its length, and its SHA-256.
    Digest(u64, &'a [u8; 32]),
}

pub const HEADER_BYTES: usize = 32;
/// Of a payload that is not there.
const ABSENT: u32 = u32::MAX;

/// The worker's end.
pub struct Pen {
    ring: Producer<u8>,
    capacity: usize,
}

/// The writer's end.
pub struct Spool {
    ring: Consumer<u8>,
}

pub fn ring(bytes: usize) -> (Pen, Spool) {
    let (pen, spool) = RingBuffer::new(bytes);
    (Pen { ring: pen, capacity: bytes }, Spool { ring: spool })
}

impl Header {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.facts + carried(self.arguments) + carried(self.result)
    }

    fn write(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&self.n.to_le_bytes());
        let absent = Length { bytes: 0, carried: ABSENT };
        let (arguments, result) = (self.arguments.unwrap_or(absent), self.result.unwrap_or(absent));
        let words = [self.facts as u32, arguments.bytes, arguments.carried, result.bytes, result.carried];
        for (place, word) in out[8..28].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out[28] = self.payload as u8;
        out[29] = u8::from(self.waits);
        out
    }

    fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let length = |at| {
            let length = Length { bytes: word(at), carried: word(at + 4) };
            Some(length).filter(|length| length.carried != ABSENT)
        };
        const PAYLOADS: [Payload; 4] = [Payload::None, Payload::Hash, Payload::Redacted, Payload::Full];
        Header {
            n: u64::from(word(0)) | u64::from(word(4)) << 32,
            facts: word(8) as usize,
            arguments: length(12),
            result: length(20),
            payload: PAYLOADS[usize::from(bytes[28]) % PAYLOADS.len()],
            waits: bytes[29] != 0,
        }
    }
}

fn carried(length: Option<Length>) -> usize {
    length.map_or(0, |length| length.carried as usize)
}

impl<'a> Part<'a> {
    fn length(self) -> Length {
        let bytes = match self {
            Part::Whole(bytes) => bytes.len() as u64,
            Part::Digest(bytes, _) => bytes,
        };
        Length { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), carried: self.carried().len() as u32 }
    }

    fn carried(self) -> &'a [u8] {
        match self {
            Part::Whole(bytes) => bytes,
            Part::Digest(_, digest) => digest,
        }
    }

    /// As it was carried.
    fn of(length: Length, carried: &'a [u8]) -> Part<'a> {
        match <&[u8; 32]>::try_from(carried) {
            Ok(digest) if length.bytes > length.carried => Part::Digest(length.bytes.into(), digest),
            _ => Part::Whole(carried),
        }
    }
}

impl Pen {
    /// Puts an entry in, if there is room for it beside `reserve` bytes.
    pub fn put<'a>(&mut self, entry: &Entry<'a>, reserve: usize) -> bool {
        let header = entry.header();
        if self.ring.slots() < header.bytes() + reserve {
            return false;
        }
        let carried = |part: Option<Part<'a>>| part.map_or(&b""[..], Part::carried);
        let pieces = [&header.write()[..], entry.facts, carried(entry.arguments), carried(entry.result)];
        // There is room, and nobody else takes any.
        pieces
            .into_iter()
            .flat_map(|piece| piece.chunks(PIECE_BYTES))
            .all(|piece| self.ring.push_entire_slice(piece).is_ok())
    }

    pub fn free(&self) -> usize {
        self.ring.slots()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// A record on its way.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub n: u64,
    pub facts: &'a [u8],
    pub payload: Payload,
    pub waits: bool,
    pub arguments: Option<Part<'a>>,
    pub result: Option<Part<'a>>,
}

impl Entry<'_> {
    fn header(&self) -> Header {
        Header {
            n: self.n,
            payload: self.payload,
            waits: self.waits,
            facts: self.facts.len(),
            arguments: self.arguments.map(Part::length),
            result: self.result.map(Part::length),
        }
    }
}

impl Spool {
    /// Takes the oldest entry out, once `read` has seen it, if all of it is there. One that goes over the ring's end is put
    /// together in `aside` for that.
    pub fn take<T>(&mut self, aside: &mut Vec<u8>, read: impl FnOnce(Header, &[u8]) -> T) -> Option<T> {
        let there = self.ring.slots();
        if there < HEADER_BYTES {
            return None;
        }
        let mut header = [0; HEADER_BYTES];
        let peek = self.ring.read_chunk(HEADER_BYTES).ok()?;
        let (one, other) = peek.as_slices();
        header[..one.len()].copy_from_slice(one);
        header[one.len()..].copy_from_slice(other);
        let header = Header::read(&header);
        if there < header.bytes() {
            return None;
        }
        let all = self.ring.read_chunk(header.bytes()).ok()?;
        let (one, other) = all.as_slices();
        let seen = if other.is_empty() {
            read(header, one.get(HEADER_BYTES..).unwrap_or_default())
        } else {
            aside.clear();
            append(aside, one.get(HEADER_BYTES..).unwrap_or_default());
            append(aside, other.get(HEADER_BYTES.saturating_sub(one.len())..).unwrap_or_default());
            read(header, aside)
        };
        all.commit_all();
        Some(seen)
    }

    pub fn waiting(&self) -> usize {
        self.ring.slots()
    }
}

impl Header {
    /// The parts of an entry that was taken out.
    pub fn parts<'a>(&self, taken: &'a [u8]) -> (&'a [u8], Option<Part<'a>>, Option<Part<'a>>) {
        let (facts, rest) = taken.split_at_checked(self.facts).unwrap_or_default();
        let (arguments, result) = rest.split_at_checked(carried(self.arguments)).unwrap_or_default();
        let part = |length: Option<Length>, carried| length.map(|length| Part::of(length, carried));
        (facts, part(self.arguments, arguments), part(self.result, result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64, facts: &[u8]) -> Entry<'_> {
        Entry {
            n,
            facts,
            payload: Payload::Full,
            waits: n % 2 == 1,
            arguments: Some(Part::Whole(b"{}")),
            result: None,
        }
    }

    #[test]
    fn an_entry_comes_out_as_it_went_in() {
        let (mut pen, mut spool) = ring(256);
        let mut aside = Vec::new();
        for n in 0..1_000 {
            let facts = vec![n as u8; n as usize % 100];
            let result =
                [None, Some(Part::Whole(b"r")), Some(Part::Digest(1 << 20, &[7; 32]))][n as usize % 3];
            let entry = Entry { result, ..entry(n << 32 | n, &facts) };
            assert!(pen.put(&entry, 0));
            let seen = spool.take(&mut aside, |header, bytes| {
                assert_eq!((header.n, header.payload), (n << 32 | n, Payload::Full));
                assert_eq!(header.parts(bytes), (&facts[..], Some(Part::Whole(b"{}")), result));
            });
            assert_eq!(seen, Some(()));
        }
        assert_eq!((spool.take(&mut aside, |header, _| header), pen.free()), (None, 256));
    }

    #[test]
    fn what_has_no_room_is_not_put_in_at_all() {
        let (mut pen, mut spool) = ring(120);
        let mut aside = Vec::new();
        assert!(pen.put(&entry(1, &[1; 40]), 0));
        assert!(!pen.put(&entry(2, &[2; 40]), 0));
        assert!(!pen.put(&entry(2, b""), 30), "what is reserved is not given away");
        assert!(pen.put(&entry(3, b"abc"), 0));
        let mut numbers = || spool.take(&mut aside, |header, _| header.n);
        assert_eq!((numbers(), numbers(), numbers()), (Some(1), Some(3), None));
    }

    #[test]
    fn nothing_is_lost_or_torn_between_two_threads() {
        const ENTRIES: u64 = 20_000;
        let (mut pen, mut spool) = ring(4_096);
        let producer = std::thread::spawn(move || {
            for n in 0..ENTRIES {
                let facts = vec![n as u8; (n * 7 % 1_500) as usize];
                while !pen.put(&entry(n, &facts), 0) {
                    std::thread::yield_now();
                }
            }
        });
        let mut aside = Vec::new();
        for n in 0..ENTRIES {
            let mut look = || {
                spool.take(&mut aside, |header, bytes| {
                    let (facts, arguments, _) = header.parts(bytes);
                    let length = (n * 7 % 1_500) as usize;
                    assert_eq!((header.n, facts.len(), arguments), (n, length, Some(Part::Whole(b"{}"))));
                    assert!(facts.iter().all(|byte| *byte == n as u8));
                })
            };
            while look().is_none() {
                std::thread::yield_now();
            }
        }
        producer.join().unwrap();
    }
}
