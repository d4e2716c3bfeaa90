//! Lists: what is in one, and what is true of its elements.

use std::ops::Range;

use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, operators};
use strait_table::condition::{Quantifier, TextTest};

use super::{
    Read, Reader, Term,
    compare::{Kind, kind},
    moments::address,
};
use crate::{
    condition::{
        Wrong,
        tree::{Asks, Path, Root, Tree, Value},
    },
    diagnostic::codes,
};

impl Reader<'_, '_> {
    pub(super) fn membership(&mut self, item: &IdedExpr, list: &IdedExpr, at: Range<usize>) -> Read<Term> {
        let (item, list) = (self.term(item)?, self.term(list)?);
        if matches!(&list, Term::List(items) if items.is_empty()) {
            let help = "list what is meant, or leave the question out";
            return Err(Wrong::new(&codes::EMPTY_CONDITION, "nothing is in an empty list", help, at));
        }
        let tree = match (item, list) {
            (Term::TypeOf(of), Term::List(items)) => {
                let mut bits = 0;
                for item in items {
                    match item {
                        Term::Type(bit) => bits |= bit,
                        _ => {
                            return self.mistyped(
                                at,
                                "a list of types holds types",
                                "write `type(args.x) in [int, double]`",
                            );
                        }
                    }
                }
                Tree::ask(Asks::IsType { of, types: bits }, at)
            }
            (Term::Value(of), Term::List(items)) => return self.one_of(of, items, at),
            (Term::Ip, Term::List(items)) => {
                let mut networks = Vec::new();
                for item in items {
                    match item {
                        Term::Value(Value::Text(text)) => match address(&text) {
                            Some(one) => networks.push(one),
                            None => {
                                return self.mistyped(
                                    at,
                                    format!("`{text}` is not an address"),
                                    "networks are asked by `cidr(\"10.0.0.0/8\").containsIP(request.ip)`",
                                );
                            }
                        },
                        _ => {
                            return self.mistyped(
                                at,
                                "a list of addresses holds texts",
                                "write `request.ip in [\"10.0.0.7\"]`",
                            );
                        }
                    }
                }
                Tree::ask(Asks::Network(networks), at)
            }
            (Term::Value(of), Term::Groups) => match kind(&of) {
                Kind::Text | Kind::Any => {
                    self.not_whole(&of, &at)?;
                    Tree::ask(Asks::InGroups(of), at)
                }
                _ => return self.mistyped(at, "groups are texts", "write `\"support\" in principal.groups`"),
            },
            (Term::Value(Value::Text(role)), Term::Roles) => self.role(&role, at)?,
            (Term::Value(_), Term::Roles) => {
                return self.subset(
                    at,
                    "only a role that is named is looked for",
                    "write `\"admin\" in principal.roles`",
                );
            }
            (Term::Value(Value::Text(name)), Term::Headers) => {
                Tree::ask(Asks::HasHeader(name.to_ascii_lowercase()), at)
            }
            (Term::Value(item), Term::Value(Value::Path(list))) => {
                // In an object, CEL looks for a key.
                if list.keys.is_empty() && list.from != Root::Element {
                    let Value::Text(key) = item else {
                        return self.mistyped(
                            at,
                            "the keys of an object are texts",
                            "write `\"amount\" in args`",
                        );
                    };
                    Tree::ask(Asks::Has(Path { from: list.from, keys: vec![key] }), at)
                } else {
                    Tree::ask(Asks::Holds { list, item }, at)
                }
            }
            _ => {
                return self.mistyped(
                    at,
                    "`in` wants a list on its right",
                    "write `args.currency in [\"USD\", \"EUR\"]`",
                );
            }
        };
        Ok(Term::Tree(tree))
    }

