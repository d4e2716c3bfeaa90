//! Tasks across the eras, and for clients that know none: a call that its server runs only as a task is answered like
//! any other, or as a task in the client's own words.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_tests::client::{initialize_as, legacy, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, ACCEPTED, Arrived, Deed, event, event_stream, json_reply, method};
use strait_tests::{Answer, Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config};

const TASKS: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";

fn reply(request: &Arrived, key: &str, value: Value) -> Vec<Step> {
    json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], key: value}))
}

fn failed(request: &Arrived, code: i64) -> Vec<Step> {
    reply(request, "error", json!({"code": code, "message": "no"}))
}

fn tools() -> Value {
    let tool = |name: &str, support: &str| json!({"name": name, "inputSchema": {"type": "object"}, "execution": {"taskSupport": support}});
    json!([tool("job", "required"), tool("either", "optional")])
}

fn form() -> Value {
    json!({"message": "Name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}})
}

/// What a server of 2025-11-25 with one task is told and says.
#[derive(Clone, Default)]
struct Job {
    status: Arc<Mutex<&'static str>>,
    /// It asks for input, and goes on with the answer.
    asks: bool,
    answers: Arc<Mutex<Vec<Value>>>,
    answered: Gate,
}

impl Job {
    fn now(&self, status: &'static str) {
        *self.status.lock().unwrap() = status;
    }

    fn described(&self) -> Value {
        json!({"taskId": "job-1", "status": *self.status.lock().unwrap(), "createdAt": "c", "lastUpdatedAt": "l",
            "ttl": 60000, "pollInterval": 5, "x-more": 1})
    }

    /// The answer to `tasks/result`: an event stream, if it asks.
    fn result(&self, request: &Arrived) -> Vec<Step> {
        let about = json!({RELATED: {"taskId": "job-1"}});
        let last = |id: &Value, answers: &[Value]| json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "answers": answers, "_meta": about}});
        if !self.asks {
            return json_reply(&last(&request.body["id"], &[]));
        }
        let mut params = form();
        params["_meta"] = about.clone();
        let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params});
        let (id, job, about) = (request.body["id"].clone(), self.clone(), about.clone());
        vec![
            Step::Send([event_stream(), event(&question)].concat()),
            Step::Await(self.answered.clone()),
            Deed::step(move |stream| {
                use std::io::Write;
                let answers = job.answers.lock().unwrap().clone();
                let last = json!({"jsonrpc": "2.0", "id": id, "result":
                    {"content": [], "answers": answers, "_meta": about}});
                stream.write_all(&[event(&last), b"0\r\n\r\n".to_vec()].concat()).is_ok()
            }),
        ]
    }

    /// Its server.
    fn serve(&self) -> Scripted {
        let job = self.clone();
        let rest = scripted::legacy(|request| json_reply(&scripted::echoed(request)));
        Scripted::start(move |request| match method(request) {
            "" if request.body.get("id").is_some() => {
                job.answers.lock().unwrap().push(request.body["result"].clone());
                job.answered.open();
                vec![Step::Send(ACCEPTED.to_vec())]
            }
            "notifications/cancelled" => vec![Step::Send(ACCEPTED.to_vec())],
            "initialize" => {
                let mut answer = scripted::initialized(request);
                answer["result"]["capabilities"] = json!({"tools": {}, "tasks": {"cancel": {}}});
                json_reply(&answer)
            }
            "tools/list" => reply(request, "result", json!({"tools": tools()})),
            "tools/call" if request.body["params"]["name"] == "job" => {
                match request.body["params"]["task"].is_object() {
                    true => reply(request, "result", json!({"task": job.described()})),
                    false => failed(request, -32601),
                }
            }
            method if method.starts_with("tasks/") && request.body["params"]["taskId"] != "job-1" => {
                failed(request, -32602)
            }
            "tasks/get" => reply(request, "result", job.described()),
            "tasks/result" if *job.status.lock().unwrap() == "failed" => failed(request, -32000),
            "tasks/result" => job.result(request),
            "tasks/cancel" if *job.status.lock().unwrap() == "working" => {
                reply(request, "result", json!({"taskId": "job-1", "status": "cancelled"}))
            }
            "tasks/cancel" => failed(request, -32602),
            _ => rest(request),
        })
    }
}

fn start(force_wrong_worker: bool, upstream: &Scripted) -> Gateway {
    let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
    Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) })
}

