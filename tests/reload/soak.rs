//! A thousand swaps in five minutes, and 136 in ten, at half of what this machine can carry, with two hundred event streams and
//! fifty sessions open: no request fails, no stream or session breaks, memory does not grow.
//!
//! Time is cut into slices that have swaps and slices that have none, one after the other: what a swap does to those who call shows
//! in the difference, and what the machine does by itself in the spread of those without. It is printed, not judged: a shared machine
//! is no clock.
//!
//! Ignored by default; `tests/run --full` runs it with the release build. `STRAIT_SOAK_S` makes both shorter, with as many swaps a
//! second.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_tests::Client;
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;

use crate::process::*;

const STREAMS: usize = 200;
const SESSIONS: usize = 50;
/// Pause between two calls of all sessions.
const SESSION_EVERY: Duration = Duration::from_millis(20);
/// One with swaps, then one without.
const SLICE: Duration = Duration::from_secs(5);
const CLIENTS: usize = 8;
const TOOLS: usize = 200;
const EVENT_EVERY_S: u64 = 2;
/// Swaps before memory is first measured: buffers and caches have grown to their size by then.
const WARM_SWAPS: usize = 30;
const GROWTH_PERCENT_MAX: f64 = 5.0;

/// `strait echo` at a port of its own.
struct Echo {
    child: Child,
    url: String,
}

