//! An answer that is told message by message into an outlet, whoever reads that and wherever.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use strait_protocol::http1::RequestHead;

use super::arrive::Place;
use super::batch::Whole;
use super::decode::Call;
use super::identify::Caller;
use super::record::Record;
use super::refusal::Refusal;
use super::{Incoming, Outcome, carry_out, respond};
use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::io::tls::ClientCertificate;
use crate::limits::WIRE_ANSWER_BYTES_MAX;
use crate::session::outlet::Outlet;
use crate::session::wire::{UnderWay, Wire};
use crate::upstream::{Event, Reply, UpstreamFault};

/// A request, or one message of it, apart from its connection.
pub struct Apart {
    head: RequestHead,
    /// The head's bytes and the message.
    bytes: Vec<u8>,
    listener: u16,
    peer: IpAddr,
    certificate: Option<Arc<ClientCertificate>>,
    arrived_ns: u64,
    pub adopted: Rc<Adopted>,
}

impl Apart {
    pub fn of(incoming: &Incoming<'_>, adopted: &Rc<Adopted>) -> Apart {
        Apart {
            head: *incoming.head,
            bytes: [incoming.bytes, incoming.body].concat(),
            listener: incoming.listener,
            peer: incoming.peer,
            certificate: incoming.certificate.cloned(),
            arrived_ns: incoming.arrived_ns,
            adopted: adopted.clone(),
        }
    }

    /// As it came, but that no connection waits for it.
    pub fn incoming<'a>(&'a self, wire: Option<&'a Wire>) -> Incoming<'a> {
        let (bytes, body) = self.bytes.split_at_checked(self.head.head_bytes as usize).unwrap_or_default();
        Incoming {
            head: &self.head,
            bytes,
            body,
            listener: self.listener,
            peer: self.peer,
            certificate: self.certificate.as_ref(),
            client: None,
            left: None,
            wire,
            arrived_ns: self.arrived_ns,
        }
    }
}

/// A message whose answer is told.
pub struct Said {
    request: Apart,
    place: Place,
    caller: Caller,
    decoded: Result<Call, Refusal>,
    to: To,
}

/// Where its answer goes.
pub enum To {
    Wire(UnderWay),
    Batch(Rc<Whole>),
}

impl To {
    fn wire(&self) -> Option<&Rc<Wire>> {
        match self {
            To::Wire(under_way) => Some(under_way.wire()),
            To::Batch(_) => None,
        }
    }

    fn outlet(&self) -> &Rc<Outlet> {
        match self {
            To::Wire(under_way) => &under_way.wire().outlet,
            To::Batch(whole) => &whole.outlet,
        }
    }
}

impl Said {
    pub fn new(
        incoming: &Incoming<'_>,
        adopted: &Rc<Adopted>,
        place: Place,
        caller: Caller,
        decoded: Result<Call, Refusal>,
        to: To,
    ) -> Said {
        Said { request: Apart::of(incoming, adopted), place, caller, decoded, to }
    }

    /// The rest of the story, and its record.
    pub async fn carry_out(self, core: Rc<Core>, mut record: Record) {
        let adopted = &self.request.adopted;
        let incoming = self.request.incoming(self.to.wire().map(|wire| &**wire));
        let outcome = match self.decoded {
            Ok(call) => {
                carry_out(&core, adopted, &incoming, &self.place, &self.caller, &call, &mut record).await
            }
            Err(refusal) => Err(refusal),
        };
        let reply = match outcome {
            Ok(Outcome::Reply(reply)) => Ok(reply),
            Ok(_) => Err(Refusal::Internal("an older client asked for what only newer ones know")),
            Err(refusal) => Err(refusal),
        };
        run(&core, adopted, &incoming, self.to.outlet(), reply, None, &mut record).await;
        record.settle_and_write(&core, adopted, &incoming).await;
    }
}

