//! One event stream towards a client, apart from the connection that carries it.
//!
//! A connection breaks; what the stream has to say does not. Messages are pushed into a ring, each under a number of
//! its own, and whoever reads the stream asks for what follows the number it has: a live connection, or the one that
//! comes with `Last-Event-ID` after a break. The ring is bounded; what falls out of it is lost to a reader that is too
//! late, and [`Outlet::after`] says so. At most one reader at a time: a newer one takes over.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::Notify;

use crate::io::buffer::{BUFFER_BYTES, Buf};
use crate::io::signal::Signal;
use crate::limits::{OUTLET_BYTES_MAX, OUTLET_EVENTS_MAX};

/// A stream of messages, in order, numbered from 1.
pub struct Outlet {
    /// Its number within the session, also over restarts: the first half of its event ids.
    pub stream: u64,
    ring: RefCell<Ring>,
    changed: Signal,
    /// Counts readers: only the newest goes on.
    readers: Cell<u32>,
    is_read: Cell<bool>,
    keeps: Keeps,
    /// Raised when there may be room again, or the stream is over.
    made_room: Notify,
    /// Something found no room, and its reader was not told.
    has_lost: Cell<bool>,
    /// The last message that any reader took.
    taken: Cell<u64>,
    /// The last one that the reader has, who may have begun before it.
    reader_at: Cell<u64>,
    /// The reader that is to go.
    let_go: Cell<u32>,
}

/// What becomes of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// What was read stays for a reader that comes back; the oldest give way.
    Read,
    /// Only what was not read; the oldest give way.
    Unread,
    /// Only what was not read, and nothing gives way: whoever has more to say waits, or does not say it.
    All,
    /// What was read stays for a reader that comes back. What the reader has not read gives way to nothing: whoever has
    /// more to say waits, as long as there is one. When there is none the oldest give way, so the answer, being the last,
    /// is there for whoever comes.
    Answer,
}

#[derive(Default)]
struct Ring {
    messages: VecDeque<Rc<Message>>,
    /// The number of the first message in the ring.
    first: u64,
    bytes: usize,
    is_closed: bool,
}

/// A message, rendered. A large one stays in the buffer that it came in, which the core's cap on bytes counts.
#[derive(Debug)]
pub enum Message {
    Small(Box<[u8]>),
    Large(Buf),
}

impl Message {
    fn of(buf: Buf) -> Message {
        if buf.len() <= BUFFER_BYTES { Message::Small(Box::from(&*buf)) } else { Message::Large(buf) }
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Message::Small(bytes) => bytes,
            Message::Large(buf) => buf,
        }
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        **self == **other
    }
}

