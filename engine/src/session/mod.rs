//! Sessions of the older revisions, at the client edge.
//!
//! The id says everything a worker needs to send a request to the right place: it is sealed and holds
//! the owning worker, the endpoint, the principal and the negotiated revision. The owner keeps what changes:
//! a [`Session`], with what the client said of itself, its streams ([`outlet`]), what it was asked ([`questions`]) and what it
//! asked for ([`calls`]).

mod asking;
pub mod calls;
mod kept;
pub mod outlet;
pub mod questions;
mod seal;
pub mod streams;
pub mod tasks;
pub mod wire;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::mcp::{Declared, LogLevel, Revision};

use crate::changes::{List, Sight};
use crate::core::Core;
use crate::exchange::subscriptions::Subscriptions;
use crate::limits::{Deadlines, SESSIONS_PER_CORE_MAX};
use crate::trial::Side;
use calls::Calls;
pub use kept::{Kept, Numbers, Past};
use outlet::Outlet;
use questions::{Question, Questions};
pub use seal::{Carriage, Seal};
use streams::{Streams, Taken};
use tasks::Tasks;
use wire::Wire;

/// What an id says when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId {
    pub worker: u16,
    /// A digest of the virtual server's name: its place in the table may change.
    pub server: u64,
    pub revision: Revision,
    /// A digest of the principal's id.
    pub principal: u64,
    /// What tells sessions apart.
    pub serial: u128,
    /// What its client may be asked.
    pub declared: Declared,
    pub begun_unix_ms: u64,
}

/// How a legacy client introduced itself, for servers of the other era and other workers.
#[derive(Debug, Default)]
pub struct Introduction {
    /// `params.clientInfo` of `initialize`, as written; empty when it said none.
    pub client_info: Box<[u8]>,
}

/// What the owner keeps of a client of the older revisions.
pub struct Session {
    pub id: SessionId,
    pub declared: Declared,
    pub introduction: Arc<Introduction>,
    /// What `logging/setLevel` said last.
    pub log_level: Cell<Option<LogLevel>>,
    /// The stream of what belongs to no call: the client's GET, or all of HTTP+SSE.
    pub standing: Rc<Outlet>,
    /// What its client saw of the lists when it was last told.
    sight: Sight,
    /// The number, on [`Session::standing`], of the last message that told of each list.
    told: Cell<[u64; List::ALL.len()]>,
    /// Resources that its client wants to hear of.
    pub subscriptions: Subscriptions,
    pub questions: Questions,
    pub calls: Calls,
    /// Answers that a client may come back for.
    pub streams: Streams,
    pub tasks: Tasks,
    used_ms: Cell<u64>,
}

impl Session {
    /// Nobody will use it again: what waits for its client learns that, and so do servers.
    pub fn end(&self, core: &Rc<Core>) {
        self.standing.close();
        self.subscriptions.clear();
        for question in self.questions.take_overdue(u64::MAX) {
            asking::give_up(core, question);
        }
        core.upstreams.end_session(core, self.id.serial);
        core.past.end(core, &self.id);
    }

    /// Under which of a worker's editions it was begun, and goes on.
    pub fn side(&self) -> Side {
        self.sight.side()
    }

    /// Since its client last asked for something.
    pub fn idle_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.used_ms.get())
    }

    /// A client that reads the session's stream, or waits for an answer, uses it.
    fn is_idle(&self, now_ms: u64, idle_ms_max: u64) -> bool {
        if self.standing.is_read() || !self.calls.is_empty() {
            self.used_ms.set(now_ms);
        }
        self.idle_ms(now_ms) > idle_ms_max
    }
}

/// Sessions that this worker owns.
pub struct Sessions {
    live: HashMap<u128, Rc<Session>>,
    /// Event streams of HTTP+SSE clients that are open, by the serial of the session that is, or will be, theirs.
    wires: HashMap<u128, Rc<Wire>>,
    /// No question of any session is overdue before this.
    soonest_ms: Rc<Cell<u64>>,
    /// What the answers take that all sessions keep.
    taken: Rc<Taken>,
    /// One that is unused for longer is gone.
    idle_ms_max: u64,
}

