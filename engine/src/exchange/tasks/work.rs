//! Tasks on behalf of clients that know none: a call whose server runs it only as a task looks to them like any other.
//!
//! A server of 2025-11-25 is given `params.task`, and its `tasks/result` is the rest of the call: it waits for the
//! end, carries the server's questions, and its answer is the call's own. A server of 2026-07-28 that refuses an older
//! client's call for want of the extension has done nothing, so the call is made again with the extension declared; the
//! task is then asked about until it ends, and the input that it wants is gathered like that of any call
//! ([`super::super::rounds`]).
//!
//! Nobody else knows such a task: when the call is over before it, it is cancelled.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::jsonrpc::{Envelope, Kind, Members, ResultType, append_string};
use strait_protocol::mcp::{Declared, Method, Revision, codes, meta};
use strait_protocol::{Span, decimal};

use super::older;
use super::reword::{Answers, member, text_of};
use crate::core::{Core, InFlight};
use crate::exchange::rounds;
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::limits::{TASK_POLL_MS, TASK_RESULT_MS_MAX};
use crate::upstream::ask::{Answered, ask};
use crate::upstream::dialect::Client;
use crate::upstream::reply::Subject;
use crate::upstream::reply::scan;
use crate::upstream::{self, Era, Event, Order, Reply, Upstream, UpstreamFault, Whom};

/// What there is to do before the next event of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Wait for the result of the task that was begun.
    Fetch,
    /// Make the call again, with the extension declared.
    Declare,
    /// Ask how the task is, after this long.
    Poll { after_ms: u64 },
}

/// A task that only we know.
pub struct Running {
    core: Rc<Core>,
    upstream: Rc<Upstream>,
    whom: Whom,
    bare: Vec<u8>,
    /// Keys of input that was asked for and given, as written.
    given: Vec<Box<[u8]>>,
    until_ms: u64,
    pub is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (core, upstream) = (self.core.clone(), self.upstream.clone());
        let (whom, members) = (std::mem::take(&mut self.whom), named(&self.bare));
        runtime::spawn_guarded("task nobody waits for", async move {
            let _ = ask(&core, &upstream, whom, Method::TasksCancel, &members).await;
        });
    }
}

/// What [`takes_up`] made of an event.
#[allow(clippy::large_enum_variant)] // it lives for a moment
pub enum Taken {
    /// It is for the client.
    Not(Event),
    /// This is, in its place.
    Instead(Event),
    /// There is something to do instead.
    Up,
}

/// The member that names a task.
pub fn named(bare: &[u8]) -> Vec<u8> {
    let mut members = b"\"taskId\":".to_vec();
    append_string(&mut members, bare);
    members
}

/// Looks whether an answer is the beginning of a task that the client cannot be told of as it is.
pub fn takes_up(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: Event,
) -> Result<Taken, UpstreamFault> {
    let Event::Message { envelope, .. } = &event else { return Ok(Taken::Not(event)) };
    if envelope.kind() != Some(Kind::Response) || reply.method() != Method::ToolsCall {
        return Ok(Taken::Not(event));
    }
    let (bytes, is_modern) = (event.bytes(), reply.era() == Some(Era::Modern));
    if is_modern && !client.modern && client.session.is_some() {
        let answers = reply.tasks.get_or_insert_default();
        if envelope.result_type == ResultType::Task {
            let running = Running::of(core, reply, client, bytes, envelope.result)?;
            let after_ms = pause(bytes, envelope.result);
            let answers = reply.tasks.get_or_insert_default();
            (answers.running, answers.work) = (Some(running), Some(Work::Poll { after_ms }));
            return Ok(Taken::Up);
        }
        if requires_tasks(bytes, envelope) && !answers.is_declared {
            (answers.is_declared, answers.work) = (true, Some(Work::Declare));
            return Ok(Taken::Up);
        }
    }
    let task = member(bytes, envelope.result, "task");
    if !is_modern && task.is_some() && reply.tasks.as_ref().is_some_and(|answers| answers.is_ours) {
        if client.modern && declares(core, client) {
            let shown = older::begun(core, reply, client, bytes, task)?;
            return Ok(Taken::Instead(Event::Ready { bytes: shown, last: true }));
        }
        let running = Running::of(core, reply, client, bytes, task)?;
        let answers = reply.tasks.get_or_insert_default();
        (answers.running, answers.work) = (Some(running), Some(Work::Fetch));
        return Ok(Taken::Up);
    }
    Ok(Taken::Not(event))
}

/// Whether the client declared the extension in this call.
fn declares(core: &Rc<Core>, client: &Client<'_>) -> bool {
    super::declared(core, client).has(Declared::TASKS)
}

