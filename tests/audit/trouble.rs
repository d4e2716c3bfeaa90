//! A log that cannot be written: the gateway says so, and does with exchanges what it was told.
//!
//! The log lies on a file system of its own, which is full after a megabyte and is made larger later. It is mounted where only the
//! gateway sees it: without root, in a user namespace; where neither is allowed, these tests say so and do nothing.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;

use crate::folder::*;
use crate::process::{Folder, Process, binary, strait};

/// A gateway whose log has so little room.
struct Cramped {
    process: Process,
}

impl Cramped {
    fn serve(folder: &Folder, config: &str) -> Option<Cramped> {
        folder.write("strait.yaml", config);
        let out = strait(&folder.0, &["check", "strait.yaml"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::create_dir(folder.at("audit")).expect("make the folder");
        let apart = apart();
        let mut works = Command::new("unshare");
        works.args(&apart).args(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "audit"]);
        works.current_dir(&folder.0).stdout(Stdio::null()).stderr(Stdio::null());
        if !works.status().is_ok_and(|status| status.success()) {
            eprintln!("no file system can be mounted here, not even in a namespace: nothing is tested");
            return None;
        }
        let (log, driver) =
            (folder.at("log"), std::env::var("STRAIT_DRIVER").unwrap_or_else(|_| "auto".to_owned()));
        let file = File::create(&log).expect("make the log");
        let script = format!(
            "mount -t tmpfs -o size=1m tmpfs audit && exec {} serve strait.yaml --state state --workers 1 --driver {driver}",
            binary().display()
        );
        let child = Command::new("unshare")
            .args(&apart)
            .args(["sh", "-c", &script])
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone"))
            .stderr(file)
            .spawn()
            .expect("start strait");
        Some(Cramped { process: Process::opened(child, log) })
    }

    /// From now on there is room.
    fn grow(&self, folder: &Folder) {
        let pid = self.process.pid().to_string();
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &pid, "-m"]);
        if !is_root() {
            enter.args(["-U", "--preserve-credentials"]);
        }
        let at = folder.at("audit");
        let status = enter.args(["mount", "-o", "remount,size=64m"]).arg(at).status().expect("nsenter");
        assert!(status.success());
    }

    /// The records, as the gateway sees them.
    fn copy_out(&self, folder: &Folder, to: &Folder) {
        let seen = PathBuf::from(format!("/proc/{}/root{}/audit", self.process.pid(), folder.0.display()));
        let status = Command::new("cp").arg("-r").arg(seen).arg(to.at("audit")).status().expect("cp");
        assert!(status.success());
    }

    /// Calls until the disk is full.
    fn fill(&self) {
        let mut client = self.process.client();
        wait_for("the disk to be full", || {
            client.roundtrip(large());
            metric(&self.process, "strait_audit_failing") == 1
        });
        let (status, body) = self.process.ask("/readyz");
        let ready: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (status, &ready["ready"], &ready["audit"]["state"]),
            (503, &json!(false), &json!("failing")),
            "{body}"
        );
        assert!(ready["audit"]["why"].as_str().unwrap().contains("No space left"), "{body}");
        self.process.wait_for_log("No space left");
    }

    fn recovers(&self, folder: &Folder) {
        self.grow(folder);
        wait_for("the disk to take records again", || self.process.ask("/readyz").0 == 200);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn apart() -> Vec<&'static str> {
    if is_root() { vec!["--mount"] } else { vec!["--user", "--map-root-user", "--mount"] }
}

/// A call whose payloads are 50 KB together, and whose answer is sent in one piece.
fn large() -> Vec<u8> {
    modern("", 1, "tools/call", json!({"name": "echo", "arguments": {"text": "x".repeat(25_000)}}))
}

