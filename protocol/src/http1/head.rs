//! What request heads and reply heads share: finding the empty line while refusing every ambiguous line end, the
//! body framing rules, and a walk over the header lines of a head that was already accepted.
//!
//! The decision: line ends are judged here, on raw bytes, before httparse sees anything, because httparse takes a
//! bare LF for a line end. HOT.

use memchr::{memchr, memchr2};

use super::HeadFault;
use super::chunked::is_token_byte;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use crate::{Span, decimal};

/// How a request's body is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// The only distinction of media types that a gateway needs; parameters such as `charset` are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ContentType {
    #[default]
    Absent,
    Json,
    EventStream,
    Other,
}

impl ContentType {
    pub(super) fn of(value: &[u8]) -> ContentType {
        // As nearly all write it.
        if value == b"application/json" {
            return ContentType::Json;
        }
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/json") {
            ContentType::Json
        } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
            ContentType::EventStream
        } else {
            ContentType::Other
        }
    }
}

/// Whether bytes that arrived after the first `seen` could change a parser's mind about an incomplete head. A reader
/// that asks this before parsing again parses at most once per line, so 66 times per head, however the peer
/// dribbles its bytes.
#[inline]
pub fn worth_parsing(bytes: &[u8], seen: usize) -> bool {
    bytes.len() > HEAD_BYTES_MAX
        || (seen == 0 && !may_begin(bytes))
        || bytes.get(seen..).is_some_and(|fresh| memchr(b'\n', fresh).is_some())
}

/// Whether these can be the first bytes of a head: a token, or the empty line that some peers send before it. What
/// cannot (TLS, another protocol) is told so at once and not after the deadline of a head.
#[inline]
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|byte| is_token_byte(*byte) || matches!(byte, b'\r' | b'\n'))
}

/// The extent of a complete head: after at most one leading CRLF, up to and including the empty line.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub start: usize,
    pub end: usize,
}

/// Finds the head, or says that more bytes are needed.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<Frame>, HeadFault> {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let mut line = start;
    let mut lines = 0;
    let mut from = start;
    while let Some(offset) = bytes.get(from..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
        let at = from + offset;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\n'), _) => return Err(HeadFault::BareLf),
            (_, Some(b'\n')) => {}
            (_, Some(_)) => return Err(HeadFault::BareCr),
            (_, None) => break,
        }
        if at == line {
            return match lines {
                0 => Err(HeadFault::LeadingEmptyLines),
                _ if at + 2 - start > HEAD_BYTES_MAX => Err(HeadFault::HeadTooLarge),
                _ => Ok(Some(Frame { start, end: at + 2 })),
            };
        }
        lines += 1;
        if lines > HEADERS_MAX + 1 {
            return Err(HeadFault::TooManyHeaders);
        }
        line = at + 2;
        from = line;
        if matches!(bytes.get(line), Some(b' ' | b'\t')) {
            return Err(HeadFault::ObsoleteFold);
        }
    }
    if bytes.len() - start > HEAD_BYTES_MAX {
        return Err(if lines == 0 { HeadFault::TargetTooLong } else { HeadFault::HeadTooLarge });
    }
    Ok(None)
}

/// What httparse's refusal means in our words. Cold: it looks at the lines again to name the cause.
#[cold]
pub(super) fn diagnose(error: httparse::Error, head: &[u8], first_line: HeadFault) -> HeadFault {
    match error {
        httparse::Error::HeaderValue => HeadFault::HeaderValueInvalid,
        httparse::Error::TooManyHeaders => HeadFault::TooManyHeaders,
        httparse::Error::Version => HeadFault::VersionUnsupported,
        httparse::Error::HeaderName => {
            let folded_name = |line: &[u8]| {
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                name.len() < line.len() && name.last().is_some_and(|byte| matches!(byte, b' ' | b'\t'))
            };
            match head.split(|byte| *byte == b'\n').skip(1).any(folded_name) {
                true => HeadFault::SpaceBeforeColon,
                false => HeadFault::HeaderNameInvalid,
            }
        }
        _ => first_line,
    }
}

/// The framing headers of one head, gathered as they are met and judged together at the end.
#[derive(Default)]
pub(super) struct Delimiters {
    length: Option<u64>,
    pub chunked: bool,
}

impl Delimiters {
    pub fn content_length(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.length.is_some() {
            return Err(HeadFault::ContentLengthRepeated);
        }
        self.length = Some(decimal::parse(value).ok_or(HeadFault::ContentLengthInvalid)?);
        Ok(())
    }

    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadFault::TransferEncodingUnsupported);
        }
        self.chunked = true;
        Ok(())
    }

    pub fn framing(&self, http10: bool) -> Result<Framing, HeadFault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadFault::LengthWithTransferEncoding),
            (true, None) if http10 => Err(HeadFault::TransferEncodingOnHttp10),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }
}

/// The options of all `Connection` headers that we act on.
#[derive(Default)]
pub(super) struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    pub fn options(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    pub fn persists(&self, http10: bool) -> bool {
        !self.close && (!http10 || self.keep_alive)
    }
}

/// Sets a header that may come once.
pub(super) fn once(slot: &mut Option<Span>, value: Span, name: &'static str) -> Result<(), HeadFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadFault::DuplicateHeader(name)),
    }
}

/// Where `part`, a slice of `whole`, lies in it.
#[inline]
pub(super) fn place(whole: &[u8], part: &[u8]) -> Span {
    Span {
        start: (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize) as u32,
        len: part.len() as u32,
    }
}

/// The header lines of an accepted head, for the few headers that have no field of their own (`Mcp-Param-*`, the
/// name an API key travels under).
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// `head` is the whole head; its first line is skipped.
    pub(super) fn new(head: &'a [u8]) -> Headers<'a> {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let first = memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        Headers { rest: head.get(first..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Headers<'a> {
    /// Name as received, value without the white space around it.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at_checked(end + 1)?;
        self.rest = rest;
        let colon = memchr(b':', line)?;
        Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
    }
}
