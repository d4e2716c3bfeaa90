//! Whom the audit log is sent to: `audit.ship` and `audit.anchors`.

use strait_table::ship::{Anchor, Begin, Collector, Form, Keeper, Ship};

use super::{credential, path, telemetry, token};
use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::{Entry, Node, Span, Value},
    walk::{Fields, Walk, keys, scalar},
};

/// Each has a cursor, a connection and a batch in memory.
const COLLECTORS_MAX: usize = 16;
const ANCHORS_MAX: usize = 16;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

const KINDS: [&str; 4] = ["syslog", "hec", "otlp", "webhook"];
const FORMS: [(&str, Form); 4] =
    [("ndjson", Form::Ndjson), ("ocsf", Form::Ocsf), ("ecs", Form::Ecs), ("cef", Form::Cef)];
/// What belongs to one kind alone.
const OF_KIND: [(&str, &str); 4] =
    [("token", "hec"), ("acknowledge", "hec"), ("headers", "otlp"), ("secret", "webhook")];

pub fn collectors(walk: &mut Walk<'_>, node: &Node) -> Vec<Ship> {
    let items = walk.list(node, "collectors").unwrap_or_default();
    bounded(walk, items, COLLECTORS_MAX, "collectors");
    let mut known: Vec<(String, Span)> = Vec::new();
    items.iter().filter_map(|item| collector(walk, item, &mut known)).collect()
}

fn collector(walk: &mut Walk<'_>, node: &Node, known: &mut Vec<(String, Span)>) -> Option<Ship> {
    let mut fields = walk.fields(node, &keys::SHIP)?;
    let id = fields
        .required(walk, "id", node.span, "name it: its cursor and its metrics are found by that")
        .and_then(|node| id(walk, node, known));
    let written = fields.exactly_one(walk, &KINDS, node.span);
    let of_kind = OF_KIND.map(|(key, kind)| (fields.entry(key), kind));
    // Never shown, whatever else is wrong.
    for (entry, _) in of_kind
        .iter()
        .filter(|(entry, _)| entry.is_some_and(|entry| ["token", "secret"].contains(&entry.key.as_str())))
    {
        entry.iter().for_each(|entry| clear_text::mask_literals(walk, &entry.value));
    }
    let form = fields.get("format").and_then(|node| walk.word(node, &FORMS));
    let begin = [("oldest", Begin::Oldest), ("now", Begin::Now)];
    let begin = fields.get("from").and_then(|node| walk.word(node, &begin));
    let to = written.and_then(|written| {
        foreign(walk, written, &of_kind);
        to(walk, written, &mut fields)
    });
    fields.finish();
    Some(Ship {
        id: id?,
        to: to?,
        format: form.unwrap_or(Form::Ndjson),
        begin: begin.unwrap_or(Begin::Oldest),
    })
}

fn id(walk: &mut Walk<'_>, node: &Node, known: &mut Vec<(String, Span)>) -> Option<String> {
    let id = walk.text(node)?;
    if !walk.name(&id, node.span, "a collector", true) {
        return None;
    }
    if let Some((_, first)) = known.iter().find(|(other, _)| *other == id) {
        let message = format!("two collectors have the id `{id}`");
        walk.report(Finding::new(&codes::DECLARED_TWICE, node.span, message).note(*first, "first here"));
        return None;
    }
    known.push((id.clone(), node.span));
    Some(id)
}

/// What would have no effect beside the kind that was written.
fn foreign(walk: &mut Walk<'_>, written: &Entry, of_kind: &[(Option<&Entry>, &str)]) {
    for (entry, kind) in of_kind {
        let Some(entry) = entry.filter(|_| *kind != written.key) else { continue };
        let message = format!("`{}` is of `{kind}`, and this is a `{}`", entry.key, written.key);
        let finding = Finding::new(&codes::ONE_OF, entry.key_span, message).label("would have no effect");
        walk.report(finding);
    }
}

