//! Texts that may hold `${…}`. [`Walk::text`] gives the finished text, with every value that a
//! reference brought in counted among the table's sources; [`Walk::secret`] keeps the references,
//! because what they name must never enter the table.

use strait_table::rules::{Source, Text, TextPart};

use super::Walk;
use crate::{
    diagnostic::{Finding, codes},
    limits::REFERENCED_BYTES_MAX,
    source::{
        Kind, Node, Span, include,
        read::{self, ReadError},
        reference::{self, Part, Spelling},
    },
};

impl Walk<'_> {
    /// A text: neither number nor boolean, so that `version: 1.10` is never `1.1`.
    pub fn text(&mut self, node: &Node) -> Option<String> {
        self.text_spelt(node, Spelling::Native)
    }

    pub fn text_spelt(&mut self, node: &Node, spelling: Spelling) -> Option<String> {
        let scalar = self.scalar(node, "text")?;
        if scalar.kind() != Kind::Text {
            let finding = self.wrong_type(node, "text").help(format!("quote it: `\"{}\"`", scalar.text));
            self.report(finding);
            return None;
        }
        self.resolve(node, spelling)
    }

    /// A text where a bare number or boolean is taken as written: arguments of a command.
    pub fn loose_text(&mut self, node: &Node, spelling: Spelling) -> Option<String> {
        self.scalar(node, "text")?;
        self.resolve(node, spelling)
    }

    /// A text that may be a secret: its references stay.
    pub fn secret(&mut self, node: &Node, spelling: Spelling) -> Option<Text> {
        let parts = self.parts(node, spelling)?;
        for part in &parts {
            if let Part::Secret { name, start, end } = part {
                let at = self.within(node, *start, *end);
                self.spoken.push((name.clone(), at));
            }
        }
        let name = self.files.file(node.span.file).name.as_str();
        let parts = parts.into_iter().map(|part| match part {
            Part::Literal(text) => TextPart::Literal(text),
            Part::Env { name, default, .. } => TextPart::Env { name, default },
            Part::Secret { name, .. } => TextPart::Secret(name),
            Part::File { path, .. } => TextPart::File(include::seen_from_root(name, &path)),
        });
        Some(Text { parts: parts.collect() })
    }

    fn resolve(&mut self, node: &Node, spelling: Spelling) -> Option<String> {
        let mut out = String::new();
        for part in self.parts(node, spelling)? {
            match part {
                Part::Literal(text) => out.push_str(&text),
                Part::Env { name, default, start, end } => {
                    let at = self.within(node, start, end);
                    out.push_str(&self.variable(&name, default, at)?);
                }
                Part::File { path, start, end } => {
                    let at = self.within(node, start, end);
                    out.push_str(&self.referenced_file(&path, at)?);
                }
                Part::Secret { start, end, .. } => {
                    let at = self.within(node, start, end);
                    let message = "a secret cannot stand here: this value is written into the table";
                    let finding = Finding::new(&codes::REFERENCE, at, message)
                        .help("secrets belong in `credential` and in the `env` of a stdio upstream");
                    self.report(finding);
                    return None;
                }
            }
        }
        Some(out)
    }

    fn parts(&mut self, node: &Node, spelling: Spelling) -> Option<Vec<Part>> {
        let scalar = self.scalar(node, "text")?;
        if scalar.text.contains('\0') {
            self.report(Finding::new(&codes::NAME, node.span, "this text holds a zero byte"));
            return None;
        }
        match reference::parse(&scalar.text, spelling) {
            Ok(parts) => Some(parts),
            Err(wrong) => {
                let at = self.within(node, wrong.start, wrong.end);
                self.report(Finding::new(&codes::REFERENCE, at, wrong.message).help(wrong.help));
                None
            }
        }
    }

    /// The place of a stretch of a scalar's text.
    pub fn within(&self, node: &Node, start: usize, end: usize) -> Span {
        node.span_within(&self.files.file(node.span.file).text, start, end)
    }

    fn variable(&mut self, name: &str, default: Option<String>, at: Span) -> Option<String> {
        // As in a shell, `:-` also replaces an empty value.
        let set = (self.env)(name).filter(|value| default.is_none() || !value.is_empty());
        if let (None, Some(default)) = (&set, default) {
            self.count(format!("${{env:{name}:-{default}}}"), &default);
            return Some(default);
        }
        let Some(value) = set else {
            let message = format!("the environment variable `{name}` is not set");
            let finding = Finding::new(&codes::UNRESOLVED, at, message)
                .help(format!("set it, or write a default: `${{env:{name}:-…}}`"));
            self.report(finding);
            return None;
        };
        self.count(format!("${{env:{name}}}"), &value);
        Some(value)
    }

    fn referenced_file(&mut self, written: &str, at: Span) -> Option<String> {
        let file = self.files.file(at.file);
        if file.path.as_os_str().is_empty() {
            let message = "text that is not in a file refers to no other file";
            self.report(Finding::new(&codes::UNRESOLVED, at, message));
            return None;
        }
        let path = file.folder().join(written);
        let name = include::seen_from_root(&file.name, written);
        match read::read(&path, REFERENCED_BYTES_MAX) {
            Ok(text) => {
                self.watched.push(path);
                let text = text.strip_suffix('\n').unwrap_or(&text);
                self.count(format!("${{file:{name}}}"), text);
                Some(text.to_owned())
            }
            Err(error) => {
                let why = match error {
                    ReadError::Io(why) => why,
                    ReadError::NotAFile(what) => format!("it is {what}"),
                    ReadError::TooLarge { bytes, max } => format!("it has {bytes} bytes, more than {max}"),
                    ReadError::NotText { .. } => "it is not UTF-8 text".to_owned(),
                };
                self.report(Finding::new(&codes::UNRESOLVED, at, format!("cannot read `{name}`: {why}")));
                None
            }
        }
    }

    fn count(&mut self, path: String, value: &str) {
        if self.counted.insert(path.clone()) {
            self.resolved.push(Source { path, blake3: *blake3::hash(value.as_bytes()).as_bytes() });
        }
    }
}
