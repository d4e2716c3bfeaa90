//! A server whose words are about another server's tools: "before you use `refund`, call me". Its own tools it may name as
//! it likes.

use std::collections::HashMap;

use strait_table::bind::SEPARATOR;
use strait_table::bound::Kind;

use super::{At, Name, Offered, Part, Subject, Suspicion, called, hidden};
use crate::diagnostic::codes;

pub fn run(all: &[Offered<'_>], names: &[Name<'_>], found: &mut Vec<Suspicion>) {
    let mut tools: HashMap<&str, Vec<Subject>> = HashMap::new();
    for name in names.iter().filter(|name| matches!(name.subject.part, Part::Item(Kind::Tool, _))) {
        tools.entry(name.text).or_default().push(name.subject);
    }
    let of_upstream: HashMap<&str, usize> = all.iter().enumerate().map(|(at, one)| (one.name, at)).collect();
    let search = Search { all, tools, of_upstream };
    for (upstream, offered) in all.iter().enumerate() {
        for kind in Kind::ALL {
            for (at, item) in offered.lists.of(kind).iter().enumerate() {
                let mut told = Vec::new();
                let subject = Subject { upstream, part: Part::Item(kind, at) };
                hidden::texts(&item.json, &mut |text| {
                    // What it is called is no word about others.
                    if text != item.name {
                        search.text(subject, text, &mut told);
                    }
                });
                found.append(&mut told);
            }
        }
        if let Some(text) = &offered.lists.instructions {
            search.text(Subject { upstream, part: Part::Instructions }, text, found);
        }
    }
}

struct Search<'c> {
    all: &'c [Offered<'c>],
    tools: HashMap<&'c str, Vec<Subject>>,
    of_upstream: HashMap<&'c str, usize>,
}

impl Search<'_> {
    /// Another's tool that a text names, once each.
    fn text(&self, subject: Subject, text: &str, found: &mut Vec<Suspicion>) {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let mut at = 0;
        for word in text.split(|c| !is_part(c)) {
            let (before, after) = (text.get(..at).unwrap_or(""), text.get(at + word.len()..).unwrap_or(""));
            at += word.len() + after.chars().next().map_or(0, char::len_utf8);
            let word = word.trim_matches(['.', '-']);
            let Some(other) = self.tool(subject.upstream, word, before, after) else { continue };
            if found.iter().any(|known| known.subject == subject && known.other == Some(other)) {
                continue;
            }
            let message = format!("{} speaks of {}", called(self.all, subject), called(self.all, other));
            let (code, at) = (&codes::SHADOWING, At::Word(word.to_owned()));
            found.push(Suspicion { code, subject, at, other: Some(other), message });
        }
    }

    /// The tool of another upstream that a word means, with what stands around it.
    fn tool(&self, upstream: usize, word: &str, before: &str, after: &str) -> Option<Subject> {
        // With its upstream, as rules or as agents call it.
        let full = word.split_once('.').or_else(|| word.split_once(SEPARATOR));
        if let Some((of, name)) = full
            && let Some(of) = self.of_upstream.get(of).filter(|of| **of != upstream)
        {
            return self.tools.get(name)?.iter().copied().find(|tool| tool.upstream == *of);
        }
        let offered = self.tools.get(word)?;
        if offered.iter().any(|tool| tool.upstream == upstream)
            || !(is_made_up(word) || is_meant(before, after))
        {
            return None;
        }
        offered.first().copied()
    }
}

/// No word of a language: `get_order`, `getOrder`, `query2`.
fn is_made_up(word: &str) -> bool {
    word.contains(|c: char| matches!(c, '_' | '-' | '.') || c.is_ascii_digit())
        || word.chars().skip(1).any(char::is_uppercase) && word.contains(|c: char| c.is_lowercase())
}

/// A plain word that is spoken of as a tool: in quotes, or beside `tool`.
fn is_meant(before: &str, after: &str) -> bool {
    let quotes = ['`', '"', '\'', '“', '‘'];
    let tool = |text: Option<&str>| {
        text.is_some_and(|word| {
            word.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case("tool")
        })
    };
    before.ends_with(quotes)
        || tool(before.split_whitespace().next_back())
        || tool(after.split_whitespace().next())
}
