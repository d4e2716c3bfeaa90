//! The tokens of Cedar, one at a time, each with its place.

use std::ops::Range;

use crate::{condition::Wrong, diagnostic::codes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'t> {
    Word(&'t str),
    Number(&'t str),
    /// What stands between the quotes, escapes and all.
    Text(&'t str),
    Slot(&'t str),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 28] = [
    "::", "==", "!=", "<=", ">=", "&&", "||", ":", "=", "!", "<", ">", "+", "-", "*", "/", "%", "@", ".",
    ",", ";", "(", ")", "{", "}", "[", "]", "?",
];

pub struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tokens<'t> {
    pub fn of(text: &'t str) -> Tokens<'t> {
        Tokens { text, at: 0 }
    }

    pub fn take(&mut self) -> Result<(Token<'t>, Range<usize>), Wrong> {
        self.blanks();
        let (start, rest) = (self.at, self.text.get(self.at..).unwrap_or_default());
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start..start)) };
        let taken = |accepts: fn(char) -> bool, from: usize| {
            let tail = rest.get(from..).unwrap_or_default();
            from + tail.find(|c| !accepts(c)).unwrap_or(tail.len())
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (token, length) = match first {
            '"' => self.quoted(rest)?,
            '0'..='9' => {
                let length = taken(|c| c.is_ascii_digit(), 0);
                (Token::Number(&rest[..length]), length)
            }
            '?' if rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => {
                let length = taken(is_word, 1);
                (Token::Slot(&rest[1..length]), length)
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = taken(is_word, 0);
                (Token::Word(&rest[..length]), length)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => {
                    let at = start..start + first.len_utf8();
                    // What comes behind it is looked at as if it were not there.
                    self.at = at.end;
                    let help = match first {
                        '&' => "write `&&`",
                        '|' => "write `||`",
                        '\'' => "texts stand in double quotes",
                        _ => "Cedar has no such sign",
                    };
                    return Err(Wrong::new(
                        &codes::CEDAR_SYNTAX,
                        format!("`{first}` cannot stand here"),
                        help,
                        at,
                    ));
                }
            },
        };
        self.at += length;
        Ok((token, start..start + length))
    }

    fn quoted(&mut self, rest: &'t str) -> Result<(Token<'t>, usize), Wrong> {
        let mut escaped = false;
        for (at, letter) in rest.char_indices().skip(1) {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Ok((Token::Text(&rest[1..at]), at + 1)),
                _ => {}
            }
        }
        let start = self.at;
        self.at = self.text.len();
        let line = rest.find('\n').unwrap_or(rest.len());
        let help = "close it with a double quote";
        Err(Wrong::new(&codes::CEDAR_SYNTAX, "this text never ends", help, start..start + line))
    }

    fn blanks(&mut self) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }
}

/// A letter of a text, and whether it is one that was written `\*`.
pub type Letter = (char, bool);

/// What a text says. `\*` is for patterns only. The error: the escape that is none.
pub fn letters(raw: &str, is_pattern: bool) -> Result<Vec<Letter>, Range<usize>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut letters = raw.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {}
            // A file that was written with other line ends must not mean something else.
            '\r' => return Err(at..at + 1),
            _ => {
                out.push((letter, false));
                continue;
            }
        }
        let Some((_, escaped)) = letters.next() else { return Err(at..at + 1) };
        let wrong = at..at + 1 + escaped.len_utf8();
        let meant = match escaped {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            '\\' | '\'' | '"' => escaped,
            '*' if is_pattern => {
                out.push(('*', true));
                continue;
            }
            'x' => {
                let digits = raw.get(at + 2..at + 4).ok_or(wrong.clone())?;
                let code = hex(digits).filter(|code| *code < 0x80).and_then(char::from_u32);
                letters.nth(1);
                code.ok_or(wrong)?
            }
            'u' => {
                let inner = raw.get(at + 2..).and_then(|rest| rest.strip_prefix('{')).ok_or(wrong.clone())?;
                let length = inner.find('}').filter(|length| *length <= 8).ok_or(wrong.clone())?;
                let digits = inner.get(..length).ok_or(wrong.clone())?;
                letters.nth(length + 1);
                hex(digits).and_then(char::from_u32).ok_or(wrong)?
            }
            _ => return Err(wrong),
        };
        out.push((meant, false));
    }
    Ok(out)
}

fn hex(digits: &str) -> Option<u32> {
    let all = !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok())?
}
