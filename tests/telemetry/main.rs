//! What the gateway tells a collector of itself, and what it passes on of its clients' traces.
//!
//! Runs with the package of the binary, which it starts, on either driver (`STRAIT_DRIVER`). What is pushed is read with
//! OpenTelemetry's own types.

mod away;
mod canaries;
mod collector;
mod context;
mod figures;
#[path = "../reload/process.rs"]
#[allow(dead_code)] // the other tests use the rest
mod process;
mod spans;
mod timing;
