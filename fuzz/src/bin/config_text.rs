//! Configurations: no panic; rules exactly when nothing was an error; every finding points into the text and can be
//! drawn in every form; what passes the compiler is a table that opens; the same text gives the same bytes.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use strait_config_compiler::{Outcome, keys, load_text, render, render_short, to_json};
use strait_table::{Snapshot, file};

fn env(name: &str) -> Option<String> {
    (name.len() < 4).then(|| format!("127.0.0.1:{}", name.len()))
}

fn load(text: &str) -> Outcome {
    load_text("fuzz.yaml", text, &env)
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let outcome = load(text);
    assert_eq!(outcome.rules.is_some(), outcome.errors() == 0);
    let length = outcome.sources.files().next().map_or(0, |file| file.text.len()) as u32;
    for finding in &outcome.findings {
        let spans = finding.span.iter().chain(finding.notes.iter().map(|note| &note.span));
        spans.for_each(|span| assert!(span.start <= span.end && span.end <= length, "{finding:?}"));
    }
    render(&outcome, false);
    render_short(&outcome);
    to_json(&outcome);
    if let Some(rules) = &outcome.rules {
        let bytes = file::write(rules, None);
        Snapshot::from_bytes(&bytes).expect("what passes the compiler is a table");
        let again = load(text).rules.expect("the same text passes again");
        assert!(file::write(&again, None) == bytes, "the same text gives the same bytes");
    }
    // The key file goes through the same parser and walker; its errors never repeat a key.
    if let Err(error) = keys::parse(Path::new("keys.yaml"), text.to_owned()) {
        assert!(!error.to_string().contains(keys::KEY_PREFIX), "{error}");
    }
});
