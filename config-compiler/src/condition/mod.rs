//! Conditions: from CEL text to programs of the table.
//!
//! | step | file |
//! |---|---|
//! | the text, within bounds, to CEL's syntax tree | [`syntax`] |
//! | names and types checked, nodes to questions | [`meaning`], [`during`], [`regex`] |
//! | the tree of questions, looked at by checks | [`tree`] |
//! | what it can come to, found out without a call | [`logic`] |
//! | its parts over the principal to traits, the rest to a program | [`emit`] |

pub mod during;
pub mod emit;
pub mod logic;
pub mod meaning;
pub mod regex;
pub mod syntax;
pub mod tree;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::diagnostic::Code;

pub use emit::{Shared, TooMuch};
pub use meaning::{Of, RoleNamed};
pub use tree::Tree;

/// What is wrong with a condition, and where in its text.
#[derive(Debug)]
pub struct Wrong {
    pub code: &'static Code,
    pub message: String,
    pub help: String,
    pub at: Range<usize>,
}

impl Wrong {
    pub fn new(
        code: &'static Code,
        message: impl Into<String>,
        help: impl Into<String>,
        at: Range<usize>,
    ) -> Wrong {
        Wrong { code, message: message.into(), help: help.into(), at }
    }
}

/// Reads a condition.
pub fn read(text: &str, of: Of, roles: &RoleNamed<'_>, shared: &mut Shared) -> Result<Tree, Wrong> {
    let parsed = shared.parsing.parse(text)?;
    meaning::tree(&parsed, of, roles, shared)
}
