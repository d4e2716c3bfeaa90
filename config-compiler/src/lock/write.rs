//! The text of a lock file: the same pins give the same bytes.

use std::fmt::Write;

use super::{Pinned, VERSION, list_word, text::laid_out};
use strait_table::bound::Kind;
use strait_table::catalog::Definition;
use strait_table::pins;

const ABOUT: &str =
    "Written by `strait lock`: what every upstream offers, pinned. Review its changes; do not edit it.";

/// The file that pins these, in the order of their names.
pub fn write(upstreams: &[Pinned]) -> String {
    let mut sorted: Vec<&Pinned> = upstreams.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let mut out = format!("{{\n  \"strait_lock\": {VERSION},\n  \"about\": {},\n", string(ABOUT));
    out.push_str("  \"upstreams\": [");
    for (index, pinned) in sorted.into_iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        upstream(&mut out, pinned);
    }
    out.push_str(if upstreams.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" });
    out
}

fn upstream(out: &mut String, pinned: &Pinned) {
    let lists = &pinned.lists;
    let mut members = vec![
        format!("\"name\": {}", string(&pinned.name)),
        format!("\"era\": {}", string(if lists.older { "legacy" } else { "modern" })),
    ];
    let words: Vec<String> = lists.capabilities.words().into_iter().map(string).collect();
    members.push(format!("\"capabilities\": [{}]", words.join(", ")));
    if let Some(text) = &lists.instructions {
        let lines: Vec<String> =
            text.split('\n').map(|line| format!("\n          {}", string(line))).collect();
        let hash = hex(&pins::hash_of_text(text));
        members.push(format!(
            "\"instructions\": {{\n        \"blake3\": \"{hash}\",\n        \"lines\": [{}\n        ]\n      }}",
            lines.join(",")
        ));
    }
    for kind in Kind::ALL {
        let items: Vec<String> = lists.of(kind).iter().filter_map(item).collect();
        let items =
            if items.is_empty() { "[]".to_owned() } else { format!("[\n{}\n      ]", items.join(",\n")) };
        members.push(format!("\"{}\": {items}", list_word(kind)));
    }
    // Writing to a String never fails.
    let _ = write!(out, "    {{\n      {}\n    }}", members.join(",\n      "));
}

/// `None` of what cannot be pinned; [`Pinned::of`] lets none of that in.
fn item(definition: &Definition) -> Option<String> {
    let hash = hex(&pins::hash(&definition.json)?);
    Some(format!(
        "        {{\n          \"name\": {},\n          \"blake3\": \"{hash}\",\n          \"definition\": {}\n        }}",
        string(&definition.name),
        laid_out(&definition.json, 5)
    ))
}

fn string(text: &str) -> String {
    laid_out(&serde_json::Value::from(text).to_string(), 0)
}

pub fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
