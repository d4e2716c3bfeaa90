//! Event streams that answer calls of a session, for as long as a client may come back for the rest of one.
//!
//! The answer of a call that is more than one message is told into an [`Outlet`] of its own; a connection that breaks
//! loses nothing of it, and a GET that names its last event goes on behind it. A session keeps a few of them, a core
//! so many; a call for whose answer there is no place is answered without ids, once and for all. What is over may be large
//! and its client gone: it is bounded by its bytes, and the oldest give way.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::Session;
use super::outlet::Outlet;
use crate::core::Core;
use crate::limits::{
    CALL_STREAM_KEPT_MS, CALL_STREAMS_MAX, CALL_STREAMS_PER_CORE_MAX, OUTLET_BYTES_MAX,
    OVER_BYTES_PER_SESSION_MAX, OVER_EIGHTHS,
};

/// The streams of one session. Those that are over stand last, in the order in which they ended.
pub struct Streams {
    kept: RefCell<VecDeque<Kept>>,
    /// The last number that was given; the first is that of the session's own stream.
    last: Cell<u64>,
    taken: Rc<Taken>,
}

/// What the streams of all sessions of a core take.
#[derive(Default)]
pub struct Taken {
    streams: Cell<usize>,
    /// Of those that are over.
    bytes: Cell<usize>,
}

struct Kept {
    outlet: Rc<Outlet>,
    place: Place,
}

/// One of the streams that a core may keep.
struct Place {
    taken: Rc<Taken>,
    /// What it keeps since it is over.
    bytes: usize,
}

impl Place {
    fn take(taken: &Rc<Taken>) -> Place {
        taken.streams.set(taken.streams.get() + 1);
        Place { taken: taken.clone(), bytes: 0 }
    }

    fn keeps(&mut self, bytes: usize) {
        self.taken.bytes.set(self.taken.bytes.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.streams.set(self.taken.streams.get() - 1);
        self.keeps(0);
    }
}

impl Streams {
    /// Of a session whose own stream has the number `own`.
    pub fn new(own: u64, taken: Rc<Taken>) -> Streams {
        Streams { kept: RefCell::default(), last: Cell::new(own), taken }
    }

    /// A stream for another answer; `None` when there is no place for it. One that is over gives way.
    pub fn begin(&self) -> Option<Rc<Outlet>> {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= CALL_STREAMS_MAX || self.taken.streams.get() >= CALL_STREAMS_PER_CORE_MAX {
            let over = kept.iter().position(|stream| stream.outlet.is_closed())?;
            kept.remove(over);
        }
        self.last.set(self.last.get() + 1);
        let outlet = Outlet::answer(self.last.get());
        kept.push_front(Kept { outlet: outlet.clone(), place: Place::take(&self.taken) });
        Some(outlet)
    }

    /// The stream of this number, while it is kept.
    pub fn find(&self, stream: u64) -> Option<Rc<Outlet>> {
        let kept = self.kept.borrow();
        kept.iter().find(|kept| kept.outlet.stream == stream).map(|kept| kept.outlet.clone())
    }

    /// A stream is over and counts by its bytes from now on. Gives how many had to give way to it.
    fn end(&self, stream: u64) -> usize {
        let mut kept = self.kept.borrow_mut();
        let ended = kept.iter().position(|kept| kept.outlet.stream == stream);
        let Some(mut ended) = ended.and_then(|at| kept.remove(at)) else { return 0 };
        ended.place.keeps(ended.outlet.held_bytes());
        kept.push_back(ended);
        let mut gave_way = 0;
        while kept.iter().map(|kept| kept.place.bytes).sum::<usize>() > OVER_BYTES_PER_SESSION_MAX {
            let Some(oldest) = kept.iter().position(|kept| kept.place.bytes > 0) else { break };
            kept.remove(oldest);
            gave_way += 1;
        }
        gave_way
    }

    /// `false` when it was not kept any more.
    fn forget(&self, stream: u64) -> bool {
        let mut kept = self.kept.borrow_mut();
        let before = kept.len();
        kept.retain(|kept| kept.outlet.stream != stream);
        kept.len() < before
    }
}

/// Streams of a core that are over and kept for a while, the oldest first.
#[derive(Default)]
pub struct Over {
    streams: RefCell<VecDeque<(u64, Weak<Session>, u64)>>,
}

impl Over {
    /// Everything was told. What is large and was taken is not kept in case that it was lost on its way; for the rest the
    /// oldest give way.
    pub fn end(&self, core: &Core, session: &Rc<Session>, outlet: &Outlet) {
        outlet.close();
        if outlet.held_bytes() > OUTLET_BYTES_MAX && outlet.taken() == outlet.last() {
            session.streams.forget(outlet.stream);
            return;
        }
        let mut gave_way = session.streams.end(outlet.stream);
        let until_ms = core.clock.coarse_ms() + CALL_STREAM_KEPT_MS;
        self.streams.borrow_mut().push_back((until_ms, Rc::downgrade(session), outlet.stream));
        let most = core.caps().bytes / 8 * OVER_EIGHTHS;
        while session.streams.taken.bytes.get() > most {
            let Some((_, session, stream)) = self.streams.borrow_mut().pop_front() else { break };
            gave_way += usize::from(session.upgrade().is_some_and(|session| session.streams.forget(stream)));
        }
        core.figures.answers_dropped.add(gave_way as u64);
    }

    /// Lets those go that were kept long enough.
    pub fn sweep(&self, now_ms: u64) {
        let mut streams = self.streams.borrow_mut();
        while streams.front().is_some_and(|(until_ms, ..)| *until_ms <= now_ms) {
            if let Some((_, session, stream)) = streams.pop_front()
                && let Some(session) = session.upgrade()
            {
                session.streams.forget(stream);
            }
        }
    }
}
