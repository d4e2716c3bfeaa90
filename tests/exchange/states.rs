//! A modern server's own `requestState` is no business of this gateway: it passes as it is, in both directions, also
//! where several servers stand behind one endpoint.

use serde_json::{Value, json};
use strait_tests::client::post;
use strait_tests::scripted::{Arrived, http};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

use crate::common::{KEY, assert_lives, config};

/// As no JSON library writes it; it begins like one of ours.
const STATE: &str = r#""s1.\u0061\/ é ==""#;

/// A server that wants input, and answers a call that brings this state with its name.
fn server(name: &'static str) -> Scripted {
    Scripted::modern(move |request: &Arrived| {
        let raw = String::from_utf8(request.raw.clone()).unwrap();
        let id = &request.body["id"];
        let body = if raw.contains(STATE) {
            let got = &request.body["params"]["inputResponses"];
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[],"by":"{name}","got":{got}}}}}"#
            )
        } else {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{"k":{{"method":"roots/list"}}}},"requestState":{STATE}}}}}"#
            )
        };
        vec![Step::Send(http(200, "application/json", body.as_bytes()))]
    })
}

fn call(gateway: &Gateway, tool: &str, members: &str) -> String {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}",{members}{meta}}}}}"#
    );
    let bearer = format!("Bearer {KEY}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", tool),
    ];
    let answer = Client::connect(gateway.address).roundtrip(post(&headers, body.as_bytes()));
    String::from_utf8(answer.body).unwrap()
}

fn asks_and_answers(gateway: &Gateway, tool: &str, by: &str) {
    let wanted = call(gateway, tool, "");
    assert!(wanted.contains(&format!(r#""requestState":{STATE}"#)), "{wanted}");
    let answers = format!(r#""inputResponses":{{"k":{{"roots":[]}}}},"requestState":{STATE},"#);
    let done: Value = serde_json::from_str(&call(gateway, tool, &answers)).unwrap();
    assert_eq!(
        done["result"],
        json!({"resultType": "complete", "content": [], "by": by, "got": {"k": {"roots": []}}}),
    );
}

#[test]
fn a_modern_servers_state_passes_unchanged() {
    let upstream = server("up");
    let gateway = Gateway::start(Setup::new(config(&format!("  up: {{ http: \"{}\" }}", upstream.url()))));
    asks_and_answers(&gateway, "echo", "up");
    assert_lives(&gateway);
}

#[test]
fn a_state_goes_to_the_server_of_its_call() {
    let (a, b) = (server("a"), server("b"));
    let upstreams = format!("  a: {{ http: \"{}\" }}\n  b: {{ http: \"{}\" }}", a.url(), b.url());
    let gateway = Gateway::start(Setup::new(config(&upstreams)));
    asks_and_answers(&gateway, "a__echo", "a");
    asks_and_answers(&gateway, "b__echo", "b");
    assert_eq!((a.arrived("tools/call").len(), b.arrived("tools/call").len()), (2, 2));
    assert_lives(&gateway);
}
