//! `subscriptions/listen`: what a client of 2026-07-28 is told while its answer stands open.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use strait_table::catalog::{Definition, Known, Lists};
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, echoed, event, event_stream, json_reply};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, call, reason, text};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// `small` may use `echo` alone.
fn config(url: &str) -> String {
    format!(
        r#"
upstreams: {{ up: {{ http: "{url}" }} }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"], prompts: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full] }}
    - {{ id: some, allow: [up.echo], to: [small] }}
"#
    )
}

fn gateway(upstream: &Scripted) -> Gateway {
    Gateway::start(Setup::new(config(&upstream.url())))
}

fn upstream() -> Scripted {
    Scripted::modern(|request| json_reply(&echoed(request)))
}

fn listen(key: &str, id: i64, notifications: Value) -> Vec<u8> {
    modern(key, id, "subscriptions/listen", json!({ "notifications": notifications }))
}

/// A client whose listen was acknowledged, and with what.
pub fn listening(gateway: &Gateway, key: &str, notifications: Value) -> (Client, Value) {
    let mut client = Client::connect(gateway.address);
    client.send(listen(key, 7, notifications));
    let head = client.stream_head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let first = client.event().expect("an acknowledgement").message;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"], json!({SUBSCRIPTION: 7}));
    let accepted = first["params"]["notifications"].clone();
    (client, accepted)
}

/// The next message, which must be a notification of this listen.
pub fn told(client: &mut Client) -> String {
    let event = client.event().expect("an event");
    assert_eq!(event.id, None, "nobody can come back for it");
    assert_eq!(event.message["params"]["_meta"], json!({SUBSCRIPTION: 7}), "{}", event.message);
    event.message["method"].as_str().expect("a method").to_owned()
}

/// The end that a server gives a listen when it wants no more of it.
pub fn assert_ends(client: &mut Client) {
    let last = client.event().expect("the response").message;
    let result = json!({"resultType": "complete", "_meta": {SUBSCRIPTION: 7}});
    assert_eq!(last, json!({"jsonrpc": "2.0", "id": 7, "result": result}));
    assert_eq!(client.event(), None);
}

/// What the upstream offers anyway, and these tools and prompts.
pub fn lists(tools: &[&str], prompts: &[&str]) -> Vec<Lists> {
    let definition = |value: &Value| Definition {
        name: value["name"].as_str().expect("a name").to_owned(),
        json: value.to_string(),
    };
    let more = |name: &&str| definition(&json!({"name": name, "inputSchema": {"type": "object"}}));
    let usual = scripted::tools();
    let usual = usual.as_array().expect("tools").iter().map(definition);
    vec![Lists {
        known: Known::Fresh,
        tools: usual.chain(tools.iter().map(more)).collect(),
        prompts: prompts.iter().map(more).collect(),
        ..Lists::default()
    }]
}

fn listens(gateway: &Gateway) -> u64 {
    gateway.handle().figures().iter().map(|worker| worker.listens.get()).sum()
}

fn sum(gateway: &Gateway, of: impl Fn(&strait_engine::WorkerFigures) -> u64) -> u64 {
    gateway.handle().figures().iter().map(|worker| of(worker)).sum()
}

#[test]
fn a_listen_is_acknowledged_with_what_it_will_hear_under_its_own_id() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let asked = json!({"toolsListChanged": true, "promptsListChanged": false, "x-unknown": true});
    let (_client, accepted) = listening(&gateway, KEY, asked);
    assert_eq!(accepted, json!({"toolsListChanged": true}));
    // An id keeps its type and its bytes.
    let mut other = Client::connect(gateway.address);
    let body = String::from_utf8(listen(KEY, 7, json!({}))).expect("UTF-8");
    let (head, body) = body.split_once("\r\n\r\n").expect("a head");
    let body = body.replace("\"id\":7", r#""id":"\u0041 7""#);
    let length = head.lines().find(|line| line.starts_with("Content-Length")).expect("a length");
    other.send(format!("{}\r\n\r\n{body}", head.replace(length, &format!("Content-Length: {}", body.len()))));
    other.stream_head();
    let raw = String::from_utf8(other.until_unread(b"\n\n\r\n")).expect("UTF-8");
    assert!(
        raw.contains(r#""io.modelcontextprotocol/subscriptionId":"\u0041 7"},"notifications":{}"#),
        "{raw}"
    );
    wait_for("both to be open", || listens(&gateway) == 2);
    assert_eq!(sum(&gateway, |worker| worker.inflight.get()), 0, "a listen is no exchange under way");
    let declared =
        Client::connect(gateway.address).roundtrip(modern(KEY, 1, "server/discover", json!({}))).json();
    assert_eq!(declared["result"]["capabilities"]["tools"], json!({"listChanged": true}));
}

#[test]
fn what_is_no_listen_is_refused() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let mut client = Client::connect(gateway.address);
    let long: Vec<String> = (0..257).map(|n| format!("mem://{n}")).collect();
    for (params, what) in [
        (json!({}), "params.notifications"),
        (json!({"notifications": {"toolsListChanged": 1}}), "boolean"),
        (json!({"notifications": {"resourceSubscriptions": "mem://a"}}), "array"),
        (json!({"notifications": {"resourceSubscriptions": ["mem://a", 1]}}), "strings"),
        (json!({"notifications": {"resourceSubscriptions": long}}), "256"),
    ] {
        let answer = client.roundtrip(modern(KEY, 1, "subscriptions/listen", params));
        let (code, message) = answer.error();
        assert_eq!((answer.status, code), (400, -32602), "{}", text(&answer));
        assert!(message.contains(what), "{message}");
    }
    let answer = client.roundtrip(listen("key-wrong", 1, json!({"toolsListChanged": true})));
    assert_eq!(answer.status, 401);
}

#[test]
fn a_change_is_told_once_to_whom_it_concerns() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let all = json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
    let (mut full, accepted) = listening(&gateway, KEY, all.clone());
    assert_eq!(accepted, all);
    let (mut prompts, _) = listening(&gateway, KEY, json!({"promptsListChanged": true}));
    let (small, _) = listening(&gateway, "key-small", all);
    gateway.offer(lists(&["new"], &[]));
    assert_eq!(told(&mut full), "notifications/tools/list_changed");
    gateway.offer(lists(&["new"], &["p"]));
    assert_eq!(told(&mut full), "notifications/prompts/list_changed");
    assert_eq!(told(&mut prompts), "notifications/prompts/list_changed");
    // The same lists again are no change.
    gateway.offer(lists(&["new"], &["p"]));
    gateway.offer(lists(&["newer"], &["p"]));
    assert_eq!(told(&mut full), "notifications/tools/list_changed");
    gateway.drain();
    // `small` sees `echo` alone, and that stayed what it is.
    [full, prompts, small].iter_mut().for_each(assert_ends);
    gateway.stop();
}

