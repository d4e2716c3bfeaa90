//! A wall clock that jumps a day ahead, a day behind the truth, and back, in the middle of everything that has a
//! deadline: nothing is over too early, nothing too late, and only log lines show the jump.
//!
//! libfaketime moves the clock of the gateway's process alone. It is preloaded with DONT_FAKE_MONOTONIC, because a real
//! jump (`settimeofday`, a virtual machine that resumes) does not move the monotonic clock either.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Arrived, Gate, echoed, event, event_stream, json_reply};
use strait_tests::{Client, Scripted, Step};

use crate::process::*;
use crate::serve;

const DAY_S: i64 = 86_400;
/// Where the clock is put, one after the other.
const JUMPS_S: [i64; 3] = [DAY_S, -DAY_S, 0];
const CLIENTS: usize = 4;
const SESSIONS: usize = 8;
/// Of the upstream `mute`, whose calls nobody answers.
const FIRST_BYTE: Duration = Duration::from_secs(4);

#[test]
fn a_wall_clock_that_jumps_a_day_ends_nothing_and_holds_up_nothing() {
    let steps: [Gate; JUMPS_S.len()] = Default::default();
    let held = steps.clone();
    let up = Scripted::modern(move |request| answer(request, &held));
    let old = Scripted::legacy(|request| json_reply(&echoed(request)));
    let mute = Scripted::modern(|_| vec![Step::Hang]);
    let folder = Folder::new();
    let jumping = JumpingClock::at(&folder);
    folder.write("strait.yaml", rules(&folder, &up, &old, &mute));
    let gateway = jumping.start(&folder);
    wait_for("all lists", || gateway.tools("").len() == 9);

    // Everything that has a deadline, or a time since which it was not used, begins before the first jump.
    let mut sessions: Vec<(Client, String)> = (0..SESSIONS)
        .map(|_| {
            let mut client = gateway.client();
            let session = initialize(&mut client, "", "2025-11-25");
            (client, session)
        })
        .collect();
    let mut stream = gateway.client();
    stream.send(modern("", 1, "tools/call", slow("up__slow", "stream")));
    stream.until_unread(b"notifications/progress");
    let mut waiting = gateway.client();
    waiting.send(modern("", 2, "tools/call", slow("up__slow", "wait")));
    wait_for("the call that waits", || up.arrived("tools/call").len() == 2);
    let mut idle = gateway.client();
    assert_eq!(call(&mut idle, "", "up__echo", json!({}))["id"], 1);
    let late = modern("", 3, "tools/call", json!({"name": "up__echo", "arguments": {"n": 3}}));
    let (begun, rest) = late.split_at(late.len() - 20);
    let (mut half, half_began) = (gateway.client(), Instant::now());
    half.send(begun);
    let (mut unheard, unheard_began) = (gateway.client(), Instant::now());
    unheard.send(modern("", 4, "tools/call", json!({"name": "mute__echo", "arguments": {}})));
    wait_for("the call that nobody answers", || mute.arrived("tools/call").len() == 1);

    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Whatever fails here, the clients end.
        let ended = Ended(&done);
        for number in 0..CLIENTS {
            let (gateway, done, calls) = (&gateway, &done, &calls);
            scope.spawn(move || {
                let mut client = gateway.client();
                while !done.load(Ordering::SeqCst) {
                    let tool = ["up__echo", "old__echo"][number % 2];
                    let answer = call(&mut client, "", tool, json!({"n": number}));
                    assert!(answer["result"]["content"].is_array(), "{answer}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for (jump_s, step) in JUMPS_S.into_iter().zip(&steps) {
            jumping.jump(jump_s);
            wait_for("access lines with the new time", || {
                last_line_s(&folder).is_some_and(|line_s| (line_s - now_s() - jump_s).abs() < DAY_S / 24)
            });
            let before = calls.load(Ordering::SeqCst);
            for (client, session) in &mut sessions {
                for tool in ["up__echo", "old__echo"] {
                    let params = json!({"name": tool, "arguments": {"s": 1}});
                    let answer = client.roundtrip(legacy("", session, 7, "tools/call", params));
                    assert_eq!(answer.status, 200, "{jump_s}: {}", String::from_utf8_lossy(&answer.body));
                }
            }
            step.open();
            stream.until_unread(b"notifications/progress");
            wait_for("calls to go on", || calls.load(Ordering::SeqCst) > before + 20);
            assert_eq!(gateway.ask("/readyz").0, 200);
        }
        // The one deadline that is due: neither early nor never.
        let answer = unheard.answer().expect("an answer");
        let took = unheard_began.elapsed();
        assert_eq!(answer.json()["error"]["data"]["reason"], "upstream_first_byte_timeout");
        // Half, because a worker's clock ticks, and a tick may be late.
        assert!(took > FIRST_BYTE / 2, "a deadline of {FIRST_BYTE:?} was over after {took:?}");
        drop(ended);
    });
    let end = String::from_utf8(stream.until_unread(b"0\r\n\r\n")).expect("UTF-8");
    assert!(end.contains("\"result\""), "{end}");
    assert_eq!(waiting.answer().expect("an answer").json()["id"], 2);
    assert_eq!(call(&mut idle, "", "up__echo", json!({}))["id"], 1);
    half.send(rest);
    let answer = half.answer().expect("an answer");
    // On a machine so slow that its own deadline of 15 s has come, 408 is right.
    assert!(answer.status == 200 || half_began.elapsed() > Duration::from_secs(15), "{}", answer.status);
    // A reload works by the times of files, which did not jump.
    gateway.hang_up();
    wait_for("the reload", || gateway.reload()["state"] != "running" && gateway.ask("/readyz").0 == 200);
    let log = gateway.log();
    assert!(!log.contains("stalled") && !log.contains("panic"), "{log}");
    assert_eq!(gateway.stop(), Some(0));

    let lines = access_lines(&folder);
    let refused: Vec<&Value> =
        lines.iter().map(|line| &line["refused"]).filter(|why| !why.is_null()).collect();
    println!(
        "bound: a clock that jumps a day: calls that failed beside the one that is due: {} (at most 0), of {}",
        refused.len() - 1,
        lines.len()
    );
    assert_eq!(refused, ["upstream_first_byte_timeout"]);
    let longest_ns = lines.iter().filter_map(|line| line["ns"]["total"].as_u64()).max().expect("lines");
    assert!(
        longest_ns < 3_600 * 1_000_000_000,
        "a duration of {longest_ns} ns was counted with the wall clock"
    );
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An upstream's answer: one event after each jump, or after all of them.
fn answer(request: &Arrived, steps: &[Gate]) -> Vec<Step> {
    let result = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}});
    let waits = steps.iter().cloned().map(Step::Await);
    match request.argument("case") {
        "stream" => {
            let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
                "progressToken": request.body["params"]["_meta"]["progressToken"], "progress": 1}});
            let note = Step::Send(event(&note));
            let notes = waits.flat_map(|wait| [wait, note.clone()]);
            let begin = [Step::Send(event_stream()), note.clone()];
            let end = [Step::Send(event(&result)), Step::Send(b"0\r\n\r\n".to_vec())];
            begin.into_iter().chain(notes).chain(end).collect()
        }
        "wait" => waits.chain(json_reply(&result)).collect(),
        _ => json_reply(&echoed(request)),
    }
}

