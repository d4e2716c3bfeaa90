//! `taskIds` of a listen of 2026-07-28: what servers tell of tasks that a client watches.
//!
//! Each task is watched with a listen of ours at the upstream that has it, and only what the server acknowledges is
//! acknowledged to the client; whoever is told nothing asks with `tasks/get`, as the extension wants anyway. A listen of
//! ours that ends takes the client's with it, so that the client starts over. A server of 2025-11-25 tells its own
//! sessions only, and is not asked.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Members, Message, append_string, unescape};
use strait_protocol::mcp::{Declared, Method, Revision};

use super::id::TaskId;
use super::reword::{member, text_of};
use crate::core::{Adopted, Core, InFlight};
use crate::exchange::Incoming;
use crate::exchange::arrive::Place;
use crate::exchange::identify::Caller;
use crate::exchange::listen::Listen;
use crate::exchange::refusal::Refusal;
use crate::exchange::shape;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{LISTEN_SILENT_MS_MAX, TASK_ASKS_MS_MAX, WATCHED_TASKS_MAX};
use crate::upstream::dialect::Client;
use crate::upstream::{self, Era, Event, Order, Reply, Upstream, UpstreamFault, Whom};

/// A task that a client wants to be told of.
pub struct Watched {
    upstream: Rc<Upstream>,
    id: TaskId,
    /// What the client calls it.
    shown: Vec<u8>,
}

/// The tasks that a listen tells of.
#[derive(Default)]
pub struct Watches {
    open: RefCell<Vec<(Vec<u8>, Rc<Signal>)>>,
}

impl Watches {
    /// Appends `taskIds` with a comma behind it, if there are any.
    pub fn append(&self, out: &mut Vec<u8>) {
        let open = self.open.borrow();
        for (at, (shown, _)) in open.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"\"taskIds\":[" } else { b"," });
            append_string(out, shown);
        }
        if !open.is_empty() {
            out.extend_from_slice(b"],");
        }
    }

    /// Lets go of those that this caller may not look at any more.
    pub fn look_again(&self, core: &Rc<Core>, adopted: &Rc<Adopted>, server: usize, caller: &Caller) {
        self.open.borrow_mut().retain(|(shown, ended)| {
            let stays = allowed(core, adopted, server, caller, shown).is_some();
            if !stays {
                ended.set();
            }
            stays
        });
    }

    /// Nobody listens any more.
    pub fn end(&self) {
        for (_, ended) in self.open.borrow_mut().drain(..) {
            ended.set();
        }
    }
}

/// The tasks that a listen names: those that are its caller's, at servers that can tell of them.
pub fn wanted(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    message: &Message,
) -> Result<Vec<Watched>, Refusal> {
    let Some(asked) = message.subscriptions else { return Ok(Vec::new()) };
    let named = core.decoder.borrow_mut().member(incoming.body, asked, "taskIds").map_err(Refusal::Decode)?;
    let Some(named) = named.filter(|_| super::declares(incoming, message, true)) else {
        return Ok(Vec::new());
    };
    if !named.of(incoming.body).starts_with(b"[") {
        return Err(Refusal::Params("`taskIds` is no array"));
    }
    let mut wanted: Vec<Watched> = Vec::new();
    for entry in Elements::of(incoming.body, named).flatten() {
        let inner = entry.of(incoming.body).strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
        let inner = inner.ok_or(Refusal::Params("`taskIds` holds something else than strings"))?;
        if wanted.len() >= WATCHED_TASKS_MAX {
            return Err(Refusal::Params("`taskIds` has more than 16 tasks"));
        }
        let mut shown = Vec::new();
        unescape(inner, &mut shown);
        let held = allowed(core, adopted, place.server, caller, &shown);
        let Some(held) = held.filter(|_| wanted.iter().all(|other| other.shown != shown)) else { continue };
        let upstream = adopted.upstream(held.item.upstream);
        if let Some(upstream) = upstream.filter(|upstream| upstream.known_era() == Some(Era::Modern)) {
            wanted.push(Watched { upstream, id: held.id, shown });
        }
    }
    Ok(wanted)
}

const _: () = assert!(WATCHED_TASKS_MAX == 16, "the refusal says so");

/// The task, if this caller may still look at it. One whose result loses something is not told of: what is told goes by
/// whoever takes it out.
fn allowed(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    server: usize,
    caller: &Caller,
    shown: &[u8],
) -> Option<super::Held> {
    let held = super::find_text(core, adopted, server, caller, shown).ok()?;
    if held.item.shape.is_some_and(|shape| shape::drops(adopted, server, shape)) {
        return None;
    }
    held.item.view.kind(held.item.kind).shows(held.item.index).then_some(held)
}

