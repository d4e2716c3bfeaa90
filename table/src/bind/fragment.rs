//! What a list shows of a definition: its exposed name in place of the upstream's own, URIs as they are shown, and
//! everything else byte for byte. For clients of the other era than the upstream's, without what their revision does not
//! have.

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Members, Splices, append_string, string_at};

use crate::bound::Kind;

/// A definition as clients are shown it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fragments {
    /// For the older revisions.
    pub older: String,
    /// For 2026-07-28; `None`: the same.
    pub newer: Option<String>,
}

/// Where to write other JSON, or more of it.
pub type Edits = Vec<(Span, String)>;

/// Whose definition it is decides what the other era's clients are spared. `None` when the edits do not fit.
pub fn rendered(json: &str, edits: Edits, kind: Kind, of_older: bool) -> Option<Fragments> {
    let text = edited(json, edits)?;
    Some(match (kind, of_older) {
        // Tasks of 2025-11-25 are no matter of clients of 2026-07-28.
        (Kind::Tool, true) => Fragments { newer: without(&text, "execution"), older: text },
        // Before 2026-07-28 structured content is an object.
        (Kind::Tool, false) if !promises_object(&text) => {
            let older = without(&text, "outputSchema");
            Fragments { older: older.unwrap_or_else(|| text.clone()), newer: Some(text) }
        }
        _ => Fragments { older: text, newer: None },
    })
}

/// Where a tool says which resource shows it (`_meta.ui.resourceUri`, and the older `_meta["ui/resourceUri"]`), and what.
pub fn surfaces(json: &[u8]) -> Vec<(Span, String)> {
    let find = |object: Span, key: &str| Members::find(json, object, key).ok().flatten();
    let Some(meta) = find(all(json), "_meta") else { return Vec::new() };
    let places = [find(meta, "ui").and_then(|ui| find(ui, "resourceUri")), find(meta, "ui/resourceUri")];
    let texts = places.into_iter().flatten().filter_map(|place| Some((place, string_at(json, place)?)));
    texts.collect()
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    append_string(&mut out, text.as_bytes());
    String::from_utf8(out).unwrap_or_default()
}

/// All of a definition.
pub fn all(json: &[u8]) -> Span {
    Span::between(0, json.len())
}

/// A definition with these edits, in any order; `None` when two of them fight over a byte.
pub fn edited(json: &str, mut edits: Edits) -> Option<String> {
    // What is put in at a place stands before what takes its bytes away.
    edits.sort_by_key(|(place, _)| (place.start, place.end()));
    let mut out = String::with_capacity(json.len() + edits.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut kept = 0;
    for (place, text) in edits {
        out.push_str(json.get(kept..place.start as usize)?);
        out.push_str(&text);
        kept = place.end() as usize;
    }
    out.push_str(json.get(kept..)?);
    Some(out)
}

/// Without a member of the outermost object; `None` when there is none.
fn without(json: &str, key: &str) -> Option<String> {
    let place = Members::find(json.as_bytes(), all(json.as_bytes()), key).ok()??;
    let (mut splices, mut out) = (Splices::new(), Vec::with_capacity(json.len()));
    splices.omit(json.as_bytes(), [Some(place), None, None, None]).ok()?;
    splices.write(json.as_bytes(), &mut out).ok()?;
    String::from_utf8(out).ok()
}

/// Whether a tool says nothing of its output, or that it is an object.
fn promises_object(json: &str) -> bool {
    let json = json.as_bytes();
    let find = |object: Span, key: &str| Members::find(json, object, key).ok().flatten();
    find(all(json), "outputSchema").is_none_or(|schema| {
        find(schema, "type").and_then(|kind| string_at(json, kind)).is_some_and(|kind| kind == "object")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, of_older: bool, older: &str, newer: &str) {
        let found = rendered(json, Vec::new(), Kind::Tool, of_older).unwrap();
        assert_eq!((found.older.as_str(), found.newer.as_deref().unwrap_or(&found.older)), (older, newer));
    }

    #[test]
    fn the_other_era_is_spared_what_it_does_not_have() {
        let task = r#"{ "execution" : {"taskSupport":"required"} , "name":"t","x":{"execution":1} }"#;
        check(task, true, task, r#"{ "name":"t","x":{"execution":1} }"#);
        // Here it is a word of the server's own.
        check(task, false, task, task);
        let list = r#"{"name":"t", "outputSchema":{"type":"array"},"y":1e2}"#;
        check(list, false, r#"{"name":"t", "y":1e2}"#, list);
        check(list, true, list, list);
        for schema in [r#"{"type":"object"}"#, r#"{"ty\u0070e":"object","x":[ ]}"#] {
            let tool = format!(r#"{{"name":"t","outputSchema":{schema}}}"#);
            check(&tool, false, &tool, &tool);
        }
        for schema in [r#"{"anyOf":[{"type":"object"}]}"#, "true", r#"{"type":["object","null"]}"#] {
            let tool = format!(r#"{{"name":"t","outputSchema":{schema}}}"#);
            check(&tool, false, r#"{"name":"t"}"#, &tool);
        }
        let prompt = rendered(task, Vec::new(), Kind::Prompt, true).unwrap();
        assert_eq!(prompt, Fragments { older: task.to_owned(), newer: None });
    }
}
