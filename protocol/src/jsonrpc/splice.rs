//! Small edits over original bytes: the only way this gateway changes a message. HOT: a fixed array of edits and one
//! reused arena for what they put in.
//!
//! The decision: edits are kept sorted and disjoint as they are made, in any order, so that writing is one pass of
//! copies and two edits can never fight over a byte.

use crate::Span;
use crate::copy;
use crate::limits::SPLICES_MAX;

/// Replace `old` of the original by `new` of the arena.
#[derive(Clone, Copy, Default, Debug)]
struct Edit {
    old: Span,
    new: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpliceFault {
    /// The bytes are part of an earlier edit.
    Overlap,
    /// There are [`SPLICES_MAX`] edits already.
    Full,
    /// An edit reaches beyond the original it is applied to.
    OutOfRange,
}

impl SpliceFault {
    pub const fn label(self) -> &'static str {
        match self {
            SpliceFault::Overlap => "splice_overlap",
            SpliceFault::Full => "splice_full",
            SpliceFault::OutOfRange => "splice_out_of_range",
        }
    }
}

impl std::fmt::Display for SpliceFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SpliceFault::Overlap => "expected edits of different bytes, found two that overlap",
            SpliceFault::Full => "expected at most 64 edits of one message, found more",
            SpliceFault::OutOfRange => "expected edits inside the message, found one beyond its end",
        })
    }
}

impl std::error::Error for SpliceFault {}

/// The edits of one message.
#[derive(Clone, Debug)]
pub struct Splices {
    edits: [Edit; SPLICES_MAX],
    count: usize,
    arena: Vec<u8>,
}

impl Default for Splices {
    fn default() -> Self {
        Splices::new()
    }
}

impl Splices {
    pub fn new() -> Splices {
        Splices { edits: [Edit::default(); SPLICES_MAX], count: 0, arena: Vec::new() }
    }

    pub fn clear(&mut self) {
        self.count = 0;
        self.arena.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn replace(&mut self, old: Span, new: &[u8]) -> Result<(), SpliceFault> {
        self.replace_with(old, |arena| arena.extend_from_slice(new))
    }

    /// As [`Splices::replace`], with the new bytes appended by `write`, which must only append.
    pub fn replace_with(&mut self, old: Span, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), SpliceFault> {
        let place = self.place(old)?;
        let start = self.arena.len();
        write(&mut self.arena);
        let new = Span::between(start, self.arena.len());
        if let Some(tail) = self.edits.get_mut(place..=self.count) {
            tail.rotate_right(1);
            if let Some(slot) = tail.first_mut() {
                *slot = Edit { old, new };
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Several inserts at one place keep the order in which they were made.
    pub fn insert(&mut self, at: u32, new: &[u8]) -> Result<(), SpliceFault> {
        self.replace(Span { start: at, len: 0 }, new)
    }

    pub fn remove(&mut self, old: Span) -> Result<(), SpliceFault> {
        self.replace(old, &[])
    }

    /// How much longer the edited message is.
    pub fn delta(&self) -> i64 {
        self.edits().iter().map(|edit| i64::from(edit.new.len) - i64::from(edit.old.len)).sum()
    }

    /// Appends the edited message. On a fault `out` is as it was.
    pub fn write(&self, original: &[u8], out: &mut Vec<u8>) -> Result<(), SpliceFault> {
        // Edits are sorted and disjoint: the last one reaches furthest.
        if self.edits().last().is_some_and(|edit| edit.old.end() as usize > original.len()) {
            return Err(SpliceFault::OutOfRange);
        }
        let mut kept = 0;
        for edit in self.edits() {
            copy::append(out, original.get(kept..edit.old.start as usize).unwrap_or_default());
            out.extend_from_slice(edit.new.of(&self.arena));
            kept = edit.old.end() as usize;
        }
        copy::append(out, original.get(kept..).unwrap_or_default());
        Ok(())
    }

    fn edits(&self) -> &[Edit] {
        self.edits.get(..self.count).unwrap_or_default()
    }

    /// Where an edit of `old` belongs among the others.
    fn place(&self, old: Span) -> Result<usize, SpliceFault> {
        if self.count == SPLICES_MAX {
            return Err(SpliceFault::Full);
        }
        let edits = self.edits();
        let place = edits.partition_point(|edit| (edit.old.start, edit.old.end()) <= (old.start, old.end()));
        let before = place.checked_sub(1).and_then(|index| edits.get(index));
        let overlaps_before = before.is_some_and(|edit| edit.old.end() > old.start);
        let overlaps_after = edits.get(place).is_some_and(|edit| old.end() > edit.old.start);
        if overlaps_before || overlaps_after { Err(SpliceFault::Overlap) } else { Ok(place) }
    }
}
