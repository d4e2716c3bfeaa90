//! Sessions with legacy upstreams: one for each client session, or for each principal with what its client declared;
//! opened by our own handshake, opened again when the server has lost it.
//!
//! Declared is what the client behind it declared, never more: a server must not ask what nobody would answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use strait_protocol::mcp::{Method, Revision};
use tokio::sync::Notify;

use super::outgoing::Outgoing;
use super::post::Post;
use crate::core::Core;
use crate::handle::{HttpEndpoint, Reach};
use crate::io::buffer::Buf;
use crate::io::runtime;
use crate::limits::UPSTREAM_SESSIONS_MAX;
use crate::upstream::handshake;
use crate::upstream::{Affinity, Era, Upstream, UpstreamFault};

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    /// `None`: the server keeps none.
    pub id: Option<Rc<[u8]>>,
    pub revision: Revision,
    /// The replica that knows it.
    pub replica: usize,
    /// No other session of this worker with this upstream has it.
    pub serial: i64,
    used_ms: u64,
    /// Answers to requests of the server's own that are on their way.
    pub(super) answering: Rc<Cell<u32>>,
}

/// A session on its way, and those who wait for it.
#[derive(Default)]
pub struct Opening {
    done: Notify,
    outcome: RefCell<Option<Result<Session, UpstreamFault>>>,
}

/// The session for somebody, opened when there is none: once, however many calls need it at the same time.
pub async fn session(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    affinity: Affinity,
) -> Result<Session, UpstreamFault> {
    let now_ms = core.clock.coarse_ms();
    if let Some(session) = upstream.http.sessions.borrow_mut().get_mut(&affinity) {
        session.used_ms = now_ms;
        return Ok(session.clone());
    }
    Box::pin(opened(core, upstream, affinity)).await
}

/// Forgets a session that its server does not know any more, unless it was replaced already.
pub fn forget(upstream: &Upstream, affinity: Affinity, serial: Option<i64>) {
    let mut sessions = upstream.http.sessions.borrow_mut();
    if sessions.get(&affinity).is_some_and(|session| Some(session.serial) == serial) {
        sessions.remove(&affinity);
    }
}

/// A client's session is over: so are the server's sessions that nobody else has.
pub fn end_session(_core: &Rc<Core>, upstream: &Rc<Upstream>, serial: u128) {
    let key = Affinity::key_of(serial);
    upstream.http.sessions.borrow_mut().retain(|affinity, _| affinity.key != key);
}

/// Says something to the server's sessions that serve a client's session.
pub fn tell_session(core: &Rc<Core>, upstream: &Rc<Upstream>, serial: u128, message: &[u8]) {
    let key = Affinity::key_of(serial);
    let sessions = upstream.http.sessions.borrow();
    for (_, session) in sessions.iter().filter(|(affinity, _)| affinity.key == key) {
        super::respond(core, upstream, session, Buf::from(message));
    }
}

/// Waits for the session that is being opened. Opening is nobody's: it goes on when a caller leaves.
async fn opened(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    affinity: Affinity,
) -> Result<Session, UpstreamFault> {
    let under_way = upstream.http.openings.borrow().get(&affinity).cloned();
    let opening = under_way.unwrap_or_else(|| {
        let opening = Rc::<Opening>::default();
        upstream.http.openings.borrow_mut().insert(affinity, opening.clone());
        let landing = Landing { upstream: upstream.clone(), affinity, opening: opening.clone() };
        runtime::spawn_guarded("opening of an upstream's session", landing.land(core.clone()));
        opening
    });
    // Whoever opens it runs on this worker, so it cannot end between here and the wait.
    opening.done.notified().await;
    let outcome = opening.outcome.borrow().clone();
    outcome.unwrap_or_else(|| Err(UpstreamFault::Handshake("it was interrupted".to_owned())))
}

/// The end of an opening, whatever became of it.
struct Landing {
    upstream: Rc<Upstream>,
    affinity: Affinity,
    opening: Rc<Opening>,
}

impl Landing {
    async fn land(self, core: Rc<Core>) {
        let reach = self.upstream.reach.borrow().clone();
        let outcome = match &*reach {
            Reach::Http { endpoints } => open(&core, &self.upstream, endpoints, self.affinity).await,
            _ => Err(UpstreamFault::Unreachable("it is not an HTTP server any more".to_owned())),
        };
        if let Ok(session) = &outcome
            && self.is_current()
        {
            let mut sessions = self.upstream.http.sessions.borrow_mut();
            if sessions.len() >= UPSTREAM_SESSIONS_MAX {
                let oldest = sessions.iter().min_by_key(|(_, session)| session.used_ms).map(|(key, _)| *key);
                oldest.and_then(|key| sessions.remove(&key));
            }
            sessions.insert(self.affinity, session.clone());
        }
        self.opening.outcome.replace(Some(outcome));
    }

    fn is_current(&self) -> bool {
        let openings = self.upstream.http.openings.borrow();
        openings.get(&self.affinity).is_some_and(|opening| Rc::ptr_eq(opening, &self.opening))
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.is_current() {
            self.upstream.http.openings.borrow_mut().remove(&self.affinity);
        }
        self.opening.done.notify_waiters();
    }
}

async fn open(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    affinity: Affinity,
) -> Result<Session, UpstreamFault> {
    let replica = upstream.http.next_turn(endpoints.len());
    let id = upstream.next_id();
    let initialize = Post { id: Some(id), ..Post::new(upstream, Method::Initialize, Era::Legacy) };
    let request = Outgoing::from(handshake::initialize(id, affinity.declared).as_slice());
    let mut reply = initialize.send(core, endpoints, replica, request).await?;
    let answer = reply.whole(core).await?;
    let revision = handshake::negotiated(answer.bytes(), &answer.envelope)?;
    upstream.said.replace(handshake::said(answer.bytes(), &answer.envelope));
    let session = Session {
        id: reply.take_session_id(),
        revision,
        replica,
        serial: id,
        used_ms: core.clock.coarse_ms(),
        answering: Rc::default(),
    };
    let initialized = Post {
        session: Some(session.clone()),
        ..Post::new(upstream, Method::NotifyInitialized, Era::Legacy)
    };
    let told =
        initialized.send(core, endpoints, replica, Outgoing::from(handshake::INITIALIZED.as_bytes())).await?;
    match told.status() {
        200..=299 => Ok(session),
        status => Err(UpstreamFault::Handshake(format!(
            "notifications/initialized was answered with HTTP {status}"
        ))),
    }
}
