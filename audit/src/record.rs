//! What the writer adds to a record, and what a reader needs of it.
//!
//! A worker writes the facts: a JSON object. The writer completes it with where it stands: `start` (the index of the record with
//! which this start of the gateway began), `core`, `n` (counted by the core: a hole is seen), `prev` (the first 16 bytes, in hex, of
//! the leaf hash of what that core wrote before), and for each payload what commits to it.
//!
//! The decision: chains begin at the record `start` of each start of the gateway, and that one is bound to the last record before
//! it. So a start reads the end of the log and nothing else, and all chains of a log hang together.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::frame::{Mode, Which};
use crate::hash::Hash;

/// The core of records that the writer itself makes: `start`, `gap`, `truncated`, `retired`.
pub const WRITER: u16 = u16::MAX;

/// What binds a record to the one before it.
pub type Link = [u8; 16];

/// Of the first record of a log.
pub const FIRST: Link = [0; 16];

/// The record is hashed once: chain and tree speak of the same hash.
pub fn link(leaf: &Hash) -> Link {
    let mut link = [0; 16];
    link.copy_from_slice(&leaf[..16]);
    link
}

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub start: u64,
    pub core: u16,
    pub n: u64,
    pub prev: Link,
}

/// What a record says of a payload.
#[derive(Clone, Copy, Debug)]
pub struct Commitment {
    pub which: Which,
    pub mode: Mode,
    /// Of the payload itself.
    pub bytes: u64,
    /// Of what is kept of it.
    pub kept: u64,
    pub hash: Hash,
    /// With which key it is sealed: the record that says it.
    pub key: Option<u64>,
}

/// Completes the facts of a record; false: they are no object on one line.
pub fn complete(
    out: &mut Vec<u8>,
    facts: &[u8],
    place: &Place,
    commitments: impl Iterator<Item = Commitment>,
) -> bool {
    let open = facts.strip_suffix(b"}").filter(|open| open.first() == Some(&b'{'));
    let Some(open) = open.filter(|open| !open.contains(&b'\n')) else { return false };
    out.extend_from_slice(open);
    if open.len() > 1 {
        out.push(b',');
    }
    append_member(out, "start", place.start);
    out.push(b',');
    append_member(out, "core", place.core.into());
    out.push(b',');
    append_member(out, "n", place.n);
    out.extend_from_slice(b",\"prev\":\"");
    append_hex(out, &place.prev);
    out.push(b'"');
    for commitment in commitments {
        append_commitment(out, &commitment);
    }
    out.push(b'}');
    true
}

fn append_commitment(out: &mut Vec<u8>, commitment: &Commitment) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(commitment.which.word().as_bytes());
    out.extend_from_slice(b"\":{");
    append_member(out, "bytes", commitment.bytes);
    out.extend_from_slice(b",\"mode\":\"");
    out.extend_from_slice(commitment.mode.word().as_bytes());
    out.extend_from_slice(b"\",");
    append_member(out, "kept", commitment.kept);
    out.extend_from_slice(b",\"hash\":\"");
    let mut text = [0; 44];
    // 32 bytes are 44 characters.
    if let Ok(length) = STANDARD.encode_slice(commitment.hash, &mut text) {
        out.extend_from_slice(text.get(..length).unwrap_or_default());
    }
    out.push(b'"');
    if let Some(key) = commitment.key {
        out.push(b',');
        append_member(out, "key", key);
    }
    out.push(b'}');
}

fn append_member(out: &mut Vec<u8>, name: &str, number: u64) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    append_number(out, number);
}

fn append_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    while at > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn append_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

/// What checking needs of a record.
#[derive(Debug, Deserialize)]
pub struct Known<'r> {
    #[serde(borrow, default)]
    pub ts: Cow<'r, str>,
    #[serde(borrow, default)]
    pub kind: Cow<'r, str>,
    pub start: u64,
    pub core: u16,
    pub n: u64,
    #[serde(borrow)]
    pub prev: Cow<'r, str>,
    #[serde(borrow)]
    pub arguments: Option<Committed<'r>>,
    #[serde(borrow)]
    pub result: Option<Committed<'r>>,
}

