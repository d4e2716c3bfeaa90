//! `==`, `!=`, the order of numbers and moments, and `in`.

use std::ops::Range;

use strait_table::condition::{CallFact, Comparison, Number, PrincipalFact, types};

use super::{Both, Read, Reader, Term};
use crate::{
    cedar::tree::{Expr, Kind},
    condition::{
        during,
        tree::{Asks, Path, Tree, Value, turned},
    },
};

impl Reader<'_> {
    pub(super) fn relation(
        &mut self,
        sign: &str,
        left: &Expr,
        right: &Expr,
        at: &Range<usize>,
    ) -> Read<Both> {
        // What is chosen need not be true or false: each choice is compared by itself.
        if let Kind::If(parts) = &left.kind {
            let [asked, then, otherwise] = parts.as_ref();
            let then = self.relation(sign, then, right, at)?;
            let otherwise = self.relation(sign, otherwise, right, at)?;
            let asked = self.truth(asked)?;
            return self.choose(asked, then, otherwise, at);
        }
        if let Kind::If(parts) = &right.kind {
            let [asked, then, otherwise] = parts.as_ref();
            let then = self.relation(sign, left, then, at)?;
            let otherwise = self.relation(sign, left, otherwise, at)?;
            let asked = self.truth(asked)?;
            return self.choose(asked, then, otherwise, at);
        }
        let (one, other) = (self.term(left)?, self.term(right)?);
        match sign {
            "==" => self.equal(one, other, at),
            "!=" => Ok(self.equal(one, other, at)?.negated()),
            "in" => self.within(one, other, at),
            "<" => self.ordered(one, Comparison::Less, other, at),
            "<=" => self.ordered(one, Comparison::LessOrEqual, other, at),
            ">" => self.ordered(one, Comparison::More, other, at),
            _ => self.ordered(one, Comparison::MoreOrEqual, other, at),
        }
    }

    /// Things of different types are not equal, which is no error.
    pub(super) fn equal(&mut self, one: Term, other: Term, at: &Range<usize>) -> Read<Both> {
        let equal = |left, right| Asks::Compare { left, by: Comparison::Equal, right };
        match (one, other) {
            (Term::Path(path), _) | (_, Term::Path(path)) if path.keys.is_empty() => {
                let name = path.written();
                self.subset(
                    at,
                    "records are not compared",
                    format!("compare an argument: `context.{name}.amount`"),
                )
            }
            (Term::Path(path), Term::Long(value)) | (Term::Long(value), Term::Path(path)) => {
                let asks = equal(Value::Path(path.clone()), number(value));
                Ok(self.if_type(&path, types::INTEGER, asks, at))
            }
            (Term::Path(path), Term::Text(text)) | (Term::Text(text), Term::Path(path)) => {
                let asks = equal(Value::Path(path.clone()), Value::Text(text));
                Ok(self.if_type(&path, types::TEXT, asks, at))
            }
            (Term::Path(path), Term::Fact(fact)) | (Term::Fact(fact), Term::Path(path)) => {
                let asks = equal(Value::Path(path.clone()), fact);
                Ok(self.if_type(&path, types::TEXT, asks, at))
            }
            (Term::Path(path), Term::Truth(both)) | (Term::Truth(both), Term::Path(path)) => match both.yes {
                Tree::Const(value) => {
                    let asks = equal(Value::Path(path.clone()), Value::Bool(value));
                    Ok(self.if_type(&path, types::BOOL, asks, at))
                }
                _ => self.subset(
                    at,
                    "only `true` and `false` are compared with an argument",
                    "join them by `&&`",
                ),
            },
            (Term::Path(_), Term::Path(_)) => self.subset(
                at,
                "two arguments may be equal in too many ways",
                "compare each with a constant, or numbers by `<=` and `>=`",
            ),
            (Term::Header(name), Term::Text(text)) | (Term::Text(text), Term::Header(name)) => {
                Ok(self.question(equal(Value::Header(name), Value::Text(text)), at))
            }
            (Term::Header(name), Term::Fact(fact)) | (Term::Fact(fact), Term::Header(name)) => {
                Ok(self.question(equal(Value::Header(name), fact), at))
            }
            (Term::Fact(fact), Term::Text(text)) | (Term::Text(text), Term::Fact(fact)) => {
                Ok(self.certain(equal(fact, Value::Text(text)), at))
            }
            (Term::Fact(one), Term::Fact(other)) => Ok(self.certain(equal(one, other), at)),
            (Term::Truth(one), Term::Truth(other)) => match (&one.yes, &other.yes) {
                (Tree::Const(true), _) => Ok(other),
                (_, Tree::Const(true)) => Ok(one),
                (Tree::Const(false), _) => Ok(other.negated()),
                (_, Tree::Const(false)) => Ok(one.negated()),
                _ => self.subset(at, "two conditions are not compared", "write `a && b || !a && !b`"),
            },
            (Term::Ip, Term::Addresses(addresses)) | (Term::Addresses(addresses), Term::Ip) => {
                if addresses.network.bits < 128 {
                    let help = "write `context.ip.isInRange(ip(\"10.0.0.0/8\"))`";
                    return self.mistyped(at, "an address is never a network", help);
                }
                Ok(self.in_one_of(&[addresses], at))
            }
            (Term::Principal, Term::Entity(kind, id)) | (Term::Entity(kind, id), Term::Principal) => {
                match kind.as_str() {
                    "Principal" => {
                        let id = Value::Text(id);
                        Ok(self.certain(equal(Value::Principal(PrincipalFact::Id), id), at))
                    }
                    "User" | "Agent" | "Tenant" | "Group" | "Role" => {
                        let message = format!("a principal is never a `{kind}` itself");
                        self.mistyped(at, message, format!("write `principal in {kind}::\"{id}\"`"))
                    }
                    _ => self.mistyped(
                        at,
                        format!("a principal is never a `{kind}`"),
                        format!("write `principal == Principal::\"{id}\"`"),
                    ),
                }
            }
            (Term::Resource, Term::Entity(kind, id)) | (Term::Entity(kind, id), Term::Resource) => {
                self.is_item(&kind, &id, at)
            }
            (Term::Action, _) | (_, Term::Action) => {
                self.subset(at, "the action is told by the head of a policy", "write it there: `action == …`")
            }
            (Term::Now, _) | (_, Term::Now) => {
                self.subset(at, "`context.now` is never exactly a moment", "write `<` or `>=`")
            }
            (Term::Groups | Term::Roles | Term::Set(_), _)
            | (_, Term::Groups | Term::Roles | Term::Set(_)) => {
                let help = "write `principal.groups.contains(\"support\")` or `containsAll`";
                self.subset(at, "sets are not compared", help)
            }
            (one, other) => {
                let message = format!("{} is never {}", one.said(), other.said());
                self.mistyped(at, message, "compare arguments, facts and constants of one type")
            }
        }
    }

    fn is_item(&mut self, kind: &str, id: &str, at: &Range<usize>) -> Read<Both> {
        if matches!(kind, "Upstream" | "Server") {
            let help = format!("write `resource in {kind}::\"{id}\"`");
            return self.mistyped(at, format!("a resource is never a `{kind}` itself"), help);
        }
        let wanted = self.kind_of(kind, at)?;
        let (upstream, name) = self.item(kind, id, at)?;
        if self.kinds != wanted {
            let help = format!("write `resource is {kind}` in the head");
            return self.subset(at, "the kind of a resource is told by the head of a policy", help);
        }
        let upstream = self.upstream(upstream, at)?;
        let equal = |fact, text: &str| Asks::Compare {
            left: Value::Call(fact),
            by: Comparison::Equal,
            right: Value::Text(text.to_owned()),
        };
        let parts = vec![
            self.certain(equal(CallFact::Upstream, &upstream), at),
            self.certain(equal(CallFact::Tool, name), at),
        ];
        self.all(parts, at)
    }

    fn within(&mut self, one: Term, other: Term, at: &Range<usize>) -> Read<Both> {
        if let Term::Set(items) = other {
            let mut parts = Vec::new();
            for (item, _) in items {
                let one = match one {
                    Term::Principal => Term::Principal,
                    Term::Resource => Term::Resource,
                    _ => return self.not_within(&one, at),
                };
                parts.push(self.within(one, item, at)?);
            }
            return self.any(parts, at);
        }
        let equal =
            |left, text: String| Asks::Compare { left, by: Comparison::Equal, right: Value::Text(text) };
        match (one, other) {
            (Term::Principal, Term::Entity(kind, id)) => match kind.as_str() {
                "Group" => Ok(self.certain(Asks::InGroups(Value::Text(id)), at)),
                "Role" => {
                    let role = self.role(&id, at)?;
                    Ok(self.question(Asks::Role(role), at))
                }
                "User" | "Agent" | "Tenant" if id.is_empty() => {
                    let help = format!(
                        "what is not known is the empty text: `principal.{} == \"\"`",
                        kind.to_ascii_lowercase()
                    );
                    self.mistyped(at, format!("nobody is in `{kind}::\"\"`"), help)
                }
                "User" => Ok(self.certain(equal(Value::Principal(PrincipalFact::User), id), at)),
                "Agent" => Ok(self.certain(equal(Value::Principal(PrincipalFact::Agent), id), at)),
                "Tenant" => Ok(self.certain(equal(Value::Principal(PrincipalFact::Tenant), id), at)),
                "Principal" => self.equal(Term::Principal, Term::Entity(kind, id), at),
                _ => {
                    let help = "a principal is in `Group`, `Role`, `User`, `Agent` and `Tenant`";
                    self.mistyped(at, format!("a principal is never in a `{kind}`"), help)
                }
            },
            (Term::Resource, Term::Entity(kind, id)) => match kind.as_str() {
                "Upstream" => {
                    let upstream = self.upstream(&id, at)?;
                    Ok(self.certain(equal(Value::Call(CallFact::Upstream), upstream), at))
                }
                "Server" => {
                    let server = self.server(&id, at)?;
                    Ok(self.certain(equal(Value::Call(CallFact::Server), server), at))
                }
                _ => self.is_item(&kind, &id, at),
            },
            (one, _) => self.not_within(&one, at),
        }
    }

    fn not_within<T>(&self, one: &Term, at: &Range<usize>) -> Read<T> {
        match one {
            Term::Action => self.subset(
                at,
                "the action is told by the head of a policy",
                "write it there: `action in […]`",
            ),
            Term::Principal | Term::Resource => {
                self.mistyped(at, "`in` wants an entity", "write `principal in Group::\"support\"`")
            }
            _ => {
                let help = "write `[\"USD\", \"EUR\"].contains(context.args.currency)`";
                self.mistyped(at, format!("{} is in no entity", one.said()), help)
            }
        }
    }

    fn ordered(&mut self, one: Term, by: Comparison, other: Term, at: &Range<usize>) -> Read<Both> {
        match (one, other) {
            (Term::Path(path), Term::Long(value)) if !path.keys.is_empty() => {
                Ok(self.numbers(&[&path], Value::Path(path.clone()), by, number(value), at))
            }
            (Term::Long(value), Term::Path(path)) if !path.keys.is_empty() => {
                Ok(self.numbers(&[&path], number(value), by, Value::Path(path.clone()), at))
            }
            (Term::Path(one), Term::Path(other)) if !one.keys.is_empty() && !other.keys.is_empty() => {
                let (left, right) = (Value::Path(one.clone()), Value::Path(other.clone()));
                Ok(self.numbers(&[&one, &other], left, by, right, at))
            }
            (Term::Now, Term::Moment(moment)) => Ok(self.window(by, moment, at)),
            (Term::Moment(moment), Term::Now) => Ok(self.window(turned(by), moment, at)),
            (Term::Long(_), Term::Long(_)) => {
                self.subset(at, "both sides are constants", "write `true` or `false`")
            }
            (one, other) => {
                let message = format!("{} and {} have no order", one.said(), other.said());
                let help = "Cedar orders numbers and moments: `context.args.amount <= 500`";
                self.mistyped(at, message, help)
            }
        }
    }

    /// What has a fraction or an exponent, or does not fit in 64 bits, is no number of Cedar's.
    fn numbers(&self, paths: &[&Path], left: Value, by: Comparison, right: Value, at: &Range<usize>) -> Both {
        let mut fits = Vec::new();
        for path in paths {
            let value = || Value::Path((*path).clone());
            let least = Asks::Compare { left: value(), by: Comparison::MoreOrEqual, right: number(i64::MIN) };
            let most = Asks::Compare { left: value(), by: Comparison::LessOrEqual, right: number(i64::MAX) };
            fits.extend([self.is_type(path, types::INTEGER, at), self.ask(least, at), self.ask(most, at)]);
        }
        let asks = self.ask(Asks::Compare { left, by, right }, at);
        let size = fits.len() * 2 + 2;
        let yes = Tree::and(fits.iter().cloned().chain([asks.clone()]));
        let no = Tree::and(fits.into_iter().chain([asks.negated()]));
        Both { yes, no, certain: false, size }
    }

    /// `context.now` is the beginning of a second.
    fn window(&mut self, by: Comparison, moment: i64, at: &Range<usize>) -> Both {
        let second = moment.div_euclid(1_000);
        let whole = second + i64::from(moment.rem_euclid(1_000) > 0);
        let after = second + 1;
        let text = format!("context.now {} {moment} ms", sign(by));
        let window = match by {
            Comparison::Less => during::between(text, i64::MIN, whole),
            Comparison::LessOrEqual => during::between(text, i64::MIN, after),
            Comparison::More => during::between(text, after, i64::MAX),
            _ => during::between(text, whole, i64::MAX),
        };
        let window = self.shared.window(window);
        self.certain(Asks::Window(window), at)
    }
}

fn sign(by: Comparison) -> &'static str {
    match by {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::More => ">",
        Comparison::MoreOrEqual => ">=",
    }
}

pub(super) fn number(value: i64) -> Value {
    Value::Number(Number(value.to_string()))
}
