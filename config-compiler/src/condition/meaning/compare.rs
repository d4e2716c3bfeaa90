//! Two things compared, and texts that are looked at: what can never be of one type is a mistake here.

use std::ops::Range;

use cel::common::ast::{IdedExpr, operators};
use strait_table::condition::{Comparison, TextTest};

use super::{Read, Reader, Term, moments::address};
use crate::{
    condition::{
        Wrong, regex,
        tree::{Asks, Root, Tree, Value, turned},
    },
    diagnostic::codes,
};

/// A type as far as it is known at the desk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Any,
    Text,
    Number,
    Bool,
    Null,
}

impl Reader<'_, '_> {
    pub(super) fn comparison(
        &mut self,
        left: &IdedExpr,
        by: Comparison,
        right: &IdedExpr,
        at: Range<usize>,
    ) -> Read<Term> {
        let (one, other) = (self.term(left)?, self.term(right)?);
        let asks = match (one, other) {
            (Term::Value(one), Term::Value(other)) => return self.values(one, by, other, at),
            // A truth compared with a truth.
            (Term::Value(value @ Value::Path(_)), Term::Tree(Tree::Const(constant)))
            | (Term::Tree(Tree::Const(constant)), Term::Value(value @ Value::Path(_))) => {
                if !matches!(by, Comparison::Equal | Comparison::NotEqual) {
                    return self.mistyped(at, "true and false have no order", "write `==`");
                }
                Asks::Compare { left: value, by, right: Value::Bool(constant) }
            }
            (Term::TypeOf(of), Term::Type(bits)) | (Term::Type(bits), Term::TypeOf(of)) => {
                let tree = Tree::ask(Asks::IsType { of, types: bits }, at.clone());
                return match by {
                    Comparison::Equal => Ok(Term::Tree(tree)),
                    Comparison::NotEqual => Ok(Term::Tree(tree.negated())),
                    _ => self.mistyped(at, "types have no order", "write `==`"),
                };
            }
            (Term::Now, Term::Moment(second, past)) => return self.window(by, second, past, at),
            (Term::Moment(second, past), Term::Now) => return self.window(turned(by), second, past, at),
            (Term::Ip, Term::Value(Value::Text(text))) | (Term::Value(Value::Text(text)), Term::Ip) => {
                let Some(network) = address(&text) else {
                    return self.mistyped(
                        at,
                        format!("`{text}` is not an address"),
                        "write `request.ip == \"10.0.0.7\"`",
                    );
                };
                let tree = Tree::ask(Asks::Network(vec![network]), at.clone());
                return match by {
                    Comparison::Equal => Ok(Term::Tree(tree)),
                    Comparison::NotEqual => Ok(Term::Tree(tree.negated())),
                    _ => self.mistyped(
                        at,
                        "addresses have no order",
                        "write `cidr(\"10.0.0.0/8\").containsIP(request.ip)`",
                    ),
                };
            }
            (Term::Groups | Term::Roles, _) | (_, Term::Groups | Term::Roles) => {
                return self.mistyped(
                    at,
                    "a list is never one text",
                    "write `\"support\" in principal.groups`",
                );
            }
            _ => {
                let help = "compare arguments, facts of the principal and the call, and constants";
                return self.mistyped(at, "these two cannot be compared", help);
            }
        };
        Ok(Term::Tree(Tree::ask(asks, at)))
    }

    pub(super) fn values(&self, left: Value, by: Comparison, right: Value, at: Range<usize>) -> Read<Term> {
        let (one, other) = (kind(&left), kind(&right));
        let ordered = !matches!(by, Comparison::Equal | Comparison::NotEqual);
        match (one, other) {
            (Kind::Null, Kind::Any) | (Kind::Any, Kind::Null) if !ordered => {}
            (Kind::Bool | Kind::Null, _) | (_, Kind::Bool | Kind::Null) if ordered => {
                return self.mistyped(at, "true, false and null have no order", "write `==`");
            }
            (one, other) if one == other || one == Kind::Any || other == Kind::Any => {}
            (one, other) => {
                let message = format!("{} is never {}", said(one), said(other));
                return self.mistyped(at, message, "compare things of one type");
            }
        }
        if left.is_constant() && right.is_constant() {
            return self.subset(at, "both sides are constants", "write `true` or `false`");
        }
        for value in [&left, &right] {
            self.not_whole(value, &at)?;
        }
        Ok(Term::Tree(Tree::ask(Asks::Compare { left, by, right }, at)))
    }

