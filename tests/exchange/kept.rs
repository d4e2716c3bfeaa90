//! Sessions of older clients that outlive the gateway: its successor has the same key and knows which of them are over.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use serde_json::{Value, json};
use strait_engine::Kept;
use strait_tests::client::{initialize_as, legacy, post, session_stream};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{self, Arrived, echoed, event, event_stream, json_reply, method};
use strait_tests::{Answer, Client, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config, text};

/// A legacy server that asks under the id `q` before it answers, and takes the answer.
fn upstream() -> Scripted {
    let rest = scripted::legacy(|request| match request.argument("case") {
        "ask" => {
            let question = json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {
                "messages": [], "maxTokens": 1}});
            let last = [event(&echoed(request)), b"0\r\n\r\n".to_vec()].concat();
            vec![Step::Send([event_stream(), event(&question), last].concat())]
        }
        _ => json_reply(&echoed(request)),
    });
    Scripted::start(move |request: &Arrived| match method(request) {
        "" => vec![Step::Send(scripted::ACCEPTED.to_vec())],
        _ => rest(request),
    })
}

fn kept(key: u8, ended: HashSet<u128>) -> Option<Kept> {
    Some(Kept { key: [key; 32], ended, ..Kept::default() })
}

fn start(upstream: &Scripted, setup: impl FnOnce(String) -> Setup) -> Gateway {
    Gateway::start(setup(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))))
}

fn list(gateway: &Gateway, key: &str, session: &str) -> Answer {
    Client::connect(gateway.address).roundtrip(legacy(key, session, 1, "tools/list", json!({})))
}

fn delete(gateway: &Gateway, session: &str) -> u16 {
    let request = format!(
        "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nMcp-Session-Id: {session}\r\n\r\n"
    );
    Client::connect(gateway.address).roundtrip(request).status
}

#[test]
fn a_client_goes_on_with_its_session_after_a_restart() {
    for (force_wrong_worker, workers) in [(false, 2), (false, 1), (false, 3), (true, 2)] {
        println!("wrong worker {force_wrong_worker}, then {workers} workers");
        let upstream = upstream();
        let first = start(&upstream, |config| Setup {
            sessions: kept(1, HashSet::new()),
            force_wrong_worker,
            ..Setup::new(config)
        });
        let mut client = Client::connect(first.address);
        let sessions: Vec<String> =
            (0..4).map(|_| initialize_as(&mut client, KEY, "2025-06-18", json!({"sampling": {}}))).collect();
        assert_eq!(list(&first, KEY, &sessions[0]).status, 200);
        drop(first);
        let second = start(&upstream, |config| Setup {
            sessions: kept(1, HashSet::new()),
            force_wrong_worker,
            workers,
            ..Setup::new(config)
        });
        for session in &sessions {
            let listed = list(&second, KEY, session);
            assert_eq!(listed.status, 200, "{}", text(&listed));
            let before = upstream.arrived("initialize").len();
            let params = json!({"name": "echo", "arguments": {"case": "ask"}});
            let mut client = Client::connect(second.address);
            let answer = client.roundtrip(legacy(KEY, session, 7, "tools/call", params));
            let methods: Vec<Value> = answer.messages().iter().map(|m| m["method"].clone()).collect();
            assert_eq!(methods, [json!("sampling/createMessage"), Value::Null], "{}", text(&answer));
            // The server has a new session, for what the client declared long ago.
            let opened = upstream.arrived("initialize");
            assert_eq!(opened.len(), before + 1);
            assert_eq!(opened[before].body["params"]["capabilities"], json!({"sampling": {}}));
        }
        // What it knows of the lists may be old: it is told so.
        let mut stream = session_stream(second.address, KEY, &sessions[0]);
        let told = stream.event().expect("an event").message;
        assert_eq!(told["method"], "notifications/tools/list_changed");
        drop(stream);
        // The revision is the one that was negotiated.
        let wrong = [
            ("Authorization", "Bearer key-full"),
            ("Mcp-Session-Id", &sessions[0]),
            ("MCP-Protocol-Version", "2025-11-25"),
        ];
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        assert_eq!(Client::connect(second.address).roundtrip(post(&wrong, ping.as_bytes())).status, 400);
        assert_eq!(list(&second, "key-small", &sessions[0]).status, 404, "somebody else's");
        assert_lives(&second);
    }
}

/// A stream that goes on behind this event.
fn resume(gateway: &Gateway, session: &str, after: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.send(format!(
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: {session}\r\nLast-Event-ID: {after}\r\n\r\n"
    ));
    assert_eq!(client.stream_head().status, 200);
    client
}

