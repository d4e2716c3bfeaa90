//! What somebody with a token holds between two requests: streams, a session, the state of a call that waits. All of it is theirs alone,
//! and no longer than the token.

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, modern_as, session_stream};
use strait_tests::scripted::{ACCEPTED, event, event_stream, method};
use strait_tests::{Answer, Client, Gate, Scripted, Step, scripted};

use crate::gateway::{ALL, RESOURCE, Site, claims};
use crate::issuer::{Issuer, Pair, now_s};
use crate::process::Folder;

fn staff(issuer: &Issuer) -> String {
    format!("jwt: {{ issuer: \"{}\", skew: 0s, audience: [\"{RESOURCE}\"] }}", issuer.url())
}

/// Streams of each kind, opened with this token, on which nothing is said.
fn streams(site: &Site, token: &str) -> Vec<Client> {
    let mut client = site.client();
    let session = initialize(&mut client, token, "2025-06-18");
    let stream = session_stream(site.address, token, &session);
    let mut listen = site.client();
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    listen.send(modern(token, 7, "subscriptions/listen", wanted));
    assert_eq!(listen.stream_head().status, 200);
    assert!(listen.event().is_some(), "the acknowledgement");
    let mut wire = site.client();
    wire.send(format!(
        "GET /mcp/sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(wire.stream_head().status, 200);
    wire.until_unread(b"\n\n");
    vec![stream, listen, wire]
}

#[test]
fn streams_end_with_the_token_that_they_were_opened_with_although_nothing_is_said() {
    let pair = Pair::es256("es");
    let issuer = Issuer::start(&[&pair]);
    let site = Site::new(&staff(&issuer));
    let until = |seconds: i64| {
        let mut claims = claims(&issuer.url(), "ada");
        claims["exp"] = (now_s() + seconds).into();
        pair.sign(&claims)
    };
    let mut lasting = streams(&site, &until(600));
    // On several connections, so on each of the workers.
    let brief = until(4);
    let brief: Vec<Client> = (0..3).flat_map(|_| streams(&site, &brief)).collect();
    for mut ended in brief {
        let rest = String::from_utf8_lossy(&ended.until_unread(b"0\r\n\r\n")).into_owned();
        assert!(!rest.contains("jsonrpc"), "{rest}");
    }
    // The others are still there to be told of the end.
    site.process.signal("TERM");
    assert_eq!(lasting[1].event().expect("its end").message["result"]["resultType"], "complete");
}

fn status(answer: &Answer) -> (u16, String) {
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[test]
fn a_session_is_its_callers_however_often_the_token_is_renewed_and_nobody_elses() {
    let pair = Pair::es256("es");
    let issuer = Issuer::start(&[&pair]);
    let site = Site::new(&staff(&issuer));
    let token = |subject: &str, id: &str| {
        let mut claims = claims(&issuer.url(), subject);
        claims["jti"] = id.into();
        pair.sign(&claims)
    };
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    // Called as a key is, by another identity.
    let robot = token("robot", "1");
    let mut client = site.client();
    let session = initialize(&mut client, &robot, "2025-06-18");
    let mut says =
        |token: &str| status(&client.roundtrip(legacy(token, &session, 1, "tools/list", json!({})))).0;
    assert_eq!(says(&robot), 200);
    assert_eq!(says(&token("robot", "2")), 200, "a renewed one");
    assert_eq!(says(&token("ada", "3")), 404);
    assert_eq!(says(key.trim()), 404, "the same name from another identity");
    let opened = |token: &str| {
        let stream = format!(
            "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\r\n"
        );
        let mut client = site.client();
        client.send(stream);
        client.stream_head().status
    };
    assert_eq!((opened(&token("ada", "3")), opened(key.trim()), opened(&robot)), (404, 404, 200));
    // Nor at another endpoint, where the token is as good.
    let elsewhere = legacy(&robot, &session, 1, "tools/list", json!({}));
    let elsewhere = String::from_utf8(elsewhere).expect("UTF-8").replacen("POST /mcp ", "POST /other ", 1);
    assert_eq!(site.client().roundtrip(elsewhere).status, 404);
}

/// A server of an older revision that asks something in each call, and answers when it was told.
fn asking() -> Scripted {
    let gate = Gate::default();
    let asked = gate.clone();
    let script = scripted::legacy(move |request| {
        let form = json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "Name?",
            "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}});
        let last = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": {"content": [{"type": "text", "text": "told"}]}});
        vec![
            Step::Send(event_stream()),
            Step::Send(event(&form)),
            Step::Await(asked.clone()),
            Step::Send(event(&last)),
            Step::Close,
        ]
    });
    Scripted::start(move |request| {
        if method(request).is_empty() && request.body.get("id").is_some() {
            gate.open();
            return vec![Step::Send(ACCEPTED.to_vec())];
        }
        script(request)
    })
}

#[test]
fn the_state_of_a_call_that_waits_is_its_callers_at_its_endpoint() {
    let pair = Pair::es256("es");
    let issuer = Issuer::start(&[&pair]);
    let upstream = asking();
    let site = Site::over(upstream, Folder::new(), &staff(&issuer), ALL);
    let token = |subject: &str, id: &str| {
        let mut claims = claims(&issuer.url(), subject);
        claims["jti"] = id.into();
        pair.sign(&claims)
    };
    let call = |path: &str, token: &str, more: Value| {
        let mut params = json!({"name": "echo", "arguments": {"a": 1}});
        params.as_object_mut().expect("params").extend(more.as_object().expect("members").clone());
        let request = modern_as(token, 1, "tools/call", params, json!({"elicitation": {"form": {}}}));
        let request =
            String::from_utf8(request).expect("UTF-8").replacen("POST /mcp ", &format!("POST {path} "), 1);
        site.client().roundtrip(request).messages().last().expect("a message").clone()
    };
    let wanted = call("/mcp", &token("robot", "1"), json!({}))["result"].clone();
    assert_eq!(wanted["resultType"], "input_required", "{wanted}");
    let answers = json!({"inputResponses": {"r1": {"action": "accept", "content": {"name": "x"}}}, "requestState": wanted["requestState"]});
    let key = String::from_utf8(site.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    let refused = |path: &str, token: &str| {
        let said = call(path, token, answers.clone());
        assert_eq!(
            said["error"]["message"], "request: `requestState` belongs to another call",
            "{path}: {said}"
        );
    };
    refused("/mcp", &token("ada", "2"));
    refused("/mcp", key.trim());
    refused("/other", &token("robot", "1"));
    // The call still waits, and its caller may have another token meanwhile.
    let done = call("/mcp", &token("robot", "3"), answers.clone());
    assert_eq!(done["result"]["content"][0]["text"], "told", "{done}");
}