/// Tells every message of a reply, of which `first` may be here already, or why there is none.
pub async fn run(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    outlet: &Rc<Outlet>,
    reply: Result<Reply, Refusal>,
    first: Option<Event>,
    record: &mut Record,
) {
    let told = match reply {
        Ok(reply) => tell(core, adopted, incoming, outlet, reply, first, record).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = told {
        record.refused(core, &refusal);
        let mut error = Buf::new();
        refusal.append_body(error.vec(), record.id.map(|id| id.of(incoming.body)), false);
        // What the client has cancelled gets no answer.
        let is_wanted = !matches!(refusal, Refusal::Upstream { fault: UpstreamFault::Cancelled, .. });
        if is_wanted && record.id.is_some() && !say(outlet, error, record).await {
            record.left();
        }
    }
}

/// Every message of a reply, as it comes.
async fn tell(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    outlet: &Rc<Outlet>,
    mut reply: Reply,
    mut first: Option<Event>,
    record: &mut Record,
) -> Result<(), Refusal> {
    if reply.is_empty() {
        return Ok(());
    }
    let mut has_begun = first.is_some();
    let mut gathered = Buf::empty();
    loop {
        let event = match first.take() {
            Some(event) => Ok(event),
            None => respond::wanted(core, adopted, incoming, &mut reply, record).await,
        };
        let failed = |fault| Refusal::Upstream { name: reply.upstream_name(), fault };
        let event = event.map_err(failed)?;
        if has_begun {
            record.waited(&reply);
        } else {
            record.answered(core, &reply);
            has_begun = true;
        }
        if let Event::Paused { .. } = &event {
            // As its server does: whoever waits may come back, without a connection meanwhile. To an HTTP+SSE stream
            // nobody can.
            if incoming.wire.is_none() {
                outlet.hang_up();
            }
            continue;
        }
        let last = event.is_last();
        if let Event::Fragment { bytes, .. } = &event {
            gather(core, &mut gathered, bytes, WIRE_ANSWER_BYTES_MAX).map_err(failed)?;
            if !last {
                continue;
            }
        } else {
            gathered = rendered(core, incoming, &reply, &event, record);
        }
        if last && reply.is_error(&event) {
            record.errored();
        }
        drop(event);
        if last && core.audit.is_on() && !record.tell(core, adopted, incoming, Some(&gathered)) {
            Box::pin(record.settle(core, adopted, incoming, Some(&gathered))).await?;
        }
        if !say(outlet, std::mem::take(&mut gathered), record).await {
            reply.cancel(core, "the client closed its stream");
            record.left();
            return Ok(());
        }
        if last {
            return Ok(());
        }
        // Whoever reads sends it before the next wait for the upstream begins: the kernel takes both in that order.
        behind_the_woken().await;
    }
}

/// As the client is to see it.
fn rendered(core: &Rc<Core>, incoming: &Incoming<'_>, reply: &Reply, event: &Event, record: &Record) -> Buf {
    let client = respond::client(incoming, record, reply.method());
    let mut scratch = core.scratch.borrow_mut();
    let mut out = Buf::with_capacity(reply.plan(event, &client, &mut scratch.splices));
    if scratch.splices.write(event.bytes(), out.vec()).is_err() {
        out.clear();
        Refusal::Internal("an answer could not be edited").append_body(out.vec(), Some(client.id), false);
    }
    out
}

/// A piece of an answer that is one event on the stream.
pub fn gather(core: &Core, gathered: &mut Buf, piece: &[u8], limit: usize) -> Result<(), UpstreamFault> {
    if gathered.len() + piece.len() > limit {
        return Err(UpstreamFault::TooLarge { limit });
    }
    if gathered.room() < piece.len() {
        let more = (gathered.capacity() * 2).max(gathered.len() + piece.len());
        if core.is_full_with(more) {
            return Err(UpstreamFault::NoRoom);
        }
        let mut larger = Buf::with_capacity(more);
        larger.extend_from_slice(gathered);
        *gathered = larger;
    }
    gathered.extend_from_slice(piece);
    Ok(())
}

/// Lets those go first whom this task has woken. Nothing is asked of the kernel: it is for a task that waits next.
async fn behind_the_woken() {
    let mut has_stepped_back = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_stepped_back, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Puts a message on the stream once there is room; `false` when the stream is over.
async fn say(outlet: &Outlet, message: Buf, record: &mut Record) -> bool {
    record.sent(message.len());
    outlet.send(message).await
}
