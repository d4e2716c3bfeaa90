//! Peers that leave: with a reset or with half a goodbye, at every stage, on both sides. Nothing of them stays.

use std::time::Duration;

use serde_json::json;
use strait_tests::gateway::{scratch_folder, wait_for};
use strait_tests::scripted::{Deed, Gate, event, event_stream, http};
use strait_tests::{Client, Gateway, Setup, Step};

use crate::common::{
    assert_serves, at_most, attack, call, config, figure, reset, reset_stream, text, upstream, wait_for_quiet,
};

/// How often each way of leaving is tried.
const ROUNDS: usize = 20;

/// What a client has sent, and whether it waits for the start of a reply, when it leaves.
fn stages() -> Vec<(&'static str, Vec<u8>, bool)> {
    let whole = attack(1, "wait");
    let large = attack(1, "large");
    let head = whole.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let oversized = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{";
    let chunks = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"a";
    vec![
        ("before a byte", Vec::new(), false),
        ("in the head", whole[..head / 2].to_vec(), false),
        ("before the body", whole[..head].to_vec(), false),
        ("in the body", whole[..whole.len() - 5].to_vec(), false),
        ("in a chunk", chunks.to_vec(), false),
        ("while the upstream works", whole.clone(), false),
        ("in a pipeline", [call(0, json!({})), whole.repeat(10)].concat(), true),
        ("in a large reply", large, true),
        ("in an event stream", attack(1, "events"), true),
        ("while its refusal lingers", oversized.to_vec(), true),
    ]
}

#[test]
fn clients_that_leave_at_any_stage_leave_nothing_behind() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = upstream(move |request| match request.argument("case") {
        "large" => {
            let text = "x".repeat(30_000_000);
            let id = &request.body["id"];
            let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"x\":\"{text}\"}}}}");
            vec![Step::Send(http(200, "application/json", body.as_bytes()))]
        }
        "events" => {
            let told = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
            vec![Step::Send(event_stream()), Step::Send(event(&told)), Step::Await(held.clone())]
        }
        _ => vec![Step::Await(held.clone()), Step::Close],
    });
    let gateway = Gateway::start(Setup::new(config(&upstream, "")));
    for (stage, bytes, reply) in stages() {
        for way in ["reset", "half-close", "close"] {
            let mut leaving = Vec::new();
            for _ in 0..ROUNDS {
                let mut client = Client::connect(gateway.address);
                client.send(&bytes);
                if reply {
                    client.wait_for_unread(1);
                }
                leaving.push(client);
            }
            let before = upstream.arrived("tools/call").len();
            // Those that half-close stay until the gateway closes as well.
            let half = leaving.into_iter().filter_map(|client| match way {
                "reset" => {
                    reset(client);
                    None
                }
                "half-close" => {
                    client.finish();
                    Some(client)
                }
                _ => None,
            });
            let half: Vec<Client> = half.collect();
            assert_serves(gateway.address, 5);
            for mut client in half {
                while client.answer().is_some_and(|answer| !answer.cut_short) {}
            }
            wait_for_quiet(&gateway);
            let arrived = upstream.arrived("tools/call").len() - before;
            assert!(arrived <= ROUNDS + 5, "{stage}, {way}: {arrived} calls for clients that had left");
        }
        at_most(
            &format!("{ROUNDS} clients that leave {stage}, three ways"),
            "connections and calls left",
            figure(&gateway, |worker| worker.connections.get())
                + figure(&gateway, |worker| worker.inflight.get()),
            0,
        );
    }
    gate.open();
}

