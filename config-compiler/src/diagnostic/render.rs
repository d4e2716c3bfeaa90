//! Findings for people and for programs: rustc's look through annotate-snippets, one line each, and
//! JSON. The text of a confidential file is never drawn, and masked stretches are drawn as asterisks.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DEFAULT_TERM_WIDTH};
use serde_json::{Value, json};

use super::{Finding, Severity};
use crate::{
    load::Outcome,
    source::{FileId, SourceMap, Span},
};

/// All findings as a terminal shows them, with a closing line that counts them.
pub fn render(outcome: &Outcome, color: bool) -> String {
    let shown: Vec<String> = outcome.sources.files().map(|file| file.shown()).collect();
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(DEFAULT_TERM_WIDTH);
    let mut out = String::new();
    for finding in &outcome.findings {
        out.push_str(&full(&renderer, finding, &outcome.sources, &shown));
        out.push_str("\n\n");
    }
    out.push_str(&summary(outcome));
    out
}

/// `ST0207 teams/crm.yaml:41:13 error: unknown upstream …`, one finding a line and help below it.
pub fn render_short(outcome: &Outcome) -> String {
    let lines = outcome.findings.iter().map(|finding| short(finding, &outcome.sources));
    lines.chain([summary(outcome)]).collect()
}

/// One finding in the one-line form.
pub fn short(finding: &Finding, sources: &SourceMap) -> String {
    let place = finding.span.map_or(String::new(), |span| format!(" {}", at(sources, span)));
    let mut out = format!("{}{place}  {}: {}\n", finding.code, finding.severity().label(), finding.message);
    for note in &finding.notes {
        out.push_str(&format!("       note: {} at {}\n", note.text, at(sources, note.span)));
    }
    if let Some(name) = &finding.did_you_mean {
        out.push_str(&format!("       help: did you mean `{name}`?\n"));
    } else if let Some(help) = &finding.help {
        out.push_str(&format!("       help: {help}\n"));
    }
    out
}

fn at(sources: &SourceMap, span: Span) -> String {
    let place = sources.place(span);
    format!("{}:{}:{}", sources.file(span.file).name, place.line, place.column)
}

fn full(renderer: &Renderer, finding: &Finding, sources: &SourceMap, shown: &[String]) -> String {
    let level = match finding.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let visible = |span: Span| {
        let file = sources.file(span.file);
        !file.confidential && !file.text.is_empty()
    };
    let Some(primary) = finding.span.filter(|span| visible(*span)) else {
        return short(finding, sources).trim_end().to_owned();
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.code.to_string());
    let mut snippet = snippet(sources, shown, primary.file)
        .annotation(AnnotationKind::Primary.span(range(sources, primary)).label(finding.label.as_str()));
    for note in finding.notes.iter().filter(|note| note.span.file == primary.file) {
        snippet = snippet
            .annotation(AnnotationKind::Context.span(range(sources, note.span)).label(note.text.as_str()));
    }
    let mut group = Group::with_title(title).element(snippet);
    for note in finding.notes.iter().filter(|note| note.span.file != primary.file && visible(note.span)) {
        let elsewhere = self::snippet(sources, shown, note.span.file)
            .annotation(AnnotationKind::Context.span(range(sources, note.span)).label(note.text.as_str()));
        group = group.element(elsewhere);
    }
    let mut report = vec![group];
    if let Some(name) = &finding.did_you_mean {
        report.push(Group::with_title(Level::HELP.secondary_title(format!("did you mean `{name}`?"))));
    }
    if let Some(help) = &finding.help {
        report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
    }
    renderer.render(&report)
}

fn snippet<'s, A: Clone>(sources: &'s SourceMap, shown: &'s [String], file: FileId) -> Snippet<'s, A> {
    Snippet::source(shown[file.0 as usize].as_str()).path(sources.file(file).name.as_str())
}

/// Underlined text stays on one line.
fn range(sources: &SourceMap, span: Span) -> std::ops::Range<usize> {
    let span = sources.first_line(span);
    span.start as usize..span.end as usize
}

fn summary(outcome: &Outcome) -> String {
    let name = outcome.sources.files().next().map_or("the configuration", |file| file.name.as_str());
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let more = match outcome.omitted {
        0 => String::new(),
        n => format!(" and {n} more findings"),
    };
    match (outcome.errors(), outcome.warnings()) {
        (0, 0) => format!("{name}: no findings\n"),
        (0, warnings) => format!("{name}: {}{more}\n", count(warnings, "warning")),
        (errors, 0) => format!("{name}: {}{more}\n", count(errors, "error")),
        (errors, warnings) => {
            format!("{name}: {}, {}{more}\n", count(errors, "error"), count(warnings, "warning"))
        }
    }
}

/// `{ ok, errors, warnings, omitted, findings: [...] }`; lines and columns count from one, offsets in
/// bytes from zero.
pub fn to_json(outcome: &Outcome) -> Value {
    let place = |span: Span| {
        let (from, to) =
            (outcome.sources.place(span), outcome.sources.place(Span { start: span.end, ..span }));
        json!({
            "file": outcome.sources.file(span.file).name,
            "line": from.line, "column": from.column,
            "end_line": to.line, "end_column": to.column,
            "start": span.start, "end": span.end,
        })
    };
    let findings: Vec<Value> = outcome
        .findings
        .iter()
        .map(|finding| {
            let notes: Vec<Value> = finding
                .notes
                .iter()
                .map(|note| json!({ "text": note.text, "at": place(note.span) }))
                .collect();
            json!({
                "code": finding.code.to_string(),
                "severity": finding.severity().label(),
                "message": finding.message,
                "label": finding.label,
                "at": finding.span.map(place),
                "notes": notes,
                "help": finding.help,
                "did_you_mean": finding.did_you_mean,
            })
        })
        .collect();
    json!({
        "ok": outcome.rules.is_some(),
        "errors": outcome.errors(),
        "warnings": outcome.warnings(),
        "omitted": outcome.omitted,
        "findings": findings,
    })
}
