//! Every configuration in `tests/golden` beside the findings it gives, as a terminal shows them.
//! `STRAIT_BLESS=1 cargo test -p strait-config-compiler --test golden` writes the expected files anew;
//! read the difference before you commit it.

#[path = "locks/mod.rs"]
mod locks;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use strait_config_compiler::{Outcome, diagnostic::codes, load, render, to_json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn env(name: &str) -> Option<String> {
    match name {
        "PRESENT" => Some("present".to_owned()),
        "PORT" => Some("9000".to_owned()),
        _ => None,
    }
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = folder().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_file() && path.extension().is_some_and(|ext| ext != "expected"));
    cases.sort();
    cases
}

/// Every case by the path of its file, also of what is expected of it; those with lock files are made in `locks`.
fn outcomes() -> Vec<(PathBuf, Outcome)> {
    let files = cases().into_iter().map(|path| (path.clone(), load(&path, &env)));
    let locks = locks::cases().into_iter().map(|(name, outcome)| (folder().join("lock").join(name), outcome));
    files.chain(locks).collect()
}

fn case(name: &str) -> Outcome {
    load(&folder().join(name), &env)
}

#[test]
fn findings_are_as_expected() {
    let bless = std::env::var_os("STRAIT_BLESS").is_some();
    let mut wrong = Vec::new();
    for (path, outcome) in outcomes() {
        let text = render(&outcome, false);
        let mut expected_path = path.clone().into_os_string();
        expected_path.push(".expected");
        if bless {
            std::fs::write(&expected_path, &text).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != text {
            wrong.push(format!("--- {}\nexpected:\n{expected}\nfound:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_case() {
    let seen: BTreeSet<u16> = outcomes()
        .into_iter()
        .flat_map(|(_, outcome)| outcome.findings)
        .map(|finding| finding.code.number)
        .collect();
    // Files too large to be kept; tests/hostile.rs makes them.
    let elsewhere = [&codes::TOO_LARGE, &codes::TOO_MANY_NODES];
    let unseen: Vec<String> = codes::ALL
        .iter()
        .filter(|code| !seen.contains(&code.number) && !elsewhere.contains(code))
        .map(|code| code.to_string())
        .collect();
    assert!(unseen.is_empty(), "codes without a golden case: {unseen:?}");
    assert!(codes::ALL.is_sorted_by(|a, b| a.number < b.number), "codes are listed once and in order");
}

/// Seven faults of seven kinds: each is told once, at exactly the text that is wrong.
#[test]
fn seven_faults_are_seven_findings() {
    let outcome = case("seven_faults.yaml");
    let found: Vec<(String, &str)> = outcome
        .findings
        .iter()
        .map(|finding| (finding.code.to_string(), outcome.sources.slice(finding.span.unwrap())))
        .collect();
    let expected = [
        ("ST0108", "127.0.0.1:80800"),
        ("ST0106", "10"),
        ("ST0603", "tls"),
        ("ST0207", "githb"),
        ("ST0203", "stuff"),
        ("ST0405", "agnet"),
        ("ST0202", "supprt"),
    ];
    let expected: Vec<(String, &str)> =
        expected.iter().map(|(code, text)| ((*code).to_owned(), *text)).collect();
    assert_eq!(found, expected);
    assert!(outcome.rules.is_none());
}

#[test]
fn json_says_the_same() {
    let outcome = case("seven_faults.yaml");
    let json = to_json(&outcome);
    assert_eq!(json["ok"], false);
    assert_eq!(json["errors"], 7);
    let unknown = &json["findings"][3];
    assert_eq!(unknown["code"], "ST0207");
    assert_eq!(unknown["did_you_mean"], "github");
    assert_eq!((&unknown["at"]["line"], &unknown["at"]["column"]), (&17.into(), &42.into()));
}

#[test]
fn no_rendering_shows_a_secret() {
    for name in ["secrets.yaml", "mcp_servers.json"] {
        let outcome = case(name);
        let text = format!("{}{}", render(&outcome, true), to_json(&outcome));
        for secret in ["hunter2", "ghp_0123456789", "sk-abcdefghij", "abcdefghijklmnop1234"] {
            assert!(!text.contains(secret), "{name} shows {secret}");
        }
    }
}

#[test]
fn every_file_is_read_though_one_is_broken() {
    let outcome = case("include.yaml");
    let files: BTreeSet<&str> = outcome
        .findings
        .iter()
        .filter_map(|finding| finding.span)
        .map(|span| outcome.sources.file(span.file).name.as_str())
        .collect();
    assert!(files.contains("parts/broken.yaml") && files.contains("parts/fine.yaml"), "{files:?}");
}
