//! A kill, or a full disk, at any point of an apply: what a restart finds is what was served before or what was to be served, whole.
//!
//! strace kills the gateway before its n-th write, fsync, rename and so on, or has that fail with ENOSPC. Everything that an apply keeps is
//! written by one thread, so strace is attached to that one alone: a count is then a place in the program, which a dry run tells
//! beforehand, and a test that met it in another thread, or never, cannot pass: strace's own log must show the fault.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use strait_table::Snapshot;
use strait_tests::gateway::wait_for;

use crate::gateway::Site;
use crate::process::*;

/// What can change the disk, or fail for want of room.
const CALLS: [&str; 6] = ["write", "fsync", "rename", "openat", "unlink", "mkdir"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Kill,
    Full,
}

/// Before the n-th call of this name.
type Point = (&'static str, usize);

fn there_is_strace() -> bool {
    let found = Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("strace is not installed: not tried");
    }
    found
}

/// strace on one thread, or on a whole process, looking at calls that touch these paths.
struct Tracer {
    child: Child,
    log: PathBuf,
}

impl Tracer {
    fn attach(site: &Site, arguments: &[&str], paths: &[PathBuf], thread: u32) -> Tracer {
        let log = site.folder.at("strace");
        let _ = fs::remove_file(&log);
        let mut command = Command::new("strace");
        command.arg("-o").arg(&log).args(arguments);
        for path in paths {
            // Calls name it as the gateway does, descriptors from the root.
            let named = path.strip_prefix(&site.folder.0).expect("a path of this folder");
            command.arg("-P").arg(path).arg("-P").arg(named);
        }
        let child =
            command.args(["-p", &thread.to_string()]).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let tracer = Tracer { child: child.expect("start strace"), log };
        let status = format!("/proc/{thread}/status");
        wait_for("strace to be attached", || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
        });
        tracer
    }

    /// Lets go, and tells what it saw.
    fn detach(mut self, is_gone: bool) -> String {
        // It ends by itself, and has told how, when what it looked at was killed.
        if !is_gone {
            signal(self.child.id(), "INT");
        }
        self.child.wait().expect("wait for strace");
        fs::read_to_string(&self.log).expect("what strace saw")
    }
}

/// The thread that carries out orders.
fn control_thread(process: &Process) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).expect("its threads");
    let mut named = tasks.flatten().map(|task| task.path()).filter(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "strait-control")
    });
    let path = named.next().expect("the control thread");
    path.file_name().unwrap().to_string_lossy().parse().expect("a number")
}

/// Everything that an apply of `fewer` keeps, and the folders of it.
fn kept_paths(site: &Site, process: &Process) -> Vec<PathBuf> {
    let whole = Snapshot::from_bytes(&site.folder.read("fewer")).expect("a table").generation();
    let rollout = site.rollout();
    let table = rollout.join("tables").join(format!("{}.table", blake3::Hash::from_bytes(whole.0).to_hex()));
    let kept = site.folder.kept().expect("a kept table");
    let beside = |path: &Path| PathBuf::from(format!("{}.new-{}", path.display(), process.pid()));
    let folder = |path: &Path| path.parent().expect("a folder").to_owned();
    let mut all = vec![beside(&table), folder(&table), beside(&kept), folder(&kept), rollout.join("history")];
    all.extend([table, kept, rollout]);
    all
}

/// A gateway with nothing behind it.
fn fresh(site: &Site) -> Process {
    let _ = fs::remove_dir_all(site.folder.at("state"));
    let process = site.serve();
    // Its own writing comes after it is open, and is no part of an apply.
    wait_for("the start to be written down", || site.json(&["status"])["rollout"]["history"]["entries"] == 1);
    process
}

/// How often an apply makes each of these calls.
fn points(site: &Site) -> Vec<Point> {
    let process = fresh(site);
    let wanted = format!("trace={}", CALLS.join(","));
    let paths = kept_paths(site, &process);
    let tracer = Tracer::attach(site, &["-e", &wanted], &paths, control_thread(&process));
    assert_eq!(site.run(&["apply", "fewer"]).code, 0);
    let seen = tracer.detach(false);
    let mut counts = BTreeMap::new();
    for line in seen.lines() {
        if let Some(call) =
            CALLS.iter().find(|call| line.split_once('(').is_some_and(|(name, _)| name == **call))
        {
            *counts.entry(*call).or_insert(0) += 1;
        }
    }
    // The table, its line, the last good one; each table is renamed into place.
    let at_least = [("write", 3), ("fsync", 5), ("rename", 2)];
    assert!(
        at_least.iter().all(|(call, n)| counts.get(call).is_some_and(|found| found >= n)),
        "{counts:?}: {seen}"
    );
    counts.into_iter().flat_map(|(call, count)| (1..=count).map(move |n| (call, n))).collect()
}

