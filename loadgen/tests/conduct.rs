//! How a run behaves beside sending: users who think, calls that are given up, streams by their events, a target that is not steady yet, one that
//! gets slower, and a run that ends when a demand is lost. Servers are real sockets in this process.

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{MS, http, message, open, options, run};
use serde_json::Value;
use strait_loadgen::echo::{self, Latency, Running};
use strait_loadgen::load::Cancel;
use strait_loadgen::load::plan::{Length, Loop};
use strait_loadgen::load::report::Verdict;
use strait_loadgen::load::steady::Steadiness;
use strait_loadgen::load::think::Think;
use strait_loadgen::load::threshold::Threshold;
use strait_loadgen::target::{Cause, EraChoice};

fn echo(change: impl FnOnce(&mut echo::Options)) -> Running {
    let mut options = echo::Options::new("127.0.0.1:0".parse().unwrap());
    change(&mut options);
    Running::start(options).expect("an echo server")
}

#[test]
fn users_think_before_each_call() {
    let server = echo(|_| {});
    let mut options = options(&server.url(), Loop::Closed, Length::Time { ns: 600 * MS });
    (options.connections, options.think) = (4, Some(Think::Fixed { ns: 50 * MS }));
    let report = run(&options);
    // Four users, each of whom can call once every 50 ms at most, the first time after as long.
    assert!((4..=48).contains(&report.measured()), "{}", report.text());
    assert_eq!(report.record.send_lag.count(), report.measured());
    assert!(report.text().contains("users think for 50.0 ms"), "{}", report.text());
    assert_eq!(report.to_json()["think"], "50.0 ms");
    // The time is up while they think: nobody calls once more.
    options.think = Some(Think::Fixed { ns: 60_000 * MS });
    options.length = Length::Time { ns: 100 * MS };
    let report = run(&options);
    assert_eq!(report.measured(), 0, "{}", report.text());
}

/// A modern server takes a closed stream for a cancellation.
#[test]
fn a_share_of_the_calls_is_given_up() {
    let server = echo(|o| o.latency = Latency::Fixed { ns: 300 * MS });
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(20));
    (options.connections, options.cancel) = (4, Some(Cancel { share: 1.0, after_ns: 10 * MS }));
    options.arguments = Some("{}".to_owned());
    let report = run(&options);
    assert_eq!((report.record.cancelled, report.record.failed(), report.measured()), (20, 0, 20));
    assert_eq!((report.verdict(), &report.to_json()["cancelled"]), (Verdict::Passed, &Value::from(20)));
    // A part of them, and the others have their answers.
    let server = echo(|o| o.latency = Latency::Fixed { ns: 30 * MS });
    options.target = strait_loadgen::target::Target::parse(&server.url()).unwrap();
    (options.cancel, options.length) = (Some(Cancel { share: 0.5, after_ns: MS }), Length::Requests(60));
    let report = run(&options);
    assert_eq!((report.record.cancelled + report.record.succeeded(), report.record.failed()), (60, 0));
    assert!((15..=45).contains(&report.record.cancelled), "{}", report.text());
}

/// What an older server does with a cancellation.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// Accepts it; the call never ends.
    Accepts,
    /// Ends the call with an error before it does.
    EndsWithError,
    /// Answers the call first.
    Answers,
    Refuses,
}

/// A server of 2025-11-25 that answers no call. What it was told to cancel, and whether the call was open then.
fn holding(told: Told) -> (String, Arc<Mutex<Vec<bool>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let open: Arc<Mutex<HashMap<u64, TcpStream>>> = Arc::default();
    let cancelled: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = cancelled.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, open, seen) = (stream.unwrap(), open.clone(), seen.clone());
            std::thread::spawn(move || hold(stream, told, &open, &seen));
        }
    });
    (url, cancelled)
}

