//! The typed walker: takes a tree apart by the key tables of [`keys`], one value at a time, and turns
//! whatever does not fit into a finding instead of stopping. Every reader answers `Option`: `None`
//! means "said something about it already", so that one mistake is one finding.
//!
//! [`Fields`] is the only way into a mapping. It knows the table of its block, refuses keys that are
//! not in it, and in debug builds insists that lowering asked for each one: the tables, the schema
//! made from them and the code that reads them cannot drift apart.

pub mod json;
pub mod keys;
pub mod limit;
pub mod scalar;
pub mod suggest;
pub mod text;

use std::collections::HashSet;

use strait_table::rules::Source;

use crate::{
    check::reach::Places,
    diagnostic::{Finding, Findings, codes},
    limits::PATTERN_NAMES_MAX,
    lock::Lock,
    lower::exchange::Written,
    source::{Entry, FileId, Kind, Node, Scalar, SourceMap, Span, Value},
};
use keys::Block;

/// What lowering carries through a walk.
pub struct Walk<'s> {
    pub files: &'s SourceMap,
    pub findings: &'s mut Findings,
    pub env: &'s dyn Fn(&str) -> Option<String>,
    /// Values that references brought in, for the table's list of sources.
    pub resolved: Vec<Source>,
    counted: HashSet<String>,
    /// Literal secrets, to be masked before anything is shown.
    pub secrets: Vec<Span>,
    /// Names of secrets that texts refer to, and where.
    pub spoken: Vec<(String, Span)>,
    /// Files read through `${file:…}`.
    pub watched: Vec<std::path::PathBuf>,
    /// All named files could be read: an unknown name is really unknown.
    pub whole: bool,
    /// What upstreams offer, where a lock file pins it.
    pub lock: Option<&'s Lock>,
    /// Pinned names that patterns may still be held against.
    pub pattern_names: usize,
    /// For findings about the whole.
    pub places: Places,
    /// Exchanges of tokens, until it is known who has any.
    pub exchanges: Vec<Written>,
    /// Rules that say how they are audited, until it is known whether anything is.
    pub audited: Vec<(String, Span)>,
}

impl<'s> Walk<'s> {
    pub fn new(
        files: &'s SourceMap,
        findings: &'s mut Findings,
        env: &'s dyn Fn(&str) -> Option<String>,
        whole: bool,
    ) -> Walk<'s> {
        let (resolved, counted) = (Vec::new(), HashSet::new());
        let (secrets, watched) = (Vec::new(), Vec::new());
        Walk {
            files,
            findings,
            env,
            resolved,
            counted,
            secrets,
            spoken: Vec::new(),
            watched,
            whole,
            lock: None,
            pattern_names: PATTERN_NAMES_MAX,
            places: Places::default(),
            exchanges: Vec::new(),
            audited: Vec::new(),
        }
    }

    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The author's words, unless the file's contents must not be shown.
    pub fn quote(&self, file: FileId, text: &str) -> String {
        if self.files.file(file).confidential {
            return "this text".to_owned();
        }
        const SHOWN: usize = 80;
        match text.char_indices().nth(SHOWN) {
            Some((cut, _)) => format!("`{}…`", &text[..cut]),
            None => format!("`{text}`"),
        }
    }

    pub fn wrong_type(&mut self, node: &Node, expected: &str) -> Finding {
        let found = match self.files.file(node.span.file).confidential {
            true => "something else".to_owned(),
            false => node.describe(),
        };
        let span = self.files.first_line(node.span);
        Finding::new(&codes::WRONG_TYPE, span, format!("expected {expected}, found {found}"))
            .label(format!("expected {expected}"))
    }

    pub fn list<'n>(&mut self, node: &'n Node, of: &str) -> Option<&'n [Node]> {
        if let Value::List(items) = &node.value {
            return Some(items);
        }
        let finding = self.wrong_type(node, &format!("a list of {of}"));
        let finding = match &node.value {
            Value::Scalar(s) if s.kind() == Kind::Text => finding.help(format!("write `[{}]`", s.text)),
            _ => finding,
        };
        self.report(finding);
        None
    }

    /// A list, or one item in place of a list of one.
    pub fn one_or_many<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(node),
        }
    }

    pub fn map<'n>(&mut self, node: &'n Node, of: &str) -> Option<&'n [Entry]> {
        if let Value::Map(entries) = &node.value {
            return Some(entries);
        }
        let finding = self.wrong_type(node, of);
        self.report(finding);
        None
    }

    pub fn scalar<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n Scalar> {
        if let Value::Scalar(scalar) = &node.value
            && scalar.kind() != Kind::Nothing
        {
            return Some(scalar);
        }
        let finding = self.wrong_type(node, expected);
        self.report(finding);
        None
    }

    /// Opens a mapping by the table of its block.
    pub fn fields<'n>(&mut self, node: &'n Node, block: &'static Block) -> Option<Fields<'n>> {
        let entries = self.map(node, block.expected)?;
        for entry in entries {
            self.known(entry, block);
        }
        Some(Fields { node, entries, block, asked: Vec::new() })
    }

    fn known(&mut self, entry: &Entry, block: &'static Block) {
        if block.keys.iter().any(|key| key.name == entry.key) {
            return;
        }
        if block.later.contains(&entry.key.as_str()) {
            self.not_enforced(&entry.key, entry.key_span);
            return;
        }
        let quoted = self.quote(entry.key_span.file, &entry.key);
        if block.foreign {
            self.foreign(entry, block, &quoted);
            return;
        }
        let full = self.findings.is_full();
        let meant = suggest::nearest(&entry.key, block.keys.iter().filter(|_| !full).map(|key| key.name));
        let message = format!("unknown key {quoted} in {}", block.name);
        let finding = Finding::new(&codes::UNKNOWN_KEY, entry.key_span, message).meant(meant);
        self.report(match meant {
            Some(_) => finding,
            None => {
                let known: Vec<&str> = block.keys.iter().map(|key| key.name).collect();
                finding.help(format!("{} has the keys {}", block.name, suggest::listed(&known)))
            }
        });
    }

    /// Half of our language in somebody else's form would leave rules unread: that is an error.
    fn foreign(&mut self, entry: &Entry, block: &'static Block, quoted: &str) {
        let ours =
            std::ptr::eq(block, &keys::MCP_ROOT) && keys::ROOT.keys.iter().any(|key| key.name == entry.key);
        self.report(match ours {
            true => {
                let message = format!("{quoted} stands beside `mcpServers`");
                Finding::new(&codes::MIXED_FORMS, entry.key_span, message)
                    .help("declare the servers under `upstreams`, or keep `mcpServers` in a file of its own")
            }
            false => {
                let message = format!("{quoted} in {} means nothing to Strait", block.name);
                Finding::new(&codes::FOREIGN_KEY, entry.key_span, message).label("ignored")
            }
        });
    }

    pub fn not_enforced(&mut self, name: &str, span: Span) {
        let message = format!("this version does not enforce `{name}`");
        let finding = Finding::new(&codes::NOT_ENFORCED, span, message)
            .label("would have no effect")
            .help("leave it out: a gateway must not seem to enforce what it does not");
        self.report(finding);
    }

    pub fn not_supported(&mut self, what: &str, span: Span) {
        self.report(Finding::new(&codes::NOT_ENFORCED, span, format!("{what} is not in this version")));
    }
}

