//! The answer on its way out: a stream of events becomes JSON, an event stream, or nothing but a
//! status.
//!
//! The head waits for the first event: a final message makes a JSON answer with its length, anything
//! else opens an event stream. Bytes are rendered once, with the client's own id spliced in, whether
//! the client's socket is here or on another worker ([`Sink`]).

use std::pin::pin;
use std::rc::Rc;

use strait_protocol::http1::{Method as Verb, write};
use strait_protocol::jsonrpc::SpliceFault;
use strait_protocol::mcp::{Method, header};
use strait_protocol::sse;

use super::hand_over::Relayed;
use super::record::Record;
use super::refusal::Refusal;
use super::reverse::{self, Direction};
use super::shape::Edited;
use super::{Incoming, answer, cors, rounds, screen, shape, tasks, timing, uris};
use crate::connection::audience::unless_over;
use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::io::mailbox::ReplyTx;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::io::tcp::Stream;
use crate::session::calls::Cancelled;
use crate::upstream::dialect::Client;
use crate::upstream::{Event, Reply, UpstreamFault};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    KeepAlive,
    Close,
    /// The client may still be sending: close so that it can read what was said.
    Linger,
}

impl Next {
    /// A client whose connection ends with this answer may have sent more: the answer must survive it.
    pub fn after(sent: Result<(), Gone>, close: bool) -> Next {
        match sent {
            Ok(()) if close => Next::Linger,
            Ok(()) => Next::KeepAlive,
            Err(Gone) => Next::Close,
        }
    }
}

/// Where an answer's bytes go.
pub enum Sink<'a> {
    Stream(&'a mut Stream),
    /// The client's socket is on another worker.
    Relay(&'a ReplyTx<Relayed>),
}

/// The client is gone.
#[derive(Debug)]
pub struct Gone;

impl Sink<'_> {
    pub async fn send(&mut self, core: &Rc<Core>, mut bytes: Buf) -> Result<(), Gone> {
        match self {
            Sink::Stream(stream) => {
                let deadline = core.clock.coarse_ms() + core.deadlines.send_stall_ms;
                let watch = core.watches.shutdown_at(deadline, stream.fd());
                let (sent, _) = stream.send_all(bytes).await;
                drop(watch);
                sent.map_err(|_| Gone)
            }
            Sink::Relay(relay) => {
                bytes.depart();
                relay.send(Relayed::Bytes(bytes)).await.map_err(|_| Gone)
            }
        }
    }
}

/// What became of a reply.
pub enum Responded {
    Next(Next),
    /// It is a stream that goes on without this connection.
    Streams(Box<answer::Opening>),
}

impl From<Next> for Responded {
    fn from(next: Next) -> Responded {
        Responded::Next(next)
    }
}

/// Sends a reply, event by event.
pub async fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    mut reply: Reply,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Responded {
    let close = !incoming.head.keep_alive || core.draining.get();
    if reply.is_empty() {
        return empty(core, incoming, reply.empty_status(), close, sink, record).await.into();
    }
    let first = match wanted(core, adopted, incoming, &mut reply, record).await {
        Ok(event) => event,
        Err(fault) => {
            let refusal = Refusal::Upstream { name: reply.upstream_name(), fault };
            return refuse(core, adopted, incoming, &refusal, sink, record).await.into();
        }
    };
    record.answered(core, &reply);
    if !first.is_last() {
        record.listens(core, adopted, incoming);
    }
    let is_stream = !matches!(&first, Event::Fragment { .. }) && !first.is_last();
    if is_stream && let Some(place) = answer::place(core, record) {
        return Responded::Streams(answer::Opening::new(place, reply, first));
    }
    let first = match first {
        Event::Paused { .. } => message(core, adopted, incoming, &mut reply, record).await,
        first => Ok(first),
    };
    let first = match first {
        Ok(event) => event,
        Err(fault) => {
            let refusal = Refusal::Upstream { name: reply.upstream_name(), fault };
            return refuse(core, adopted, incoming, &refusal, sink, record).await.into();
        }
    };
    let mut answer = Answer { core, adopted, incoming, sink, record, close };
    let next = match &first {
        Event::Fragment { .. } => answer.fragments(reply, first).await,
        Event::Message { last: true, .. } | Event::Ready { last: true, .. } => {
            answer.json(&reply, &first).await
        }
        Event::Message { .. } | Event::Ready { .. } | Event::Paused { .. } => {
            answer.events(reply, first).await
        }
    };
    next.into()
}

