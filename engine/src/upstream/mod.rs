//! Real MCP servers, as one worker reaches them.
//!
//! An exchange brings an [`Order`]: the client's own bytes, where everything is in them, and what the
//! upstream calls the item. The upstream's era decides how the bytes are spliced ([`dialect`]); the
//! answer comes back as a [`Reply`], a stream of [`Event`]s, whatever carried it.
//!
//! HTTP upstreams are reached from every worker over its own connections ([`http`]). A stdio child is
//! owned by one worker ([`stdio`]); others send it their orders through the mailbox and get rendered
//! events back.

pub mod ask;
pub mod channel;
mod content;
pub mod credential;
pub mod dialect;
pub mod errors;
mod fault;
mod handshake;
mod hearing;
pub mod http;
mod ids;
pub mod learn;
pub mod reply;
mod responder;
mod settings;
mod sse;
pub mod statement;
pub mod stdio;
pub mod subscribe;
pub mod topics;
mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use strait_protocol::http1::RequestHead;
use strait_protocol::jsonrpc::Message;
use strait_protocol::mcp::{Declared, LogLevel, Revision};
use strait_table::bound::ArchivedMirrored;

use crate::changes::ListSet;
use crate::core::{Core, InFlight};
use crate::edition::{Edition, Timeouts, UpstreamId, Wiring};
use crate::figures::places::Place;
use crate::figures::upstreams::UpstreamFigures;
use crate::handle::Reach;
use crate::io::signal::Signal;
use crate::session::calls::UnderWay;
use crate::session::{Introduction, Session};
use crate::trace::Trace;
use crate::trial::Side;
use crate::worker::Parcel;
use credential::lending::Lent;
pub use fault::UpstreamFault;
use handshake::Said;
pub use ids::Ids;
pub use reply::{Answering, Event, Reply};
pub use responder::{Responder, decline};
use statement::Statement;

/// A call on its way to an upstream.
pub struct Order<'a> {
    /// The client's message as received.
    pub body: &'a [u8],
    pub message: &'a Message,
    /// What the upstream calls the item; `None` when the client's word is right already.
    pub bare: Option<&'a [u8]>,
    /// The revision the client speaks.
    pub client: Revision,
    /// What the head of a request to a server of 2026-07-28 repeats of the call.
    pub head: Option<Repeated<'a>>,
    pub whom: Whom,
    /// The client's socket, when it is on this worker: a client that goes away ends the call.
    pub client_fd: Option<RawFd>,
    /// A call of a session, which its client may cancel before there is a reply.
    pub under_way: Option<&'a UnderWay>,
}

/// Where `Mcp-Param-*` headers come from.
#[derive(Clone, Copy)]
pub enum Repeated<'a> {
    /// A client of 2026-07-28 said them in this head; they mirror arguments, which are forwarded unchanged.
    Said(&'a RequestHead, &'a [u8]),
    /// Arguments that the tool annotates, for a client that knows nothing of it.
    Annotated(&'a [ArchivedMirrored]),
}

/// For whom a call is made.
#[derive(Clone, Default)]
pub struct Whom {
    /// Digest of the principal: sessions with upstreams are not shared between principals.
    pub principal: u64,
    /// The serial of the client's session, if it has one.
    pub session: Option<u128>,
    /// What the client of a session declared; a client of 2026-07-28 says it in each message.
    pub declared: Declared,
    /// What a session asked to be logged.
    pub log_level: Option<LogLevel>,
    /// How the client of a session introduced itself.
    pub introduction: Option<Arc<Introduction>>,
    /// The replica that has what the call is about.
    pub replica: Option<u16>,
    /// What its upstream is told of who calls.
    pub statement: Option<Arc<Statement>>,
    /// What an upstream is shown on the caller's behalf, where it is shown something for each.
    pub lent: Option<Arc<Lent>>,
    /// Where the call is in a trace, which its upstream is told.
    pub trace: Option<Arc<Trace>>,
    /// The call is to begin a task of 2025-11-25, though its client did not say so.
    pub needs_task: bool,
}

