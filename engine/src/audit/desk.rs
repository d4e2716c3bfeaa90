//! A worker's end of the audit log: where it puts records, and where exchanges wait that may not go on before theirs is on the disk.
//!
//! Everything here is of one thread, except a [`Line`], which the writer reads and writes as well: three words, no lock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::thread::Thread;

use strait_table::audit::{Durability, Payload, WhenFull};
use tokio::sync::mpsc;

use super::keeper::Figures;
use super::ring::{Entry, HEADER_BYTES, Part, Pen};
use crate::limits::{AUDIT_LATE_MAX, AUDIT_RESERVE_BYTES};

/// What the writer and one worker share.
#[derive(Default)]
pub struct Line {
    /// Records under this number are on the disk, unless they were lost on the way; those that nobody waits for get there later.
    pub committed: AtomicU64,
    /// Somebody here waits for the disk, or for room.
    pub waits: AtomicBool,
    /// Records that had no room.
    pub lost: AtomicU64,
    /// Behind the number of the last of those.
    pub lost_to: AtomicU64,
}

/// What the writer and all others share.
#[derive(Default)]
pub struct Common {
    /// The writer sleeps until somebody wakes it.
    pub asleep: AtomicBool,
    /// The writer rests between two batches: who waits for the disk wakes it.
    pub rests: AtomicBool,
    /// Records so far that somebody waits with.
    pub awaited: AtomicU64,
    pub stop: AtomicBool,
    pub writer: OnceLock<Thread>,
    /// The disk does not take records; [`Common::why`] says why.
    pub is_at_fault: AtomicBool,
    fault: Mutex<Option<String>>,
    pub figures: Figures,
}

