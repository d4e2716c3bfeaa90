//! No memory left: refused early, never dead. The gateway has an address space of little more than it needs to
//! start, and its clients send as much as they like of what is dearest to parse.

use std::io::Write;

use serde_json::json;
use strait_tests::client::post;
use strait_tests::{Client, gateway::wait_for};

use crate::common::{KEY, MIB, assert_serves, at_most, config, echo, reason, text};
use crate::host::Host;

const ROOM: u64 = 256 * MIB;
const CLIENTS: usize = 64;

#[test]
fn a_process_with_little_memory_refuses_early_and_lives() {
    let upstream = echo();
    let mut host = Host::start(&config(&upstream, ""), json!({"memory_bytes": ROOM, "workers": 2}));
    assert_serves(host.address, 50);
    let notices = host.figures()["notices"].to_string();
    assert!(notices.contains("there is no memory for more"), "{notices}");
    host.forget_peak();
    let before = host.peak();
    // 4 MB each: text, the nodes that cost most, and brackets only.
    let text_of = |body: &str| {
        let bearer = format!("Bearer {KEY}");
        post(&[("Authorization", &bearer)], body.as_bytes())
    };
    let start = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":"#;
    let bodies = [
        text_of(&format!("{start}\"{}\"}}}}}}", "x".repeat(4_000_000))),
        text_of(&format!("{start}[{}0]}}}}}}", "0,".repeat(2_000_000))),
        text_of(&format!("{start}[{}[]]}}}}}}", "[],".repeat(1_300_000))),
        // Just under what this core can parse.
        text_of(&format!("{start}[{}0]}}}}}}", "0,".repeat(400_000))),
    ];
    let counts = std::thread::scope(|scope| {
        let address = host.address;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let body = &bodies[number % bodies.len()];
                scope.spawn(move || {
                    let (mut refused, mut other) = (0, 0);
                    for _ in 0..3 {
                        let mut client = Client::connect(address);
                        let mut sender = client.stream().try_clone().expect("clone");
                        std::thread::scope(|scope| {
                            scope.spawn(move || drop(sender.write_all(body)));
                            match client.answer() {
                                Some(answer) if matches!(answer.status, 413 | 503) => {
                                    let why = reason(&answer);
                                    assert!(matches!(why.as_str(), "body_too_large" | "overloaded"), "{why}");
                                    refused += 1;
                                }
                                Some(answer) if matches!(answer.status, 200 | 400) => other += 1,
                                Some(answer) => panic!("{}: {}", answer.status, text(&answer)),
                                // Reset while it was still sending.
                                None => refused += 1,
                            }
                        });
                    }
                    (refused, other)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    println!("{} refused, {} answered", counts.0, counts.1);
    assert!(counts.0 > 0);
    at_most(
        "64 clients with bodies of 4 MB in 256 MiB",
        "memory in MiB",
        host.peak().saturating_sub(before) / MIB,
        ROOM / MIB,
    );
    wait_for("all calls to be over", || host.figure("inflight") == 0 && host.figure("held_bytes") < MIB);
    assert_serves(host.address, 50);
}
