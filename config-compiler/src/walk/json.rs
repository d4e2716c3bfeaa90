//! What the author wrote as the text of JSON: claims, and the values of arguments. Numbers stay as they
//! are written, because they are compared exactly.

use super::Walk;
use crate::{
    diagnostic::{Finding, codes},
    limits::CLAIMS_BYTES_MAX,
    source::{Kind, Node, Value},
};

/// How a text inside is read: with its references, or as written.
type ReadText = fn(&mut Walk<'_>, &Node) -> Option<String>;

impl Walk<'_> {
    pub fn json_object(&mut self, node: &Node, text: ReadText) -> Option<String> {
        self.map(node, "a mapping like `{ level: 3 }`")?;
        self.json_value(node, text, CLAIMS_BYTES_MAX)
    }

    /// Anything that JSON can say.
    pub fn json_value(&mut self, node: &Node, text: ReadText, bytes_max: usize) -> Option<String> {
        let mut out = String::new();
        self.append_json(node, text, &mut out)?;
        if out.len() > bytes_max {
            let message = format!("this has {} bytes as JSON, more than {bytes_max}", out.len());
            let span = self.files.first_line(node.span);
            self.report(Finding::new(&codes::OUT_OF_RANGE, span, message));
            return None;
        }
        Some(out)
    }

    /// A number, as it is written.
    pub fn json_number(&mut self, node: &Node) -> Option<String> {
        const WORD: &str = "a number as JSON writes it";
        let scalar = self.scalar(node, WORD)?;
        if scalar.kind() == Kind::Number && is_json_number(&scalar.text) {
            return Some(scalar.text.clone());
        }
        let finding = self.wrong_type(node, WORD);
        self.report(finding);
        None
    }

    pub fn flag(&mut self, node: &Node) -> Option<bool> {
        const WORD: &str = "`true` or `false`";
        match self.scalar(node, WORD)?.text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let finding = self.wrong_type(node, WORD);
                self.report(finding);
                None
            }
        }
    }

    /// As deep as the parser lets trees be.
    fn append_json(&mut self, node: &Node, text: ReadText, out: &mut String) -> Option<()> {
        match &node.value {
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    self.append_json(item, text, out)?;
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (at, entry) in entries.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    append_text(&entry.key, out);
                    out.push(':');
                    self.append_json(&entry.value, text, out)?;
                }
                out.push('}');
            }
            Value::Scalar(scalar) => match scalar.kind() {
                Kind::Nothing => out.push_str("null"),
                Kind::Bool => out.push_str(&scalar.text.to_ascii_lowercase()),
                Kind::Number if is_json_number(&scalar.text) => out.push_str(&scalar.text),
                Kind::Number => {
                    let finding = self.wrong_type(node, "a number as JSON writes it, or quoted text");
                    self.report(finding);
                    return None;
                }
                Kind::Text => append_text(&text(self, node)?, out),
            },
        }
        Some(())
    }
}

fn append_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    use super::is_json_number;

    #[test]
    fn numbers_are_those_of_json() {
        for yes in ["0", "-0", "12", "1.50", "0.1", "1e9", "-1.5E-3", "500.00000000000000001", "1e+400"] {
            assert!(is_json_number(yes), "{yes}");
        }
        for no in ["", "-", "+1", "01", ".5", "1.", "1e", "1e+", "0x10", "1_0", "--1"] {
            assert!(!is_json_number(no), "{no}");
        }
    }
}
