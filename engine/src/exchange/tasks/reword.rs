//! What an upstream says of tasks, in the client's words: under the ids that the client knows.
//!
//! Only calls that concern tasks are looked at ([`Answers`]); every other answer passes at the cost of one comparison.
//! An id stands in few places: in the description of the task, which a result is or holds, and in the `_meta` of
//! whatever belongs to a task. What belongs to a task that is not the client's does not say so to the client.

use std::os::fd::RawFd;
use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{
    Envelope, Kind, Members, ResultType, SpliceFault, Splices, append_string, unescape,
};
use strait_protocol::mcp::{Declared, Method, codes, meta};

use super::id::TaskId;
use super::work::{self, Running, Taken, Work};
use crate::core::Core;
use crate::edition::digest;
use crate::io::buffer::Buf;
use crate::limits::{ASKED_BYTES_MAX, TASK_ID_BYTES_MAX};
use crate::session::Session;
use crate::upstream::dialect::Client;
use crate::upstream::reply::scan;
use crate::upstream::{Event, Order, Reply, Upstream, UpstreamFault};

/// What is kept of the answer to a call that concerns tasks.
#[derive(Default)]
pub struct Answers {
    /// Pieces of one too large to pass whole: an id may be anywhere in it.
    gathered: Option<Buf>,
    /// The client's socket, when it is on this worker.
    pub client_fd: Option<RawFd>,
    /// The task, if there is one, was our idea.
    pub is_ours: bool,
    /// The extension was declared on behalf of the client.
    pub is_declared: bool,
    /// What is to be done before the next event.
    pub work: Option<Work>,
    /// The task that this call looks to its client like.
    pub running: Option<Running>,
}

impl Answers {
    /// `None` for a call that concerns no task.
    pub fn of(order: &Order<'_>) -> Option<Box<Answers>> {
        let is_ours = order.whom.needs_task;
        let concerns = is_ours || order.message.task.is_some() || super::is_about_one(order.message.method);
        let answers = || Box::new(Answers { client_fd: order.client_fd, is_ours, ..Answers::default() });
        concerns.then(answers)
    }
}

/// An event as the client is to see it; `None` when it is a piece, and there is more to come.
pub fn reworded(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: Event,
) -> Result<Option<Event>, UpstreamFault> {
    let begins = matches!(&event, Event::Message { envelope, .. } if envelope.result_type == ResultType::Task
        || envelope.error_code == Some(codes::MISSING_CLIENT_CAPABILITY));
    // A question of our own has no client.
    if (reply.tasks.is_none() && !begins) || client.body.is_empty() {
        return Ok(Some(event));
    }
    let event = match work::takes_up(core, reply, client, event)? {
        Taken::Not(event) => event,
        Taken::Instead(event) => return Ok(Some(event)),
        Taken::Up => return Ok(None),
    };
    let event = match (event, reply.tasks.as_mut()) {
        (Event::Fragment { bytes, last }, Some(answers)) => match answers.gather(bytes, last)? {
            Some(bytes) => Event::Ready { bytes, last },
            None => return Ok(None),
        },
        (event, _) => event,
    };
    let mut splices = Splices::new();
    match &event {
        Event::Message { envelope, .. } => plan(core, reply, client, event.bytes(), envelope, &mut splices)?,
        _ => plan(core, reply, client, event.bytes(), &*scan(core, event.bytes())?, &mut splices)?,
    }
    if splices.is_empty() {
        return Ok(Some(event));
    }
    let mut bytes = Buf::with_capacity(event.bytes().len().saturating_add_signed(splices.delta() as isize));
    splices.write(event.bytes(), bytes.vec()).map_err(unfit)?;
    let last = event.is_last();
    Ok(Some(match event {
        Event::Message { .. } => {
            let envelope = scan(core, &bytes)?;
            Event::Message { bytes, from: 0, envelope, last }
        }
        _ => Event::Ready { bytes, last },
    }))
}

impl Answers {
    fn gather(&mut self, piece: Buf, last: bool) -> Result<Option<Buf>, UpstreamFault> {
        let gathered = self.gathered.get_or_insert_default();
        if gathered.len() + piece.len() > ASKED_BYTES_MAX {
            return Err(UpstreamFault::TooLarge { limit: ASKED_BYTES_MAX });
        }
        gathered.extend_from_slice(&piece);
        Ok(if last { self.gathered.take() } else { None })
    }
}

