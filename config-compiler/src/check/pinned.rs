//! What is pinned, looked at as a whole, each finding at its place in the lock file: what is suspicious in the words of
//! upstreams (`names`), and what no server can expose.

use strait_table::bind::{BindFinding, printable};
use strait_table::bound::Kind;

use crate::{
    diagnostic::{Finding, Findings, codes},
    lock::{Lock, hidden::is_hidden},
    names::{At, Offered, Part, Subject, suspicions},
    source::{SourceMap, Span},
};

/// Of the texts of a lock file.
pub fn suspicious(files: &SourceMap, lock: &Lock, findings: &mut Findings) {
    let all = lock
        .upstreams
        .iter()
        .map(|locked| Offered { name: &locked.pinned.name, lists: &locked.pinned.lists });
    let all: Vec<Offered<'_>> = all.collect();
    for suspicion in suspicions(&all) {
        if findings.is_full() {
            // Counting the rest is all that is left to do.
            findings.push(Finding::nowhere(suspicion.code, suspicion.message));
            continue;
        }
        let at = place(files, lock, suspicion.subject, &suspicion.at).unwrap_or(lock.span);
        let mut finding = Finding::new(suspicion.code, at, suspicion.message);
        if let Some(other) = suspicion.other.and_then(|other| place(files, lock, other, &At::Name)) {
            finding = finding.note(other, "the other is here");
        }
        findings.push(
            finding
                .help("look at it before an agent does; if it is what it should be, nothing has to be done"),
        );
    }
}

/// Of what could not be bound.
pub fn exposed(unfit: &[BindFinding], lock: &Lock, findings: &mut Findings) {
    for found in unfit {
        let at = lock.find(&found.upstream).and_then(|locked| {
            let called = |name: &str| printable(name) == found.name;
            let items = Kind::ALL.into_iter().flat_map(|kind| {
                locked
                    .pinned
                    .lists
                    .of(kind)
                    .iter()
                    .zip(locked.places.get(kind as usize).into_iter().flatten())
            });
            items.into_iter().find(|(item, _)| called(&item.name)).map(|(_, place)| place.name)
        });
        let message = format!(
            "server `{}` does not show `{}.{}`: {}",
            found.server, found.upstream, found.name, found.reason
        );
        findings.push(Finding::new(&codes::NOT_EXPOSED, at.unwrap_or(lock.span), message));
    }
}

fn place(files: &SourceMap, lock: &Lock, subject: Subject, at: &At) -> Option<Span> {
    let locked = lock.upstreams.get(subject.upstream)?;
    let (name, text) = match subject.part {
        Part::Instructions => (locked.name_at, locked.instructions_at?),
        Part::Item(kind, item) => {
            let place = locked.places.get(kind as usize)?.get(item)?;
            (place.name, place.definition)
        }
    };
    let name = Span { start: name.start + 1, end: name.end - 1, ..name };
    let within = |from: usize, len: usize| {
        Span::new(text.file, text.start as usize + from, text.start as usize + from + len)
    };
    match at {
        At::Name => Some(name),
        At::FirstHidden => {
            first_hidden(files.slice(text)).map(|(from, len)| within(from, len)).or(Some(name))
        }
        // A word whose letters are escaped is not found so.
        At::Word(word) => {
            files.slice(text).find(word.as_str()).map(|from| within(from, word.len())).or(Some(name))
        }
    }
}

/// The first character of a JSON text that nobody sees, as it is written there: raw, or as one escape or two.
fn first_hidden(json: &str) -> Option<(usize, usize)> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut chars = json.char_indices();
    while let Some((at, c)) = chars.next() {
        if is_hidden(c) {
            return Some((at, c.len_utf8()));
        }
        if c != '\\' {
            continue;
        }
        // What is escaped by it is no begin of another escape.
        chars.next();
        let Some(first) = unit(at) else { continue };
        let units = [Some(first), unit(at + 6).filter(|_| (0xd800..0xdc00).contains(&first))];
        let decoded = char::decode_utf16(units.into_iter().flatten()).next();
        if let Some(Ok(c)) = decoded
            && is_hidden(c)
        {
            return Some((at, 6 * c.len_utf16()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::first_hidden;

    #[test]
    fn the_first_hidden_character_is_found_as_it_is_written() {
        let check = |json: &str, expected: Option<&str>| {
            assert_eq!(first_hidden(json).map(|(from, len)| &json[from..from + len]), expected, "{json}");
        };
        check("\"a\u{202e}b\"", Some("\u{202e}"));
        check(r#""a\n\u0041\u202Eb""#, Some(r"\u202E"));
        check(r#""a\udb40\udc41b""#, Some(r"\udb40\udc41"));
        check(r#""a\\u202eb\u00e9""#, None);
        check(r#""a\u20"#, None);
    }
}