fn slow(tool: &str, case: &str) -> Value {
    json!({"name": tool, "arguments": {"case": case}, "_meta": {"progressToken": "t"}})
}

fn rules(folder: &Folder, up: &Scripted, old: &Scripted, mute: &Scripted) -> String {
    format!(
        "strait: 1\nlisteners: {{ main: {{ bind: \"127.0.0.1:0\" }} }}\nadmin: {{ bind: \"127.0.0.1:0\" }}\n\
         access_log: {{ path: {} }}\nupstreams:\n  up: {{ http: \"{}\" }}\n  old: {{ http: \"{}\" }}\n  \
         mute: {{ http: \"{}\", era: modern, timeout: {{ first_byte: {}s }} }}\n\
         servers: {{ default: {{ path: /mcp, naming: prefix, tools: [\"*\"] }} }}\n\
         policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
        folder.at("access.log").display(),
        up.url(),
        old.url(),
        mute.url(),
        FIRST_BYTE.as_secs()
    )
}

/// The clock of one process, as a file that libfaketime reads each time somebody asks.
struct JumpingClock {
    library: PathBuf,
    file: PathBuf,
}

impl JumpingClock {
    fn at(folder: &Folder) -> JumpingClock {
        let places = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = places
            .map(|place| place.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .expect("libfaketime: as root, `apt-get install libfaketime` (tests/run does)");
        let clock = JumpingClock { library, file: folder.at("clock") };
        clock.jump(0);
        clock
    }

    /// So far from the truth, from now on.
    fn jump(&self, seconds: i64) {
        let beside = self.file.with_extension("beside");
        std::fs::write(&beside, format!("{seconds:+}")).expect("write");
        std::fs::rename(beside, &self.file).expect("rename");
    }

    fn start(&self, folder: &Folder) -> Process {
        serve(
            folder,
            2,
            &[
                ("LD_PRELOAD", self.library.as_os_str()),
                ("FAKETIME_TIMESTAMP_FILE", self.file.as_os_str()),
                ("FAKETIME_NO_CACHE", "1".as_ref()),
                ("DONT_FAKE_MONOTONIC", "1".as_ref()),
                ("NO_FAKE_STAT", "1".as_ref()),
            ],
        )
    }
}

fn access_lines(folder: &Folder) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.at("access.log")).unwrap_or_default();
    // The last line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn last_line_s(folder: &Folder) -> Option<i64> {
    access_lines(folder).last().map(|line| seconds(line["ts"].as_str().expect("a time")))
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// Seconds since 1970 of `2026-11-21T06:15:19.123Z`.
fn seconds(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("a number");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Years from March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    days * DAY_S + number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19)
}
