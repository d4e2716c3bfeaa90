//! # Everything that touches the kernel or the runtime
//!
//! The rest of the engine knows neither monoio nor a file descriptor: it sees [`tcp::Stream`], [`buffer::Buf`],
//! [`watch::Watch`], [`signal::Signal`], [`mailbox::Post`] and [`spawn::Child`]. The decision that shaped this
//! folder: monoio 0.2.4 is pinned and has known defects, so each defect has one place here that works around it,
//! and replacing the runtime is this folder's work alone.
//!
//! Rules that callers keep, because the runtime does not:
//! - a task never wakes itself while it is polled (the run queue puts it first: everybody else starves); a loop that
//!   may always have something at hand calls [`runtime::yield_turn`] now and then;
//! - [`runtime::timeout`] never goes around `accept` or `recv` (what arrived is lost); give a socket a deadline
//!   with [`watch::Watches`], an idle connection an end with [`tcp::Idle`];
//! - every task ends its turn in I/O, a timer or a channel.
//!
//! `unsafe` is allowed here only; each block tells its reason and is listed in `docs/UNSAFE.md`.
//!
//! Read `runtime.rs` for threads and drivers, `tcp.rs` for sockets, `watch.rs` for deadlines.

//!
//! With the feature `simulation` (tests/simulation, never the product) the leaves of this folder are those of
//! `simulated/`: the same engine then runs over a network, a clock and random numbers that one seed decides.

pub mod buffer;
pub mod clock;
pub mod driver;
#[cfg_attr(feature = "simulation", path = "simulated/fd.rs")]
mod fd;
pub mod files;
pub mod inherit;
pub mod mailbox;
#[cfg_attr(feature = "simulation", path = "simulated/moment.rs")]
pub mod moment;
#[cfg(not(feature = "simulation"))]
mod operation;
#[cfg_attr(feature = "simulation", path = "simulated/random.rs")]
pub mod random;
#[cfg_attr(feature = "simulation", path = "simulated/runtime.rs")]
pub mod runtime;
pub mod signal;
#[cfg(feature = "simulation")]
pub mod simulated;
#[cfg_attr(feature = "simulation", path = "simulated/spawn.rs")]
pub mod spawn;
#[cfg(not(feature = "simulation"))]
mod sys;
#[cfg_attr(feature = "simulation", path = "simulated/tcp.rs")]
pub mod tcp;
pub mod tls;
pub mod vigil;
pub mod watch;

#[cfg(all(test, not(feature = "simulation")))]
pub(crate) mod tests;
