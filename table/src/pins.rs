//! When two definitions are the same: what a pin in a lock file holds on to.
//!
//! The decision: a pin is the hash of what a definition *says*. White space, the order of keys and the way a string
//! is escaped say nothing, and servers change them between two starts; numbers count as they are written, since
//! 1.0 and 1 are not the same to every reader. A key that is written twice counts twice, in its order.

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Members, append_string, unescape};
use strait_protocol::limits::DEPTH_MAX;

/// The blake3 of a definition in its canonical form. `None`: it is not JSON, or nested more than
/// [`DEPTH_MAX`] deep, and cannot be pinned.
pub fn hash(json: &str) -> Option<[u8; 32]> {
    // Into values: walking alone takes numbers and words as they come.
    serde_json::from_str::<serde_json::Value>(json).ok()?;
    let (json, mut out) = (json.trim().as_bytes(), Vec::with_capacity(json.len()));
    canonical(json, Span::between(0, json.len()), DEPTH_MAX, &mut out)?;
    Some(*blake3::hash(&out).as_bytes())
}

/// Of a text that is no JSON.
pub fn hash_of_text(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

fn canonical(json: &[u8], value: Span, depth_left: usize, out: &mut Vec<u8>) -> Option<()> {
    match value.of(json).first()? {
        b'{' => {
            let below = depth_left.checked_sub(1)?;
            let mut members = Vec::new();
            for member in Members::of(json, value) {
                let member = member.ok()?;
                members.push((member.key_text(json), member.value));
            }
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            out.push(b'{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                append_string(out, &key);
                out.push(b':');
                canonical(json, value, below, out)?;
            }
            out.push(b'}');
        }
        b'[' => {
            let below = depth_left.checked_sub(1)?;
            out.push(b'[');
            for (index, element) in Elements::of(json, value).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(json, element.ok()?, below, out)?;
            }
            out.push(b']');
        }
        b'"' => {
            let inner = value.of(json).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            let mut text = Vec::with_capacity(inner.len());
            unescape(inner, &mut text).then_some(())?;
            append_string(out, &text);
        }
        _ => out.extend_from_slice(value.of(json)),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[track_caller]
    fn same(one: &str, other: &str, expected: bool) {
        assert_eq!(hash(one).unwrap() == hash(other).unwrap(), expected, "{one} and {other}");
    }

    #[test]
    fn what_says_the_same_has_one_hash() {
        same(r#"{"a":1,"b":["x"]}"#, "\n{ \"b\" : [ \"\\u0078\" ],\t\"a\":1 } ", true);
        same(r#"{"a\u0062":"\/"}"#, r#"{"ab":"/"}"#, true);
        same(r#"{"a":1}"#, r#"{"a":1.0}"#, false);
        same(r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, false);
        same(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, false);
        same(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#, false);
        same(r#"{"a":"é"}"#, r#"{"a":"e\u0301"}"#, false);
        same(r#"{"a":"[1]"}"#, r#"{"a":[1]}"#, false);
    }

    #[test]
    fn what_is_no_json_or_too_deep_has_none() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(hash(&nested(64)).is_some());
        for json in
            ["", "{", "{\"a\":tru}", "{\"a\":\"\\ud800\"}", "{} {}", "01", &nested(65), &nested(100_000)]
        {
            assert!(hash(json).is_none(), "{json}");
        }
    }
}
