//! From bytes on disk to trees that remember where everything was written.
//!
//! [`read`] takes a file in, within limits; [`parse`] makes a [`Node`] of it, and is the only place
//! that knows the YAML parser; [`jsonc`] and [`toml`] do the same for files of other tools; [`include`] follows `include:` and gathers all files of a load;
//! [`reference`] reads `${…}` inside texts. The tree is our own, so that the walker, the key files and
//! the `mcpServers` form share one way to point at the author's text.

pub mod include;
pub mod jsonc;
pub mod map;
pub mod parse;
pub mod pieces;
pub mod read;
pub mod reference;
pub mod toml;

pub use map::{FileId, SourceFile, SourceMap, Span};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order written; keys are distinct.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

/// Text as written, unescaped. What it means (number, word, nothing) is for the reader to say: YAML's
/// own guesses are how a country code becomes `false`.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    pub style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    /// `|` and `>`.
    Block,
}

/// What a plain scalar is by YAML 1.2's core schema. Quoted text is always text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nothing,
    Bool,
    Number,
    Text,
}

impl Scalar {
    pub fn kind(&self) -> Kind {
        if self.style != Style::Plain {
            return Kind::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Kind::Nothing,
            "true" | "false" | "True" | "False" | "TRUE" | "FALSE" => Kind::Bool,
            text if is_number(text) => Kind::Number,
            _ => Kind::Text,
        }
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.contains(|c: char| c.is_ascii_digit())
        && text.parse::<f64>().is_ok()
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    pub fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar(s) if s.kind() == Kind::Nothing)
    }

    /// What an author would call it.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar(scalar) => match scalar.kind() {
                Kind::Nothing => "nothing".to_owned(),
                Kind::Bool => format!("`{}`", scalar.text),
                Kind::Number => format!("the number `{}`", scalar.text),
                Kind::Text => "text".to_owned(),
            },
        }
    }
}
