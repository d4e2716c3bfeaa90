//! For whom two policies are compared: everybody who has a key in one of them, whoever had one role alone, anybody with a key,
//! and whoever comes without one.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use strait_policy::{Principal, Traits};
use strait_table::condition::{ArchivedOp, ArchivedOperand, ArchivedRoot, Condition, NONE, Op};
use strait_table::rules::{ArchivedRules, Rules};

use crate::answers::people::{By, Person, known, role_alone};
use crate::source::Opened;

/// For whom something is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Anonymous,
    /// Anybody with a key, who is in no group.
    Anybody,
    /// Whoever has one role alone.
    Role(String),
    /// The id of a key.
    Key(String),
}

impl Who {
    pub fn words(&self) -> String {
        match self {
            Who::Anonymous => "anonymous".to_owned(),
            Who::Anybody => "anybody with a key".to_owned(),
            Who::Role(role) => format!("role {role} alone"),
            Who::Key(id) => id.clone(),
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Who::Anonymous => json!({ "kind": "anonymous" }),
            Who::Anybody => json!({ "kind": "anybody" }),
            Who::Role(role) => json!({ "kind": "role", "role": role }),
            Who::Key(id) => json!({ "kind": "key", "id": id }),
        }
    }
}

/// People whom neither policy tells apart.
pub struct Class {
    pub who: Vec<Who>,
    /// Before and after; None: not known there.
    pub principals: [Option<Principal>; 2],
    /// By server.
    pub lets_in: [Vec<bool>; 2],
}

type Both = [Option<Person>; 2];

pub fn classes(sides: [&Opened; 2], notes: &mut Vec<String>) -> Vec<Class> {
    let mut subjects: Vec<(Who, Both)> = Vec::new();
    let is_open =
        |opened: &Opened| opened.snapshot.rules().servers.iter().any(|server| server.auth.is_empty());
    if sides.iter().any(|side| is_open(side)) {
        subjects.push((Who::Anonymous, [Some(Person::anonymous()), Some(Person::anonymous())]));
    }
    let anybody = Principal { id: "somebody".to_owned(), ..Principal::default() };
    subjects.push((Who::Anybody, same(Person { principal: anybody, by: By::Any })));
    roles(sides, notes, &mut subjects);
    keys(sides, notes, &mut subjects);

    type Key = ([Option<Traits>; 2], [Vec<bool>; 2], Option<[Option<Principal>; 2]>);
    let told_apart = sides.iter().any(|side| asks_of_principals(side.snapshot.rules()));
    let mut classes: Vec<Class> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (who, both) in subjects {
        let of = |side: usize| -> (Option<Traits>, Vec<bool>) {
            let (opened, person) = (sides[side], &both[side]);
            let rules = opened.snapshot.rules();
            let lets_in = rules.servers.iter().map(|server| {
                person.as_ref().is_some_and(|person| person.comes_to(&opened.snapshot, server))
            });
            let traits = person.as_ref().map(|person| opened.snapshot.traits_of(&person.principal));
            (traits, lets_in.collect())
        };
        let ((before, lets_in_before), (after, lets_in_after)) = (of(0), of(1));
        let principals = both.map(|person| person.map(|person| person.principal));
        let lets_in = [lets_in_before, lets_in_after];
        let key: Key = ([before, after], lets_in, told_apart.then(|| principals.clone()));
        let at = *places.entry(format!("{key:?}")).or_insert_with(|| {
            let (_, lets_in, _) = key;
            classes.push(Class { who: Vec::new(), principals, lets_in });
            classes.len() - 1
        });
        classes[at].who.push(who);
    }
    classes
}

fn same(person: Person) -> Both {
    [Some(person.clone()), Some(person)]
}

/// An example of each role by either policy's meaning of it, put to both.
fn roles(sides: [&Opened; 2], notes: &mut Vec<String>, into: &mut Vec<(Who, Both)>) {
    let mut named: BTreeMap<String, Vec<Person>> = BTreeMap::new();
    for side in sides {
        for role in side.snapshot.rules().roles.iter() {
            let examples = named.entry(role.name.as_str().to_owned()).or_default();
            examples.extend(role_alone(&side.snapshot, role));
        }
    }
    for (role, mut examples) in named {
        examples.dedup();
        if examples.is_empty() {
            notes.push(format!("role {role}: nobody was found who has it, so it was not compared"));
        }
        into.extend(examples.into_iter().map(|person| (Who::Role(role.clone()), same(person))));
    }
}

fn keys(sides: [&Opened; 2], notes: &mut Vec<String>, into: &mut Vec<(Who, Both)>) {
    // By id, and by its place among those who share it.
    let mut all: BTreeMap<(String, usize), Both> = BTreeMap::new();
    for (side, opened) in sides.into_iter().enumerate() {
        let people = known(opened);
        let word = ["before", "after"][side];
        notes.extend(people.unread.into_iter().map(|why| format!("{word}: {why}")));
        let mut seen: HashMap<String, usize> = HashMap::new();
        for person in people.known.into_iter().filter(|person| person.by != By::Nothing) {
            let id = person.principal.id.clone();
            let place = seen.entry(id.clone()).or_default();
            all.entry((id, *place)).or_default()[side] = Some(person);
            *place += 1;
        }
    }
    into.extend(all.into_iter().map(|((id, _), both)| (Who::Key(id), both)));
}

/// Whether a call's condition asks for more of a principal than its traits.
fn asks_of_principals(rules: &ArchivedRules) -> bool {
    let is_of = |operand: &ArchivedOperand| matches!(operand, ArchivedOperand::Principal(_));
    rules.policy.rules.iter().filter_map(|rule| rule.condition.as_ref()).any(|condition| {
        let claims = condition.reads.iter().any(|read| read.from == ArchivedRoot::Claims);
        claims
            || condition.ops.iter().any(|op| match op {
                ArchivedOp::InGroups(_) | ArchivedOp::AnyGroup { .. } => true,
                ArchivedOp::Compare { left, right, .. } | ArchivedOp::Text { of: left, text: right, .. } => {
                    is_of(left) || is_of(right)
                }
                ArchivedOp::In { of, .. }
                | ArchivedOp::IsType { of, .. }
                | ArchivedOp::Matches { of, .. }
                | ArchivedOp::Holds { item: of, .. } => is_of(of),
                _ => false,
            })
    })
}

/// What a condition says to somebody with these traits, whatever numbers its table has given to what it speaks of.
pub fn said(condition: &Condition, rules: &Rules, traits: Option<&Traits>) -> String {
    let op = |op: &Op| match op {
        Op::Trait { yes, error } => {
            let has =
                |bit: u16| bit != NONE && traits.is_some_and(|traits| traits.contains(usize::from(bit)));
            format!("trait {} {}", has(*yes), has(*error))
        }
        Op::Window(at) => format!("{:?}", rules.windows.get(usize::from(*at))),
        Op::Matches { of, automaton } => {
            let pattern = rules.automata.get(usize::from(*automaton)).map(|automaton| &automaton.pattern);
            format!("{of:?} matches {pattern:?}")
        }
        other => format!("{other:?}"),
    };
    let ops: Vec<String> = condition.ops.iter().map(op).collect();
    format!("{:?} {ops:?}", condition.reads)
}
