//! A clause: questions that are to be answered so and so, all at once.

use strait_table::condition::{Comparison, Quantifier};

use super::{Logic, outside, value};
use crate::condition::tree::{Asks, Path, Possible, Question, Root, Tree, Value, turned};

/// One question, and the answers that will do.
#[derive(Clone, Copy)]
pub struct Wanted<'t> {
    /// [`Tree::Ask`] or [`Tree::Each`].
    pub tree: &'t Tree,
    pub goal: Possible,
}

impl<'t> Wanted<'t> {
    pub fn of(tree: &'t Tree, goal: Possible) -> Wanted<'t> {
        Wanted { tree, goal }
    }

    pub fn asks(&self) -> Option<&'t Asks> {
        match self.tree {
            Tree::Ask(Question { asks, .. }) => Some(asks),
            _ => None,
        }
    }
}

#[derive(Clone, Default)]
pub struct Clause<'t> {
    wanted: Vec<Wanted<'t>>,
}

impl<'t> Clause<'t> {
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// False when the same question was to be answered otherwise.
    pub fn add(&mut self, wanted: Wanted<'t>) -> bool {
        match self.wanted.iter_mut().find(|known| known.tree == wanted.tree) {
            Some(known) => {
                known.goal = known.goal.common(wanted.goal);
                known.goal.can_be(Possible::ANY)
            }
            None => {
                self.wanted.push(wanted);
                true
            }
        }
    }

    pub fn can_be(&self, logic: &mut Logic<'_>) -> bool {
        outside::can_be(&self.wanted, logic)
            && orders_agree(&self.wanted)
            && value::can_be(&self.wanted, logic)
            && lists_can_be(&self.wanted, logic)
    }
}

/// What two values compared with each other can be: one of these.
mod pair {
    pub const LESS: u8 = 1;
    pub const EQUAL: u8 = 2;
    pub const MORE: u8 = 4;
    /// Both true, or both null, and so on.
    pub const SAME: u8 = 8;
    pub const OTHER: u8 = 16;
    /// One is missing, or they are of different types.
    pub const ERROR: u8 = 32;
}

/// `args.a < args.b && args.b < args.a`: of each pair of values, some relation must be left.
fn orders_agree(wanted: &[Wanted<'_>]) -> bool {
    let mut pairs: Vec<(&Value, &Value, u8)> = Vec::new();
    for one in wanted {
        let Some(Asks::Compare { left, by, right }) = one.asks() else { continue };
        if left.is_constant() || right.is_constant() {
            continue;
        }
        let known =
            pairs.iter_mut().find(|(a, b, _)| (*a == left && *b == right) || (*a == right && *b == left));
        match known {
            Some((first, _, left_over)) => {
                let by = if *first == left { *by } else { turned(*by) };
                *left_over &= relations(by, one.goal);
                if *left_over == 0 {
                    return false;
                }
            }
            None => pairs.push((left, right, relations(*by, one.goal))),
        }
    }
    true
}

/// The relations under which a comparison comes to the goal.
fn relations(by: Comparison, goal: Possible) -> u8 {
    let of = |relation| match (by, relation) {
        (_, pair::ERROR) => Possible::ERROR,
        (Comparison::Equal, _) => Possible::truth(relation & (pair::EQUAL | pair::SAME) != 0),
        (Comparison::NotEqual, _) => Possible::truth(relation & (pair::EQUAL | pair::SAME) == 0),
        (_, pair::SAME | pair::OTHER) => Possible::ERROR,
        (Comparison::Less, _) => Possible::truth(relation == pair::LESS),
        (Comparison::LessOrEqual, _) => Possible::truth(relation != pair::MORE),
        (Comparison::More, _) => Possible::truth(relation == pair::MORE),
        (Comparison::MoreOrEqual, _) => Possible::truth(relation != pair::LESS),
    };
    let all = [pair::LESS, pair::EQUAL, pair::MORE, pair::SAME, pair::OTHER, pair::ERROR];
    all.into_iter().filter(|relation| goal.can_be(of(*relation))).fold(0, |all, one| all | one)
}

/// Of each list: for every element that has to be there, what has to be true of it beside what is true of all.
fn lists_can_be(wanted: &[Wanted<'_>], logic: &mut Logic<'_>) -> bool {
    let mut lists: Vec<&Path> = Vec::new();
    for one in wanted {
        match one.tree {
            Tree::Each { list, .. } | Tree::Ask(Question { asks: Asks::Holds { list, .. }, .. })
                if !lists.contains(&list) =>
            {
                lists.push(list);
            }
            _ => {}
        }
    }
    lists.into_iter().all(|list| list_can_be(list, wanted, logic))
}

fn list_can_be(of: &Path, wanted: &[Wanted<'_>], logic: &mut Logic<'_>) -> bool {
    // It is a list, and not too long to be looked at: nothing but its elements makes an error.
    let looked_at = wanted.iter().any(|one| {
        matches!(one.tree, Tree::Each { list, .. } if list == of) && !one.goal.can_be(Possible::ERROR)
    });
    let (mut some, mut every) = (Vec::new(), Vec::new());
    for one in wanted {
        let goal = one.goal;
        if goal.only().is_none() || (goal.can_be(Possible::ERROR) && !looked_at) {
            continue;
        }
        let is_upwards = goal.can_be(Possible::TRUE);
        match one.tree {
            Tree::Each { list, quantifier, body, .. } if list == of => match (quantifier, is_upwards) {
                (Quantifier::All, true) | (Quantifier::Exists, false) => every.push(((**body).clone(), goal)),
                (Quantifier::All, false) | (Quantifier::Exists, true) => some.push(((**body).clone(), goal)),
                (Quantifier::ExistsOne, true) if goal == Possible::TRUE => {
                    some.push(((**body).clone(), goal))
                }
                (Quantifier::ExistsOne, _) => {}
            },
            Tree::Ask(Question { asks: Asks::Holds { list, item }, at }) if list == of => {
                let left = Value::Path(Path { from: Root::Element, keys: Vec::new() });
                let asks = Asks::Compare { left, by: Comparison::Equal, right: item.clone() };
                match is_upwards {
                    true if goal == Possible::TRUE => some.push((Tree::ask(asks, at.clone()), goal)),
                    true => {}
                    false => every.push((Tree::ask(asks, at.clone()), Possible::NOT_TRUE)),
                }
            }
            _ => {}
        }
    }
    some.iter().all(|one| {
        let all = std::iter::once(one).chain(&every);
        let all: Vec<(&Tree, Possible)> = all.map(|(tree, goal)| (tree, *goal)).collect();
        logic.can(&all)
    })
}
