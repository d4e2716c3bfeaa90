//! Roll-out at a running gateway: `plan`, `apply`, `rollback`, `history`, `status`, and the admin endpoints for the same.
//!
//! Runs with the package of the binary, which it starts; `tests/reload` has the process that operators run.

mod acts;
mod endpoints;
mod faults;
mod gateway;
mod lagging;
#[path = "../reload/process.rs"]
#[allow(dead_code)] // the other tests use the rest
mod process;
mod restarts;
mod signed;
mod trials;
mod truth;
mod under_load;