fn to(walk: &mut Walk<'_>, written: &Entry, fields: &mut Fields<'_>) -> Option<Collector> {
    let (node, at) = (&written.value, written.key_span);
    match written.key.as_str() {
        "syslog" => syslog(walk, node),
        "hec" => {
            let url = below(walk, node, "/services/collector");
            let token = fields.required(
                walk,
                "token",
                at,
                "write the collector's token: `token: \"${secret:splunk}\"`",
            );
            let token = token.and_then(|node| credential::literal_free(walk, node));
            let ack = fields.get("acknowledge").and_then(|node| walk.duration(node, 1_000..=HOUR_MS));
            Some(Collector::Hec {
                url: url?,
                token: token?,
                ack_ms: ack.map_or(Ship::ACK_MS, |ms| ms as u32),
            })
        }
        "otlp" => {
            let endpoint = telemetry::endpoint(walk, node);
            let headers =
                fields.get("headers").map(|node| telemetry::headers(walk, node)).unwrap_or_default();
            Some(Collector::Otlp { endpoint: endpoint?, headers })
        }
        _ => {
            let (url, secret) = signed(walk, written, fields);
            Some(Collector::Webhook { url: url?, secret: secret? })
        }
    }
}

/// A URL, and what is sent there is signed with.
fn signed(
    walk: &mut Walk<'_>,
    written: &Entry,
    fields: &mut Fields<'_>,
) -> (Option<String>, Option<strait_table::rules::Text>) {
    let url = token::url(walk, &written.value);
    let help = "write what it is signed with: `secret: \"${secret:hook}\"`";
    let secret = fields.required(walk, "secret", written.key_span, help);
    (url, secret.and_then(|node| credential::literal_free(walk, node)))
}

/// A URL that paths are put behind.
fn below(walk: &mut Walk<'_>, node: &Node, path: &str) -> Option<String> {
    let url = token::url(walk, node)?;
    if url.contains('?') || url.contains(path) {
        walk.bad_url(
            node,
            &url,
            &format!("leave away what comes behind its host: `{path}/event` is put there"),
        );
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

fn syslog(walk: &mut Walk<'_>, node: &Node) -> Option<Collector> {
    let url = walk.text(node)?;
    let (tls, rest) = match (url.strip_prefix("tls://"), url.strip_prefix("tcp://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => {
            walk.bad_url(node, &url, "it begins with neither `tls://` nor `tcp://`");
            return None;
        }
    };
    let (host, port) = match scalar::split_authority(rest) {
        Ok(found) => found,
        Err(why) => {
            walk.bad_url(node, &url, &why);
            return None;
        }
    };
    if !tls && !token::is_here(&host) {
        let why =
            "it is clear text to another machine: whoever is between could read and change it; use `tls://`";
        walk.bad_url(node, &url, why);
        return None;
    }
    // RFC 5425 and RFC 6587.
    Some(Collector::Syslog { tls, host, port: port.unwrap_or(if tls { 6514 } else { 601 }) })
}

pub fn anchors(walk: &mut Walk<'_>, node: &Node) -> Vec<Anchor> {
    let items = walk.list(node, "anchors").unwrap_or_default();
    bounded(walk, items, ANCHORS_MAX, "anchors");
    items.iter().filter_map(|item| anchor(walk, item)).collect()
}

fn anchor(walk: &mut Walk<'_>, node: &Node) -> Option<Anchor> {
    let stdout = [("stdout", ())];
    if let Value::Scalar(_) = node.value {
        walk.word(node, &stdout)?;
        return Some(Anchor { to: Keeper::Stdout, every_ms: Anchor::EVERY_MS });
    }
    let mut fields = walk.fields(node, &keys::ANCHOR)?;
    let written = fields.exactly_one(walk, &["to", "file", "webhook"], node.span);
    let secret = fields.entry("secret");
    secret.iter().for_each(|entry| clear_text::mask_literals(walk, &entry.value));
    let every = fields.get("every").and_then(|node| walk.duration(node, 1_000..=DAY_MS));
    let to = written.and_then(|written| {
        foreign(walk, written, &[(secret, "webhook")]);
        match written.key.as_str() {
            "to" => walk.word(&written.value, &stdout).map(|()| Keeper::Stdout),
            "file" => path(walk, &written.value).map(Keeper::File),
            _ => {
                let (url, secret) = signed(walk, written, &mut fields);
                Some(Keeper::Webhook { url: url?, secret: secret? })
            }
        }
    });
    fields.finish();
    Some(Anchor { to: to?, every_ms: every.map_or(Anchor::EVERY_MS, |ms| ms as u32) })
}

fn bounded(walk: &mut Walk<'_>, items: &[Node], most: usize, what: &str) {
    if let Some(beyond) = items.get(most) {
        let message = format!("there are more than {most} {what}");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, beyond.span, message));
    }
}
