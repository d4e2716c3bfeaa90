//! What a scanner remembers: it hears where keys and values begin and end, and at which depth, and fills the
//! [`Envelope`]. HOT.
//!
//! The decision: only keys and scalars at the two levels that matter are copied, into one small array that each
//! reuses; a value too long for it can be nothing we know, and is only given its place.

use super::envelope::{Envelope, IdValue, Open, ResultType};
use super::text::{Unescape, says_same};
use crate::mcp::Method;
use crate::{Span, decimal};

/// Facts lie in the message itself (1) and in `params`, `result` and `error` (2). What lies deeper is told to nobody.
pub(super) const FACTS_DEPTH: u32 = 2;

/// The longest word that is understood has 40 characters; the longest inner key has 17, which may take 6 bytes each.
const CAPTURE_BYTES: usize = 104;
const TOO_LONG: usize = CAPTURE_BYTES + 1;

/// Members of the message itself, as bits so that a repetition is noticed.
mod top {
    pub const JSONRPC: u16 = 1;
    pub const ID: u16 = 2;
    pub const METHOD: u16 = 4;
    pub const PARAMS: u16 = 8;
    pub const RESULT: u16 = 16;
    pub const ERROR: u16 = 32;
    pub const SCALARS: u16 = JSONRPC | ID | METHOD;
    pub const OPENED: u16 = PARAMS | RESULT | ERROR;

    pub fn of(key: &[u8]) -> u16 {
        match key {
            b"jsonrpc" => JSONRPC,
            b"id" => ID,
            b"method" => METHOD,
            b"params" => PARAMS,
            b"result" => RESULT,
            b"error" => ERROR,
            _ => 0,
        }
    }
}

/// Members of `params`, `result` and `error`. No bit stands for two, so one word notices repetitions in all three.
mod inner {
    pub const PROGRESS_TOKEN: u16 = 1;
    pub const REQUEST_ID: u16 = 2;
    pub const URI: u16 = 4;
    pub const LEVEL: u16 = 8;
    pub const IS_ERROR: u16 = 16;
    pub const RESULT_TYPE: u16 = 32;
    pub const CODE: u16 = 64;
    pub const TTL: u16 = 128;
    pub const CACHE_SCOPE: u16 = 256;
    pub const META: u16 = 512;
    pub const STRUCTURED: u16 = 1024;

    pub fn of_params(key: &[u8]) -> u16 {
        match key {
            b"progressToken" => PROGRESS_TOKEN,
            b"requestId" => REQUEST_ID,
            b"uri" => URI,
            b"level" => LEVEL,
            _ => 0,
        }
    }

    pub fn of_result(key: &[u8]) -> u16 {
        match key {
            b"isError" => IS_ERROR,
            b"resultType" => RESULT_TYPE,
            b"_meta" => META,
            b"structuredContent" => STRUCTURED,
            b"ttlMs" => TTL,
            b"cacheScope" => CACHE_SCOPE,
            _ => 0,
        }
    }

    pub fn of_error(key: &[u8]) -> u16 {
        match key {
            b"code" => CODE,
            _ => 0,
        }
    }
}

/// A member at one of the two levels.
#[derive(Clone, Copy, Default, Debug)]
struct Level {
    /// All that were met.
    seen: u16,
    /// The one whose value is being read; 0 for one that nobody asked about.
    member: u16,
    /// Where its value begins.
    start: u32,
}

/// A key that we read came twice.
pub(super) struct Repeated;

#[derive(Clone, Debug)]
pub(super) struct Facts {
    capturing: bool,
    capture: [u8; CAPTURE_BYTES],
    /// Bytes in the array, or `TOO_LONG`.
    captured: usize,
    /// There is an escape among them.
    escaped: bool,
    top: Level,
    inner: Level,
    pub envelope: Envelope,
}

impl Facts {
    pub fn new() -> Facts {
        Facts {
            capturing: false,
            capture: [0; CAPTURE_BYTES],
            captured: 0,
            escaped: false,
            top: Level::default(),
            inner: Level::default(),
            envelope: Envelope::default(),
        }
    }

    /// A key begins in an object at this depth, counted from 1.
    pub fn key_begins(&mut self, depth: u32) {
        (self.captured, self.escaped) = (0, false);
        self.capturing = depth == 1 || (depth == 2 && self.top.member & top::OPENED != 0);
    }

    pub fn key_ends(&mut self, depth: u32) -> Result<(), Repeated> {
        if !self.capturing {
            return Ok(());
        }
        if self.escaped {
            self.unescape();
        }
        let key = self.captured();
        let member = match (depth, self.top.member) {
            (1, _) => top::of(key),
            (_, top::PARAMS) => inner::of_params(key),
            (_, top::RESULT) => inner::of_result(key),
            _ => inner::of_error(key),
        };
        let level = if depth == 1 { &mut self.top } else { &mut self.inner };
        level.member = member;
        let repeated = level.seen & member != 0;
        level.seen |= member;
        if repeated { Err(Repeated) } else { Ok(()) }
    }

    /// A value begins at `start`, inside a container at this depth.
    pub fn value_begins(&mut self, depth: u32, start: u32) {
        (self.captured, self.escaped) = (0, false);
        self.capturing = match depth {
            1 => {
                self.top.start = start;
                self.inner.member = 0;
                self.top.member & top::SCALARS != 0
            }
            2 => {
                self.inner.start = start;
                self.inner.member != 0
            }
            _ => false,
        };
    }

    /// The value that just began is an object or an array.
    pub fn container_begins(&mut self, depth: u32) {
        self.capturing = false;
        self.envelope.has_result |= depth == 1 && self.top.member == top::RESULT;
    }

