//! A legacy server's question in the middle of a modern client's call.
//!
//! Nobody may ask a client of 2026-07-28 anything; its call is answered with what the server wants, and it makes the
//! call again with the answers. Meanwhile the server's call must go on: it is *suspended*. A task of its own reads on
//! in it, on the worker where it began, whatever connection the client comes back on; the client holds a sealed
//! ticket ([`super::ticket`]) that says where.
//!
//! A suspended call ends when it is answered, when its ticket expires, or when the client goes away in the middle of a
//! retry. What the server then still waits for is refused, and its call cancelled.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Envelope, Kind as MessageKind, Members, Message, Splices};
use strait_protocol::mcp::{Declared, Method, codes};

use super::Incoming;
use super::decode::{Asked, Call};
use super::refusal::Refusal;
use super::ticket::{self, Kind, Ticket};
use crate::core::{Core, InFlight};
use crate::io::buffer::Buf;
use crate::io::clock::Waited;
use crate::io::runtime;
use crate::io::signal::{Queue, Signal};
use crate::io::watch::{Cause, Watch};
use crate::limits::{
    ASKS_TURNS, ASKS_WINDOW_MS, SUSPENDED_ASKS_MAX, SUSPENDED_CALL_MS_MAX, SUSPENDED_EVENTS_MAX,
    SUSPENDED_MAX,
};
use crate::session::Seal;
use crate::upstream::dialect::{self, Client};
use crate::upstream::reply::Subject;
use crate::upstream::{Answering, Event, Reply, Responder, Upstream, UpstreamFault, decline};

/// The calls of one worker that wait for their clients to come back.
#[derive(Default)]
pub struct Suspensions {
    waiting: RefCell<HashMap<u128, Rc<Suspended>>>,
}

