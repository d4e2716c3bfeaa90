//! `Server-Timing`: never, where a request asks for it, or always.

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::client::{modern, post};
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Client, Step};

use crate::process::{Folder, Process, config};

fn gateway(folder: &Folder, url: &str, how: &str) -> Process {
    let rest = format!(
        "telemetry: {{ server_timing: {how} }}\nupstreams:\n  up: {{ http: \"{url}\" }}\n\
         servers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\npolicy: {{ default: allow }}\n"
    );
    folder.write("gateway.yaml", config(&rest));
    Process::serve(folder, "gateway.yaml")
}

/// The header of a call of this tool.
fn timing(client: &mut Client, tool: &str, asks: &str) -> Option<String> {
    let request = modern("", 1, "tools/call", json!({"name": tool, "arguments": {}}));
    let text = String::from_utf8(request).unwrap();
    let (first, rest) = text.split_once("\r\n").unwrap();
    let answer = client.roundtrip(format!("{first}\r\n{asks}{rest}"));
    answer.header("server-timing").map(str::to_owned)
}

/// Words with their milliseconds.
fn parts(text: &str) -> Vec<(&str, f64)> {
    let part = |part| {
        let (word, ms): (&str, &str) = str::split_once(part, ";dur=").expect("a duration");
        (word, ms.parse().expect("a number"))
    };
    text.split(", ").map(part).collect()
}

fn upstream() -> Scripted {
    Scripted::modern(|request| match request.body["params"]["name"].as_str() {
        Some("slow") => vec![
            Step::Send(event_stream()),
            Step::Send(event(&echoed(request))),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ],
        _ => json_reply(&echoed(request)),
    })
}

#[test]
fn it_is_said_to_whoever_asks() {
    let (upstream, folder) = (upstream(), Folder::new());
    let process = gateway(&folder, &upstream.url(), "asked");
    let mut client = process.client();
    assert_eq!(timing(&mut client, "echo", ""), None);
    assert_eq!(timing(&mut client, "echo", "Strait-Server-Timing: ?0\r\n"), None);
    for tool in ["echo", "slow"] {
        let said = timing(&mut client, tool, "strait-server-timing: ?1\r\n").expect("a header");
        let parts = parts(&said);
        let words: Vec<&str> = parts.iter().map(|(word, _)| *word).collect();
        assert_eq!(words, ["gateway", "identify", "decode", "policy", "upstream"], "{said}");
        assert!(parts[4].1 > 0.0, "{said}");
    }
}

#[test]
fn it_is_said_always_also_with_a_refusal() {
    let (upstream, folder) = (upstream(), Folder::new());
    let process = gateway(&folder, &upstream.url(), "always");
    let mut client = process.client();
    for tool in ["echo", "slow", "nowhere"] {
        assert!(timing(&mut client, tool, "").is_some(), "{tool}");
    }
    assert!(client.roundtrip(post(&[], b"{")).header("server-timing").is_some());
}

#[test]
fn it_is_never_said_unless_it_is_configured() {
    let (upstream, folder) = (upstream(), Folder::new());
    let process = gateway(&folder, &upstream.url(), "never");
    assert_eq!(timing(&mut process.client(), "echo", "Strait-Server-Timing: ?1\r\n"), None);
}
