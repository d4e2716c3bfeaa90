//! Cedar's own engine beside ours: the same policies, the same call, and what each of the two says.
//!
//! A call is drawn up once ([`world::Call`]) and shown to both: to ours as JSON with a principal and a request, to
//! `cedar-policy` as the entities and the context that `docs/CEDAR.md` says such a call is. [`policy`] writes policies of chance,
//! [`dice`] is the chance. Nothing here knows how Strait lowers a policy.

pub mod dice;
pub mod judge;
pub mod policy;
pub mod world;
