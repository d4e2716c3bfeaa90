//! Three times as many calls as an upstream of 5 ms can take under a cap of ten, made by `strait load` against
//! `strait echo`: nine tenths of the capacity is still answered well, and who is refused is told at least as fast as
//! others are served. Ratios of pairs of runs seconds apart, medians of five such rounds: `tests/run --full` runs it with the
//! release build.

use std::process::{Child, Command, Stdio};

use serde_json::Value;
use strait_tests::gateway::wait_for;

use crate::process::*;
use crate::serve;

const CALLS_MAX: usize = 10;
const LATENCY: &str = "fixed:5ms";
const SECONDS: &str = "4s";
const ROUNDS: usize = 5;
const GOODPUT_MIN: f64 = 0.9;

#[test]
#[ignore = "ratios of time: tests/run --full"]
fn three_times_the_capacity_costs_less_than_a_tenth_of_it() {
    let folder = Folder::new();
    let echo = Echo::start(&folder);
    let rest = format!(
        "caps: {{ calls: {CALLS_MAX} }}\nupstreams:\n  up: {{ http: \"{}\" }}\nservers:\n  default: {{ path: /mcp, tools: \
         [\"*\"] }}\npolicy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
        echo.url
    );
    folder.write("strait.yaml", config(&rest));
    // Caps are per core: one core.
    let gateway = serve(&folder, 1, &[]);
    wait_for("the lists", || !gateway.tools("").is_empty());
    let url = format!("http://{}/mcp", gateway.address);

    let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::run(&folder, &url)).collect();
    let median = |of: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    let share = median(|round| round.goodput / round.capacity);
    let average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "measured: medians of {ROUNDS} rounds: capacity {:.0}/s, goodput at 3 x {:.1} % of it, p50 of a refusal {:.0} us, of an \
         admitted call {:.0} us; load average {}",
        median(|round| round.capacity),
        share * 100.0,
        median(|round| round.refused_us),
        median(|round| round.admitted_us),
        average.trim()
    );
    assert!(share >= GOODPUT_MIN, "goodput is {:.1} % of the capacity", share * 100.0);
    for Round { refused_us, admitted_us, .. } in &rounds {
        assert!(
            refused_us <= admitted_us,
            "a refusal takes {refused_us:.0} us, an admitted call {admitted_us:.0} us"
        );
    }
}

/// Per second, and p50 of latencies.
struct Round {
    capacity: f64,
    goodput: f64,
    refused_us: f64,
    admitted_us: f64,
}

impl Round {
    fn run(folder: &Folder, url: &str) -> Round {
        // As many at once as the cap lets in, each again when it is answered: what this machine can take.
        let closed = load(folder, url, &["--closed", "--connections", &CALLS_MAX.to_string()]);
        assert_eq!(closed["failed"], 0, "{closed:#}");
        let capacity = number(&closed, "/achieved_rate");
        let rate = format!("{:.0}", 3.0 * capacity);
        let open = load(folder, url, &["--rate", &rate, "--connections", "64"]);
        assert_eq!(open["errors"]["total"], open["http_statuses"]["503"], "503, or served: {open:#}");
        assert_eq!(open["not_sent"], 0, "the generator could not keep up: {open:#}");
        let round = Round {
            capacity,
            goodput: number(&open, "/succeeded") / number(&open, "/duration_s"),
            refused_us: number(&open, "/failed_latency_ns/p50") / 1e3,
            admitted_us: number(&open, "/latency_ns/p50") / 1e3,
        };
        println!(
            "capacity {capacity:.0}/s; at {rate}/s: goodput {:.0}/s, p50 of {} refusals {:.0} us, of admitted calls {:.0} us",
            round.goodput, open["failed"], round.refused_us, round.admitted_us
        );
        round
    }
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {report:#}"))
}

/// What `strait load` reports; its exit code speaks of errors, which are the point here.
fn load(folder: &Folder, url: &str, arguments: &[&str]) -> Value {
    let out = Command::new(binary())
        .args(["load", url, "--json", "--duration", SECONDS, "--warmup", "1s", "--tool", "echo", "--args"])
        .arg(r#"{"text":"{{seq}}"}"#)
        .args(arguments)
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .output()
        .expect("run strait load");
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// `strait echo` at a port of its own.
struct Echo {
    child: Child,
    url: String,
}

impl Echo {
    fn start(folder: &Folder) -> Echo {
        let log = folder.at("echo.log");
        let child = Command::new(binary())
            .args(["echo", "--bind", "127.0.0.1:0", "--latency", LATENCY])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).expect("make the log"))
            .spawn()
            .expect("start strait echo");
        let mut url = String::new();
        wait_for("the echo server", || {
            let text = std::fs::read_to_string(&log).expect("read the log");
            let line = text.lines().next().filter(|_| text.ends_with('\n'));
            url = line.unwrap_or_default().to_owned();
            !url.is_empty()
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
