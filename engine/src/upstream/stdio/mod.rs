//! MCP servers that are children of ours and speak over stdin and stdout.
//!
//! A child belongs to one worker, which alone writes to it and reads from it; other workers' calls come
//! through the mailbox ([`elsewhere`]). All calls share one channel, so each gets an id and a progress
//! token of ours, and [`child`] tells the answers apart. A child that ended is started again by the
//! next call that needs it, not sooner than its backoff allows.

pub mod child;
pub mod elsewhere;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use strait_protocol::mcp::Declared;
use tokio::sync::Notify;

use crate::core::Core;
use crate::edition::Sharing;
use crate::handle::Reach;
use crate::io::buffer::Buf;
use crate::io::clock::Waited;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::io::watch::{Cause, Watch};
use crate::limits::CHILD_BACKOFF_MS;
use crate::upstream::channel::{Ear, Pending};
use crate::upstream::credential::Secret;
use crate::upstream::credential::lending::Lent;
use crate::upstream::dialect::{self, Channel};
use crate::upstream::learn::NOBODY;
use crate::upstream::{Affinity, Era, Event, Order, Responder, Upstream, UpstreamFault, Whom, handshake};
use child::Child;

/// How often it is looked whether a child that is to end has ended its calls.
const LEAVING_LOOK_MS: u64 = 200;

/// Who shares a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Shared,
    Session,
    Principal,
}

/// The children of one upstream on this worker.
pub struct Children {
    sharing: Sharing,
    slots: RefCell<HashMap<Affinity, Rc<Slot>>>,
}

/// The place of one child: it may be running, being started, or waiting to be started again.
pub struct Slot {
    /// For whom it is, and so what its clients can be asked.
    of: Affinity,
    /// What the child is told that they can be.
    declares: Declared,
    child: RefCell<Option<Rc<Child>>>,
    /// What its child is started with on its caller's behalf.
    lent: RefCell<Option<Arc<Lent>>>,
    starting: Cell<bool>,
    started: Notify,
    /// Why the last start failed.
    failed: RefCell<Option<UpstreamFault>>,
    not_before_ms: Cell<u64>,
    backoff_ms: Cell<u64>,
    used_ms: Cell<u64>,
    /// Whether a child has lived here before.
    lived: Cell<bool>,
}

impl Children {
    pub fn new(sharing: Sharing) -> Children {
        let sharing = Sharing { max: sharing.max.max(1), ..sharing };
        Children { sharing, slots: RefCell::default() }
    }

    /// Children that run here.
    pub fn count(&self) -> usize {
        let slots = self.slots.borrow();
        slots
            .values()
            .filter(|slot| slot.child.borrow().as_ref().is_some_and(|child| child.is_alive()))
            .count()
    }

    /// Which worker owns the child that somebody's orders are for.
    pub fn owner(&self, core: &Core, upstream: &Upstream, whom: &Whom) -> usize {
        match (self.sharing.per, whom.session) {
            (Per::Shared, _) => core.owner_of(upstream.id.0.into()),
            // A session's requests are told by its owner already, so its child lives there.
            (Per::Session, Some(_)) => core.id,
            (Per::Session, None) | (Per::Principal, _) => {
                core.owner_of(whom.principal ^ u64::from(upstream.id.0))
            }
        }
    }

    /// For whom the child is. A shared one is everybody's, so it is told of no client's capabilities.
    pub fn affinity(&self, whom: &Whom, declared: Declared) -> Affinity {
        match self.sharing.per {
            Per::Shared => Affinity::NOBODY,
            Per::Session => Affinity::of(whom, declared),
            Per::Principal => Affinity { key: whom.principal, declared },
        }
    }

    /// For whom a child is that somebody shares with others: what is kept for it does not end with one of them.
    pub fn sharer(&self, whom: Whom) -> Whom {
        match self.sharing.per {
            Per::Shared => Whom::of(NOBODY, None),
            Per::Session => whom,
            Per::Principal => Whom { session: None, ..whom },
        }
    }

    /// The children that serve nobody but a client's session: it is over.
    pub fn end_session(&self, core: &Core, session: u128) {
        if self.sharing.per == Per::Session {
            let gone = self
                .slots
                .borrow_mut()
                .extract_if(|of, _| of.key == Affinity::key_of(session))
                .collect::<Vec<_>>();
            for child in gone.iter().filter_map(|(_, slot)| slot.child.take()) {
                child.end(core);
            }
        }
    }

    /// Says something to the children that serve a client's session.
    pub fn tell_session(&self, session: u128, message: &[u8]) {
        if self.sharing.per == Per::Session {
            let slots = self.slots.borrow();
            let its = slots.iter().filter(|(of, _)| of.key == Affinity::key_of(session));
            for child in its.filter_map(|(_, slot)| slot.child.borrow().clone()) {
                child.say(Buf::from(message));
            }
        }
    }

