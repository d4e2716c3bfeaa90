//! A task of a server of 2025-11-25, for a client of 2026-07-28 that knows the extension.
//!
//! Descriptions are flattened ([`flat`]). The results of a task, and what its server wants to know, come only in the
//! answer to `tasks/result`, which waits; so a task that wants input has that answer read by a task of this worker
//! ([`Open`]), and `tasks/get` shows what it was asked, `tasks/update` answers it. All requests about one task
//! are told by one worker, which follows from the task's own id ([`elsewhere`]); what is lost with the worker is asked anew.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Envelope, Kind, Members, Message, Splices, append_string};
use strait_protocol::mcp::{Method, Revision, codes, meta};
use tokio::sync::Notify;

use super::Held;
use super::id::TaskId;
use super::reword::{member, name, text_of};
use super::work::{named, result_of};
use crate::core::{Adopted, Core};
use crate::exchange::Incoming;
use crate::exchange::arrive::Place;
use crate::exchange::decode::{Asked, Call};
use crate::exchange::refusal::Refusal;
use crate::exchange::suspend;
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{
    ASKED_BYTES_MAX, ASKS_WINDOW_MS, OPEN_TASKS_MAX, SUSPENDED_ASKS_MAX, SUSPENDED_MS_MAX, TASK_ASKS_MS_MAX,
};
use crate::upstream::ask::ask;
use crate::upstream::dialect::{self, Client};
use crate::upstream::reply::scan;
use crate::upstream::{Era, Event, Reply, Responder, Upstream, UpstreamFault, Whom, decline};
use strait_table::Kind as ItemKind;

/// The tasks of one worker whose results are being waited for.
#[derive(Default)]
pub struct OpenTasks {
    open: RefCell<HashMap<u64, Rc<Open>>>,
}

/// One of them.
struct Open {
    asks: RefCell<Vec<Ask>>,
    /// Counts questions: no key comes twice in a task.
    asked: Cell<u32>,
    outcome: RefCell<Option<Outcome>>,
    /// Something came.
    news: Notify,
    used_ms: Cell<u64>,
    /// Raised when nobody asks about it any more.
    ended: Signal,
}

type Outcome = Result<(Buf, Envelope), UpstreamFault>;

/// A question of the server.
struct Ask {
    key: String,
    /// The server's own, as written.
    id: Box<[u8]>,
    method: Method,
    /// As written, with braces; empty when there are none.
    params: Box<[u8]>,
    responder: Responder,
}

/// The answer to a call that has begun a task: the whole message. `task` is what the server says of it.
pub fn begun(
    core: &Rc<Core>,
    reply: &Reply,
    client: &Client<'_>,
    bytes: &[u8],
    task: Option<Span>,
) -> Result<Buf, UpstreamFault> {
    let unnamed = || UpstreamFault::NotMcp("its task has no id".to_owned());
    let upstream = reply.upstream().ok_or_else(unnamed)?;
    let bare = text_of(bytes, member(bytes, task, "taskId").ok_or_else(unnamed)?)?;
    let shown = name(core, reply, &upstream, super::declared(core, client), &bare, None)?;
    let mut out = begin(client.id, "task");
    flat(bytes, task, &shown, None, &mut out);
    out.extend_from_slice(b"}}");
    Ok(out)
}

fn begin(id: &[u8], result_type: &str) -> Buf {
    let mut out = Buf::new();
    for part in [
        &b"{\"jsonrpc\":\"2.0\",\"id\":"[..],
        id,
        b",\"result\":{\"resultType\":\"",
        result_type.as_bytes(),
        b"\"",
    ] {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b",\"_meta\":{");
    dialect::append_server(out.vec());
    out.extend_from_slice(b"}");
    out
}

/// What 2025-11-25 says of a task, as members in the words of 2026-07-28, each with a comma before it.
fn flat(bytes: &[u8], task: Option<Span>, shown: &[u8], status: Option<&str>, out: &mut Buf) {
    out.extend_from_slice(b",\"taskId\":");
    append_string(out.vec(), shown);
    let mut has_ttl = false;
    for entry in task.into_iter().flat_map(|task| Members::of(bytes, task)).flatten() {
        let is = |key: &str| entry.key_is(bytes, key);
        if is("taskId") || is("_meta") || is("resultType") {
            continue;
        }
        out.extend_from_slice(b",");
        has_ttl |= is("ttl");
        match () {
            () if is("ttl") => out.extend_from_slice(b"\"ttlMs\""),
            () if is("pollInterval") => out.extend_from_slice(b"\"pollIntervalMs\""),
            () => out.extend_from_slice(entry.key.of(bytes)),
        }
        out.extend_from_slice(b":");
        match status.filter(|_| is("status")) {
            Some(status) => append_string(out.vec(), status.as_bytes()),
            None => out.extend_from_slice(entry.value.of(bytes)),
        }
    }
    if !has_ttl {
        out.extend_from_slice(b",\"ttlMs\":null");
    }
}

