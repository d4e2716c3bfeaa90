//! Streamable HTTP upstreams of both eras.
//!
//! Every worker has its own connections, so modern traffic never leaves the core it arrived on. A call
//! is one POST; its reply is read by [`HttpReply`]. A legacy server gets a session per principal
//! ([`session`]), because what one principal does in it must not show to another.

mod attend;
mod call;
mod large;
pub mod outgoing;
mod pool;
pub mod reply;
pub mod request;
mod resume;
pub mod session;
pub mod standing;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

pub use attend::AttendedReply;
pub use call::call;
pub use reply::{HttpReply, Reading};
pub use session::{Session, end_all, end_session, tell_session};

use super::credential::Overlap;
use super::credential::lending::Lent;
use super::{Affinity, Era, Upstream, UpstreamFault};
use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::limits::UPSTREAM_SESSIONS_MAX;

/// What one worker keeps of an HTTP upstream.
#[derive(Default)]
pub struct State {
    pools: RefCell<Vec<pool::Pool>>,
    sessions: RefCell<HashMap<Affinity, Rc<session::Session>>>,
    /// Those that are being opened: whoever needs one of them waits for it.
    openings: RefCell<HashMap<Affinity, Rc<session::Opening>>>,
    /// Streams of what belongs to no call that are open, or waiting to be.
    streams: Cell<usize>,
    /// The replica whose turn it is.
    turn: Cell<usize>,
    /// The last reply was larger than a usual buffer: the next one is received into a larger one.
    replies_are_large: Cell<bool>,
    pub overlap: Overlap,
    /// What was last shown on behalf of whoever has a session, for what is said there without an order.
    lent: RefCell<HashMap<Affinity, Arc<Lent>>>,
}

impl State {
    /// Nothing that was open is used again. Sessions that somebody hears are opened anew.
    pub fn forget(&self) {
        self.pools.borrow_mut().clear();
        for session in self.sessions.borrow().values() {
            session.lose();
        }
        // Those who wait for one still get it; it is not kept.
        self.openings.borrow_mut().clear();
    }

    /// What an order is shown with goes for its session.
    fn lend(&self, core: &Core, whose: Affinity, lent: &Arc<Lent>) {
        let mut all = self.lent.borrow_mut();
        if all.len() >= UPSTREAM_SESSIONS_MAX && !all.contains_key(&whose) {
            all.retain(|_, lent| !lent.is_over(&core.clock));
        }
        if all.len() < UPSTREAM_SESSIONS_MAX || all.contains_key(&whose) {
            all.insert(whose, lent.clone());
        }
    }

    fn lent_to(&self, whose: Affinity) -> Option<Arc<Lent>> {
        self.lent.borrow().get(&whose).cloned()
    }

    /// Sessions that are open with its server.
    pub fn session_count(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// What else it keeps, for a test that looks whether it is given back.
    #[cfg(feature = "simulation")]
    pub fn held(&self) -> [(&'static str, usize); 4] {
        let pending = self.sessions.borrow().values().map(|session| session.channel.len()).sum();
        let idle = self.pools.borrow().iter().map(pool::Pool::len).sum();
        [
            ("calls in upstreams' sessions", pending),
            ("openings of upstreams' sessions", self.openings.borrow().len()),
            ("streams of upstreams' sessions", self.streams.get()),
            ("idle connections to upstreams", idle),
        ]
    }

    pub fn next_turn(&self, replicas: usize) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn % replicas.max(1)
    }
}

/// The handshake of our own questions. A modern server has none, but is asked what it says of itself.
pub async fn greet(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
) -> Result<(), UpstreamFault> {
    let era = match upstream.known_era() {
        Some(Era::Modern) => {
            return Box::pin(call::probe(core, upstream, endpoints, Affinity::NOBODY)).await.map(|_| ());
        }
        Some(Era::Legacy) => Era::Legacy,
        None => ask_era(core, upstream, endpoints, Affinity::NOBODY).await?,
    };
    if era == Era::Legacy {
        session::session(core, upstream, session::Whose::NOBODY).await?;
    }
    Ok(())
}

/// Closes what has been idle for too long.
pub fn sweep(core: &Rc<Core>, upstream: &Rc<Upstream>) {
    for pool in upstream.http.pools.borrow_mut().iter_mut() {
        pool.sweep(core.clock.coarse_ms());
    }
    session::sweep(core, upstream);
}

/// The era of an upstream, asked once per process for all workers.
async fn ask_era(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    whose: Affinity,
) -> Result<Era, UpstreamFault> {
    let era = Box::pin(call::probe(core, upstream, endpoints, whose)).await?;
    upstream.era.set(Some(era));
    Ok(era)
}
