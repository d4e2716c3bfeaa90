//! JSON-RPC error codes, and the HTTP status that carries each to a modern client. One table, so that a code can't be
//! answered with two statuses.

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL_ERROR: i64 = -32603;
/// Ours, outside the range that JSON-RPC reserves; the number is what HTTP has for it.
pub const LIMITED: i64 = 429;

/// 2026-07-28: a mirrored header is missing, malformed, or says something else than the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// 2026-07-28; data `{requiredCapabilities}`.
pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
/// 2026-07-28; data `{supported, requested}`.
pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;

/// Up to 2025-11-25; modern peers answer `INVALID_PARAMS` with `data.uri` instead.
pub const RESOURCE_NOT_FOUND_LEGACY: i64 = -32002;
/// 2025-11-25 only.
pub const URL_ELICITATION_REQUIRED_LEGACY: i64 = -32042;

/// The status under which a modern peer expects an error that was found before the method ran.
pub const fn modern_status(code: i64) -> u16 {
    match code {
        PARSE_ERROR | INVALID_REQUEST | INVALID_PARAMS => 400,
        HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY | UNSUPPORTED_PROTOCOL_VERSION => 400,
        METHOD_NOT_FOUND => 404,
        INTERNAL_ERROR => 500,
        _ => 200,
    }
}

/// Whether an upstream that answers with this code is certainly modern (section "era detection" of the digest);
/// `METHOD_NOT_FOUND` counts only when it came as a JSON body under status 404.
pub const fn is_modern_only(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY | UNSUPPORTED_PROTOCOL_VERSION)
}
