//! A legacy server that ends a call because its user has to open a page first (-32042 of 2025-11-25).
//!
//! A modern client gets the pages as `input_required`. Nothing waits meanwhile: the server's call has ended, and the
//! sealed ticket holds all that is needed to judge the answers. When the user did what was asked, the call is simply made
//! again; a server that still wants something says so again. When the user did not, the call has the server's own words
//! for its result.

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Envelope, Members, Message, append_string, unescape};
use strait_protocol::mcp::{Declared, Method};

use super::Incoming;
use super::refusal::Refusal;
use super::suspend::{self, input_required};
use super::ticket::{self, Kind, Ticket};
use crate::core::Core;
use crate::io::buffer::Buf;
use crate::limits::{REPLAY_BYTES_MAX, SUSPENDED_ASKS_MAX};
use crate::session::Seal;
use crate::upstream::dialect::{self, Client};
use crate::upstream::{Reply, UpstreamFault, errors};

/// The client's `input_required`, made of the server's error.
pub fn ask(
    core: &Rc<Core>,
    reply: &Reply,
    client: &Client<'_>,
    bytes: &[u8],
    envelope: &Envelope,
) -> Result<Buf, UpstreamFault> {
    if !suspend::declared(core, client.body).has(Declared::ELICITATION_URL) {
        return Err(UpstreamFault::Undeclared(Declared::ELICITATION_URL));
    }
    let wants = |what: &str| UpstreamFault::Input(what.to_owned());
    let message = core.decoder.borrow_mut().decode(client.body).copied();
    let (Ok(message), Some(subject)) = (message, reply.subject()) else {
        return Err(wants("its call cannot be made again"));
    };
    let listed = errors::member(bytes, envelope, &["data", "elicitations"]);
    let mut pages = Vec::new();
    for page in listed.into_iter().flat_map(|list| Elements::of(bytes, list)) {
        let page = page.map_err(|_| wants("its `elicitations` are no list"))?.of(bytes);
        let key =
            string(page, "elicitationId").ok_or_else(|| wants("a page of it has no `elicitationId`"))?;
        pages.push((key, suspend::without_id(page)));
    }
    let said = errors::member(bytes, envelope, &["message"]);
    let said = said.and_then(|said| plain(said.of(bytes))).unwrap_or_default();
    let judged = Judged { said, keys: pages.iter().map(|(key, _)| key.clone()).collect() };
    let rest = judged.written();
    if pages.is_empty() || pages.len() > SUSPENDED_ASKS_MAX || rest.len() > REPLAY_BYTES_MAX {
        return Err(wants("it names no page to open, or too many"));
    }
    let serial = Seal::serial().map_err(|_| UpstreamFault::NoRoom)?;
    let ticket = Ticket {
        kind: Kind::Replay,
        worker: core.id as u16,
        serial,
        principal: subject.principal,
        server: subject.server_digest(),
        expires_unix_ms: core.clock.coarse_unix_ms() + core.deadlines.suspended_ms,
        call: ticket::call(client.body, &message),
        rest,
    };
    let state = ticket.seal(&core.seal).map_err(|_| UpstreamFault::NoRoom)?;
    let pages = pages.iter().map(|(key, params)| (key.as_str(), Method::ElicitationCreate, &params[..]));
    Ok(input_required(client.id, pages, &state))
}

/// What becomes of a call that comes back: an answer that ends it, or `None` when it is to be made again.
pub fn judge(
    incoming: &Incoming<'_>,
    message: &Message,
    ticket: &Ticket,
    upstream: &str,
) -> Result<Option<Buf>, Refusal> {
    let judged =
        Judged::read(&ticket.rest).ok_or(Refusal::Internal("a sealed requestState is unreadable"))?;
    let refused = |key: &String| {
        let answer = Members::find(incoming.body, message.input_responses?, key).ok().flatten()?;
        Some(string(answer.of(incoming.body), "action")? != "accept")
    };
    if !judged.keys.iter().any(|key| refused(key).unwrap_or(false)) {
        return Ok(None);
    }
    if message.method != Method::ToolsCall {
        let fault = UpstreamFault::Input(format!("{} (the user declined)", judged.said));
        return Err(Refusal::Upstream { name: upstream.to_owned(), fault });
    }
    let mut out = Buf::new();
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(message.id.map_or(&b"null"[..], |id| id.of(incoming.body)));
    out.extend_from_slice(
        b",\"result\":{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":",
    );
    append_string(out.vec(), judged.said.as_bytes());
    out.extend_from_slice(b"}],\"isError\":true,\"_meta\":{");
    dialect::append_server(out.vec());
    out.extend_from_slice(b"}}}");
    Ok(Some(out))
}

/// What the ticket keeps of the server's error.
struct Judged {
    /// The error's message.
    said: String,
    /// Under which the pages were asked for.
    keys: Vec<String>,
}

impl Judged {
    fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for text in std::iter::once(&self.said).chain(&self.keys) {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    fn read(mut rest: &[u8]) -> Option<Judged> {
        let mut texts = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            texts.push(String::from_utf8(text.to_vec()).ok()?);
            rest = behind;
        }
        let mut texts = texts.into_iter();
        Some(Judged { said: texts.next()?, keys: texts.collect() })
    }
}

/// What a member says that is a string.
fn string(object: &[u8], key: &str) -> Option<String> {
    plain(Members::find(object, Span::between(0, object.len()), key).ok()??.of(object))
}

fn plain(raw: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    unescape(raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?, &mut text);
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_ticket_keeps_is_read_back() {
        for keys in [vec![], vec!["e-1".to_owned(), String::new(), "é\"".to_owned()]] {
            let judged = Judged { said: "open the page".to_owned(), keys: keys.clone() };
            let read = Judged::read(&judged.written()).unwrap();
            assert_eq!((read.said, read.keys), (judged.said, keys));
        }
        assert!(Judged::read(&[]).is_none());
        assert!(Judged::read(&[9, 0, 0, 0, 1]).is_none());
    }
}
