//! Findings: what is wrong with a configuration, where, and what to do about it.
//!
//! A finding keeps its parts apart (message, place, label, notes, help, suggestion), so that a
//! terminal, an editor and a JSON consumer each lay them out in their own way. Texts are lower case
//! and quote the author's own words in backticks. [`codes`] lists every code; [`render`] draws them.

pub mod codes;
pub mod render;

use crate::{limits::FINDINGS_MAX, source::Span};
pub use codes::Code;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn label(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Finding {
    pub code: &'static Code,
    pub message: String,
    /// `None` only when the root file could not be opened at all.
    pub span: Option<Span>,
    /// What stands under the underlined text; may be empty.
    pub label: String,
    /// Other places that matter: "declared here".
    pub notes: Vec<Note>,
    pub help: Option<String>,
    /// The name that was probably meant, ready to replace the underlined one.
    pub did_you_mean: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Note {
    pub span: Span,
    pub text: String,
}

impl Finding {
    pub fn new(code: &'static Code, span: Span, message: impl Into<String>) -> Finding {
        Finding { span: Some(span), ..Finding::nowhere(code, message) }
    }

    pub fn nowhere(code: &'static Code, message: impl Into<String>) -> Finding {
        Finding {
            code,
            message: message.into(),
            span: None,
            label: String::new(),
            notes: Vec::new(),
            help: None,
            did_you_mean: None,
        }
    }

    pub fn label(mut self, label: impl Into<String>) -> Finding {
        self.label = label.into();
        self
    }

    pub fn note(mut self, span: Span, text: impl Into<String>) -> Finding {
        self.notes.push(Note { span, text: text.into() });
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }

    pub fn meant(mut self, name: Option<&str>) -> Finding {
        self.did_you_mean = name.map(str::to_owned);
        self
    }

    pub fn severity(&self) -> Severity {
        self.code.severity
    }
}

/// Quotes may hold escape sequences for the reader's terminal, or marks that turn text around.
fn printable(mut finding: Finding) -> Finding {
    let hostile = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean = |text: &mut String| {
        if text.contains(hostile) {
            *text = text.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect();
        }
    };
    clean(&mut finding.message);
    clean(&mut finding.label);
    finding.notes.iter_mut().for_each(|note| clean(&mut note.text));
    finding.help.iter_mut().for_each(clean);
    finding.did_you_mean.iter_mut().for_each(clean);
    finding
}

/// All findings of a run, capped: an error is never lost to warnings that came before it.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    omitted: usize,
    errors: usize,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        let finding = printable(finding);
        let is_error = finding.severity() == Severity::Error;
        self.errors += usize::from(is_error);
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
            return;
        }
        self.omitted += 1;
        if let Some(warning) = self.kept.iter_mut().rfind(|f| is_error && f.severity() == Severity::Warning) {
            *warning = finding;
        }
    }

    /// Further findings are only counted: no use in working out suggestions for them.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= FINDINGS_MAX
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// In the order of the files and of the text, with the number of those left out.
    pub fn finish(mut self) -> (Vec<Finding>, usize) {
        self.kept.sort_by_key(|f| (f.span, f.code.number));
        (self.kept, self.omitted)
    }
}
