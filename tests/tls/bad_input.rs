//! What arrives at a port that speaks TLS and is not what it should be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use strait_tests::Client;
use strait_tests::gateway::PATIENCE;

use crate::authority::Authority;
use crate::process::{Folder, Process};
use crate::{call, config, curl, echo, s_client, serve};

fn started(folder: &Folder) -> (strait_tests::Scripted, Process) {
    Authority::new(folder, "ca").server(folder, "one", &["localhost"]);
    let upstream = echo();
    let gateway = serve(folder, &config("{ cert: one.pem, key: one.key }", &upstream.url(), ""));
    (upstream, gateway)
}

/// What comes back until the other side closes.
fn told(address: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let _ = stream.write_all(said);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(1..) = stream.read(&mut piece).inspect(|bytes| answer.extend_from_slice(&piece[..*bytes])) {}
    answer
}

fn assert_serves(folder: &Folder, gateway: &Process) {
    assert_eq!(curl(folder, gateway.address, "localhost", &[], &call("x")).expect("an answer").0, 200);
}

#[test]
fn a_request_without_tls_is_told_so_in_plain_words() {
    let folder = Folder::new();
    let (_upstream, gateway) = started(&folder);
    let mut client = Client::connect(gateway.address);
    client.send("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    let answer = client.answer().expect("an answer");
    assert_eq!(answer.status, 400);
    assert!(answer.error().1.contains("https://"), "{answer:?}");
    client.assert_closed();
    assert_serves(&folder, &gateway);
    assert!(gateway.ask("/metrics").1.contains("{cause=\"plain_http\"} 1\n"));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn garbage_ends_the_connection_with_an_alert_at_most() {
    let folder = Folder::new();
    let (_upstream, gateway) = started(&folder);
    let mut hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec();
    let garbage: [&[u8]; 7] = [
        b"\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        // A record of 65,535 bytes.
        b"\x16\x03\x01\xff\xff\x01\x00",
        // Application data before any handshake.
        b"\x17\x03\x03\x00\x05hello",
        // A hello of SSL 2.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        &hello.clone(),
        // A handshake message of 16 MiB, announced.
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    ];
    for said in garbage {
        let answer = told_and_finished(gateway.address, said);
        assert!(answer.is_empty() || answer[0] == 0x15, "{said:?}: {answer:?}");
    }
    hello.truncate(3);
    assert!(told_and_finished(gateway.address, &hello).is_empty());
    assert_serves(&folder, &gateway);
    assert_eq!(gateway.stop(), Some(0));
}

/// The same, and says no more.
fn told_and_finished(address: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let _ = stream.write_all(said);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    let folder = Folder::new();
    let (_upstream, gateway) = started(&folder);
    // One says nothing, one half of a record.
    let silent = std::thread::spawn({
        let address = gateway.address;
        move || told(address, b"")
    });
    assert!(told(gateway.address, b"\x16\x03\x01\x02\x00\x01").is_empty());
    assert!(silent.join().expect("no panic").is_empty());
    strait_tests::gateway::wait_for("both to be counted", || {
        gateway.ask("/metrics").1.contains("strait_tls_handshake_failures_total{cause=\"slow\"} 2\n")
    });
    assert_serves(&folder, &gateway);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn nobody_renegotiates() {
    let folder = Folder::new();
    let (_upstream, gateway) = started(&folder);
    let said = s_client(&folder, gateway.address, &["-tls1_2", "-legacy_renegotiation"], b"R\n");
    assert!(said.contains("no renegotiation") || said.contains("RENEGOTIATING"), "{said}");
    assert!(!said.contains("HTTP/1.1 200"), "{said}");
    assert_serves(&folder, &gateway);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing() {
    let folder = Folder::new();
    let (_upstream, gateway) = started(&folder);
    for cut in [1, 5, 6, 100, 200] {
        let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 512]].concat();
        drop(TcpStream::connect(gateway.address).and_then(|mut stream| stream.write_all(&hello[..cut])));
    }
    strait_tests::gateway::wait_for("each to be counted", || {
        gateway.ask("/metrics").1.contains("strait_tls_handshake_failures_total{cause=\"closed\"} 5\n")
    });
    assert_serves(&folder, &gateway);
    assert_eq!(gateway.stop(), Some(0));
}
