//! Sessions with legacy upstreams: one per principal, opened by our own handshake, opened again when
//! the server has lost it.
//!
//! No capability is declared: this gateway cannot yet put a server's question to the client, so the
//! server must not ask.

use std::rc::Rc;

use strait_protocol::mcp::{Method, Revision};

use super::outgoing::Outgoing;
use super::post::Post;
use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::limits::UPSTREAM_SESSIONS_MAX;
use crate::upstream::handshake;
use crate::upstream::{Era, Upstream, UpstreamFault};

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    /// `None`: the server keeps none.
    pub id: Option<Rc<[u8]>>,
    pub revision: Revision,
    /// The replica that knows it.
    pub replica: usize,
    used_ms: u64,
}

/// The session of a principal, opened when there is none.
pub async fn session(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    principal: u64,
) -> Result<Session, UpstreamFault> {
    let now_ms = core.clock.coarse_ms();
    if let Some(session) = upstream.http.sessions.borrow_mut().get_mut(&principal) {
        session.used_ms = now_ms;
        return Ok(session.clone());
    }
    let session = Box::pin(open(core, upstream, endpoints)).await?;
    let mut sessions = upstream.http.sessions.borrow_mut();
    if sessions.len() >= UPSTREAM_SESSIONS_MAX {
        let oldest = sessions.iter().min_by_key(|(_, session)| session.used_ms).map(|(key, _)| *key);
        oldest.and_then(|key| sessions.remove(&key));
    }
    sessions.insert(principal, session.clone());
    Ok(session)
}

/// Forgets a session that its server does not know any more.
pub fn forget(upstream: &Upstream, principal: u64) {
    upstream.http.sessions.borrow_mut().remove(&principal);
}

async fn open(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
) -> Result<Session, UpstreamFault> {
    let replica = upstream.http.next_turn(endpoints.len());
    let id = upstream.next_id();
    let initialize = Post { id: Some(id), ..Post::new(upstream, Method::Initialize, Era::Legacy) };
    let request = Outgoing::from(handshake::initialize(id).as_bytes());
    let mut reply = initialize.send(core, endpoints, replica, request).await?;
    let answer = reply.whole(core).await?;
    let revision = handshake::negotiated(answer.bytes(), &answer.envelope)?;
    upstream.instructions.replace(handshake::instructions(answer.bytes(), &answer.envelope));
    let session = Session { id: reply.take_session_id(), revision, replica, used_ms: core.clock.coarse_ms() };
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
