//! The envelope of an upstream's message, found while the message arrives in pieces of any size. HOT: one pass, no
//! allocation, about 300 bytes of state.
//!
//! The decision: structure is checked in full (a message that is not balanced JSON is refused, so its end is certain)
//! but numbers, escapes and UTF-8 are taken as they come, since the client's parser will judge them. Depth is a
//! counter and one bit per level. Only keys and scalars at the two levels that matter are copied, into one small
//! array; everything else is stepped over with `memchr`.

use memchr::memchr2;

use super::envelope::{Envelope, IdValue, Open, ResultType};
use super::text::{is_blank, says_same};
use crate::limits::UPSTREAM_DEPTH_MAX;
use crate::mcp::Method;
use crate::{Span, decimal};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeCause {
    NotAnObject,
    SyntaxInvalid,
    TooDeep,
    KeyRepeated,
    TrailingBytes,
    Truncated,
    TooLarge,
    Shapeless,
    MethodWithResult,
    ResultWithError,
}

/// Why an upstream's message is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvelopeFault {
    pub cause: EnvelopeCause,
    /// Offset from the first byte fed.
    pub at: u32,
}

impl EnvelopeFault {
    pub const fn label(&self) -> &'static str {
        self.facts().0
    }

    pub fn message(&self) -> String {
        format!("{} at byte {}", self.facts().1, self.at)
    }

    const fn facts(&self) -> (&'static str, &'static str) {
        match self.cause {
            EnvelopeCause::NotAnObject => {
                ("reply_not_an_object", "expected a JSON object, found another value")
            }
            EnvelopeCause::SyntaxInvalid => ("reply_syntax", "expected JSON, found a byte that does not fit"),
            EnvelopeCause::TooDeep => ("reply_depth", "expected at most 512 levels of nesting, found more"),
            EnvelopeCause::KeyRepeated => {
                ("reply_key_repeated", "expected each key we read once, found one repeated")
            }
            EnvelopeCause::TrailingBytes => {
                ("reply_trailing", "expected nothing after the message, found more bytes")
            }
            EnvelopeCause::Truncated => {
                ("reply_truncated", "expected the rest of a message, found the end of the input")
            }
            EnvelopeCause::TooLarge => ("reply_too_large", "expected less than 4 GiB, found more"),
            EnvelopeCause::Shapeless => {
                ("reply_shapeless", "expected `method`, `result` or `error`, found none of them")
            }
            EnvelopeCause::MethodWithResult => {
                ("reply_method_with_result", "expected a request or a response, found parts of both")
            }
            EnvelopeCause::ResultWithError => {
                ("reply_result_with_error", "expected `result` or `error`, found both")
            }
        }
    }
}

impl std::fmt::Display for EnvelopeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for EnvelopeFault {}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Start,
    /// After `{`: a key or the end.
    KeyOrEnd,
    /// After a comma in an object.
    Key,
    Colon,
    Value,
    /// After `[`: a value or the end.
    ValueOrEnd,
    CommaOrEnd,
    Text,
    TextEscape,
    Number,
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
    Done,
}

/// Members of the message itself, as bits so that a repetition is noticed.
mod top {
    pub const NONE: u16 = 0;
    pub const JSONRPC: u16 = 1;
    pub const ID: u16 = 2;
    pub const METHOD: u16 = 4;
    pub const PARAMS: u16 = 8;
    pub const RESULT: u16 = 16;
    pub const ERROR: u16 = 32;
}

/// Members of `params`, `result` and `error`; only one of these is read per message, so the bits may share a word.
mod inner {
    pub const NONE: u16 = 0;
    pub const PROGRESS_TOKEN: u16 = 1;
    pub const REQUEST_ID: u16 = 2;
    pub const URI: u16 = 4;
    pub const LEVEL: u16 = 8;
    pub const IS_ERROR: u16 = 16;
    pub const RESULT_TYPE: u16 = 32;
    pub const CODE: u16 = 64;
}

/// The longest key or value that is understood has 52 characters; a key of 13 may be written with 6 bytes each.
const CAPTURE_BYTES: usize = 96;

