//! A policy under which nobody can do anything: default deny, and no rule that allows.

use strait_table::rules::Effect;

use crate::{
    diagnostic::{Finding, codes},
    lower::policy::Draft,
    source::Span,
    walk::Walk,
};

pub fn run(walk: &mut Walk<'_>, default_at: Span, drafts: &[Draft<'_>]) {
    if !walk.whole || drafts.iter().any(|draft| draft.effect == Effect::Allow) {
        return;
    }
    let message = match drafts.is_empty() {
        true => "the default is deny and there is no rule: nobody can do anything",
        false => "the default is deny and no rule allows: nobody can do anything",
    };
    let finding = Finding::new(&codes::NOTHING_ALLOWED, default_at, message)
        .help("add a rule, for example `{ id: all, allow: [\"*\"] }`");
    walk.report(finding);
}
