//! What time it is: the two readings everything else is made of.
//!
//! A file of its own because it is one of the leaves that the simulation replaces (`simulated/moment.rs`).

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, for measuring how long something took.
pub fn now() -> Instant {
    Instant::now()
}

/// The moment that all clocks of this process count from.
pub fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Now, as the time since 1970 that the machine's clock shows.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
