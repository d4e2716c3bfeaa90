//! What a scanner keeps of an upstream's message: places counted from the first byte that was fed, and the few values
//! that decide where the message goes. `Copy`, and true also when the bytes have long been sent on.

use super::Kind;
use crate::Span;
use crate::mcp::Method;

/// An id or a token, as far as a gateway must understand it: those it made itself are integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IdValue {
    #[default]
    Absent,
    Null,
    Integer(i64),
    Text,
    /// A fraction, an integer beyond 64 bits, or no scalar at all: never an id.
    Other,
}

/// The inside of an object's opening brace: where a first member can be spliced in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// Offset just after the `{`.
    pub after: u32,
    /// Whether the object is empty, so that the new member needs no comma.
    pub empty: bool,
}

/// `result.resultType` of 2026-07-28; absent means complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResultType {
    #[default]
    Absent,
    Complete,
    InputRequired,
    Task,
    /// Not one we know, and so invalid.
    Other,
}

impl ResultType {
    pub(super) const KNOWN: [(&str, ResultType); 3] = [
        ("complete", ResultType::Complete),
        ("input_required", ResultType::InputRequired),
        ("task", ResultType::Task),
    ];
}

/// The facts of one message. While it is still arriving, what is not known yet is absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope {
    /// `"jsonrpc":"2.0"` was there.
    pub jsonrpc_ok: bool,
    pub id: Option<Span>,
    pub id_value: IdValue,
    pub method: Option<Span>,
    /// `None` without a method; `Unknown` for one that no revision has.
    pub method_known: Option<Method>,
    /// With its braces, once it is complete.
    pub params: Option<Span>,
    /// Known as soon as it begins.
    pub params_open: Option<Open>,
    /// With its braces, once it is complete.
    pub result: Option<Span>,
    /// Known as soon as it begins; absent when the result is no object.
    pub result_open: Option<Open>,
    pub has_result: bool,
    /// Complete.
    pub error: Option<Span>,
    pub has_error: bool,
    pub error_code: Option<i64>,
    pub error_code_span: Option<Span>,
    /// `params.progressToken`, as written.
    pub progress_token: Option<Span>,
    pub progress_token_value: IdValue,
    /// `params.requestId`, as written.
    pub request_id: Option<Span>,
    pub request_id_value: IdValue,
    /// `params.uri` with its quotes.
    pub uri: Option<Span>,
    /// `params.level` with its quotes.
    pub level: Option<Span>,
    /// `result.isError`
    pub is_error: Option<bool>,
    pub result_type: ResultType,
    pub result_type_span: Option<Span>,
    /// The value of `result.ttlMs`.
    pub ttl_span: Option<Span>,
    /// The value of `result.cacheScope`.
    pub cache_scope_span: Option<Span>,
    /// `result._meta`, as written.
    pub result_meta: Option<Span>,
    /// `result.structuredContent`, as written.
    pub structured: Option<Span>,
    /// Bytes from the first one fed to the closing brace, once complete.
    pub end: Option<u32>,
}

impl Envelope {
    /// What the message is, as far as is known: a method with an id not yet seen looks like a notification until the
    /// message is complete.
    pub fn kind(&self) -> Option<Kind> {
        match (self.method.is_some(), self.id.is_some()) {
            (true, true) => Some(Kind::Request),
            (true, false) => Some(Kind::Notification),
            (false, _) => (self.has_result || self.has_error).then_some(Kind::Response),
        }
    }
}
