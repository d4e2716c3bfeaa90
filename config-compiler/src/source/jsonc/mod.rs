//! JSON with comments and trailing commas, as editors' and clients' own files are written: as a tree here, and to be
//! edited in [`edit`]. The only module that knows its parser. Looser spellings (missing commas, names without quotes) are refused: two readers of such a
//! file could mean different things.

pub mod edit;

use std::collections::{HashMap, hash_map};

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{ObjectPropName, Value as Json},
    common::Ranged,
    parse_to_ast,
};

use super::{Entry, FileId, Node, Scalar, Span, Style, Value, parse};
use crate::{
    diagnostic::{Finding, Findings, codes},
    limits::DEPTH_MAX,
};

/// What is read as JSON here.
pub const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// `None`, with at least one finding, when there is no tree worth walking.
pub fn parse(file: FileId, text: &str, nodes_max: usize, findings: &mut Findings) -> Option<Node> {
    let parsed = match parse_to_ast(text, &CollectOptions::default(), &OPTIONS) {
        Ok(parsed) => parsed.value,
        Err(error) => {
            let range = error.range();
            let (start, end) = (floor(text, range.start), floor(text, range.end));
            let at = Span::new(file, start, end);
            findings.push(Finding::new(&codes::SYNTAX, at, error.kind().to_string()));
            return None;
        }
    };
    let Some(value) = parsed else {
        findings.push(Finding::new(&codes::EMPTY, Span::new(file, 0, 0), "this file says nothing"));
        return None;
    };
    let mut builder = Builder { file, findings, left: nodes_max, max: nodes_max, whole: true };
    let root = builder.node(value, 0)?;
    builder.whole.then_some(root)
}

/// The nearest start of a letter at or before a place.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

struct Builder<'f> {
    file: FileId,
    findings: &'f mut Findings,
    left: usize,
    max: usize,
    /// No key was written twice.
    whole: bool,
}

impl Builder<'_> {
    fn node(&mut self, value: Json<'_>, depth: usize) -> Option<Node> {
        let range = value.range();
        let span = Span::new(self.file, range.start, range.end);
        self.count(span)?;
        if depth >= DEPTH_MAX && matches!(value, Json::Object(_) | Json::Array(_)) {
            self.findings.push(parse::too_deep(span));
            return None;
        }
        let plain = |text: &str| Scalar { text: text.to_owned(), style: Style::Plain };
        let value = match value {
            Json::StringLit(text) => {
                Value::Scalar(Scalar { text: text.value.into_owned(), style: Style::DoubleQuoted })
            }
            Json::NumberLit(number) => Value::Scalar(plain(number.value)),
            Json::BooleanLit(truth) => Value::Scalar(plain(if truth.value { "true" } else { "false" })),
            Json::NullKeyword(_) => Value::Scalar(plain("null")),
            Json::Array(array) => {
                let items = array.elements.into_iter().map(|item| self.node(item, depth + 1));
                Value::List(items.collect::<Option<Vec<Node>>>()?)
            }
            Json::Object(object) => {
                let mut seen: HashMap<String, Span> = HashMap::new();
                let mut entries = Vec::new();
                for property in object.properties {
                    let range = property.name.range();
                    let key_span = Span::new(self.file, range.start, range.end);
                    self.count(key_span)?;
                    let key = match property.name {
                        ObjectPropName::String(text) => text.value.into_owned(),
                        ObjectPropName::Word(word) => word.value.to_owned(),
                    };
                    let value = self.node(property.value, depth + 1)?;
                    match seen.entry(key.clone()) {
                        hash_map::Entry::Occupied(first) => {
                            self.whole = false;
                            self.findings.push(parse::written_twice(&key, key_span, *first.get()));
                        }
                        hash_map::Entry::Vacant(vacant) => {
                            vacant.insert(key_span);
                            entries.push(Entry { key, key_span, value });
                        }
                    }
                }
                Value::Map(entries)
            }
        };
        Some(Node { span, value })
    }

    fn count(&mut self, span: Span) -> Option<()> {
        self.left = self.left.checked_sub(1).or_else(|| {
            self.findings.push(parse::too_many_nodes(span, self.max));
            None
        })?;
        Some(())
    }
}
