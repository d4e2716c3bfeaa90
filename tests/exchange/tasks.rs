//! Tasks of both eras: calls whose results are fetched later, under ids that say where a task is and whose.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, post, session_stream};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, Arrived, event, event_stream, json_reply, method, tools};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, reason};

const SMALL: &str = "key-small";
const TASKS: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";

fn result(request: &Arrived, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result})
}

fn failed(request: &Arrived, code: i64) -> Vec<Step> {
    json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "error": {"code": code, "message": "no"}}))
}

/// A task as 2025-11-25 describes it.
fn core_task(id: &str, status: &str) -> Value {
    json!({"taskId": id, "status": status, "createdAt": "2025-11-25T10:30:00Z",
        "lastUpdatedAt": "2025-11-25T10:40:00Z", "ttl": 60000, "pollInterval": 5, "x-more": {"a": 1}})
}

/// A server of 2025-11-25 whose tasks are called `job-1`, `job-2` … by everyone alike.
fn core_server() -> Scripted {
    Scripted::start(core_script())
}

fn core_script() -> impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static {
    let begun = AtomicU32::new(0);
    let rest = scripted::legacy(move |request| match request.body["params"]["task"].is_object() {
        true => {
            let id = format!("job-{}", begun.fetch_add(1, Ordering::SeqCst) + 1);
            json_reply(&result(request, json!({"task": core_task(&id, "working"), "_meta": {"m": 1}})))
        }
        false => json_reply(&scripted::echoed(request)),
    });
    move |request: &Arrived| {
        let id = request.body["params"]["taskId"].as_str().unwrap_or("").to_owned();
        let has = id.starts_with("job-");
        match method(request) {
            "initialize" => {
                let mut answer = scripted::initialized(request);
                answer["result"]["capabilities"] = json!({"tools": {}, "tasks": {"list": {}, "cancel": {},
                    "requests": {"tools": {"call": {}}}}});
                json_reply(&answer)
            }
            "tasks/get" if has => json_reply(&result(request, core_task(&id, "completed"))),
            "tasks/cancel" if has => json_reply(&result(request, core_task(&id, "cancelled"))),
            "tasks/result" if has => {
                let about = json!({RELATED: {"taskId": id}});
                let told = json!({"jsonrpc": "2.0", "method": "notifications/tasks/status",
                    "params": {"taskId": id, "status": "completed"}});
                let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "error", "data": 1, "_meta": about}});
                let other = json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "error", "data": 2, "_meta": {RELATED: {"taskId": "another"}, "k": 1}}});
                let last = result(request, json!({"content": [], "_meta": about}));
                let events = [event(&told), event(&log), event(&other), event(&last), b"0\r\n\r\n".to_vec()];
                vec![Step::Send([event_stream(), events.concat()].concat())]
            }
            "tasks/list" => {
                let (page, next) = match request.body["params"]["cursor"].as_str() {
                    None => (["job-9", "job-1"], Some("p 2")),
                    Some("p 2") => (["job-2", "job-8"], None),
                    Some(_) => return failed(request, -32602),
                };
                let mut page = json!({"tasks": page.map(|id| core_task(id, "working"))});
                if let Some(next) = next {
                    page["nextCursor"] = json!(next);
                }
                json_reply(&result(request, page))
            }
            "tasks/get" | "tasks/cancel" | "tasks/result" => failed(request, -32602),
            _ => rest(request),
        }
    }
}

/// A server of 2026-07-28 that makes a task of each call whose client declared the extension.
fn extension_server() -> Scripted {
    Scripted::start(extension_script())
}

fn extension_script() -> impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static {
    let rest = scripted::modern(tools(), |request| {
        let declared = &request.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        match declared["extensions"][TASKS].is_object() {
            true => json_reply(&result(
                request,
                json!({"resultType": "task", "taskId": "it's ✓", "status": "working", "ttlMs": null,
                    "createdAt": "c", "lastUpdatedAt": "l", "x-more": 1}),
            )),
            false => json_reply(&scripted::echoed(request)),
        }
    });
    move |request: &Arrived| match method(request) {
        "server/discover" => json_reply(&result(
            request,
            json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": {TASKS: {}}}, "ttlMs": 0, "cacheScope": "public"}),
        )),
        "tasks/get" => {
            // More than passes in one piece.
            let text = "x".repeat(request.body["params"]["much"].as_u64().unwrap_or(0) as usize);
            json_reply(&result(
                request,
                json!({"resultType": "complete", "taskId": request.body["params"]["taskId"],
                    "status": "completed", "result": {"content": [{"type": "text", "text": text}]}}),
            ))
        }
        "tasks/update" | "tasks/cancel" => json_reply(&result(request, json!({"resultType": "complete"}))),
        _ => rest(request),
    }
}

