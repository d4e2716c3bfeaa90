//! Arguments that 2026-07-28 wants repeated in headers: which they are, learned from the lists of tools that pass
//! through, and the headers of a call. A stdio client knows nothing of headers; over HTTP they are demanded.
//!
//! What breaks the rules for `x-mcp-header` is not mirrored: such a tool is the gateway's to drop.

use std::collections::HashMap;

use hyper::header::{HeaderName, HeaderValue};
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Members, unescape};
use strait_protocol::mcp::header::{PARAMETER_PREFIX, encode};

use super::link::Headers;
use crate::limits::FRONT_MIRRORED_TOOLS_MAX;
use crate::log;

const ANNOTATION: &str = "x-mcp-header";
/// Objects in objects in which an argument may stand; deeper ones the decoder refuses in a call.
const DEPTH_MAX: usize = strait_protocol::limits::DEPTH_MAX;

/// By name of a tool; one without an annotation is not in it.
#[derive(Default)]
pub struct Mirror {
    tools: HashMap<Vec<u8>, Vec<Mark>>,
}

/// One annotated argument.
struct Mark {
    header: HeaderName,
    /// Keys from the arguments to the value.
    path: Vec<Vec<u8>>,
}

impl Mirror {
    /// Reads a page of a list of tools; the first page replaces what was known.
    pub fn learn(&mut self, answer: &[u8], result: Span, is_first: bool) {
        if is_first {
            self.tools.clear();
        }
        let Ok(Some(tools)) = Members::find(answer, result, "tools") else { return };
        for tool in Elements::of(answer, tools).map_while(Result::ok) {
            let Some(name) = member(answer, tool, "name").and_then(|name| string(name.of(answer))) else {
                continue;
            };
            let Some(schema) = member(answer, tool, "inputSchema") else { continue };
            let mut marks = Vec::new();
            find(answer, schema, &mut Vec::new(), &mut marks);
            if marks.is_empty() {
                self.tools.remove(&name);
            } else if self.tools.len() < FRONT_MIRRORED_TOOLS_MAX {
                self.tools.insert(name, marks);
            } else {
                let max = FRONT_MIRRORED_TOOLS_MAX;
                return log::warn(format!(
                    "strait stdio: more than {max} tools with `{ANNOTATION}`: not all are known"
                ));
            }
        }
    }

    /// The headers of a call.
    pub fn headers(&self, tool: &[u8], body: &[u8], arguments: Option<Span>) -> Headers {
        let (Some(marks), Some(arguments)) = (self.tools.get(tool), arguments) else { return Vec::new() };
        marks.iter().filter_map(|mark| Some((mark.header.clone(), mark.value(body, arguments)?))).collect()
    }
}

impl Mark {
    fn value(&self, body: &[u8], arguments: Span) -> Option<HeaderValue> {
        let mut at = arguments;
        for key in &self.path {
            at = Members::of(body, at).map_while(Result::ok).find(|m| *m.key_text(body) == **key)?.value;
        }
        let raw = at.of(body);
        let said = match raw {
            b"true" | b"false" => raw.to_vec(),
            [b'"', ..] => string(raw)?,
            // Null is as good as absent, and nothing else has a form in a header.
            _ => integer(raw)?.to_string().into_bytes(),
        };
        let mut encoded = Vec::new();
        encode(&mut encoded, &said);
        HeaderValue::from_bytes(&encoded).ok()
    }
}

/// Looks for annotations where the rules allow them: under `properties` and nothing else.
fn find(answer: &[u8], schema: Span, path: &mut Vec<Vec<u8>>, marks: &mut Vec<Mark>) {
    if path.len() >= DEPTH_MAX {
        return;
    }
    let Some(properties) = member(answer, schema, "properties") else { return };
    for property in Members::of(answer, properties).map_while(Result::ok) {
        path.push(property.key_text(answer).into_owned());
        if let Some(header) = annotated(answer, property.value) {
            marks.push(Mark { header, path: path.clone() });
        }
        find(answer, property.value, path, marks);
        path.pop();
    }
}

fn annotated(answer: &[u8], property: Span) -> Option<HeaderName> {
    let word = string(member(answer, property, ANNOTATION)?.of(answer))?;
    let kind = string(member(answer, property, "type")?.of(answer))?;
    if word.is_empty() || !matches!(kind.as_slice(), b"string" | b"integer" | b"boolean") {
        return None;
    }
    let mut name = PARAMETER_PREFIX.as_bytes().to_vec();
    name.extend_from_slice(&word);
    HeaderName::from_bytes(&name).ok()
}

/// A member of what may be an object.
fn member(bytes: &[u8], object: Span, key: &str) -> Option<Span> {
    Members::find(bytes, object, key).ok().flatten()
}

/// What a string says, given with its quotes.
pub fn string(raw: &[u8]) -> Option<Vec<u8>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(inner.len());
    unescape(inner, &mut out).then_some(out)
}

/// An integer, also when written with a fraction of zeros.
fn integer(raw: &[u8]) -> Option<i64> {
    let raw = std::str::from_utf8(raw).ok()?;
    let (whole, fraction) = raw.split_once('.').unwrap_or((raw, ""));
    fraction.bytes().all(|byte| byte == b'0').then(|| whole.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"id":1,"jsonrpc":"2.0","result":{"tools":[
        {"name":"plain","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}}},
        {"name":"na\u006dé","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "count":{"type":"integer","x-mcp-header":"Count"},
            "rate":{"type":"number","x-mcp-header":"Rate"},
            "bad":{"type":"string","x-mcp-header":"no token"},
            "list":{"type":"array","items":{"type":"string","x-mcp-header":"Item"}},
            "inner":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry"}}}}}}]}}"#;

    fn learned() -> Mirror {
        let mut mirror = Mirror::default();
        let result = Members::find(PAGE.as_bytes(), Span::between(0, PAGE.len()), "result").unwrap().unwrap();
        mirror.learn(PAGE.as_bytes(), result, true);
        mirror
    }

    #[track_caller]
    fn check(arguments: &str, expected: &[(&str, &str)]) {
        let headers = learned().headers(
            "namé".as_bytes(),
            arguments.as_bytes(),
            Some(Span::between(0, arguments.len())),
        );
        let found: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, expected, "{arguments}");
    }

    #[test]
    fn annotated_arguments_become_headers() {
        check(
            r#"{"region":"eu","count":42.0,"rate":1.5,"bad":"x","list":["x"],"inner":{"dry":true}}"#,
            &[("mcp-param-region", "eu"), ("mcp-param-count", "42"), ("mcp-param-dry", "true")],
        );
        check(r#"{"region":"Z\u00fcrich"}"#, &[("mcp-param-region", "=?base64?WsO8cmljaA==?=")]);
        check(r#"{"regi\u006fn":"","count":null,"inner":3}"#, &[("mcp-param-region", "")]);
        check(r#"{"region":{"a":1},"count":1.5}"#, &[]);
        check("{}", &[]);
    }

    #[test]
    fn a_first_page_forgets_and_a_later_one_adds() {
        let mut mirror = learned();
        assert_eq!(mirror.tools.len(), 1);
        let page = br#"{"result":{"tools":[{"name":"b","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}}"#;
        let result = Members::find(page, Span::between(0, page.len()), "result").unwrap().unwrap();
        mirror.learn(page, result, false);
        assert_eq!(mirror.tools.len(), 2);
        mirror.learn(page, result, true);
        assert_eq!(mirror.tools.len(), 1);
    }
}
