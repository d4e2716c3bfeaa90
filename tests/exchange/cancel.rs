//! A client of the older revisions that cancels a call of its own, from another connection of its session.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_tests::client::{initialize, initialize_as, legacy, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, ACCEPTED, Arrived, Deed, event, event_stream, http, json_reply, method};
use strait_tests::{Client, Gate, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, text};

const AUTH: (&str, &str) = ("Authorization", "Bearer key-full");

fn say(client: &mut Client, session: &str, message: &Value) {
    let answer = client.roundtrip(post(&[AUTH, ("Mcp-Session-Id", session)], message.to_string().as_bytes()));
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{}", text(&answer));
}

fn cancel(client: &mut Client, session: &str, id: Value) {
    let params = json!({"requestId": id, "reason": "not needed"});
    say(client, session, &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}));
}

fn next(client: &mut Client) -> Value {
    client.event().expect("an event").message
}

/// Something the call says before it waits for ever.
fn sign(request: &Arrived) -> Vec<u8> {
    let token = &request.body["params"]["_meta"]["progressToken"];
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
        "progressToken": token, "progress": 1}});
    [event_stream(), event(&progress)].concat()
}

/// Waits until the gateway closes the connection, and counts that.
fn until_closed(closed: &Arc<AtomicUsize>) -> Step {
    let closed = closed.clone();
    Deed::step(move |stream| {
        loop {
            match stream.read(&mut [0; 64]) {
                Ok(0) => break,
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        closed.fetch_add(1, Ordering::SeqCst);
        false
    })
}

/// An upstream whose call `held` never ends, silently or with a sign of it (`begun`); others echo.
fn upstream(modern: bool, closed: &Arc<AtomicUsize>) -> Scripted {
    let closed = closed.clone();
    let call = move |request: &Arrived| match request.argument("case") {
        "held" => vec![until_closed(&closed)],
        "begun" => vec![Step::Send(sign(request)), until_closed(&closed)],
        _ => json_reply(&scripted::echoed(request)),
    };
    if modern {
        return Scripted::modern(call);
    }
    let rest = scripted::legacy(call);
    Scripted::start(move |request: &Arrived| match method(request) {
        "notifications/cancelled" => vec![Step::Send(ACCEPTED.to_vec())],
        _ => rest(request),
    })
}

fn call(session: &str, id: i64, case: &str) -> Vec<u8> {
    let params = json!({"name": "echo", "arguments": {"case": case}, "_meta": {"progressToken": "t"}});
    legacy(KEY, session, id, "tools/call", params)
}

#[test]
fn a_cancelled_call_ends_at_its_server_and_its_client_gets_no_answer() {
    for modern in [false, true] {
        for force_wrong_worker in [false, true] {
            // A client that can be asked has its calls attended by a task.
            for capabilities in [json!({}), json!({"elicitation": {}})] {
                println!("modern {modern}, wrong worker {force_wrong_worker}, {capabilities}");
                let closed = Arc::new(AtomicUsize::new(0));
                let upstream = upstream(modern, &closed);
                let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
                let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
                let mut client = Client::connect(gateway.address);
                let mut other = Client::connect(gateway.address);
                let session = initialize_as(&mut client, KEY, "2025-06-18", capabilities.clone());
                let stranger = initialize(&mut other, KEY, "2025-06-18");
                for (turn, case) in (1..).zip(["held", "begun"]) {
                    client.send(call(&session, 5, case));
                    wait_for("the call", || upstream.arrived("tools/call").len() == turn);
                    if case == "begun" {
                        client.stream_head();
                        assert_eq!(next(&mut client)["method"], "notifications/progress");
                    }
                    // None of these is this call.
                    for id in [json!("5"), json!(6), json!(50), json!("")] {
                        cancel(&mut other, &session, id);
                    }
                    cancel(&mut other, &stranger, json!(5));
                    assert_eq!(
                        (upstream.arrived("notifications/cancelled").len(), closed.load(Ordering::SeqCst)),
                        (if modern { 0 } else { turn - 1 }, turn - 1)
                    );
                    cancel(&mut other, &session, json!(5));
                    if case == "begun" {
                        assert_eq!(client.event(), None, "the stream ends, and says nothing more");
                    } else {
                        let ended = client.answer().expect("an end");
                        assert_eq!((ended.status, ended.body.len(), ended.cut_short), (200, 0, false));
                        assert_eq!(ended.header("content-type"), Some("text/event-stream"));
                    }
                    wait_for("the server's connection to end", || closed.load(Ordering::SeqCst) == turn);
                    if !modern {
                        wait_for("the server to be told", || {
                            upstream.arrived("notifications/cancelled").len() == turn
                        });
                        let told = &upstream.arrived("notifications/cancelled")[turn - 1];
                        let its_own = &upstream.arrived("tools/call")[turn - 1].body["id"];
                        assert_eq!(&told.body["params"]["requestId"], its_own);
                        assert_eq!(told.body["params"]["reason"], "cancelled by the client");
                    }
                }
                // It is over, and the connection is good for more, under the same id.
                cancel(&mut other, &session, json!(5));
                let params = json!({"name": "echo", "arguments": {"a": 1}});
                let answer = client.roundtrip(legacy(KEY, &session, 5, "tools/call", params));
                assert_eq!(answer.messages()[0]["id"], 5, "{}", text(&answer));
                let inflight =
                    || gateway.handle().figures().iter().map(|worker| worker.inflight.get()).sum::<u64>();
                wait_for("nothing to be under way", || inflight() == 0);
                assert_lives(&gateway);
                let lines = gateway.stop();
                let cancelled = lines.iter().filter(|line| line["refused"] == "cancelled").count();
                assert_eq!(cancelled, 2, "both are on record: {lines:?}");
            }
        }
    }
}

#[test]
fn a_call_that_waits_for_its_clients_input_can_be_cancelled() {
    let upstream = Scripted::modern(|request| {
        let form = json!({"method": "elicitation/create", "params": {"message": "m", "requestedSchema":
            {"type": "object", "properties": {}}}});
        json_reply(&json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {
            "resultType": "input_required", "inputRequests": {"a": form}, "requestState": "s"}}))
    });
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))));
    let (mut client, mut other) = (Client::connect(gateway.address), Client::connect(gateway.address));
    let session = initialize_as(&mut client, KEY, "2025-11-25", json!({"elicitation": {}}));
    client.send(call(&session, 5, ""));
    client.stream_head();
    let question = next(&mut client);
    cancel(&mut other, &session, json!(5));
    assert_eq!(client.event(), None);
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}});
    say(&mut other, &session, &answer);
    assert_eq!(upstream.arrived("tools/call").len(), 1, "an answer that comes too late goes nowhere");
    assert_lives(&gateway);
}

