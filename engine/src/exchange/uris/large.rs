//! URIs in an answer too large to hold, as it streams by.
//!
//! The decision: no structure is kept. A quote inside a string stands behind a backslash, so `"uri"` and a colon are a key
//! wherever they are found, and its string is shown as a client is shown it. What may be half of that at the end of a
//! piece waits for the next one.

use strait_protocol::jsonrpc::{append_string, unescape};

use crate::limits::HALF_URI_BYTES_MAX;

const KEY: &[u8] = br#""uri""#;

/// What is to be said of a piece behind what was kept of those before it; `kept` is what waits for the next.
pub fn piece(kept: &mut Vec<u8>, bytes: &[u8], last: bool, show: &dyn Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut text = std::mem::take(kept);
    text.extend_from_slice(bytes);
    let (mut out, mut done) = (Vec::with_capacity(text.len()), 0);
    let mut from = 0;
    while let Some(at) = find_key(text.get(from..).unwrap_or_default()) {
        let key = from + at;
        from = key + KEY.len();
        if key > 0 && text.get(key - 1) == Some(&b'\\') {
            continue;
        }
        match value(&text, from) {
            Value::Text { start, end } => {
                let inner = text.get(start + 1..end - 1).unwrap_or_default();
                let mut said = Vec::new();
                let shown = unescape(inner, &mut said).then(|| String::from_utf8(said).ok()).flatten();
                if let Some(shown) = shown.and_then(|said| show(&said)) {
                    out.extend_from_slice(text.get(done..start).unwrap_or_default());
                    append_string(&mut out, shown.as_bytes());
                    done = end;
                }
                from = end;
            }
            Value::Other => {}
            Value::Half if last || text.len() - key > HALF_URI_BYTES_MAX => {}
            Value::Half => {
                out.extend_from_slice(text.get(done..key).unwrap_or_default());
                *kept = text.split_off(key);
                return out;
            }
        }
    }
    let half = if last { 0 } else { half_key(text.get(from..).unwrap_or_default()) };
    out.extend_from_slice(text.get(done..text.len() - half).unwrap_or_default());
    *kept = text.split_off(text.len() - half);
    out
}

fn find_key(text: &[u8]) -> Option<usize> {
    text.windows(KEY.len()).position(|part| part == KEY)
}

enum Value {
    /// With its quotes.
    Text { start: usize, end: usize },
    /// Not a string, or not the value of a key.
    Other,
    /// It goes on in the next piece.
    Half,
}

fn value(text: &[u8], after_key: usize) -> Value {
    let skip = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let colon = skip(after_key);
    let start = skip(colon + 1);
    match (text.get(colon), text.get(start)) {
        (None, _) | (Some(b':'), None) => Value::Half,
        (Some(b':'), Some(b'"')) => {
            let mut at = start + 1;
            loop {
                match text.get(at) {
                    None => return Value::Half,
                    Some(b'\\') => at += 2,
                    Some(b'"') => return Value::Text { start, end: at + 1 },
                    Some(_) => at += 1,
                }
            }
        }
        _ => Value::Other,
    }
}

/// How many bytes at the end may be the beginning of a key, with the backslash that may stand before it.
fn half_key(text: &[u8]) -> usize {
    (1..KEY.len()).rev().find(|len| text.ends_with(KEY.get(..*len).unwrap_or_default())).map_or_else(
        || usize::from(text.ends_with(b"\\")),
        |len| len + usize::from(text.get(..text.len() - len).is_some_and(|rest| rest.ends_with(b"\\"))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_the_same_however_it_is_cut() {
        let long = "x".repeat(HALF_URI_BYTES_MAX + 10);
        let text = format!(
            r#"{{"contents":[{{"uri" : "note:\/\/a","text":"\"uri\":\"note://a\"","x\"uri":"note://a"}},{{"uri":"note://b"}},"uri",
            {{"uri":7,"a":["uri"],"uri":"note://a"}},{{"uri":"{long}"}},{{"uri":"note://a"}}]}}"#
        );
        let expected = text
            .replacen(r#""uri" : "note:\/\/a""#, r#""uri" : "mcp+b://x""#, 1)
            .replace(r#"["uri"],"uri":"note://a""#, r#"["uri"],"uri":"mcp+b://x""#)
            .replace(r#"{"uri":"note://a"}]"#, r#"{"uri":"mcp+b://x"}]"#);
        let show = |uri: &str| (uri == "note://a").then(|| "mcp+b://x".to_owned());
        for size in (1..200).chain([text.len()]) {
            let (mut kept, mut out) = (Vec::new(), Vec::new());
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            for (n, bytes) in pieces.iter().enumerate() {
                out.extend(piece(&mut kept, bytes, n + 1 == pieces.len(), &show));
                assert!(kept.len() <= HALF_URI_BYTES_MAX + size);
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
            assert!(kept.is_empty());
        }
    }
}
