//! What became of every key of a foreign file: mapped, ignored and why, or asked about. [`Reader`] is the only way into
//! such a file. What a format's own code did not speak of is found when it is done, so that nothing is dropped in
//! silence: beneath a policy an unknown key is a question, elsewhere it is ignored by name. No value of the file is
//! ever in a line.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value as Json, json};

use super::secret;
use crate::{
    check::clear_text,
    source::{Entry, FileId, Node, SourceMap, Span, Value},
};

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Left out, with the reason: nothing is lost that a gateway could have done.
    Ignored(String),
    /// Where it is now.
    Mapped(String),
    /// It needs a decision; until then its effect is the narrower one.
    Asked(String),
}

impl Fate {
    pub fn word(&self) -> &'static str {
        match self {
            Fate::Ignored(_) => "ignored",
            Fate::Mapped(_) => "mapped",
            Fate::Asked(_) => "asked",
        }
    }

    pub fn says(&self) -> &str {
        let (Fate::Ignored(says) | Fate::Mapped(says) | Fate::Asked(says)) = self;
        says
    }
}

#[derive(Clone, Debug)]
pub struct Line {
    /// `mcpServers.github.env.GITHUB_TOKEN`.
    pub key: String,
    pub span: Span,
    pub fate: Fate,
    /// Also of every key beneath.
    pub whole: bool,
}

/// How the question begins that keeps a whole server out.
pub const UNTIL: &str = "left out until it is decided: ";

/// All of them, in the order of the file.
#[derive(Debug, Default)]
pub struct Report {
    pub lines: Vec<Line>,
}

impl Report {
    pub fn count(&self, word: &str) -> usize {
        self.lines.iter().filter(|line| line.fate.word() == word).count()
    }

    pub fn questions(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| matches!(line.fate, Fate::Asked(_)))
    }

    /// One line a key; the questions once more at the end, because that is what somebody must act on.
    pub fn text(&self, files: &SourceMap) -> String {
        let mut out = String::new();
        for line in &self.lines {
            out.push_str(&format!("{} {}: {}\n", line.fate.word(), said(line, files), line.fate.says()));
        }
        let counts = ["mapped", "ignored", "asked"].map(|word| format!("{} {word}", self.count(word)));
        out.push_str(&format!("{}\n", counts.join(", ")));
        if self.count("asked") > 0 {
            out.push_str("to decide:\n");
            // What leaves a server out is told with the server.
            let is_told = |says: &str| says.starts_with(UNTIL) && !says.contains("; left out: ");
            for line in self.questions().filter(|line| !is_told(line.fate.says())) {
                out.push_str(&format!("  {}: {}\n", said(line, files), line.fate.says()));
            }
        }
        out
    }

    pub fn to_json(&self, files: &SourceMap) -> Json {
        let lines = self.lines.iter().map(|line| {
            let place = files.place(line.span);
            json!({
                "key": line.key,
                "fate": line.fate.word(),
                "says": line.fate.says(),
                "whole": line.whole,
                "at": {
                    "file": files.file(line.span.file).name,
                    "line": place.line, "column": place.column,
                    "start": line.span.start, "end": line.span.end,
                },
            })
        });
        Json::Array(lines.collect())
    }
}

fn said(line: &Line, files: &SourceMap) -> String {
    let place = files.place(line.span);
    let more = if line.whole { " (and all beneath)" } else { "" };
    format!("{}:{}:{} {}{more}", files.file(line.span.file).name, place.line, place.column, line.key)
}

/// Letters of a path that a line shows.
const PATH_BYTES_MAX: usize = 240;

/// A foreign file while it is read.
pub struct Reader<'s> {
    pub files: &'s SourceMap,
    lines: BTreeMap<Span, (Fate, bool)>,
    /// Parts in which an unknown key may be a restriction.
    guarded: HashSet<Span>,
    /// Parts of which nothing was carried.
    left_out: HashSet<Span>,
    /// Names of secrets that were given, and what each is: a server's, and its name there.
    secrets: BTreeMap<String, (String, String)>,
}