impl Whom {
    pub fn of(principal: u64, session: Option<&Rc<Session>>) -> Whom {
        match session {
            None => Whom { principal, ..Whom::default() },
            Some(session) => Whom {
                principal,
                session: Some(session.id.serial),
                declared: session.declared,
                log_level: session.log_level.get(),
                introduction: Some(session.introduction.clone()),
                replica: None,
                statement: None,
                lent: None,
                trace: None,
                needs_task: false,
            },
        }
    }
}

/// For whom a session with an upstream or a child of its own is: what one does in it must not show to another, and a
/// server asks only for what was declared when it began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Affinity {
    /// A client's session, or a principal.
    pub key: u64,
    pub declared: Declared,
}

impl Affinity {
    /// Serves questions of our own.
    pub const NOBODY: Affinity = Affinity { key: learn::NOBODY, declared: Declared::NOTHING };

    /// What a server is told in this conversation. Some servers list a tool only to a client that can answer what it would
    /// ask: so that the catalog has it, our own questions come from one that could. What a server asks there is declined.
    pub fn declares(self) -> Declared {
        if self == Affinity::NOBODY { Declared::QUESTIONS } else { self.declared }
    }

    /// For somebody whose client declared this.
    pub fn of(whom: &Whom, declared: Declared) -> Affinity {
        Affinity { key: whom.session.map_or(whom.principal, Affinity::key_of), declared }
    }

    /// What a client's session is known by.
    pub const fn key_of(session: u128) -> u64 {
        session as u64 ^ (session >> 64) as u64
    }
}

impl Order<'_> {
    /// Whether this call's client knows that a server may hang up before it answers, and comes back for the rest.
    pub fn knows_pauses(&self) -> bool {
        self.under_way.is_some() && self.client == Revision::V2025_11_25
    }

    /// What this call's client declared.
    pub fn declared(&self) -> Declared {
        match self.message.client_capabilities {
            Some(capabilities) => Declared::read(self.body, capabilities),
            None => self.whom.declared,
        }
    }

    /// From which level on a modern client wants log messages of this call: a legacy server is told once for all calls of
    /// its session, and what this call did not ask for is dropped on its way back.
    pub fn wanted_level(&self, upstream: &Upstream) -> Option<LogLevel> {
        let said = self.message.log_level.filter(|_| self.client.is_modern())?;
        let logs = upstream.said.borrow().capabilities.as_ref().is_none_or(|can| can.logging);
        LogLevel::parse(said.read(self.body, &mut Vec::new())).filter(|_| logs)
    }

    pub fn affinity(&self) -> Affinity {
        Affinity::of(&self.whom, self.declared())
    }
}

/// An order that outlives the request that brought it.
pub struct Kept {
    body: Vec<u8>,
    message: Message,
    bare: Option<Vec<u8>>,
    client: Revision,
    whom: Whom,
}

impl Kept {
    pub fn of(order: &Order<'_>) -> Kept {
        Kept {
            body: order.body.to_vec(),
            message: *order.message,
            bare: order.bare.map(<[u8]>::to_vec),
            client: order.client,
            whom: order.whom.clone(),
        }
    }

    pub fn order(&self) -> Order<'_> {
        Order {
            body: &self.body,
            message: &self.message,
            bare: self.bare.as_deref(),
            client: self.client,
            head: None,
            whom: self.whom.clone(),
            client_fd: None,
            under_way: None,
        }
    }
}

/// Which dialect an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Modern,
    Legacy,
}

/// What all workers know of an upstream: its era is asked once.
#[derive(Debug, Default)]
pub struct SharedEra {
    era: AtomicU8,
    /// What the worker that asks for its lists was told and has not taken up: [`NEWS`], and the lists that the server
    /// announced as changed.
    news: AtomicU8,
}

/// Lists changed, or may have.
const NEWS: u8 = 1 << 7;

/// A legacy server that is reached over HTTP+SSE.
const SSE: u8 = 3;

impl SharedEra {
    pub fn get(&self) -> Option<Era> {
        match self.era.load(Ordering::Relaxed) {
            1 => Some(Era::Modern),
            2 | SSE => Some(Era::Legacy),
            _ => None,
        }
    }

