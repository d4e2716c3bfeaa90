//! What a condition can cost at worst, known from its program alone.

use super::{ArchivedCondition, ArchivedOp, ArchivedRoot, ELEMENTS_MAX};

/// Counts, of one evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Steps outside quantifiers.
    pub steps: usize,
    /// Steps for each element, of all quantifiers together; of at most [`ELEMENTS_MAX`] elements each.
    pub steps_per_element: usize,
    /// Values picked out of the arguments, in one pass over them.
    pub reads: usize,
    /// Regular expressions, each one pass over the text it is put to.
    pub automata: usize,
}

impl Cost {
    pub fn of(condition: &ArchivedCondition) -> Cost {
        let mut cost = Cost {
            reads: condition.reads.iter().filter(|read| read.from != ArchivedRoot::Element).count(),
            ..Cost::default()
        };
        let mut inside = 0usize;
        for op in condition.ops.iter() {
            match inside.checked_sub(1) {
                Some(left) => {
                    inside = left;
                    cost.steps_per_element += 1;
                }
                None => cost.steps += 1,
            }
            match op {
                ArchivedOp::Each { ops, .. } => inside = usize::from(ops.to_native()),
                ArchivedOp::Matches { .. } => cost.automata += 1,
                _ => {}
            }
        }
        cost
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {} steps, {} values read", self.steps, self.reads)?;
        if self.steps_per_element > 0 {
            write!(f, ", {} steps for each of at most {ELEMENTS_MAX} elements", self.steps_per_element)?;
        }
        if self.automata > 0 {
            write!(f, ", {} regular expressions", self.automata)?;
        }
        Ok(())
    }
}