/// A refusal that names the extension as what the client lacks.
fn requires_tasks(bytes: &[u8], envelope: &Envelope) -> bool {
    let inside = |object, key: &str| member(bytes, object, key);
    let required = inside(inside(envelope.error, "data"), "requiredCapabilities");
    envelope.error_code == Some(codes::MISSING_CLIENT_CAPABILITY)
        && inside(inside(required, "extensions"), meta::EXTENSION_TASKS).is_some()
}

/// How long the server would have us wait.
fn pause(bytes: &[u8], task: Option<Span>) -> u64 {
    let said = member(bytes, task, "pollIntervalMs").and_then(|said| decimal::parse(said.of(bytes)));
    said.unwrap_or(TASK_POLL_MS.0).clamp(TASK_POLL_MS.0, TASK_POLL_MS.1)
}

impl Running {
    fn of(
        core: &Rc<Core>,
        reply: &Reply,
        client: &Client<'_>,
        bytes: &[u8],
        task: Option<Span>,
    ) -> Result<Running, UpstreamFault> {
        let unnamed = || UpstreamFault::NotMcp("its task has no id".to_owned());
        let place = member(bytes, task, "taskId").ok_or_else(unnamed)?;
        let (upstream, subject) = (reply.upstream(), reply.subject());
        let (Some(upstream), Some(subject)) = (upstream, subject) else { return Err(unnamed()) };
        let mut whom = Whom::of(subject.principal, client.session);
        whom.declared = super::declared(core, client);
        whom.replica = reply.replica();
        whom.statement = subject.statement.clone();
        if reply.tasks.as_ref().is_some_and(|answers| answers.is_declared) {
            whom.declared = whom.declared.and(Declared::TASKS);
        }
        Ok(Running {
            core: core.clone(),
            upstream,
            whom,
            bare: text_of(bytes, place)?,
            given: Vec::new(),
            until_ms: core.clock.coarse_ms() + TASK_RESULT_MS_MAX,
            is_over: false,
        })
    }
}

/// Does what is to be done. `None`: the reply goes on.
pub async fn next(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
) -> Result<Option<Event>, UpstreamFault> {
    let Some(answers) = reply.tasks.as_mut() else { return Ok(None) };
    let (work, client_fd) = (answers.work.take(), answers.client_fd);
    match work {
        None => Ok(None),
        Some(Work::Fetch) => fetch(core, reply, client, client_fd).await.map(|()| None),
        Some(Work::Declare) => declare(core, reply, client).await.map(|()| None),
        Some(Work::Poll { after_ms }) => {
            let began_ns = core.clock.now_ns();
            let polled = poll(core, reply, client, after_ms).await;
            reply.waited_elsewhere(core.clock.now_ns().saturating_sub(began_ns));
            polled
        }
    }
}

/// A call of ours in the place of the client's.
async fn fetch(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    client_fd: Option<RawFd>,
) -> Result<(), UpstreamFault> {
    let Some(running) = reply.tasks.as_ref().and_then(|answers| answers.running.as_ref()) else {
        return Ok(());
    };
    let revision = client.session.map_or(Revision::V2026_07_28, |session| session.id.revision);
    let (upstream, whom) = (running.upstream.clone(), running.whom.clone());
    let again = result_of(core, &upstream, whom, &running.bare, revision, client_fd).await?;
    reply.go_on_with(again);
    Ok(())
}

/// Asks for the result of a task of 2025-11-25, which comes when the task has ended.
pub async fn result_of(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    whom: Whom,
    bare: &[u8],
    client: Revision,
    client_fd: Option<RawFd>,
) -> Result<Reply, UpstreamFault> {
    let mut body = br#"{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"#.to_vec();
    body.extend_from_slice(&named(bare));
    body.extend_from_slice(b"}}");
    let decoded = core.decoder.borrow_mut().decode(&body).copied();
    let message = decoded.map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
    let order = Order {
        body: &body,
        message: &message,
        bare: None,
        client,
        head: None,
        whom,
        client_fd,
        under_way: None,
    };
    let mut reply = upstream::call(core, upstream, &order, InFlight::uncounted()).await?;
    reply.extend_deadline(core.clock.coarse_ms() + TASK_RESULT_MS_MAX);
    Ok(reply)
}

/// The client's call again, by somebody who knows tasks.
async fn declare(core: &Rc<Core>, reply: &mut Reply, client: &Client<'_>) -> Result<(), UpstreamFault> {
    let (Some(upstream), Some(session)) = (reply.upstream(), client.session) else { return Ok(()) };
    let decoded = core.decoder.borrow_mut().decode(client.body).copied();
    let message = decoded.map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
    let mut whom = Whom::of(session.id.principal, Some(session));
    whom.statement = reply.subject().and_then(|subject| subject.statement.clone());
    whom.trace = reply.subject().and_then(|subject| subject.trace.clone());
    whom.declared = whom.declared.and(Declared::TASKS);
    let order = Order {
        body: client.body,
        message: &message,
        bare: reply.subject().and_then(Subject::bare),
        client: session.id.revision,
        head: reply.subject().and_then(Subject::annotated),
        whom,
        client_fd: None,
        under_way: None,
    };
    let again = upstream::call(core, &upstream, &order, InFlight::uncounted()).await?;
    reply.go_on_with(again);
    Ok(())
}