    pub(super) fn one_of(&self, of: Value, items: Vec<Term>, at: Range<usize>) -> Read<Term> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Term::Value(Value::Text(text)) => texts.push(text),
                Term::Value(Value::Number(number)) => numbers.push(number),
                _ => {
                    return self.subset(
                        at,
                        "a list may hold texts and numbers",
                        "join other questions by `||`",
                    );
                }
            }
        }
        self.not_whole(&of, &at)?;
        match kind(&of) {
            Kind::Text if !numbers.is_empty() => {
                return self.mistyped(at, "a text is never a number", "list texts");
            }
            Kind::Number if !texts.is_empty() => {
                return self.mistyped(at, "a number is never a text", "list numbers");
            }
            Kind::Bool | Kind::Null => {
                return self.subset(at, "this is never in a list of texts or numbers", "compare it");
            }
            _ => {}
        }
        texts.sort_unstable();
        texts.dedup();
        Ok(Term::Tree(Tree::ask(Asks::In { of, texts, numbers }, at)))
    }

    pub(super) fn role(&self, name: &str, at: Range<usize>) -> Read<Tree> {
        match (self.roles)(name) {
            Ok(role) => Ok(Tree::ask(Asks::Role(role), at)),
            Err(meant) => {
                let help = match meant {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "roles are declared under `roles`".to_owned(),
                };
                Err(Wrong::new(&codes::UNKNOWN_ROLE, format!("unknown role `{name}`"), help, at))
            }
        }
    }

    /// `list.all(x, …)`, `list.exists(x, …)`, `list.exists_one(x, …)`.
    pub(super) fn each(&mut self, node: &IdedExpr, each: &ComprehensionExpr) -> Read<Term> {
        let at = self.place(node);
        let (quantifier, body) = match quantified(each) {
            Some(found) if each.iter_var2.is_none() => found,
            _ => {
                return self.subset(
                    at,
                    "lists are not made in a condition",
                    "write `all`, `exists` or `exists_one`",
                );
            }
        };
        let variable = each.iter_var.clone();
        match self.term(&each.iter_range)? {
            Term::Value(Value::Path(list)) => {
                if list.from == Root::Element || self.variables.iter().any(|(_, term)| matches!(term, Term::Value(Value::Path(path)) if path.from == Root::Element)) {
                    return self.subset(at, "a quantifier stands in another", "ask for the inner list in a rule of its own, or pass it as an argument of its own");
                }
                if list.keys.is_empty() {
                    return self.mistyped(
                        at,
                        format!("`{}` is an object", list.written()),
                        "quantifiers look at lists",
                    );
                }
                let element = Term::Value(Value::Path(Path { from: Root::Element, keys: Vec::new() }));
                let body = self.with(variable, element, body)?;
                Ok(Term::Tree(Tree::Each { list, quantifier, body: Box::new(body), at }))
            }
            // A list that is written out is joined here.
            Term::List(items) => {
                let bodies: Read<Vec<Tree>> =
                    items.into_iter().map(|item| self.with(variable.clone(), item, body)).collect();
                match quantifier {
                    Quantifier::All => Ok(Term::Tree(Tree::and(bodies?))),
                    Quantifier::Exists => Ok(Term::Tree(Tree::or(bodies?))),
                    Quantifier::ExistsOne => {
                        self.subset(at, "`exists_one` looks at arguments and claims", "write `exists`")
                    }
                }
            }
            list @ (Term::Groups | Term::Roles) => match quantifier {
                Quantifier::Exists => self.any_of(&list, &variable, body, at),
                _ => self.subset(
                    at,
                    "groups and roles are asked for one by one",
                    "write `\"a\" in principal.groups && \"b\" in principal.groups`",
                ),
            },
            _ => self.mistyped(at, "quantifiers look at lists", "write `args.items.all(i, i.price < 5)`"),
        }
    }

    pub(super) fn with(&mut self, variable: String, term: Term, body: &IdedExpr) -> Read<Tree> {
        self.variables.push((variable, term));
        let tree = self.truth(body);
        self.variables.pop();
        tree
    }

    /// The body of `principal.groups.exists(g, …)` and of roles: comparisons of the one name, joined by `||`.
    pub(super) fn any_of(
        &mut self,
        list: &Term,
        variable: &str,
        body: &IdedExpr,
        at: Range<usize>,
    ) -> Read<Term> {
        let here = self.place(body);
        let is_variable = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if name == variable);
        let Expr::Call(call) = &body.expr else { return self.any_of_what(here) };
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_OR, None, [left, right]) => {
                let (left, right) =
                    (self.any_of(list, variable, left, at.clone())?, self.any_of(list, variable, right, at)?);
                match (left, right) {
                    (Term::Tree(left), Term::Tree(right)) => Ok(Term::Tree(Tree::or([left, right]))),
                    _ => self.any_of_what(here),
                }
            }
            (operators::EQUALS, None, [one, other]) if is_variable(one) || is_variable(other) => {
                let other = if is_variable(one) { other } else { one };
                let item = self.term(other)?;
                self.one_named(list, item, here)
            }
            (operators::IN, None, [item, names]) if is_variable(item) => match self.term(names)? {
                Term::List(items) => {
                    let trees: Read<Vec<Tree>> = items
                        .into_iter()
                        .map(|item| match self.one_named(list, item, here.clone())? {
                            Term::Tree(tree) => Ok(tree),
                            _ => self.any_of_what(here.clone()),
                        })
                        .collect();
                    Ok(Term::Tree(Tree::or(trees?)))
                }
                _ => self.any_of_what(here),
            },
            (name @ ("startsWith" | "endsWith" | "contains"), Some(target), [text])
                if is_variable(target) && matches!(list, Term::Groups) =>
            {
                match self.term(text)? {
                    Term::Value(Value::Text(text)) => {
                        let test = match name {
                            "startsWith" => TextTest::StartsWith,
                            "endsWith" => TextTest::EndsWith,
                            _ => TextTest::Contains,
                        };
                        Ok(Term::Tree(Tree::ask(Asks::AnyGroup { test, text }, here)))
                    }
                    _ => self.any_of_what(here),
                }
            }
            _ => self.any_of_what(here),
        }
    }

    pub(super) fn any_of_what<T>(&self, at: Range<usize>) -> Read<T> {
        let help =
            "write `principal.groups.exists(g, g == \"a\" || g in [\"b\", \"c\"] || g.startsWith(\"eu-\"))`";
        self.subset(at, "this cannot be asked of each group or role", help)
    }

    pub(super) fn one_named(&self, list: &Term, item: Term, at: Range<usize>) -> Read<Term> {
        match (list, item) {
            (Term::Groups, Term::Value(value)) if matches!(kind(&value), Kind::Text | Kind::Any) => {
                Ok(Term::Tree(Tree::ask(Asks::InGroups(value), at)))
            }
            (Term::Roles, Term::Value(Value::Text(role))) => Ok(Term::Tree(self.role(&role, at)?)),
            _ => self.any_of_what(at),
        }
    }
}

/// Which macro made this, and what it asks of each element.
pub(super) fn quantified(each: &ComprehensionExpr) -> Option<(Quantifier, &IdedExpr)> {
    let Expr::Call(step) = &each.loop_step.expr else { return None };
    match (step.func_name.as_str(), step.args.as_slice()) {
        (operators::LOGICAL_AND, [_, body]) => Some((Quantifier::All, body)),
        (operators::LOGICAL_OR, [_, body]) => Some((Quantifier::Exists, body)),
        (operators::CONDITIONAL, [body, ..]) if matches!(&each.result.expr, Expr::Call(_)) => {
            Some((Quantifier::ExistsOne, body))
        }
        _ => None,
    }
}
