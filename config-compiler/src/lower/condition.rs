//! Conditions of roles: the part of CEL that asks about a principal, as a postfix program.
//!
//! A recursive descent of our own reads them. A role's condition is eight productions over two facts;
//! a general CEL front end would bring a parser runtime of some twenty crates, error texts that are
//! not ours, and recursion over hostile input that we could not bound from outside. Here nesting is
//! counted, every error has its place inside the author's text, and what CEL offers beyond this is
//! named together with a way to say it.

use strait_table::rules::{ConditionOp, Role};

use super::blocks::Declared;
use crate::{
    diagnostic::{Code, Finding, codes},
    limits::{CONDITION_BYTES_MAX, CONDITION_NESTING_MAX},
    source::Kind,
    walk::{Walk, suggest},
};

mod token;
use token::{Token, Tokens};

/// What is wrong with a condition, and where in its text.
#[derive(Debug)]
pub struct Wrong {
    code: &'static Code,
    message: String,
    help: String,
    start: usize,
    end: usize,
}

pub fn role(walk: &mut Walk<'_>, declared: &Declared<'_>) -> Option<Role> {
    const EXPECTED: &str = "a condition like `'\"support\" in principal.groups'`";
    let scalar = walk.scalar(declared.node, EXPECTED)?;
    let text = match scalar.kind() {
        Kind::Text | Kind::Bool => scalar.text.as_str(),
        _ => {
            let finding = walk.wrong_type(declared.node, EXPECTED);
            walk.report(finding);
            return None;
        }
    };
    match parse(text) {
        Ok(condition) => Some(Role { name: declared.name.to_owned(), condition }),
        Err(wrong) => {
            let at = walk.within(declared.node, wrong.start, wrong.end);
            let message = format!("role `{}`: {}", declared.name, wrong.message);
            walk.report(Finding::new(wrong.code, at, message).help(wrong.help));
            None
        }
    }
}

pub fn parse(text: &str) -> Result<Vec<ConditionOp>, Wrong> {
    if text.len() > CONDITION_BYTES_MAX {
        let message = format!("the condition is longer than {CONDITION_BYTES_MAX} bytes");
        return Err(wrong(&codes::CONDITION_LIMIT, message, "split it into several roles", 0, text.len()));
    }
    let mut parser = Parser { tokens: Tokens::new(text), nesting: 0 };
    let whole = parser.or()?;
    let (token, start, end) = parser.tokens.peek()?;
    if token != Token::End {
        return Err(parser.stray(&token, start, end));
    }
    whole.condition("the condition")
}

fn wrong(
    code: &'static Code,
    message: impl Into<String>,
    help: impl Into<String>,
    start: usize,
    end: usize,
) -> Wrong {
    Wrong { code, message: message.into(), help: help.into(), start, end }
}

const FACTS: &str = "roles may ask for `principal.id` and `principal.groups`";

/// A part of a condition and what it is.
struct Operand {
    what: What,
    start: usize,
    end: usize,
}

enum What {
    Condition(Vec<ConditionOp>),
    Id,
    Groups,
    Text(String),
    Texts(Vec<String>),
}

impl Operand {
    /// What may stand beside `&&`, `||` and `!`.
    fn condition(self, place: &str) -> Result<Vec<ConditionOp>, Wrong> {
        let (found, help) = match self.what {
            What::Condition(ops) => return Ok(ops),
            What::Id => ("`principal.id`", "compare it: `principal.id == \"ann\"`"),
            What::Groups => ("`principal.groups`", "ask for one: `\"support\" in principal.groups`"),
            What::Text(_) => ("a text", "write `\"support\" in principal.groups`"),
            What::Texts(_) => ("a list", "write `principal.id in [\"ann\", \"ben\"]`"),
        };
        let message = format!("{place} must be true or false, found {found}");
        Err(wrong(&codes::CONDITION_SYNTAX, message, help, self.start, self.end))
    }
}

struct Parser<'t> {
    tokens: Tokens<'t>,
    nesting: usize,
}

