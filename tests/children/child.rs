//! The child of these tests as an upstream `kid`, and how to talk to it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy, modern};
use strait_tests::gateway::{assert_no_worker_panicked, scratch_folder};
use strait_tests::{Answer, Client, Gateway, Setup};

pub const KEY: &str = "key-full";
pub const ERAS: [&str; 2] = ["modern", "legacy"];
/// `first_byte` of every `kid`, where a test waits for it.
pub const SHORT: &str = ", timeout: { first_byte: 1s }";

/// The script, in a folder of its own.
pub struct Script {
    folder: PathBuf,
}

impl Script {
    pub fn write() -> Script {
        let folder = scratch_folder();
        std::fs::write(folder.join("child.py"), include_str!("child.py")).expect("write the script");
        Script { folder }
    }

    /// The upstream `kid` as a line of a config; `stdio` and `more` are further members, each after a comma.
    pub fn kid(&self, era: &str, stdio: &str, more: &str) -> String {
        let (script, flag) = (self.path(), self.flag());
        format!(
            "  kid: {{ stdio: {{ command: python3, args: [\"{}\", {era}, \"{}\"]{stdio} }}{more} }}",
            script.display(),
            flag.display()
        )
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("child.py")
    }

    /// While this file exists, children exit at once.
    pub fn flag(&self) -> PathBuf {
        self.folder.join("exit-at-once")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A config with these upstreams, everything for everyone.
pub fn config(upstreams: &str) -> String {
    format!(
        r#"
upstreams:
{upstreams}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"], naming: bare }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ all: '"full" in principal.groups || "small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [all] }}
"#
    )
}

/// Runs a test for a child of each era, owned by the worker that accepts and by the other one.
pub fn everywhere(stdio: &str, more: &str, test: impl Fn(&Gateway, &str)) {
    let script = Script::write();
    for era in ERAS {
        for force_wrong_worker in [false, true] {
            println!("era {era}, force_wrong_worker {force_wrong_worker}");
            let config = config(&script.kid(era, stdio, more));
            let gateway = Gateway::start(Setup { force_wrong_worker, ..Setup::new(config) });
            assert_eq!(gateway.learning_fault(0), None);
            test(&gateway, era);
            drop(gateway);
        }
    }
}

/// A call of the child's tool, in 2026-07-28.
pub fn doing(id: i64, arguments: Value) -> Vec<u8> {
    doing_as(KEY, id, arguments)
}

pub fn doing_as(key: &str, id: i64, arguments: Value) -> Vec<u8> {
    modern(key, id, "tools/call", json!({"name": "do", "arguments": arguments}))
}

/// Calls on a connection of its own.
pub fn ask(gateway: &Gateway, id: i64, arguments: Value) -> Answer {
    Client::connect(gateway.address).roundtrip(doing(id, arguments))
}

/// The text of the answer to `id`; fails when there is none.
pub fn said(answer: &Answer, id: i64) -> String {
    assert_eq!(answer.status, 200, "{:?}", String::from_utf8_lossy(&answer.body));
    assert!(!answer.cut_short);
    let messages = answer.messages();
    let last = messages.last().expect("a message");
    assert_eq!(last["id"], id, "{last}");
    let text = last["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text in {last}")).to_owned()
}

/// The message of an upstream's fault, which names the upstream and carries the request's id.
pub fn fault(answer: &Answer, id: i64) -> String {
    let (code, message) = answer.error();
    assert_eq!(answer.json()["id"], id);
    assert_eq!(code, -32603, "{message}");
    assert!(message.starts_with("upstream `kid`: "), "{message}");
    assert!(!answer.cut_short);
    message
}

/// Lists and calls work, for clients of both eras.
pub fn assert_serves(gateway: &Gateway) {
    let mut client = Client::connect(gateway.address);
    let hello = json!({"text": "hé\u{2028}\n", "number": 1});
    let same = |text: String| serde_json::from_str::<Value>(&text).expect("JSON") == hello;
    assert!(same(said(&client.roundtrip(doing(1, hello.clone())), 1)));
    let list = client.roundtrip(modern(KEY, 2, "tools/list", json!({}))).json();
    assert_eq!(list["result"]["tools"][0]["name"], "do", "{list}");
    let session = initialize(&mut client, KEY, "2025-11-25");
    let params = json!({"name": "do", "arguments": hello});
    assert!(same(said(&client.roundtrip(legacy(KEY, &session, 3, "tools/call", params)), 3)));
    let list = client.roundtrip(legacy(KEY, &session, 4, "tools/list", json!({}))).json();
    assert_eq!(list["result"]["tools"][0]["name"], "do", "{list}");
    assert_no_worker_panicked();
}

/// Waits until calls work again: a child that ended is not restarted at once.
pub fn assert_recovers(gateway: &Gateway) {
    strait_tests::gateway::wait_for("the child to be back", || {
        std::thread::sleep(Duration::from_millis(20));
        ask(gateway, 90, json!({"do": "pid"})).json()["result"].is_object()
    });
    assert_serves(gateway);
}

pub fn pid(gateway: &Gateway) -> u32 {
    said(&ask(gateway, 91, json!({"do": "pid"})), 91).parse().expect("a pid")
}

/// Neither running nor a zombie.
pub fn is_gone(pid: u32) -> bool {
    !PathBuf::from(format!("/proc/{pid}")).exists()
}
