//! Sessions that outlive the process.
//!
//! An id says all that its owner must know, so a gateway that is started again with the same key takes a session up
//! when its client comes back. What must not come back is remembered instead: sessions that ended although their ids
//! still open. Those of this process need no memory, because an id of this process without a session is dead; those of
//! an earlier one are told to control, which keeps them for the next ([`crate::Event::SessionEnded`]).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::SessionId;
use crate::core::Core;
use crate::handle::Event;
use crate::io::moment;
use crate::limits::{SESSION_KEPT_MS_MAX, SESSIONS_ENDED_MAX, SESSIONS_ENDED_PER_PRINCIPAL_MAX};

/// What is kept from one process to the next.
#[derive(Clone, Default)]
pub struct Kept {
    pub key: [u8; 32],
    /// Serials of sessions that ended in earlier processes.
    pub ended: HashSet<u128>,
    /// Principals that had too many: their sessions are over that began until this moment, on the clock since 1970.
    pub over: HashMap<u64, u64>,
    /// An earlier process goes on beside this one for so long at most, and begins sessions too.
    pub beside_ms: u64,
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
    ended: RefCell<Ended>,
    /// Ended ones that control has not been told of yet.
    owed: RefCell<Vec<Event>>,
}

/// Sessions of earlier processes that ended in this one, by principal.
#[derive(Default)]
struct Ended {
    of: HashMap<u64, HashSet<u128>>,
    /// Principals of whom too many have ended to remember them all: none of theirs is taken up any more.
    over: HashSet<u64>,
    remembered: usize,
    /// Of all principals together: nobody's is.
    is_full: bool,
}

impl Ended {
    fn has(&self, serial: u128, principal: u64) -> bool {
        self.is_full
            || self.over.contains(&principal)
            || self.of.get(&principal).is_some_and(|ended| ended.contains(&serial))
    }

    fn add(&mut self, serial: u128, principal: u64) {
        if self.has(serial, principal) {
            return;
        }
        let ended = self.of.entry(principal).or_default();
        ended.insert(serial);
        self.remembered += 1;
        if ended.len() > SESSIONS_ENDED_PER_PRINCIPAL_MAX {
            self.remembered -= ended.len();
            self.of.remove(&principal);
            self.over.insert(principal);
        }
        self.is_full = self.remembered >= SESSIONS_ENDED_MAX;
    }
}

impl Past {
    pub fn new(kept: Option<Arc<Kept>>) -> Past {
        let beside_ms = kept.as_ref().map_or(0, |kept| kept.beside_ms);
        Past {
            kept,
            since_unix_ms: moment::since_1970().as_millis() as u64 + beside_ms,
            ended: RefCell::default(),
            owed: RefCell::default(),
        }
    }

    /// Whether this is a session of an earlier process that may go on.
    pub fn may_go_on(&self, id: &SessionId, now_unix_ms: u64) -> bool {
        let Some(kept) = &self.kept else { return false };
        id.begun_unix_ms < self.since_unix_ms
            && now_unix_ms.saturating_sub(id.begun_unix_ms) < SESSION_KEPT_MS_MAX
            && !kept.ended.contains(&id.serial)
            && kept.over.get(&id.principal).is_none_or(|until_ms| id.begun_unix_ms > *until_ms)
            && !self.ended.borrow().has(id.serial, id.principal)
    }

    /// A session is over, as another process says.
    pub fn ended_elsewhere(&self, serial: u128, principal: u64) {
        self.ended.borrow_mut().add(serial, principal);
    }

    /// A session is over, for good.
    pub fn end(&self, core: &Core, id: &SessionId) {
        let age_ms = core.clock.coarse_unix_ms().saturating_sub(id.begun_unix_ms);
        if self.kept.is_none() || age_ms >= SESSION_KEPT_MS_MAX {
            return;
        }
        if id.begun_unix_ms < self.since_unix_ms {
            self.ended.borrow_mut().add(id.serial, id.principal);
        }
        let ended = Event::SessionEnded {
            serial: id.serial,
            begun_unix_ms: id.begun_unix_ms,
            principal: id.principal,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_whose_sessions_end_in_masses_ends_no_others() {
        let mut ended = Ended::default();
        ended.add(7, 1);
        for serial in 0..2 * SESSIONS_ENDED_MAX as u128 {
            ended.add(serial, 2);
        }
        assert!(ended.has(7, 1) && !ended.has(8, 1));
        assert!(ended.has(u128::MAX, 2), "all of theirs");
        assert_eq!(ended.remembered, 1);
        // So many together that nobody can tell: then nobody's.
        for principal in 3..20 {
            for serial in 0..SESSIONS_ENDED_PER_PRINCIPAL_MAX as u128 {
                ended.add(serial, principal);
            }
        }
        assert!(ended.has(8, 1));
        assert!(ended.remembered <= SESSIONS_ENDED_MAX);
    }
}
