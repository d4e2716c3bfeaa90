//! What conditions can come to, found out at the desk: whether anybody, calling anything, at any time, makes some of them true
//! and others not.
//!
//! The decision: a bounded search that may only err on one side. A condition is taken apart into *clauses*, lists of questions
//! with the answers that are wanted of each ([`clause`]); a clause is impossible when the questions about one value cannot be
//! answered so together ([`value`], [`text`]) or the windows, networks and groups cannot ([`outside`]). What is not understood,
//! or would take longer than [`limits::ANALYSIS_WORK_MAX`], counts as possible. So "never" is always true, and its absence
//! promises nothing.
//!
//! Answers are those of the evaluator: true, false, or an error where something is missing or of another type. Claims that can
//! be read in two ways are left out of account; key files cannot hold them.

mod clause;
mod outside;
mod text;
mod value;

#[cfg(test)]
mod tests;

use strait_table::{condition::Automaton, window::Window};

use super::tree::{Asks, Possible, Question, Tree};
use crate::limits;
use clause::{Clause, Wanted};

/// What the conditions of a configuration share, as far as it is looked at here.
pub struct Logic<'s> {
    /// What roles are, by number. A role that was not understood is a question like any other.
    pub roles: &'s [Option<Tree>],
    pub windows: &'s [Window],
    pub automata: &'s [Automaton],
    /// Steps that are left: of one question to it, and of all together.
    work: usize,
    all_work: usize,
}

impl<'s> Logic<'s> {
    pub fn new(roles: &'s [Option<Tree>], windows: &'s [Window], automata: &'s [Automaton]) -> Logic<'s> {
        Logic { roles, windows, automata, work: 0, all_work: limits::ANALYSIS_WORK_MAX }
    }

    /// Whether nothing can make each of these come to one of the values that are wanted of it. False when that is not sure.
    pub fn never(&mut self, wanted: &[(&Tree, Possible)]) -> bool {
        self.work = limits::QUESTION_WORK_MAX.min(self.all_work);
        let before = self.work;
        let never = !self.can(wanted);
        self.all_work -= before - self.work;
        never
    }

    /// Whether a condition is never true.
    pub fn never_true(&mut self, tree: &Tree) -> bool {
        self.never(&[(tree, Possible::TRUE)])
    }

    /// Whether there is nothing left to ask with: every answer is "not sure" from now on.
    pub fn is_spent(&self) -> bool {
        self.all_work == 0
    }

    fn can(&mut self, wanted: &[(&Tree, Possible)]) -> bool {
        let mut search = Search { clause: Clause::default(), open: Vec::new() };
        wanted.iter().all(|(tree, goal)| search.want(self, tree, *goal)) && search.run(self)
    }

    /// False when nothing is left: then what is asked counts as possible.
    fn spend(&mut self, steps: usize) -> bool {
        match self.work.checked_sub(steps) {
            Some(left) => {
                self.work = left;
                true
            }
            None => {
                self.work = 0;
                false
            }
        }
    }
}

/// A clause that grows, and what is to be chosen yet.
#[derive(Clone)]
struct Search<'t> {
    clause: Clause<'t>,
    /// Parts of which one has to come to the goal.
    open: Vec<(&'t [Tree], Possible)>,
}

impl<'t> Search<'t> {
    /// Adds what a tree shall come to. False when it cannot.
    fn want<'l: 't>(&mut self, logic: &Logic<'l>, tree: &'t Tree, goal: Possible) -> bool {
        match tree {
            Tree::Const(value) => goal.can_be(if *value { Possible::TRUE } else { Possible::FALSE }),
            Tree::Not(inner) => self.want(logic, inner, goal.negated()),
            // True wants all parts true, and not false wants none of them false; the other two want one part.
            Tree::And(parts) | Tree::Or(parts) => {
                let upwards = !goal.can_be(Possible::FALSE);
                match upwards == matches!(tree, Tree::And(_)) {
                    true => parts.iter().all(|part| self.want(logic, part, goal)),
                    false => {
                        self.open.push((parts, goal));
                        true
                    }
                }
            }
            Tree::Ask(Question { asks: Asks::Role(role), .. }) => match logic.roles.get(usize::from(*role)) {
                Some(Some(role)) => self.want(logic, role, goal),
                _ => self.clause.add(Wanted::of(tree, goal)),
            },
            Tree::Ask(_) | Tree::Each { .. } => self.clause.add(Wanted::of(tree, goal)),
        }
    }

    fn run<'l: 't>(mut self, logic: &mut Logic<'l>) -> bool {
        if !logic.spend(1 + self.clause.len()) {
            return true;
        }
        if !self.clause.can_be(logic) {
            return false;
        }
        // Where there is least to choose, first.
        let Some(least) = (0..self.open.len()).min_by_key(|at| self.open[*at].0.len()) else { return true };
        let (parts, goal) = self.open.swap_remove(least);
        parts.iter().any(|part| {
            let mut with = self.clone();
            with.want(logic, part, goal) && with.run(logic)
        })
    }
}
