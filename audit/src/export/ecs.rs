//! Elastic Common Schema 8.17; what it has no name for stands under `strait`.

use serde_json::{Value, json};

use super::{Outcome, dense, is_permitted, outcome};
use crate::view::{item, ns, text};

const VERSION: &str = "8.17.0";

pub fn event(index: u64, record: &Value) -> Value {
    let kind = text(record, "kind").unwrap_or("exchange");
    let outcome = match outcome(record) {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unknown => "unknown",
    };
    let mut types = vec![if kind == "exchange" { "access" } else { "info" }];
    types.extend(is_permitted(record).map(|is_permitted| if is_permitted { "allowed" } else { "denied" }));
    dense(json!({
        "@timestamp": text(record, "ts"),
        "ecs": { "version": VERSION },
        "event": {
            "kind": "event",
            "category": ["api"],
            "type": types,
            "dataset": "strait.audit",
            "module": "strait",
            "action": text(record, "method").unwrap_or(kind),
            "outcome": outcome,
            "id": text(record, "id"),
            "sequence": index,
            "reason": text(record, "refused"),
            "duration": ns(record),
        },
        "user": { "id": text(record, "principal"), "name": text(record, "user").or_else(|| text(record, "principal")) },
        "source": text(record, "peer").map(|peer| json!({ "ip": peer })),
        "rule": text(record, "rule").map(|rule| json!({ "id": rule, "ruleset": "strait" })),
        "service": { "name": "strait", "type": "mcp-gateway" },
        "http": {
            "response": record.get("status").map(|status| json!({ "status_code": status, "bytes": record.get("bytes_out") })),
            "request": record.get("bytes_in").map(|bytes| json!({ "bytes": bytes })),
        },
        "trace": text(record, "trace").map(|trace| json!({ "id": trace })),
        "message": item(record).map(|item| format!("{} {item}", text(record, "method").unwrap_or(kind))),
        "strait": record,
    }))
}
