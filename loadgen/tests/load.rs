//! What a load tells must be true: of a server that stalls, of one that cannot keep up, and of every way
//! in which a call can fail. Servers are real sockets in this process; figures are bounded by what the
//! servers were told to do, never by how fast this machine is.

mod common;

use std::sync::atomic::AtomicBool;

use common::{Act, MS, Scripted, open, options, run};
use strait_loadgen::echo::{self, Latency, Running};
use strait_loadgen::load::plan::{Arrivals, Length, Loop};
use strait_loadgen::load::rates::Rates;
use strait_loadgen::load::record::Percentile;
use strait_loadgen::load::report::Verdict;
use strait_loadgen::load::search::{Between, search};
use strait_loadgen::load::threshold::Threshold;
use strait_loadgen::target::{Cause, EraChoice};

fn echo(change: impl FnOnce(&mut echo::Options)) -> Running {
    let mut options = echo::Options::new("127.0.0.1:0".parse().unwrap());
    change(&mut options);
    Running::start(options).expect("an echo server")
}

/// The coordinated-omission test: a server stands still for 500 ms, once, at 1,000 requests a second.
/// Its service times hardly show it: a handful of calls were under way. Its users all felt it.
#[test]
fn a_stall_is_felt_by_everyone_who_was_due_in_it() {
    let server = echo(|o| o.latency = Latency::Stall { every_ns: 2_000 * MS, for_ns: 500 * MS });
    let mut options = options(&server.url(), open(1_000.0), Length::Time { ns: 3_000 * MS });
    // Few calls are under way at once, so few can be slow, be it by the stall or by this machine.
    options.connections = 4;
    let report = run(&options);
    assert_eq!((report.measured(), report.record.failed(), report.not_sent), (3_000, 0, 0));
    let (latency, service) = (report.record.latency.percentile(0.99), report.record.service.percentile(0.99));
    let (Percentile::Known(latency), Percentile::Known(service)) = (latency, service) else {
        panic!("3,000 samples are enough for a p99");
    };
    assert!(latency >= 400 * MS, "latency p99 {latency} ns");
    assert!(service < 100 * MS, "service p99 {service} ns");
    assert!(report.record.send_lag.quantile(0.99) > 300 * MS, "the wait is in the lag");
    // The run recovered: nearly all of the 500 that had to wait were sent in time.
    assert!(report.behind < 250, "{} behind", report.behind);
}

/// Two workers of 5 ms are 400 calls a second.
#[test]
fn a_rate_above_capacity_gets_no_pretty_number() {
    let server = echo(|o| (o.latency, o.workers) = (Latency::Fixed { ns: 5 * MS }, Some(2)));
    let report = run(&options(&server.url(), open(2_000.0), Length::Time { ns: 1_000 * MS }));
    assert_eq!(report.verdict(), Verdict::Inconclusive, "{:?}", report.saturation);
    assert!(report.behind > 20, "{} behind", report.behind);
    assert!(report.text().contains("SELF-SATURATED"));
    assert_eq!(report.to_json()["self_saturated"], true);
    // Sent late, and none of them silently dropped.
    assert_eq!(report.measured() + report.not_sent, 2_000);
    assert!(report.achieved_rate() < 500.0, "{}/s", report.achieved_rate());
}

