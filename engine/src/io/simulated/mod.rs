//! # The simulated world: one thread, one seed, no kernel
//!
//! [`World::run`] runs a future and everything it spawns to its end: tasks in an order that the seed chooses, time
//! that jumps to the next timer when nobody can run, a network of byte streams in memory ([`network`]). The engine's
//! own leaves (`runtime.rs`, `tcp.rs`, `fd.rs`, `moment.rs`, `random.rs`, `spawn.rs` beside this file) are made of it, so
//! that connection, exchange, session and upstream run unchanged. The decision that shaped it: everything that could
//! differ between two runs is asked of the world, and the world asks nothing but its seed. So each run gives a
//! [`Report::trace`], a hash of everything that happened, and the same seed gives the same one.
//!
//! A world belongs to the thread that runs it; run each on a thread of its own, so that no thread-local of the engine
//! outlives it.

pub mod chance;
mod executor;
pub mod network;
mod world;

pub use chance::Chance;
pub(in crate::io) use executor::Timer;
pub use executor::{Census, TaskId, Troop};
pub use world::{Report, World, abort, chance, enlist, leap, now_ns, say, tasks};
pub(in crate::io) use world::{current, random_bytes, spawn};

/// A program that a simulated stdio child runs: what it reads, and where it writes.
pub type Program = std::rc::Rc<dyn Fn(super::tcp::Stream, super::tcp::Stream) -> Running>;

/// What a task runs.
pub type Running = std::pin::Pin<Box<dyn Future<Output = ()>>>;
