//! Everything that can be wrong with a client's message: short phrases, and under them, in one place, the code, the
//! counter and the sentence of each.

use crate::Span;
use crate::mcp::codes::{INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR};

/// Why a message was refused, where, and whom to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeFault {
    pub cause: DecodeCause,
    /// Offset in the body of the byte that decided.
    pub at: u32,
    /// The id to echo, when exactly one was readable.
    pub id: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeCause {
    // Not JSON, or JSON that parsers read differently.
    Empty,
    TooLarge,
    SyntaxInvalid,
    Utf8Invalid,
    SurrogateUnpaired,
    NumberOutOfRange,
    TooDeep,
    TrailingBytes,
    // JSON, but no message, or one that could be taken for another.
    Batch,
    NotAnObject,
    KeyRepeated,
    KeyCaseVariant,
    NulInKey,
    NulInName,
    VersionInvalid,
    IdInvalid,
    IdTooLong,
    MethodInvalid,
    Shapeless,
    MethodWithResult,
    ResultWithError,
    ResponseWithoutId,
    ErrorInvalid,
    // A message whose parameters are not what their method takes.
    ParamsInvalid,
    MetaInvalid,
    MemberInvalid(&'static str),
    /// Ours: tape and bytes disagree.
    Inconsistent,
}

impl DecodeFault {
    pub const fn code(&self) -> i64 {
        self.cause.facts().0
    }

    /// One word for counters and audit records; never changes once released.
    pub const fn label(&self) -> &'static str {
        self.cause.facts().1
    }

    /// What was expected and what was found, and at which byte.
    pub fn message(&self) -> String {
        match self.cause {
            DecodeCause::MemberInvalid(name) => {
                format!("expected `{name}` of the type the method takes, found another at byte {}", self.at)
            }
            cause => format!("{} at byte {}", cause.facts().2, self.at),
        }
    }
}

impl DecodeCause {
    const fn facts(self) -> (i64, &'static str, &'static str) {
        match self {
            DecodeCause::Empty => (PARSE_ERROR, "json_empty", "expected a JSON object, found nothing"),
            DecodeCause::TooLarge => (PARSE_ERROR, "json_too_large", "expected at most 16 MiB, found more"),
            DecodeCause::SyntaxInvalid => {
                (PARSE_ERROR, "json_syntax", "expected JSON, found a byte that does not fit")
            }
            DecodeCause::Utf8Invalid => {
                (PARSE_ERROR, "json_utf8", "expected UTF-8, found an invalid sequence")
            }
            DecodeCause::SurrogateUnpaired => {
                (PARSE_ERROR, "json_surrogate", "expected a pair of surrogates, found an unpaired one")
            }
            DecodeCause::NumberOutOfRange => (
                PARSE_ERROR,
                "json_number_range",
                "expected a number that fits 64 bits, found one that parsers would round differently",
            ),
            DecodeCause::TooDeep => {
                (PARSE_ERROR, "json_depth", "expected at most 64 levels of nesting, found more")
            }
            DecodeCause::TrailingBytes => {
                (PARSE_ERROR, "json_trailing", "expected nothing after the message, found more bytes")
            }
            DecodeCause::Batch => (INVALID_REQUEST, "batch", "expected one message, found an array"),
            DecodeCause::NotAnObject => {
                (INVALID_REQUEST, "not_an_object", "expected an object, found another value")
            }
            DecodeCause::KeyRepeated => (
                INVALID_REQUEST,
                "key_repeated",
                "expected each key once, found one repeated (compared after unescaping)",
            ),
            DecodeCause::KeyCaseVariant => (
                INVALID_REQUEST,
                "key_case_variant",
                "expected known keys in their exact spelling, found one that differs only by case",
            ),
            DecodeCause::NulInKey => (INVALID_REQUEST, "nul_in_key", "expected no NUL in a key, found one"),
            DecodeCause::NulInName => {
                (INVALID_REQUEST, "nul_in_name", "expected no NUL in a name or URI, found one")
            }
            DecodeCause::VersionInvalid => {
                (INVALID_REQUEST, "jsonrpc_version", "expected `\"jsonrpc\":\"2.0\"`, found something else")
            }
            DecodeCause::IdInvalid => (
                INVALID_REQUEST,
                "id_invalid",
                "expected a string or an integer as `id`, found another value",
            ),
            DecodeCause::IdTooLong => {
                (INVALID_REQUEST, "id_too_long", "expected an `id` of at most 256 bytes, found more")
            }
            DecodeCause::MethodInvalid => {
                (INVALID_REQUEST, "method_invalid", "expected a string as `method`, found another value")
            }
            DecodeCause::Shapeless => {
                (INVALID_REQUEST, "shapeless", "expected `method`, `result` or `error`, found none of them")
            }
            DecodeCause::MethodWithResult => (
                INVALID_REQUEST,
                "method_with_result",
                "expected a request or a response, found parts of both",
            ),
            DecodeCause::ResultWithError => {
                (INVALID_REQUEST, "result_with_error", "expected `result` or `error`, found both")
            }
            DecodeCause::ResponseWithoutId => (
                INVALID_REQUEST,
                "response_without_id",
                "expected the `id` that a response answers, found none",
            ),
            DecodeCause::ErrorInvalid => {
                (INVALID_REQUEST, "error_invalid", "expected an object as `error`, found another value")
            }
            DecodeCause::ParamsInvalid => {
                (INVALID_PARAMS, "params_invalid", "expected an object as `params`, found another value")
            }
            DecodeCause::MetaInvalid => {
                (INVALID_PARAMS, "meta_invalid", "expected an object as `_meta`, found another value")
            }
            DecodeCause::MemberInvalid(_) => (
                INVALID_PARAMS,
                "member_invalid",
                "expected a parameter of the type the method takes, found another",
            ),
            DecodeCause::Inconsistent => {
                (INTERNAL_ERROR, "inconsistent_tape", "our parser contradicts itself")
            }
        }
    }
}

impl std::fmt::Display for DecodeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for DecodeFault {}
