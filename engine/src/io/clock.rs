//! The worker's clock.
//!
//! Two readings of the same time: exact nanoseconds, which cost a vDSO call (about 25 ns), and milliseconds that
//! a tick refreshes, which cost a load. All clocks of the process share one origin, so that a moment taken on one
//! worker means the same on another.

use std::cell::Cell;
use std::time::Instant;

use super::moment;
thread_local! {
    static LAST_TICK_MS: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Whether this thread's clock should have ticked long ago: its timers do not get their turn.
#[cfg(not(feature = "simulation"))]
pub(super) fn tick_is_late() -> bool {
    let now_ms = moment::now().duration_since(moment::origin()).as_millis() as u64;
    now_ms.saturating_sub(LAST_TICK_MS.get()) > 2 * crate::limits::TICK_MS
}

/// Monotonic time of one worker; `!Sync`, one per worker.
pub struct Clock {
    origin: Instant,
    coarse_ms: Cell<u64>,
    coarse_unix_ms: Cell<u64>,
}

impl Clock {
    /// A clock that has ticked once.
    pub fn new() -> Clock {
        let clock = Clock { origin: moment::origin(), coarse_ms: Cell::new(0), coarse_unix_ms: Cell::new(0) };
        clock.tick();
        clock
    }

    /// Nanoseconds since the process first asked for the time, exact.
    pub fn now_ns(&self) -> u64 {
        moment::now().duration_since(self.origin).as_nanos() as u64
    }

    /// Milliseconds on the same scale, exact: what one worker noted is never ahead of what another reads later.
    pub fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// Milliseconds on the same scale, as of the last [`Clock::tick`].
    pub fn coarse_ms(&self) -> u64 {
        self.coarse_ms.get()
    }

    /// Wall-clock milliseconds since 1970, as of the last [`Clock::tick`]: for rules that speak of hours and days.
    pub fn coarse_unix_ms(&self) -> u64 {
        self.coarse_unix_ms.get()
    }

    /// Refreshes the coarse readings and returns the monotonic one.
    pub fn tick(&self) -> u64 {
        let now_ms = self.now_ms();
        LAST_TICK_MS.set(now_ms);
        self.coarse_ms.set(now_ms);
        self.coarse_unix_ms.set(moment::since_1970().as_millis() as u64);
        now_ms
    }
}

/// Time that passed in waits for somebody else, added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waited {
    pub ns: u64,
}

impl Waited {
    /// Since `before`.
    pub fn since(before: Instant) -> Waited {
        Waited { ns: moment::now().duration_since(before).as_nanos() as u64 }
    }

    /// Waits for `other` and counts how long it took.
    pub async fn on<F: Future>(&mut self, other: F) -> F::Output {
        let before = moment::now();
        let output = other.await;
        self.ns += Waited::since(before).ns;
        output
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}
