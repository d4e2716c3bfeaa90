//! Files of other tools, in whichever form they look like: no panic; every key has its line, whose place is a key of the text;
//! what comes out passes the check once its variables are set; no text that looks like a key is repeated; the same file
//! gives the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_config_compiler::{import, load_text, render};

const SECRET: &str = "ghp_SECRET0123456789abcdef";

fuzz_target!(|data: &[u8]| {
    // Wherever the word stands, it is a key of somebody's.
    let text = String::from_utf8_lossy(data).replace("SECRET", SECRET);
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
    let report = imported.report.text(&imported.sources);
    imported.report.to_json(&imported.sources);
    assert!(!report.contains(SECRET), "{report}");
    let again = import::bytes(name, text.as_bytes(), None).ok().expect("the same file is read again");
    assert_eq!(again.config, imported.config);
    let Some(config) = imported.config else { return };
    assert!(!config.contains(SECRET), "{config}");
    // A URL whose host is a variable is only known with its value.
    if imported.variables.is_empty() {
        let outcome = load_text("strait.yaml", &config, &|_| None);
        let refused = outcome.rules.is_none() && !config.contains("${env:");
        assert!(!refused, "{config}\n{}", render(&outcome, false));
    }
});
