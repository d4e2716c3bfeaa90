//! Wake-ups and queues between tasks of one worker.
//!
//! Nothing here is shared between threads, so a wake-up is a flag and a stored waker: no atomics, no lock, no
//! allocation. Between workers there is [`super::mailbox`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// One task waits, another says "now". A `set` without a waiter is kept for the next `wait`.
#[derive(Default)]
pub struct Signal {
    raised: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

impl Signal {
    /// A signal that is not raised.
    pub const fn new() -> Signal {
        Signal { raised: Cell::new(false), waiter: Cell::new(None) }
    }

    /// Raises the signal and wakes the waiter.
    pub fn set(&self) {
        self.raised.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// True when raised and not yet consumed by [`Signal::wait`].
    pub fn is_set(&self) -> bool {
        self.raised.get()
    }

    /// Lowers the signal.
    pub fn clear(&self) {
        self.raised.set(false);
    }

    /// Waits until the signal is raised and lowers it. One waiter at a time: a second one replaces the first.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll_wait(context)).await
    }

    /// [`Signal::wait`] for hand-written futures that wait for several things.
    pub fn poll_wait(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.raised.replace(false) {
            return Poll::Ready(());
        }
        let waker = match self.waiter.take() {
            Some(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        self.waiter.set(Some(waker));
        Poll::Pending
    }
}

/// A bounded first-in-first-out queue between tasks of one worker: any number of pushers, one popper.
pub struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    items_max: usize,
    closed: Cell<bool>,
    changed: Signal,
}

impl<T> Queue<T> {
    /// A queue of at most `items_max` items; the room is taken at once so that pushing never allocates.
    pub fn new(items_max: usize) -> Queue<T> {
        Queue {
            items: RefCell::new(VecDeque::with_capacity(items_max)),
            items_max,
            closed: Cell::new(false),
            changed: Signal::new(),
        }
    }

    /// Appends an item, or gives it back when the queue is full or closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.items.borrow_mut();
        if self.closed.get() || items.len() >= self.items_max {
            return Err(item);
        }
        items.push_back(item);
        drop(items);
        self.changed.set();
        Ok(())
    }

    /// The oldest item, waiting for one; `None` once the queue is closed and empty.
    pub async fn pop(&self) -> Option<T> {
        poll_fn(|context| self.poll_pop(context)).await
    }

    /// [`Queue::pop`] for hand-written futures.
    pub fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(item) = self.try_pop() {
                return Poll::Ready(Some(item));
            }
            if self.closed.get() {
                return Poll::Ready(None);
            }
            // A raised signal without an item is a leftover of an item already popped: look again, then wait.
            if self.changed.poll_wait(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// The oldest item if there is one now.
    pub fn try_pop(&self) -> Option<T> {
        self.items.borrow_mut().pop_front()
    }

    /// The first item that is meant, out of its turn.
    pub fn take(&self, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let mut items = self.items.borrow_mut();
        let at = items.iter().position(is_meant)?;
        items.remove(at)
    }

    /// No more pushes; the popper gets what is left, then `None`.
    pub fn close(&self) {
        self.closed.set(true);
        self.changed.set();
    }

    /// Items that may still be pushed.
    pub fn room(&self) -> usize {
        self.items_max.saturating_sub(self.len())
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Items waiting now.
    pub fn len(&self) -> usize {
        self.items.borrow().len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
