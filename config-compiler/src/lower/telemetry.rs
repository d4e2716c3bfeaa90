//! The block `telemetry`: whom a gateway tells of itself, and of which exchanges.

use strait_table::rules::{Text, TextPart};
use strait_table::telemetry::{HeaderLine, Otlp, ServerTiming, Telemetry, Traces};

use super::{credential, token};
use crate::{
    check::clear_text,
    diagnostic::{Finding, codes},
    source::{Entry, Node, Span, reference::Spelling},
    walk::{Walk, keys},
};

/// One in a hundred, where nothing is said.
const SAMPLE_PPM: u32 = 10_000;
const EVERY_MS: u32 = 10_000;
const HOUR_MS: u64 = 3_600_000;
/// What no collector wants more of.
const HEADERS_MAX: usize = 16;

pub fn lower(walk: &mut Walk<'_>, node: &Node) -> Telemetry {
    let mut telemetry = Telemetry::default();
    let Some(mut fields) = walk.fields(node, &keys::TELEMETRY) else { return telemetry };
    let (otlp, traced) = (fields.entry("otlp"), fields.entry("traces"));
    let words =
        [("never", ServerTiming::Never), ("asked", ServerTiming::Asked), ("always", ServerTiming::Always)];
    let timing = fields.get("server_timing").and_then(|node| walk.word(node, &words));
    fields.finish();
    telemetry.server_timing = timing.unwrap_or_default();
    telemetry.otlp = otlp.and_then(|entry| self::otlp(walk, entry));
    telemetry.traces = traced.and_then(|entry| traces(walk, &entry.value));
    if let (None, Some(traced)) = (otlp, traced) {
        nowhere(walk, traced.key_span);
    }
    telemetry
}

/// Traces that nobody gets would cost calls something, and leave whoever is behind with parents that nobody knows.
fn nowhere(walk: &mut Walk<'_>, span: Span) {
    let finding = Finding::new(&codes::MISSING, span, "`traces` without a collector that gets them")
        .help("write `otlp: { endpoint: http://127.0.0.1:4318 }` beside it");
    walk.report(finding);
}

fn otlp(walk: &mut Walk<'_>, entry: &Entry) -> Option<Otlp> {
    let mut fields = walk.fields(&entry.value, &keys::OTLP)?;
    let endpoint = fields
        .required(walk, "endpoint", entry.key_span, "write where it is: `http://127.0.0.1:4318`")
        .and_then(|node| endpoint(walk, node));
    let headers = fields.get("headers").map(|node| headers(walk, node)).unwrap_or_default();
    let every = fields.get("every").and_then(|node| walk.duration(node, 1_000..=HOUR_MS));
    let metrics = fields.get("metrics").and_then(|node| walk.flag(node));
    fields.finish();
    Some(Otlp {
        endpoint: endpoint?,
        headers,
        every_ms: every.map_or(EVERY_MS, |ms| ms as u32),
        metrics: metrics.unwrap_or(true),
    })
}

/// The URL that the paths of OTLP are below.
pub fn endpoint(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let url = token::url(walk, node)?;
    if url.contains('?') {
        walk.bad_url(node, &url, "paths are put behind it, and a query would be in their way");
        return None;
    }
    let end = url.trim_end_matches('/');
    if let Some(signal) = ["/v1/traces", "/v1/metrics", "/v1/logs"].iter().find(|path| end.ends_with(**path))
    {
        walk.bad_url(node, &url, &format!("leave `{signal}` away: it is put behind it"));
        return None;
    }
    Some(end.to_owned())
}

pub fn headers(walk: &mut Walk<'_>, node: &Node) -> Vec<HeaderLine> {
    let entries = walk.map(node, "a mapping of headers").unwrap_or_default();
    if let Some(beyond) = entries.get(HEADERS_MAX) {
        let message = format!("there are more than {HEADERS_MAX} headers");
        walk.report(Finding::new(&codes::OUT_OF_RANGE, beyond.key_span, message));
    }
    entries.iter().filter_map(|entry| header(walk, entry)).collect()
}

fn header(walk: &mut Walk<'_>, entry: &Entry) -> Option<HeaderLine> {
    let is_name = credential::check_header_name(walk, &entry.key, entry.key_span);
    let value = credential::header_value(walk, &entry.value, Spelling::Native)?;
    if is_clear(&entry.key, &value) {
        clear_text::report(walk, entry.value.span, &format!("the value of `{}`", entry.key));
    }
    is_name.then(|| HeaderLine { name: entry.key.clone(), value })
}

/// A tenant's name may stand there; what lets somebody in may not.
fn is_clear(name: &str, value: &Text) -> bool {
    let lets_in = ["authorization", "key", "token", "secret"];
    let name = name.to_ascii_lowercase();
    let looks =
        |part: &TextPart| matches!(part, TextPart::Literal(text) if !clear_text::secrets_in(text).is_empty());
    credential::is_literal(value)
        && (lets_in.iter().any(|word| name.contains(word)) || value.parts.iter().any(looks))
}

fn traces(walk: &mut Walk<'_>, node: &Node) -> Option<Traces> {
    let mut fields = walk.fields(node, &keys::TRACES)?;
    let sample = fields.get("sample").and_then(|node| walk.share_ppm(node));
    let slower = fields.get("slower_than").and_then(|node| walk.duration(node, 1..=HOUR_MS));
    let errors = fields.get("errors").and_then(|node| walk.flag(node));
    fields.finish();
    Some(Traces {
        sample_ppm: sample.unwrap_or(SAMPLE_PPM),
        slower_than_ms: slower.map(|ms| ms as u32),
        errors: errors.unwrap_or(true),
    })
}
