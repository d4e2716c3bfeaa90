//! Sessions with legacy upstreams: one for each client session, or for each principal with what its client declared;
//! opened by our own handshake, opened again when the server has lost it, ended when nobody needs it.
//!
//! Declared is what the client behind it declared, never more: a server must not ask what nobody would answer. A
//! session that takes the place of a lost one takes over its [`Channel`]: who hears it, what was set in it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use strait_protocol::mcp::{LogLevel, Method, Revision};
use tokio::sync::Notify;

use super::outgoing::Outgoing;
use super::reply::settle;
use super::request::{Request, Verb};
use super::standing;
use super::wire::Grip;
use crate::core::Core;
use crate::figures::labels::Layer;
use crate::handle::{HttpEndpoint, Reach};
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::limits::{
    ANSWERS_MAX, STREAM_AGAIN_MS, STREAM_OPENS_MS_MAX, UPSTREAM_SESSION_IDLE_MS_MAX, UPSTREAM_SESSIONS_MAX,
};
use crate::upstream::channel::{Channel, Ear};
use crate::upstream::{Affinity, Era, InUse, Order, Upstream, UpstreamFault, handshake, sse};

/// A session with one server.
pub struct Session {
    /// `None`: the server keeps none.
    pub id: Option<Box<[u8]>>,
    pub revision: Cell<Revision>,
    /// The replica that knows it.
    pub replica: usize,
    /// No other session of this worker with this upstream has it.
    pub serial: i64,
    pub whose: Whose,
    pub channel: Rc<Channel>,
    /// HTTP+SSE: where messages are posted; answers come over the session's stream.
    pub post_at: Option<Box<str>>,
    state: Cell<State>,
    used_ms: Cell<u64>,
    /// When a lost one that is heard is opened again, and how long after that if it fails.
    again: Cell<(u64, u64)>,
    /// Calls that are being answered in it.
    held: Cell<u32>,
    /// Answers to requests of the server's own that are on their way.
    answering: Cell<u32>,
    /// It has, or tries to have, a stream of what belongs to no call.
    pub(super) stands: Cell<bool>,
    /// Whether that stream was open once; not known before it was asked for.
    pub(super) stood: Cell<Option<bool>>,
    /// Whoever waits to know that.
    pub(super) asked: Notify,
    /// The connection of that stream.
    pub(crate) grip: Rc<Grip>,
}

/// For whom a session is.
#[derive(Clone, Copy, Debug)]
pub struct Whose {
    pub affinity: Affinity,
    /// The serial of the client's session, if it is one's.
    pub client: Option<u128>,
}

impl Whose {
    pub const NOBODY: Whose = Whose { affinity: Affinity::NOBODY, client: None };

    pub fn of(order: &Order<'_>) -> Whose {
        Whose { affinity: order.affinity(), client: order.whom.session }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// The server does not know it any more, or is reached elsewhere.
    Lost,
    /// Nobody needs it.
    Ended,
}

/// Keeps a session from being taken for idle.
pub struct Held(Rc<Session>);

impl Held {
    pub fn of(session: &Rc<Session>) -> Held {
        session.held.set(session.held.get() + 1);
        Held(session.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.set(self.0.held.get() - 1);
    }
}

impl Session {
    pub fn new(core: &Core, upstream: &Upstream, whose: Whose, opened: Opened) -> Rc<Session> {
        Rc::new(Session {
            id: opened.id,
            revision: Cell::new(opened.revision),
            replica: opened.replica,
            serial: upstream.next_id(),
            whose,
            channel: opened.channel,
            post_at: opened.post_at,
            state: Cell::new(State::Live),
            used_ms: Cell::new(core.clock.coarse_ms()),
            again: Cell::new((0, STREAM_AGAIN_MS.0)),
            held: Cell::new(0),
            answering: Cell::new(0),
            stands: Cell::new(false),
            stood: Cell::new(None),
            asked: Notify::new(),
            grip: opened.grip,
        })
    }

