//! A successor that does not come to serve was nothing: the process that asked for it serves on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use strait_tests::client::{delete, initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Client, Scripted};

use crate::process::*;
use crate::{Successor, is_running, upgrade};

fn echoes() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

/// A gateway that was started by the name `bin/strait` of its folder, which may come to mean something else.
fn by_name(folder: &Folder, arguments: &[&str]) -> Process {
    fs::create_dir_all(folder.at("bin")).expect("make a folder");
    symlink(binary(), folder.at("bin/strait")).expect("link");
    let log = folder.at("log");
    let file = fs::File::create(&log).expect("make the log");
    let child = Command::new(folder.at("bin/strait"))
        .args(arguments)
        .args(["--state", "state", "--workers", "2"])
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("clone"))
        .stderr(file)
        .spawn()
        .expect("start strait");
    Process::opened(child, log)
}

/// `bin/strait` is this script from now on.
fn replace_by_script(folder: &Folder, script: &str) {
    let path = folder.at("bin/strait.new");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    fs::rename(path, folder.at("bin/strait")).expect("rename");
}

fn serves(process: &Process) -> bool {
    call(&mut process.client(), "", "echo", json!({"n": 1}))["result"].is_object()
}

/// Asks for a successor, waits until it has failed for this reason, and sees that nothing has changed.
fn fails(process: &Process, why: &str) {
    let failed = |process: &Process| process.log().matches("no successor took over").count();
    let before = failed(process);
    process.signal("USR2");
    wait_for("it to fail", || failed(process) > before);
    let told = process.ready()["upgrade"].clone();
    assert_eq!(told["state"], "failed", "{told}");
    assert!(told["why"].as_str().is_some_and(|text| text.contains(why)), "`{why}` is not in {told}");
    assert!(serves(process));
    assert_eq!(process.ready()["phase"], "open");
}

#[test]
fn one_that_cannot_start_leaves_everything_as_it_was() {
    let (folder, upstream) = (Folder::new(), echoes());
    let good = open_to_all(&upstream.url());
    folder.write("strait.yaml", &good);
    let process = by_name(&folder, &["serve", "strait.yaml", "--strict"]);
    let generation = process.generation();
    replace_by_script(&folder, "exit 7");
    fails(&process, "exit status: 7");
    replace_by_script(&folder, "kill -SEGV $$");
    fails(&process, "signal: 11");
    fs::remove_file(folder.at("bin/strait")).expect("remove");
    fails(&process, "cannot start");
    symlink(binary(), folder.at("bin/strait")).expect("link");
    // A file that is bad is refused by a start as well (`--strict`).
    folder.write("strait.yaml", format!("{good}nonsense: 1\n"));
    fails(&process, "exit status: 1");
    // Other addresses are not those of the sockets.
    let other = good.replacen("admin: { bind: \"127.0.0.1:0\" }", "admin: { bind: \"127.0.0.2:0\" }", 1);
    assert_ne!(other, good);
    folder.write("strait.yaml", other);
    fails(&process, "exit status: 6");
    assert!(process.log().contains("other addresses need a restart"), "{}", process.log());
    folder.write("strait.yaml", &good);
    assert_eq!(process.generation(), generation);
    let successor = upgrade(&process, process.pid());
    wait_for("the first to end", || !is_running(process.pid()));
    assert!(serves(&process));
    assert_eq!(process.generation(), generation);
    drop(successor);
}

#[test]
fn one_that_hangs_is_not_waited_for_by_whoever_is_told_to_stop() {
    let (folder, upstream) = (Folder::new(), echoes());
    folder.write("strait.yaml", open_to_all(&upstream.url()));
    let process = by_name(&folder, &["serve", "strait.yaml"]);
    replace_by_script(&folder, "echo $$ > hangs; exec sleep 300");
    process.signal("USR2");
    wait_for("it to hang", || folder.at("hangs").exists() && !folder.read("hangs").is_empty());
    let text = String::from_utf8(folder.read("hangs")).expect("a number");
    let hangs = Successor(text.trim().parse().expect("a number"));
    assert!(serves(&process));
    // One at a time.
    process.signal("USR2");
    process.wait_for_log("one is being started already");
    assert_eq!(process.stop(), Some(0));
    wait_for("the successor to be ended", || !is_running(hangs.0));
}

/// What is started is what the name means now, and a configuration is compiled by what runs.
#[test]
fn the_name_may_mean_another_program_by_now() {
    let (folder, upstream) = (Folder::new(), echoes());
    folder.write("strait.yaml", open_to_all(&upstream.url()));
    let process = by_name(&folder, &["serve", "strait.yaml"]);
    let real = binary();
    replace_by_script(
        &folder,
        &format!("echo \"$@\" >> started; exec '{}' \"$@\"", Path::new(&real).display()),
    );
    folder.write("strait.yaml", open_but_for(&upstream.url(), "secret"));
    process.wait_for_tools("", &["echo", "slow"]);
    assert!(!folder.at("started").exists(), "the compiler is that of the program that runs");
    let successor = upgrade(&process, process.pid());
    let started = String::from_utf8(folder.read("started")).expect("text");
    assert!(started.lines().any(|line| line.starts_with("serve strait.yaml --state state")), "{started}");
    wait_for("the first to end", || !is_running(process.pid()));
    process.wait_for_tools("", &["echo", "slow"]);
    drop(successor);
}

/// Requests that are begun before the upgrade; one is finished at a time, until what they ask about is over.
const ASKING: usize = 200;

/// Whoever ended a session must not find it alive in the other process, whichever of the two that is.
#[test]
fn a_session_that_ended_in_one_process_is_over_in_the_other() {
    let (folder, upstream) = (Folder::new(), Scripted::legacy(|request| json_reply(&echoed(request))));
    folder.write("strait.yaml", open_to_all(&upstream.url()));
    let process = Process::serve(&folder, "strait.yaml");
    let [first, second] = std::array::from_fn(|_| initialize(&mut process.client(), "", "2025-11-25"));
    let list = |session: &str| legacy("", session, 1, "tools/list", json!({}));
    // These connections stay with the first process: each has sent all of a request but its last byte.
    let begin = |request: &[u8]| {
        let mut client = process.client();
        client.send(&request[..request.len() - 1]);
        client
    };
    let finish = |mut client: Client, request: &[u8]| {
        client.send(&request[request.len() - 1..]);
        client.answer().expect("an answer").status
    };
    let (ends, asks) = (delete("", &first).into_bytes(), list(&second));
    let ending = begin(&ends);
    let mut asking: Vec<Client> = (0..ASKING).map(|_| begin(&asks)).collect();
    let successor = upgrade(&process, process.pid());
    assert_eq!(process.client().roundtrip(list(&first)).status, 200, "taken up");
    assert_eq!(finish(ending, &ends), 204);
    wait_for("the successor to hear of it", || process.client().roundtrip(list(&first)).status == 404);
    // The other way round.
    assert_eq!(finish(asking.pop().expect("one"), &asks), 200, "alive in the first");
    assert_eq!(process.client().roundtrip(delete("", &second)).status, 204);
    wait_for("the first process to hear of it", || {
        finish(asking.pop().expect("it never heard of it"), &asks) == 404
    });
    drop(successor);
}
