//! A walk over one object or one array of JSON in its original bytes, for whoever must edit a definition without
//! re-serialising it: `table::bind` renames a tool, lists are cut into their items.
//!
//! The decision: it finds structure and nothing else. Brackets and strings are matched, separators are demanded, but
//! numbers and escapes are taken as they come; whoever needs validity has decoded or scanned the bytes before.

use std::borrow::Cow;

use memchr::memchr3;

use super::text::{is_blank, says_same, skip_blanks, string_end, string_ends, unescape};
use crate::Span;

/// One member of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The key with its quotes.
    pub key: Span,
    /// There is an escape in the key.
    pub escaped: bool,
    pub value: Span,
    /// The value is a string with an escape in it.
    pub value_escaped: bool,
}

impl Member {
    /// The key between its quotes, as written.
    pub fn key_inner(&self) -> Span {
        Span { start: self.key.start.saturating_add(1), len: self.key.len.saturating_sub(2) }
    }

    /// Whether the key says `text`.
    pub fn key_is(&self, bytes: &[u8], text: &str) -> bool {
        let inner = self.key_inner().of(bytes);
        match self.escaped {
            false => inner == text.as_bytes(),
            true => !text.contains('\\') && says_same(inner, text.as_bytes()),
        }
    }

    /// What the key says; borrowed unless it holds an escape. A broken escape shows the key as written.
    pub fn key_text<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let inner = self.key_inner().of(bytes);
        if !self.escaped {
            return Cow::Borrowed(inner);
        }
        let mut text = Vec::with_capacity(inner.len());
        match unescape(inner, &mut text) {
            true => Cow::Owned(text),
            false => Cow::Borrowed(inner),
        }
    }
}

/// What was found is not the structure of JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberFault {
    /// Offset in the bytes that were walked.
    pub at: u32,
}

impl std::fmt::Display for MemberFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected a JSON object or array, found a byte that does not fit at byte {}", self.at)
    }
}

impl std::error::Error for MemberFault {}

/// The members of an object, in order. Ends after its first fault.
pub struct Members<'a> {
    items: Items<'a>,
}

impl<'a> Members<'a> {
    /// `object` is the place of an object with its braces, as spans of this crate are.
    pub fn of(bytes: &'a [u8], object: Span) -> Members<'a> {
        Members { items: Items::new(bytes, object, b'{', b'}') }
    }

    /// The members of an object that is all of `bytes` but for white space around it.
    pub fn of_all(bytes: &'a [u8]) -> Members<'a> {
        Members::of(bytes, all(bytes))
    }

    /// Calls with one after the other: the walk for where every instruction counts.
    #[inline]
    pub(super) fn each(mut self, mut found: impl FnMut(&Member)) -> Result<(), MemberFault> {
        loop {
            match self.items.step::<Member>() {
                Ok(Some(member)) => found(&member),
                Ok(None) => return Ok(()),
                Err(at) => return Err(MemberFault { at: at as u32 }),
            }
        }
    }

    /// The value of the first member whose key says `key`.
    pub fn find(bytes: &'a [u8], object: Span, key: &str) -> Result<Option<Span>, MemberFault> {
        for member in Members::of(bytes, object) {
            let member = member?;
            if member.key_is(bytes, key) {
                return Ok(Some(member.value));
            }
        }
        Ok(None)
    }
}

impl Iterator for Members<'_> {
    type Item = Result<Member, MemberFault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.items.next()
    }
}

/// The elements of an array, in order. Ends after its first fault.
pub struct Elements<'a> {
    items: Items<'a>,
}

impl<'a> Elements<'a> {
    /// `array` is the place of an array with its brackets.
    pub fn of(bytes: &'a [u8], array: Span) -> Elements<'a> {
        Elements { items: Items::new(bytes, array, b'[', b']') }
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<Span, MemberFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.items.next()
    }
}

/// What stands between two commas.
trait Part: Sized {
    /// The one that begins at `at`, and where it ends; the error is where it does not fit.
    fn at(bytes: &[u8], at: usize) -> Result<(Self, usize), usize>;
}

impl Part for Member {
    #[inline(always)]
    fn at(bytes: &[u8], at: usize) -> Result<(Member, usize), usize> {
        let (key_end, escaped) =
            string_ends(bytes, at + 1).filter(|_| bytes.get(at) == Some(&b'"')).ok_or(at)?;
        let colon = skip_blanks(bytes, key_end + 1);
        if bytes.get(colon) != Some(&b':') {
            return Err(colon);
        }
        let start = skip_blanks(bytes, colon + 1);
        let (end, value_escaped) = value_end(bytes, start).ok_or(start)?;
        let key = Span::between(at, key_end + 1);
        Ok((Member { key, escaped, value: Span::between(start, end), value_escaped }, end))
    }
}

impl Part for Span {
    #[inline(always)]
    fn at(bytes: &[u8], at: usize) -> Result<(Span, usize), usize> {
        let (end, _) = value_end(bytes, at).ok_or(at)?;
        Ok((Span::between(at, end), end))
    }
}

/// What both have in common: an opening, items between commas, a closing, and nothing after it.
struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    open: u8,
    close: u8,
    /// How far the walk is; `Ended` also after a fault.
    progress: Progress,
}

