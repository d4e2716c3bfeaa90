//! The schema and the walker say the same: every key of every table is in the schema and none besides,
//! and the schema accepts the structure of every example the walker accepts. A small validator of the
//! keywords we write stands in for a general one.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strait_config_compiler::{
    load_text, schema,
    walk::keys::{Block, MCP_ROOT, ROOT, Shape},
};

fn keys_of(block: &'static Block, into: &mut BTreeSet<(String, String)>) {
    for key in block.keys {
        if into.insert((block.about.to_owned(), key.name.to_owned())) {
            blocks_in(&key.shape, into);
        }
    }
}

fn blocks_in(shape: &'static Shape, into: &mut BTreeSet<(String, String)>) {
    match shape {
        Shape::Block(block) => keys_of(block, into),
        Shape::List(inner) | Shape::OneOrMany(inner) | Shape::Names(inner) => blocks_in(inner, into),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| blocks_in(shape, into)),
        _ => {}
    }
}

#[test]
fn every_key_is_in_both() {
    let mut walker = BTreeSet::new();
    keys_of(&ROOT, &mut walker);
    keys_of(&MCP_ROOT, &mut walker);
    let schema = schema();
    let mut written = BTreeSet::new();
    for definition in schema["$defs"].as_object().unwrap().values() {
        for (key, property) in definition["properties"].as_object().unwrap() {
            written.insert((definition["description"].as_str().unwrap().to_owned(), key.clone()));
            assert!(
                property["description"].as_str().is_some_and(|text| text.len() > 4),
                "{key} is described"
            );
        }
    }
    assert_eq!(walker, written);
}

fn accepts(schema: &Value, of: &Value, value: &Value) -> bool {
    if let Some(reference) = of["$ref"].as_str() {
        return accepts(schema, &schema["$defs"][reference.trim_start_matches("#/$defs/")], value);
    }
    let type_fits = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        other => panic!("unknown type {other}"),
    };
    let fits = match &of["type"] {
        Value::String(name) => type_fits(name),
        Value::Array(names) => names.iter().any(|name| type_fits(name.as_str().unwrap())),
        _ => true,
    };
    fits && of["enum"].as_array().is_none_or(|words| words.contains(value))
        && of["anyOf"].as_array().is_none_or(|any| any.iter().any(|of| accepts(schema, of, value)))
        && value.as_array().is_none_or(|items| {
            of.get("items").is_none_or(|of| items.iter().all(|item| accepts(schema, of, item)))
        })
        && value.as_object().is_none_or(|object| {
            let required = of["required"].as_array().cloned().unwrap_or_default();
            required.iter().all(|key| object.contains_key(key.as_str().unwrap()))
                && object.iter().all(|(key, value)| {
                    match (&of["properties"][key], &of["additionalProperties"]) {
                        (Value::Null, Value::Bool(open)) => *open,
                        (Value::Null, Value::Null) => true,
                        (Value::Null, other) => accepts(schema, other, value),
                        (property, _) => accepts(schema, property, value),
                    }
                })
        })
}

/// Each says something that the other must judge alike.
#[test]
fn the_schema_and_the_walker_agree_on_shapes() {
    let schema = schema();
    let base = json!({
        "strait": 1,
        "upstreams": { "a": { "sample": "http" } },
        "servers": { "s": { "path": "/mcp", "tools": ["*"] } },
        "policy": { "default": "allow" },
    });
    let cases = [
        ("/body_max", json!("4MiB"), true),
        ("/body_max", json!(4), false),
        ("/caps", json!({ "connections": 10, "calls": 2, "bytes": "16MiB" }), true),
        ("/caps", json!({ "calls": "2MiB" }), false),
        ("/access_log", json!("off"), true),
        ("/access_log", json!("nowhere"), false),
        ("/access_log", json!({ "path": "a", "sample": 0.5 }), true),
        ("/listeners", json!({ "m": { "bind": "127.0.0.1:1" } }), true),
        ("/listeners", json!({ "m": {} }), false),
        ("/listeners", json!({ "m": { "bind": "127.0.0.1:1", "tls": 5 } }), false),
        ("/listeners", json!({ "m": { "bind": "127.0.0.1:1", "tls": { "cert": "a", "key": "b" } } }), true),
        ("/admin", json!({ "bind": "127.0.0.1:2" }), true),
        ("/admin", json!([]), false),
        ("/upstreams/a", json!({ "http": "http://a" }), true),
        ("/upstreams/a", json!({ "http": ["http://a"], "timeout": { "call": "1s" }, "era": "modern" }), true),
        ("/upstreams/a", json!({ "stdio": { "command": "x", "args": [1, true, "x"], "max": 4 } }), true),
        ("/upstreams/a", json!({ "stdio": { "args": [] } }), false),
        ("/upstreams/a", json!({ "sample": "smtp" }), false),
        ("/upstreams/a", json!({ "sample": "http", "credential": { "header": { "name": "X" } } }), false),
        ("/servers/s/auth", json!("none"), true),
        ("/servers/s/auth", json!("all"), false),
        ("/servers/s/tools", json!("*"), false),
        ("/servers/s/naming", json!("bare"), true),
        ("/roles", json!({ "r": "true" }), true),
        ("/roles", json!({ "r": ["true"] }), false),
        ("/roles", Value::Null, true),
        ("/policy/rules", json!([{ "id": "r", "allow": ["*"] }]), true),
        ("/policy/rules", json!([{ "allow": ["*"] }]), false),
        ("/policy/rules", json!([{ "id": "r", "allow": ["*"], "when": "args.x", "during": ["UTC"] }]), true),
        ("/policy/rules", json!([{ "id": "r", "allow": ["*"], "when": 5 }]), false),
        ("/policy/rules", json!([{ "id": "r", "allow": ["*"], "approvers": "x" }]), false),
        ("/identity", json!({ "i": { "api_keys": { "generate": [{ "id": "a" }] } } }), true),
        ("/identity", json!({ "i": { "jwt": {} } }), false),
        ("/limits", json!([]), true),
        ("/limits", json!([{ "id": "a", "per": ["principal"], "rate": "20/s", "burst": 40 }]), true),
        ("/limits", json!([{ "per": [], "concurrency": 8, "on": ["a.*"], "calls": "1/day" }]), true),
        ("/limits", json!([{ "rate": "20/s" }]), false),
        ("/limits", json!([{ "per": ["session"], "rate": "20/s" }]), false),
        ("/limits", json!([{ "per": [], "rate": 20 }]), false),
        ("/limits", json!({}), false),
        ("/prices", json!({ "a.*": "0.5 usd" }), true),
        ("/prices", json!({ "a.*": 5 }), false),
        ("/screen", json!([]), false),
    ];
    for (place, value, expected) in cases {
        let mut config = base.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        let walker = load_text("case.json", &config.to_string(), &|_| None).rules.is_some();
        assert_eq!(walker, expected, "the walker on {config}");
        assert_eq!(accepts(&schema, &schema["else"], &config), expected, "the schema on {config}");
    }
}
