//! What a client of the older revisions says within its session besides its requests.

use serde_json::{Value, json};
use strait_engine::Deadlines;
use strait_tests::client::{legacy, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, Arrived, event, event_stream, method};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, text};

const AUTH: (&str, &str) = ("Authorization", "Bearer key-full");

/// Opens a session of a client that can fill in forms.
fn begin(client: &mut Client, version: &str) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"}}});
    let answer = client.roundtrip(post(&[AUTH], body.to_string().as_bytes()));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    answer.header("mcp-session-id").expect("a session id").to_owned()
}

/// Any message within a session.
fn say(session: &str, message: &Value) -> Vec<u8> {
    post(&[AUTH, ("Mcp-Session-Id", session)], message.to_string().as_bytes())
}

/// A legacy server that asks under the id `q`, waits for the answer, and says in its result what it was.
pub fn asking() -> Scripted {
    let (answered, heard) = (Gate::default(), std::sync::Arc::new(std::sync::Mutex::new(Value::Null)));
    let (opens, hears) = (answered.clone(), heard.clone());
    let rest = scripted::legacy(move |request| {
        let id = request.body["id"].clone();
        let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
            "message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}});
        let heard = heard.clone();
        let tell = scripted::Deed::step(move |stream| {
            let said = heard.lock().unwrap().to_string();
            let result =
                json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": said}]}});
            let last = [event(&result), b"0\r\n\r\n".to_vec()].concat();
            std::io::Write::write_all(stream, &last).is_ok()
        });
        vec![Step::Send([event_stream(), event(&question)].concat()), Step::Await(answered.clone()), tell]
    });
    Scripted::start(move |request: &Arrived| {
        if method(request).is_empty() {
            *hears.lock().unwrap() = request.body.clone();
            opens.open();
            return vec![Step::Send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec())];
        }
        rest(request)
    })
}

fn ask(client: &mut Client, session: &str) -> u64 {
    client.send(legacy(KEY, session, 5, "tools/call", json!({"name": "echo", "arguments": {}})));
    let begun = String::from_utf8(client.until_unread(b"\n\n")).expect("UTF-8");
    let data = begun.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
    let question: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(question["method"], "elicitation/create", "{begun}");
    assert_eq!(question["params"]["message"], "Which?");
    question["id"].as_u64().expect("an id of the gateway's")
}

#[test]
fn a_clients_answer_finds_the_server_that_asked() {
    for force_wrong_worker in [false, true] {
        for outcome in [
            json!({"result": {"action": "accept", "content": {"a": 1.50}}}),
            json!({"error": {"code": -1, "message": "no"}}),
        ] {
            let upstream = asking();
            let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
            let (mut client, mut other) =
                (Client::connect(gateway.address), Client::connect(gateway.address));
            let session = begin(&mut client, "2025-06-18");
            let stranger = begin(&mut other, "2025-06-18");
            let id = ask(&mut client, &session);
            let mut answer = outcome.clone();
            (answer["jsonrpc"], answer["id"]) = (json!("2.0"), json!(id));
            let mut unknown = answer.clone();
            for unheard in [json!(id + 1), json!(id.to_string()), json!(-1)] {
                unknown["id"] = unheard;
                assert_eq!(other.roundtrip(say(&session, &unknown)).status, 202);
            }
            assert_eq!(other.roundtrip(say(&stranger, &answer)).status, 202, "not that session's question");
            assert_eq!(upstream.arrived("").len(), 0, "nothing was answered yet");
            let accepted = other.roundtrip(say(&session, &answer));
            assert_eq!((accepted.status, accepted.body.len()), (202, 0));
            client.until_unread(b"\r\n0\r\n\r\n");
            let heard = &upstream.arrived("")[0].body;
            assert_eq!(heard["id"], "q", "the server's own id");
            assert_eq!((&heard["result"], &heard["error"]), (&outcome["result"], &outcome["error"]));
            assert_eq!(other.roundtrip(say(&session, &answer)).status, 202, "the second time");
            assert_eq!(upstream.arrived("").len(), 1, "answered once");
            assert_lives(&gateway);
        }
    }
}

#[test]
fn a_question_that_nobody_answers_is_given_up() {
    let deadlines = Deadlines { question_ms: 1, ..Deadlines::default() };
    for (ended, deadlines) in [(false, deadlines), (true, Deadlines::default())] {
        let upstream = asking();
        let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
        let gateway = Gateway::start(Setup { deadlines, ..Setup::new(config) });
        let mut client = Client::connect(gateway.address);
        let session = begin(&mut client, "2025-06-18");
        ask(&mut client, &session);
        if ended {
            let delete = format!(
                "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nMcp-Session-Id: {session}\r\n\r\n"
            );
            assert_eq!(Client::connect(gateway.address).roundtrip(delete).status, 204);
        }
        wait_for("the server to be told", || upstream.arrived("").len() == 1);
        let told = &upstream.arrived("")[0].body;
        assert_eq!((&told["id"], &told["error"]["code"]), (&json!("q"), &json!(-32603)), "{told}");
        assert_eq!(told["error"]["message"], "client did not answer");
        client.until_unread(b"\r\n0\r\n\r\n");
        assert_lives(&gateway);
    }
}

#[test]
fn a_log_level_reaches_the_server_and_filters_what_it_says() {
    for force_wrong_worker in [false, true] {
        let rest = scripted::legacy(|request| {
            let log = |level: &str| {
                event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {
                    "level": level, "data": level}}))
            };
            let result =
                event(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}}));
            let said =
                [event_stream(), log("info"), log("error"), log("loud"), result, b"0\r\n\r\n".to_vec()];
            vec![Step::Send(said.concat())]
        });
        let upstream = Scripted::start(move |request: &Arrived| match method(request) {
            "initialize" => {
                let mut answer = scripted::initialized(request);
                answer["result"]["capabilities"]["logging"] = json!({});
                scripted::json_reply(&answer)
            }
            "logging/setLevel" => {
                scripted::json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {}}))
            }
            _ => rest(request),
        });
        let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        let mut client = Client::connect(gateway.address);
        let session = begin(&mut client, "2025-06-18");
        let mut heard = || {
            let params = json!({"name": "echo", "arguments": {}});
            let messages = client.roundtrip(legacy(KEY, &session, 3, "tools/call", params)).messages();
            let levels = messages.iter().filter_map(|message| message["params"]["level"].as_str());
            levels.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(heard(), ["info", "error", "loud"], "nobody asked for less");
        let mut other = Client::connect(gateway.address);
        for unknown in [json!({"level": "loud"}), json!({"level": ""}), json!({})] {
            let answer = other.roundtrip(legacy(KEY, &session, 4, "logging/setLevel", unknown));
            assert_eq!((answer.status, answer.error().0), (200, -32602), "{}", text(&answer));
        }
        assert_eq!(upstream.arrived("logging/setLevel").len(), 0);
        let answer =
            other.roundtrip(legacy(KEY, &session, 4, "logging/setLevel", json!({"level": "warning"})));
        assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 4, "result": {}}));
        wait_for("the server to be told", || upstream.arrived("logging/setLevel").len() == 1);
        assert_eq!(upstream.arrived("logging/setLevel")[0].body["params"]["level"], "warning");
        assert_eq!(heard(), ["error", "loud"]);
        assert_lives(&gateway);
    }
}
