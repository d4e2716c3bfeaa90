//! Sessions that outlive the process.
//!
//! An id says all that its owner must know, so a gateway that is started again with the same key takes a session up
//! when its client comes back. What must not come back is remembered instead: sessions that ended although their ids
//! still open. Those of this process need no memory, because an id of this process without a session is dead; those of
//! an earlier one are told to control, which keeps them for the next ([`crate::Event::SessionEnded`]).

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use super::SessionId;
use crate::core::Core;
use crate::handle::Event;
use crate::io::moment;
use crate::limits::{SESSION_KEPT_MS_MAX, SESSIONS_ENDED_MAX};

/// What is kept from one process to the next.
#[derive(Clone, Default)]
pub struct Kept {
    pub key: [u8; 32],
    /// Serials of sessions that ended in earlier processes.
    pub ended: HashSet<u128>,
}

// The key is a secret: it is left out.
impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("ended", &self.ended.len()).finish_non_exhaustive()
    }
}

/// Where the numbers of a session begin: a client may name those of an earlier process, which must not name anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Of its own stream; those of answers follow.
    pub stream: u64,
    /// The last of its questions.
    pub question: u64,
}

impl Numbers {
    pub const FIRST: Numbers = Numbers { stream: 0, question: 0 };
    /// Answers that a session could begin in the millisecond in which it was taken up, for them to meet the next one's.
    const STREAM_BITS: u32 = 20;

    /// Of one that is taken up now. An earlier process cannot have come so far: it would have begun a million streams, or
    /// asked a thousand questions, in each millisecond. Clients read the number of a question as a double: it stays below
    /// 2^53 for 250 years.
    pub const fn since(unix_ms: u64) -> Numbers {
        Numbers { stream: unix_ms << Numbers::STREAM_BITS, question: unix_ms.saturating_mul(1_000) }
    }

    /// Whether this is the number of a session's own stream, in whichever process.
    pub const fn is_own(stream: u64) -> bool {
        stream.is_multiple_of(1 << Numbers::STREAM_BITS)
    }
}

/// Which sessions of earlier processes are over.
pub struct Past {
    /// `None`: nothing is kept.
    kept: Option<Arc<Kept>>,
    /// Sessions that began before this are of an earlier process.
    since_unix_ms: u64,
    /// Of those, the ones that ended in this one.
    ended: RefCell<HashSet<u128>>,
    /// Ended ones that control has not been told of yet.
    owed: RefCell<Vec<Event>>,
    /// Too many have ended to remember them all: none is taken up any more.
    is_full: Cell<bool>,
}

impl Past {
    pub fn new(kept: Option<Arc<Kept>>) -> Past {
        Past {
            kept,
            since_unix_ms: moment::since_1970().as_millis() as u64,
            ended: RefCell::default(),
            owed: RefCell::default(),
            is_full: Cell::new(false),
        }
    }

    /// Whether this is a session of an earlier process that may go on.
    pub fn may_go_on(&self, id: &SessionId, now_unix_ms: u64) -> bool {
        let Some(kept) = &self.kept else { return false };
        id.begun_unix_ms < self.since_unix_ms
            && now_unix_ms.saturating_sub(id.begun_unix_ms) < SESSION_KEPT_MS_MAX
            && !self.is_full.get()
            && !kept.ended.contains(&id.serial)
            && !self.ended.borrow().contains(&id.serial)
    }

    /// A session is over, for good.
    pub fn end(&self, core: &Core, id: &SessionId) {
        let age_ms = core.clock.coarse_unix_ms().saturating_sub(id.begun_unix_ms);
        if self.kept.is_none() || age_ms >= SESSION_KEPT_MS_MAX {
            return;
        }
        if id.begun_unix_ms < self.since_unix_ms {
            let mut ended = self.ended.borrow_mut();
            if ended.len() < SESSIONS_ENDED_MAX {
                ended.insert(id.serial);
            } else {
                self.is_full.set(true);
            }
        }
        let ended = Event::SessionEnded { serial: id.serial, begun_unix_ms: id.begun_unix_ms };
        // A control that takes nothing for so long will not take these either.
        if self.owed.borrow().len() < SESSIONS_ENDED_MAX {
            self.owed.borrow_mut().push(ended);
        }
        self.pay(core);
    }

    /// Tells control what it has not been told, because its queue was full.
    pub fn pay(&self, core: &Core) {
        let mut owed = self.owed.borrow_mut();
        while let Some(event) = owed.pop() {
            if let Err(unheard) = core.events.try_send(event) {
                owed.push(unheard.into_inner());
                return;
            }
        }
    }
}
