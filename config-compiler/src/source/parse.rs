//! One file's text as a tree. The only module that knows the YAML parser: it drives the event stream
//! with a stack of its own, so that depth and size are bounded before anything is built, and turns
//! what the language leaves out (anchors, aliases, tags, several documents, keys that are not text)
//! into findings. JSON comes in by the same door, being a subset of YAML 1.2.

use std::collections::{HashMap, hash_map};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError};

use super::{Entry, FileId, Node, Scalar, Span, Style, Value};
use crate::{
    diagnostic::{Code, Finding, Findings, codes},
    limits::DEPTH_MAX,
};

/// `None`, with at least one finding, when there is no tree worth walking. `nodes_max`: the bound of the kind of file it is.
pub fn parse(file: FileId, text: &str, nodes_max: usize, findings: &mut Findings) -> Option<Node> {
    let roots = documents(file, text, nodes_max, 1, findings)?;
    match roots.into_iter().next().filter(|root| !root.is_nothing()) {
        Some(root) => Some(root),
        None => {
            findings.push(
                Finding::new(&codes::EMPTY, Span::new(file, 0, 0), "this file says nothing")
                    .help("a configuration begins with `strait: 1`"),
            );
            None
        }
    }
}

/// The trees of a file that may hold several documents, `max` at most. `None`, with a finding: not all could be read.
pub fn documents(
    file: FileId,
    text: &str,
    nodes_max: usize,
    max: usize,
    findings: &mut Findings,
) -> Option<Vec<Node>> {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        // Undefined aliases are refused by us like defined ones, and the rest is still read.
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
        // JSON knows no limit on keys; ours is the file's.
        simple_key_max_lookahead: 64 << 10,
    };
    options.set_emit_comments(false);
    let mut builder = Builder {
        file,
        findings,
        stack: Vec::new(),
        roots: Vec::new(),
        max,
        nodes: 0,
        nodes_max,
        whole: true,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let outcome = match next {
            Ok((event, span)) => {
                let range = span.byte_range().unwrap_or(0..0);
                builder.event(event, Span::new(file, range.start, range.end))
            }
            Err(error) => Err(syntax(file, text, &error)),
        };
        if let Err(finding) = outcome {
            builder.findings.push(*finding);
            return None;
        }
    }
    builder.whole.then_some(builder.roots)
}

struct Builder<'f> {
    file: FileId,
    findings: &'f mut Findings,
    stack: Vec<Frame>,
    /// Finished documents.
    roots: Vec<Node>,
    /// So many may be in the file.
    max: usize,
    nodes: usize,
    nodes_max: usize,
    /// No value had to be left out.
    whole: bool,
}

enum Frame {
    List { span: Span, items: Vec<Node> },
    Map { span: Span, entries: Vec<Entry>, seen: HashMap<String, Span>, turn: Turn },
}

/// What a mapping expects next.
enum Turn {
    Key,
    Value(String, Span),
    /// The value of a key that was refused.
    Refused,
}