/// A request of 2026-07-28 by a client that has declared the extension, or not.
fn modern(key: &str, id: i64, method: &str, mut params: Value, declares: bool) -> Vec<u8> {
    let named = params.get("name").or_else(|| params.get("taskId")).and_then(Value::as_str);
    let named = named.unwrap_or("").to_owned();
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        if declares { json!({"extensions": {TASKS: {}}}) } else { json!({}) };
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let bearer = format!("Bearer {key}");
    let mut headers = vec![
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
    ];
    if !named.is_empty() && method != "tasks/result" {
        headers.push(("Mcp-Name", &named));
    }
    post(&headers, body.as_bytes())
}

fn send(gateway: &Gateway, request: Vec<u8>) -> Answer {
    Client::connect(gateway.address).roundtrip(request)
}

/// A client of 2025-11-25.
struct Older<'g> {
    gateway: &'g Gateway,
    key: &'static str,
    session: String,
}

impl Older<'_> {
    fn of<'g>(gateway: &'g Gateway, key: &'static str) -> Older<'g> {
        let session = initialize(&mut Client::connect(gateway.address), key, "2025-11-25");
        Older { gateway, key, session }
    }

    fn ask(&self, method: &str, params: Value) -> Answer {
        send(self.gateway, legacy(self.key, &self.session, 7, method, params))
    }

    fn begin(&self, tool: &str) -> String {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": {"a": 1}, "task": {"ttl": 9}}));
        answer.json()["result"]["task"]["taskId"].as_str().expect("a task").to_owned()
    }
}

fn start(force_wrong_worker: bool, upstreams: &[&Scripted]) -> Gateway {
    let lines: Vec<String> = upstreams
        .iter()
        .enumerate()
        .map(|(at, upstream)| format!("  up{at}: {{ http: \"{}\" }}", upstream.url()))
        .collect();
    Gateway::start(Setup { force_wrong_worker, ..Setup::new(config(&lines.join("\n"))) })
}

#[test]
fn core_tasks_pass_between_older_peers_under_ids_of_ours() {
    for force_wrong_worker in [false, true] {
        let upstreams = [core_server(), core_server()];
        let gateway = start(force_wrong_worker, &[&upstreams[0], &upstreams[1]]);
        let ann = Older::of(&gateway, KEY);
        let (one, two) = (ann.begin("up0__echo"), ann.begin("up1__echo"));
        assert!(one.starts_with("t1.") && two.starts_with("t1.") && one != two);
        let sent = &upstreams[1].arrived("tools/call")[0].body["params"];
        assert_eq!((&sent["name"], &sent["task"]), (&json!("echo"), &json!({"ttl": 9})));
        // Each is asked about where it is, and described as it was but for its id.
        for (upstream, id) in upstreams.iter().zip([&one, &two]) {
            for (method, status) in [("tasks/get", "completed"), ("tasks/cancel", "cancelled")] {
                let answer = ann.ask(method, json!({"taskId": id, "k": 1}));
                assert_eq!(answer.json()["result"], core_task(id, status));
                let sent = &upstream.arrived(method)[0].body["params"];
                assert_eq!(*sent, json!({"taskId": "job-1", "k": 1}));
            }
        }
        let messages = ann.ask("tasks/result", json!({"taskId": two})).messages();
        assert_eq!(messages[0]["params"]["taskId"], json!(two));
        assert_eq!(messages[1]["params"]["_meta"], json!({RELATED: {"taskId": two}}));
        assert_eq!(messages[2]["params"]["_meta"], json!({"k": 1}), "another's task is not named");
        assert_eq!(messages[3]["result"], json!({"content": [], "_meta": {RELATED: {"taskId": two}}}));
        assert_eq!(messages[3]["id"], 7);
        // A plain call is none.
        let plain = ann.ask("tools/call", json!({"name": "up0__echo", "arguments": {"a": 2}}));
        assert_eq!(plain.json()["result"]["content"][0]["text"], "{\"a\":2}");
        assert_lives(&gateway);
    }
}

