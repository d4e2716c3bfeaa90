//! # strait-config-compiler: from an author's text to the rules of a table
//!
//! One loader for everybody: `strait check`, `compile` and `up`, the admin API and the tests all call
//! [`load`], so that what was checked is what is served. A load goes through four folders, in order:
//!
//! 1. [`source`]: bytes to trees that know where everything was written, within [`limits`];
//! 2. [`walk`]: the language's key tables, and the typed walker that reads trees by them;
//! 3. [`lower`]: each block of a configuration to its part of [`Rules`], names to numbers;
//!    conditions go through [`condition`] on the way, Cedar files through [`cedar`];
//! 4. [`check`]: what only shows when all is known: contradictions, things nobody uses.
//!
//! [`import`] makes a configuration of other tools' files. Beside them, [`cases`] reads what `strait test` runs, and [`lock`] reads and writes what upstreams offer, pinned.
//!
//! Whatever is wrong becomes a [`diagnostic::Finding`]; no mistake stops the run, so that one run
//! shows them all. [`schema()`] makes the JSON Schema from the same key tables; [`keys`] keeps files of
//! API-key digests; [`first`] is the file to begin with. Nothing here is on a request's way: clarity first.
#![forbid(unsafe_code)]

pub mod cases;
pub mod cedar;
pub mod check;
pub mod condition;
pub mod diagnostic;
pub mod first;
pub mod fmt;
pub mod import;
pub mod keys;
pub mod limits;
mod load;
pub mod lock;
pub mod lower;
pub mod names;
mod schema;
pub mod source;
pub mod walk;

pub use diagnostic::{
    Finding, Severity,
    render::{render, render_short, to_json},
};
pub use load::{Outcome, load, load_text, load_unlocked};
pub use lock::Lock;
pub use schema::schema;
pub use strait_table::rules::Rules;