    /// An object at this depth turned out to be empty, or not.
    pub fn object_opened(&mut self, depth: u32, empty: bool) {
        if depth == 2 {
            let open = Some(Open { after: self.top.start + 1, empty });
            match self.top.member {
                top::PARAMS => self.envelope.params_open = open,
                top::RESULT => self.envelope.result_open = open,
                _ => {}
            }
        }
    }

    /// An object or array, itself a value inside a container at this depth, ended before `end`.
    pub fn container_ends(&mut self, depth: u32, end: u32) {
        self.captured = TOO_LONG;
        self.value_ends(depth, end);
    }

    /// A value inside a container at this depth ended before `end`.
    #[inline]
    pub fn value_ends(&mut self, depth: u32, end: u32) {
        match depth {
            1 => self.top_value(Span::between(self.top.start as usize, end as usize)),
            2 if self.inner.member != 0 => {
                self.inner_value(Span::between(self.inner.start as usize, end as usize))
            }
            _ => {}
        }
    }

    /// More bytes of the key or scalar being read, its quotes as well when it is a value.
    #[inline]
    pub fn copy(&mut self, bytes: &[u8]) {
        if self.capturing {
            self.capture(bytes);
        }
    }

    /// More of it: an escape begins.
    pub fn copy_escape(&mut self) {
        self.escaped = true;
        self.copy(b"\\");
    }

    /// What was captured becomes what it says; nothing, when that cannot be said.
    #[cold]
    fn unescape(&mut self) {
        let written = self.capture;
        let mut said = Unescape::new(written.get(..self.captured).unwrap_or_default());
        self.captured = 0;
        // It is shorter than it was written.
        for (byte, room) in said.by_ref().zip(&mut self.capture) {
            *room = byte;
            self.captured += 1;
        }
        if said.broken {
            self.captured = 0;
        }
    }

    fn capture(&mut self, bytes: &[u8]) {
        let end = self.captured.saturating_add(bytes.len());
        match self.capture.get_mut(self.captured..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.captured = end;
            }
            None => self.captured = TOO_LONG,
        }
    }

    /// What was captured; empty when it was too long.
    fn captured(&self) -> &[u8] {
        self.capture.get(..self.captured).unwrap_or_default()
    }

    /// The string that was captured, between its quotes.
    fn text(&self) -> Option<&[u8]> {
        self.captured().strip_prefix(b"\"")?.strip_suffix(b"\"")
    }

    /// What was captured is a string that says `text`.
    fn says(&self, text: &str) -> bool {
        self.text().is_some_and(|inner| match self.escaped {
            false => inner == text.as_bytes(),
            true => says_same(inner, text.as_bytes()),
        })
    }

    fn method(&self) -> Method {
        match self.text().map(Method::from_bytes) {
            // Some libraries write `tools\/call`.
            Some(Method::Unknown) if self.escaped => Method::ALL
                .iter()
                .copied()
                .find(|method| self.says(method.as_str()))
                .unwrap_or(Method::Unknown),
            method => method.unwrap_or(Method::Unknown),
        }
    }

    fn top_value(&mut self, span: Span) {
        match self.top.member {
            top::JSONRPC => self.envelope.jsonrpc_ok = self.says("2.0"),
            top::ID => {
                self.envelope.id = Some(span);
                self.envelope.id_value = self.id_value();
            }
            top::METHOD => {
                self.envelope.method = Some(span);
                self.envelope.method_known = Some(self.method());
            }
            top::PARAMS => self.envelope.params = Some(span),
            top::RESULT => {
                self.envelope.has_result = true;
                self.envelope.result = Some(span);
            }
            top::ERROR => {
                self.envelope.has_error = true;
                self.envelope.error = Some(span);
            }
            _ => {}
        }
        self.top.member = 0;
    }

    fn inner_value(&mut self, span: Span) {
        match self.inner.member {
            inner::PROGRESS_TOKEN => {
                self.envelope.progress_token = Some(span);
                self.envelope.progress_token_value = self.id_value();
            }
            inner::REQUEST_ID => {
                self.envelope.request_id = Some(span);
                self.envelope.request_id_value = self.id_value();
            }
            inner::URI => self.envelope.uri = Some(span),
            inner::LEVEL => self.envelope.level = Some(span),
            inner::IS_ERROR => {
                self.envelope.is_error = match self.captured() {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    _ => None,
                }
            }
            inner::RESULT_TYPE => {
                let known = ResultType::KNOWN.into_iter().find(|(word, _)| self.says(word));
                self.envelope.result_type_span = Some(span);
                self.envelope.result_type = known.map_or(ResultType::Other, |(_, known)| known);
            }
            inner::CODE => {
                self.envelope.error_code_span = Some(span);
                self.envelope.error_code = decimal::parse_signed(self.captured());
            }
            inner::TTL => self.envelope.ttl_span = Some(span),
            inner::CACHE_SCOPE => self.envelope.cache_scope_span = Some(span),
            inner::META => self.envelope.result_meta = Some(span),
            inner::STRUCTURED => self.envelope.structured = Some(span),
            _ => {}
        }
        self.inner.member = 0;
    }

    fn id_value(&self) -> IdValue {
        match self.captured() {
            // Too long, or a container. The first byte of the array is the value's own unless it was a container,
            // and then it is a key's; a key is captured without its quote.
            [] if self.capture.first() == Some(&b'"') => IdValue::Text,
            [] => IdValue::Other,
            b"null" => IdValue::Null,
            [b'"', ..] => IdValue::Text,
            text => decimal::parse_signed(text).map_or(IdValue::Other, IdValue::Integer),
        }
    }
}
