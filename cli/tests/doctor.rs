//! `strait doctor` on this machine, and on this machine made worse: few files, io_uring denied, a port
//! taken, an upstream that is not there.

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, strait};
use serde_json::Value;

/// The report of `strait doctor` behind another program, such as one that takes something away first.
fn behind(folder: &Path, before: &[&str], arguments: &[&str]) -> (i32, Value) {
    let strait = env!("CARGO_BIN_EXE_strait");
    let words: Vec<&str> =
        before.iter().chain(&[strait, "doctor", "--json"]).chain(arguments).copied().collect();
    let output = Command::new(words[0]).args(&words[1..]).current_dir(folder).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code().unwrap(), report)
}

fn line<'r>(report: &'r Value, about: &str, contains: &str) -> &'r Value {
    let mut lines = report["lines"].as_array().unwrap().iter();
    let found = lines.find(|l| l["about"] == about && l["found"].as_str().unwrap().contains(contains));
    found.unwrap_or_else(|| panic!("no `{about}` with `{contains}` in {report:#}"))
}

#[test]
fn this_machine_can_run_a_gateway() {
    let folder = Folder::new();
    let told = strait(folder.path(), &["doctor"]);
    assert_eq!(told.code, 0, "{}", told.stdout);
    assert!(told.stdout.ends_with(" 0 to mend\n"), "{}", told.stdout);
    assert!(folder.names().is_empty(), "a doctor changes nothing: {:?}", folder.names());
}

#[test]
fn too_few_files_are_a_failure() {
    let folder = Folder::new();
    let (code, report) = behind(folder.path(), &["prlimit", "--nofile=64:64"], &[]);
    assert_eq!((code, &report["ok"]), (1, &false.into()));
    let files = line(&report, "open files", "64: too few");
    assert!(files["level"] == "fail" && files["fix"].as_str().unwrap().contains("LimitNOFILE="), "{files}");
}

#[test]
fn a_denied_ring_is_told_from_a_missing_one() {
    let folder = Folder::new();
    let deny = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/common/without_io_uring.py");
    let (code, report) = behind(folder.path(), &["python3", deny.to_str().unwrap()], &[]);
    assert_eq!(code, 0, "epoll does: {report:#}");
    let ring = line(&report, "io_uring", "epoll");
    assert!(ring["level"] == "warn" && ring["fix"].as_str().unwrap().contains("seccomp"), "{ring}");
}

#[test]
fn a_configuration_brings_its_addresses_and_upstreams() {
    let folder = Folder::new();
    let (held, free) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (taken, free_port) = (held.local_addr().unwrap().port(), free.local_addr().unwrap().port());
    drop(free);
    let config = format!(
        r#"
strait: 1
listeners: {{ main: {{ bind: "127.0.0.1:{taken}" }} }}
admin: {{ bind: "127.0.0.1:{free_port}" }}
upstreams:
  gone: {{ http: "http://127.0.0.1:1/mcp" }}
  missing: {{ stdio: {{ command: no-such-program }} }}
  here: {{ stdio: {{ command: sh }} }}
servers: {{ default: {{ path: /mcp, tools: ["*"] }} }}
policy: {{ default: deny, rules: [{{ id: all, allow: ["*"] }}] }}
"#
    );
    folder.write("strait.yaml", config);
    let (code, report) = behind(folder.path(), &["env"], &["strait.yaml"]);
    drop(held);
    assert_eq!(code, 1);
    assert_eq!(line(&report, "address", &format!("127.0.0.1:{taken}"))["level"], "fail");
    assert_eq!(line(&report, "address", &format!("127.0.0.1:{free_port} is free"))["level"], "ok");
    assert_eq!(line(&report, "upstream", "`gone`: connect:")["level"], "fail");
    assert_eq!(line(&report, "upstream", "`missing`: process:")["level"], "fail");
    assert_eq!(line(&report, "upstream", "`here`: `/")["level"], "ok");
}
