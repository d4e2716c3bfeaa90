//! Deadlines without a timer per exchange.
//!
//! A worker ticks a few times per second; a [`Watch`] is a slot in a slab that the tick looks at. When its moment
//! has come it shuts a socket down, raises a signal or ends an idle wait, and the task that waits there learns from
//! [`Watch::cause`] why. Setting, extending and dropping a watch costs a few stores: no heap, no system call.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

use super::fd::Remembered;
use super::signal::Signal;
use super::tcp::Idle;

/// Age at which a watch first looks whether its client is still there; younger calls never pay for it.
pub const CLIENT_LOOK_MS: u64 = 100;

/// The longest time between two looks at one client: the interval is a quarter of the age, up to this.
pub const CLIENT_LOOK_MS_MAX: u64 = 1_000;

/// Looks per tick (each is one system call of about 1 us): the rest waits for the next tick.
const LOOKS_PER_TICK_MAX: usize = 256;

/// Slots made when a worker starts; the slab grows beyond and never shrinks.
const SLOTS_AT_START: usize = 1024;

const _: () = assert!(CLIENT_LOOK_MS <= CLIENT_LOOK_MS_MAX);

/// All deadlines of one worker.
pub struct Watches {
    slab: RefCell<Slab>,
    now_ms: Cell<u64>,
    /// No slot is due before this.
    soonest_ms: Cell<u64>,
}

/// Why a watch fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its moment has come.
    Deadline,
    /// The client that waits for the answer has gone.
    ClientGone,
}

/// One deadline; dropping it removes it.
#[must_use = "a watch that is dropped watches nothing"]
pub struct Watch {
    watches: Rc<Watches>,
    index: u32,
}

impl Watches {
    /// No deadlines yet.
    pub fn new() -> Rc<Watches> {
        let slab =
            Slab { slots: Vec::with_capacity(SLOTS_AT_START), free: Vec::with_capacity(SLOTS_AT_START) };
        Rc::new(Watches { slab: RefCell::new(slab), now_ms: Cell::new(0), soonest_ms: Cell::new(u64::MAX) })
    }

    /// Shuts the socket down at `deadline_ms`: whoever waits on it is woken with end-of-file or an error. `fd` is
    /// that of a living stream of this thread; once the stream is dropped the watch does nothing.
    pub fn shutdown_at(self: &Rc<Self>, deadline_ms: u64, fd: RawFd) -> Watch {
        self.insert(deadline_ms, Action::ShutDown(Remembered::of(fd)))
    }

    /// Ends the socket's input at `deadline_ms`, so that whoever waits for bytes can still say that they came too
    /// late. `fd` as for [`Watches::shutdown_at`].
    pub fn end_input_at(self: &Rc<Self>, deadline_ms: u64, fd: RawFd) -> Watch {
        self.insert(deadline_ms, Action::EndInput(Remembered::of(fd)))
    }

    /// Raises `signal` at `deadline_ms`.
    pub fn wake_at(self: &Rc<Self>, deadline_ms: u64, signal: Rc<Signal>) -> Watch {
        self.insert(deadline_ms, Action::Wake(signal))
    }

    /// Ends the idle wait at `deadline_ms` without losing bytes.
    pub fn cancel_idle_at(self: &Rc<Self>, deadline_ms: u64, idle: Rc<Idle>) -> Watch {
        self.insert(deadline_ms, Action::CancelIdle(idle))
    }

