//! Names become numbers: which item of which upstream, which local answer, which act on a session.

use std::rc::Rc;

use strait_protocol::jsonrpc::{Kind as MessageKind, Text};
use strait_protocol::mcp::{Declared, LogLevel, Method, meta};
use strait_table::{Kind, View};

use super::Incoming;
use super::arrive::Place;
use super::decode::{self, Asked, Call};
use super::identify::Caller;
use super::listen::{self, Wanted};
use super::quarantine;
use super::record::Record;
use super::refusal::Refusal;
use super::tasks::{self, Held};
use super::uris;
use crate::core::{Adopted, Core};
use crate::limits::FOREIGN_METHOD_BYTES_MAX;
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
    /// A task that an upstream works on.
    Task(Held),
    /// An answer that stands open.
    Listen(Wanted),
    /// A method that this gateway does not know, for the only upstream of the server.
    Foreign(Foreign),
}

/// An item of a server, found but not yet allowed.
pub struct Item {
    pub kind: Kind,
    pub index: usize,
    pub upstream: usize,
    /// What the caller's roles see.
    pub view: Rc<View>,
    /// Found by a URI that the template covers: whether it may be used is decided on that URI.
    pub covered: bool,
    /// What its upstream calls a URI, where the client was shown another.
    pub own_uri: Option<Rc<str>>,
    /// Of a tool: which shape of its server it has.
    pub shape: Option<u16>,
}

pub struct Foreign {
    pub server: usize,
    pub upstream: usize,
    pub method: String,
}

/// Answered here, from the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    Discover,
    Initialize,
    Ping,
    /// `logging/setLevel`: stored, and told to servers.
    SetLevel(LogLevel),
    /// `resources/unsubscribe`: of a resource that may be gone by now.
    Unsubscribe,
    List(Kind),
    /// What the upstreams of the server list for this client.
    Tasks,
    /// No values: the upstream of what is being completed cannot complete.
    Completion,
}

pub enum Act {
    End(Rc<Session>),
    /// 202: the client's response to a server's question.
    Answer(Rc<Session>),
    /// 202: the client does not want the answer to a call of its own.
    Cancel(Rc<Session>),
    /// 202: how far the client is with what a server asked of it.
    Progress(Rc<Session>),
    /// 202: the client's roots changed; servers that were told of them may ask again.
    RootsChanged(Rc<Session>),
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
        Asked::Message(message) => message,
    };
    match (message.kind, &call.session) {
        (MessageKind::Request, _) => {}
        (MessageKind::Response, Some(session)) => return Ok(Target::Session(Act::Answer(session.clone()))),
        (MessageKind::Notification, Some(session)) => {
            let session = session.clone();
            return Ok(Target::Session(match message.method {
                Method::NotifyCancelled => Act::Cancel(session),
                Method::NotifyProgress => Act::Progress(session),
                Method::NotifyRootsListChanged if session.declared.has(Declared::ROOTS_CHANGED) => {
                    Act::RootsChanged(session)
                }
                _ => Act::Absorb,
            }));
        }
        _ => return Ok(Target::Session(Act::Absorb)),
    }
    let server = adopted.snapshot.bound().servers.get(place.server).ok_or(Refusal::NoSuchPath)?;
    let can = &server.capabilities;
    let view = adopted.view(place.server, caller.traits).ok_or(Refusal::NoSuchPath)?;
    let search = Search { core, adopted, incoming, place, caller, view };
    let local = match message.method {
        Method::ServerDiscover => Local::Discover,
        Method::Initialize => Local::Initialize,
        Method::Ping => Local::Ping,
        Method::LoggingSetLevel if can.logging => {
            let mut scratch = core.scratch.borrow_mut();
            let level = message.level.map(|level| level.read(incoming.body, &mut scratch.text));
            let known = level.and_then(LogLevel::parse);
            Local::SetLevel(known.ok_or(Refusal::Params(
                "`params.level` must be one of debug, info, notice, warning, error, critical, alert, emergency",
            ))?)
        }
        Method::ToolsList if can.tools => Local::List(Kind::Tool),
        Method::PromptsList if can.prompts => Local::List(Kind::Prompt),
        Method::ResourcesList if can.resources => Local::List(Kind::Resource),
        Method::ResourcesTemplatesList if can.resources => Local::List(Kind::Template),
        Method::TasksList if can.core_tasks => Local::Tasks,
        method if tasks::is_about_one(method) && (can.tasks || can.core_tasks) => {
            if !tasks::declares(incoming, message, call.revision.is_modern()) {
                return Err(Refusal::Undeclared { extension: meta::EXTENSION_TASKS });
            }
            let held = tasks::find(core, adopted, incoming, place, caller, message, record)?;
            return Ok(Target::Task(held));
        }
        Method::ToolsCall => return search.named(Kind::Tool, message.name, record),
        Method::PromptsGet => return search.named(Kind::Prompt, message.name, record),
        Method::ResourcesRead => return search.resource(message.uri, record),
        Method::ResourcesSubscribe if can.subscribe => return search.resource(message.uri, record),
        Method::ResourcesUnsubscribe if can.subscribe => Local::Unsubscribe,
        Method::SubscriptionsListen => return listen::wanted(core, incoming, message).map(Target::Listen),
        Method::CompletionComplete if can.completions => {
            let target = match (message.reference_name, message.reference_uri) {
                (Some(name), None) => search.named(Kind::Prompt, Some(name), record)?,
                (None, Some(uri)) => search.referred(uri, record)?,
                _ => return Err(Refusal::Params("`params.ref` must have either a `name` or a `uri`")),
            };
            return Ok(completed(adopted, target));
        }
        method => {
            let scratch = &mut core.scratch.borrow_mut().text;
            let text = message.method_text.map_or(&b""[..], |text| text.read(incoming.body, scratch));
            // Over HTTP it stands in a header.
            let is_plain = text.len() <= FOREIGN_METHOD_BYTES_MAX
                && text.contains(&b'/')
                && text.iter().all(|byte| byte.is_ascii_graphic());
            return match server.upstreams.as_slice() {
                [upstream] if method == Method::Unknown && is_plain => Ok(Target::Foreign(Foreign {
                    server: place.server,
                    upstream: usize::from(upstream.to_native()),
                    method: String::from_utf8_lossy(text).into_owned(),
                })),
                _ => Err(decode::unknown_method(incoming, message, scratch)),
            };
        }
    };
    Ok(Target::Local { answer: local, view: search.view })
}