#[test]
fn a_listen_ends_with_its_key_and_no_other_does() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let (mut full, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
    let (mut small, _) = listening(&gateway, "key-small", json!({"toolsListChanged": true}));
    gateway.rekey(vec![(KEY, "ann", &["full"])]);
    assert_ends(&mut small);
    // Its connection serves on.
    assert_eq!(small.roundtrip(call(1, json!({}))).status, 200);
    wait_for("one listen to be left", || listens(&gateway) == 1);
    gateway.offer(lists(&["new"], &[]));
    assert_eq!(told(&mut full), "notifications/tools/list_changed");
    drop((full, small));
    wait_for("nobody to listen", || listens(&gateway) == 0 && sum(&gateway, |w| w.standing.get()) == 0);
    let lines = gateway.stop();
    let mut ends: Vec<(&str, &str)> = Vec::new();
    for line in lines.iter().filter(|line| line["method"] == "subscriptions/listen") {
        if let Some(ended) = line["ended"].as_str() {
            ends.push((line["principal"].as_str().expect("a principal"), ended));
            assert!(line["ns"]["total"].as_u64().expect("a time") > 0);
            assert_eq!(line["server"], "default");
        } else {
            assert_eq!(
                (line["status"].as_u64(), line["verdict"].as_str()),
                (Some(200), Some("permit")),
                "{line}"
            );
        }
    }
    assert_eq!(ends, [("sam", "over"), ("ann", "client_gone")]);
}