impl Parser<'_> {
    fn or(&mut self) -> Result<Operand, Wrong> {
        self.chain("||", ConditionOp::Or, |parser| parser.chain("&&", ConditionOp::And, Self::comparison))
    }

    /// `operand (symbol operand)*`, left to right: two values on the stack at most.
    fn chain(
        &mut self,
        symbol: &'static str,
        op: ConditionOp,
        operand: fn(&mut Self) -> Result<Operand, Wrong>,
    ) -> Result<Operand, Wrong> {
        let first = operand(self)?;
        let (start, mut end) = (first.start, first.end);
        if !self.tokens.next_is(symbol)? {
            return Ok(first);
        }
        let side = format!("each side of `{symbol}`");
        let mut ops = first.condition(&side)?;
        while self.tokens.take(symbol)? {
            let next = operand(self)?;
            end = next.end;
            ops.extend(next.condition(&side)?);
            ops.push(op.clone());
        }
        Ok(Operand { what: What::Condition(ops), start, end })
    }

    fn comparison(&mut self) -> Result<Operand, Wrong> {
        let left = self.unary()?;
        let (token, at, at_end) = self.tokens.peek()?;
        let Token::Symbol(symbol @ ("==" | "!=" | "in")) = token else {
            return self.refuse_operator(left);
        };
        self.tokens.next()?;
        let right = self.unary()?;
        let (start, end) = (left.start, right.end);
        let ops = match (left.what, symbol, right.what) {
            (What::Id, "==" | "!=", What::Text(id)) | (What::Text(id), "==" | "!=", What::Id) => {
                vec![ConditionOp::IdIs(id)]
            }
            (What::Id, "in", What::Texts(ids)) => any(ids, ConditionOp::IdIs),
            (What::Text(group), "in", What::Groups) => vec![ConditionOp::InGroup(group)],
            (What::Id, "in", What::Groups) => {
                let help = "write `\"support\" in principal.groups`";
                return Err(wrong(
                    &codes::CONDITION_SUBSET,
                    "an id is never compared with groups",
                    help,
                    start,
                    end,
                ));
            }
            _ => {
                let message = format!("`{symbol}` cannot compare these two");
                let help = "comparisons are `principal.id == \"ann\"`, `principal.id in [\"ann\"]` and `\"support\" in principal.groups`";
                return Err(wrong(&codes::CONDITION_SUBSET, message, help, at, at_end));
            }
        };
        let what = What::Condition(if symbol == "!=" { not(ops) } else { ops });
        self.refuse_operator(Operand { what, start, end })
    }

    /// Operators of CEL that a role has no use for.
    fn refuse_operator(&mut self, left: Operand) -> Result<Operand, Wrong> {
        let (token, start, end) = self.tokens.peek()?;
        let Token::Symbol(symbol) = token else { return Ok(left) };
        let help = match symbol {
            "+" | "-" | "*" | "/" | "%" => "write the finished text or list",
            "<" | ">" | "<=" | ">=" => "texts have no order here; use `==`, `startsWith` or `endsWith`",
            "?" => "write `a && b || !a && c` for `a ? b : c`",
            "[" => "ask for a group by name: `\"support\" in principal.groups`",
            "==" | "!=" | "in" => "put parentheses around the first comparison",
            _ => return Ok(left),
        };
        let message = format!("`{symbol}` cannot stand here in the condition of a role");
        Err(wrong(&codes::CONDITION_SUBSET, message, help, start, end))
    }

    fn unary(&mut self) -> Result<Operand, Wrong> {
        let mut negations = 0;
        let (_, start, _) = self.tokens.peek()?;
        // A run of `!` is counted, not recursed into.
        while self.tokens.take("!")? {
            negations += 1;
        }
        let operand = self.operand()?;
        if negations == 0 {
            return Ok(operand);
        }
        let end = operand.end;
        let ops = operand.condition("what follows `!`")?;
        let what = What::Condition(if negations % 2 == 1 { not(ops) } else { ops });
        Ok(Operand { what, start, end })
    }

    fn operand(&mut self) -> Result<Operand, Wrong> {
        let (token, start, end) = self.tokens.next()?;
        let what = match token {
            Token::Text(text) => What::Text(text),
            Token::Word("true") => What::Condition(vec![ConditionOp::Const(true)]),
            Token::Word("false") => What::Condition(vec![ConditionOp::Const(false)]),
            Token::Word("principal") => return self.principal(start),
            Token::Symbol("(") => {
                self.enter(start)?;
                let inner = self.or()?;
                let end = self.tokens.expect(")")?;
                self.nesting -= 1;
                return Ok(Operand { what: inner.what, start, end });
            }
            Token::Symbol("[") => {
                let (texts, end) = self.texts()?;
                return Ok(Operand { what: What::Texts(texts), start, end });
            }
            Token::Word(name) => return Err(self.unknown_name(name, start, end)),
            other => return Err(self.stray(&other, start, end)),
        };
        Ok(Operand { what, start, end })
    }

    fn enter(&mut self, at: usize) -> Result<(), Wrong> {
        self.nesting += 1;
        if self.nesting <= CONDITION_NESTING_MAX {
            return Ok(());
        }
        let message = format!("parentheses are nested more than {CONDITION_NESTING_MAX} deep");
        Err(wrong(&codes::CONDITION_LIMIT, message, "split it into several roles", at, at + 1))
    }

    /// After `[`: texts and the closing bracket.
    fn texts(&mut self) -> Result<(Vec<String>, usize), Wrong> {
        let mut texts = Vec::new();
        loop {
            let (token, start, end) = self.tokens.next()?;
            match token {
                Token::Symbol("]") => return Ok((texts, end)),
                Token::Text(text) => texts.push(text),
                _ => {
                    let help = "write `[\"ann\", \"ben\"]`";
                    return Err(wrong(
                        &codes::CONDITION_SUBSET,
                        "a list may hold texts only",
                        help,
                        start,
                        end,
                    ));
                }
            }
            if !self.tokens.take(",")? {
                let end = self.tokens.expect("]")?;
                return Ok((texts, end));
            }
        }
    }

    /// After `principal`.
    fn principal(&mut self, start: usize) -> Result<Operand, Wrong> {
        self.tokens.expect(".")?;
        let (token, name_start, end) = self.tokens.next()?;
        let fact = match token {
            Token::Word("id") => What::Id,
            Token::Word("groups") => What::Groups,
            Token::Word(name) => {
                const LATER: [&str; 6] = ["user", "agent", "tenant", "roles", "auth", "claims"];
                let message = match LATER.contains(&name) {
                    true => format!("`principal.{name}` cannot be asked for in this version"),
                    false => format!("a principal has no `{name}`"),
                };
                let help = match suggest::nearest(name, ["id", "groups"]) {
                    Some(meant) => format!("did you mean `principal.{meant}`?"),
                    None => FACTS.to_owned(),
                };
                return Err(wrong(&codes::CONDITION_SUBSET, message, help, start, end));
            }
            other => return Err(self.stray(&other, name_start, end)),
        };
        if !self.tokens.take(".")? {
            return Ok(Operand { what: fact, start, end });
        }
        self.method(fact, start)
    }

    /// After `principal.id.` or `principal.groups.`.
    fn method(&mut self, fact: What, start: usize) -> Result<Operand, Wrong> {
        let (token, name_start, name_end) = self.tokens.next()?;
        let Token::Word(name) = token else { return Err(self.stray(&token, name_start, name_end)) };
        let ops = match (&fact, name) {
            (What::Id, "startsWith" | "endsWith") => {
                self.tokens.expect("(")?;
                let text = self.one_text()?;
                vec![if name == "startsWith" {
                    ConditionOp::IdStartsWith(text)
                } else {
                    ConditionOp::IdEndsWith(text)
                }]
            }
            (What::Groups, "exists") => {
                self.tokens.expect("(")?;
                let variable = self.variable()?;
                self.tokens.expect(",")?;
                any(self.groups_named(&variable)?, ConditionOp::InGroup)
            }
            (What::Id, _) => {
                let help = "`principal.id` has `startsWith(\"…\")` and `endsWith(\"…\")`";
                let message = format!("`{name}` cannot be used on `principal.id`");
                return Err(wrong(&codes::CONDITION_SUBSET, message, help, name_start, name_end));
            }
            _ => {
                let help =
                    "ask for groups one by one: `\"a\" in principal.groups && \"b\" in principal.groups`";
                let message = format!("`{name}` cannot be used on `principal.groups`");
                return Err(wrong(&codes::CONDITION_SUBSET, message, help, name_start, name_end));
            }
        };
        let end = self.tokens.expect(")")?;
        Ok(Operand { what: What::Condition(ops), start, end })
    }

    fn one_text(&mut self) -> Result<String, Wrong> {
        match self.tokens.next()? {
            (Token::Text(text), ..) => Ok(text),
            (_, start, end) => Err(wrong(
                &codes::CONDITION_SUBSET,
                "only a text can stand here",
                "write it in quotes",
                start,
                end,
            )),
        }
    }

    fn variable(&mut self) -> Result<String, Wrong> {
        match self.tokens.next()? {
            (Token::Word(name), ..) if name != "principal" => Ok(name.to_owned()),
            (token, start, end) => Err(self.stray(&token, start, end)),
        }
    }

    /// The body of `exists(g, …)`: `g == "x"`, `"x" == g`, `g in ["x"]`, joined by `||`.
    fn groups_named(&mut self, variable: &str) -> Result<Vec<String>, Wrong> {
        let mut groups = Vec::new();
        loop {
            let (token, start, end) = self.tokens.next()?;
            match token {
                Token::Word(name) if name == variable => {
                    if self.tokens.take("==")? {
                        groups.push(self.one_text()?);
                    } else if self.tokens.take("in")? {
                        self.tokens.expect("[")?;
                        groups.extend(self.texts()?.0);
                    } else {
                        let (_, start, end) = self.tokens.peek()?;
                        return Err(self.exists_body(start, end));
                    }
                }
                Token::Text(text) => {
                    self.tokens.expect("==")?;
                    match self.tokens.next()? {
                        (Token::Word(name), ..) if name == variable => groups.push(text),
                        (_, start, end) => return Err(self.exists_body(start, end)),
                    }
                }
                _ => return Err(self.exists_body(start, end)),
            }
            if !self.tokens.take("||")? {
                return match self.tokens.peek()? {
                    (Token::Symbol(")"), ..) => Ok(groups),
                    (_, start, end) => Err(self.exists_body(start, end)),
                };
            }
        }
    }

    fn exists_body(&self, start: usize, end: usize) -> Wrong {
        let help = "inside `exists` write `g == \"x\"` or `g in [\"x\", \"y\"]`, joined by `||`";
        wrong(&codes::CONDITION_SUBSET, "`exists` cannot ask this of a group", help, start, end)
    }

    fn unknown_name(&self, name: &str, start: usize, end: usize) -> Wrong {
        let (message, help) = match name {
            "has" | "size" | "matches" | "type" | "string" | "int" => {
                (format!("`{name}` cannot be used in the condition of a role"), FACTS.to_owned())
            }
            "args" | "call" | "request" | "now" => (
                format!("a role cannot ask for `{name}`: it says who somebody is, not what they do"),
                FACTS.to_owned(),
            ),
            _ => match suggest::nearest(name, ["principal", "true", "false"]) {
                Some(meant) => (format!("unknown name `{name}`"), format!("did you mean `{meant}`?")),
                None => (format!("unknown name `{name}`"), format!("{FACTS}; a text is written in quotes")),
            },
        };
        wrong(&codes::CONDITION_SUBSET, message, help, start, end)
    }

    fn stray(&self, token: &Token<'_>, start: usize, end: usize) -> Wrong {
        let message = match token {
            Token::End => "the condition ends too early".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}` cannot stand here"),
            Token::Word(word) => format!("`{word}` cannot stand here"),
            Token::Number(number) => format!("the number `{number}` cannot stand here"),
            Token::Text(_) => "a text cannot stand here".to_owned(),
        };
        let help = "for example: `principal.id == \"ann\" || \"support\" in principal.groups`";
        wrong(&codes::CONDITION_SYNTAX, message, help, start, end)
    }
}

fn not(mut ops: Vec<ConditionOp>) -> Vec<ConditionOp> {
    ops.push(ConditionOp::Not);
    ops
}

/// One of these; of none, never.
fn any(texts: Vec<String>, op: fn(String) -> ConditionOp) -> Vec<ConditionOp> {
    let mut ops = Vec::new();
    for text in texts {
        let rest = !ops.is_empty();
        ops.push(op(text));
        if rest {
            ops.push(ConditionOp::Or);
        }
    }
    if ops.is_empty() {
        ops.push(ConditionOp::Const(false));
    }
    ops
}

#[cfg(test)]
mod tests;