impl<'s> Reader<'s> {
    pub fn new(files: &'s SourceMap) -> Reader<'s> {
        Reader {
            files,
            lines: BTreeMap::new(),
            guarded: HashSet::new(),
            left_out: HashSet::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// The name of a secret of ours. What is spelled alike is not the same: one server would be sent another's.
    pub fn secret(&mut self, server: &str, what: &str) -> String {
        let of = (server.to_owned(), what.to_owned());
        let first = secret::name_of(server, what);
        let later = (2..).map(|number| format!("{first}-{number}"));
        let mut names = std::iter::once(first.clone()).chain(later);
        let name = names
            .find(|name| self.secrets.get(name).is_none_or(|taken| *taken == of))
            .unwrap_or(first.clone());
        self.secrets.insert(name.clone(), of);
        name
    }

    pub fn mapped(&mut self, entry: &Entry, to: impl Into<String>) {
        self.say(entry, Fate::Mapped(to.into()), false);
    }

    pub fn ignored(&mut self, entry: &Entry, why: impl Into<String>) {
        self.say(entry, Fate::Ignored(why.into()), false);
    }

    pub fn asked(&mut self, entry: &Entry, question: impl Into<String>) {
        self.say(entry, Fate::Asked(question.into()), false);
    }

    /// The key and all beneath it.
    pub fn mapped_whole(&mut self, entry: &Entry, to: impl Into<String>) {
        self.say(entry, Fate::Mapped(to.into()), true);
    }

    pub fn ignored_whole(&mut self, entry: &Entry, why: impl Into<String>) {
        self.say(entry, Fate::Ignored(why.into()), true);
    }

    pub fn asked_whole(&mut self, entry: &Entry, question: impl Into<String>) {
        self.say(entry, Fate::Asked(question.into()), true);
    }

    /// What is said first stands, but for a question, which outlives everything.
    fn say(&mut self, entry: &Entry, fate: Fate, whole: bool) {
        let whole = whole && !matches!(entry.value.value, Value::Scalar(_));
        let Some((known, known_whole)) = self.lines.get_mut(&entry.key_span) else {
            self.lines.insert(entry.key_span, (fate, whole));
            return;
        };
        *known_whole |= whole;
        match (&mut *known, fate) {
            (Fate::Asked(said), Fate::Asked(more)) if !said.contains(&more) => {
                said.push_str("; ");
                said.push_str(&more);
            }
            (Fate::Asked(_), _) => {}
            (known, fate @ Fate::Asked(_)) => *known = fate,
            _ => {}
        }
    }

    /// What is beneath this may restrict something: keys there that nobody speaks of are questions.
    pub fn guard(&mut self, entry: &Entry) {
        self.guarded.insert(entry.value.span);
    }

    /// Nothing beneath this was carried, whatever was understood of it.
    pub fn left_out(&mut self, entry: &Entry) {
        self.left_out.insert(entry.value.span);
    }

    /// The entries of a mapping; anything else is asked about. Nothing in place of one is an empty one.
    pub fn map<'n>(&mut self, entry: &'n Entry) -> Option<&'n [Entry]> {
        match &entry.value.value {
            Value::Map(entries) => Some(entries),
            _ if entry.value.is_nothing() => Some(&[]),
            _ => {
                self.asked_whole(entry, format!("expected a mapping, found {}", kind_of(&entry.value)));
                None
            }
        }
    }

    pub fn list<'n>(&mut self, entry: &'n Entry) -> Option<&'n [Node]> {
        match &entry.value.value {
            Value::List(items) => Some(items),
            _ if entry.value.is_nothing() => Some(&[]),
            _ => {
                self.asked_whole(entry, format!("expected a list, found {}", kind_of(&entry.value)));
                None
            }
        }
    }

    /// A text, or a number or truth as it is written.
    pub fn text<'n>(&mut self, entry: &'n Entry) -> Option<&'n str> {
        match text_of(&entry.value) {
            Some(text) => Some(text),
            None => {
                self.asked_whole(entry, format!("expected text, found {}", kind_of(&entry.value)));
                None
            }
        }
    }

    /// Several, or one in place of a list of one.
    pub fn texts<'n>(&mut self, entry: &'n Entry) -> Option<Vec<&'n str>> {
        if let Some(text) = text_of(&entry.value) {
            return Some(vec![text]);
        }
        let items = self.list(entry)?;
        let texts: Option<Vec<&str>> = items.iter().map(text_of).collect();
        if texts.is_none() {
            self.asked_whole(entry, "expected a list of texts, found something else in it");
        }
        texts
    }

    pub fn flag(&mut self, entry: &Entry) -> Option<bool> {
        match text_of(&entry.value) {
            Some("true" | "True") => Some(true),
            Some("false" | "False") => Some(false),
            _ => {
                self.asked_whole(entry, format!("expected true or false, found {}", kind_of(&entry.value)));
                None
            }
        }
    }

    /// `file:line:column`.
    pub fn at(&self, span: Span) -> String {
        let place = self.files.place(span);
        format!("{}:{}:{}", self.files.file(span.file).name, place.line, place.column)
    }

    /// The whole report: every key of these trees, in order.
    pub fn finish(self, roots: &[&Node]) -> Report {
        let mut finish = Finish { reader: self, lines: Vec::new() };
        for root in roots {
            finish.node(root, "", false, false);
        }
        let mut lines = finish.lines;
        lines.sort_by_key(|line| line.span);
        Report { lines }
    }
}

