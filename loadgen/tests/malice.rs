//! Servers that mean harm: an answer that never ends, in every form, costs its caller the time that was
//! allowed and no more. Without an end these tests hang; none of them looks at a clock.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use strait_loadgen::target::{EraChoice, Patience, Target, Unreached, greet};

const TIMEOUT: Duration = Duration::from_millis(300);

/// Answers its first connection with `head`, and then with `more` until nobody listens.
fn endless(head: &'static [u8], more: Vec<u8>, pause: Duration) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("its address"));
    let serve = move |mut stream: TcpStream| -> std::io::Result<()> {
        let _request = stream.read(&mut [0; 4096])?;
        stream.write_all(head)?;
        loop {
            stream.write_all(&more)?;
            std::thread::sleep(pause);
        }
    };
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a caller");
        assert!(serve(stream).is_err(), "the caller gave up");
    });
    (url, thread)
}

fn check(head: &'static [u8], more: &[u8], pause: Duration) {
    let (url, server) = endless(head, more.to_vec(), pause);
    let patience = Patience { timeout: TIMEOUT, stop: &AtomicBool::new(false) };
    let unreached = greet(&Target::parse(&url).expect("a URL"), EraChoice::Modern, patience);
    let expected = Unreached::Transport("no complete answer in time".to_owned());
    assert_eq!(unreached.map(|_| ()), Err(expected));
    server.join().expect("a server that was left");
}

const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn interim_answers_without_end() {
    check(b"", &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100), Duration::ZERO);
}

#[test]
fn a_stream_that_drips() {
    check(STREAM, b"4\r\n: x\n\r\n", TIMEOUT / 30);
}

#[test]
fn a_stream_in_chunks_of_one_byte() {
    check(STREAM, &b"1\r\n:\r\n".repeat(1_000), TIMEOUT / 100);
}
