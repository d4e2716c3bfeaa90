//! Shapes: safe variants of powerful tools. Another name and text, arguments that are fixed, hidden, given a default or
//! narrowed, and fields taken out of what comes back.
//!
//! The decision: what is said here is read twice, by `bind`, which edits the definition that lists show, and by a worker,
//! which edits and checks the call. Both go by the same archived values, so that what agents are shown is what is enforced.
//! Values are JSON as it is sent: a fixed one is spliced in as it stands here.

use std::cmp::Ordering;

use rkyv::{Archive, Deserialize, Serialize};
use strait_protocol::jsonrpc::{Unescape, compare_numbers};

use crate::bound::ArchivedItem;

/// Arguments that one shape speaks of. Each may need a splice of its own: `strait_protocol::limits::SPLICES_MAX` is twice
/// as many.
pub const ARGUMENTS_MAX: usize = 32;
/// Paths that one shape drops: a bit each.
pub const DROPS_MAX: usize = 32;
/// Keys of one path. Walks go as deep as this and no deeper.
pub const PATH_KEYS_MAX: usize = 8;

/// A tool of an upstream as one server shows it. More than one shape of a tool is more than one tool.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub upstream: u16,
    /// As its upstream calls it.
    pub tool: String,
    /// What agents call it; `None`: what they would without a shape.
    pub name: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    /// Ascending by path; no path begins another.
    pub arguments: Vec<Argument>,
    /// Paths of what is taken out of a result, from its outermost object.
    pub drops: Vec<Vec<Step>>,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Keys from `arguments` down to it; never empty.
    pub path: Vec<String>,
    pub said: Said,
}

/// What is said of an argument.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// No caller knows of it; it is always this.
    Fixed(String),
    /// No caller knows of it, and its tool is not told.
    Hidden,
    Narrowed(Narrowed),
}

/// What a caller may still say.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowed {
    /// What it is when the caller does not say.
    pub default: Option<String>,
    /// The caller must say it.
    pub required: bool,
    /// Numbers, as JSON writes them.
    pub min: Option<String>,
    pub max: Option<String>,
    /// Scalars; empty: any.
    pub among: Vec<String>,
}

/// One step down into a result.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    /// Every member or element. Never the last step.
    Each,
}

impl Narrowed {
    /// Whether a caller may say this, as written.
    pub fn admits(&self, raw: &[u8]) -> bool {
        admits(self.min.as_deref(), self.max.as_deref(), self.among.iter().map(String::as_str), raw)
    }

    /// Whether there is a number between its bounds.
    pub fn is_possible(&self) -> bool {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => {
                compare_numbers(min.as_bytes(), max.as_bytes()).is_some_and(Ordering::is_le)
            }
            _ => true,
        }
    }
}

fn admits<'a>(
    min: Option<&str>,
    max: Option<&str>,
    mut among: impl ExactSizeIterator<Item = &'a str>,
    raw: &[u8],
) -> bool {
    let bounded = |bound: Option<&str>, is_within: fn(Ordering) -> bool| {
        bound.is_none_or(|bound| compare_numbers(raw, bound.as_bytes()).is_some_and(is_within))
    };
    bounded(min, Ordering::is_ge)
        && bounded(max, Ordering::is_le)
        && (among.len() == 0 || among.any(|one| same_scalar(one.as_bytes(), raw)))
}

impl ArchivedShape {
    /// Whether this is a shape of the tool that an item shows.
    pub fn is_of(&self, item: &ArchivedItem) -> bool {
        self.upstream == item.upstream && self.tool == item.bare
    }
}

/// A dropped path as its author writes it.
pub fn written(path: &[ArchivedStep]) -> String {
    let steps = path.iter().map(|step| match step {
        ArchivedStep::Key(key) => key.as_str(),
        ArchivedStep::Each => "*",
    });
    steps.collect::<Vec<_>>().join(".")
}

impl ArchivedArgument {
    fn describe(&self) -> String {
        let path: Vec<&str> = self.path.iter().map(|key| key.as_str()).collect();
        let mut said = Vec::new();
        match &self.said {
            ArchivedSaid::Fixed(value) => said.push(format!("is always {}", value.as_str())),
            ArchivedSaid::Hidden => said.push("is hidden".to_owned()),
            ArchivedSaid::Narrowed(narrowed) => {
                if narrowed.required {
                    said.push("must be there".to_owned());
                }
                if narrowed.min.is_some() || narrowed.max.is_some() || !narrowed.among.is_empty() {
                    said.push(narrowed.words());
                }
                said.extend(
                    narrowed.default.as_ref().map(|value| format!("is {} by default", value.as_str())),
                );
            }
        }
        format!("{} {}", path.join("."), said.join(", "))
    }
}