#[test]
fn how_far_a_client_is_with_a_question_reaches_the_server_that_asked() {
    for force_wrong_worker in [false, true] {
        let (heard, over) = (Arc::new(Mutex::new(Vec::new())), Gate::default());
        let (hears, ends) = (heard.clone(), over.clone());
        let rest = scripted::legacy(move |request| {
            let question = json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {
                "messages": [], "maxTokens": 1, "_meta": {"x": 1, "progressToken": "its own"}}});
            let result = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": []}});
            let last = [event(&result), b"0\r\n\r\n".to_vec()].concat();
            vec![
                Step::Send([event_stream(), event(&question)].concat()),
                Step::Await(ends.clone()),
                Step::Send(last),
            ]
        });
        let upstream = Scripted::start(move |request: &Arrived| match method(request) {
            "" | "notifications/progress" | "notifications/roots/list_changed" => {
                hears.lock().unwrap().push(request.body.clone());
                vec![Step::Send(http(202, "text/plain", b""))]
            }
            _ => rest(request),
        });
        let config = config(&format!("  up: {{ http: \"{}\" }}", upstream.url()));
        let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
        let (mut client, mut other) = (Client::connect(gateway.address), Client::connect(gateway.address));
        let capabilities = json!({"sampling": {}, "roots": {"listChanged": true}});
        let session = initialize_as(&mut client, KEY, "2025-06-18", capabilities);
        let roots = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
        say(&mut other, &session, &roots);
        client.send(call(&session, 5, ""));
        client.stream_head();
        let question = next(&mut client);
        let token = question["params"]["_meta"]["progressToken"].clone();
        assert_eq!(question["params"]["_meta"]["x"], 1);
        assert_eq!(token, question["id"], "a token of the gateway's: {question}");
        let progress = |token: &Value| {
            json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": 0.50, "more": [1]}})
        };
        for unknown in [json!(99), json!("its own"), json!(token.to_string())] {
            say(&mut other, &session, &progress(&unknown));
        }
        // What a client says of itself and its roots concerns those that serve its session; the rest nobody.
        for unheard in ["notifications/initialized", "notifications/x"] {
            say(&mut other, &session, &json!({"jsonrpc": "2.0", "method": unheard}));
        }
        say(&mut other, &session, &progress(&token));
        wait_for("progress", || heard.lock().unwrap().len() == 1);
        assert_eq!(heard.lock().unwrap()[0], progress(&json!("its own")));
        say(&mut other, &session, &roots);
        wait_for("roots", || heard.lock().unwrap().len() == 2);
        assert_eq!(heard.lock().unwrap()[1], roots);
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}});
        say(&mut other, &session, &answer);
        wait_for("the answer", || heard.lock().unwrap().len() == 3);
        say(&mut other, &session, &progress(&token));
        over.open();
        assert_eq!(next(&mut client)["id"], 5);
        assert_eq!(heard.lock().unwrap().len(), 3, "progress after the answer is nobody's");
        assert_lives(&gateway);
    }
}
