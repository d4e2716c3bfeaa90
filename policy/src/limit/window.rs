//! So many calls, or so much money, per minute, hour or day: windows of the clock since 1970, in UTC.
//!
//! The cell holds the minute at which its window began (24 bits, which come round after 31 years) above what was
//! used in it (40 bits). A window follows another only when it began later: when the clock went back, the window
//! that is noted goes on, with all that was used in it.

use super::{Taken, lease};

const USED_BITS: u32 = 40;
/// The most that a window can hold: a million million, or a million dollars.
pub const USED_MAX: u64 = (1 << USED_BITS) - 1;
const MINUTES: u64 = 1 << (64 - USED_BITS);
const MINUTE_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Minute,
    Hour,
    Day,
}

impl Period {
    pub const fn minutes(self) -> u64 {
        match self {
            Period::Minute => 1,
            Period::Hour => 60,
            Period::Day => 1_440,
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub period: Period,
    pub max: u64,
}

impl Window {
    pub(super) fn take(&self, cell: u64, unix_ms: u64, least: u64, workers: u64, most: u64) -> Taken {
        let max = self.max.min(USED_MAX);
        if least > max {
            return Taken::Refused { wait_ns: None };
        }
        let (began, used) = self.current(cell, unix_ms);
        let left = max.saturating_sub(used);
        if left < least {
            let wait_ms = self.end_of(began, unix_ms).saturating_sub(unix_ms);
            return Taken::Refused { wait_ns: Some(wait_ms.saturating_mul(1_000_000)) };
        }
        let units = lease(left, least, workers, most);
        Taken::Granted { cell: began << USED_BITS | (used + units), units }
    }

    /// Only within the window it was taken in: what is left of another is nobody's.
    pub(super) fn give_back(cell: u64, taken_as: u64, units: u64) -> u64 {
        match cell >> USED_BITS == taken_as >> USED_BITS {
            true => cell - units.min(cell & USED_MAX),
            false => cell,
        }
    }

    pub(super) fn is_idle(&self, cell: u64, unix_ms: u64) -> bool {
        cell == 0 || self.current(cell, unix_ms).1 == 0
    }

    /// When the window that a cell notes is over.
    pub(super) fn end_ms(&self, cell: u64, unix_ms: u64) -> u64 {
        self.end_of(cell >> USED_BITS, unix_ms)
    }

    /// The minute at which the window in use began, and what was used in it.
    fn current(&self, cell: u64, unix_ms: u64) -> (u64, u64) {
        let minute = unix_ms / MINUTE_MS;
        let began = (minute - minute % self.period.minutes()) % MINUTES;
        let noted = cell >> USED_BITS;
        let later_by = began.wrapping_sub(noted) % MINUTES;
        // The upper half is the past: the clock went back.
        match cell != 0 && (later_by == 0 || later_by >= MINUTES / 2) {
            true => (noted, cell & USED_MAX),
            false => (began, 0),
        }
    }

    /// A window's end by the minute at which it began, of which only the lower bits are known.
    fn end_of(&self, began: u64, unix_ms: u64) -> u64 {
        let minute = unix_ms / MINUTE_MS;
        let ahead = began.wrapping_sub(minute) % MINUTES;
        let began = match ahead < MINUTES / 2 {
            true => minute + ahead,
            false => minute.saturating_sub(MINUTES - ahead),
        };
        (began + self.period.minutes()) * MINUTE_MS
    }
}
