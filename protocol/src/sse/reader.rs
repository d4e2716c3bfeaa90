//! Events in, incrementally. HOT: the data of the event being gathered goes into one `Vec` that the caller owns and
//! reuses; the reader itself keeps a few dozen bytes and the last event id.
//!
//! The decision: bytes are consumed only up to the end of one event, so the caller handles each where it stands and
//! never meets a queue. The rules are those of the HTML standard (CR, LF or CRLF, one leading BOM, comments, fields
//! in any order, an unknown field ignored), with two bounds: the joined data, and the id.

use memchr::{memchr2, memchr3};

use crate::limits::{EVENT_BYTES_MAX, EVENT_ID_BYTES_MAX};

/// Which of the events MCP uses this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EventKind {
    /// `message`, or no name at all.
    #[default]
    Message,
    /// The first event of a 2024-11-05 stream; its data is a URI.
    Endpoint,
    Other,
}

/// One event with data; the data is in the caller's buffer until the next `push`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: EventKind,
}

/// What `push` did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes of the input that are dealt with; all of it unless an event ended before.
    pub consumed: usize,
    pub event: Option<Event>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SseFault {
    EventTooLarge,
}

impl SseFault {
    pub const fn label(self) -> &'static str {
        "event_too_large"
    }

    pub const fn message(self) -> &'static str {
        "expected an event of at most 4 MiB, found a larger one"
    }
}

impl std::fmt::Display for SseFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for SseFault {}

/// What the line being read has turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    /// Still in the field's name, of which so many bytes are in `name`.
    Name(u8),
    /// Right after the colon, where one space is dropped.
    Colon(Field),
    Value(Field),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// A comment or a field nobody knows.
    Ignored,
}

/// The longest name that matters is `retry` or `event`; one more byte tells that a name is longer.
const NAME_BYTES: usize = 6;
/// The longest event name that matters is `endpoint`; one more byte tells that a name is longer.
const KIND_BYTES: usize = 9;

