//! The tasks that a legacy client has begun in its session: what it may list, and what it is told of.
//!
//! Requests about a task need none of this, for its id says everything. But servers list the tasks of everybody who
//! comes through this gateway, and tell of them on channels that many share; what is not in here is not this client's.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::edition::UpstreamId;
use crate::limits::TASKS_PER_SESSION_MAX;

/// The tasks of one session, the newest last.
#[derive(Default)]
pub struct Tasks {
    begun: RefCell<VecDeque<Begun>>,
}

struct Begun {
    upstream: UpstreamId,
    /// The upstream's id of it.
    bare: Box<[u8]>,
    /// The client's.
    shown: Box<[u8]>,
}

impl Tasks {
    /// Remembers a task; the oldest gives way.
    pub fn note(&self, upstream: UpstreamId, bare: &[u8], shown: &[u8]) {
        let mut begun = self.begun.borrow_mut();
        if begun.len() >= TASKS_PER_SESSION_MAX {
            begun.pop_front();
        }
        begun.push_back(Begun { upstream, bare: bare.into(), shown: shown.into() });
    }

    /// What the client calls an upstream's task; `None` when it is not the client's.
    pub fn shown(&self, upstream: UpstreamId, bare: &[u8]) -> Option<Box<[u8]>> {
        let begun = self.begun.borrow();
        let found = begun.iter().rev().find(|task| task.upstream == upstream && *task.bare == *bare)?;
        Some(found.shown.clone())
    }
}