/// The next event that the client is to see, screened and without what its tool's shape drops.
pub async fn next(core: &Rc<Core>, reply: &mut Reply, client: &Client<'_>) -> Result<Event, UpstreamFault> {
    if reply.loses_something() {
        return Box::pin(shape::result::next(core, reply, client)).await;
    }
    delivered(core, reply, client).await
}

/// The same as its upstream said it.
pub async fn delivered(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
) -> Result<Event, UpstreamFault> {
    loop {
        if reply.rounds.is_some()
            && let Some(event) = Box::pin(rounds::next(core, reply)).await?
        {
            return Ok(screen::reply(event));
        }
        if reply.tasks.as_ref().is_some_and(|tasks| tasks.has_work()) {
            match Box::pin(tasks::work::next(core, reply, client)).await? {
                Some(mut event) => {
                    uris::run(core, reply, &mut event);
                    return Ok(screen::reply(event));
                }
                None => continue,
            }
        }
        let mut event = reply.next(core, client).await?;
        if let Event::Paused { .. } = event {
            return Ok(event);
        }
        uris::run(core, reply, &mut event);
        match reverse::run(core, reply, client, event)? {
            Direction::Deliver(event) => return Ok(screen::reply(event)),
            Direction::Drop => {}
        }
    }
}

/// The next event, for as long as the client wants one and may have it.
pub async fn wanted(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    reply: &mut Reply,
    record: &Record,
) -> Result<Event, UpstreamFault> {
    let event = match &record.ear {
        None => Some(unless_cancelled(core, incoming, reply, record).await),
        // Pinned where it is made: it is kilobytes, and would be copied wherever it is handed.
        Some(ear) => unless_over(ear, pin!(unless_cancelled(core, incoming, reply, record))).await,
    };
    if let (Some(cost), Some(Ok(event))) = (&record.cost, &event) {
        cost.hear(adopted, event);
    }
    let fault = match event {
        _ if core.has_put_outside(adopted, incoming) => UpstreamFault::Outside,
        Some(event) if !record.is_revoked(core, adopted) => return event,
        _ => UpstreamFault::Revoked,
    };
    reply.cancel(core, fault.giving_up());
    Err(fault)
}

async fn unless_cancelled(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    reply: &mut Reply,
    record: &Record,
) -> Result<Event, UpstreamFault> {
    let client = client(incoming, record, reply.method());
    let Some(call) = &record.under_way else {
        return match &incoming.left {
            Some(left) if record.modern => Box::pin(unless_left(core, reply, &client, left)).await,
            _ => next(core, reply, &client).await,
        };
    };
    let event = {
        let event = pin!(next(core, reply, &client));
        call.run(event).await
    };
    event.unwrap_or_else(|Cancelled| {
        reply.cancel(core, UpstreamFault::Cancelled.giving_up());
        Err(UpstreamFault::Cancelled)
    })
}

/// The next event, for a client whose socket is on another worker: it ends its call by leaving.
async fn unless_left(
    core: &Rc<Core>,
    reply: &mut Reply,
    client: &Client<'_>,
    left: &Signal,
) -> Result<Event, UpstreamFault> {
    let event = tokio::select! {
        biased;
        event = next(core, reply, client) => Some(event),
        () = left.wait() => None,
    };
    event.unwrap_or_else(|| {
        reply.cancel(core, UpstreamFault::ClientGone.giving_up());
        Err(UpstreamFault::ClientGone)
    })
}

/// The next one that is a message, or a piece of one.
async fn message(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    reply: &mut Reply,
    record: &Record,
) -> Result<Event, UpstreamFault> {
    loop {
        match wanted(core, adopted, incoming, reply, record).await? {
            Event::Paused { .. } => {}
            event => return Ok(event),
        }
    }
}

/// What the client of an exchange is, for whoever edits what it is sent.
pub fn client<'a>(incoming: &'a Incoming<'_>, record: &'a Record, method: Method) -> Client<'a> {
    Client {
        id: record.id.map_or(&b"null"[..], |id| id.of(incoming.body)),
        token: record.token.map(|token| token.of(incoming.body)),
        modern: record.modern,
        method,
        session: record.session.as_ref(),
        body: record.edited.as_deref().map_or(incoming.body, Edited::body),
    }
}

/// The head of an event stream; `None` when a header of it is not printable.
pub fn event_stream(
    incoming: &Incoming<'_>,
    record: &Record,
    session_id: Option<&[u8]>,
    chunked: bool,
    close: bool,
) -> Option<Buf> {
    let mut out = Buf::new();
    let head = write::reply(out.vec(), 200)
        .header("Content-Type", b"text/event-stream")
        .header("Cache-Control", b"no-cache")
        .header("X-Accel-Buffering", b"no")
        .header_if(header::SESSION_ID, session_id);
    let head = timing::shown(cors::shown(head, incoming, record), record);
    let head = if chunked { head.chunked() } else { head };
    let head = if close { head.connection_close() } else { head };
    head.finish().ok()?;
    Some(out)
}

