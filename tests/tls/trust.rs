//! Whom a listener believes changes while connections stand: those that it would not let in any more are nobody from then on, and nobody
//! else notices. Clients are `openssl s_client`, told request by request, and `curl` for what stands open.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Gate, Scripted, Step};

use crate::authority::Authority;
use crate::call;
use crate::identities::{BOTH, Mesh, config, through};

/// A connection that somebody has with this certificate, or without any.
struct Line {
    child: Child,
    says: ChildStdin,
    hears: BufReader<ChildStdout>,
}

/// An answer on it: status, head and body.
type Answer = (u16, String, Value);

impl Line {
    fn open(mesh: &Mesh, file: &str) -> Line {
        let (cert, key) = (format!("{file}.pem"), format!("{file}.key"));
        let mut openssl = Command::new("timeout");
        openssl
            .args([
                "60",
                "openssl",
                "s_client",
                "-quiet",
                "-nocommands",
                "-CAfile",
                "ca.pem",
                "-verify_return_error",
            ])
            .args(["-servername", "localhost", "-connect", &mesh.gateway.address.to_string()]);
        if !file.is_empty() {
            openssl.args(["-cert", &cert, "-key", &key]);
        }
        let mut child = openssl
            .current_dir(&mesh.folder.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("run openssl");
        let (says, hears) = (child.stdin.take(), child.stdout.take());
        Line { child, says: says.expect("its input"), hears: BufReader::new(hears.expect("its output")) }
    }

    /// `None`: the connection is closed.
    fn ask(&mut self, path: &str, headers: &[&str], body: &str) -> Option<Answer> {
        self.say(path, headers, body);
        self.answer()
    }

    fn say(&mut self, path: &str, headers: &[&str], body: &str) {
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             {more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Whoever is gone says so when it is asked for its answer.
        let _ = self.says.write_all(request.as_bytes()).and_then(|()| self.says.flush());
    }

    fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.hears.read_line(&mut head).expect("a line") == 0 {
                return None;
            }
        }
        Some(head)
    }

    fn answer(&mut self) -> Option<Answer> {
        let head = self.head()?;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.hears.read_exact(&mut body).expect("its body");
        Some((head[9..12].parse().expect("a status"), head, serde_json::from_slice(&body).expect("JSON")))
    }

