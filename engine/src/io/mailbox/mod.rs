//! Bounded mailboxes between workers.
//!
//! Each ordered pair of workers has its own channel, so that a slow receiver fills only the boxes that lead to it
//! and two senders never contend. A parcel carries everything by value; a full box gives the parcel back and the
//! sender answers its client itself (503). About 16 us per round trip, nearly all of it the two wake-ups.
//!
//! tokio's channels lie underneath: they need no runtime of their own, and monoio's `sync` feature wakes a worker
//! from any thread.

use std::cell::Cell;

use tokio::sync::mpsc;

use super::runtime;

/// Parcels in flight per ordered pair of workers.
pub const MAILBOX_PARCELS: usize = 1024;

/// Events in flight per reply: a streaming answer is slowed to its client's pace.
pub const REPLY_EVENTS: usize = 16;

/// After this many parcels a receiver ends its turn, or a flood would starve the worker's sockets.
const PARCELS_PER_TURN: u32 = 32;

/// One worker's ends: boxes to all others, and, until taken, its own inboxes. `Send`, then owned by its worker.
pub struct Post<T> {
    outboxes: Vec<Option<mpsc::Sender<T>>>,
    inboxes: Vec<Inbox<T>>,
    trips: Cell<u64>,
    refused: Cell<u64>,
}

/// What one other worker sends to this one.
pub struct Inbox<T> {
    /// The sending worker.
    pub from: usize,
    parcels: mpsc::Receiver<T>,
    until_yield: u32,
}

/// The posts of `workers` workers, in order. Every pair gets a channel, except a worker with itself.
pub fn grid<T: Send>(workers: usize) -> Vec<Post<T>> {
    let mut posts: Vec<Post<T>> = (0..workers)
        .map(|_| Post {
            outboxes: (0..workers).map(|_| None).collect(),
            inboxes: Vec::with_capacity(workers.saturating_sub(1)),
            trips: Cell::new(0),
            refused: Cell::new(0),
        })
        .collect();
    for from in 0..workers {
        for to in (0..workers).filter(|to| *to != from) {
            let (sender, parcels) = mpsc::channel(MAILBOX_PARCELS);
            posts[from].outboxes[to] = Some(sender);
            posts[to].inboxes.push(Inbox { from, parcels, until_yield: PARCELS_PER_TURN });
        }
    }
    posts
}

impl<T> Post<T> {
    /// Puts a parcel into the box of worker `to`; gives it back when the box is full, the worker is gone, or `to`
    /// is this worker itself.
    pub fn send(&self, to: usize, parcel: T) -> Result<(), T> {
        let Some(Some(outbox)) = self.outboxes.get(to) else { return Err(parcel) };
        match outbox.try_send(parcel) {
            Ok(()) => {
                self.trips.set(self.trips.get() + 1);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(parcel) | mpsc::error::TrySendError::Closed(parcel)) => {
                self.refused.set(self.refused.get() + 1);
                Err(parcel)
            }
        }
    }

    /// The inboxes, to be taken once; give each a task of its own.
    pub fn take_inboxes(&mut self) -> Vec<Inbox<T>> {
        std::mem::take(&mut self.inboxes)
    }

    /// Parcels sent since the start.
    pub fn trips(&self) -> u64 {
        self.trips.get()
    }

    /// Parcels given back since the start.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }
}

impl<T> Inbox<T> {
    /// The next parcel; `None` once the sending worker is gone.
    pub async fn recv(&mut self) -> Option<T> {
        if self.until_yield == 0 {
            self.until_yield = PARCELS_PER_TURN;
            // Before taking a parcel, so that a dropped wait loses none.
            runtime::yield_turn().await;
        }
        self.until_yield -= 1;
        self.parcels.recv().await
    }
}

/// A channel for the events that answer one parcel.
pub fn reply<E: Send>() -> (ReplyTx<E>, ReplyRx<E>) {
    let (sender, receiver) = mpsc::channel(REPLY_EVENTS);
    (ReplyTx(sender), ReplyRx(receiver))
}

/// The answering side; `Send`.
pub struct ReplyTx<E>(mpsc::Sender<E>);

/// The asking side; `Send`.
pub struct ReplyRx<E>(mpsc::Receiver<E>);

impl<E> ReplyTx<E> {
    /// Sends an event, waiting while [`REPLY_EVENTS`] are on their way; gives it back when nobody listens any more.
    pub async fn send(&self, event: E) -> Result<(), E> {
        self.0.send(event).await.map_err(|refused| refused.0)
    }

    /// Sends an event if there is room now.
    pub fn try_send(&self, event: E) -> Result<(), E> {
        self.0.try_send(event).map_err(|refused| refused.into_inner())
    }

    /// Whether the asking side has gone: its client left, or it gave up.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the asking side has gone.
    pub async fn closed(&self) {
        self.0.closed().await
    }
}

impl<E> ReplyRx<E> {
    /// The next event; `None` when the answer is complete (or its worker died).
    pub async fn recv(&mut self) -> Option<E> {
        self.0.recv().await
    }

    /// The next event if it is already here.
    pub fn try_recv(&mut self) -> Option<E> {
        self.0.try_recv().ok()
    }

    /// Nothing more is wanted: the answering side sees it at once.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// [`ReplyRx::recv`] for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<E>> {
        self.0.poll_recv(context)
    }
}
