//! How results and failures look. A person gets text, coloured on a terminal; a program that asked with
//! `--json` gets JSON on stdout for facts and one line of JSON on stderr for a failure. A closed pipe is
//! never an error: whoever closed it has seen enough.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
use strait_config_compiler::{Outcome, render, to_json};
use strait_control::Failure;

pub struct Output {
    pub json: bool,
    pub color: When,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

impl Output {
    /// The facts a verb was asked for.
    pub fn facts(&self, value: &Value, text: impl FnOnce() -> String) {
        match self.json {
            true => print(&format!("{value:#}\n")),
            false => print(&text()),
        }
    }

    /// All findings, as the answer to `strait check`, with these further facts.
    pub fn findings(&self, outcome: &Outcome, more: Value) {
        match self.json {
            true => {
                let mut facts = to_json(outcome);
                if let (Some(facts), Value::Object(more)) = (facts.as_object_mut(), more) {
                    facts.extend(more);
                }
                print(&format!("{facts:#}\n"));
            }
            false => print(&render(outcome, self.colors(&std::io::stdout()))),
        }
    }

    /// Warnings of a run that goes on, on stderr.
    pub fn warnings(&self, outcome: &Outcome) {
        if !outcome.findings.is_empty() && !self.json {
            let text = render(outcome, self.colors(&std::io::stderr()));
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// Something to read beside what is on stdout.
    pub fn note(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    pub fn failure(&self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        if self.json {
            let mut error =
                json!({ "code": failure.code.word(), "message": failure.message, "help": failure.help });
            if let Some(outcome) = &failure.outcome {
                error["findings"] = to_json(outcome)["findings"].take();
            }
            let _ = writeln!(std::io::stderr().lock(), "{}", json!({ "error": error }));
            return;
        }
        if let Some(outcome) = &failure.outcome {
            return self.warnings(outcome);
        }
        error_line(&failure.message);
        if let Some(help) = &failure.help {
            let _ = writeln!(std::io::stderr().lock(), "  help: {help}");
        }
    }

    pub fn colors(&self, stream: &impl IsTerminal) -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                stream.is_terminal()
                    && !set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        }
    }
}

pub fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

pub fn error_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "error: {text}");
}

/// `1 tool`, `2 tools`.
pub fn count(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// Columns of a terminal that nobody has made wider.
pub const COLUMNS: usize = 80;

/// Words in lines of [`COLUMNS`], each line after `indent` blanks; a word that is longer stands alone.
pub fn wrapped<'w>(indent: usize, words: impl IntoIterator<Item = &'w str>) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in words {
        let length = word.chars().count();
        if column > 0 && column + 1 + length <= COLUMNS {
            out.push(' ');
            column += 1;
        } else {
            if column > 0 {
                out.push('\n');
            }
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        out.push_str(word);
        column += length;
    }
    if column > 0 {
        out.push('\n');
    }
    out
}

/// Columns of the word that a text hangs from.
const HANGING: usize = 8;

/// A word, and a text beside it that hangs from there.
pub fn hanging(indent: usize, word: &str, text: &str) -> String {
    let column = indent + HANGING;
    let lines = wrapped(column, text.split(' '));
    format!("{:indent$}{word:<w$}{}", "", lines.get(column..).unwrap_or_default(), w = column - indent)
}