    /// A call of a tool for a client of 2026-07-28: the status, and the reason of a refusal.
    fn call(&mut self, path: &str, headers: &[&str]) -> Option<(u16, String)> {
        let of_2026 = ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: echo"];
        let (status, _, body) = self.ask(path, &[&of_2026, headers].concat(), &call("x"))?;
        Some((status, body["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned()))
    }

    /// By the gateway, and not since all has its end.
    fn was_closed(&mut self) {
        assert_ne!(self.child.wait().expect("its end").code(), Some(124), "it stood");
    }

    /// What comes until this does; all that comes, if it does not.
    fn until(&mut self, text: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(text) && self.hears.read_line(&mut heard).expect("a line") > 0 {}
        heard
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients of two authorities, of which one will leave `clients.pem`: `agent` is that one's, `other` is not.
fn two() -> Mesh {
    let mesh = Mesh::new();
    Authority::new(&mesh.folder, "others").client(&mesh.folder, "other", "spiffe://corp/agent/b", false);
    mesh.folder.write("own.pem", mesh.folder.read("clients.pem"));
    believes(&mesh, &["own", "others"]);
    mesh
}

/// The listener believes these from now on, on every worker.
fn believes(mesh: &Mesh, authorities: &[&str]) {
    let files = authorities.iter().map(|name| mesh.folder.read(&format!("{name}.pem")));
    let files: Vec<Vec<u8>> = files.collect();
    reloaded(mesh, || mesh.folder.replace("clients.pem", files.concat()));
}

fn reloaded(mesh: &Mesh, change: impl FnOnce()) {
    let count = || {
        let reload = mesh.gateway.reload();
        ["adopted", "unchanged"].iter().map(|what| reload[what].as_u64().expect("a number")).sum::<u64>()
    };
    let before = count();
    change();
    wait_for("the change to be read", || count() > before);
    wait_for("every worker to have it", || mesh.gateway.reload()["adopting"].is_null());
}

fn refused(mesh: &Mesh) -> Vec<Value> {
    let text = String::from_utf8(mesh.folder.read("access.log")).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &Value| line["refused"] == "untrusted_certificate").collect()
}

const LET_IN: (u16, &str) = (200, "");
const UNTRUSTED: (u16, &str) = (401, "untrusted_certificate");

fn is(answer: Option<(u16, String)>, expected: (u16, &str)) {
    let answer = answer.expect("an answer");
    assert_eq!((answer.0, answer.1.as_str()), expected);
}

#[test]
fn an_open_connection_is_nobodys_once_its_authority_is_gone_and_others_go_on() {
    let mesh = two();
    // Several: each worker has some.
    let lines = |file: &str| (0..6).map(|_| Line::open(&mesh, file)).collect::<Vec<Line>>();
    let (mut agents, mut others) = (lines("agent"), lines("other"));
    let (mut idle, mut bare) = (Line::open(&mesh, "agent"), Line::open(&mesh, ""));
    let token = mesh.token("ada", json!({}));
    for line in agents.iter_mut().chain(&mut others) {
        is(line.call("/mesh", &[]), LET_IN);
    }
    is(idle.call("/mesh", &[]), LET_IN);
    is(bare.call("/tokens", &[&token]), LET_IN);

    // Another order, and one more, are nothing to anybody.
    Authority::new(&mesh.folder, "third").client(&mesh.folder, "late", "spiffe://corp/agent/c", false);
    believes(&mesh, &["others", "own"]);
    believes(&mesh, &["third", "others", "own"]);
    is(Line::open(&mesh, "late").call("/mesh", &[]), LET_IN);
    for line in agents.iter_mut().chain(&mut others) {
        is(line.call("/mesh", &[]), LET_IN);
    }

    believes(&mesh, &["others", "third"]);
    for line in &mut agents {
        is(line.call("/mesh", &[]), UNTRUSTED);
        assert_eq!(line.call("/mesh", &[]), None, "it is closed");
    }
    for line in &mut others {
        is(line.call("/mesh", &[]), LET_IN);
    }
    is(bare.call("/tokens", &[&token]), LET_IN);
    assert_eq!(Line::open(&mesh, "agent").call("/mesh", &[]), None, "no handshake");
    wait_for("lines", || refused(&mesh).len() == agents.len());
    let line = refused(&mesh).pop().expect("a line");
    assert_eq!((&line["status"], &line["server"]), (&json!(401), &json!("mesh")), "{line}");
    assert!(line["principal"].is_null(), "{line}");

    // It is believed again: nobody has asked meanwhile, so it is not told.
    believes(&mesh, &["own"]);
    is(idle.call("/mesh", &[]), LET_IN);
    // What else it brings does not count, as it would not for the next connection.
    believes(&mesh, &["others"]);
    let (status, head, body) = idle.ask("/tokens", &[&token], &call("x")).expect("an answer");
    assert_eq!(status, 401);
    assert!(
        head.contains("Connection: close\r\n") && head.contains("WWW-Authenticate: Certificate\r\n"),
        "{head}"
    );
    let message = body["error"]["message"].as_str().expect("a message");
    assert!(message.contains("nobody that this listener trusts now"), "{message}");
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// The same for curl, which keeps its connection for many calls, and a `client_ca` that is another file in another table.
#[test]
fn another_tables_authorities_are_asked_about_open_connections() {
    let mesh = two();
    let elsewhere =
        config(&mesh.upstream.url(), BOTH).replace("client_ca: clients.pem", "client_ca: others.pem");
    assert_eq!(through(&mesh, || mesh.folder.replace("strait.yaml", elsewhere)), ["200 1", "401 0"]);
    wait_for("a line", || refused(&mesh).len() == 1);
    assert_eq!(mesh.gateway.stop(), Some(0));
}

#[test]
fn certificates_that_come_to_be_required_shut_out_whoever_has_shown_none() {
    let mesh = two();
    let token = mesh.token("ada", json!({}));
    let (mut bare, mut agent) = (Line::open(&mesh, ""), Line::open(&mesh, "agent"));
    is(bare.call("/tokens", &[&token]), LET_IN);
    is(agent.call("/mesh", &[]), LET_IN);
    let served = config(&mesh.upstream.url(), BOTH);
    let required = served.replace("client_auth: optional", "client_auth: required");
    reloaded(&mesh, || mesh.folder.replace("strait.yaml", &required));
    is(agent.call("/mesh", &[]), LET_IN);
    is(bare.call("/tokens", &[&token]), (401, "certificate_required"));
    assert_eq!(bare.call("/tokens", &[&token]), None, "it is closed");
    // No server asks for one any more, and the listener takes none: who has shown one is as if it had not.
    let bound =
        mesh.token("ada", json!({"cnf": {"x5t#S256": crate::bound_tokens::thumbprint(&mesh, "agent")}}));
    is(agent.call("/tokens", &[&bound]), LET_IN);
    let without = served
        .replace(", client_ca: clients.pem, client_auth: optional", "")
        .replace("auth: [mesh]", "auth: [staff]")
        .replace("auth: [mesh, staff]", "auth: [staff]")
        .replace("auth: [staff, mesh]", "auth: [staff]")
        .replace("auth: [ci, mesh]", "auth: [ci]");
    reloaded(&mesh, || mesh.folder.replace("strait.yaml", &without));
    is(agent.call("/tokens", &[&token]), LET_IN);
    is(agent.call("/tokens", &[&bound]), (401, "invalid_token"));
    is(agent.call("/mesh", &[]), (401, "unauthenticated"));
    assert_eq!(mesh.gateway.stop(), Some(0));
}

const OLDER: &str = "MCP-Protocol-Version: 2025-06-18";

/// A session of the older revisions that begins on this line.
fn session(line: &mut Line) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let (status, head, body) = line.ask("/mesh", &[OLDER], &hello.to_string()).expect("an answer");
    assert_eq!(status, 200, "{body}");
    let session = head.lines().find(|line| line.starts_with("Mcp-Session-Id: "));
    session.expect("a session").to_owned()
}

/// Streams of both kinds, of the one and of the other; those of sessions come to be on either worker.
#[test]
fn streams_end_with_their_authority_and_others_stand() {
    let mesh = two();
    let listen = json!({"jsonrpc": "2.0", "id": 9, "method": "subscriptions/listen", "params": {
        "notifications": {"toolsListChanged": true},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let of_2026 = ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: subscriptions/listen"];
    let listening = |file: &str| {
        let mut line = Line::open(&mesh, file);
        line.say("/mesh", &of_2026, &listen.to_string());
        assert!(line.until("subscriptions/acknowledged").contains(" 200 "));
        line
    };
    let streaming = |file: &str| {
        let session = session(&mut Line::open(&mesh, file));
        let mut line = Line::open(&mesh, file);
        let get = format!(
            "GET /mesh HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{OLDER}\r\n{session}\r\n\r\n"
        );
        line.says.write_all(get.as_bytes()).expect("ask");
        assert!(line.head().expect("a head").contains(" 200 "));
        line
    };
    let mut own: Vec<Line> = (0..3).flat_map(|_| [listening("agent"), streaming("agent")]).collect();
    let (mut listens, mut streams) = (listening("other"), streaming("other"));
    believes(&mesh, &["others"]);
    for line in &mut own {
        let rest = line.until("there is no such text");
        assert!(!rest.contains("\"id\":9"), "nothing more is said: {rest}");
        line.was_closed();
    }
    // The others' are told of what changes.
    let fewer =
        config(&mesh.upstream.url(), BOTH).replace("auth: [mesh], tools: [\"*\"]", "auth: [mesh], tools: []");
    mesh.folder.replace("strait.yaml", fewer);
    for line in [&mut listens, &mut streams] {
        assert!(line.until("tools/list_changed").contains("tools/list_changed"));
    }
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// A call that is under way when its client's authority goes: what has begun ends, and what comes later is not told.
#[test]
fn answers_under_way_end_with_their_authority() {
    let gate = Gate::default();
    let waits = gate.clone();
    let upstream = Scripted::modern(move |arrived| {
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": arrived.body["params"]["_meta"]["progressToken"], "progress": 1}});
        let waits = Step::Await(waits.clone());
        match arrived.argument("text") {
            "begun" => {
                let begun = [event_stream(), event(&progress)].map(Step::Send);
                [begun.to_vec(), vec![waits, Step::Send(event(&echoed(arrived))), Step::Close]].concat()
            }
            "waits" => [vec![waits], json_reply(&echoed(arrived))].concat(),
            _ => json_reply(&echoed(arrived)),
        }
    });
    let mesh = Mesh::of(upstream);
    Authority::new(&mesh.folder, "others");
    let asked = |text: &str| {
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": text},
            "_meta": {"progressToken": "p"}}})
    };
    let of_2026 = ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: echo"];
    let modern = |text: &str| {
        let mut asked = asked(text);
        asked["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        asked["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        asked.to_string()
    };
    let mut begun = Line::open(&mesh, "agent");
    begun.say("/mesh", &of_2026, &modern("begun"));
    assert!(begun.until("\"progress\":1").contains(" 200 "));
    let mut older = Line::open(&mesh, "agent");
    let session = session(&mut older);
    older.say("/mesh", &[OLDER, &session], &asked("begun").to_string());
    assert!(older.until("\"progress\":1").contains(" 200 "));
    let mut waiting = Line::open(&mesh, "agent");
    waiting.say("/mesh", &of_2026, &modern("waits"));
    wait_for("the call", || mesh.upstream.arrived("tools/call").len() == 3);

    believes(&mesh, &["others"]);
    let rest = begun.until("untrusted_certificate");
    assert!(rest.contains("untrusted_certificate") && !rest.contains("begun"), "{rest}");
    let rest = older.until("there is no such text");
    assert!(!rest.contains("begun"), "{rest}");
    older.was_closed();
    gate.open();
    let (_, _, body) = waiting.answer().expect("an answer");
    assert_eq!(body["error"]["data"]["reason"], "untrusted_certificate", "{body}");
    wait_for("lines", || refused(&mesh).len() == 3);
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// A file that cannot be used changes nothing for anybody.
#[test]
fn an_unreadable_list_of_authorities_leaves_connections_as_they_are() {
    let mesh = two();
    let mut agent = Line::open(&mesh, "agent");
    is(agent.call("/mesh", &[]), LET_IN);
    mesh.folder.replace("clients.pem", "nobody");
    mesh.gateway.wait_for_log("the certificate from before is served on");
    is(agent.call("/mesh", &[]), LET_IN);
    is(Line::open(&mesh, "agent").call("/mesh", &[]), LET_IN);
    assert_eq!(mesh.gateway.stop(), Some(0));
}