impl Suspensions {
    pub fn count(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn all(&self) -> Vec<Rc<Suspended>> {
        self.waiting.borrow().values().cloned().collect()
    }
}

/// A call to a legacy server that may be asked about, apart from any connection of its client.
pub struct Suspended {
    pub upstream: Rc<Upstream>,
    pub subject: Subject,
    pub method: Method,
    /// When the server first asked, on the coarse clock.
    pub since_ms: u64,
    responder: Responder,
    /// Of method, name and arguments.
    call: u64,
    /// What the server says, in order; closed behind its answer.
    events: Queue<Result<Event, UpstreamFault>>,
    /// What the client has not answered yet.
    asks: RefCell<Vec<Ask>>,
    /// Counts questions: no key comes twice in a call.
    asked: Cell<u32>,
    /// On the coarse clock; while its client is here, never.
    pub expires_ms: Cell<u64>,
    /// Raised when nobody waits for it any more.
    ended: Signal,
}

/// A question of the server.
struct Ask {
    /// Under which the client answers it.
    key: String,
    /// The server's own, as written.
    id: Box<[u8]>,
    method: Method,
    /// As written, with braces; empty when there are none.
    params: Box<[u8]>,
}

/// A client's hold on such a call: one request of it.
pub struct Parked {
    call: Rc<Suspended>,
    /// The call goes on without us, until the client comes back.
    is_left: bool,
    /// On the exact clock: until then further questions are gathered.
    gather_until_ns: Option<u64>,
    /// Raised when the server has taken too long, or the client has gone.
    over: Rc<Signal>,
    watch: Watch,
    waited: Waited,
}

/// Whether this client declared, in this request, that it can answer this.
pub fn permits(core: &Rc<Core>, client: &Client<'_>, event: &Event, envelope: &Envelope) -> bool {
    let method = envelope.method_known.unwrap_or(Method::Unknown);
    declared(core, client.body).permits(method, event.bytes(), envelope.params)
}

/// What a modern client's request declares.
pub fn declared(core: &Rc<Core>, body: &[u8]) -> Declared {
    let decoded = core.decoder.borrow_mut().decode(body).copied();
    let declared = decoded.ok().and_then(|message| message.client_capabilities);
    declared.map_or(Declared::NOTHING, |said| Declared::read(body, said))
}

/// Takes a server's question up. `false` when it cannot be.
pub fn ask(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    event: &Event,
    envelope: &Envelope,
) -> bool {
    let (Some(id), Some(method)) = (envelope.id, envelope.method_known) else { return false };
    let Some(parked) = park(core, reply, client) else { return false };
    let call = parked.call.clone();
    if call.asks.borrow().len() >= SUSPENDED_ASKS_MAX {
        return false;
    }
    let bytes = event.bytes();
    call.asked.set(call.asked.get() + 1);
    let key = format!("r{}", call.asked.get());
    let params = envelope.params.map_or(&b""[..], |params| params.of(bytes));
    let params = if method == Method::ElicitationCreate { without_id(params) } else { params.into() };
    call.asks.borrow_mut().push(Ask { key, id: id.of(bytes).into(), method, params });
    parked.gather_until_ns.get_or_insert(core.clock.now_ns() + ASKS_WINDOW_MS * 1_000_000);
    true
}

/// A URL elicitation has no id in 2026-07-28.
pub fn without_id(params: &[u8]) -> Box<[u8]> {
    let id = Members::find(params, Span::between(0, params.len()), "elicitationId").ok().flatten();
    let (mut splices, mut out) = (Splices::new(), Vec::with_capacity(params.len()));
    if splices.omit(params, [id, None, None, None]).is_ok() && splices.write(params, &mut out).is_ok() {
        return out.into();
    }
    params.into()
}

/// The reply's hold on its call, which becomes independent of the client's connection with its first question.
fn park<'r>(core: &Rc<Core>, reply: &'r mut Reply, client: &Client<'_>) -> Option<&'r mut Parked> {
    if reply.parked().is_none() {
        let message = core.decoder.borrow_mut().decode(client.body).copied().ok()?;
        let (upstream, responder, subject) =
            (reply.upstream()?, reply.responder()?, reply.subject()?.clone());
        let call = Rc::new(Suspended {
            subject,
            method: reply.method(),
            since_ms: core.clock.coarse_ms(),
            responder,
            call: ticket::call(client.body, &message),
            events: Queue::new(SUSPENDED_EVENTS_MAX),
            asks: RefCell::default(),
            asked: Cell::new(0),
            expires_ms: Cell::new(u64::MAX),
            ended: Signal::new(),
            upstream,
        });
        let over = Rc::new(Signal::new());
        let parked = Parked::new(core, call.clone(), over, None);
        let mut server = reply.park(core, parked);
        server.detach_client(core);
        server.extend_deadline(core.clock.coarse_ms() + SUSPENDED_CALL_MS_MAX);
        runtime::spawn_guarded("suspended call", read_on(core.clone(), server, call));
    }
    reply.parked()
}

/// Reads what the server says, for as long as somebody may come for it.
async fn read_on(core: Rc<Core>, mut server: Reply, call: Rc<Suspended>) {
    // What is read is edited for whoever comes for it.
    let client = Client { modern: true, method: call.method, ..Client::nobody() };
    loop {
        let said = tokio::select! {
            biased;
            () = call.ended.wait() => break,
            said = server.next(&core, &client) => said,
        };
        let last = said.as_ref().map_or(true, Event::is_last);
        call.heard(&core, said);
        if last {
            return call.events.close();
        }
    }
    call.give_up(&core);
    server.cancel(&core, "its client does not wait for it any more");
}

impl Suspended {
    /// Keeps what the server said. A client that is away loses progress, not questions and not the answer.
    fn heard(&self, core: &Rc<Core>, said: Result<Event, UpstreamFault>) {
        let kind = match &said {
            Ok(Event::Message { envelope, .. }) => envelope.kind(),
            _ => Some(MessageKind::Response),
        };
        let room = SUSPENDED_EVENTS_MAX - self.events.len();
        match kind {
            Some(MessageKind::Response) => {
                let _ = self.events.push(said);
            }
            Some(MessageKind::Request) if room > 1 => {
                let _ = self.events.push(said);
            }
            Some(MessageKind::Request) => {
                if let Ok(event) = &said
                    && let Event::Message { envelope, .. } = event
                    && let Some(id) = envelope.id
                {
                    self.responder.send(core, decline(event.bytes(), id, envelope.method_known));
                }
            }
            _ if room > SUSPENDED_EVENTS_MAX / 2 => {
                let _ = self.events.push(said);
            }
            _ => {}
        }
    }

