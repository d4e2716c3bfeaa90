//! Values as conditions compare them: what JSON at hand is, and how two of them stand to each other. HOT.
//!
//! The decision: comparisons are typed. A number never equals a text, it is an error, and an error never lets a deny be
//! passed: whoever sends `"500"` where a rule asks for a number has not found a way round it.

use std::cmp::Ordering;

use memchr::{memchr, memmem};
use strait_policy::Truth;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Members, Unescape, compare_numbers, is_integer};

use super::{ArchivedComparison, ArchivedTextTest, types};

/// A value as it is compared.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    /// The author's own `null`: whether something is null can be asked of anything.
    AskedNull,
    Bool(bool),
    Number(&'a [u8]),
    Count(usize),
    /// `escaped`: it is written with escapes of JSON.
    Text {
        bytes: &'a [u8],
        escaped: bool,
    },
    List(&'a [u8], Span),
    Object(&'a [u8], Span),
    /// Missing, or of a type that nothing can be said about.
    Error,
    Unknown,
}

/// A value of a body that was accepted; `escaped`: if it is a string, there are escapes in it.
#[inline]
pub(super) fn json(body: &[u8], at: Span, escaped: bool) -> Value<'_> {
    let raw = at.of(body);
    match raw {
        [b'"', bytes @ .., _] => Value::Text { bytes, escaped },
        [b'-' | b'0'..=b'9', ..] => Value::Number(raw),
        [b'{', ..] => Value::Object(body, at),
        [b'[', ..] => Value::List(body, at),
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        b"null" => Value::Null,
        _ => Value::Error,
    }
}

/// An element of a list.
pub(super) fn element(body: &[u8], at: Span) -> Value<'_> {
    json(body, at, memchr(b'\\', at.of(body)).is_some())
}

pub(super) fn size(value: Value<'_>) -> Value<'_> {
    let count = match value {
        Value::Unknown => return Value::Unknown,
        Value::Text { bytes, escaped: false } => letters(bytes),
        Value::Text { bytes, escaped: true } => {
            Unescape::new(bytes).filter(|byte| begins_letter(*byte)).count()
        }
        Value::List(body, span) => Elements::of(body, span).count(),
        Value::Object(body, span) => Members::of(body, span).count(),
        _ => return Value::Error,
    };
    Value::Count(count)
}

/// Code points, as CEL counts. In sums of one byte, of so many that none runs over: the compiler then counts sixteen and more at once, and
/// a text may be the whole of a call.
fn letters(bytes: &[u8]) -> usize {
    let of = |some: &[u8]| some.iter().map(|byte| u8::from(begins_letter(*byte))).sum::<u8>();
    bytes.chunks(usize::from(u8::MAX)).map(|some| usize::from(of(some))).sum()
}

/// UTF-8: the bytes behind the first of a letter begin with 10.
fn begins_letter(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// The bit of a value's type. None: not known yet; Some(None): there is no value.
pub(super) fn type_of(value: Value<'_>) -> Option<Option<u8>> {
    Some(Some(match value {
        Value::Unknown => return None,
        Value::Error => return Some(None),
        Value::Null | Value::AskedNull => types::NULL,
        Value::Bool(_) => types::BOOL,
        Value::Number(number) if is_integer(number) => types::INTEGER,
        Value::Number(_) => types::FRACTION,
        Value::Count(_) => types::INTEGER,
        Value::Text { .. } => types::TEXT,
        Value::List(..) => types::LIST,
        Value::Object(..) => types::OBJECT,
    }))
}

pub(super) fn compare(left: Value<'_>, by: &ArchivedComparison, right: Value<'_>) -> Truth {
    let mut digits = itoa_buffer();
    let ordering = match (left, right) {
        (Value::Unknown, _) | (_, Value::Unknown) => return Truth::Unknown,
        (Value::Error, _) | (_, Value::Error) => return Truth::Error,
        (Value::Text { bytes: one, escaped }, Value::Text { bytes: other, escaped: also }) => match by {
            ArchivedComparison::Equal | ArchivedComparison::NotEqual if !escaped && !also => {
                return equality(by, one == other);
            }
            _ => Some(order(one, escaped, other, also)),
        },
        (Value::Number(one), Value::Number(other)) => compare_numbers(one, other),
        (Value::Count(one), Value::Count(other)) => Some(one.cmp(&other)),
        (Value::Count(one), Value::Number(other)) => compare_numbers(written(&mut digits, one), other),
        (Value::Number(one), Value::Count(other)) => compare_numbers(one, written(&mut digits, other)),
        // Without order.
        (Value::Bool(one), Value::Bool(other)) => return equality(by, one == other),
        (Value::Null | Value::AskedNull, Value::Null | Value::AskedNull) => return equality(by, true),
        (Value::AskedNull, _) | (_, Value::AskedNull) => return equality(by, false),
        _ => None,
    };
    let Some(ordering) = ordering else { return Truth::Error };
    Truth::of(match by {
        ArchivedComparison::Equal => ordering.is_eq(),
        ArchivedComparison::NotEqual => ordering.is_ne(),
        ArchivedComparison::Less => ordering.is_lt(),
        ArchivedComparison::LessOrEqual => ordering.is_le(),
        ArchivedComparison::More => ordering.is_gt(),
        ArchivedComparison::MoreOrEqual => ordering.is_ge(),
    })
}

pub(super) fn is_true_of(test: &ArchivedTextTest, of: &[u8], text: &[u8]) -> bool {
    match test {
        ArchivedTextTest::StartsWith => of.starts_with(text),
        ArchivedTextTest::EndsWith => of.ends_with(text),
        ArchivedTextTest::Contains => memmem::find(of, text).is_some(),
    }
}

fn equality(by: &ArchivedComparison, equal: bool) -> Truth {
    match by {
        ArchivedComparison::Equal => Truth::of(equal),
        ArchivedComparison::NotEqual => Truth::of(!equal),
        _ => Truth::Error,
    }
}

/// By code points, which for UTF-8 is by bytes.
pub(super) fn order(one: &[u8], escaped: bool, other: &[u8], also_escaped: bool) -> Ordering {
    match (escaped, also_escaped) {
        (false, false) => one.cmp(other),
        (true, false) => Unescape::new(one).cmp(other.iter().copied()),
        (false, true) => one.iter().copied().cmp(Unescape::new(other)),
        (true, true) => Unescape::new(one).cmp(Unescape::new(other)),
    }
}

/// What a text says, in one piece.
pub(super) fn plain<'b>(value: Value<'b>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Truth> {
    match value {
        Value::Text { bytes, escaped: false } => Ok(bytes),
        Value::Text { bytes, escaped: true } => {
            buffer.clear();
            buffer.extend(Unescape::new(bytes));
            Ok(buffer)
        }
        Value::Unknown => Err(Truth::Unknown),
        _ => Err(Truth::Error),
    }
}

const fn itoa_buffer() -> [u8; 20] {
    [0; 20]
}

fn written(digits: &mut [u8; 20], mut value: usize) -> &[u8] {
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return digits.get(from..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn letters_are_counted_as_rust_counts_them() {
        for text in ["", "a", "\u{e9}", "\u{1f600}x", "S\u{e3}o Paulo"] {
            for times in [1, 16, 63, 64, 255, 256, 1000] {
                let text = text.repeat(times);
                assert_eq!(letters(text.as_bytes()), text.chars().count(), "{text}");
            }
        }
    }
}
