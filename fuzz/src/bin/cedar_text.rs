//! Cedar files: no panic; rules exactly when nothing was an error; every finding points into a text and can be drawn; what
//! passes the compiler is a table that opens; the same text gives the same bytes.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use strait_config_compiler::{load, render, render_short, to_json};
use strait_table::{Snapshot, file};

const CONFIG: &str = r#"strait: 1
upstreams: { crm: { sample: http }, git: { sample: stdio } }
servers: { default: { path: /mcp, tools: ["*"] } }
roles: { admin: '"admins" in principal.groups' }
policy: { default: deny, cedar: p.cedar }
"#;

/// Where this process keeps the two files of a load.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("strait-fuzz-cedar-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the files");
    std::fs::write(folder.join("c.yaml"), CONFIG).expect("the configuration");
    folder
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(FOLDER.join("p.cedar"), data).expect("the policies");
    let compile = || load(&FOLDER.join("c.yaml"), &|_| None);
    let outcome = compile();
    assert_eq!(outcome.rules.is_some(), outcome.errors() == 0);
    for finding in &outcome.findings {
        for span in finding.span.iter().chain(finding.notes.iter().map(|note| &note.span)) {
            let text = &outcome.sources.file(span.file).text;
            assert!(text.get(span.start as usize..span.end as usize).is_some(), "{finding:?}");
        }
    }
    render(&outcome, false);
    render_short(&outcome);
    to_json(&outcome);
    if let Some(rules) = &outcome.rules {
        let bytes = file::write(rules, None);
        Snapshot::from_bytes(&bytes).expect("what passes the compiler is a table");
        let again = compile().rules.expect("the same text passes again");
        assert!(file::write(&again, None) == bytes, "the same text gives the same bytes");
    }
});