    pub fn is_live(&self) -> bool {
        self.state.get() == State::Live
    }

    pub fn is_lost(&self) -> bool {
        self.state.get() == State::Lost
    }

    /// Whether the server knows it by something that it could have forgotten.
    pub fn is_named(&self) -> bool {
        self.id.is_some() || self.post_at.is_some()
    }

    fn is_busy(&self) -> bool {
        self.held.get() > 0 || self.channel.is_busy()
    }

    /// Its stream is open, or will not be.
    pub(super) fn has_stood(&self, stood: bool) {
        self.stood.set(Some(self.stood.get() == Some(true) || stood));
        self.asked.notify_waiters();
    }

    /// Waits until its stream is open; `false` when it has none, or not in time.
    async fn hears(&self) -> bool {
        let opened = async {
            loop {
                let asked = self.asked.notified();
                match self.stood.get() {
                    Some(stood) => return stood,
                    None if !self.stands.get() || !self.is_live() => return false,
                    None => asked.await,
                }
            }
        };
        let within = std::time::Duration::from_millis(STREAM_OPENS_MS_MAX);
        self.post_at.is_some() || runtime::timeout(within, opened).await.unwrap_or(false)
    }

    /// It is not used again; calls that are on it may still end well.
    pub fn lose(&self) {
        if self.is_live() {
            self.state.set(State::Lost);
            self.grip.end();
        }
    }

    /// Nobody needs it: the server is told, with a DELETE that nobody waits for.
    fn end(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>) {
        let was_live = self.is_live();
        self.state.set(State::Ended);
        self.grip.end();
        if was_live && self.id.is_some() {
            let (core, upstream, session) = (core.clone(), InUse::new(upstream), self.clone());
            runtime::spawn_guarded("end of an upstream's session", async move {
                session.deliver(&core, &upstream, Verb::Delete, &[]).await;
            });
        }
    }

    /// Posts what waits for no answer.
    pub fn tell(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, message: Buf) {
        let (core, upstream, session) = (core.clone(), InUse::new(upstream), self.clone());
        runtime::spawn_guarded("notification to an upstream", async move {
            session.deliver(&core, &upstream, Verb::Post, &message).await;
        });
    }

    /// The server may stop working on a call of ours.
    pub fn cancel(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, id: i64, reason: &str) {
        self.tell(core, upstream, Buf::from(handshake::cancelled(id, reason).as_bytes()));
    }

    /// Answers a request of the server's own. A server that asks without end must not make this gateway call it
    /// without end.
    pub fn respond(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, response: Buf) {
        self.follow_up(core, upstream, response, ANSWERS_MAX);
    }

    /// Says how far the answer to a request of the server's own is. A client that says so without end must not keep its
    /// answers from leaving.
    pub fn progress(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, notification: Buf) {
        self.follow_up(core, upstream, notification, ANSWERS_MAX / 2);
    }

    fn follow_up(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, message: Buf, most: u32) {
        if self.answering.get() >= most {
            return;
        }
        self.answering.set(self.answering.get() + 1);
        let (core, upstream, session) = (core.clone(), InUse::new(upstream), self.clone());
        runtime::spawn_guarded("answer to an upstream's request", async move {
            session.deliver(&core, &upstream, Verb::Post, &message).await;
            session.answering.set(session.answering.get() - 1);
        });
    }

    /// Sends what nobody waits for the answer of.
    async fn deliver(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, verb: Verb<'_>, body: &[u8]) {
        let reach = upstream.reach.borrow().clone();
        let Reach::Http { endpoints } = &*reach else { return };
        let session = Some(self.clone());
        let request = Request { verb, session, ..Request::new(upstream, Method::Unknown, Era::Legacy) };
        if let Ok(reply) = request.send(core, endpoints, self.replica, Outgoing::from(body)).await {
            settle(core, reply).await;
        }
    }

