//! Cedar: whole `.cedar` files, from their text to the conditions and patterns that rules have.
//!
//! | step | file |
//! |---|---|
//! | letters to tokens | [`token`] |
//! | tokens to policies, within bounds | [`syntax`], [`tree`] |
//! | a policy's head to patterns, an audience and a condition | [`scope`] |
//! | its `when` and `unless` to questions | [`meaning`] |
//!
//! The decision: what Cedar says is lowered exactly, or refused. A Cedar expression is true, false or an error, and its `&&` is
//! not CEL's: what stands on the left is settled first. So each expression becomes two trees ([`meaning::Both`]): one that is
//! true where Cedar says true, and one that is true where Cedar says false. A permit asks the first; a forbid asks whether the
//! second is not true, and so denies where Cedar would skip it for an error. `docs/CEDAR.md` tells authors what that means.

pub mod meaning;
pub mod scope;
pub mod syntax;
pub mod token;
pub mod tree;

#[cfg(test)]
mod tests;
