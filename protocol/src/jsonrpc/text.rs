//! JSON strings: where one ends, what it says, and how one is written. HOT.
//!
//! The decision: reading an escaped string is an iterator of bytes, so that keys can be compared and ordered by what
//! they say without a buffer to say it in.

use memchr::{memchr, memchr2};

use crate::Span;

/// So many words of eight bytes are looked at before a search with wide loads begins, which costs more than it saves on less:
/// most keys and values are shorter.
const WORDS_MAX: usize = 4;

/// Eight bytes from `at` on, the first lowest.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// The lowest bit that is set is that of the first byte of `word` which is `byte`.
#[inline]
const fn marks(word: u64, byte: u8) -> u64 {
    let zeros = word ^ (0x0101_0101_0101_0101 * byte as u64);
    zeros.wrapping_sub(0x0101_0101_0101_0101) & !zeros & 0x8080_8080_8080_8080
}

/// The position of the closing quote of the string whose first byte inside the quotes is at `from`.
#[inline]
pub(crate) fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    string_ends(bytes, from).map(|(end, _)| end)
}

/// The same, and whether there is an escape before it.
#[inline]
pub(crate) fn string_ends(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let (mut at, mut escaped, mut words) = (from, false, 0);
    loop {
        match word(bytes, at) {
            Some(word) if words < WORDS_MAX => {
                words += 1;
                let marks = marks(word, b'"') | marks(word, b'\\');
                at += marks.trailing_zeros() as usize / 8;
                if marks == 0 {
                    continue;
                }
            }
            _ => at += memchr2(b'"', b'\\', bytes.get(at..)?)?,
        }
        match bytes.get(at)? {
            b'"' => return Some((at, escaped)),
            _ => (at, escaped) = (at + 2, true),
        }
    }
}

/// The first position from `at` on that holds no JSON white space.
#[inline]
pub(crate) fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| *byte <= b' ' && is_blank(*byte)) {
        at += 1;
    }
    at
}

/// The end of `bytes[..to]` without trailing white space.
#[inline]
pub(crate) fn trim_blanks(bytes: &[u8], mut to: usize) -> usize {
    while to > 0 && bytes.get(to - 1).is_some_and(|byte| is_blank(*byte)) {
        to -= 1;
    }
    to
}

#[inline]
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// JSON without the white space between its tokens, piece by piece.
pub fn tight(json: &[u8], mut piece: impl FnMut(&[u8])) {
    let (mut in_string, mut escaped, mut from) = (false, false, 0);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            byte if !in_string && is_blank(*byte) => {
                piece(json.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    piece(json.get(from..).unwrap_or_default());
}

/// Appends `text` as a JSON string with its quotes. `text` should be UTF-8; control characters are escaped.
pub fn append_string(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = tail.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[(byte >> 4) as usize & 15]);
                out.push(HEX[*byte as usize & 15]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends what a string says, given the bytes between its quotes. False, with `out` as it was, when an escape is
/// malformed or half a surrogate pair.
pub fn unescape(inner: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut bytes = Unescape::new(inner);
    out.extend(&mut bytes);
    if bytes.broken {
        out.truncate(start);
    }
    !bytes.broken
}

/// What the JSON string at `place`, its quotes included, says; `None` when it is no string.
pub fn string_at(json: &[u8], place: Span) -> Option<String> {
    let [b'"', inner @ .., b'"'] = place.of(json) else { return None };
    let mut text = Vec::with_capacity(inner.len());
    unescape(inner, &mut text).then(|| String::from_utf8(text).ok())?
}

/// Whether two strings, given between their quotes, say the same.
pub(crate) fn says_same(one: &[u8], other: &[u8]) -> bool {
    if memchr(b'\\', one).is_none() && memchr(b'\\', other).is_none() {
        return one == other;
    }
    Unescape::new(one).eq(Unescape::new(other))
}

/// The bytes that a string says. Stops early at a malformed escape, with `broken` set.
pub struct Unescape<'a> {
    rest: &'a [u8],
    pending: [u8; 4],
    pending_len: u8,
    pending_at: u8,
    pub broken: bool,
}

impl<'a> Unescape<'a> {
    pub fn new(inner: &'a [u8]) -> Unescape<'a> {
        Unescape { rest: inner, pending: [0; 4], pending_len: 0, pending_at: 0, broken: false }
    }

    fn escape(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match byte {
            b'"' | b'\\' | b'/' => *byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.unit()?;
                let code = match unit {
                    0xd800..=0xdbff => {
                        self.rest = self.rest.strip_prefix(b"\\u")?;
                        let low = self.unit().filter(|low| (0xdc00..=0xdfff).contains(low))?;
                        0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => unit,
                };
                let encoded = char::from_u32(code)?.encode_utf8(&mut self.pending).len();
                self.pending_len = encoded as u8;
                self.pending_at = 1;
                self.pending[0]
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)?))
    }
}

impl Iterator for Unescape<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        if self.pending_at < self.pending_len {
            self.pending_at += 1;
            return self.pending.get(self.pending_at as usize - 1).copied();
        }
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *byte != b'\\' {
            return Some(*byte);
        }
        let said = self.escape();
        if said.is_none() {
            self.broken = true;
            self.rest = &[];
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["", "plain", "a\"b\\c", "\u{0}\u{1f}\n\r\t", "caf\u{e9} \u{1f600}", "\\"] {
            let mut out = Vec::new();
            append_string(&mut out, text.as_bytes());
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            assert_eq!(string_end(&out, 1), Some(out.len() - 1));
            let mut back = Vec::new();
            assert!(unescape(&out[1..out.len() - 1], &mut back));
            assert_eq!(back, text.as_bytes());
        }
    }

    #[test]
    fn escapes_are_read_as_serde_reads_them() {
        for inner in
            [r"\u00e9\ud83d\ude00x", r"\b\f\n\r\t\/", r"\ud83d", r"\udc00", r"\x", r"\u12", r"\ud83d\u0041"]
        {
            let mut out = b"kept".to_vec();
            let sound = unescape(inner.as_bytes(), &mut out);
            match serde_json::from_str::<String>(&format!("\"{inner}\"")) {
                Ok(text) => assert_eq!((sound, &out[4..]), (true, text.as_bytes()), "{inner}"),
                Err(_) => assert_eq!((sound, &out[..]), (false, &b"kept"[..]), "{inner}"),
            }
        }
    }

    #[test]
    fn strings_compare_by_what_they_say() {
        assert!(says_same(br"\u0061b", b"ab"));
        assert!(!says_same(b"ab", b"abc"));
        assert!(!says_same(br"a\n", b"an"));
    }
}