    /// Has the server say more, if it says less than this.
    pub async fn raise_level(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>, level: LogLevel) {
        if self.channel.settings.raise(level) {
            self.deliver(core, upstream, Verb::Post, &handshake::set_level(upstream.next_id(), level)).await;
        }
    }

    /// Asks again for what was set in the session that this one succeeds.
    async fn set_again(self: &Rc<Self>, core: &Rc<Core>, upstream: &Rc<Upstream>) {
        for (method, members) in self.channel.settings.again() {
            self.deliver(
                core,
                upstream,
                Verb::Post,
                &handshake::request(upstream.next_id(), method, &members),
            )
            .await;
        }
    }
}

/// A session on its way, and those who wait for it.
#[derive(Default)]
pub struct Opening {
    done: Notify,
    outcome: RefCell<Option<Result<Rc<Session>, UpstreamFault>>>,
}

/// The session for somebody, opened when there is none: once, however many calls need it at the same time.
pub async fn session(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    whose: Whose,
) -> Result<Rc<Session>, UpstreamFault> {
    if let Some(session) = upstream.http.sessions.borrow().get(&whose.affinity).filter(|s| s.is_live()) {
        session.used_ms.set(core.clock.coarse_ms());
        return Ok(session.clone());
    }
    Box::pin(opened(core, upstream, whose)).await
}

/// The session for somebody who subscribes to resources in it. Waits until its stream is open, so that nothing is said
/// to nobody; `false` when it has none.
pub async fn heard(core: &Rc<Core>, upstream: &Rc<Upstream>, whose: Whose) -> Result<bool, UpstreamFault> {
    let session = session(core, upstream, whose).await?;
    session.channel.attach_topics(whose.affinity);
    standing::begin(core, upstream, &session);
    Ok(session.hears().await)
}

/// Nobody subscribes to resources in it any more.
pub fn unheard(upstream: &Upstream, of: Affinity) {
    if let Some(session) = upstream.http.sessions.borrow().get(&of) {
        session.channel.detach_topics();
    }
}

pub fn is_live(upstream: &Upstream, of: Affinity) -> bool {
    upstream.http.sessions.borrow().get(&of).is_some_and(|session| session.is_live())
}

/// Forgets a session that its server does not know any more, unless it was replaced already.
pub fn forget(upstream: &Upstream, affinity: Affinity, serial: Option<i64>) {
    let sessions = upstream.http.sessions.borrow();
    if let Some(session) = sessions.get(&affinity).filter(|session| Some(session.serial) == serial) {
        session.lose();
    }
}

/// A client's session is over: so are the server's sessions that nobody else has.
pub fn end_session(core: &Rc<Core>, upstream: &Rc<Upstream>, serial: u128) {
    end_those(core, upstream, |session| session.whose.client == Some(serial));
}

/// Nobody needs any of them.
pub fn end_all(core: &Rc<Core>, upstream: &Rc<Upstream>) {
    end_those(core, upstream, |_| true);
}

fn end_those(core: &Rc<Core>, upstream: &Rc<Upstream>, is_over: impl Fn(&Session) -> bool) {
    let over: Vec<_> =
        upstream.http.sessions.borrow_mut().extract_if(|_, session| is_over(session)).collect();
    for (_, session) in over {
        session.end(core, upstream);
    }
}

/// Says something to the server's sessions that serve a client's session.
pub fn tell_session(core: &Rc<Core>, upstream: &Rc<Upstream>, serial: u128, message: &[u8]) {
    for session in upstream.http.sessions.borrow().values() {
        if session.whose.client == Some(serial) && session.is_live() {
            session.tell(core, upstream, Buf::from(message));
        }
    }
}

/// Ends sessions that nobody needs any more, and opens again those that were lost while somebody hears them.
pub fn sweep(core: &Rc<Core>, upstream: &Rc<Upstream>) {
    let now_ms = core.clock.coarse_ms();
    let idle =
        |session: &Session| now_ms.saturating_sub(session.used_ms.get()) > UPSTREAM_SESSION_IDLE_MS_MAX;
    end_those(core, upstream, |session| match session.whose.client {
        // Its server may keep things for it: it lives as long as the client's.
        Some(client) => core.sessions.borrow().find(client).is_none(),
        None => idle(session) && !session.is_busy() && !session.channel.is_heard(),
    });
    let sessions = upstream.http.sessions.borrow();
    for session in sessions.values().filter(|session| !session.is_live() && session.channel.is_heard()) {
        let (at_ms, pause_ms) = session.again.get();
        if now_ms >= at_ms {
            session.again.set((now_ms + pause_ms, (pause_ms * 2).min(STREAM_AGAIN_MS.1)));
            drop(begin(core, upstream, session.whose));
        }
    }
}

/// Waits for the session that is being opened. Opening is nobody's: it goes on when a caller leaves.
async fn opened(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    whose: Whose,
) -> Result<Rc<Session>, UpstreamFault> {
    let opening = begin(core, upstream, whose);
    // Whoever opens it runs on this worker, so it cannot end between here and the wait.
    opening.done.notified().await;
    let outcome = opening.outcome.borrow().clone();
    outcome.unwrap_or_else(|| Err(UpstreamFault::Handshake("it was interrupted".to_owned())))
}

/// The opening under way, begun if there is none.
fn begin(core: &Rc<Core>, upstream: &Rc<Upstream>, whose: Whose) -> Rc<Opening> {
    let under_way = upstream.http.openings.borrow().get(&whose.affinity).cloned();
    under_way.unwrap_or_else(|| {
        let opening = Rc::<Opening>::default();
        upstream.http.openings.borrow_mut().insert(whose.affinity, opening.clone());
        let landing = Landing { upstream: upstream.clone(), whose, opening: opening.clone() };
        runtime::spawn_guarded("opening of an upstream's session", landing.land(core.clone()));
        opening
    })
}

/// The end of an opening, whatever became of it.
struct Landing {
    upstream: Rc<Upstream>,
    whose: Whose,
    opening: Rc<Opening>,
}

impl Landing {
    async fn land(self, core: Rc<Core>) {
        let reach = self.upstream.reach.borrow().clone();
        let outcome = match &*reach {
            Reach::Http { endpoints } => open(&core, &self.upstream, endpoints, self.whose).await,
            _ => Err(UpstreamFault::Unreachable("it is not an HTTP server any more".to_owned())),
        };
        if let Ok(session) = &outcome
            && self.is_current()
        {
            self.make_room(&core);
            let mut sessions = self.upstream.http.sessions.borrow_mut();
            sessions.insert(self.whose.affinity, session.clone());
        }
        self.opening.outcome.replace(Some(outcome));
    }