fn plan(
    core: &Rc<Core>,
    reply: &Reply,
    client: &Client<'_>,
    bytes: &[u8],
    envelope: &Envelope,
    splices: &mut Splices,
) -> Result<(), UpstreamFault> {
    let Some(upstream) = reply.upstream() else { return Ok(()) };
    let message = core.decoder.borrow_mut().decode(client.body).copied();
    let message = message.map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
    let mut text = Vec::new();
    let asked = message.task_id.map(|asked| asked.read(client.body, &mut text));
    let asked = asked.and_then(|text| Some((TaskId::open(&core.seal, text)?.bare, text.to_vec())));
    let known = |bare: &[u8]| match &asked {
        Some((its, shown)) if its == bare => Some(shown.clone()),
        _ => client.session.and_then(|session| Some(session.tasks.shown(upstream.id, bare)?.into_vec())),
    };
    let inside = |object: Option<Span>, key: &str| member(bytes, object, key);
    if let Some(result) = envelope.result {
        let task = match reply.method() {
            Method::ToolsCall if envelope.result_type == ResultType::Task => Some(result),
            Method::ToolsCall => inside(Some(result), "task"),
            _ => Some(result).filter(|_| super::is_about_one(reply.method())),
        };
        if let Some(place) = inside(task, "taskId") {
            let bare = text_of(bytes, place)?;
            let shown = match known(&bare) {
                Some(shown) => shown,
                None if reply.method() == Method::ToolsCall => {
                    let declared = super::declared(core, client);
                    name(core, reply, &upstream, declared, &bare, client.session)?
                }
                None => return Err(UpstreamFault::NotMcp("it answers about another task".to_owned())),
            };
            splices.replace_with(place, |out| append_string(out, &shown)).map_err(unfit)?;
        }
        return related(bytes, inside(Some(result), "_meta"), &known, splices);
    }
    if envelope.kind() == Some(Kind::Response) {
        return Ok(());
    }
    if envelope.method_known == Some(Method::NotifyTasksStatus)
        && let Some(place) = inside(envelope.params, "taskId")
        && let Some(shown) = known(&text_of(bytes, place)?)
    {
        splices.replace_with(place, |out| append_string(out, &shown)).map_err(unfit)?;
    }
    related(bytes, inside(envelope.params, "_meta"), &known, splices)
}

/// A new task: the id that its client gets.
pub fn name(
    core: &Rc<Core>,
    reply: &Reply,
    upstream: &Rc<Upstream>,
    declared: Declared,
    bare: &[u8],
    session: Option<&Rc<Session>>,
) -> Result<Vec<u8>, UpstreamFault> {
    let unnamed = || UpstreamFault::NotMcp(format!("its task has no id of 1 to {TASK_ID_BYTES_MAX} bytes"));
    let subject = reply.subject().ok_or_else(unnamed)?;
    let shelf = subject.adopted.shelf(subject.server, subject.kind).ok_or_else(unnamed)?;
    let item = shelf.items.get(subject.index).ok_or_else(unnamed)?;
    let id = TaskId {
        declared,
        replica: reply.replica().unwrap_or(0),
        principal: subject.principal,
        server: subject.server_digest(),
        upstream: digest(&upstream.name),
        tool: item.exposed.as_bytes().to_vec(),
        bare: bare.to_vec(),
    };
    let shown = id.seal(&core.seal).filter(|_| !bare.is_empty()).ok_or_else(unnamed)?;
    if let Some(session) = session {
        session.tasks.note(upstream.id, bare, &shown);
    }
    Ok(shown)
}

/// The mark of what belongs to a task, in a `_meta`.
fn related(
    bytes: &[u8],
    within: Option<Span>,
    known: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    splices: &mut Splices,
) -> Result<(), UpstreamFault> {
    let Some(mark) = member(bytes, within, meta::RELATED_TASK) else { return Ok(()) };
    let place = member(bytes, Some(mark), "taskId");
    let shown = place.and_then(|place| Some((place, known(&text_of(bytes, place).ok()?)?)));
    match shown {
        Some((place, shown)) => splices.replace_with(place, |out| append_string(out, &shown)),
        None => splices.omit(bytes, [Some(mark), None, None, None]),
    }
    .map_err(unfit)
}

/// What a legacy server says outside any call, for a session: `None` when it is about a task that is not its client's.
pub fn heard(session: &Session, upstream: &Upstream, bytes: &[u8], envelope: &Envelope) -> Option<Vec<u8>> {
    let mut splices = Splices::new();
    let known = |bare: &[u8]| Some(session.tasks.shown(upstream.id, bare)?.into_vec());
    if envelope.method_known == Some(Method::NotifyTasksStatus) {
        let place = member(bytes, envelope.params, "taskId")?;
        let shown = known(&text_of(bytes, place).ok()?)?;
        splices.replace_with(place, |out| append_string(out, &shown)).ok()?;
    }
    related(bytes, member(bytes, envelope.params, "_meta"), &known, &mut splices).ok()?;
    let mut out = Vec::with_capacity(bytes.len() + 256);
    splices.write(bytes, &mut out).ok()?;
    Some(out)
}

/// A member of an object.
pub fn member(bytes: &[u8], object: Option<Span>, key: &str) -> Option<Span> {
    Members::find(bytes, object?, key).ok().flatten()
}

/// What a string says.
pub fn text_of(bytes: &[u8], place: Span) -> Result<Vec<u8>, UpstreamFault> {
    let inner = place.of(bytes).strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
    let mut text = Vec::new();
    match inner.is_some_and(|inner| unescape(inner, &mut text)) {
        true => Ok(text),
        false => Err(UpstreamFault::NotMcp("the id of a task is no string".to_owned())),
    }
}

fn unfit(fault: SpliceFault) -> UpstreamFault {
    UpstreamFault::NotMcp(format!("its words about a task cannot be edited ({})", fault.label()))
}