impl Echo {
    fn start(folder: &Folder, name: &str, arguments: &[String]) -> Echo {
        let log = folder.at(name);
        let file = std::fs::File::create(&log).expect("make the log");
        let child = Command::new(binary())
            .args(["echo", "--bind", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone"))
            .stderr(file)
            .spawn()
            .expect("start strait echo");
        let mut url = String::new();
        wait_for("the echo server", || {
            let text = std::fs::read_to_string(&log).expect("read the log");
            let Some(at) = text.find("http://") else { return false };
            let end =
                text[at..].find(|c: char| c.is_whitespace() || c == '"').map_or(text.len(), |end| at + end);
            url = text[at..end].to_owned();
            end < text.len()
        });
        Echo { child, url }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many swaps in so many seconds, or as many a second for as long as the environment says.
fn plan(swaps: u64, seconds: u64) -> (usize, u64) {
    let told = std::env::var("STRAIT_SOAK_S").ok();
    let told = told.map(|text| text.parse().expect("STRAIT_SOAK_S: seconds"));
    let for_s: u64 = told.unwrap_or(seconds);
    ((swaps * for_s / seconds).max(10) as usize, for_s)
}

/// A call of 400 bytes.
fn request() -> Vec<u8> {
    modern("", 3, "tools/call", json!({"name": "calls__echo", "arguments": {"text": "x".repeat(200)}}))
}

/// What is wrong with an answer, if anything.
fn fault(answer: &strait_tests::Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let is_good = answer.status == 200
        && !answer.cut_short
        && body["id"] == 3
        && body["result"]["content"][0]["text"].as_str().is_some_and(|text| text.len() == 200);
    (!is_good).then(|| format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

#[test]
#[ignore = "five minutes: tests/run --full runs it"]
fn a_thousand_swaps_under_load() {
    let (swaps, seconds) = plan(1_000, 300);
    soak(swaps, seconds);
}

#[test]
#[ignore = "ten minutes: tests/run --full runs it"]
fn a_day_of_swaps_under_load() {
    let (swaps, seconds) = plan(136, 600);
    soak(swaps, seconds);
}

fn soak(swaps: usize, seconds: u64) {
    let folder = Folder::new();
    // Streams end after the last swap, and not long after.
    let events = (seconds + 20) / EVENT_EVERY_S;
    let calls = Echo::start(&folder, "calls.log", &["--tools".into(), TOOLS.to_string()]);
    let streams =
        Echo::start(&folder, "streams.log", &["--events".into(), format!("{events}:{EVENT_EVERY_S}s")]);
    let table = |swap: usize| {
        let up = |name: &str, echo: &Echo| {
            format!("  {name}: {{ http: \"{}\", timeout: {{ call: 60m }} }}\n", echo.url)
        };
        let (first, second) = (up("calls", &calls), up("streams", &streams));
        let upstreams =
            if swap.is_multiple_of(2) { format!("{first}{second}") } else { format!("{second}{first}") };
        folder.compile(&config(&format!(
            "upstreams:\n{upstreams}servers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\npolicy:\n  default: deny\n  \
             rules:\n    - {{ id: all, allow: [\"*\"] }}\n    - {{ id: never-{swap}, deny: [\"calls.echo-{swap}\"] }}\n"
        )))
    };
    let tables: Vec<(Vec<u8>, String)> = (0..8).map(table).collect();
    folder.write("table", &tables[0].0);
    let process = Process::serve(&folder, "table");
    wait_for("the lists", || process.tools("").len() > TOOLS.min(100));

    let mut open: Vec<Client> = (0..STREAMS).map(|_| process.client()).collect();
    for (id, client) in open.iter_mut().enumerate() {
        let meta = json!({"progressToken": format!("t{id}")});
        let arguments = json!({"text": "x"});
        let params = json!({"name": "streams__echo", "arguments": arguments, "_meta": meta});
        client.send(modern("", id as i64, "tools/call", params));
    }
    for client in &mut open {
        client.until_unread(b"notifications/progress");
    }
    let mut sessions: Vec<(Client, String)> = (0..SESSIONS).map(|_| session(&process)).collect();

    let capacity = capacity(&process);
    let rate = capacity / 2.0;
    println!(
        "capacity {capacity:.0}/s with {CLIENTS} connections; running at {rate:.0}/s, {STREAMS} streams and {SESSIONS} sessions \
         open"
    );

    let (done, sent, late_us) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut adopting_us, mut pause_us) = (Vec::new(), Vec::new());
    let began = Instant::now();
    let slices = Slices::new(began, seconds);
    let (first_kib, mut faults, in_sessions) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (process, done, sent, late_us, slices) = (&process, &done, &sent, &late_us, &slices);
                scope.spawn(move || paced(process, number, rate, done, sent, late_us, slices))
            })
            .collect();
        let (done_too, open) = (&done, &mut sessions);
        let in_sessions = scope.spawn(move || calls_in_sessions(open, done_too));
        let mut first_kib = 0;
        for swap in 1..=swaps {
            std::thread::sleep(
                (began + slices.due(swap as f64 / swaps as f64)).saturating_duration_since(Instant::now()),
            );
            folder.replace("table", &tables[swap % tables.len()].0);
            process.hang_up();
            wait_for("the swap", || process.reload()["adopted"] == swap);
            if swap == WARM_SWAPS.min(swaps / 2) {
                first_kib = process.resident_kib();
            }
        }
        done.store(true, Ordering::SeqCst);
        let faults: Vec<String> =
            workers.into_iter().flat_map(|worker| worker.join().expect("a client")).collect();
        (first_kib, faults, in_sessions.join().expect("the sessions"))
    });
    let last_kib = process.resident_kib();
    let mut broken = Vec::new();
    for (id, client) in open.iter_mut().enumerate() {
        let rest = client.until_unread(b"0\r\n\r\n");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        let seen = rest.matches("notifications/progress").count() as u64;
        if seen != events - 1 || !rest.contains("\"result\"") {
            broken.push(format!("stream {id}: {seen} of {} events left", events - 1));
        }
    }
    for line in process.log().lines() {
        let number = |mark: &str| line.split(mark).nth(1)?.split(' ').next()?.parse::<u64>().ok();
        adopting_us.extend(number("in use by every worker after "));
        pause_us.extend(number("none stood still for more than "));
    }
    let at = |all: &mut Vec<u64>, share: f64| {
        all.sort_unstable();
        all.get((all.len() as f64 * share) as usize).copied().unwrap_or_default()
    };
    let growth = (last_kib as f64 / first_kib as f64 - 1.0) * 100.0;
    wait_for("the old tables to be freed", || process.ready()["snapshots"] == 1);
    let (calls, mut lost) = in_sessions;
    println!("{SESSIONS} sessions, {calls} calls in them, {} failed", lost.len());
    println!("{}", slices.told());
    println!(
        "{swaps} swaps in {seconds} s; {} requests, {} failed; {STREAMS} streams, {} broken; resident {first_kib} -> \
         {last_kib} KiB ({growth:+.1} %); slowest answer {} ms; adopted by all workers after {} us (median), {} us (p99); a \
         worker stood still for {} us (median), {} us (p99)",
        sent.load(Ordering::SeqCst),
        faults.len(),
        broken.len(),
        late_us.load(Ordering::SeqCst) / 1_000,
        at(&mut adopting_us, 0.5),
        at(&mut adopting_us, 0.99),
        at(&mut pause_us, 0.5),
        at(&mut pause_us, 0.99),
    );
    faults.truncate(5);
    broken.truncate(5);
    lost.truncate(5);
    assert!(lost.is_empty(), "{lost:?}");
    assert!(faults.is_empty(), "{faults:?}");
    assert!(broken.is_empty(), "{broken:?}");
    assert!(growth < GROWTH_PERCENT_MAX, "{growth:.1} %");
    assert_eq!(process.stop(), Some(0));
}

/// Calls a second when every connection asks again as soon as it is answered.
fn capacity(process: &Process) -> f64 {
    let window = Duration::from_secs(3);
    let total: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, request, began) = (process.client(), request(), Instant::now());
                    let mut count = 0;
                    while began.elapsed() < window {
                        let answer = client.roundtrip(&request);
                        assert_eq!(fault(&answer), None);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    total as f64 / window.as_secs_f64()
}

/// A connection with a session of its own.
fn session(process: &Process) -> (Client, String) {
    let mut client = process.client();
    let session = initialize(&mut client, "", "2025-11-25");
    (client, session)
}

/// Calls in each session in turn; how many calls there were, and what went wrong.
fn calls_in_sessions(sessions: &mut [(Client, String)], done: &AtomicBool) -> (u64, Vec<String>) {
    let (mut calls, mut faults) = (0, Vec::new());
    while !done.load(Ordering::Relaxed) {
        for (client, session) in sessions.iter_mut() {
            let params = json!({"name": "calls__echo", "arguments": {"text": "x".repeat(200)}});
            faults.extend(fault(&client.roundtrip(legacy("", session, 3, "tools/call", params))));
            calls += 1;
            std::thread::sleep(SESSION_EVERY);
        }
    }
    (calls, faults)
}

/// What calls took, by slice of time: those with swaps have even numbers.
struct Slices {
    began: Instant,
    taken_us: Vec<Mutex<Vec<u32>>>,
}

impl Slices {
    fn new(began: Instant, seconds: u64) -> Slices {
        let pairs = (seconds / (2 * SLICE.as_secs())).max(1);
        Slices { began, taken_us: (0..2 * pairs).map(|_| Mutex::default()).collect() }
    }

