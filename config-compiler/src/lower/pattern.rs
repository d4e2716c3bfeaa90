//! Patterns: which upstreams they can speak of, and whether one covers another. Both questions are
//! answered exactly on the text of the globs, without a catalog.

use strait_table::rules::{Pattern, PatternKind};

use super::scope::Scope;
use crate::{
    diagnostic::{Finding, codes},
    limits::PATTERN_BYTES_MAX,
    source::{Node, Span},
    walk::Walk,
};

/// A pattern and where it was written.
#[derive(Clone, Debug)]
pub struct Written {
    pub pattern: Pattern,
    pub span: Span,
}

const PREFIXES: [(&str, PatternKind); 3] =
    [("tool:", PatternKind::Tool), ("prompt:", PatternKind::Prompt), ("resource:", PatternKind::Resource)];

/// Reads a pattern. `kind` is what the place it stands in speaks of.
pub fn read(walk: &mut Walk<'_>, node: &Node, kind: PatternKind) -> Option<Written> {
    let text = walk.text(node)?;
    let prefix = PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix));
    let (glob, kind) = match prefix {
        Some((prefix, said)) if kind == PatternKind::Any || kind == *said => (&text[prefix.len()..], *said),
        Some((prefix, _)) => {
            let message = format!("`{prefix}` cannot match here: this list speaks of something else");
            walk.report(Finding::new(&codes::PATTERN, node.span, message));
            return None;
        }
        None => (text.as_str(), kind),
    };
    let why = if glob.is_empty() {
        "it is empty"
    } else if glob.len() > PATTERN_BYTES_MAX {
        "it is too long"
    } else if glob.chars().any(|c| c.is_control() || c == ' ') {
        "it holds a space or a control character"
    } else {
        return Some(Written { pattern: Pattern { kind, glob: glob.to_owned() }, span: node.span });
    };
    let quoted = walk.quote(node.span.file, glob);
    walk.report(Finding::new(&codes::PATTERN, node.span, format!("{quoted} is not a pattern: {why}")));
    None
}

/// The upstreams that a pattern can speak of; none is a finding.
pub fn upstreams(walk: &mut Walk<'_>, written: &Written, scope: &Scope<'_>, by: &str) -> Vec<usize> {
    let glob = written.pattern.glob.as_str();
    let literal_head = glob.split_once('.').map(|(head, _)| head).filter(|head| !head.contains('*'));
    if let Some(at) = literal_head.and_then(|head| scope.find(head)) {
        return vec![at];
    }
    if written.pattern.kind == PatternKind::Resource && is_bare_uri(glob) {
        return (0..scope.declared.len()).collect();
    }
    if let Some(head) = literal_head.filter(|head| !head.contains("://")) {
        let span = head_span(written, head.len());
        scope.unknown(walk, head, span, &codes::UNKNOWN_UPSTREAM, by);
        return Vec::new();
    }
    let reached: Vec<usize> =
        (0..scope.declared.len()).filter(|at| reaches(glob, scope.declared[*at].name)).collect();
    if reached.is_empty() && walk.whole {
        let quoted = walk.quote(written.span.file, glob);
        let finding = Finding::new(
            &codes::PATTERN,
            written.span,
            format!("{quoted} in {by} matches nothing: it speaks of no declared upstream"),
        )
        .help(match glob.contains("://") {
            true => "a URI without its upstream is written `resource:URI`".to_owned(),
            false => format!(
                "patterns are `upstream.name`; write `*.{}` for any upstream",
                glob.trim_start_matches('.')
            ),
        });
        walk.report(finding);
    }
    reached
}

/// `note://…`, `https://…`, `note*`: no upstream before the URI.
fn is_bare_uri(glob: &str) -> bool {
    match glob.find("://") {
        Some(scheme) => !glob[..scheme].contains('.'),
        None => false,
    }
}

/// The part of the pattern before its first dot, behind `tool:` and a quote if there are any.
fn head_span(written: &Written, len: usize) -> Span {
    let Span { file, start, end } = written.span;
    let (start, end) = (start as usize, end as usize);
    let tail = written.pattern.glob.len();
    let quotes = usize::from(
        end - start > tail && (end - start - tail) % 2 == 0 && written.pattern.kind == PatternKind::Any,
    );
    match written.pattern.kind {
        PatternKind::Any if end - start == tail + 2 * quotes => {
            Span::new(file, start + quotes, start + quotes + len)
        }
        _ => written.span,
    }
}

/// Can `glob` match any name that begins with `upstream.`? Walks all places in the pattern at once;
/// what is left of it after the prefix can always be completed.
pub fn reaches(glob: &str, upstream: &str) -> bool {
    let glob = glob.as_bytes();
    let mut places = vec![false; glob.len() + 1];
    places[0] = true;
    for byte in upstream.bytes().chain([b'.']) {
        skip_stars(glob, &mut places);
        let mut next = vec![false; glob.len() + 1];
        for at in 0..glob.len() {
            if places[at] {
                match glob[at] {
                    b'*' => next[at] = true,
                    same if same == byte => next[at + 1] = true,
                    _ => {}
                }
            }
        }
        places = next;
    }
    places.contains(&true)
}

fn skip_stars(glob: &[u8], places: &mut [bool]) {
    for at in 0..glob.len() {
        if places[at] && glob[at] == b'*' {
            places[at + 1] = true;
        }
    }
}

/// Does everything `inner` matches also match `outer`? Exact for patterns without `*` in `inner`, and
/// never wrong when it says yes: a star of `inner` is only swallowed by a star of `outer`.
pub fn covers(outer: &Pattern, inner: &Pattern) -> bool {
    (outer.kind == PatternKind::Any || outer.kind == inner.kind)
        && strait_policy::glob::matches(&outer.glob, &inner.glob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_reaches_these_upstreams() {
        let check =
            |glob, upstream, expected| assert_eq!(reaches(glob, upstream), expected, "{glob} {upstream}");
        check("crm.*", "crm", true);
        check("crm.*", "crmx", false);
        check("*", "crm", true);
        check("*.delete_*", "crm", true);
        check("c*", "crm", true);
        check("c*x", "crm", true);
        check("d*", "crm", false);
        check("crm", "crm", false);
        check("*m.get", "crm", true);
        check("*m", "crm", true);
    }

    #[test]
    fn a_pattern_covers_another() {
        let check = |outer: &str, inner: &str, expected| {
            let any = |glob: &str| Pattern { kind: PatternKind::Any, glob: glob.into() };
            assert_eq!(covers(&any(outer), &any(inner)), expected, "{outer} over {inner}");
        };
        check("*", "crm.*", true);
        check("crm.*", "crm.get_*", true);
        check("crm.get_*", "crm.*", false);
        check("crm.get", "crm.get", true);
        check("*.delete_*", "crm.delete_order", true);
        check("crm.a*", "crm.*a", false);
    }
}
