//! # strait-policy: who may do what
//!
//! Pure decisions over plain data: no I/O, no clock, no `unsafe`, nothing of ours below it. The
//! compiler, the table and the engine all call the same functions, so that what `strait explain`
//! prints at the desk is what a worker does under load.
//!
//! Start with [`authorize::decide`]: given the rules that can match a tool and the roles of a
//! principal, it says [`Verdict::Permit`], [`Verdict::Deny`] or [`Verdict::Hold`], and by which rule.
//! [`roles`] tells which roles a principal has; [`glob`] tells which names a pattern speaks of, and is
//! only called while a table is bound to a catalog, never for a request on its way.
#![forbid(unsafe_code)]

pub mod authorize;
pub mod glob;
pub mod limit;
pub mod principal;
pub mod roles;

pub use authorize::{Effect, RuleView, Verdict, decide};
pub use principal::Principal;
pub use roles::{ROLES_MAX, RoleSet};
