//! `x-mcp-header`: arguments of a tool that HTTP headers must repeat, so that whoever routes by header sees what the
//! server will do. A tool that breaks the rules of the annotation is not shown: clients over HTTP would drop it too.

use serde_json::{Map, Value};

use crate::bound::{Mirrored, Scalar};

const ANNOTATION: &str = "x-mcp-header";

/// What a tool's definition annotates, or the rule that it breaks.
pub fn mirrored(definition: &str) -> Result<Vec<Mirrored>, &'static str> {
    // A key may be written with escapes; only then is it worth a look although the word does not show.
    if !definition.contains(ANNOTATION) && !definition.contains("\\u") {
        return Ok(Vec::new());
    }
    let tool: Value = serde_json::from_str(definition).unwrap_or_default();
    let mut found = Vec::new();
    if let Some(Value::Object(schema)) = tool.get("inputSchema") {
        Walk { path: Vec::new(), found: &mut found }.schema(schema, true)?;
    }
    Ok(found)
}

struct Walk<'f> {
    /// Keys from `arguments` to the schema being looked at.
    path: Vec<String>,
    found: &'f mut Vec<Mirrored>,
}

impl Walk<'_> {
    /// `reachable`: an argument has exactly one place that this schema speaks of.
    fn schema(&mut self, schema: &Map<String, Value>, reachable: bool) -> Result<(), &'static str> {
        if let Some(annotation) = schema.get(ANNOTATION) {
            let mirrored = self.annotated(schema, annotation, reachable)?;
            if self.found.iter().any(|other| other.header.eq_ignore_ascii_case(&mirrored.header)) {
                return Err("two of its arguments have the same `x-mcp-header`");
            }
            self.found.push(mirrored);
        }
        for (keyword, value) in schema {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        self.path.push(name.clone());
                        self.each(property, reachable)?;
                        self.path.pop();
                    }
                }
                (
                    "$defs" | "definitions" | "patternProperties" | "dependentSchemas",
                    Value::Object(schemas),
                ) => schemas.values().try_for_each(|schema| self.each(schema, false))?,
                ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                    schemas.iter().try_for_each(|schema| self.each(schema, false))?;
                }
                // What these hold is data.
                ("default" | "const" | "enum" | "examples", _) => {}
                (_, Value::Object(_)) => self.each(value, false)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn each(&mut self, schema: &Value, reachable: bool) -> Result<(), &'static str> {
        schema.as_object().map_or(Ok(()), |schema| self.schema(schema, reachable))
    }

    fn annotated(
        &self,
        schema: &Map<String, Value>,
        annotation: &Value,
        reachable: bool,
    ) -> Result<Mirrored, &'static str> {
        if !reachable || self.path.is_empty() {
            return Err("its `x-mcp-header` is not on a property that is reached through properties alone");
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let header = annotation.as_str().filter(|text| !text.is_empty() && text.bytes().all(token));
        let header = header.ok_or("its `x-mcp-header` is not a header name")?;
        let scalar = match schema.get("type").and_then(Value::as_str) {
            Some("string") => Scalar::Text,
            Some("integer") => Scalar::Integer,
            Some("boolean") => Scalar::Boolean,
            _ => return Err("its `x-mcp-header` is not on a string, an integer or a boolean"),
        };
        Ok(Mirrored { header: header.to_owned(), path: self.path.clone(), scalar })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &str) -> Result<Vec<(String, String, Scalar)>, &'static str> {
        let tool = format!(r#"{{"name":"t","inputSchema":{{"type":"object","properties":{properties}}}}}"#);
        let found = mirrored(&tool)?;
        Ok(found.into_iter().map(|one| (one.header, one.path.join("/"), one.scalar)).collect())
    }

    #[test]
    fn annotations_are_found_with_the_way_to_their_argument() {
        let found = of(r#"{"a":{"type":"string","x-mcp-header":"A"},"n":{"type":"object","properties":
            {"i":{"type":"integer","x\u002dmcp-header":"I-2"},"b":{"type":"boolean","x-mcp-header":"b"}}}}"#);
        let expected = [
            ("A".to_owned(), "a".to_owned(), Scalar::Text),
            ("b".to_owned(), "n/b".to_owned(), Scalar::Boolean),
            ("I-2".to_owned(), "n/i".to_owned(), Scalar::Integer),
        ];
        let mut found = found.unwrap();
        found.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(found, expected);
        // A property of that name, and data, annotate nothing.
        assert_eq!(
            of(r#"{"x-mcp-header":{"type":"string"},"d":{"default":{"x-mcp-header":"A"}}}"#),
            Ok(vec![])
        );
        assert_eq!(mirrored("{}"), Ok(vec![]));
    }

    #[test]
    fn a_broken_annotation_is_told() {
        let name = "its `x-mcp-header` is not a header name";
        let scalar = "its `x-mcp-header` is not on a string, an integer or a boolean";
        let place = "its `x-mcp-header` is not on a property that is reached through properties alone";
        let a = |annotation: &str, kind: &str| format!(r#"{{"type":{kind},"x-mcp-header":{annotation}}}"#);
        let text = |annotation: &str| a(annotation, "\"string\"");
        for (schema, expected) in [
            (text("\"\""), name),
            (text("\"a b\""), name),
            (text("\"a:b\""), name),
            (text("\"\u{e9}\""), name),
            (text("7"), name),
            (a("\"A\"", "\"number\""), scalar),
            (a("\"A\"", "\"object\""), scalar),
            (a("\"A\"", "[\"string\",\"null\"]"), scalar),
            (r#"{"x-mcp-header":"A"}"#.to_owned(), scalar),
            (format!(r#"{{"type":"array","items":{}}}"#, text("\"A\"")), place),
            (format!(r#"{{"anyOf":[{}]}}"#, text("\"A\"")), place),
            (format!(r#"{{"not":{}}}"#, text("\"A\"")), place),
            (format!(r#"{{"then":{{"properties":{{"x":{}}}}}}}"#, text("\"A\"")), place),
            (format!(r#"{{"$defs":{{"x":{}}}}}"#, text("\"A\"")), place),
        ] {
            assert_eq!(of(&format!(r#"{{"p":{schema}}}"#)), Err(expected), "{schema}");
        }
        let twice = format!(r#"{{"p":{},"q":{}}}"#, text("\"A\""), text("\"a\""));
        assert_eq!(of(&twice), Err("two of its arguments have the same `x-mcp-header`"));
        let root = r#"{"inputSchema":{"type":"string","x-mcp-header":"A"}}"#;
        assert_eq!(mirrored(root), Err(place));
    }
}
