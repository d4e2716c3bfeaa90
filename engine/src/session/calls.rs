//! Calls of a session that are under way at an upstream, so that its client can cancel one from another connection.
//!
//! A call takes a slot before it is sent and gives it back with its end; slots stay, so that a call allocates nothing.
//! Cancelling marks the slot and wakes the call's task, which gives up whatever it waits for ([`UnderWay::run`]) in the
//! same turn of the loop: the head of an answer, an event, a child that starts, or the client's own input.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::Session;

/// The calls of one session.
#[derive(Default)]
pub struct Calls {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Default)]
struct Slot {
    /// Of the request's id as written; `None` while the slot is free.
    key: Option<u64>,
    waker: Option<Waker>,
    is_cancelled: bool,
}

/// One call, until it is dropped.
pub struct UnderWay {
    session: Rc<Session>,
    slot: usize,
    is_cancelled: Cell<bool>,
}

/// The client does not want the answer any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Cancelled;

impl Calls {
    pub fn len(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels what its client cannot be told of any more.
    pub fn cancel_all(&self) {
        self.slots.borrow_mut().iter_mut().filter(|slot| slot.key.is_some()).for_each(Slot::cancel);
    }

    /// Cancels the call with this id, as written; one that is not under way is ignored, as its answer may have crossed
    /// the cancellation.
    pub fn cancel(&self, id: &[u8]) {
        let key = key(id);
        self.slots.borrow_mut().iter_mut().filter(|slot| slot.key == Some(key)).for_each(Slot::cancel);
    }
}

impl Slot {
    fn cancel(&mut self) {
        self.is_cancelled = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl UnderWay {
    /// The call with this id, as written, begins.
    pub fn begin(session: &Rc<Session>, id: &[u8]) -> UnderWay {
        let mut slots = session.calls.slots.borrow_mut();
        let slot = session.calls.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        if let Some(slot) = slots.get_mut(slot) {
            *slot = Slot { key: Some(key(id)), ..Slot::default() };
        }
        drop(slots);
        UnderWay { session: session.clone(), slot, is_cancelled: Cell::new(false) }
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.get()
    }

    /// Does something for the call, and stops when the client cancels the call.
    pub async fn run<F: Future>(&self, mut something: Pin<&mut F>) -> Result<F::Output, Cancelled> {
        poll_fn(|context| {
            if self.wait(context.waker()) {
                return Poll::Ready(Err(Cancelled));
            }
            something.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Whether the call is cancelled; else the task is woken when it is.
    fn wait(&self, waker: &Waker) -> bool {
        if let Some(slot) = self.session.calls.slots.borrow_mut().get_mut(self.slot) {
            if slot.is_cancelled {
                self.is_cancelled.set(true);
            } else if !slot.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                slot.waker = Some(waker.clone());
            }
        }
        self.is_cancelled.get()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(slot) = self.session.calls.slots.borrow_mut().get_mut(self.slot) {
            *slot = Slot::default();
        }
        self.session.calls.free.borrow_mut().push(self.slot);
    }
}

/// Only a client's own ids share a session, so whoever made two of them collide would cancel a call of its own.
fn key(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish()
}
