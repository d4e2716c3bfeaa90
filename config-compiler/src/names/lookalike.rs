//! Names that a reader or a model takes for each other: the same letters to the eye (the skeleton of UTS 39), the same but
//! for case and separators, or one edit apart at two upstreams.

use std::collections::HashMap;

use strait_table::bound::Kind;
use unicode_security::skeleton;

use super::{At, Name, Offered, Part, Subject, Suspicion, called};
use crate::diagnostic::codes;
use crate::lock::hidden::is_hidden;

/// Names in which one edit is looked for: shorter ones differ by an edit anyway, longer ones are told apart by the rest.
const EDITED_CHARS: std::ops::RangeInclusive<usize> = 5..=24;

/// Upstreams that one name is compared with.
const COMPARED_MAX: usize = 8;

pub fn run(all: &[Offered<'_>], names: &[Name<'_>], found: &mut Vec<Suspicion>) {
    for kind in [Kind::Tool, Kind::Prompt] {
        let of_kind = |name: &&Name<'_>| matches!(name.subject.part, Part::Item(of, _) if of == kind);
        let names: Vec<&Name<'_>> = names.iter().filter(of_kind).collect();
        same(all, &names, found);
        alike(all, &names, found);
        edited(all, &names, found);
    }
    for name in names.iter().filter(|name| !name.text.is_ascii()) {
        let seen: String = skeleton(name.text).collect();
        if seen.is_ascii() && !name.text.contains(is_hidden) {
            let message =
                format!("{} is written with letters that look like `{seen}`", called(all, name.subject));
            found.push(suspicion(&codes::LOOKALIKE, name.subject, None, message));
        }
    }
}

fn suspicion(
    code: &'static crate::diagnostic::Code,
    subject: Subject,
    other: Option<Subject>,
    message: String,
) -> Suspicion {
    Suspicion { code, subject, at: At::Name, other, message }
}

/// One name at two upstreams: which of the two an agent means is said by a prefix alone.
fn same(all: &[Offered<'_>], names: &[&Name<'_>], found: &mut Vec<Suspicion>) {
    let mut first: HashMap<&str, Subject> = HashMap::new();
    for name in names {
        let other = *first.entry(name.text).or_insert(name.subject);
        if other.upstream != name.subject.upstream {
            let message = format!("{} has the name of {}", called(all, name.subject), called(all, other));
            found.push(suspicion(&codes::SAME_NAME, name.subject, Some(other), message));
        }
    }
}

/// As a reader sees it who cares for neither case nor separators.
fn folded(text: &str) -> String {
    let seen: String = text.chars().filter(|c| !is_hidden(*c)).collect();
    plain(&skeleton(&seen).collect::<String>())
}

/// Without case and separators.
fn plain(text: &str) -> String {
    let is_letter = |c: &char| !matches!(c, '_' | '-' | '.' | ' ' | '/' | ':');
    text.chars().filter(is_letter).flat_map(char::to_lowercase).collect()
}

fn alike(all: &[Offered<'_>], names: &[&Name<'_>], found: &mut Vec<Suspicion>) {
    let mut first: HashMap<String, &Name<'_>> = HashMap::new();
    for name in names {
        let folded = folded(name.text);
        match first.get(&folded) {
            Some(other) if other.text != name.text => {
                let message =
                    format!("{} looks like {}", called(all, name.subject), called(all, other.subject));
                found.push(suspicion(&codes::LOOKALIKE, name.subject, Some(other.subject), message));
            }
            Some(_) => {}
            None => drop(first.insert(folded, name)),
        }
    }
}

/// One letter more, less or another, at two upstreams. Names without one of their letters are looked up, so that the cost
/// grows with the names and not with their pairs.
fn edited(all: &[Offered<'_>], names: &[&Name<'_>], found: &mut Vec<Suspicion>) {
    let mut without: HashMap<String, Vec<&Name<'_>>> = HashMap::new();
    for name in names.iter().filter(|name| EDITED_CHARS.contains(&name.text.chars().count())) {
        let written = plain(name.text);
        let mut told = Vec::new();
        for shortened in shortened(&written) {
            let others = without.entry(shortened).or_default();
            for other in others.iter() {
                let is_other = other.subject.upstream != name.subject.upstream;
                if is_other && !told.contains(&other.subject) && is_slip(&plain(other.text), &written) {
                    told.push(other.subject);
                    let message = format!(
                        "{} is one letter from {}",
                        called(all, name.subject),
                        called(all, other.subject)
                    );
                    found.push(suspicion(&codes::LOOKALIKE, name.subject, Some(other.subject), message));
                }
            }
            // A name of one upstream is enough to compare with.
            let is_first = others.iter().all(|other| other.subject.upstream != name.subject.upstream);
            if is_first && others.len() < COMPARED_MAX {
                others.push(name);
            }
        }
    }
}

/// The text itself, and without each of its characters.
fn shortened(text: &str) -> impl Iterator<Item = String> + '_ {
    let without = text.char_indices().map(|(at, c)| format!("{}{}", &text[..at], &text[at + c.len_utf8()..]));
    without.chain([text.to_owned()])
}

/// One letter differs, and it is not what honest names differ by: a plural, or a number.
fn is_slip(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let head = short.iter().zip(&long).take_while(|(a, b)| a == b).count();
    match long.len() - short.len() {
        0 => {
            let differ: Vec<(char, char)> =
                short.iter().zip(&long).filter(|(a, b)| a != b).map(|(a, b)| (*a, *b)).collect();
            matches!(differ.as_slice(), [(a, b)] if !(a.is_ascii_digit() && b.is_ascii_digit()))
                || matches!(differ.as_slice(), [(a, b), (c, d)] if a == d && b == c
                    && short.get(head + 1).is_some_and(|next| next == c))
        }
        1 => {
            let more = long.get(head).copied().unwrap_or_default();
            let is_plural = more == 's' && head == short.len();
            short[head..] == long[head + 1..] && !is_plural && !more.is_ascii_digit()
        }
        _ => false,
    }
}
