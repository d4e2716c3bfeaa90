//! What a pinned tool's `inputSchema` says of an argument: whether it is there, of which types, with which values.
//!
//! The decision: only what is said plainly is believed. `properties`, `items`, `type`, `enum` and `const` are followed, through
//! `$ref` inside of the schema, `allOf`, `anyOf` and `oneOf`; of alternatives everything is possible that one of them makes
//! possible. Whatever else may bring arguments in (`if`, `patternProperties`, a `$ref` to elsewhere …) leaves the schema
//! *open*, and nothing is said of an argument that it does not list.

use std::cell::Cell;

use serde_json::{Map, Value};
use strait_table::condition::types;

/// `$ref`s and combinations inside of each other that are followed.
const DEPTH_MAX: usize = 24;
/// Schemas looked at to answer for one condition: a `$ref` may lead to two of itself.
const STEPS_MAX: usize = 4_096;
const NUMBER: u8 = types::INTEGER | types::FRACTION;
pub const ANY: u8 = types::NULL | types::BOOL | NUMBER | types::TEXT | types::LIST | types::OBJECT;

/// Schemas of which one holds for a value.
pub type Place<'s> = Vec<&'s Value>;

/// What there is under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'s> {
    Listed(Place<'s>),
    /// There can be no such key.
    Closed,
    /// Other keys are listed and this one is not; it is not forbidden either.
    Unlisted,
    /// Any key may be there.
    Open,
    /// Nothing is said of keys.
    Silent,
}

/// The schema that a definition of a tool has for its arguments; that of a prompt is made of its list.
pub fn schema_of(definition: &str, is_prompt: bool) -> Option<Value> {
    let mut definition: Value = serde_json::from_str(definition).ok()?;
    if !is_prompt {
        return definition.get_mut("inputSchema").map(Value::take);
    }
    let arguments = definition.get("arguments").and_then(Value::as_array).into_iter().flatten();
    let names = arguments.filter_map(|argument| argument.get("name")?.as_str());
    let properties: Map<String, Value> =
        names.map(|name| (name.to_owned(), serde_json::json!({"type": "string"}))).collect();
    Some(serde_json::json!({"type": "object", "properties": properties, "additionalProperties": false}))
}

/// Reads one schema.
pub struct Input<'s> {
    root: &'s Value,
    steps: Cell<usize>,
}

impl<'s> Input<'s> {
    pub fn of(root: &'s Value) -> Input<'s> {
        Input { root, steps: Cell::new(0) }
    }

    /// All arguments together.
    pub fn arguments(&self) -> Place<'s> {
        vec![self.root]
    }

