//! House rules that no compiler knows: which crate may use which, where `unsafe` may stand, how a file
//! begins, how long it gets, and that documents speak of things that exist. Every check looks at the
//! files git knows or would add, and tells all it found in one go.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Who may use whom (docs/ARCHITECTURE.md). `*`: everything.
const ARROWS: [(&str, &[&str]); 15] = [
    ("policy", &[]),
    ("audit", &[]),
    ("protocol", &[]),
    ("table", &["policy", "protocol"]),
    ("engine", &["audit", "table", "policy", "protocol"]),
    ("config-compiler", &["table", "policy", "protocol"]),
    ("control", &["engine", "config-compiler", "audit", "table", "policy", "protocol"]),
    ("loadgen", &["protocol"]),
    ("cli", &["*"]),
    ("bench", &["*"]),
    ("bench/engines", &["*"]),
    ("tests", &["*"]),
    ("fuzz", &["*"]),
    ("tests/cedar", &["*"]),
    ("tests/simulation", &["*"]),
];

/// The only places for `unsafe`; each file is listed in docs/UNSAFE.md as well.
const UNSAFE_ALLOWED: [&str; 4] = ["table/src/", "engine/src/io/", "engine/src/audit/", "loadgen/src/io/"];

const LINES_MAX: usize = 700;
/// Tests are lists of cases: they are read one at a time.
const TEST_LINES_MAX: usize = 1_000;
const TOUR_LINES_MIN: usize = 5;

#[test]
fn arrows_between_crates_are_those_of_the_architecture() {
    let mut faults = Vec::new();
    for manifest in files(|path| path.ends_with("/Cargo.toml")) {
        let user = manifest.trim_end_matches("/Cargo.toml");
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == user) else {
            faults.push(format!("{manifest}: `{user}` has no line in ARROWS"));
            continue;
        };
        let text = read(&manifest);
        // In any section: a dev-dependency is an arrow too.
        let used = text.lines().filter_map(|line| line.strip_prefix("strait-"));
        let used = used.map(|rest| rest.split(['.', ' ', '=']).next().unwrap_or(rest));
        for used in used.filter(|used| !allowed.contains(used) && !allowed.contains(&"*")) {
            faults.push(format!("{manifest}: `{user}` may not use `{used}`"));
        }
    }
    check("a new arrow between crates needs a reason in docs/DECISIONS.md and a line in ARROWS", faults);
}

/// The engine's feature `simulation` replaces its network and its clock: only the workspace that is made for it may ask
/// for it, and nothing may turn it on by itself.
#[test]
fn no_build_of_the_product_is_simulated() {
    let mut faults = Vec::new();
    for manifest in files(|path| path == "Cargo.toml" || path.ends_with("/Cargo.toml")) {
        let text = read(&manifest);
        let asks =
            text.lines().filter(|line| line.contains("simulation") && !line.trim_start().starts_with('#'));
        for line in asks {
            let is_declared = manifest == "engine/Cargo.toml" && line == "simulation = []";
            let is_excluded = manifest == "Cargo.toml" && line.starts_with("exclude = [");
            if !is_declared && !is_excluded && manifest != "tests/simulation/Cargo.toml" {
                faults.push(format!("{manifest}: `{line}`"));
            }
        }
    }
    let is_alone = read("tests/simulation/Cargo.toml").lines().any(|line| line == "[workspace]");
    if !is_alone || !read("Cargo.toml").contains("\"tests/simulation\"") {
        faults.push("tests/simulation must be a workspace of its own, excluded from the other".to_owned());
    }
    check("only tests/simulation, a workspace of its own, asks for the engine's simulation", faults);
}

#[test]
fn every_source_file_opens_with_a_paragraph() {
    let silent = sources().into_iter().filter(|path| {
        let text = read(path);
        let has_code = text.lines().any(|line| !is_declaration(line));
        !is_test(path) && has_code && !text.starts_with("//! ")
    });
    check("a file begins with `//!`: what lives here, and the decision that shaped it", silent.collect());
}

#[test]
fn every_crate_has_a_tour() {
    let bare = sources().into_iter().filter(|path| path.ends_with("src/lib.rs")).filter(|path| {
        let text = read(path);
        let tour = text.lines().take_while(|line| line.starts_with("//!")).count();
        // A crate without code has nothing to show.
        tour < TOUR_LINES_MIN && text.lines().any(|line| !line.is_empty() && !line.starts_with("//!"))
    });
    check("a lib.rs opens with a tour of its crate", bare.collect());
}

#[test]
fn no_source_file_is_too_long() {
    let mut faults = Vec::new();
    for path in sources() {
        let (lines, max) =
            (read(&path).lines().count(), if is_test(&path) { TEST_LINES_MAX } else { LINES_MAX });
        if lines > max {
            faults.push(format!("{path}: {lines} lines, at most {max}"));
        }
    }
    check("a file is one story", faults);
}

