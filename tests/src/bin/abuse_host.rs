//! A gateway in a process of its own, for tests that measure or limit a process: its memory is nobody else's,
//! its limits harm nobody else, and it has the allocator of the product. One line of JSON on stdin says what to
//! start, one on stdout where it listens; `figures` is answered with a line; the end of stdin ends it.

use std::io::Write;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};
use strait_engine::{Deadlines, WorkerFigures};
use strait_tests::{Gateway, Setup};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut lines = std::io::stdin().lines().map_while(Result::ok);
    let spec: Value = serde_json::from_str(&lines.next().expect("what to start")).expect("JSON");
    let both = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    match spec["files"].as_u64() {
        Some(files) => setrlimit(Resource::Nofile, both(files)).expect("limit open files"),
        None => drop(strait_engine::io::files::raise()),
    }
    if let Some(room) = spec["memory_bytes"].as_u64() {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("VmSize");
        let used: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        setrlimit(Resource::As, both((used << 10) + room)).expect("limit memory");
    }
    let usual = Deadlines::default();
    let ms = |name: &str, usual: u64| spec["deadlines"][name].as_u64().unwrap_or(usual);
    let gateway = Gateway::start(Setup {
        workers: spec["workers"].as_u64().unwrap_or(2) as usize,
        deadlines: Deadlines {
            head_ms: ms("head_ms", usual.head_ms),
            body_stall_ms: ms("body_stall_ms", usual.body_stall_ms),
            send_stall_ms: ms("send_stall_ms", usual.send_stall_ms),
            park_after_ms: ms("park_after_ms", usual.park_after_ms),
            idle_ms: ms("idle_ms", usual.idle_ms),
            idle_pressed_ms: ms("idle_pressed_ms", usual.idle_pressed_ms),
            ..usual
        },
        ..Setup::new(spec["config"].as_str().expect("a config"))
    });
    say(&json!({"address": gateway.address.to_string()}));
    for line in lines {
        match line.as_str() {
            "figures" => say(&json!({
                "connections": sum(&gateway, |worker| worker.connections.get()),
                "inflight": sum(&gateway, |worker| worker.inflight.get()),
                "listens": sum(&gateway, |worker| worker.listens.get()),
                "held_bytes": sum(&gateway, |worker| worker.held_bytes.get()),
                "notices": gateway.notices(),
            })),
            other => panic!("no such command: {other}"),
        }
    }
}

fn sum(gateway: &Gateway, of: impl Fn(&WorkerFigures) -> u64) -> u64 {
    gateway.handle().figures().iter().map(|worker| of(worker)).sum()
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}
