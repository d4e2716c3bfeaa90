//! The JSON Schema 2020-12 of the language, for editors. Made from the walker's own key tables, so
//! that the two cannot drift apart: a key is in both or in neither. The schema says what the shape of
//! a file is; what only shows when names are resolved is for `strait check`.

use serde_json::{Map, Value, json};

use crate::walk::keys::{Block, Key, MCP_ROOT, ROOT, Shape};

pub fn schema() -> Value {
    let mut definitions = Map::new();
    let native = block(&ROOT, &mut definitions);
    let foreign = block(&MCP_ROOT, &mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://strait.dev/schema/1/config.json",
        "title": "Strait configuration, version 1",
        "if": { "required": ["mcpServers"] },
        "then": foreign,
        "else": native,
        "$defs": definitions,
    })
}

/// A reference to the block's definition, made on first use.
fn block(block: &'static Block, definitions: &mut Map<String, Value>) -> Value {
    let name: String = block.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let reference = json!({ "$ref": format!("#/$defs/{name}") });
    if definitions.contains_key(&name) {
        return reference;
    }
    // Its place is taken before its keys are looked at, for blocks within blocks.
    definitions.insert(name.clone(), Value::Null);
    let properties: Map<String, Value> =
        block.keys.iter().map(|key| (key.name.to_owned(), property(key, definitions))).collect();
    let required: Vec<&str> = block.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    // What a rule must say may stand in another file only for the root's blocks.
    let required = if block.name == "`policy`" { Vec::new() } else { required };
    let definition = json!({
        "type": "object",
        "description": block.about,
        "properties": properties,
        "required": if block.name == ROOT.name { Vec::new() } else { required },
        "additionalProperties": block.foreign,
    });
    definitions.insert(name, definition);
    reference
}

fn property(key: &'static Key, definitions: &mut Map<String, Value>) -> Value {
    let mut property = shape(&key.shape, definitions);
    if let Value::Object(map) = &mut property {
        map.insert("description".to_owned(), Value::from(key.about));
    }
    property
}

fn shape(of: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    match of {
        Shape::Version => json!({ "enum": [1, "1"] }),
        Shape::Text => json!({ "type": "string" }),
        Shape::LooseText | Shape::Secret => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Value => json!({}),
        Shape::Share => json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$" },
        ] }),
        Shape::Duration => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Shape::Size => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" }),
        Shape::Words(words) => json!({ "enum": words }),
        Shape::List(item) => json!({ "type": "array", "items": shape(item, definitions) }),
        Shape::OneOrMany(item) => {
            let item = shape(item, definitions);
            json!({ "anyOf": [item, { "type": "array", "items": item }] })
        }
        Shape::Json => json!({ "type": "object" }),
        Shape::Names(item) => {
            json!({ "type": ["object", "null"], "additionalProperties": shape(item, definitions) })
        }
        Shape::Block(of) => block(of, definitions),
        Shape::Either(shapes) => {
            let shapes: Vec<Value> = shapes.iter().map(|of| shape(of, definitions)).collect();
            json!({ "anyOf": shapes })
        }
    }
}
