//! The envelope of an upstream's message, found while the message arrives in pieces of any size. HOT: one pass, no
//! allocation, about 400 bytes of state.
//!
//! The decision: structure is checked in full (a message that is not balanced JSON is refused, so its end is certain)
//! but numbers, escapes and UTF-8 are taken as they come, since the client's parser will judge them. Depth is a
//! counter and one bit per level. This file is the grammar; what it means is in `facts`, and where nothing is meant
//! `skim` reads faster.

use memchr::memchr2;

use super::envelope::Envelope;
use super::envelope_fault::{EnvelopeCause, EnvelopeFault};
use super::facts::{FACTS_DEPTH, Facts};
use super::skim::skim;
use super::text::is_blank;
use crate::limits::UPSTREAM_DEPTH_MAX;

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Start,
    /// After `{`: a key or the end.
    KeyOrEnd,
    /// After a comma in an object.
    Key,
    Colon,
    Value,
    /// After `[`: a value or the end.
    ValueOrEnd,
    CommaOrEnd,
    Text,
    TextEscape,
    Number,
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
    Done,
}

/// A scanner of one message at a time; `reset` it for the next.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    /// The string being read is a key.
    in_key: bool,
    /// Bytes fed before the current piece.
    fed: u32,
    levels: Levels,
    facts: Facts,
    fault: Option<EnvelopeFault>,
}

/// What is wrong, and where in the piece.
type Finding = (EnvelopeCause, usize);

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    pub fn new() -> Scanner {
        Scanner {
            state: State::Start,
            in_key: false,
            fed: 0,
            levels: Levels { depth: 0, objects: [0; UPSTREAM_DEPTH_MAX / 64] },
            facts: Facts::new(),
            fault: None,
        }
    }

    pub fn reset(&mut self) {
        *self = Scanner::new();
    }

    /// The facts so far.
    pub fn envelope(&self) -> &Envelope {
        &self.facts.envelope
    }

    /// The message's closing brace was read; only white space may follow.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done && self.fault.is_none()
    }

    /// Reads the next piece. After a fault every call repeats it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), EnvelopeFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let fed = u32::try_from(bytes.len()).ok().and_then(|more| self.fed.checked_add(more));
        let outcome = match fed {
            Some(_) => self.scan(bytes),
            None => Err((EnvelopeCause::TooLarge, 0)),
        };
        match outcome {
            Ok(()) => {
                self.fed = fed.unwrap_or(self.fed);
                Ok(())
            }
            Err((cause, at)) => {
                let fault = EnvelopeFault { cause, at: self.fed.saturating_add(at as u32) };
                self.fault = Some(fault);
                Err(fault)
            }
        }
    }

    /// The message is over: all its facts, or why it is none.
    pub fn finish(&self) -> Result<&Envelope, EnvelopeFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let envelope = &self.facts.envelope;
        let cause = match (envelope.method.is_some(), envelope.has_result, envelope.has_error) {
            _ if self.state != State::Done => EnvelopeCause::Truncated,
            (false, false, false) => EnvelopeCause::Shapeless,
            (_, true, true) => EnvelopeCause::ResultWithError,
            (true, true, _) | (true, _, true) => EnvelopeCause::MethodWithResult,
            _ => return Ok(envelope),
        };
        Err(EnvelopeFault { cause, at: self.fed })
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        let mut at = 0;
        loop {
            if self.levels.depth > FACTS_DEPTH {
                at = skim(bytes, at, FACTS_DEPTH, &mut self.state, &mut self.levels);
            }
            let Some(&byte) = bytes.get(at) else { break };
            match self.state {
                State::Text => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let run = run_of_text(rest);
                    self.facts.copy(rest.get(..run).unwrap_or_default());
                    at += run;
                    match rest.get(run) {
                        None => break,
                        Some(b'\\') => {
                            self.facts.copy_escape();
                            self.state = State::TextEscape;
                        }
                        Some(_) => self.text_ends(at)?,
                    }
                }
                State::TextEscape => {
                    self.facts.copy(&[byte]);
                    self.state = State::Text;
                }
                State::Number => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let run = rest.iter().position(|byte| !is_number_byte(*byte)).unwrap_or(rest.len());
                    self.facts.copy(rest.get(..run).unwrap_or_default());
                    at += run;
                    if run < rest.len() {
                        self.value_ends(at);
                    }
                    // The byte that ended the number is read again, as what follows a value.
                    continue;
                }
                State::Literal([expected, rest @ ..]) if *expected == byte => {
                    self.facts.copy(&[byte]);
                    self.state = State::Literal(rest);
                    if rest.is_empty() {
                        self.value_ends(at + 1);
                    }
                }
                State::Literal(_) => return Err((EnvelopeCause::SyntaxInvalid, at)),
                _ if is_blank(byte) => {}
                State::CommaOrEnd => self.separator(byte, at)?,
                State::KeyOrEnd => self.first_key(byte, at)?,
                State::Key if byte == b'"' => self.key_begins(),
                State::Colon if byte == b':' => self.state = State::Value,
                State::Value => self.value_begins(byte, at)?,
                State::ValueOrEnd if byte == b']' => self.container_ends(at),
                State::ValueOrEnd => self.value_begins(byte, at)?,
                State::Start if byte == b'{' => self.container_begins(true, at)?,
                State::Start => return Err((EnvelopeCause::NotAnObject, at)),
                State::Done => return Err((EnvelopeCause::TrailingBytes, at)),
                State::Key | State::Colon => return Err((EnvelopeCause::SyntaxInvalid, at)),
            }
            at += 1;
        }
        Ok(())
    }

    fn separator(&mut self, byte: u8, at: usize) -> Result<(), Finding> {
        match (byte, self.levels.in_object()) {
            (b',', true) => self.state = State::Key,
            (b',', false) => self.state = State::Value,
            (b'}', true) | (b']', false) => self.container_ends(at),
            _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
        }
        Ok(())
    }

    fn first_key(&mut self, byte: u8, at: usize) -> Result<(), Finding> {
        match byte {
            b'"' => {
                self.facts.object_opened(self.levels.depth, false);
                self.key_begins();
            }
            b'}' => {
                self.facts.object_opened(self.levels.depth, true);
                self.container_ends(at);
            }
            _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
        }
        Ok(())
    }

    fn key_begins(&mut self) {
        self.facts.key_begins(self.levels.depth);
        self.in_key = true;
        self.state = State::Text;
    }

    fn value_begins(&mut self, byte: u8, at: usize) -> Result<(), Finding> {
        self.facts.value_begins(self.levels.depth, self.fed + at as u32);
        self.state = match byte {
            b'{' | b'[' => return self.container_begins(byte == b'{', at),
            b'"' => {
                self.in_key = false;
                State::Text
            }
            b'-' | b'0'..=b'9' => State::Number,
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
        };
        self.facts.copy(&[byte]);
        Ok(())
    }

    /// The closing quote is at `at`.
    fn text_ends(&mut self, at: usize) -> Result<(), Finding> {
        if self.in_key {
            self.state = State::Colon;
            return self.facts.key_ends(self.levels.depth).map_err(|_| (EnvelopeCause::KeyRepeated, at));
        }
        self.facts.copy(b"\"");
        self.value_ends(at + 1);
        Ok(())
    }

    fn value_ends(&mut self, end: usize) {
        self.state = State::CommaOrEnd;
        self.facts.value_ends(self.levels.depth, self.fed + end as u32);
    }

    fn container_begins(&mut self, object: bool, at: usize) -> Result<(), Finding> {
        self.facts.container_begins(self.levels.depth);
        if !self.levels.enter(object) {
            return Err((EnvelopeCause::TooDeep, at));
        }
        self.state = if object { State::KeyOrEnd } else { State::ValueOrEnd };
        Ok(())
    }

    /// The bracket that closes the innermost container is at `at`.
    fn container_ends(&mut self, at: usize) {
        let end = self.fed + at as u32 + 1;
        self.levels.leave();
        if self.levels.depth == 0 {
            self.state = State::Done;
            self.facts.envelope.end = Some(end);
        } else {
            self.state = State::CommaOrEnd;
            self.facts.container_ends(self.levels.depth, end);
        }
    }
}

