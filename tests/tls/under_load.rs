//! Certificates that are renewed while `strait load` calls over TLS: nobody notices, and whoever comes anew is shown the new one.

use std::process::{Command, Stdio};

use serde_json::Value;
use strait_tests::gateway::wait_for;

use crate::authority::Authority;
use crate::process::{Folder, binary};
use crate::{config, echo, serve, shown};

const RENEWALS: usize = 4;
const RATE: u32 = 150;
/// Longer than the renewals take.
const SECONDS: u32 = 12;

#[test]
fn renewed_certificates_cost_no_call() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    let upstream = echo();
    let gateway = serve(&folder, &config("{ cert: one.pem, key: one.key }", &upstream.url(), ""));
    let url = format!("https://localhost:{}/mcp", gateway.address.port());
    let load = Command::new(binary())
        .args(["load", &url, "--ca", "ca.pem", "--era", "modern", "--tool", "echo", "--json"])
        .args(["--connections", "8", "--rate", &RATE.to_string(), "--duration", &format!("{SECONDS}s")])
        .args(["--timeout", "20s"])
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start strait load");
    wait_for("calls", || !upstream.arrived("tools/call").is_empty());
    let mut seen = vec![shown(&folder, gateway.address)];
    for _ in 0..RENEWALS {
        ca.server(&folder, "one", &["localhost"]);
        let mut now = String::new();
        wait_for("the new certificate", || {
            now = shown(&folder, gateway.address);
            !seen.contains(&now)
        });
        seen.push(now);
    }
    let out = load.wait_with_output().expect("its end");
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    // 3: the generator was late on a busy machine, which says nothing about certificates. Every call was made and answered.
    assert!(matches!(out.status.code(), Some(0 | 3)), "{told:#}");
    let expected = u64::from(RATE * SECONDS);
    assert_eq!((told["succeeded"].as_u64(), told["failed"].as_u64()), (Some(expected), Some(0)), "{told:#}");
    assert_eq!(told["reconnects"].as_u64(), Some(0), "no connection was closed for it: {told:#}");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn load_believes_only_whom_it_is_told_to() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    Authority::new(&folder, "strangers");
    let clients = Authority::new(&folder, "clients");
    clients.client(&folder, "agent", "spiffe://corp/agent/a", false);
    let upstream = echo();
    let tls = "{ cert: one.pem, key: one.key, client_ca: clients.pem }";
    let gateway = serve(&folder, &config(tls, &upstream.url(), ""));
    let url = format!("https://localhost:{}/mcp", gateway.address.port());
    let load = |arguments: &[&str]| {
        let out = Command::new(binary())
            .args([
                "load",
                &url,
                "--era",
                "modern",
                "--tool",
                "echo",
                "--closed",
                "--requests",
                "50",
                "--timeout",
                "5s",
            ])
            .args(arguments)
            .current_dir(&folder.0)
            .output()
            .expect("run strait load");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let shown = ["--cert", "agent.pem", "--cert-key", "agent.key"];
    assert_eq!(load(&[&["--ca", "ca.pem"], &shown[..]].concat()).0, Some(0));
    for wrong in [&[&["--ca", "strangers.pem"], &shown[..]].concat()[..], &["--ca", "ca.pem"]] {
        let (code, said) = load(wrong);
        assert_eq!(code, Some(4), "{wrong:?}: {said}");
    }
    let (code, said) = load(&["--ca", "nowhere.pem"]);
    assert!(code == Some(64) && said.contains("nowhere.pem"), "{said}");
    assert_eq!(gateway.stop(), Some(0));
}
