//! Records as people look for them and read them.
//!
//! The decision: what a record says was said by callers and servers, and may be made to look like something else on a terminal:
//! whatever moves a cursor or turns the direction of writing is shown as its code point.

use serde_json::Value;

use crate::moment;

/// Which records; what is not said is not asked for. `*` at the end of a text stands for any end.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub principal: Option<String>,
    /// A tool, a prompt or a resource.
    pub tool: Option<String>,
    pub verdict: Option<String>,
    pub kind: Option<String>,
    pub since_ms: Option<u64>,
    /// Not itself.
    pub until_ms: Option<u64>,
}

impl Filter {
    pub fn takes(&self, record: &Value) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| match wanted {
            None => true,
            Some(wanted) => found.is_some_and(|found| match wanted.strip_suffix('*') {
                Some(begin) => found.starts_with(begin),
                None => found == wanted,
            }),
        };
        let time_ms = text(record, "ts").and_then(moment::parse);
        is(&self.principal, text(record, "principal"))
            && is(&self.tool, item(record))
            && is(&self.verdict, text(record, "verdict"))
            && is(&self.kind, text(record, "kind"))
            && self.since_ms.is_none_or(|since| time_ms.is_some_and(|time| time >= since))
            && self.until_ms.is_none_or(|until| time_ms.is_some_and(|time| time < until))
    }
}

/// A member that is a text.
pub fn text<'r>(record: &'r Value, name: &str) -> Option<&'r str> {
    record.get(name)?.as_str()
}

/// What was called.
pub fn item(record: &Value) -> Option<&str> {
    ["tool", "prompt", "resource"].into_iter().find_map(|name| text(record, name))
}

/// How long it took, in nanoseconds.
pub fn ns(record: &Value) -> Option<u64> {
    record.get("ns")?.get("total")?.as_u64()
}

/// The heads of the columns of [`line`].
pub const HEADS: &str = "   index  time                      kind           whom              what                          verdict  why";

/// One line for a person.
pub fn line(index: u64, record: &Value) -> String {
    let text = |name| text(record, name).unwrap_or("-");
    let what = item(record).unwrap_or_else(|| text("method"));
    let why = ["refused", "rule"].into_iter().map(text).find(|why| *why != "-").unwrap_or("");
    let line = format!(
        "{index:>8}  {:<24}  {:<13}  {:<16}  {:<28}  {:<7}  {}",
        plain(text("ts")),
        plain(text("kind")),
        plain(text("principal")),
        plain(what),
        plain(text("verdict")),
        plain(why)
    );
    line.trim_end().to_owned()
}

/// A text of which nothing does anything but stand there.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// JSON on one line of which nothing does anything, either: what acts can only stand in a text, and is written as its escape, which
/// means the same. There are readers that end a line at U+2028 or U+0085, and terminals that obey U+009B.
pub fn json_line(value: &Value) -> String {
    let line = value.to_string();
    if !line.contains(acts) {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 64);
    for c in line.chars() {
        match acts(c) {
            true => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")))
            }
            false => out.push(c),
        }
    }
    out
}

/// Control characters, separators of lines, and what is unseen or turns the direction of what follows.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record() -> Value {
        json!({ "ts": "2026-11-22T12:00:00.000Z", "kind": "exchange", "principal": "ann", "method": "tools/call",
            "tool": "crm.find", "verdict": "deny", "rule": "no-crm", "ns": { "total": 42, "upstream": 40 } })
    }

    #[test]
    fn a_filter_takes_what_it_says() {
        let some = |text: &str| Some(text.to_owned());
        let noon = moment::parse("2026-11-22T12:00:00Z");
        for (filter, is_taken) in [
            (Filter::default(), true),
            (Filter { principal: some("ann"), tool: some("crm.*"), ..Filter::default() }, true),
            (Filter { principal: some("an"), ..Filter::default() }, false),
            (Filter { verdict: some("permit"), ..Filter::default() }, false),
            (Filter { kind: some("exchange"), since_ms: noon, ..Filter::default() }, true),
            (Filter { until_ms: noon, ..Filter::default() }, false),
        ] {
            assert_eq!(filter.takes(&record()), is_taken, "{filter:?}");
        }
        assert_eq!(ns(&record()), Some(42));
    }

    #[test]
    fn nothing_that_a_caller_says_acts_on_a_terminal() {
        let mut record = record();
        for name in ["ts", "kind", "principal", "tool", "verdict", "rule"] {
            record[name] = json!("a\u{1b}[2Jb\nc\u{202e}d\u{200b}e\u{9b}\u{2028}");
        }
        let line = line(7, &record);
        assert!(line.chars().all(|c| !acts(c)), "{line:?}");
        assert!(line.contains("\\u{1b}[2Jb\\u{a}c\\u{202e}d"), "{line}");
    }
}