    /// Whether one child serves all.
    pub fn is_shared(&self) -> bool {
        self.sharing.per == Per::Shared
    }

    /// The running child for somebody.
    pub fn running(&self, of: &Affinity) -> Option<Rc<Child>> {
        let slots = self.slots.borrow();
        slots.get(of)?.child.borrow().as_ref().filter(|child| child.is_alive()).cloned()
    }

    /// The place of somebody's child. When all are taken, the child that has been idle longest gives way.
    fn slot(&self, core: &Rc<Core>, of: Affinity) -> Result<Rc<Slot>, UpstreamFault> {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get(&of) {
            return Ok(slot.clone());
        }
        if slots.len() >= self.sharing.max {
            let idle = slots.iter().filter(|(_, slot)| !slot.is_busy());
            let longest = idle.min_by_key(|(_, slot)| slot.used_ms.get()).map(|(key, _)| *key);
            let gone = longest.and_then(|key| slots.remove(&key));
            let gone = gone.ok_or(UpstreamFault::Busy { limit: self.sharing.max })?;
            if let Some(child) = gone.child.take() {
                child.end(core);
            }
        }
        let declares = if self.is_shared() { of.declared } else { of.declares() };
        let slot = Slot::new(of, declares, core.clock.coarse_ms());
        slots.insert(of, slot.clone());
        Ok(slot)
    }

    /// Ends children that nobody has used for a while.
    pub fn sweep(&self, core: &Rc<Core>) {
        if self.sharing.per == Per::Shared {
            return;
        }
        let now_ms = core.clock.coarse_ms();
        self.slots.borrow_mut().retain(|_, slot| {
            let idle = now_ms.saturating_sub(slot.used_ms.get()) > self.sharing.idle_ms;
            let busy = slot.is_busy();
            if idle
                && !busy
                && let Some(child) = slot.child.take()
            {
                child.end(core);
            }
            !idle || busy
        });
    }

    /// Ends all children: their stdin closes, then they are signalled.
    pub fn end(&self, core: &Rc<Core>) {
        for slot in self.slots.borrow().values() {
            if let Some(child) = slot.child.take() {
                child.end(core);
            }
        }
    }
}

impl Slot {
    fn new(of: Affinity, declares: Declared, now_ms: u64) -> Rc<Slot> {
        Rc::new(Slot {
            of,
            declares,
            child: RefCell::default(),
            lent: RefCell::default(),
            starting: Cell::new(false),
            started: Notify::new(),
            failed: RefCell::default(),
            not_before_ms: Cell::new(0),
            backoff_ms: Cell::new(CHILD_BACKOFF_MS.0),
            used_ms: Cell::new(now_ms),
            lived: Cell::new(false),
        })
    }

    /// Whether somebody uses it or is about to: whoever does holds it too.
    fn is_busy(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1 || self.child.borrow().as_ref().is_some_and(|child| child.is_busy())
    }

    fn running(&self, core: &Core) -> Option<Rc<Child>> {
        self.used_ms.set(core.clock.coarse_ms());
        self.child.borrow().as_ref().filter(|child| child.is_alive()).cloned()
    }

    /// The running child, started if need be. Several callers wait for the same start, each as long as it
    /// likes: the start is nobody's and goes on without them.
    async fn child(
        self: &Rc<Self>,
        core: &Rc<Core>,
        upstream: &Rc<Upstream>,
    ) -> Result<Rc<Child>, UpstreamFault> {
        loop {
            if let Some(child) = self.running(core) {
                return Ok(child);
            }
            if !self.starting.get() {
                let now_ms = core.clock.coarse_ms();
                if now_ms < self.not_before_ms.get() {
                    let failed = self.failed.borrow().clone();
                    return Err(
                        failed.unwrap_or_else(|| UpstreamFault::Exited("it is about to be restarted".into()))
                    );
                }
                self.starting.set(true);
                let start = self.clone().start(core.clone(), upstream.clone());
                runtime::spawn_guarded("start of a stdio child", start);
            }
            self.started.notified().await;
            if let (None, Some(fault)) = (&*self.child.borrow(), &*self.failed.borrow()) {
                return Err(fault.clone());
            }
        }
    }

    /// Takes up what its caller's token was exchanged for. A child whose token is over gets no more calls: those it has end
    /// there, and the next one is started with the new.
    fn lend(self: &Rc<Self>, core: &Rc<Core>, lent: Option<&Arc<Lent>>) {
        let Some(lent) = lent else { return };
        let is_good = self.lent.borrow().as_ref().is_some_and(|last| !last.is_over(&core.clock));
        if is_good {
            return;
        }
        self.lent.replace(Some(lent.clone()));
        // A token that ended is no failure of the child's.
        self.not_before_ms.set(0);
        if let Some(child) = self.child.take() {
            let core = core.clone();
            runtime::spawn_guarded("end of a child whose token is over", async move {
                while child.is_alive() && child.is_busy() {
                    runtime::sleep(Duration::from_millis(LEAVING_LOOK_MS)).await;
                }
                child.end(&core);
            });
        }
    }

