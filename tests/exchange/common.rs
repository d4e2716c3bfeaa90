//! What several files here need.

use serde_json::{Value, json};
use strait_tests::client::modern;
use strait_tests::gateway::assert_no_worker_panicked;
use strait_tests::{Answer, Client, Gateway};

pub const KEY: &str = "key-full";

/// A config whose upstreams are these lines of YAML (as in `up: { http: … }`, two spaces before each),
/// everything for `full`.
pub fn config(upstreams: &str) -> String {
    format!(
        r#"
upstreams:
{upstreams}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full, small] }}
"#
    )
}

/// A call of `echo` with these arguments, in 2026-07-28.
pub fn call(id: i64, arguments: Value) -> Vec<u8> {
    modern(KEY, id, "tools/call", json!({"name": "echo", "arguments": arguments}))
}

/// The gateway lists its tools on a new connection, and none of its tasks has panicked.
pub fn assert_lives(gateway: &Gateway) {
    let answer = Client::connect(gateway.address).roundtrip(modern(KEY, 99, "tools/list", json!({})));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert!(answer.json()["result"]["tools"].is_array(), "{}", text(&answer));
    assert_no_worker_panicked();
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The stable word of a refusal.
pub fn reason(answer: &Answer) -> String {
    answer.messages().last().expect("a message")["error"]["data"]["reason"].as_str().unwrap_or("").to_owned()
}
