//! What was answered is on the disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use strait_tests::Scripted;
use strait_tests::scripted::{Gate, Step, echoed, json_reply, modern, tools};

use crate::folder::*;
use crate::process::Folder;

#[test]
fn every_answered_call_is_in_the_log_after_a_kill() {
    let (folder, upstream) = (Folder::new(), echo());
    let mut process = serve(&folder, &audited(&upstream.url(), ", payload: full, durability: durable"));
    let (answered, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (address, done) = (process.address, Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (answered, stop, done) = (answered.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || {
                let mut client = strait_tests::Client::connect(address);
                for round in 0.. {
                    let text = format!("call-{caller}-{round}");
                    // The gateway is killed under it: the last request may have no answer, or no whole one.
                    let request = call(&text);
                    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        client.roundtrip(request).json()
                    }));
                    match answer {
                        Ok(answer) if answer["result"].is_object() => answered.lock().unwrap().push(text),
                        _ => return,
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                }
            })
        })
        .collect();
    strait_tests::gateway::wait_for("some calls", || done.load(Ordering::SeqCst) > 400);
    process.kill();
    stop.store(true, Ordering::SeqCst);
    callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
    // It starts again, and says what it found.
    let second = again(&folder);
    assert_eq!(second.stop(), Some(0));
    let kept: std::collections::HashSet<String> = payloads(&folder)
        .into_iter()
        .filter(|(_, which, _)| which == "arguments")
        .map(|(_, _, bytes)| {
            let arguments: serde_json::Value = serde_json::from_slice(&bytes).expect("arguments");
            arguments["text"].as_str().expect("a text").to_owned()
        })
        .collect();
    let answered = answered.lock().unwrap().clone();
    assert!(answered.len() > 400, "{}", answered.len());
    for text in &answered {
        assert!(kept.contains(text), "{text} was answered and is not in the log");
    }
    assert_eq!(of_kind(&records(&folder), "start").len(), 2);
}

#[test]
fn an_intent_is_on_the_disk_before_the_call_is_made() {
    let (folder, gate) = (Folder::new(), Gate::default());
    let (held, at, found) = (gate.clone(), folder.at("audit"), Arc::new(AtomicU64::new(0)));
    let seen = found.clone();
    let upstream = Scripted::start(modern(tools(), move |request| {
        // The server looks into the log when the call arrives.
        seen.store(of_kind(&records_at(&at), "intent").len() as u64, Ordering::SeqCst);
        let mut steps = vec![Step::Await(held.clone())];
        steps.extend(json_reply(&echoed(request)));
        steps
    }));
    let rules = "    - { id: all, allow: [\"*\"], audit: { durability: intent, payload: full } }\n";
    let mut process = serve(&folder, &with_rules(&upstream.url(), ", every: 50ms", rules));
    let mut client = process.client();
    client.send(call("about to"));
    strait_tests::gateway::wait_for("the call to arrive", || !upstream.arrived("tools/call").is_empty());
    strait_tests::gateway::wait_for("the server to look", || found.load(Ordering::SeqCst) > 0);
    // The upstream has the call, and nobody has an answer: what is about to happen is known all the same.
    process.kill();
    gate.open();
    let second = again(&folder);
    assert_eq!(second.stop(), Some(0));
    let records = records(&folder);
    let intents = of_kind(&records, "intent");
    assert_eq!(intents.len(), 1, "{records:#?}");
    assert_eq!((&intents[0]["tool"], &intents[0]["rule"]), (&json!("up.echo"), &json!("all")));
    let index = records.iter().position(|record| record["kind"] == "intent").unwrap();
    assert_eq!(payload(&folder, index, "arguments").unwrap(), r#"{"text":"about to","n":12}"#);
    assert!(of_kind(&records, "exchange").iter().all(|record| record["tool"] != "up.echo"));
}

#[test]
fn an_intent_is_followed_by_what_came_of_it() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ", durability: intent"));
    process.client().roundtrip(call("x"));
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let kinds: Vec<&str> = records
        .iter()
        .filter(|record| record["tool"] == "up.echo")
        .map(|record| record["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["intent", "exchange"]);
}

#[test]
fn what_nobody_waits_for_is_safe_from_a_kill_and_costs_no_sync() {
    let (folder, upstream) = (Folder::new(), echo());
    let mut process = serve(&folder, &audited(&upstream.url(), ", payload: full, checkpoint: 1h"));
    let mut client = process.client();
    let synced = || metric(&process, "strait_audit_commit_duration_seconds_count");
    // The start itself has something to say, and that is waited for.
    strait_tests::gateway::wait_for("the start", || synced() == 1);
    for round in 0..200 {
        assert!(client.roundtrip(call(&format!("call {round}"))).json()["result"].is_object());
        // As people call: most find the writer with nothing to do.
        if round % 20 == 0 {
            strait_tests::gateway::wait_for("its record", || in_segments(&folder) > round);
        }
    }
    strait_tests::gateway::wait_for("the records", || in_segments(&folder) >= 200);
    assert_eq!(synced(), 1, "nobody waited, and no checkpoint was due");
    process.kill();
    let second = again(&folder);
    assert_eq!(second.stop(), Some(0));
    let kept = payloads(&folder).into_iter().filter(|(_, which, _)| which == "arguments").count();
    assert_eq!(kept, 200);
    assert!(of_kind(&records(&folder), "truncated").is_empty(), "nothing was torn");
}

/// How many exchanges are in the segments, whole.
fn in_segments(folder: &Folder) -> usize {
    of_kind(&records(folder), "exchange").len()
}
