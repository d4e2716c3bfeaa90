//! What an operator is told of what is open: `/admin/sessions`, `strait status` and `/metrics` of a running gateway with a
//! suspended call, a listen and a session. Nothing of it is an argument or anything that a client could use.

use serde_json::{Value, json};
use strait_tests::client::{modern_as, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, event, event_stream, json_reply, method};
use strait_tests::{Client, Gate, Scripted, Step};

use crate::process::{Folder, Process, open_to_all, strait};

/// A legacy server with a resource to subscribe to, which asks for roots in the middle of every call.
fn server(never: Gate) -> Scripted {
    let stands = never.clone();
    let script = scripted::legacy(move |_| {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
        vec![Step::Send([event_stream(), event(&question)].concat()), Step::Await(never.clone())]
    });
    Scripted::start(move |request| {
        let result = |result: Value| {
            json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result}))
        };
        match method(request) {
            "initialize" => {
                let mut answer = scripted::initialized(request);
                answer["result"]["capabilities"]["resources"] = json!({"subscribe": true});
                json_reply(&answer)
            }
            // Without a stream there is nothing to subscribe for.
            "GET" => vec![Step::Send(event_stream()), Step::Await(stands.clone())],
            "resources/list" => result(json!({"resources": [{"uri": "note://a", "name": "a"}]})),
            "resources/templates/list" => result(json!({"resourceTemplates": []})),
            "resources/subscribe" => result(json!({})),
            _ => script(request),
        }
    })
}

#[test]
fn an_operator_sees_what_is_open_and_nothing_secret() {
    let gate = Gate::default();
    let upstream = server(gate.clone());
    let folder = Folder::new();
    folder.write(
        "strait.yaml",
        open_to_all(&upstream.url()).replace("tools: [", "resources: [\"*\"], tools: ["),
    );
    let gateway = Process::serve(&folder, "strait.yaml");
    gateway.wait_for_tools("", &["echo", "slow", "secret"]);

    let mut listener = gateway.client();
    let wanted = json!({"notifications": {
        "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["note://a"]}});
    listener.send(modern_as("", 7, "subscriptions/listen", wanted, json!({})));
    assert_eq!(listener.stream_head().status, 200);
    listener.next_event();
    let mut older = gateway.client();
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {"sampling": {}}, "clientInfo": {"name": "older", "version": "1"}}});
    let answer = older.roundtrip(post(&[], hello.to_string().as_bytes()));
    let session = answer.header("mcp-session-id").expect("a session").to_owned();
    let subscribe =
        json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": "note://a"}});
    let told = older.roundtrip(post(&[("Mcp-Session-Id", &session)], subscribe.to_string().as_bytes()));
    assert_eq!(told.json()["result"], json!({}));
    let params = json!({"name": "echo", "arguments": {"password": "hunter2"}});
    let call = modern_as("", 1, "tools/call", params, json!({"roots": {}}));
    let wanted = Client::connect(gateway.address).roundtrip(call).messages().pop().expect("a message");
    let state = wanted["result"]["requestState"].as_str().expect("a state").to_owned();

    assert_eq!(gateway.ask("/admin/sessions").0, 401, "not without the token");
    let admin = gateway.admin.to_string();
    let status = |more: &[&str]| {
        let told = strait(&folder.0, &[&["status", "--admin", &admin, "--state", "state"], more].concat());
        let text = String::from_utf8(told.stdout).expect("UTF-8");
        assert!(told.status.success(), "{text}");
        text
    };
    let (text, body) = (status(&[]), status(&["--json"]));
    let open = serde_json::from_str::<Value>(&body).expect("JSON")["open"].take();
    assert_eq!(open["silent_workers"], json!([]));
    let only = |kind: &str| {
        assert_eq!(open[kind]["total"], 1, "{kind} of {open}");
        open[kind]["shown"][0].clone()
    };
    let suspended = only("suspended");
    for (member, expected) in [
        ("server", json!("default")),
        ("principal", json!("anonymous")),
        ("upstream", json!("up")),
        ("method", json!("tools/call")),
        ("item", json!("echo")),
        ("questions", json!(1)),
    ] {
        assert_eq!(suspended[member], expected, "{suspended}");
    }
    let left_ms = suspended["left_ms"].as_u64().expect("a time");
    assert!((1..=300_000).contains(&left_ms), "{suspended}");
    let listen = only("listens");
    assert_eq!(
        (&listen["server"], &listen["principal"]),
        (&json!("default"), &json!("anonymous")),
        "{listen}"
    );
    assert_eq!(listen["filter"], json!(["toolsListChanged", "promptsListChanged", "resourceSubscriptions"]));
    assert_eq!(
        (&listen["subscriptions"], &only("sessions")["subscriptions"]),
        (&json!(1), &json!(1)),
        "{open}"
    );
    let line = only("sessions");
    assert_eq!(
        (&line["revision"], &line["declared"]),
        (&json!("2025-06-18"), &json!(["sampling"])),
        "{line}"
    );
    assert_eq!(
        (&open["upstreams"][0]["name"], &open["upstreams"][0]["era"]),
        (&json!("up"), &json!("legacy"))
    );

    for part in [
        "1 sessions of older clients",
        "1 calls that wait for their clients' input",
        "1 listens of clients",
        "toolsListChanged promptsListChanged",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    wait_for("the figure", || {
        let (_, metrics) = gateway.ask("/metrics");
        let suspended = metrics.lines().filter(|line| line.starts_with("strait_suspended_calls{"));
        suspended.filter(|line| line.ends_with(" 1")).count() == 1
    });
    for secret in ["hunter2", &state, &session] {
        assert!(!body.contains(secret) && !text.contains(secret), "{secret}");
    }
    gate.open();
}
