//! Against objects that two parsers read differently: a key repeated, a key that a case-folding decoder takes for
//! another, a NUL that ends a C string early. HOT.
//!
//! The decision: repetition is judged on what keys say, not on how they are written, and its cost never becomes
//! quadratic: small objects are compared pair by pair, large ones by sorting the one reused list of keys.

use std::cmp::Ordering;

use memchr::memchr;

use super::DecodeCause;
use super::members::Member;
use super::text::{Unescape, says_same, word};
use crate::Span;
use crate::limits::PAIRWISE_KEYS_MAX;

/// What is wrong with an object, and at which byte.
pub(super) type Objection = (DecodeCause, u32);

/// The keys of one object after the other.
#[derive(Default)]
pub(super) struct Guard {
    keys: Vec<Key>,
    /// One of them has an escape.
    escaped: bool,
    /// One of them has an escape or a letter beyond ASCII.
    odd: bool,
}

#[derive(Clone, Copy)]
struct Key {
    at: Span,
    sketch: Sketch,
}

/// Of a key as it is written: its length, and its first letters with their case folded away. Keys of which it differs are neither
/// the same nor variants of each other, unless they have escapes or letters beyond ASCII.
pub(super) type Sketch = u64;

const fn sketch(text: &[u8]) -> Sketch {
    let (mut letters, mut index) = (0, 0);
    while index < text.len() && index < LETTERS {
        letters |= (text[index] as u64) << (index * 8);
        index += 1;
    }
    folded(letters, text.len())
}

/// The same of a key by its place, and whether it is ASCII. Most are short, and have eight bytes behind their beginning.
#[inline]
fn sketch_at(body: &[u8], at: Span) -> (Sketch, bool) {
    match word(body, at.start as usize) {
        Some(word) if at.len as usize <= LETTERS => {
            (folded(word, at.len as usize), word & mask(at.len as usize) & 0x8080_8080_8080_8080 == 0)
        }
        Some(word) => (folded(word, at.len as usize), at.of(body).is_ascii()),
        None => (sketch(at.of(body)), at.of(body).is_ascii()),
    }
}

/// Letters that a sketch has.
const LETTERS: usize = 7;

/// A sketch of a key of `length` bytes that begins with these.
const fn folded(letters: u64, length: usize) -> Sketch {
    (letters | 0x2020_2020_2020_2020) & mask(length) | (length as u64) << 56
}

/// The bits of the letters that a sketch has of a key of this length.
const fn mask(length: usize) -> u64 {
    let letters = if length < LETTERS { length } else { LETTERS };
    (1 << (8 * letters)) - 1
}

/// Keys that are read in one object.
pub(super) const KNOWN_MAX: usize = 32;

/// The keys that we read in an object.
pub(super) struct Known<'k> {
    keys: &'k [&'k str],
    sketches: [Sketch; KNOWN_MAX],
}

impl<'k> Known<'k> {
    /// At most [`KNOWN_MAX`].
    pub const fn of(keys: &'k [&'k str]) -> Known<'k> {
        assert!(keys.len() <= KNOWN_MAX);
        let mut sketches = [0; KNOWN_MAX];
        let mut index = 0;
        while index < keys.len() {
            sketches[index] = sketch(keys[index].as_bytes());
            index += 1;
        }
        Known { keys, sketches }
    }

    /// Calls with the number of each of them that is this member's key.
    #[inline]
    pub fn each(&self, body: &[u8], member: &Member, sketch: Sketch, mut found: impl FnMut(usize)) {
        let text = member.key_inner().of(body);
        for (at, (key, known)) in self.keys.iter().zip(&self.sketches).enumerate() {
            if match member.escaped {
                false => *known == sketch && key.as_bytes() == text,
                true => member.key_is(body, key),
            } {
                found(at);
            }
        }
    }

    /// Whether a decoder that folds case would take a key of plain ASCII for one of these, without its being it.
    #[inline]
    fn has_ascii_variant(&self, body: &[u8], key: &Key) -> bool {
        let mut all = self.keys.iter().zip(&self.sketches);
        all.any(|(known, sketch)| {
            *sketch == key.sketch && is_ascii_variant(key.at.of(body), known.as_bytes())
        })
    }
}

impl Guard {
    /// Begins with another object.
    pub fn begin(&mut self) {
        self.keys.clear();
        (self.escaped, self.odd) = (false, false);
    }

    /// Notes a key, given as the place between its quotes, and whether there is an escape among them.
    #[inline]
    pub fn key(&mut self, body: &[u8], at: Span, escaped: bool) -> Sketch {
        let (sketch, is_ascii) = sketch_at(body, at);
        self.keys.push(Key { at, sketch });
        self.escaped |= escaped;
        self.odd |= escaped || !is_ascii;
        sketch
    }

    /// Judges the object whose keys were noted, against the keys that we read in it.
    pub fn judge(&mut self, body: &[u8], known: &Known<'_>) -> Result<(), Objection> {
        let (escaped, odd) = (self.escaped, self.odd);
        for key in &self.keys {
            if !odd {
                if known.has_ascii_variant(body, key) {
                    return Err((DecodeCause::KeyCaseVariant, key.at.start));
                }
                continue;
            }
            let text = key.at.of(body);
            let has_escape = escaped && memchr(b'\\', text).is_some();
            if has_escape && Unescape::new(text).any(|byte| byte == 0) {
                return Err((DecodeCause::NulInKey, key.at.start));
            }
            let varies = match has_escape || !text.is_ascii() {
                true => known.keys.iter().any(|known| is_variant(text, known.as_bytes())),
                false => known.has_ascii_variant(body, key),
            };
            if varies {
                return Err((DecodeCause::KeyCaseVariant, key.at.start));
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
                let mut later = self.keys.iter().skip(index + 1);
                let same = |other: &&Key| match escaped {
                    true => says_same(key.at.of(body), other.at.of(body)),
                    false => other.sketch == key.sketch && other.at.of(body) == key.at.of(body),
                };
                if let Some(other) = later.find(same) {
                    return Some(other.at.start);
                }
            }
            return None;
        }
        let order = |one: &Key, other: &Key| match escaped {
            true => Unescape::new(one.at.of(body)).cmp(Unescape::new(other.at.of(body))),
            false => one.at.of(body).cmp(other.at.of(body)),
        };
        self.keys.sort_unstable_by(order);
        let mut neighbours = self.keys.windows(2);
        let twice =
            neighbours.find(|pair| matches!(pair, [one, other] if order(one, other) == Ordering::Equal))?;
        twice.iter().map(|key| key.at.start).max()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A sketch may be the same of different keys, and must be of keys that a decoder may take for each other.
        #[test]
        fn what_may_be_taken_for_each_other_has_one_sketch(
            key in "[ -~]{0,20}", before in 0usize..3, after in 0usize..12, swapped in any::<u32>(), odd in any::<bool>()
        ) {
            let key = if odd { format!("{key}\u{e9}") } else { key };
            let body = format!("{}{key}{}", "x".repeat(before), "\u{ff}".repeat(after));
            let place = Span::between(before, before + key.len());
            prop_assert_eq!(sketch_at(body.as_bytes(), place), (sketch(key.as_bytes()), key.is_ascii()));
            let swap = |(at, letter): (usize, char)| match swapped >> at & 1 {
                0 => letter.to_ascii_uppercase(),
                _ => letter.to_ascii_lowercase(),
            };
            let other: String = key.chars().enumerate().map(swap).collect();
            prop_assert_eq!(sketch(other.as_bytes()), sketch(key.as_bytes()));
        }
    }
}
