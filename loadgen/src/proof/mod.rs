//! # The proof: what a gateway adds, and whether that can be told at all
//!
//! Two runs on two afternoons compare two afternoons. Here every slot sends one request straight to the
//! server, one more straight to the server, and one through the gateway, in an order drawn anew each
//! time, over connections that are drawn anew each block. What differs between the two direct arms is
//! noise; what differs beyond that is the gateway.
//!
//! Read in this order: [`schedule`] says who goes when, [`run`] does it over a [`wire`], [`samples`] is
//! what remains; [`estimates`] computes, with intervals by [`bootstrap`], [`verdict`] judges, and
//! [`kernel`] asks a second clock; [`result`]
//! is everything together, which [`raw`] keeps on disk in a form it can be recomputed from. [`meet`] greets
//! both ends first, [`cpu`] and [`environment`] look at the gateway and the host, [`self_test`] puts a known
//! delay in and looks whether it is found; [`floor`] asks what this host
//! can tell at all; [`prove`](fn@prove) is the whole. The rule in prose, with examples, is docs/PROOF.md.
//!
//! Invariants: no sample is dropped without being counted. The verdict is a function of the recorded data
//! alone. Whoever wants a PASS has to bring a quiet null arm.

pub mod bootstrap;
pub mod bundle;
pub mod cpu;
pub mod environment;
pub mod estimates;
pub mod floor;
mod json;
#[cfg(test)]
mod kept;
pub mod kernel;
pub mod limit;
pub mod meet;
mod metrics;
mod page;
mod prove;
pub mod raw;
pub mod residence;
pub mod result;
pub mod run;
pub mod samples;
pub mod schedule;
pub mod self_test;
#[cfg(test)]
mod tests;
mod text;
#[cfg(test)]
mod told;
pub mod verdict;
pub mod wire;

pub use prove::{Order, Unproved, floor as prove_floor, prove, self_test as prove_self};
