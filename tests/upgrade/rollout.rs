//! What operators did before an upgrade holds after it: the generation that was applied, the history, the ways in. A trial ends
//! with the process that held it, and the history says so. Who has not come to serve has taken nothing.

use std::net::TcpListener;

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

/// An upstream that hangs keeps a successor from serving for seconds: for so long the one before is asked, and answers.
#[test]
fn who_has_not_come_to_serve_takes_nothing_and_nothing_is_promised_in_its_stead() {
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let with_silent = |text: String| {
        let line =
            format!("upstreams:\n  silent: {{ http: \"http://{}/mcp\" }}\n", silent.local_addr().unwrap());
        text.replacen("upstreams:\n", &line, 1)
    };
    folder.write("strait.yaml", with_silent(open_to_all(&upstream.url())));
    folder.write("fewer.yaml", with_silent(open_but_for(&upstream.url(), "secret")));
    let process = serve_on(&folder, "io_uring");
    let first = process.generation();
    let tried = json_of(&folder, &["apply", "fewer.yaml", "--canary", "header=X-Canary:yes"]);
    assert_eq!(tried["trial"], "canary");
    let pid = process.pid();
    process.signal("USR2");
    let mut rising = 0;
    wait_for("a successor that starts", || {
        rising = child_of(pid).unwrap_or_default();
        rising != 0
    });
    // It inherited the admin listener; who serves answers there.
    for _ in 0..10 {
        assert_eq!(process.ask("/readyz").0, 200);
    }
    assert_eq!(json_of(&folder, &["status"])["gateway"]["generation"], json!(first));
    let refused = strait(&folder.0, &["apply", "fewer.yaml", "--state", "state"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{told}");
    assert!(told.contains("another process is taking this one's place"), "{told}");
    // The trial has an end that can be read.
    let history = json_of(&folder, &["history"]);
    assert_eq!(history["entries"][0]["outcome"], json!("rolled_back"), "{history:#}");
    assert!(history["entries"][0]["why"].as_str().unwrap().contains("upgrade"), "{history:#}");

    signal(rising, "KILL");
    wait_for("it to have failed", || process.ready()["upgrade"]["state"] == "failed");
    json_of(&folder, &["apply", "fewer.yaml"]);
    assert_ne!(process.generation(), first);
    assert_eq!(json_of(&folder, &["rollback"])["to"], json!(first));
    assert_eq!(process.stop(), Some(0));
}

fn child_of(pid: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.collect::<Vec<_>>().join(" ").split_whitespace().next()?.parse().ok()
}

fn json_of(folder: &Folder, arguments: &[&str]) -> Value {
    let ran = strait(&folder.0, &[arguments, &["--state", "state", "--json"]].concat());
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{arguments:?}: {told}");
    serde_json::from_slice(&ran.stdout).expect("JSON")
}
