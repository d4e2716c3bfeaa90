//! Files of other tools, in whichever form they look like: no panic; every line of the report speaks of a place in the text and
//! says something; the same file gives the same bytes; the compiler reads what comes out without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_config_compiler::{import, load_text, render};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let name = if text.starts_with('[') { "fuzz.toml" } else { "fuzz.json" };
    let imported = match import::bytes(name, text.as_bytes(), None) {
        Ok(imported) => imported,
        Err(outcome) => {
            assert!(outcome.errors() > 0);
            render(&outcome, false);
            return;
        }
    };
    let length = text.len() as u32;
    for line in &imported.report.lines {
        assert!(line.span.start <= line.span.end && line.span.end <= length && !line.fate.says().is_empty());
    }
    imported.report.text(&imported.sources);
    imported.report.to_json(&imported.sources);
    let again = import::bytes(name, text.as_bytes(), None).ok().expect("the same file is read again");
    assert_eq!(again.config, imported.config);
    if let Some(config) = imported.config {
        render(&load_text("strait.yaml", &config, &|_| None), false);
    }
});
