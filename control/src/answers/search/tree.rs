//! A condition's program as a tree whose leaves are questions, each with the dimensions that its answer depends on.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use strait_policy::{Traits, Truth};
use strait_protocol::jsonrpc::Decoder;
use strait_table::Snapshot;
use strait_table::condition::evaluate::evaluate_part;
use strait_table::condition::{
    ArchivedCondition, ArchivedOp, ArchivedOperand, ArchivedPrincipalFact, ArchivedRoot, Asked as AskedCall,
    Moment, Workspace,
};

use super::call::Given;
use super::{Asked, Dimension, Fact, Value, closure};

pub enum Tree {
    Leaf(usize),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

/// Which truths something may still come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maybe(u8);

impl Maybe {
    const ALL: [Truth; 3] = [Truth::False, Truth::True, Truth::Error];

    fn of(truth: Truth) -> Maybe {
        match truth {
            Truth::Unknown => Maybe(0b111),
            known => Maybe(1 << known as u8),
        }
    }

    pub fn can_be(self, truth: Truth) -> bool {
        self.0 & Maybe::of(truth).0 != 0
    }

    fn each(self) -> impl Iterator<Item = Truth> {
        Maybe::ALL.into_iter().filter(move |truth| self.can_be(*truth))
    }

    fn with(self, other: Maybe, by: fn(Truth, Truth) -> Truth) -> Maybe {
        let all = self.each().flat_map(|one| other.each().map(move |other| Maybe::of(by(one, other)).0));
        Maybe(all.fold(0, |all, one| all | one))
    }
}

impl Tree {
    /// An error beside what is not known yet is never a truth any more, which [`Truth`] alone does not tell.
    pub fn maybe(&self, leaf: &mut dyn FnMut(usize) -> Truth) -> Maybe {
        match self {
            Tree::Leaf(at) => Maybe::of(leaf(*at)),
            Tree::Not(of) => {
                let of = of.maybe(leaf);
                Maybe(of.each().fold(0, |all, one| all | Maybe::of(one.negated()).0))
            }
            Tree::And(left, right) => left.maybe(leaf).with(right.maybe(leaf), Truth::and),
            Tree::Or(left, right) => left.maybe(leaf).with(right.maybe(leaf), Truth::or),
        }
    }
}

/// One question.
struct Leaf<'s> {
    condition: &'s ArchivedCondition,
    snapshot: &'s Snapshot,
    side: u8,
    ops: Range<usize>,
    /// Ascending.
    dimensions: Vec<usize>,
    known: HashMap<Vec<usize>, Truth>,
}

#[derive(Default)]
pub struct Leaves<'s> {
    all: Vec<Leaf<'s>>,
    /// Of the given principal, by side.
    traits: [Option<Traits>; 2],
    workspace: Workspace,
}

impl<'s> Leaves<'s> {
    /// What the real evaluator says; unknown while something that it depends on is not chosen.
    pub fn truth(
        &mut self,
        leaf: usize,
        chosen: &[Option<usize>],
        dimensions: &[Dimension],
        values: &[Vec<Value>],
        given: &Given<'_>,
    ) -> Truth {
        let Leaves { all, traits, workspace } = self;
        let leaf = &mut all[leaf];
        let choice: Option<Vec<usize>> = leaf.dimensions.iter().map(|at| chosen[*at]).collect();
        let Some(choice) = choice else { return Truth::Unknown };
        if let Some(truth) = leaf.known.get(&choice) {
            return *truth;
        }
        let picked: Vec<(&Dimension, &Value)> = leaf
            .dimensions
            .iter()
            .zip(&choice)
            .map(|(at, value)| (&dimensions[*at], &values[*at][*value]))
            .collect();
        let side = usize::from(leaf.side.min(1));
        let principal = match given.principals {
            Some(both) => both[side].clone(),
            None => given.principal(&picked),
        };
        if given.principals.is_some() && traits[side].is_none() {
            traits[side] = Some(leaf.snapshot.traits_of(&principal));
        }
        let call = given.call(&picked);
        let windows = leaf.snapshot.windows_at(call.at).bits;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{}}}}}"#,
            call.args
        );
        let arguments = Decoder::new().decode(body.as_bytes()).ok().and_then(|message| message.arguments);
        let asked = AskedCall {
            method: given.method,
            body: body.as_bytes(),
            arguments,
            request: &call.from,
            with_scopes: false,
        };
        let moment = Moment {
            traits: traits[side].as_ref(),
            windows: Some(&windows),
            principal: Some(&principal),
            thing: given.thing,
            asked: Some(&asked),
        };
        let ops = leaf.condition.ops.get(leaf.ops.clone()).unwrap_or_default();
        let automata = &leaf.snapshot.rules().automata;
        let truth = evaluate_part(leaf.condition, ops, automata, &moment, workspace).unwrap_or(Truth::Error);
        leaf.known.insert(choice, truth);
        truth
    }
}

