//! `/metrics` and the watchdog of a serving process with two workers: what a client did is what a scrape
//! tells, counters never fall, every name is documented, and a worker that stands still is named.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Folder;
use common::gateway::{Gateway, free_port, get, ready};

fn config(port: u16, admin: u16) -> String {
    format!(
        r#"
strait: 1
listeners: {{ main: {{ bind: "127.0.0.1:{port}" }} }}
admin: {{ bind: "127.0.0.1:{admin}" }}
upstreams:
  hello: {{ sample: stdio }}
  shop: {{ sample: http }}
  gone: {{ http: "http://127.0.0.1:1/mcp" }}
servers: {{ default: {{ path: /mcp, tools: ["*"] }}, second: {{ path: /second/mcp, tools: ["*"] }} }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"] }}
    - {{ id: never, deny: [hello.greet], when: 'args.name == "denied"' }}
    - {{ id: asked, hold: [hello.greet], when: 'args.name == "held"' }}
audit: {{ path: ./audit }}
"#
    )
}

struct Served {
    folder: Folder,
    gateway: Gateway,
    port: u16,
    admin: u16,
}

fn serve() -> Served {
    let (folder, port, admin) = (Folder::new(), free_port(), free_port());
    folder.write("strait.yaml", config(port, admin));
    let gateway = Gateway::start(folder.path(), &["serve", "strait.yaml", "--workers", "2"]);
    ready(admin);
    Served { folder, gateway, port, admin }
}

/// Calls a tool on a connection of its own; gives the status.
fn call(port: u16, tool: &str, path: &str) -> u16 {
    call_of(port, tool, path, "x")
}

fn call_of(port: u16, tool: &str, path: &str, name: &str) -> u16 {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"name":"{name}","id":"1"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Series to values. No series may appear twice.
fn scrape(admin: u16) -> BTreeMap<String, f64> {
    let (status, text) = get(admin, "/metrics", "localhost").expect("a scrape");
    assert_eq!(status, 200);
    let mut series = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let before = series.insert(name.to_owned(), value.parse().unwrap());
        assert!(before.is_none(), "{name} is there twice");
    }
    series
}

fn sum(series: &BTreeMap<String, f64>, start: &str) -> f64 {
    series.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_scrape_tells_what_a_client_did() {
    let served = serve();
    for _ in 0..12 {
        assert_eq!(call(served.port, "hello__greet", "/mcp"), 200);
    }
    for _ in 0..5 {
        call(served.port, "hello__no_such_tool", "/mcp");
    }
    for _ in 0..3 {
        assert_eq!(call(served.port, "hello__greet", "/elsewhere"), 404);
    }
    // The last answer may leave before its record is written.
    let seen = wait_for("the last record", || {
        Some(scrape(served.admin)).filter(|seen| sum(seen, "strait_requests_total") >= 20.0)
    });
    let of = |series: &str| seen.get(series).copied().unwrap_or_else(|| panic!("no {series}"));
    assert_eq!(of(r#"strait_requests_total{method="tools_call",outcome="ok"}"#), 12.0);
    assert_eq!(of(r#"strait_requests_total{method="tools_call",outcome="refused"}"#), 5.0);
    assert_eq!(of(r#"strait_requests_total{method="unread",outcome="refused"}"#), 3.0);
    assert_eq!(sum(&seen, "strait_requests_total"), 20.0);
    assert_eq!(of(r#"strait_refusals_total{reason="unknown_tool"}"#), 5.0);
    assert_eq!(of(r#"strait_refusals_total{reason="no_such_path"}"#), 3.0);
    assert_eq!(of(r#"strait_upstream_calls_total{upstream="hello"}"#), 12.0);
    assert_eq!(of(r#"strait_upstream_calls_total{upstream="shop"}"#), 0.0);
    assert_eq!(of(r#"strait_upstream_duration_seconds_count{upstream="hello"}"#), 12.0);
    assert_eq!(of("strait_gateway_added_seconds_count"), 12.0);
    assert_eq!(of(r#"strait_tool_calls_total{tool="hello.greet",outcome="ok"}"#), 12.0);
    assert_eq!(sum(&seen, "strait_tool_calls_total"), 12.0, "what nobody offers is no tool");
    assert_eq!(of(r#"strait_tool_duration_seconds_count{tool="hello.greet"}"#), 12.0);
    let requests = |verdict| {
        let labels = format!(r#"server="default",caller="anonymous",verdict="{verdict}""#);
        of(&format!("strait_server_requests_total{{{labels}}}"))
    };
    assert_eq!((requests("permit"), requests("none")), (12.0, 5.0));
    assert_eq!(sum(&seen, "strait_server_requests_total"), 17.0, "what came to no server is nobody's");
    let total = of(r#"strait_request_duration_seconds_sum{method="tools_call"}"#);
    assert!(of("strait_gateway_added_seconds_sum") < total, "added time is a part of the whole");
    assert_eq!(sum(&seen, "strait_worker_requests_total"), 20.0);
    assert!(sum(&seen, "strait_connections_accepted_total") >= 20.0);
    assert_eq!(of(r#"strait_upstream_children{upstream="hello"}"#), 1.0);
    assert_eq!(of(r#"strait_upstream_ready{upstream="hello"}"#), 1.0);
    assert_eq!(of(r#"strait_upstream_ready{upstream="gone"}"#), 0.0);
    assert!(of("process_cpu_seconds_total") > 0.0 && of("process_open_fds") > 5.0);
    assert!(of("strait_received_bytes_total") > 20.0 * 300.0);
    let (status, _) = get(served.admin, "/metrics", "evil.example").unwrap();
    assert_eq!(status, 403);
}

#[test]
fn each_verdict_is_counted_for_its_server() {
    let served = serve();
    let made = [("x", 5, "permit", "ok"), ("denied", 3, "deny", "refused"), ("held", 2, "hold", "refused")];
    for (name, times, ..) in made {
        for _ in 0..times {
            call_of(served.port, "hello__greet", "/mcp", name);
        }
    }
    call_of(served.port, "hello__greet", "/second/mcp", "denied");
    let seen = wait_for("the last record", || {
        Some(scrape(served.admin)).filter(|seen| sum(seen, "strait_requests_total") >= 11.0)
    });
    let requests = |server: &str, verdict: &str| {
        let labels = format!(r#"server="{server}",caller="anonymous",verdict="{verdict}""#);
        seen.get(&format!("strait_server_requests_total{{{labels}}}")).copied().unwrap_or_default()
    };
    for (_, times, verdict, _) in made {
        assert_eq!(requests("default", verdict), f64::from(times), "{verdict}");
    }
    assert_eq!((requests("second", "deny"), sum(&seen, "strait_server_requests_total")), (1.0, 11.0));
    let calls =
        |outcome| seen[&format!(r#"strait_tool_calls_total{{tool="hello.greet",outcome="{outcome}"}}"#)];
    assert_eq!((calls("ok"), calls("refused")), (5.0, 6.0));
}

#[test]
fn counters_never_fall_and_every_name_is_documented() {
    let served = serve();
    let (done, port, admin) = (AtomicBool::new(false), served.port, served.admin);
    let (kinds, last) = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    call(port, "hello__greet", "/mcp");
                    call(port, "nothing", "/mcp");
                }
            });
        }
        let (_, text) = get(admin, "/metrics", "localhost").unwrap();
        let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds: BTreeMap<String, String> = typed.map(|(n, k)| (n.to_owned(), k.to_owned())).collect();
        let mut before = scrape(admin);
        for _ in 0..40 {
            let now = scrape(admin);
            for (series, value) in &now {
                let name = series.split('{').next().unwrap();
                let counts = kinds.get(name).is_none_or(|kind| kind == "counter");
                let was = before.get(series).copied().unwrap_or(0.0);
                assert!(!counts || *value >= was, "{series} fell from {was} to {value}");
            }
            before = now;
        }
        done.store(true, Ordering::Relaxed);
        (kinds, before)
    });
    assert!(sum(&last, "strait_requests_total") > 0.0);
    // The bound that the document states, for two workers, an audit log, four upstreams, two servers and a tool that this process met, and no
    // secrets, collectors and anchors.
    let bound = 20_645 - 4_096 - 160 - 253 * 31 - 255 * 24 - (1_257 - 25) + 2 * 36;
    assert!(last.len() <= bound, "{} series", last.len());
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let documented: BTreeSet<(&str, &str)> =
        rows.filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0))).collect();
    let shown: BTreeSet<(&str, &str)> = kinds.iter().map(|(n, k)| (n.as_str(), k.as_str())).collect();
    let metrics = |set: &BTreeSet<(&str, &str)>| -> BTreeSet<String> {
        let ours = set.iter().filter(|(name, _)| name.starts_with("strait_") || name.starts_with("process_"));
        ours.map(|(name, kind)| format!("{name} {kind}")).collect()
    };
    assert_eq!(metrics(&documented), metrics(&shown));
}

/// Whoever may call may ask for any name: none of them becomes a label, and the series do not grow.
#[test]
fn names_that_clients_invent_make_no_series() {
    invent(40);
}

#[test]
#[ignore = "minutes: tests/run --full runs it"]
fn a_million_names_that_clients_invent_make_no_series_and_take_no_memory() {
    invent(4_000);
}

/// So many times 250 names.
fn invent(rounds: usize) {
    const AT_ONCE: usize = 250;
    // What allocators and buffers may grow by; a million names of 30 bytes that something held on to are more.
    const KIB_MAX: u64 = 16 << 10;
    let served = serve();
    assert_eq!(call(served.port, "hello__greet", "/mcp"), 200);
    call(served.port, "invented_0", "/mcp");
    let before = wait_for("both", || {
        Some(scrape(served.admin)).filter(|seen| sum(seen, "strait_requests_total") >= 2.0)
    });
    let mut stream = TcpStream::connect(("127.0.0.1", served.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut warm_kib = 0;
    for round in 0..rounds {
        if round == rounds / 10 {
            warm_kib = resident_kib(served.gateway.pid());
        }
        let mut requests = String::new();
        for n in 0..AT_ONCE {
            let tool = format!("hello__invented_{round}_{n}");
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
            );
            requests += &format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
                 Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
        stream.write_all(requests.as_bytes()).unwrap();
        for _ in 0..AT_ONCE {
            skip_answer(&mut answers);
        }
    }
    let all = (rounds * AT_ONCE + 2) as f64;
    let after = wait_for("all of them", || {
        Some(scrape(served.admin)).filter(|seen| sum(seen, "strait_requests_total") >= all)
    });
    assert!(!after.keys().any(|series| series.contains("invented")));
    assert_eq!(sum(&after, "strait_tool_calls_total"), 1.0);
    let names = |seen: &BTreeMap<String, f64>| seen.keys().cloned().collect::<BTreeSet<_>>();
    let new: Vec<_> = names(&after).difference(&names(&before)).cloned().collect();
    assert_eq!(new, Vec::<String>::new());
    let kib = resident_kib(served.gateway.pid());
    println!(
        "{} names: {} series, {warm_kib} KiB after a tenth, {kib} KiB after all",
        rounds * AT_ONCE,
        after.len()
    );
    assert!(kib < warm_kib + KIB_MAX, "{warm_kib} KiB after a tenth, {kib} KiB after all");
}

/// Kilobytes of a process that are in memory.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// One answer with a length.
fn skip_answer(from: &mut impl BufRead) {
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        assert!(from.read_line(&mut line).unwrap() > 0, "the connection ended");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    from.read_exact(&mut vec![0; length]).unwrap();
}

#[test]
fn a_worker_that_stands_still_is_named() {
    let Served { folder: _folder, gateway, admin, .. } = serve();
    let tasks = format!("/proc/{}/task", gateway.pid());
    let thread =
        std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().file_name().into_string().unwrap());
    let is_second = |id: &String| {
        std::fs::read_to_string(format!("{tasks}/{id}/comm"))
            .is_ok_and(|name| name.trim() == "strait-worker-1")
    };
    let thread = thread.into_iter().find(is_second).expect("the second worker's thread");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/common/hold_thread.py");
    let mut holder = Command::new("python3")
        .arg(script)
        .arg(&thread)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert_eq!(
        said.next().and_then(Result::ok).as_deref(),
        Some("held"),
        "may this user trace its own processes?"
    );

    let stalled_ms =
        wait_for("the stalled worker in /readyz", || ready(admin)["workers"][1]["stalled_ms"].as_u64());
    assert!(stalled_ms >= 1_000, "{stalled_ms}");
    let during = scrape(admin);
    assert_eq!(during[r#"strait_worker_stalled{worker="1"}"#], 1.0);
    let beats = r#"strait_worker_beats_total{worker="1"}"#;
    assert_eq!(during[beats], scrape(admin)[beats], "it is really held");

    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().and_then(Result::ok).as_deref(), Some("let go"));
    assert!(holder.wait().unwrap().success());
    let after = wait_for("the worker to move again", || {
        Some(scrape(admin)).filter(|seen| seen[r#"strait_worker_stalled{worker="1"}"#] == 0.0)
    });
    assert!(ready(admin)["workers"][1]["stalled_ms"].is_null());
    assert!(after[r#"strait_worker_stalls_total{worker="1"}"#] >= 1.0);
    let lag = |le: &str| after[&format!(r#"strait_worker_loop_lag_seconds_bucket{{worker="1",le="{le}"}}"#)];
    assert!(lag("+Inf") > lag("0.536870912"), "one tick was late by what the worker stood still");

    let (code, _, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    let of_second =
        |what: &str| log.lines().filter(|line| line.contains("worker 1") && line.contains(what)).count();
    let (stalls, ends) = (of_second("has stalled"), of_second("moves again"));
    assert!(stalls >= 1 && stalls == ends, "each told once: {log}");
}
