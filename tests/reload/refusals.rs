//! Bad candidates: refused loudly, while the good table serves on; forgotten when they are mended.

use std::io::Write;

use serde_json::{Value, json};
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

/// Refused, for this reason, and nothing else has changed; then mended.
fn check(what: &str, spoil: impl FnOnce(&Folder), reasons: &[&str]) {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, first) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    spoil(&folder);
    process.hang_up();
    process.wait_for_state("rejected");
    let ready = process.ready();
    let why = ready["reload"]["why"].as_str().unwrap_or("").to_owned();
    for reason in reasons {
        assert!(why.contains(reason), "{what}: `{reason}` is not in: {why}");
    }
    assert!(ready["reload"]["at"].is_string(), "{what}: {ready}");
    let metric = |line: &str| assert!(process.ask("/metrics").1.contains(line), "{what}: {line}");
    metric("\nstrait_config_last_reload_successful 0\n");
    metric("strait_config_reloads_total{result=\"refused\"} 1\n");
    assert_eq!((&ready["generation"], &ready["ready"]), (&Value::from(first), &Value::from(true)), "{what}");
    let answer = call(&mut process.client(), "", "secret", json!({}));
    assert!(answer["result"].is_object(), "{what}: {answer}");
    let error =
        process.log().lines().any(|line| line.contains("\"error\"") && line.contains("reload refused"));
    assert!(error, "{what}: {}", process.log());
    folder.replace("table", fewer);
    process.wait_for_generation(&second);
    process.wait_for_state("ok");
    assert!(process.reload()["why"].is_null(), "{what}");
    metric("\nstrait_config_last_reload_successful 1\n");
    metric("strait_config_reloads_total{result=\"adopted\"} 1\n");
    assert_eq!(process.stop(), Some(0), "{what}");
}

#[test]
fn damaged_foreign_and_missing_files() {
    let spoiled = |spoil: fn(Vec<u8>) -> Vec<u8>| {
        move |folder: &Folder| folder.replace("table", spoil(folder.read("table")))
    };
    let cut = |mut table: Vec<u8>| {
        table.truncate(700);
        table
    };
    check("cut short", spoiled(cut), &["truncated", "700"]);
    let flip = |mut table: Vec<u8>| {
        // Where the header says that the rules begin, and how long they are (docs/TABLE_FORMAT.md).
        let number = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap()) as usize;
        let at = number(24) + number(32) / 2;
        table[at] ^= 1;
        table
    };
    check("one bit", spoiled(flip), &["rules"]);
    let other_machine = |mut table: Vec<u8>| {
        table[8] = 0xee;
        table
    };
    check("another version", spoiled(other_machine), &["version"]);
    check("no table at all", |folder| folder.replace("table", b"\x7fELF\0\0\0\0\0\0\0\0\0"), &["`table`"]);
    check("empty", |folder| folder.replace("table", b""), &["says nothing"]);
    check("gone", |folder| std::fs::remove_file(folder.at("table")).unwrap(), &["cannot read"]);
}

#[test]
fn one_bad_file_is_refused_once() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    folder.replace("table", &all[..700]);
    process.hang_up();
    process.wait_for_state("rejected");
    // Asked again: told, and not counted.
    process.hang_up();
    process.wait_for_log("still refused");
    assert_eq!(process.reload()["rejected"], 1, "{}", process.log());
    let errors = process.log().lines().filter(|line| line.contains("\"error\"")).count();
    assert_eq!(errors, 1, "{}", process.log());
    // Another bad file is another refusal.
    folder.replace("table", &all[..600]);
    wait_for("the other one to be refused", || process.reload()["rejected"] == 2);
}

#[test]
fn what_is_missing_for_a_new_upstream() {
    let table = |more: &'static str| {
        move |folder: &Folder| {
            let text = config(&format!(
                "upstreams:\n  new: {{ http: \"http://127.0.0.1:9/mcp\", {more} }}\nservers:\n  default: {{ path: /mcp, tools: \
                 [\"*\"] }}\npolicy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n"
            ));
            let (table, _) = folder.compile(&text);
            folder.replace("table", table);
        }
    };
    check(
        "a secret",
        table("credential: { bearer: \"${secret:absent}\" }"),
        &["upstream `new`", "secret `absent`"],
    );
    check("a variable", table("credential: { bearer: \"${env:STRAIT_ABSENT}\" }"), &["STRAIT_ABSENT"]);
}

