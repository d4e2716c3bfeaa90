//! What a policy's `when` and `unless` mean here: Cedar's truth as two trees of questions.
//!
//! A tree of ours has CEL's logic, where a false beside an error decides; Cedar settles the left side first. Two trees that are
//! only ever joined, never negated, need no such order: each is true exactly where Cedar comes to true, or to false.

mod compare;
mod constants;
mod sets;
mod terms;

use std::ops::Range;

use strait_table::condition::{Comparison, PrincipalFact, types};

use super::{
    scope::{Kinds, TYPES},
    tree::{Expr, Kind},
};
use crate::{
    condition::{
        Shared, Wrong,
        tree::{Asks, Path, Root, Tree, Value},
    },
    diagnostic::codes,
    limits::CEDAR_QUESTIONS_MAX,
    walk::suggest,
};

type Read<T> = Result<T, Wrong>;

/// A truth of Cedar's: where neither is true, it is an error.
#[derive(Clone, Debug)]
pub struct Both {
    /// True exactly where Cedar says true.
    pub yes: Tree,
    /// True exactly where Cedar says false.
    pub no: Tree,
    /// It is never an error.
    certain: bool,
    /// Questions in both.
    size: usize,
}

impl Both {
    fn constant(value: bool) -> Both {
        Both { yes: Tree::Const(value), no: Tree::Const(!value), certain: true, size: 2 }
    }

    pub fn negated(self) -> Both {
        Both { yes: self.no, no: self.yes, ..self }
    }
}

use constants::Addresses;

/// What else is declared, by name.
pub struct Declared<'d> {
    /// The number of a role, or the name that was probably meant.
    pub roles: &'d dyn Fn(&str) -> Result<u16, Option<String>>,
    pub upstreams: Vec<&'d str>,
    pub servers: Vec<&'d str>,
}

/// Something that is asked about, before it is part of a question.
pub(super) enum Term {
    Truth(Both),
    Long(i64),
    Text(String),
    /// A text that is always there.
    Fact(Value),
    /// JSON: arguments and claims.
    Path(Path),
    Header(String),
    Ip,
    Now,
    Addresses(Addresses),
    /// Milliseconds of Unix time.
    Moment(i64),
    Entity(String, String),
    Principal,
    Action,
    Resource,
    Context,
    Headers,
    Groups,
    Roles,
    Set(Vec<(Term, Range<usize>)>),
}

pub struct Reader<'r> {
    pub declared: &'r Declared<'r>,
    pub shared: &'r mut Shared,
    /// Where the policy begins: questions have their places in it.
    pub base: usize,
    pub kinds: Kinds,
    pub roles_used: Vec<u16>,
}

