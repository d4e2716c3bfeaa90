//! URIs that two upstreams of one server both use: the first upstream's stay what they are, those of the others are shown
//! under a URI that says whose they are.
//!
//! `note://a` of `crm` becomes `mcp+crm://note%3A%2F%2Fa`, and `ui://a/b`, whose scheme must stay, `ui://crm/a/b`. Of a template
//! only what stands before its first expression is written in another way, so that a URI made of it is turned back by its
//! beginning alone, whatever was put in. Everything is found through the item that was bound: a URI that merely looks like
//! one of ours means nothing.

use strait_policy::glob;

use crate::bound::{ArchivedBoundServer, ArchivedItem, ArchivedShelf, Kind};

/// How another upstream's URI is shown. What stands before `fixed` is written so that it cannot be mistaken.
fn shown(upstream: &str, uri: &str, fixed: usize) -> String {
    let (begin, rest) = uri.split_at(fixed);
    if let Some(path) = begin.strip_prefix("ui://") {
        return format!("ui://{upstream}/{path}{rest}");
    }
    let mut out = String::from("mcp+");
    // A scheme has no `_`, and does not tell cases apart; a name has neither `.` nor `+`.
    for letter in upstream.chars() {
        match letter {
            '_' => out.push('.'),
            'A'..='Z' => out.extend(['+', letter.to_ascii_lowercase()]),
            other => out.push(other),
        }
    }
    out.push_str("://");
    for byte in begin.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out.push_str(rest);
    out
}

/// How a resource or template of `upstream` is shown where another has its URI already.
pub fn renamed(upstream: &str, kind: Kind, uri: &str) -> String {
    shown(upstream, uri, if kind == Kind::Template { literal(uri).len() } else { uri.len() })
}

/// What stands before a template's first expression.
fn literal(template: &str) -> &str {
    template.split('{').next().unwrap_or(template)
}

/// `file:///{path}` speaks of `file:///*`: each expression may stand for anything, which can only make
/// a deny reach further; what a URI may do is decided on the URI itself.
pub fn template_glob(template: &str) -> String {
    let mut glob = String::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        glob.push_str(literal);
        glob.push('*');
        rest = tail.split_once('}').map_or("", |(_, after)| after);
    }
    glob.push_str(rest);
    glob
}

/// Whether some URI may satisfy both globs, going by their beginnings and ends.
pub fn may_overlap(a: &str, b: &str) -> bool {
    let ((a_begin, a_end), (b_begin, b_end)) = (ends(a), ends(b));
    (a_begin.starts_with(b_begin) || b_begin.starts_with(a_begin))
        && (a_end.ends_with(b_end) || b_end.ends_with(a_end))
}

/// What stands before the first star and behind the last.
fn ends(glob: &str) -> (&str, &str) {
    let (begin, rest) = glob.split_once('*').unwrap_or((glob, glob));
    (begin, rest.rsplit('*').next().unwrap_or(""))
}

impl ArchivedItem {
    /// Whether it is shown under another name than its upstream's.
    pub fn is_renamed(&self) -> bool {
        self.exposed != self.bare
    }

    /// What its upstream calls a URI that this template covers; `None` where that is the same.
    pub fn covered_uri(&self, uri: &str) -> Option<String> {
        let rest = uri.strip_prefix(literal(&self.exposed)).filter(|_| self.is_renamed())?;
        Some(format!("{}{rest}", literal(&self.bare)))
    }
}

impl ArchivedBoundServer {
    /// Whether some URIs of this upstream are shown under others.
    pub fn renames_uris_of(&self, upstream: usize) -> bool {
        self.renamed_uris.iter().any(|renamed| usize::from(renamed.to_native()) == upstream)
    }

    /// How a client is shown this URI of an upstream; `None` where it is the same.
    pub fn shown_uri(&self, upstream: usize, name: &str, uri: &str) -> Option<String> {
        if !self.renames_uris_of(upstream) {
            return None;
        }
        let is_its = |item: &ArchivedItem| usize::from(item.upstream.to_native()) == upstream;
        let resources: &ArchivedShelf = &self.resources;
        let candidate = renamed(name, Kind::Resource, uri);
        let found = resources.find(candidate.as_bytes()).and_then(|index| resources.items.get(index));
        if found.is_some_and(|item| is_its(item) && item.bare == uri) {
            return Some(candidate);
        }
        // What the upstream lists under its own URI is shown under that.
        let plain = resources.find(uri.as_bytes()).and_then(|index| resources.items.get(index));
        if plain.is_some_and(is_its) {
            return None;
        }
        self.templates.items.iter().filter(|item| is_its(item) && item.is_renamed()).find_map(|item| {
            let rest = uri.strip_prefix(literal(&item.bare))?;
            let shown = format!("{}{rest}", literal(&item.exposed));
            glob::matches(&item.glob, &shown).then_some(shown)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_uri_says_whose_it_is_and_is_one() {
        let check = |upstream: &str, kind: Kind, uri: &str, expected: &str| {
            assert_eq!(renamed(upstream, kind, uri), expected);
        };
        check(
            "crm",
            Kind::Resource,
            "note://a%20b/c?d=\u{e9}",
            "mcp+crm://note%3A%2F%2Fa%2520b%2Fc%3Fd%3D%C3%A9",
        );
        check("My_crm-2", Kind::Resource, "urn:x", "mcp++my.crm-2://urn%3Ax");
        check("crm", Kind::Template, "file:///{+path}.txt", "mcp+crm://file%3A%2F%2F%2F{+path}.txt");
        check("crm", Kind::Template, "{+any}", "mcp+crm://{+any}");
        check("My_crm", Kind::Resource, "ui://a/b", "ui://My_crm/a/b");
        check("crm", Kind::Template, "ui://a/{b}", "ui://crm/a/{b}");
    }

    #[test]
    fn globs_overlap_where_one_uri_may_satisfy_both() {
        for (a, b, expected) in [
            ("file:///*", "file:///*", true),
            ("file:///*", "file:///b/*", true),
            ("file:///a/*", "file:///b/*", false),
            ("*", "note://*", true),
            ("file:///*.txt", "file:///*.md", false),
            ("file:///*.txt", "file:///*", true),
            ("note://a", "note://*", true),
        ] {
            assert_eq!((may_overlap(a, b), may_overlap(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