#[test]
fn upstreams_that_reset_at_any_stage_are_named_and_harm_no_other_call() {
    let told = event(
        &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}),
    );
    let starts: Vec<(&str, Vec<u8>)> = vec![
        ("after the request", Vec::new()),
        ("in the head", b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec()),
        ("before the body", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n".to_vec()),
        ("in the body", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{\"json".to_vec()),
        ("in a chunk", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"j".to_vec()),
        ("before an event", event_stream()),
        ("behind an event", [event_stream(), told.clone()].concat()),
        ("in an event", [event_stream(), told[..told.len() / 2].to_vec()].concat()),
    ];
    for (stage, start) in starts {
        let upstream = upstream(move |_| {
            let start = start.clone();
            vec![
                Step::Send(start.clone()),
                Deed::step(move |stream| {
                    // A reset overtakes what was sent: it comes when that has been taken.
                    if !start.is_empty() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    reset_stream(stream);
                    false
                }),
            ]
        });
        let gateway = Gateway::start(Setup::new(config(&upstream, "")));
        let mut client = Client::connect(gateway.address);
        for id in 0..ROUNDS as i64 {
            let answer = client.roundtrip(attack(id, stage));
            let (code, message) = answer.error();
            assert_eq!(code, -32603, "{stage}");
            assert!(message.starts_with("upstream `up`: "), "{stage}: {message}");
            let good = client.roundtrip(call(id, json!({})));
            assert_eq!((good.status, &good.json()["id"]), (200, &json!(id)), "{stage}: {}", text(&good));
        }
        let calls = upstream.arrived("tools/call").len() as u64;
        at_most(
            &format!("an upstream that resets {stage}"),
            "times a call was made",
            calls,
            2 * ROUNDS as u64,
        );
        drop(client);
        wait_for_quiet(&gateway);
    }
}

/// A process that is killed resets all its connections at once.
#[test]
fn killing_an_upstream_in_the_middle_of_calls_fails_only_these() {
    const CALLS: usize = 10;
    let (mut process, port) = start_upstream(0);
    let url = format!("up: {{ http: \"http://127.0.0.1:{port}/mcp\", era: modern }}");
    let gateway = Gateway::start(Setup::new(crate::common::config_of(&url, "")));
    assert_eq!(gateway.learning_fault(0), None);
    for case in ["json", "stream", "large"] {
        let mut clients: Vec<Client> = (0..CALLS).map(|_| Client::connect(gateway.address)).collect();
        for (id, client) in clients.iter_mut().enumerate() {
            client.send(attack(id as i64, case));
            if case != "json" {
                client.wait_for_unread(1);
            }
        }
        wait_for("all calls to be under way", || {
            figure(&gateway, |worker| worker.inflight.get()) == CALLS as u64
        });
        drop(process);
        for client in &mut clients {
            let answer = client.answer().expect("an answer");
            if case == "large" {
                assert!(answer.cut_short, "never taken for a whole one");
            } else {
                assert!(answer.error().1.starts_with("upstream `up`: "), "{}", text(&answer));
            }
        }
        let refused = Client::connect(gateway.address).roundtrip(call(1, json!({})));
        assert!(refused.error().1.contains("connect failed"), "{}", text(&refused));
        process = start_upstream(port).0;
        assert_serves(gateway.address, 5);
        drop(clients);
        wait_for_quiet(&gateway);
    }
    at_most(
        "kill -9 of an upstream with 10 calls, three kinds",
        "calls left",
        figure(&gateway, |worker| worker.inflight.get()),
        0,
    );
}

/// One connection broke: those that idle were closed with it, however lately they were used, and no call goes out on them.
#[test]
fn idle_connections_are_suspect_when_one_broke() {
    let (process, port) = start_upstream(0);
    let url = format!("up: {{ http: \"http://127.0.0.1:{port}/mcp\", era: modern }}");
    let gateway = Gateway::start(Setup { workers: 1, ..Setup::new(crate::common::config_of(&url, "")) });
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(gateway.address)).collect();
    let (under_way, others) = clients.split_first_mut().expect("four");
    under_way.send(attack(1, "large"));
    under_way.wait_for_unread(1);
    for client in &mut *others {
        client.send(call(2, json!({})));
    }
    for client in &mut *others {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    drop(process);
    assert!(under_way.answer().expect("an answer").cut_short);
    for client in others {
        let refused = client.roundtrip(call(3, json!({})));
        assert!(refused.error().1.contains("connect failed"), "{}", text(&refused));
    }
}

/// [`UPSTREAM`] at this port, or at a free one: the process and its port.
fn start_upstream(port: u16) -> (Killed, u16) {
    let script = scratch_folder().join("upstream.py");
    std::fs::write(&script, UPSTREAM).expect("write");
    let mut command = std::process::Command::new("python3");
    let mut process = command
        .args([script.to_str().expect("UTF-8"), &port.to_string()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("python3");
    let mut line = String::new();
    let out = process.stdout.take().expect("stdout");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a port");
    (Killed(process), line.trim().parse::<u16>().expect("a port"))
}

/// A process that gets SIGKILL when dropped.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const UPSTREAM: &str = r#"
import json, socketserver, sys, time
from http.server import BaseHTTPRequestHandler
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        case = asked.get("params", {}).get("arguments", {}).get("case", "")
        tools = [{"name": "echo", "description": "d", "inputSchema": {"type": "object"}}]
        result = {"server/discover": {"resultType": "complete", "supportedVersions": ["2026-07-28"],
                  "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "public"},
                  "tools/list": {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "public"},
                  "prompts/list": {"resultType": "complete", "prompts": [], "ttlMs": 0, "cacheScope": "public"},
                  "resources/list": {"resultType": "complete", "resources": [], "ttlMs": 0, "cacheScope": "public"},
                  "resources/templates/list": {"resultType": "complete", "resourceTemplates": [], "ttlMs": 0, "cacheScope": "public"},
                  "tools/call": {"resultType": "complete", "content": []}}.get(asked["method"])
        if case == "json": time.sleep(600)
        if result is None: # it has no listens: no connection of ours idles beside the calls
            self.send_response(404); self.send_header("Connection", "close"); self.send_header("Content-Type", "application/json")
            body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}}).encode()
            self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
            return
        self.send_response(200)
        if case == "stream":
            self.send_header("Content-Type", "text/event-stream"); self.end_headers()
            self.wfile.write(b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\n\n')
            time.sleep(600)
        self.send_header("Content-Type", "application/json")
        if case == "large":
            self.send_header("Content-Length", "900000000"); self.end_headers()
            self.wfile.write(b'{"jsonrpc":"2.0","result":{"x":"' + b"x" * 300000); time.sleep(600)
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True; request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;
