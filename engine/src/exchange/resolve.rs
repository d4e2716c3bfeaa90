//! Names become numbers: which item of which upstream, which local answer, which act on a session.

use std::rc::Rc;

use strait_protocol::jsonrpc::{Kind as MessageKind, Text};
use strait_protocol::mcp::Method;
use strait_table::{Kind, View};

use super::Incoming;
use super::arrive::Place;
use super::decode::{Asked, Call};
use super::identify::Caller;
use super::record::Record;
use super::refusal::Refusal;
use crate::core::{Adopted, Core};
use crate::session::Session;

/// What an exchange is about.
pub enum Target {
    Upstream(Item),
    Local {
        answer: Local,
        view: Rc<View>,
    },
    /// An act on the caller's session, or a message that asks for no answer.
    Session(Act),
}

/// An item of a server, found but not yet allowed.
pub struct Item {
    pub kind: Kind,
    pub index: usize,
    pub upstream: usize,
    /// What the caller's roles see.
    pub view: Rc<View>,
}

/// Answered here, from the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    Discover,
    Initialize,
    Ping,
    List(Kind),
}

pub enum Act {
    End(Rc<Session>),
    /// 202: a notification that concerns nobody behind us.
    Absorb,
}

pub fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    record: &mut Record,
) -> Result<Target, Refusal> {
    let message = match &call.asked {
        Asked::EndSession(session) => return Ok(Target::Session(Act::End(session.clone()))),
        Asked::Message(message) if message.kind != MessageKind::Request => {
            return Ok(Target::Session(Act::Absorb));
        }
        Asked::Message(message) => message,
    };
    let view = adopted.view(place.server, caller.roles).ok_or(Refusal::NoSuchPath)?;
    let local = match message.method {
        Method::ServerDiscover => Local::Discover,
        Method::Initialize => Local::Initialize,
        Method::Ping => Local::Ping,
        Method::ToolsList => Local::List(Kind::Tool),
        Method::PromptsList => Local::List(Kind::Prompt),
        Method::ResourcesList => Local::List(Kind::Resource),
        Method::ResourcesTemplatesList => Local::List(Kind::Template),
        Method::ToolsCall => {
            return named(core, adopted, incoming, place, view, Kind::Tool, message.name, record);
        }
        Method::PromptsGet => {
            return named(core, adopted, incoming, place, view, Kind::Prompt, message.name, record);
        }
        Method::ResourcesRead => return resource(core, adopted, incoming, place, view, message.uri, record),
        _ => {
            let method = message.method.as_str().to_owned();
            return Err(Refusal::UnknownMethod { method });
        }
    };
    Ok(Target::Local { answer: local, view })
}

#[allow(clippy::too_many_arguments)] // each is a different fact; a struct would be made for this one call
fn named(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    view: Rc<View>,
    kind: Kind,
    name: Option<Text>,
    record: &mut Record,
) -> Result<Target, Refusal> {
    let name = name.ok_or(Refusal::Params("`params.name` is missing"))?;
    let mut scratch = core.scratch.borrow_mut();
    let name = name.read(incoming.body, &mut scratch.text);
    let found = adopted.shelf(place.server, kind).and_then(|shelf| {
        let index = shelf.find(name)?;
        Some((index, shelf.items.get(index)?.upstream.to_native()))
    });
    let (index, upstream) = found.ok_or_else(|| unknown(kind, name, false))?;
    record.item(kind, index, upstream);
    Ok(Target::Upstream(Item { kind, index, upstream: usize::from(upstream), view }))
}

/// A resource by its exact URI, else by the first template that covers it.
fn resource(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    view: Rc<View>,
    uri: Option<Text>,
    record: &mut Record,
) -> Result<Target, Refusal> {
    let uri = uri.ok_or(Refusal::Params("`params.uri` is missing"))?;
    let mut scratch = core.scratch.borrow_mut();
    let uri = uri.read(incoming.body, &mut scratch.text);
    let exact = adopted.shelf(place.server, Kind::Resource).and_then(|shelf| {
        let index = shelf.find(uri)?;
        Some((Kind::Resource, index, shelf.items.get(index)?.upstream.to_native()))
    });
    let covered = || {
        let uri = std::str::from_utf8(uri).ok()?;
        let mut templates = adopted.shelf(place.server, Kind::Template)?.items.iter().enumerate();
        let (index, item) = templates.find(|(_, item)| strait_policy::glob::matches(&item.glob, uri))?;
        Some((Kind::Template, index, item.upstream.to_native()))
    };
    let (kind, index, upstream) =
        exact.or_else(covered).ok_or_else(|| unknown(Kind::Resource, uri, record.modern))?;
    record.item(kind, index, upstream);
    Ok(Target::Upstream(Item { kind, index, upstream: usize::from(upstream), view }))
}

/// The same answer for what does not exist and for what the caller may not see.
pub fn unknown(kind: Kind, name: &[u8], modern: bool) -> Refusal {
    let name = String::from_utf8_lossy(name).chars().take(256).collect();
    match kind {
        Kind::Tool => Refusal::UnknownTool { name },
        Kind::Prompt => Refusal::UnknownPrompt { name },
        Kind::Resource | Kind::Template => Refusal::UnknownResource { uri: name, modern },
    }
}
