//! No file descriptors left: nobody is served twice as badly for it, nothing spins, and all is well again when some
//! are free.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use strait_tests::client::modern;
use strait_tests::{Client, gateway::wait_for};

use crate::common::{KEY, assert_serves, at_most, call, config, echo, text};
use crate::host::Host;

/// The caps fit the limit: the flood is turned away before the limit is met, and who is inside can be served.
#[test]
fn caps_fit_the_limit_of_open_files() {
    const FILES: u64 = 200;
    let upstream = echo();
    let mut host = Host::start(&config(&upstream, ""), json!({"files": FILES, "workers": 1}));
    let notices = host.figures()["notices"].to_string();
    assert!(notices.contains("connections instead of 16384: raise the limit of open files"), "{notices}");
    let flood: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(host.address).expect("the queue has room")).collect();
    let mut told = 0;
    let mut inside = Vec::new();
    for (id, stream) in flood.into_iter().enumerate() {
        let mut client = Client::of(stream);
        client.send(call(id as i64, json!({})));
        match client.answer().map(|answer| answer.status) {
            Some(200) => inside.push(client),
            Some(503) => told += 1,
            None => {}
            other => panic!("{other:?}"),
        }
    }
    println!("{} inside, {told} told to come back", inside.len());
    assert!(inside.len() >= 50 && told >= 1);
    at_most("500 connections with 200 files", "open files", host.open_files() as u64, FILES);
    for client in &mut inside {
        let answer = client.roundtrip(call(1, json!({})));
        assert_eq!(answer.status, 200, "{}", text(&answer));
    }
    drop(inside);
    wait_for("places to be free", || host.figure("connections") == 0);
    assert_serves(host.address, 10);
}

/// The limit is lowered under a running gateway, so that `accept` and `socket` fail.
#[test]
fn without_files_nothing_spins_and_calls_say_why() {
    let upstream = echo();
    let host = Host::start(&config(&upstream, "caps: { connections: 1000 }"), json!({"workers": 1}));
    let mut inside: Vec<Client> = (0..20).map(|_| Client::connect(host.address)).collect();
    for client in &mut inside {
        assert_eq!(client.roundtrip(modern(KEY, 1, "tools/list", json!({}))).status, 200);
    }
    let pid = Pid::from_raw(host.pid() as i32).expect("a process");
    let limit = |files: u64| {
        let limit = Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) };
        prlimit(Some(pid), Resource::Nofile, limit).expect("limit its open files");
    };
    let usual = 4_096;
    limit(3);
    // No new connection is let in: they wait in the kernel's queue.
    let mut waiting: Vec<Client> = (0..50).map(|_| Client::connect(host.address)).collect();
    for (id, client) in waiting.iter_mut().enumerate() {
        client.send(call(id as i64, json!({})));
    }
    upstream.close_connections();
    // Whoever is inside gets an answer that names the layer; a few may find a connection that has just closed.
    let mut why = 0;
    for client in &mut inside {
        let answer = client.roundtrip(call(1, json!({})));
        let (_, message) = answer.error();
        assert!(message.starts_with("upstream `up`: "), "{message}");
        why += usize::from(message.contains("Too many open files"));
    }
    assert!(why >= inside.len() / 2, "only {why} say why");
    let (began, before) = (Instant::now(), host.cpu_ms());
    std::thread::sleep(Duration::from_secs(2));
    let percent = (host.cpu_ms() - before) * 100 / began.elapsed().as_millis() as u64;
    at_most("no file left, 50 connections wait", "percent of a core", percent, 20);
    limit(usual);
    for (id, client) in waiting.iter_mut().enumerate() {
        let answer = client.answer().expect("an answer");
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{}", text(&answer));
    }
    assert_serves(host.address, 10);
}