#[derive(PartialEq)]
enum Progress {
    Before,
    Inside,
    Ended,
}

impl<'a> Items<'a> {
    fn new(bytes: &'a [u8], container: Span, open: u8, close: u8) -> Items<'a> {
        let bytes = bytes.get(..container.end() as usize).unwrap_or_default();
        Items { bytes, at: container.start as usize, open, close, progress: Progress::Before }
    }

    #[inline]
    fn next<T: Part>(&mut self) -> Option<Result<T, MemberFault>> {
        let outcome = self.step();
        if !matches!(outcome, Ok(Some(_))) {
            self.progress = Progress::Ended;
        }
        outcome.map_err(|at| MemberFault { at: at as u32 }).transpose()
    }

    #[inline(always)]
    fn step<T: Part>(&mut self) -> Result<Option<T>, usize> {
        let at = match self.progress {
            Progress::Ended => return Ok(None),
            Progress::Before if self.bytes.get(self.at) != Some(&self.open) => return Err(self.at),
            Progress::Before => {
                self.progress = Progress::Inside;
                let at = skip_blanks(self.bytes, self.at + 1);
                if self.bytes.get(at) == Some(&self.close) {
                    return self.closed(at);
                }
                at
            }
            Progress::Inside => {
                let at = skip_blanks(self.bytes, self.at);
                match self.bytes.get(at) {
                    Some(b',') => skip_blanks(self.bytes, at + 1),
                    Some(byte) if *byte == self.close => return self.closed(at),
                    _ => return Err(at),
                }
            }
        };
        let (found, end) = T::at(self.bytes, at)?;
        self.at = end;
        Ok(Some(found))
    }

    fn closed<T>(&self, at: usize) -> Result<Option<T>, usize> {
        if at + 1 == self.bytes.len() { Ok(None) } else { Err(at + 1) }
    }
}

fn all(bytes: &[u8]) -> Span {
    Span::between(skip_blanks(bytes, 0), super::text::trim_blanks(bytes, bytes.len()))
}

/// The end of the value that begins at `start`, and whether it is a string with an escape; None when there is none or it does not
/// end. Iterative, so that depth costs nothing.
#[inline]
fn value_end(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    match bytes.get(start)? {
        b'"' => string_ends(bytes, start + 1).map(|(end, escaped)| (end + 1, escaped)),
        b'{' | b'[' => container_end(bytes, start).map(|end| (end, false)),
        byte if ENDS[usize::from(*byte)] => None,
        _ => {
            let mut at = start + 1;
            while bytes.get(at).is_some_and(|byte| !ENDS[usize::from(*byte)]) {
                at += 1;
            }
            Some((at, false))
        }
    }
}

/// What a number or a word ends before.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        ends[index] = matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"') || is_blank(byte);
        index += 1;
    }
    ends
};

/// Bytes of a container without a bracket or a quote, after which a search with wide loads is cheaper.
const NEAR: usize = 16;

/// Only brackets of one kind are counted: in valid JSON those of the other kind balance between them.
fn container_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (open, close) = if bytes.get(start)? == &b'{' { (b'{', b'}') } else { (b'[', b']') };
    let (mut depth, mut at, mut plain) = (1usize, start + 1, 0);
    loop {
        match *bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            byte if byte == open => depth += 1,
            byte if byte == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if plain < NEAR => {
                plain += 1;
                at += 1;
                continue;
            }
            _ => {
                at += memchr3(open, close, b'"', bytes.get(at..)?)?;
                continue;
            }
        }
        (at, plain) = (at + 1, 0);
    }
}
