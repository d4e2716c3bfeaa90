//! Text that nobody sees: characters without a shape, and those that turn the text around them. A model reads them all the
//! same, and whole sentences can be written in the invisible letters of U+E0000.

use super::{At, Name, Offered, Part, Subject, Suspicion, called};
use crate::diagnostic::codes;
use crate::lock::hidden::is_hidden;

/// Invisible letters that are spelled out.
const SPELLED_CHARS_MAX: usize = 80;

pub fn run(all: &[Offered<'_>], names: &[Name<'_>], found: &mut Vec<Suspicion>) {
    for name in names {
        if let Some(message) = told(name.text) {
            let message = format!("the name of {} {message}", called(all, name.subject));
            found.push(Suspicion {
                code: &codes::HIDDEN_TEXT,
                subject: name.subject,
                at: At::Name,
                other: None,
                message,
            });
            continue;
        }
        let Part::Item(kind, at) = name.subject.part else { continue };
        let item = all.get(name.subject.upstream).and_then(|offered| offered.lists.of(kind).get(at));
        let text = item.map(|item| unescaped(&item.json)).unwrap_or_default();
        tell(all, name.subject, &text, found);
    }
    for (upstream, offered) in all.iter().enumerate() {
        if let Some(text) = &offered.lists.instructions {
            tell(all, Subject { upstream, part: Part::Instructions }, text, found);
        }
    }
}

fn tell(all: &[Offered<'_>], subject: Subject, text: &str, found: &mut Vec<Suspicion>) {
    if let Some(message) = told(text) {
        let message = format!("{} {message}", called(all, subject));
        let (code, at) = (&codes::HIDDEN_TEXT, At::FirstHidden);
        found.push(Suspicion { code, subject, at, other: None, message });
    }
}

/// What is hidden in a text, in words.
fn told(text: &str) -> Option<String> {
    let hidden = hidden_in(text);
    let first = *hidden.first()?;
    let count = match hidden.len() {
        1 => "a character".to_owned(),
        count => format!("{count} characters"),
    };
    let mut message = format!("holds {count} that nobody sees, first U+{:04X}", u32::from(first));
    let spelled: String = hidden.iter().filter_map(|c| letter(*c)).take(SPELLED_CHARS_MAX).collect();
    if !spelled.is_empty() {
        message.push_str(&format!("; they spell `{spelled}`"));
    }
    Some(message)
}

/// Hidden characters, but for those that honest texts need: in emoji, and joiners between letters of scripts that join.
fn hidden_in(text: &str) -> Vec<char> {
    let mut found = Vec::new();
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let beside_others =
            |other: Option<char>| other.is_some_and(|c| !c.is_ascii() && !is_hidden(c) || c == '\u{fe0f}');
        let is_needed = match c {
            '\u{fe0e}' | '\u{fe0f}' => before.is_some_and(|c: char| !is_hidden(c)),
            '\u{200c}' | '\u{200d}' => beside_others(before) && beside_others(chars.peek().copied()),
            _ => false,
        };
        if is_hidden(c) && !is_needed {
            found.push(c);
        }
        before = Some(c);
    }
    found
}

/// The ASCII letter behind an invisible one.
fn letter(c: char) -> Option<char> {
    let code = u32::from(c).checked_sub(0xe0000)?;
    (0x20..0x7f).contains(&code).then(|| char::from_u32(code))?
}

/// JSON with its strings as they read.
fn unescaped(json: &str) -> String {
    if !json.contains("\\u") {
        return json.to_owned();
    }
    let mut out = String::new();
    texts(json, &mut |text| out.push_str(text));
    out
}

/// Every string of a JSON text, keys too.
pub fn texts(json: &str, tell: &mut impl FnMut(&str)) {
    fn walk(value: &serde_json::Value, tell: &mut impl FnMut(&str)) {
        match value {
            serde_json::Value::String(text) => tell(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, tell)),
            serde_json::Value::Object(members) => members.iter().for_each(|(key, value)| {
                tell(key);
                walk(value, tell);
            }),
            _ => {}
        }
    }
    // Parsed within serde_json's own limit of depth.
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(json) {
        walk(&value, tell);
    }
}