    pub fn is_sse(&self) -> bool {
        self.era.load(Ordering::Relaxed) == SSE
    }

    /// It turned out to be a legacy server that knows no other way.
    pub fn set_sse(&self) {
        self.era.store(SSE, Ordering::Relaxed);
    }

    pub fn set(&self, era: Option<Era>) {
        let value = match era {
            None => 0,
            Some(Era::Modern) => 1,
            Some(Era::Legacy) => 2,
        };
        self.era.store(value, Ordering::Relaxed);
    }
}

/// One upstream on this worker. It lives for as long as the worker's edition names it or a call is on it.
pub struct Upstream {
    pub id: UpstreamId,
    pub name: String,
    pub timeouts: Timeouts,
    /// As configured; `None`: ask.
    pub fixed_era: Option<Era>,
    /// How long its lists may be kept, when its era has no word for it.
    pub list_ttl_ms: u64,
    /// Configured as HTTP+SSE.
    fixed_sse: bool,
    pub era: Arc<SharedEra>,
    place: Place,
    pub reach: RefCell<Rc<Reach>>,
    pub http: http::State,
    pub stdio: stdio::Children,
    /// What it said of itself in its last handshake with this worker.
    pub said: RefCell<Said>,
    /// Raised when its lists should be asked for again.
    pub relist: Signal,
    /// The worker that asks for its lists has yet to be told that they changed: its mailbox was full.
    owes_news: Cell<bool>,
    /// Raised when no edition names it any more: its lists are nobody's concern.
    pub retired: Signal,
    /// Our own listens there.
    hearings: hearing::Hearings,
    /// Resources that somebody wants to hear of.
    pub topics: topics::Topics,
    wiring: RefCell<Arc<Wiring>>,
    /// An edition in use names it.
    is_current: Cell<bool>,
    /// An edition came that does not.
    is_retired: Cell<bool>,
    /// Whether its lists are being kept.
    pub is_kept: Cell<bool>,
    calls: Cell<usize>,
    ids: Ids,
}

impl Upstream {
    fn open(wiring: &Arc<Wiring>, ids: Ids) -> Rc<Upstream> {
        let content = &wiring.content;
        Rc::new(Upstream {
            id: wiring.id,
            name: content.name.clone(),
            timeouts: content.timeouts,
            fixed_era: content.fixed_era,
            list_ttl_ms: content.list_ttl_ms,
            fixed_sse: content.fixed_sse,
            era: wiring.era.clone(),
            place: wiring.place,
            reach: RefCell::new(Rc::new(content.reach.clone())),
            http: http::State::default(),
            stdio: stdio::Children::new(content.sharing),
            said: RefCell::default(),
            relist: Signal::new(),
            owes_news: Cell::new(false),
            retired: Signal::new(),
            hearings: hearing::Hearings::default(),
            topics: topics::Topics::default(),
            wiring: RefCell::new(wiring.clone()),
            is_current: Cell::new(false),
            is_retired: Cell::new(false),
            is_kept: Cell::new(false),
            calls: Cell::new(0),
            ids,
        })
    }

    /// An id no other request to this upstream has.
    pub fn next_id(&self) -> i64 {
        self.ids.next()
    }

    pub fn known_era(&self) -> Option<Era> {
        self.fixed_era.or_else(|| self.era.get())
    }

    pub fn calls_under_way(&self) -> usize {
        self.calls.get()
    }

    /// Whether it is reached over HTTP+SSE of 2024-11-05.
    pub fn speaks_sse(&self) -> bool {
        self.fixed_sse || self.era.is_sse()
    }

    /// Its lists changed, or may have: the worker that asks for them asks again. Many sessions on many workers hear
    /// of the same change; one parcel tells of it until that worker takes it up. `announced`: what the server itself
    /// said.
    pub fn lists_changed(&self, core: &Core, announced: ListSet) {
        let before = self.era.news.fetch_or(announced.bits() | NEWS, Ordering::Relaxed);
        if learn::is_asker(core, self) {
            return self.relist.set();
        }
        self.owes_news.set(false);
        if before & NEWS == 0 {
            let asker = core.owner_of(self.id.0.into());
            if core.post.send(asker, Parcel::ListsChanged(self.wiring())).is_err() {
                self.era.news.fetch_and(!NEWS, Ordering::Relaxed);
                self.owes_news.set(true);
            }
        }
    }