/// The tree of a condition; its leaves are put to the others.
pub fn tree<'s>(
    asked: &Asked<'s>,
    given: &Given<'_>,
    dimensions: &[Dimension],
    leaves: &mut Leaves<'s>,
) -> Tree {
    let ops = &asked.condition.ops;
    let mut stack: Vec<Tree> = Vec::new();
    let mut at = 0;
    while let Some(op) = ops.get(at) {
        let from = at;
        at += 1;
        match op {
            ArchivedOp::UnlessFalse(_) | ArchivedOp::UnlessTrue(_) => continue,
            ArchivedOp::Not => {
                if let Some(of) = stack.pop() {
                    stack.push(Tree::Not(Box::new(of)));
                }
                continue;
            }
            ArchivedOp::And | ArchivedOp::Or => {
                if let (Some(right), Some(left)) = (stack.pop(), stack.pop()) {
                    let (left, right) = (Box::new(left), Box::new(right));
                    stack.push(match op {
                        ArchivedOp::And => Tree::And(left, right),
                        _ => Tree::Or(left, right),
                    });
                }
                continue;
            }
            ArchivedOp::Each { ops, .. } => at += usize::from(ops.to_native()),
            _ => {}
        }
        let mut depends = BTreeSet::new();
        for op in ops.get(from..at).unwrap_or_default() {
            depends_on(asked.condition, op, given.principals.is_none(), &mut depends);
        }
        // What asks for groups in general depends on all of them.
        if depends.contains(&Dimension::Group(String::new())) {
            let groups = dimensions.iter().filter(|dimension| matches!(dimension, Dimension::Group(_)));
            depends.extend(groups.cloned());
        }
        stack.push(Tree::Leaf(leaves.all.len()));
        leaves.all.push(Leaf {
            condition: asked.condition,
            snapshot: asked.snapshot,
            side: asked.side,
            ops: from..at,
            dimensions: closure(dimensions, &depends),
            known: HashMap::new(),
        });
    }
    // A table that was opened has programs that come to one answer.
    stack.pop().unwrap_or(Tree::Leaf(0))
}

/// The dimensions that a step asks of; those of principals only where they are searched.
pub fn depends_on(
    condition: &ArchivedCondition,
    op: &ArchivedOp,
    principals: bool,
    into: &mut BTreeSet<Dimension>,
) {
    let read = |read: u16, into: &mut BTreeSet<Dimension>| {
        into.extend(condition.reads.get(usize::from(read)).and_then(|read| {
            let path = || read.path.iter().map(|key| key.as_str().to_owned()).collect();
            match read.from {
                ArchivedRoot::Arguments => Some(Dimension::Argument(path())),
                ArchivedRoot::Claims => principals.then(|| Dimension::Claim(path())),
                ArchivedRoot::Element => None,
            }
        }));
    };
    let operand = |of: &ArchivedOperand, into: &mut BTreeSet<Dimension>| match of {
        ArchivedOperand::Read(of) | ArchivedOperand::Size(of) => read(of.to_native(), into),
        ArchivedOperand::Header(name) => {
            into.insert(Dimension::Header(name.as_str().to_owned()));
        }
        ArchivedOperand::Principal(fact) if principals => {
            into.insert(Dimension::Fact(fact_of(fact)));
        }
        _ => {}
    };
    match op {
        ArchivedOp::Window(_) => {
            into.insert(Dimension::Time);
        }
        ArchivedOp::Has(of) | ArchivedOp::Scope { scope: of, .. } => read(of.to_native(), into),
        ArchivedOp::HasHeader(name) => {
            into.insert(Dimension::Header(name.as_str().to_owned()));
        }
        ArchivedOp::Network(_) => {
            into.insert(Dimension::Address);
        }
        ArchivedOp::Compare { left, right, .. } | ArchivedOp::Text { of: left, text: right, .. } => {
            operand(left, into);
            operand(right, into);
        }
        ArchivedOp::In { of, .. } | ArchivedOp::IsType { of, .. } | ArchivedOp::Matches { of, .. } => {
            operand(of, into)
        }
        ArchivedOp::Holds { list, item } => {
            read(list.to_native(), into);
            operand(item, into);
        }
        ArchivedOp::InGroups(of) => {
            operand(of, into);
            if principals {
                into.insert(Dimension::Group(match of {
                    ArchivedOperand::Text(text) => text.as_str().to_owned(),
                    _ => String::new(),
                }));
            }
        }
        ArchivedOp::AnyGroup { .. } if principals => {
            into.insert(Dimension::Group(String::new()));
        }
        ArchivedOp::Each { list, .. } => read(list.to_native(), into),
        _ => {}
    }
}

pub fn fact_of(fact: &ArchivedPrincipalFact) -> Fact {
    match fact {
        ArchivedPrincipalFact::Id => Fact::Id,
        ArchivedPrincipalFact::User => Fact::User,
        ArchivedPrincipalFact::Agent => Fact::Agent,
        ArchivedPrincipalFact::Tenant => Fact::Tenant,
    }
}