    /// What is under `key` of an object that is one of `place`.
    pub fn property(&self, place: &Place<'s>, key: &str) -> Found<'s> {
        self.any(place.iter().map(|schema| self.key(schema, key, 0)))
    }

    /// The elements of a list. Empty: nothing is said of them.
    pub fn elements(&self, place: &Place<'s>) -> Place<'s> {
        let mut out = Vec::new();
        for schema in place {
            let mut found = Vec::new();
            self.each(schema, 0, &mut |schema| match schema.contains_key("prefixItems") {
                true => found.push(None),
                false => found.extend(schema.get("items").filter(|items| items.is_object()).map(Some)),
            });
            // One that says nothing makes anything possible.
            match found.into_iter().collect::<Option<Vec<_>>>() {
                Some(found) if !found.is_empty() => out.extend(found),
                _ => return Vec::new(),
            }
        }
        out
    }

    /// The types that a value can have.
    pub fn types(&self, place: &Place<'s>) -> u8 {
        match place.is_empty() {
            true => ANY,
            false => place.iter().fold(0, |all, schema| all | self.types_of(schema, 0)),
        }
    }

    /// The only values that there are, where they are listed.
    pub fn values(&self, place: &Place<'s>) -> Option<Vec<&'s Value>> {
        let mut all = Vec::new();
        for schema in place {
            all.extend(self.values_of(schema, 0)?);
        }
        (!all.is_empty()).then_some(all)
    }

    /// Keys that are listed, for suggestions.
    pub fn keys(&self, place: &Place<'s>) -> Vec<&'s str> {
        let mut keys = Vec::new();
        for schema in place {
            self.each(schema, 0, &mut |schema| {
                let listed = schema.get("properties").and_then(Value::as_object);
                keys.extend(listed.into_iter().flat_map(|listed| listed.keys().map(String::as_str)));
            });
        }
        keys
    }

    /// Whether one more schema is looked at, so deep.
    fn goes_on(&self, depth: usize) -> bool {
        self.steps.set(self.steps.get() + 1);
        depth <= DEPTH_MAX && self.steps.get() <= STEPS_MAX
    }

    fn key(&self, schema: &'s Value, key: &str, depth: usize) -> Found<'s> {
        let Some(object) = schema.as_object() else { return Found::Silent };
        if !self.goes_on(depth) {
            return Found::Open;
        }
        let mut found = vec![own(object, key)];
        if let Some(target) = object.get("$ref") {
            found.push(match self.target(target) {
                Some(target) => self.key(target, key, depth + 1),
                None => Found::Open,
            });
        }
        for all in list(object, "allOf") {
            found.push(self.key(all, key, depth + 1));
        }
        for word in ["anyOf", "oneOf"] {
            let alternatives = list(object, word);
            if !alternatives.is_empty() {
                found.push(self.any(alternatives.iter().map(|schema| self.key(schema, key, depth + 1))));
            }
        }
        // All of these hold: what lists it says what it is.
        let listed: Place<'s> = found
            .iter()
            .flat_map(|one| match one {
                Found::Listed(place) => place.as_slice(),
                _ => &[],
            })
            .copied()
            .collect();
        if !listed.is_empty() {
            return Found::Listed(listed);
        }
        let strongest = [Found::Closed, Found::Open, Found::Unlisted];
        strongest.into_iter().find(|one| found.contains(one)).unwrap_or(Found::Silent)
    }

    /// One of these holds.
    fn any(&self, all: impl Iterator<Item = Found<'s>>) -> Found<'s> {
        let all: Vec<Found<'s>> = all.collect();
        let mut listed = Vec::new();
        for one in &all {
            if let Found::Listed(place) = one {
                listed.extend(place);
            }
        }
        if !listed.is_empty() {
            return Found::Listed(listed);
        }
        let weakest = [Found::Open, Found::Silent, Found::Unlisted];
        weakest.into_iter().find(|one| all.contains(one)).unwrap_or(Found::Closed)
    }

    fn types_of(&self, schema: &'s Value, depth: usize) -> u8 {
        let Some(object) = schema.as_object().filter(|_| self.goes_on(depth)) else { return ANY };
        let mut types = match object.get("type") {
            Some(Value::String(word)) => bits(word),
            Some(Value::Array(words)) => {
                words.iter().fold(0, |all, word| all | word.as_str().map_or(ANY, bits))
            }
            _ => ANY,
        };
        if let Some(values) = own_values(object) {
            types &= values.iter().fold(0, |all, value| all | type_of(value));
        }
        if let Some(target) = object.get("$ref") {
            types &= self.target(target).map_or(ANY, |target| self.types_of(target, depth + 1));
        }
        for all in list(object, "allOf") {
            types &= self.types_of(all, depth + 1);
        }
        for word in ["anyOf", "oneOf"] {
            let alternatives = list(object, word);
            if !alternatives.is_empty() {
                types &= alternatives.iter().fold(0, |all, one| all | self.types_of(one, depth + 1));
            }
        }
        // One that nothing fits is not worth a second complaint.
        if types == 0 { ANY } else { types }
    }

    fn values_of(&self, schema: &'s Value, depth: usize) -> Option<Vec<&'s Value>> {
        let object = schema.as_object().filter(|_| self.goes_on(depth))?;
        if let Some(values) = own_values(object) {
            return Some(values);
        }
        let target = object.get("$ref").and_then(|target| self.target(target));
        let all = target.into_iter().chain(list(object, "allOf"));
        if let Some(values) = all.into_iter().find_map(|schema| self.values_of(schema, depth + 1)) {
            return Some(values);
        }
        ["anyOf", "oneOf"].into_iter().find_map(|word| {
            let mut values = Vec::new();
            let alternatives = list(object, word);
            for one in alternatives {
                values.extend(self.values_of(one, depth + 1)?);
            }
            (!alternatives.is_empty()).then_some(values)
        })
    }

    /// The schema itself and every one that it leads to without going into a value.
    fn each(&self, schema: &'s Value, depth: usize, visit: &mut dyn FnMut(&'s Map<String, Value>)) {
        let Some(object) = schema.as_object().filter(|_| self.goes_on(depth)) else { return };
        visit(object);
        if let Some(target) = object.get("$ref").and_then(|target| self.target(target)) {
            self.each(target, depth + 1, visit);
        }
        for word in ["allOf", "anyOf", "oneOf"] {
            list(object, word).iter().for_each(|one| self.each(one, depth + 1, visit));
        }
    }

    /// `#`, `#/$defs/amount`.
    fn target(&self, reference: &Value) -> Option<&'s Value> {
        let pointer = reference.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer)
    }
}

fn own<'s>(object: &'s Map<String, Value>, key: &str) -> Found<'s> {
    let properties = object.get("properties").and_then(Value::as_object);
    if let Some(schema) = properties.and_then(|properties| properties.get(key)) {
        return Found::Listed(vec![schema]);
    }
    const ELSEWHERE: [&str; 6] =
        ["patternProperties", "if", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef"];
    if ELSEWHERE.iter().any(|word| object.contains_key(*word)) {
        return Found::Open;
    }
    let rest = [object.get("additionalProperties"), object.get("unevaluatedProperties")];
    if rest.contains(&Some(&Value::Bool(false))) {
        return Found::Closed;
    }
    if rest.iter().any(Option::is_some) {
        return Found::Open;
    }
    match properties {
        Some(properties) if !properties.is_empty() => Found::Unlisted,
        _ => Found::Silent,
    }
}

fn own_values(object: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (object.get("const"), object.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) if !values.is_empty() => Some(values.iter().collect()),
        _ => None,
    }
}

fn list<'s>(object: &'s Map<String, Value>, word: &str) -> &'s [Value] {
    object.get(word).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn bits(word: &str) -> u8 {
    match word {
        "null" => types::NULL,
        "boolean" => types::BOOL,
        // 1.0 is an integer there.
        "integer" | "number" => NUMBER,
        "string" => types::TEXT,
        "array" => types::LIST,
        "object" => types::OBJECT,
        _ => ANY,
    }
}

pub fn type_of(value: &Value) -> u8 {
    match value {
        Value::Null => types::NULL,
        Value::Bool(_) => types::BOOL,
        Value::Number(_) => NUMBER,
        Value::String(_) => types::TEXT,
        Value::Array(_) => types::LIST,
        Value::Object(_) => types::OBJECT,
    }
}

/// As a person calls them.
pub fn named(types: u8) -> String {
    let words = [
        (types::TEXT, "a text"),
        (NUMBER, "a number"),
        (types::BOOL, "true or false"),
        (types::LIST, "a list"),
        (types::OBJECT, "an object"),
        (types::NULL, "null"),
    ];
    let words: Vec<&str> = words.iter().filter(|(bit, _)| types & bit != 0).map(|(_, word)| *word).collect();
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{"type":"object","$defs":{"money":{"type":["number","null"]},"code":{"enum":["USD","EUR"]},"self":{"$ref":"#/$defs/self"}},
        "properties":{"amount":{"$ref":"#/$defs/money"},"currency":{"allOf":[{"$ref":"#/$defs/code"}]},
        "to":{"anyOf":[{"type":"object","properties":{"iban":{"type":"string"}},"additionalProperties":false},{"type":"null"}]},
        "items":{"type":"array","items":{"type":"object","properties":{"n":{"type":"integer"}}}},"loop":{"$ref":"#/$defs/self"},
        "free":{"type":"object","additionalProperties":true},"mode":{"oneOf":[{"const":"a"},{"const":"b"}]}}}"##;

    #[test]
    fn what_is_said_plainly_is_believed() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let input = Input::of(&schema);
        let at = |path: &[&str]| {
            path.iter().fold(Found::Listed(input.arguments()), |found, key| match found {
                Found::Listed(place) => input.property(&place, key),
                other => other,
            })
        };
        let types = |path: &[&str]| match at(path) {
            Found::Listed(place) => named(input.types(&place)),
            other => format!("{other:?}"),
        };
        let check = |path: &[&str], expected: &str| assert_eq!(types(path), expected, "{path:?}");
        check(&["amount"], "a number or null");
        check(&["currency"], "a text");
        check(&["to"], "an object or null");
        check(&["to", "iban"], "a text");
        // The other alternative says nothing of keys; it has none.
        check(&["to", "ibna"], "Silent");
        check(&["amonut"], "Unlisted");
        check(&["free", "x"], "Open");
        check(&["loop"], &named(ANY));
        check(&["loop", "x"], "Open");
        let Found::Listed(items) = at(&["items"]) else { panic!() };
        let Found::Listed(n) = input.property(&input.elements(&items), "n") else { panic!() };
        assert_eq!(named(input.types(&n)), "a number");
        for (path, expected) in [(["currency"], ["USD", "EUR"]), (["mode"], ["a", "b"])] {
            let Found::Listed(place) = at(&path) else { panic!() };
            assert_eq!(input.values(&place).unwrap(), expected, "{path:?}");
        }
    }

    #[test]
    fn what_brings_keys_from_elsewhere_leaves_a_schema_open() {
        let check = |schema: &str, expected: Found<'_>| {
            let schema: Value = serde_json::from_str(schema).unwrap();
            let input = Input::of(&schema);
            assert_eq!(input.property(&input.arguments(), "x"), expected, "{schema}");
        };
        check(r#"{"properties":{"a":{}},"additionalProperties":false}"#, Found::Closed);
        check(r#"{"properties":{"a":{}}}"#, Found::Unlisted);
        check(r#"{"properties":{"a":{}},"allOf":[{"required":["a"]}]}"#, Found::Unlisted);
        check(r#"{"properties":{"a":{}},"patternProperties":{"^x":{}}}"#, Found::Open);
        check(r#"{"properties":{"a":{}},"$ref":"https://example.com/other"}"#, Found::Open);
        check(r#"{"properties":{"a":{}},"if":{},"then":{"properties":{"x":{}}}}"#, Found::Open);
        check(
            r#"{"properties":{"a":{}},"anyOf":[{"properties":{"b":{}}},{"additionalProperties":true}]}"#,
            Found::Open,
        );
        check(r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##, Found::Open);
        check("{}", Found::Silent);
        check("true", Found::Silent);
    }
}
