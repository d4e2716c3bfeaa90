//! Too much, and too slow: caps refuse early and say when to come back; a client that dribbles its
//! request is told and let go; one that does not read holds up nobody else.

use std::io::Write;
use std::time::Duration;

use serde_json::json;
use strait_tests::scripted::{echoed, http, json_reply};
use strait_tests::{Client, Gateway, Scripted, Setup, Step};

use crate::basics::config;
use crate::common::{assert_lives, call, reason, text};

fn gateway(workers: usize) -> (Scripted, Gateway) {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let gateway = Gateway::start(Setup { workers, ..Setup::new(config(&upstream.url())) });
    (upstream, gateway)
}

const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key-full\r\nContent-Type: application/json\r\n";

/// The longest deadline here is 15 s.
const DEADLINES: Duration = Duration::from_secs(60);

#[test]
fn a_request_that_does_not_arrive_is_told_so_and_let_go() {
    let (upstream, gateway) = gateway(2);
    let address = gateway.address;
    let connect = move || {
        let client = Client::connect(address);
        client.stream().set_read_timeout(Some(DEADLINES)).expect("timeout");
        client
    };
    let assert_told = |mut client: Client, what: &str| {
        let answer = client.answer().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((answer.status, reason(&answer).as_str()), (408, "request_timeout"), "{what}");
        assert_eq!(answer.error().1, "request: did not arrive in time", "{what}");
        client.assert_closed();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = connect();
            client.send(HEAD);
            assert_told(client, "half a head");
        });
        // Bytes that keep coming do not move a head's deadline.
        scope.spawn(|| {
            let client = connect();
            let mut sender = client.stream().try_clone().expect("clone");
            let sending = std::thread::spawn(move || {
                let _ = sender.write_all(HEAD.as_bytes());
                while sender.write_all(b"X: a\r\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(300));
                }
            });
            assert_told(client, "a dribbled head");
            sending.join().unwrap();
        });
        scope.spawn(|| {
            let mut client = connect();
            client.send(format!("{HEAD}Content-Length: 100\r\n\r\n{{"));
            assert_told(client, "half a body");
        });
        scope.spawn(|| {
            let mut client = connect();
            client.send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"a"));
            assert_told(client, "half a chunk");
        });
        // Meanwhile others are served.
        for _ in 0..20 {
            assert_eq!(Client::connect(address).roundtrip(call(1, json!({}))).status, 200);
        }
    });
    assert_eq!(upstream.arrived("tools/call").len(), 20);
    assert_lives(&gateway);
}

#[test]
fn an_idle_connection_stays_usable() {
    let (_upstream, gateway) = gateway(1);
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.roundtrip(call(1, json!({}))).status, 200);
    // Longer than an idle connection keeps its buffer.
    std::thread::sleep(Duration::from_millis(1_500));
    for id in 2..4 {
        assert_eq!(client.roundtrip(call(id, json!({}))).json()["id"], id);
    }
    assert_lives(&gateway);
}

#[test]
fn a_body_beyond_the_bytes_of_a_core_is_refused_early() {
    let upstream = Scripted::modern(|request| json_reply(&echoed(request)));
    let config = format!("body_max: 1GiB\n{}", config(&upstream.url()));
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
    for framing in ["Content-Length: 900000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = Client::connect(gateway.address);
        client.send(format!("{HEAD}{framing}\r\n"));
        let mut sender = client.stream().try_clone().expect("clone");
        let chunked = framing.starts_with('T');
        let sending = std::thread::spawn(move || {
            let piece = vec![b' '; 1 << 20];
            for _ in 0..850 {
                let framed =
                    if chunked { [b"100000\r\n", &piece[..], b"\r\n"].concat() } else { piece.clone() };
                if sender.write_all(&framed).is_err() {
                    return;
                }
            }
        });
        let answer = client.answer().unwrap_or_else(|| panic!("{framing}: no answer"));
        assert_eq!(
            (answer.status, reason(&answer).as_str()),
            (503, "overloaded"),
            "{framing}: {}",
            text(&answer)
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
        let (code, message) = answer.error();
        assert_eq!(
            (code, message.as_str()),
            (-32603, "gateway: overloaded: too many bytes on their way; retry later")
        );
        assert_eq!(answer.json()["error"]["data"]["retryAfter"], 1);
        drop(client);
        sending.join().unwrap();
        assert_lives(&gateway);
    }
}

/// The same body on two gateways that differ in `caps.bytes` alone.
#[test]
fn the_configured_bytes_of_a_core_decide_who_is_refused() {
    let upstream =
        Scripted::modern(|_| json_reply(&json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    for (bytes, expected) in [("8MiB", 503), ("200MiB", 200)] {
        let config = format!("body_max: 32MiB\ncaps: {{ bytes: {bytes} }}\n{}", config(&upstream.url()));
        let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config) });
        let mut client = Client::connect(gateway.address);
        let mut sender = client.stream().try_clone().expect("clone");
        let large = call(1, json!({"pad": "x".repeat(12 << 20)}));
        let sending = std::thread::spawn(move || drop(sender.write_all(&large)));
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.status, expected, "{bytes}: {}", text(&answer));
        assert!(expected == 200 || reason(&answer) == "overloaded");
        drop(client);
        sending.join().unwrap();
        assert_lives(&gateway);
    }
}

/// Announcing much takes nothing from others: only bytes that arrive count.
#[test]
fn announced_bodies_hold_no_room() {
    let (_upstream, gateway) = gateway(1);
    let announcing: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.send(format!("{HEAD}Content-Length: 4000000\r\n\r\n{{"));
            client
        })
        .collect();
    let large = call(1, json!({"pad": "x".repeat(3_000_000)}));
    let answer = Client::connect(gateway.address).roundtrip(large);
    assert_eq!(answer.status, 200, "{}", text(&answer));
    drop(announcing);
    assert_lives(&gateway);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    const BYTES: usize = 20_000_000;
    let upstream = Scripted::modern(|request| match request.argument("case") {
        "" => json_reply(&echoed(request)),
        _ => {
            let body = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"content\":[],\"x\":\"{}\"}}}}",
                request.body["id"],
                "x".repeat(BYTES)
            );
            vec![Step::Send(http(200, "application/json", body.as_bytes()))]
        }
    });
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(config(&upstream.url())) });
    let mut deaf: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::connect(gateway.address);
            client.send(call(7, json!({"case": "large"})));
            client
        })
        .collect();
    strait_tests::gateway::wait_for("all large calls", || upstream.arrived("tools/call").len() == 8);
    let mut client = Client::connect(gateway.address);
    for id in 0..100 {
        assert_eq!(client.roundtrip(call(id, json!({}))).json()["id"], id);
    }
    // What they did not read was not gathered here either.
    let held = gateway.handle().figures()[0].held_bytes.get();
    assert!(held < 8 << 20, "{held} bytes held");
    for client in &mut deaf {
        let answer = client.answer().expect("an answer");
        assert!(!answer.cut_short && answer.body.len() > BYTES);
    }
    assert_lives(&gateway);
}
