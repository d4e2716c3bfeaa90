//! Answers about policy at the desk: what one call comes to (`call.rs`), and what somebody can reach (`reach.rs`), what a change opens
//! and closes (`diff`), what a table says (`decompiled.rs`), what recorded calls would come to (`replay`), and whether a policy is what its author expects (`cases.rs`).
//!
//! The decision: nothing here decides. Everything that is told was asked of the functions that workers decide with
//! ([`strait_table::decide`]); what is here names the things to ask about (`names.rs`, `asked.rs`) and those who ask (`people.rs`).

pub mod asked;
pub mod call;
pub mod cases;
pub mod decompiled;
pub mod diff;
pub mod names;
pub mod people;
pub mod reach;
pub mod replay;
pub mod search;