#[test]
fn every_cause_of_failure_is_counted_apart() {
    let script = [
        Act::Answer,
        Act::IsError,
        Act::IsError,
        Act::JsonRpcError,
        Act::Deny,
        Act::OtherId,
        Act::Status(503),
        Act::Status(503),
        Act::Status(429),
        Act::Cut,
        Act::NoAnswer,
        Act::HangUp,
        Act::Garbage,
        Act::Silence,
        Act::AnswerThenClose,
        Act::AnswerThenClose,
    ];
    let server = Scripted::start(&script);
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(script.len() as u64 + 1));
    (options.connections, options.timeout_ns) = (1, 300 * MS);
    // Given ones are not tried out: the first act is for the first measured call.
    options.arguments = Some("{}".to_owned());
    let report = run(&options);
    server.join();
    let count = |cause: Cause| report.record.causes[cause.index()];
    let expected = [
        (Cause::IsError, 2),
        (Cause::JsonRpc(0), 1),
        (Cause::Denied, 1),
        (Cause::WrongId, 1),
        (Cause::HttpStatus(0), 3),
        (Cause::Truncated, 2),
        (Cause::Malformed, 1),
        (Cause::Timeout, 1),
    ];
    for (cause, times) in expected {
        assert_eq!(count(cause), times, "{cause}: {:?}", report.record.causes);
    }
    // The last two closed their connection after the answer; what was sent before that was noticed broke
    // it, and after the last one nobody listens.
    let gone = count(Cause::Transport) + count(Cause::Connect);
    assert_eq!(report.record.succeeded() + gone, 5, "{:?}", report.record.causes);
    assert!(count(Cause::Transport) >= 1 && gone >= 2, "{:?}", report.record.causes);
    let json = report.to_json();
    assert_eq!(json["http_statuses"], serde_json::json!({ "429": 1, "503": 2 }));
    assert_eq!(json["jsonrpc_codes"], serde_json::json!({ "-32603": 1 }));
    assert_eq!(json["latency_ns"]["n"], json["succeeded"]);
    assert_eq!(report.verdict(), Verdict::Failed);
}

#[test]
fn a_target_that_goes_away_is_a_failure_to_connect() {
    let server = Scripted::start(&[Act::Answer]);
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(20));
    (options.connections, options.arguments) = (1, Some("{}".to_owned()));
    let report = run(&options);
    server.join();
    assert_eq!(report.record.succeeded(), 1);
    assert!(report.record.causes[Cause::Connect.index()] >= 18, "{:?}", report.record.causes);
}

/// A server's schema did not say that its tool fails for whatever is made up.
#[test]
fn a_tool_that_fails_for_made_up_arguments_is_left_out_by_name() {
    let server = Scripted::start(&[Act::IsError]);
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(1));
    options.connections = 1;
    // The only tool there is stays, whatever it says to made-up arguments.
    assert_eq!(run(&options).shares.len(), 1);
    let server = echo(|o| (o.errors, o.seed, o.tools) = (0.5, 4, 8));
    let report = run(&common::options(&server.url(), Loop::Closed, Length::Requests(100)));
    assert!((1..8).contains(&report.shares.len()), "{:?}", report.shares);
    assert!(report.notes.iter().any(|note| note.contains("left out")), "{:?}", report.notes);
}

#[test]
fn both_eras_are_spoken_and_a_session_is_kept_per_connection() {
    let server = echo(|_| ());
    for (era, revision) in [
        (EraChoice::Auto, "2026-07-28"),
        (EraChoice::Modern, "2026-07-28"),
        (EraChoice::Legacy, "2025-11-25"),
    ] {
        let mut options = options(&server.url(), Loop::Closed, Length::Requests(300));
        (options.era, options.connections, options.warmup) = (era, 3, Length::Requests(10));
        let report = run(&options);
        assert_eq!((report.revision, report.record.succeeded(), report.record.failed()), (revision, 300, 0));
        assert_eq!(report.shares.iter().map(|share| share.sent).sum::<u64>(), 300);
    }
}

/// A cache answers equal calls, and then it is the cache that was measured.
#[test]
fn equal_calls_are_told() {
    let server = echo(|_| ());
    for (arguments, told) in [(r#"{"text":"a"}"#, true), (r#"{"text":"{{seq}}"}"#, false)] {
        let mut options = options(&server.url(), Loop::Closed, Length::Requests(5));
        options.arguments = Some(arguments.to_owned());
        let notes = run(&options).notes;
        assert_eq!(notes.iter().any(|note| note.contains("the same arguments")), told, "{notes:?}");
    }
}

#[test]
fn event_streams_are_read_to_their_answer() {
    let server = echo(|o| (o.events, o.interval_ns) = (3, MS));
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(50));
    options.progress = true;
    let report = run(&options);
    assert_eq!((report.record.succeeded(), report.record.failed()), (50, 0));
    assert_eq!(report.record.events, 50 * 4);
    assert!(report.record.service.percentile(0.5).known().unwrap() >= 3 * MS);
}

