//! The audit log of a running gateway: what it writes down of every exchange, and what survives the worst that may happen to it.
//!
//! Runs with the package of the binary, which it starts, on either driver (`STRAIT_DRIVER`).

mod anchors;
#[path = "../tls/authority.rs"]
#[allow(dead_code)] // the other tests use the rest
mod authority;
mod collectors;
mod durable;
mod encrypted;
mod erasures;
mod exits;
mod faults;
mod folder;
#[path = "../reload/process.rs"]
#[allow(dead_code)] // the other tests use the rest
mod process;
mod reloads;
mod replay;
mod shipping;
mod trouble;
mod ways;