    /// Questions that the client has not answered.
    pub fn questions(&self) -> usize {
        self.asks.borrow().len()
    }

    /// Nobody will answer what the server asked.
    fn give_up(&self, core: &Rc<Core>) {
        for ask in self.asks.borrow_mut().drain(..) {
            self.refuse(core, ask.method, &ask.id);
        }
        // What it asked while its client was away.
        while let Some(said) = self.events.try_pop() {
            if let Ok(event) = &said
                && let Event::Message { envelope, .. } = event
                && envelope.kind() == Some(MessageKind::Request)
                && let Some(id) = envelope.id
            {
                self.refuse(core, envelope.method_known.unwrap_or(Method::Unknown), id.of(event.bytes()));
            }
        }
    }

    fn refuse(&self, core: &Rc<Core>, method: Method, id: &[u8]) {
        match method {
            Method::ElicitationCreate => self.responder.answer(core, id, Ok(br#"{"action":"cancel"}"#)),
            _ => self.responder.refuse(core, id, codes::INTERNAL_ERROR, "client did not answer"),
        }
    }

    /// Waits for the client to come back, and gives what it is told: the whole answer to its request.
    fn wait(self: &Rc<Self>, core: &Rc<Core>, id: &[u8]) -> Result<Buf, &'static str> {
        let mut waiting = core.suspended.waiting.borrow_mut();
        if waiting.len() >= SUSPENDED_MAX.min(core.caps().calls) {
            return Err("too many calls wait for their clients' input");
        }
        let serial = Seal::serial().map_err(|_| "no random numbers for a requestState")?;
        let ticket = Ticket {
            kind: Kind::Suspended,
            worker: core.id as u16,
            serial,
            principal: self.subject.principal,
            server: self.subject.server_digest(),
            expires_unix_ms: core.clock.coarse_unix_ms() + core.deadlines.suspended_ms,
            call: self.call,
            rest: Vec::new(),
        };
        let state = ticket.seal(&core.seal).map_err(|_| "sealing a requestState failed")?;
        self.expires_ms.set(core.clock.coarse_ms() + core.deadlines.suspended_ms);
        let asks = self.asks.borrow();
        let entries = asks.iter().map(|ask| (ask.key.as_str(), ask.method, &ask.params[..]));
        let answer = input_required(id, entries, &state);
        waiting.insert(serial, self.clone());
        Ok(answer)
    }
}

/// `input_required` with these requests and this state.
pub fn input_required<'a>(
    id: &[u8],
    requests: impl Iterator<Item = (&'a str, Method, &'a [u8])>,
    state: &[u8],
) -> Buf {
    let mut out = Buf::new();
    for part in [
        &b"{\"jsonrpc\":\"2.0\",\"id\":"[..],
        id,
        b",\"result\":{\"resultType\":\"input_required\",\"inputRequests\":{",
    ] {
        out.extend_from_slice(part);
    }
    for (at, (key, method, params)) in requests.enumerate() {
        if at > 0 {
            out.extend_from_slice(b",");
        }
        strait_protocol::jsonrpc::append_string(out.vec(), key.as_bytes());
        for part in [&b":{\"method\":\""[..], method.as_str().as_bytes(), b"\""] {
            out.extend_from_slice(part);
        }
        if !params.is_empty() {
            out.extend_from_slice(b",\"params\":");
            out.extend_from_slice(params);
        }
        out.extend_from_slice(b"}");
    }
    for part in [&b"},\"requestState\":\""[..], state, b"\",\"_meta\":{"] {
        out.extend_from_slice(part);
    }
    dialect::append_server(out.vec());
    out.extend_from_slice(b"}}}");
    out
}

impl Parked {
    fn new(core: &Rc<Core>, call: Rc<Suspended>, over: Rc<Signal>, socket: Option<RawFd>) -> Parked {
        let deadline_ms = core.clock.coarse_ms() + u64::from(call.upstream.timeouts.call_ms);
        let watch = core.watches.wake_at(deadline_ms, over.clone());
        let watch = match socket {
            Some(socket) => watch.also_client(socket),
            None => watch,
        };
        Parked { call, is_left: false, gather_until_ns: None, over, watch, waited: Waited::default() }
    }

