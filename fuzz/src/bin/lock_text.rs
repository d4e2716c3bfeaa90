//! Lock files: no panic; a lock exactly when nothing was an error; every finding points into the text. And what can be pinned of any
//! definitions, one a line, is written as a file that is read back as the same pins, and written as the same text again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_config_compiler::lock::{self, Lock, Pinned, diff};
use strait_config_compiler::{Outcome, render, render_short, to_json};
use strait_table::bound::Kind;
use strait_table::catalog::{Definition, Lists};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lock = read(text);
    if let Some(lock) = &lock {
        again(lock);
    }
    let mut lists = Lists::default();
    for (at, line) in text.lines().enumerate() {
        let kind = Kind::ALL[at % Kind::ALL.len()];
        let (name, json) = line.split_once('\t').unwrap_or((line, line));
        let key = match kind {
            Kind::Tool | Kind::Prompt => "name",
            Kind::Resource => "uri",
            Kind::Template => "uriTemplate",
        };
        // As its upstream would have to say it: by its own name, once.
        let named = format!("{{{}:{},\"x\":{json}}}", serde_json::json!(key), serde_json::json!(name));
        lists.of_mut(kind).push(Definition { name: name.to_owned(), json: named });
    }
    lists.instructions = Some(text.to_owned());
    let (pinned, _) = Pinned::of("up", &lists);
    let written = lock::write(std::slice::from_ref(&pinned));
    let lock = read(&written).unwrap_or_else(|| panic!("what is written is read:\n{written}"));
    again(&lock);
    let differ = diff::differences(&[pinned], &[lock.upstreams[0].pinned.clone()]);
    assert!(differ.is_empty(), "{:?}", differ.iter().map(diff::text).collect::<Vec<_>>());
});

fn read(text: &str) -> Option<Lock> {
    let (lock, outcome) = lock::read_text("strait.lock", text.to_owned());
    assert_eq!(lock.is_some(), outcome.errors() == 0, "{}", render_short(&outcome));
    told(&outcome);
    lock
}

fn told(outcome: &Outcome) {
    let length = outcome.sources.files().next().map_or(0, |file| file.text.len()) as u32;
    for finding in &outcome.findings {
        let spans = finding.span.iter().chain(finding.notes.iter().map(|note| &note.span));
        spans.for_each(|span| assert!(span.start <= span.end && span.end <= length, "{finding:?}"));
    }
    render(outcome, false);
    to_json(outcome);
}

/// Written by us, a lock stays what it is.
fn again(lock: &Lock) {
    let pinned: Vec<Pinned> = lock.upstreams.iter().map(|locked| locked.pinned.clone()).collect();
    let text = lock::write(&pinned);
    let lock = read(&text).unwrap_or_else(|| panic!("what is written is read:\n{text}"));
    let pinned: Vec<Pinned> = lock.upstreams.into_iter().map(|locked| locked.pinned).collect();
    assert_eq!(lock::write(&pinned), text);
}
