//! One event stream towards a client, apart from the connection that carries it.
//!
//! A connection breaks; what the stream has to say does not. Messages are pushed into a ring, each under a number of
//! its own, and whoever reads the stream asks for what follows the number it has: a live connection, or the one that
//! comes with `Last-Event-ID` after a break. The ring is bounded; what falls out of it is lost to a reader that is too
//! late, and [`Outlet::after`] says so. At most one reader at a time: a newer one takes over.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::io::signal::Signal;
use crate::limits::{OUTLET_BYTES_MAX, OUTLET_EVENTS_MAX};

/// A stream of messages, in order, numbered from 1.
pub struct Outlet {
    /// Its number within the session: the first half of its event ids.
    pub stream: u32,
    ring: RefCell<Ring>,
    changed: Signal,
    /// Counts readers: only the newest goes on.
    readers: Cell<u32>,
    is_read: Cell<bool>,
    /// What was read stays for a reader that comes back.
    is_resumable: bool,
    /// The last message that any reader took.
    taken: Cell<u64>,
}

#[derive(Default)]
struct Ring {
    messages: VecDeque<Rc<[u8]>>,
    /// The number of the first message in the ring.
    first: u64,
    bytes: usize,
    is_closed: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Message {
        number: u64,
        bytes: Rc<[u8]>,
    },
    /// Messages that this reader has not seen have fallen out of the ring.
    Lost,
    /// The stream is over, and all of it was read.
    End,
    /// A newer reader has taken over.
    Superseded,
}

/// The right to read an outlet, until somebody else takes it.
pub struct Reader {
    outlet: Rc<Outlet>,
    turn: u32,
    /// The last number that was read.
    at: u64,
}

impl Outlet {
    pub fn new(stream: u32) -> Rc<Outlet> {
        Outlet::build(stream, true)
    }

    /// One that keeps a message only until it is read: nobody can come back for it.
    pub fn passing() -> Rc<Outlet> {
        Outlet::build(0, false)
    }

    fn build(stream: u32, is_resumable: bool) -> Rc<Outlet> {
        let ring = RefCell::new(Ring { first: 1, ..Ring::default() });
        let (changed, readers, is_read) = (Signal::new(), Cell::new(0), Cell::new(false));
        Rc::new(Outlet { stream, ring, changed, readers, is_read, is_resumable, taken: Cell::new(0) })
    }

    /// Appends a message and gives its number; `None` when the stream is over. The oldest give way.
    pub fn push(&self, message: &[u8]) -> Option<u64> {
        let mut ring = self.ring.borrow_mut();
        if ring.is_closed {
            return None;
        }
        ring.bytes += message.len();
        ring.messages.push_back(Rc::from(message));
        while ring.messages.len() > OUTLET_EVENTS_MAX
            || (ring.bytes > OUTLET_BYTES_MAX && ring.messages.len() > 1)
        {
            let gone = ring.messages.pop_front();
            ring.bytes -= gone.map_or(0, |gone| gone.len());
            ring.first += 1;
        }
        let number = ring.first + ring.messages.len() as u64 - 1;
        drop(ring);
        self.changed.set();
        Some(number)
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.ring.borrow_mut().is_closed = true;
        self.changed.set();
    }

    pub fn is_closed(&self) -> bool {
        self.ring.borrow().is_closed
    }

    /// Whether a connection carries it now.
    pub fn is_read(&self) -> bool {
        self.is_read.get()
    }

    /// The number of the last message so far.
    pub fn last(&self) -> u64 {
        let ring = self.ring.borrow();
        ring.first + ring.messages.len() as u64 - 1
    }

    /// Bytes held for readers to come.
    pub fn held_bytes(&self) -> usize {
        self.ring.borrow().bytes
    }

    /// Takes over reading, behind the message `after`.
    pub fn read(self: &Rc<Self>, after: u64) -> Reader {
        let turn = self.readers.get().wrapping_add(1);
        self.readers.set(turn);
        self.is_read.set(true);
        self.changed.set();
        Reader { outlet: self.clone(), turn, at: after }
    }

    /// The last message that any reader took: where one begins that has seen nothing itself.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Whether everything behind this number is still here, and the number was given at all.
    pub fn has_after(&self, number: u64) -> bool {
        number <= self.last() && !matches!(self.after(number), Some(Found::Lost))
    }