/// A commitment as it is read.
#[derive(Debug, Deserialize)]
pub struct Committed<'r> {
    pub bytes: u64,
    #[serde(borrow)]
    pub mode: Cow<'r, str>,
    pub kept: u64,
    #[serde(borrow)]
    pub hash: Cow<'r, str>,
    /// Of what is sealed: the record that says the key.
    #[serde(default)]
    pub key: Option<u64>,
}

/// What a record of the kind `gap` says: records that this core counted and that are not in the log.
#[derive(Debug, Deserialize)]
pub struct Gap {
    pub of: u16,
    pub from: u64,
    pub to: u64,
}

/// What a record of the kind `retired` says: the records before this index were removed.
#[derive(Debug, Deserialize)]
pub struct Retired {
    pub until: u64,
}

/// What a record of the kind `admin` says where it tells of an erasure; of others, nothing.
#[derive(Debug, Default, Deserialize)]
pub struct ErasedAct<'r> {
    #[serde(borrow, default)]
    pub act: Cow<'r, str>,
    #[serde(default)]
    pub record: u64,
    #[serde(default)]
    pub erased: Vec<String>,
}

/// The kind of a record of the log's own that says with which key what follows is sealed.
pub const KEY: &str = "key";

/// The act of such a record.
pub const ERASED: &str = "erased";

impl<'r> Known<'r> {
    pub fn read(record: &'r [u8]) -> Result<Known<'r>, String> {
        serde_json::from_slice(record).map_err(|error| format!("it is no record: {error}"))
    }

    /// Whether it is bound to that.
    pub fn follows(&self, link: &Link) -> bool {
        let mut expected = Vec::with_capacity(32);
        append_hex(&mut expected, link);
        self.prev.as_bytes() == expected
    }

    pub fn is_own(&self, kind: &str) -> bool {
        self.core == WRITER && self.kind == kind
    }

    /// Its payloads, in the order of their frames.
    pub fn committed(&self) -> impl Iterator<Item = (Which, &Committed<'r>)> {
        let both = [(Which::Arguments, &self.arguments), (Which::Result, &self.result)];
        both.into_iter().filter_map(|(which, committed)| Some((which, committed.as_ref()?)))
    }
}

impl Committed<'_> {
    pub fn hash(&self) -> Option<Hash> {
        STANDARD.decode(self.hash.as_bytes()).ok()?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(facts: &str, commitments: &[Commitment]) -> Option<String> {
        let mut out = Vec::new();
        let place = Place { start: 4, core: 2, n: 17, prev: [0xab; 16] };
        complete(&mut out, facts.as_bytes(), &place, commitments.iter().copied())
            .then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn facts_are_completed() {
        let prev = "ab".repeat(16);
        let place = format!(r#""start":4,"core":2,"n":17,"prev":"{prev}""#);
        assert_eq!(completed(r#"{"a":1}"#, &[]), Some(format!(r#"{{"a":1,{place}}}"#)));
        assert_eq!(completed("{}", &[]), Some(format!("{{{place}}}")));
        let commitment = Commitment {
            which: Which::Result,
            mode: Mode::Full,
            bytes: 9,
            kept: 9,
            hash: [0; 32],
            key: None,
        };
        let hash = "A".repeat(43);
        let said = format!(r#"{{{place},"result":{{"bytes":9,"mode":"full","kept":9,"hash":"{hash}="}}}}"#);
        let text = completed("{}", &[commitment]).unwrap();
        assert_eq!(text, said);
        let sealed =
            completed("{}", &[Commitment { mode: Mode::Sealed, key: Some(3), ..commitment }]).unwrap();
        assert_eq!(Known::read(sealed.as_bytes()).unwrap().result.unwrap().key, Some(3));
        let known = Known::read(text.as_bytes()).unwrap();
        assert!(known.follows(&[0xab; 16]) && !known.follows(&FIRST));
        assert_eq!(known.result.unwrap().hash(), Some([0; 32]));
    }

    #[test]
    fn what_is_no_object_on_one_line_is_refused() {
        for facts in ["", "}", "[]", "{\"a\":1", "{\"a\":\n1}", "x{}"] {
            assert_eq!(completed(facts, &[]), None, "{facts:?}");
        }
    }

    #[test]
    fn a_member_is_said_once() {
        let text = completed(r#"{"core":9}"#, &[]).unwrap();
        assert!(Known::read(text.as_bytes()).is_err(), "{text}");
    }

    #[test]
    fn numbers_of_every_length() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            append_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