/// A mapping that was opened by its table.
pub struct Fields<'n> {
    pub node: &'n Node,
    entries: &'n [Entry],
    block: &'static Block,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub fn entry(&mut self, key: &'static str) -> Option<&'n Entry> {
        debug_assert!(
            self.block.keys.iter().any(|known| known.name == key),
            "`{key}` is not in the key table of {}",
            self.block.name
        );
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key that must be there. `at` is what to point to when it is not: mostly the declared name.
    pub fn required(
        &mut self,
        walk: &mut Walk<'_>,
        key: &'static str,
        at: Span,
        help: &str,
    ) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let at = walk.files.first_line(at);
            let message = format!("{} needs `{key}`", self.block.name);
            walk.report(
                Finding::new(&codes::MISSING, at, message).label(format!("without `{key}`")).help(help),
            );
        }
        found
    }

    /// Of several ways to say what something is, the one that was written.
    pub fn exactly_one(&mut self, walk: &mut Walk<'_>, keys: &[&'static str], at: Span) -> Option<&'n Entry> {
        let written: Vec<&'n Entry> = keys.iter().filter_map(|key| self.entry(key)).collect();
        match written.as_slice() {
            [one] => Some(one),
            [] => {
                // One that this version does not enforce was already spoken of.
                if self.entries.iter().any(|entry| self.block.later.contains(&entry.key.as_str())) {
                    return None;
                }
                let message = format!("{} needs one of {}", self.block.name, suggest::listed(keys));
                let at = walk.files.first_line(at);
                walk.report(Finding::new(&codes::ONE_OF, at, message));
                None
            }
            [first, second, ..] => {
                let message =
                    format!("{} cannot have both `{}` and `{}`", self.block.name, first.key, second.key);
                let finding = Finding::new(&codes::ONE_OF, second.key_span, message)
                    .label("leave out one of the two")
                    .note(first.key_span, "the other is here");
                walk.report(finding);
                None
            }
        }
    }

    /// Every key of the table was asked for.
    pub fn finish(self) {
        for key in self.block.keys {
            debug_assert!(
                self.asked.contains(&key.name),
                "nobody reads `{}` of {}",
                key.name,
                self.block.name
            );
        }
    }
}