#[test]
fn what_had_an_id_before_a_restart_is_nothing_else_after_it() {
    let (upstream, mut session) = (upstream(), None);
    // What the client was given in each life of the gateway: ids of events and of a question.
    let (mut events, mut questions) = (Vec::<String>::new(), Vec::<Value>::new());
    for _ in 0..3 {
        let gateway =
            start(&upstream, |config| Setup { sessions: kept(1, HashSet::new()), ..Setup::new(config) });
        let mut client = Client::connect(gateway.address);
        let capabilities = json!({"sampling": {}});
        let session =
            session.get_or_insert_with(|| initialize_as(&mut client, KEY, "2025-06-18", capabilities));
        // Its own stream begins anew, whatever is named of an earlier one: nothing of it is passed over.
        let own = events.iter().map(|id| id.split('-').next().unwrap().parse::<u64>().unwrap());
        for stream in own.filter(|stream| stream % (1 << 20) == 0).chain([0]) {
            if questions.is_empty() {
                continue;
            }
            let mut stream = resume(&gateway, session, &format!("{stream}-1"));
            let told = stream.event().expect("an event");
            assert_eq!(told.message["method"], "notifications/tools/list_changed");
            events.push(told.id.expect("an id"));
            break;
        }
        let params = json!({"name": "echo", "arguments": {"case": "ask"}});
        client.send(legacy(KEY, session, 7, "tools/call", params));
        client.stream_head();
        let question = client.event().expect("a question");
        // What an earlier one was answered is no answer to this one.
        for id in &questions {
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"old": true}}).to_string();
            let headers = [("Authorization", "Bearer key-full"), ("Mcp-Session-Id", session.as_str())];
            assert_eq!(
                Client::connect(gateway.address).roundtrip(post(&headers, answer.as_bytes())).status,
                202
            );
        }
        let id = question.message["id"].clone();
        assert!(id.as_u64().expect("a number") < 1 << 53, "{id}: a double holds it");
        assert!(!questions.contains(&id));
        questions.push(id);
        let answer = client.event().expect("an answer");
        assert_eq!(client.event(), None);
        // Ids of answers that are gone are good for nothing.
        for id in &events {
            if id.split('-').next().unwrap().parse::<u64>().unwrap() % (1 << 20) != 0 {
                assert_eq!(resume(&gateway, session, id).event(), None, "{id}");
            }
        }
        for id in [question.id, answer.id] {
            let id = id.expect("an id");
            assert!(!events.contains(&id), "{id} of {events:?}");
            events.push(id);
        }
        assert_lives(&gateway);
    }
    let answered = upstream.arrived("");
    assert!(answered.iter().all(|answer| answer.body["result"]["old"].is_null()), "{answered:?}");
}

#[test]
fn a_session_that_ended_stays_dead() {
    for force_wrong_worker in [false, true] {
        let upstream = upstream();
        let begin = |ended| {
            start(&upstream, |config| Setup {
                sessions: kept(1, ended),
                force_wrong_worker,
                ..Setup::new(config)
            })
        };
        let first = begin(HashSet::new());
        let mut client = Client::connect(first.address);
        let [ended, later, alive] =
            std::array::from_fn(|_| initialize_as(&mut client, KEY, "2025-06-18", json!({})));
        assert_eq!(delete(&first, &ended), 204);
        assert_eq!(list(&first, KEY, &ended).status, 404);
        wait_for("its end to be told", || first.ended_sessions().len() == 1);
        let remembered = first.ended_sessions();
        drop(first);
        let second = begin(remembered.clone());
        assert_eq!(list(&second, KEY, &ended).status, 404, "ended before");
        assert_eq!(list(&second, KEY, &later).status, 200);
        assert_eq!(delete(&second, &later), 204);
        assert_eq!(list(&second, KEY, &later).status, 404, "ended now");
        assert_eq!(delete(&second, &later), 404);
        let mut client = Client::connect(second.address);
        let young = initialize_as(&mut client, KEY, "2025-06-18", json!({}));
        assert_eq!(delete(&second, &young), 204);
        assert_eq!(list(&second, KEY, &young).status, 404);
        wait_for("their ends to be told", || second.ended_sessions().len() == 2);
        let remembered: HashSet<u128> = remembered.union(&second.ended_sessions()).copied().collect();
        drop(second);
        let third = begin(remembered);
        for dead in [&ended, &later, &young] {
            assert_eq!(list(&third, KEY, dead).status, 404);
        }
        assert_eq!(list(&third, KEY, &alive).status, 200, "after two restarts");
        assert_lives(&third);
    }
}

#[test]
fn a_principal_that_ended_too_many_loses_its_own_sessions_and_nobody_elses() {
    let upstream = upstream();
    let begin = |over| {
        let sessions = Some(Kept { key: [1; 32], over, ..Kept::default() });
        start(&upstream, |config| Setup { sessions, ..Setup::new(config) })
    };
    let first = begin(HashMap::new());
    let mut client = Client::connect(first.address);
    let [ended, left] = std::array::from_fn(|_| initialize_as(&mut client, KEY, "2025-06-18", json!({})));
    let other = initialize_as(&mut client, "key-small", "2025-06-18", json!({}));
    assert_eq!(delete(&first, &ended), 204);
    wait_for("its end to be told", || first.ended_sessions().len() == 1);
    let until = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let over: HashMap<u64, u64> =
        first.ended_principals().into_iter().map(|principal| (principal, until)).collect();
    drop(first);
    let second = begin(over.clone());
    let [ended, gone] = [&ended, &left].map(|session| list(&second, KEY, session).status);
    assert_eq!((ended, gone), (404, 404));
    assert_eq!(list(&second, "key-small", &other).status, 200);
    let mut client = Client::connect(second.address);
    let later = initialize_as(&mut client, KEY, "2025-06-18", json!({}));
    drop(second);
    let third = begin(over);
    assert_eq!(list(&third, KEY, &later).status, 200, "begun since");
    assert_lives(&third);
}

#[test]
fn a_gateway_with_another_key_or_none_knows_no_session_of_before() {
    let upstream = upstream();
    let first = start(&upstream, |config| Setup { sessions: kept(1, HashSet::new()), ..Setup::new(config) });
    let mut client = Client::connect(first.address);
    let session = initialize_as(&mut client, KEY, "2025-06-18", json!({}));
    drop(first);
    for sessions in [kept(2, HashSet::new()), None] {
        let other = start(&upstream, |config| Setup { sessions, ..Setup::new(config) });
        let unknown = list(&other, KEY, &session);
        assert_eq!((unknown.status, unknown.json()["error"]["code"].as_i64()), (404, Some(-32001)));
    }
}
