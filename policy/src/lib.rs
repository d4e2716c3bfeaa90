//! # strait-policy: who may do what
//!
//! Pure decisions over plain data: no I/O, no clock, no `unsafe`, nothing of ours below it. The
//! compiler, the table and the engine all call the same functions, so that what `strait explain`
//! prints at the desk is what a worker does under load.
//!
//! Start with [`authorize::weigh`]: given the rules that concern a thing and what their conditions come to ([`Truth`]), it
//! says [`Verdict::Permit`], [`Verdict::Deny`] or [`Verdict::Hold`], by which rule, and which rules can only be decided
//! when the call is known. [`traits`] are what is true of a principal in all its calls; [`glob`] tells which names a pattern
//! speaks of, and is only called while a table is bound to a catalog, never for a request on its way.
#![forbid(unsafe_code)]

pub mod authorize;
pub mod glob;
pub mod limit;
pub mod principal;
pub mod traits;
pub mod truth;

pub use authorize::{Effect, Ruling, Verdict, weigh};
pub use principal::Principal;
pub use traits::{TRAITS_MAX, Traits};
pub use truth::Truth;
