//! Who calls, where tokens say it: signed by `jsonwebtoken`, which the gateway does not use, for an issuer that answers as each
//! test wants.
//!
//! Runs with the package of the binary, which it starts, on either driver (`STRAIT_DRIVER`).

mod bad;
mod browsers;
mod clocks;
mod discovery;
mod gateway;
mod held;
mod introspection;
#[allow(dead_code)] // tests of credentials use the rest
mod issuer;
#[path = "../reload/process.rs"]
#[allow(dead_code)] // the other tests use the rest
mod process;
mod resource;
mod revoke;
mod scopes;
mod statements;
mod tokens;
