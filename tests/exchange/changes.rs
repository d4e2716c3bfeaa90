//! What clients of the older revisions are told on the streams of their sessions: lists that changed for them, and of
//! what servers say outside any call only what concerns them. And who is told what a server announces.

use std::path::PathBuf;

use serde_json::{Value, json};
use strait_tests::client::{delete, initialize, legacy, modern, post, session_stream};
use strait_tests::gateway::{scratch_folder, wait_for};
use strait_tests::scripted::{self, echoed, event, event_stream, json_reply};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, config, text};
use crate::listen::{assert_ends, listening, lists, told};

/// `small` may use `echo` alone.
fn two_roles(url: &str, servers: &str) -> String {
    format!(
        r#"
upstreams: {{ up: {{ http: "{url}" }} }}
servers:
  default: {{ path: /mcp, auth: [staff], tools: ["*"], prompts: ["*"] }}
{servers}
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

/// The next message of a session's stream: the method of a notification without anything else.
fn next(stream: &mut Client) -> String {
    let message = stream.event().expect("an event").message;
    let method = message["method"].as_str().expect("a method").to_owned();
    assert_eq!(message, json!({"jsonrpc": "2.0", "method": method}));
    method
}

#[test]
fn a_session_is_told_once_of_each_list_that_changed_for_it() {
    for force_wrong_worker in [false, true] {
        let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
        let setup = Setup::new(two_roles(&upstream.url(), ""));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..setup });
        let mut client = Client::connect(gateway.address);
        let declared = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let declared =
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": declared}).to_string();
        let declared =
            client.roundtrip(post(&[("Authorization", &format!("Bearer {KEY}"))], declared.as_bytes()));
        assert_eq!(declared.json()["result"]["capabilities"]["tools"], json!({"listChanged": true}));
        let full = initialize(&mut client, KEY, "2025-06-18");
        let late = initialize(&mut client, KEY, "2024-11-05");
        let small = initialize(&mut client, "key-small", "2025-11-25");
        let mut full = session_stream(gateway.address, KEY, &full);
        let mut small = session_stream(gateway.address, "key-small", &small);
        gateway.offer(lists(&["new"], &[]));
        assert_eq!(next(&mut full), "notifications/tools/list_changed");
        gateway.offer(lists(&["newer"], &["p"]));
        assert_eq!(next(&mut full), "notifications/tools/list_changed");
        assert_eq!(next(&mut full), "notifications/prompts/list_changed");
        // The same lists again are no change.
        gateway.offer(lists(&["newer"], &["p"]));
        gateway.offer(lists(&["newer"], &["p", "q"]));
        assert_eq!(next(&mut full), "notifications/prompts/list_changed");
        // Whoever listens late is told once of what changed twice.
        let mut late = session_stream(gateway.address, KEY, &late);
        assert_eq!(next(&mut late), "notifications/tools/list_changed");
        assert_eq!(next(&mut late), "notifications/prompts/list_changed");
        gateway.offer(lists(&["newest"], &["p", "q"]));
        assert_eq!(next(&mut late), "notifications/tools/list_changed");
        gateway.drain();
        assert_eq!(next(&mut full), "notifications/tools/list_changed");
        // `small` sees `echo` alone, and that stayed what it is.
        for stream in [&mut full, &mut late, &mut small] {
            assert_eq!(stream.event(), None);
        }
        gateway.stop();
    }
}