/// What all answers of one message say of it.
const JSON: &str = "Content-Type: application/json\r\n";

/// Room for a head beside a body: what we write is under 400 bytes.
const HEAD_ROOM: usize = 512;

struct Answer<'a, 's, 'k> {
    core: &'a Rc<Core>,
    adopted: &'a Adopted,
    incoming: &'a Incoming<'a>,
    sink: &'s mut Sink<'k>,
    record: &'a mut Record,
    close: bool,
}

impl Answer<'_, '_, '_> {
    /// One message as JSON with its length.
    async fn json(&mut self, reply: &Reply, event: &Event) -> Next {
        let status = reply.status(event, self.record.modern);
        self.record.status(status);
        if reply.is_error(event) {
            self.record.errored();
        }
        let (out, head_bytes) = {
            let mut scratch = self.core.scratch.borrow_mut();
            let rendered =
                reply.plan(event, &client(self.incoming, self.record, reply.method()), &mut scratch.splices);
            let mut out = Buf::with_capacity(HEAD_ROOM + rendered);
            let head = write::reply(out.vec(), status)
                .lines(JSON)
                .content_length(rendered as u64)
                .header_if(header::SESSION_ID, reply.session_id());
            let head = timing::shown(cors::shown(head, self.incoming, self.record), self.record);
            let head = if self.close { head.connection_close() } else { head };
            if head.finish().is_err() {
                return Next::Close;
            }
            let head_bytes = out.len();
            if scratch.splices.write(event.bytes(), out.vec()).is_err() {
                return Next::Close;
            }
            (out, head_bytes)
        };
        self.record.sent(out.len());
        if self.core.audit.is_on() && !self.tell(out.get(head_bytes..)) {
            let settled = Box::pin(self.settle(out.get(head_bytes..))).await;
            if let Err(refusal) = settled {
                return self.unrecorded(&refusal).await;
            }
        }
        let sent = self.hand(out).await;
        Next::after(sent, self.close)
    }

    /// Messages as server-sent events, each leaving as soon as it is there.
    async fn events(&mut self, mut reply: Reply, first: Event) -> Next {
        self.record.status(200);
        let chunked = !self.incoming.head.http10;
        let close = self.close || !chunked;
        let Some(mut out) = event_stream(self.incoming, self.record, reply.session_id(), chunked, close)
        else {
            return Next::Close;
        };
        let mut event = first;
        let mut in_pieces = false;
        loop {
            let last = event.is_last();
            if let Event::Fragment { bytes, .. } = &event {
                if self.core.audit.is_on() {
                    self.record.piece(self.adopted, bytes);
                }
                self.append_piece(bytes, !in_pieces, last, chunked, out.vec());
                in_pieces = true;
            } else if self.append_event(&reply, &event, chunked, out.vec()).is_err() {
                return Next::Close;
            }
            if last && chunked {
                write::last_chunk(out.vec());
            }
            if last {
                if reply.is_error(&event) {
                    self.record.errored();
                }
                self.close = close;
                return self.finish_event(out, in_pieces).await;
            }
            if self.send(out).await.is_err() {
                return self.leave(reply);
            }
            out = Buf::new();
            event = match message(self.core, self.adopted, self.incoming, &mut reply, self.record).await {
                Ok(event) => event,
                Err(fault) if in_pieces => {
                    self.record.broke(&fault);
                    return Next::Close;
                }
                Err(fault @ UpstreamFault::Cancelled) => {
                    self.record.broke(&fault);
                    if chunked {
                        write::last_chunk(out.vec());
                    }
                    self.close = close;
                    return self.finish(out).await;
                }
                Err(fault) => Event::Ready { bytes: self.mishap(reply.upstream_name(), fault), last: true },
            };
            self.record.waited(&reply);
        }
    }

    /// One message too large for a buffer, as it arrives.
    async fn fragments(&mut self, mut reply: Reply, first: Event) -> Next {
        self.record.status(200);
        let mut out = Buf::new();
        let head = cors::shown(write::reply(out.vec(), 200).lines(JSON), self.incoming, self.record);
        let head = timing::shown(head, self.record);
        let chunked = !self.incoming.head.http10;
        let close = self.close || !chunked;
        let head = if chunked { head.chunked() } else { head };
        let head = if close { head.connection_close() } else { head };
        if head.finish().is_err() {
            return Next::Close;
        }
        let mut event = first;
        loop {
            if self.core.audit.is_on() {
                self.record.piece(self.adopted, event.bytes());
            }
            if chunked {
                write::chunk(out.vec(), event.bytes());
            } else {
                out.extend_from_slice(event.bytes());
            }
            if event.is_last() {
                if chunked {
                    write::last_chunk(out.vec());
                }
                self.close = close;
                return self.finish(out).await;
            }
            if self.send(out).await.is_err() {
                return self.leave(reply);
            }
            out = Buf::new();
            event = match message(self.core, self.adopted, self.incoming, &mut reply, self.record).await {
                Ok(event) => event,
                Err(fault) => {
                    // Too late for an error: an answer cut short is the only honest signal left.
                    self.record.broke(&fault);
                    return Next::Close;
                }
            };
            self.record.waited(&reply);
        }
    }

    /// The error that ends an event stream whose upstream failed.
    fn mishap(&mut self, name: String, fault: UpstreamFault) -> Buf {
        let refusal = Refusal::Upstream { name, fault };
        self.record.refused(self.core, &refusal);
        let mut body = Buf::new();
        let id = self.record.id.map(|id| id.of(self.incoming.body));
        refusal.append_body(body.vec(), id, self.record.modern);
        body
    }

    fn append_event(
        &mut self,
        reply: &Reply,
        event: &Event,
        chunked: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SpliceFault> {
        let mut scratch = self.core.scratch.borrow_mut();
        let scratch = &mut *scratch;
        reply.plan(event, &client(self.incoming, self.record, reply.method()), &mut scratch.splices);
        scratch.text.clear();
        scratch.splices.write(event.bytes(), &mut scratch.text)?;
        scratch.other.clear();
        sse::append_event(&mut scratch.other, None, &scratch.text);
        if chunked {
            write::chunk(out, &scratch.other);
        } else {
            out.extend_from_slice(&scratch.other);
        }
        Ok(())
    }

    /// Of a message too large to hold, behind others on the same stream.
    fn append_piece(&self, piece: &[u8], is_first: bool, is_last: bool, chunked: bool, out: &mut Vec<u8>) {
        let mut scratch = self.core.scratch.borrow_mut();
        scratch.other.clear();
        sse::append_piece(&mut scratch.other, piece, is_first, is_last);
        if chunked {
            write::chunk(out, &scratch.other);
        } else {
            out.extend_from_slice(&scratch.other);
        }
    }

    /// Nobody reads on. Before 2026-07-28 that cancels nothing, so the upstream is let finish, to its deadline.
    fn leave(&mut self, mut reply: Reply) -> Next {
        if let Some(call) = self.record.under_way.take().filter(|_| reply.is_http()) {
            let core = self.core.clone();
            runtime::spawn_guarded("answer that nobody reads", async move {
                let client = Client { method: reply.method(), ..Client::nobody() };
                let read =
                    async { while reply.next(&core, &client).await.is_ok_and(|event| !event.is_last()) {} };
                let read = call.run(pin!(read)).await;
                if read == Err(Cancelled) {
                    reply.cancel(&core, UpstreamFault::Cancelled.giving_up());
                }
            });
        }
        Next::Close
    }

    /// The last bytes of an answer whose message went before, or in pieces.
    async fn finish(&mut self, out: Buf) -> Next {
        self.record.sent(out.len());
        if self.core.audit.is_on() && !self.tell(None) && Box::pin(self.settle(None)).await.is_err() {
            return Next::Close;
        }
        let sent = self.hand(out).await;
        Next::after(sent, self.close)
    }

    /// The last event, which was rendered just now; `in_pieces`: only the last piece of it.
    async fn finish_event(&mut self, out: Buf, in_pieces: bool) -> Next {
        if !self.core.audit.is_on() || in_pieces {
            return self.finish(out).await;
        }
        self.record.sent(out.len());
        let message = std::mem::take(&mut self.core.scratch.borrow_mut().text);
        let told = self.tell(Some(&message))
            || Box::pin(self.settle(Some(&message)))
                .await
                .inspect_err(|refusal| self.record.refused(self.core, refusal))
                .is_ok();
        self.core.scratch.borrow_mut().text = message;
        if !told {
            return Next::Close;
        }
        let sent = self.hand(out).await;
        Next::after(sent, self.close)
    }

    /// Hands the record to the audit log; `false`: it has to wait, with [`Answer::settle`].
    fn tell(&mut self, sent: Option<&[u8]>) -> bool {
        self.record.tell(self.core, self.adopted, self.incoming, sent)
    }

    async fn settle(&mut self, sent: Option<&[u8]>) -> Result<(), Refusal> {
        self.record.settle(self.core, self.adopted, self.incoming, sent).await
    }

    /// Instead of an answer that must not leave before its record is on the disk, which takes none.
    async fn unrecorded(&mut self, refusal: &Refusal) -> Next {
        self.record.refused(self.core, refusal);
        self.record.status(refusal.status(self.record.modern));
        let out = rendered(refusal, Some((self.incoming, self.record)), self.close);
        let sent = self.hand(out).await;
        Next::after(sent, self.close)
    }

    async fn send(&mut self, out: Buf) -> Result<(), Gone> {
        self.record.sent(out.len());
        self.hand(out).await
    }

    async fn hand(&mut self, out: Buf) -> Result<(), Gone> {
        self.sink.send(self.core, out).await.inspect_err(|Gone| self.record.left())
    }
}

