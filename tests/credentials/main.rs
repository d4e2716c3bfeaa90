//! Credentials that the gateway gets for itself and for its callers, from a token endpoint that answers as each test wants.
//!
//! Runs with the package of the binary, which it starts, on either driver (`STRAIT_DRIVER`).

mod bad;
mod exchanges;
mod gateway;
mod grants;
#[path = "../identity/issuer.rs"]
#[allow(dead_code)] // tokens are signed by other tests
mod issuer;
mod leaks;
#[path = "../reload/process.rs"]
#[allow(dead_code)] // the other tests use the rest
mod process;