    /// Fires what is due. Call it from one task per worker, with [`super::clock::Clock::tick`]'s answer.
    pub fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        if now_ms < self.soonest_ms.get() {
            return;
        }
        let mut soonest_ms = u64::MAX;
        let mut looks = 0;
        for slot in &mut self.slab.borrow_mut().slots {
            if slot.cause.is_some() || matches!(slot.action, Action::None) {
                continue;
            }
            if slot.deadline_ms <= now_ms {
                slot.fire(Cause::Deadline);
                continue;
            }
            if let Some(client) = slot.client
                && slot.look_ms <= now_ms
                && looks < LOOKS_PER_TICK_MAX
            {
                looks += 1;
                if client.peer_closed() {
                    slot.fire(Cause::ClientGone);
                    continue;
                }
                let age_ms = now_ms - slot.born_ms.min(now_ms);
                slot.look_ms = now_ms + (age_ms / 4).clamp(CLIENT_LOOK_MS, CLIENT_LOOK_MS_MAX);
            }
            soonest_ms = soonest_ms.min(slot.due_ms());
        }
        self.soonest_ms.set(soonest_ms);
    }

    /// Deadlines set now.
    pub fn len(&self) -> usize {
        let slab = self.slab.borrow();
        slab.slots.len() - slab.free.len()
    }

    /// True when none is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(self: &Rc<Self>, deadline_ms: u64, action: Action) -> Watch {
        let born_ms = self.now_ms.get();
        let slot = Slot { action, cause: None, client: None, deadline_ms, born_ms, look_ms: u64::MAX };
        self.hurry(slot.due_ms());
        let mut slab = self.slab.borrow_mut();
        let index = match slab.free.pop() {
            Some(index) => {
                slab.slots[index as usize] = slot;
                index
            }
            None => {
                slab.slots.push(slot);
                (slab.slots.len() - 1) as u32
            }
        };
        Watch { watches: self.clone(), index }
    }

    fn hurry(&self, due_ms: u64) {
        self.soonest_ms.set(self.soonest_ms.get().min(due_ms));
    }
}

impl Watch {
    /// Also fires, with [`Cause::ClientGone`], when the client behind `fd` closes or resets its connection. Looked
    /// at from [`CLIENT_LOOK_MS`] after the watch was set, and then less and less often.
    pub fn also_client(self, fd: RawFd) -> Watch {
        let due_ms = self.with(|slot| {
            slot.client = Some(Remembered::of(fd));
            slot.look_ms = slot.born_ms + CLIENT_LOOK_MS;
            slot.due_ms()
        });
        self.watches.hurry(due_ms);
        self
    }

    /// Looks after no client any more. Has no effect once fired.
    pub fn forget_client(&self) {
        self.with(|slot| (slot.client, slot.look_ms) = (None, u64::MAX));
    }

    /// Moves the deadline, in either direction. Has no effect once fired.
    pub fn extend(&self, deadline_ms: u64) {
        let due_ms = self.with(|slot| {
            slot.deadline_ms = deadline_ms;
            slot.due_ms()
        });
        self.watches.hurry(due_ms);
    }

    /// Whether it has fired.
    pub fn fired(&self) -> bool {
        self.with(|slot| slot.cause.is_some())
    }

    /// Why it has fired; [`Cause::Deadline`] if it has not.
    pub fn cause(&self) -> Cause {
        self.with(|slot| slot.cause.unwrap_or(Cause::Deadline))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Slot) -> T) -> T {
        look(&mut self.watches.slab.borrow_mut().slots[self.index as usize])
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let action = {
            let mut slab = self.watches.slab.borrow_mut();
            slab.free.push(self.index);
            std::mem::replace(&mut slab.slots[self.index as usize].action, Action::None)
        };
        // Outside the borrow: the last owner of a signal may drop whatever its waiter holds.
        drop(action);
    }
}

struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    action: Action,
    cause: Option<Cause>,
    client: Option<Remembered>,
    deadline_ms: u64,
    born_ms: u64,
    look_ms: u64,
}

enum Action {
    None,
    ShutDown(Remembered),
    EndInput(Remembered),
    Wake(Rc<Signal>),
    CancelIdle(Rc<Idle>),
}

impl Slot {
    fn due_ms(&self) -> u64 {
        self.deadline_ms.min(self.look_ms)
    }

    fn fire(&mut self, cause: Cause) {
        self.cause = Some(cause);
        match &self.action {
            Action::None => {}
            Action::ShutDown(socket) => socket.shut_down(),
            Action::EndInput(socket) => socket.end_input(),
            Action::Wake(signal) => signal.set(),
            Action::CancelIdle(idle) => idle.cancel(),
        }
    }
}
