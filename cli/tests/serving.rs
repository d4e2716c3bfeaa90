//! A serving process from outside: it opens, tells its state, drains on SIGTERM, and names what holds
//! its port.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, command, strait};
use serde_json::Value;

fn config(port: u16, admin: u16) -> String {
    format!(
        r#"
strait: 1
listeners: {{ main: {{ bind: "127.0.0.1:{port}" }} }}
admin: {{ bind: "127.0.0.1:{admin}" }}
upstreams:
  hello: {{ sample: stdio }}
  crm: {{ http: "http://127.0.0.1:1/mcp", credential: {{ bearer: "${{secret:crm}}" }} }}
servers:
  default: {{ path: /mcp, auth: [you], tools: ["*"] }}
identity:
  you: {{ api_keys: {{ generate: [{{ id: you, groups: [everyone] }}] }} }}
roles:
  everyone: '"everyone" in principal.groups'
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [everyone] }}
"#
    )
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Gateway(Child);

impl Gateway {
    fn start(folder: &Path, arguments: &[&str]) -> Gateway {
        let mut command = command(folder, arguments);
        Gateway(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Sends SIGTERM; gives exit code, stdout and stderr.
    fn stop(mut self) -> (Option<i32>, String, String) {
        let pid = self.0.id().to_string();
        assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(45);
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "still there 45 s after SIGTERM"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status.code(), out, err)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(port: u16, path: &str, host: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The body of `/readyz` when it says 200.
fn ready(admin: u16) -> Value {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Some((200, body)) = get(admin, "/readyz", "localhost") {
            return serde_json::from_str(&body).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not ready within 20 s");
}

#[test]
fn it_opens_tells_its_state_and_drains() {
    let folder = Folder::new();
    let (port, admin) = (free_port(), free_port());
    folder.write("strait.yaml", config(port, admin));
    let gateway = Gateway::start(folder.path(), &["up", "strait.yaml", "--workers", "2"]);
    let state = ready(admin);
    assert_eq!((&state["ready"], &state["upstreams"][0]["state"]), (&true.into(), &"ready".into()));
    assert_eq!(state["upstreams"][1]["state"], "unreachable");
    assert!(state["upstreams"][1]["error"].as_str().unwrap().contains("secret `crm` not found"), "{state}");
    assert_eq!(get(admin, "/healthz", "localhost").unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(get(admin, "/healthz", "evil.example").unwrap().0, 403);
    let key = String::from_utf8(folder.read(".strait/keys/you.you.key")).unwrap();
    let (code, out, err) = gateway.stop();
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains(&format!("http://127.0.0.1:{port}/mcp")) && out.contains("curl"), "{out}");
    assert!(!out.contains(key.trim()) && !err.contains(key.trim()), "a key in a pipe");
    for line in err.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
    }
}

#[test]
fn a_table_is_served_as_its_configuration_is() {
    let folder = Folder::new();
    let admin = free_port();
    folder.write("strait.yaml", config(free_port(), admin));
    let compiled = strait(folder.path(), &["compile", "strait.yaml", "-o", "t", "--json"]);
    let compiled: Value = serde_json::from_str(&compiled.stdout).unwrap();
    let gateway = Gateway::start(folder.path(), &["serve", "t", "--state", "kept", "--workers", "1"]);
    assert_eq!(ready(admin)["generation"], compiled["generation"]);
    assert!(folder.path().join("kept/admin.token").exists());
    assert_eq!(gateway.stop().0, Some(0));
}

#[test]
fn a_taken_port_is_named_with_its_remedy() {
    let folder = Folder::new();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let check = |config: String, what: &str| {
        folder.write("strait.yaml", config);
        let refused = strait(folder.path(), &["up", "strait.yaml"]);
        assert_eq!(refused.code, 6, "{}", refused.stderr);
        for text in [&format!("127.0.0.1:{port}"), what, "ss -ltnp"] {
            assert!(refused.stderr.contains(text), "`{text}`: {}", refused.stderr);
        }
    };
    check(config(port, free_port()), "listener `main`");
    check(config(free_port(), port), "`admin`");
}
