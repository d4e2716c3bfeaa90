//! Against objects that two parsers read differently: a key repeated, a key that a case-folding decoder takes for
//! another, a NUL that ends a C string early. HOT.
//!
//! The decision: repetition is judged on what keys say, not on how they are written, and its cost never becomes
//! quadratic: small objects are compared pair by pair, large ones by sorting the one reused list of keys.

use std::cmp::Ordering;

use memchr::memchr;

use super::DecodeCause;
use super::text::{Unescape, says_same, word};
use crate::Span;
use crate::limits::PAIRWISE_KEYS_MAX;

/// What is wrong with an object, and at which byte.
pub(super) type Objection = (DecodeCause, u32);

/// What most keys differ in. Of a key as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySketch {
    /// Its first seven letters with their case folded away, and its length. Keys of which it differs are neither the same nor variants of
    /// each other, unless they have escapes or letters beyond ASCII.
    pub folded: u64,
    /// Its first eight letters.
    pub head: u64,
}

impl KeySketch {
    pub const fn of(key: &str) -> KeySketch {
        KeySketch::of_bytes(key.as_bytes())
    }

    const fn of_bytes(key: &[u8]) -> KeySketch {
        KeySketch::new(head(key), key.len())
    }

    /// Of the key at a place. Most are short, and have eight bytes behind their beginning.
    #[inline]
    fn at(body: &[u8], at: Span) -> KeySketch {
        match word(body, at.start as usize) {
            Some(word) => KeySketch::new(word & mask(at.len as usize, HEAD), at.len as usize),
            None => KeySketch::of_bytes(at.of(body)),
        }
    }

    const fn new(head: u64, length: usize) -> KeySketch {
        let folded = (head | 0x2020_2020_2020_2020) & mask(length, FOLDED) | (length as u64) << 56;
        KeySketch { folded, head }
    }
}

/// Letters that the two parts of a sketch have.
const FOLDED: usize = 7;
const HEAD: usize = 8;

/// The first eight letters of a key, or all that it has.
const fn head(key: &[u8]) -> u64 {
    if let Some(eight) = key.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        let behind = u32::from_le_bytes(*last) as u64;
        return u32::from_le_bytes(*first) as u64 | behind << (8 * (key.len() - 4));
    }
    let (mut letters, mut index) = (0, 0);
    while index < key.len() {
        letters |= (key[index] as u64) << (8 * index);
        index += 1;
    }
    letters
}

/// The bits of the first letters, of at most `most`, that a key of this length has.
#[inline]
const fn mask(length: usize, most: usize) -> u64 {
    let letters = if length < most { length } else { most };
    if letters == 0 { 0 } else { u64::MAX >> (64 - 8 * letters) }
}

/// Keys that are read in an object. They have numbers.
pub(super) trait Keys {
    /// Calls with each of this sketch: its number, and its first letters.
    fn sketched(&self, folded: u64, each: impl FnMut(usize, u64));
    fn numbers(&self) -> impl Iterator<Item = usize>;
    fn text(&self, number: usize) -> &str;
}

/// Keys that are always read.
pub(super) struct Known<const COUNT: usize> {
    keys: [&'static str; COUNT],
    sketches: [KeySketch; COUNT],
}

impl<const COUNT: usize> Known<COUNT> {
    pub const fn of(keys: [&'static str; COUNT]) -> Known<COUNT> {
        let mut sketches = [KeySketch { folded: 0, head: 0 }; COUNT];
        let mut index = 0;
        while index < COUNT {
            sketches[index] = KeySketch::of(keys[index]);
            index += 1;
        }
        Known { keys, sketches }
    }
}

impl<const COUNT: usize> Keys for Known<COUNT> {
    #[inline]
    fn sketched(&self, folded: u64, mut each: impl FnMut(usize, u64)) {
        for (number, sketch) in self.sketches.iter().enumerate() {
            if sketch.folded == folded {
                each(number, sketch.head);
            }
        }
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        0..COUNT
    }

    fn text(&self, number: usize) -> &str {
        self.keys.get(number).copied().unwrap_or_default()
    }
}

/// The one key that is read.
pub(super) struct Only<'k> {
    key: &'k str,
    sketch: KeySketch,
}

impl<'k> Only<'k> {
    pub fn of(key: &'k str) -> Only<'k> {
        Only { key, sketch: KeySketch::of(key) }
    }
}

impl Keys for Only<'_> {
    #[inline]
    fn sketched(&self, folded: u64, mut each: impl FnMut(usize, u64)) {
        if self.sketch.folded == folded {
            each(0, self.sketch.head);
        }
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        std::iter::once(0)
    }