/// Ends the file; boxed to keep the happy path's result small.
type Fatal = Box<Finding>;

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fatal> {
        match event {
            Event::DocumentStart(..) if self.roots.len() >= self.max => Err(Box::new(
                Finding::new(&codes::DOCUMENTS, span, "a second document begins here")
                    .help("put it in a file of its own and name that in `include`"),
            )),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(span)?;
                self.refuse_properties(anchor, tag.is_some(), span);
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::SingleQuoted,
                    ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let scalar = Scalar { text: text.into_owned(), style };
                self.value(Node { span, value: Value::Scalar(scalar) });
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(anchor, tag.is_some(), span)?;
                self.stack.push(Frame::List { span, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(anchor, tag.is_some(), span)?;
                let (entries, seen) = (Vec::new(), HashMap::new());
                self.stack.push(Frame::Map { span, entries, seen, turn: Turn::Key });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(span);
                Ok(())
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.count(span)?;
                self.anchor(span, "an alias");
                self.whole = false;
                let scalar = Scalar { text: String::new(), style: Style::Plain };
                self.value(Node { span, value: Value::Scalar(scalar) });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, span: Span) -> Result<(), Fatal> {
        self.nodes += 1;
        if self.nodes <= self.nodes_max {
            return Ok(());
        }
        Err(Box::new(too_many_nodes(span, self.nodes_max)))
    }

    fn open(&mut self, anchor: usize, tagged: bool, span: Span) -> Result<(), Fatal> {
        self.count(span)?;
        self.refuse_properties(anchor, tagged, span);
        if self.stack.len() < DEPTH_MAX {
            return Ok(());
        }
        Err(Box::new(too_deep(span)))
    }

    fn refuse_properties(&mut self, anchor: usize, tagged: bool, span: Span) {
        if anchor != 0 {
            self.anchor(span, "an anchor");
        }
        if tagged {
            let finding = Finding::new(&codes::TAG, span, "a tag is written on this value")
                .help("leave it out: every key knows what kind of value it wants");
            self.findings.push(finding);
        }
    }

    fn anchor(&mut self, span: Span, what: &str) {
        let message = format!("{what} is written here; anchors and aliases are not part of the language");
        self.findings
            .push(Finding::new(&codes::ANCHOR, span, message).help("write the value out where it is needed"));
    }

    /// Ends the innermost list or mapping.
    fn close(&mut self, end: Span) {
        let (span, value, last) = match self.stack.pop() {
            Some(Frame::List { span, items }) => {
                let last = items.last().map(|node| node.span);
                (span, Value::List(items), last)
            }
            Some(Frame::Map { span, entries, .. }) => {
                let last = entries.last().map(|entry| entry.value.span);
                (span, Value::Map(entries), last)
            }
            None => return,
        };
        // A block collection ends where its last value does; the event itself stands after the blanks.
        let end = if end.end > end.start { end } else { last.unwrap_or(span) };
        self.value(Node { span: span.to(end), value });
    }

    /// A finished value goes to where it belongs: the root, a list, or one side of a mapping.
    fn value(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, seen, turn, .. }) => match std::mem::replace(turn, Turn::Key) {
                Turn::Refused => {}
                Turn::Value(key, key_span) => entries.push(Entry { key, key_span, value: node }),
                Turn::Key => *turn = key(node, seen, self.findings),
            },
        }
        debug_assert!(self.stack.len() <= DEPTH_MAX, "file {:?}", self.file);
    }
}

fn key(node: Node, seen: &mut HashMap<String, Span>, findings: &mut Findings) -> Turn {
    let Value::Scalar(scalar) = node.value else {
        let finding =
            Finding::new(&codes::KEY_NOT_TEXT, node.span, "a list or mapping stands in place of a key")
                .help("text that begins with `{` or `[` must be quoted");
        findings.push(finding);
        return Turn::Refused;
    };
    match seen.entry(scalar.text) {
        hash_map::Entry::Occupied(first) => {
            findings.push(written_twice(first.key(), node.span, *first.get()));
            Turn::Refused
        }
        hash_map::Entry::Vacant(vacant) => {
            let key = vacant.key().clone();
            vacant.insert(node.span);
            Turn::Value(key, node.span)
        }
    }
}

pub fn written_twice(key: &str, span: Span, first: Span) -> Finding {
    Finding::new(&codes::DUPLICATE_KEY, span, format!("the key `{key}` is written twice"))
        .label("again here")
        .note(first, "first here")
}

pub fn too_many_nodes(span: Span, max: usize) -> Finding {
    Finding::new(&codes::TOO_MANY_NODES, span, format!("this file holds more than {max} values"))
}

pub fn too_deep(span: Span) -> Finding {
    Finding::new(&codes::TOO_DEEP, span, format!("lists and mappings are nested more than {DEPTH_MAX} deep"))
}

