//! The words of a handshake with an upstream, for every transport: which messages open a
//! conversation, and what their answers mean.

use strait_protocol::jsonrpc::{Envelope, Members, unescape};
use strait_protocol::mcp::{Declared, LogLevel, Method, Revision, codes, meta};
use strait_protocol::{Span, decimal};
use strait_table::bound::Capabilities;

use super::dialect::{OUR_INFO, our_meta};
use super::{Era, UpstreamFault};

/// The notification that ends a legacy handshake.
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Declares what the client behind the session declared.
pub fn initialize(id: i64, declared: Declared) -> Vec<u8> {
    let revision = Revision::LATEST_LEGACY;
    let mut out = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{}","capabilities":"#,
        revision.as_str()
    )
    .into_bytes();
    declared.append(revision, &mut out);
    out.extend_from_slice(format!(r#","clientInfo":{OUR_INFO}}}}}"#).as_bytes());
    out
}

/// Tells a server that nobody needs the answer to a request of ours.
pub fn cancelled(id: i64, reason: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{reason}"}}}}"#
    )
}

/// A request of our own; `members` are those of its `params`.
pub fn request(id: i64, method: Method, members: &[u8]) -> Vec<u8> {
    let mut out =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{}","params":{{"#, method.as_str()).into_bytes();
    out.extend_from_slice(members);
    out.extend_from_slice(b"}}");
    out
}

/// How severe a log message must be to be told.
pub fn set_level(id: i64, level: LogLevel) -> Vec<u8> {
    request(id, Method::LoggingSetLevel, format!("\"level\":\"{}\"", level.as_str()).as_bytes())
}

pub fn discover(id: i64) -> Vec<u8> {
    let mut out =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{"_meta":"#).into_bytes();
    our_meta().append(&mut out);
    out.extend_from_slice(b"}}");
    out
}

/// What an answer to `server/discover` says of the server. The answer of a modern server names the versions
/// that it speaks; some older ones answer whatever they do not know with `{}`. An error that only a modern
/// server makes means modern; any other means that it does not know the question.
pub fn era(message: &[u8], envelope: &Envelope, status: u16) -> Era {
    let versions = |result| Members::find(message, result, "supportedVersions").ok().flatten();
    let discovered = envelope.result.and_then(versions).is_some_and(|it| it.of(message).starts_with(b"["));
    let modern_error = envelope.error_code.is_some_and(|code| {
        codes::is_modern_only(code) || (status == 404 && code == codes::METHOD_NOT_FOUND)
    });
    if discovered || modern_error { Era::Modern } else { Era::Legacy }
}

/// The version a server chose in its answer to `initialize`.
pub fn negotiated(message: &[u8], envelope: &Envelope) -> Result<Revision, UpstreamFault> {
    let refused = |what: String| UpstreamFault::Handshake(what);
    let Some(result) = envelope.result else {
        let code = envelope.error_code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        return Err(refused(format!("initialize was answered with an error ({code})")));
    };
    let version = Members::find(message, result, "protocolVersion").ok().flatten();
    let text = version.and_then(|raw| raw.of(message).strip_prefix(b"\"")?.strip_suffix(b"\""));
    let revision = text.and_then(Revision::parse).filter(|revision| !revision.is_modern());
    revision.ok_or_else(|| {
        let found = text.map_or("none".into(), String::from_utf8_lossy);
        refused(format!(
            "expected a known protocolVersion, found `{}`",
            found.chars().take(40).collect::<String>()
        ))
    })
}

/// What a server says of itself.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// `None`: it did not say, so it may have anything.
    pub capabilities: Option<Capabilities>,
    pub instructions: Option<String>,
    pub freshness: Freshness,
    /// It tells when one of its lists changes.
    pub announces: bool,
}

/// What a 2026-07-28 server says of an answer: how long it may be kept, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    pub ttl_ms: u64,
    /// Anyone may be given it.
    pub public: bool,
}

impl Freshness {
    /// Until when an answer to what was asked at `asked_ms` may be kept, and whether by anyone. 0 is never.
    pub fn until(self, asked_ms: u64) -> (u64, bool) {
        let until = if self.ttl_ms == 0 { 0 } else { asked_ms.saturating_add(self.ttl_ms) };
        (until, self.public)
    }
}

/// What a server says of itself in the answer to `initialize` or `server/discover`.
pub fn said(message: &[u8], envelope: &Envelope) -> Said {
    let Some(result) = envelope.result else { return Said::default() };
    Said {
        capabilities: object(message, result, "capabilities").map(|object| capabilities(message, object)),
        instructions: instructions(message, result),
        freshness: freshness(message, result),
        announces: object(message, result, "capabilities").is_some_and(|object| announces(message, object)),
    }
}

fn announces(message: &[u8], capabilities: Span) -> bool {
    ["tools", "prompts", "resources"].iter().any(|kind| {
        let inside = object(message, capabilities, kind);
        let changed = inside.and_then(|inside| Members::find(message, inside, "listChanged").ok().flatten());
        changed.is_some_and(|value| value.of(message) == b"true")
    })
}

fn instructions(message: &[u8], result: Span) -> Option<String> {
    let raw = Members::find(message, result, "instructions").ok()??.of(message);
    let mut text = Vec::new();
    unescape(raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?, &mut text);
    String::from_utf8(text).ok()
}

pub fn freshness(message: &[u8], result: Span) -> Freshness {
    let raw = |key| Members::find(message, result, key).ok().flatten().map(|span| span.of(message));
    Freshness {
        ttl_ms: raw("ttlMs").and_then(decimal::parse).unwrap_or(0),
        public: raw("cacheScope") == Some(b"\"public\""),
    }
}

fn capabilities(message: &[u8], object: Span) -> Capabilities {
    let inside = |object: Option<Span>, key: &str| self::object(message, object?, key);
    let has = |key: &str| inside(Some(object), key).is_some();
    let extensions = inside(Some(object), "extensions");
    let resources = inside(Some(object), "resources");
    let subscribe =
        resources.and_then(|resources| Members::find(message, resources, "subscribe").ok().flatten());
    Capabilities {
        tools: has("tools"),
        prompts: has("prompts"),
        resources: resources.is_some(),
        subscribe: subscribe.is_some_and(|span| span.of(message) == b"true"),
        completions: has("completions"),
        logging: has("logging"),
        core_tasks: has("tasks"),
        tasks: inside(extensions, meta::EXTENSION_TASKS).is_some(),
        ui: inside(extensions, meta::EXTENSION_UI).is_some(),
    }
}

/// A member that is an object.
fn object(message: &[u8], within: Span, key: &str) -> Option<Span> {
    let span = Members::find(message, within, key).ok()??;
    span.of(message).starts_with(b"{").then_some(span)
}