    pub fn responder(&self) -> Responder {
        self.call.responder.clone()
    }

    pub fn waited_ns(&self) -> u64 {
        self.waited.ns
    }

    /// What the server says next; or, a moment after it has asked something, the answer that suspends the call.
    pub async fn next(&mut self, core: &Rc<Core>, client: &Client<'_>) -> Result<Event, UpstreamFault> {
        if let Some(until_ns) = self.gather_until_ns {
            return match self.gathered(core, until_ns).await {
                Some(said) => said.unwrap_or(Err(UpstreamFault::Closed { after_bytes: true })),
                None => {
                    let bytes = self.call.wait(core, client.id).map_err(|_| UpstreamFault::NoRoom)?;
                    self.is_left = true;
                    Ok(Event::Ready { bytes, last: true })
                }
            };
        }
        let arrival = async {
            tokio::select! {
                biased;
                said = self.call.events.pop() => Ok(said),
                () = self.over.wait() => Err(()),
            }
        };
        match self.waited.on(arrival).await {
            Ok(said) => said.unwrap_or(Err(UpstreamFault::Closed { after_bytes: true })),
            Err(()) if self.watch.fired() && self.watch.cause() == Cause::Deadline => {
                Err(UpstreamFault::CallTimeout { ms: self.call.upstream.timeouts.call_ms })
            }
            Err(()) => Err(UpstreamFault::ClientGone),
        }
    }