/// A request of 2026-07-28.
pub fn modern(id: i64, method: &str, mut params: Value, capabilities: Value) -> Vec<u8> {
    let named =
        params.get("name").or_else(|| params.get("taskId")).and_then(Value::as_str).unwrap_or("").to_owned();
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let bearer = format!("Bearer {KEY}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
        ("Mcp-Name", &named),
    ];
    post(&headers, body.as_bytes())
}

fn send(gateway: &Gateway, request: Vec<u8>) -> Answer {
    Client::connect(gateway.address).roundtrip(request)
}

fn call() -> Value {
    json!({"name": "job", "arguments": {"a": 1}})
}

#[test]
fn an_older_servers_task_is_one_in_the_words_of_a_newer_client() {
    for force_wrong_worker in [false, true] {
        let job = Job { asks: true, ..Job::default() };
        job.now("working");
        let upstream = job.serve();
        let gateway = start(force_wrong_worker, &upstream);
        let ask = |method: &str, params: Value| {
            send(&gateway, modern(3, method, params, json!({"elicitation": {}, "extensions": {TASKS: {}}})))
                .json()
        };
        let begun = ask("tools/call", call());
        let id = begun["result"]["taskId"].as_str().expect("a task").to_owned();
        let described = |status: &str, result_type: &str| {
            json!({"resultType": result_type, "_meta": ours(), "taskId": id, "status": status, "createdAt": "c", "lastUpdatedAt": "l",
                "ttlMs": 60000, "pollIntervalMs": 5, "x-more": 1})
        };
        assert_eq!(begun, json!({"jsonrpc": "2.0", "id": 3, "result": described("working", "task")}));
        let about = json!({"taskId": id});
        assert_eq!(ask("tasks/get", about.clone())["result"], described("working", "complete"));
        // It wants input.
        job.now("input_required");
        let wants = ask("tasks/get", about.clone())["result"].clone();
        let requests = json!({"r1": {"method": "elicitation/create", "params": with_meta(form())}});
        assert_eq!((&wants["status"], &wants["inputRequests"]), (&json!("input_required"), &requests));
        assert_eq!(ask("tasks/get", about.clone())["result"]["inputRequests"], requests, "until it has it");
        let accept = json!({"action": "accept", "content": {"name": "ann"}});
        let given = json!({"taskId": id, "inputResponses": {"other": {}, "r1": accept}});
        assert_eq!(ask("tasks/update", given)["result"], json!({"resultType": "complete", "_meta": ours()}));
        wait_for("the answer to reach the server", || !job.answers.lock().unwrap().is_empty());
        job.now("completed");
        let mut ended = described("completed", "complete");
        ended["result"] = json!({"content": [], "answers": [accept], "_meta": {}});
        assert_eq!(ask("tasks/get", about.clone())["result"], ended);
        // Cancelling what has ended is no fault.
        assert_eq!(
            ask("tasks/cancel", about.clone())["result"],
            json!({"resultType": "complete", "_meta": ours()})
        );
        job.now("failed");
        let failed = ask("tasks/get", about)["result"].clone();
        assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!(-32000)));
        assert_eq!(failed.get("result"), None);
        assert_lives(&gateway);
    }
}

/// What is left of a result's `_meta` without it: how the gateway introduces itself to newer clients.
fn ours() -> Value {
    json!({"io.modelcontextprotocol/serverInfo": {"name": "strait", "version": env!("CARGO_PKG_VERSION")}})
}

/// As it is without the mark of its task.
fn with_meta(mut params: Value) -> Value {
    params["_meta"] = json!({});
    params
}

#[test]
fn a_client_that_knows_no_tasks_has_its_call_answered() {
    for force_wrong_worker in [false, true] {
        // A newer client that has not declared the extension.
        let job = Job::default();
        job.now("working");
        let upstream = job.serve();
        let gateway = start(force_wrong_worker, &upstream);
        let answer = send(&gateway, modern(1, "tools/call", call(), json!({}))).json();
        let result = json!({"resultType": "complete", "content": [], "answers": [], "_meta": ours()});
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": result}));
        assert_eq!(upstream.arrived("tools/call")[0].body["params"]["task"], json!({}));
        // A tool that may be called either way is called plainly.
        let either = json!({"name": "either", "arguments": {"a": 1}});
        let answer =
            send(&gateway, modern(2, "tools/call", either, json!({"extensions": {TASKS: {}}}))).json();
        assert_eq!(answer["result"]["content"][0]["text"], "{\"a\":1}");
        // Older clients, of a revision that has tasks and of one that has none.
        for version in ["2025-11-25", "2025-06-18"] {
            let mut client = Client::connect(gateway.address);
            let session = initialize_as(&mut client, KEY, version, json!({}));
            let answer = client.roundtrip(legacy(KEY, &session, 4, "tools/call", call())).json();
            assert_eq!(
                answer,
                json!({"jsonrpc": "2.0", "id": 4, "result": {"content": [], "answers": [], "_meta": {}}})
            );
        }
        assert_eq!(upstream.arrived("tasks/cancel").len(), 0, "all of them ended");
        assert_lives(&gateway);
    }
}