    /// The variable that it is started with on its caller's behalf. A caller's child is not started with anybody else's.
    fn variable(&self, reach: &Reach) -> Result<Option<(String, Secret)>, UpstreamFault> {
        let Some(variable) = reach.lender().and_then(|lender| lender.variable.as_ref()) else {
            return Ok(None);
        };
        let token = match (&*self.lent.borrow(), self.of == Affinity::NOBODY) {
            (_, true) => variable.own.clone(),
            (Some(lent), false) => Some(lent.token.clone()),
            (None, false) => {
                let why = "there is no token of the caller that this child is for";
                return Err(UpstreamFault::Credential(why.to_owned()));
            }
        };
        Ok(token.map(|token| (variable.name.clone(), token)))
    }

    async fn start(self: Rc<Self>, core: Rc<Core>, upstream: Rc<Upstream>) {
        let reach = upstream.reach.borrow().clone();
        let started = match self.variable(&reach) {
            Ok(variable) => child::start(&core, &upstream, &reach, (self.declares, variable)).await,
            Err(fault) => Err(fault),
        };
        self.starting.set(false);
        // Whatever happens next, not at once again.
        self.not_before_ms.set(core.clock.coarse_ms() + self.backoff_ms.get());
        self.backoff_ms.set((self.backoff_ms.get() * 2).min(CHILD_BACKOFF_MS.1));
        match started {
            Ok(child) => {
                if self.lived.replace(true) {
                    upstream.figures(&core).children_restarted.add(1);
                }
                self.failed.take();
                self.child.replace(Some(child));
            }
            Err(fault) => {
                self.child.take();
                self.failed.replace(Some(fault));
            }
        }
        self.started.notify_waiters();
    }
}

/// Has the child of our own questions running, which this worker owns: its start is its handshake.
pub async fn greet(core: &Rc<Core>, upstream: &Rc<Upstream>) -> Result<(), UpstreamFault> {
    let slot = upstream.stdio.slot(core, Affinity::NOBODY)?;
    slot.child(core, upstream).await.map(|_| ())
}

/// The child of a conversation that this worker owns, in which somebody subscribes to resources.
pub async fn heard(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    of: Affinity,
) -> Result<Rc<Child>, UpstreamFault> {
    let slot = upstream.stdio.slot(core, of)?;
    let child = slot.child(core, upstream).await?;
    child.channel.attach_topics(of);
    Ok(child)
}

/// Sends a call to the child it is for, which this worker owns.
pub async fn call(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    order: &Order<'_>,
) -> Result<ChildReply, UpstreamFault> {
    let slot = upstream.stdio.slot(core, upstream.stdio.affinity(&order.whom, order.declared()))?;
    slot.lend(core, order.whom.lent.as_ref());
    let mut waited = Waited::default();
    let child = match slot.running(core) {
        Some(child) => child,
        // Our own questions wait as long as a start may take: package runners download first.
        None if order.whom.principal == NOBODY => waited.on(slot.child(core, upstream)).await?,
        None => {
            let ms = upstream.timeouts.call_ms;
            let start = runtime::timeout(Duration::from_millis(ms.into()), slot.child(core, upstream));
            let started = waited.on(start).await;
            started.unwrap_or(Err(UpstreamFault::CallTimeout { ms }))?
        }
    };
    if let (Per::Session, Some(serial), false) =
        (upstream.stdio.sharing.per, order.whom.session, child.channel.is_a_sessions())
        && let Some(session) = core.sessions.borrow().find(serial)
    {
        child.channel.attach(Ear::Session(Rc::downgrade(session)));
    }
    let id = upstream.next_id();
    let mut line = Buf::with_capacity(order.body.len() + 512);
    dialect::request(core, order, child.era(), Channel::Shared, id, &mut line)?;
    child.channel.settings.note(order);
    if let (Era::Legacy, Some(level)) = (child.era(), order.wanted_level(upstream))
        && child.channel.settings.raise(level)
    {
        child.say(Buf::from(&handshake::set_level(upstream.next_id(), level)[..]));
    }
    let pending = Pending {
        cancel_when_dropped: order.client.is_modern(),
        wants_progress: order.message.progress_token.is_some(),
        may_be_asked: slot.of.declared.can_be_asked(),
        ..Pending::new(id)
    };
    let pending = child.ask(pending, line)?;
    // It answered a start and took a call: the next failure starts counting anew.
    slot.backoff_ms.set(CHILD_BACKOFF_MS.0);
    let timeouts = upstream.timeouts;
    let deadline_ms = core.clock.coarse_ms() + u64::from(timeouts.first_byte_ms.min(timeouts.call_ms));
    let expired = Rc::new(Signal::new());
    let watch = core.watches.wake_at(deadline_ms, expired.clone());
    let watch = match order.client_fd {
        Some(client) => watch.also_client(client),
        None => watch,
    };
    Ok(ChildReply {
        child,
        pending,
        expired,
        watch,
        call_at_ms: core.clock.coarse_ms() + u64::from(timeouts.call_ms),
        first_byte_ms: timeouts.first_byte_ms,
        call_ms: timeouts.call_ms,
        began: false,
        done: false,
        waited,
        leash: None,
    })
}

