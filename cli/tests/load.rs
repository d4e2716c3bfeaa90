//! `strait load` and `strait echo` from outside: exit codes, what is printed where, and that a run which
//! is interrupted still tells what it saw.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use common::{Folder, Ran, command, strait};
use serde_json::Value;

/// A running `strait echo`.
struct Echo {
    child: Child,
    url: String,
    _folder: Folder,
}

impl Echo {
    fn start(arguments: &[&str]) -> Echo {
        let folder = Folder::new();
        let mut all = vec!["echo", "--bind", "127.0.0.1:0"];
        all.extend(arguments);
        let mut child = command(folder.path(), &all).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
        Echo { child, url: url.trim().to_owned(), _folder: folder }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(arguments: &[&str]) -> Ran {
    let folder = Folder::new();
    let mut all = vec!["load"];
    all.extend(arguments);
    strait(folder.path(), &all)
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}\n{}", ran.stdout, ran.stderr))
}

/// Speaks `answer` to everyone who connects, until the test ends.
fn everyone_gets(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_report_has_its_stable_names() {
    let echo = Echo::start(&[]);
    let ran = load(&[&echo.url, "--closed", "-c", "4", "--requests", "1500", "--warmup", "50", "--json"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stderr, "");
    let report = json(&ran);
    assert_eq!((&report["schema"], &report["loop"]), (&Value::from("strait.load/1"), &Value::from("closed")));
    assert_eq!(report["note"], "closed loop: percentiles not comparable");
    assert_eq!((&report["measured"], &report["requested_rate"]), (&Value::from(1500), &Value::Null));
    assert_eq!(
        (&report["errors"]["total"], &report["self_saturated"]),
        (&Value::from(0), &Value::from(false))
    );
    for times in ["latency_ns", "service_ns", "send_lag_ns"] {
        for figure in ["n", "p50", "p90", "p99", "max", "mean"] {
            assert!(report[times][figure].is_u64(), "{times}.{figure}: {}", report[times]);
        }
        assert!(report[times]["p999"].is_null() && report[times]["refused"]["p999"].is_string());
    }
    let causes = "connect transport timeout http_status jsonrpc is_error denied wrong_id truncated malformed";
    for cause in causes.split(' ') {
        assert_eq!(report["errors"][cause], 0, "{cause}");
    }
    assert!(report["duration_s"].as_f64().unwrap() > 0.0 && report["achieved_rate"].as_f64().unwrap() > 0.0);
    assert_eq!(report["asserts"], Value::from(Vec::<Value>::new()));
}

#[test]
fn both_times_and_the_label_of_a_closed_loop_are_always_printed() {
    let echo = Echo::start(&[]);
    let open = load(&[&echo.url, "--rate", "200", "--requests", "50", "--arrivals", "poisson"]);
    let closed = load(&[&echo.url, "--closed", "--requests", "50"]);
    for (ran, label) in
        [(&open, "open loop, poisson arrivals"), (&closed, "closed loop: percentiles not comparable")]
    {
        for words in [label, "latency", "service", "n/a", "50 measured: 50 succeeded, 0 failed"] {
            assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
        }
        assert_eq!(ran.stderr, "", "no progress where there is no terminal");
    }
    assert!(open.stdout.contains("send lag"));
}

#[test]
fn a_denial_is_counted_and_a_demand_decides_the_exit_code() {
    let echo = Echo::start(&[]);
    let few = ["--closed", "--requests", "40", "--json"];
    let with = |more: &[&str]| load(&[&[echo.url.as_str()], &few[..], more].concat());
    let denied = with(&["--tool", "nobody"]);
    assert_eq!((denied.code, &json(&denied)["errors"]["denied"]), (1, &Value::from(40)));
    let expected = with(&["--tool", "nobody", "--assert", "errors==40"]);
    assert_eq!(expected.code, 0, "{}", expected.stdout);
    assert_eq!(with(&["--assert", "max<1m"]).code, 0);
    let broken = with(&["--assert", "max<1ns"]);
    assert_eq!((broken.code, &json(&broken)["asserts"][0]["passed"]), (1, &Value::from(false)));
    let undecided = with(&["--assert", "p99<1m"]);
    assert_eq!((undecided.code, &json(&undecided)["asserts"][0]["passed"]), (3, &Value::Null));
    assert_eq!(json(&undecided)["asserts"][0]["found"], "needs 1000 samples, found 40");
}

#[test]
fn a_rate_above_capacity_exits_3() {
    let echo = Echo::start(&["--latency", "fixed:5ms", "--workers", "2"]);
    let ran = load(&[&echo.url, "--rate", "3000", "--duration", "1s", "--json"]);
    assert_eq!((ran.code, &json(&ran)["self_saturated"]), (3, &Value::from(true)), "{}", ran.stdout);
}

#[test]
fn nonsense_is_a_usage_error_that_names_what_is_known() {
    let url = "http://127.0.0.1:1/mcp";
    let cases: &[(&[&str], &str)] = &[
        (&["load"], "URL"),
        (&["load", "127.0.0.1:1"], "http://"),
        (&["load", "ftp://127.0.0.1/"], "http://"),
        (&["load", "https://127.0.0.1/", "--ca", "nowhere.pem"], "nowhere.pem"),
        (&["load", url, "--cert", "agent.pem"], "--cert-key"),
        (
            &["prove", "--direct", "https://127.0.0.1/", "--through", url, "--max-added", "p50=1us"],
            "plain `http://`",
        ),
        (&["load", url, "--rate", "0"], "10000000"),
        (&["load", url, "--rate", "1e8"], "10000000"),
        (&["load", url, "--rate", "5", "--closed"], "--closed"),
        (&["load", url, "--assert", "p98<1ms"], "p99.9"),
        (&["load", url, "--mix", "tools/cal=1"], "tools/call"),
        (&["load", url, "--mix", "nonsense"], "tools/call"),
        (&["load", url, "--think", "1s"], "--closed"),
        (&["load", url, "--closed", "--think", "1"], "unit"),
        (&["load", url, "--closed", "--think", "normal:1s"], "exp:MEAN"),
        (&["load", url, "--cancel", "5%"], "SHARE:TIME"),
        (&["load", url, "--cancel", "0:1s"], "above 0"),
        (&["load", url, "--cancel", "200%:1s"], "up to 1"),
        (&["load", url, "--warmup", "steady:0"], "no time at all"),
        (&["load", url, "--warmup", "stead"], "or `steady`"),
        (&["echo", "--latency", "drift:1ms,2ms"], "drift:FROM,TO,OVER"),
        (&["load", url, "--duration", "10"], "unit"),
        (&["load", url, "--duration", "0"], "no time at all"),
        (&["load", url, "--requests", "0"], "1.."),
        (&["load", url, "-c", "100000"], "20000"),
        (&["load", url, "--connections", "0"], "1..=20000"),
        (&["load", url, "--size", "1GiB"], "4 MiB"),
        (&["load", url, "--size", "4194305"], "4 MiB"),
        (&["load", url, "--timeout", "61s"], "60.0 s"),
        (&["prove", "--direct", url, "--through", url, "--max-added", "p50=1us", "--size", "1GiB"], "4 MiB"),
        (&["load", url, "--bearer-env", "STRAIT_NO_SUCH"], "STRAIT_NO_SUCH"),
        (&["echo", "--latency", "fixed:fast"], "fast"),
        (&["echo", "--errors", "2"], "0 to 1"),
        (&["echo", "--tools", "100001"], "100000"),
        (&["echo", "--events", "1e9"], "10000"),
        (&["echo", "--latency", "nonsense"], "fixed:TIME"),
    ];
    let folder = Folder::new();
    for (arguments, words) in cases {
        let ran = strait(folder.path(), arguments);
        assert_eq!(ran.code, 64, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_target_that_cannot_be_talked_to_is_named_with_its_layer() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = load(&[&format!("http://127.0.0.1:{port}/mcp")]);
    assert_eq!(nobody.code, 4, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("layer tcp"), "{}", nobody.stderr);
    let other = everyone_gets("SSH-2.0-OpenSSH\r\n");
    let ran = load(&[&other]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("layer http"), "{}", ran.stderr);
    let locked = everyone_gets("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let ran = load(&[&locked, "--key", "sk-very-hidden", "--json"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("not_authorised") && !ran.stderr.contains("hidden"), "{}", ran.stderr);
}

/// The page's own tests are in a browser (`tests/peers/report.py`); here: what comes first, what is drawn, and what is not in it.
#[test]
fn a_page_begins_with_verdict_and_demands_and_holds_no_credential() {
    let echo = Echo::start(&["--latency", "fixed:1ms"]);
    let folder = Folder::new();
    let page = |more: &[&str]| {
        let all = [&["load", &echo.url, "--html", "page.html", "--key", "sk-very-hidden"], more].concat();
        let ran = strait(folder.path(), &all);
        let html = std::fs::read_to_string(folder.path().join("page.html"));
        (ran.code, html.unwrap_or_else(|_| panic!("{}", ran.stderr)))
    };
    let heading = |html: &str| html.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap().to_owned();
    let (code, html) =
        page(&["--rate", "400", "--duration", "2s", "--assert", "p50<1ns", "--assert", "errors==0"]);
    // A neighbour may make the generator late: then nothing is decided.
    let verdict = if code == 1 { "FAILED" } else { "INCONCLUSIVE" };
    assert!(heading(&html).contains(&format!(">{verdict}<")), "{code}: {}", heading(&html));
    assert!(
        heading(&html).contains("p50&lt;1ns (") && heading(&html).contains("errors==0 (0)"),
        "{}",
        heading(&html)
    );
    for words in
        ["Latency by percentile", "Percentiles over the run", "All answers", "Send lag", "--key …", "Linux"]
    {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("sk-very"));
    let (_, closed) = page(&["--closed", "--requests", "50"]);
    assert!(closed.contains("percentiles not comparable") && !closed.contains("<h2 id=\"f1\">Send lag"));
}

/// A run of an hour is over at the first answer that is too slow.
#[test]
fn a_run_that_is_lost_ends_with_1() {
    let echo = Echo::start(&["--latency", "fixed:20ms"]);
    let ran = load(&[&echo.url, "--duration", "60m", "--assert", "max<10ms", "--abort-on-fail", "--json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    let report = json(&ran);
    assert!(report["aborted"].as_str().unwrap().contains("above 10.0 ms"), "{}", report["aborted"]);
    assert_eq!((&report["interrupted"], &report["verdict"]), (&Value::from(false), &Value::from("failed")));
}

/// Two results of one server are alike; of a slower one it is told; what was not asked alike is not compared.
#[test]
fn results_are_compared_beyond_their_noise() {
    let (fast, slow) = (Echo::start(&["--latency", "fixed:20ms"]), Echo::start(&["--latency", "fixed:60ms"]));
    let folder = Folder::new();
    let result = |name: &str, url: &str, rate: &str| {
        let ran = load(&[url, "--rate", rate, "--duration", "2s", "--assert", "errors==0", "--json"]);
        assert!(ran.code == 0 || ran.code == 3, "{}{}", ran.stdout, ran.stderr);
        let mut report = json(&ran);
        // A neighbour on this machine is no matter of this test.
        report["self_saturated"] = Value::from(false);
        report["steadiness"]["steady"] = Value::Null;
        folder.write(name, report.to_string());
    };
    result("a.json", &fast.url, "200");
    result("b.json", &slow.url, "200");
    result("c.json", &fast.url, "100");
    folder.write("not.json", "{}");
    let compare =
        |a: &str, b: &str, more: &[&str]| strait(folder.path(), &[&["load", "compare", a, b], more].concat());
    let same = compare("a.json", "a.json", &[]);
    assert_eq!(same.code, 0, "{}{}", same.stdout, same.stderr);
    assert!(same.stdout.starts_with("no difference beyond noise") && same.stdout.contains("not interleaved"));
    let worse = compare("a.json", "b.json", &["--json"]);
    assert_eq!(
        (worse.code, &json(&worse)["latency"][0]["b_is"]),
        (1, &Value::from("worse")),
        "{}",
        worse.stdout
    );
    assert!(compare("b.json", "a.json", &[]).stdout.starts_with("B is better: p50"));
    for (b, words) in
        [("c.json", "`schedule`"), ("not.json", "strait.load/1"), ("nowhere.json", "nowhere.json")]
    {
        let refused = compare("a.json", b, &[]);
        assert_eq!(refused.code, 64, "{b}: {}", refused.stdout);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

#[test]
fn an_interrupted_run_tells_what_it_saw() {
    let echo = Echo::start(&[]);
    let folder = Folder::new();
    let arguments = ["load", &echo.url, "--rate", "500", "--duration", "60s", "--json"];
    let child = command(folder.path(), &arguments).stdout(Stdio::piped()).spawn().unwrap();
    // It sends once the target has been greeted: its connections are then to be seen.
    let port = echo.url.split(':').nth(2).unwrap().split('/').next().unwrap().parse::<u16>().unwrap();
    while connections_to(port) < 16 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["interrupted"], &report["verdict"]),
        (&Value::from(true), &Value::from("interrupted"))
    );
}

/// A server that accepts and never says a word: Ctrl-C is heard before the greeting's time is over.
#[test]
fn ctrl_c_while_the_target_is_greeted_exits_130() {
    let (folder, silent) = (Folder::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    let through = ["prove", "--direct", &url, "--through", &url, "--max-added", "p50=1s", "--timeout", "10s"];
    for arguments in [&["load", &url][..], &through] {
        let child = command(folder.path(), arguments).stderr(Stdio::piped()).spawn().unwrap();
        // Its greeting has arrived, so it waits for the answer.
        let (mut stream, _) = silent.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(130), "{arguments:?}: {told}");
        assert!(told.contains("interrupted") && told.contains(&url), "{arguments:?}: {told}");
    }
}

#[test]
fn a_tool_that_is_not_listed_is_warned_of_and_called() {
    let echo = Echo::start(&[]);
    for more in [&[][..], &["--args", "{}"]] {
        let ran =
            load(&[&[echo.url.as_str(), "--closed", "--requests", "5", "--tool", "ecko_2"], more].concat());
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        for words in ["warning:", "`ecko_2`", "did you mean `echo_2`?"] {
            assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        }
        assert!(ran.stdout.contains("5  denied"), "{}", ran.stdout);
    }
    let listed = load(&[&echo.url, "--closed", "--requests", "5", "--tool", "echo_2", "--args", "{}"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
}

/// What a peer calls itself may hold anything.
#[test]
fn a_name_from_the_peer_moves_no_cursor() {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"\u001b[2J\u009b","capabilities":{}}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n{body}",
        body.len()
    );
    let ran = load(&[&everyone_gets(answer.leak()), "--era", "legacy"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains(r"\u{1b}[2J\u{9b}"), "{}", ran.stderr);
}

/// Established connections to a port of this machine.
fn connections_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let wanted = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2].ends_with(&wanted) && row[3] == "01").count()
}