/// Which other worker tells everything about the task that this request names.
pub fn elsewhere(
    core: &Core,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    call: &Call,
) -> Option<usize> {
    let Asked::Message(message) = &call.asked else { return None };
    if !call.revision.is_modern() || !super::is_about_one(message.method) {
        return None;
    }
    let mut text = Vec::new();
    let id = TaskId::open(&core.seal, message.task_id?.read(incoming.body, &mut text))?;
    let shelf = adopted.shelf(place.server, ItemKind::Tool)?;
    let upstream = shelf.items.get(shelf.find(&id.tool)?)?.upstream.to_native();
    let is_legacy = adopted.upstream(upstream.into())?.known_era() == Some(Era::Legacy);
    let owner = core.owner_of(key(&id));
    (is_legacy && owner != core.id && owner < core.workers).then_some(owner)
}

/// A task among those of all upstreams and clients.
fn key(id: &TaskId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for number in [id.upstream, id.principal, id.server, id.declared.bits().into()] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&id.bare);
    hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The answer to a request about a task.
pub async fn answer(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    held: &Held,
    incoming: &Incoming<'_>,
    message: &Message,
) -> Result<Buf, Refusal> {
    let mut text = Vec::new();
    let about = About {
        core,
        upstream,
        id: &held.id,
        shown: message.task_id.map_or(&b""[..], |id| id.read(incoming.body, &mut text)),
        asked_as: message.id.map_or(&b"null"[..], |id| id.of(incoming.body)),
        key: key(&held.id),
    };
    let answered = match message.method {
        Method::TasksUpdate => about.update(incoming.body, message.input_responses).await,
        Method::TasksCancel => about.cancel().await,
        _ => about.get().await,
    };
    answered.map_err(|fault| Refusal::Upstream { name: upstream.name.clone(), fault })
}

/// What a request is about.
struct About<'a> {
    core: &'a Rc<Core>,
    upstream: &'a Rc<Upstream>,
    id: &'a TaskId,
    /// What the client calls the task.
    shown: &'a [u8],
    /// The request's id, as written.
    asked_as: &'a [u8],
    key: u64,
}

