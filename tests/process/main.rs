//! What only the real process can show: a wall clock that jumps under it, an overload made with the tools its users
//! have. Bounds are rows of docs/ABUSE.md.
//!
//! Runs with the package of the binary, which it starts; the process and its folder are those of `tests/reload`.

mod clock;
#[path = "../reload/process.rs"]
#[allow(dead_code, reason = "all of it is used by tests/reload")]
mod process;