    /// What is heard of its lists from now on is news. Gives the lists that were announced before.
    pub fn takes_up_news(&self) -> ListSet {
        ListSet::of_bits(self.era.news.swap(0, Ordering::Relaxed))
    }

    /// Where this worker counts what it does with it.
    pub fn figures<'c>(&self, core: &'c Core) -> &'c UpstreamFigures {
        core.figures.upstream(self.place)
    }

    /// What another worker needs to open the same upstream.
    fn wiring(&self) -> Arc<Wiring> {
        self.wiring.borrow().clone()
    }

    /// Other addresses of the same upstream: connections to the old ones are not used again. Another credential is shown on those
    /// that there are.
    fn rewire(&self, wiring: &Arc<Wiring>) {
        // Two editions in use may have learnt of its addresses apart.
        if self.wiring.borrow().content.reach == wiring.content.reach {
            return;
        }
        self.wiring.replace(wiring.clone());
        let last = self.reach.replace(Rc::new(wiring.content.reach.clone()));
        self.http.overlap.renew();
        if last.is_same_but_for_credentials(&wiring.content.reach) {
            return;
        }
        self.http.forget();
        self.relist.set();
    }
}

/// A call in progress on an upstream: while there is one, its connections and children stay.
pub struct InUse(Rc<Upstream>);

impl InUse {
    pub fn new(upstream: &Rc<Upstream>) -> InUse {
        upstream.calls.set(upstream.calls.get() + 1);
        InUse(upstream.clone())
    }
}

impl Deref for InUse {
    type Target = Rc<Upstream>;

    fn deref(&self) -> &Rc<Upstream> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
    }
}

/// All upstreams of one worker: those of its edition, and those that older calls are still on.
pub struct Upstreams {
    ids: Ids,
    open: RefCell<HashMap<UpstreamId, Rc<Upstream>>>,
    /// Of the live edition, and of a candidate beside it.
    live: RefCell<Option<Current>>,
    trial: RefCell<Option<Current>>,
}

/// The wirings of an edition in use, and its upstreams in the table's order.
struct Current {
    wirings: Arc<[Arc<Wiring>]>,
    upstreams: Rc<[Weak<Upstream>]>,
}

impl Upstreams {
    pub fn new(ids: Ids) -> Upstreams {
        Upstreams { ids, open: RefCell::default(), live: RefCell::default(), trial: RefCell::default() }
    }

    /// Takes up the upstreams of an edition, in its table's order; those that a candidate has as the live edition has them are
    /// the same ones. Those that no edition in use names are let go by [`Upstreams::sweep`] when their last call has ended.
    pub fn adopt(&self, side: Side, edition: &Edition) -> Rc<[Weak<Upstream>]> {
        let current = match side {
            Side::Live => &self.live,
            Side::Trial(_) => &self.trial,
        };
        if let Some(current) = &*current.borrow()
            && Arc::ptr_eq(&current.wirings, edition.wirings())
        {
            return current.upstreams.clone();
        }
        let named: Vec<Rc<Upstream>> = edition.wirings().iter().map(|wiring| self.open(wiring)).collect();
        for (upstream, wiring) in named.iter().zip(edition.wirings().iter()) {
            upstream.rewire(wiring);
        }
        let upstreams: Rc<[Weak<Upstream>]> = named.iter().map(Rc::downgrade).collect();
        current.replace(Some(Current { wirings: edition.wirings().clone(), upstreams: upstreams.clone() }));
        self.tell_apart();
        upstreams
    }

    /// There is no candidate any more: what it alone named is let go.
    pub fn leave_trial(&self) {
        self.trial.take();
        self.tell_apart();
    }

