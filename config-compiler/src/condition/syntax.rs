//! From an author's text to CEL's syntax tree, and from its nodes back to places in the text.
//!
//! The decision: the `cel` crate parses. It is generated from CEL's own grammar and recurses, so what reaches it is bounded
//! first (length, nesting), and it runs on a thread of its own with a stack that is known to be enough. One thread for all
//! conditions of a load: a generated policy has tens of thousands.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};

use cel::{
    common::ast::{Expr, IdedExpr, SourceInfo},
    parser::{ParseErrors, Parser},
};

use super::Wrong;
use crate::{
    diagnostic::codes,
    limits::{CONDITION_BYTES_MAX, CONDITION_NESTING_MAX, CONDITION_SYMBOLS_MAX},
};

/// Enough for every text within the bounds, in debug builds too.
const STACK_BYTES: usize = 64 << 20;

/// A text that was understood.
pub struct Parsed<'t> {
    pub text: &'t str,
    pub tree: IdedExpr,
    info: SourceInfo,
}

type Outcome = Result<(IdedExpr, SourceInfo), ParseErrors>;

/// Parses one condition after the other.
#[derive(Default)]
pub struct Parsing(Option<Thread>);

/// It ends when nobody asks it any more.
struct Thread {
    texts: Sender<String>,
    outcomes: Receiver<Outcome>,
}

impl Parsing {
    pub fn parse<'t>(&mut self, text: &'t str) -> Result<Parsed<'t>, Wrong> {
        bounded(text)?;
        if text.trim().is_empty() {
            let help = "write one like `args.amount <= 500`";
            return Err(Wrong::new(&codes::CONDITION_SYNTAX, "the condition is empty", help, 0..text.len()));
        }
        match self.outcome(text.to_owned()) {
            Some(Ok((tree, info))) => Ok(Parsed { text, tree, info }),
            Some(Err(errors)) => Err(syntax(text, &errors)),
            None => {
                // No thread, or one that panicked: the condition is not understood, which is an error like any other. The next
                // one gets a thread of its own.
                self.0 = None;
                let (message, help) = ("the condition cannot be parsed", "write it in another way");
                Err(Wrong::new(&codes::CONDITION_SYNTAX, message, help, 0..text.len()))
            }
        }
    }

    fn outcome(&mut self, text: String) -> Option<Outcome> {
        if self.0.is_none() {
            self.0 = thread();
        }
        let thread = self.0.as_ref()?;
        thread.texts.send(text).ok()?;
        thread.outcomes.recv().ok()
    }
}

fn thread() -> Option<Thread> {
    let (texts, asked) = channel::<String>();
    let (told, outcomes) = channel();
    let parse = move || {
        for text in asked {
            let outcome = Parser::new().max_recursion_depth(96).parse_with_source_info(&text);
            if told.send(outcome).is_err() {
                return;
            }
        }
    };
    let named = std::thread::Builder::new().name("condition".to_owned()).stack_size(STACK_BYTES);
    named.spawn(parse).ok().map(|_| Thread { texts, outcomes })
}

