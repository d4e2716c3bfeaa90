//! The last good table: kept, found again by a restart with a bad file, and by nobody else.

use serde_json::Value;
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

#[test]
fn a_restart_with_a_bad_table_serves_the_last_good_one_loudly() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", &all);
    let process = Process::serve(&folder, "table");
    folder.replace("table", &fewer);
    process.wait_for_generation(&second);
    assert_eq!(process.stop(), Some(0));
    folder.replace("table", &fewer[..fewer.len() - 9]);
    let refused = strait(&folder.0, &["serve", "table", "--state", "state", "--strict"]);
    assert_eq!(refused.status.code(), Some(1));
    let process = Process::serve(&folder, "table");
    process.wait_for_tools("", &["echo", "slow"]);
    let ready = process.ready();
    assert_eq!(
        (&ready["generation"], &ready["reload"]["state"]),
        (&Value::from(second), &Value::from("rejected"))
    );
    assert!(ready["reload"]["why"].as_str().unwrap().contains("truncated"), "{ready}");
    assert!(ready["reload"]["serving"].is_string(), "{ready}");
    assert!(process.log().contains("serving the last good generation"), "{}", process.log());
    // Mended while it runs.
    let (_, first) = folder.compile(&open_to_all(&upstream.url()));
    folder.replace("table", &all);
    process.wait_for_generation(&first);
    process.wait_for_state("ok");
    assert!(process.reload()["serving"].is_null());
}

#[test]
fn a_restart_with_a_bad_configuration_does_the_same() {
    let (folder, upstream) = (Folder::new(), echoes());
    let good = open_to_all(&upstream.url());
    folder.write("strait.yaml", &good);
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    let first = process.generation();
    assert_eq!(process.stop(), Some(0));
    folder.write("strait.yaml", good.replace("policy:", "polici:"));
    assert_eq!(
        strait(&folder.0, &["up", "strait.yaml", "--state", "state", "--strict"]).status.code(),
        Some(1)
    );
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    assert_eq!(process.generation(), first);
    assert!(process.reload()["why"].as_str().unwrap().contains("polici"), "{}", process.reload());
    // Whoever started it by hand reads it first of all.
    let log = process.log();
    let greeting = log.find("Not what is in").unwrap_or(usize::MAX);
    assert!(greeting < log.find("Strait is open").unwrap(), "{log}");
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    // The same table again, from a source that is good again.
    folder.write("strait.yaml", &good);
    process.wait_for_state("ok");
    assert!(process.reload()["serving"].is_null(), "{}", process.reload());
}

#[test]
fn keys_made_at_the_first_start_are_no_change() {
    let (folder, upstream) = (Folder::new(), echoes());
    let text = open_to_all(&upstream.url()).replace("path: /mcp,", "path: /mcp, auth: [you],");
    folder.write(
        "strait.yaml",
        format!("{text}identity:\n  you: {{ api_keys: {{ generate: [{{ id: you }}] }} }}\n"),
    );
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    // Four looks at the files.
    wait_for("files to be looked at", || process.ready()["uptime_s"].as_u64() > Some(2));
    assert_eq!(process.reload()["unchanged"], 0, "{}", process.log());
}

#[test]
fn another_file_never_finds_it() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    folder.write("table", &all);
    assert_eq!(Process::serve(&folder, "table").stop(), Some(0));
    assert!(folder.kept().is_some());
    std::fs::create_dir(folder.at("elsewhere")).unwrap();
    for other in ["other", "elsewhere/table"] {
        folder.write(other, &all[..100]);
        let refused = strait(&folder.0, &["serve", other, "--state", "state"]);
        assert_eq!(refused.status.code(), Some(1), "{other}");
    }
}

#[test]
fn killed_at_any_moment_it_leaves_a_whole_table() {
    let (folder, upstream) = (Folder::new(), echoes());
    let texts = [open_to_all(&upstream.url()), open_but_for(&upstream.url(), "secret")];
    let tables = texts.map(|text| folder.compile(&text));
    folder.write("table", &tables[0].0);
    for round in 0..6u64 {
        let mut process = Process::serve(&folder, "table");
        // Each round ends in another moment of a swap.
        for turn in 1..8 {
            folder.replace("table", &tables[turn % 2].0);
            process.hang_up();
            std::thread::sleep(std::time::Duration::from_millis(3 + round));
        }
        process.kill();
        folder.replace("table", "no table");
        let process = Process::serve(&folder, "table");
        let generation = process.generation();
        assert!(tables.iter().any(|(_, known)| *known == generation), "round {round}: {generation}");
        folder.replace("table", &tables[0].0);
        process.wait_for_generation(&tables[0].1);
        assert_eq!(process.stop(), Some(0));
    }
}

#[test]
fn a_write_that_was_interrupted_is_neither_believed_nor_left() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, first) = folder.compile(&open_to_all(&upstream.url()));
    folder.write("table", &all);
    assert_eq!(Process::serve(&folder, "table").stop(), Some(0));
    // What a kill between write and rename leaves.
    let kept = folder.kept().unwrap();
    let unfinished = kept.with_file_name(format!("{}.new-1", kept.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&unfinished, &all[..50]).unwrap();
    folder.replace("table", "no table");
    let process = Process::serve(&folder, "table");
    assert_eq!(process.generation(), first);
    assert!(!unfinished.exists());
}

#[test]
fn a_damaged_kept_table_is_refused_like_any_other() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    folder.write("table", &all);
    assert_eq!(Process::serve(&folder, "table").stop(), Some(0));
    // A roll-back has a copy of its own, which would do.
    std::fs::remove_dir_all(folder.at("state/rollout")).unwrap();
    let mut damaged = all.clone();
    damaged[300] ^= 1;
    std::fs::write(folder.kept().unwrap(), damaged).unwrap();
    folder.replace("table", "no table");
    let refused = strait(&folder.0, &["serve", "table", "--state", "state", "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the table kept of it cannot be used either"), "{said}");
}

#[test]
fn a_table_that_cannot_be_kept_is_served_nevertheless() {
    let (folder, upstream) = (Folder::new(), echoes());
    let (all, _) = folder.compile(&open_to_all(&upstream.url()));
    let (fewer, second) = folder.compile(&open_but_for(&upstream.url(), "secret"));
    folder.write("table", &all);
    std::fs::create_dir_all(folder.at("state")).unwrap();
    folder.write("state/kept", "in the way");
    let process = Process::serve(&folder, "table");
    process.wait_for_log("cannot keep this table");
    assert!(process.reload()["not_kept"].is_string(), "{}", process.reload());
    folder.replace("table", &fewer);
    process.wait_for_generation(&second);
    process.wait_for_tools("", &["echo", "slow"]);
    std::fs::remove_file(folder.at("state/kept")).unwrap();
    folder.replace("table", &all);
    wait_for("it to be kept again", || process.reload()["not_kept"].is_null());
}