impl Eq for Message {}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Message {
        number: u64,
        bytes: Rc<Message>,
    },
    /// Messages that this reader has not seen have fallen out of the ring.
    Lost,
    /// The stream is over, and all of it was read.
    End,
    /// A newer reader has taken over, or this one was told to go ([`Outlet::hang_up`]).
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
    pub fn new(stream: u64) -> Rc<Outlet> {
        Outlet::build(stream, Keeps::Read)
    }

    /// One that keeps a message only until it is read: nobody can come back for it.
    pub fn passing() -> Rc<Outlet> {
        Outlet::build(0, Keeps::Unread)
    }

    /// One that loses nothing of what was put in: it carries answers.
    pub fn lossless() -> Rc<Outlet> {
        Outlet::build(0, Keeps::All)
    }

    /// The answer of a call: see [`Keeps::Answer`].
    pub fn answer(stream: u64) -> Rc<Outlet> {
        Outlet::build(stream, Keeps::Answer)
    }

    fn build(stream: u64, keeps: Keeps) -> Rc<Outlet> {
        let ring = RefCell::new(Ring { first: 1, ..Ring::default() });
        let (changed, readers, is_read) = (Signal::new(), Cell::new(0), Cell::new(false));
        let (made_room, has_lost) = (Notify::new(), Cell::new(false));
        let (taken, reader_at, let_go) = (Cell::new(0), Cell::new(0), Cell::new(0));
        Rc::new(Outlet {
            stream,
            ring,
            changed,
            readers,
            is_read,
            keeps,
            made_room,
            has_lost,
            taken,
            reader_at,
            let_go,
        })
    }

    /// Appends a message and gives its number; `None` when the stream is over, or has no room and loses nothing for it.
    pub fn push(&self, message: &[u8]) -> Option<u64> {
        if self.keeps == Keeps::All && !self.has_room(message.len()) {
            self.has_lost.set(true);
            return None;
        }
        self.append(Message::Small(message.into()))
    }

    /// Appends a message once there is room for it; `false` when the stream is over. One that is larger than the room
    /// there is in all has it alone.
    pub async fn send(&self, message: Buf) -> bool {
        loop {
            let mut made_room = pin!(self.made_room.notified());
            made_room.as_mut().enable();
            if self.is_closed() || self.has_room(message.len()) {
                return self.append(Message::of(message)).is_some();
            }
            made_room.await;
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        let ring = self.ring.borrow();
        if self.keeps == Keeps::Answer {
            if !self.is_read.get() {
                return true;
            }
            let read = usize::try_from((self.reader_at.get() + 1).saturating_sub(ring.first)).unwrap_or(0);
            let (mut waiting, mut waiting_bytes) = (0, 0);
            for message in ring.messages.iter().skip(read) {
                (waiting, waiting_bytes) = (waiting + 1, waiting_bytes + message.len());
            }
            return waiting == 0 || waiting < OUTLET_EVENTS_MAX && waiting_bytes + bytes <= OUTLET_BYTES_MAX;
        }
        ring.messages.is_empty()
            || ring.messages.len() < OUTLET_EVENTS_MAX && ring.bytes + bytes <= OUTLET_BYTES_MAX
    }

    fn append(&self, message: Message) -> Option<u64> {
        let mut ring = self.ring.borrow_mut();
        if ring.is_closed {
            return None;
        }
        ring.bytes += message.len();
        ring.messages.push_back(Rc::new(message));
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

    /// Whoever reads it now is let go once it has read all that is here, and may come back.
    pub fn hang_up(&self) {
        self.let_go.set(self.readers.get());
        self.changed.set();
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.ring.borrow_mut().is_closed = true;
        self.changed.set();
        self.made_room.notify_waiters();
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
        self.reader_at.set(after);
        self.changed.set();
        self.made_room.notify_waiters();
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
        self.reader_at.set(number);
        match self.keeps {
            Keeps::Read => return,
            Keeps::Answer => return self.made_room.notify_waiters(),
            Keeps::Unread | Keeps::All => {}
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
        drop(ring);
        self.made_room.notify_waiters();
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
        if found.is_none() && self.outlet.let_go.get() == self.turn {
            return Some(Found::Superseded);
        }
        if found.is_none() && self.outlet.has_lost.take() {
            return Some(Found::Lost);
        }
        found
    }

    /// The number of the stream that is read.
    pub fn stream(&self) -> u64 {
        self.outlet.stream
    }

    /// Goes on with what is in the ring, after [`Found::Lost`].
    pub fn skip_lost(&mut self) {
        self.at = self.outlet.ring.borrow().first - 1;
        self.outlet.reader_at.set(self.at);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.outlet.readers.get() == self.turn {
            self.outlet.is_read.set(false);
            self.outlet.made_room.notify_waiters();
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
        Some(Found::Message { number, bytes: Rc::new(Message::Small(bytes.into())) })
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
    fn a_lossless_stream_takes_no_more_than_it_has_room_for() {
        let outlet = Outlet::lossless();
        let mut reader = outlet.read(0);
        let large = vec![b'y'; OUTLET_BYTES_MAX + 1];
        assert_eq!(outlet.push(&large), Some(1), "alone, whatever its size");
        assert_eq!(outlet.push(b"notification"), None);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let answer = || {
            let mut answer = Buf::new();
            answer.extend_from_slice(b"answer");
            answer
        };
        let mut waiting = std::pin::pin!(outlet.send(answer()));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert_eq!(now(&mut reader), message(1, &large));
        assert_eq!(outlet.held_bytes(), 0);
        assert_eq!(waiting.as_mut().poll(&mut context), std::task::Poll::Ready(true));
        assert_eq!(now(&mut reader), message(2, b"answer"));
        assert_eq!(now(&mut reader), Some(Found::Lost), "the notification");
        reader.skip_lost();
        assert_eq!(now(&mut reader), None, "told once");
        outlet.push(&large);
        let mut too_late = std::pin::pin!(outlet.send(answer()));
        assert!(too_late.as_mut().poll(&mut context).is_pending());
        outlet.close();
        assert_eq!(too_late.as_mut().poll(&mut context), std::task::Poll::Ready(false));
    }

    #[test]
    fn the_reader_of_an_answer_is_waited_for_and_let_go_once_it_has_all() {
        let outlet = Outlet::answer(1);
        let mut reader = outlet.read(0);
        for _ in 0..OUTLET_EVENTS_MAX {
            assert!(outlet.has_room(1));
            outlet.push(b"x");
        }
        assert!(!outlet.has_room(1), "somebody reads, and has read nothing");
        assert_eq!(now(&mut reader), message(1, b"x"));
        assert!(outlet.has_room(1) && !outlet.has_room(OUTLET_BYTES_MAX));
        outlet.hang_up();
        for number in 2..=OUTLET_EVENTS_MAX as u64 {
            assert_eq!(now(&mut reader), message(number, b"x"));
        }
        assert_eq!(now(&mut reader), Some(Found::Superseded));
        drop(reader);
        assert!(outlet.has_room(OUTLET_BYTES_MAX), "nobody reads");
        let mut back = outlet.read(OUTLET_EVENTS_MAX as u64 - 1);
        assert_eq!(now(&mut back), message(OUTLET_EVENTS_MAX as u64, b"x"));
        assert_eq!(now(&mut back), None, "told to go was another");
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