impl Sessions {
    pub fn new(deadlines: &Deadlines) -> Sessions {
        Sessions {
            live: HashMap::new(),
            wires: HashMap::new(),
            soonest_ms: Rc::new(Cell::new(u64::MAX)),
            taken: Rc::default(),
            idle_ms_max: deadlines.session_idle_ms,
        }
    }

    /// Begins a session whose own stream is `standing`; `None` when the core has its fill.
    pub fn begin(
        &mut self,
        id: SessionId,
        introduction: Introduction,
        sight: Sight,
        standing: Rc<Outlet>,
        now_ms: u64,
    ) -> Option<Rc<Session>> {
        if self.live.len() >= SESSIONS_PER_CORE_MAX {
            return None;
        }
        let session = Rc::new(Session {
            id,
            declared: id.declared,
            introduction: Arc::new(introduction),
            log_level: Cell::new(None),
            streams: Streams::new(standing.stream, self.taken.clone()),
            standing,
            sight,
            told: Cell::default(),
            subscriptions: Subscriptions::default(),
            questions: Questions::new(self.soonest_ms.clone()),
            calls: Calls::default(),
            tasks: Tasks::default(),
            used_ms: Cell::new(now_ms),
        });
        self.live.insert(id.serial, session.clone());
        Some(session)
    }

    /// The session, used now; `None` when there is none such.
    pub fn touch(&self, serial: u128, now_ms: u64) -> Option<Rc<Session>> {
        let session = self.live.get(&serial).filter(|session| !session.is_idle(now_ms, self.idle_ms_max))?;
        session.used_ms.set(now_ms);
        Some(session.clone())
    }

    /// Keeps the stream of an HTTP+SSE client, until [`Sessions::unplug`].
    pub fn plug(&mut self, wire: Rc<Wire>) {
        self.wires.insert(wire.serial, wire);
    }

    pub fn wire(&self, serial: u128) -> Option<&Rc<Wire>> {
        self.wires.get(&serial)
    }

    pub fn unplug(&mut self, serial: u128) {
        self.wires.remove(&serial);
    }

    pub fn find(&self, serial: u128) -> Option<&Rc<Session>> {
        self.live.get(&serial)
    }

    /// Takes a session out; the caller ends it.
    pub fn take(&mut self, serial: u128) -> Option<Rc<Session>> {
        self.live.remove(&serial)
    }

    pub fn all(&self) -> impl ExactSizeIterator<Item = &Rc<Session>> {
        self.live.values()
    }

    pub fn count(&self) -> usize {
        self.live.len()
    }

    fn take_idle(&mut self, now_ms: u64) -> Vec<Rc<Session>> {
        let idle = self.live.iter().filter(|(_, session)| session.is_idle(now_ms, self.idle_ms_max));
        let idle: Vec<u128> = idle.map(|(serial, _)| *serial).collect();
        idle.into_iter().filter_map(|serial| self.live.remove(&serial)).collect()
    }

    /// Questions that nobody will answer any more. Looks at sessions only when one may be overdue.
    fn take_overdue(&self, now_ms: u64) -> Vec<Question> {
        if now_ms < self.soonest_ms.get() {
            return Vec::new();
        }
        self.soonest_ms.set(u64::MAX);
        self.live.values().flat_map(|session| session.questions.take_overdue(now_ms)).collect()
    }
}

/// A session is over that another process of this gateway knew as well; whoever owns it here lets it go.
pub fn end_known_elsewhere(core: &Rc<Core>, serial: u128, principal: u64) {
    core.past.ended_elsewhere(serial, principal);
    let session = core.sessions.borrow_mut().take(serial);
    if let Some(session) = session {
        session.calls.cancel_all();
        session.end(core);
    }
}

/// Ends sessions that nobody has used for too long.
pub fn end_idle(core: &Rc<Core>) {
    let idle = core.sessions.borrow_mut().take_idle(core.clock.coarse_ms());
    for session in idle {
        session.end(core);
    }
}

/// Gives up questions whose client did not answer in time.
pub fn give_up_overdue(core: &Rc<Core>) {
    let overdue = core.sessions.borrow().take_overdue(core.clock.coarse_ms());
    for question in overdue {
        asking::give_up(core, question);
    }
}
