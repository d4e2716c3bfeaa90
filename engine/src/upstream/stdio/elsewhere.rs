//! Calls to a child that another worker owns: the order goes through the mailbox with its bytes, and
//! rendered events come back.

use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::jsonrpc::Message;
use strait_protocol::mcp::Revision;

use super::ChildReply;
use crate::core::Core;
use crate::edition::Wiring;
use crate::exchange::respond;
use crate::handle::Reach;
use crate::io::buffer::Buf;
use crate::io::mailbox::{ReplyRx, ReplyTx, reply};
use crate::io::signal::Signal;
use crate::io::watch::Watch;
use crate::upstream::dialect::Client;
use crate::upstream::reply::{Reply, Source};
use crate::upstream::{Event, InUse, Order, Upstream, UpstreamFault, Whom};
use crate::worker::Parcel;

/// An order on its way to its owner.
pub struct Parcelled {
    /// Whole: its owner may not have adopted the edition that names it, or have left it already.
    upstream: Arc<Wiring>,
    body: Vec<u8>,
    message: Message,
    bare: Option<Vec<u8>>,
    client: Revision,
    whom: Whom,
    answer: ReplyTx<Answered>,
}

enum Rendered {
    Event {
        bytes: Buf,
        last: bool,
        /// A JSON-RPC error of the upstream.
        error: bool,
        /// How long the owner has waited for the child so far.
        waited_ns: u64,
    },
    Failed(UpstreamFault),
}

/// One event on its way back.
pub struct Answered(Rendered);

/// The asking side.
pub struct Answers {
    events: ReplyRx<Answered>,
    /// Raised when the client has gone: the owner cannot see its socket.
    gone: Rc<Signal>,
    _watch: Option<Watch>,
    error: bool,
    waited_ns: u64,
}

/// Hands the order to the worker that owns the child.
pub fn send(
    core: &Rc<Core>,
    upstream: &Upstream,
    owner: usize,
    order: &Order<'_>,
) -> Result<Answers, UpstreamFault> {
    let (answer, events) = reply();
    let parcel = Parcelled {
        upstream: upstream.wiring(),
        body: order.body.to_vec(),
        message: *order.message,
        bare: order.bare.map(<[u8]>::to_vec),
        client: order.client,
        whom: order.whom.clone(),
        answer,
    };
    match core.post.send(owner, Parcel::Order(Box::new(parcel))) {
        Ok(()) => {
            let gone = Rc::new(Signal::new());
            // Deadlines are the owner's; this watch only looks after the client.
            let watch =
                order.client_fd.map(|fd| core.watches.wake_at(u64::MAX, gone.clone()).also_client(fd));
            Ok(Answers { events, gone, _watch: watch, error: false, waited_ns: 0 })
        }
        Err(_) => Err(UpstreamFault::Busy { limit: crate::io::mailbox::MAILBOX_PARCELS }),
    }
}

impl Answers {
    /// Of the child alone: the way to its owner and back is our own.
    pub fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    /// Whether the last event is an error of the upstream.
    pub fn is_error(&self) -> bool {
        self.error
    }

    pub async fn next(&mut self) -> Result<Event, UpstreamFault> {
        let event = tokio::select! {
            biased;
            event = self.events.recv() => event,
            () = self.gone.wait() => return Err(UpstreamFault::ClientGone),
        };
        match event {
            Some(Answered(Rendered::Event { mut bytes, last, error, waited_ns })) => {
                bytes.arrive();
                (self.error, self.waited_ns) = (error, waited_ns);
                Ok(Event::Ready { bytes, last })
            }
            Some(Answered(Rendered::Failed(fault))) => Err(fault),
            None => Err(UpstreamFault::Closed { after_bytes: true }),
        }
    }
}

/// The owner's side: calls the child and renders every event for the client.
pub async fn receive(core: Rc<Core>, parcel: Box<Parcelled>) {
    let outcome = relay(&core, &parcel).await;
    if let Err(fault) = outcome {
        let _ = parcel.answer.send(Answered(Rendered::Failed(fault))).await;
    }
}

async fn relay(core: &Rc<Core>, parcel: &Parcelled) -> Result<(), UpstreamFault> {
    let order = Order {
        body: &parcel.body,
        message: &parcel.message,
        bare: parcel.bare.as_deref(),
        client: parcel.client,
        head: None,
        whom: parcel.whom.clone(),
        client_fd: None,
    };
    let upstream = InUse::new(&core.upstreams.open(&parcel.upstream));
    if !matches!(&**upstream.reach.borrow(), Reach::Stdio { .. }) {
        return Err(UpstreamFault::Unreachable("it is not a stdio server".to_owned()));
    }
    let admitted = core.admit().map_err(|_| UpstreamFault::Busy { limit: core.caps().calls })?;
    let child: ChildReply = super::call(core, &upstream, &order).await?;
    let mut reply = Reply::of(Source::Child(child), upstream, &order, admitted);
    let client = Client {
        id: order.message.id.map_or(&b"null"[..], |id| id.of(order.body)),
        token: order.message.progress_token.map(|token| token.of(order.body)),
        modern: order.client.is_modern(),
        method: order.message.method,
        session: None,
    };
    loop {
        let event = tokio::select! {
            biased;
            // Nobody waits any more: dropping the reply cancels the call.
            () = parcel.answer.closed() => return Ok(()),
            event = respond::next(core, &mut reply, &client) => event?,
        };
        let (last, error, waited_ns) = (event.is_last(), reply.is_error(&event), reply.waited_ns());
        let mut bytes = {
            let mut scratch = core.scratch.borrow_mut();
            let rendered = reply.plan(&event, &client, &mut scratch.splices);
            let mut bytes = Buf::with_capacity(rendered);
            let _ = scratch.splices.write(event.bytes(), bytes.vec());
            bytes
        };
        bytes.depart();
        let sent = parcel.answer.send(Answered(Rendered::Event { bytes, last, error, waited_ns })).await;
        if sent.is_err() || last {
            return Ok(());
        }
    }
}
