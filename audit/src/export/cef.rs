//! Common Event Format, version 0: one line, its fields divided by `|`, `=` and blanks. Whoever could write one of those, or a line
//! break, into a field could write fields and events of their own: all are escaped, and what acts on a terminal with them.

use serde_json::Value;

use super::{Outcome, is_permitted, outcome};
use crate::moment;
use crate::view::{item, ns, plain, text};

pub fn event(index: u64, record: &Value) -> String {
    let kind = text(record, "kind").unwrap_or("exchange");
    let name = text(record, "method").unwrap_or(kind);
    let severity = if is_permitted(record) == Some(false) { "5" } else { "2" };
    let head = ["Strait", "strait", "0", kind, name, severity].map(head);
    let outcome = match outcome(record) {
        Outcome::Success => Some("success"),
        Outcome::Failure => Some("failure"),
        Outcome::Unknown => None,
    };
    let number = |name: &str| record.get(name).and_then(Value::as_u64).map(|number| number.to_string());
    let word = |name: &str| text(record, name).map(str::to_owned);
    let mut fields = vec![
        ("rt", text(record, "ts").and_then(moment::parse).map(|ms| ms.to_string())),
        ("externalId", Some(word("id").unwrap_or_else(|| index.to_string()))),
        ("cn1", Some(index.to_string())),
        ("cn1Label", Some("index".to_owned())),
        ("suser", word("principal")),
        ("src", word("peer")),
        ("dhost", word("upstream")),
        ("request", item(record).map(str::to_owned)),
        ("act", word("verdict")),
        ("outcome", outcome.map(str::to_owned)),
        ("reason", word("refused")),
        ("in", number("bytes_in")),
        ("out", number("bytes_out")),
        ("cn2", ns(record).map(|ns| ns.to_string())),
    ];
    fields.extend(ns(record).map(|_| ("cn2Label", Some("ns".to_owned()))));
    for (field, label, name) in [
        ("cs1", "cs1Label", "rule"),
        ("cs2", "cs2Label", "generation"),
        ("cs3", "cs3Label", "agent"),
        ("cs4", "cs4Label", "trace"),
    ] {
        let said = record.get(name).filter(|said| !said.is_null());
        let said = said.map(|said| said.as_str().map_or_else(|| said.to_string(), str::to_owned));
        fields.extend(said.as_ref().map(|_| (label, Some(name.to_owned()))));
        fields.push((field, said));
    }
    let fields: Vec<String> =
        fields.iter().filter_map(|(name, said)| Some(format!("{name}={}", value(said.as_ref()?)))).collect();
    format!("CEF:0|{}|{}", head.join("|"), fields.join(" "))
}

/// A field of the head.
fn head(text: &str) -> String {
    plain(&text.replace('\\', "\\\\").replace('|', "\\|"))
}

/// A value of the rest.
fn value(text: &str) -> String {
    let escaped =
        text.replace('\\', "\\\\").replace('=', "\\=").replace('\n', "\u{1}").replace('\r', "\u{2}");
    // The form's own words for line breaks.
    plain(&escaped).replace("\\u{1}", "\\n").replace("\\u{2}", "\\r")
}
