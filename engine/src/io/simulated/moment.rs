//! The world's time, in the place of `moment.rs`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::simulated;

/// 2026-11-21T00:00:00Z: every world begins then.
const BEGINNING: Duration = Duration::from_secs(1_795_219_200);

/// Now, for measuring how long something took.
pub fn now() -> Instant {
    origin() + Duration::from_nanos(simulated::now_ns())
}

/// The moment that all clocks count from: an instant cannot be made from nothing, so it is a real one, that nobody
/// can tell from another.
pub fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Now, as the time since 1970 that the machine's clock shows.
pub fn since_1970() -> Duration {
    BEGINNING + Duration::from_nanos(simulated::now_ns())
}