#[test]
fn whoever_asks_on_is_done_listening() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    let (mut client, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
    client.send(call(1, json!({})));
    assert_ends(&mut client);
    assert_eq!(client.answer().expect("an answer").status, 200);
    // Both in one packet.
    client.send([listen(KEY, 7, json!({})), call(2, json!({}))].concat());
    client.stream_head();
    assert!(client.event().expect("an acknowledgement").message["method"].is_string());
    assert_ends(&mut client);
    assert_eq!(client.answer().expect("an answer").json()["id"], 2);
    assert_lives(&gateway);
}

#[test]
fn listeners_leave_room_for_callers() {
    let upstream = upstream();
    let caps = "caps: { connections: 8 }\n";
    let setup = Setup { workers: 1, ..Setup::new(format!("{caps}{}", config(&upstream.url()))) };
    let gateway = Gateway::start(setup);
    let mut open: Vec<Client> = (0..6).map(|_| listening(&gateway, KEY, json!({})).0).collect();
    let mut client = Client::connect(gateway.address);
    let refused = client.roundtrip(listen(KEY, 1, json!({})));
    assert_eq!((refused.status, reason(&refused)), (503, "overloaded".to_owned()), "{}", text(&refused));
    assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
    open.pop();
    wait_for("a place", || listens(&gateway) == 5);
    listening(&gateway, KEY, json!({}));
}

/// A modern server of another tool each time it is asked. On its first listen it announces a change when `announce` opens,
/// and hangs up when `end` does; a later one stays silent.
fn announcing(announce: Gate, end: Gate) -> Scripted {
    let (asked, listens) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let usual = scripted::modern(scripted::tools(), |request| json_reply(&echoed(request)));
    Scripted::start(move |request| match scripted::method(request) {
        "tools/list" => {
            let name = format!("tool-{}", asked.fetch_add(1, Ordering::SeqCst));
            let tool = json!({"name": name, "inputSchema": {"type": "object"}});
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
                "resultType": "complete", "tools": [tool], "ttlMs": 0, "cacheScope": "public"}}))
        }
        "subscriptions/listen" => {
            let tag = json!({SUBSCRIPTION: request.body["id"]});
            let said = |method: &str| {
                let message = json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": tag,
                    "notifications": {"toolsListChanged": true}}});
                Step::Send(event(&message))
            };
            let begun = vec![Step::Send(event_stream()), said("notifications/subscriptions/acknowledged")];
            let rest = match listens.fetch_add(1, Ordering::SeqCst) {
                0 => vec![
                    Step::Await(announce.clone()),
                    said("notifications/tools/list_changed"),
                    Step::Await(end.clone()),
                    Step::Close,
                ],
                _ => vec![Step::Hang],
            };
            [begun, rest].concat()
        }
        _ => usual(request),
    })
}

#[test]
fn what_a_modern_upstream_announces_reaches_whoever_listens() {
    for force_wrong_worker in [false, true] {
        let (announce, end) = (Gate::default(), Gate::default());
        let upstream = announcing(announce.clone(), end.clone());
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config(&upstream.url())) });
        let (mut client, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
        wait_for("a listen of the gateway's own", || upstream.arrived("subscriptions/listen").len() == 1);
        let own = &upstream.arrived("subscriptions/listen")[0];
        assert_eq!(own.header("Mcp-Method"), Some("subscriptions/listen"));
        assert_eq!(own.body["params"]["notifications"]["toolsListChanged"], true);
        announce.open();
        assert_eq!(told(&mut client), "notifications/tools/list_changed");
        // A listen that broke is opened again, and the lists are asked for: something may have been missed.
        let before = upstream.arrived("tools/list").len();
        end.open();
        wait_for("another listen", || upstream.arrived("subscriptions/listen").len() >= 2);
        assert_eq!(told(&mut client), "notifications/tools/list_changed");
        assert!(upstream.arrived("tools/list").len() > before);
    }
}

#[test]
fn a_server_without_listens_is_asked_once() {
    let upstream = upstream();
    let gateway = gateway(&upstream);
    wait_for("the question", || upstream.arrived("subscriptions/listen").len() == 1);
    assert_lives(&gateway);
    gateway.stop();
    assert_eq!(upstream.arrived("subscriptions/listen").len(), 1);
}
