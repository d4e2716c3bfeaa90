//! Replies without measure: as large as an upstream likes, or without end. They stream through, and what cannot
//! stream is cut off.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Arrived, Deed, event_stream};
use strait_tests::{Client, Scripted, Step};

use crate::common::{KIB, MIB, assert_serves, at_most, attack, config, text, upstream};
use crate::host::Host;

const HUNDRED: usize = 100 * MIB as usize;
const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

/// Sends a start, then a piece until the gateway does not want it any more. Counts what was taken.
fn endless(start: String, piece: Vec<u8>, sent: Arc<AtomicU64>, open: Arc<AtomicU64>) -> Step {
    Deed::step(move |stream| {
        open.fetch_add(1, Ordering::SeqCst);
        let mut going = stream.write_all(start.as_bytes()).is_ok();
        while going {
            going = stream.write_all(&piece).is_ok();
            sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        open.fetch_sub(1, Ordering::SeqCst);
        false
    })
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn large(request: &Arrived, chunked: bool) -> Vec<Step> {
    let start = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"x\":\"", request.body["id"]);
    vec![Deed::step(move |stream: &mut TcpStream| {
        let piece = vec![b'x'; MIB as usize];
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", start.len() + HUNDRED + 3),
        };
        let mut raw = |bytes: &[u8]| stream.write_all(bytes).is_ok();
        let frame = |bytes: &[u8]| if chunked { chunk(bytes) } else { bytes.to_vec() };
        raw(format!("{JSON}{framing}\r\n\r\n").as_bytes())
            && raw(&frame(start.as_bytes()))
            && (0..HUNDRED / piece.len()).all(|_| raw(&frame(&piece)))
            && raw(&frame(b"\"}}"))
            && (!chunked || raw(b"0\r\n\r\n"))
    })]
}

#[test]
fn replies_of_a_hundred_megabytes_stream_through() {
    let upstream = upstream(|request| large(request, request.argument("case") == "chunked"));
    let host = Host::start(&config(&upstream, ""), json!({}));
    assert_serves(host.address, 50);
    host.forget_peak();
    let before = host.peak();
    std::thread::scope(|scope| {
        for id in 0..4 {
            let address = host.address;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                client.send(attack(id, if id % 2 == 0 { "length" } else { "chunked" }));
                let answer = client.answer().expect("an answer");
                assert!(!answer.cut_short && answer.body.len() > HUNDRED, "{} bytes", answer.body.len());
                assert!(answer.body.starts_with(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},").as_bytes()));
                assert!(answer.body.ends_with(b"xx\"}}"));
            });
        }
        assert_serves(host.address, 20);
    });
    at_most(
        "4 replies of 100 MB at once",
        "memory in KiB",
        host.peak().saturating_sub(before) / KIB,
        32 * KIB,
    );
}

struct Endless {
    upstream: Scripted,
    sent: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
}

fn endless_upstream() -> Endless {
    let (sent, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, under_way) = (sent.clone(), open.clone());
    let upstream = upstream(move |request| {
        let events = String::from_utf8(event_stream()).expect("UTF-8");
        let id = &request.body["id"];
        let note =
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"PAD"}}"#;
        let note = note.replace("PAD", &"x".repeat(900));
        let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
        let (start, piece) = match request.argument("case") {
            "events" => (events, chunk(format!("data: {note}\n\n").repeat(16).as_bytes())),
            "pings" => (events, chunk(format!("data: {ping}\n\n").repeat(64).as_bytes())),
            "comments" => (events, chunk(": nothing\n\n".repeat(1_000).as_bytes())),
            "one event" => (format!("{events}7\r\ndata: \"\r\n"), chunk(&[b'x'; 16 * 1024])),
            "string" => (
                format!("{JSON}Transfer-Encoding: chunked\r\n\r\n{}", {
                    let start = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"x\":\"");
                    String::from_utf8(chunk(start.as_bytes())).expect("UTF-8")
                }),
                chunk(&[b'x'; 64 * 1024]),
            ),
            "head" => (JSON.to_owned(), b"X-More: of it\r\n".repeat(100)),
            "interim" => (String::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            "white space" => (format!("{JSON}Transfer-Encoding: chunked\r\n\r\n"), chunk(&[b' '; 64 * 1024])),
            other => panic!("no such case: {other}"),
        };
        vec![endless(start, piece, count.clone(), under_way.clone())]
    });
    Endless { upstream, sent, open }
}

