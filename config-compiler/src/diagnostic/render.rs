//! Findings for people and for programs: rustc's look through annotate-snippets, one line each, and
//! JSON. The text of a confidential file is never drawn, and masked stretches are drawn as asterisks.

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Renderer, Snippet, renderer::DEFAULT_TERM_WIDTH,
};
use serde_json::{Value, json};

use super::{Finding, Severity};
use crate::{
    load::Outcome,
    source::{SourceMap, Span},
};

/// Source text drawn for one finding. A file that is one enormous line gets the one-line form.
const DRAWN_BYTES_MAX: usize = 64 << 10;

/// All findings as a terminal shows them, with closing lines that count them and say where there is more.
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
    if let Some(first) = outcome.findings.first() {
        out.push_str(&format!("more about each: strait explain-code {}\n", first.code));
    }
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
    // Lines of one file are drawn together, the finding's own file first.
    let mut places: Vec<(Span, AnnotationKind, &str)> =
        vec![(primary, AnnotationKind::Primary, finding.label.as_str())];
    let notes = finding.notes.iter().filter(|note| visible(note.span));
    places.extend(notes.map(|note| (note.span, AnnotationKind::Context, note.text.as_str())));
    let title = level.primary_title(finding.message.as_str()).id(finding.code.to_string());
    let mut group = Group::with_title(title);
    while let Some((first, ..)) = places.first() {
        let file = first.file;
        let (here, elsewhere) = places.into_iter().partition(|(span, ..)| span.file == file);
        let Some(snippet) = snippet(sources, &shown[file.0 as usize], here) else {
            return short(finding, sources).trim_end().to_owned();
        };
        group = group.element(snippet);
        places = elsewhere;
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

/// The lines from the first place to the last, and nothing of the rest of the file; `None` when even
/// those are more than a reader wants or a renderer should chew on.
fn snippet<'s>(
    sources: &'s SourceMap,
    shown: &'s str,
    places: Vec<(Span, AnnotationKind, &'s str)>,
) -> Option<Snippet<'s, Annotation<'s>>> {
    let start = places.iter().map(|(span, ..)| span.start as usize).min()?;
    let end = places.iter().map(|(span, ..)| sources.first_line(*span).end as usize).max()?;
    let from = shown[..start].rfind('\n').map_or(0, |line_end| line_end + 1);
    let to = shown[end..].find('\n').map_or(shown.len(), |line_end| end + line_end);
    if to - from > DRAWN_BYTES_MAX {
        return None;
    }
    let first = places.iter().map(|(span, ..)| *span).min()?;
    let snippet = Snippet::source(&shown[from..to])
        .path(sources.file(first.file).name.as_str())
        .line_start(sources.place(first).line);
    // Underlined text stays on one line.
    let annotations = places.into_iter().map(|(span, kind, label)| {
        let span = sources.first_line(span);
        kind.span(span.start as usize - from..span.end as usize - from).label(label)
    });
    Some(snippet.annotations(annotations))
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