/// Asks until the task has ended or wants input.
async fn poll(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    mut after_ms: u64,
) -> Result<Option<Event>, UpstreamFault> {
    let Some(answers) = reply.tasks.as_mut() else { return Ok(None) };
    let Some(running) = answers.running.as_mut() else { return Ok(None) };
    let members = named(&running.bare);
    loop {
        runtime::sleep(Duration::from_millis(after_ms)).await;
        if core.clock.coarse_ms() > running.until_ms {
            return Err(UpstreamFault::CallTimeout { ms: TASK_RESULT_MS_MAX as u32 });
        }
        let answer = ask(core, &running.upstream, running.whom.clone(), Method::TasksGet, &members).await?;
        let (bytes, result) = (answer.bytes(), answer.envelope.result);
        let status = member(bytes, result, "status").map(|status| status.of(bytes));
        match status {
            Some(b"\"working\"") => after_ms = pause(bytes, result),
            Some(b"\"input_required\"") => {
                let wanted = member(bytes, result, "inputRequests");
                let keys = wanted.into_iter().flat_map(|wanted| Members::of(bytes, wanted)).flatten();
                let keys: Vec<Box<[u8]>> = keys.map(|entry| Box::from(entry.key.of(bytes))).collect();
                // What was given has not been taken in yet.
                if keys.iter().all(|key| running.given.contains(key)) {
                    after_ms = pause(bytes, result);
                    continue;
                }
                running.given.extend(keys);
                let event = event(core, &answer, bytes);
                rounds::begin_for_task(core, reply, client, &event)?;
                return Ok(None);
            }
            _ => {
                running.is_over = true;
                return ended(core, client, &answer, status).map(Some);
            }
        }
    }
}

fn event(core: &Core, answer: &Answered, bytes: &[u8]) -> Event {
    let envelope = core.envelopes.put(*answer.envelope);
    Event::Message { bytes: Buf::from(bytes), from: 0, envelope, last: true }
}

/// What the task came to, as the answer to the call.
fn ended(
    core: &Core,
    client: &Client<'_>,
    answer: &Answered,
    status: Option<&[u8]>,
) -> Result<Event, UpstreamFault> {
    let (bytes, result) = (answer.bytes(), answer.envelope.result);
    if answer.envelope.has_error {
        return Ok(event(core, answer, bytes));
    }
    let cancelled = format!(r#"{{"code":{},"message":"the task was cancelled"}}"#, codes::INTERNAL_ERROR);
    let outcome = match status {
        Some(b"\"completed\"") => member(bytes, result, "result").map(|place| ("result", place.of(bytes))),
        Some(b"\"failed\"") => member(bytes, result, "error").map(|place| ("error", place.of(bytes))),
        Some(b"\"cancelled\"") => Some(("error", cancelled.as_bytes())),
        _ => None,
    };
    let (key, value) = outcome
        .ok_or_else(|| UpstreamFault::NotMcp("its task has neither a known status nor an end".to_owned()))?;
    let mut out = Buf::with_capacity(value.len() + client.id.len() + 64);
    for part in [&b"{\"jsonrpc\":\"2.0\",\"id\":"[..], client.id, b",\"", key.as_bytes(), b"\":", value, b"}"]
    {
        out.extend_from_slice(part);
    }
    let envelope = scan(core, &out)?;
    Ok(Event::Message { bytes: out, from: 0, envelope, last: true })
}

/// Gives a task the input that it wants: members of `inputResponses`.
pub async fn give(core: &Rc<Core>, reply: &mut Reply, responses: &[u8]) -> Result<(), UpstreamFault> {
    let Some(answers) = reply.tasks.as_mut() else { return Ok(()) };
    let Some(running) = &answers.running else { return Ok(()) };
    let mut members = named(&running.bare);
    for part in [&b",\"inputResponses\":{"[..], responses, b"}"] {
        members.extend_from_slice(part);
    }
    ask(core, &running.upstream, running.whom.clone(), Method::TasksUpdate, &members).await?;
    answers.work = Some(Work::Poll { after_ms: TASK_POLL_MS.0 });
    Ok(())
}

impl Answers {
    /// There is something to do before the next event.
    pub fn has_work(&self) -> bool {
        self.work.is_some()
    }

    /// The last event is here: the task that it is the result of has ended.
    pub fn is_answered(&mut self) {
        if let Some(running) = self.running.as_mut().filter(|_| self.work.is_none()) {
            running.is_over = true;
        }
    }
}
