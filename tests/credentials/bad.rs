//! Token endpoints that behave badly: an upstream without a token, with a reason, and nothing else; and no secret anywhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::gateway::*;
use crate::issuer::Script;
use crate::process::{Folder, call};

/// What one says, and what is told of it.
fn bad() -> Vec<(&'static str, Script, &'static str)> {
    let token = |members: Value| {
        let mut body = json!({"access_token": "kanarie-token", "token_type": "Bearer", "expires_in": 3600});
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        Script::Says(says(200, &body))
    };
    let refuses = |status, error: &str| {
        Script::Says(says(status, &json!({"error": error, "error_description": "kanarie-description"})))
    };
    let redirect = (302, "Location: http://127.0.0.1:1/kanarie-place\r\n".to_owned(), Vec::new());
    vec![
        ("hangs", Script::Hangs, "within 3000 ms"),
        ("floods", Script::Floods, "over 65536 bytes"),
        ("redirects", Script::Says(redirect), "answered 302, expected 200"),
        ("garbage", Script::Says((200, String::new(), b"kanarie{{{".to_vec())), "something else than JSON"),
        ("zero", token(json!({"expires_in": 0})), "has ended already"),
        ("negative", token(json!({"expires_in": -5})), "has ended already"),
        ("never", token(json!({"expires_in": "never"})), "no number of seconds"),
        ("mac", token(json!({"token_type": "mac"})), "no bearer token"),
        ("untyped", token(json!({"token_type": null})), "without a `token_type`"),
        ("broken", token(json!({"access_token": "kanarie-a\r\nX-Kanarie: b"})), "no header may have"),
        ("none", token(json!({"access_token": null})), "without an `access_token`"),
        ("grant", refuses(400, "invalid_grant"), "400 (invalid_grant)"),
        ("target", refuses(400, "invalid_target"), "400 (invalid_target)"),
        ("strange", refuses(400, "kanarie error"), "answered 400, expected 200"),
    ]
}

#[test]
fn every_bad_answer_costs_its_own_upstream_alone_and_nothing_leaks() {
    let all = bad();
    let endpoints: Vec<Tokens> = all.iter().map(|_| Tokens::start(|_, _| token("unused", 1))).collect();
    let good = Tokens::start(|_, _| token("kanarie-good", 3600));
    let upstream = guarded(|line| line == "Bearer kanarie-good");
    let folder = Folder::new();
    let url = upstream.url();
    let mut upstreams =
        format!("  good: {{ http: \"{url}?good\", credential: {{ {} }} }}\n", oauth(&good.url()));
    for ((name, script, _), endpoint) in all.iter().zip(&endpoints) {
        endpoint.issuer.says("/token", script.clone());
        upstreams.push_str(&format!(
            "  {name}: {{ http: \"{url}?{name}\", credential: {{ {} }} }}\n",
            oauth(&endpoint.url())
        ));
    }
    let process = serve(&folder, &open(&upstreams));
    let mut client = process.client();
    assert!(call(&mut client, "", "good__echo", json!({}))["result"].is_object());
    for (name, _, expected) in &all {
        process.wait_for_log(&format!("upstream `{name}`: no token"));
        let shown = standing(&process, "tokens", name);
        let error = shown["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected), "{name}: {shown}");
        assert_eq!(standing(&process, "upstreams", name)["state"], "unreachable", "{name}");
    }
    // Nobody else was asked: not upstreams without their token, nor where a redirect leads.
    for method in ["server/discover", "tools/list", "tools/call"] {
        assert!(upstream.arrived(method).iter().all(|one| one.head.contains("?good ")), "{method}");
    }
    process.hang_up();
    process.wait_for_log("SIGHUP");
    let mut sinks = vec![("the log".to_owned(), process.log())];
    for path in ["/readyz", "/metrics"] {
        sinks.push((path.to_owned(), process.ask(path).1));
    }
    process.stop();
    files_below(&folder.0, &mut sinks);
    for (sink, text) in sinks.iter().filter(|(sink, _)| !sink.ends_with("state/secrets/client")) {
        let at = text.to_lowercase().find("kanarie");
        let around = at.map(|at| text[at.saturating_sub(80)..].chars().take(200).collect::<String>());
        assert!(at.is_none(), "{sink} has a secret: {around:?}");
    }
}

fn files_below(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
