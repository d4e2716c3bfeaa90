//! So many calls per time, with a burst: the generic cell rate algorithm.
//!
//! The cell is the *theoretical arrival time*: the nanosecond at which the allowance is whole again. Every call
//! moves it on by one interval; it may run ahead of now by at most the burst. Whatever was asked, the cell is never
//! before the latest moment somebody asked at, so a clock that goes back finds an allowance that is at most as
//! full as it was then.

use super::{LEASE_CALLS_MAX, Taken, lease};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Rounded up: never more than what is allowed.
    interval_ns: u64,
    burst: u64,
}

/// A burst may run ahead of now by this much; the compiler refuses more.
pub const AHEAD_NS_MAX: u64 = 366 * 86_400 * 1_000_000_000;

impl Rate {
    /// `count` per `period_ns`, and up to `burst` at once; `None` when a number is zero or the burst lasts longer
    /// than [`AHEAD_NS_MAX`].
    pub fn new(count: u64, period_ns: u64, burst: u64) -> Option<Rate> {
        if count == 0 || period_ns == 0 || burst == 0 {
            return None;
        }
        let interval_ns = period_ns.div_ceil(count);
        let ahead_ns = interval_ns.checked_mul(burst)?;
        (ahead_ns <= AHEAD_NS_MAX).then_some(Rate { interval_ns, burst })
    }

    pub(super) fn take(&self, cell: u64, now_ns: u64, least: u64, workers: u64) -> Taken {
        if least > self.burst {
            return Taken::Refused { wait_ns: None };
        }
        let whole_at = cell.max(now_ns);
        let ahead_ns = self.interval_ns * self.burst;
        let free_ns = ahead_ns.saturating_sub(whole_at - now_ns);
        let needed_ns = self.interval_ns * least;
        if free_ns < needed_ns {
            let wait_ns = (whole_at - now_ns).saturating_add(needed_ns) - ahead_ns;
            return Taken::Refused { wait_ns: Some(wait_ns) };
        }
        let left = if workers > 1 { free_ns / self.interval_ns } else { least };
        let units = lease(left, least, workers, LEASE_CALLS_MAX);
        Taken::Granted { cell: whole_at.saturating_add(units * self.interval_ns), units }
    }

    pub(super) fn give_back(&self, cell: u64, units: u64) -> u64 {
        cell.saturating_sub(units.saturating_mul(self.interval_ns))
    }
}