/// A modern server whose lists never change. When a gate opens, it announces this on the gateway's listen.
fn announcing(announcements: Vec<(Gate, &'static str)>) -> Scripted {
    let usual = scripted::modern(scripted::tools(), |request| json_reply(&echoed(request)));
    Scripted::start(move |request| {
        if scripted::method(request) != "subscriptions/listen" {
            return usual(request);
        }
        let tag = json!({"io.modelcontextprotocol/subscriptionId": request.body["id"]});
        let said = |method: &str| {
            let params = json!({"_meta": tag, "notifications": {"toolsListChanged": true}});
            Step::Send(event(&json!({"jsonrpc": "2.0", "method": method, "params": params})))
        };
        let mut steps = vec![Step::Send(event_stream()), said("notifications/subscriptions/acknowledged")];
        for (gate, method) in &announcements {
            steps.extend([Step::Await(gate.clone()), said(method)]);
        }
        steps.push(Step::Hang);
        steps
    })
}

/// A listen at another path.
fn listening_at(gateway: &Gateway, path: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    let asked = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
    let request = modern(KEY, 7, "subscriptions/listen", asked);
    let request =
        String::from_utf8(request).expect("UTF-8").replacen("POST /mcp ", &format!("POST {path} "), 1);
    client.send(request);
    assert_eq!(client.stream_head().status, 200);
    client.event().expect("an acknowledgement");
    client
}

#[test]
fn what_a_transparent_server_announces_is_passed_on_even_if_nothing_differs() {
    for force_wrong_worker in [false, true] {
        let (first, second) = (Gate::default(), Gate::default());
        let upstream = announcing(vec![
            (first.clone(), "notifications/tools/list_changed"),
            (second.clone(), "notifications/prompts/list_changed"),
        ]);
        let servers = "  part: { path: /part/mcp, auth: [staff], tools: [up.echo] }\n  \
            named: { path: /named/mcp, auth: [staff], tools: [up.*], prompts: [up.*], naming: prefix }";
        let setup = Setup::new(two_roles(&upstream.url(), servers));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..setup });
        let all = json!({"toolsListChanged": true, "promptsListChanged": true});
        let (mut full, _) = listening(&gateway, KEY, all.clone());
        let (mut small, _) = listening(&gateway, "key-small", json!({"toolsListChanged": true}));
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, "2025-11-25");
        let mut session = session_stream(gateway.address, KEY, &session);
        let mut part = listening_at(&gateway, "/part/mcp");
        let mut named = listening_at(&gateway, "/named/mcp");
        wait_for("the gateway's own listen", || upstream.arrived("subscriptions/listen").len() == 1);
        first.open();
        assert_eq!(told(&mut full), "notifications/tools/list_changed");
        assert_eq!(next(&mut session), "notifications/tools/list_changed");
        second.open();
        assert_eq!(told(&mut full), "notifications/prompts/list_changed");
        assert_eq!(next(&mut session), "notifications/prompts/list_changed");
        // There is no prompt whose name could have been changed. The other worker may hear of it after this one.
        assert_eq!(told(&mut named), "notifications/prompts/list_changed");
        gateway.drain();
        // Whose list is another one than the server's is told of what it sees.
        [&mut full, &mut small, &mut part, &mut named].into_iter().for_each(assert_ends);
        assert_eq!(session.event(), None);
        gateway.stop();
    }
}

#[test]
fn a_listen_of_ours_holds_no_buffer_while_nothing_is_said() {
    let gate = Gate::default();
    let upstream = announcing(vec![(gate.clone(), "notifications/tools/list_changed")]);
    let gateway = Gateway::start(Setup::new(two_roles(&upstream.url(), "")));
    let (mut client, _) = listening(&gateway, KEY, json!({"toolsListChanged": true}));
    gate.open();
    assert_eq!(told(&mut client), "notifications/tools/list_changed");
    drop(client);
    let held = || gateway.handle().figures().iter().map(|worker| worker.held_bytes.get()).sum::<u64>();
    wait_for("nothing to be held", || held() == 0);
    assert_eq!(upstream.arrived("subscriptions/listen").len(), 1, "the listen still stands");
    gateway.stop();
}

