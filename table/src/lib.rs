//! # strait-table: the compiled file
//!
//! The compiler writes [`rules::Rules`] into one file ([`file::write`]); a serving process opens it
//! ([`Snapshot::open`]) into sealed memory and reads it in place, archived, without parsing. What the
//! upstreams really offer is a [`catalog::Catalog`]; [`bind()`] joins the two into [`bound::Bound`], and
//! a [`Snapshot`] is both. What a set of traits sees of a server is a [`view::View`]; what only a call can
//! decide is a [`condition::Condition`].
//!
//! Invariant: bytes that did not pass header, checksums, bytecheck and [`invariants`] never become a
//! `Snapshot`, and a `Snapshot` never changes. `unsafe` lives in `mapping.rs` alone.
//!
//! Read `rules.rs` for what is stored, `snapshot.rs` for how it is opened, `decide.rs` for how it decides.
#![deny(unsafe_code)]

pub mod audit;
pub mod bind;
pub mod bound;
pub mod catalog;
pub mod condition;
pub mod decide;
pub mod file;
mod invariants;
pub mod limit;
#[allow(unsafe_code)]
mod mapping;
pub mod mtls;
pub mod names;
pub mod pins;
pub mod rules;
pub mod secret;
pub mod shape;
pub mod ship;
pub mod signature;
pub mod snapshot;
pub mod telemetry;
pub mod uris;
pub mod view;
pub mod window;

pub use bind::bind;
pub use bound::Kind;
pub use file::{Generation, OpenError};
pub use snapshot::Snapshot;
pub use view::View;
