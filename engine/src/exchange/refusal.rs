//! Why an exchange ended early, and everything that follows from it: status, JSON-RPC code, label in
//! the record, text for the reader. The one place that knows the wire form of a "no".
//!
//! The text names the layer at fault: the request itself, this gateway, or an upstream by name.

use std::borrow::Cow;

use strait_protocol::http1::HeadFault;
use strait_protocol::jsonrpc::{DecodeFault, ErrorId, append_error, append_string};
use strait_protocol::mcp::{Revision, codes};
use strait_table::Kind;

use super::denied::Denied;
use super::identify::{BY_CERTIFICATE, Fault};
use super::reached::{Reached, append_result};
use crate::connection::outside::Outside;
use crate::figures::labels::Outcome;
use crate::upstream::UpstreamFault;

/// What a server's path takes, of clients of all revisions.
pub const ALLOWED: &str = "GET, POST, DELETE";

/// A refusal, before it is written.
#[derive(Debug)]
pub enum Refusal {
    Head(HeadFault),
    /// A request in the clear where TLS is spoken.
    TlsExpected,
    /// The body's chunks are malformed.
    Chunks(&'static str),
    /// 408: the request did not arrive in time.
    Slow,
    TooLarge {
        limit: usize,
    },
    NoSuchPath,
    Host,
    Origin,
    Method {
        allow: &'static str,
    },
    /// GET or DELETE, which are about a session, without one.
    MethodOfSession,
    MediaType,
    NotAcceptable {
        expected: &'static str,
    },
    /// The connection would not be let in any more.
    Outside(Outside),
    /// No key that this server knows; it accepts nothing else.
    Unauthenticated,
    /// No token or key that this server accepts.
    Credential(Box<Fault>),
    Decode(DecodeFault),
    Invalid(&'static str),
    SessionNeeded,
    SessionUnknown,
    SessionRevision,
    /// `Mcp-Method`, `Mcp-Name` or `MCP-Protocol-Version` disagrees with the body.
    HeaderMismatch(&'static str),
    Unsupported {
        requested: String,
    },
    Params(&'static str),
    UnknownMethod {
        method: String,
    },
    /// Unknown, hidden and denied read the same.
    UnknownTool {
        name: String,
    },
    UnknownPrompt {
        name: String,
    },
    UnknownResource {
        uri: String,
        modern: bool,
    },
    /// Its upstream offers something else than a lock file pins. Told only to whom it would be shown.
    Quarantined {
        kind: Kind,
        name: String,
        upstream: String,
        gone: bool,
    },
    UnknownTask {
        id: String,
    },
    /// A tool's shape does not let a call say this.
    Argument {
        text: String,
        /// The call's answer is a tool's result, which the model reads.
        as_result: bool,
    },
    /// The caller may do it, and not like this.
    Denied(Box<Denied>),
    /// The client did not declare the extension of 2026-07-28 that it uses.
    Undeclared {
        extension: &'static str,
    },
    BadCursor,
    Overloaded(&'static str),
    /// The caller may do it, and not now.
    Limited(Box<Reached>),
    Draining,
    /// The audit log takes no records, and what it cannot take is not to happen.
    Unrecorded,
    Upstream {
        name: String,
        fault: UpstreamFault,
    },
    /// A fault of ours.
    Internal(&'static str),
}

impl Refusal {
    /// The stable word in records and counters.
    pub fn label(&self) -> &'static str {
        use Refusal::*;
        match self {
            Head(fault) => fault.label(),
            TlsExpected => "tls_expected",
            Chunks(_) => "chunks",
            Slow => "request_timeout",
            TooLarge { .. } => "body_too_large",
            NoSuchPath => "no_such_path",
            Host => "host",
            Origin => "origin",
            Method { .. } | MethodOfSession => "method",
            MediaType => "content_type",
            NotAcceptable { .. } => "accept",
            Outside(outside) => outside.label(),
            Unauthenticated => "unauthenticated",
            Credential(fault) => fault.label(),
            Decode(fault) => fault.label(),
            Invalid(_) => "invalid_request",
            SessionNeeded => "session_needed",
            SessionUnknown => "session_unknown",
            SessionRevision => "session_revision",
            HeaderMismatch(_) => "header_mismatch",
            Unsupported { .. } => "unsupported_version",
            Params(_) => "invalid_params",
            UnknownMethod { .. } => "unknown_method",
            UnknownTool { .. } => "unknown_tool",
            UnknownPrompt { .. } => "unknown_prompt",
            UnknownResource { .. } => "unknown_resource",
            Quarantined { .. } => "quarantined",
            UnknownTask { .. } => "unknown_task",
            Argument { .. } => "argument",
            Denied(denied) => denied.label(),
            Undeclared { .. } => "undeclared",
            BadCursor => "bad_cursor",
            Overloaded(_) => "overloaded",
            Limited(reached) => reached.label(),
            Draining => "draining",
            Unrecorded => "unrecorded",
            Upstream { fault, .. } => fault.label(),
            Internal(_) => "internal",
        }
    }

    /// What kind of ending this is.
    pub fn outcome(&self) -> Outcome {
        match self {
            Refusal::Overloaded(_) | Refusal::Draining | Refusal::Unrecorded => Outcome::Overloaded,
            Refusal::Upstream { fault, .. } => fault.outcome(),
            Refusal::Internal(_) => Outcome::Internal,
            _ => Outcome::Refused,
        }
    }

    /// The HTTP status. To legacy clients, JSON-RPC errors of a request that was understood ride on 200.
    pub fn status(&self, modern: bool) -> u16 {
        use Refusal::*;
        match self {
            Head(fault) => fault.status(),
            TlsExpected | Chunks(_) | Decode(_) | Invalid(_) | SessionNeeded | SessionRevision => 400,
            HeaderMismatch(_) | Unsupported { .. } => 400,
            Slow => 408,
            TooLarge { .. } => 413,
            NoSuchPath | SessionUnknown => 404,
            Host | Origin => 403,
            Method { .. } | MethodOfSession => 405,
            MediaType => 415,
            NotAcceptable { .. } => 406,
            Outside(_) | Unauthenticated => 401,
            Credential(fault) => fault.status(),
            Overloaded(_) | Draining | Unrecorded => 503,
            Limited(reached) if modern && !reached.as_result => 429,
            Limited(_) => 200,
            Params(_) if modern => 400,
            Upstream { fault: UpstreamFault::Undeclared(_), .. } if modern => 400,
            UnknownMethod { .. } if modern => 404,
            Params(_) | UnknownMethod { .. } => 200,
            Undeclared { .. } => 400,
            UnknownTool { .. } | UnknownPrompt { .. } | UnknownResource { .. } => 200,
            Quarantined { .. } | UnknownTask { .. } | Argument { .. } | BadCursor => 200,
            Denied(denied) if modern && !denied.as_result => 403,
            Denied(_) => 200,
            Upstream { .. } | Internal(_) => 200,
        }
    }

    pub fn code(&self) -> i64 {
        use Refusal::*;
        match self {
            Decode(fault) => fault.code(),
            HeaderMismatch(_) => codes::HEADER_MISMATCH,
            Unsupported { .. } => codes::UNSUPPORTED_PROTOCOL_VERSION,
            UnknownMethod { .. } => codes::METHOD_NOT_FOUND,
            Undeclared { .. } => codes::MISSING_CLIENT_CAPABILITY,
            Params(_) | UnknownTool { .. } | UnknownPrompt { .. } => codes::INVALID_PARAMS,
            Quarantined { .. } | UnknownTask { .. } | Argument { .. } | BadCursor => codes::INVALID_PARAMS,
            UnknownResource { modern: true, .. } => codes::INVALID_PARAMS,
            UnknownResource { modern: false, .. } => codes::RESOURCE_NOT_FOUND_LEGACY,
            Upstream { fault: UpstreamFault::Undeclared(_), .. } => codes::MISSING_CLIENT_CAPABILITY,
            Upstream { .. } | Internal(_) | Overloaded(_) | Draining | Unrecorded => codes::INTERNAL_ERROR,
            Limited(_) => codes::LIMITED,
            SessionUnknown => -32001,
            _ => codes::INVALID_REQUEST,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        use Refusal::*;
        match self {
            Head(fault) => format!("request: {}", fault.message()).into(),
            TlsExpected => {
                "gateway: this port speaks TLS and the request came without it: use https:// in the URL".into()
            }
            Chunks(what) => format!("request: chunked body: {what}").into(),
            Slow => "request: did not arrive in time".into(),
            TooLarge { limit } => format!("request: the body is over the limit of {limit} bytes").into(),
            NoSuchPath => "request: no server at this path".into(),
            Host => "request: this listener does not answer to that Host; see `hosts` of the listener".into(),
            Origin => "request: Origin not allowed; see `origins` of the listener".into(),
            Method { allow } => format!("request: method not allowed, expected {allow}").into(),
            MethodOfSession => {
                "request: GET and DELETE are about a session of an older client, and need its Mcp-Session-Id; \
                 without one, expected POST"
                    .into()
            }
            MediaType => "request: expected Content-Type application/json".into(),
            NotAcceptable { expected } => format!("request: Accept must list {expected}, or */*").into(),
            Outside(outside) => outside.message().into(),
            Unauthenticated => "request: expected a valid API key as `Authorization: Bearer …`".into(),
            Credential(fault) => fault.message().into(),
            Decode(fault) => format!("request: {}", fault.message()).into(),
            Invalid(what) | Params(what) => format!("request: {what}").into(),
            SessionNeeded => {
                "request: session id required: send initialize first, then Mcp-Session-Id on every \
                              request; or speak 2026-07-28"
                    .into()
            }
            SessionUnknown => "session unknown or ended: initialize again without Mcp-Session-Id".into(),
            SessionRevision => {
                "request: MCP-Protocol-Version differs from what this session negotiated".into()
            }
            HeaderMismatch(what) => format!("request: {what}").into(),
            Unsupported { requested } => {
                format!("request: protocol version `{requested}` is not supported, expected 2026-07-28")
                    .into()
            }
            UnknownMethod { method } => format!("Method not found: {method}").into(),
            UnknownTool { name } => format!("Unknown tool: {name}").into(),
            UnknownPrompt { name } => format!("Unknown prompt: {name}").into(),
            UnknownResource { uri, .. } => format!("Resource not found: {uri}").into(),
            Quarantined { kind, name, upstream, gone } => {
                let kind = kind.word();
                let what = match gone {
                    true => format!("upstream `{upstream}` no longer offers it as strait.lock pins it"),
                    false => format!("what upstream `{upstream}` says of it is not what strait.lock pins"),
                };
                format!(
                    "gateway: {kind} `{name}` is quarantined: {what}; it can be used again when an operator has \
                     reviewed the change and run `strait lock`"
                )
                .into()
            }
            UnknownTask { id } => format!("Task not found: {id}").into(),
            Argument { text, .. } => text.clone().into(),
            Denied(denied) => denied.message().into(),
            Undeclared { extension } => {
                format!("request: its client capabilities must declare the extension {extension}").into()
            }
            BadCursor => "Invalid cursor: the list has changed or the cursor is not ours; start again".into(),
            Overloaded(what) => format!("gateway: overloaded: {what}; retry later").into(),
            Limited(reached) => reached.message().into(),
            Unrecorded => "gateway: the audit log takes no records, and what it cannot record is refused; retry later".into(),
            Draining => "gateway: shutting down; retry on another connection".into(),
            Upstream { name, fault } => format!("upstream `{name}`: {fault}").into(),
            Internal(what) => format!("gateway: {what}; this is a defect of strait, please report it").into(),
        }
    }

    /// Appends the JSON-RPC error, or the result that says so. `id` is the request's id as written, when it could be read.
    pub fn append_body(&self, out: &mut Vec<u8>, id: Option<&[u8]>, modern: bool) {
        let id = match (id, self) {
            (Some(raw), _) => ErrorId::Raw(raw),
            (None, _) if modern => ErrorId::Omitted,
            (None, _) => ErrorId::Null,
        };
        let (message, data) = (self.message(), self.data());
        match id {
            ErrorId::Raw(id) if self.is_result() => {
                append_result(out, id, message.as_bytes(), data.as_deref().unwrap_or(b"{}"), modern);
            }
            id => append_error(out, id, self.code(), &message, data.as_deref()),
        }
    }

    /// It is the result of a tool's call, which the model reads.
    fn is_result(&self) -> bool {
        match self {
            Refusal::Limited(reached) => reached.as_result,
            Refusal::Argument { as_result, .. } => *as_result,
            Refusal::Denied(denied) => denied.as_result,
            _ => false,
        }
    }

    fn data(&self) -> Option<Vec<u8>> {
        use Refusal::*;
        match self {
            Unsupported { requested } => {
                let mut data = br#"{"supported":["2026-07-28"],"requested":"#.to_vec();
                append_string(&mut data, requested.as_bytes());
                data.push(b'}');
                Some(data)
            }
            UnknownResource { uri, .. } => {
                let mut data = br#"{"uri":"#.to_vec();
                append_string(&mut data, uri.as_bytes());
                data.push(b'}');
                Some(data)
            }
            Undeclared { extension } => {
                Some(format!(r#"{{"requiredCapabilities":{{"extensions":{{"{extension}":{{}}}}}}}}"#).into())
            }
            Overloaded(_) | Draining | Unrecorded => Some(
                format!(r#"{{"reason":"{}","retryAfter":{}}}"#, self.label(), crate::limits::RETRY_AFTER_S)
                    .into(),
            ),
            Limited(reached) => {
                let mut data = Vec::new();
                reached.append_data(&mut data);
                Some(data)
            }
            Denied(denied) => {
                let mut data = Vec::new();
                denied.append_data(&mut data);
                Some(data)
            }
            Upstream { fault: UpstreamFault::Undeclared(needed), .. } => {
                let mut data = br#"{"requiredCapabilities":"#.to_vec();
                needed.append(Revision::V2026_07_28, &mut data);
                data.push(b'}');
                Some(data)
            }
            Upstream { fault, .. } => Some(
                format!(
                    r#"{{"reason":"{}","layer":"upstream","retryable":{}}}"#,
                    fault.label(),
                    fault.is_retryable()
                )
                .into(),
            ),
            _ => Some(format!(r#"{{"reason":"{}"}}"#, self.label()).into()),
        }
    }

    /// Header lines that belong to this refusal.
    pub fn headers<'h>(
        &self,
        head: strait_protocol::http1::write::Head<'h>,
    ) -> strait_protocol::http1::write::Head<'h> {
        match self {
            Refusal::Method { allow } => head.header("Allow", allow.as_bytes()),
            Refusal::MethodOfSession => head.header("Allow", ALLOWED.as_bytes()),
            Refusal::Unauthenticated => head.header("WWW-Authenticate", b"Bearer"),
            Refusal::Outside(_) => head.header("WWW-Authenticate", BY_CERTIFICATE.as_bytes()),
            Refusal::Credential(fault) => match fault.retry_after_s() {
                Some(seconds) => head.number("Retry-After", seconds),
                None => head.header("WWW-Authenticate", fault.challenge.as_bytes()),
            },
            Refusal::Overloaded(_) | Refusal::Draining | Refusal::Unrecorded => {
                head.number("Retry-After", crate::limits::RETRY_AFTER_S)
            }
            Refusal::Limited(reached) => match reached.retry_after_s {
                Some(seconds) => head.number("Retry-After", seconds),
                None => head,
            },
            _ => head,
        }
    }

    /// After these the rest of the input can't be trusted or is not wanted: the connection closes.
    pub fn ends_connection(&self) -> bool {
        matches!(
            self,
            Refusal::Head(_)
                | Refusal::TlsExpected
                | Refusal::Chunks(_)
                | Refusal::Slow
                | Refusal::TooLarge { .. }
                | Refusal::Draining
                // The next one's handshake tells whether its certificate is good.
                | Refusal::Outside(_)
                // What it still has in the pipeline would be done for nobody.
                | Refusal::Upstream { fault: UpstreamFault::ClientGone, .. }
        )
    }
}
