//! Requests of 2026-07-28: each is an exchange of its own, with the headers that repeat its body.
//!
//! A client of stdio knows no headers. Those of arguments are learned from lists of tools that pass through; when
//! the gateway refuses them, because the client never asked for a list or it has changed, the list is read again
//! and the call sent once more.

use std::rc::Rc;

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Members, Message, append_string};
use strait_protocol::mcp::{Method, codes, header};

use super::Front;
use super::carry::{Asked, Carried, carry, gather};
use super::link::Headers;
use super::trouble::Trouble;
use crate::limits::FRONT_PAGES_MAX;
use crate::log;

pub async fn ask(front: &Rc<Front>, asked: &mut Asked, message: &Message) -> Result<(), Trouble> {
    let mut is_again = false;
    loop {
        let headers = headers(front, message, &asked.body);
        asked.place.ticket.sent.set(true);
        let answer = front.link.post(asked.body.clone(), &headers).await?;
        let trouble = match carry(front, answer, asked).await {
            Ok(Carried::Answered) => return Ok(()),
            // Streams of this revision cannot be resumed.
            Ok(Carried::Cut(_, why)) => return Err(why),
            Err(trouble) => trouble,
        };
        let is_mismatch = trouble.code() == Some(codes::HEADER_MISMATCH);
        if is_again || !is_mismatch || message.method != Method::ToolsCall {
            return Err(trouble);
        }
        is_again = true;
        if let Err(why) = relist(front, message, &asked.body).await {
            log::warn(format!("strait stdio: the tools could not be listed after a refused header: {why}"));
            return Err(trouble);
        }
    }
}

/// Sends a notification; it has no answer.
pub async fn tell(front: &Rc<Front>, message: &Message, body: Bytes) -> Result<(), Trouble> {
    let headers = headers(front, message, &body);
    let answer = front.link.post(body, &headers).await?;
    if answer.status.is_success() { Ok(()) } else { Err(Trouble::refused(answer).await) }
}

fn headers(front: &Front, message: &Message, body: &[u8]) -> Headers {
    let mut scratch = Vec::new();
    let mut headers = Vec::new();
    match message.protocol_version {
        Some(version) => push(&mut headers, header::PROTOCOL_VERSION, version.read(body, &mut scratch)),
        // The gateway will say what is missing.
        None => push(&mut headers, header::PROTOCOL_VERSION, &front.modern_version.borrow()),
    }
    if let Some(method) = message.method_text {
        push(&mut headers, header::METHOD, method.read(body, &mut scratch));
    }
    if let Some(name) = message.mirrored_name() {
        let name = name.read(body, &mut scratch);
        push(&mut headers, header::NAME, name);
        if message.method == Method::ToolsCall {
            headers.extend(front.mirror.borrow().headers(name, body, message.arguments));
        }
    }
    headers
}

fn push(headers: &mut Headers, name: &str, said: &[u8]) {
    let mut value = Vec::new();
    header::encode(&mut value, said);
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value))
    {
        headers.push((name, value));
    }
}

/// Lists the tools as the caller of `body` would, for the headers that they want.
async fn relist(front: &Rc<Front>, message: &Message, body: &[u8]) -> Result<(), Trouble> {
    let meta = message.meta.map_or(&b"{}"[..], |meta| meta.of(body));
    let mut scratch = Vec::new();
    let version = message.protocol_version.map(|version| version.read(body, &mut scratch).to_vec());
    let mut headers = Vec::new();
    push(&mut headers, header::PROTOCOL_VERSION, &version.unwrap_or_default());
    push(&mut headers, header::METHOD, Method::ToolsList.as_str().as_bytes());
    let mut cursor: Option<Vec<u8>> = None;
    for page in 0..FRONT_PAGES_MAX {
        let mut request =
            br#"{"jsonrpc":"2.0","id":"strait-stdio-tools","method":"tools/list","params":{"#.to_vec();
        if let Some(cursor) = &cursor {
            request.extend_from_slice(b"\"cursor\":");
            request.extend_from_slice(cursor);
            request.push(b',');
        }
        append_string(&mut request, b"_meta");
        request.push(b':');
        request.extend_from_slice(meta);
        request.extend_from_slice(b"}}");
        let answer = front.link.post(request.into(), &headers).await?;
        let (_, list, envelope) = gather(answer).await?;
        let Some(result) = envelope.result else {
            return Err(Trouble::NotMcp("tools/list was answered with an error".into()));
        };
        front.mirror.borrow_mut().learn(&list, result, page == 0);
        match next_cursor(&list, result) {
            Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// As written, quotes included.
fn next_cursor(list: &[u8], result: Span) -> Option<Vec<u8>> {
    let next = Members::find(list, result, "nextCursor").ok()??.of(list);
    next.starts_with(b"\"").then(|| next.to_vec())
}
