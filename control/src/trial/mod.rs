//! A candidate that is tried beside what is served: a canary, which control promotes or rolls back, or a shadow, which only tells.
//!
//! What workers do with it is `strait_engine::trial`; here is what an operator says of it (`terms`), how a canary is judged (`judge`), and
//! what a shadow has found (`found`); `text` is
//! all of that for a person. `serve/trial.rs` begins and ends it.

pub mod found;
pub mod judge;
pub mod terms;
pub mod text;

use terms::Terms;

/// What a candidate is on trial as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Canary(Terms),
    Shadow,
}

impl Kind {
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Canary(_) => "canary",
            Kind::Shadow => "shadow",
        }
    }
}

/// Trials of this process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub begun: u64,
    pub promoted: u64,
    pub rolled_back: u64,
}