/// A parser of one stream. The data buffer handed to `push` must be the same one, untouched, until an event is out.
#[derive(Clone, Debug)]
pub struct Reader {
    line: Line,
    name: [u8; NAME_BYTES],
    kind: [u8; KIND_BYTES],
    kind_bytes: u8,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    has_data: bool,
    fresh: bool,
    /// How much of a byte order mark was seen, while it may still be one.
    mark_bytes: Option<u8>,
    pending_id: Vec<u8>,
    pending_id_valid: bool,
    id_seen: bool,
    last_event_id: Vec<u8>,
    retry: Option<u64>,
    retry_digits: bool,
    retry_ms: Option<u64>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new()
    }
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            line: Line::Name(0),
            name: [0; NAME_BYTES],
            kind: [0; KIND_BYTES],
            kind_bytes: 0,
            after_cr: false,
            has_data: false,
            fresh: true,
            mark_bytes: Some(0),
            pending_id: Vec::new(),
            pending_id_valid: true,
            id_seen: false,
            last_event_id: Vec::new(),
            retry: None,
            retry_digits: false,
            retry_ms: None,
        }
    }

    /// Begins another stream, keeping the allocations and the last event id for a stream that resumes.
    pub fn restart(&mut self) {
        let fresh = Reader {
            pending_id: std::mem::take(&mut self.pending_id),
            last_event_id: std::mem::take(&mut self.last_event_id),
            retry_ms: self.retry_ms,
            ..Reader::new()
        };
        *self = fresh;
        self.pending_id.clear();
    }

    /// The id that a resumed stream must send as `Last-Event-ID`; empty when there was none. Set also by events
    /// without data, which are not reported.
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    /// What the server asked for with `retry:`, if anything.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Whether the stream may end here: nothing of an unfinished event was read.
    pub fn is_between_events(&self) -> bool {
        !self.has_data && self.line == Line::Name(0)
    }

    /// Reads from `input` until an event ends or the input does. When an event is reported its data is all of
    /// `data`; the next call empties it.
    pub fn push(&mut self, input: &[u8], data: &mut Vec<u8>) -> Result<Step, SseFault> {
        if self.fresh {
            data.clear();
            self.fresh = false;
        }
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            if let Some(seen) = self.mark_bytes {
                at += self.byte_order_mark(seen, byte);
                continue;
            }
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            let rest = input.get(at..).unwrap_or_default();
            match self.line {
                Line::Name(length) => {
                    let end = memchr3(b':', b'\r', b'\n', rest).unwrap_or(rest.len());
                    let length = self.gather_name(length, rest.get(..end).unwrap_or_default());
                    at += end;
                    match rest.get(end) {
                        None => {}
                        Some(b':') => {
                            at += 1;
                            self.line = Line::Colon(self.field(length));
                            self.open_field(self.field(length), data)?;
                        }
                        Some(end_byte) => {
                            at += 1;
                            self.after_cr = *end_byte == b'\r';
                            if length == 0 {
                                if let Some(event) = self.dispatch(data) {
                                    return Ok(Step { consumed: at, event: Some(event) });
                                }
                            } else {
                                self.open_field(self.field(length), data)?;
                                self.line = Line::Name(0);
                            }
                        }
                    }
                }
                Line::Colon(field) => {
                    at += usize::from(byte == b' ');
                    self.line = Line::Value(field);
                }
                Line::Value(field) => {
                    let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    self.gather_value(field, rest.get(..end).unwrap_or_default(), data)?;
                    at += end;
                    if let Some(end_byte) = rest.get(end) {
                        at += 1;
                        self.after_cr = *end_byte == b'\r';
                        self.close_field(field);
                        self.line = Line::Name(0);
                    }
                }
            }
        }
        Ok(Step { consumed: at, event: None })
    }

    /// Consumes one byte of a leading byte order mark; anything else is given back to the first line.
    fn byte_order_mark(&mut self, seen: u8, byte: u8) -> usize {
        const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
        if MARK.get(seen as usize) == Some(&byte) {
            self.mark_bytes = if seen == 2 { None } else { Some(seen + 1) };
            return 1;
        }
        self.mark_bytes = None;
        // A mark cut short is the start of a field name that nobody knows.
        let length = self.gather_name(0, MARK.get(..seen as usize).unwrap_or_default());
        self.line = Line::Name(length);
        0
    }

    fn gather_name(&mut self, length: u8, bytes: &[u8]) -> u8 {
        let length = append_bounded(&mut self.name, length, bytes);
        self.line = Line::Name(length);
        length
    }

    fn field(&self, length: u8) -> Field {
        match self.name.get(..length as usize) {
            Some(b"data") => Field::Data,
            Some(b"event") => Field::Event,
            Some(b"id") => Field::Id,
            Some(b"retry") => Field::Retry,
            _ => Field::Ignored,
        }
    }

    fn open_field(&mut self, field: Field, data: &mut Vec<u8>) -> Result<(), SseFault> {
        match field {
            Field::Data if self.has_data => extend_data(data, b"\n")?,
            Field::Data => self.has_data = true,
            Field::Event => self.kind_bytes = 0,
            Field::Id => {
                self.pending_id.clear();
                self.pending_id_valid = true;
                self.id_seen = true;
            }
            Field::Retry => (self.retry, self.retry_digits) = (Some(0), false),
            Field::Ignored => {}
        }
        Ok(())
    }

    fn gather_value(&mut self, field: Field, bytes: &[u8], data: &mut Vec<u8>) -> Result<(), SseFault> {
        match field {
            Field::Data => extend_data(data, bytes)?,
            Field::Event => self.kind_bytes = append_bounded(&mut self.kind, self.kind_bytes, bytes),
            Field::Id => {
                self.pending_id_valid &=
                    !bytes.contains(&0) && self.pending_id.len() + bytes.len() <= EVENT_ID_BYTES_MAX;
                if self.pending_id_valid {
                    self.pending_id.extend_from_slice(bytes);
                }
            }
            Field::Retry => {
                self.retry_digits |= !bytes.is_empty();
                for byte in bytes {
                    let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9).map(u64::from);
                    self.retry = self
                        .retry
                        .zip(digit)
                        .and_then(|(value, digit)| value.checked_mul(10)?.checked_add(digit));
                }
            }
            Field::Ignored => {}
        }
        Ok(())
    }

    fn close_field(&mut self, field: Field) {
        if field == Field::Retry {
            self.retry_ms = self.retry.take().filter(|_| self.retry_digits).or(self.retry_ms);
        }
    }

    /// The empty line: the event is over, and reported when it has data.
    fn dispatch(&mut self, data: &[u8]) -> Option<Event> {
        if std::mem::take(&mut self.id_seen) && self.pending_id_valid {
            std::mem::swap(&mut self.last_event_id, &mut self.pending_id);
        }
        let kind = match self.kind.get(..self.kind_bytes as usize) {
            Some(b"" | b"message") => EventKind::Message,
            Some(b"endpoint") => EventKind::Endpoint,
            _ => EventKind::Other,
        };
        self.kind_bytes = 0;
        self.has_data = false;
        if data.is_empty() {
            return None;
        }
        self.fresh = true;
        Some(Event { kind })
    }
}

fn extend_data(data: &mut Vec<u8>, bytes: &[u8]) -> Result<(), SseFault> {
    if data.len() + bytes.len() > EVENT_BYTES_MAX {
        return Err(SseFault::EventTooLarge);
    }
    data.extend_from_slice(bytes);
    Ok(())
}

/// Appends what fits; a full array means "longer than anything we know".
fn append_bounded(array: &mut [u8], length: u8, bytes: &[u8]) -> u8 {
    let free = array.get_mut(length as usize..).unwrap_or_default();
    let count = free.len().min(bytes.len());
    for (slot, byte) in free.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    length + count as u8
}
