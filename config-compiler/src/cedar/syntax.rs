//! From a Cedar text to its policies.
//!
//! The decision: the parser is ours, and the `cedar-policy` crate is the judge of it in tests (`tests/cedar`). Its own parser is
//! generated, costs every build minutes, and recurses without a bound; this one counts its nesting, and gives every node its place.

use std::ops::Range;

use super::{
    token::{Token, Tokens, letters},
    tree::{Clause, Expr, Head, Kind, Policy, Variable},
};
use crate::{
    condition::Wrong,
    diagnostic::codes,
    limits::{CEDAR_NESTING_MAX, FINDINGS_MAX},
};

type Read<T> = Result<T, Wrong>;

/// All policies that could be read, and what is wrong with the others.
pub fn parse(text: &str) -> (Vec<Policy>, Vec<Wrong>) {
    let mut parser = Parser { tokens: Tokens::of(text), token: Token::End, at: 0..0, before: 0, depth: 0 };
    let (mut policies, mut wrongs) = (Vec::new(), Vec::new());
    let mut next = parser.advance();
    loop {
        let outcome = match next {
            Err(wrong) => Err(wrong),
            Ok(()) if parser.token == Token::End => break,
            Ok(()) => parser.policy(),
        };
        match outcome {
            Ok(policy) => {
                policies.push(policy);
                next = Ok(());
            }
            Err(wrong) => {
                wrongs.push(wrong);
                if wrongs.len() == FINDINGS_MAX {
                    break;
                }
                next = parser.skip();
            }
        }
    }
    (policies, wrongs)
}

struct Parser<'t> {
    tokens: Tokens<'t>,
    token: Token<'t>,
    at: Range<usize>,
    /// Where the token before this one ended.
    before: usize,
    depth: usize,
}

const EXAMPLE: &str =
    "a policy is written `permit (principal in Group::\"support\", action, resource in Upstream::\"crm\");`";

