//! The pages of findings, `docs/findings`: every code has one, and its examples are true. The bad one gives exactly that
//! finding, drawn as the page shows it; the good one gives none.
//! `STRAIT_BLESS=1 cargo test -p strait-config-compiler --test pages` draws them anew.

#[path = "locks/folder.rs"]
mod folder;

use std::path::{Path, PathBuf};

use folder::Folder;
use serde_json::Value;
use strait_config_compiler::diagnostic::{Code, codes};
use strait_config_compiler::lock::{Pinned, write};
use strait_config_compiler::{Outcome, load, render};
use strait_table::bound::Capabilities;
use strait_table::catalog::{Definition, Lists};

/// Examples that would be too large to be read.
const WITHOUT: [&Code; 2] = [&codes::TOO_LARGE, &codes::TOO_MANY_NODES];

fn page_of(code: &Code) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/findings/{code}.md"))
}

/// A block of a page: what stands behind its fence, and its text.
struct Block<'p> {
    info: &'p str,
    text: &'p str,
}

fn section<'p>(page: &'p str, heading: &str) -> Vec<Block<'p>> {
    let Some((_, section)) = page.split_once(&format!("\n## {heading}\n")) else { return Vec::new() };
    let section = section.split("\n## ").next().unwrap();
    let mut blocks = Vec::new();
    let mut rest = section;
    while let Some((_, block)) = rest.split_once("```") {
        let (info, block) = block.split_once('\n').unwrap();
        let (text, after) = block.split_once("```").unwrap();
        blocks.push(Block { info, text });
        rest = after;
    }
    blocks
}

/// Loads the files of an example; the first is the configuration.
fn outcome(blocks: &[Block<'_>]) -> Outcome {
    let folder = Folder::new();
    let mut pins = Vec::new();
    let mut root = None;
    for block in blocks {
        let mut words = block.info.split(' ');
        let (_, name, what) = (words.next(), words.next().unwrap_or("strait.yaml"), words.next());
        let bytes = match what {
            Some("offers") => {
                pins.push(offered(name, block.text));
                continue;
            }
            Some("latin1") => block.text.chars().map(|letter| letter as u8).collect(),
            None => block.text.as_bytes().to_vec(),
            Some(other) => panic!("what is `{other}`?"),
        };
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        root.get_or_insert(path);
    }
    if !pins.is_empty() {
        std::fs::write(folder.path().join("strait.lock"), write(&pins)).unwrap();
    }
    load(&root.unwrap(), &|_| None)
}

/// What an upstream offers, pinned.
fn offered(upstream: &str, json: &str) -> Pinned {
    let lists: Value = serde_json::from_str(json).unwrap();
    let tools = lists["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| Definition { name: tool["name"].as_str().unwrap().to_owned(), json: tool.to_string() });
    let capabilities = Capabilities { tools: true, ..Capabilities::default() };
    Pinned::of(upstream, &Lists { capabilities, tools: tools.collect(), ..Lists::default() }).0
}

#[test]
fn every_page_tells_the_truth() {
    let bless = std::env::var_os("STRAIT_BLESS").is_some();
    let mut wrong = Vec::new();
    for code in codes::ALL {
        let path = page_of(code);
        let page = std::fs::read_to_string(&path).unwrap();
        let severity =
            format!("\n\n{}{}. ", &code.severity.label()[..1].to_uppercase(), &code.severity.label()[1..]);
        if !page.starts_with(&format!("# {code}: ")) || !page.contains(&severity) {
            wrong.push(format!("{code}: a page begins with its code, a title, and whether it is an error"));
        }
        if WITHOUT.contains(code) {
            continue;
        }
        let (bad, good) = (section(&page, "Bad"), section(&page, "Good"));
        let Some((shown, bad)) =
            bad.split_last().filter(|(last, files)| last.info == "text" && !files.is_empty())
        else {
            wrong.push(format!("{code}: no bad example with what is said of it"));
            continue;
        };
        let found = outcome(bad);
        let numbers: Vec<String> = found.findings.iter().map(|finding| finding.code.to_string()).collect();
        let drawn = render(&found, false);
        if numbers != [code.to_string()] {
            wrong.push(format!("{code}: the bad example gives {numbers:?}\n{drawn}"));
            continue;
        }
        // Without the lines that count.
        let drawn = format!("{}\n", drawn.rsplit_once("\n\n").unwrap().0);
        if bless {
            let shown = format!("```text\n{}```", shown.text);
            std::fs::write(&path, page.replacen(&shown, &format!("```text\n{drawn}```"), 1)).unwrap();
        } else if drawn != shown.text {
            wrong.push(format!("{code}: expected\n{}\nfound\n{drawn}", shown.text));
        }
        if good.is_empty() {
            wrong.push(format!("{code}: no good example"));
            continue;
        }
        let found = outcome(&good);
        if !found.findings.is_empty() {
            wrong.push(format!("{code}: the good example gives\n{}", render(&found, false)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_of_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/findings");
    for entry in folder.read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.strip_suffix(".md").and_then(codes::named);
        assert!(code.is_some_and(|code| format!("{code}.md") == name), "{name} is no code's page");
    }
}
