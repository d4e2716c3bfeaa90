//! Why simd-json refused, in our words and at the right byte. Cold: only a message that is refused pays for it.

use simd_json::{Error, ErrorType};

use super::text::skip_blanks;
use super::{DecodeCause, DecodeFault, Scanner};

#[cold]
pub(super) fn diagnose(body: &[u8], error: &Error) -> DecodeFault {
    let (cause, at) = locate(body, error);
    DecodeFault { cause, at: at.min(body.len()) as u32, id: None }
}

fn locate(body: &[u8], error: &Error) -> (DecodeCause, usize) {
    if skip_blanks(body, 0) == body.len() {
        return (DecodeCause::Empty, body.len());
    }
    if let Err(invalid) = std::str::from_utf8(body) {
        return (DecodeCause::Utf8Invalid, invalid.valid_up_to());
    }
    let at = error.index();
    match error.error() {
        ErrorType::InputTooLarge => (DecodeCause::TooLarge, at),
        ErrorType::DepthLimitExceeded => (DecodeCause::TooDeep, at),
        ErrorType::InvalidNumber => match number_around(body, at) {
            Some(start) => (DecodeCause::NumberOutOfRange, start),
            None => (DecodeCause::SyntaxInvalid, at),
        },
        ErrorType::InvalidUnicodeCodepoint | ErrorType::InvalidUtf8 if is_surrogate(body, at) => {
            (DecodeCause::SurrogateUnpaired, at)
        }
        ErrorType::TrailingData => (DecodeCause::TrailingBytes, at),
        // The first stage reports control characters and unterminated strings without saying where.
        ErrorType::Syntax | ErrorType::Eof if at == 0 => (DecodeCause::SyntaxInvalid, first_bad_byte(body)),
        // The second stage has one word for "nothing may follow" and "no value begins like this".
        ErrorType::InternalError if value_ends_before(body, at) => (DecodeCause::TrailingBytes, at),
        _ => (DecodeCause::SyntaxInvalid, at),
    }
}

/// The start of the well-formed number that `at` lies in or ends; None when it isn't well-formed.
fn number_around(body: &[u8], at: usize) -> Option<usize> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let before = body.get(..at)?.iter().rev().take_while(|byte| is_part(byte)).count();
    let start = at - before;
    let token = body.get(start..)?;
    let length = token.iter().take_while(|byte| is_part(byte)).count();
    let digits = |from: usize| {
        token.get(from..length).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let sign = usize::from(token.first() == Some(&b'-'));
    let whole = digits(sign);
    if whole == 0 || (whole > 1 && token.get(sign) == Some(&b'0')) {
        return None;
    }
    let mut end = sign + whole;
    if token.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        end += if fraction == 0 { return None } else { 1 + fraction };
    }
    if matches!(token.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(token.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + signed);
        end += if exponent == 0 { return None } else { 1 + signed + exponent };
    }
    (end == length).then_some(start)
}

fn is_surrogate(body: &[u8], at: usize) -> bool {
    let escape = |from: usize| {
        let digits = body.get(from..)?.strip_prefix(b"\\u")?.get(..4)?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)?))
    };
    // The offset points at the backslash or at the `u`.
    let unit: Option<u32> = escape(at).or_else(|| escape(at.checked_sub(1)?));
    unit.is_some_and(|unit| (0xd800..=0xdfff).contains(&unit))
}

fn first_bad_byte(body: &[u8]) -> usize {
    let mut inside = false;
    let mut escaped = false;
    for (at, byte) in body.iter().enumerate() {
        match byte {
            0..=0x1f if inside => return at,
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ => {}
        }
    }
    body.len()
}

/// Whether a complete object or array ends before `at`.
fn value_ends_before(body: &[u8], at: usize) -> bool {
    let value = body.get(..at).unwrap_or_default();
    let mut scanner = Scanner::new();
    match value.get(skip_blanks(value, 0)) {
        Some(b'{') => scanner.feed(value).is_ok() && scanner.is_complete(),
        Some(b'[') => super::members::value_end(value, skip_blanks(value, 0)).is_some(),
        _ => false,
    }
}
