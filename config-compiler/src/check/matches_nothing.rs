//! A pattern that matches nothing of what its upstreams offer, by their lock file. A name that is written out and is not
//! there is a slip, and an error: a deny of `delete_ordr` denies nothing. A pattern with a star may be meant for what is to
//! come, and is a warning.

use strait_policy::glob;
use strait_table::rules::PatternKind;
use strait_table::{Kind, uris};

use crate::{
    diagnostic::{Finding, codes},
    lock::{Lock, Pinned},
    lower::pattern::Written,
    walk::{Walk, suggest},
};

/// `upstreams`: those that the pattern can speak of.
pub fn run(walk: &mut Walk<'_>, written: &Written, upstreams: &[&str], by: &str) {
    let Some(lock) = walk.lock else { return };
    let pinned: Option<Vec<&Pinned>> =
        upstreams.iter().map(|name| lock.find(name).map(|locked| &locked.pinned)).collect();
    // One that is not pinned was told already, and may offer it.
    let Some(pinned) = pinned.filter(|pinned| !pinned.is_empty()) else { return };
    let glob = written.pattern.glob.as_str();
    // All of an upstream is meant whatever that is.
    let says_all = glob == "*" || glob.split_once('.').is_some_and(|(_, name)| name == "*");
    // A method that Strait does not know: `vendor/thing`.
    let may_be_method =
        written.pattern.kind == PatternKind::Any && glob.contains('/') && !glob.contains("://");
    if says_all || may_be_method || matches(lock, written, &pinned, &mut walk.pattern_names) {
        return;
    }
    let quoted = walk.quote(written.span.file, glob);
    let finding = match glob.contains('*') {
        true => Finding::new(
            &codes::MATCHES_NOTHING,
            written.span,
            format!("{quoted} in {by} matches nothing that is pinned in the lock file"),
        ),
        false => {
            let name = glob.split_once('.').map_or(glob, |(_, name)| name);
            let names = pinned.iter().flat_map(|pinned| {
                let speaks = Kind::ALL.into_iter().filter(|kind| speaks(written.pattern.kind, *kind));
                speaks.flat_map(|kind| pinned.lists.of(kind)).map(|item| item.name.as_str())
            });
            let is_full = walk.findings.is_full();
            let meant = suggest::nearest(name, names.filter(|_| !is_full));
            let meant = meant.map(|name| match glob.split_once('.') {
                Some((upstream, _)) => format!("{upstream}.{name}"),
                None => name.to_owned(),
            });
            let message = format!("{quoted} in {by} names nothing that is pinned in the lock file");
            let finding = Finding::new(&codes::UNKNOWN_ITEM, written.span, message).meant(meant.as_deref());
            match meant {
                Some(_) => finding,
                None => finding.help("if its upstream offers it now, run `strait lock`"),
            }
        }
    };
    walk.report(finding);
}

fn speaks(pattern: PatternKind, kind: Kind) -> bool {
    match pattern {
        PatternKind::Any => true,
        PatternKind::Tool => kind == Kind::Tool,
        PatternKind::Prompt => kind == Kind::Prompt,
        PatternKind::Resource => matches!(kind, Kind::Resource | Kind::Template),
    }
}

/// `left`: names that may still be looked at in this load; beyond them everything counts as a match.
fn matches(lock: &Lock, written: &Written, pinned: &[&Pinned], left: &mut usize) -> bool {
    let (glob, kind) = (written.pattern.glob.as_str(), written.pattern.kind);
    let is_literal = !glob.contains('*');
    pinned.iter().any(|pinned| {
        let prefix = format!("{}.", pinned.name);
        let bare = kind == PatternKind::Resource;
        let name = glob.strip_prefix(prefix.as_str());
        Kind::ALL.into_iter().filter(|of| speaks(kind, *of)).any(|of| {
            // Names are mostly written out, and looked up.
            if is_literal {
                let has = |name: &str| lock.has(&pinned.name, of, name);
                if name.is_some_and(has) || (bare && has(glob)) {
                    return true;
                }
                if of != Kind::Template {
                    return false;
                }
            }
            let items = pinned.lists.of(of);
            let Some(rest) = left.checked_sub(items.len()) else { return true };
            *left = rest;
            items.iter().any(|item| {
                let full = format!("{prefix}{}", item.name);
                if glob::matches(glob, &full) || (bare && glob::matches(glob, &item.name)) {
                    return true;
                }
                // URIs that a template makes are spoken of too.
                of == Kind::Template && {
                    let made = uris::template_glob(&item.name);
                    uris::may_overlap(glob, &format!("{prefix}{made}"))
                        || (bare && uris::may_overlap(glob, &made))
                }
            })
        })
    })
}
