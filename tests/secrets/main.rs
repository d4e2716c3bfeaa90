//! Secrets of a running gateway: where each kind is taken from, where none may appear, and what happens while one is rotated.
//!
//! Runs with the package of the binary, which it starts; `tests/reload` has the process that operators run.

#[path = "../tls/authority.rs"]
#[allow(dead_code)] // the tests of TLS use the rest
mod authority;
mod canaries;
mod gateway;
#[path = "../reload/process.rs"]
#[allow(dead_code)] // the other tests use the rest
mod process;
mod rotation;
mod stores;
mod vault;
