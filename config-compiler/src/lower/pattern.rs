//! Patterns: which upstreams they can speak of, and whether one covers another. Both questions are
//! answered exactly on the text of the globs, without a catalog.

use strait_table::rules::{Pattern, PatternKind};

use super::scope::Scope;
use crate::{
    check,
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
    /// The part before the first dot, which mostly names an upstream.
    pub head_span: Span,
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
        let from = text.len() - glob.len();
        let head_span = walk.within(node, from, from + glob.find('.').unwrap_or(glob.len()));
        return Some(Written {
            pattern: Pattern { kind, glob: glob.to_owned() },
            span: node.span,
            head_span,
        });
    };
    let quoted = walk.quote(node.span.file, glob);
    walk.report(Finding::new(&codes::PATTERN, node.span, format!("{quoted} is not a pattern: {why}")));
    None
}

/// The upstreams that a pattern can speak of; none is a finding, and so is one that offers nothing of the kind.
pub fn upstreams(walk: &mut Walk<'_>, written: &Written, scope: &Scope<'_>, by: &str) -> Vec<usize> {
    let reached = declared(walk, written, scope, by);
    let names: Vec<&str> = reached.iter().map(|at| scope.declared[*at].name).collect();
    check::matches_nothing::run(walk, written, &names, by);
    reached
}

fn declared(walk: &mut Walk<'_>, written: &Written, scope: &Scope<'_>, by: &str) -> Vec<usize> {
    let glob = written.pattern.glob.as_str();
    let literal_head = glob.split_once('.').map(|(head, _)| head).filter(|head| !head.contains('*'));
    if let Some(at) = literal_head.and_then(|head| scope.find(head)) {
        return vec![at];
    }
    if written.pattern.kind == PatternKind::Resource && is_bare_uri(glob) {
        return (0..scope.declared.len()).collect();
    }
    if let Some(head) = literal_head.filter(|head| !head.contains("://")) {
        scope.unknown(walk, head, written.head_span, &codes::UNKNOWN_UPSTREAM, by);
        return Vec::new();
    }
    let reached = reached(glob, scope);
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

/// Upstreams whose names can stand before the first dot of what `glob` matches. Up to its first star a
/// pattern is literal, and the star can swallow whatever is left of a name: those are the names with
/// that beginning. (A literal part that holds a dot names one upstream, and was looked up before.)
fn reached(glob: &str, scope: &Scope<'_>) -> Vec<usize> {
    match glob.split_once('*') {
        Some((literal, _)) if !literal.contains('.') => scope.beginning_with(literal).collect(),
        _ => Vec::new(),
    }
}

/// Whether a pattern speaks of this upstream by its name. A URI alone names none, and may be anybody's.
pub fn names(pattern: &Pattern, upstream: &str) -> bool {
    let glob = pattern.glob.as_str();
    if pattern.kind == PatternKind::Resource && is_bare_uri(glob) {
        return false;
    }
    match (glob.split_once('*'), glob.split_once('.')) {
        (Some((literal, _)), _) if !literal.contains('.') => upstream.starts_with(literal),
        (_, Some((head, _))) => head == upstream,
        _ => false,
    }
}

/// `note://…`, `https://…`, `note*`: no upstream before the URI.
fn is_bare_uri(glob: &str) -> bool {
    match glob.find("://") {
        Some(scheme) => !glob[..scheme].contains('.'),
        None => false,
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
