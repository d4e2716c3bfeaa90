//! Calls and principals of which something is true: found by trying what conditions speak of.
//!
//! The decision: conditions are not solved, they are tried. Whatever a condition compares something with, and what lies just
//! beside it, is a value to try (`values.rs`); a search gives one value after another and asks the real evaluator what each
//! part of a condition comes to, with the fourth truth for parts whose values are not given yet, and leaves every branch in which
//! nothing can change any more. So it is bounded and gives the same answer every time, and what it finds is still to be decided by the
//! policies themselves before anybody is told of it. That it finds nothing proves nothing.

pub mod call;
mod tree;
mod values;

use std::collections::BTreeSet;

use strait_policy::{Effect, Principal, Truth};
use strait_table::Snapshot;
use strait_table::condition::ArchivedCondition;
use strait_table::rules::ArchivedRole;

use call::Given;
use tree::{Leaves, Tree};
use values::Values;

/// Something that can be one way or another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// An argument, by its path.
    Argument(Vec<String>),
    Header(String),
    Address,
    Time,
    /// These four are of a principal.
    Group(String),
    Fact(Fact),
    Claim(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    Id,
    User,
    Agent,
    Tenant,
}

/// One way it can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Absent,
    /// As JSON writes it.
    Json(String),
    Text(String),
    Address(std::net::IpAddr),
    /// In seconds of Unix time.
    At(i64),
}

/// Steps of one search.
pub const STEPS_MAX: usize = 20_000;
/// Dimensions of one search, which is as deep as they are many; of more, those that only one policy speaks of come first.
pub const DIMENSIONS_MAX: usize = 256;
/// Ways that are tried of one dimension.
pub const VALUES_MAX: usize = 256;

/// What conditions speak of, and how each of it may be.
pub struct Space<'s> {
    pub dimensions: Vec<Dimension>,
    pub values: Vec<Vec<Value>>,
    pub leaves: Leaves<'s>,
    pub trees: Vec<Tree>,
}

/// A condition among those that are searched together.
#[derive(Clone, Copy)]
pub struct Asked<'s> {
    pub condition: &'s ArchivedCondition,
    pub snapshot: &'s Snapshot,
    /// Which of two policies it is of: what only one of them speaks of is tried first.
    pub side: u8,
}

impl<'s> Space<'s> {
    /// `principal`: the one who acts; None: principals are searched too. `from`: times are tried from then on.
    pub fn of(asked: &[Asked<'s>], given: &Given<'_>) -> Space<'s> {
        let mut values = Values::default();
        for one in asked {
            values.add(one, given);
        }
        values.compare();
        let (dimensions, values) = values.finish(asked, given);
        let mut leaves = Leaves::default();
        let trees = asked.iter().map(|one| tree::tree(one, given, &dimensions, &mut leaves)).collect();
        Space { dimensions, values, leaves, trees }
    }

    /// Whether a rule of this effect speaks, as far as its condition is chosen: true, false or unknown.
    pub fn speaks(
        &mut self,
        effect: Effect,
        tree: usize,
        chosen: &[Option<usize>],
        given: &Given<'_>,
    ) -> Truth {
        let Space { dimensions, values, leaves, trees } = self;
        let maybe = trees[tree].maybe(&mut |leaf| leaves.truth(leaf, chosen, dimensions, values, given));
        let can = |speaks| {
            [Truth::False, Truth::True, Truth::Error]
                .into_iter()
                .any(|truth| maybe.can_be(truth) && effect.speaks(truth) == Some(speaks))
        };
        match (can(true), can(false)) {
            (true, true) => Truth::Unknown,
            (speaks, _) => Truth::of(speaks),
        }
    }

    /// The ways that are chosen; what is not chosen is absent.
    pub fn chosen(&self, chosen: &[Option<usize>]) -> Vec<(&Dimension, &Value)> {
        let all = self.dimensions.iter().zip(&self.values).zip(chosen);
        all.filter_map(|((dimension, values), chosen)| Some((dimension, &values[(*chosen)?]))).collect()
    }
}

/// Somebody who has a role, and as little else as may be. None: none was found.
pub fn with_role(snapshot: &Snapshot, role: &ArchivedRole) -> Option<Principal> {
    let bit = usize::from(role.yes.to_native());
    let condition = &snapshot.rules().traits.get(bit)?.condition;
    let given = Given::anybody();
    let mut space = Space::of(&[Asked { condition, snapshot, side: 0 }], &given);
    let mut chosen = vec![None; space.dimensions.len()];
    let mut steps = STEPS_MAX;
    let found =
        depth_first(&mut space, &given, &mut chosen, &mut steps, &mut |space, given, chosen| match space
            .speaks(Effect::Allow, 0, chosen, given)
        {
            Truth::True => {
                let principal = given.principal(&space.chosen(chosen));
                match snapshot.traits_of(&principal).contains(bit) {
                    true => Step::Found,
                    false => Step::Leave,
                }
            }
            Truth::False | Truth::Error => Step::Leave,
            Truth::Unknown => Step::On,
        });
    found.then(|| given.principal(&space.chosen(&chosen)))
}

/// What to do at a point of a search.
pub enum Step {
    /// This is it; all that is chosen stays chosen.
    Found,
    /// Nothing beyond it matters.
    Leave,
    On,
}

/// Looks at what is chosen so far.
pub type Look<'l, 's> = dyn FnMut(&mut Space<'s>, &Given<'_>, &[Option<usize>]) -> Step + 'l;

/// Chooses values one after another until something is found or the steps are used up.
pub fn depth_first<'s>(
    space: &mut Space<'s>,
    given: &Given<'_>,
    chosen: &mut Vec<Option<usize>>,
    steps: &mut usize,
    look: &mut Look<'_, 's>,
) -> bool {
    let Some(left) = steps.checked_sub(1) else { return false };
    *steps = left;
    match look(space, given, chosen) {
        Step::Found => return true,
        Step::Leave => return false,
        Step::On => {}
    }
    let Some(next) = chosen.iter().position(Option::is_none) else { return false };
    for value in 0..space.values[next].len() {
        chosen[next] = Some(value);
        if depth_first(space, given, chosen, steps, look) {
            return true;
        }
        if *steps == 0 {
            break;
        }
    }
    chosen[next] = None;
    false
}

/// Paths of which one is a part of the other are looked at together.
fn overlap(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

/// Dimensions that have to do with these.
fn closure(dimensions: &[Dimension], of: &BTreeSet<Dimension>) -> Vec<usize> {
    let related = |one: &Dimension| {
        of.iter().any(|other| match (one, other) {
            (Dimension::Argument(a), Dimension::Argument(b)) | (Dimension::Claim(a), Dimension::Claim(b)) => {
                overlap(a, b)
            }
            _ => one == other,
        })
    };
    (0..dimensions.len()).filter(|at| related(&dimensions[*at])).collect()
}