#[test]
fn unsafe_stands_where_it_is_listed() {
    let listed = read("docs/UNSAFE.md");
    let mut faults = Vec::new();
    for path in sources().into_iter().filter(|path| has_word(&read(path), "unsafe")) {
        match UNSAFE_ALLOWED.iter().find_map(|folder| Some((folder, path.strip_prefix(folder)?))) {
            None => faults.push(format!("{path}: `unsafe` is for {}", UNSAFE_ALLOWED.join(", "))),
            Some((folder, file)) => {
                let under_heading = listed.contains(&format!("## {}\n", folder.trim_end_matches('/')))
                    && listed.contains(&format!("`{file}`"));
                if !under_heading && !listed.contains(&path) {
                    faults.push(format!("{path}: is not in docs/UNSAFE.md"));
                }
            }
        }
    }
    check("every use of `unsafe` has its reason and its guard in docs/UNSAFE.md", faults);
}

#[test]
fn nothing_is_left_over() {
    // Put together here, or this file would find itself.
    let leftovers = [concat!("to", "do!("), concat!("db", "g!("), concat!("unimple", "mented!(")];
    check("finish it, or leave it out and say so", occurrences(sources(), &leftovers));
}

#[test]
fn nothing_names_somebodys_machine() {
    let machines =
        [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
    check("a path of one machine means nothing on another", occurrences(files(|_| true), &machines));
}

/// Links of markdown, and words in backticks that begin with one of our folders.
#[test]
fn documents_speak_of_what_exists() {
    let all: BTreeSet<String> = files(|_| true).into_iter().collect();
    let folders: BTreeSet<&str> = all.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
    let exists = |path: &str| {
        let folder = format!("{path}/");
        all.contains(path) || all.range(folder.clone()..).next().is_some_and(|next| next.starts_with(&folder))
    };
    let mut faults = Vec::new();
    for document in all.iter().filter(|path| path.ends_with(".md")) {
        let home = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in links(&read(document)).into_iter().filter(|target| !target.contains("://")) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !exists(&joined(home, path)) {
                faults.push(format!("{document}: links to `{target}`"));
            }
        }
        for word in quoted_words(&read(document)) {
            let path = word.trim_end_matches(['/', ',', '.']);
            let is_folder = !path.contains('/') && word == format!("{path}/");
            let is_ours = path.split_once('/').is_some_and(|(folder, _)| folders.contains(folder));
            let is_placeholder = path.contains(['<', '*', '{', '…', '$', '|']);
            if (is_ours || is_folder) && !is_placeholder && !exists(path) && !exists(&joined(home, path)) {
                faults.push(format!("{document}: speaks of `{word}`"));
            }
        }
    }
    check("a document that points at nothing is worse than none", faults);
}

#[test]
fn the_readme_knows_every_document() {
    let readme = read("README.md");
    let all = files(|path| path.starts_with("docs/") && path.ends_with(".md"));
    // Of pages that are many, their folder.
    let is_known = |path: &String| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        readme.contains(path.as_str()) || (folder != "docs" && readme.contains(&format!("`{folder}/`")))
    };
    check("name it in README.md", all.into_iter().filter(|path| !is_known(path)).collect());
}

#[track_caller]
fn check(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}:\n  {}\n", faults.join("\n  "));
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What git knows or would add, seen from the root.
fn files(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let listed = Command::new("git")
        .args([
            "-C",
            &root().display().to_string(),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .expect("git is installed");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let names: BTreeSet<&str> = names.split('\0').filter(|name| !name.is_empty() && wanted(name)).collect();
    names.into_iter().filter(|name| root().join(name).is_file()).map(str::to_owned).collect()
}

fn sources() -> Vec<String> {
    files(|path| path.ends_with(".rs"))
}

fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Nothing that needs a word of introduction: `mod a;`, `use b;`, attributes, comments.
fn is_declaration(line: &str) -> bool {
    let line = line.trim();
    line.is_empty()
        || ["//", "#", "mod ", "pub mod ", "use ", "pub use "].iter().any(|start| line.starts_with(start))
}

/// `word` as a word of its own, outside of comments and strings as far as a line shows.
fn has_word(text: &str, word: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && !"_\"`".contains(c)));
    words.any(|found| found == word)
}

fn occurrences(paths: Vec<String>, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        for (number, line) in read(&path).lines().enumerate() {
            let hits = needles.iter().filter(|needle| line.contains(*needle));
            found.extend(hits.map(|needle| format!("{path}:{}: `{needle}`", number + 1)));
        }
    }
    found
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.to_owned()).filter(|target| !target.contains(char::is_whitespace)).collect()
}

/// The first word of everything in backticks, outside of fenced blocks.
fn quoted_words(text: &str) -> Vec<String> {
    let prose = text.split("\n```").step_by(2).flat_map(str::lines);
    let quoted = prose.flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter_map(|quote| Some(quote.split_whitespace().next()?.to_owned())).collect()
}

fn joined(home: &str, path: &str) -> String {
    let mut parts: Vec<&str> = home.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