/// The answer of a child to one call.
pub struct ChildReply {
    child: Rc<Child>,
    pending: Rc<Pending>,
    expired: Rc<Signal>,
    watch: Watch,
    call_at_ms: u64,
    first_byte_ms: u32,
    call_ms: u32,
    began: bool,
    done: bool,
    waited: Waited,
    /// What the worker whose client it is says of it, when that is another one.
    leash: Option<Arc<Leash>>,
}

/// What the worker that has the client says of a call to the worker that has the child.
#[derive(Default)]
pub struct Leash {
    /// The call may take until then; 0: as long as any.
    until_ms: AtomicU64,
    /// The call is cancelled, whatever its client's revision says of leaving.
    cancelled: AtomicBool,
}

impl ChildReply {
    /// How long the child let us wait so far, its start included.
    pub fn waited_ns(&self) -> u64 {
        self.waited.ns
    }

    pub fn era(&self) -> Era {
        self.child.era()
    }

    /// How a request of the child's own is answered.
    pub fn responder(&self) -> Responder {
        Responder::Child(self.child.clone())
    }

    /// The call is cancelled: its server is told, and nothing more comes of it.
    pub fn cancel(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.done, true) {
            self.child.forget(self.pending.id, Some(reason));
        }
    }

    /// Its client may leave without ending it.
    pub fn detach_client(&mut self, core: &Rc<Core>) {
        self.watch = core.watches.wake_at(self.call_at_ms, self.expired.clone());
    }

    /// The call may take until then.
    pub fn extend_deadline(&mut self, at_ms: u64) {
        (self.call_at_ms, self.began) = (at_ms, true);
        self.watch.extend(at_ms);
    }

    pub async fn next(&mut self, core: &Rc<Core>) -> Result<Event, UpstreamFault> {
        loop {
            let event = self.wait().await;
            if let Err(UpstreamFault::CallTimeout { .. } | UpstreamFault::FirstByteTimeout { .. }) = event
                && let Some(until_ms) =
                    self.leash.as_ref().map(|leash| leash.until_ms.load(Ordering::Relaxed))
                && until_ms > core.clock.coarse_ms()
            {
                (self.call_at_ms, self.began) = (until_ms, true);
                self.detach_client(core);
                continue;
            }
            if let Err(UpstreamFault::CallTimeout { .. } | UpstreamFault::FirstByteTimeout { .. }) = event {
                // It is we who give up, whatever the client's revision: the child may stop.
                self.cancel("no answer in time");
            }
            return event;
        }
    }

    async fn wait(&mut self) -> Result<Event, UpstreamFault> {
        let arrival = poll_fn(|context| {
            if let Poll::Ready(event) = self.pending.queue.poll_pop(context) {
                return Poll::Ready(event.ok_or(None));
            }
            self.expired.poll_wait(context).map(|()| Err(Some(())))
        });
        let arrived = self.waited.on(arrival).await;
        match arrived {
            Ok(event) => {
                if !self.began {
                    self.began = true;
                    self.watch.extend(self.call_at_ms);
                }
                self.done = event.is_last();
                Ok(event)
            }
            Err(Some(())) => {
                if self.watch.cause() == Cause::ClientGone {
                    return Err(UpstreamFault::ClientGone);
                }
                Err(if self.began {
                    UpstreamFault::CallTimeout { ms: self.call_ms }
                } else {
                    UpstreamFault::FirstByteTimeout { ms: self.first_byte_ms }
                })
            }
            Err(None) => {
                self.done = true;
                Err(UpstreamFault::Exited(self.child.ending()))
            }
        }
    }
}

impl Drop for ChildReply {
    /// A call that nobody waits for any more is cancelled, unless its client's revision says that going
    /// away is not cancelling.
    fn drop(&mut self) {
        if !self.done {
            let cancelled = self.leash.as_ref().is_some_and(|leash| leash.cancelled.load(Ordering::Relaxed));
            let told = cancelled || self.pending.cancel_when_dropped;
            let reason =
                told.then_some(if cancelled { "cancelled by the client" } else { "the client went away" });
            self.child.forget(self.pending.id, reason);
        }
    }
}
