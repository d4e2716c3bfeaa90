//! Which exchanges become traces, and what their spans say.

use std::time::Duration;

use serde_json::json;
use strait_tests::client::{initialize, legacy};
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Scripted, Step};

use crate::collector::*;
use crate::context::hex;
use crate::process::{Folder, Process, call};

fn upstream() -> Scripted {
    Scripted::modern(|request| match request.body["params"]["name"].as_str() {
        Some("slow") => {
            let mut steps = vec![Step::Wait(Duration::from_millis(300))];
            steps.extend(json_reply(&echoed(request)));
            steps
        }
        _ => json_reply(&echoed(request)),
    })
}

fn gateway(folder: &Folder, collector: &Collector, url: &str, traces: &str) -> Process {
    folder.write("gateway.yaml", told(collector, url, traces));
    Process::serve(folder, "gateway.yaml")
}

#[test]
fn a_call_is_a_span_with_its_parts_and_the_asking_of_its_upstream() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 100% }");
    let answer = call(&mut process.client(), "", "echo", json!({"word": "kanarie"}));
    assert!(answer["result"].is_object());
    let exchange = collector.exchanges(1).remove(0);
    assert_eq!(exchange.name, "tools/call echo");
    let says = |key: &str| attribute(&exchange.attributes, key);
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2026-07-28"),
        ("gen_ai.tool.name", "echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", "1"),
        ("network.transport", "tcp"),
        ("http.response.status_code", "200"),
        ("strait.server", "default"),
        ("strait.upstream", "up"),
        ("strait.verdict", "permit"),
        ("strait.rule", "most"),
        ("strait.outcome", "ok"),
        ("strait.generation", &process.generation()),
        ("error.type", ""),
    ] {
        assert_eq!(says(key), value, "{key}");
    }
    assert!(exchange.status.is_none() && exchange.parent_span_id.is_empty());
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["identify", "decode", "policy", "tools/call echo", "respond", "tools/call echo"]);
    let mut at = exchange.start_time_unix_nano;
    for span in &spans[..5] {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&exchange.trace_id, &exchange.span_id));
        assert_eq!(span.start_time_unix_nano, at, "one part after the other");
        at = span.end_time_unix_nano;
    }
    assert_eq!(at, exchange.end_time_unix_nano);
    assert_eq!((spans[3].kind, spans[0].kind), (CLIENT, INTERNAL));
    assert_eq!(attribute(&spans[3].attributes, "strait.upstream"), "up");
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| hex(&span.span_id)).collect();
    assert_eq!(ids.len(), 6, "no id twice");
}

#[test]
fn errors_refusals_and_what_is_slow_are_kept_whatever_the_lot_says() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process =
        gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0, slower_than: 250ms }");
    let mut client = process.client();
    call(&mut client, "", "echo", json!({}));
    call(&mut client, "", "secret", json!({"word": "no"}));
    call(&mut client, "", "nowhere", json!({}));
    call(&mut client, "", "slow", json!({}));
    let exchanges = collector.exchanges(3);
    let kinds: Vec<(String, String)> = exchanges
        .iter()
        .map(|span| {
            (attribute(&span.attributes, "strait.outcome"), attribute(&span.attributes, "strait.rule"))
        })
        .collect();
    assert_eq!(kinds[0], ("refused".to_owned(), "never".to_owned()), "{exchanges:#?}");
    assert_eq!(kinds[1].0, "refused");
    assert_eq!(kinds[2].0, "ok");
    assert_eq!(exchanges[0].status.as_ref().map(|status| status.code), Some(2));
    assert_eq!(attribute(&exchanges[0].attributes, "strait.verdict"), "deny");
    assert!(exchanges[2].end_time_unix_nano - exchanges[2].start_time_unix_nano >= 250_000_000);
}

#[test]
fn without_errors_nothing_is_kept_that_was_not_drawn() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0, errors: false }");
    let mut client = process.client();
    call(&mut client, "", "nowhere", json!({}));
    call(&mut client, "", "echo", json!({}));
    assert_eq!(process.stop(), Some(0), "what is left is told before the end");
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
}

#[test]
fn an_upstream_that_fails_is_the_error_of_the_asking_too() {
    let upstream = Scripted::modern(|_| vec![Step::Close]);
    let (collector, folder) = (Collector::start(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 0 }");
    assert!(call(&mut process.client(), "", "echo", json!({}))["error"].is_object());
    let exchange = &collector.exchanges(1)[0];
    assert_eq!(attribute(&exchange.attributes, "strait.outcome"), "upstream_fault");
    let spans = collector.spans();
    let asking = spans.iter().find(|span| span.kind == CLIENT).expect("a client span");
    assert_eq!(attribute(&asking.attributes, "error.type"), "transport");
}

#[test]
fn a_session_is_told_by_a_digest_that_lets_nobody_in() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), ", traces: { sample: 1 }");
    let mut client = process.client();
    let session = initialize(&mut client, "", "2025-06-18");
    for id in 1..=2 {
        client.roundtrip(legacy("", &session, id, "tools/call", json!({"name": "echo", "arguments": {}})));
    }
    let exchanges = collector.exchanges(4);
    let calls: Vec<_> = exchanges.iter().filter(|span| span.name == "tools/call echo").collect();
    let digest = attribute(&calls[0].attributes, "mcp.session.id");
    assert_eq!((digest.len(), &digest), (16, &attribute(&calls[1].attributes, "mcp.session.id")));
    assert_eq!(attribute(&calls[0].attributes, "mcp.protocol.version"), "2025-06-18");
    for body in collector.bodies() {
        assert!(
            !body.windows(session.len()).any(|window| window == session.as_bytes()),
            "the session's id is out"
        );
    }
}

#[test]
fn a_reload_begins_and_ends_it() {
    let (collector, upstream, folder) = (Collector::start(), upstream(), Folder::new());
    let process = gateway(&folder, &collector, &upstream.url(), "");
    call(&mut process.client(), "", "echo", json!({}));
    let before = process.generation();
    folder.replace("gateway.yaml", told(&collector, &upstream.url(), ", traces: { sample: 1 }"));
    process.hang_up();
    strait_tests::gateway::wait_for("another generation", || process.generation() != before);
    process.wait_for_generation(&process.generation());
    call(&mut process.client(), "", "echo", json!({}));
    assert_eq!(collector.exchanges(1)[0].name, "tools/call echo");
    let between = process.generation();
    folder.replace("gateway.yaml", told(&collector, &upstream.url(), ""));
    process.hang_up();
    strait_tests::gateway::wait_for("the third generation", || process.generation() != between);
    process.wait_for_generation(&process.generation());
    call(&mut process.client(), "", "echo", json!({}));
    assert_eq!(process.stop(), Some(0));
    collector.exchanges(1);
}
