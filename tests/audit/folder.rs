//! A gateway with an audit log, and the log as an auditor finds it.

use std::path::Path;

use serde_json::{Value, json};
use strait_audit::segment::{self, Next, Payloads, Segment};
use strait_audit::verify::{Against, verify};
use strait_tests::Scripted;
use strait_tests::scripted::{echoed, json_reply, modern, tools};

use crate::process::{Folder, Process, config, strait};

/// One upstream `up` at `url`, all of it for everybody but what is denied, and a block `audit` of `terms`.
pub fn audited(url: &str, terms: &str) -> String {
    with_rules(url, terms, "    - { id: all, allow: [\"*\"] }\n    - { id: never, deny: [\"up.secret\"] }\n")
}

pub fn with_rules(url: &str, terms: &str, rules: &str) -> String {
    config(&format!(
        "audit: {{ path: ./audit{terms} }}\nupstreams:\n  up: {{ http: \"{url}\" }}\nservers:\n  default: {{ path: /mcp, tools: \
         [\"up.*\"] }}\npolicy:\n  default: deny\n  rules:\n{rules}"
    ))
}

/// A server of 2026-07-28 that says what it was told.
pub fn echo() -> Scripted {
    Scripted::start(modern(tools(), |request| json_reply(&echoed(request))))
}

pub fn serve(folder: &Folder, config: &str) -> Process {
    folder.write("strait.yaml", config);
    let out = strait(&folder.0, &["check", "strait.yaml"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    again(folder)
}

/// The same configuration once more.
pub fn again(folder: &Folder) -> Process {
    let driver = std::env::var("STRAIT_DRIVER").unwrap_or_else(|_| "auto".to_owned());
    Process::start(folder, &["serve", "strait.yaml", "--driver", &driver])
}

/// Every record of the log, in order. What a gateway has written must be what a verifier takes, whenever one looks.
pub fn records(folder: &Folder) -> Vec<Value> {
    records_at(&folder.at("audit"))
}

pub fn records_at(at: &Path) -> Vec<Value> {
    verify(at, &Against::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut all = Vec::new();
    for first in segment::firsts(at, "entries").expect("list the segments") {
        let mut segment = Segment::open(at, first).expect("open a segment");
        while let Next::Frame(record) = segment.read().expect("read a segment") {
            all.push(serde_json::from_slice(record).unwrap_or_else(|error| {
                panic!("{error}: {}", String::from_utf8_lossy(record));
            }));
        }
    }
    all
}

pub fn of_kind(records: &[Value], kind: &str) -> Vec<Value> {
    records.iter().filter(|record| record["kind"] == kind).cloned().collect()
}

/// What is kept of payloads: of which record, and what.
pub fn payloads(folder: &Folder) -> Vec<(u64, String, Vec<u8>)> {
    let at = folder.at("audit");
    let mut all = Vec::new();
    for first in segment::firsts(&at, "payload").expect("list the payloads") {
        let mut payloads = Payloads::open(&at, first).expect("open payloads");
        while let Next::Frame(kept) = payloads.read().expect("read payloads") {
            all.push((kept.head.index, kept.head.which.word().to_owned(), kept.bytes.to_vec()));
        }
    }
    all
}

/// The text of what is kept of one payload.
pub fn payload(folder: &Folder, index: usize, which: &str) -> Option<String> {
    let all = payloads(folder);
    let found = all.into_iter().find(|(of, what, _)| *of == index as u64 && what == which)?;
    Some(String::from_utf8(found.2).expect("UTF-8"))
}

/// A call of `up.echo` as a client of 2026-07-28 sends it.
pub fn call(text: &str) -> Vec<u8> {
    let params = json!({ "name": "echo", "arguments": { "text": text, "n": 12 } });
    strait_tests::client::modern("", 1, "tools/call", params)
}

/// The sum of a metric's series.
pub fn metric(process: &Process, name: &str) -> u64 {
    let (_, text) = process.ask("/metrics");
    let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    let values = text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// Everything that lies below a folder.
pub fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push((path.clone(), std::fs::read(&path).unwrap_or_default())),
        }
    }
    all
}