struct Finish<'s> {
    reader: Reader<'s>,
    lines: Vec<Line>,
}

impl Finish<'_> {
    fn node(&mut self, node: &Node, path: &str, guarded: bool, left_out: bool) {
        let guarded = guarded || self.reader.guarded.contains(&node.span);
        let left_out = left_out || self.reader.left_out.contains(&node.span);
        match &node.value {
            Value::Scalar(_) => {}
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.node(item, &beneath(path, &format!("[{at}]")), guarded, left_out);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    self.entry(entry, path, guarded, left_out);
                }
            }
        }
    }

    fn entry(&mut self, entry: &Entry, path: &str, guarded: bool, left_out: bool) {
        let key = beneath(path, &shown(&entry.key));
        let known = self.reader.lines.remove(&entry.key_span);
        let (fate, whole) = match known {
            Some((Fate::Mapped(_), whole)) if left_out => {
                (Fate::Ignored("what it belongs to is left out".to_owned()), whole)
            }
            Some(known) => known,
            None if guarded => {
                let asks = "Strait does not know this key here, and it may restrict something";
                (Fate::Asked(asks.to_owned()), true)
            }
            None => (Fate::Ignored("Strait has nothing that this key could be".to_owned()), true),
        };
        let is_branch = !matches!(entry.value.value, Value::Scalar(_));
        let whole = whole && is_branch;
        self.lines.push(Line { key: key.clone(), span: entry.key_span, fate, whole });
        if !whole {
            self.node(&entry.value, &key, guarded, left_out);
        }
    }
}

fn beneath(path: &str, key: &str) -> String {
    let dot = if path.is_empty() || key.starts_with('[') { "" } else { "." };
    let mut whole = format!("{path}{dot}{key}");
    if whole.len() > PATH_BYTES_MAX {
        let keep = (0..=PATH_BYTES_MAX).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        whole.truncate(keep);
        if !whole.ends_with('…') {
            whole.push('…');
        }
    }
    whole
}

/// A name of the file as it may be shown: no control characters, no keys in disguise.
pub fn shown(name: &str) -> String {
    let clean: String = name
        .chars()
        .take(80)
        .map(|c| {
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    if !clear_text::secrets_in(&clean).is_empty() || secret::looks_like_one(name) {
        "***".to_owned()
    } else {
        clean
    }
}

pub fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) if !node.is_nothing() => Some(&scalar.text),
        _ => None,
    }
}

fn kind_of(node: &Node) -> &'static str {
    match &node.value {
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
        Value::Scalar(_) if node.is_nothing() => "nothing",
        Value::Scalar(_) => "text",
    }
}

/// The file that a whole import reads.
pub const FILE: FileId = FileId(0);