#[test]
fn a_list_of_tasks_holds_what_the_client_began_and_nothing_else() {
    let upstreams = [core_server(), core_server()];
    let gateway = start(true, &[&upstreams[0], &upstreams[1]]);
    let (ann, sam) = (Older::of(&gateway, KEY), Older::of(&gateway, SMALL));
    assert_eq!(sam.ask("tasks/list", json!({})).json()["result"], json!({"tasks": []}));
    let mine = [ann.begin("up0__echo"), ann.begin("up0__slow"), ann.begin("up1__echo")];
    let (mut listed, mut params, mut first) = (Vec::new(), json!({}), None);
    for _ in 0..8 {
        let page = ann.ask("tasks/list", params.clone()).json()["result"].clone();
        listed.extend(page["tasks"].as_array().expect("tasks").iter().map(|task| task["taskId"].clone()));
        let Some(next) = page.get("nextCursor") else { break };
        params = json!({"cursor": next});
        first.get_or_insert_with(|| params.clone());
    }
    assert_eq!(listed, mine);
    // A cursor is as good as its owner.
    for answer in [
        sam.ask("tasks/list", first.expect("more than a page")),
        ann.ask("tasks/list", json!({"cursor": "x"})),
    ] {
        assert_eq!((answer.error().0, reason(&answer).as_str()), (-32602, "bad_cursor"));
    }
    assert_lives(&gateway);
}

#[test]
fn ids_that_are_not_the_callers_are_unknown() {
    let upstream = core_server();
    let gateway = start(false, &[&upstream]);
    let (ann, sam) = (Older::of(&gateway, KEY), Older::of(&gateway, SMALL));
    let id = ann.begin("echo");
    let changed = id.replace(&id[10..12], if &id[10..12] == "xx" { "yy" } else { "xx" });
    let asked = [
        (&ann, "job-1"),
        (&ann, "t1."),
        (&ann, ""),
        (&ann, &changed),
        (&ann, &id[..id.len() - 1]),
        (&sam, &id),
    ];
    for (who, id) in asked {
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let answer = who.ask(method, json!({"taskId": id}));
            assert_eq!((answer.status, answer.error().0), (200, -32602), "{method} {id}");
            assert_eq!(reason(&answer), "unknown_task");
        }
    }
    for params in [json!({}), json!({"taskId": 5}), json!({"taskId": null})] {
        assert_eq!(ann.ask("tasks/get", params).error().0, -32602);
    }
    // The stream that a session keeps at its server may begin at any time: only requests about tasks are counted.
    let asked = ["tasks/get", "tasks/result", "tasks/cancel"].map(|method| upstream.arrived(method).len());
    assert_eq!(asked, [0; 3], "nobody was asked");
    // Another session of the same principal may ask.
    let again = Older::of(&gateway, KEY);
    assert_eq!(again.ask("tasks/get", json!({"taskId": id})).json()["result"]["taskId"], json!(id));
    assert_lives(&gateway);
}

#[test]
fn policy_decides_on_calls_that_begin_tasks_as_on_others() {
    let upstream = core_server();
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))
        .replace("    - { id: all", "    - { id: no, deny: [\"up.secret\"] }\n    - { id: all");
    let gateway = Gateway::start(Setup::new(config));
    let ann = Older::of(&gateway, KEY);
    let call = json!({"name": "secret", "arguments": {}, "task": {}});
    let answer = ann.ask("tools/call", call);
    assert_eq!((answer.error().0, reason(&answer).as_str()), (-32602, "unknown_tool"));
    assert_eq!(upstream.arrived("tools/call").len(), 0);
    // So it does on requests about one: a key that lost its tool has lost its tasks.
    let id = ann.begin("echo");
    gateway.rekey(vec![(KEY, "ann", &[])]);
    wait_for("the key to lose its role", || {
        reason(&ann.ask("tasks/get", json!({"taskId": id}))) == "unknown_task"
    });
    let answer = send(&gateway, modern(KEY, 1, "tools/list", json!({}), false));
    assert_eq!((answer.status, &answer.json()["result"]["tools"]), (200, &json!([])));
}