#[test]
fn what_such_a_task_asks_is_asked_as_in_any_call() {
    for force_wrong_worker in [false, true] {
        let job = Job { asks: true, ..Job::default() };
        job.now("working");
        let upstream = job.serve();
        let gateway = start(force_wrong_worker, &upstream);
        let capabilities = json!({"elicitation": {}});
        let wants = send(&gateway, modern(1, "tools/call", call(), capabilities.clone())).json();
        let requests = json!({"r1": {"method": "elicitation/create", "params": with_meta(form())}});
        assert_eq!(wants["result"]["inputRequests"], requests, "{wants}");
        let accept = json!({"action": "accept", "content": {"name": "ann"}});
        let mut again = call();
        again["requestState"] = wants["result"]["requestState"].clone();
        again["inputResponses"] = json!({"r1": accept});
        let answer = send(&gateway, modern(2, "tools/call", again, capabilities)).json();
        let result = json!({"resultType": "complete", "content": [], "answers": [accept], "_meta": ours()});
        assert_eq!(answer["result"], result);
        assert_eq!(upstream.arrived("tools/call").len(), 1);
        assert_eq!(upstream.arrived("tasks/cancel").len(), 0);
        // An older client is asked on the stream of its call.
        let job = Job { asks: true, ..Job::default() };
        job.now("working");
        let upstream = job.serve();
        let gateway = start(force_wrong_worker, &upstream);
        let mut older = Older::of(&gateway);
        older.client.send(legacy(KEY, &older.session, 5, "tools/call", call()));
        assert_eq!(older.client.stream_head().status, 200);
        let question = older.client.next_event();
        assert_eq!(
            (&question["method"], &question["params"]),
            (&json!("elicitation/create"), &with_meta(form()))
        );
        older.answer(&gateway, &question, json!({"action": "decline"}));
        let last = older.client.next_event();
        assert_eq!(last["result"]["answers"], json!([{"action": "decline"}]));
        assert_lives(&gateway);
    }
}

#[test]
fn a_task_that_nobody_waits_for_any_more_is_cancelled() {
    let job = Job { asks: true, ..Job::default() };
    job.now("working");
    let upstream = job.serve();
    let gateway = start(false, &upstream);
    let mut older = Older::of(&gateway);
    older.client.send(legacy(KEY, &older.session, 5, "tools/call", call()));
    assert_eq!(older.client.stream_head().status, 200);
    older.client.next_event();
    let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    older.post(&gateway, &told);
    wait_for("the task to be cancelled", || upstream.arrived("tasks/cancel").len() == 1);
    assert_eq!(upstream.arrived("tasks/cancel")[0].body["params"]["taskId"], "job-1");
    assert_lives(&gateway);
}

/// A client of 2025-06-18.
struct Older {
    client: Client,
    session: String,
}

impl Older {
    fn of(gateway: &Gateway) -> Older {
        let mut client = Client::connect(gateway.address);
        let session = initialize_as(&mut client, KEY, "2025-06-18", json!({"elicitation": {}}));
        Older { client, session }
    }

    fn answer(&self, gateway: &Gateway, question: &Value, result: Value) {
        self.post(gateway, &json!({"jsonrpc": "2.0", "id": question["id"], "result": result}));
    }

    fn post(&self, gateway: &Gateway, message: &Value) {
        let bearer = format!("Bearer {KEY}");
        let headers = [("Authorization", bearer.as_str()), ("Mcp-Session-Id", &self.session)];
        assert_eq!(send(gateway, post(&headers, message.to_string().as_bytes())).status, 202);
    }
}

