//! Sessions of the older revisions, at the client edge.
//!
//! The id says everything a worker needs to send a request to the right place: it is sealed and holds
//! the owning worker, the endpoint, the principal and the negotiated revision. The owner keeps what changes:
//! a [`Session`], with what the client said of itself, its streams ([`outlet`]) and what it was asked ([`questions`]).

mod asking;
pub mod outlet;
pub mod questions;
mod seal;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::mcp::{Declared, LogLevel, Revision};

use crate::limits::{SESSION_IDLE_MS_MAX, SESSIONS_PER_CORE_MAX};
use outlet::Outlet;
use questions::Questions;
pub use seal::Seal;

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
    pub questions: Questions,
    used_ms: Cell<u64>,
}

impl Session {
    pub fn new(id: SessionId, declared: Declared, introduction: Introduction, now_ms: u64) -> Rc<Session> {
        Rc::new(Session {
            id,
            declared,
            introduction: Arc::new(introduction),
            log_level: Cell::new(None),
            standing: Outlet::new(0),
            questions: Questions::default(),
            used_ms: Cell::new(now_ms),
        })
    }

    fn is_idle(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.used_ms.get()) > SESSION_IDLE_MS_MAX
    }
}

/// Sessions that this worker owns.
#[derive(Default)]
pub struct Sessions {
    live: HashMap<u128, Rc<Session>>,
}

impl Sessions {
    /// Takes up a session; `false` when the core has its fill even after forgetting idle ones.
    pub fn begin(&mut self, session: Rc<Session>, now_ms: u64) -> bool {
        if self.live.len() >= SESSIONS_PER_CORE_MAX {
            self.forget_idle(now_ms);
        }
        if self.live.len() >= SESSIONS_PER_CORE_MAX {
            return false;
        }
        self.live.insert(session.id.serial, session);
        true
    }

    /// The session, used now; `None` when there is none such.
    pub fn touch(&mut self, serial: u128, now_ms: u64) -> Option<Rc<Session>> {
        let session = self.live.get(&serial)?;
        if session.is_idle(now_ms) {
            self.live.remove(&serial);
            return None;
        }
        session.used_ms.set(now_ms);
        Some(session.clone())
    }

    pub fn find(&self, serial: u128) -> Option<&Rc<Session>> {
        self.live.get(&serial)
    }

    pub fn end(&mut self, serial: u128) -> Option<Rc<Session>> {
        self.live.remove(&serial)
    }

    pub fn count(&self) -> usize {
        self.live.len()
    }

    fn forget_idle(&mut self, now_ms: u64) {
        self.live.retain(|_, session| !session.is_idle(now_ms));
    }
}