fn hold(mut stream: TcpStream, told: Told, open: &Mutex<HashMap<u64, TcpStream>>, seen: &Mutex<Vec<bool>>) {
    let mut held = None;
    while let Some(message) = message(&mut stream) {
        let id = message["id"].clone();
        let result = |result: &str| {
            http(200, "application/json", &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
        };
        let answer = match message["method"].as_str().unwrap() {
            "initialize" => result(
                r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}"#,
            ),
            "tools/call" => {
                held = id.as_u64();
                open.lock().unwrap().insert(held.unwrap(), stream.try_clone().unwrap());
                continue;
            }
            "notifications/cancelled" => {
                let id = message["params"]["requestId"].as_u64().unwrap();
                let call = open.lock().unwrap().remove(&id);
                seen.lock().unwrap().push(call.is_some());
                let tail = match told {
                    Told::EndsWithError => r#""error":{"code":0,"message":"Request cancelled"}"#,
                    _ => r#""result":{"content":[]}"#,
                };
                if let (Told::EndsWithError | Told::Answers, Some(mut call)) = (told, call) {
                    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{tail}}}"#);
                    let _ = call.write_all(&http(200, "application/json", &body));
                    std::thread::sleep(Duration::from_millis(20));
                }
                http(if told == Told::Refuses { 400 } else { 202 }, "text/plain", "")
            }
            _ => http(202, "text/plain", ""),
        };
        if stream.write_all(&answer).is_err() {
            break;
        }
    }
    held.map(|id| open.lock().unwrap().remove(&id));
}

/// An older one is told by a notification, while the stream of the call is still open.
#[test]
fn an_older_server_is_notified() {
    for told in [Told::Accepts, Told::EndsWithError, Told::Answers, Told::Refuses] {
        let (url, cancelled) = holding(told);
        let mut options = options(&url, Loop::Closed, Length::Requests(12));
        options.connections = 3;
        (options.era, options.cancel) = (EraChoice::Legacy, Some(Cancel { share: 1.0, after_ns: 5 * MS }));
        (options.tools, options.arguments) = (vec!["t".to_owned()], Some("{}".to_owned()));
        // Its list is no list: named tools with given arguments do without.
        options.timeout_ns = 2_000 * MS;
        let report = run(&options);
        let cancelled = cancelled.lock().unwrap().clone();
        assert_eq!(cancelled, vec![true; 12], "{}", report.text());
        let record = &report.record;
        let refused = record.causes[Cause::HttpStatus(0).index()];
        match told {
            Told::Accepts | Told::EndsWithError => assert_eq!((record.cancelled, record.failed()), (12, 0)),
            Told::Answers => {
                assert_eq!((record.cancelled + record.crossed, record.failed()), (12, 0));
                assert_eq!(record.crossed, record.succeeded());
            }
            Told::Refuses => assert_eq!((record.cancelled, refused), (0, 12)),
        }
    }
}

#[test]
fn a_stream_has_a_first_event_and_gaps() {
    let server = echo(|o| (o.events, o.interval_ns) = (3, 5 * MS));
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(50));
    options.progress = true;
    let report = run(&options);
    let (first, gap) = (&report.record.first_event, &report.record.event_gap);
    assert_eq!((first.count(), gap.count(), report.record.failed()), (50, 150, 0));
    // Together they are the call.
    let whole = first.mean().unwrap() + 3.0 * gap.mean().unwrap();
    let latency = report.record.latency.mean().unwrap();
    assert!((whole / latency - 1.0).abs() < 0.05, "{whole} of {latency}");
    assert!(gap.mean().unwrap() * 3.0 >= 8.0 * MS as f64, "{}", report.text());
    assert_eq!(report.to_json()["event_gap_ns"]["n"], 150);
    assert!(report.text().contains("event gap"), "{}", report.text());
    // No stream, no line.
    assert!(
        !run(&common::options(&echo(|_| {}).url(), Loop::Closed, Length::Requests(5)))
            .text()
            .contains("event gap")
    );
}