/// A server of 2026-07-28 that serves nobody who does not know tasks.
fn strict_server(ends: Value) -> Scripted {
    let given = Arc::new(Mutex::new(None::<Value>));
    let polls = Mutex::new(0);
    let rest = scripted::modern(scripted::tools(), |request| {
        let declared = &request.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        if !declared["extensions"][TASKS].is_object() {
            let data = json!({"requiredCapabilities": {"extensions": {TASKS: {}}}});
            let body = json!({"jsonrpc": "2.0", "id": request.body["id"], "error": {"code": -32021, "message": "no", "data": data}});
            return vec![Step::Send(scripted::http(400, "application/json", body.to_string().as_bytes()))];
        }
        let task = json!({"resultType": "task", "taskId": "t", "status": "working", "ttlMs": null,
            "createdAt": "c", "lastUpdatedAt": "l", "pollIntervalMs": 1});
        reply(request, "result", task)
    });
    Scripted::start(move |request| match method(request) {
        method if method.starts_with("tasks/") && request.body["params"]["taskId"] != "t" => {
            failed(request, -32602)
        }
        "tasks/get" => {
            let mut polls = polls.lock().unwrap();
            *polls += 1;
            let mut task = json!({"resultType": "complete", "taskId": "t", "status": "working", "ttlMs": null,
                "createdAt": "c", "lastUpdatedAt": "l", "pollIntervalMs": 1});
            let more = match (*polls, &*given.lock().unwrap()) {
                (1, _) => json!({}),
                (_, None) => json!({"status": "input_required", "inputRequests":
                    {"k": {"method": "elicitation/create", "params": form()}}}),
                (_, Some(responses)) => {
                    let mut ends = ends.clone();
                    ends["got"] = responses.clone();
                    ends
                }
            };
            task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            reply(request, "result", task)
        }
        "tasks/update" => {
            *given.lock().unwrap() = Some(request.body["params"]["inputResponses"].clone());
            reply(request, "result", json!({"resultType": "complete"}))
        }
        "tasks/cancel" => reply(request, "result", json!({"resultType": "complete"})),
        _ => rest(request),
    })
}

#[test]
fn a_newer_server_that_insists_on_tasks_serves_older_clients() {
    let complete =
        json!({"status": "completed", "result": {"resultType": "complete", "content": [], "ttlMs": 1}});
    let failure = json!({"status": "failed", "error": {"code": -32007, "message": "broken"}});
    let gone = json!({"status": "cancelled"});
    for (ends, key, expected) in [
        (complete, "result", json!({"content": []})),
        (failure, "error", json!({"code": -32007, "message": "broken"})),
        (gone, "error", json!({"code": -32603, "message": "the task was cancelled"})),
    ] {
        for force_wrong_worker in [false, true] {
            let upstream = strict_server(ends.clone());
            let gateway = start(force_wrong_worker, &upstream);
            let mut older = Older::of(&gateway);
            let call = json!({"name": "echo", "arguments": {"a": 1}, "task": {"ttl": 1}});
            older.client.send(legacy(KEY, &older.session, 5, "tools/call", call));
            assert_eq!(older.client.stream_head().status, 200);
            let question = older.client.next_event();
            assert_eq!((&question["method"], &question["params"]), (&json!("elicitation/create"), &form()));
            older.answer(&gateway, &question, json!({"action": "accept", "content": {}}));
            let last = older.client.next_event();
            assert_eq!((&last["id"], &last[key]), (&json!(5), &expected), "{last}");
            let given = &upstream.arrived("tasks/update")[0].body["params"];
            assert_eq!(given["inputResponses"], json!({"k": {"action": "accept", "content": {}}}));
            assert_eq!(given["taskId"], "t");
            // A newer client is told what to declare, as without us.
            let named = json!({"name": "echo", "arguments": {}});
            let refused = send(&gateway, modern(6, "tools/call", named, json!({})));
            assert_eq!((refused.status, refused.error().0), (400, -32021));
            assert_eq!(upstream.arrived("tasks/cancel").len(), 0);
            assert_lives(&gateway);
        }
    }
}

#[test]
fn an_older_clients_task_at_a_newer_server_ends_with_its_call() {
    let upstream = strict_server(json!({"status": "working"}));
    let gateway = start(false, &upstream);
    let older = Older::of(&gateway);
    let mut client = Client::connect(gateway.address);
    client.send(legacy(KEY, &older.session, 5, "tools/call", json!({"name": "echo", "arguments": {}})));
    wait_for("the task to be asked about", || !upstream.arrived("tasks/get").is_empty());
    older.post(
        &gateway,
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}),
    );
    wait_for("the task to be cancelled", || upstream.arrived("tasks/cancel").len() == 1);
    assert_lives(&gateway);
}
