//! OCSF 1.9.0, class API Activity (6003), with the profile `security_control`.

use serde_json::{Value, json};

use super::{Outcome, dense, is_permitted, outcome};
use crate::moment;
use crate::view::{item, ns, text};

const VERSION: &str = "1.9.0";
const CLASS: u64 = 6003;

pub fn event(index: u64, record: &Value) -> Value {
    let method = text(record, "method").or_else(|| text(record, "kind")).unwrap_or("unknown");
    let activity = activity(method);
    let (status_id, status) = match outcome(record) {
        Outcome::Success => (1, "Success"),
        Outcome::Failure => (2, "Failure"),
        Outcome::Unknown => (0, "Unknown"),
    };
    // Allowed, Denied; Allowed, Blocked.
    let control = is_permitted(record).map(|is_permitted| if is_permitted { 1 } else { 2 });
    let whom = text(record, "user").or_else(|| text(record, "principal"));
    dense(json!({
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": method,
        "type_uid": CLASS * 100 + activity,
        "time": text(record, "ts").and_then(moment::parse).unwrap_or(0),
        "severity_id": if is_permitted(record) == Some(false) { 2 } else { 1 },
        "status_id": status_id,
        "status": status,
        "status_code": record.get("status").map(ToString::to_string),
        "status_detail": text(record, "refused"),
        "duration": ns(record).map(|ns| ns / 1_000_000),
        "action_id": control,
        "disposition_id": control,
        "actor": {
            "user": { "uid": text(record, "principal"), "name": whom.unwrap_or("unknown") },
            "app_name": text(record, "agent"),
        },
        "api": {
            "operation": method,
            "request": { "uid": text(record, "id").map_or_else(|| index.to_string(), str::to_owned) },
            "response": record.get("status").map(|status| json!({ "code": status })),
            "service": text(record, "upstream").map(|upstream| json!({ "name": upstream })),
        },
        "src_endpoint": text(record, "peer").map_or_else(|| json!({ "name": "unknown" }), |peer| json!({ "ip": peer })),
        "dst_endpoint": text(record, "server").map(|server| json!({ "name": server })),
        "resources": item(record).map(|item| json!([{ "name": item, "type": kind_of_item(record) }])),
        "metadata": {
            "version": VERSION,
            "profiles": ["security_control"],
            "product": { "name": "Strait", "vendor_name": "Strait" },
            "uid": text(record, "id").map_or_else(|| index.to_string(), str::to_owned),
            "sequence": index,
            "log_name": "audit",
            "correlation_uid": text(record, "trace"),
        },
        "unmapped": record,
    }))
}

/// Which of create, read, update, delete it is, if its method says; of a tool nobody knows.
fn activity(method: &str) -> u64 {
    match method.rsplit_once('/').map(|(_, verb)| verb) {
        Some("list" | "read" | "get" | "templates" | "complete") => 2,
        _ => 99,
    }
}

fn kind_of_item(record: &Value) -> &'static str {
    ["tool", "prompt", "resource"].into_iter().find(|kind| text(record, kind).is_some()).unwrap_or("tool")
}
