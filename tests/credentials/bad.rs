//! Token endpoints that behave badly: an upstream without a token, with a reason, and nothing else; and no secret anywhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::gateway::*;
use crate::issuer::{Issuer, Pair, Script, now_s};
use crate::process::{Folder, call, config};

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
    has_none(&sinks, &["kanarie"]);
}

#[test]
fn every_bad_answer_to_an_exchange_costs_its_own_call_alone_and_nothing_leaks() {
    let pair = Pair::es256("one");
    let issuer = Issuer::start(&[&pair]);
    let all = bad();
    let endpoints: Vec<Tokens> = all.iter().map(|_| Tokens::start(|_, _| token("unused", 1))).collect();
    let good = Tokens::start(|_, _| token("kanarie-good", 3600));
    let upstream = guarded(|line| line == "Bearer kanarie-good" || line.is_empty());
    let exchange = |endpoint: &Tokens| {
        let more = format!("exchange: {{ actor: none, issuer: \"{}\",", issuer.url());
        oauth(&endpoint.url()).replace("oauth: {", &more)
    };
    let url = upstream.url();
    let mut upstreams =
        format!("  good: {{ http: \"{url}?good\", credential: {{ {} }} }}\n", exchange(&good));
    for ((name, script, _), endpoint) in all.iter().zip(&endpoints) {
        endpoint.issuer.says("/token", script.clone());
        upstreams.push_str(&format!(
            "  {name}: {{ http: \"{url}?{name}\", credential: {{ {} }} }}\n",
            exchange(endpoint)
        ));
    }
    let folder = Folder::new();
    let process = serve(
        &folder,
        &config(&format!(
            "upstreams:\n{upstreams}identity:\n  staff: {{ jwt: {{ issuer: \"{}\", audience: gw }} }}\n\
             servers:\n  default: {{ path: /mcp, auth: [staff], tools: [\"*\"], naming: prefix }}\n\
             policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
            issuer.url()
        )),
    );
    let now = now_s();
    let ada =
        pair.sign(&json!({"iss": issuer.url(), "aud": "gw", "sub": "ada", "iat": now, "exp": now + 600}));
    let mut client = process.client();
    let mut sinks = Vec::new();
    for (name, _, expected) in &all {
        let answer = call(&mut client, &ada, &format!("{name}__echo"), json!({}));
        assert_eq!(answer["error"]["data"]["reason"], "upstream_credential", "{name}: {answer}");
        assert!(
            answer["error"]["message"].as_str().unwrap_or_default().contains(expected),
            "{name}: {answer}"
        );
        sinks.push((format!("the answer of {name}"), answer.to_string()));
        assert!(call(&mut client, &ada, "good__echo", json!({}))["result"].is_object(), "after {name}");
    }
    let calls = upstream.arrived("tools/call");
    assert_eq!(calls.len(), all.len());
    assert!(calls.iter().all(|one| one.head.contains("?good ")), "nobody else was asked");
    sinks.push(("the log".to_owned(), process.log()));
    for path in ["/readyz", "/metrics"] {
        sinks.push((path.to_owned(), process.ask(path).1));
    }
    process.stop();
    files_below(&folder.0, &mut sinks);
    let of_ada: Vec<String> = ada.split('.').map(str::to_lowercase).collect();
    has_none(&sinks, &["kanarie", &of_ada[1], &of_ada[2]]);
}

/// Nothing of it has any of these, but for the files that secrets belong in.
pub fn has_none(sinks: &[(String, String)], secrets: &[&str]) {
    let belongs = ["state/secrets/client", "state/secrets/identity"];
    for (sink, text) in sinks.iter().filter(|(sink, _)| !belongs.iter().any(|file| sink.ends_with(file))) {
        let text = text.to_lowercase();
        for secret in secrets {
            let around = text.find(secret).map(|at| {
                String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(80)..])
                    .chars()
                    .take(200)
                    .collect::<String>()
            });
            assert!(around.is_none(), "{sink} has a secret: {around:?}");
        }
    }
}

pub fn files_below(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