#[test]
fn the_extension_passes_between_newer_peers_under_ids_of_ours() {
    for force_wrong_worker in [false, true] {
        let upstream = extension_server();
        let gateway = start(force_wrong_worker, &[&upstream]);
        let begun =
            send(&gateway, modern(KEY, 1, "tools/call", json!({"name": "echo", "arguments": {}}), true))
                .json();
        let id = begun["result"]["taskId"].as_str().expect("a task").to_owned();
        assert!(id.starts_with("t1."));
        let expected = json!({"resultType": "task", "taskId": id, "status": "working", "ttlMs": null,
            "createdAt": "c", "lastUpdatedAt": "l", "x-more": 1});
        assert_eq!(begun["result"], expected);
        for much in [0, 300_000] {
            let params = json!({"taskId": id, "much": much});
            let answer = send(&gateway, modern(KEY, 2, "tasks/get", params, true)).json();
            assert_eq!((&answer["id"], &answer["result"]["taskId"]), (&json!(2), &json!(id)));
            assert_eq!(answer["result"]["result"]["content"][0]["text"].as_str().unwrap().len(), much);
        }
        let sent = &upstream.arrived("tasks/get")[0];
        assert_eq!(sent.body["params"]["taskId"], "it's ✓");
        assert_eq!(sent.header("Mcp-Name"), Some("=?base64?aXQncyDinJM=?="));
        let params = json!({"taskId": id, "inputResponses": {"k": {"action": "accept"}}});
        for (method, params) in [("tasks/update", params), ("tasks/cancel", json!({"taskId": id}))] {
            let answer = send(&gateway, modern(KEY, 3, method, params, true)).json();
            assert_eq!(answer["result"], json!({"resultType": "complete"}));
        }
        assert_eq!(
            upstream.arrived("tasks/update")[0].body["params"]["inputResponses"]["k"]["action"],
            "accept"
        );
        // Who has not declared it is told what to declare, and gets plain results.
        let answer = send(&gateway, modern(KEY, 4, "tasks/get", json!({"taskId": id}), false));
        assert_eq!((answer.status, answer.error().0), (400, -32021));
        assert_eq!(answer.json()["error"]["data"]["requiredCapabilities"]["extensions"], json!({TASKS: {}}));
        let call = json!({"name": "echo", "arguments": {"a": 1}, "task": {"ttl": 5}});
        let plain = send(&gateway, modern(KEY, 5, "tools/call", call, false)).json();
        assert_eq!(plain["result"]["content"][0]["text"], "{\"a\":1}");
        assert_eq!(upstream.arrived("tools/call").last().unwrap().body["params"]["task"], Value::Null);
        for (key, id) in [(SMALL, id.as_str()), (KEY, "it's"), (KEY, "t1.x")] {
            let answer = send(&gateway, modern(key, 6, "tasks/get", json!({"taskId": id}), true));
            assert_eq!((answer.error().0, reason(&answer).as_str()), (-32602, "unknown_task"));
        }
        for (method, about) in [("tasks/list", json!({})), ("tasks/result", json!({"taskId": id}))] {
            let answer = send(&gateway, modern(KEY, 7, method, about, true));
            assert_eq!((answer.status, answer.error().0), (404, -32601));
        }
        assert_lives(&gateway);
    }
}

#[test]
fn tasks_are_declared_as_upstreams_have_them() {
    let (core, extension, neither) = (core_server(), extension_server(), Scripted::modern(scripted_echo));
    let declared = |upstream: &Scripted| {
        let gateway = start(false, &[upstream]);
        let asked = send(&gateway, modern(KEY, 1, "server/discover", json!({}), false)).json();
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
            "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
        let bearer = format!("Bearer {KEY}");
        let older = send(&gateway, post(&[("Authorization", &bearer)], body.to_string().as_bytes())).json();
        let capabilities = |answer: &Value| answer["result"]["capabilities"].clone();
        (capabilities(&asked)["extensions"][TASKS].clone(), capabilities(&older)["tasks"].clone())
    };
    let words = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    assert_eq!(declared(&core), (json!({}), words));
    assert_eq!(declared(&extension), (json!({}), Value::Null));
    assert_eq!(declared(&neither), (Value::Null, Value::Null));
}

fn scripted_echo(request: &Arrived) -> Vec<Step> {
    json_reply(&scripted::echoed(request))
}

