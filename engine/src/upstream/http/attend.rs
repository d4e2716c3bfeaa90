//! Calls whose client may be asked something: their answers are read by a task of their own.
//!
//! What the server asks in mid-call may come on the call's own stream or on that of the session, before the answer has
//! begun; and the answer must survive the connection that its client asked on, because the client comes back on another
//! one with what it was asked. So the call waits at a queue, and a task posts it, reads the answer and resumes its
//! stream. Over HTTP+SSE every call is like this: answers never come any other way.

use std::cell::RefCell;
use std::rc::Rc;

use super::call::{self, Exchanged};
use super::reply::{HttpReply, settle};
use super::session::Session;
use super::wire::Grip;
use crate::core::Core;
use crate::handle::Reach;
use crate::io::runtime;
use crate::limits::ATTENDED_EVENTS_MAX;
use crate::upstream::channel::Pending;
use crate::upstream::dialect::Client;
use crate::upstream::waiting::{Missed, Waiting};
use crate::upstream::{Event, InUse, Kept, Order, Responder, Upstream, UpstreamFault};

/// What the task and the one who waits share.
pub struct Attended {
    core: Rc<Core>,
    upstream: InUse,
    pub(super) pending: Rc<Pending>,
    /// The session that the call is in: another one when the first was lost.
    session: RefCell<Option<Rc<Session>>>,
    pub(super) grip: Rc<Grip>,
    /// See [`Order::knows_pauses`].
    pub(super) knows_pauses: bool,
}

/// The answer to an attended call.
pub struct AttendedReply {
    call: Rc<Attended>,
    waiting: Waiting,
    is_done: bool,
}

/// Sends a call and lets a task read its answer.
pub fn begin(core: &Rc<Core>, upstream: &Rc<Upstream>, order: &Order<'_>) -> AttendedReply {
    let pending = Rc::new(Pending {
        cancel_when_dropped: order.client.is_modern(),
        wants_progress: order.message.progress_token.is_some(),
        may_be_asked: order.declared().can_be_asked(),
        ..Pending::with_room(upstream.next_id(), ATTENDED_EVENTS_MAX)
    });
    let call = Rc::new(Attended {
        core: core.clone(),
        upstream: InUse::new(upstream),
        pending: pending.clone(),
        session: RefCell::default(),
        grip: Rc::default(),
        knows_pauses: order.knows_pauses(),
    });
    runtime::spawn_guarded("attended call", call.clone().carry(Kept::of(order)));
    // Before 2026-07-28 a client that leaves has not cancelled: its call runs on to its own deadline.
    let client_fd = order.client_fd.filter(|_| order.client.is_modern());
    let waiting = Waiting::begin(core, upstream.timeouts, pending, client_fd);
    AttendedReply { call, waiting, is_done: false }
}

impl Attended {
    /// The call is in this session from now on.
    pub(super) fn join(&self, session: &Rc<Session>) {
        let before = self.session.replace(Some(session.clone()));
        if let Some(before) = before {
            before.channel.forget(self.pending.id);
        }
        session.channel.join(self.pending.clone());
    }

    async fn carry(self: Rc<Self>, order: Kept) {
        let outcome = self.answer(&order.order()).await;
        if let Err(fault) = outcome {
            self.leave();
            self.pending.fail(fault);
        }
    }

    async fn answer(&self, order: &Order<'_>) -> Result<(), UpstreamFault> {
        let reach = self.upstream.reach.borrow().clone();
        let Reach::Http { endpoints } = &*reach else {
            return Err(UpstreamFault::Unreachable("it is not an HTTP server any more".to_owned()));
        };
        let exchange = call::exchange(&self.core, &self.upstream, endpoints, order, Some(self));
        let reply = match Box::pin(exchange).await? {
            Exchanged::Reply(reply) => reply,
            // It is attended already.
            Exchanged::OverSse => return Err(UpstreamFault::Closed { after_bytes: false }),
        };
        self.pending.is_answered.set(true);
        let is_sse = self.session.borrow().as_ref().is_some_and(|session| session.post_at.is_some());
        if is_sse {
            // The answer comes over the session's stream.
            settle(&self.core, reply).await;
            return Ok(());
        }
        let relayed = self.relay(reply, order).await;
        self.leave();
        relayed
    }

    async fn relay(&self, mut reply: HttpReply, order: &Order<'_>) -> Result<(), UpstreamFault> {
        let client = Client {
            id: order.message.id.map_or(&b"null"[..], |id| id.of(order.body)),
            token: order.message.progress_token.map(|token| token.of(order.body)),
            modern: order.client.is_modern(),
            method: order.message.method,
            session: None,
            body: order.body,
        };
        loop {
            let event = reply.next(&self.core, &client).await?;
            let last = event.is_last();
            let mut event = Some(event);
            while let Some(refused) = event.take().and_then(|event| self.pending.queue.push(event).err()) {
                if self.pending.queue.is_closed() {
                    break;
                }
                // A slow client slows its server.
                self.pending.taken.wait().await;
                event = Some(refused);
            }
            if last {
                self.pending.queue.close();
                return Ok(());
            }
        }
    }

    /// The call is in no session any more.
    fn leave(&self) {
        if let Some(session) = &*self.session.borrow() {
            session.channel.forget(self.pending.id);
        }
    }
}

impl AttendedReply {
    /// How long the server let us wait so far, its handshake included.
    pub fn waited_ns(&self) -> u64 {
        self.waiting.waited_ns()
    }

    /// How a request of the server's own is answered.
    pub fn responder(&self) -> Option<Responder> {
        let session = self.call.session.borrow().clone()?;
        Some(Responder::Http { upstream: self.call.upstream.clone(), session })
    }

    /// The call is cancelled: its server is told, and nothing more comes of it.
    pub fn cancel(&mut self, reason: &str) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        self.call.leave();
        self.call.pending.queue.close();
        self.call.pending.taken.set();
        self.call.grip.end();
        if let Some(session) = &*self.call.session.borrow() {
            session.cancel(&self.call.core, &self.call.upstream, self.call.pending.id, reason);
        }
    }

    /// Its client may leave without ending it.
    pub fn detach_client(&mut self, core: &Rc<Core>) {
        self.waiting.detach_client(core);
    }

    /// The call may take until then.
    pub fn extend_deadline(&mut self, at_ms: u64) {
        self.waiting.extend_deadline(at_ms);
    }

    pub async fn next(&mut self, core: &Rc<Core>) -> Result<Event, UpstreamFault> {
        match self.waiting.next(core).await {
            Ok(event) => {
                self.is_done = event.is_last();
                Ok(event)
            }
            Err(Missed::GaveUp(fault)) => {
                self.cancel(fault.giving_up());
                Err(fault)
            }
            Err(Missed::Over(fault)) => {
                self.is_done = true;
                Err(fault.unwrap_or(UpstreamFault::Closed { after_bytes: true }))
            }
        }
    }
}

impl Drop for AttendedReply {
    /// A call that nobody waits for any more is cancelled, unless its client's revision says that going away is not
    /// cancelling: then it runs on to its deadline, and what it says is dropped.
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        if self.call.pending.cancel_when_dropped {
            return self.cancel(UpstreamFault::ClientGone.giving_up());
        }
        self.call.leave();
        self.call.pending.queue.close();
        self.call.pending.taken.set();
        self.call.grip.end_at(self.waiting.until_ms());
    }
}
