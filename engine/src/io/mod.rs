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

pub mod buffer;
pub mod clock;
mod fd;
pub mod files;
pub mod mailbox;
mod operation;
pub mod runtime;
pub mod signal;
pub mod spawn;
mod sys;
pub mod tcp;
pub mod vigil;
pub mod watch;

#[cfg(test)]
mod tests;
