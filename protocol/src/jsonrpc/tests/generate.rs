//! Random JSON *text*: key order, white space, and the way each character is written are all free, which is what a
//! span must survive.

use proptest::prelude::*;

/// White space between tokens.
pub fn blank() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

/// A string in its quotes, some characters escaped although they need not be.
pub fn quoted(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (text, any::<u64>()).prop_map(|(text, escapes)| quote(&text, escapes))
}

/// `text` quoted; the bits of `escapes` say which characters are written as `\u`.
pub fn quote(text: &str, escapes: u64) -> String {
    let mut out = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        let forced = matches!(character, '"' | '\\' | '\0'..='\u{1f}');
        if forced || (escapes >> (index % 64)) & 7 == 7 {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(character);
        }
    }
    out + "\""
}

pub fn scalar() -> BoxedStrategy<String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        any::<i64>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9])?",
        quoted("[a-z{}\\[\\]:,\"\\\\é😀\n]{0,6}"),
    ]
    .boxed()
}

/// Any value. Boxed, as all strategies here that hold others are: unboxed they are kilobytes of test stack.
pub fn value() -> BoxedStrategy<String> {
    scalar()
        .prop_recursive(4, 24, 4, |inner| {
            let key = quoted("[a-z\"\\\\é]{0,4}");
            prop_oneof![
                (proptest::collection::vec((inner.clone(), blank()), 0..4), blank()).prop_map(
                    |(items, inside)| {
                        let items: Vec<_> =
                            items.into_iter().map(|(item, blank)| format!("{blank}{item}{blank}")).collect();
                        if items.is_empty() {
                            format!("[{inside}]")
                        } else {
                            format!("[{}]", items.join(","))
                        }
                    }
                ),
                (proptest::collection::vec((key, inner, blank()), 0..4), blank())
                    .prop_map(|(members, inside)| { object(members, &inside,) }),
            ]
        })
        .boxed()
}

/// An object from members given as quoted key, value, and the white space around both.
pub fn object(members: Vec<(String, String, String)>, inside: &str) -> String {
    if members.is_empty() {
        return format!("{{{inside}}}");
    }
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value, blank)| format!("{blank}{key}{blank}:{blank}{value}{blank}"))
        .collect();
    format!("{{{}}}", members.join(","))
}
