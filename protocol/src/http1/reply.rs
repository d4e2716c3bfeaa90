//! An upstream's reply head. HOT, and as strict as the request side: an upstream that can desynchronise our
//! connection to it can put its words into another client's answer.

use std::mem::MaybeUninit;

use super::HeadFault;
use super::head::{
    Connection, ContentType, Delimiters, Framing, Headers, diagnose, frame, may_begin, once, place,
};
use crate::limits::HEADERS_MAX;
use crate::{Span, decimal};

/// How a reply's body is delimited; a reply, unlike a request, may end with its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyFraming {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
pub struct ReplyHead {
    pub status: u16,
    /// Bytes of the head, its empty line included.
    pub head_bytes: u32,
    pub framing: ReplyFraming,
    /// False also when the body ends with the connection.
    pub keep_alive: bool,
    pub http10: bool,
    pub content_type: ContentType,
    /// A `Content-Encoding` other than `identity`: we never ask for one and cannot read it.
    pub encoded: bool,
    pub session_id: Option<Span>,
    /// Whole seconds; the date form is left out.
    pub retry_after_s: Option<u32>,
    /// The first Bearer challenge, or the first of any kind.
    pub www_authenticate: Option<Span>,
    pub location: Option<Span>,
}

impl ReplyHead {
    /// 100 to 199, except 101: another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// All headers, for those without a field here. `bytes` are those the head was parsed from.
    pub fn headers<'a>(&self, bytes: &'a [u8]) -> Headers<'a> {
        Headers::new(bytes.get(..self.head_bytes as usize).unwrap_or_default())
    }
}

/// Parses a reply head from the start of `bytes`; `None` means that more bytes are needed. Ask
/// [`super::worth_parsing`] before calling again for the same head.
pub fn parse_reply(bytes: &[u8]) -> Result<Option<ReplyHead>, HeadFault> {
    if !may_begin(bytes) {
        return Err(HeadFault::StatusLineInvalid);
    }
    let Some(frame) = frame(bytes)? else { return Ok(None) };
    let head = bytes.get(frame.start..frame.end).unwrap_or_default();
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadFault::StatusLineInvalid),
        Err(error) => return Err(diagnose(error, head, HeadFault::StatusLineInvalid)),
    }
    let (Some(version @ 0..=1), Some(status @ 100..=599)) = (parsed.version, parsed.code) else {
        return Err(HeadFault::StatusLineInvalid);
    };
    let mut reply = ReplyHead {
        status,
        head_bytes: frame.end as u32,
        framing: ReplyFraming::None,
        keep_alive: false,
        http10: version == 0,
        content_type: ContentType::Absent,
        encoded: false,
        session_id: None,
        retry_after_s: None,
        www_authenticate: None,
        location: None,
    };
    let (mut delimiters, mut connection) = (Delimiters::default(), Connection::default());
    for header in parsed.headers.iter() {
        let (name, value) = (header.name.as_bytes(), header.value.trim_ascii());
        reply.header(bytes, name, value, &mut delimiters, &mut connection)?;
    }
    let bodiless = status < 200 || status == 204 || status == 304;
    reply.framing = match delimiters.framing(reply.http10)? {
        _ if bodiless => ReplyFraming::None,
        Framing::Length(length) => ReplyFraming::Length(length),
        Framing::Chunked => ReplyFraming::Chunked,
        Framing::None => ReplyFraming::UntilClose,
    };
    reply.keep_alive = connection.persists(reply.http10) && reply.framing != ReplyFraming::UntilClose;
    Ok(Some(reply))
}

impl ReplyHead {
    fn header(
        &mut self,
        bytes: &[u8],
        name: &[u8],
        value: &[u8],
        delimiters: &mut Delimiters,
        connection: &mut Connection,
    ) -> Result<(), HeadFault> {
        let span = place(bytes, value);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            8 if is("Location") => once(&mut self.location, span, "Location")?,
            10 if is("Connection") => connection.options(value),
            11 if is("Retry-After") => {
                self.retry_after_s =
                    decimal::parse(value).map(|seconds| seconds.min(u64::from(u32::MAX)) as u32);
            }
            12 if is("Content-Type") => {
                if self.content_type != ContentType::Absent {
                    return Err(HeadFault::DuplicateHeader("Content-Type"));
                }
                self.content_type = ContentType::of(value);
            }
            14 if is("Content-Length") => delimiters.content_length(value)?,
            14 if is("Mcp-Session-Id") => once(&mut self.session_id, span, "Mcp-Session-Id")?,
            16 if is("Content-Encoding") => self.encoded |= !value.eq_ignore_ascii_case(b"identity"),
            16 if is("WWW-Authenticate") => {
                let held = self.www_authenticate.map(|held| is_bearer(held.of(bytes)));
                if held.is_none() || (held == Some(false) && is_bearer(value)) {
                    self.www_authenticate = Some(span);
                }
            }
            17 if is("Transfer-Encoding") => delimiters.transfer_encoding(value)?,
            _ => {}
        }
        Ok(())
    }
}

fn is_bearer(challenge: &[u8]) -> bool {
    challenge.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer"))
}
