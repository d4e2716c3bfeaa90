//! Files in the shape of other tools' documentation, imported: every key has its line, no secret is repeated, what comes
//! out passes the check, and what may be called afterwards is what the source said.
//! `STRAIT_BLESS=1 cargo test -p strait-config-compiler --test imports` writes the expected files anew; read the
//! difference before you commit it.

mod hostile;
mod reach;

use std::path::{Path, PathBuf};

use strait_config_compiler::import::{self, Imported};
use strait_config_compiler::source::{Node, SourceMap, Value, jsonc, parse, toml};
use strait_config_compiler::{load_text, render};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports/files")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = folder().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end != "expected"));
    files.sort();
    files
}

fn imported(path: &Path) -> Imported {
    import::file(path, None)
        .unwrap_or_else(|outcome| panic!("{}: {}", path.display(), render(&outcome, false)))
}

fn env(name: &str) -> Option<String> {
    Some(if name.ends_with("HOST") { "localhost" } else { "set" }.to_owned())
}

fn expected_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".expected");
    name.into()
}

#[test]
fn imports_are_as_expected() {
    let bless = std::env::var_os("STRAIT_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let imported = imported(&path);
        let config = imported.config.as_deref().unwrap_or("(nothing)\n");
        let text = format!("{config}---\n{}", imported.report.text(&imported.sources));
        if bless {
            std::fs::write(expected_path(&path), &text).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(expected_path(&path)).unwrap_or_default();
        if expected != text {
            wrong.push(format!("--- {}\nexpected:\n{expected}\nfound:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_comes_out_passes_the_check() {
    for path in files() {
        let imported = imported(&path);
        let Some(config) = &imported.config else { continue };
        let outcome = load_text("strait.yaml", config, &env);
        let told = render(&outcome, false);
        assert!(outcome.rules.is_some(), "{}\n{config}\n{told}", path.display());
        // Nothing is referred to at the compiler's time that is not told.
        let unset = load_text("strait.yaml", config, &|name| {
            imported.variables.iter().any(|known| known == name).then(|| "localhost".to_owned())
        });
        assert!(unset.rules.is_some(), "{}", render(&unset, false));
    }
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    for path in files() {
        let (first, second) = (imported(&path), imported(&path));
        assert_eq!(first.config, second.config);
        assert_eq!(first.report.to_json(&first.sources), second.report.to_json(&second.sources));
    }
}

/// Secrets of the examples have a word of their own in them.
#[test]
fn no_secret_is_repeated() {
    let mut seen = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        seen += text.matches("SECRET").count();
        let imported = imported(&path);
        let said = format!(
            "{}{}{}",
            imported.config.as_deref().unwrap_or_default(),
            imported.report.text(&imported.sources),
            imported.report.to_json(&imported.sources)
        );
        assert!(!said.contains("SECRET"), "{}: {said}", path.display());
    }
    assert!(seen > 2, "the examples hold secrets");
}

/// Every key of every example stands in the report, by its own place or beneath one that speaks of all beneath it.
#[test]
fn no_key_is_dropped_in_silence() {
    let mut count = 0;
    for path in files() {
        let imported = imported(&path);
        let text = std::fs::read_to_string(&path).unwrap();
        for (start, end, above) in keys(&path, &text) {
            count += 1;
            let is_told = imported.report.lines.iter().any(|line| {
                let at = line.span.start as usize;
                at == start || (line.whole && above.contains(&at))
            });
            assert!(is_told, "{}: `{}` is dropped", path.display(), &text[start..end]);
        }
        for line in &imported.report.lines {
            assert!(!line.fate.says().is_empty() && !line.key.is_empty());
            let place = imported.sources.place(line.span);
            assert!(place.line > 0 && place.column > 0);
        }
    }
    assert!(count > 60, "{count} keys");
}

/// Where each key begins and ends, and where the keys above it begin. Found by walking the tree, not by the report.
fn keys(path: &Path, text: &str) -> Vec<(usize, usize, Vec<usize>)> {
    let mut sources = SourceMap::default();
    let file = sources.add("x".to_owned(), PathBuf::new(), text.to_owned());
    let mut findings = Default::default();
    let name = path.to_string_lossy();
    let roots: Vec<Node> = if name.ends_with(".toml") {
        toml::parse(file, text, 10_000, &mut findings).into_iter().collect()
    } else if name.ends_with(".json") || name.ends_with(".jsonc") {
        jsonc::parse(file, text, 10_000, &mut findings).into_iter().collect()
    } else {
        parse::documents(file, text, 10_000, 64, &mut findings).unwrap_or_default()
    };
    assert!(!roots.is_empty(), "{name}: {findings:?}");
    let mut found = Vec::new();
    roots.iter().for_each(|root| walk(root, &mut Vec::new(), &mut found));
    found
}

fn walk(node: &Node, above: &mut Vec<usize>, found: &mut Vec<(usize, usize, Vec<usize>)>) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| walk(item, above, found)),
        Value::Map(entries) => {
            for entry in entries {
                let (start, end) = (entry.key_span.start as usize, entry.key_span.end as usize);
                found.push((start, end, above.clone()));
                above.push(start);
                walk(&entry.value, above, found);
                above.pop();
            }
        }
    }
}
