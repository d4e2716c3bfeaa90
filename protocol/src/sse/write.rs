//! Events out. HOT. A line break inside the data would end the event early, so data is written as one `data:` line
//! per line of it; in JSON a raw line break is only white space between tokens, and joining the lines again restores
//! an equal value.

use memchr::memchr2;

use crate::decimal;

/// Appends one `message` event, with an id when the stream can be resumed. `id` must hold no line break; one that
/// does is left out.
pub fn append_event(out: &mut Vec<u8>, id: Option<&[u8]>, data: &[u8]) {
    if let Some(id) = id.filter(|id| !id.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id);
        out.push(b'\n');
    }
    out.extend_from_slice(b"event: message\n");
    let mut rest = data;
    loop {
        out.extend_from_slice(b"data: ");
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = match tail {
            [] => break,
            [b'\r', b'\n', after @ ..] => after,
            [_, after @ ..] => after,
        };
    }
    out.push(b'\n');
}

/// Appends a piece of a `message` event whose data comes in pieces, none of them empty but the last: a message too large
/// to hold.
pub fn append_piece(out: &mut Vec<u8>, data: &[u8], is_first: bool, is_last: bool) {
    if is_first {
        out.extend_from_slice(b"event: message\ndata: ");
    }
    let mut rest = data;
    while let Some(end) = memchr2(b'\r', b'\n', rest) {
        let (line, tail) = rest.split_at(end);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\ndata: ");
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    if is_last {
        out.extend_from_slice(b"\n\n");
    }
}

/// Appends a keep-alive comment.
pub fn append_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\r\n\r\n");
}

/// Appends an event without data that sets where to resume from and when, as 2025-11-25 streams begin and as a
/// server says before it hangs up.
pub fn append_retry(out: &mut Vec<u8>, id: Option<&[u8]>, retry_ms: Option<u64>) {
    if let Some(id) = id.filter(|id| !id.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id);
        out.push(b'\n');
    }
    if let Some(retry_ms) = retry_ms {
        out.extend_from_slice(b"retry: ");
        decimal::append(out, retry_ms);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data:\n\n");
}