/// A status without a body: 202, 204.
pub async fn empty(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    status: u16,
    close: bool,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Next {
    record.status(status);
    let mut out = Buf::new();
    let head = cors::shown(write::reply(out.vec(), status), incoming, record);
    let head = if status == 204 { head } else { head.content_length(0) };
    let head = if close { head.connection_close() } else { head };
    if head.finish().is_err() {
        return Next::Close;
    }
    record.sent(out.len());
    Next::after(sink.send(core, out).await, close)
}

/// The answer to a call that its client has cancelled: it gets none. Its request must end, so this is a stream of
/// events that has none.
async fn nothing(core: &Rc<Core>, incoming: &Incoming<'_>, sink: &mut Sink<'_>, record: &mut Record) -> Next {
    record.status(200);
    let chunked = !incoming.head.http10;
    let close = !incoming.head.keep_alive || core.draining.get() || !chunked;
    let Some(mut out) = event_stream(incoming, record, None, chunked, close) else { return Next::Close };
    if chunked {
        write::last_chunk(out.vec());
    }
    record.sent(out.len());
    Next::after(sink.send(core, out).await, close)
}

/// Says no, and remembers it.
pub async fn refuse(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    refusal: &Refusal,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Next {
    record.refused(core, refusal);
    if let Refusal::Upstream { fault: UpstreamFault::Cancelled, .. } = refusal {
        return nothing(core, incoming, sink, record).await;
    }
    record.status(refusal.status(record.modern));
    let close = !incoming.head.keep_alive || core.draining.get() || refusal.ends_connection();
    let out = rendered(refusal, Some((incoming, record)), close);
    record.sent(out.len());
    if core.audit.is_on() && !record.tell(core, adopted, incoming, None) {
        // It is refused already, recorded or not.
        let _ = Box::pin(record.settle(core, adopted, incoming, None)).await;
    }
    Next::after(sink.send(core, out).await, close)
}

/// Says no before there is a record to write it in: a hand-over that failed.
pub async fn refuse_plain(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    refusal: &Refusal,
    sink: &mut Sink<'_>,
) -> Next {
    let mut record = Record::begin(incoming.arrived_ns);
    let adopted = core.adopted();
    let next = refuse(core, &adopted, incoming, refusal, sink, &mut record).await;
    record.write(core, &adopted, incoming);
    next
}

/// Says no to what could not be read as a request. The caller closes, lingering.
pub async fn refuse_unread(core: &Rc<Core>, sink: &mut Sink<'_>, refusal: &Refusal) {
    let _ = sink.send(core, rendered(refusal, None, true)).await;
}

/// `of`: the request, if it could be read as one.
fn rendered(refusal: &Refusal, of: Option<(&Incoming<'_>, &Record)>, close: bool) -> Buf {
    let id = of.and_then(|(incoming, record)| Some(record.id?.of(incoming.body)));
    let modern = of.is_some_and(|(_, record)| record.modern);
    let bodiless = of.is_some_and(|(incoming, _)| incoming.head.method == Verb::Head);
    let mut body = Buf::new();
    refusal.append_body(body.vec(), id, modern);
    let mut out = Buf::with_capacity(HEAD_ROOM + body.len());
    let head = write::reply(out.vec(), refusal.status(modern)).lines(JSON).content_length(body.len() as u64);
    let head = refusal.headers(head);
    let head = match of {
        Some((incoming, record)) => timing::shown(cors::shown(head, incoming, record), record),
        None => head,
    };
    let head = if close { head.connection_close() } else { head };
    // Every header here is ours, so this cannot fail; an empty answer would close the connection.
    let _ = head.finish();
    // An answer to HEAD tells the length of a body that it does not have.
    if !bodiless {
        out.vec().extend_from_slice(&body);
    }
    out
}
