//! CEL's words and symbols, with their places. One token is looked ahead.

use super::{Wrong, wrong};
use crate::diagnostic::codes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token<'t> {
    Word(&'t str),
    Text(String),
    Number(&'t str),
    /// `in` counts as one.
    Symbol(&'static str),
    End,
}

/// Longest first, so that `==` is not two of something.
const SYMBOLS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "!", "<", ">", "+", "-", "*",
    "/", "%", "?", ":",
];

pub struct Tokens<'t> {
    text: &'t str,
    at: usize,
    ahead: Option<(Token<'t>, usize, usize)>,
}

impl<'t> Tokens<'t> {
    pub fn new(text: &'t str) -> Tokens<'t> {
        Tokens { text, at: 0, ahead: None }
    }

    /// The next token with its start and end.
    pub fn next(&mut self) -> Result<(Token<'t>, usize, usize), Wrong> {
        match self.ahead.take() {
            Some(ahead) => Ok(ahead),
            None => self.read(),
        }
    }

    pub fn peek(&mut self) -> Result<(Token<'t>, usize, usize), Wrong> {
        let next = self.next()?;
        self.ahead = Some(next.clone());
        Ok(next)
    }

    pub fn next_is(&mut self, symbol: &str) -> Result<bool, Wrong> {
        Ok(matches!(self.peek()?, (Token::Symbol(found), ..) if found == symbol))
    }

    pub fn take(&mut self, symbol: &str) -> Result<bool, Wrong> {
        let found = self.next_is(symbol)?;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    /// Where the symbol ends.
    pub fn expect(&mut self, symbol: &str) -> Result<usize, Wrong> {
        match self.next()? {
            (Token::Symbol(found), _, end) if found == symbol => Ok(end),
            (_, start, end) => {
                let message = format!("expected `{symbol}` here");
                let help = "for example: `principal.id == \"ann\" || \"support\" in principal.groups`";
                Err(wrong(&codes::CONDITION_SYNTAX, message, help, start, end))
            }
        }
    }

    fn read(&mut self) -> Result<(Token<'t>, usize, usize), Wrong> {
        let rest = self.text[self.at..].trim_start();
        let start = self.text.len() - rest.len();
        let (token, len) = match rest.chars().next() {
            None => (Token::End, 0),
            Some(quote @ ('"' | '\'')) => self.quoted(rest, quote, start)?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let len = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
                let word = &rest[..len];
                (if word == "in" { Token::Symbol("in") } else { Token::Word(word) }, len)
            }
            Some(c) if c.is_ascii_digit() => {
                let len = run(rest, |c| c.is_ascii_alphanumeric() || c == '.');
                (Token::Number(&rest[..len]), len)
            }
            Some(c) => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => {
                    let help = match c {
                        '&' | '|' => format!("write `{c}{c}`"),
                        '=' => "write `==`".to_owned(),
                        _ => "texts are written in quotes".to_owned(),
                    };
                    let message = format!("`{c}` is not part of a condition");
                    return Err(wrong(&codes::CONDITION_SYNTAX, message, help, start, start + c.len_utf8()));
                }
            },
        };
        self.at = start + len;
        Ok((token, start, start + len))
    }

    /// A text in quotes, and how long it is with them.
    fn quoted(&self, rest: &str, quote: char, start: usize) -> Result<(Token<'t>, usize), Wrong> {
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => return Ok((Token::Text(text), at + c.len_utf8())),
                '\n' => break,
                '\\' => {
                    let escaped = chars.next().and_then(|(_, c)| unescape(c, &mut chars));
                    let Some(c) = escaped else {
                        let help = "escapes are `\\\\`, `\\\"`, `\\'`, `\\n`, `\\r`, `\\t`, `\\xHH`, `\\uHHHH` and `\\UHHHHHHHH`";
                        let from = start + at;
                        return Err(wrong(&codes::CONDITION_SYNTAX, "unknown escape", help, from, from + 1));
                    };
                    text.push(c);
                }
                c => text.push(c),
            }
        }
        let help = format!("close it with `{quote}`");
        Err(wrong(&codes::CONDITION_SYNTAX, "a text is not closed", help, start, start + 1))
    }
}

fn unescape(c: char, chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let mut hex = |digits: usize| {
        let mut value = 0;
        for _ in 0..digits {
            value = value * 16 + chars.next()?.1.to_digit(16)?;
        }
        char::from_u32(value)
    };
    match c {
        '\\' | '"' | '\'' | '?' | '`' => Some(c),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        _ => None,
    }
}

fn run(text: &str, belongs: fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}
