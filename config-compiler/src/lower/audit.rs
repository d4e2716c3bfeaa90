//! `audit`: what is written down where nobody can change it, and what one rule says of that instead.

use strait_table::audit::{Audit, AuditOfRule, Durability, Payload, WhenFull};

use super::{path, ship};
use crate::{
    diagnostic::{Finding, codes},
    source::{Entry, Node, Span},
    walk::{Walk, keys},
};

const PAYLOADS: [(&str, Payload); 4] = [
    ("none", Payload::None),
    ("hash", Payload::Hash),
    ("redacted", Payload::Redacted),
    ("full", Payload::Full),
];
const DURABILITIES: [(&str, Durability); 3] =
    [("async", Durability::Async), ("durable", Durability::Durable), ("intent", Durability::Intent)];
const WHEN_FULL: [(&str, WhenFull); 3] =
    [("block", WhenFull::Block), ("drop", WhenFull::Drop), ("refuse", WhenFull::Refuse)];

/// The block. `at`: where it is named.
pub fn lower(walk: &mut Walk<'_>, node: &Node, at: Span) -> Option<Audit> {
    let mut fields = walk.fields(node, &keys::AUDIT)?;
    let path = fields
        .required(walk, "path", at, "name the folder that the log is kept in: `path: ./audit`")
        .and_then(|node| path(walk, node));
    let payload = fields.get("payload").and_then(|node| walk.word(node, &PAYLOADS));
    let durability = fields.get("durability").and_then(|node| walk.word(node, &DURABILITIES));
    let when_full = fields.get("when_full").and_then(|node| walk.word(node, &WHEN_FULL));
    let every = fields.get("every").and_then(|node| walk.duration(node, 1..=1_000));
    let checkpoint = fields.get("checkpoint").and_then(|node| walk.duration(node, 100..=3_600_000));
    let rotate = fields.get("rotate").and_then(|node| walk.size(node, 1 << 20..=1 << 34));
    let keep = fields.get("keep").and_then(|node| walk.duration(node, 60_000..=100 * 366 * 86_400_000));
    let ship = fields.get("ship").map(|node| ship::collectors(walk, node)).unwrap_or_default();
    let anchors = fields.get("anchors").map(|node| ship::anchors(walk, node)).unwrap_or_default();
    fields.finish();
    Some(Audit {
        path: path?,
        payload: payload.unwrap_or(Payload::Redacted),
        durability: durability.unwrap_or(Durability::Async),
        when_full: when_full.unwrap_or(WhenFull::Block),
        every_ms: every.map_or(Audit::EVERY_MS, |ms| ms as u32),
        checkpoint_ms: checkpoint.map_or(Audit::CHECKPOINT_MS, |ms| ms as u32),
        rotate_bytes: rotate.unwrap_or(Audit::ROTATE_BYTES),
        keep_s: keep.map(|ms| ms / 1_000),
        ship,
        anchors,
    })
}

/// `audit` of a rule.
pub fn of_rule(walk: &mut Walk<'_>, entry: &Entry) -> AuditOfRule {
    let Some(mut fields) = walk.fields(&entry.value, &keys::AUDIT_OF_RULE) else {
        return AuditOfRule::default();
    };
    let payload = fields.get("payload").and_then(|node| walk.word(node, &PAYLOADS));
    let durability = fields.get("durability").and_then(|node| walk.word(node, &DURABILITIES));
    fields.finish();
    AuditOfRule { payload, durability }
}

/// Rules that say how they are written down, where nothing is.
pub fn without_log(walk: &mut Walk<'_>, rules: &[(String, Span)]) {
    for (id, at) in rules {
        let message = format!("rule `{id}` says how it is audited, and there is no `audit`");
        let finding = Finding::new(&codes::MISSING, *at, message)
            .label("would have no effect")
            .help("write `audit: { path: ./audit }`, or leave this out");
        walk.report(finding);
    }
}
