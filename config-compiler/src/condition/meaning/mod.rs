//! What a condition means: CEL's nodes to questions, each name and type checked.
//!
//! The decision: what is outside of what can be bounded and analysed is refused by name, with a way to say it. A comparison
//! whose sides can never be of one type is a mistake of the author's and found here, not an error of every call.

mod compare;
mod lists;
mod moments;

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use strait_table::condition::{CallFact, Comparison, Network, Number, PrincipalFact, TextTest, types};

use super::{
    Wrong,
    emit::Shared,
    syntax::Parsed,
    tree::{Asks, Path, Root, Tree, Value},
};
use crate::{diagnostic::codes, limits::CONDITION_NESTING_MAX, walk::suggest};
use compare::comparison;

/// For whom a condition is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A role is known before any call: it may ask for the principal alone.
    Role,
    Rule,
}

/// Gives a role's number by its name.
pub type RoleNamed<'r> = dyn Fn(&str) -> Result<u16, Option<String>> + 'r;

pub fn tree(parsed: &Parsed<'_>, of: Of, roles: &RoleNamed<'_>, shared: &mut Shared) -> Result<Tree, Wrong> {
    let mut reader = Reader { parsed, of, roles, shared, variables: Vec::new(), depth: 0 };
    reader.truth(&parsed.tree)
}

/// What a part of a condition is.
#[derive(Clone, Debug)]
enum Term {
    Tree(Tree),
    /// Something to be compared.
    Value(Value),
    Groups,
    Roles,
    Principal,
    Call,
    Request,
    Headers,
    Ip,
    Network(Network),
    Now,
    Moment(i64, bool),
    /// `type(x)`
    TypeOf(Value),
    /// `int`, with the bits of its types.
    Type(u8),
    List(Vec<Term>),
}

struct Reader<'a, 't> {
    parsed: &'a Parsed<'t>,
    of: Of,
    roles: &'a RoleNamed<'a>,
    shared: &'a mut Shared,
    /// Names that quantifiers gave, innermost last.
    variables: Vec<(String, Term)>,
    depth: usize,
}

type Read<T> = Result<T, Wrong>;

