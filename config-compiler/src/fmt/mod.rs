//! `strait fmt`: a configuration in the one form, with every comment, every word and their order as they were.
//!
//! Only white space moves. [`layout`] puts the pieces of a text where they belong; then the result is read again, and unless it
//! says exactly what the text said, comments included, it is thrown away and the text refused: a file is never damaged by
//! a mistake of ours. The form:
//!
//! - two blanks a level, lists in mappings too; `- ` and what follows on one line, if it was;
//! - `key: value`, `[a, b]`, `{ a: b }`; lines are broken where the author broke them, elements of a broken `[` or `{` two blanks in;
//! - no blanks at the end of a line, no two empty lines in a row, none at the beginning, one line end at the end;
//! - a comment on a line of its own stands as far in as what it is about; one behind something keeps its column, if
//!   two blanks are left before it;
//! - texts keep their quotes, and blocks (`|`, `>`) their lines.

mod layout;
#[cfg(test)]
mod tests;

use crate::source::pieces::{Broken, meaning, pieces};

/// Why a text is left as it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Counted from 1.
    pub line: usize,
    pub why: String,
}

pub fn format(text: &str) -> Result<String, Refused> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let refused = |(why, at): Broken| {
        let line = 1 + text.get(..at).unwrap_or(&text).matches('\n').count();
        Refused { line, why }
    };
    let before = meaning(&text).map_err(refused)?;
    let pieces = pieces(&text).map_err(refused)?;
    let formatted = layout::lay_out(&text, &pieces).map_err(refused)?;
    let after = meaning(&formatted);
    if after.as_ref() == Ok(&before) {
        return Ok(formatted);
    }
    let line = first_difference(&text, &formatted);
    Err(Refused { line, why: "what begins here would not mean the same in another place".to_owned() })
}

/// The first line that came out otherwise: near enough to what went wrong.
fn first_difference(before: &str, after: &str) -> usize {
    let pairs = before.lines().zip(after.lines());
    1 + pairs.take_while(|(before, after)| before.trim() == after.trim()).count()
}
