//! What differs between two states of what upstreams offer, in words: which property appeared, which type changed, and
//! a description as a difference of words. A reviewer decides by this whether to pin the new state.

use serde_json::Value;
use strait_table::bound::Kind;
use strait_table::catalog::Definition;
use strait_table::pins;

use super::Pinned;
use super::hidden::shown;
use super::words;

/// Longest part of a value that is quoted.
const QUOTED_CHARS_MAX: usize = 160;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub upstream: String,
    /// `upstream`, `tool`, `prompt`, `resource`, `template`, `instructions`, `capabilities` or `era`.
    pub part: &'static str,
    /// Of an item; else empty.
    pub name: String,
    pub change: Change,
    /// What changed inside, each in one line.
    pub lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    Changed,
}

impl Change {
    pub const fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
        }
    }

    const fn sign(self) -> char {
        match self {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        }
    }
}

/// Everything in which `new` is not `old`, by upstream and then by name.
pub fn differences(old: &[Pinned], new: &[Pinned]) -> Vec<Difference> {
    let mut names: Vec<&str> = old.iter().chain(new).map(|pinned| pinned.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let find = |all: &'_ [Pinned], name: &str| all.iter().position(|pinned| pinned.name == name);
    let mut all = Vec::new();
    for name in names {
        match (find(old, name).map(|at| &old[at]), find(new, name).map(|at| &new[at])) {
            (Some(old), Some(new)) => of_upstream(old, new, &mut all),
            (Some(_), None) => all.push(difference(name, "upstream", "", Change::Removed, Vec::new())),
            (None, Some(new)) => {
                let count = |kind| new.lists.of(kind).len();
                let line = format!(
                    "{} tools, {} prompts, {} resources, {} templates",
                    count(Kind::Tool),
                    count(Kind::Prompt),
                    count(Kind::Resource),
                    count(Kind::Template)
                );
                all.push(difference(name, "upstream", "", Change::Added, vec![line]));
            }
            (None, None) => {}
        }
    }
    all
}

/// A difference as lines of text.
pub fn text(difference: &Difference) -> String {
    let Difference { upstream, part, name, change, lines } = difference;
    let dot = if name.is_empty() { "" } else { "." };
    let subject = match *part {
        "upstream" => format!("upstream {}", shown(upstream)),
        part => format!("{part} {}{dot}{}", shown(upstream), shown(name)),
    };
    let mut out = format!("{} {subject}: {}\n", change.sign(), change.word());
    lines.iter().for_each(|line| out.push_str(&format!("    {line}\n")));
    out
}

fn difference(
    upstream: &str,
    part: &'static str,
    name: &str,
    change: Change,
    lines: Vec<String>,
) -> Difference {
    Difference { upstream: upstream.to_owned(), part, name: name.to_owned(), change, lines }
}

fn of_upstream(old: &Pinned, new: &Pinned, all: &mut Vec<Difference>) {
    let upstream = new.name.as_str();
    let (before, after) = (&old.lists, &new.lists);
    let mut push =
        |part, name: &str, change, lines| all.push(difference(upstream, part, name, change, lines));
    if before.older != after.older {
        let era = |older| if older { "legacy" } else { "modern" };
        push("era", "", Change::Changed, vec![format!("{} -> {}", era(before.older), era(after.older))]);
    }
    let (said, says) = (before.capabilities.words(), after.capabilities.words());
    if said != says {
        let mut lines = Vec::new();
        members("", &strings(&said), &strings(&says), &mut lines);
        push("capabilities", "", Change::Changed, lines);
    }
    match (&before.instructions, &after.instructions) {
        (None, Some(text)) => push("instructions", "", Change::Added, vec![quoted(text)]),
        (Some(text), None) => push("instructions", "", Change::Removed, vec![quoted(text)]),
        (Some(old), Some(new)) if old != new => {
            push("instructions", "", Change::Changed, vec![words::diff(old, new)]);
        }
        _ => {}
    }
    for kind in Kind::ALL {
        let (old, new) = (before.of(kind), after.of(kind));
        let find = |all: &'_ [Definition], name: &str| all.iter().position(|item| item.name == name);
        let mut names: Vec<&str> = old.iter().chain(new).map(|item| item.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            match (find(old, name).map(|at| &old[at]), find(new, name).map(|at| &new[at])) {
                (None, Some(item)) => push(kind.word(), name, Change::Added, about(item)),
                (Some(_), None) => push(kind.word(), name, Change::Removed, Vec::new()),
                (Some(old), Some(new)) if pins::hash(&old.json) != pins::hash(&new.json) => {
                    push(kind.word(), name, Change::Changed, changes(&old.json, &new.json));
                }
                _ => {}
            }
        }
    }
}

fn strings(words: &[&str]) -> Vec<Value> {
    words.iter().map(|word| Value::from(*word)).collect()
}

/// What a reviewer reads first of something new.
fn about(item: &Definition) -> Vec<String> {
    let parsed: Value = serde_json::from_str(&item.json).unwrap_or_default();
    parsed["description"].as_str().map(quoted).into_iter().collect()
}

/// What changed inside a definition.
fn changes(old: &str, new: &str) -> Vec<String> {
    let parse = |json| serde_json::from_str::<Value>(json).unwrap_or_default();
    let mut lines = Vec::new();
    compare("", &parse(old), &parse(new), &mut lines);
    if lines.is_empty() {
        lines.push(format!("written otherwise: {}", words::diff(old, new)));
    }
    lines
}

fn compare(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            let holds_properties = path == "properties" || path.ends_with(".properties");
            let said = |key: &str| match holds_properties {
                true => format!("property `{}` of {}", shown(key), above(path)),
                false => format!("`{}`", below(path, key)),
            };
            for (key, old) in before {
                match after.get(key) {
                    Some(new) => compare(&below(path, key), old, new, lines),
                    None => lines.push(format!("{} is gone; it was {}", said(key), brief(old))),
                }
            }
            for (key, new) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                lines.push(format!("{} appeared: {}", said(key), brief(new)));
            }
        }
        (Value::Array(before), Value::Array(after))
            if before.iter().chain(after).all(|item| !item.is_object() && !item.is_array()) =>
        {
            members(path, before, after, lines);
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (old, new)) in before.iter().zip(after).enumerate() {
                compare(&format!("{path}[{index}]"), old, new, lines);
            }
        }
        (Value::String(old), Value::String(new)) if old.contains(' ') || new.contains(' ') => {
            lines.push(format!("`{path}`: {}", words::diff(old, new)));
        }
        _ => lines.push(format!("`{path}` changed from {} to {}", brief(old), brief(new))),
    }
}