    fn text(&self, _: usize) -> &str {
        self.key
    }
}

/// The keys of one object after the other.
#[derive(Default)]
pub(super) struct Guard {
    keys: Vec<Key>,
    /// Where the first of them is that a decoder may take for one that is read, if all are plain.
    varies: Option<u32>,
    /// One of them has an escape.
    escaped: bool,
    /// One of them has an escape or a letter beyond ASCII.
    odd: bool,
}

#[derive(Clone, Copy)]
struct Key {
    at: Span,
    /// Of its sketch.
    folded: u64,
}

impl Guard {
    /// Begins with another object.
    #[inline]
    pub fn begin(&mut self) {
        self.keys.clear();
        (self.varies, self.escaped, self.odd) = (None, false, false);
    }

    /// Notes a key, given as the place between its quotes, and whether there is an escape among them. Calls with the number of each
    /// key that is read and that it is.
    #[inline]
    pub fn key(
        &mut self,
        body: &[u8],
        at: Span,
        escaped: bool,
        keys: &impl Keys,
        mut found: impl FnMut(usize),
    ) {
        let sketch = KeySketch::at(body, at);
        self.keys.push(Key { at, folded: sketch.folded });
        let fits = at.len as usize <= HEAD;
        self.odd |= escaped || sketch.head & 0x8080_8080_8080_8080 != 0 || (!fits && !at.of(body).is_ascii());
        if escaped {
            self.escaped = true;
            return each_said(at.of(body), keys, found);
        }
        keys.sketched(sketch.folded, |number, head| {
            let text = at.of(body);
            if head == sketch.head && (fits || keys.text(number).as_bytes() == text) {
                found(number);
            } else if self.varies.is_none() && is_ascii_variant(text, keys.text(number).as_bytes()) {
                self.varies = Some(at.start);
            }
        });
    }

    /// Judges the object whose keys were noted, against the keys that we read in it.
    #[inline]
    pub fn judge(&mut self, body: &[u8], keys: &impl Keys) -> Result<(), Objection> {
        if self.odd {
            self.judge_odd(body, keys)?;
        } else if let Some(at) = self.varies {
            return Err((DecodeCause::KeyCaseVariant, at));
        }
        match self.may_repeat().then(|| self.repeated(body)).flatten() {
            Some(at) => Err((DecodeCause::KeyRepeated, at)),
            None => Ok(()),
        }
    }

    #[cold]
    fn judge_odd(&self, body: &[u8], keys: &impl Keys) -> Result<(), Objection> {
        for Key { at: key, .. } in &self.keys {
            let text = key.of(body);
            let has_escape = self.escaped && memchr(b'\\', text).is_some();
            if has_escape && Unescape::new(text).any(|byte| byte == 0) {
                return Err((DecodeCause::NulInKey, key.start));
            }
            let varies = match has_escape || !text.is_ascii() {
                true => is_variant,
                false => is_ascii_variant,
            };
            if keys.numbers().any(|number| varies(text, keys.text(number).as_bytes())) {
                return Err((DecodeCause::KeyCaseVariant, key.start));
            }
        }
        Ok(())
    }

    pub fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// Whether a key may be there twice: nearly every object ends here.
    #[inline]
    fn may_repeat(&self) -> bool {
        if self.escaped || self.keys.len() > PAIRWISE_KEYS_MAX {
            return true;
        }
        let mut rest = self.keys.as_slice();
        while let [first, later @ ..] = rest {
            if later.iter().any(|key| key.folded == first.folded) {
                return true;
            }
            rest = later;
        }
        false
    }

    /// The second occurrence of a key.
    #[cold]
    fn repeated(&mut self, body: &[u8]) -> Option<u32> {
        let escaped = self.escaped;
        let same = |one: Span, other: Span| match escaped {
            true => says_same(one.of(body), other.of(body)),
            false => one.of(body) == other.of(body),
        };
        if self.keys.len() <= PAIRWISE_KEYS_MAX {
            let mut rest = self.keys.as_slice();
            while let [first, later @ ..] = rest {
                if let Some(other) = later.iter().find(|other| same(first.at, other.at)) {
                    return Some(other.at.start);
                }
                rest = later;
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

/// Calls with the number of each key that is read and that a key with escapes says.
#[cold]
fn each_said(text: &[u8], keys: &impl Keys, mut found: impl FnMut(usize)) {
    for number in keys.numbers() {
        let known = keys.text(number);
        if !known.contains('\\') && says_same(text, known.as_bytes()) {
            found(number);
        }
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
            let sketch = KeySketch::of(&key);
            prop_assert_eq!(KeySketch::at(body.as_bytes(), place), sketch);
            prop_assert!(sketch.head.to_le_bytes().starts_with(key.as_bytes().get(..8).unwrap_or(key.as_bytes())));
            let swap = |(at, letter): (usize, char)| match swapped >> at & 1 {
                0 => letter.to_ascii_uppercase(),
                _ => letter.to_ascii_lowercase(),
            };
            let other: String = key.chars().enumerate().map(swap).collect();
            prop_assert_eq!(KeySketch::of(&other).folded, sketch.folded);
        }
    }
}
