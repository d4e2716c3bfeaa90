//! Upgrades in a row under a constant rate of calls, with clients that connect anew for every call, clients that keep
//! their connection, sessions and open streams.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use strait_tests::client::{initialize, legacy};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Answer, Client, Scripted};

use crate::process::*;
use crate::{Successor, is_running, serve_on, upgrade};

const UPGRADES: usize = 3;
const RATE: u32 = 150;
const SECONDS: u32 = 12;
/// Calls that a client makes on a connection before it makes another one.
const CALLS_PER_CONNECTION: [usize; 4] = [1, 1, 2, 50];

#[test]
fn on_io_uring() {
    under_load("io_uring");
}

#[test]
fn on_epoll() {
    under_load("epoll");
}

fn under_load(driver: &str) {
    let (folder, upstream) = (Folder::new(), Scripted::modern(|request| json_reply(&echoed(request))));
    folder.write("strait.yaml", open_to_all(&upstream.url()));
    let process = serve_on(&folder, driver);
    let url = format!("http://{}/mcp", process.address);
    let load = |era: &str| {
        Command::new(binary())
            .args(["load", &url, "--era", era, "--tool", "echo", "--connections", "8", "--json"])
            .args(["--rate", &RATE.to_string(), "--duration", &format!("{SECONDS}s"), "--timeout", "20s"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start strait load")
    };
    let loads = [load("modern"), load("legacy")];
    let mut client = process.client();
    let session = initialize(&mut client, "", "2025-11-25");
    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut last: Vec<Successor> = Vec::new();
    let mut begun = vec![session];
    std::thread::scope(|scope| {
        for (number, per_connection) in CALLS_PER_CONNECTION.into_iter().enumerate() {
            let (process, done, calls, session) = (&process, &done, &calls, begun[0].clone());
            scope.spawn(move || {
                let session = (number % 2 == 1).then_some(session);
                while !done.load(Ordering::SeqCst) {
                    calls.fetch_add(several(process, session.as_deref(), per_connection), Ordering::SeqCst);
                }
            });
        }
        for _ in 0..UPGRADES {
            let before = calls.load(Ordering::SeqCst);
            wait_for("some calls", || calls.load(Ordering::SeqCst) > before + 50);
            let mut stream = open_stream(&process, &begun[0]);
            let pid = last.last().map_or(process.pid(), |successor| successor.0);
            last.push(upgrade(&process, pid));
            // The stream of a session ends as streams do that are whole; it named a pause before its client may come again.
            let rest = stream.until_unread(b"0\r\n\r\n");
            let rest = String::from_utf8_lossy(&rest).into_owned();
            assert!(!rest.contains("error"), "{rest}");
            wait_for("the one before to end", || !is_running(pid));
            begun.push(initialize(&mut process.client(), "", "2025-11-25"));
        }
        wait_for("the last calls", || calls.load(Ordering::SeqCst) > 300);
        done.store(true, Ordering::SeqCst);
    });
    for load in loads {
        let out = load.wait_with_output().expect("the load ends");
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        let report: Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
        let expected = u64::from(RATE * SECONDS);
        assert_eq!(report["failed"], 0, "{report:#}");
        assert_eq!(
            (report["not_sent"].as_u64(), report["succeeded"].as_u64()),
            (Some(0), Some(expected)),
            "{report:#}"
        );
    }
    // Of every process there was.
    for session in &begun {
        let listed = process.client().roundtrip(legacy("", session, 1, "tools/list", json!({})));
        assert_eq!(listed.status, 200, "{}", String::from_utf8_lossy(&listed.body));
    }
    println!(
        "{driver}: {} calls of our own beside the load, {UPGRADES} upgrades",
        calls.load(Ordering::SeqCst)
    );
    let pid = last.last().expect("a successor").0;
    signal(pid, "TERM");
    wait_for("the last one to end", || !is_running(pid));
}

/// A connection with so many calls, or fewer when it is told to close; none of them may fail.
fn several(process: &Process, session: Option<&str>, most: usize) -> u64 {
    let mut client = match TcpStream::connect(process.address) {
        Ok(stream) => Client::of(stream),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => panic!("refused"),
        Err(error) => panic!("connect: {error}"),
    };
    for number in 1..=most as u64 {
        let params = json!({"name": "echo", "arguments": {"n": number}});
        client.send(match session {
            Some(session) => legacy("", session, 3, "tools/call", params),
            None => modern("", 3, "tools/call", params),
        });
        let answer = client.answer();
        assert!(!client.reset, "reset at call {number}");
        let answer: Answer = answer.unwrap_or_else(|| panic!("closed under call {number}"));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 200 && body.contains("\"result\""), "{}: {body}", answer.status);
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return number;
        }
    }
    most as u64
}

/// The session's stream, whose first event names a pause.
fn open_stream(process: &Process, session: &str) -> Client {
    let mut client = process.client();
    client.send(format!(
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\
         MCP-Protocol-Version: 2025-11-25\r\n\r\n"
    ));
    client.until_unread(b"retry: ");
    client
}
