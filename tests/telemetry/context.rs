//! W3C Trace Context: what a client says of its trace, and what its upstream hears of it.

use serde_json::{Value, json};
use strait_tests::Scripted;
use strait_tests::client::{initialize, legacy, modern, post};
use strait_tests::scripted::{Arrived, echoed, json_reply};

use crate::collector::*;
use crate::process::{Folder, Process, config};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";

fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-{flags}")
}

fn upstream() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

fn gateway(folder: &Folder, collector: &Collector, url: &str, traces: &str) -> Process {
    folder.write("gateway.yaml", told(collector, url, traces));
    Process::serve(folder, "gateway.yaml")
}

/// A modern call with these headers and these members of `_meta` beside the usual ones.
fn call(process: &Process, headers: &[(&str, &str)], meta: Value) -> Value {
    let mut params = json!({"name": "echo", "arguments": {}});
    params["_meta"] = meta;
    let request = modern("", 1, "tools/call", params);
    let text = String::from_utf8(request).unwrap();
    let (first, rest) = text.split_once("\r\n").unwrap();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    process.client().roundtrip(format!("{first}\r\n{lines}{rest}")).json()
}

fn last(upstream: &Scripted) -> Arrived {
    upstream.arrived("tools/call").pop().expect("a call")
}

fn of_header(arrived: &Arrived) -> (String, String, String) {
    let text = arrived.header("traceparent").expect("a traceparent");
    let parts: Vec<&str> = text.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{text}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

#[test]
fn without_tracing_what_a_client_says_passes_as_it_does() {
    let upstream = upstream();
    let folder = Folder::new();
    let rest = format!(
        "upstreams:\n  up: {{ http: \"{}\" }}\nservers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\n\
         policy: {{ default: allow }}\n",
        upstream.url()
    );
    folder.write("gateway.yaml", config(&rest));
    let process = Process::serve(&folder, "gateway.yaml");
    let meta = json!({"traceparent": "nonsense", "tracestate": "a=1", "baggage": "k=v"});
    call(&process, &[("traceparent", &parent(TRACE, "01")), ("baggage", "secret=1")], meta.clone());
    let arrived = last(&upstream);
    for name in ["traceparent", "tracestate", "baggage", "server-timing"] {
        assert_eq!(arrived.header(name), None, "{name}");
    }
    for name in ["traceparent", "tracestate", "baggage"] {
        assert_eq!(arrived.body["params"]["_meta"][name], meta[name], "{name}");
    }
}

#[test]
fn the_upstream_is_a_child_of_our_span_in_the_clients_trace() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0 }");
    // From the headers.
    let headers =
        [("traceparent", &*parent(TRACE, "01")), ("tracestate", "rojo=1"), ("tracestate", "congo=2")];
    call(&process, &headers, json!({"baggage": "k=v"}));
    let arrived = last(&upstream);
    let (trace, span, flags) = of_header(&arrived);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    assert_ne!(span, "00f067aa0ba902b7");
    let meta = &arrived.body["params"]["_meta"];
    assert_eq!(meta["traceparent"], arrived.header("traceparent").unwrap());
    assert_eq!(
        (arrived.header("tracestate"), &meta["tracestate"]),
        (Some("rojo=1,congo=2"), &json!("rojo=1,congo=2"))
    );
    assert_eq!((arrived.header("baggage"), &meta["baggage"]), (None, &json!("k=v")));
    let exchange = &collector.exchanges(1)[0];
    assert_eq!(hex(&exchange.trace_id), TRACE);
    assert_eq!(hex(&exchange.parent_span_id), "00f067aa0ba902b7");
    let asking = collector.spans().into_iter().find(|one| one.kind == CLIENT).expect("a client span");
    assert_eq!((hex(&asking.span_id), &asking.parent_span_id), (span, &exchange.span_id));
    // The message's own word wins, and what the headers say is a link.
    let meta = json!({"traceparent": parent(OTHER, "01"), "tracestate": "own=1"});
    call(&process, &[("traceparent", &parent(TRACE, "01")), ("tracestate", "head=1")], meta);
    let arrived = last(&upstream);
    assert_eq!(of_header(&arrived).0, OTHER);
    let meta = &arrived.body["params"]["_meta"];
    assert_eq!(meta["traceparent"], arrived.header("traceparent").unwrap());
    assert_eq!((arrived.header("tracestate"), &meta["tracestate"]), (Some("own=1"), &json!("own=1")));
    let exchange = collector.exchanges(2).pop().unwrap();
    assert_eq!(
        (hex(&exchange.trace_id), hex(&exchange.links[0].trace_id)),
        (OTHER.to_owned(), TRACE.to_owned())
    );
}

