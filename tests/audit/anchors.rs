//! Checkpoints in other hands: what they show that the log alone does not.

use serde_json::Value;
use strait_tests::gateway::wait_for;

use crate::collectors::*;
use crate::folder::*;
use crate::process::{Folder, Process, strait};

const SECRET: &str = "whsec_a2FuYXJpZW52b2dlbC1rYW5hcmllbnZvZ2Vs";

fn anchored(url: &str, anchors: &str) -> String {
    audited(url, &format!(", checkpoint: 100ms, anchors: [{anchors}]"))
}

fn calls(process: &Process, count: usize) {
    let mut client = process.client();
    for n in 0..count {
        client.roundtrip(call(&format!("call {n}")));
    }
}

/// Until a checkpoint over all of the log is there.
fn anchored_all(process: &Process) {
    wait_for("a checkpoint over all of it", || {
        let all = metric(process, "strait_audit_records_total");
        all > 0 && metric(process, "strait_audit_anchored_records") > all
    });
}

fn verify(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let out = strait(&folder.0, &[&["audit", "verify", "audit"], arguments].concat());
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn a_log_that_was_brought_back_is_found_by_a_checkpoint_kept_elsewhere_and_by_nothing_else() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &anchored(&upstream.url(), "{ file: ./outside, every: 1s }"));
    calls(&process, 5);
    assert_eq!(process.stop(), Some(0));
    // The folder, as somebody copied it.
    let copied =
        std::process::Command::new("cp").arg("-a").arg(folder.at("audit")).arg(folder.at("older")).status();
    assert!(copied.expect("cp").success());
    let process = again(&folder);
    calls(&process, 50);
    anchored_all(&process);
    assert_eq!(process.stop(), Some(0));
    // The newest of the file, as docs/AUDIT.md says it: `tail -n 5`.
    let text = String::from_utf8(folder.read("outside")).expect("UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    folder.write("newest", format!("{}\n", lines[lines.len() - 5..].join("\n")));
    let (code, said) = verify(&folder, &["--checkpoint", "newest"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("outside  it goes on from 1 checkpoint"), "{said}");
    // Whoever brings the older copy back has a log in which everything fits.
    std::fs::rename(folder.at("audit"), folder.at("true")).expect("rename");
    std::fs::rename(folder.at("older"), folder.at("audit")).expect("rename");
    let (code, said) = verify(&folder, &[]);
    assert_eq!(code, Some(0), "alone it is intact: {said}");
    let (code, said) = verify(&folder, &["--checkpoint", "newest"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("DAMAGED"), "{said}");
    // Whoever has the key, too, and writes it on with other records.
    let process = again(&folder);
    calls(&process, 80);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(verify(&folder, &[]).0, Some(0), "alone it is intact");
    let (code, said) = verify(&folder, &["--checkpoint", "newest"]);
    assert_eq!((code, said.contains("DAMAGED")), (Some(1), true), "{said}");
}

#[test]
fn an_anchor_that_was_away_gets_the_newest_and_standard_output_gets_lines() {
    let (folder, upstream, port) = (Folder::new(), echo(), free_port());
    let anchors =
        format!("stdout, {{ webhook: \"http://127.0.0.1:{port}/in\", secret: \"{SECRET}\", every: 1s }}");
    let process = serve(&folder, &anchored(&upstream.url(), &anchors));
    calls(&process, 3);
    wait_for("it to be missed", || metric(&process, "strait_audit_anchor_failures_total") > 0);
    calls(&process, 3);
    let (_, body) = process.ask("/readyz");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let standing = &ready["audit"]["shipping"]["anchors"];
    assert_eq!((&standing[0]["to"], &standing[0]["state"]), (&"stdout".into(), &"ok".into()));
    assert_eq!(standing[1]["state"], "failing");
    wait_for("all of it to be signed", || {
        metric(&process, "strait_audit_checkpoint_records") > metric(&process, "strait_audit_records_total")
    });
    let all = metric(&process, "strait_audit_checkpoint_records");
    // The newest as well: no newer one comes and would go in its place.
    let missed = metric(&process, "strait_audit_anchor_failures_total");
    wait_for("the newest to be missed", || metric(&process, "strait_audit_anchor_failures_total") > missed);
    let hook = Http::at(([127, 0, 0, 1], port).into());
    wait_for("the newest to arrive", || !hook.taken().is_empty());
    let (head, note) = hook.taken().remove(0);
    let id = header(&head, "webhook-id").expect("an id");
    assert!(id.starts_with(&format!("checkpoint-{all}-")), "not one before it: {id}");
    folder.write("newest", &note);
    let line = process.log().lines().find(|line| line.contains("\"checkpoint\"")).expect("a line").to_owned();
    let line: Value = serde_json::from_str(&line).expect("JSON");
    folder.write("first", line["checkpoint"].as_str().unwrap());
    assert_eq!(process.stop(), Some(0));
    let (code, said) = verify(&folder, &["--checkpoint", "newest", "--checkpoint", "first"]);
    assert_eq!(code, Some(0), "{said}");
    // One byte of a record.
    let first = folder.at("audit/entries/00000000000000000000");
    let mut bytes = std::fs::read(&first).expect("read");
    bytes[40] ^= 1;
    std::fs::write(&first, bytes).expect("write");
    assert_eq!(verify(&folder, &["--checkpoint", "newest"]).0, Some(1));
}