impl Reader<'_> {
    pub(super) fn place(&self, at: &Range<usize>) -> Range<usize> {
        at.start.saturating_sub(self.base)..at.end.saturating_sub(self.base)
    }

    /// A question that is never an error.
    pub(super) fn certain(&self, asks: Asks, at: &Range<usize>) -> Both {
        Both { certain: true, ..self.leaf(Tree::ask(asks, self.place(at))) }
    }

    /// A question that is an error exactly where Cedar has one.
    fn question(&self, asks: Asks, at: &Range<usize>) -> Both {
        self.leaf(Tree::ask(asks, self.place(at)))
    }

    fn leaf(&self, tree: Tree) -> Both {
        let mut size = 0;
        tree.questions(&mut |_| size += 1);
        Both { yes: tree.clone(), no: tree.negated(), certain: false, size: size * 2 }
    }

    fn ask(&self, asks: Asks, at: &Range<usize>) -> Tree {
        Tree::ask(asks, self.place(at))
    }

    fn is_type(&self, path: &Path, bits: u8, at: &Range<usize>) -> Tree {
        self.ask(Asks::IsType { of: Value::Path(path.clone()), types: bits }, at)
    }

    /// Of a value that must be of a type to be asked at all, and is an error otherwise.
    fn of_type(&self, path: &Path, bits: u8, then: Asks, at: &Range<usize>) -> Both {
        let is = self.is_type(path, bits, at);
        let asks = self.ask(then, at);
        let yes = Tree::and([is.clone(), asks.clone()]);
        Both { yes, no: Tree::and([is, asks.negated()]), certain: false, size: 4 }
    }

    /// A value that equals nothing of another type.
    fn if_type(&self, path: &Path, bits: u8, then: Asks, at: &Range<usize>) -> Both {
        self.leaf(Tree::and([self.is_type(path, bits, at), self.ask(then, at)]))
    }

    /// Cedar's `&&`: what stands on the left is settled first.
    pub fn all(&self, parts: Vec<Both>, at: &Range<usize>) -> Read<Both> {
        let mut parts = parts.into_iter().rev();
        let Some(mut all) = parts.next() else { return Ok(Both::constant(true)) };
        for left in parts {
            let Both { yes, no, certain, size } = all;
            let size = left.size * 2 + size;
            let no = match left.certain {
                // What cannot be an error needs no order.
                true => Tree::or([left.no, no]),
                false => Tree::or([left.no, Tree::and([left.yes.clone(), no])]),
            };
            all = Both { yes: Tree::and([left.yes, yes]), no, certain: left.certain && certain, size };
            self.bounded(&all, at)?;
        }
        Ok(all)
    }

    fn any(&self, parts: Vec<Both>, at: &Range<usize>) -> Read<Both> {
        let parts = parts.into_iter().map(Both::negated).collect();
        Ok(self.all(parts, at)?.negated())
    }

    fn bounded(&self, both: &Both, at: &Range<usize>) -> Read<()> {
        if both.size <= CEDAR_QUESTIONS_MAX {
            return Ok(());
        }
        let message = format!("this comes to more than {CEDAR_QUESTIONS_MAX} questions");
        Err(Wrong::new(&codes::CEDAR_LIMIT, message, "split the policy into several", at.clone()))
    }

    fn wrong<T>(
        &self,
        code: &'static crate::diagnostic::Code,
        at: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Read<T> {
        Err(Wrong::new(code, message, help, at.clone()))
    }

    fn subset<T>(&self, at: &Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Read<T> {
        self.wrong(&codes::CEDAR_SUBSET, at, message, help)
    }

    fn mistyped<T>(&self, at: &Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Read<T> {
        self.wrong(&codes::CEDAR_TYPE, at, message, help)
    }

    /// An expression that is true or false.
    pub fn truth(&mut self, of: &Expr) -> Read<Both> {
        match &of.kind {
            Kind::And(parts) => {
                let parts = self.truths(parts)?;
                self.all(parts, &of.at)
            }
            Kind::Or(parts) => {
                let parts = self.truths(parts)?;
                self.any(parts, &of.at)
            }
            Kind::Not(inner) => Ok(self.truth(inner)?.negated()),
            Kind::If(parts) => {
                let [asked, then, otherwise] = parts.as_ref();
                let (asked, then, otherwise) =
                    (self.truth(asked)?, self.truth(then)?, self.truth(otherwise)?);
                self.choose(asked, then, otherwise, &of.at)
            }
            _ => {
                let term = self.term(of)?;
                self.as_truth(term, &of.at)
            }
        }
    }

    pub(super) fn choose(&self, asked: Both, then: Both, otherwise: Both, at: &Range<usize>) -> Read<Both> {
        let size = asked.size * 2 + then.size + otherwise.size;
        let certain = asked.certain && then.certain && otherwise.certain;
        let choose = |one: Tree, other: Tree| {
            Tree::or([Tree::and([asked.yes.clone(), one]), Tree::and([asked.no.clone(), other])])
        };
        let (yes, no) = (choose(then.yes, otherwise.yes), choose(then.no, otherwise.no));
        let both = Both { yes, no, certain, size };
        self.bounded(&both, at)?;
        Ok(both)
    }

    fn truths(&mut self, parts: &[Expr]) -> Read<Vec<Both>> {
        parts.iter().map(|part| self.truth(part)).collect()
    }

    fn as_truth(&self, term: Term, at: &Range<usize>) -> Read<Both> {
        match term {
            Term::Truth(both) => Ok(both),
            Term::Path(path) if !path.keys.is_empty() => {
                let equals = |value| Asks::Compare {
                    left: Value::Path(path.clone()),
                    by: Comparison::Equal,
                    right: Value::Bool(value),
                };
                let is = self.is_type(&path, types::BOOL, at);
                let yes = Tree::and([is.clone(), self.ask(equals(true), at)]);
                let no = Tree::and([is, self.ask(equals(false), at)]);
                Ok(Both { yes, no, certain: false, size: 4 })
            }
            other => {
                let message = format!("{} is neither true nor false", other.said());
                self.mistyped(at, message, "compare it: `context.args.currency == \"EUR\"`")
            }
        }
    }

    /// The number of a role.
    pub fn role(&mut self, name: &str, at: &Range<usize>) -> Read<u16> {
        match (self.declared.roles)(name) {
            Ok(role) => {
                self.roles_used.push(role);
                Ok(role)
            }
            Err(meant) => {
                let help = match meant {
                    Some(meant) => format!("did you mean `Role::\"{meant}\"`?"),
                    None => "declare it under `roles`, or ask for a `Group`".to_owned(),
                };
                self.wrong(&codes::UNKNOWN_ROLE, at, format!("no role `{name}` is declared"), help)
            }
        }
    }

    pub fn is_principal(&self, name: &str, at: &Range<usize>) -> Read<()> {
        if name == "Principal" {
            return Ok(());
        }
        let help = "whoever calls is a `Principal`; groups, roles, users, agents and tenants are asked for by `principal in`";
        self.mistyped(at, format!("a principal is never a `{name}`"), help)
    }

    pub fn no_action_type(&self, at: &Range<usize>) -> Wrong {
        let help = "write `action == Action::\"call_tool\"`";
        Wrong::new(&codes::CEDAR_SUBSET, "every action is an `Action`", help, at.clone())
    }

    /// The kind of things that an action is for.
    pub fn action(&self, of: &Expr) -> Read<Kinds> {
        const HELP: &str =
            "there are `Action::\"call_tool\"`, `Action::\"get_prompt\"` and `Action::\"read_resource\"`";
        let Some((kind, id)) = entity(of) else {
            return self.subset(&of.at, "only actions can stand here", HELP);
        };
        match TYPES.iter().find(|(_, _, action)| kind == "Action" && id == *action) {
            Some((_, kinds, _)) => Ok(*kinds),
            None => self.wrong(&codes::CEDAR_NAME, &of.at, format!("there is no `{kind}::\"{id}\"`"), HELP),
        }
    }

    /// The kind of things that a type of resources is.
    pub fn kind_of(&self, name: &str, at: &Range<usize>) -> Read<Kinds> {
        match TYPES.iter().find(|(known, _, _)| *known == name) {
            Some((_, kinds, _)) => Ok(*kinds),
            None => {
                let help =
                    "resources are a `Tool`, a `Prompt` or a `Resource`, in an `Upstream` and a `Server`";
                self.wrong(&codes::CEDAR_NAME, at, format!("a resource is never a `{name}`"), help)
            }
        }
    }

    /// `upstream.name`, taken apart.
    pub fn item<'i>(&self, kind: &str, id: &'i str, at: &Range<usize>) -> Read<(&'i str, &'i str)> {
        match id.split_once('.') {
            Some((upstream, name)) if !upstream.is_empty() && !name.is_empty() => Ok((upstream, name)),
            _ => {
                let message = format!("`{id}` names no upstream");
                self.wrong(&codes::CEDAR_NAME, at, message, format!("write `{kind}::\"upstream.{id}\"`"))
            }
        }
    }

    pub fn server(&self, id: &str, at: &Range<usize>) -> Read<String> {
        self.known("server", &self.declared.servers, id, at)
    }

    fn upstream(&self, id: &str, at: &Range<usize>) -> Read<String> {
        self.known("upstream", &self.declared.upstreams, id, at)
    }

    fn known(&self, what: &str, all: &[&str], id: &str, at: &Range<usize>) -> Read<String> {
        if all.contains(&id) {
            return Ok(id.to_owned());
        }
        let help = match suggest::nearest(id, all.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("declared: {}", suggest::listed(all)),
        };
        self.wrong(&codes::CEDAR_NAME, at, format!("no {what} `{id}` is declared"), help)
    }
}

/// An entity, where one is written.
pub fn entity(of: &Expr) -> Option<(&str, &str)> {
    match &of.kind {
        Kind::Entity { of, id } => Some((of, id)),
        _ => None,
    }
}

impl Term {
    /// As it is called in findings.
    fn said(&self) -> &'static str {
        match self {
            Term::Truth(_) => "true or false",
            Term::Long(_) => "a number",
            Term::Text(_) | Term::Fact(_) | Term::Header(_) => "a text",
            Term::Path(path) if path.keys.is_empty() => "a record",
            Term::Path(_) => "an argument or claim",
            Term::Ip | Term::Addresses(_) => "an address",
            Term::Now | Term::Moment(_) => "a moment",
            Term::Entity(..) | Term::Principal | Term::Action | Term::Resource => "an entity",
            Term::Context | Term::Headers => "a record",
            Term::Groups | Term::Roles | Term::Set(_) => "a set",
        }
    }
}

/// The facts of a principal that are texts.
const PRINCIPAL_FACTS: [(&str, PrincipalFact); 4] = [
    ("id", PrincipalFact::Id),
    ("user", PrincipalFact::User),
    ("agent", PrincipalFact::Agent),
    ("tenant", PrincipalFact::Tenant),
];

fn root(from: Root) -> Term {
    Term::Path(Path { from, keys: Vec::new() })
}
