//! # strait-control: everything that may wait
//!
//! A worker of the engine never waits; this crate does it for all of them. [`serve::run`] takes a table
//! from [`source`] to a serving process: keys (`keys.rs`), secrets ([`secrets`]) and addresses
//! (`reach.rs`) are resolved before the engine starts, and one thread then keeps what changes: the
//! lists that upstreams offer (`ledger.rs`), bound to the rules and handed to the workers as a new
//! snapshot. Beside it stand the admin endpoints (`admin.rs`, shown from `board.rs`
//! and `metrics/`; `watchdog.rs` looks after the workers), the process log ([`log`]), what `strait up` prints (`banner.rs`), the sample servers ([`sample`]) and the
//! answers about policy that are given at the desk ([`answers`]).
//!
//! Invariants: workers never wait for this crate, and keep serving should its thread die. What is
//! missing for one upstream (a secret, a name, an answer) never stops another. A secret is in no log,
//! no `Debug` and no pipe.
//!
//! Read `serve.rs`, then `serve/control.rs`: they are the story.
#![forbid(unsafe_code)]

mod admin;
pub mod answers;
pub mod ask;
mod audit;
mod banner;
mod board;
pub mod certificates;
pub mod connect;
mod credentials;
pub mod doctor;
pub mod failure;
pub mod fetch;
mod generations;
mod handover;
mod host;
mod identity;
mod identity_header;
mod keys;
mod ledger;
mod limits;
mod listen;
pub mod load;
pub mod lock;
pub mod log;
mod metrics;
pub mod private;
mod quarantine;
mod reach;
pub mod revocations;
mod roll_call;
pub mod rollout;
pub mod sample;
pub mod secrets;
pub mod serve;
mod sessions;
mod shipping;
pub mod signing;
pub mod source;
mod state;
pub mod status;
pub mod stdio_front;
mod suspicions;
pub mod telemetry;
#[cfg(test)]
mod test_support;
pub mod time;
pub mod top;
pub mod trial;
mod watch;
mod watchdog;
pub mod whole;

pub use failure::{Code, Failure};
pub use source::Source;
