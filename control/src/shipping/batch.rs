//! Records as they go out, made once and sent as often as it takes.

use serde_json::{Value, json};
use strait_audit::export::Format;
use strait_audit::{hash, moment, view};

use crate::telemetry::hex;

/// A record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands in the log; the cursor is behind it once it is taken.
    pub index: u64,
    /// The first half of its leaf's hash: the same whenever it is sent, and nobody else's.
    pub id: String,
    pub kind: String,
    /// When it was written, as it says itself.
    pub ts: Option<String>,
    pub ts_ms: u64,
    /// It tells of something that was denied, refused or lost.
    pub is_bad: bool,
    /// What one looks for first; said by callers.
    pub principal: Option<String>,
    pub item: Option<String>,
    pub verdict: Option<String>,
    /// The trace that it belongs to.
    pub trace: Option<[u8; 16]>,
    /// The record in the form that the collector wants.
    pub line: String,
}

impl Record {
    pub fn of(index: u64, bytes: &[u8], form: Format) -> Record {
        let id = id(bytes);
        match serde_json::from_slice(bytes) {
            Ok(record) => Record::made(index, id, record, form),
            // Nothing that our writer writes; it is sent as it is, for somebody to look at.
            Err(_) => {
                let text = String::from_utf8_lossy(bytes);
                Record::made(index, id, json!({ "kind": "unreadable", "bytes": text }), form)
            }
        }
    }

    /// That these were removed from the log before they were sent; `next` is the first that was not.
    pub fn unshipped(from: u64, to: u64, next: &[u8], form: Format) -> Record {
        let record = json!({
            "ts": crate::time::now(),
            "kind": "unshipped",
            "from": from,
            "to": to,
            "why": "removed by `audit.keep` before they were sent",
        });
        Record::made(to, format!("unshipped-{from}-{to}-{}", id(next)), record, form)
    }

    fn made(index: u64, id: String, mut record: Value, form: Format) -> Record {
        record["id"] = id.as_str().into();
        let text = |name: &str| view::text(&record, name).map(str::to_owned);
        let (kind, ts) = (text("kind").unwrap_or_default(), text("ts"));
        let ts_ms = ts.as_deref().and_then(moment::parse);
        let bad = ["gap", "truncated", "unshipped", "unreadable"];
        Record {
            index,
            is_bad: record.get("refused").is_some_and(|refused| !refused.is_null())
                || text("verdict").as_deref() == Some("deny")
                || bad.contains(&kind.as_str()),
            kind,
            ts: ts.filter(|_| ts_ms.is_some()),
            ts_ms: ts_ms.unwrap_or(0),
            principal: text("principal"),
            item: view::item(&record).map(str::to_owned),
            verdict: text("verdict"),
            trace: text("trace").and_then(|trace| trace_id(&trace)),
            line: form.line(index, &record),
            id,
        }
    }

    /// What it weighs in memory and, about, on the wire.
    pub fn bytes(&self) -> usize {
        self.line.len() + 256
    }
}

/// 16 bytes, in hex.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_id).map(u128::to_be_bytes)
}

fn id(record: &[u8]) -> String {
    hex(&hash::leaf(record)[..16])
}