#[test]
fn measuring_begins_when_the_target_is_steady() {
    let server = echo(|o| {
        o.latency = Latency::Drift { from_ns: 60 * MS, to_ns: 10 * MS, over_ns: 1_500 * MS };
    });
    for kind in [Loop::Closed, open(200.0)] {
        let mut options = options(&server.url(), kind.clone(), Length::Requests(50));
        options.warmup = Length::Steady { within_ns: 30_000 * MS };
        let report = run(&options);
        assert!(report.settled, "{}", report.text());
        assert_eq!((report.measured(), report.not_sent), (50, 0), "{}", report.text());
        if kind == Loop::Closed {
            assert!(report.warmed_ns.unwrap() >= 1_500 * MS, "{}", report.text());
        }
        assert!(report.text().contains("warm-up: steady after"), "{}", report.text());
    }
    // One that does not settle in the time given is measured all the same, and nothing is concluded.
    let server = echo(|o| {
        o.latency = Latency::Drift { from_ns: 2 * MS, to_ns: 60_000 * MS, over_ns: 600_000 * MS };
    });
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(50));
    options.warmup = Length::Steady { within_ns: 500 * MS };
    let report = run(&options);
    assert_eq!((report.settled, report.measured(), report.verdict()), (false, 50, Verdict::Inconclusive));
    assert!(report.text().contains("warm-up: NOT STEADY after"), "{}", report.text());
}

#[test]
fn a_server_that_gets_slower_is_not_steady() {
    let server = echo(|o| {
        o.latency = Latency::Drift { from_ns: 5 * MS, to_ns: 60 * MS, over_ns: 3_000 * MS };
    });
    let mut slower = options(&server.url(), Loop::Closed, Length::Time { ns: 3_000 * MS });
    let report = run(&slower);
    assert!(matches!(report.steadiness, Steadiness::NotSteady(_)), "{}", report.text());
    assert!(report.text().contains("NOT STEADY: the median of latencies went up"), "{}", report.text());
    assert_eq!(report.to_json()["steadiness"]["steady"], false);
    // It is told, and decides nothing that nobody asked about.
    assert_eq!(report.verdict(), Verdict::Passed);
    let server = echo(|o| o.latency = Latency::Fixed { ns: 60 * MS });
    slower.target = strait_loadgen::target::Target::parse(&server.url()).unwrap();
    slower.connections = 32;
    assert_eq!(run(&slower).steadiness, Steadiness::Steady);
}

#[test]
fn a_demand_that_is_lost_ends_the_run() {
    let server = echo(|o| o.latency = Latency::Fixed { ns: 10 * MS });
    for (demand, at_least) in [("max<5ms", 1), ("p99<5ms", 101)] {
        let mut options = options(&server.url(), Loop::Closed, Length::Requests(10_000));
        options.thresholds = vec![Threshold::parse("errors==0").unwrap(), Threshold::parse(demand).unwrap()];
        options.abort = true;
        let report = run(&options);
        assert!(report.lost.is_some() && !report.interrupted, "{}", report.text());
        assert!((at_least..5_000).contains(&report.measured()), "{demand}: {}", report.measured());
        assert_eq!((report.verdict(), report.judged[1].passed), (Verdict::Failed, Some(false)));
        assert!(report.judged[1].words.contains("can no longer be met"), "{:?}", report.judged);
        assert!(report.to_json()["aborted"].is_string());
        assert!(report.text().contains("aborted after"), "{}", report.text());
    }
    // Where nothing is said of errors, the first failure ends it; without the word for it, nothing does.
    let server = echo(|o| o.errors = 1.0);
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(10_000));
    options.abort = true;
    let report = run(&options);
    assert!(report.lost.is_some() && report.measured() < 5_000, "{}", report.text());
    (options.abort, options.length) = (false, Length::Requests(200));
    assert_eq!(run(&options).measured(), 200);
}
