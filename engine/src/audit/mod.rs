//! What the gateway writes down: access lines ([`access`]), which are telemetry, and the audit log, which is evidence.
//!
//! A worker renders a record and puts it, with what is kept of arguments and result, into its own ring ([`ring`]) through its
//! [`desk::Desk`]: no lock, no allocation, no system call but one that wakes a writer that sleeps. The writer ([`keeper`]) takes what
//! is in all rings, has it framed and chained by `strait_audit`, writes and syncs it in one go ([`disk`]), and only then tells
//! the workers where somebody waits for it. What of a payload may be kept is decided before it is written ([`redact`]).
//!
//! An exchange's record is handed over before the last bytes of its answer leave: nobody has an answer of which the log knows
//! nothing, and with `durable` nobody has one that is not on the disk.

pub mod access;
pub mod desk;
#[allow(unsafe_code)]
mod disk;
pub mod keeper;
mod redact;
pub mod ring;
