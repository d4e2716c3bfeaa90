//! Peers that take their time. The attack is a byte a second against deadlines of 10 to 30 s; here everything is
//! ten times faster, deadlines included. The product's own deadlines are waited for in `tests/exchange/overload.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strait_engine::Deadlines;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::Deed;
use strait_tests::{Client, Gateway, Setup};

use crate::common::{
    KIB, MIB, assert_serves, at_most, attack, config, echo, figure, upstream, wait_for_quiet,
};

const DEADLINES: Deadlines = Deadlines {
    handshake_ms: 500,
    head_ms: 1_000,
    body_stall_ms: 1_500,
    send_stall_ms: 3_000,
    park_after_ms: 1_000,
    idle_ms: 600_000,
    idle_pressed_ms: 5_000,
    question_ms: 5_000,
    session_idle_ms: 3_600_000,
    keep_alive_ms: 15_000,
    suspended_ms: 5_000,
};

/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn many_slow_lorises_are_let_go_and_hold_up_nobody() {
    const EACH: usize = 150;
    let upstream = echo();
    let setup = Setup { deadlines: DEADLINES, ..Setup::new(config(&upstream, "")) };
    let gateway = Gateway::start(setup);
    let line = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer key-full\r\n";
    // A body that would take 400 s at this pace; each byte of it comes within the stall.
    let starts = [
        format!("{line}X-Slow: "),
        format!("{line}Content-Length: 4000\r\n\r\n{{"),
        format!("{line}Transfer-Encoding: chunked\r\n\r\nfff\r\n{{"),
    ];
    let mut slow: Vec<TcpStream> = Vec::new();
    for start in starts.iter().cycle().take(3 * EACH) {
        let mut stream = TcpStream::connect(gateway.address).expect("connect");
        stream.write_all(start.as_bytes()).expect("send");
        stream.set_nonblocking(true).expect("nonblocking");
        slow.push(stream);
    }
    let (mut told, mut held, mut rounds) = (0, 0, 0);
    while !slow.is_empty() {
        rounds += 1;
        assert!(rounds < 200, "{} are still there", slow.len());
        slow.retain_mut(|stream| {
            let mut answer = [0; 16];
            match stream.read(&mut answer) {
                Ok(count) => {
                    assert!(answer[..count].starts_with(b"HTTP/1.1 408"), "{:?}", &answer[..count]);
                    told += 1;
                    false
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => stream.write_all(b"x").is_ok(),
                Err(error) => panic!("{error}"),
            }
        });
        held = held.max(figure(&gateway, |worker| worker.held_bytes.get()));
        assert_serves(gateway.address, 5);
        std::thread::sleep(PAUSE);
    }
    assert_eq!(told, 3 * EACH, "each is told");
    let name = format!("{} slow-loris heads and bodies", 3 * EACH);
    // A buffer each; a chunked body has one for its framing and one for itself.
    at_most(&name, "bytes held", held, (3 * EACH as u64 * 2 + 64) * 16 * KIB);
    at_most(
        &name,
        "their calls that reached an upstream",
        upstream.arrived("tools/call").len() as u64,
        5 * rounds,
    );
    wait_for_quiet(&gateway);
}

/// Each reads a byte now and then of a large reply that never ends by itself.
#[test]
fn slow_readers_push_back_on_the_upstream_and_are_let_go() {
    const READERS: usize = 20;
    let (sent, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counters = (sent.clone(), open.clone());
    let upstream = upstream(move |_| {
        let (sent, open) = counters.clone();
        vec![Deed::step(move |stream| {
            open.fetch_add(1, Ordering::SeqCst);
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n{\"jsonrpc\":\"2.0\",\"result\":{\"x\":\"";
            let piece = vec![b'x'; 64 * 1024];
            let mut going = stream.write_all(head).is_ok();
            while going {
                going = stream.write_all(&piece).is_ok();
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
            open.fetch_sub(1, Ordering::SeqCst);
            false
        })]
    });
    let setup = Setup { deadlines: DEADLINES, ..Setup::new(config(&upstream, "")) };
    let gateway = Gateway::start(setup);
    let mut readers: Vec<Client> = Vec::new();
    for id in 0..READERS {
        let mut client = Client::connect(gateway.address);
        client.send(attack(id as i64, "endless"));
        client.stream().set_nonblocking(true).expect("nonblocking");
        readers.push(client);
    }
    wait_for("all replies to begin", || open.load(Ordering::SeqCst) == READERS as u64);
    let mut held = 0;
    wait_for("the upstream to be rid of all of them", || {
        for client in &readers {
            let _ = client.stream().read(&mut [0; 1]);
        }
        held = held.max(figure(&gateway, |worker| worker.held_bytes.get()));
        assert_serves(gateway.address, 5);
        std::thread::sleep(PAUSE);
        open.load(Ordering::SeqCst) == 0
    });
    let name = format!("{READERS} readers of a byte each 100 ms");
    at_most(&name, "bytes held for each", held / READERS as u64, 512 * KIB);
    // What the kernel's buffers of two connections take, and no more.
    at_most(
        &name,
        "bytes taken from the upstream for each",
        sent.load(Ordering::SeqCst) / READERS as u64,
        24 * MIB,
    );
    drop(readers);
    wait_for_quiet(&gateway);
}
