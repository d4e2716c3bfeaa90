//! A gateway over one upstream with two tables for it, and the verbs that are tried on it.

use std::path::Path;

use serde_json::Value;
use strait_tests::Scripted;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;

pub struct Site {
    pub folder: Folder,
    pub upstream: Scripted,
    /// Generation of `all.yaml` and `all`: every tool for everybody.
    pub all: String,
    /// Of `fewer.yaml` and `fewer`: all but `secret`.
    pub fewer: String,
}

impl Site {
    /// `table` is a copy of `all`.
    pub fn new() -> Site {
        let folder = Folder::new();
        let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
        let tables =
            [("all", open_to_all(&upstream.url())), ("fewer", open_but_for(&upstream.url(), "secret"))];
        let [all, fewer] = tables.map(|(name, text)| {
            // The name of its file is part of what a table says.
            let file = format!("{name}.yaml");
            folder.write(&file, &text);
            let out = strait(&folder.0, &["compile", &file, "-o", name, "--json"]);
            let facts: Value = serde_json::from_slice(&out.stdout).expect("JSON");
            facts["generation"].as_str().expect("a generation").to_owned()
        });
        folder.write("table", folder.read("all"));
        Site { folder, upstream, all, fewer }
    }

    pub fn serve(&self) -> Process {
        Process::serve(&self.folder, "table")
    }

    /// Runs a verb of the gateway with this state folder.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(&self.folder.0, arguments)
    }

    /// The same, which must succeed; its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).expect("JSON")
    }

    pub fn history(&self) -> Vec<Value> {
        self.json(&["history"])["entries"].as_array().expect("entries").clone()
    }

    /// Where the history and the tables are.
    pub fn rollout(&self) -> std::path::PathBuf {
        let entries = std::fs::read_dir(self.folder.at("state/rollout")).expect("a folder");
        let mut all: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let ran = strait(folder, &[arguments, &["--state", "state"]].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: ran.status.code().unwrap_or(-1), out: text(ran.stdout), err: text(ran.stderr) }
}
