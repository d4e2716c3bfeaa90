//! A serving process from outside: it opens, tells its state, drains on SIGTERM, and names what holds
//! its port.

mod common;

use std::net::TcpListener;

use common::gateway::{Gateway, free_port, get, ready};
use common::{Folder, strait};
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

/// Standard output is a pipe here, and nobody empties it before the gateway is gone.
#[test]
fn an_access_log_that_nobody_reads_does_not_keep_it() {
    let folder = Folder::new();
    let (port, admin) = (free_port(), free_port());
    folder.write("strait.yaml", config(port, admin));
    let gateway = Gateway::start(folder.path(), &["serve", "strait.yaml", "--workers", "1"]);
    ready(admin);
    // Refusals are always written; a pipe holds 64 KiB of them, or less where pages of it are not full.
    for _ in 0..600 {
        assert_eq!(get(port, "/nowhere", "localhost").unwrap().0, 404);
    }
    let (code, _, err) = gateway.stop();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("nobody takes the access log: its last lines are lost"), "{err}");
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
