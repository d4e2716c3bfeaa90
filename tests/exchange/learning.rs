//! How lists are learnt: each upstream for itself, so that one that is dead or slow delays and empties no other's, and
//! shows what it last listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{
    self, ACCEPTED, NOT_INITIALIZED, event, event_stream, http, json_reply, method, unknown_method,
};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::catalog::{ask, start};
use crate::common::{KEY, assert_lives, reason};

/// How often a server's list was asked for, and what it does from when on.
#[derive(Clone, Default)]
struct Moods {
    asked: Arc<AtomicUsize>,
    /// Opened: it announces that its tools changed, once.
    announce: Gate,
    /// From this time of asking on, it never answers; 0: always.
    hangs_from: usize,
}

/// A server with the tool `tool-N` when its list is asked for the Nth time, from 1.
fn server(older: bool, moods: &Moods) -> Scripted {
    let moods = moods.clone();
    Scripted::start(move |request| {
        let result = |mut result: Value| {
            if !older {
                result["resultType"] = json!("complete");
                (result["ttlMs"], result["cacheScope"]) = (json!(600_000), json!("public"));
            }
            json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result})
        };
        let capabilities = json!({"tools": {"listChanged": true}});
        let announced = |tag: Value| {
            let message = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": tag}});
            [Step::Await(moods.announce.clone()), Step::Send(event(&message)), Step::Hang]
        };
        match (method(request), older) {
            ("GET", true) => [vec![Step::Send(event_stream())], announced(json!({})).to_vec()].concat(),
            ("server/discover", true) => vec![Step::Send(http(400, "application/json", NOT_INITIALIZED))],
            ("notifications/initialized", true) => vec![Step::Send(ACCEPTED.to_vec())],
            ("initialize", true) => {
                let body = result(json!({"protocolVersion": "2025-06-18", "capabilities": capabilities,
                    "serverInfo": {"name": "s", "version": "1"}}))
                .to_string();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s1\r\n";
                vec![Step::Send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())]
            }
            ("server/discover", false) => json_reply(&result(
                json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities}),
            )),
            ("subscriptions/listen", false) => {
                let tag = json!({"io.modelcontextprotocol/subscriptionId": request.body["id"]});
                let message = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                    "params": {"_meta": tag, "notifications": {"toolsListChanged": true}}});
                let begun = vec![Step::Send(event_stream()), Step::Send(event(&message))];
                [begun, announced(tag).to_vec()].concat()
            }
            ("tools/list", _) => match moods.asked.fetch_add(1, Ordering::SeqCst) + 1 {
                n if moods.hangs_from > 0 && n >= moods.hangs_from => vec![Step::Hang],
                n => json_reply(&result(json!({"tools": [{"name": format!("tool-{n}")}]}))),
            },
            _ => unknown_method(request, if older { 200 } else { 404 }),
        }
    })
}

fn listed(gateway: &Gateway) -> Vec<String> {
    let result = ask(gateway, KEY, "tools/list", json!({}));
    let tools = result["tools"].as_array().expect("tools").iter();
    tools.map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn who_does_not_answer_delays_no_other_and_shows_what_it_listed_last() {
    for older in [false, true] {
        let (good, bad) = (Moods::default(), Moods { hangs_from: 2, ..Moods::default() });
        let a = server(older, &good);
        let mut b = server(older, &bad);
        let gateway = start(&a, &b);
        assert_eq!(listed(&gateway), ["a__tool-1", "b__tool-1"]);
        bad.announce.open();
        wait_for("a question that is not answered", || bad.asked.load(Ordering::SeqCst) == 2);
        good.announce.open();
        wait_for("the list of the other", || listed(&gateway) == ["a__tool-2", "b__tool-1"]);
        assert_eq!(gateway.learning_fault(1), None, "nobody has given up on it");
        // It dies: what it listed last is shown, and may not be kept.
        b.stop();
        wait_for("its end to be noticed", || gateway.learning_fault(1).is_some());
        wait_for("a list that may not be kept", || ask(&gateway, KEY, "tools/list", json!({}))["ttlMs"] == 0);
        assert_eq!(listed(&gateway)[1..], ["b__tool-1"]);
        let called = modern(KEY, 1, "tools/call", json!({"name": "b__tool-1", "arguments": {}}));
        let answer = Client::connect(gateway.address).roundtrip(called);
        assert!(reason(&answer).starts_with("upstream_"), "{}", answer.json());
        assert_lives(&gateway);
    }
}

#[test]
fn a_cursor_ends_with_the_lists_it_was_given_for() {
    let upstream = Scripted::modern(|request| unknown_method(request, 404));
    let gateway = Gateway::start(Setup::new(crate::common::config(&format!(
        "  up: {{ http: \"{}\" }}",
        upstream.url()
    ))));
    let names: Vec<String> = (0..1_500).map(|n| format!("tool-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    gateway.offer(crate::listen::lists(&names, &[]));
    let mut cursor = Value::Null;
    wait_for("a list of two pages", || {
        cursor = ask(&gateway, KEY, "tools/list", json!({}))["nextCursor"].clone();
        cursor.is_string()
    });
    let page = |cursor: &Value| {
        let asked = modern(KEY, 1, "tools/list", json!({"cursor": cursor}));
        Client::connect(gateway.address).roundtrip(asked)
    };
    wait_for("every worker to know the list", || page(&cursor).json()["result"]["tools"].is_array());
    gateway.offer(crate::listen::lists(&names[1..], &[]));
    wait_for("every worker to know the other list", || {
        let answer = page(&cursor);
        answer.json().get("error").is_some() && {
            assert_eq!((answer.status, answer.error().0, &*reason(&answer)), (200, -32602, "bad_cursor"));
            true
        }
    });
}

#[test]
fn a_server_whose_first_word_broke_off_is_not_taken_for_an_older_one_for_ever() {
    let (asked, whole) = (AtomicUsize::new(0), scripted::modern(scripted::tools(), |_| vec![Step::Close]));
    let upstream = Scripted::start(move |request| match method(request) {
        "server/discover" if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
            let begun = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\":";
            vec![Step::Send(begun.into()), Step::Close]
        }
        _ => whole(request),
    });
    let gateway = Gateway::start(Setup::new(crate::basics::config(&upstream.url())));
    let mut client = Client::connect(gateway.address);
    wait_for("its tools", || {
        let list = client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).json();
        list["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty())
    });
    assert!(!upstream.arrived("initialize").is_empty(), "it was taken for an older one at first");
}
