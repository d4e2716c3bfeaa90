//! The log belongs to the process: other tables come and go, and it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use strait_tests::gateway::wait_for;

use crate::folder::*;
use crate::process::Folder;

#[test]
fn another_folder_needs_a_restart_and_another_payload_does_not() {
    let (folder, upstream) = (Folder::new(), echo());
    let config = audited(&upstream.url(), "");
    let process = serve(&folder, &config);
    let generation = process.generation();
    folder.replace("strait.yaml", config.replace("./audit", "./elsewhere"));
    process.hang_up();
    process.wait_for_state("rejected");
    let why = process.reload()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("`audit.path` is elsewhere instead of audit"), "{why}");
    folder.replace("strait.yaml", config.replace("path: ./audit", "path: ./audit, payload: full"));
    process.hang_up();
    wait_for("the other generation", || process.generation() != generation);
    process.client().roundtrip(call("after"));
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let call = of_kind(&records, "exchange").pop().unwrap();
    assert_eq!(call["arguments"]["mode"], "full");
    let acts: Vec<(String, String)> = of_kind(&records, "admin")
        .iter()
        .map(|act| {
            (act["act"].as_str().unwrap().to_owned(), act["outcome"].as_str().unwrap_or("").to_owned())
        })
        .collect();
    for act in [("reload", "refused"), ("reload", "adopted"), ("file", "adopted"), ("drain", "")] {
        assert!(acts.contains(&(act.0.to_owned(), act.1.to_owned())), "{act:?}: {acts:?}");
    }
    assert!(!folder.at("elsewhere").exists());
}

#[test]
fn reloads_under_load_lose_no_record() {
    let (folder, upstream) = (Folder::new(), echo());
    let config = audited(&upstream.url(), ", payload: none");
    let process = serve(&folder, &config);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, made, address) = (stop.clone(), made.clone(), process.address);
            std::thread::spawn(move || {
                let mut client = strait_tests::Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    client.roundtrip(call("x"));
                    made.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..6 {
        let before = (process.generation(), made.load(Ordering::SeqCst));
        let more = format!("{config}    - {{ id: more-{round}, deny: [\"up.none{round}\"] }}\n");
        folder.replace("strait.yaml", more);
        process.hang_up();
        wait_for("another generation", || process.generation() != before.0);
        wait_for("some calls under it", || made.load(Ordering::SeqCst) > before.1 + 50);
    }
    stop.store(true, Ordering::SeqCst);
    callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
    assert_eq!(process.stop(), Some(0));
    let records = records(&folder);
    let calls: Vec<_> = records.iter().filter(|record| record["tool"] == json!("up.echo")).collect();
    assert_eq!(calls.len() as u64, made.load(Ordering::SeqCst));
    let mut generations: Vec<&str> = calls.iter().map(|call| call["generation"].as_str().unwrap()).collect();
    generations.dedup();
    generations.sort_unstable();
    generations.dedup();
    assert!(generations.len() >= 6, "{generations:?}");
}
