//! Connections with TLS that end, or outlive something: callers who leave in the middle, a drain, another process in the gateway's
//! place, a certificate that is renewed for every worker.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use strait_tests::gateway::{PATIENCE, wait_for};
use strait_tests::scripted::{Deed, Gate, echoed, json_reply};
use strait_tests::{Scripted, Step};

use crate::authority::Authority;
use crate::process::{Folder, Process, signal};
use crate::{call, config, curl, s_client, serve};

const ONE: &str = "{ cert: one.pem, key: one.key }";

/// A server that answers `wait` when the gate opens, and says by the channel when a caller of `leave` is given up.
fn held(gate: &Gate) -> (Scripted, Receiver<()>) {
    let (gate, (gone, given_up)) = (gate.clone(), channel());
    let upstream = Scripted::modern(move |arrived| match arrived.argument("text") {
        "wait" => [vec![Step::Await(gate.clone())], json_reply(&echoed(arrived))].concat(),
        "leave" => {
            let gone = gone.clone();
            let until_closed = Deed::step(move |stream| {
                let closed = matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_));
                let _ = closed.then(|| gone.send(()));
                false
            });
            vec![until_closed]
        }
        _ => json_reply(&echoed(arrived)),
    });
    (upstream, given_up)
}

/// A caller that is not waited for.
fn caller(folder: &Folder, gateway: &Process, text: &str) -> Child {
    let port = gateway.address.port();
    Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--cacert",
            "ca.pem",
            "--data-binary",
            &call(text),
        ])
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "--write-out", "\n%{http_code}"])
        .args(["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"])
        .args([
            "-H",
            "MCP-Protocol-Version: 2026-07-28",
            "-H",
            "Mcp-Method: tools/call",
            "-H",
            "Mcp-Name: echo",
        ])
        .arg(format!("https://localhost:{port}/mcp"))
        .current_dir(&folder.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run curl")
}

fn assert_answered(caller: Child) {
    let out = caller.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.ends_with("\n200") && said.contains("wait"),
        "{said} {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn who_leaves_in_the_middle_of_a_call_is_not_waited_for() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").server(&folder, "one", &["localhost"]);
    let (upstream, given_up) = held(&Gate::default());
    let gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    // One is killed, so its socket ends and no word of TLS is said; one says that it has ended.
    let mut killed = caller(&folder, &gateway, "leave");
    wait_for("the call", || upstream.arrived("tools/call").len() == 1);
    killed.kill().expect("kill curl");
    killed.wait().expect("its end");
    given_up.recv_timeout(PATIENCE).expect("the first call is given up");
    let body = call("leave");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = gateway.address.to_string();
    let mut open = Command::new("openssl")
        .args(["s_client", "-quiet", "-no_ign_eof", "-CAfile", "ca.pem", "-connect", &address])
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run openssl");
    let mut input = open.stdin.take().expect("its input");
    input.write_all(request.as_bytes()).expect("ask");
    wait_for("the call", || upstream.arrived("tools/call").len() == 2);
    drop(input);
    open.wait().expect("its end");
    given_up.recv_timeout(PATIENCE).expect("the second call is given up");
    assert_eq!(curl(&folder, gateway.address, "localhost", &[], &call("x")).expect("an answer").0, 200);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_drain_waits_for_calls_on_connections_with_tls() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").server(&folder, "one", &["localhost"]);
    let gate = Gate::default();
    let (upstream, _) = held(&gate);
    let mut gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    let waiting = caller(&folder, &gateway, "wait");
    wait_for("the call", || upstream.arrived("tools/call").len() == 1);
    gateway.signal("TERM");
    wait_for("nobody to be let in", || std::net::TcpStream::connect(gateway.address).is_err());
    gate.open();
    assert_answered(waiting);
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn another_process_takes_over_and_calls_over_tls_end_where_they_began() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").server(&folder, "one", &["localhost"]);
    let gate = Gate::default();
    let (upstream, _) = held(&gate);
    let mut gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    let waiting = caller(&folder, &gateway, "wait");
    wait_for("the call", || upstream.arrived("tools/call").len() == 1);
    gateway.signal("USR2");
    gateway.wait_for_log(" serves from here on");
    let log = gateway.log();
    let start = log.split(" serves from here on").next().expect("a line");
    let successor: u32 = start.rsplit_once(' ').expect("a number").1.parse().expect("a number");
    // Whoever comes now comes to the other one, which has read the certificate itself.
    for _ in 0..8 {
        assert_eq!(curl(&folder, gateway.address, "localhost", &[], &call("x")).expect("an answer").0, 200);
    }
    gate.open();
    assert_answered(waiting);
    assert_eq!(gateway.ended(), Some(0));
    assert_eq!(curl(&folder, gateway.address, "localhost", &[], &call("x")).expect("an answer").0, 200);
    signal(successor, "TERM");
    wait_for("the other one to end", || std::net::TcpStream::connect(gateway.address).is_err());
}

#[test]
fn a_renewed_certificate_is_served_by_every_worker() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    let (upstream, _) = held(&Gate::default());
    // It has two.
    let gateway = serve(&folder, &config(ONE, &upstream.url(), ""));
    let shown = || {
        let said = s_client(&folder, gateway.address, &[], b"");
        let begins = said.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
        said[begins..begins + 400].to_owned()
    };
    let before = shown();
    ca.server(&folder, "one", &["localhost"]);
    wait_for("the renewed certificate", || shown() != before);
    // The kernel chooses the worker: that all of these are one worker's has odds of one to eight million.
    wait_for("both workers to have it", || (0..24).all(|_| shown() != before));
    assert!((0..24).all(|_| shown() != before), "nobody goes back");
    assert_eq!(gateway.stop(), Some(0));
}
