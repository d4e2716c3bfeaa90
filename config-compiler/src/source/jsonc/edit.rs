//! Somebody else's JSON with comments, edited where it stands: what is not touched keeps every byte, comments, blanks and
//! unknown keys. A file in which it is not plain what would be edited (a key twice, text where a mapping belongs) is
//! refused.

use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::OPTIONS;

/// One change.
#[derive(Clone, Debug)]
pub enum Put {
    /// A member of the mapping at a path of keys, each made where it is missing.
    Member { at: Vec<String>, name: String, value: Value },
    /// An element of the list beneath a key, told from others by its `id`.
    Element { list: String, id: String, value: Value },
}

/// The text with these changes. The mistake is a sentence about the file.
pub fn put(text: &str, changes: &[Put]) -> Result<String, String> {
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|error| {
        format!("it is not JSON: {} at {}:{}", error.kind(), error.line_display(), error.column_display())
    })?;
    let object = match root.value() {
        None => root.object_value_or_set(),
        Some(_) => root.object_value().ok_or("it holds something other than one mapping")?,
    };
    for change in changes {
        match change {
            Put::Member { at, name, value } => {
                let mut object = object.clone();
                for key in at {
                    once(&object, key)?;
                    object = object
                        .object_value_or_create(key)
                        .ok_or_else(|| format!("`{key}` is not a mapping in it"))?;
                }
                once(&object, name)?;
                match object.get(name) {
                    Some(member) => {
                        if member.to_serde_value().as_ref() != Some(value) {
                            member.set_value(input(value));
                        }
                    }
                    None => {
                        object.append(name, input(value));
                    }
                }
            }
            Put::Element { list, id, value } => {
                once(&object, list)?;
                let array = object
                    .array_value_or_create(list)
                    .ok_or_else(|| format!("`{list}` is not a list in it"))?;
                let has_id = |element: &jsonc_parser::cst::CstNode| {
                    element.to_serde_value().is_some_and(|element| element["id"] == *id)
                };
                if !array.elements().iter().any(has_id) {
                    array.append(input(value));
                }
            }
        }
    }
    Ok(root.to_string())
}

/// Two readers could take different ones of two members of one name.
fn once(object: &CstObject, name: &str) -> Result<(), String> {
    let named = |member: &jsonc_parser::cst::CstObjectProp| member.decoded_name().as_deref() == Some(name);
    match object.properties().iter().filter(|member| named(member)).count() {
        0 | 1 => Ok(()),
        _ => Err(format!("`{name}` is written twice in it")),
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(truth) => CstInputValue::Bool(*truth),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn strait(text: &str) -> Result<String, String> {
        let change = Put::Member {
            at: vec!["mcpServers".to_owned()],
            name: "strait".to_owned(),
            value: json!({ "url": "http://127.0.0.1:8080/mcp" }),
        };
        put(text, &[change])
    }

    #[test]
    fn what_is_not_touched_keeps_every_byte() {
        let before = "// mine\n{\n\t\"theme\" : \"dark\", // odd  blanks\n\t\"mcpServers\": {\n\t\t\"a\": { \"command\": \"x\" }, /* kept */\n\t},\n}\n";
        let after = strait(before).unwrap();
        for kept in [
            "// mine\n",
            "\t\"theme\" : \"dark\", // odd  blanks\n",
            "\t\t\"a\": { \"command\": \"x\" }, /* kept */\n",
        ] {
            assert!(after.contains(kept), "{after}");
        }
        assert!(after.contains("\"url\": \"http://127.0.0.1:8080/mcp\""), "{after}");
        assert_eq!(strait(&after).unwrap(), after, "a second time changes nothing");
    }

    #[test]
    fn a_file_that_is_not_plain_is_refused() {
        for (text, says) in [
            ("{\"mcpServers\": []}", "is not a mapping"),
            ("{\"mcpServers\": {}, \"mcpServers\": {}}", "twice"),
            ("{\"mcpServers\": {\"strait\": 1, \"strait\": 2}}", "twice"),
            ("[]", "something other"),
            ("{", "not JSON"),
            ("{'a': 1}", "not JSON"),
        ] {
            assert!(strait(text).is_err_and(|why| why.contains(says)), "{text}");
        }
        let empty: Value = serde_json::from_str(&strait("").unwrap()).unwrap();
        assert_eq!(empty["mcpServers"]["strait"]["url"], "http://127.0.0.1:8080/mcp");
    }

    #[test]
    fn an_element_is_added_once() {
        let change =
            Put::Element { list: "inputs".to_owned(), id: "k".to_owned(), value: json!({ "id": "k" }) };
        let once = put("{}", std::slice::from_ref(&change)).unwrap();
        assert_eq!(put(&once, &[change]).unwrap(), once);
        assert_eq!(once.matches("\"k\"").count(), 1);
    }
}