    /// The session that has been idle longest gives way; while all are busy nothing does, and calls bound them.
    fn make_room(&self, core: &Rc<Core>) {
        let oldest = {
            let sessions = self.upstream.http.sessions.borrow();
            if sessions.len() < UPSTREAM_SESSIONS_MAX || sessions.contains_key(&self.whose.affinity) {
                return;
            }
            let idle =
                sessions.values().filter(|session| !session.is_busy() && session.channel.topics().is_none());
            idle.min_by_key(|session| session.used_ms.get()).map(|session| session.serial)
        };
        end_those(core, &self.upstream, |session| Some(session.serial) == oldest);
    }

    fn is_current(&self) -> bool {
        let openings = self.upstream.http.openings.borrow();
        openings.get(&self.whose.affinity).is_some_and(|opening| Rc::ptr_eq(opening, &self.opening))
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.is_current() {
            self.upstream.http.openings.borrow_mut().remove(&self.whose.affinity);
        }
        self.opening.done.notify_waiters();
    }
}

/// What a handshake led to.
pub struct Opened {
    pub id: Option<Box<[u8]>>,
    pub revision: Revision,
    pub replica: usize,
    pub channel: Rc<Channel>,
    pub post_at: Option<Box<str>>,
    pub grip: Rc<Grip>,
}

async fn open(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    whose: Whose,
) -> Result<Rc<Session>, UpstreamFault> {
    let before = upstream.http.sessions.borrow().get(&whose.affinity).map(|lost| lost.channel.clone());
    let is_successor = before.is_some();
    let channel = before.unwrap_or_default();
    let session = if upstream.speaks_sse() {
        sse::open(core, upstream, endpoints, whose, channel).await?
    } else {
        match streamable(core, upstream, endpoints, whose, channel.clone()).await {
            Ok(session) => session,
            Err(Refused { fault, may_be_sse }) => {
                let over_sse = if may_be_sse {
                    sse::open(core, upstream, endpoints, whose, channel).await.ok()
                } else {
                    None
                };
                let Some(session) = over_sse else {
                    // A modern server is taken for a legacy one when its answer to the question breaks off: asked again.
                    if fault.layer() == Some(Layer::Mcp) && upstream.fixed_era.is_none() {
                        upstream.era.set(None);
                    }
                    return Err(fault);
                };
                upstream.era.set_sse();
                session
            }
        }
    };
    if let (Some(client), false) = (whose.client, session.channel.is_a_sessions())
        && let Some(client) = core.sessions.borrow().find(client)
    {
        session.channel.attach(Ear::Session(Rc::downgrade(client)));
    }
    // Some servers announce a change only in the session in which it was made.
    let announces = upstream.said.borrow().announces;
    if session.channel.is_heard() || whose.affinity.declared.can_be_asked() || announces {
        standing::begin(core, upstream, &session);
    }
    if session.channel.topics().is_some() {
        // What is subscribed to again must not be told to nobody.
        session.hears().await;
    }
    session.set_again(core, upstream).await;
    if is_successor {
        session.channel.missed(core, upstream);
    }
    Ok(session)
}

/// Why there was no handshake over Streamable HTTP.
struct Refused {
    fault: UpstreamFault,
    /// The server may be one of 2024-11-05, which knows no POST there.
    may_be_sse: bool,
}

impl From<UpstreamFault> for Refused {
    fn from(fault: UpstreamFault) -> Refused {
        Refused { fault, may_be_sse: false }
    }
}

/// The handshake of Streamable HTTP.
async fn streamable(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    whose: Whose,
    channel: Rc<Channel>,
) -> Result<Rc<Session>, Refused> {
    let replica = upstream.http.next_turn(endpoints.len());
    let id = upstream.next_id();
    let initialize = Request {
        id: Some(id),
        whose: Some(whose.affinity),
        ..Request::new(upstream, Method::Initialize, Era::Legacy)
    };
    let request = Outgoing::from(handshake::initialize(id, whose.affinity.declares()).as_slice());
    let mut reply = initialize.send(core, endpoints, replica, request).await?;
    let may_be_sse = matches!(reply.status(), 400 | 404 | 405) && upstream.fixed_era.is_none();
    let refused = |fault| Refused { fault, may_be_sse };
    let answer = reply.whole(core).await.map_err(refused)?;
    let revision = handshake::negotiated(answer.bytes(), &answer.envelope).map_err(refused)?;
    upstream.said.replace(handshake::said(answer.bytes(), &answer.envelope));
    let (id, grip) = (reply.take_session_id(), Rc::default());
    let opened = Opened { id, revision, replica, channel, post_at: None, grip };
    let session = Session::new(core, upstream, whose, opened);
    let initialized = Request {
        session: Some(session.clone()),
        ..Request::new(upstream, Method::NotifyInitialized, Era::Legacy)
    };
    let told =
        initialized.send(core, endpoints, replica, Outgoing::from(handshake::INITIALIZED.as_bytes())).await?;
    let status = told.status();
    settle(core, told).await;
    match status {
        200..=299 => Ok(session),
        status => {
            let what = format!("notifications/initialized was answered with HTTP {status}");
            Err(UpstreamFault::Handshake(what).into())
        }
    }
}
