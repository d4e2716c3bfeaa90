//! # strait-engine: the data plane
//!
//! One worker per core, each a single thread on io_uring (or epoll where that is refused), each with
//! its own listener on the same address, its own connections, buffers and caches. A worker never
//! locks, never waits for control, and keeps serving if control dies.
//!
//! Start reading at [`exchange`]: the story of one request, a stage per file. [`connection`] brings it
//! requests, [`upstream`] answers them, [`session`] holds what the older revisions keep between
//! requests, [`worker`] runs it all on one core. [`handle`] is everything control can see.
//!
//! Invariants: the engine knows neither the compiler nor control. Only [`io`] knows the runtime or a
//! file descriptor, and only there and in `audit` may `unsafe` stand. Every bound is in [`limits`].
#![deny(unsafe_code)]

#[cfg(all(feature = "simulation", not(debug_assertions)))]
compile_error!(
    "the feature `simulation` replaces the network and the clock: it is for tests/simulation, not for a release"
);

mod allowance;
pub mod audit;
pub mod caps;
mod changes;
mod connection;
mod core;
mod edition;
pub mod exchange;
pub mod figures;
mod flights;
pub mod fold;
pub mod handle;
#[allow(unsafe_code)]
pub mod io;
mod known;
pub mod limits;
mod pooled;
pub mod roll;
mod session;
mod start;
pub mod trace;
pub mod trial;
pub mod trust;
mod upstream;
mod worker;

pub use edition::{Edition, UpstreamId, digest};
pub use figures::WorkerFigures;
pub use handle::{
    Event, Facts, Handle, HttpEndpoint, IdentityKeys, KeyRing, Level, ListenerTls, Options, Reach,
};
pub use io::driver::{Driver, DriverChoice};
pub use io::tls::{Believed, ClientTls, PeerCertificate, ServerTls};
pub use limits::Deadlines;
pub use roll::Roll;
pub use session::Kept;
pub use start::{StartError, start};
pub use upstream::Era;
pub use upstream::credential::{Secret, lending};
pub use upstream::statement::Stated;
