//! Secrets that change, go and come back while calls are made.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use strait_tests::gateway::wait_for;

use crate::gateway::*;
use crate::process::*;

const ROTATIONS: usize = 5;

fn with_secret(url: &str, reference: &str) -> String {
    let open = open_to_all(url);
    let plain = format!("http: \"{url}\"");
    open.replace(&plain, &format!("{plain}, credential: {{ bearer: \"{reference}\" }}"))
}

#[test]
fn a_secret_is_rotated_under_load_and_no_request_fails() {
    let folder = Folder::new();
    set(&folder, "crm", "generation-0");
    let accepted = Accepted::default();
    accepted.only("Bearer generation-0");
    let upstream = guarded(&accepted);
    folder.write("config.yaml", with_secret(&upstream.url(), "${secret:crm}"));
    let process = serve(&folder, "config.yaml", &[]);
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (done, answered, address) = (done.clone(), answered.clone(), process.address);
            std::thread::spawn(move || {
                let mut client = strait_tests::Client::connect(address);
                let mut failed = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let answer = call(&mut client, "", "echo", json!({"x": 1}));
                    if !answer["result"].is_object() {
                        failed.push(answer);
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        })
        .collect();
    for generation in 1..=ROTATIONS {
        let before = answered.load(Ordering::SeqCst);
        wait_for("calls with this generation", || answered.load(Ordering::SeqCst) > before + 20);
        set(&folder, "crm", &format!("generation-{generation}"));
        // The gateway has the new one and its upstream does not know it yet: the one before is shown once more.
        let line = format!("Bearer generation-{generation}");
        let shown =
            || upstream.arrived("tools/call").iter().any(|call| call.header("authorization") == Some(&line));
        wait_for("the new secret to be shown", shown);
        let before = answered.load(Ordering::SeqCst);
        wait_for("calls in the overlap", || answered.load(Ordering::SeqCst) > before + 20);
        accepted.only(&line);
    }
    let before = answered.load(Ordering::SeqCst);
    wait_for("calls with the last one", || answered.load(Ordering::SeqCst) > before + 20);
    done.store(true, Ordering::SeqCst);
    let failed: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {}",
        failed.len(),
        answered.load(Ordering::SeqCst),
        failed[0]
    );
    process.wait_for_log("answers 401 to its new credential");
    assert_eq!(process.reload()["rejected"], 0);
    // Nothing but the header has changed: one tools/list per worker that learns, and no new upstream.
    assert_eq!(upstream.arrived("server/discover").len(), 1);
}

#[test]
fn a_credential_that_was_never_good_is_shown_once() {
    let folder = Folder::new();
    set(&folder, "crm", "wrong");
    let accepted = Accepted::default();
    let upstream = guarded(&accepted);
    folder.write("config.yaml", with_secret(&upstream.url(), "${secret:crm}"));
    let process = serve(&folder, "config.yaml", &[]);
    accepted.only("Bearer right");
    let answer = call(&mut process.client(), "", "echo", json!({}));
    assert!(answer["error"].is_object(), "{answer}");
    assert_eq!(upstream.arrived("tools/call").len(), 1);
    assert!(!process.log().contains("new credential"));
}

#[test]
fn a_lost_secret_is_used_on_and_told_of_until_it_is_back() {
    let folder = Folder::new();
    fs::create_dir_all(folder.at("state/secrets")).unwrap();
    folder.write("state/secrets/crm", "one");
    let accepted = Accepted::default();
    accepted.only("Bearer one");
    let upstream = guarded(&accepted);
    folder.write("config.yaml", with_secret(&upstream.url(), "${secret:crm}"));
    let process = serve(&folder, "config.yaml", &[]);
    let works = || call(&mut process.client(), "", "echo", json!({}))["result"].is_object();
    assert!(works());
    for spoilt in [None, Some(""), Some("no\nheader")] {
        match spoilt {
            None => fs::remove_file(folder.at("state/secrets/crm")).unwrap(),
            Some(text) => folder.replace("state/secrets/crm", text),
        }
        process.wait_for_state("rejected");
        assert!(works(), "{spoilt:?}");
        let why = process.reload()["why"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("upstream `up` goes on with the secret it had"), "{why}");
        folder.replace("state/secrets/crm", "one");
        process.wait_for_state("ok");
        assert!(works());
    }
    // Back with another value.
    fs::remove_file(folder.at("state/secrets/crm")).unwrap();
    process.wait_for_state("rejected");
    accepted.only("Bearer two");
    folder.replace("state/secrets/crm", "two");
    wait_for("the other value", works);
}

#[test]
fn a_secret_that_was_never_there_costs_one_upstream_until_it_is_set() {
    let folder = Folder::new();
    let accepted = Accepted::default();
    accepted.only("Bearer late");
    let (guarded, open) = (guarded(&accepted), guarded(&Accepted::default()));
    folder.write(
        "config.yaml",
        config(&format!(
            "upstreams:\n  a: {{ http: \"{}\", credential: {{ bearer: \"${{secret:a}}\" }} }}\n  b: {{ http: \"{}\" }}\n\
             servers:\n  default: {{ path: /mcp, tools: [\"*\"] }}\n\
             policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n",
            guarded.url(),
            open.url()
        )),
    );
    let process = serve(&folder, "config.yaml", &[]);
    assert!(call(&mut process.client(), "", "b__echo", json!({}))["result"].is_object());
    let ready = process.ready();
    let error = ready["upstreams"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("secret `a` not found") && error.contains("strait vault set a"), "{ready}");
    set(&folder, "a", "late");
    wait_for("the upstream", || call(&mut process.client(), "", "a__echo", json!({}))["result"].is_object());
    assert!(call(&mut process.client(), "", "b__echo", json!({}))["result"].is_object());
}