    /// Whether this message is here and nobody has taken it.
    pub fn has_waiting(&self, number: u64) -> bool {
        number > self.taken.get() && number >= self.ring.borrow().first
    }

    /// The message `number` was read.
    fn was_read(&self, number: u64) {
        self.taken.set(self.taken.get().max(number));
        if self.is_resumable {
            return;
        }
        let mut ring = self.ring.borrow_mut();
        while ring.first <= number {
            let Some(gone) = ring.messages.pop_front() else { break };
            ring.bytes -= gone.len();
            ring.first += 1;
        }
        if ring.messages.is_empty() {
            // An idle stream keeps nothing for messages to come.
            ring.messages = VecDeque::new();
        }
    }

    fn after(&self, number: u64) -> Option<Found> {
        let ring = self.ring.borrow();
        if number + 1 < ring.first {
            return Some(Found::Lost);
        }
        let message = usize::try_from(number + 1 - ring.first).ok().and_then(|at| ring.messages.get(at));
        match message {
            Some(bytes) => Some(Found::Message { number: number + 1, bytes: bytes.clone() }),
            None => ring.is_closed.then_some(Found::End),
        }
    }
}

impl Reader {
    /// What comes next, waiting for it. Looks again at every wake-up: a newer reader may have used up the signal that
    /// said that it took over.
    pub async fn next(&mut self) -> Found {
        poll_fn(|context| {
            loop {
                if let Some(found) = self.now() {
                    return Poll::Ready(found);
                }
                if self.outlet.changed.poll_wait(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// What comes next, if it is here.
    fn now(&mut self) -> Option<Found> {
        if self.outlet.readers.get() != self.turn {
            return Some(Found::Superseded);
        }
        let found = self.outlet.after(self.at);
        if let Some(Found::Message { number, .. }) = &found {
            self.at = *number;
            self.outlet.was_read(*number);
        }
        found
    }

    /// The number of the stream that is read.
    pub fn stream(&self) -> u32 {
        self.outlet.stream
    }

    /// Goes on with what is in the ring, after [`Found::Lost`].
    pub fn skip_lost(&mut self) {
        self.at = self.outlet.ring.borrow().first - 1;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.outlet.readers.get() == self.turn {
            self.outlet.is_read.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(reader: &mut Reader) -> Option<Found> {
        let mut next = std::pin::pin!(reader.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match next.as_mut().poll(&mut context) {
            std::task::Poll::Ready(found) => Some(found),
            std::task::Poll::Pending => None,
        }
    }

    fn message(number: u64, bytes: &[u8]) -> Option<Found> {
        Some(Found::Message { number, bytes: Rc::from(bytes) })
    }

    #[test]
    fn a_reader_gets_everything_in_order_and_goes_on_where_another_stopped() {
        let outlet = Outlet::new(7);
        assert_eq!(outlet.push(b"a"), Some(1));
        assert_eq!(outlet.push(b"b"), Some(2));
        let mut first = outlet.read(0);
        assert_eq!(now(&mut first), message(1, b"a"));
        assert_eq!([0, 1, 2].map(|number| outlet.has_waiting(number)), [false, false, true]);
        let mut second = outlet.read(1);
        assert_eq!(now(&mut first), Some(Found::Superseded));
        drop(first);
        assert!(outlet.is_read());
        assert_eq!(now(&mut second), message(2, b"b"));
        assert_eq!(now(&mut second), None);
        outlet.push(b"c");
        outlet.close();
        assert_eq!(outlet.push(b"d"), None);
        assert_eq!(now(&mut second), message(3, b"c"));
        assert_eq!(now(&mut second), Some(Found::End));
        drop(second);
        assert!(!outlet.is_read());
    }

    #[test]
    fn what_falls_out_of_the_ring_is_told() {
        let outlet = Outlet::new(1);
        for _ in 0..OUTLET_EVENTS_MAX + 2 {
            outlet.push(b"x");
        }
        let mut reader = outlet.read(1);
        assert_eq!(now(&mut reader), Some(Found::Lost));
        reader.skip_lost();
        assert_eq!(now(&mut reader), message(3, b"x"));
        let large = vec![b'y'; OUTLET_BYTES_MAX];
        outlet.push(&large);
        assert_eq!(outlet.held_bytes(), large.len());
        assert!(!outlet.has_waiting(OUTLET_EVENTS_MAX as u64 + 2));
    }
}