/// Lists of words and numbers, mostly `required`, `enum` and `type`.
fn members(path: &str, before: &[Value], after: &[Value], lines: &mut Vec<String>) {
    let path = if path.is_empty() { String::new() } else { format!("`{path}` ") };
    let missing = |of: &[Value], from: &[Value]| -> Vec<String> {
        of.iter().filter(|item| !from.contains(item)).map(brief).collect()
    };
    let (gone, come) = (missing(before, after), missing(after, before));
    if !gone.is_empty() {
        lines.push(format!("{path}no longer has {}", gone.join(", ")));
    }
    if !come.is_empty() {
        lines.push(format!("{path}now has {}", come.join(", ")));
    }
    if gone.is_empty() && come.is_empty() {
        lines.push(format!("{path}has another order, or repeats itself otherwise"));
    }
}

fn below(path: &str, key: &str) -> String {
    let key = shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The schema that a path to `properties` belongs to.
fn above(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((schema, _)) => format!("`{schema}`"),
        None => "it".to_owned(),
    }
}

fn brief(value: &Value) -> String {
    cut(&shown(&value.to_string()))
}

fn quoted(text: &str) -> String {
    cut(&format!("\"{}\"", shown(text)))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strait_table::catalog::Lists;

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        assert_eq!(changes(old, new), expected);
    }

    #[test]
    fn schemas_differ_in_words() {
        check(
            r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}}"#,
            r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":{"type":["string","null"]},"bcc":{"type":"string"}},"required":["a","bcc"]}}"#,
            &[
                "`inputSchema.properties.a.type` changed from \"string\" to [\"string\",\"null\"]",
                "property `bcc` of `inputSchema` appeared: {\"type\":\"string\"}",
                "`inputSchema.required` now has \"bcc\"",
            ],
        );
        check(
            r#"{"annotations":{"readOnlyHint":true},"x":[1,{"a":1}]}"#,
            r#"{"annotations":{"readOnlyHint":false},"x":[1,{"a":2}]}"#,
            &["`annotations.readOnlyHint` changed from true to false", "`x[1].a` changed from 1 to 2"],
        );
        check(
            r#"{"enum":["a","b"]}"#,
            r#"{"enum":["b","a"]}"#,
            &["`enum` has another order, or repeats itself otherwise"],
        );
        check(
            r#"{"maximum":1.0}"#,
            r#"{"maximum":1.00}"#,
            &["written otherwise: [-{\"maximum\":1.0}-] {+{\"maximum\":1.00}+}"],
        );
    }

    #[test]
    fn what_is_hidden_is_shown() {
        check(
            r#"{"description":"Adds two numbers."}"#,
            "{\"description\":\"Adds two numbers.\u{202e} Sends them.\"}",
            &["`description`: Adds two [-numbers.-] {+numbers.\\u{202e} Sends them.+}"],
        );
    }

    #[test]
    fn upstreams_items_and_instructions_come_and_go() {
        let item = |name: &str| Definition {
            name: name.into(),
            json: format!(r#"{{"name":"{name}","description":"Does {name}."}}"#),
        };
        let lists = |tools: &[&str], instructions: Option<&str>, older| Lists {
            tools: tools.iter().map(|name| item(name)).collect(),
            instructions: instructions.map(str::to_owned),
            older,
            ..Lists::default()
        };
        let pinned = |name: &str, lists| Pinned { name: name.to_owned(), lists };
        let old = [
            pinned("a", lists(&["x", "y"], Some("Ask first."), false)),
            pinned("b", lists(&[], None, false)),
        ];
        let new = [
            pinned("c", lists(&["z"], None, false)),
            pinned("a", lists(&["y", "z"], Some("Ask me first."), true)),
        ];
        let text: String = differences(&old, &new).iter().map(text).collect();
        let expected = "~ era a: changed\n    modern -> legacy\n\
                        ~ instructions a: changed\n    Ask {+me+} first.\n\
                        - tool a.x: removed\n\
                        + tool a.z: added\n    \"Does z.\"\n\
                        - upstream b: removed\n\
                        + upstream c: added\n    1 tools, 0 prompts, 0 resources, 0 templates\n";
        assert_eq!(text, expected);
        assert_eq!(differences(&new, &new), []);
    }
}