/// One fault in one apply, and what is there afterwards.
fn strike(site: &Site, (call, n): Point, fault: Fault) {
    let mut process = fresh(site);
    let (paths, thread) = (kept_paths(site, &process), control_thread(&process));
    let how = match fault {
        Fault::Kill => "signal=KILL",
        Fault::Full => "error=ENOSPC",
    };
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{how}:when={n}"));
    let tracer = Tracer::attach(site, &["-e", &trace, "-e", &inject], &paths, thread);
    let ran = site.run(&["apply", "fewer"]);
    let is_gone = fault == Fault::Kill && ran.code == 4 && process.ended().is_none();
    let seen = tracer.detach(is_gone);
    let what =
        format!("{fault:?} at {call} {n}: exit code {}, {}\n{seen}{}", ran.code, ran.err, process.log());
    match fault {
        Fault::Kill => {
            assert!(seen.contains("killed by SIGKILL"), "the call never came: {what}");
            assert_eq!((process.ended(), ran.code), (None, 4), "{what}");
        }
        Fault::Full => {
            assert!(seen.contains("(INJECTED)"), "the call never came: {what}");
            // Served is what was said: the old one, with the reason, or the new one.
            let expected = match ran.code {
                3 => &site.all,
                0 => &site.fewer,
                _ => panic!("{what}"),
            };
            assert_eq!(&process.generation(), expected, "{what}");
            if ran.code == 3 {
                assert!(ran.err.contains("No space left"), "{what}");
                assert_eq!(process.tools("").len(), 3, "{what}");
            }
            process.kill();
            restarted(site, &what, Some(expected));
            return;
        }
    }
    restarted(site, &what, None);
}

/// What a restart with this state folder believes.
fn restarted(site: &Site, what: &str, expected: Option<&String>) {
    for folder in [site.rollout().join("tables"), site.folder.at("state/kept")] {
        for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            let is_table = path.extension().is_some_and(|extension| extension == "table");
            assert!(!is_table || Snapshot::open(&path).is_ok(), "{} is not whole: {what}", path.display());
        }
    }
    let process = site.serve();
    let told = site.json(&["history"]);
    assert_eq!((&told["verified"], &told["torn"]), (&json!(true), &json!(0)), "{what}");
    // What is in the history is served; what is not there never was.
    let entries = told["entries"].as_array().expect("entries");
    let last = entries.iter().find(|entry| entry["outcome"] == "adopted").expect("an adopted one");
    let last = &last["to"].as_str().expect("a generation")[..12];
    assert!([&site.all, &site.fewer].iter().any(|one| *one == last), "{last}: {what}");
    assert_eq!(process.generation(), last, "{what}");
    assert!(expected.is_none_or(|expected| expected == last), "{last} after {what}");
    // Nothing that was left stands in the way of the next one.
    let (next, generation) = if last == site.all { ("fewer", &site.fewer) } else { ("all", &site.all) };
    let ran = site.run(&["apply", next]);
    assert_eq!((ran.code, &process.generation()), (0, generation), "{} after {what}", ran.err);
    for folder in [site.rollout().join("tables"), site.folder.at("state/kept")] {
        let left = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".new-")).collect();
        assert!(left.is_empty(), "{left:?} after {what}");
    }
}

/// Two at a time: most of it is waiting for processes.
fn sweep(fault: Fault) {
    if !there_is_strace() {
        return;
    }
    let all = points(&Site::new());
    eprintln!("{fault:?}: {all:?}");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let mine: Vec<Point> = all.iter().copied().skip(half).step_by(2).collect();
            scope.spawn(move || {
                let site = Site::new();
                mine.into_iter().for_each(|point| strike(&site, point, fault));
            });
        }
    });
}

#[test]
fn killed_before_any_call_of_an_apply_a_restart_serves_the_old_or_the_new_one() {
    sweep(Fault::Kill);
}

#[test]
fn with_a_full_disk_at_any_call_of_an_apply_what_is_said_is_served() {
    sweep(Fault::Full);
}

/// What a plan writes to compare with is written by other threads, and lasts for nothing.
#[test]
fn killed_while_an_apply_is_planned() {
    if !there_is_strace() {
        return;
    }
    let site = Site::new();
    for side in ["before", "after"] {
        for call in ["openat", "write", "fsync", "rename"] {
            let mut process = fresh(&site);
            let name = site.rollout().file_name().unwrap().to_string_lossy().into_owned();
            let pid = process.pid();
            let path = site.folder.at(&format!("state/plan-{pid}-{side}-{name}.table.new-{pid}"));
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when=1"));
            let tracer = Tracer::attach(&site, &["-f", "-e", &trace, "-e", &inject], &[path], pid);
            let ran = site.run(&["apply", "fewer"]);
            let is_gone = ran.code == 4 && process.ended().is_none();
            let seen = tracer.detach(is_gone);
            let what = format!("{call} of {side}: exit code {}, {}\n{seen}", ran.code, ran.err);
            assert!(seen.contains("killed by SIGKILL"), "the call never came: {what}");
            assert_eq!((process.ended(), ran.code), (None, 4), "{what}");
            restarted(&site, &what, Some(&site.all));
        }
    }
}