impl Common {
    /// Wakes the writer if it sleeps, or rests and this is `awaited`: the one system call of a worker, and none while records come
    /// that nobody waits with.
    pub fn wake(&self, awaited: bool) {
        if awaited {
            self.awaited.fetch_add(1, Ordering::Relaxed);
        }
        // What was put in must be seen by a writer that is about to sleep, or its sleep by us.
        fence(Ordering::SeqCst);
        let ends = |pause: &AtomicBool| pause.load(Ordering::Relaxed) && pause.swap(false, Ordering::AcqRel);
        if ends(&self.asleep) || (awaited && ends(&self.rests)) {
            self.figures.wakes.fetch_add(1, Ordering::Relaxed);
            self.writer.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// Why the log takes nothing now.
    pub fn why(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says so, or that it does again; gives whether that is news. That one reason follows another is none.
    pub fn at_fault(&self, why: Option<String>) -> bool {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = fault.is_some() != why.is_some();
        self.is_at_fault.store(why.is_some(), Ordering::Release);
        *fault = why;
        is_news
    }
}

/// A worker's end.
pub struct Desk {
    open: Option<Open>,
}

struct Open {
    pen: RefCell<Pen>,
    line: Arc<Line>,
    common: Arc<Common>,
    /// The next record's number.
    next: Cell<u64>,
    late: Cell<usize>,
    text: Cell<Vec<u8>>,
    waiting: RefCell<Vec<Waker>>,
    news: Cell<Option<mpsc::UnboundedReceiver<()>>>,
}

/// How a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub payload: Payload,
    pub durability: Durability,
    pub when_full: WhenFull,
}

impl Terms {
    /// Whether somebody waits until the disk has it.
    pub fn waits(self) -> bool {
        self.durability != Durability::Async
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is on its way to the disk, under this number.
    There(u64),
    /// It had no room, and is counted.
    Lost,
    /// It has no room yet.
    NoRoom,
}

/// The log does not take records, and exchanges are not to wait until it does.
#[derive(Debug, PartialEq, Eq)]
pub struct AtFault;

impl Desk {
    /// Where nothing is written down.
    pub fn off() -> Desk {
        Desk { open: None }
    }

    pub(super) fn new(
        pen: Pen,
        line: Arc<Line>,
        common: Arc<Common>,
        news: mpsc::UnboundedReceiver<()>,
    ) -> Desk {
        let open = Open {
            pen: RefCell::new(pen),
            line,
            common,
            next: Cell::new(0),
            late: Cell::new(0),
            text: Cell::default(),
            waiting: RefCell::default(),
            news: Cell::new(Some(news)),
        };
        Desk { open: Some(open) }
    }

    pub fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// A buffer to render a record in, which goes back with [`Desk::give_back`].
    pub fn text(&self) -> Vec<u8> {
        let mut text = self.open.as_ref().map(|open| open.text.take()).unwrap_or_default();
        text.clear();
        text
    }

    pub fn give_back(&self, text: Vec<u8>) {
        if let Some(open) = &self.open {
            open.text.set(text);
        }
    }

    /// Whether the log is so far behind that exchanges which are not to wait for it are not to begin.
    pub fn is_behind(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.common.is_at_fault.load(Ordering::Acquire) || open.pen.borrow().free() < AUDIT_RESERVE_BYTES
        })
    }

    /// Puts a record on its way to the disk. The number of one that is lost is not given to another: the log tells the gap.
    pub fn put(
        &self,
        facts: &[u8],
        terms: Terms,
        (arguments, result): (Option<Part<'_>>, Option<Part<'_>>),
    ) -> Put {
        let Some(open) = &self.open else { return Put::Lost };
        let (payload, waits) = (terms.payload, terms.waits());
        let entry = Entry { n: open.next.get(), facts, payload, waits, arguments, result };
        if open.pen.borrow_mut().put(&entry, 0) {
            open.next.set(entry.n + 1);
            open.common.wake(waits);
            return Put::There(entry.n);
        }
        if terms.when_full != WhenFull::Drop {
            return Put::NoRoom;
        }
        open.lose();
        Put::Lost
    }

    /// A record that nobody can wait with: it goes on its way when there is room, from a task of its own. `false`: so many do
    /// already that this one is lost.
    pub fn may_be_late(&self) -> bool {
        let Some(open) = &self.open else { return false };
        if open.late.get() >= AUDIT_LATE_MAX {
            open.lose();
            return false;
        }
        open.late.set(open.late.get() + 1);
        true
    }

    /// The end of such a task.
    pub fn was_late(&self) {
        self.open.iter().for_each(|open| open.late.set(open.late.get() - 1));
    }

    /// Waits until there is room for so many bytes.
    pub async fn room(&self, bytes: usize, when_full: WhenFull) -> Result<(), AtFault> {
        let Some(open) = &self.open else { return Ok(()) };
        let bytes = (bytes + HEADER_BYTES).min(open.pen.borrow().capacity());
        open.until(when_full, || open.pen.borrow().free() >= bytes).await
    }

    /// Waits until the disk has the record of this number.
    pub async fn committed(&self, n: u64, when_full: WhenFull) -> Result<(), AtFault> {
        let Some(open) = &self.open else { return Ok(()) };
        open.until(when_full, || open.line.committed.load(Ordering::SeqCst) > n).await
    }

    /// Wakes whoever waits, whenever the writer says that something has changed. A task of the worker's own.
    pub async fn listen(&self) {
        let Some(open) = &self.open else { return };
        let Some(mut news) = open.news.take() else { return };
        while news.recv().await.is_some() {
            let mut waiting = open.waiting.borrow_mut();
            waiting.drain(..).for_each(Waker::wake);
        }
    }
}

impl Open {
    fn lose(&self) {
        self.next.set(self.next.get() + 1);
        self.line.lost.fetch_add(1, Ordering::Relaxed);
        self.line.lost_to.store(self.next.get(), Ordering::Relaxed);
    }

    async fn until(&self, when_full: WhenFull, is_so: impl Fn() -> bool) -> Result<(), AtFault> {
        poll_fn(|context| {
            if is_so() {
                return Poll::Ready(Ok(()));
            }
            if when_full != WhenFull::Block && self.common.is_at_fault.load(Ordering::Acquire) {
                return Poll::Ready(Err(AtFault));
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            // Either the writer sees that somebody waits after it has done what is waited for, or we see here that it has.
            self.line.waits.store(true, Ordering::SeqCst);
            match is_so() {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_rests_is_woken_by_whoever_waits_and_one_that_sleeps_by_anybody() {
        let common = Common::default();
        let wakes = || common.figures.wakes.load(Ordering::Relaxed);
        common.rests.store(true, Ordering::SeqCst);
        common.wake(false);
        assert!(common.rests.load(Ordering::SeqCst) && wakes() == 0);
        common.wake(true);
        assert!(!common.rests.load(Ordering::SeqCst) && wakes() == 1);
        common.wake(true);
        // It is awake: told by the count alone, which it looks at before it rests.
        assert_eq!((wakes(), common.awaited.load(Ordering::Relaxed)), (1, 2));
        common.asleep.store(true, Ordering::SeqCst);
        common.wake(false);
        assert!(!common.asleep.load(Ordering::SeqCst) && wakes() == 2);
    }
}
