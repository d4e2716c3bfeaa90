//! Against objects that two parsers read differently: a key repeated, a key that a case-folding decoder takes for
//! another, a NUL that ends a C string early. HOT.
//!
//! The decision: repetition is judged on what keys say, not on how they are written, and its cost never becomes
//! quadratic: small objects are compared pair by pair, large ones by sorting the one reused list of keys.

use std::cmp::Ordering;

use memchr::memchr;

use super::DecodeCause;
use super::text::{Unescape, says_same};
use crate::Span;
use crate::limits::PAIRWISE_KEYS_MAX;

/// What is wrong with an object, and at which byte.
pub(super) type Objection = (DecodeCause, u32);

/// The keys of one object after the other.
#[derive(Default)]
pub(super) struct Guard {
    keys: Vec<Span>,
    /// One of them has an escape.
    escaped: bool,
}

/// The keys that we read in an object, and which lengths they have: most other keys differ in that already.
pub(super) struct Known<'k> {
    keys: &'k [&'k str],
    /// A bit per length, of which the last stands for all above.
    lengths: u64,
}

impl<'k> Known<'k> {
    pub const fn of(keys: &'k [&'k str]) -> Known<'k> {
        let mut lengths = 0;
        let mut index = 0;
        while index < keys.len() {
            lengths |= length_bit(keys[index].len());
            index += 1;
        }
        Known { keys, lengths }
    }

    /// Whether a decoder that folds case would take a key of plain ASCII for one of these, without its being it.
    fn has_ascii_variant(&self, text: &[u8]) -> bool {
        self.lengths & length_bit(text.len()) != 0
            && self.keys.iter().any(|known| is_ascii_variant(text, known.as_bytes()))
    }
}

const fn length_bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

impl Guard {
    /// Begins with another object.
    pub fn begin(&mut self) {
        self.keys.clear();
        self.escaped = false;
    }

    /// Notes a key, given as the bytes between its quotes, and whether there is an escape among them.
    #[inline]
    pub fn key(&mut self, key: Span, escaped: bool) {
        self.keys.push(key);
        self.escaped |= escaped;
    }

    /// Judges the object whose keys were noted, against the keys that we read in it.
    pub fn judge(&mut self, body: &[u8], known: &Known<'_>) -> Result<(), Objection> {
        let escaped = self.escaped;
        for key in &self.keys {
            let text = key.of(body);
            let has_escape = escaped && memchr(b'\\', text).is_some();
            if has_escape && Unescape::new(text).any(|byte| byte == 0) {
                return Err((DecodeCause::NulInKey, key.start));
            }
            let varies = match has_escape || !text.is_ascii() {
                true => known.keys.iter().any(|known| is_variant(text, known.as_bytes())),
                false => known.has_ascii_variant(text),
            };
            if varies {
                return Err((DecodeCause::KeyCaseVariant, key.start));
            }
        }
        match self.repeated(body, escaped) {
            Some(at) => Err((DecodeCause::KeyRepeated, at)),
            None => Ok(()),
        }
    }

    pub fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// The second occurrence of a key.
    fn repeated(&mut self, body: &[u8], escaped: bool) -> Option<u32> {
        if self.keys.len() <= PAIRWISE_KEYS_MAX {
            for (index, key) in self.keys.iter().enumerate() {
                let text = key.of(body);
                let mut later = self.keys.iter().skip(index + 1);
                let same = |other: &&Span| match escaped {
                    true => says_same(text, other.of(body)),
                    false => other.len == key.len && other.of(body) == text,
                };
                if let Some(other) = later.find(same) {
                    return Some(other.start);
                }
            }
            return None;
        }
        let order = |one: &Span, other: &Span| match escaped {
            true => Unescape::new(one.of(body)).cmp(Unescape::new(other.of(body))),
            false => one.of(body).cmp(other.of(body)),
        };
        self.keys.sort_unstable_by(order);
        let mut neighbours = self.keys.windows(2);
        let twice =
            neighbours.find(|pair| matches!(pair, [one, other] if order(one, other) == Ordering::Equal))?;
        twice.iter().map(|key| key.start).max()
    }
}

/// Whether a key of plain ASCII would be taken for `known` by a decoder that folds case, without being it. Nearly
/// every key differs in length or is exactly the known one, so this is where nearly all end.
fn is_ascii_variant(text: &[u8], known: &[u8]) -> bool {
    text.len() == known.len() && text != known && text.eq_ignore_ascii_case(known)
}

/// The same for a key with escapes or letters beyond ASCII. Simple case folding maps exactly two of those onto ASCII
/// letters: U+017F, long s, and U+212A, the Kelvin sign; Go's decoder accepts both.
fn is_variant(text: &[u8], known: &[u8]) -> bool {
    let mut said = Unescape::new(text);
    let mut exact = true;
    for letter in known {
        let Some(byte) = said.next() else { return false };
        let folded = match byte {
            0xc5 if said.next() == Some(0xbf) => b's',
            0xe2 if said.next() == Some(0x84) && said.next() == Some(0xaa) => b'k',
            _ => byte.to_ascii_lowercase(),
        };
        if folded != letter.to_ascii_lowercase() {
            return false;
        }
        exact &= byte == *letter;
    }
    !exact && said.next().is_none()
}
