//! The one event stream of an HTTP+SSE client (2024-11-05), on which everything is said to it.
//!
//! It is there before the session, which begins inside it, and the session ends with it: nobody can come back for what
//! it still had to say. Answers are never dropped: they wait until there is room ([`Outlet::lossless`]), and so many may
//! wait at once ([`WIRE_MESSAGES_MAX`]).

use std::cell::Cell;
use std::rc::Rc;

use super::outlet::Outlet;
use crate::limits::WIRE_MESSAGES_MAX;
use crate::trial::Side;

pub struct Wire {
    /// Of the session that is, or will be, the client's.
    pub serial: u128,
    pub outlet: Rc<Outlet>,
    /// Under which of a worker's editions it was opened, and goes on.
    pub side: Side,
    /// Messages of the client that are being answered.
    under_way: Cell<usize>,
    /// It takes no more of them, and ends behind the last answer.
    is_ending: Cell<bool>,
}

/// A message of the client that is being answered.
pub struct UnderWay {
    wire: Rc<Wire>,
}

impl Wire {
    pub fn new(serial: u128, side: Side) -> Rc<Wire> {
        let (under_way, is_ending) = (Cell::new(0), Cell::new(false));
        Rc::new(Wire { serial, outlet: Outlet::lossless(), side, under_way, is_ending })
    }

    /// Takes up a message; `None` when too many are being answered, or nothing more is.
    pub fn take_up(self: &Rc<Wire>) -> Option<UnderWay> {
        let under_way = self.under_way.get();
        if self.is_ending.get() || self.outlet.is_closed() || under_way >= WIRE_MESSAGES_MAX {
            return None;
        }
        self.under_way.set(under_way + 1);
        Some(UnderWay { wire: self.clone() })
    }

    /// Ends behind what is being answered now.
    pub fn end(&self) {
        self.is_ending.set(true);
        if self.under_way.get() == 0 {
            self.outlet.close();
        }
    }
}

impl UnderWay {
    pub fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.wire.under_way.set(self.wire.under_way.get() - 1);
        if self.wire.is_ending.get() {
            self.wire.end();
        }
    }
}
