//! `strait inspect FILE`: what a table says, as text or JSON.

use std::path::PathBuf;

use serde_json::Value;
use strait_control::answers::decompiled::facts;
use strait_control::{Failure, Source};

use crate::output::Output;

#[derive(clap::Args)]
pub struct Inspect {
    /// A table or a configuration.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let opened = Source::detect(&self.file)?.open()?;
        let facts = facts(&opened.snapshot);
        output.facts(&facts, || text(&facts));
        Ok(())
    }
}

/// The facts as lines: a heading, then one line an entry.
fn text(facts: &Value) -> String {
    let signed = match &facts["signature"] {
        Value::Null => "not signed".to_owned(),
        signature => format!("signed by {}, sequence {}", plain(&signature["key"]), signature["sequence"]),
    };
    let mut out =
        format!("generation {}\n{signed}\nadmin {}\n", plain(&facts["generation"]), plain(&facts["admin"]));
    for section in ["listeners", "upstreams", "servers", "identities", "roles"] {
        lines(&mut out, section, &facts[section], &["name"]);
    }
    let policy = &facts["policy"];
    lines(
        &mut out,
        &format!("policy, default {}", plain(&policy["default"])),
        &policy["rules"],
        &["effect", "id"],
    );
    lines(&mut out, "limits", &facts["limits"], &["id"]);
    lines(&mut out, "prices", &facts["prices"], &["on"]);
    out.push_str(&format!("sources {}\n", plain(&facts["sources"])));
    out
}

/// Entries of a section; the values of `first` stand bare at the start of a line.
fn lines(out: &mut String, heading: &str, entries: &Value, first: &[&str]) {
    let Some(entries) = entries.as_array().filter(|entries| !entries.is_empty()) else { return };
    out.push_str(&format!("{heading}\n"));
    for entry in entries {
        let bare = first.iter().map(|key| plain(&entry[*key]));
        let named = entry.as_object().into_iter().flatten();
        let named = named.filter(|(key, value)| !first.contains(&key.as_str()) && !is_empty(value));
        let words: Vec<String> =
            bare.chain(named.map(|(key, value)| format!("{key} {}", plain(value)))).collect();
        out.push_str(&format!("  {}\n", words.join("  ")));
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text
            .chars()
            .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
            .collect(),
        Value::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
