//! Tokens of callers and of the gateway where nobody may meet them: on streams of each kind, in what a shadow has found, in every word
//! of the gateway about itself.

use std::io::{Read, Write};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern, post_to, session_stream};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, event, event_stream};
use strait_tests::{Client, Scripted, Step};

use crate::bad::{files_below, has_none};
use crate::exchanges::Site;
use crate::gateway::*;
use crate::process::strait;

/// An upstream that says something on the way.
fn streaming() -> Scripted {
    Scripted::modern(|request| {
        let token = &request.body["params"]["_meta"]["progressToken"];
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1}});
        vec![
            Step::Send(event_stream()),
            Step::Send(event(&progress)),
            Step::Send(event(&echoed(request))),
            Step::Close,
        ]
    })
}

fn operator(site: &Site, path: &str) -> String {
    let token = String::from_utf8(site.folder.read("state/admin.token")).unwrap();
    let mut stream = std::net::TcpStream::connect(site.process.admin).expect("connect");
    let (token, end) = (token.trim(), "Connection: close\r\n\r\n");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{end}")
        .expect("ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn no_stream_no_shadow_and_no_report_has_a_token() {
    let upstream = streaming();
    let url = upstream.url();
    let site = Site::start(
        &format!(
            "  up: {{ http: \"{url}?up\", credential: {{ EXCHANGE }}, identity_header: {{ name: X-Who, key: \"${{secret:identity}}\" }} }}\n"
        ),
        |form, _| match form.get("subject_token") {
            None => token("kanarie-own", 3600),
            Some(_) if form.get("actor_token") == Some("kanarie-own") => token("kanarie-for-a-caller", 3600),
            Some(_) => says(400, &json!({"error": "invalid_request", "error_description": "kanarie"})),
        },
    );
    let text = String::from_utf8(site.folder.read("strait.yaml")).unwrap();
    site.folder.write("next.yaml", format!("{text}    - {{ id: not-this, deny: [\"up.echo\"] }}\n"));
    let out = strait(&site.folder.0, &["apply", "next.yaml", "--state", "state", "--shadow"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));

    let ada = site.token("ada", 600);
    let mut sinks: Vec<(String, String)> = Vec::new();
    let params =
        |say: &str| json!({"name": "up__echo", "arguments": {"say": say}, "_meta": {"progressToken": "p"}});
    let mut hear = |kind: &str, client: &mut Client| loop {
        let message = client.next_event();
        sinks.push((kind.to_owned(), message.to_string()));
        if message["id"] != Value::Null {
            assert!(message["result"].is_object(), "{kind}: {message}");
            break;
        }
    };
    let mut client = site.process.client();
    client.send(modern(&ada, 1, "tools/call", params("modern")));
    assert_eq!(client.stream_head().status, 200);
    hear("a stream of 2026-07-28", &mut client);

    let mut older = site.process.client();
    let session = initialize(&mut older, &ada, "2025-06-18");
    let mut stands = session_stream(site.process.address, &ada, &session);
    older.send(legacy(&ada, &session, 2, "tools/call", params("legacy")));
    assert_eq!(older.stream_head().status, 200);
    hear("a stream of a session's call", &mut older);

    let (mut wire, mut posts) = (site.process.client(), site.process.client());
    wire.send(format!(
        "GET /mcp/sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer {ada}\r\n\r\n"
    ));
    assert_eq!(wire.stream_head().status, 200);
    let first = String::from_utf8(wire.until_unread(b"\n\n")).unwrap();
    let at = first.lines().find_map(|line| line.strip_prefix("data: ")).expect("a URL").to_owned();
    let bearer = format!("Bearer {ada}");
    let mut say = |message: Value| {
        let bytes = post_to(&at, &[("Authorization", &bearer)], message.to_string().as_bytes());
        assert_eq!(posts.roundtrip(bytes).status, 202);
    };
    let opening = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    say(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}));
    hear("an HTTP+SSE stream", &mut wire);
    say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    say(json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params("sse")}));
    hear("an HTTP+SSE stream", &mut wire);
    // What was refused has words as well.
    site.tokens.give(|_, _| says(400, &json!({"error": "invalid_target", "error_description": "kanarie"})));
    let bob = site.token("bob", 600);
    sinks.push(("a refusal".to_owned(), site.call(&bob).to_string()));
    sinks.push((
        "a session's stream".to_owned(),
        String::from_utf8_lossy(&stands.peek(std::time::Duration::from_millis(50))).into_owned(),
    ));

    wait_for("what the shadow found", || operator(&site, "/admin/trial").contains("not-this"));
    for path in [
        "/admin/trial",
        "/admin/traffic",
        "/admin/config",
        "/admin/rollout",
        "/admin/history",
        "/admin/sessions",
    ] {
        sinks.push((path.to_owned(), operator(&site, path)));
    }
    for path in ["/readyz", "/metrics"] {
        sinks.push((path.to_owned(), site.process.ask(path).1));
    }
    for verb in [&["status", "--json"][..], &["status"], &["history", "--json"]] {
        let out = strait(&site.folder.0, &[verb, &["--state", "state"]].concat());
        sinks
            .push((verb.join(" "), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()));
    }
    sinks.push(("the log".to_owned(), site.process.log()));
    let Site { process, folder, .. } = site;
    process.stop();
    files_below(&folder.0, &mut sinks);
    let parts: Vec<String> =
        [&ada, &bob].iter().flat_map(|one| one.split('.').skip(1)).map(str::to_lowercase).collect();
    let secrets: Vec<&str> = parts.iter().map(String::as_str).chain(["kanarie"]).collect();
    has_none(&sinks, &secrets);
}
