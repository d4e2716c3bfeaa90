//! What a listener does: versions, names, tickets, renewals, clients' certificates.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use strait_tests::gateway::wait_for;

use crate::authority::Authority;
use crate::process::Folder;
use crate::{call, config, curl, echo, s_client, serve, shown};

const ONE: &str = "{ cert: one.pem, key: one.key }";

#[test]
fn both_versions_work_with_small_and_large_bodies_and_streams_and_older_ones_do_not() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").server(&folder, "one", &["localhost"]);
    let upstream = echo();
    let gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    for version in [&["--tlsv1.3"][..], &["--tlsv1.2", "--tls-max", "1.2"]] {
        for bytes in [1, 400, 16_300, 16_384, 70_000, 3_900_000] {
            let (status, body) =
                curl(&folder, gateway.address, "localhost", version, &call(&"x".repeat(bytes)))
                    .expect("an answer");
            assert_eq!((status, body.len() > bytes), (200, true), "{version:?} {bytes}: {:.300}", body);
        }
        let (_, body) =
            curl(&folder, gateway.address, "localhost", version, &call("stream")).expect("an answer");
        assert_eq!(body.matches("data: ").count(), 2, "{body}");
    }
    let old = s_client(&folder, gateway.address, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], b"");
    assert!(old.contains("SSL alert number") && old.contains("Cipher is (NONE)"), "{old}");
    let (_, metrics) = gateway.ask("/metrics");
    assert!(metrics.contains("strait_tls_handshakes_total{kind=\"full\"} 14\n"), "{metrics}");
    assert!(metrics.contains("strait_tls_handshake_failures_total{cause=\"incompatible\"} 1\n"), "{metrics}");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    ca.server(&folder, "two", &["two.example", "*.two.example"]);
    let upstream = echo();
    let list = "[{ cert: one.pem, key: one.key }, { cert: two.pem, key: two.key }]";
    let gateway = serve(&folder, &config(list, &upstream.url(), ""));
    for (name, expected) in
        [("localhost", "one"), ("two.example", "two"), ("a.two.example", "two"), ("other", "one")]
    {
        let said = s_client(&folder, gateway.address, &["-servername", name], b"");
        assert!(said.contains(&format!("subject=CN = {expected}\n")), "{name}: {said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_ticket_is_as_good_as_a_handshake_on_any_worker() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").server(&folder, "one", &["localhost"]);
    let upstream = echo();
    let gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let first =
            s_client(&folder, gateway.address, &[version, "-ign_eof", "-sess_out", "ticket"], request);
        assert!(first.contains("New, TLSv1"), "{first}");
        for _ in 0..4 {
            let again =
                s_client(&folder, gateway.address, &[version, "-ign_eof", "-sess_in", "ticket"], request);
            assert!(again.contains("Reused, TLSv1"), "{again}");
            assert!(again.contains("HTTP/1.1 404"), "{again}");
        }
    }
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_renewed_certificate_is_served_without_closing_a_connection_and_a_broken_one_is_not() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    let upstream = echo();
    let gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    let serial = || shown(&folder, gateway.address);
    let before = serial();
    let mut open = Command::new("openssl")
        .args(["s_client", "-quiet", "-CAfile", "ca.pem", "-connect", &gateway.address.to_string()])
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run openssl");
    let (mut said, heard) = (open.stdin.take().expect("input"), open.stdout.take().expect("output"));
    let mut heard = BufReader::new(heard);
    let mut ask = || {
        said.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("ask");
        let (mut line, mut length) = (String::new(), 0);
        heard.read_line(&mut line).expect("a status");
        let status = line.clone();
        while line != "\r\n" {
            line.clear();
            heard.read_line(&mut line).expect("a header");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a number");
            }
        }
        heard.read_exact(&mut vec![0; length]).expect("a body");
        status
    };
    assert!(ask().contains("404"));
    ca.server(&folder, "one", &["localhost"]);
    wait_for("the renewed certificate", || serial() != before);
    assert!(ask().contains("404"), "the connection of before");
    let renewed = serial();
    folder.replace("one.pem", "not a certificate");
    gateway.wait_for_log("the certificate from before is served on");
    assert_eq!(serial(), renewed);
    assert!(ask().contains("404"), "the connection of before");
    // Nor does one that is loaded by a signal.
    gateway.hang_up();
    gateway.wait_for_log("holds no certificate in PEM");
    assert_eq!(serial(), renewed);
    drop(said);
    open.kill().expect("end openssl");
    open.wait().expect("its end");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn who_must_show_a_certificate_shows_one_that_is_believed() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    let clients = Authority::new(&folder, "clients");
    clients.client(&folder, "agent", "spiffe://corp/agent/a", false);
    clients.client(&folder, "old", "spiffe://corp/agent/a", true);
    Authority::new(&folder, "strangers").client(&folder, "foreign", "spiffe://corp/agent/a", false);
    let upstream = echo();
    for (auth, without) in [("required", false), ("optional", true)] {
        let tls = format!("{{ cert: one.pem, key: one.key, client_ca: clients.pem, client_auth: {auth} }}");
        let gateway = serve(&folder, &config(&tls, &upstream.url(), ""));
        for (file, expected) in [("agent", true), ("old", false), ("foreign", false), ("", without)] {
            let (cert, key) = (format!("{file}.pem"), format!("{file}.key"));
            let shown = if file.is_empty() { vec![] } else { vec!["--cert", &cert, "--key", &key] };
            let answer = curl(&folder, gateway.address, "localhost", &shown, &call("x"));
            assert_eq!(
                answer.as_ref().is_ok_and(|(status, _)| *status == 200),
                expected,
                "{auth} {file}: {answer:?}"
            );
        }
        gateway.wait_for_log("TLS handshake with 127.0.0.1 failed");
        assert_eq!(gateway.stop(), Some(0));
    }
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start_by_the_names_of_its_files() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    ca.server(&folder, "two", &["localhost"]);
    folder.write("strait.yaml", config("{ cert: one.pem, key: two.key }", "http://127.0.0.1:1/mcp", ""));
    let out = crate::process::strait(&folder.0, &["serve", "strait.yaml", "--state", "state"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success());
    for part in ["listener `main`", "two.key", "does not belong to", "one.pem"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
