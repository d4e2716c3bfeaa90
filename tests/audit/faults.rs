//! What happens to a log that nobody should have to reckon with: a disk that takes seconds or turns read-only, a clock that goes
//! back, files that are moved, cut and removed under the gateway, a kill amid the removal of old ones.
//!
//! `strace` delays and fails system calls of the gateway alone; what a ring does it cannot touch, so these two use the other
//! driver. libfaketime moves the gateway's wall clock.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;

use crate::folder::*;
use crate::process::{Folder, Process, binary, strait};

/// A gateway started by another program, which becomes it.
fn serve_by(folder: &Folder, config: &str, by: &[&str], environment: &[(&str, &OsStr)]) -> Process {
    let (child, log) = spawn_by(folder, config, by, environment);
    Process::opened(child, log)
}

fn spawn_by(folder: &Folder, config: &str, by: &[&str], environment: &[(&str, &OsStr)]) -> (Child, PathBuf) {
    folder.write("strait.yaml", config);
    let log = folder.at("log");
    let file = File::create(&log).expect("make the log");
    let ours = binary();
    let words = [ours.to_str().expect("UTF-8"), "serve", "strait.yaml", "--state", "state", "--workers", "1"];
    let words: Vec<&str> = by.iter().copied().chain(words).chain(["--driver", "epoll"]).collect();
    let child = Command::new(words[0])
        .args(&words[1..])
        .envs(environment.iter().copied())
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("clone"))
        .stderr(file)
        .spawn()
        .unwrap_or_else(|error| panic!("{} (tests/run installs it): {error}", words[0]));
    (child, log)
}

/// The library that moves a process's wall clock by what a file says.
fn faketime() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut places = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    places.find(|library| library.exists()).expect("libfaketime (tests/run installs it)")
}

/// What a gateway is started with whose wall clock that file moves.
fn clock<'e>(library: &'e Path, file: &'e Path) -> [(&'static str, &'e OsStr); 5] {
    [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_os_str()),
        ("FAKETIME_NO_CACHE", "1".as_ref()),
        ("DONT_FAKE_MONOTONIC", "1".as_ref()),
        ("NO_FAKE_STAT", "1".as_ref()),
    ]
}

/// `-D`: the gateway is our child and the tracer is not.
fn strace<'a>(calls: &'a str, inject: &'a str) -> [&'a str; 10] {
    ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", calls, "-e", inject]
}

fn secret() -> Vec<u8> {
    modern("", 1, "tools/call", json!({ "name": "secret", "arguments": {} }))
}