/// A completion is the upstream's, unless it is known to have none to give. What the caller may not see is left to
/// [`super::authorize`], which answers it like what does not exist.
fn completed(adopted: &Adopted, target: Target) -> Target {
    let upstreams = &adopted.snapshot.bound().upstreams;
    let can = |upstream: usize| upstreams.get(upstream).is_some_and(|can| can.completions);
    match target {
        Target::Upstream(item)
            if !item.covered && !can(item.upstream) && item.view.kind(item.kind).shows(item.index) =>
        {
            Target::Local { answer: Local::Completion, view: item.view }
        }
        target => target,
    }
}

/// Where names are looked up.
struct Search<'a> {
    core: &'a Rc<Core>,
    adopted: &'a Rc<Adopted>,
    incoming: &'a Incoming<'a>,
    place: &'a Place,
    caller: &'a Caller,
    view: Rc<View>,
}

impl Search<'_> {
    fn named(self, kind: Kind, name: Option<Text>, record: &mut Record) -> Result<Target, Refusal> {
        let name = name.ok_or(Refusal::Params("`params.name` is missing"))?;
        let mut scratch = self.core.scratch.borrow_mut();
        let name = name.read(self.incoming.body, &mut scratch.text);
        let index = self.find(kind, name).ok_or_else(|| self.absent(kind, name, false))?;
        self.item(kind, index, false, None, record)
    }

    /// A resource by its exact URI, else by the first template that covers it.
    fn resource(self, uri: Option<Text>, record: &mut Record) -> Result<Target, Refusal> {
        let uri = uri.ok_or(Refusal::Params("`params.uri` is missing"))?;
        let mut scratch = self.core.scratch.borrow_mut();
        let uri = uri.read(self.incoming.body, &mut scratch.text);
        let served = uris::served(self.adopted, self.place.server, uri);
        let served = served.ok_or_else(|| self.absent(Kind::Resource, uri, record.modern))?;
        self.item(served.kind, served.index, served.kind == Kind::Template, served.own, record)
    }

    /// What a completion is for: a template by its own text, or a resource.
    fn referred(self, uri: Text, record: &mut Record) -> Result<Target, Refusal> {
        let mut scratch = self.core.scratch.borrow_mut();
        let text = uri.read(self.incoming.body, &mut scratch.text);
        if let Some(index) = self.find(Kind::Template, text) {
            return self.item(Kind::Template, index, false, None, record);
        }
        drop(scratch);
        self.resource(Some(uri), record)
    }

    fn find(&self, kind: Kind, name: &[u8]) -> Option<usize> {
        self.adopted.shelf(self.place.server, kind)?.find(name)
    }

    fn absent(&self, kind: Kind, name: &[u8], modern: bool) -> Refusal {
        let held = quarantine::held(self.adopted, self.place.server, self.caller, kind, name);
        held.unwrap_or_else(|| unknown(kind, name, modern))
    }

    fn item(
        self,
        kind: Kind,
        index: usize,
        covered: bool,
        own_uri: Option<Rc<str>>,
        record: &mut Record,
    ) -> Result<Target, Refusal> {
        let shelf = self.adopted.shelf(self.place.server, kind).ok_or(Refusal::NoSuchPath)?;
        let item = shelf.items.get(index).ok_or(Refusal::NoSuchPath)?;
        let upstream = item.upstream.to_native();
        record.item(kind, index, upstream);
        let upstream = usize::from(upstream);
        let shape = item.shape.as_ref().map(|shape| shape.to_native());
        Ok(Target::Upstream(Item { kind, index, upstream, view: self.view, covered, own_uri, shape }))
    }
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