/// Has the servers tell. What they have agreed to is in the listen's watches when this returns.
pub async fn begin(core: &Rc<Core>, listen: &Rc<Listen>, watched: Vec<Watched>) {
    let until_ms = core.clock.coarse_ms() + TASK_ASKS_MS_MAX;
    for task in watched {
        let left = Duration::from_millis(until_ms.saturating_sub(core.clock.coarse_ms()));
        let Ok(Ok(reply)) = runtime::timeout(left, ask(core, &task)).await else { continue };
        let ended = Rc::new(Signal::new());
        listen.watches.open.borrow_mut().push((task.shown.clone(), ended.clone()));
        let told = tell(core.clone(), Rc::downgrade(listen), task, reply, ended);
        runtime::spawn_guarded("task that is watched", told);
    }
}

/// A listen of ours, acknowledged.
async fn ask(core: &Rc<Core>, task: &Watched) -> Result<Reply, UpstreamFault> {
    let mut body =
        br#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"taskIds":["#
            .to_vec();
    append_string(&mut body, &task.id.bare);
    body.extend_from_slice(b"]}}}");
    let decoded = core.decoder.borrow_mut().decode(&body).copied();
    let message = decoded.map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
    let order = Order {
        body: &body,
        message: &message,
        bare: None,
        // What a request of 2026-07-28 has beside is added, as for any older client.
        client: Revision::LATEST_LEGACY,
        head: None,
        whom: Whom {
            declared: task.id.declared.and(Declared::TASKS),
            replica: Some(task.id.replica),
            ..Whom::of(task.id.principal, None)
        },
        client_fd: None,
        under_way: None,
    };
    let mut reply = upstream::call(core, &task.upstream, &order, InFlight::uncounted()).await?;
    let refused = || UpstreamFault::NotMcp("it tells nothing of its task".to_owned());
    let event = reply.next(core, &Client::nobody()).await?;
    let Event::Message { envelope, last: false, .. } = &event else { return Err(refused()) };
    let bytes = event.bytes();
    let agreed = member(bytes, member(bytes, envelope.params, "notifications"), "taskIds");
    let agreed = agreed.into_iter().flat_map(|agreed| Elements::of(bytes, agreed)).flatten();
    let is_ours = |place: Span| text_of(bytes, place).is_ok_and(|text| text == task.id.bare);
    let is_acknowledged = envelope.method_known == Some(Method::NotifySubscriptionsAcknowledged);
    if is_acknowledged && agreed.into_iter().any(is_ours) { Ok(reply) } else { Err(refused()) }
}

/// Passes on what the server tells, until one of them ends.
async fn tell(core: Rc<Core>, listen: Weak<Listen>, task: Watched, mut reply: Reply, ended: Rc<Signal>) {
    let client = Client::nobody();
    loop {
        // A connection may be dead without a sign: silence ends it.
        reply.extend_deadline(core.clock.coarse_ms() + LISTEN_SILENT_MS_MAX);
        let event = tokio::select! {
            biased;
            () = ended.wait() => return,
            event = reply.next(&core, &client) => event,
        };
        let Some(listen) = listen.upgrade() else { return };
        match event {
            Ok(event @ Event::Message { last: false, .. }) => {
                if let Some(members) = told(&event, &task) {
                    listen.push(Method::NotifyTasks, &members);
                }
            }
            _ => return listen.end(),
        }
    }
}

/// The members of a notification about this task, each with a comma before it, in the client's words.
fn told(event: &Event, task: &Watched) -> Option<Vec<u8>> {
    let Event::Message { envelope, .. } = event else { return None };
    let bytes = event.bytes();
    let params = envelope.params.filter(|_| envelope.method_known == Some(Method::NotifyTasks))?;
    if text_of(bytes, member(bytes, Some(params), "taskId")?).ok()? != task.id.bare {
        return None;
    }
    let mut out = Vec::with_capacity(params.len as usize + task.shown.len());
    for entry in Members::of(bytes, params).flatten().filter(|entry| !entry.key_is(bytes, "_meta")) {
        out.push(b',');
        out.extend_from_slice(entry.key.of(bytes));
        out.push(b':');
        match entry.key_is(bytes, "taskId") {
            true => append_string(&mut out, &task.shown),
            false => out.extend_from_slice(entry.value.of(bytes)),
        }
    }
    Some(out)
}
