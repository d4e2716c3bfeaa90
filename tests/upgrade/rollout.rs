//! What operators did before an upgrade holds after it: the generation that was applied, the history, the ways in. A trial does
//! not outlive the process that held it, as at any restart, and the log says so.

use serde_json::{Value, json};
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};

use crate::process::*;
use crate::{is_running, serve_on, upgrade};

#[test]
fn what_was_applied_and_what_was_written_down_outlive_an_upgrade() {
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    folder.write("strait.yaml", open_to_all(&upstream.url()));
    folder.write("fewer.yaml", open_but_for(&upstream.url(), "secret"));
    let process = serve_on(&folder, "io_uring");
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let first = process.generation();
    json_of(&folder, &["apply", "fewer.yaml", "-m", "before"]);
    let applied = process.generation();
    assert_ne!(applied, first);
    assert_eq!(json_of(&folder, &["rollback", "-m", "and back"])["to"], json!(first));
    json_of(&folder, &["apply", "fewer.yaml", "-m", "for good"]);
    folder.write("third.yaml", open_but_for(&upstream.url(), "slow"));
    let tried = json_of(&folder, &["apply", "third.yaml", "--canary", "header=X-Canary:yes"]);
    assert_eq!(tried["trial"], "canary");

    let pid = process.pid();
    let successor = upgrade(&process, pid);
    wait_for("the one before to end", || !is_running(pid));
    // Through the listener that was handed over, and through the socket in the state folder.
    assert_eq!(process.generation(), applied);
    process.wait_for_tools("", &["echo", "slow"]);
    let status = json_of(&folder, &["status"]);
    assert_eq!(
        (&status["gateway"]["generation"], &status["trial"]["state"]),
        (&json!(applied), &json!("none")),
        "{status:#}"
    );
    let history = json_of(&folder, &["history"]);
    let told = |n: usize| history["entries"][n]["message"].as_str().unwrap_or_default().to_owned();
    let messages: Vec<String> = (0..4).map(told).collect();
    assert!(
        messages.contains(&"for good".to_owned()) && messages.contains(&"and back".to_owned()),
        "{history:#}"
    );
    assert_eq!(history["verified"], json!(true), "{history:#}");
    // And it takes orders.
    assert_eq!(json_of(&folder, &["rollback"])["to"], json!(first));
    process.wait_for_generation(&first);
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    signal(successor.0, "TERM");
    wait_for("the last one to end", || !is_running(successor.0));
}

fn json_of(folder: &Folder, arguments: &[&str]) -> Value {
    let ran = strait(&folder.0, &[arguments, &["--state", "state", "--json"]].concat());
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{arguments:?}: {told}");
    serde_json::from_slice(&ran.stdout).expect("JSON")
}
