//! What can be asked about: variables, their attributes, constants; and the expressions that are made of them.

use std::ops::Range;

use strait_table::condition::{CallFact, types};

use super::{Both, PRINCIPAL_FACTS, Read, Reader, Term, root};
use crate::{
    cedar::tree::{Expr, Kind, Variable},
    condition::tree::{Asks, Root, Tree, Value},
    diagnostic::codes,
    walk::suggest,
};

const CONTEXT: [&str; 5] = ["args", "headers", "ip", "method", "now"];
const PRINCIPAL: [&str; 7] = ["id", "user", "agent", "tenant", "groups", "roles", "claims"];
const RESOURCE: [&str; 3] = ["name", "upstream", "server"];

impl Reader<'_> {
    pub(super) fn term(&mut self, of: &Expr) -> Read<Term> {
        let at = &of.at;
        Ok(match &of.kind {
            Kind::Bool(value) => Term::Truth(Both::constant(*value)),
            Kind::Long(value) => Term::Long(*value),
            Kind::Text(text) => Term::Text(text.clone()),
            Kind::Entity { of, id } => Term::Entity(of.clone(), id.clone()),
            Kind::Variable(Variable::Principal) => Term::Principal,
            Kind::Variable(Variable::Action) => Term::Action,
            Kind::Variable(Variable::Resource) => Term::Resource,
            Kind::Variable(Variable::Context) => Term::Context,
            Kind::Set(items) => {
                let mut set = Vec::with_capacity(items.len());
                for item in items {
                    set.push((self.term(item)?, item.at.clone()));
                }
                Term::Set(set)
            }
            Kind::Slot(name) => {
                let help = "write the entity that the template is linked with";
                return self.subset(at, format!("`?{name}` stands for something that is not known"), help);
            }
            Kind::Record => {
                return self.subset(at, "records are not compared", "compare their attributes one by one");
            }
            Kind::Arithmetic(sign) => {
                let help = "write the finished number; of two arguments compare one with the other";
                return self.subset(at, format!("`{sign}` cannot be used in a condition"), help);
            }
            Kind::And(_) | Kind::Or(_) | Kind::Not(_) | Kind::If(_) => Term::Truth(self.truth(of)?),
            Kind::Relation(sign, sides) => {
                let [left, right] = sides.as_ref();
                Term::Truth(self.relation(sign, left, right, at)?)
            }
            Kind::Has(inner, keys) => Term::Truth(self.has(inner, keys, at)?),
            Kind::Like(inner, pattern) => Term::Truth(self.like(inner, pattern, at)?),
            Kind::Is(inner, name, within) => {
                let is = self.is(inner, name, at)?;
                Term::Truth(match within {
                    None => is,
                    Some(within) => {
                        let inside = self.relation("in", inner, within, at)?;
                        self.all(vec![is, inside], at)?
                    }
                })
            }
            Kind::Field(inner, name) => {
                let inner = self.term(inner)?;
                self.field(inner, name, at)?
            }
            Kind::Method(inner, name, arguments) => self.method(inner, name, arguments, at)?,
            Kind::Function(name, arguments) => self.constant(name, arguments, at)?,
        })
    }

    fn field(&self, of: Term, name: &str, at: &Range<usize>) -> Read<Term> {
        Ok(match (of, name) {
            (Term::Context, "args") => root(Root::Arguments),
            (Term::Context, "headers") => Term::Headers,
            (Term::Context, "ip") => Term::Ip,
            (Term::Context, "now") => Term::Now,
            (Term::Context, "method") => Term::Fact(Value::Call(CallFact::Method)),
            (Term::Context, name) => return self.no_attribute("context", name, &CONTEXT, at),
            (Term::Principal, "groups") => Term::Groups,
            (Term::Principal, "roles") => Term::Roles,
            (Term::Principal, "claims") => root(Root::Claims),
            (Term::Principal, name) => match PRINCIPAL_FACTS.iter().find(|(known, _)| *known == name) {
                Some((_, fact)) => Term::Fact(Value::Principal(*fact)),
                None => return self.no_attribute("principal", name, &PRINCIPAL, at),
            },
            (Term::Resource, "name") => Term::Fact(Value::Call(CallFact::Tool)),
            (Term::Resource, "upstream") => Term::Fact(Value::Call(CallFact::Upstream)),
            (Term::Resource, "server") => Term::Fact(Value::Call(CallFact::Server)),
            (Term::Resource, name) => return self.no_attribute("resource", name, &RESOURCE, at),
            (Term::Headers, name) => Term::Header(self.header(name, at)?),
            (Term::Path(mut path), name) => {
                path.keys.push(name.to_owned());
                Term::Path(path)
            }
            (other, name) => {
                let message = format!("{} has no attribute `{name}`", other.said());
                return self.mistyped(at, message, "ask for an argument: `context.args.amount`");
            }
        })
    }

    fn no_attribute<T>(&self, of: &str, name: &str, known: &[&str], at: &Range<usize>) -> Read<T> {
        let help = match suggest::nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{of}.{meant}`?"),
            None if of == "context" => {
                format!("arguments are below `context.args`; `context` has {}", suggest::listed(known))
            }
            None => format!("`{of}` has {}", suggest::listed(known)),
        };
        self.wrong(&codes::CEDAR_NAME, at, format!("`{of}` has no attribute `{name}`"), help)
    }

    fn header(&self, name: &str, at: &Range<usize>) -> Read<String> {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let message = "the names of headers are in lower case here";
            let help = format!("write `context.headers[\"{}\"]`", name.to_ascii_lowercase());
            return self.wrong(&codes::CEDAR_NAME, at, message, help);
        }
        Ok(name.to_owned())
    }

    fn has(&mut self, of: &Expr, keys: &[String], at: &Range<usize>) -> Read<Both> {
        let mut term = self.term(of)?;
        let mut parts = Vec::new();
        for key in keys {
            parts.push(self.has_one(&term, key, at)?);
            // Of the last one only whether it is there is asked.
            if parts.len() < keys.len() {
                term = self.field(term, key, at)?;
            }
        }
        self.all(parts, at)
    }

    fn has_one(&self, of: &Term, key: &str, at: &Range<usize>) -> Read<Both> {
        match of {
            Term::Path(path) => {
                let mut asked = path.clone();
                asked.keys.push(key.to_owned());
                let has = Asks::Has(asked);
                if path.keys.is_empty() {
                    return Ok(self.certain(has, at));
                }
                // Of what is missing or is no record, Cedar cannot say that something is not in it.
                let object = self.is_type(path, types::OBJECT, at);
                let has = self.ask(has, at);
                let no = Tree::and([object, has.clone().negated()]);
                Ok(Both { yes: has, no, certain: false, size: 3 })
            }
            Term::Headers => Ok(self.certain(Asks::HasHeader(self.header(key, at)?), at)),
            Term::Context if CONTEXT.contains(&key) => Ok(Both::constant(true)),
            Term::Context => self.no_attribute("context", key, &CONTEXT, at),
            Term::Principal if PRINCIPAL.contains(&key) => Ok(Both::constant(true)),
            Term::Principal => self.no_attribute("principal", key, &PRINCIPAL, at),
            Term::Resource if RESOURCE.contains(&key) => Ok(Both::constant(true)),
            Term::Resource => self.no_attribute("resource", key, &RESOURCE, at),
            other => {
                let message = format!("{} has no attributes", other.said());
                self.mistyped(at, message, "write `context.args has amount`")
            }
        }
    }

    fn is(&mut self, of: &Expr, name: &str, at: &Range<usize>) -> Read<Both> {
        match self.term(of)? {
            Term::Principal => self.is_principal(name, at).map(|()| Both::constant(true)),
            Term::Resource => {
                let wanted = self.kind_of(name, at)?;
                if self.kinds.and(wanted) == self.kinds {
                    return Ok(Both::constant(true));
                }
                let help = format!("write it in the head: `resource is {name}`");
                self.subset(at, "the kind of a resource is told by the head of a policy", help)
            }
            Term::Action => Err(self.no_action_type(at)),
            other => {
                let message = format!("{} is never a `{name}`", other.said());
                self.mistyped(at, message, "only `principal` and `resource` are asked for their type")
            }
        }
    }
}