/// Those that can stream do until their reader has had enough.
#[test]
fn endless_replies_stream_until_their_reader_leaves() {
    const READ: usize = 64 * MIB as usize;
    let Endless { upstream, open, .. } = endless_upstream();
    let mut host = Host::start(&config(&upstream, ""), json!({}));
    assert_serves(host.address, 50);
    for case in ["events", "string"] {
        host.forget_peak();
        let before = host.peak();
        let mut client = Client::connect(host.address);
        client.send(attack(1, case));
        let mut read = 0;
        while read < READ {
            client.wait_for_unread(1);
            read += client.take_unread();
        }
        assert_serves(host.address, 20);
        drop(client);
        wait_for("the upstream to be rid of it", || open.load(Ordering::SeqCst) == 0);
        at_most(
            &format!("an endless reply of {case}, 64 MB of it read"),
            "memory in KiB",
            host.peak().saturating_sub(before) / KIB,
            16 * KIB,
        );
    }
    wait_for("no call to be left", || host.figure("inflight") == 0);
}

/// Nobody reads: the upstream is held back, by the kernel's buffers alone.
#[test]
fn endless_replies_that_nobody_reads_are_held_back() {
    for case in ["events", "string"] {
        let Endless { upstream, sent, open } = endless_upstream();
        let host = Host::start(&config(&upstream, ""), json!({"deadlines": {"send_stall_ms": 2_000}}));
        assert_serves(host.address, 50);
        host.forget_peak();
        let before = host.peak();
        let mut client = Client::connect(host.address);
        client.send(attack(1, case));
        wait_for("it to begin", || open.load(Ordering::SeqCst) == 1);
        assert_serves(host.address, 20);
        wait_for("it to be let go", || open.load(Ordering::SeqCst) == 0);
        let name = format!("an endless reply of {case}, nothing read");
        at_most(&name, "memory in KiB", host.peak().saturating_sub(before) / KIB, 16 * KIB);
        at_most(&name, "KiB taken from the upstream", sent.load(Ordering::SeqCst) / KIB, 24 * KIB);
    }
}

/// What cannot stream ends with an error that names the upstream.
#[test]
fn what_never_becomes_an_answer_is_cut_off() {
    let Endless { upstream, open, .. } = endless_upstream();
    let url = upstream.url();
    let up = format!("up: {{ http: \"{url}\", era: modern, timeout: {{ first_byte: 2s, call: 3s }} }}");
    let mut host = Host::start(&crate::common::config_of(&up, ""), json!({}));
    assert_serves(host.address, 50);
    for (case, why) in [
        ("one event", "expected an event of at most 4 MiB, found a larger one"),
        ("head", "malformed HTTP"),
        ("interim", "no first byte of an answer within 2000 ms"),
        ("comments", "no complete answer within 3000 ms"),
        ("pings", "no complete answer within 3000 ms"),
        ("white space", "no complete answer within 3000 ms"),
    ] {
        host.forget_peak();
        let (before, files) = (host.peak(), host.open_files());
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(host.address)).collect();
        for (id, client) in clients.iter_mut().enumerate() {
            client.send(attack(id as i64, case));
        }
        let mut most_files = 0;
        for _ in 0..10 {
            assert_serves(host.address, 2);
            most_files = most_files.max(host.open_files());
        }
        for client in &mut clients {
            let answer = client.answer().expect("an answer");
            let said = text(&answer);
            assert!(answer.cut_short || said.contains(why), "{case}: {said}");
            assert!(case == "white space" || !answer.cut_short, "{case}");
        }
        drop(clients);
        wait_for("the upstream to be rid of them", || open.load(Ordering::SeqCst) == 0);
        let name = format!("4 endless replies of {case}");
        at_most(&name, "memory in KiB", host.peak().saturating_sub(before) / KIB, 64 * KIB);
        // A connection each on both sides, and for pings the answers, eight at a time.
        at_most(&name, "files", most_files.saturating_sub(files) as u64, 4 * (2 + 8) + 8);
    }
    wait_for("no call to be left", || host.figure("inflight") == 0);
}
