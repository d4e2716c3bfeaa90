//! # strait-control: everything that may wait
//!
//! begun
#![forbid(unsafe_code)]

mod host;
mod limits;
pub mod log;
pub mod sample;
#[cfg(test)]
mod test_support;
mod time;