#[test]
fn a_legacy_server_hears_it_in_its_headers_and_where_the_client_said_it() {
    let upstream = Scripted::legacy(|request| json_reply(&echoed(request)));
    let (collector, folder) = (Collector::start(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0 }");
    call(&process, &[("traceparent", &parent(TRACE, "01"))], json!({}));
    let arrived = last(&upstream);
    assert_eq!(
        (of_header(&arrived).0.as_str(), &arrived.body["params"]["_meta"]["traceparent"]),
        (TRACE, &Value::Null)
    );
    call(&process, &[], json!({"traceparent": parent(OTHER, "00")}));
    let arrived = last(&upstream);
    assert_eq!(arrived.body["params"]["_meta"]["traceparent"], arrived.header("traceparent").unwrap());
    assert_eq!((of_header(&arrived).0, of_header(&arrived).2), (OTHER.to_owned(), "00".to_owned()));
}

#[test]
fn a_legacy_client_of_a_modern_server_is_in_its_trace_too() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 1 }");
    let mut client = process.client();
    let session = initialize(&mut client, "", "2025-11-25");
    for meta in [
        Value::Null,
        json!({}),
        json!({"x": 1}),
        json!({"traceparent": parent(OTHER, "01"), "tracestate": "a=1"}),
    ] {
        let mut params = json!({"name": "echo", "arguments": {}});
        if !meta.is_null() {
            params["_meta"] = meta.clone();
        }
        let answer = client.roundtrip(legacy("", &session, 1, "tools/call", params)).json();
        assert!(answer["result"].is_object(), "{meta}: {answer}");
        let arrived = last(&upstream);
        let said = &arrived.body["params"]["_meta"];
        assert_eq!(said["traceparent"], arrived.header("traceparent").unwrap(), "{meta}");
        assert_eq!(said["x"], meta["x"]);
        assert_eq!(said["tracestate"], meta["tracestate"]);
    }
    assert_eq!(of_header(&last(&upstream)).0, OTHER);
}

#[test]
fn what_is_malformed_begins_a_trace_of_ours_and_is_never_passed_on() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0 }");
    let long = format!("{}-{}", parent(TRACE, "01"), "x".repeat(4_000));
    let upper = parent(&TRACE.to_uppercase(), "01");
    let (zero, version) = (parent(&"0".repeat(32), "01"), parent(TRACE, "01").replacen("00", "ff", 1));
    let no_span = format!("00-{TRACE}-{}-01", "0".repeat(16));
    for bad in ["", "x", &zero, &no_span, &version, &upper, &long] {
        for in_meta in [false, true] {
            let (head, meta) = match in_meta {
                false => (vec![("traceparent", bad), ("tracestate", "a=1")], json!({})),
                true => (vec![], json!({"traceparent": bad, "tracestate": "a=1"})),
            };
            call(&process, &head, meta);
            let arrived = last(&upstream);
            assert_ne!(of_header(&arrived).0, TRACE, "{bad}");
            assert_eq!(of_header(&arrived).2, "00", "{bad}");
            assert_eq!(arrived.header("tracestate"), None, "a state without a parent: {bad}");
            let meta = &arrived.body["params"]["_meta"];
            assert_eq!(meta["traceparent"], arrived.header("traceparent").unwrap(), "{bad}");
            assert!(matches!(meta["tracestate"].as_str(), None | Some("")), "{bad}: {meta}");
        }
    }
    // Two of them are none; other types are none; a state that is too long or malformed is dropped alone.
    let one = parent(TRACE, "01");
    call(&process, &[("traceparent", &one), ("traceparent", &one)], json!({}));
    assert_ne!(of_header(&last(&upstream)).0, TRACE);
    call(&process, &[], json!({"traceparent": 5, "tracestate": {"a": 1}}));
    let meta = last(&upstream).body["params"]["_meta"].clone();
    assert_eq!((meta["traceparent"].is_string(), meta["tracestate"].as_str()), (true, Some("")));
    for state in [&*format!("a={}", "x".repeat(600)), "no state at all", "a=1,a=2"] {
        call(&process, &[("traceparent", &one), ("tracestate", state)], json!({}));
        let arrived = last(&upstream);
        assert_eq!((of_header(&arrived).0.as_str(), arrived.header("tracestate")), (TRACE, None), "{state}");
    }
    // Nothing of it was sampled, and nothing failed.
    assert!(collector.spans().iter().all(|span| hex(&span.trace_id) == TRACE));
}

#[test]
fn a_request_that_is_refused_before_it_is_read_is_in_its_clients_trace() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0 }");
    let answer = process.client().roundtrip(post(&[("traceparent", &parent(TRACE, "00"))], b"{"));
    assert_eq!(answer.status, 400);
    let exchange = &collector.exchanges(1)[0];
    assert_eq!(hex(&exchange.trace_id), TRACE);
    assert_eq!(exchange.name, "POST");
    assert_ne!(attribute(&exchange.attributes, "error.type"), "");
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
