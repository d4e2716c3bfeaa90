//! Sets: `contains`, `containsAll`, `containsAny`, `isEmpty`. A list of an argument is the set of its elements.

use std::ops::Range;

use strait_table::condition::{Comparison, Number, Quantifier, types};

use super::{Both, Read, Reader, Term, compare::number};
use crate::{
    cedar::tree::Expr,
    condition::tree::{Asks, Path, Root, Tree, Value},
};

const HELP: &str = "write `[\"USD\", \"EUR\"].contains(context.args.currency)`";

impl Reader<'_> {
    pub(super) fn method(
        &mut self,
        of: &Expr,
        name: &str,
        arguments: &[Expr],
        at: &Range<usize>,
    ) -> Read<Term> {
        let of = self.term(of)?;
        let mut terms = Vec::with_capacity(arguments.len());
        for argument in arguments {
            terms.push(self.term(argument)?);
        }
        let mut terms = terms.into_iter();
        let both = match (name, terms.next(), terms.next()) {
            ("contains", Some(item), None) => self.contains(of, item, at)?,
            ("containsAll", Some(items), None) => self.contains_each(of, items, true, at)?,
            ("containsAny", Some(items), None) => self.contains_each(of, items, false, at)?,
            ("isEmpty", None, None) => self.is_empty(of, at)?,
            (name, argument, None) => self.of_address(of, name, argument, at)?,
            _ => return self.subset(at, format!("`{name}` has other arguments"), HELP),
        };
        Ok(Term::Truth(both))
    }

    fn contains(&mut self, of: Term, item: Term, at: &Range<usize>) -> Read<Both> {
        match (of, item) {
            // As often as they are equal.
            (Term::Set(items), item) => self.one_of(items, item, at),
            (Term::Groups, Term::Text(text)) => Ok(self.certain(Asks::InGroups(Value::Text(text)), at)),
            (Term::Groups, Term::Fact(fact)) => Ok(self.certain(Asks::InGroups(fact), at)),
            (Term::Groups, Term::Path(path)) if !path.keys.is_empty() => {
                let asks = Asks::InGroups(Value::Path(path.clone()));
                Ok(self.if_type(&path, types::TEXT, asks, at))
            }
            (Term::Roles, Term::Text(name)) => {
                let role = self.role(&name, at)?;
                Ok(self.question(Asks::Role(role), at))
            }
            (Term::Path(list), item) if !list.keys.is_empty() => self.holds(list, item, at),
            (of, item) => {
                let message = format!("whether {} holds {} is not asked", of.said(), item.said());
                self.subset(at, message, HELP)
            }
        }
    }

    /// Of a set that is written out.
    fn one_of(&mut self, items: Vec<(Term, Range<usize>)>, item: Term, at: &Range<usize>) -> Read<Both> {
        let of = match item {
            Term::Path(path) if !path.keys.is_empty() => {
                return Ok(self.leaf(self.listed(&path, items, at)?));
            }
            Term::Fact(fact) => fact,
            Term::Header(name) => Value::Header(name),
            other => {
                let message = format!("{} is not looked for in a set", other.said());
                return self.subset(at, message, HELP);
            }
        };
        let mut texts = Vec::new();
        for (item, at) in items {
            match item {
                Term::Text(text) => texts.push(text),
                other => {
                    let message = format!("a text is never {}", other.said());
                    return self.mistyped(&at, message, "list texts");
                }
            }
        }
        let is_header = matches!(of, Value::Header(_));
        let asks = one_of(of, texts, Vec::new());
        let Some(asks) = asks else {
            return self.subset(at, "this set is empty", "write `false`");
        };
        Ok(if is_header { self.question(asks, at) } else { self.certain(asks, at) })
    }

    /// Whether a value is one of those that are listed.
    fn listed(&self, path: &Path, items: Vec<(Term, Range<usize>)>, at: &Range<usize>) -> Read<Tree> {
        let (mut texts, mut numbers, mut truths) = (Vec::new(), Vec::new(), Vec::new());
        for (item, at) in items {
            match item {
                Term::Text(text) => texts.push(text),
                Term::Long(value) => numbers.push(Number(value.to_string())),
                Term::Truth(Both { yes: Tree::Const(value), .. }) => truths.push(value),
                other => {
                    let message = format!("{} cannot be listed", other.said());
                    return self.subset(&at, message, "list texts and numbers");
                }
            }
        }
        let value = || Value::Path(path.clone());
        let mut parts = Vec::new();
        let mut of = |bits, asks: Option<Asks>| {
            let Some(asks) = asks else { return };
            parts.push(Tree::and([self.is_type(path, bits, at), self.ask(asks, at)]));
        };
        of(types::TEXT, one_of(value(), texts, Vec::new()));
        of(types::INTEGER, one_of(value(), Vec::new(), numbers));
        for truth in truths {
            let right = Value::Bool(truth);
            of(types::BOOL, Some(Asks::Compare { left: value(), by: Comparison::Equal, right }));
        }
        match parts.is_empty() {
            true => self.subset(at, "this set is empty", "write `false`"),
            false => Ok(Tree::or(parts)),
        }
    }

    /// Whether a list of an argument holds something.
    fn holds(&mut self, list: Path, item: Term, at: &Range<usize>) -> Read<Both> {
        let holds = |item| Asks::Holds { list: list.clone(), item };
        match item {
            Term::Text(text) => Ok(self.question(holds(Value::Text(text)), at)),
            Term::Fact(fact) => Ok(self.question(holds(fact), at)),
            Term::Truth(Both { yes: Tree::Const(value), .. }) => {
                Ok(self.question(holds(Value::Bool(value)), at))
            }
            // `5.0` is no number of Cedar's.
            Term::Long(value) => {
                let element = Path { from: Root::Element, keys: Vec::new() };
                let asks = Asks::Compare {
                    left: Value::Path(element.clone()),
                    by: Comparison::Equal,
                    right: number(value),
                };
                let body = Tree::and([self.is_type(&element, types::INTEGER, at), self.ask(asks, at)]);
                Ok(self.leaf(self.each(list, Quantifier::Exists, body, at)))
            }
            other => {
                let message = format!("whether a list holds {} is not asked", other.said());
                self.subset(at, message, "look for a text or a number")
            }
        }
    }

    fn each(&self, list: Path, quantifier: Quantifier, body: Tree, at: &Range<usize>) -> Tree {
        Tree::Each { list, quantifier, body: Box::new(body), at: self.place(at) }
    }

    fn contains_each(&mut self, of: Term, items: Term, every: bool, at: &Range<usize>) -> Read<Both> {
        match (of, items) {
            (Term::Set(items), Term::Path(list)) if !list.keys.is_empty() => {
                let element = Path { from: Root::Element, keys: Vec::new() };
                let body = self.listed(&element, items, at)?;
                let quantifier = if every { Quantifier::All } else { Quantifier::Exists };
                Ok(self.leaf(self.each(list, quantifier, body, at)))
            }
            (Term::Groups, Term::Set(items)) => {
                let mut parts = Vec::new();
                for (item, at) in items {
                    parts.push(self.contains(Term::Groups, item, &at)?);
                }
                self.joined(parts, every, at)
            }
            (Term::Roles, Term::Set(items)) => {
                let mut parts = Vec::new();
                for (item, at) in items {
                    parts.push(self.contains(Term::Roles, item, &at)?);
                }
                self.joined(parts, every, at)
            }
            (Term::Path(list), Term::Set(items)) if !list.keys.is_empty() => {
                let mut parts = Vec::new();
                for (item, at) in items {
                    parts.push(self.contains(Term::Path(list.clone()), item, &at)?);
                }
                self.joined(parts, every, at)
            }
            (of, items) => {
                let message = format!("{} and {} are not compared as sets", of.said(), items.said());
                self.subset(at, message, "write `context.args.tags.containsAny([\"a\", \"b\"])`")
            }
        }
    }

    /// A set that holds nothing would be in every other, also in what is no set.
    fn joined(&self, parts: Vec<Both>, every: bool, at: &Range<usize>) -> Read<Both> {
        match (parts.is_empty(), every) {
            (true, _) => self.subset(at, "this set is empty", "write `true` or `false`"),
            (false, true) => self.all(parts, at),
            (false, false) => self.any(parts, at),
        }
    }

    fn is_empty(&mut self, of: Term, at: &Range<usize>) -> Read<Both> {
        match of {
            Term::Path(path) if !path.keys.is_empty() => {
                let asks = Asks::Compare {
                    left: Value::Size(path.clone()),
                    by: Comparison::Equal,
                    right: number(0),
                };
                Ok(self.of_type(&path, types::LIST, asks, at))
            }
            other => {
                let message = format!("whether {} is empty is not asked", other.said());
                self.subset(at, message, "ask it of a list: `context.args.tags.isEmpty()`")
            }
        }
    }
}

/// None: nothing is listed.
fn one_of(of: Value, mut texts: Vec<String>, numbers: Vec<Number>) -> Option<Asks> {
    texts.sort_unstable();
    texts.dedup();
    (!texts.is_empty() || !numbers.is_empty()).then_some(Asks::In { of, texts, numbers })
}