/// Bounds that are checked before any parser sees the text.
fn bounded(text: &str) -> Result<(), Wrong> {
    let limit = |message: String, at| {
        Err(Wrong::new(&codes::CONDITION_LIMIT, message, "split it into several rules or roles", at))
    };
    if text.len() > CONDITION_BYTES_MAX {
        return limit(format!("the condition is longer than {CONDITION_BYTES_MAX} bytes"), 0..text.len());
    }
    let (mut depth, mut symbols, mut quote) = (0usize, 0usize, None);
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if let Some(closing) = quote {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if letter == closing => quote = None,
                _ => {}
            }
            continue;
        }
        match letter {
            '"' | '\'' => quote = Some(letter),
            '(' | '[' | '{' => {
                depth += 1;
                if depth > CONDITION_NESTING_MAX {
                    let message = format!("parentheses are nested more than {CONDITION_NESTING_MAX} deep");
                    return limit(message, at..at + 1);
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '.' | '-' | '?' | '+' | '*' | '/' | '%' | '!' => {
                symbols += 1;
                if symbols > CONDITION_SYMBOLS_MAX {
                    let message =
                        format!("the condition has more than {CONDITION_SYMBOLS_MAX} dots and operators");
                    return limit(message, at..at + 1);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first complaint, in our words.
fn syntax(text: &str, errors: &ParseErrors) -> Wrong {
    let Some(error) = errors.errors.iter().find(|error| error.pos.0 > 0).or(errors.errors.first()) else {
        return Wrong::new(&codes::CONDITION_SYNTAX, "the condition is not CEL", HELP, 0..text.len());
    };
    let line = usize::try_from(error.pos.0).unwrap_or(1).max(1) - 1;
    let column = usize::try_from(error.pos.1).unwrap_or(1).max(1) - 1;
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    // Columns count letters.
    let start = text[line_start..].char_indices().nth(column).map_or(text.len(), |(at, _)| line_start + at);
    let rest = &text[start..];
    let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let length = if length == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { length };
    let stray = format!("`{}` cannot stand here", &rest[..length]);
    let (message, help) = match error.msg.as_str() {
        message if message.contains("ecursion limit") => {
            let help = "split it into several rules or roles";
            return Wrong::new(
                &codes::CONDITION_LIMIT,
                "the condition is nested too deeply",
                help,
                0..text.len(),
            );
        }
        message if message.contains("invalid int literal") || message.contains("invalid uint literal") => {
            ("this number does not fit in 64 bits", "write it with a fraction: `99999999999999999999.0`")
        }
        message if message.contains("has() macro") => ("`has` asks for a field", "write `has(args.amount)`"),
        message if message.contains("simple name") => {
            ("a quantifier names its element", "write `args.items.all(i, i.price < 5)`")
        }
        _ if rest.trim().is_empty() => ("the condition ends too early", HELP),
        _ if rest.starts_with('=') && !rest.starts_with("==") => ("`=` compares nothing", "write `==`"),
        _ if rest.starts_with("and ") => ("`and` joins nothing", "write `&&`"),
        _ if rest.starts_with("or ") => ("`or` joins nothing", "write `||`"),
        _ if rest.starts_with('&') => ("`&` joins nothing", "write `&&`"),
        _ if rest.starts_with('|') => ("`|` joins nothing", "write `||`"),
        _ if rest.starts_with(['"', '\'']) => {
            ("this text never ends", "close it with the quote it began with")
        }
        _ => (stray.as_str(), HELP),
    };
    Wrong::new(&codes::CONDITION_SYNTAX, message, help, start..start + length)
}

const HELP: &str =
    "conditions are written in CEL: `args.amount <= 500 && args.currency in [\"USD\", \"EUR\"]`";

impl Parsed<'_> {
    /// Where a node stands, from its first letter to its last.
    pub fn place(&self, node: &IdedExpr) -> Range<usize> {
        let own = self.own(node);
        let mut place = own.clone();
        let mut closes = None;
        let mut add = |other: Range<usize>| {
            place.start = place.start.min(other.start);
            place.end = place.end.max(other.end);
        };
        match &node.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| add(self.place(target)));
                call.args.iter().for_each(|argument| add(self.place(argument)));
                // The node of a call stands at its parenthesis.
                let is_operator = call.func_name.starts_with(['_', '@', '!', '-']);
                match self.text.get(own.clone()) {
                    Some("(") if !is_operator => {
                        closes = Some(')');
                        if call.target.is_none() {
                            let name = own.start.saturating_sub(call.func_name.len());
                            add(name..own.end);
                        }
                    }
                    Some("[") => closes = Some(']'),
                    _ => {}
                }
            }
            Expr::Select(select) => {
                add(self.place(&select.operand));
                if select.test {
                    closes = Some(')');
                    let from = own.start.saturating_sub(3);
                    add(from..own.end);
                } else {
                    let rest = self.text.get(own.end..).unwrap_or_default();
                    let blanks = rest.len() - rest.trim_start().len();
                    add(own.end..own.end + blanks + select.field.len());
                }
            }
            Expr::List(list) => {
                list.elements.iter().for_each(|element| add(self.place(element)));
                closes = Some(']');
            }
            Expr::Comprehension(each) => {
                add(self.place(&each.iter_range));
                add(self.place(&each.loop_step));
                closes = Some(')');
            }
            _ => {}
        }
        if let Some(closing) = closes {
            let rest = self.text.get(place.end..).unwrap_or_default();
            if let Some(found) = rest.find(closing) {
                place.end += found + closing.len_utf8();
            }
        }
        place.end = place.end.min(self.text.len());
        place
    }

    /// The text of a node's own token.
    pub fn token(&self, node: &IdedExpr) -> &str {
        self.text.get(self.own(node)).unwrap_or_default()
    }

    fn own(&self, node: &IdedExpr) -> Range<usize> {
        match self.info.offset_for(node.id) {
            Some((start, stop)) => start as usize..(stop as usize).saturating_add(1).max(start as usize),
            None => 0..self.text.len(),
        }
    }
}