impl ArchivedNarrowed {
    /// Whether a caller may say this, as written.
    pub fn admits(&self, raw: &[u8]) -> bool {
        let among = self.among.iter().map(|one| one.as_str());
        admits(self.min.as_deref(), self.max.as_deref(), among, raw)
    }

    /// What a caller may say, in words.
    pub fn words(&self) -> String {
        let is_number = self.min.is_some() || self.max.is_some();
        let mut words = String::from(if is_number { "must be a number" } else { "must be" });
        let bounds = [(self.min.as_deref(), "at least"), (self.max.as_deref(), "at most")];
        let bounds = bounds.into_iter().filter_map(|(bound, word)| Some((bound?, word)));
        for (at, (bound, word)) in bounds.enumerate() {
            words.push_str(if at == 0 { " of " } else { " and " });
            words.push_str(word);
            words.push(' ');
            words.push_str(bound);
        }
        if !self.among.is_empty() {
            words.push_str(if self.among.len() == 1 { " " } else { " one of " });
            for (at, one) in self.among.iter().enumerate() {
                words.push_str(if at == 0 { "" } else { ", " });
                words.push_str(one);
            }
        }
        words
    }
}

/// How far a walk into a result has come along each path that a shape drops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// The step of each path that is to be met next, or [`OFF`].
    next: [u8; DROPS_MAX],
}

/// A walk has left this path.
const OFF: u8 = u8::MAX;

/// What becomes of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Met {
    /// It goes: this path of the shape ends here.
    Goes(usize),
    /// Something inside of it may.
    Below(Reach),
    Stays,
}

impl ArchivedShape {
    /// What it does to its tool, for people.
    pub fn describe(&self, upstream: &str) -> String {
        let mut out = format!("{upstream}.{}", self.tool.as_str());
        if let Some(name) = self.name.as_deref() {
            out.push_str(&format!(" as {name}"));
        }
        let arguments = self.arguments.iter().map(ArchivedArgument::describe);
        let drops = self.drops.iter().map(|path| format!("without {}", written(path)));
        for (at, what) in arguments.chain(drops).enumerate() {
            out.push_str(if at == 0 { ": " } else { "; " });
            out.push_str(&what);
        }
        out
    }

    /// Where a walk begins: at a result's outermost value.
    pub fn outermost(&self) -> Reach {
        let mut next = [OFF; DROPS_MAX];
        for slot in next.iter_mut().take(self.drops.len()) {
            *slot = 0;
        }
        Reach { next }
    }

    /// What becomes of the member whose key `is` says.
    pub fn met(&self, reach: &Reach, is: impl Fn(&str) -> bool) -> Met {
        let mut below = [OFF; DROPS_MAX];
        let mut is_below = false;
        for (at, (path, next)) in self.drops.iter().zip(reach.next).enumerate() {
            let step = path.get(usize::from(next));
            let is_on = match step {
                Some(ArchivedStep::Key(key)) => is(key),
                Some(ArchivedStep::Each) => true,
                None => false,
            };
            if !is_on {
                continue;
            }
            if usize::from(next) + 1 == path.len() {
                return Met::Goes(at);
            }
            if let Some(slot) = below.get_mut(at) {
                *slot = next + 1;
                is_below = true;
            }
        }
        if is_below { Met::Below(Reach { next: below }) } else { Met::Stays }
    }

    /// What is inside of an array's elements. Paths name what is in lists without saying so, or with a step of its own.
    pub fn elements(&self, reach: &Reach) -> Reach {
        let mut next = reach.next;
        for (slot, path) in next.iter_mut().zip(self.drops.iter()) {
            if matches!(path.get(usize::from(*slot)), Some(ArchivedStep::Each)) {
                *slot += 1;
            }
        }
        Reach { next }
    }
}

/// Whether two scalars are the same: numbers as decimals, texts by what they say.
pub fn same_scalar(one: &[u8], other: &[u8]) -> bool {
    fn text(raw: &[u8]) -> Option<&[u8]> {
        raw.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }
    match (text(one), text(other)) {
        (Some(one), Some(other)) => Unescape::new(one).eq(Unescape::new(other)),
        (None, None) => one == other || compare_numbers(one, other) == Some(Ordering::Equal),
        _ => false,
    }
}
