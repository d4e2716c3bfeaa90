//! Why a message is not JSON, in our words and at the right byte. Cold: only a message that is refused pays for it.
//!
//! The decision: simd-json only says *that* it refuses (where and why differs between its implementations for each
//! processor); this reads the message again, plainly, and names the first thing wrong. When it finds nothing wrong
//! the message stays refused, at the byte simd-json pointed to.

use super::text::skip_blanks;
use super::{DecodeCause, DecodeFault};
use crate::limits::DEPTH_MAX;

#[cold]
pub(super) fn diagnose(body: &[u8], error: &simd_json::Error) -> DecodeFault {
    let found = match std::str::from_utf8(body) {
        Err(invalid) => Err((DecodeCause::Utf8Invalid, invalid.valid_up_to())),
        Ok(text) => examine(text),
    };
    let (cause, at) = found.err().unwrap_or((DecodeCause::SyntaxInvalid, error.index()));
    DecodeFault { cause, at: at.min(body.len()) as u32, id: None }
}

type Finding = (DecodeCause, usize);

enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

fn examine(text: &str) -> Result<(), Finding> {
    let body = text.as_bytes();
    let mut expect = Expect::Value;
    let mut depth = 0;
    // One bit per level: set for an object.
    let mut objects = 0u64;
    let mut at = skip_blanks(body, 0);
    if at == body.len() {
        return Err((DecodeCause::Empty, at));
    }
    loop {
        let in_object = objects & 1 == 1;
        match (&expect, body.get(at)) {
            (Expect::Value | Expect::ValueOrEnd, Some(open @ (b'{' | b'['))) => {
                if depth == DEPTH_MAX {
                    return Err((DecodeCause::TooDeep, at));
                }
                depth += 1;
                objects = objects << 1 | u64::from(*open == b'{');
                expect = if *open == b'{' { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                at += 1;
            }
            (Expect::Key | Expect::KeyOrEnd, Some(b'"')) => {
                let colon = skip_blanks(body, string(body, at)?);
                if body.get(colon) != Some(&b':') {
                    return Err((DecodeCause::SyntaxInvalid, colon));
                }
                at = colon + 1;
                expect = Expect::Value;
            }
            (Expect::CommaOrEnd, Some(b',')) => {
                at += 1;
                expect = if in_object { Expect::Key } else { Expect::Value };
            }
            (Expect::KeyOrEnd, Some(b'}')) | (Expect::ValueOrEnd, Some(b']')) => {
                (at, depth, objects, expect) = (at + 1, depth - 1, objects >> 1, Expect::CommaOrEnd);
            }
            (Expect::CommaOrEnd, Some(close @ (b'}' | b']'))) if in_object == (*close == b'}') => {
                (at, depth, objects) = (at + 1, depth - 1, objects >> 1);
            }
            (Expect::Value | Expect::ValueOrEnd, Some(_)) => {
                at = scalar(text, at)?;
                expect = Expect::CommaOrEnd;
            }
            _ => return Err((DecodeCause::SyntaxInvalid, at)),
        }
        at = skip_blanks(body, at);
        if depth == 0 {
            return if at == body.len() { Ok(()) } else { Err((DecodeCause::TrailingBytes, at)) };
        }
    }
}

/// The end of the scalar at `at`.
fn scalar(text: &str, at: usize) -> Result<usize, Finding> {
    let body = text.as_bytes();
    let rest = body.get(at..).unwrap_or_default();
    match rest.first() {
        Some(b'"') => string(body, at),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        _ => {
            let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
            word.map(|word| at + word.len()).ok_or((DecodeCause::SyntaxInvalid, at))
        }
    }
}

/// The end of the string whose opening quote is at `at`.
fn string(body: &[u8], at: usize) -> Result<usize, Finding> {
    let mut at = at + 1;
    loop {
        at += match body.get(at) {
            None | Some(0..=0x1f) => return Err((DecodeCause::SyntaxInvalid, at)),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => escape(body, at)?,
            Some(_) => 1,
        };
    }
}

/// The bytes that the escape at `at` takes up, both halves of a pair together.
fn escape(body: &[u8], at: usize) -> Result<usize, Finding> {
    match body.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match (unit(body, at), unit(body, at + 6)) {
            (None, _) => Err((DecodeCause::SyntaxInvalid, at)),
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => Ok(12),
            (Some(0xd800..=0xdfff), _) => Err((DecodeCause::SurrogateUnpaired, at)),
            (Some(_), _) => Ok(6),
        },
        _ => Err((DecodeCause::SyntaxInvalid, at)),
    }
}

/// The UTF-16 unit that `\uXXXX` at `at` says.
fn unit(body: &[u8], at: usize) -> Option<u32> {
    let digits = body.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)?))
}

/// The end of the number at `at`.
fn number(text: &str, start: usize) -> Result<usize, Finding> {
    let body = text.as_bytes();
    let digits_from = |from: usize| {
        let rest = body.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let some_digits_from = |from: usize| match digits_from(from) {
        end if end == from => Err((DecodeCause::SyntaxInvalid, from)),
        end => Ok(end),
    };
    let whole = start + usize::from(body.get(start) == Some(&b'-'));
    let mut end = if body.get(whole) == Some(&b'0') { whole + 1 } else { some_digits_from(whole)? };
    let integer = !matches!(body.get(end), Some(b'.' | b'e' | b'E'));
    if body.get(end) == Some(&b'.') {
        end = some_digits_from(end + 1)?;
    }
    if matches!(body.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(body.get(end + 1), Some(b'+' | b'-')));
        end = some_digits_from(end + 1 + sign)?;
    }
    let written = text.get(start..end).unwrap_or_default();
    let fits = match integer {
        true => written.parse::<u64>().is_ok() || written.parse::<i64>().is_ok(),
        false => written.parse::<f64>().is_ok_and(f64::is_finite),
    };
    if fits { Ok(end) } else { Err((DecodeCause::NumberOutOfRange, start)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::examine;
    use crate::jsonrpc::Decoder;
    use crate::mcp::codes::PARSE_ERROR;

    proptest! {
        /// simd-json and the second reading agree on what is JSON, so a fault never lacks its place.
        #[test]
        fn the_second_reading_agrees_with_the_first(text in "[{}\\[\\]:,\"\\\\u0-9dDcCeE+. a\n-]{0,24}") {
            let refused = Decoder::new().decode(text.as_bytes()).is_err_and(|fault| fault.code() == PARSE_ERROR);
            prop_assert_eq!(refused, examine(&text).is_err(), "{}", text);
        }

        #[test]
        fn numbers_are_refused_by_both(text in "-?[0-9]{1,21}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?") {
            let refused = Decoder::new().decode(text.as_bytes()).is_err_and(|fault| fault.code() == PARSE_ERROR);
            prop_assert_eq!(refused, examine(&text).is_err(), "{}", text);
        }
    }
}
