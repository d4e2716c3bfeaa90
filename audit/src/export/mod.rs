//! Records in other makers' forms, one a line: for what collects and searches.
//!
//! The decision: a form takes the members that it has a name for, and carries the rest beside, so that nothing is lost; each is
//! pinned to one version of its schema, which it says itself.

mod cef;
mod ecs;
mod ocsf;

use serde_json::{Value, json};

use crate::view::json_line;

/// A form of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are, with their `index`.
    Ndjson,
    /// Open Cybersecurity Schema Framework, class API Activity.
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// Common Event Format.
    Cef,
}

impl Format {
    /// One line, without its end.
    pub fn line(self, index: u64, record: &Value) -> String {
        match self {
            Format::Ndjson => json_line(&indexed(index, record)),
            Format::Ocsf => json_line(&ocsf::event(index, record)),
            Format::Ecs => json_line(&ecs::event(index, record)),
            Format::Cef => cef::event(index, record),
        }
    }
}

/// A record with its index before everything else.
pub fn indexed(index: u64, record: &Value) -> Value {
    let mut whole = json!({ "index": index });
    if let (Some(whole), Some(record)) = (whole.as_object_mut(), record.as_object()) {
        whole.extend(record.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    whole
}

/// What a record of a call came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    Unknown,
}

fn outcome(record: &Value) -> Outcome {
    let is_refused = record.get("refused").is_some_and(|refused| !refused.is_null());
    match record.get("status").and_then(Value::as_u64) {
        _ if is_refused => Outcome::Failure,
        Some(status) if status >= 400 => Outcome::Failure,
        Some(_) => Outcome::Success,
        None => Outcome::Unknown,
    }
}

/// Whether the policy let it pass; nothing, if nobody asked it.
fn is_permitted(record: &Value) -> Option<bool> {
    match crate::view::text(record, "verdict")? {
        "permit" => Some(true),
        "deny" => Some(false),
        _ => None,
    }
}

/// Leaves out what is null.
fn dense(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, dense(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