#[test]
fn what_needs_a_restart_is_named() {
    let (folder, upstream) = (Folder::new(), echoes());
    let text = open_to_all(&upstream.url());
    let (all, first) = folder.compile(&text);
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    let changed = text
        .replace("main: { bind: \"127.0.0.1:0\" }", "main: { bind: \"127.0.0.1:1234\" }")
        .replace("admin: { bind: \"127.0.0.1:0\" }", "admin: { bind: \"127.0.0.2:0\" }")
        .replace("access_log: { path: off }", "access_log: { path: other.log }");
    let (changed, candidate) = folder.compile(&changed);
    folder.replace("table", changed);
    process.wait_for_state("rejected");
    let reload = process.reload();
    for text in [
        "needs a restart",
        "127.0.0.1:1234 instead of 127.0.0.1:0",
        "127.0.0.2:0",
        "other.log instead of off",
    ] {
        assert!(reload["why"].as_str().unwrap().contains(text), "`{text}`: {reload}");
    }
    assert_eq!(reload["candidate"], candidate);
    assert_eq!(process.generation(), first);
}

#[test]
fn findings_of_a_configuration_are_told_as_the_compiler_tells_them() {
    let (folder, upstream) = (Folder::new(), echoes());
    let good = open_to_all(&upstream.url());
    folder.write("strait.yaml", &good);
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    let first = process.generation();
    folder.write("strait.yaml", good.replace("\"up.*\"", "\"upp.*\""));
    process.wait_for_state("rejected");
    let why = process.reload()["why"].as_str().unwrap().to_owned();
    for text in ["strait.yaml:", "upp", "help", "1 error"] {
        assert!(why.contains(text), "`{text}`: {why}");
    }
    assert_eq!(process.generation(), first);
    folder.write("strait.yaml", &good);
    process.wait_for_state("ok");
    assert_eq!(process.reload()["adopted"], 0);
}

#[test]
fn a_file_that_is_being_written_is_waited_for() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    // Slower than two looks, faster than anybody's patience: every state in between is a bad table.
    let mut file = std::fs::File::create(folder.at("table")).unwrap();
    for (at, piece) in fewer.chunks(fewer.len().div_ceil(40)).enumerate() {
        if at == 20 {
            // Asked in the middle of it, too.
            process.hang_up();
        }
        file.write_all(piece).unwrap();
        file.sync_data().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(file);
    process.wait_for_generation(&second);
    assert_eq!(process.reload()["rejected"], 0, "{}", process.log());
}

#[test]
fn a_compilation_beside_a_gateway_is_confined() {
    let (folder, upstream) = (Folder::new(), echoes());
    let good = open_to_all(&upstream.url());
    folder.write("strait.yaml", &good);
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    let first = process.generation();
    // Whoever compiles reads its own limits into the table.
    folder.write(
        "strait.yaml",
        good.replace("path: /mcp", "path: /mcp, instructions: \"${file:/proc/self/limits}\""),
    );
    wait_for("another generation", || process.generation() != first);
    let told = process.client().roundtrip(modern("", 1, "server/discover", json!({}))).json();
    let limits = told["result"]["instructions"].as_str().unwrap_or_default();
    for limit in ["Max cpu time", "Max address space", "Max file size", "Max core file size"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap_or_default();
        assert!(!line.is_empty() && !line.contains("unlimited"), "{limit}: `{line}` in {told}");
    }
}

/// A pipe in place of a file: whoever reads it never ends.
#[test]
fn a_pipe_in_place_of_a_file_is_refused() {
    let (folder, upstream) = (Folder::new(), echoes());
    let good = open_to_all(&upstream.url());
    folder.write("strait.yaml", &good);
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    let made = std::process::Command::new("mkfifo").arg(folder.at("endless.yaml")).status().unwrap();
    assert!(made.success());
    folder.write("strait.yaml", good.replace("strait: 1\n", "strait: 1\ninclude: [endless.yaml]\n"));
    process.wait_for_state("rejected");
    let answer = call(&mut process.client(), "", "secret", json!({}));
    assert!(answer["result"].is_object(), "{answer}");
    folder.write("strait.yaml", &good);
    process.wait_for_state("ok");
}