    /// Looks which upstreams an edition in use names.
    fn tell_apart(&self) {
        for upstream in self.open.borrow().values() {
            upstream.is_current.set(false);
        }
        for current in [self.live.borrow(), self.trial.borrow()] {
            for upstream in current.iter().flat_map(|current| &*current.upstreams).filter_map(Weak::upgrade) {
                upstream.is_current.set(true);
                upstream.is_retired.set(false);
            }
        }
        for upstream in self.open.borrow().values().filter(|upstream| !upstream.is_current.get()) {
            upstream.is_retired.set(true);
            upstream.retired.set();
            upstream.hearings.stop();
        }
    }

    /// The upstream, opened if this worker has not met it: another worker may be an edition ahead.
    pub fn open(&self, wiring: &Arc<Wiring>) -> Rc<Upstream> {
        self.open
            .borrow_mut()
            .entry(wiring.id)
            .or_insert_with(|| Upstream::open(wiring, self.ids.clone()))
            .clone()
    }

    pub fn all(&self) -> Vec<Rc<Upstream>> {
        self.open.borrow().values().cloned().collect()
    }

    /// The upstreams of editions in use whose lists nobody keeps yet.
    pub fn unkept(&self) -> Vec<Rc<Upstream>> {
        let open = self.open.borrow();
        open.values()
            .filter(|upstream| upstream.is_current.get() && !upstream.is_kept.get())
            .cloned()
            .collect()
    }

    /// A client's session is over: so is what upstreams keep for it.
    pub fn end_session(&self, core: &Rc<Core>, serial: u128) {
        for upstream in self.all() {
            http::end_session(core, &upstream, serial);
            upstream.stdio.end_session(core, serial);
        }
    }

    /// Passes on what a client's session says to nobody in particular, as it is: its roots changed.
    pub fn tell_session(&self, core: &Rc<Core>, serial: u128, message: &[u8]) {
        for upstream in self.all() {
            http::tell_session(core, &upstream, serial, message);
            upstream.stdio.tell_session(serial, message);
        }
    }

    /// Closes what has been idle for too long, and what no edition names and no call is on.
    pub fn sweep(&self, core: &Rc<Core>) {
        self.open.borrow_mut().retain(|_, upstream| {
            http::sweep(core, upstream);
            upstream.stdio.sweep(core);
            if upstream.owes_news.get() {
                upstream.lists_changed(core, ListSet::default());
            }
            let stays = upstream.is_current.get() || upstream.calls.get() > 0;
            if !stays {
                upstream.stdio.end(core);
                http::end_all(core, upstream);
                upstream.http.forget();
            }
            stays
        });
    }
}

/// Goes through the handshake that this worker's own questions need, where it is due, so that what the upstream says
/// of itself is known.
pub async fn greet(core: &Rc<Core>, upstream: &Rc<Upstream>) -> Result<(), UpstreamFault> {
    let upstream = InUse::new(upstream);
    let reach = upstream.reach.borrow().clone();
    match &*reach {
        Reach::Unreachable(why) => Err(UpstreamFault::Unreachable(why.clone())),
        Reach::Http { endpoints } => http::greet(core, &upstream, endpoints).await,
        Reach::Stdio { .. } => stdio::greet(core, &upstream).await,
    }
}

/// Sends a call to its upstream. What could go wrong before the first byte of the answer is an error
/// here; what goes wrong later is an error of [`Reply::next`].
pub async fn call(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    order: &Order<'_>,
    admitted: InFlight,
) -> Result<Reply, UpstreamFault> {
    let upstream = InUse::new(upstream);
    let reach = upstream.reach.borrow().clone();
    let source = match &*reach {
        Reach::Unreachable(why) => return Err(UpstreamFault::Unreachable(why.clone())),
        Reach::Http { endpoints } => http::call(core, &upstream, endpoints, order).await?,
        Reach::Stdio { .. } => {
            let owner = upstream.stdio.owner(core, &upstream, &order.whom);
            if owner == core.id {
                reply::Source::Child(stdio::call(core, &upstream, order).await?)
            } else {
                reply::Source::Elsewhere(stdio::elsewhere::send(core, &upstream, owner, order)?)
            }
        }
    };
    Ok(Answering::of(core, source, upstream, order, admitted))
}
