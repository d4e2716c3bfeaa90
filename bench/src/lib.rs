//! # strait-bench: what single steps cost
//!
//! The values that benches measure with, made once and alike everywhere: messages of three sizes, and
//! configurations of any number of tools, rules and roles. `cargo bench -p strait-bench` runs everything in about a
//! minute and a half; README.md keeps the figures and says what they are worth.

pub mod decisions;
pub mod fixtures;
pub mod large;
pub mod rounds;
pub mod tables;
