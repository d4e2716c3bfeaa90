//! A collector that is away, slow, or says strange things: calls do not notice, and what was lost is counted.

use std::time::{Duration, Instant};

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::collector::*;
use crate::process::{Folder, Process, call};

fn gateway(collector: &Collector, upstream: &Scripted, folder: &Folder) -> Process {
    folder.write("gateway.yaml", told(collector, &upstream.url(), ", traces: { sample: 1 }"));
    Process::serve(folder, "gateway.yaml")
}

fn upstream() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

/// A series of `/metrics`.
fn series(process: &Process, name: &str) -> u64 {
    let text = process.ask("/metrics").1;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

const EXPORTED: &str = "strait_telemetry_traces_total{result=\"exported\"}";
const REJECTED: &str = "strait_telemetry_traces_total{result=\"rejected\"}";
const UP: &str = "strait_telemetry_collector_up{signal=\"traces\"}";

#[test]
fn what_it_does_not_take_now_it_gets_when_it_does() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let busy = Script::Says(503, "Retry-After: 1\r\n".into(), b"busy".to_vec());
    collector.will([busy, Script::Leaves, Script::status(429)]);
    let process = gateway(&collector, &upstream, &folder);
    call(&mut process.client(), "", "echo", json!({}));
    wait_for("the collector to be down", || {
        collector.heads().iter().any(|head| head.starts_with("POST /v1/traces"))
    });
    process.wait_for_log("the collector takes no traces now, and is asked again");
    assert_eq!(series(&process, UP), 0);
    collector.exchanges(1);
    wait_for("the collector to be up", || series(&process, UP) == 1);
    assert_eq!((series(&process, EXPORTED), series(&process, REJECTED)), (1, 0));
    process.wait_for_log("the collector takes traces again");
    let log = process.log();
    assert_eq!(log.matches("takes no traces now").count(), 1, "told once: {log}");
    // The same spans, each time: whoever took them before has them once.
    let bodies: std::collections::BTreeSet<Vec<u8>> = collector
        .bodies()
        .into_iter()
        .zip(collector.heads())
        .filter(|(_, head)| head.starts_with("POST /v1/traces"))
        .map(|(body, _)| body)
        .collect();
    assert_eq!(bodies.len(), 1);
}

#[test]
fn what_it_refuses_is_lost_and_counted_and_garbage_is_an_answer() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let garbage = Script::Says(200, "Content-Type: text/html\r\n".into(), vec![0xff; 4_096]);
    collector.will([Script::status(400), garbage]);
    let process = gateway(&collector, &upstream, &folder);
    call(&mut process.client(), "", "echo", json!({}));
    wait_for("a rejected trace", || series(&process, REJECTED) == 1);
    process.wait_for_log("refuses traces, which are lost");
    call(&mut process.client(), "", "echo", json!({}));
    wait_for("an exported trace", || series(&process, EXPORTED) == 1);
    assert_eq!(collector.exchanges(1).len(), 1);
}

#[test]
fn one_that_hangs_holds_nobody_up() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    collector.always(Script::Hangs);
    let process = gateway(&collector, &upstream, &folder);
    for _ in 0..50 {
        assert!(call(&mut process.client(), "", "echo", json!({}))["result"].is_object());
    }
    assert!(process.ask("/healthz").0 == 200);
    let began = Instant::now();
    assert_eq!(process.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(15), "the end waits for it no longer than it must");
}

#[test]
fn the_key_is_sent_and_nothing_is_without_it() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let config = told(&collector, &upstream.url(), "").replace("${env:OTLP_KEY:-unset}", "${secret:otlp}");
    folder.write("gateway.yaml", &config);
    let process = Process::serve(&folder, "gateway.yaml");
    process.wait_for_log("telemetry: the collector is told nothing: header `X-Key`: secret `otlp` not found");
    std::fs::create_dir_all(folder.at("state/secrets")).unwrap();
    folder.write("state/secrets/otlp", "kanarie-key");
    process.hang_up();
    wait_for("figures at the collector", || !collector.metrics().is_empty());
    let keyed = |head: &String| head.to_lowercase().contains("x-key: kanarie-key");
    assert!(collector.heads().iter().all(keyed), "{:?}", collector.heads());
    assert!(!process.log().contains("kanarie") && !process.ask("/metrics").1.contains("kanarie"));
}
