//! Bytes to meaning and back, for everything an MCP gateway speaks. No sockets, no clock, no `unsafe`.
//!
//! The decision that shaped the crate: **the original bytes are the truth**. Nothing here builds a tree that would
//! later be printed again. A parser answers with [`Span`]s into the bytes it was given, an edit is a splice over those
//! same bytes, and whatever nobody asked about survives untouched. The second decision follows from the first: where
//! two parsers could read the same bytes differently (a repeated key, a bare line feed, two lengths), we refuse,
//! because the server behind us must see the call that policy saw.
//!
//! # A tour, in the order a call passes
//!
//! 1. [`http1`] reads a request head ([`http1::parse_request`]), then its body ([`http1::Body`]), and writes heads.
//! 2. [`jsonrpc::Decoder`] reads one whole client message, strictly, and says where everything is.
//! 3. [`mcp`] knows the words of every revision: methods, revisions, codes, mirrored headers, `_meta` keys.
//! 4. [`jsonrpc::Splices`] edits the original: another id, another name, a token replaced, a string redacted.
//! 5. [`http1::parse_reply`] and [`sse::Reader`] take apart what the upstream answers.
//! 6. [`jsonrpc::Scanner`] finds id, kind and result in that answer while it is still arriving, whatever its size.
//! 7. [`jsonrpc::append_error`] says no, readably.
//!
//! # Habits
//!
//! Anything marked **HOT** allocates nothing per message in steady state: its buffers belong to the caller or are
//! reused. Every bound is a constant in [`limits`]. Every way a peer can be wrong is one variant of a fault enum,
//! with a stable `label()` for counters, a `message()` for the reader, and its status or code beside it. No input may
//! panic: `fuzz/` throws hostile bytes at each entry point.

#![forbid(unsafe_code)]

pub mod copy;
pub mod decimal;
pub mod http1;
pub mod jsonrpc;
pub mod limits;
pub mod mcp;
mod span;
pub mod sse;
pub mod trace;

pub use span::Span;
