//! TOML as a tree, for the files of tools that are configured in it. The only module that knows its parser, which bounds
//! nesting by itself. Entries are put in the order they are written in.

use toml::de::{DeTable, DeValue};

use super::{Entry, FileId, Node, Scalar, Span, Style, Value, parse};
use crate::{
    diagnostic::{Finding, Findings, codes},
    limits::DEPTH_MAX,
};

/// `None`, with at least one finding, when there is no tree worth walking.
pub fn parse(file: FileId, text: &str, nodes_max: usize, findings: &mut Findings) -> Option<Node> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let range = error.span().unwrap_or(0..0);
            let range = range.start.min(text.len())..range.end.min(text.len());
            let at = match text.get(range.clone()) {
                Some(_) => Span::new(file, range.start, range.end),
                None => Span::new(file, 0, 0),
            };
            findings.push(Finding::new(&codes::SYNTAX, at, error.message().to_owned()));
            return None;
        }
    };
    let span = Span::new(file, 0, text.len());
    let mut builder = Builder { file, findings, left: nodes_max, max: nodes_max };
    builder.table(table.into_inner(), span, 0)
}

struct Builder<'f> {
    file: FileId,
    findings: &'f mut Findings,
    left: usize,
    max: usize,
}

impl Builder<'_> {
    fn table(&mut self, table: DeTable<'_>, span: Span, depth: usize) -> Option<Node> {
        self.nest(span, depth)?;
        let mut entries = Vec::new();
        for (key, value) in table {
            let key_span = self.span(key.span());
            let value_span = self.span(value.span());
            let value = self.value(value.into_inner(), value_span, depth + 1)?;
            entries.push(Entry { key: key.into_inner().into_owned(), key_span, value });
        }
        entries.sort_by_key(|entry| entry.key_span);
        Some(Node { span, value: Value::Map(entries) })
    }

    fn value(&mut self, value: DeValue<'_>, span: Span, depth: usize) -> Option<Node> {
        self.nest(span, depth)?;
        let plain = |text: String| Value::Scalar(Scalar { text, style: Style::Plain });
        let value = match value {
            DeValue::String(text) => {
                Value::Scalar(Scalar { text: text.into_owned(), style: Style::DoubleQuoted })
            }
            DeValue::Integer(number) => plain(number.to_string()),
            DeValue::Float(number) => plain(number.to_string()),
            DeValue::Boolean(truth) => plain(truth.to_string()),
            DeValue::Datetime(moment) => plain(moment.to_string()),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    let span = self.span(item.span());
                    list.push(self.value(item.into_inner(), span, depth + 1)?);
                }
                Value::List(list)
            }
            DeValue::Table(table) => return self.table(table, span, depth),
        };
        Some(Node { span, value })
    }

    fn nest(&mut self, span: Span, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            self.findings.push(parse::too_deep(span));
            return None;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.findings.push(parse::too_many_nodes(span, self.max));
            return None;
        };
        self.left = left;
        Some(())
    }

    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(self.file, range.start, range.end)
    }
}