fn why(process: &Process) -> String {
    let (_, body) = process.ask("/readyz");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    ready["audit"]["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_disk_that_takes_seconds_holds_up_who_waits_for_it_and_nobody_else() {
    let (folder, upstream) = (Folder::new(), echo());
    let rules = "    - { id: waits, allow: [\"up.echo\"], audit: { durability: durable } }\n    - { id: never, deny: [\"up.secret\"] }\n";
    let config = with_rules(&upstream.url(), "", rules);
    let slow = strace("trace=fdatasync,fsync", "inject=fdatasync,fsync:delay_enter=1000000");
    let process = serve_by(&folder, &config, &slow, &[]);
    let commits = || metric(&process, "strait_audit_commit_duration_seconds_count");
    let (mut client, before) = (process.client(), commits());
    for _ in 0..30 {
        client.roundtrip(secret());
    }
    // Had each waited for a sync, there were thirty.
    assert!(commits() - before < 30, "{} syncs", commits() - before);
    let before = commits();
    for _ in 0..2 {
        let answer = client.roundtrip(call("waits")).json();
        assert!(answer["result"].is_object(), "{answer}");
    }
    assert!(commits() - before >= 2, "two calls, one after the other, were each confirmed");
    assert_eq!((why(&process), process.stop()), (String::new(), Some(0)));
    assert_eq!(of_kind(&records(&folder), "exchange").len(), 32);
}

#[test]
fn a_disk_that_turns_read_only_is_told_and_nothing_is_lost_when_it_is_over() {
    let (folder, upstream) = (Folder::new(), echo());
    let ill = strace("trace=pwrite64", "inject=pwrite64:error=EROFS:when=12..60");
    let process = serve_by(&folder, &audited(&upstream.url(), ""), &ill, &[]);
    let mut client = process.client();
    let mut calls = 0;
    wait_for("the log to say so", || {
        client.roundtrip(call("x"));
        calls += 1;
        why(&process).contains("Read-only file system")
    });
    process.wait_for_log("Read-only file system");
    wait_for("it to be over", || process.ask("/readyz").0 == 200);
    process.wait_for_log("the disk takes records again");
    assert_eq!(process.stop(), Some(0));
    assert_eq!(of_kind(&records(&folder), "exchange").len(), calls);
}

#[test]
fn a_clock_that_goes_back_changes_no_order_and_hides_no_record() {
    let (folder, upstream) = (Folder::new(), echo());
    folder.write("clock", "+86400");
    let (library, file) = (faketime(), folder.at("clock"));
    let config = audited(&upstream.url(), ", keep: 1m, rotate: 1MiB");
    let process = serve_by(&folder, &config, &["env"], &clock(&library, &file));
    let mut client = process.client();
    client.roundtrip(call("ahead"));
    folder.replace("clock", "-86400");
    client.roundtrip(call("behind"));
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let calls = of_kind(&records, "exchange");
    let ts = |at: usize| calls[at]["ts"].as_str().unwrap().to_owned();
    assert_eq!(calls.len(), 2);
    assert!(ts(1) < ts(0), "{} {}", ts(0), ts(1));
    let shown = |more: &[&str]| {
        let verb = ["audit", "show", "audit", "--kind", "exchange", "--json"];
        let out = strait(&folder.0, &[&verb[..], more].concat());
        String::from_utf8(out.stdout).unwrap().lines().count()
    };
    assert_eq!((shown(&["--since", &ts(1)]), shown(&["--since", &ts(0)])), (2, 1));
    assert_eq!((shown(&["--until", &ts(0)]), shown(&[])), (1, 2));
}

#[test]
fn files_that_are_moved_or_cut_under_the_gateway_are_told_and_nothing_is_written_behind_the_hole() {
    for (file, is_cut) in [("entries", false), ("payload", false), ("entries", true), ("payload", true)] {
        let (folder, upstream) = (Folder::new(), echo());
        let process = serve(&folder, &audited(&upstream.url(), ", payload: full"));
        let mut client = process.client();
        let mut calls = 3;
        (0..calls).for_each(|_| drop(client.roundtrip(call("before"))));
        wait_for("them to be signed", || metric(&process, "strait_audit_checkpoint_records") > 3);
        let at = folder.at("audit").join(file).join("00000000000000000000");
        let aside = folder.at("aside");
        std::fs::copy(&at, folder.at("copy")).unwrap();
        let told = match is_cut {
            true => {
                File::options().write(true).open(&at).unwrap().set_len(10).unwrap();
                "it was cut to 10 bytes"
            }
            false => {
                std::fs::rename(&at, &aside).unwrap();
                "it was removed or replaced"
            }
        };
        wait_for("the gateway to say so", || {
            client.roundtrip(call("meanwhile"));
            calls += 1;
            why(&process).contains(told)
        });
        process.wait_for_log(told);
        assert_eq!(process.ask("/readyz").0, 503);
        assert_eq!(at.exists(), is_cut, "nothing is made in its place");
        // Whoever brings it back has a log in which nothing is missing.
        match is_cut {
            true => {
                let whole = std::fs::read(folder.at("copy")).unwrap();
                std::os::unix::fs::FileExt::write_all_at(
                    &File::options().write(true).open(&at).unwrap(),
                    &whole,
                    0,
                )
                .unwrap();
            }
            false => std::fs::rename(&aside, &at).unwrap(),
        }
        wait_for("it to be over", || process.ask("/readyz").0 == 200);
        assert_eq!(process.stop(), Some(0));
        assert_eq!(of_kind(&records(&folder), "exchange").len(), calls, "{file} {is_cut}");
    }
}

#[test]
fn a_history_that_is_removed_is_told_with_the_next_checkpoint() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ""));
    process.client().roundtrip(call("x"));
    let history = folder.at("audit").join("checkpoints/00000000000000000000");
    wait_for("it to be signed", || metric(&process, "strait_audit_checkpoint_records") > 1);
    std::fs::rename(&history, folder.at("aside")).unwrap();
    process.client().roundtrip(call("y"));
    wait_for("the gateway to say so", || {
        why(&process).contains("`checkpoints/00000000000000000000` ends at byte 0")
    });
    std::fs::rename(folder.at("aside"), &history).unwrap();
    wait_for("it to be over", || process.ask("/readyz").0 == 200);
    assert_eq!(process.stop(), Some(0));
    records(&folder);
}

/// Ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_kill_while_old_segments_are_removed_leaves_a_log_that_goes_on() {
    let (folder, upstream) = (Folder::new(), echo());
    folder.write("clock", "-86400");
    let (library, file) = (faketime(), folder.at("clock"));
    let terms = ", payload: full, rotate: 1MiB, keep: 1h";
    let process = serve_by(&folder, &audited(&upstream.url(), terms), &["env"], &clock(&library, &file));
    let mut client = process.client();
    let firsts = |kind: &str| strait_audit::segment::firsts(&folder.at("audit"), kind).unwrap();
    let text = "x".repeat(50_000);
    wait_for("four segments", || {
        client.roundtrip(call(&text));
        firsts("entries").len() > 3
    });
    assert_eq!(process.stop(), Some(0));
    let old = firsts("entries");
    // A day later all but the last are too old. The second file that goes takes the gateway with it.
    let second = format!("audit/entries/{:020}", old[1]);
    let beside = format!("./{second}");
    let whole = folder.at(&second);
    let of = ["-P", whole.to_str().expect("UTF-8"), "-P", &second, "-P", &beside];
    let ill = strace("trace=unlink,unlinkat", "inject=unlink,unlinkat:signal=KILL:when=1");
    let (child, _) = spawn_by(&folder, &audited(&upstream.url(), terms), &[&ill[..], &of].concat(), &[]);
    let mut killed = Ending(child);
    wait_for("the kill", || killed.0.try_wait().expect("look at the child").is_some());
    drop(killed);
    let left = firsts("entries");
    assert!(left.len() >= old.len() - 2 && left.len() < old.len(), "{old:?}, then {left:?}");
    // Sound as it was left, and the next gateway removes the rest.
    records(&folder);
    let process = again(&folder);
    wait_for("the rest to go", || firsts("entries")[0] > *old.last().unwrap() - 1);
    wait_for("all of them to go", || {
        firsts("payload") == firsts("entries") && firsts("checkpoints")[0] >= firsts("entries")[0]
    });
    assert_eq!(process.stop(), Some(0));
    assert!(of_kind(&records(&folder), "retired").len() >= 2);
}
