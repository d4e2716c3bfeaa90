//! A signed token as text: three parts, taken apart before anything is believed. Sizes and nesting come first, so that what a
//! stranger sends costs little.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::key::Algorithm;
use crate::limits::{TOKEN_HEAD_BYTES_MAX, TOKEN_NESTING_MAX};

pub struct Jwt {
    pub algorithm: Algorithm,
    pub key: Option<String>,
    /// Lower case, without `application/`.
    pub kind: Option<String>,
    pub claims: Value,
    pub signature: Vec<u8>,
    /// How much of the text is signed.
    pub signed: usize,
}

impl Jwt {
    pub fn parse(token: &[u8]) -> Result<Jwt, &'static str> {
        const MALFORMED: &str = "it is malformed";
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
        let signed = head.len() + 1 + claims.len();
        if head.len() > TOKEN_HEAD_BYTES_MAX {
            return Err("its head is too long");
        }
        let (head, claims, signature) = (object(&decoded(head)?)?, decoded(claims)?, decoded(signature)?);
        let text = |name: &str| head.get(name).and_then(Value::as_str);
        // Whatever must be understood is not: nothing that must be is known here.
        if head.get("crit").is_some() {
            return Err("its `crit` names what is not known here");
        }
        let algorithm = text("alg").and_then(Algorithm::parse).ok_or("its algorithm is not accepted")?;
        let kind = text("typ").map(str::to_ascii_lowercase);
        let kind = kind.map(|kind| kind.strip_prefix("application/").map(str::to_owned).unwrap_or(kind));
        let key = text("kid").map(str::to_owned);
        Ok(Jwt { algorithm, key, kind, claims: object(&claims)?, signature, signed })
    }
}

/// The object that a text is.
pub fn object(text: &[u8]) -> Result<Value, &'static str> {
    if nesting(text) > TOKEN_NESTING_MAX {
        return Err("it is nested too deeply");
    }
    let value: Value = serde_json::from_slice(text).map_err(|_| "it holds something else than JSON")?;
    if value.is_object() { Ok(value) } else { Err("it holds something else than an object") }
}

/// How deep brackets are, outside of strings.
pub fn nesting(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(head: &str, claims: &str) -> Vec<u8> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.AAAA", part(head), part(claims)).into_bytes()
    }

    #[test]
    fn what_is_no_signed_token_is_refused_before_anything_is_verified() {
        let refused = |token: &[u8]| Jwt::parse(token).err();
        assert_eq!(refused(&token(r#"{"alg":"RS256"}"#, "{}")), None);
        for (head, claims, why) in [
            (r#"{"alg":"none"}"#, "{}", "its algorithm is not accepted"),
            (r#"{"alg":"None"}"#, "{}", "its algorithm is not accepted"),
            (r#"{"alg":"HS256"}"#, "{}", "its algorithm is not accepted"),
            (r#"{}"#, "{}", "its algorithm is not accepted"),
            (
                r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
                "{}",
                "its `crit` names what is not known here",
            ),
            (r#"{"alg":"RS256"}"#, "[]", "it holds something else than an object"),
            (r#"{"alg":"RS256"}"#, "{", "it holds something else than JSON"),
        ] {
            assert_eq!(refused(&token(head, claims)), Some(why), "{head} {claims}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(4_000), "]".repeat(4_000));
        assert_eq!(refused(&token(r#"{"alg":"RS256"}"#, &deep)), Some("it is nested too deeply"));
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(TOKEN_HEAD_BYTES_MAX));
        assert_eq!(refused(&token(&long, "{}")), Some("its head is too long"));
        for malformed in ["", ".", "..", "a.b", "eyJ.eyJ.eyJ.eyJ", "e\u{e9}.e.e"] {
            assert!(refused(malformed.as_bytes()).is_some(), "{malformed}");
        }
    }

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        assert_eq!(nesting(br#"{"a":"[[[[\"[[","b":[1]}"#), 2);
    }
}
