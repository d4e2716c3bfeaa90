//! Over simd-json's tape with one eye on the original bytes. HOT.
//!
//! The tape holds strings as slices of the parsed copy, and simd-json unescapes in place: a string keeps the offset
//! of its first byte, so `its address - the copy's address` is its place in the original. Numbers and containers
//! carry no address. The decision: their place follows from the keys around them, as a value begins after its key's
//! colon and ends before the comma of the next key, or before the brace that closes the object; so nothing nested is
//! ever walked to find an end.

use simd_json::Node;

use super::text::{skip_blanks, string_end, trim_blanks};
use crate::Span;

/// A parsed message: its nodes, the bytes it was sent as, and the address of the copy that was parsed.
#[derive(Clone, Copy)]
pub(super) struct Walk<'t, 'de> {
    pub nodes: &'t [Node<'de>],
    pub original: &'t [u8],
    pub base: usize,
}

/// One member of an object.
#[derive(Clone, Copy)]
pub(super) struct Field<'de> {
    /// Unescaped.
    pub key: &'de str,
    /// The key as written, between its quotes.
    pub key_raw: Span,
    /// It is written with escapes.
    pub key_escaped: bool,
    /// Index of the value's node.
    pub node: usize,
    /// The value in the original.
    pub span: Span,
}

impl<'t, 'de> Walk<'t, 'de> {
    /// The members of the object at `node`, whose closing brace is at `close` in the original.
    pub fn fields(self, node: usize, close: usize) -> Fields<'t, 'de> {
        let left = match self.nodes.get(node) {
            Some(Node::Object { len, .. }) => *len,
            _ => 0,
        };
        Fields { walk: self, next: node + 1, left, close }
    }

    pub fn string(self, node: usize) -> Option<&'de str> {
        match self.nodes.get(node) {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    pub fn is_object(self, node: usize) -> bool {
        matches!(self.nodes.get(node), Some(Node::Object { .. }))
    }

    /// Where a string of the tape begins in the original.
    fn offset(self, text: &str) -> usize {
        (text.as_ptr() as usize).wrapping_sub(self.base)
    }

    /// Nodes that a value takes up, itself included.
    fn extent(self, node: usize) -> usize {
        match self.nodes.get(node) {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => count + 1,
            _ => 1,
        }
    }
}

pub(super) struct Fields<'t, 'de> {
    walk: Walk<'t, 'de>,
    next: usize,
    left: usize,
    close: usize,
}

impl<'de> Fields<'_, 'de> {
    /// None also when tape and bytes disagree, which `left` then shows.
    fn field(&mut self) -> Option<Field<'de>> {
        let Walk { original, .. } = self.walk;
        let key = self.walk.string(self.next)?;
        let key_at = self.walk.offset(key);
        let (key_end, key_escaped) = match plain_end(original, key_at, key.len()) {
            Some(end) => (end, false),
            None => (string_end(original, key_at)?, true),
        };
        let colon = skip_blanks(original, key_end + 1);
        if original.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_blanks(original, colon + 1);
        let node = self.next + 1;
        let after = node + self.walk.extent(node);
        let end = if self.left == 1 {
            trim_blanks(original, self.close)
        } else {
            let quote = self.walk.offset(self.walk.string(after)?).checked_sub(1)?;
            let comma = trim_blanks(original, quote).checked_sub(1)?;
            if original.get(comma) != Some(&b',') {
                return None;
            }
            trim_blanks(original, comma)
        };
        if end <= start || end > original.len() {
            return None;
        }
        self.next = after;
        let (key_raw, span) = (Span::between(key_at, key_end), Span::between(start, end));
        Some(Field { key, key_raw, key_escaped, node, span })
    }
}

impl<'de> Iterator for Fields<'_, 'de> {
    /// `Err` when tape and bytes disagree: our bug, never the peer's.
    type Item = Result<Field<'de>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let field = self.field();
        self.left = if field.is_some() { self.left - 1 } else { 0 };
        Some(field.ok_or(()))
    }
}

/// The closing quote of a key that begins at `at`, says `plain_bytes` bytes and holds no escape, as most do not.
#[inline]
fn plain_end(original: &[u8], at: usize, plain_bytes: usize) -> Option<usize> {
    let end = at.checked_add(plain_bytes)?;
    let plain = original.get(at..end)?;
    // Keys are short: looking at all of their bytes is cheaper than setting up a search.
    let escaped = plain.iter().fold(false, |escaped, byte| escaped | (*byte == b'\\'));
    (!escaped && original.get(end) == Some(&b'"')).then_some(end)
}
