//! Tasks: calls whose results are fetched later. In 2025-11-25 they are part of the protocol (`params.task`,
//! `tasks/get|result|list|cancel`), in 2026-07-28 an extension (`resultType: "task"`, `tasks/get|update|cancel`).
//!
//! Between peers of one era they pass as they are but for their ids: the client sees an [`id::TaskId`] of ours,
//! which says where the task is and whose. A request about it is found by that id alone ([`find`]), is allowed to whom
//! its tool is allowed, and goes on under the upstream's own id; what the upstream answers comes back under the
//! client's ([`reworded`]).

pub mod id;
pub mod list;
pub mod older;
mod reword;
pub mod watch;
pub mod work;

use strait_protocol::Span;
use strait_protocol::jsonrpc::Message;
use strait_protocol::mcp::{Declared, Method, Revision};
use strait_table::Kind;

use super::Incoming;
use super::arrive::Place;
use super::decode::Call;
use super::identify::Caller;
use super::record::Record;
use super::refusal::Refusal;
use super::resolve::Item;
use crate::core::{Adopted, Core};
use crate::edition::digest;
use crate::upstream::dialect::Client;
use id::TaskId;
pub use reword::{Answers, heard, reworded};
use std::rc::Rc;

/// A task that a request is about.
pub struct Held {
    /// The tool whose call it is.
    pub item: Item,
    pub id: TaskId,
}

/// Whether a client of 2026-07-28 has declared the extension in this request; an older one needs not.
pub fn declares(incoming: &Incoming<'_>, message: &Message, modern: bool) -> bool {
    let said = message.client_capabilities.map(|said| Declared::read(incoming.body, said));
    !modern || said.is_some_and(|declared| declared.has(Declared::TASKS))
}

/// What a client declared, in its session or in this message.
fn declared(core: &Rc<Core>, client: &Client<'_>) -> Declared {
    if let Some(session) = client.session {
        return session.declared;
    }
    let message = core.decoder.borrow_mut().decode(client.body).copied().ok();
    let said = message.and_then(|message| message.client_capabilities);
    said.map_or(Declared::NOTHING, |said| Declared::read(client.body, said))
}

/// Whether a call's tool runs only as a task of 2025-11-25, and its client does not say so.
pub fn must_begin(adopted: &Adopted, place: &Place, item: &Item, call: &Call, message: &Message) -> bool {
    let begins = call.revision == Revision::V2025_11_25 && message.task.is_some();
    let bound = adopted.snapshot.bound();
    let has = bound.upstreams.get(item.upstream).is_some_and(|can| can.core_tasks);
    if message.method != Method::ToolsCall || begins || !has {
        return false;
    }
    let item = adopted.shelf(place.server, Kind::Tool).and_then(|shelf| shelf.items.get(item.index));
    let definition = item.and_then(|item| bound.fragments.get(item.fragment.to_native() as usize));
    definition.is_some_and(|definition| {
        let bytes = definition.as_bytes();
        let execution = reword::member(bytes, Some(Span::between(0, bytes.len())), "execution");
        let support = reword::member(bytes, execution, "taskSupport");
        support.is_some_and(|support| support.of(bytes) == b"\"required\"")
    })
}

/// Finds the task that a request names, if it is this caller's, here, and its tool is still what it was.
pub fn find(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    message: &Message,
    record: &mut Record,
) -> Result<Held, Refusal> {
    let named = message.task_id.ok_or(Refusal::Params("`params.taskId` is missing"))?;
    let mut text = Vec::new();
    let text = named.read(incoming.body, &mut text);
    let held = find_text(core, adopted, place.server, caller, text)?;
    record.item(Kind::Tool, held.item.index, held.item.upstream as u16);
    Ok(held)
}

/// The task of this id, if it is this caller's at this server, and its tool is still what it was.
fn find_text(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    server: usize,
    caller: &Caller,
    text: &[u8],
) -> Result<Held, Refusal> {
    let unknown = || unknown(text);
    let id = TaskId::open(&core.seal, text).ok_or_else(unknown)?;
    if id.principal != caller.digest || Some(id.server) != adopted.server_digest(server) {
        return Err(unknown());
    }
    let shelf = adopted.shelf(server, Kind::Tool).ok_or(Refusal::NoSuchPath)?;
    let index = shelf.find(&id.tool).ok_or_else(unknown)?;
    let listed = shelf.items.get(index).ok_or_else(unknown)?;
    let upstream = listed.upstream.to_native();
    let rules = adopted.snapshot.rules().upstreams.get(usize::from(upstream)).ok_or_else(unknown)?;
    if digest(&rules.name) != id.upstream {
        return Err(unknown());
    }
    let view = adopted.view(server, caller.traits).ok_or(Refusal::NoSuchPath)?;
    let item = Item {
        kind: Kind::Tool,
        index,
        upstream: upstream.into(),
        view,
        covered: false,
        own_uri: None,
        shape: listed.shape.as_ref().map(|shape| shape.to_native()),
    };
    Ok(Held { item, id })
}

/// The same answer for what does not exist, is another's, or may not be looked at any more.
pub fn unknown(text: &[u8]) -> Refusal {
    Refusal::UnknownTask { id: String::from_utf8_lossy(text).chars().take(64).collect() }
}

/// Whether a request is about one task.
pub fn is_about_one(method: Method) -> bool {
    matches!(method, Method::TasksGet | Method::TasksResult | Method::TasksCancel | Method::TasksUpdate)
}