/// A legacy server, one child for each session. A call says what to say before its answer.
const SCRIPT: &str = r#"
import json, sys
def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = lambda result: say({"id": message["id"], "result": result})
    method = message.get("method")
    if method == "initialize":
        answer({"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}, "logging": {}},
                "serverInfo": {"name": "t", "version": "1"}})
    elif method == "tools/list":
        answer({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        for said in message["params"]["arguments"]["say"]:
            say(said)
        answer({"content": []})
    elif method == "logging/setLevel":
        answer({})
    else:
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
"#;

fn talking() -> (Gateway, PathBuf) {
    let folder = scratch_folder();
    let script = folder.join("child.py");
    std::fs::write(&script, SCRIPT).expect("write the script");
    let script = script.display();
    let upstream = format!("  up: {{ stdio: {{ command: python3, args: [\"{script}\"], per: session }} }}");
    let gateway = Gateway::start(Setup::new(config(&upstream)));
    assert_eq!(gateway.learning_fault(0), None);
    (gateway, folder)
}

#[test]
fn of_what_belongs_to_no_call_a_session_hears_what_concerns_it() {
    let (gateway, _folder) = talking();
    let notification = |method: &str, params: Value| json!({"method": method, "params": params});
    let logged = |level: &str| notification("notifications/message", json!({"level": level, "data": "d"}));
    let completed = notification("notifications/elicitation/complete", json!({"elicitationId": "e"}));
    let said = json!([
        logged("info"),
        logged("error"),
        notification("notifications/resources/updated", json!({"uri": "x:1"})),
        notification("notifications/resources/list_changed", json!({})),
        notification("notifications/progress", json!({"progressToken": 77, "progress": 1})),
        notification("notifications/cancelled", json!({"requestId": 77})),
        notification("notifications/other", json!({})),
        completed,
    ]);
    for (revision, heard) in [("2025-06-18", vec![&said[1]]), ("2025-11-25", vec![&said[1], &said[7]])] {
        let mut client = Client::connect(gateway.address);
        let session = initialize(&mut client, KEY, revision);
        let level =
            client.roundtrip(legacy(KEY, &session, 1, "logging/setLevel", json!({"level": "warning"})));
        assert_eq!(level.status, 200);
        let mut stream = session_stream(gateway.address, KEY, &session);
        let params = json!({"name": "echo", "arguments": {"say": said}});
        let answer = client.roundtrip(legacy(KEY, &session, 2, "tools/call", params));
        assert_eq!((answer.status, answer.messages().len()), (200, 1), "{}", text(&answer));
        for expected in heard {
            let mut message = stream.event().expect("an event").message;
            message.as_object_mut().expect("an object").remove("jsonrpc");
            assert_eq!(message, *expected, "{revision}");
        }
        assert_eq!(client.roundtrip(delete(KEY, &session)).status, 204);
        assert_eq!(stream.event(), None);
    }
}

#[test]
fn every_session_with_a_server_that_announces_changes_is_listened_to() {
    let sessions = std::sync::atomic::AtomicUsize::new(0);
    let usual = scripted::legacy(|request| json_reply(&echoed(request)));
    let upstream = Scripted::start(move |request| match scripted::method(request) {
        "initialize" => {
            let id = sessions.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut answer = scripted::initialized(request);
            answer["result"]["capabilities"] = json!({"tools": {"listChanged": true}});
            let body = answer.to_string();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s{id}\r\nContent-Length: {length}\r\n\r\n"
            );
            vec![Step::Send([head, body].concat().into_bytes())]
        }
        "GET" => vec![Step::Send(event_stream()), Step::Hang],
        _ => usual(request),
    });
    let gateway = Gateway::start(Setup::new(two_roles(&upstream.url(), "")));
    let answer = Client::connect(gateway.address).roundtrip(crate::common::call(1, json!({})));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    // That of the gateway's own questions, and that of the call.
    wait_for("a stream of each session", || {
        let streams = upstream.arrived("GET");
        ["s0", "s1"].iter().all(|id| streams.iter().any(|get| get.header("Mcp-Session-Id") == Some(id)))
    });
}