impl Parser<'_> {
    fn advance(&mut self) -> Read<()> {
        self.before = self.at.end;
        (self.token, self.at) = self.tokens.take()?;
        Ok(())
    }

    /// To behind the next `;`: what follows is another policy. A text that never ends leaves nothing.
    fn skip(&mut self) -> Read<()> {
        self.depth = 0;
        while self.token != Token::Sign(";") && self.token != Token::End {
            self.advance()?;
        }
        if self.token == Token::End { Ok(()) } else { self.advance() }
    }

    fn wrong<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Read<T> {
        let at = match self.token {
            Token::End => self.before.saturating_sub(1)..self.before,
            _ => self.at.clone(),
        };
        Err(Wrong::new(&codes::CEDAR_SYNTAX, message, help, at))
    }

    fn stray<T>(&self, expected: &str) -> Read<T> {
        let found = match self.token {
            Token::Word(text) | Token::Number(text) => format!("`{text}`"),
            Token::Text(_) => "a text".to_owned(),
            Token::Slot(name) => format!("`?{name}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => return self.wrong(format!("the file ends where {expected} should stand"), EXAMPLE),
        };
        self.wrong(format!("expected {expected}, found {found}"), EXAMPLE)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(found) if found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.token, Token::Word(found) if found == word)
    }

    fn take(&mut self, sign: &str) -> Read<bool> {
        let found = self.is(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &str) -> Read<()> {
        if self.take(sign)? { Ok(()) } else { self.stray(&format!("`{sign}`")) }
    }

    fn word(&mut self, expected: &str) -> Read<String> {
        let Token::Word(word) = self.token else { return self.stray(expected) };
        let word = word.to_owned();
        self.advance()?;
        Ok(word)
    }

    fn text(&mut self) -> Read<String> {
        let Token::Text(raw) = self.token else { return self.stray("a text in double quotes") };
        let text = plain(raw, self.at.start + 1)?;
        self.advance()?;
        Ok(text)
    }

    fn policy(&mut self) -> Read<Policy> {
        let start = self.at.start;
        let mut id = None;
        let mut seen: Vec<String> = Vec::new();
        while self.take("@")? {
            let name_at = self.at.clone();
            let name = self.word("the name of an annotation")?;
            let mut said = (String::new(), name_at.clone());
            if self.take("(")? {
                said = (String::new(), self.at.clone());
                said.0 = self.text()?;
                self.expect(")")?;
            }
            if seen.contains(&name) {
                let message = format!("the annotation `@{name}` is written twice");
                return Err(Wrong::new(&codes::CEDAR_SYNTAX, message, "leave one of them out", name_at));
            }
            if name == "id" {
                id = Some(said);
            }
            seen.push(name);
        }
        let effect_at = self.at.clone();
        let permits = match self.token {
            Token::Word("permit") => true,
            Token::Word("forbid") => false,
            _ => return self.stray("`permit` or `forbid`"),
        };
        self.advance()?;
        self.expect("(")?;
        let principal = self.head("principal")?;
        self.expect(",")?;
        let action = self.head("action")?;
        self.expect(",")?;
        let resource = self.head("resource")?;
        self.take(",")?;
        self.expect(")")?;
        let mut clauses = Vec::new();
        while !self.is(";") {
            let negated = match self.token {
                Token::Word("when") => false,
                Token::Word("unless") => true,
                _ => return self.stray("`when`, `unless` or `;`"),
            };
            self.advance()?;
            self.expect("{")?;
            let asks = self.expr()?;
            self.expect("}")?;
            clauses.push(Clause { negated, asks });
        }
        let at = start..self.at.end;
        self.advance()?;
        Ok(Policy { at, id, permits, effect_at, principal, action, resource, clauses })
    }

    fn head(&mut self, variable: &str) -> Read<Head> {
        let start = self.at.start;
        if !self.is_word(variable) {
            return self.stray(&format!("`{variable}`"));
        }
        self.advance()?;
        let is = match self.is_word("is") {
            true => {
                self.advance()?;
                let at = self.at.start;
                let name = self.name()?;
                Some((name, at..self.before))
            }
            false => None,
        };
        let related = match self.token {
            Token::Sign("==") => Some(false),
            Token::Word("in") => Some(true),
            Token::Sign("=") => return self.wrong("`=` compares nothing", "write `==`"),
            _ => None,
        };
        let related = match related {
            Some(within) => {
                if is.is_some() && !within {
                    let message = "`is` and `==` do not stand in one head";
                    return self.wrong(message, "`==` says the type already: leave `is` out");
                }
                self.advance()?;
                Some((within, self.primary()?))
            }
            None => None,
        };
        Ok(Head { at: start..self.before, is, related })
    }

    fn name(&mut self) -> Read<String> {
        let mut name = self.word("the name of a type")?;
        while self.is("::") {
            self.advance()?;
            name.push_str("::");
            name.push_str(&self.word("the name of a type")?);
        }
        Ok(name)
    }

    /// One step deeper, and out again.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.depth += 1;
        if self.depth > CEDAR_NESTING_MAX {
            let message = format!("expressions are nested more than {CEDAR_NESTING_MAX} deep");
            let help = "split the policy into several";
            return Err(Wrong::new(&codes::CEDAR_LIMIT, message, help, self.at.clone()));
        }
        let out = inner(self)?;
        self.depth -= 1;
        Ok(out)
    }

    fn expr(&mut self) -> Read<Expr> {
        self.deeper(|this| {
            let start = this.at.start;
            if !this.is_word("if") {
                return this.or();
            }
            this.advance()?;
            let asked = this.expr()?;
            this.keyword("then")?;
            let then = this.expr()?;
            this.keyword("else")?;
            let otherwise = this.expr()?;
            Ok(Expr { kind: Kind::If(Box::new([asked, then, otherwise])), at: start..this.before })
        })
    }

    fn keyword(&mut self, word: &str) -> Read<()> {
        if !self.is_word(word) {
            return self.stray(&format!("`{word}`"));
        }
        self.advance()
    }

    fn or(&mut self) -> Read<Expr> {
        self.chain("||", Self::and, Kind::Or)
    }

    fn and(&mut self) -> Read<Expr> {
        self.chain("&&", Self::relation, Kind::And)
    }

    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Read<Expr>,
        kind: fn(Vec<Expr>) -> Kind,
    ) -> Read<Expr> {
        let start = self.at.start;
        let first = part(self)?;
        if !self.is(sign) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(sign)? {
            parts.push(part(self)?);
        }
        Ok(Expr { kind: kind(parts), at: start..self.before })
    }

    fn relation(&mut self) -> Read<Expr> {
        let start = self.at.start;
        let left = self.sum()?;
        let kind = match self.token {
            Token::Word("has") => {
                self.advance()?;
                let keys = match self.token {
                    Token::Text(_) => vec![self.text()?],
                    _ => {
                        let mut keys = vec![self.word("an attribute")?];
                        while self.take(".")? {
                            keys.push(self.word("an attribute")?);
                        }
                        keys
                    }
                };
                Kind::Has(Box::new(left), keys)
            }
            Token::Word("like") => {
                self.advance()?;
                let Token::Text(raw) = self.token else { return self.stray("a pattern in double quotes") };
                let raw = raw.to_owned();
                self.advance()?;
                Kind::Like(Box::new(left), raw)
            }
            Token::Word("is") => {
                self.advance()?;
                let name = self.name()?;
                let within = match self.is_word("in") {
                    true => {
                        self.advance()?;
                        Some(Box::new(self.sum()?))
                    }
                    false => None,
                };
                Kind::Is(Box::new(left), name, within)
            }
            _ => match self.relation_sign()? {
                Some(sign) => {
                    let right = self.sum()?;
                    Kind::Relation(sign, Box::new([left, right]))
                }
                None => return Ok(left),
            },
        };
        if matches!(self.token, Token::Word("has" | "like" | "is" | "in")) || self.peek_relation() {
            return self.wrong("comparisons do not follow each other", "join them by `&&`");
        }
        Ok(Expr { kind, at: start..self.before })
    }

    fn peek_relation(&self) -> bool {
        matches!(self.token, Token::Sign("==" | "!=" | "<" | "<=" | ">" | ">=" | "="))
    }

    fn relation_sign(&mut self) -> Read<Option<&'static str>> {
        let sign = match self.token {
            Token::Sign("=") => return self.wrong("`=` compares nothing", "write `==`"),
            Token::Sign(sign) if self.peek_relation() => sign,
            Token::Word("in") => "in",
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(sign))
    }

    fn sum(&mut self) -> Read<Expr> {
        let start = self.at.start;
        let mut left = self.unary()?;
        while let Token::Sign(sign @ ("+" | "-" | "*" | "/" | "%")) = self.token {
            if matches!(sign, "/" | "%") {
                return self.wrong(format!("Cedar has no `{sign}`"), "write the finished number");
            }
            self.advance()?;
            self.unary()?;
            // What it comes to is not asked: there is no arithmetic in a condition.
            left = Expr { kind: Kind::Arithmetic(sign), at: start..self.before };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Read<Expr> {
        let start = self.at.start;
        let Token::Sign(sign @ ("!" | "-")) = self.token else { return self.member() };
        let mut count = 0;
        while self.take(sign)? {
            count += 1;
            if count > 4 {
                return self.wrong(format!("Cedar takes at most four `{sign}`"), "leave two of them out");
            }
        }
        let is_number = sign == "-" && matches!(self.token, Token::Number(_));
        if let (true, 1, Token::Number(digits)) = (is_number, count, self.token) {
            let value = match format!("-{digits}").parse() {
                Ok(value) => value,
                Err(_) => return self.too_large(),
            };
            self.advance()?;
            if self.is(".") || self.is("[") {
                return self.stray("an end of the number");
            }
            return Ok(Expr { kind: Kind::Long(value), at: start..self.before });
        }
        let inner = self.member()?;
        let at = start..self.before;
        if sign == "-" {
            return Ok(Expr { kind: Kind::Arithmetic("-"), at });
        }
        let mut out = inner;
        for _ in 0..count {
            out = Expr { kind: Kind::Not(Box::new(out)), at: at.clone() };
        }
        Ok(out)
    }

    fn too_large<T>(&self) -> Read<T> {
        self.wrong("this number does not fit in 64 bits", "a Cedar `Long` ends at 9223372036854775807")
    }

    fn member(&mut self) -> Read<Expr> {
        let start = self.at.start;
        let mut out = self.primary()?;
        let mut steps = 0;
        loop {
            let kind = if self.take(".")? {
                let name = self.word("an attribute or a method")?;
                match self.take("(")? {
                    true => Kind::Method(Box::new(out), name, self.list(")")?),
                    false => Kind::Field(Box::new(out), name),
                }
            } else if self.is("[") {
                self.advance()?;
                let key = self.text()?;
                self.expect("]")?;
                Kind::Field(Box::new(out), key)
            } else {
                return Ok(out);
            };
            // Each of them is a step deeper for whoever walks the tree.
            steps += 1;
            out = Expr { kind, at: start..self.before };
            if self.depth + steps > CEDAR_NESTING_MAX {
                let message = format!("expressions are nested more than {CEDAR_NESTING_MAX} deep");
                return Err(Wrong::new(&codes::CEDAR_LIMIT, message, "ask for something less deep", out.at));
            }
        }
    }

    fn list(&mut self, closing: &str) -> Read<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.is(closing) {
            items.push(self.expr()?);
            if !self.is(closing) {
                self.expect(",")?;
            }
        }
        self.advance()?;
        Ok(items)
    }

    fn primary(&mut self) -> Read<Expr> {
        let start = self.at.start;
        let kind = match self.token {
            Token::Text(raw) => {
                let text = plain(raw, start + 1)?;
                self.advance()?;
                Kind::Text(text)
            }
            Token::Number(digits) => {
                let Ok(value) = digits.parse() else { return self.too_large() };
                self.advance()?;
                Kind::Long(value)
            }
            Token::Slot(name) => {
                let name = name.to_owned();
                self.advance()?;
                Kind::Slot(name)
            }
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.expr()?;
                self.expect(")")?;
                return Ok(Expr { kind: inner.kind, at: start..self.before });
            }
            Token::Sign("[") => {
                self.advance()?;
                Kind::Set(self.deeper(|this| this.list("]"))?)
            }
            Token::Sign("{") => {
                self.advance()?;
                self.deeper(Self::record)?;
                Kind::Record
            }
            Token::Word(word) => return self.named(word, start),
            _ => return self.stray("an expression"),
        };
        Ok(Expr { kind, at: start..self.before })
    }

    /// What is in it is not asked, as long as it is well-formed.
    fn record(&mut self) -> Read<()> {
        while !self.is("}") {
            match self.token {
                Token::Text(_) => drop(self.text()?),
                _ => drop(self.word("an attribute")?),
            }
            self.expect(":")?;
            self.expr()?;
            if !self.is("}") {
                self.expect(",")?;
            }
        }
        self.advance()
    }

    fn named(&mut self, word: &str, start: usize) -> Read<Expr> {
        let mut name = word.to_owned();
        self.advance()?;
        while self.take("::")? {
            if let Token::Text(raw) = self.token {
                let id = plain(raw, self.at.start + 1)?;
                self.advance()?;
                return Ok(Expr { kind: Kind::Entity { of: name, id }, at: start..self.before });
            }
            name.push_str("::");
            name.push_str(&self.word("the id of an entity in double quotes")?);
        }
        let at = start..self.before;
        if self.take("(")? {
            let arguments = self.list(")")?;
            return Ok(Expr { kind: Kind::Function(name, arguments), at: start..self.before });
        }
        let kind = match name.as_str() {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "principal" => Kind::Variable(Variable::Principal),
            "action" => Kind::Variable(Variable::Action),
            "resource" => Kind::Variable(Variable::Resource),
            "context" => Kind::Variable(Variable::Context),
            name => {
                let message = format!("`{name}` is no variable");
                let help =
                    "ask of `principal`, `action`, `resource` or `context`; texts stand in double quotes";
                return Err(Wrong::new(&codes::CEDAR_SYNTAX, message, help, at));
            }
        };
        Ok(Expr { kind, at })
    }
}

/// What a text says that is no pattern. `from` is where it begins.
pub(super) fn plain(raw: &str, from: usize) -> Read<String> {
    match letters(raw, false) {
        Ok(letters) => Ok(letters.into_iter().map(|(letter, _)| letter).collect()),
        Err(at) => Err(escape(raw, at, from)),
    }
}

pub(super) fn escape(raw: &str, at: Range<usize>, from: usize) -> Wrong {
    let written = raw.get(at.clone()).unwrap_or_default().escape_debug().to_string();
    let message = format!("`{}` is no escape", written.replace("\\\\", "\\"));
    let help = "write `\\n`, `\\r`, `\\t`, `\\0`, `\\\\`, `\\\"`, `\\'`, `\\x41` or `\\u{e9}`";
    Wrong::new(&codes::CEDAR_SYNTAX, message, help, from + at.start..from + at.end)
}
