//! One clock for everything that is measured: CLOCK_MONOTONIC, read in user space (about 25 ns), in
//! nanoseconds since the clock was made. Intended times, sends and answers are all points on it.

use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl Clock {
    pub fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Nanoseconds since the origin; 584 years fit.
    #[inline]
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}
