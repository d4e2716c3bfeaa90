//! Figures for a collector, and exemplars for a scraper.

use std::io::{Read, Write};
use std::net::TcpStream;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use serde_json::json;
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::collector::*;
use crate::context::hex;
use crate::process::{Folder, Process, call};

fn gateway(folder: &Folder, collector: &Collector, url: &str, traces: &str) -> Process {
    folder.write("gateway.yaml", told(collector, url, traces));
    Process::serve(folder, "gateway.yaml")
}

/// What `/metrics` says to whoever accepts this, with the type that it says it is.
fn scraped(process: &Process, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(process.admin).expect("connect");
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    .expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).expect("a type");
    (kind.to_owned(), body.to_owned())
}

#[test]
fn a_collector_gets_what_a_scrape_shows() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let (collector, folder) = (Collector::start(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), "");
    for _ in 0..3 {
        call(&mut process.client(), "", "echo", json!({}));
    }
    let calls = || {
        let metrics = collector.metrics();
        let requests = metrics.iter().find(|metric| metric.name == "strait_requests_total")?;
        let Some(Data::Sum(sum)) = &requests.data else { panic!("a counter is a sum") };
        let of_calls = sum.data_points.iter().find(|point| {
            attribute(&point.attributes, "method") == "tools_call"
                && attribute(&point.attributes, "outcome") == "ok"
        });
        of_calls.map(|point| format!("{:?}", point.value))
    };
    wait_for("three calls at the collector", || calls().is_some_and(|value| value.contains("AsInt(3)")));
    let metrics = collector.metrics();
    let (_, text) = scraped(&process, "*/*");
    let mut shown: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut told: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    shown.sort_unstable();
    told.sort_unstable();
    assert_eq!(shown, told);
    let duration = metrics.iter().find(|metric| metric.name == "strait_request_duration_seconds").unwrap();
    let Some(Data::Histogram(histogram)) = &duration.data else { panic!("no histogram") };
    let point =
        histogram.data_points.iter().find(|point| attribute(&point.attributes, "method") == "tools_call");
    let point = point.expect("calls");
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3));
    assert_eq!((duration.unit.as_str(), point.bucket_counts.len()), ("s", point.explicit_bounds.len() + 1));
    assert!(text.contains("strait_telemetry_collector_up{signal=\"metrics\"} 1"), "{text}");
    assert!(!text.contains("strait_telemetry_collector_up{signal=\"traces\"}"));
    assert!(collector.spans().is_empty());
}

#[test]
fn a_collector_gets_no_figures_it_was_not_to_get() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let (collector, folder) = (Collector::start(), Folder::new());
    let config = told(&collector, &upstream.url(), ", traces: { sample: 1 }");
    folder.write("gateway.yaml", config.replace("every: 1s", "every: 1s, metrics: false"));
    let process = Process::serve(&folder, "gateway.yaml");
    call(&mut process.client(), "", "echo", json!({}));
    collector.exchanges(1);
    assert_eq!(process.stop(), Some(0));
    assert!(collector.metrics().is_empty());
}

#[test]
fn open_metrics_shows_the_trace_of_a_request_beside_its_bucket() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let (collector, folder) = (Collector::start(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 1 }");
    call(&mut process.client(), "", "echo", json!({}));
    let exchange = collector.exchanges(1).remove(0);
    let asks = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (kind, text) = scraped(&process, asks);
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE strait_requests counter\n") && text.contains("\nstrait_requests_total{"));
    let shown =
        format!("# {{trace_id=\"{}\",span_id=\"{}\"}}", hex(&exchange.trace_id), hex(&exchange.span_id));
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&shown)).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(
        lines[0].starts_with("strait_request_duration_seconds_bucket{method=\"tools_call\",le=\""),
        "{}",
        lines[0]
    );
    // The older format has no place for it.
    let (kind, text) = scraped(&process, "text/plain");
    assert!(
        kind.starts_with("text/plain; version=0.0.4")
            && !text.contains("trace_id")
            && !text.contains("# EOF")
    );
}
