//! Calls to a child that another worker owns: the order goes through the mailbox with its bytes, and
//! what the child says comes back as it is. What becomes of it is decided where the client is.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strait_protocol::jsonrpc::{Envelope, Message};
use strait_protocol::mcp::Revision;

use super::Leash;
use crate::core::Core;
use crate::edition::Wiring;
use crate::handle::Reach;
use crate::io::buffer::Buf;
use crate::io::mailbox::{ReplyRx, ReplyTx, reply};
use crate::io::signal::Signal;
use crate::io::watch::Watch;
use crate::upstream::{Affinity, Era, Event, InUse, Order, Responder, Upstream, UpstreamFault, Whom};
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
    leash: Arc<Leash>,
    answer: ReplyTx<Answered>,
}

#[allow(clippy::large_enum_variant)] // the large one is the usual one, and a box would be an allocation per event
enum Said {
    Event {
        bytes: Buf,
        envelope: Envelope,
        last: bool,
        era: Era,
        /// How long the owner has waited for the child so far.
        waited_ns: u64,
    },
    Failed(UpstreamFault),
}

/// One event on its way back.
pub struct Answered(Said);

/// A line for a child that another worker owns.
pub struct Line {
    upstream: Arc<Wiring>,
    of: Affinity,
    bytes: Buf,
}

/// The way to a child of another worker.
#[derive(Clone)]
pub struct Way {
    upstream: Arc<Wiring>,
    owner: usize,
    of: Affinity,
}

impl Way {
    /// Sends a line. A worker that is too busy or gone does not take it: the child waits for its answer in vain, as for
    /// any client that went away.
    pub fn send(&self, core: &Core, mut bytes: Buf) {
        bytes.depart();
        let line = Line { upstream: self.upstream.clone(), of: self.of, bytes };
        let _ = core.post.send(self.owner, Parcel::Line(Box::new(line)));
    }
}

/// The owner's side of [`Way::send`].
pub fn say(core: &Rc<Core>, line: Line) {
    let Line { upstream, of, mut bytes } = line;
    bytes.arrive();
    if let Some(child) = core.upstreams.open(&upstream).stdio.running(&of) {
        child.say(bytes);
    }
}

/// The asking side.
pub struct Answers {
    events: ReplyRx<Answered>,
    /// Raised when the client has gone: the owner cannot see its socket.
    gone: Rc<Signal>,
    watch: Option<Watch>,
    era: Era,
    waited_ns: u64,
    leash: Arc<Leash>,
    way: Way,
}

/// Hands the order to the worker that owns the child.
pub fn send(
    core: &Rc<Core>,
    upstream: &Upstream,
    owner: usize,
    order: &Order<'_>,
) -> Result<Answers, UpstreamFault> {
    let (answer, events) = reply();
    let leash = Arc::<Leash>::default();
    let parcel = Parcelled {
        upstream: upstream.wiring(),
        body: order.body.to_vec(),
        message: *order.message,
        bare: order.bare.map(<[u8]>::to_vec),
        client: order.client,
        whom: order.whom.clone(),
        leash: leash.clone(),
        answer,
    };
    let way = Way {
        upstream: upstream.wiring(),
        owner,
        of: upstream.stdio.affinity(&order.whom, order.declared()),
    };
    match core.post.send(owner, Parcel::Order(Box::new(parcel))) {
        Ok(()) => {
            let gone = Rc::new(Signal::new());
            // Deadlines are the owner's; this watch only looks after the client.
            let watch =
                order.client_fd.map(|fd| core.watches.wake_at(u64::MAX, gone.clone()).also_client(fd));
            Ok(Answers { events, gone, watch, era: Era::Legacy, waited_ns: 0, leash, way })
        }
        Err(_) => Err(UpstreamFault::Busy { limit: crate::io::mailbox::MAILBOX_PARCELS }),
    }
}

impl Answers {
    /// Of the child alone: the way to its owner and back is our own.
    pub fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    /// Known with the first event.
    pub fn era(&self) -> Era {
        self.era
    }

    /// How a request of the child's own is answered.
    pub fn responder(&self) -> Responder {
        Responder::Elsewhere(self.way.clone())
    }

    /// The call is cancelled: the child is told, and nothing more comes of it.
    pub fn cancel(&mut self) {
        self.leash.cancelled.store(true, Ordering::Relaxed);
        self.events.close();
    }

    /// Its client may leave without ending it.
    pub fn detach_client(&mut self) {
        self.watch = None;
    }

    /// The call may take until then.
    pub fn extend_deadline(&self, at_ms: u64) {
        self.leash.until_ms.store(at_ms, Ordering::Relaxed);
    }

    pub async fn next(&mut self, core: &Core) -> Result<Event, UpstreamFault> {
        let event = tokio::select! {
            biased;
            event = self.events.recv() => event,
            () = self.gone.wait() => return Err(UpstreamFault::ClientGone),
        };
        match event {
            Some(Answered(Said::Event { mut bytes, envelope, last, era, waited_ns })) => {
                bytes.arrive();
                (self.era, self.waited_ns) = (era, waited_ns);
                let envelope = core.envelopes.put(envelope);
                Ok(Event::Message { bytes, from: 0, envelope, last })
            }
            Some(Answered(Said::Failed(fault))) => Err(fault),
            None => Err(UpstreamFault::Closed { after_bytes: true }),
        }
    }
}

/// The owner's side: calls the child and passes on what it says.
pub async fn receive(core: Rc<Core>, parcel: Box<Parcelled>) {
    let outcome = relay(&core, &parcel).await;
    if let Err(fault) = outcome {
        let _ = parcel.answer.send(Answered(Said::Failed(fault))).await;
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
        under_way: None,
    };
    let upstream = InUse::new(&core.upstreams.open(&parcel.upstream));
    if !matches!(&**upstream.reach.borrow(), Reach::Stdio { .. }) {
        return Err(UpstreamFault::Unreachable("it is not a stdio server".to_owned()));
    }
    let _admitted = core.admit().map_err(|_| UpstreamFault::Busy { limit: core.caps().calls })?;
    let mut child = super::call(core, &upstream, &order).await?;
    child.leash = Some(parcel.leash.clone());
    loop {
        let event = tokio::select! {
            biased;
            // Nobody waits any more: dropping the reply cancels the call.
            () = parcel.answer.closed() => return Ok(()),
            event = child.next(core) => event?,
        };
        let Event::Message { mut bytes, envelope, last, .. } = event else {
            return Err(UpstreamFault::NotMcp("a child's line came as something else".to_owned()));
        };
        bytes.depart();
        let envelope = *envelope;
        let (era, waited_ns) = (child.era(), child.waited_ns());
        let sent = parcel.answer.send(Answered(Said::Event { bytes, envelope, last, era, waited_ns })).await;
        if sent.is_err() || last {
            return Ok(());
        }
    }
}