impl About<'_> {
    fn whom(&self) -> Whom {
        Whom { declared: self.id.declared, ..Whom::of(self.id.principal, None) }
    }

    async fn ask(&self, method: Method) -> Result<(Buf, Envelope), UpstreamFault> {
        let answer = ask(self.core, self.upstream, self.whom(), method, &named(&self.id.bare)).await?;
        Ok((Buf::from(answer.bytes()), *answer.envelope))
    }

    fn acknowledged(&self) -> Buf {
        let mut out = begin(self.asked_as, "complete");
        out.extend_from_slice(b"}}");
        out
    }

    /// The server's error under the client's id.
    fn refused(&self, bytes: &[u8], envelope: &Envelope) -> Result<Buf, UpstreamFault> {
        let error =
            envelope.error.ok_or_else(|| UpstreamFault::NotMcp("it says nothing of its task".to_owned()))?;
        let mut out = Buf::new();
        for part in
            [&b"{\"jsonrpc\":\"2.0\",\"id\":"[..], self.asked_as, b",\"error\":", error.of(bytes), b"}"]
        {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    fn known(&self) -> Option<Rc<Open>> {
        let open = self.core.open_tasks.open.borrow().get(&self.key).cloned();
        open.inspect(|open| open.used_ms.set(self.core.clock.coarse_ms()))
    }

    async fn get(&self) -> Result<Buf, UpstreamFault> {
        let (bytes, envelope) = self.ask(Method::TasksGet).await?;
        let task = envelope.result;
        let mut out = begin(self.asked_as, "complete");
        match member(&bytes, task, "status").map(|status| status.of(&bytes)) {
            None => return self.refused(&bytes, &envelope),
            Some(b"\"completed\"" | b"\"failed\"") => {
                let (result, envelope) = self.outcome().await?;
                let (status, key, value) = match (envelope.result, envelope.error) {
                    (Some(place), _) => ("completed", "result", unmarked(&result, place)),
                    (None, Some(place)) => ("failed", "error", place.of(&result).to_vec()),
                    _ => return Err(UpstreamFault::NotMcp("its task has no end".to_owned())),
                };
                flat(&bytes, task, self.shown, Some(status), &mut out);
                for part in [&b",\""[..], key.as_bytes(), b"\":", &value] {
                    out.extend_from_slice(part);
                }
            }
            Some(b"\"input_required\"") => {
                let open = self.open()?;
                let asks = open.wait(self.core).await;
                let status = if asks { "input_required" } else { "working" };
                flat(&bytes, task, self.shown, Some(status), &mut out);
                if asks {
                    open.append_requests(&mut out);
                }
            }
            Some(_) => flat(&bytes, task, self.shown, None, &mut out),
        }
        out.extend_from_slice(b"}}");
        Ok(out)
    }

    /// What a task that has ended came to.
    async fn outcome(&self) -> Result<(Buf, Envelope), UpstreamFault> {
        let Some(open) = self.known() else { return self.ask(Method::TasksResult).await };
        let patience = Duration::from_millis(TASK_ASKS_MS_MAX);
        let _ = runtime::timeout(patience, open.until(|open| open.outcome.borrow().is_some())).await;
        self.core.open_tasks.open.borrow_mut().remove(&self.key);
        open.ended.set();
        match open.outcome.take() {
            Some(Ok(outcome)) => Ok(outcome),
            _ => self.ask(Method::TasksResult).await,
        }
    }

    /// Has the result read by a task of its own, which hears what the server asks.
    fn open(&self) -> Result<Rc<Open>, UpstreamFault> {
        if let Some(open) = self.known() {
            return Ok(open);
        }
        let mut all = self.core.open_tasks.open.borrow_mut();
        if all.len() >= OPEN_TASKS_MAX {
            return Err(UpstreamFault::Busy { limit: OPEN_TASKS_MAX });
        }
        let open = Rc::new(Open {
            asks: RefCell::default(),
            asked: Cell::new(0),
            outcome: RefCell::default(),
            news: Notify::new(),
            used_ms: Cell::new(self.core.clock.coarse_ms()),
            ended: Signal::new(),
        });
        all.insert(self.key, open.clone());
        let read =
            open.clone().read(self.core.clone(), self.upstream.clone(), self.whom(), self.id.bare.clone());
        runtime::spawn_guarded("result of a task", read);
        Ok(open)
    }

    async fn update(&self, body: &[u8], responses: Option<Span>) -> Result<Buf, UpstreamFault> {
        let Some(open) = self.known() else {
            let (bytes, envelope) = self.ask(Method::TasksGet).await?;
            return if envelope.has_error {
                self.refused(&bytes, &envelope)
            } else {
                Ok(self.acknowledged())
            };
        };
        open.asks.borrow_mut().retain(|ask| {
            let given = member(body, responses, &ask.key).map(|value| value.of(body));
            let given = given.filter(|value| value.starts_with(b"{"));
            if let Some(result) = given {
                ask.responder.answer(self.core, &ask.id, Ok(result));
            }
            given.is_none()
        });
        Ok(self.acknowledged())
    }

    async fn cancel(&self) -> Result<Buf, UpstreamFault> {
        let (bytes, envelope) = self.ask(Method::TasksCancel).await?;
        if envelope.has_error {
            // It may have ended already, which is no fault in the client's revision.
            let (_, known) = self.ask(Method::TasksGet).await?;
            if known.has_error {
                return self.refused(&bytes, &envelope);
            }
        }
        Ok(self.acknowledged())
    }
}

/// A result without the mark of its task, which its client finds at the root.
fn unmarked(bytes: &[u8], result: Span) -> Vec<u8> {
    let mark = member(bytes, member(bytes, Some(result), "_meta"), meta::RELATED_TASK);
    let text = result.of(bytes);
    let mark = mark.map(|mark| Span { start: mark.start.saturating_sub(result.start), len: mark.len });
    let (mut splices, mut out) = (Splices::new(), Vec::with_capacity(text.len()));
    let edited = splices.omit(text, [mark, None, None, None]).and_then(|()| splices.write(text, &mut out));
    if edited.is_err() {
        return text.to_vec();
    }
    out
}

impl Open {
    async fn read(self: Rc<Self>, core: Rc<Core>, upstream: Rc<Upstream>, whom: Whom, bare: Vec<u8>) {
        let outcome = tokio::select! {
            biased;
            () = self.ended.wait() => None,
            outcome = self.result(&core, &upstream, whom, &bare) => Some(outcome),
        };
        self.outcome.replace(outcome);
        self.news.notify_waiters();
        for ask in self.asks.borrow_mut().drain(..) {
            match ask.method {
                Method::ElicitationCreate => {
                    ask.responder.answer(&core, &ask.id, Ok(br#"{"action":"cancel"}"#));
                }
                _ => ask.responder.refuse(&core, &ask.id, codes::INTERNAL_ERROR, "client did not answer"),
            }
        }
    }

    async fn result(&self, core: &Rc<Core>, upstream: &Rc<Upstream>, whom: Whom, bare: &[u8]) -> Outcome {
        let declared = whom.declared;
        let mut reply = result_of(core, upstream, whom, bare, Revision::LATEST_LEGACY, None).await?;
        let client = Client::nobody();
        let mut gathered = Buf::empty();
        loop {
            match reply.next(core, &client).await? {
                Event::Message { mut bytes, from, envelope, last: true } => {
                    bytes.consume_front(from);
                    return Ok((bytes, *envelope));
                }
                event @ Event::Message { .. } => {
                    let Event::Message { envelope, .. } = &event else { continue };
                    let (Some(Kind::Request), Some(id)) = (envelope.kind(), envelope.id) else { continue };
                    let Some(responder) = reply.responder() else { continue };
                    let bytes = event.bytes();
                    let method = envelope.method_known.unwrap_or(Method::Unknown);
                    let full = self.asks.borrow().len() >= SUSPENDED_ASKS_MAX;
                    if full || !declared.permits(method, bytes, envelope.params) {
                        responder.send(core, decline(bytes, id, envelope.method_known));
                        continue;
                    }
                    self.ask(method, bytes, envelope, id, responder);
                }
                Event::Paused { .. } => {}
                Event::Ready { bytes, last } | Event::Fragment { bytes, last } => {
                    gathered.extend_from_slice(&bytes);
                    if gathered.len() > ASKED_BYTES_MAX {
                        return Err(UpstreamFault::TooLarge { limit: ASKED_BYTES_MAX });
                    }
                    if last {
                        let envelope = scan(core, &gathered)?;
                        return Ok((gathered, *envelope));
                    }
                }
            }
        }
    }

    fn ask(&self, method: Method, bytes: &[u8], envelope: &Envelope, id: Span, responder: Responder) {
        self.asked.set(self.asked.get() + 1);
        let key = format!("r{}", self.asked.get());
        let params = envelope.params.map(|params| {
            let text = unmarked(bytes, params);
            let its = member(&text, Some(Span::between(0, text.len())), "elicitationId");
            let (mut splices, mut out) = (Splices::new(), Vec::with_capacity(text.len()));
            match splices.omit(&text, [its, None, None, None]).and_then(|()| splices.write(&text, &mut out)) {
                Ok(()) => out,
                Err(_) => text,
            }
        });
        let params = params.unwrap_or_default().into();
        self.asks.borrow_mut().push(Ask { key, id: id.of(bytes).into(), method, params, responder });
        self.news.notify_waiters();
    }

    /// Waits until it holds.
    async fn until(&self, holds: impl Fn(&Open) -> bool) {
        loop {
            let news = self.news.notified();
            if holds(self) {
                return;
            }
            news.await;
        }
    }

    /// Waits a moment for what the server asks; whether there is anything.
    async fn wait(&self, core: &Core) -> bool {
        let came = |open: &Open| !open.asks.borrow().is_empty() || open.outcome.borrow().is_some();
        let is_here = came(self);
        let patience = Duration::from_millis(TASK_ASKS_MS_MAX);
        let _ = runtime::timeout(patience, self.until(came)).await;
        if !is_here {
            // Further questions may come with the first.
            runtime::sleep(Duration::from_millis(ASKS_WINDOW_MS)).await;
            suspend::take_in().await;
        }
        self.used_ms.set(core.clock.coarse_ms());
        !self.asks.borrow().is_empty()
    }

    fn append_requests(&self, out: &mut Buf) {
        out.extend_from_slice(b",\"inputRequests\":{");
        for (at, ask) in self.asks.borrow().iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b",");
            }
            append_string(out.vec(), ask.key.as_bytes());
            for part in [&b":{\"method\":\""[..], ask.method.as_str().as_bytes(), b"\""] {
                out.extend_from_slice(part);
            }
            if !ask.params.is_empty() {
                out.extend_from_slice(b",\"params\":");
                out.extend_from_slice(&ask.params);
            }
            out.extend_from_slice(b"}");
        }
        out.extend_from_slice(b"}");
    }
}

/// Lets go of tasks that nobody has asked about for long.
pub fn end_overdue(core: &Rc<Core>) {
    let now_ms = core.clock.coarse_ms();
    core.open_tasks.open.borrow_mut().retain(|_, open| {
        let waits = now_ms.saturating_sub(open.used_ms.get()) <= SUSPENDED_MS_MAX;
        if !waits {
            open.ended.set();
        }
        waits
    });
}
