//! What is kept of a payload in mode `redacted`: its keys and its shape.
//!
//! A text becomes its length, a number of more than six digits the word for one; `true`, `false`, `null` and short numbers stay: they
//! are what shows how a call was meant. What was read by nobody before (a result) may be anything; what is no JSON becomes its length.

/// Digits that a number may have to be kept.
const DIGITS_MAX: usize = 6;
/// Levels that may be open at once. Nothing of what nests more deeply is kept: requests may not, and results that do are rare.
const LEVELS_MAX: u32 = u128::BITS;
/// A longer key is more likely somebody's data than a word of a schema.
const KEY_BYTES_MAX: usize = 64;

/// Appends what may be kept of `json`.
pub fn redact(json: &[u8], out: &mut Vec<u8>) {
    let began = out.len();
    let mut walk = Walk { json, at: 0, out };
    if walk.values().is_none() {
        out.truncate(began);
        length(json.len(), out);
    }
}

/// The member of an object, as written; `None` when it has none of that name.
pub fn member<'j>(json: &'j [u8], name: &[u8]) -> Option<&'j [u8]> {
    let mut walk = Skip { json, at: 0 };
    walk.expect(b'{')?;
    loop {
        let key = walk.text()?;
        walk.expect(b':')?;
        walk.space();
        let from = walk.at;
        walk.value()?;
        if key == name {
            return json.get(from..walk.at);
        }
        walk.expect(b',')?;
    }
}

fn length(bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"<");
    strait_protocol::decimal::append(out, bytes as u64);
    out.extend_from_slice(b">\"");
}

/// Goes through a document once, without recursion and without memory of its own.
struct Walk<'j, 'o> {
    json: &'j [u8],
    at: usize,
    out: &'o mut Vec<u8>,
}

impl Walk<'_, '_> {
    fn values(&mut self) -> Option<()> {
        let mut is_key = false;
        // For each level that is open, the innermost last, whether it is an object.
        let (mut objects, mut levels) = (0u128, 0);
        while let Some(byte) = self.json.get(self.at).copied() {
            self.at += 1;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'{' | b'[' => {
                    levels += 1;
                    if levels > LEVELS_MAX {
                        return None;
                    }
                    objects = objects << 1 | u128::from(byte == b'{');
                    is_key = byte == b'{';
                    self.out.push(byte);
                }
                b'}' | b']' => {
                    if levels == 0 || (objects & 1 == 1) != (byte == b'}') {
                        return None;
                    }
                    (objects, levels) = (objects >> 1, levels - 1);
                    self.out.push(byte);
                }
                b',' => {
                    is_key = levels > 0 && objects & 1 == 1;
                    self.out.push(byte);
                }
                b':' => {
                    is_key = false;
                    self.out.push(byte);
                }
                b'"' => {
                    let from = self.at;
                    self.at = end_of_text(self.json, from)?;
                    let text = self.json.get(from..self.at - 1)?;
                    match is_key && text.len() <= KEY_BYTES_MAX {
                        true => {
                            self.out.push(b'"');
                            self.out.extend_from_slice(text);
                            self.out.push(b'"');
                        }
                        false => length(text.len(), self.out),
                    }
                }
                _ => {
                    let from = self.at - 1;
                    while self.json.get(self.at).is_some_and(|byte| is_of_word(*byte)) {
                        self.at += 1;
                    }
                    self.word(self.json.get(from..self.at)?)?;
                }
            }
        }
        (levels == 0).then_some(())
    }

    /// A number, or one of three words.
    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is_number = word.first().is_some_and(|byte| matches!(byte, b'-' | b'0'..=b'9'));
        if !is_number && !matches!(word, b"true" | b"false" | b"null") {
            return None;
        }
        let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
        match is_number && digits > DIGITS_MAX {
            true => self.out.extend_from_slice(b"\"<number>\""),
            false => self.out.extend_from_slice(word),
        }
        Some(())
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Behind the closing quote of a text whose first byte is at `from`.
fn end_of_text(json: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        match json.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Goes over values without looking into them.
struct Skip<'j> {
    json: &'j [u8],
    at: usize,
}

impl<'j> Skip<'j> {
    fn space(&mut self) {
        while self.json.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.json.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn text(&mut self) -> Option<&'j [u8]> {
        self.expect(b'"')?;
        let from = self.at;
        self.at = end_of_text(self.json, from)?;
        self.json.get(from..self.at - 1)
    }

    fn value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.json.get(self.at)? {
                b'"' => self.at = end_of_text(self.json, self.at + 1)?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                byte if byte.is_ascii_whitespace() => {
                    self.at += 1;
                    continue;
                }
                byte if is_of_word(*byte) => {
                    while self.json.get(self.at).is_some_and(|byte| is_of_word(*byte)) {
                        self.at += 1;
                    }
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(json: &str) -> String {
        let mut out = Vec::new();
        redact(json.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_and_shape_stay_and_texts_become_their_length() {
        let check = |json, kept: &str| assert_eq!(redacted(json), kept, "{json}");
        check(r#"{"to":"ada@example.org","n":12,"ok":true}"#, r#"{"to":"<15>","n":12,"ok":true}"#);
        check(r#"{ "a" : [ "x" , null , {"b":-1.5e2} ] }"#, r#"{"a":["<1>",null,{"b":-1.5e2}]}"#);
        check(r#"{"card":4111111111111111,"pin":123456}"#, r#"{"card":"<number>","pin":123456}"#);
        check(r#""he said \"no\" \\""#, r#""<17>""#);
        check(r#"[[],{},""]"#, r#"[[],{},"<0>"]"#);
        check(&format!("{{\"{}\":1}}", "k".repeat(65)), r#"{"<65>":1}"#);
    }

    #[test]
    fn what_is_no_json_becomes_its_length() {
        for text in ["", "secret", "{", "[1}", "{\"a\":\"b", "nullx", "}", "\"a\\"] {
            let kept = redacted(text);
            assert!(kept.is_empty() || kept == format!("\"<{}>\"", text.len()), "{text}: {kept}");
        }
    }

    #[test]
    fn nothing_of_a_text_is_left_however_deeply_it_lies() {
        let deep = format!("{}\"canary\"{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(!redacted(&deep).contains("canary"));
        let deepest = format!("{}{{\"k\":\"canary\"}}{}", "[".repeat(127), "]".repeat(127));
        assert!(redacted(&deepest).contains("{\"k\":\"<6>\"}"));
    }

    #[test]
    fn members_are_found_behind_anything() {
        let json = br#"{"jsonrpc":"2.0","id":{"result":[1,"}"]},"x":-1.5e3,"result": {"a":[{}]} ,"z":1}"#;
        assert_eq!(member(json, b"result"), Some(&br#"{"a":[{}]}"#[..]));
        assert_eq!(member(json, b"z"), Some(&b"1"[..]));
        assert_eq!((member(json, b"error"), member(b"[]", b"a"), member(b"", b"a")), (None, None, None));
    }
}
