//! Clients of the older revisions whose gateway is killed and started again: their sessions go on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Answer, Scripted};

use crate::process::*;

fn ask(process: &Process, session: &str, method: &str, params: Value) -> Answer {
    process.client().roundtrip(legacy("", session, 1, method, params))
}

/// The file of this ending in the folder of sessions.
fn file(folder: &Folder, ending: &str) -> std::path::PathBuf {
    let entries = fs::read_dir(folder.at("state/sessions")).expect("a folder").flatten();
    let mut found = entries.map(|entry| entry.path());
    found.find(|path| path.extension().is_some_and(|e| e == ending)).expect("the file")
}

#[test]
fn sessions_survive_a_gateway_that_was_killed() {
    let (folder, upstream) = (Folder::new(), Scripted::legacy(|request| json_reply(&echoed(request))));
    folder.write("strait.yaml", open_to_all(&upstream.url()));
    let mut process = Process::start(&folder, &["up", "strait.yaml"]);
    let mut client = process.client();
    let [session, ended] = std::array::from_fn(|_| initialize(&mut client, "", "2025-11-25"));
    let call = || json!({"name": "echo", "arguments": {"a": 1}});
    assert_eq!(ask(&process, &session, "tools/call", call()).status, 200);
    let delete = format!("DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nMcp-Session-Id: {ended}\r\n\r\n");
    assert_eq!(client.roundtrip(delete).status, 204);
    let path = file(&folder, "ended");
    wait_for("its end to be written down", || fs::read_to_string(&path).unwrap().lines().count() == 1);
    assert_eq!(fs::metadata(file(&folder, "key")).unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..2 {
        process.kill();
        process = Process::start(&folder, &["up", "strait.yaml"]);
        let before = upstream.arrived("initialize").len();
        let listed = ask(&process, &session, "tools/list", json!({}));
        assert_eq!(listed.status, 200, "{:?}", String::from_utf8_lossy(&listed.body));
        assert!(listed.json()["result"]["tools"].is_array());
        let called = ask(&process, &session, "tools/call", call());
        assert_eq!(called.json()["result"]["content"][0]["text"], r#"{"a":1}"#);
        assert!(upstream.arrived("initialize").len() > before, "a new session behind its back");
        assert_eq!(ask(&process, &ended, "tools/list", json!({})).status, 404);
    }
    // Another file, another gateway; and one that has lost its key knows nobody.
    process.kill();
    folder.write("other.yaml", open_to_all(&upstream.url()));
    let other = Process::start(&folder, &["up", "other.yaml"]);
    assert_eq!(ask(&other, &session, "tools/list", json!({})).status, 404);
    drop(other);
    fs::remove_dir_all(folder.at("state/sessions")).unwrap();
    let process = Process::start(&folder, &["up", "strait.yaml"]);
    assert_eq!(ask(&process, &session, "tools/list", json!({})).status, 404);
}
