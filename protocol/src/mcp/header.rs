//! The headers that mirror a body (2026-07-28): how a value is written so that any string survives an HTTP header,
//! how it is read back, and whether it says what the body says.
//!
//! The decision: comparison decodes the header and never encodes the body, because one value may be written in more
//! than one way, and it needs no buffer unless the header is encoded. HOT.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::decimal;
use crate::jsonrpc::unescape;

pub const PROTOCOL_VERSION: &str = "MCP-Protocol-Version";
pub const METHOD: &str = "Mcp-Method";
pub const NAME: &str = "Mcp-Name";
pub const SESSION_ID: &str = "Mcp-Session-Id";
/// Followed by the word of the tool's `x-mcp-header`.
pub const PARAMETER_PREFIX: &str = "Mcp-Param-";

const OPEN: &[u8] = b"=?base64?";
const CLOSE: &[u8] = b"?=";

/// The header has the markers of an encoded value, but not base64 between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncodingInvalid;

impl EncodingInvalid {
    pub const fn label(self) -> &'static str {
        "header_encoding_invalid"
    }

    pub const fn message(self) -> &'static str {
        "expected padded standard base64 between `=?base64?` and `?=`, found something else"
    }
}

impl std::fmt::Display for EncodingInvalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for EncodingInvalid {}

/// Appends `value` as a header value: as it is when it is printable ASCII that no reader would trim or take for an
/// encoded one, else in base64 between markers.
pub fn encode(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        out.extend_from_slice(value);
        return;
    }
    out.extend_from_slice(OPEN);
    let start = out.len();
    out.resize(start + value.len().div_ceil(3) * 4, b'=');
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(value, room);
    debug_assert!(written.is_ok(), "four bytes for every three were reserved");
    out.extend_from_slice(CLOSE);
}

/// Appends an argument, given as raw JSON, as a `Mcp-Param-*` header value: a string as of [`encode`], an integer in
/// decimal however it is written, a boolean. `false` for anything else, which has no form in a header.
pub fn encode_argument(out: &mut Vec<u8>, raw: &[u8], scratch: &mut Vec<u8>) -> bool {
    match raw {
        b"true" | b"false" => out.extend_from_slice(raw),
        [b'"', inner @ .., b'"'] => {
            scratch.clear();
            if !unescape(inner, scratch) {
                return false;
            }
            encode(out, scratch);
        }
        _ => match integer(raw).or_else(|| integer_with_exponent(raw)) {
            Some(value) => decimal::append_signed(out, value),
            None => return false,
        },
    }
    true
}

/// What the header says, decoded into `scratch` when it is encoded. White space around it does not count; a value
/// with only one of the markers is literal.
pub fn decode<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], EncodingInvalid> {
    let value = value.trim_ascii();
    let Some(inner) = value.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)) else {
        return Ok(value);
    };
    scratch.clear();
    STANDARD.decode_vec(inner, scratch).map_err(|_| EncodingInvalid)?;
    match std::str::from_utf8(scratch) {
        Ok(_) => Ok(scratch),
        Err(_) => Err(EncodingInvalid),
    }
}

/// Whether a header says the same as a string of the body (unescaped).
pub fn equals_text(header: &[u8], body: &[u8], scratch: &mut Vec<u8>) -> Result<bool, EncodingInvalid> {
    Ok(decode(header, scratch)? == body)
}

/// Whether a `Mcp-Param-*` header says the same as a scalar of the body, given as raw JSON. Integers compare by
/// value, so `42.0` equals `42`; anything but an integer or a boolean is not comparable and unequal. Strings go
/// through [`equals_text`].
pub fn equals_scalar(header: &[u8], raw: &[u8], scratch: &mut Vec<u8>) -> Result<bool, EncodingInvalid> {
    let text = decode(header, scratch)?;
    Ok(match raw {
        b"true" | b"false" => text == raw,
        _ => integer(raw).is_some_and(|value| integer(text) == Some(value)),
    })
}

