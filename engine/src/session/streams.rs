//! Event streams that answer calls of a session, for as long as a client may come back for the rest of one.
//!
//! The answer of a call that is more than one message is told into an [`Outlet`] of its own; a connection that breaks
//! loses nothing of it, and a GET that names its last event goes on behind it. A session keeps a few of them, a core
//! so many; a call for whose answer there is no place is answered without ids, once and for all.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::Session;
use super::outlet::Outlet;
use crate::limits::{CALL_STREAM_KEPT_MS, CALL_STREAMS_MAX, CALL_STREAMS_PER_CORE_MAX, OUTLET_BYTES_MAX};

/// The streams of one session, the oldest first.
pub struct Streams {
    kept: RefCell<VecDeque<Kept>>,
    /// The last number that was given; 0 is that of the session's own stream.
    last: Cell<u32>,
    taken: Rc<Cell<usize>>,
}

struct Kept {
    outlet: Rc<Outlet>,
    _place: Place,
}

/// One of the streams that a core may keep.
struct Place {
    taken: Rc<Cell<usize>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
    }
}

impl Streams {
    /// `taken` counts those of all sessions of the core.
    pub fn new(taken: Rc<Cell<usize>>) -> Streams {
        Streams { kept: RefCell::default(), last: Cell::new(0), taken }
    }

    /// Numbers go on behind this one: a client may still name streams of an earlier process.
    pub fn begin_after(&self, stream: u32) {
        self.last.set(stream);
    }

    /// A stream for another answer; `None` when there is no place for it. One that is over gives way.
    pub fn begin(&self) -> Option<Rc<Outlet>> {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= CALL_STREAMS_MAX || self.taken.get() >= CALL_STREAMS_PER_CORE_MAX {
            let over = kept.iter().position(|stream| stream.outlet.is_closed())?;
            kept.remove(over);
        }
        self.taken.set(self.taken.get() + 1);
        let place = Place { taken: self.taken.clone() };
        self.last.set(self.last.get().wrapping_add(1).max(1));
        let outlet = Outlet::answer(self.last.get());
        kept.push_back(Kept { outlet: outlet.clone(), _place: place });
        Some(outlet)
    }

    /// The stream of this number, while it is kept.
    pub fn find(&self, stream: u64) -> Option<Rc<Outlet>> {
        let kept = self.kept.borrow();
        kept.iter().find(|kept| u64::from(kept.outlet.stream) == stream).map(|kept| kept.outlet.clone())
    }

    fn forget(&self, stream: u32) {
        self.kept.borrow_mut().retain(|kept| kept.outlet.stream != stream);
    }
}

/// Streams of a core that are over and kept for a while, the oldest first.
#[derive(Default)]
pub struct Over {
    streams: RefCell<VecDeque<(u64, Weak<Session>, u32)>>,
}

impl Over {
    /// Everything was told. What is large and was taken is not kept in case that it was lost on its way.
    pub fn end(&self, session: &Rc<Session>, outlet: &Outlet, now_ms: u64) {
        outlet.close();
        if outlet.held_bytes() > OUTLET_BYTES_MAX && outlet.taken() == outlet.last() {
            return session.streams.forget(outlet.stream);
        }
        let until_ms = now_ms + CALL_STREAM_KEPT_MS;
        self.streams.borrow_mut().push_back((until_ms, Rc::downgrade(session), outlet.stream));
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