#[test]
fn a_full_disk_refuses_what_it_cannot_record_and_says_so() {
    let (folder, upstream) = (Folder::new(), echo());
    let config = audited(&upstream.url(), ", payload: full, when_full: refuse");
    let Some(cramped) = Cramped::serve(&folder, &config) else { return };
    cramped.fill();
    let called = upstream.arrived("tools/call").len();
    let answer = cramped.process.client().roundtrip(call("not now"));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.json()["error"]["data"]["reason"] == "unrecorded", "{answer:?}");
    assert_eq!(upstream.arrived("tools/call").len(), called, "the call was not made");
    cramped.recovers(&folder);
    assert!(cramped.process.client().roundtrip(call("now")).json()["result"].is_object());
    let kept = Folder::new();
    wait_for("the record of the last call", || {
        let _ = std::fs::remove_dir_all(kept.at("audit"));
        cramped.copy_out(&folder, &kept);
        records(&kept).iter().any(|record| {
            record["tool"] == "up.echo"
                && record["status"] == 200
                && record["n"].as_u64() > Some(called as u64)
        })
    });
    let refused = of_kind(&records(&kept), "exchange")
        .into_iter()
        .filter(|record| record["refused"] == "unrecorded")
        .count();
    assert!(refused >= 1, "a refusal is recorded when the disk is back");
    assert!(of_kind(&records(&kept), "gap").is_empty());
    assert_eq!(cramped.process.stop(), Some(0));
}

#[test]
fn a_full_disk_may_be_gone_past_and_the_log_tells_how_much_is_missing() {
    let (folder, upstream) = (Folder::new(), echo());
    let config = audited(&upstream.url(), ", payload: full, when_full: drop");
    let Some(cramped) = Cramped::serve(&folder, &config) else { return };
    cramped.fill();
    let mut client = cramped.process.client();
    wait_for("the ring to be full", || {
        assert!(client.roundtrip(large()).json()["result"].is_object(), "calls go on");
        metric(&cramped.process, "strait_audit_records_dropped_total") > 3
    });
    let lost = metric(&cramped.process, "strait_audit_records_dropped_total");
    cramped.recovers(&folder);
    client.roundtrip(call("after"));
    let kept = Folder::new();
    let gap = || {
        let _ = std::fs::remove_dir_all(kept.at("audit"));
        cramped.copy_out(&folder, &kept);
        let gaps = of_kind(&records(&kept), "gap");
        let missing = |gap: &Value| gap["to"].as_u64().unwrap() + 1 - gap["from"].as_u64().unwrap();
        gaps.iter().map(missing).sum::<u64>()
    };
    wait_for("the gap to be told", || gap() == lost);
    assert_eq!(cramped.process.stop(), Some(0));
}

#[test]
fn a_full_disk_may_be_waited_for() {
    let (folder, upstream) = (Folder::new(), echo());
    let config = audited(&upstream.url(), ", payload: full, durability: durable");
    let Some(cramped) = Cramped::serve(&folder, &config) else { return };
    // The call that does not fit is not answered: nobody must wait for it here.
    let mut client = cramped.process.client();
    wait_for("the disk to be full", || {
        client.send(large());
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if !client.peek(Duration::from_millis(50)).is_empty() {
                client.answer();
                return false;
            }
            if metric(&cramped.process, "strait_audit_failing") == 1 {
                return true;
            }
        }
        panic!("neither an answer nor a full disk");
    });
    assert_eq!(cramped.process.ask("/readyz").0, 503);
    assert!(client.peek(Duration::from_millis(100)).is_empty(), "it was answered");
    cramped.recovers(&folder);
    assert!(client.answer().expect("an answer").json()["result"].is_object());
    assert_eq!(cramped.process.stop(), Some(0));
}

#[test]
fn any_number_of_names_that_nobody_has_heard_of_costs_no_memory() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ""));
    let round = |from: usize| {
        let mut client = process.client();
        for n in from..from + 10_000 {
            let params = json!({"name": format!("tool-that-is-not-there-{n}"), "arguments": {}});
            client.roundtrip(modern("", n as i64, "tools/call", params));
        }
    };
    round(0);
    let before = process.resident_kib();
    round(10_000);
    round(20_000);
    let grown = process.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for 20,000 names");
    assert!(!process.ask("/metrics").1.contains("tool-that-is-not"), "a name has a series of its own");
    assert_eq!(process.stop(), Some(0));
    assert_eq!(of_kind(&records(&folder), "exchange").len(), 30_000);
    for (file, bytes) in files(&folder.at("audit")) {
        assert!(!bytes.windows(16).any(|part| part == b"tool-that-is-not"), "{}", file.display());
    }
}
