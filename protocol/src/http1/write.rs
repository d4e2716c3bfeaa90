//! Heads and chunks, appended to a buffer of the caller's. HOT: no allocation beyond that buffer's growth, no
//! `core::fmt`.
//!
//! The decision: a value that could end its line early can't be written. The builder remembers it and `finish`
//! refuses, with the buffer cut back to where the head began, so a forgotten check upstream of here cannot split a
//! message. Nothing else about headers is checked; the caller writes each name once.

use super::chunked::{is_field_byte, is_token_byte};
use crate::decimal;

/// A head being written. Start with [`request`] or [`reply`], end with [`Head::finish`].
#[must_use = "a head is complete only after `finish`"]
pub struct Head<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    unsafe_header: bool,
}

/// A header name or value, method or target held a byte that must not be there. The head was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsafeHeader;

impl std::fmt::Display for UnsafeHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("expected printable characters in a header, found a byte that could end its line")
    }
}

impl std::error::Error for UnsafeHeader {}

/// `POST /mcp HTTP/1.1`; continue with headers, `Host` first.
pub fn request<'a>(out: &'a mut Vec<u8>, method: &[u8], target: &[u8]) -> Head<'a> {
    let start = out.len();
    let plain = method.iter().all(|byte| is_token_byte(*byte)) && target.iter().all(u8::is_ascii_graphic);
    let unsafe_header = !plain || method.is_empty() || target.is_empty();
    for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    Head { out, start, unsafe_header }
}

/// `HTTP/1.1 200 OK`; continue with headers.
pub fn reply(out: &mut Vec<u8>, status: u16) -> Head<'_> {
    let start = out.len();
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        decimal::append(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(reason(status).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    Head { out, start, unsafe_header: !(100..600).contains(&status) }
}

impl Head<'_> {
    /// The name is this program's own: it is not checked again for every message.
    pub fn header(mut self, name: &'static str, value: &[u8]) -> Self {
        debug_assert!(is_name(name.as_bytes()), "a header named {name:?}");
        self.line(name.as_bytes(), value);
        self
    }

    /// Lines that are this program's own, whole and with their ends.
    pub fn lines(self, lines: &'static str) -> Self {
        debug_assert!(lines.ends_with("\r\n"), "lines without an end: {lines:?}");
        self.out.extend_from_slice(lines.as_bytes());
        self
    }

    /// Nothing at all when there is no value.
    pub fn header_if(self, name: &'static str, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// For names that are only known at run time, such as `Mcp-Param-Region`.
    pub fn named(mut self, name: &[u8], value: &[u8]) -> Self {
        self.unsafe_header |= !is_name(name);
        self.line(name, value);
        self
    }

    pub fn number(self, name: &'static str, value: u64) -> Self {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        decimal::append(self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    pub fn content_length(self, bytes: u64) -> Self {
        self.number("Content-Length", bytes)
    }

    pub fn chunked(self) -> Self {
        self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        self
    }

    pub fn connection_close(self) -> Self {
        self.out.extend_from_slice(b"Connection: close\r\n");
        self
    }

    /// Writes the empty line.
    pub fn finish(self) -> Result<(), UnsafeHeader> {
        if self.unsafe_header {
            self.out.truncate(self.start);
            return Err(UnsafeHeader);
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        // Without an early end, so that it is done a register at a time: nearly all values are plain.
        self.unsafe_header |= !value.iter().fold(true, |plain, byte| plain & is_field_byte(*byte));
        self.out.reserve(name.len() + value.len() + 4);
        for part in [name, b": ", value, b"\r\n"] {
            self.out.extend_from_slice(part);
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte))
}

/// The whole answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One chunk with its framing. Empty data writes nothing, since an empty chunk would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        chunk_open(out, data.len() as u64);
        out.extend_from_slice(data);
        chunk_close(out);
    }
}

/// The size line of a chunk whose `bytes` (not 0) the caller appends or sends itself, followed by [`chunk_close`].
pub fn chunk_open(out: &mut Vec<u8>, bytes: u64) {
    debug_assert!(bytes > 0, "an empty chunk ends the body");
    decimal::append_hex(out, bytes);
    out.extend_from_slice(b"\r\n");
}

pub fn chunk_close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body, without trailers.
pub fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// The usual phrase for the statuses that a gateway answers with.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        307 => "Temporary Redirect",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // Clients look at the number; a phrase may be empty.
        _ => "",
    }
}