/// The parser's error in our words where ours are better.
fn syntax(file: FileId, text: &str, error: &ScanError) -> Fatal {
    let at = error.marker().byte_offset().unwrap_or(0).min(text.len());
    let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let width = text[at..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let span = Span::new(file, at, at + width);
    let (code, message, help): (&'static Code, String, Option<&str>) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return Box::new(too_deep(span)),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => {
            (&codes::TAB, "a tab stands where YAML wants spaces".into(), Some("indent with spaces"))
        }
        ErrorKind::DirectiveDisallowed => (
            &codes::SYNTAX,
            "directives are not part of the language".into(),
            Some("leave out the line that begins with `%`"),
        ),
        ErrorKind::MappingValueNotAllowed => (
            &codes::SYNTAX,
            "a `:` stands where no key can be".into(),
            Some("quote text that holds `: `, and check the indentation of this line and the one above"),
        ),
        ErrorKind::InvalidColonPlacement => (
            &codes::SYNTAX,
            "a `:` stands where no key can be".into(),
            Some("is a bracket, brace or quote above left open?"),
        ),
        ErrorKind::UnexpectedCharacter { character: '@' | '`' } => {
            (&codes::SYNTAX, error.info(), Some("quote text that begins with this character"))
        }
        _ if starts_at_tab(text, at) => {
            (&codes::TAB, "a tab stands where YAML wants spaces".into(), Some("indent with spaces"))
        }
        _ => (&codes::SYNTAX, error.info(), None),
    };
    let finding = Finding::new(code, span, message);
    Box::new(match help {
        Some(help) => finding.help(help),
        None => finding,
    })
}

/// Is the line's own indentation the likelier cause of whatever the parser tripped over?
fn starts_at_tab(text: &str, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent = text[line..].bytes().take_while(|byte| matches!(byte, b' ' | b'\t'));
    indent.into_iter().any(|byte| byte == b'\t')
}

impl Node {
    /// The place in the source of a stretch of a scalar's text, for findings inside conditions.
    /// Where folding makes that unclear, the whole scalar.
    pub fn span_within(&self, source: &str, start: usize, end: usize) -> Span {
        let Value::Scalar(scalar) = &self.value else { return self.span };
        let raw = source.get(self.span.start as usize..self.span.end as usize).unwrap_or("");
        let at = |offset| raw_offset(raw, scalar, offset);
        match (at(start), at(end)) {
            (Some(from), Some(to)) => {
                let base = self.span.start as usize;
                Span::new(self.span.file, base + from, base + to)
            }
            _ => self.span,
        }
    }
}

/// Walks the text as written beside the text as meant, up to `offset` of the latter.
fn raw_offset(raw: &str, scalar: &Scalar, offset: usize) -> Option<usize> {
    // A policy of a Cedar file, or a plain text on one line.
    if scalar.style == Style::Plain && raw == scalar.text {
        return raw.is_char_boundary(offset).then_some(offset);
    }
    if raw.contains('\n') || scalar.style == Style::Block {
        return None;
    }
    let quote = usize::from(scalar.style != Style::Plain);
    let (mut at, mut meant) = (quote, 0);
    let meant_chars = scalar.text.get(..offset)?.chars();
    for c in meant_chars {
        let rest = raw.get(at..)?;
        at += match (scalar.style, rest.as_bytes().first()?) {
            (Style::SingleQuoted, b'\'') => 2,
            (Style::DoubleQuoted, b'\\') => match rest.as_bytes().get(1)? {
                b'x' => 4,
                b'u' if (c as u32) > 0xffff => 12,
                b'u' => 6,
                b'U' => 10,
                _ => 2,
            },
            _ => rest.chars().next()?.len_utf8(),
        };
        meant += c.len_utf8();
    }
    debug_assert_eq!(meant, offset);
    raw.is_char_boundary(at).then_some(at)
}