impl Reader<'_, '_> {
    fn subset<T>(&self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Read<T> {
        Err(Wrong::new(&codes::CONDITION_SUBSET, message, help, at))
    }

    fn mistyped<T>(&self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Read<T> {
        Err(Wrong::new(&codes::CONDITION_TYPE, message, help, at))
    }

    fn place(&self, node: &IdedExpr) -> Range<usize> {
        self.parsed.place(node)
    }

    /// What may stand beside `&&`, `||` and `!`.
    fn truth(&mut self, node: &IdedExpr) -> Read<Tree> {
        self.depth += 1;
        if self.depth > CONDITION_NESTING_MAX * 4 {
            let help = "split it into several rules or roles";
            let at = self.place(node);
            return Err(Wrong::new(&codes::CONDITION_LIMIT, "the condition is nested too deeply", help, at));
        }
        let term = self.term(node)?;
        self.depth -= 1;
        let at = self.place(node);
        let (found, help) = match term {
            Term::Tree(tree) => return Ok(tree),
            // A field that is true or false by itself.
            Term::Value(value @ Value::Path(_)) => {
                let asks = Asks::Compare { left: value, by: Comparison::Equal, right: Value::Bool(true) };
                return Ok(Tree::ask(asks, at));
            }
            Term::Value(Value::Bool(value)) => return Ok(Tree::Const(value)),
            Term::Groups => ("the groups of the principal", "ask for one: `\"support\" in principal.groups`"),
            Term::Roles => ("the roles of the principal", "ask for one: `\"admin\" in principal.roles`"),
            Term::Value(Value::Text(_)) => ("a text", "compare it with something"),
            Term::Value(Value::Number(_)) => ("a number", "compare it with something"),
            Term::List(_) => ("a list", "write `args.currency in [\"USD\", \"EUR\"]`"),
            Term::Now | Term::Moment(..) => ("a moment", "write `now < timestamp(\"2027-01-01T00:00:00Z\")`"),
            _ => ("something else", "compare it: `principal.id == \"ann\"`"),
        };
        Err(Wrong::new(&codes::CONDITION_TYPE, format!("expected true or false, found {found}"), help, at))
    }

    fn term(&mut self, node: &IdedExpr) -> Read<Term> {
        let at = self.place(node);
        match &node.expr {
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Ident(name) => self.name(name, at),
            Expr::Select(select) if select.test => {
                let operand = self.term(&select.operand)?;
                self.has(operand, &select.field, at)
            }
            Expr::Select(select) => {
                let operand = self.term(&select.operand)?;
                let end = at.end;
                self.field(operand, &select.field, at, end.saturating_sub(select.field.len())..end)
            }
            Expr::List(list) => {
                let elements: Read<Vec<Term>> =
                    list.elements.iter().map(|element| self.term(element)).collect();
                Ok(Term::List(elements?))
            }
            Expr::Call(call) => self.call(node, call),
            Expr::Comprehension(each) => self.each(node, each),
            Expr::Map(_) | Expr::Struct(_) => {
                self.subset(at, "objects cannot be written in a condition", "compare their fields one by one")
            }
            Expr::Unspecified => self.subset(at, "this cannot be understood", "write it in another way"),
        }
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Read<Term> {
        let at = self.place(node);
        Ok(Term::Value(match literal {
            LiteralValue::Boolean(value) => return Ok(Term::Tree(Tree::Const(*value.inner()))),
            LiteralValue::String(text) => Value::Text(text.inner().to_owned()),
            LiteralValue::Null => Value::Null,
            LiteralValue::Int(value) => {
                self.number(node, *value.inner() < 0, Some(value.inner().unsigned_abs()))?
            }
            LiteralValue::UInt(value) => self.number(node, false, Some(*value.inner()))?,
            LiteralValue::Double(value) => self.number(node, value.inner().is_sign_negative(), None)?,
            LiteralValue::Bytes(_) => return self.subset(at, "bytes cannot be compared", "write a text"),
        }))
    }

    /// As written: 0.1 stays 0.1, whatever a machine makes of it.
    fn number(&self, node: &IdedExpr, negative: bool, whole: Option<u64>) -> Read<Value> {
        let digits = match whole {
            Some(value) => value.to_string(),
            None => {
                let token = self.parsed.token(node).trim_start_matches(['-', ' ']);
                if token.starts_with('.') { format!("0{token}") } else { token.to_owned() }
            }
        };
        let text = if negative && whole != Some(0) { format!("-{digits}") } else { digits };
        if strait_protocol::jsonrpc::compare_numbers(text.as_bytes(), b"0").is_none() {
            return self.subset(
                self.place(node),
                "this number is too large to be compared",
                "write one with a smaller exponent",
            );
        }
        Ok(Value::Number(Number(text)))
    }

    fn name(&self, name: &str, at: Range<usize>) -> Read<Term> {
        if let Some((_, term)) = self.variables.iter().rev().find(|(known, _)| known == name) {
            return Ok(term.clone());
        }
        let of_type = match name {
            "int" => Some(types::INTEGER),
            "uint" => Some(types::INTEGER),
            "double" => Some(types::FRACTION),
            "string" => Some(types::TEXT),
            "bool" => Some(types::BOOL),
            "list" => Some(types::LIST),
            "map" => Some(types::OBJECT),
            "null_type" => Some(types::NULL),
            _ => None,
        };
        if let Some(bits) = of_type {
            return Ok(Term::Type(bits));
        }
        let term = match name {
            "principal" => Term::Principal,
            "args" => Term::Value(Value::Path(Path { from: Root::Arguments, keys: Vec::new() })),
            "call" => Term::Call,
            "request" => Term::Request,
            "now" => Term::Now,
            _ => {
                const KNOWN: [&str; 5] = ["principal", "args", "call", "request", "now"];
                let help = match suggest::nearest(name, KNOWN) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "conditions may ask for `principal`, `args`, `call`, `request` and `now`; texts stand in quotes".to_owned(),
                };
                return Err(Wrong::new(&codes::CONDITION_NAME, format!("unknown name `{name}`"), help, at));
            }
        };
        if self.of == Of::Role && name != "principal" {
            let message = format!("a role cannot ask for `{name}`: roles are known before any call");
            let help = "put it into the `when` of a rule";
            return Err(Wrong::new(&codes::FACT_UNAVAILABLE, message, help, at));
        }
        Ok(term)
    }

    fn field(&self, operand: Term, field: &str, at: Range<usize>, field_at: Range<usize>) -> Read<Term> {
        let unknown = |what: &str, known: &[&str]| {
            let help = match suggest::nearest(field, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("{what} has {}", suggest::listed(known)),
            };
            let message = format!("{what} has no `{field}`");
            Err(Wrong::new(&codes::CONDITION_NAME, message, help, field_at.clone()))
        };
        Ok(match operand {
            Term::Principal => match field {
                "id" => Term::Value(Value::Principal(PrincipalFact::Id)),
                "user" => Term::Value(Value::Principal(PrincipalFact::User)),
                "agent" => Term::Value(Value::Principal(PrincipalFact::Agent)),
                "tenant" => Term::Value(Value::Principal(PrincipalFact::Tenant)),
                "groups" => Term::Groups,
                "roles" if self.of == Of::Role => {
                    let message = "a role cannot ask for roles";
                    return Err(Wrong::new(
                        &codes::FACT_UNAVAILABLE,
                        message,
                        "ask for `principal.groups`",
                        field_at,
                    ));
                }
                "roles" => Term::Roles,
                "claims" => Term::Value(Value::Path(Path { from: Root::Claims, keys: Vec::new() })),
                _ => {
                    return unknown(
                        "a principal",
                        &["id", "user", "agent", "tenant", "groups", "roles", "claims"],
                    );
                }
            },
            Term::Call => Term::Value(Value::Call(match field {
                "method" => CallFact::Method,
                "server" => CallFact::Server,
                "upstream" => CallFact::Upstream,
                "tool" => CallFact::Tool,
                _ => return unknown("a call", &["method", "server", "upstream", "tool"]),
            })),
            Term::Request => match field {
                "headers" => Term::Headers,
                "ip" => Term::Ip,
                _ => return unknown("a request", &["headers", "ip"]),
            },
            Term::Headers => Term::Value(Value::Header(field.to_ascii_lowercase())),
            Term::Value(Value::Path(mut path)) => {
                path.keys.push(field.to_owned());
                Term::Value(Value::Path(path))
            }
            _ => {
                return self.mistyped(
                    at,
                    format!("`{field}` is a field of nothing"),
                    "only `args`, claims and elements of lists have fields of their own",
                );
            }
        })
    }

    fn has(&self, operand: Term, field: &str, at: Range<usize>) -> Read<Term> {
        let asks = match operand {
            Term::Value(Value::Path(mut path)) => {
                path.keys.push(field.to_owned());
                Asks::Has(path)
            }
            Term::Headers => Asks::HasHeader(field.to_ascii_lowercase()),
            Term::Principal | Term::Call | Term::Request => {
                return self.subset(
                    at,
                    format!("`{field}` is always there"),
                    "compare it: what is not known of a principal is the empty text",
                );
            }
            _ => return self.mistyped(at, "`has` asks for a field", "write `has(args.amount)`"),
        };
        Ok(Term::Tree(Tree::ask(asks, at)))
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Read<Term> {
        let at = self.place(node);
        let arguments = call.args.as_slice();
        match (call.func_name.as_str(), call.target.as_deref(), arguments) {
            (operators::LOGICAL_AND, None, [left, right]) => {
                let parts = [self.truth(left)?, self.truth(right)?];
                Ok(Term::Tree(Tree::and(parts)))
            }
            (operators::LOGICAL_OR, None, [left, right]) => {
                let parts = [self.truth(left)?, self.truth(right)?];
                Ok(Term::Tree(Tree::or(parts)))
            }
            (operators::LOGICAL_NOT, None, [inner]) => Ok(Term::Tree(self.truth(inner)?.negated())),
            (operators::IN, None, [item, list]) => self.membership(item, list, at),
            (operators::INDEX, None, [operand, key]) => self.index(operand, key, at),
            ("size", None, [of]) | ("size", Some(of), []) => self.size(of),
            ("type", None, [of]) => match self.term(of)? {
                Term::Value(value @ Value::Path(_)) => Ok(Term::TypeOf(value)),
                _ => self.subset(at, "the type of this is known", "ask for the type of an argument or claim"),
            },
            ("timestamp", None, [text]) => self.moment(text, at),
            ("cidr", None, [text]) => self.network(text),
            ("ip", None, [text]) => self.term(text),
            ("containsIP", Some(network), [ip]) => self.in_network(network, ip, at),
            ("matches", Some(of), [pattern]) | ("matches", None, [of, pattern]) => {
                self.matches(of, pattern, at)
            }
            ("startsWith", Some(of), [text]) => self.text_test(TextTest::StartsWith, of, text, at),
            ("endsWith", Some(of), [text]) => self.text_test(TextTest::EndsWith, of, text, at),
            ("contains", Some(of), [text]) => self.text_test(TextTest::Contains, of, text, at),
            (name, None, [left, right]) if comparison(name).is_some() => {
                let by = comparison(name).unwrap_or(Comparison::Equal);
                self.comparison(left, by, right, at)
            }
            _ => self.outside(call, at),
        }
    }

    /// Operators and functions of CEL that a policy does not have.
    fn outside(&self, call: &CallExpr, at: Range<usize>) -> Read<Term> {
        let arithmetic = "write the finished number; of two arguments compare one with the other";
        let (what, help) = match call.func_name.as_str() {
            operators::CONDITIONAL => {
                ("`? :`".to_owned(), "write `a && b || !a && c` for `a ? b : c`".to_owned())
            }
            operators::ADD => ("`+`".to_owned(), arithmetic.to_owned()),
            operators::SUBSTRACT | operators::NEGATE => ("`-`".to_owned(), arithmetic.to_owned()),
            operators::MULTIPLY => ("`*`".to_owned(), arithmetic.to_owned()),
            operators::DIVIDE => ("`/`".to_owned(), arithmetic.to_owned()),
            operators::MODULO => ("`%`".to_owned(), arithmetic.to_owned()),
            "getHours" | "getDayOfWeek" | "getMinutes" | "getDate" | "getMonth" | "getFullYear" => (
                format!("`{}`", call.func_name),
                "write `during: \"Mon-Fri 06:00-18:00 Europe/Berlin\"`".to_owned(),
            ),
            name => {
                const KNOWN: [&str; 12] = [
                    "startsWith",
                    "endsWith",
                    "contains",
                    "matches",
                    "size",
                    "has",
                    "all",
                    "exists",
                    "exists_one",
                    "type",
                    "timestamp",
                    "cidr",
                ];
                let help = match suggest::nearest(name, KNOWN) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("conditions have {}", suggest::listed(&KNOWN)),
                };
                (format!("`{name}`"), help)
            }
        };
        self.subset(at, format!("{what} cannot be used in a condition"), help)
    }

    fn size(&mut self, of: &IdedExpr) -> Read<Term> {
        let at = self.place(of);
        match self.term(of)? {
            Term::Value(Value::Path(path)) => Ok(Term::Value(Value::Size(path))),
            _ => self.subset(at, "only arguments and claims are measured", "write `size(args.note) <= 100`"),
        }
    }

    fn index(&mut self, operand: &IdedExpr, key: &IdedExpr, at: Range<usize>) -> Read<Term> {
        let key_at = self.place(key);
        let operand = self.term(operand)?;
        match self.term(key)? {
            Term::Value(Value::Text(key)) => self.field(operand, &key, at, key_at),
            Term::Value(Value::Number(_)) => self.subset(
                at,
                "elements of a list have no place of their own",
                "write `args.items.all(i, …)` or `args.items.exists(i, …)`",
            ),
            _ => self.subset(at, "only a text in quotes can name a field", "write `args[\"a key\"]`"),
        }
    }
}