#[test]
fn a_task_is_asked_about_at_the_replica_that_has_it() {
    let replicas = [extension_server(), extension_server(), extension_server()];
    let urls: Vec<String> = replicas.iter().map(|replica| format!("\"{}\"", replica.url())).collect();
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: [{}] }}", urls.join(", ")))));
    for _ in 0..4 {
        let counts = || replicas.each_ref().map(|replica| replica.arrived("tools/call").len());
        let before = counts();
        let begun =
            send(&gateway, modern(KEY, 1, "tools/call", json!({"name": "echo", "arguments": {}}), true))
                .json();
        let has = before.iter().zip(counts()).position(|(before, after)| after > *before).expect("a replica");
        let asked = replicas[has].arrived("tasks/get").len();
        for _ in 0..2 {
            let about = json!({"taskId": begun["result"]["taskId"]});
            assert_eq!(send(&gateway, modern(KEY, 2, "tasks/get", about, true)).status, 200);
        }
        assert_eq!(replicas[has].arrived("tasks/get").len(), asked + 2);
    }
    assert_lives(&gateway);
}

#[test]
fn a_session_is_told_how_its_own_tasks_are() {
    let begun = Gate::default();
    let (core, opened) = (core_script(), begun.clone());
    let upstream = Scripted::start(move |request| match method(request) {
        // With a session, it says what belongs to no call on that session's stream.
        "initialize" => {
            let Some(Step::Send(answer)) = core(request).pop() else { return Vec::new() };
            let answer = String::from_utf8(answer).expect("text");
            vec![Step::Send(answer.replacen("\r\n", "\r\nMcp-Session-Id: s\r\n", 1).into_bytes())]
        }
        "GET" => {
            let told = |id: &str| {
                event(
                    &json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": core_task(id, "working")}),
                )
            };
            let events = [told("job-7"), told("job-1")].concat();
            vec![Step::Send(event_stream()), Step::Await(opened.clone()), Step::Send(events), Step::Hang]
        }
        "DELETE" => vec![Step::Send(scripted::http(200, "text/plain", b""))],
        _ => core(request),
    });
    let gateway = start(true, &[&upstream]);
    let ann = Older::of(&gateway, KEY);
    let mut stream = session_stream(gateway.address, KEY, &ann.session);
    let id = ann.begin("echo");
    begun.open();
    let told = stream.next_event();
    assert_eq!(
        (&told["method"], &told["params"]),
        (&json!("notifications/tasks/status"), &core_task(&id, "working"))
    );
    assert_lives(&gateway);
}

#[test]
fn a_listen_is_told_of_the_tasks_that_it_names() {
    for force_wrong_worker in [false, true] {
        let changes = Gate::default();
        let (extension, opened) = (extension_script(), changes.clone());
        let upstream = Scripted::start(move |request| match method(request) {
            "subscriptions/listen" if request.body["params"]["notifications"]["taskIds"].is_array() => {
                let tag = json!({"io.modelcontextprotocol/subscriptionId": request.body["id"]});
                let say = |method: &str, mut params: Value| {
                    params["_meta"] = tag.clone();
                    event(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
                };
                let agreed = json!({"notifications": request.body["params"]["notifications"]});
                let told = |id: &str| {
                    say(
                        "notifications/tasks",
                        json!({"taskId": id, "status": "completed", "result": {"content": []}}),
                    )
                };
                vec![
                    Step::Send(
                        [event_stream(), say("notifications/subscriptions/acknowledged", agreed)].concat(),
                    ),
                    Step::Await(opened.clone()),
                    Step::Send([told("another"), told("it's ✓")].concat()),
                    Step::Hang,
                ]
            }
            _ => extension(request),
        });
        let gateway = start(force_wrong_worker, &[&upstream]);
        let begin = |key: &str| {
            let call = json!({"name": "echo", "arguments": {}});
            send(&gateway, modern(key, 1, "tools/call", call, true)).json()["result"]["taskId"].clone()
        };
        let (mine, sams) = (begin(KEY), begin(SMALL));
        let mut client = Client::connect(gateway.address);
        let wanted = json!({"notifications": {"taskIds": [mine, sams, "t1.x", mine]}});
        client.send(modern(KEY, 9, "subscriptions/listen", wanted, true));
        assert_eq!(client.stream_head().status, 200);
        let tag = json!({"io.modelcontextprotocol/subscriptionId": 9});
        assert_eq!(
            client.next_event()["params"],
            json!({"_meta": tag, "notifications": {"taskIds": [mine]}})
        );
        changes.open();
        let told = client.next_event();
        assert_eq!(told["method"], "notifications/tasks");
        assert_eq!(
            told["params"],
            json!({"_meta": tag, "taskId": mine, "status": "completed", "result": {"content": []}})
        );
        // A server that goes takes the listen with it.
        upstream.close_connections();
        while client.next_event().get("result").is_none() {}
        assert_lives(&gateway);
    }
}
