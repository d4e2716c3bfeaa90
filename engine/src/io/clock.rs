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

/// When something ends: by the wall clock, and by one that nobody can put back. It is over as soon as either says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub unix_ms: u64,
    pub ms: u64,
}

impl End {
    pub const NEVER: End = End { unix_ms: u64::MAX, ms: u64::MAX };

    pub fn is_past(self, clock: &Clock) -> bool {
        clock.coarse_unix_ms() >= self.unix_ms || clock.coarse_ms() >= self.ms
    }

    /// When the first of both ends.
    pub fn or(self, other: End) -> End {
        End { unix_ms: self.unix_ms.min(other.unix_ms), ms: self.ms.min(other.ms) }
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

/// Days since 1970-01-01 as a date of the Gregorian calendar (years count from March, so that the leap
/// day comes last).
pub fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// How a line of JSON begins that says when: `{"ts":"2026-11-21T06:15:19.123Z"`, without allocating.
pub fn stamp(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ts\":\"");
    let since = moment::since_1970();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let mut padded = |value: u64, width: u32, end: u8| {
        for place in (0..width).rev() {
            out.push(b'0' + (value / 10u64.pow(place) % 10) as u8);
        }
        out.push(end);
    };
    padded(year, 4, b'-');
    padded(month, 2, b'-');
    padded(day, 2, b'T');
    padded(seconds / 3_600, 2, b':');
    padded(seconds / 60 % 60, 2, b':');
    padded(seconds % 60, 2, b'.');
    padded(u64::from(since.subsec_millis()), 3, b'Z');
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (789, (1972, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_778, (2026, 11, 21)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
    }
}