/// The containers that are open.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    pub depth: u32,
    /// A bit per level: set for an object.
    objects: [u64; UPSTREAM_DEPTH_MAX / 64],
}

impl Levels {
    /// One level down; false when there are no more.
    #[inline]
    pub fn enter(&mut self, object: bool) -> bool {
        let level = self.depth as usize;
        let Some(word) = self.objects.get_mut(level / 64) else { return false };
        let bit = 1 << (level % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        true
    }

    /// One level up: whether there is an object.
    #[inline]
    pub fn leave(&mut self) -> bool {
        self.depth = self.depth.saturating_sub(1);
        self.in_object()
    }

    /// Whether the innermost container is one.
    #[inline]
    pub fn in_object(&self) -> bool {
        let level = self.depth.saturating_sub(1) as usize;
        self.objects.get(level / 64).is_some_and(|word| word >> (level % 64) & 1 == 1)
    }
}

/// Bytes before the next quote or backslash. Most strings of an envelope are short, so two words are looked at before
/// the vector search is set up.
#[inline]
fn run_of_text(rest: &[u8]) -> usize {
    let (words, _) = rest.as_chunks::<8>();
    let near = words.get(..2).unwrap_or(words);
    for (index, word) in near.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = places_of(b'"', word) | places_of(b'\\', word);
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let seen = near.len() * 8;
    memchr2(b'"', b'\\', rest.get(seen..).unwrap_or_default()).map_or(rest.len(), |at| seen + at)
}

/// The highest bit of each byte of `word` that is `byte`; only the first of them is certain.
#[inline]
const fn places_of(byte: u8, word: u64) -> u64 {
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    let zeroes = word ^ (LOWEST * byte as u64);
    zeroes.wrapping_sub(LOWEST) & !zeroes & (LOWEST << 7)
}

#[inline]
pub(super) const fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')
}

#[cfg(test)]
mod tests {
    use super::run_of_text;

    #[test]
    fn a_run_of_text_ends_at_the_first_quote_or_backslash_wherever_it_is() {
        for length in 0..40 {
            // Letters beside the two, and what a carry between bytes could make of one.
            for fill in [b'a', b'!', b'#', b'[', b']', 0x00, 0x01, 0xa2, 0xdc, 0xff] {
                let mut text = vec![fill; length];
                assert_eq!(run_of_text(&text), length);
                for at in (0..length).rev() {
                    text[at] = if at % 2 == 0 { b'"' } else { b'\\' };
                    assert_eq!(run_of_text(&text), at, "{text:?}");
                }
            }
        }
    }
}