/// An integer, also when written with a fraction of zeros.
fn integer(text: &[u8]) -> Option<i64> {
    let point = memchr::memchr(b'.', text);
    let (whole, fraction) = match point {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, &b"0"[..]),
    };
    let zeros = !fraction.is_empty() && fraction.iter().all(|byte| *byte == b'0');
    zeros.then(|| decimal::parse_signed(whole)).flatten()
}

/// `1e2` is an integer too, as far as every reader of JSON has the same one.
fn integer_with_exponent(raw: &[u8]) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    let value: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
    (value.fract() == 0.0 && value.abs() <= EXACT_MAX).then_some(value as i64)
}

fn is_plain(value: &[u8]) -> bool {
    let printable = value.iter().all(|byte| (0x20..=0x7e).contains(byte));
    let trimmed = value.first() != Some(&b' ') && value.last() != Some(&b' ');
    printable && trimmed && !(value.starts_with(OPEN) && value.ends_with(CLOSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_a_header() {
        let cases = [
            ("git_log", "git_log"),
            ("", ""),
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("a\tb", "=?base64?YQli?="),
            ("caf\u{e9}", "=?base64?Y2Fmw6k=?="),
            ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?="),
            ("=?base64?", "=?base64?"),
        ];
        for (text, header) in cases {
            let (mut out, mut scratch) = (Vec::new(), Vec::new());
            encode(&mut out, text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), header);
            assert_eq!(decode(&out, &mut scratch), Ok(text.as_bytes()));
        }
    }

    #[test]
    fn a_broken_encoding_is_refused_and_half_a_marker_is_literal() {
        let mut scratch = Vec::new();
        for header in ["=?base64?YQ?=", "=?base64?Y Q==?=", "=?base64?_-==?=", "=?base64?/w==?="] {
            assert_eq!(decode(header.as_bytes(), &mut scratch), Err(EncodingInvalid), "{header}");
        }
        for header in ["=?BASE64?YQ==?=", "=?base64?YQ==", "YQ==?="] {
            assert_eq!(decode(header.as_bytes(), &mut scratch), Ok(header.as_bytes()), "{header}");
        }
    }

    #[test]
    fn arguments_are_written_as_headers_and_compare_as_equal() {
        let cases = [
            (r#""eu""#, Some("eu")),
            (r#""Z\u00fcrich""#, Some("=?base64?WsO8cmljaA==?=")),
            (r#"" a\n""#, Some("=?base64?IGEK?=")),
            (r#""=?base64?YQ==?=""#, Some("=?base64?PT9iYXNlNjQ/WVE9PT89?=")),
            (r#""""#, Some("")),
            ("42", Some("42")),
            ("-42.00", Some("-42")),
            ("1E2", Some("100")),
            ("9223372036854775807", Some("9223372036854775807")),
            ("true", Some("true")),
            ("1.5", None),
            ("1e300", None),
            ("null", None),
            ("[1]", None),
            (r#"{"a":1}"#, None),
        ];
        for (raw, header) in cases {
            let (mut out, mut scratch) = (Vec::new(), Vec::new());
            let written = encode_argument(&mut out, raw.as_bytes(), &mut scratch);
            assert_eq!(
                written.then(|| String::from_utf8_lossy(&out).into_owned()).as_deref(),
                header,
                "{raw}"
            );
        }
    }

    #[test]
    fn headers_compare_by_meaning() {
        let mut scratch = Vec::new();
        assert_eq!(equals_text(b" name\t", b"name", &mut scratch), Ok(true));
        assert_eq!(equals_text(b"Name", b"name", &mut scratch), Ok(false));
        let cases = [
            ("42", "42", true),
            ("42.0", "42", true),
            ("42", "42.00", true),
            ("42.5", "42", false),
            ("-0", "0", true),
            ("true", "true", true),
            ("True", "true", false),
            ("1e2", "100", false),
            ("null", "null", false),
        ];
        for (header, raw, equal) in cases {
            assert_eq!(
                equals_scalar(header.as_bytes(), raw.as_bytes(), &mut scratch),
                Ok(equal),
                "{header} {raw}"
            );
        }
    }
}
