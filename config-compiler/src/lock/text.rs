//! JSON laid out for people: tokens as they were written, white space ours; characters that nobody sees are escaped, so
//! that a review sees them.

use super::hidden::is_hidden;

/// `json`, which is valid and compact, over lines that begin `indent` deep; the first line continues one already begun.
pub fn laid_out(json: &str, indent: usize) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = indent;
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '"' => string(rest),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(token);
        match first {
            '{' | '[' if after.starts_with(['}', ']']) => {
                out.push_str(token);
                out.push_str(&after[..1]);
                rest = &after[1..];
                continue;
            }
            '{' | '[' => {
                out.push_str(token);
                depth += 1;
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push_str(token);
            }
            ',' => {
                out.push_str(token);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => seen(&mut out, token),
            _ => out.push_str(token),
        }
        rest = after;
    }
    out
}

pub fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

fn seen(out: &mut String, token: &str) {
    for c in token.chars() {
        if !is_hidden(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

/// Bytes of the string that `text` begins with, quotes and all.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().enumerate().skip(1).find(|(_, byte)| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => *byte == b'"',
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::laid_out;

    #[test]
    fn tokens_stay_and_lines_are_ours() {
        let json = r#"{"a":"\u0078, {\"}","b":[1e2,{}],"c":[],"d":{"é":null}}"#;
        let expected = "{\n  \"a\": \"\\u0078, {\\\"}\",\n  \"b\": [\n    1e2,\n    {}\n  ],\n  \"c\": [],\n  \"d\": {\n    \"é\": null\n  }\n}";
        assert_eq!(laid_out(json, 0), expected);
        assert_eq!(super::super::compact(expected), json);
        assert_eq!(laid_out("\"a\u{202e}\u{e0041}\"", 0), r#""a\u202e\udb40\udc41""#);
    }
}