    /// When a swap is due that is this share of all: in a slice that has swaps.
    fn due(&self, share: f64) -> Duration {
        let swapping = SLICE.mul_f64(share * self.taken_us.len() as f64 / 2.0);
        let whole = (swapping.as_secs_f64() / SLICE.as_secs_f64()).floor();
        swapping + SLICE.mul_f64(whole)
    }

    fn took(&self, began: Instant, taken: Duration) {
        let number = (began - self.began).as_secs_f64() / SLICE.as_secs_f64();
        if let Some(slice) = self.taken_us.get(number as usize) {
            slice.lock().unwrap().push(taken.as_micros() as u32);
        }
    }

    fn told(&self) -> String {
        let mut medians = [Vec::new(), Vec::new()];
        for (number, slice) in self.taken_us.iter().enumerate() {
            let mut all = slice.lock().unwrap();
            all.sort_unstable();
            medians[number % 2].extend(all.get(all.len() / 2));
        }
        medians.iter_mut().for_each(|all| all.sort_unstable());
        let spread = |all: &[u32]| match (all.first(), all.get(all.len() / 2), all.last()) {
            (Some(least), Some(middle), Some(most)) => format!("{middle} us ({least} to {most})"),
            _ => "no calls".to_owned(),
        };
        let [swapping, quiet] = medians.map(|all| spread(&all));
        format!("p50 of slices of {} s: with swaps {swapping}, without {quiet}", SLICE.as_secs())
    }
}

/// Sends its share of `rate`, each request when it is due, and gives what went wrong.
fn paced(
    process: &Process,
    number: usize,
    rate: f64,
    done: &AtomicBool,
    sent: &AtomicU64,
    slowest_us: &AtomicU64,
    slices: &Slices,
) -> Vec<String> {
    let gap = Duration::from_secs_f64(CLIENTS as f64 / rate);
    let (mut client, request, mut faults) = (process.client(), request(), Vec::new());
    let mut due = Instant::now() + gap.mul_f64(number as f64 / CLIENTS as f64);
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due = (due + gap).max(Instant::now() - gap);
        let began = Instant::now();
        client.send(&request);
        sent.fetch_add(1, Ordering::Relaxed);
        match client.answer() {
            Some(answer) => faults.extend(fault(&answer)),
            None => {
                faults.push("the connection was closed".to_owned());
                client = process.client();
            }
        }
        let taken = began.elapsed();
        slices.took(began, taken);
        slowest_us.fetch_max(taken.as_micros() as u64, Ordering::Relaxed);
    }
    faults
}