#[test]
fn a_demand_is_met_broken_or_undecided() {
    let server = echo(|o| o.errors = 0.2);
    let mut options = options(&server.url(), Loop::Closed, Length::Requests(500));
    let demands = ["error_rate<0.5", "errors==0", "max<1m", "p99<1s", "rate>=1"];
    options.thresholds = demands.iter().map(|text| Threshold::parse(text).unwrap()).collect();
    let report = run(&options);
    let failed = report.record.causes[Cause::IsError.index()];
    assert!((50..=150).contains(&failed), "{failed} of 500, one in five was asked for");
    let passed: Vec<Option<bool>> = report.judged.iter().map(|judged| judged.passed).collect();
    assert_eq!(passed, [Some(true), Some(false), Some(true), None, Some(true)]);
    assert_eq!(report.judged[3].words, format!("needs 1000 samples, found {}", 500 - failed));
    // What is undecided outweighs what is broken: the run settles nothing.
    assert_eq!(report.verdict(), Verdict::Inconclusive);
    let json = report.to_json();
    assert_eq!(json["latency_ns"]["p99"], serde_json::Value::Null);
    assert!(json["latency_ns"]["refused"]["p99"].as_str().unwrap().contains("1000"));
    assert_eq!(json["note"], "closed loop: percentiles not comparable");
    assert!(report.text().contains("closed loop: percentiles not comparable"));
}

#[test]
fn strangers_are_not_loaded_unasked() {
    let mut options = options("http://192.0.2.1:9/mcp", open(1_001.0), Length::Requests(1));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let refused = strait_loadgen::load::run(&options, &stop, &mut |_| {});
    assert!(matches!(refused, Err(strait_loadgen::load::Fault::Usage { .. })));
    options.kind = Loop::Closed;
    let refused = strait_loadgen::load::run(&options, &stop, &mut |_| {});
    assert!(matches!(refused, Err(strait_loadgen::load::Fault::Usage { .. })));
}

/// Rates that change are kept to, and a trace is sent as it was written down.
#[test]
fn a_ramp_and_a_trace_are_sent_as_they_were_planned() {
    let server = echo(|_| {});
    let second = Length::Time { ns: 1_000 * MS };
    let ramp = Rates::Ramp { from: 100.0, to: 900.0, over_ns: 1_000 * MS };
    let report =
        run(&options(&server.url(), Loop::Open { rates: ramp, arrivals: Arrivals::Constant }, second));
    assert!(report.measured().abs_diff(500) <= 2, "{}", report.text());
    assert_eq!(report.to_json()["schedule"]["kind"], "ramp");
    assert!(report.text().contains("100.0/s to 900.0/s over 1.00 s asked"), "{}", report.text());
    let trace = Rates::Trace([0, 0, 0, 40 * MS, 300 * MS].into());
    let kind = Loop::Open { rates: trace, arrivals: Arrivals::Constant };
    let report = run(&options(&server.url(), kind, Length::Requests(5)));
    assert_eq!((report.measured(), report.not_sent), (5, 0), "{}", report.text());
    assert!(report.duration_ns >= 300 * MS, "{}", report.duration_ns);
}

/// Two at a time, 20 ms each: a hundred a second is what it takes.
#[test]
fn a_search_finds_what_a_server_takes() {
    let server = echo(|options| {
        options.latency = Latency::Fixed { ns: 20 * MS };
        options.workers = Some(2);
    });
    let mut options = options(&server.url(), open(400.0), Length::Time { ns: 600 * MS });
    options.thresholds = vec![Threshold::parse("p50<150ms").unwrap()];
    let between = Between { from: 20.0, to: 400.0, precision: 0.25 };
    let found = search(&options, between, Arrivals::Constant, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let highest = found.highest.unwrap_or_else(|| panic!("{}", found.text()));
    assert!(highest < 170.0, "{}", found.text());
    assert!(found.not_met.is_some_and(|rate| rate > highest), "{}", found.text());
    assert_eq!(found.to_json()["trials"].as_array().unwrap().len(), found.trials.len());
    // What no rate can meet is not found.
    options.thresholds = vec![Threshold::parse("p50<1ms").unwrap()];
    let found = search(&options, between, Arrivals::Constant, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!((found.highest, found.trials.len()), (None, 1), "{}", found.text());
    assert_eq!(found.verdict(), Verdict::Failed);
}
