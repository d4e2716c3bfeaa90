//! # strait-loadgen: load, and proof of what the gateway adds
//!
//! [`target`] is the far end of a measurement: where it is ([`target::Target`]), how it is greeted in
//! either era of MCP ([`target::Peer`]), the requests that are written once and stamped per call
//! ([`target::Template`]), and the reader that judges each reply without allocating
//! ([`target::ReplyReader`]). [`proof`] compares two ways to one server, slot by slot, and says what the
//! longer one adds; [`agents`] lets several machines run one load; [`report`] makes a page of a result; [`io`] asks the kernel for its own time stamps, and only there may `unsafe` stand.
//!
//! Invariants: in steady state a request costs no allocation and no lock. A secret is never printed:
//! [`target::Secret`] has no way to. What a generator could not do in time is said, never hidden in the
//! figures of the target.
#![deny(unsafe_code)]

pub mod agents;
pub mod clock;
pub mod echo;
#[allow(unsafe_code)]
pub mod io;
pub mod load;
pub mod poll;
pub mod proof;
pub mod random;
pub mod report;
pub mod target;
pub mod words;
