//! # strait-control: everything that may wait
//!
//! begun
#![forbid(unsafe_code)]

pub mod failure;
mod host;
mod keys;
mod ledger;
mod limits;
mod listen;
pub mod log;
mod reach;
pub mod sample;
mod secret;
pub mod source;
mod state;
#[cfg(test)]
mod test_support;
mod time;
