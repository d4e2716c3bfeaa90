//! Secrets in stores of others.
//!
//! `stub` behaves as a store must not: it hangs, sends elsewhere, answers garbage. `openbao` and `moto` are real programs that
//! `tests/peers/install` installs; their tests are ignored by `cargo test` and run by `tests/run` once they are there.

mod moto;
mod openbao;
mod peer;
pub mod stub;
mod wrong;