    /// `args` and `principal.claims` are objects: only their fields are compared.
    pub(super) fn not_whole(&self, value: &Value, at: &Range<usize>) -> Read<()> {
        match value {
            Value::Path(path) if path.keys.is_empty() && path.from != Root::Element => {
                let name = path.written();
                self.mistyped(
                    at.clone(),
                    format!("`{name}` is an object"),
                    format!("compare a field of it: `{name}.amount`"),
                )
            }
            _ => Ok(()),
        }
    }

    pub(super) fn matches(&mut self, of: &IdedExpr, pattern: &IdedExpr, at: Range<usize>) -> Read<Term> {
        let pattern_at = self.place(pattern);
        let (of, pattern) = (self.term(of)?, self.term(pattern)?);
        let Term::Value(Value::Text(pattern)) = pattern else {
            return self.subset(
                pattern_at,
                "only a text in quotes can be a regular expression",
                "write `args.id.matches(\"^[A-Z]{3}$\")`",
            );
        };
        let Term::Value(of) = of else {
            return self.mistyped(at, "only texts are matched", "write `args.id.matches(\"^[A-Z]{3}$\")`");
        };
        self.is_text(&of, &at)?;
        match self.shared.automaton(&pattern, regex::automaton) {
            Ok(automaton) => Ok(Term::Tree(Tree::ask(Asks::Matches { of, automaton }, at))),
            Err(why) => Err(Wrong::new(
                &codes::CONDITION_REGEX,
                format!("this regular expression cannot be used: {why}"),
                "write a simpler one, or `startsWith`, `endsWith` and `contains`",
                pattern_at,
            )),
        }
    }

    pub(super) fn text_test(
        &mut self,
        test: TextTest,
        of: &IdedExpr,
        text: &IdedExpr,
        at: Range<usize>,
    ) -> Read<Term> {
        let (of, text) = (self.term(of)?, self.term(text)?);
        match (of, text) {
            (Term::Value(of), Term::Value(text)) => {
                self.is_text(&of, &at)?;
                self.is_text(&text, &at)?;
                Ok(Term::Tree(Tree::ask(Asks::Text { of, test, text }, at)))
            }
            (Term::Ip, _) => self.subset(
                at,
                "an address is not looked at letter by letter",
                "write `cidr(\"10.0.0.0/8\").containsIP(request.ip)`",
            ),
            (Term::Groups | Term::Roles, _) => self.mistyped(
                at,
                "this is a list",
                "write `principal.groups.exists(g, g.startsWith(\"eu-\"))`",
            ),
            _ => self.mistyped(
                at,
                "only texts begin, end and contain",
                "write `args.path.startsWith(\"/srv/\")`",
            ),
        }
    }

    pub(super) fn is_text(&self, value: &Value, at: &Range<usize>) -> Read<()> {
        self.not_whole(value, at)?;
        match kind(value) {
            Kind::Text | Kind::Any => Ok(()),
            other => self.mistyped(
                at.clone(),
                format!("expected a text, found {}", said(other)),
                "put it in quotes",
            ),
        }
    }
}

pub(super) fn kind(value: &Value) -> Kind {
    match value {
        Value::Path(_) => Kind::Any,
        Value::Size(_) | Value::Number(_) => Kind::Number,
        Value::Principal(_) | Value::Call(_) | Value::Header(_) | Value::Text(_) => Kind::Text,
        Value::Bool(_) => Kind::Bool,
        Value::Null => Kind::Null,
    }
}

pub(super) fn said(kind: Kind) -> &'static str {
    match kind {
        Kind::Any => "something",
        Kind::Text => "a text",
        Kind::Number => "a number",
        Kind::Bool => "true or false",
        Kind::Null => "null",
    }
}

pub(super) fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::More,
        operators::GREATER_EQUALS => Comparison::MoreOrEqual,
        _ => return None,
    })
}
