//! Requests that are all wrapping: heads, cookies, addresses, chunks and pipelines far beyond what anybody needs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use strait_tests::gateway::wait_for;
use strait_tests::{Client, Gateway, Setup};

use crate::common::{KIB, MIB, assert_serves, at_most, call, config, echo, text, wait_for_quiet};
use crate::host::Host;

#[test]
fn header_cookie_and_address_bombs_are_refused_while_they_arrive() {
    let upstream = echo();
    let mut host = Host::start(&config(&upstream, ""), json!({}));
    assert_serves(host.address, 50);
    host.forget_peak();
    let before = host.peak();
    let line = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    let bombs: [(&str, String, u16); 4] = [
        ("headers", format!("{line}{}", "A: b\r\n".repeat(100_000)), 431),
        ("a cookie", format!("{line}Cookie: {}", "c=d; ".repeat(200_000)), 431),
        ("a header's name", format!("{line}{}", "N".repeat(1_000_000)), 431),
        ("an address", format!("POST /{} HTTP/1.1\r\n", "a/".repeat(500_000)), 414),
    ];
    for (what, bomb, status) in &bombs {
        for _ in 0..50 {
            let mut client = Client::connect(host.address);
            client.send(bomb);
            let answer = client.answer().unwrap_or_else(|| panic!("{what}: no answer"));
            assert_eq!(answer.status, *status, "{what}: {}", text(&answer));
        }
        assert_serves(host.address, 5);
    }
    at_most(
        "200 bombs of headers, cookies, names, addresses",
        "memory in KiB",
        host.peak().saturating_sub(before) / KIB,
        16 * KIB,
    );
    at_most(
        "200 bombs of headers, cookies, names, addresses",
        "calls upstream",
        upstream.arrived("tools/call").len() as u64,
        70,
    );
    wait_for("no call to be left", || host.figure("inflight") == 0);
}

#[test]
fn a_million_chunks_of_a_byte_are_one_body() {
    let upstream = echo();
    let mut host = Host::start(&config(&upstream, ""), json!({}));
    assert_serves(host.address, 50);
    for (count, extension) in [(1_000_000, ""), (10_000, ";an=extension-that-nobody-reads")] {
        host.forget_peak();
        let before = host.peak();
        let whole = call(1, json!({"pad": "x".repeat(count)}));
        let head = whole.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let lines = String::from_utf8(whole[..head].to_vec()).expect("UTF-8");
        let lines = lines.lines().filter(|line| !line.is_empty() && !line.starts_with("Content-Length"));
        let mut bytes = lines.flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes();
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for byte in &whole[head..] {
            bytes.extend_from_slice(format!("1{extension}\r\n{}\r\n", *byte as char).as_bytes());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut client = Client::connect(host.address);
        let mut sender = client.stream().try_clone().expect("clone");
        let sending = std::thread::spawn(move || sender.write_all(&bytes).expect("send"));
        assert_serves(host.address, 20);
        let answer = client.answer().expect("an answer");
        assert_eq!(
            (answer.status, &answer.json()["id"]),
            (200, &json!(1)),
            "{}",
            &text(&answer)[..200.min(answer.body.len())]
        );
        sending.join().expect("sent");
        let name =
            format!("{count} chunks of a byte{}", if extension.is_empty() { "" } else { " with extensions" });
        at_most(&name, "memory in KiB", host.peak().saturating_sub(before) / KIB, 40 * MIB / KIB);
    }
    wait_for("no call to be left", || host.figure("inflight") == 0);
}

/// All of them are sent before the first answer is read.
#[test]
fn a_pipeline_of_ten_thousand_is_answered_in_order_beside_others() {
    const REQUESTS: i64 = 10_000;
    let upstream = echo();
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config(&upstream, "")) });
    let mut client = Client::connect(gateway.address);
    let mut sender = client.stream().try_clone().expect("clone");
    let all: Vec<u8> = (0..REQUESTS).flat_map(|id| call(id, json!({}))).collect();
    let done = AtomicBool::new(false);
    let (mut served, mut held) = (0_u64, 0);
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&all).expect("send"));
        let others = scope.spawn(|| {
            let (mut other, mut served, mut held) = (Client::connect(gateway.address), 0_u64, 0);
            while !done.load(Ordering::SeqCst) {
                assert_eq!(other.roundtrip(call(7, json!({}))).json()["id"], 7);
                served += 1;
                held = held.max(crate::common::figure(&gateway, |worker| worker.held_bytes.get()));
            }
            (served, held)
        });
        for id in 0..REQUESTS {
            let answer = client.answer().expect("an answer");
            assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "in order");
        }
        done.store(true, Ordering::SeqCst);
        (served, held) = others.join().expect("the others");
    });
    let name = "a pipeline of 10,000 requests on the only core";
    println!("bound: {name}: calls of another client meanwhile: {served} (at least 1000)");
    assert!(served >= 1_000, "another client was served {served} calls meanwhile");
    at_most(name, "bytes held", held, 512 * KIB);
    drop(client);
    wait_for_quiet(&gateway);
}
