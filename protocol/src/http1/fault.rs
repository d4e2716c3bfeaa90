//! Everything that can be wrong with a head, as one list of short phrases, and under it, in one place, what each is
//! called in metrics, which status answers it, and what the reader is told.

use std::borrow::Cow;

/// Why a head was refused. For a request, [`HeadFault::status`] is the answer; a reply with a fault is the upstream's
/// failure (502), whatever the status here says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadFault {
    BareLf,
    BareCr,
    LeadingEmptyLines,
    ObsoleteFold,
    SpaceBeforeColon,
    HeaderNameInvalid,
    HeaderValueInvalid,
    HeadTooLarge,
    TooManyHeaders,
    RequestLineInvalid,
    StatusLineInvalid,
    VersionUnsupported,
    TargetInvalid,
    TargetTooLong,
    HostMissing,
    HostInvalid,
    AuthorityMismatch,
    DuplicateHeader(&'static str),
    DuplicateMcpHeader,
    ContentLengthInvalid,
    ContentLengthRepeated,
    LengthWithTransferEncoding,
    TransferEncodingUnsupported,
    TransferEncodingOnHttp10,
    ExpectationUnknown,
}

impl HeadFault {
    /// One word for counters and audit records; never changes once released.
    pub const fn label(self) -> &'static str {
        self.facts().1
    }

    /// The HTTP status that answers a request with this fault.
    pub const fn status(self) -> u16 {
        self.facts().0
    }

    /// What was expected and what was found, for the peer's developer.
    pub fn message(self) -> Cow<'static, str> {
        match self {
            HeadFault::DuplicateHeader(name) => {
                format!("expected `{name}` at most once, found it repeated").into()
            }
            other => other.facts().2.into(),
        }
    }

    const fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            HeadFault::BareLf => (400, "bare_lf", "expected lines to end in CRLF, found a bare LF"),
            HeadFault::BareCr => (400, "bare_cr", "expected LF after CR, found another byte"),
            HeadFault::LeadingEmptyLines => {
                (400, "leading_empty_lines", "expected at most one empty line before a message, found more")
            }
            HeadFault::ObsoleteFold => {
                (400, "obsolete_fold", "expected a header name, found a line folded with leading white space")
            }
            HeadFault::SpaceBeforeColon => {
                (400, "space_before_colon", "expected `:` right after the header name, found white space")
            }
            HeadFault::HeaderNameInvalid => {
                (400, "header_name_invalid", "expected a token and `:`, found a line that is no header")
            }
            HeadFault::HeaderValueInvalid => (
                400,
                "header_value_invalid",
                "expected printable characters in a header value, found a control character",
            ),
            HeadFault::HeadTooLarge => {
                (431, "head_too_large", "expected a head of at most 32 KiB, found a larger one")
            }
            HeadFault::TooManyHeaders => (431, "too_many_headers", "expected at most 64 headers, found more"),
            HeadFault::RequestLineInvalid => (
                400,
                "request_line_invalid",
                "expected `METHOD target HTTP/1.1` with single spaces, found something else",
            ),
            HeadFault::StatusLineInvalid => {
                (400, "status_line_invalid", "expected `HTTP/1.1 nnn reason`, found something else")
            }
            HeadFault::VersionUnsupported => {
                (505, "version_unsupported", "expected HTTP/1.1 or HTTP/1.0, found another version")
            }
            HeadFault::TargetInvalid => (
                400,
                "target_invalid",
                "expected a path in visible ASCII without fragment, found another request target",
            ),
            HeadFault::TargetTooLong => {
                (414, "target_too_long", "expected a request target of at most 8 KiB, found a longer one")
            }
            HeadFault::HostMissing => {
                (400, "host_missing", "expected a `Host` header in HTTP/1.1, found none")
            }
            HeadFault::HostInvalid => {
                (400, "host_invalid", "expected `name` or `name:port` in `Host`, found something else")
            }
            HeadFault::AuthorityMismatch => (
                400,
                "authority_mismatch",
                "expected the target's authority to equal `Host`, found two different ones",
            ),
            HeadFault::DuplicateHeader(_) => {
                (400, "duplicate_header", "expected a header at most once, found it repeated")
            }
            HeadFault::DuplicateMcpHeader => {
                (400, "duplicate_mcp_header", "expected each `Mcp-*` header at most once, found one repeated")
            }
            HeadFault::ContentLengthInvalid => (
                400,
                "content_length_invalid",
                "expected only digits in `Content-Length`, found something else",
            ),
            HeadFault::ContentLengthRepeated => {
                (400, "content_length_repeated", "expected one `Content-Length`, found more than one")
            }
            HeadFault::LengthWithTransferEncoding => (
                400,
                "length_with_transfer_encoding",
                "expected `Content-Length` or `Transfer-Encoding`, found both",
            ),
            HeadFault::TransferEncodingUnsupported => (
                501,
                "transfer_encoding_unsupported",
                "expected `Transfer-Encoding: chunked` and nothing else, found another coding",
            ),
            HeadFault::TransferEncodingOnHttp10 => {
                (400, "transfer_encoding_on_http10", "expected no `Transfer-Encoding` in HTTP/1.0, found one")
            }
            HeadFault::ExpectationUnknown => {
                (417, "expectation_unknown", "expected `Expect: 100-continue`, found another expectation")
            }
        }
    }
}

impl std::fmt::Display for HeadFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for HeadFault {}
