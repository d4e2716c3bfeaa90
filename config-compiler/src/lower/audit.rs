//! `audit`: what is written down where nobody can change it, and what one rule says of that instead.

use strait_table::audit::{Audit, AuditOfRule, Durability, Payload, WhenFull};

use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};

use super::{path, ship};
use crate::{
    check::clear_text,
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
/// What keys of age begin with.
const AGE: Hrp = Hrp::parse_unchecked("age");
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
    let encrypt = fields.entry("encrypt").map(|entry| recipients(walk, entry)).unwrap_or_default();
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
        encrypt,
        ship,
        anchors,
    })
}

/// Public keys of age (X25519).
fn recipients(walk: &mut Walk<'_>, entry: &Entry) -> Vec<[u8; 32]> {
    let Some(mut fields) = walk.fields(&entry.value, &keys::ENCRYPT) else { return Vec::new() };
    let help = "name who may read them: `recipients: [age1…]`";
    let list = fields.required(walk, "recipients", entry.key_span, help);
    fields.finish();
    let Some(node) = list else { return Vec::new() };
    let items = walk.list(node, "recipients").unwrap_or_default();
    if items.is_empty() {
        walk.report(Finding::new(&codes::MISSING, node.span, "`encrypt` has no recipients").help(help));
    }
    if let Some(beyond) = items.get(Audit::RECIPIENTS_MAX) {
        let message = format!("there are more than {} recipients", Audit::RECIPIENTS_MAX);
        walk.report(Finding::new(&codes::OUT_OF_RANGE, beyond.span, message));
    }
    items.iter().filter_map(|item| recipient(walk, item)).collect()
}

fn recipient(walk: &mut Walk<'_>, node: &Node) -> Option<[u8; 32]> {
    let text = walk.text(node)?;
    let key = CheckedHrpstring::new::<Bech32>(&text).ok().filter(|key| key.hrp() == AGE);
    let key = key.and_then(|key| key.byte_iter().collect::<Vec<u8>>().try_into().ok());
    if key.is_none() {
        let is_identity = text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-");
        let (message, help) = match is_identity {
            // Never shown.
            true => {
                clear_text::mask_literals(walk, node);
                (
                    "a recipient is an identity, which opens: expected its public key",
                    "`age-keygen -y FILE` prints it; take the identity out of this file, and hold it for known",
                )
            }
            false => (
                "a recipient is no public key of age",
                "write it as `age-keygen` prints it: `age1` and 58 characters, in lower case",
            ),
        };
        walk.report(Finding::new(&codes::NAME, node.span, message).help(help));
    }
    key
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
