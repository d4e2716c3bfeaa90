//! `tasks/list` of 2025-11-25: what this client has begun in its session, asked of every upstream that has tasks.
//!
//! A server lists whatever was begun through this gateway, by whomever; only tasks that the session knows as its own
//! are passed on. The upstreams follow each other: a page is one of theirs, and a cursor says whose comes next.

use std::rc::Rc;

use strait_protocol::jsonrpc::{Elements, Splices, append_string};
use strait_protocol::mcp::{Method, codes};
use strait_table::View;

use super::super::arrive::Place;
use super::super::decode::Call;
use super::super::identify::Caller;
use super::super::refusal::Refusal;
use super::super::{Incoming, decode};
use super::reword::{member, text_of};
use crate::core::{Adopted, Core};
use crate::edition::digest;
use crate::io::buffer::Buf;
use crate::limits::TASK_PAGES_MAX;
use crate::session::{Seal, Session};
use crate::upstream::ask::{Answered, ask};
use crate::upstream::{Upstream, Whom};

/// Separates cursors from everything else that is sealed under the same key.
const PURPOSE: &[u8] = b"strait task cursor 1";

/// Where a list goes on.
struct Cursor {
    principal: u64,
    server: u64,
    /// Digest of the upstream's name.
    upstream: u64,
    /// The upstream's own, as written with its quotes; empty: from the start.
    within: Vec<u8>,
}

impl Cursor {
    fn seal(&self, seal: &Seal) -> Option<Vec<u8>> {
        let mut plain = Vec::with_capacity(24 + self.within.len());
        for number in [self.principal, self.server, self.upstream] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        plain.extend_from_slice(&self.within);
        let mut text = Vec::new();
        seal.seal_bytes(PURPOSE, &mut plain, &mut text).ok()?;
        Some(text)
    }

    fn open(seal: &Seal, text: &[u8]) -> Option<Cursor> {
        let plain = seal.open_bytes(PURPOSE, text)?;
        let (fixed, within) = plain.split_at_checked(24)?;
        let number = |at: usize| Some(u64::from_le_bytes(*fixed.get(at..)?.first_chunk()?));
        Some(Cursor {
            principal: number(0)?,
            server: number(8)?,
            upstream: number(16)?,
            within: within.to_vec(),
        })
    }
}

/// One page, as the whole JSON-RPC answer.
pub async fn list(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    view: &View,
) -> Result<Buf, Refusal> {
    let (Some(session), decode::Asked::Message(message)) = (&call.session, &call.asked) else {
        return Err(Refusal::Internal("a list of tasks without a session"));
    };
    let server = adopted.server_digest(place.server).ok_or(Refusal::NoSuchPath)?;
    let mut left = members(adopted, place.server, view).into_iter();
    let mut next = None;
    if let Some(cursor) = message.cursor {
        let mut text = Vec::new();
        let opened = Cursor::open(&core.seal, cursor.read(incoming.body, &mut text));
        let cursor = opened.filter(|cursor| cursor.principal == caller.digest && cursor.server == server);
        let cursor = cursor.ok_or(Refusal::BadCursor)?;
        let upstream = left.find(|upstream| digest(&upstream.name) == cursor.upstream);
        next = Some((upstream.ok_or(Refusal::BadCursor)?, cursor.within));
    }
    let mut page = Page::of(session);
    let mut asked = 0;
    loop {
        let Some((upstream, within)) = next.take().or_else(|| left.next().map(|up| (up, Vec::new()))) else {
            break;
        };
        if asked >= TASK_PAGES_MAX || (asked > 0 && page.count > 0) {
            next = Some((upstream, within));
            break;
        }
        asked += 1;
        let whom = Whom::of(caller.digest, Some(session));
        let members = if within.is_empty() { Vec::new() } else { [b"\"cursor\":", &within[..]].concat() };
        let answer = ask(core, &upstream, whom, Method::TasksList, &members).await.map_err(|fault| {
            let name = upstream.name.clone();
            Refusal::Upstream { name, fault }
        })?;
        if answer.envelope.error_code == Some(codes::INVALID_PARAMS) && !within.is_empty() {
            return Err(Refusal::BadCursor);
        }
        // One that has tasks but no list of them answers with an error; its tasks are known by their ids only.
        if let Some(within) = page.add(&upstream, &answer) {
            next = Some((upstream, within));
        }
    }
    let id = message.id.map_or(&b"null"[..], |id| id.of(incoming.body));
    let cursor = next.and_then(|(upstream, within)| {
        let cursor = Cursor { principal: caller.digest, server, upstream: digest(&upstream.name), within };
        cursor.seal(&core.seal)
    });
    Ok(page.answer(id, cursor))
}

/// The upstreams of a server that have tasks and of which the caller sees something.
fn members(adopted: &Rc<Adopted>, server: usize, view: &View) -> Vec<Rc<Upstream>> {
    let bound = adopted.snapshot.bound();
    let all = bound.servers.get(server).map_or(&[][..], |server| server.upstreams.as_slice());
    let has =
        |index: usize| bound.upstreams.get(index).is_some_and(|can| can.core_tasks) && view.shows(index);
    let all = all.iter().map(|index| usize::from(index.to_native()));
    all.filter(|index| has(*index)).filter_map(|index| adopted.upstream(index)).collect()
}

/// A page on its way to the client.
struct Page<'s> {
    session: &'s Session,
    tasks: Vec<u8>,
    count: usize,
}

impl<'s> Page<'s> {
    fn of(session: &'s Session) -> Page<'s> {
        Page { session, tasks: Vec::new(), count: 0 }
    }

    /// Adds what of an upstream's page is the client's; gives the upstream's next cursor, as written.
    fn add(&mut self, upstream: &Upstream, answer: &Answered) -> Option<Vec<u8>> {
        let bytes = answer.bytes();
        let tasks = member(bytes, answer.envelope.result, "tasks");
        for task in tasks.into_iter().flat_map(|tasks| Elements::of(bytes, tasks)).flatten() {
            let Some(place) = member(bytes, Some(task), "taskId") else { continue };
            let shown =
                text_of(bytes, place).ok().and_then(|bare| self.session.tasks.shown(upstream.id, &bare));
            let Some(shown) = shown else { continue };
            let text = task.of(bytes);
            let within = strait_protocol::Span { start: place.start - task.start, len: place.len };
            let mut splices = Splices::new();
            if splices.replace_with(within, |out| append_string(out, &shown)).is_err() {
                continue;
            }
            if self.count > 0 {
                self.tasks.push(b',');
            }
            self.count += usize::from(splices.write(text, &mut self.tasks).is_ok());
        }
        let cursor = member(bytes, answer.envelope.result, "nextCursor")?.of(bytes);
        cursor.starts_with(b"\"").then(|| cursor.to_vec())
    }

    fn answer(self, id: &[u8], cursor: Option<Vec<u8>>) -> Buf {
        let mut out = Buf::with_capacity(self.tasks.len() + 256);
        for part in [&b"{\"jsonrpc\":\"2.0\",\"id\":"[..], id, b",\"result\":{\"tasks\":[", &self.tasks, b"]"]
        {
            out.extend_from_slice(part);
        }
        if let Some(cursor) = cursor {
            for part in [&b",\"nextCursor\":\""[..], &cursor, b"\""] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"}}");
        out
    }
}
