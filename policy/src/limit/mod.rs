//! How much, within limits: what is left of an allowance, and what it comes to when some is taken.
//!
//! The decision: the state of one allowance is one number, its *cell*, so that workers share it with one
//! compare-and-swap and no lock. Zero is an allowance nobody has touched. Everything here is a function of the
//! cell and of the moment that the caller gives; a clock that goes back never gives anything ([`rate`] and
//! [`window`] say why). Amounts are integers: calls, or millionths of a US dollar.

pub mod rate;
pub mod window;

pub use rate::Rate;
pub use window::{Period, Window};

/// What time it is, on the two clocks that limits read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// On a clock that is not set: what rates are measured by.
    pub steady_ns: u64,
    /// Since 1970: what hours and days are told by.
    pub unix_ms: u64,
}

/// What a limit measures, and how much it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Rate(Rate),
    /// Calls in a period.
    Calls(Window),
    /// Micro-USD in a period.
    Cost(Window),
    /// Calls under way at once.
    Concurrency(u64),
}

/// Measures whose idle cells look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    Rate = 1,
    Minute,
    Hour,
    Day,
    Concurrency,
}

impl Class {
    pub const ALL: [Class; 5] = [Class::Rate, Class::Minute, Class::Hour, Class::Day, Class::Concurrency];

    /// Whether the cell says no more than one that nobody has touched.
    pub fn is_idle(self, cell: u64, now: &Moment) -> bool {
        let period = match self {
            Class::Rate => return cell <= now.steady_ns,
            Class::Concurrency => return cell == 0,
            Class::Minute => Period::Minute,
            Class::Hour => Period::Hour,
            Class::Day => Period::Day,
        };
        Window { period, max: 0 }.is_idle(cell, now.unix_ms)
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many units were taken, and the cell is this now.
    Granted { cell: u64, units: u64 },
    /// Not now; `None`: never, whatever is given back. The cell stays what it was.
    Refused { wait_ns: Option<u64> },
}

/// A worker takes this part of what is left, divided by the number of workers, and spends it alone.
pub const LEASE_PART: u64 = 16;
/// Calls that a worker holds at most of one allowance.
pub const LEASE_CALLS_MAX: u64 = 64;

/// How much a worker takes at once, of `left`, when it needs `least` (which is there). A lone worker has nobody to
/// spare trips, so it takes what it needs.
pub fn lease(left: u64, least: u64, workers: u64, most: u64) -> u64 {
    if workers <= 1 {
        return least;
    }
    (left / workers.saturating_mul(LEASE_PART)).min(most).max(least)
}

impl Measure {
    /// Takes what a call needs, or a lease that covers it.
    pub fn take(&self, cell: u64, now: &Moment, least: u64, workers: u64) -> Taken {
        match self {
            Measure::Rate(rate) => rate.take(cell, now.steady_ns, least, workers),
            Measure::Calls(window) => window.take(cell, now.unix_ms, least, workers, LEASE_CALLS_MAX),
            Measure::Cost(window) => {
                window.take(cell, now.unix_ms, least, workers, least.saturating_mul(LEASE_CALLS_MAX))
            }
            Measure::Concurrency(max) => match cell.checked_add(least).filter(|cell| cell <= max) {
                Some(cell) => Taken::Granted { cell, units: least },
                // Whoever has it gives it back some time, unless nobody could ever have it.
                None => Taken::Refused { wait_ns: (least <= *max).then_some(0) },
            },
        }
    }

    /// The cell after `units` that were taken while it was `taken_as` were not used.
    pub fn give_back(&self, cell: u64, taken_as: u64, units: u64) -> u64 {
        match self {
            Measure::Rate(rate) => rate.give_back(cell, units),
            Measure::Calls(_) | Measure::Cost(_) => Window::give_back(cell, taken_as, units),
            Measure::Concurrency(_) => cell.saturating_sub(units),
        }
    }

    /// Until when (on the clock since 1970) what was taken is worth anything.
    pub fn good_until_ms(&self, cell: u64, now: &Moment) -> u64 {
        match self {
            Measure::Calls(window) | Measure::Cost(window) => window.end_ms(cell, now.unix_ms),
            Measure::Rate(_) | Measure::Concurrency(_) => u64::MAX,
        }
    }

    /// What has to be known of a measure to see that one of its cells is idle.
    pub fn class(&self) -> Class {
        match self {
            Measure::Rate(_) => Class::Rate,
            Measure::Calls(window) | Measure::Cost(window) => match window.period {
                Period::Minute => Class::Minute,
                Period::Hour => Class::Hour,
                Period::Day => Class::Day,
            },
            Measure::Concurrency(_) => Class::Concurrency,
        }
    }

    /// The stable word for what is measured.
    pub fn label(&self) -> &'static str {
        match self {
            Measure::Rate(_) => "rate",
            Measure::Calls(_) => "calls",
            Measure::Cost(_) => "cost",
            Measure::Concurrency(_) => "concurrency",
        }
    }
}

#[cfg(test)]
mod tests;
