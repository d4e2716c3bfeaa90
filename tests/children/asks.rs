//! A child that asks its client in the middle of a call, and a client that cancels one.

use serde_json::{Value, json};
use strait_tests::client::{legacy, post};
use strait_tests::gateway::wait_for;
use strait_tests::{Client, Gateway, Setup};

use crate::child::{ERAS, KEY, Script, config};

const AUTH: (&str, &str) = ("Authorization", "Bearer key-full");

fn begin(client: &mut Client, capabilities: Value) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": {"name": "test", "version": "1"}}});
    let answer = client.roundtrip(post(&[AUTH], body.to_string().as_bytes()));
    answer.header("mcp-session-id").expect("a session id").to_owned()
}

/// The next JSON that comes as an event of the answer under way.
fn next_event(client: &mut Client) -> Value {
    loop {
        let event = String::from_utf8(client.until_unread(b"\n\n")).expect("UTF-8");
        if let Some(data) =
            event.lines().find_map(|line| line.strip_prefix("data: ")).filter(|d| !d.is_empty())
        {
            return serde_json::from_str(data).expect("JSON");
        }
    }
}

/// What the child heard to its questions, by its own ids.
fn heard(message: &Value) -> Value {
    let text = message["result"]["content"][0]["text"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("no text in {message}"))).expect("JSON")
}

fn everywhere(stdio: &str, test: impl Fn(&Gateway)) {
    let script = Script::write();
    for force_wrong_worker in [false, true] {
        println!("force_wrong_worker {force_wrong_worker}");
        let config = config(&script.kid("legacy", stdio, ""));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        test(&gateway);
    }
}

#[test]
fn a_child_of_ones_own_gets_its_answer_from_the_client() {
    for per in [", per: session", ", per: principal"] {
        everywhere(per, |gateway| {
            let (mut client, mut other) =
                (Client::connect(gateway.address), Client::connect(gateway.address));
            let session = begin(&mut client, json!({"sampling": {}}));
            let call = json!({"name": "do", "arguments": {"do": "ask"}});
            client.send(legacy(KEY, &session, 9, "tools/call", call));
            let question = next_event(&mut client);
            assert_eq!(question["method"], "sampling/createMessage");
            assert_eq!(question["params"], json!({"messages": [], "maxTokens": 1}));
            let answer =
                json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant", "n": 1.50}});
            let answered =
                other.roundtrip(post(&[AUTH, ("Mcp-Session-Id", &session)], answer.to_string().as_bytes()));
            assert_eq!(answered.status, 202);
            let last = next_event(&mut client);
            assert_eq!(last["id"], 9);
            let heard = heard(&last);
            assert_eq!(heard["ping-1"]["result"], json!({}), "a ping is answered here");
            assert_eq!(
                heard["77"],
                json!({"jsonrpc": "2.0", "id": 77, "result": {"role": "assistant", "n": 1.50}})
            );
        });
    }
}

#[test]
fn what_was_not_declared_or_is_shared_is_declined() {
    for (stdio, capabilities) in [
        (", per: session", json!({"elicitation": {}})),
        (", per: session", json!({})),
        ("", json!({"sampling": {}})),
    ] {
        everywhere(stdio, |gateway| {
            let mut client = Client::connect(gateway.address);
            let session = begin(&mut client, capabilities.clone());
            let call = json!({"name": "do", "arguments": {"do": "ask"}});
            let answer = client.roundtrip(legacy(KEY, &session, 9, "tools/call", call));
            let messages = answer.messages();
            let [last] = messages.as_slice() else { panic!("{messages:?}") };
            assert_eq!(heard(last)["77"]["error"]["code"], -32601);
        });
    }
}

#[test]
fn two_sessions_have_two_children() {
    everywhere(", per: session", |gateway| {
        let mut client = Client::connect(gateway.address);
        let call = json!({"name": "do", "arguments": {"do": "pid"}});
        let pids: Vec<Value> = [begin(&mut client, json!({})), begin(&mut client, json!({}))]
            .iter()
            .flat_map(|session| [session.clone(), session.clone()])
            .map(|session| client.roundtrip(legacy(KEY, &session, 1, "tools/call", call.clone())).json())
            .map(|answer| answer["result"]["content"][0]["text"].clone())
            .collect();
        assert_eq!(pids[0], pids[1]);
        assert_eq!(pids[2], pids[3]);
        assert_ne!(pids[0], pids[2]);
    });
}

#[test]
fn a_cancelled_call_is_cancelled_at_its_child() {
    for era in ERAS {
        for stdio in ["", ", per: session"] {
            let script = Script::write();
            for force_wrong_worker in [false, true] {
                println!("era {era}{stdio}, force_wrong_worker {force_wrong_worker}");
                let config = config(&script.kid(era, stdio, ""));
                let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
                let (mut client, mut other) =
                    (Client::connect(gateway.address), Client::connect(gateway.address));
                let session = begin(&mut client, json!({}));
                let call = |id: i64, what: &str| {
                    let params = json!({"name": "do", "arguments": {"do": what}});
                    legacy(KEY, &session, id, "tools/call", params)
                };
                let seen = |other: &mut Client| heard(&other.roundtrip(call(1, "seen")).json());
                client.send(call(7, "never"));
                wait_for("the call", || seen(&mut other)["waiting"].as_array().unwrap().len() == 1);
                let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
                let headers = [AUTH, ("Mcp-Session-Id", session.as_str())];
                let told = other.roundtrip(post(&headers, cancel.to_string().as_bytes()));
                assert_eq!(told.status, 202);
                let ended = client.answer().expect("an end");
                assert_eq!((ended.status, ended.body.len(), ended.cut_short), (200, 0, false));
                wait_for("the child to be told", || {
                    let seen = seen(&mut other);
                    seen["cancelled"] == seen["waiting"]
                });
                assert_eq!(
                    heard(&client.roundtrip(call(7, "seen")).json())["waiting"],
                    seen(&mut other)["waiting"]
                );
            }
        }
    }
}
