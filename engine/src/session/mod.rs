//! Sessions of the older revisions, at the client edge.
//!
//! The id says everything a worker needs to send a request to the right place: it is sealed and holds
//! the owning worker, the endpoint, the principal and the negotiated revision. The owner keeps the
//! little that changes: whether the session lives, and when it was last used.

mod seal;

use std::collections::HashMap;

use strait_protocol::mcp::Revision;

use crate::limits::{SESSION_IDLE_MS_MAX, SESSIONS_PER_CORE_MAX};
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

/// Sessions that this worker owns.
#[derive(Default)]
pub struct Sessions {
    live: HashMap<u128, u64>,
}

impl Sessions {
    /// Begins a session; `false` when the core has its fill even after forgetting idle ones.
    pub fn begin(&mut self, serial: u128, now_ms: u64) -> bool {
        if self.live.len() >= SESSIONS_PER_CORE_MAX {
            self.forget_idle(now_ms);
        }
        if self.live.len() >= SESSIONS_PER_CORE_MAX {
            return false;
        }
        self.live.insert(serial, now_ms);
        true
    }

    /// Notes a use; `false` when there is no such session.
    pub fn touch(&mut self, serial: u128, now_ms: u64) -> bool {
        match self.live.get_mut(&serial) {
            Some(used) if now_ms.saturating_sub(*used) <= SESSION_IDLE_MS_MAX => {
                *used = now_ms;
                true
            }
            Some(_) => {
                self.live.remove(&serial);
                false
            }
            None => false,
        }
    }

    pub fn end(&mut self, serial: u128) -> bool {
        self.live.remove(&serial).is_some()
    }

    pub fn count(&self) -> usize {
        self.live.len()
    }

    fn forget_idle(&mut self, now_ms: u64) {
        self.live.retain(|_, used| now_ms.saturating_sub(*used) <= SESSION_IDLE_MS_MAX);
    }
}