/// A scanner of one message at a time; `reset` it for the next.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    /// Bytes fed before the current piece.
    fed: u32,
    depth: u32,
    /// A bit per level: set for an object.
    objects: [u64; UPSTREAM_DEPTH_MAX / 64],
    /// The string being read is a key.
    in_key: bool,
    capturing: bool,
    capture: [u8; CAPTURE_BYTES],
    /// More than the array holds means "too long to be anything we know".
    captured: usize,
    top_seen: u16,
    top: u16,
    top_start: u32,
    inner_seen: u16,
    inner: u16,
    inner_start: u32,
    envelope: Envelope,
    fault: Option<EnvelopeFault>,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    pub fn new() -> Scanner {
        Scanner {
            state: State::Start,
            fed: 0,
            depth: 0,
            objects: [0; UPSTREAM_DEPTH_MAX / 64],
            in_key: false,
            capturing: false,
            capture: [0; CAPTURE_BYTES],
            captured: 0,
            top_seen: 0,
            top: top::NONE,
            top_start: 0,
            inner_seen: 0,
            inner: inner::NONE,
            inner_start: 0,
            envelope: Envelope::default(),
            fault: None,
        }
    }

    pub fn reset(&mut self) {
        *self = Scanner::new();
    }

    /// The facts so far.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The message's closing brace was read; only white space may follow.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done && self.fault.is_none()
    }

    /// Reads the next piece. After a fault every call repeats it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), EnvelopeFault> {
        let outcome = match self.fault {
            Some(fault) => return Err(fault),
            None if u32::try_from(bytes.len()).ok().and_then(|more| self.fed.checked_add(more)).is_none() => {
                Err((EnvelopeCause::TooLarge, 0))
            }
            None => self.scan(bytes),
        };
        if let Err((cause, at)) = outcome {
            let fault = EnvelopeFault { cause, at: self.fed.saturating_add(at as u32) };
            self.fault = Some(fault);
            return Err(fault);
        }
        self.fed += bytes.len() as u32;
        Ok(())
    }

    /// The message is over: all its facts, or why it is none.
    pub fn finish(&mut self) -> Result<Envelope, EnvelopeFault> {
        let cause =
            match (&self.fault, self.envelope.method, self.envelope.has_result, self.envelope.has_error) {
                (Some(fault), ..) => return Err(*fault),
                _ if self.state != State::Done => EnvelopeCause::Truncated,
                (None, None, false, false) => EnvelopeCause::Shapeless,
                (None, _, true, true) => EnvelopeCause::ResultWithError,
                (None, Some(_), true, _) | (None, Some(_), _, true) => EnvelopeCause::MethodWithResult,
                _ => return Ok(self.envelope),
            };
        Err(EnvelopeFault { cause, at: self.fed })
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), (EnvelopeCause, usize)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Text => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let run = run_of_text(rest);
                    self.copy(rest.get(..run).unwrap_or_default());
                    at += run;
                    match bytes.get(at) {
                        None => break,
                        Some(b'\\') => {
                            self.copy(b"\\");
                            self.state = State::TextEscape;
                        }
                        Some(_) => self.text_ends(at)?,
                    }
                }
                State::TextEscape => {
                    self.copy(&[byte]);
                    self.state = State::Text;
                }
                State::Number => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let run = rest.iter().position(|byte| !is_number_byte(*byte)).unwrap_or(rest.len());
                    self.copy(rest.get(..run).unwrap_or_default());
                    at += run;
                    if run < rest.len() {
                        self.value_ends(at);
                    }
                    continue;
                }
                State::Literal(rest) => match rest.split_first() {
                    Some((expected, rest)) if *expected == byte => {
                        self.copy(&[byte]);
                        self.state = State::Literal(rest);
                        if rest.is_empty() {
                            self.value_ends(at + 1);
                        }
                    }
                    _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
                },
                _ if is_blank(byte) => {}
                State::CommaOrEnd => self.separator(byte, at)?,
                State::Key if byte == b'"' => self.key_begins(),
                State::KeyOrEnd => match byte {
                    b'"' => {
                        self.opened(false);
                        self.key_begins();
                    }
                    b'}' => {
                        self.opened(true);
                        self.container_ends(at);
                    }
                    _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
                },
                State::Colon if byte == b':' => self.state = State::Value,
                State::Value => self.value_begins(byte, at)?,
                State::ValueOrEnd if byte == b']' => self.container_ends(at),
                State::ValueOrEnd => self.value_begins(byte, at)?,
                State::Start if byte == b'{' => self.push(true, at)?,
                State::Start => return Err((EnvelopeCause::NotAnObject, at)),
                State::Done => return Err((EnvelopeCause::TrailingBytes, at)),
                State::Key | State::Colon => return Err((EnvelopeCause::SyntaxInvalid, at)),
            }
            at += 1;
        }
        Ok(())
    }

    fn separator(&mut self, byte: u8, at: usize) -> Result<(), (EnvelopeCause, usize)> {
        match (byte, self.in_object()) {
            (b',', true) => self.state = State::Key,
            (b',', false) => self.state = State::Value,
            (b'}', true) | (b']', false) => self.container_ends(at),
            _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
        }
        Ok(())
    }

    fn value_begins(&mut self, byte: u8, at: usize) -> Result<(), (EnvelopeCause, usize)> {
        let start = self.fed + at as u32;
        self.capturing = false;
        match self.depth {
            1 => {
                self.top_start = start;
                self.capturing = self.top & (top::JSONRPC | top::ID | top::METHOD) != 0;
                self.inner = inner::NONE;
            }
            2 if self.inner != inner::NONE => {
                self.inner_start = start;
                self.capturing = true;
            }
            _ => {}
        }
        self.captured = 0;
        match byte {
            b'"' => {
                self.copy(b"\"");
                self.in_key = false;
                self.state = State::Text;
            }
            b'{' => self.push(true, at)?,
            b'[' => self.push(false, at)?,
            b'-' | b'0'..=b'9' => {
                self.copy(&[byte]);
                self.state = State::Number;
            }
            b't' | b'f' | b'n' => {
                self.copy(&[byte]);
                self.state = State::Literal(match byte {
                    b't' => b"rue",
                    b'f' => b"alse",
                    _ => b"ull",
                });
            }
            _ => return Err((EnvelopeCause::SyntaxInvalid, at)),
        }
        Ok(())
    }

    fn key_begins(&mut self) {
        self.in_key = true;
        self.captured = 0;
        self.capturing = match self.depth {
            1 => true,
            2 => self.top & (top::PARAMS | top::RESULT | top::ERROR) != 0,
            _ => false,
        };
        self.state = State::Text;
    }

    /// The closing quote at `at`.
    fn text_ends(&mut self, at: usize) -> Result<(), (EnvelopeCause, usize)> {
        if !self.in_key {
            self.copy(b"\"");
            self.value_ends(at + 1);
            return Ok(());
        }
        self.state = State::Colon;
        if !self.capturing {
            return Ok(());
        }
        let seen = if self.depth == 1 {
            self.top = self.top_key();
            let repeated = self.top_seen & self.top;
            self.top_seen |= self.top;
            repeated
        } else {
            self.inner = self.inner_key();
            let repeated = self.inner_seen & self.inner;
            self.inner_seen |= self.inner;
            repeated
        };
        if seen == 0 { Ok(()) } else { Err((EnvelopeCause::KeyRepeated, at)) }
    }

    /// The value ends before `at`.
    fn value_ends(&mut self, at: usize) {
        self.state = State::CommaOrEnd;
        let end = self.fed + at as u32;
        match self.depth {
            1 if self.top != top::NONE => {
                self.top_value(Span::between(self.top_start as usize, end as usize))
            }
            2 if self.inner != inner::NONE => {
                self.inner_value(Span::between(self.inner_start as usize, end as usize))
            }
            _ => {}
        }
    }

    fn push(&mut self, object: bool, at: usize) -> Result<(), (EnvelopeCause, usize)> {
        if self.depth == 1 && self.top == top::RESULT {
            self.envelope.has_result = true;
        }
        let level = self.depth as usize;
        let Some(word) = self.objects.get_mut(level / 64) else {
            return Err((EnvelopeCause::TooDeep, at));
        };
        let bit = 1 << (level % 64);
        if object {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        // A container is never a captured value; only its kind is known of it.
        self.captured = CAPTURE_BYTES + 1;
        self.capturing = false;
        self.depth += 1;
        self.state = if object { State::KeyOrEnd } else { State::ValueOrEnd };
        Ok(())
    }

    /// The closing bracket at `at`, which fits the innermost container.
    fn container_ends(&mut self, at: usize) {
        self.depth -= 1;
        if self.depth == 0 {
            self.state = State::Done;
            self.envelope.end = Some(self.fed + at as u32 + 1);
            return;
        }
        if self.depth == 1 {
            self.inner = inner::NONE;
        }
        self.captured = CAPTURE_BYTES + 1;
        self.value_ends(at + 1);
    }

    fn in_object(&self) -> bool {
        let level = self.depth.saturating_sub(1) as usize;
        self.objects.get(level / 64).is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    /// The first thing in an object is known: whether there is one.
    fn opened(&mut self, empty: bool) {
        if self.depth == 2 {
            let open = Some(Open { after: self.top_start + 1, empty });
            match self.top {
                top::PARAMS => self.envelope.params_open = open,
                top::RESULT => self.envelope.result_open = open,
                _ => {}
            }
        }
    }

    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        if self.capturing {
            self.copy_captured(bytes);
        }
    }

    fn copy_captured(&mut self, bytes: &[u8]) {
        match self.capture.get_mut(self.captured..self.captured.saturating_add(bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.captured += bytes.len();
            }
            None => self.captured = CAPTURE_BYTES + 1,
        }
    }

    /// What was captured; empty when it was too long.
    fn captured(&self) -> &[u8] {
        self.capture.get(..self.captured).unwrap_or_default()
    }

    /// What was captured is a string that says `text`.
    fn captured_says(&self, text: &str) -> bool {
        let inner = self.captured().strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        inner.is_some_and(|inner| says_same(inner, text.as_bytes()))
    }

    fn top_key(&self) -> u16 {
        const KEYS: [(&str, u16); 6] = [
            ("jsonrpc", top::JSONRPC),
            ("id", top::ID),
            ("method", top::METHOD),
            ("params", top::PARAMS),
            ("result", top::RESULT),
            ("error", top::ERROR),
        ];
        self.known_key(&KEYS)
    }

    fn inner_key(&self) -> u16 {
        match self.top {
            top::PARAMS => self.known_key(&[
                ("progressToken", inner::PROGRESS_TOKEN),
                ("requestId", inner::REQUEST_ID),
                ("uri", inner::URI),
                ("level", inner::LEVEL),
            ]),
            top::RESULT => {
                self.known_key(&[("isError", inner::IS_ERROR), ("resultType", inner::RESULT_TYPE)])
            }
            top::ERROR => self.known_key(&[("code", inner::CODE)]),
            _ => inner::NONE,
        }
    }

    fn known_key(&self, keys: &[(&str, u16)]) -> u16 {
        let text = self.captured();
        keys.iter().find(|(key, _)| says_same(text, key.as_bytes())).map_or(0, |(_, bit)| *bit)
    }

    fn top_value(&mut self, span: Span) {
        match self.top {
            top::JSONRPC => self.envelope.jsonrpc_ok = self.captured_says("2.0"),
            top::ID => {
                self.envelope.id = Some(span);
                self.envelope.id_value = self.id_value();
            }
            top::METHOD => {
                self.envelope.method = Some(span);
                let known = Method::ALL.iter().copied().find(|method| self.captured_says(method.as_str()));
                self.envelope.method_known = Some(known.unwrap_or(Method::Unknown));
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
        self.top = top::NONE;
    }

    fn inner_value(&mut self, span: Span) {
        match self.inner {
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
                self.envelope.result_type_span = Some(span);
                let known = ResultType::KNOWN.into_iter().find(|(word, _)| self.captured_says(word));
                self.envelope.result_type = known.map_or(ResultType::Other, |(_, known)| known);
            }
            inner::CODE => self.envelope.error_code = decimal::parse_signed(self.captured()),
            _ => {}
        }
        self.inner = inner::NONE;
    }

    fn id_value(&self) -> IdValue {
        if self.captured > CAPTURE_BYTES {
            // A long string, a long number or a container; only the first could be an id, and none is ours.
            return if self.capture.first() == Some(&b'"') { IdValue::Text } else { IdValue::Other };
        }
        match self.captured() {
            b"null" => IdValue::Null,
            [b'"', ..] => IdValue::Text,
            text => decimal::parse_signed(text).map_or(IdValue::Other, IdValue::Integer),
        }
    }
}

/// Bytes before the next quote or backslash. Most strings of an envelope are short, so a few bytes are looked at
/// before the vector search is set up.
#[inline]
fn run_of_text(rest: &[u8]) -> usize {
    const NEAR: usize = 16;
    let near = rest.iter().take(NEAR).position(|byte| matches!(byte, b'"' | b'\\'));
    near.unwrap_or_else(|| {
        let far = rest.get(NEAR..).unwrap_or_default();
        memchr2(b'"', b'\\', far).map_or(rest.len(), |at| NEAR + at)
    })
}

#[inline]
const fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')
}
