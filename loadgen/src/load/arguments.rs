//! Arguments for a tool nobody gave arguments for: the smallest object that its schema asks for, with the
//! request's number in it wherever a text may stand, so that no two calls are equal.

use serde_json::{Map, Value, json};

/// Stands for the request's number (`target::Template`).
pub(crate) const SEQUENCE: &str = "{{seq}}";
const DEPTH_MAX: usize = 8;

/// Arguments that fit the schema as far as it is simple: required members, and one text if there is any.
pub fn for_schema(schema: &Value) -> String {
    let mut arguments = object(schema, 0);
    let properties = schema["properties"].as_object();
    let text = properties.and_then(|all| all.iter().find(|(_, schema)| is_free_text(schema)));
    if let Some((name, _)) = text.filter(|_| !arguments.values().any(Value::is_string)) {
        arguments.insert(name.clone(), numbered());
    }
    Value::Object(arguments).to_string()
}

/// The same arguments with so many bytes more: in the first text they hold, else under `padding`.
pub fn padded(arguments: &str, bytes: usize) -> String {
    if bytes == 0 {
        return arguments.to_owned();
    }
    let padding = "x".repeat(bytes);
    if let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(arguments) {
        let text = members.values_mut().find(|value| value.is_string());
        match text {
            Some(Value::String(text)) => text.push_str(&padding),
            _ => drop(members.insert("padding".to_owned(), Value::String(padding))),
        }
        return Value::Object(members).to_string();
    }
    // A bare `{{seq}}` makes it no JSON yet: the padding goes in front of everything.
    match arguments.trim_start().strip_prefix('{') {
        Some(rest) => format!(r#"{{"padding":"{padding}",{rest}"#),
        None => arguments.to_owned(),
    }
}

fn numbered() -> Value {
    Value::String(format!("call {SEQUENCE}"))
}

fn is_free_text(schema: &Value) -> bool {
    schema["type"] == "string" && schema.get("enum").is_none() && schema.get("format").is_none()
}

fn object(schema: &Value, depth: usize) -> Map<String, Value> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required.map(|name| (name.to_owned(), value(&schema["properties"][name], depth + 1))).collect()
}

fn value(schema: &Value, depth: usize) -> Value {
    for given in ["const", "default"] {
        if let Some(value) = schema.get(given) {
            return value.clone();
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind {
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(false),
        "array" => json!([]),
        "null" => Value::Null,
        "object" if depth < DEPTH_MAX => Value::Object(object(schema, depth)),
        "object" => json!({}),
        _ => numbered(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_as_small_as_their_schema_allows() {
        let cases = [
            (json!({}), json!({})),
            (json!({ "properties": { "text": { "type": "string" } } }), json!({ "text": "call {{seq}}" })),
            (
                json!({ "required": ["n", "kind", "deep"], "properties": {
                    "n": { "type": "integer", "minimum": 3 },
                    "kind": { "enum": ["a", "b"] },
                    "deep": { "type": "object", "required": ["x"], "properties": { "x": { "type": ["boolean", "null"] } } },
                    "more": { "type": "string" },
                } }),
                json!({ "n": 3, "kind": "a", "deep": { "x": false } }),
            ),
            (
                json!({ "required": ["n"], "properties": { "n": { "type": "number" }, "text": { "type": "string" } } }),
                json!({ "n": 1, "text": "call {{seq}}" }),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(serde_json::from_str::<Value>(&for_schema(&schema)).unwrap(), expected, "{schema}");
        }
    }

    #[test]
    fn padding_goes_into_a_text_if_there_is_one() {
        assert_eq!(padded(r#"{"n":1,"text":"a"}"#, 3), r#"{"n":1,"text":"axxx"}"#);
        assert_eq!(padded(r#"{"n":1}"#, 2), r#"{"n":1,"padding":"xx"}"#);
        assert_eq!(padded(r#"{"n":{{seq}}}"#, 2), r#"{"padding":"xx","n":{{seq}}}"#);
        assert_eq!(padded("{}", 0), "{}");
    }
}