    /// What the server says until then.
    async fn gathered(&self, core: &Rc<Core>, until_ns: u64) -> Option<Option<Result<Event, UpstreamFault>>> {
        let left = Duration::from_nanos(until_ns.saturating_sub(core.clock.now_ns()));
        if let Ok(said) = runtime::timeout(left, self.call.events.pop()).await {
            return Some(said);
        }
        take_in().await;
        self.call.events.try_pop().map(Some)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if !self.is_left {
            self.call.ended.set();
        }
    }
}

/// Lets what has come be read. A worker that was kept from running finds a time over, and what came in it not yet read.
pub async fn take_in() {
    for _ in 0..ASKS_TURNS {
        runtime::yield_turn().await;
    }
}

/// The ticket that a modern client's call brings back.
pub fn ticket(core: &Core, incoming: &Incoming<'_>, message: &Message) -> Option<Ticket> {
    let mut text = Vec::new();
    Ticket::open(&core.seal, message.request_state?.read(incoming.body, &mut text))
}

/// Which other worker a call must be told by, because it waits there.
pub fn elsewhere(core: &Core, incoming: &Incoming<'_>, call: &Call) -> Option<usize> {
    let Asked::Message(message) = &call.asked else { return None };
    if !call.revision.is_modern() {
        return None;
    }
    let owner = match ticket(core, incoming, message) {
        Some(ticket) => Some(usize::from(ticket.worker)).filter(|_| ticket.kind == Kind::Suspended),
        // A call that may be suspended: it will come back to the wrong worker.
        None if core.force_wrong_worker && core.id == 0 && core.workers > 1 => {
            let declared = message.client_capabilities.map(|said| Declared::read(incoming.body, said));
            declared.filter(|declared| declared.can_be_asked()).map(|_| core.owner_of(core.clock.now_ns()))
        }
        None => None,
    };
    owner.filter(|owner| *owner != core.id && *owner < core.workers)
}

/// Whether a ticket is good for this call of this caller, here and now.
pub fn verify(
    core: &Core,
    incoming: &Incoming<'_>,
    message: &Message,
    ticket: &Ticket,
    principal: u64,
    server: Option<u64>,
) -> Result<(), Refusal> {
    let is_theirs = ticket.principal == principal && Some(ticket.server) == server;
    if !is_theirs || ticket.call != ticket::call(incoming.body, message) {
        return Err(Refusal::Params("`requestState` belongs to another call"));
    }
    if ticket.expires_unix_ms <= core.clock.coarse_unix_ms() {
        return Err(GONE);
    }
    Ok(())
}

const GONE: Refusal =
    Refusal::Params("`requestState` has expired or was used before: make the call without it");

/// Goes on with a suspended call. The ticket was verified.
pub fn resume(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    message: &Message,
    ticket: &Ticket,
    admitted: InFlight,
) -> Result<Reply, Refusal> {
    let call = core.suspended.waiting.borrow_mut().remove(&ticket.serial).ok_or(GONE)?;
    call.expires_ms.set(u64::MAX);
    let answered = |ask: &Ask| {
        let responses = message.input_responses?;
        let value = Members::find(incoming.body, responses, &ask.key).ok().flatten()?.of(incoming.body);
        value.starts_with(b"{").then_some(value)
    };
    call.asks.borrow_mut().retain(|ask| match answered(ask) {
        Some(result) => {
            call.responder.answer(core, &ask.id, Ok(result));
            false
        }
        None => true,
    });
    if !call.asks.borrow().is_empty() {
        let id = message.id.map_or(&b"null"[..], |id| id.of(incoming.body));
        return match call.wait(core, id) {
            Ok(body) => Ok(Answering::ready(core, body, None, admitted)),
            Err(why) => {
                call.ended.set();
                Err(Refusal::Overloaded(why))
            }
        };
    }
    let over = incoming.left.clone().unwrap_or_default();
    let parked = Parked::new(core, call.clone(), over, incoming.client);
    Ok(Answering::resumed(core, parked, &call.upstream, call.method, call.subject.clone(), admitted))
}

/// Ends calls whose clients have not come back in time.
pub fn end_overdue(core: &Rc<Core>) {
    let now_ms = core.clock.coarse_ms();
    core.suspended.waiting.borrow_mut().retain(|_, call| {
        let waits = call.expires_ms.get() > now_ms;
        if !waits {
            call.ended.set();
        }
        waits
    });
}

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::io::tests::{on_each, pair_with_std};

    /// The chain is that of a call: a task reads a socket, another one passes on, a third waits until the window closes.
    #[test]
    fn what_came_while_the_worker_stood_still_is_taken_in() {
        on_each(|| async {
            for _ in 0..20 {
                let (mut ours, mut peer) = pair_with_std().await;
                let (read, heard) = (Rc::new(Queue::new(1)), Rc::new(Queue::new(1)));
                let (reads, passed, hears) = (read.clone(), read, heard.clone());
                runtime::spawn(async move {
                    let (received, _) = ours.recv(Buf::new()).await;
                    let _ = reads.push(received.unwrap());
                });
                runtime::spawn(async move {
                    let _ = hears.push(passed.pop().await);
                });
                runtime::spawn(async move {
                    runtime::sleep(Duration::from_millis(1)).await;
                    peer.write_all(b"?").unwrap();
                    // The worker stands still, and the window closes meanwhile.
                    std::thread::sleep(Duration::from_millis(10));
                });
                if runtime::timeout(Duration::from_millis(3), heard.pop()).await.is_err() {
                    take_in().await;
                    assert!(heard.try_pop().is_some());
                }
            }
        });
    }
}
