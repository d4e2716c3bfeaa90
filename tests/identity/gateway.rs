//! A gateway that believes one issuer, and what is asked of it.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use strait_tests::client::{modern, post};
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Answer, Client, Scripted};

use crate::issuer::now_s;
use crate::process::{Folder, Process};

/// Where agents know the gateway.
pub const PUBLIC: &str = "https://gw.example";
pub const RESOURCE: &str = "https://gw.example/mcp";

pub struct Site {
    pub folder: Folder,
    pub upstream: Scripted,
    pub process: Process,
    /// What its log calls by its public name.
    pub address: SocketAddr,
}

/// Where nobody listens at the moment.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address")
}

pub const ALL: &str = r#"{ id: all, allow: ["*"], to: [staff] }"#;

/// Identities `staff` (these lines of YAML) and `ci` (a key file); `echo` is for the group `staff`.
pub fn config(bind: SocketAddr, upstream: &str, staff: &str) -> String {
    format!(
        r#"strait: 1
listeners: {{ main: {{ bind: "{bind}", public: "{PUBLIC}", hosts: ["*"] }} }}
admin: {{ bind: "127.0.0.1:0" }}
access_log: {{ path: access.log }}
upstreams: {{ up: {{ http: "{upstream}" }} }}
servers:
  default: {{ path: /mcp, auth: [staff, ci], tools: ["*"] }}
  other: {{ path: /other, auth: [staff], tools: ["*"] }}
  keyed: {{ path: /keyed, auth: [ci], tools: ["*"] }}
identity:
  staff: {{ {staff} }}
  ci: {{ api_keys: {{ generate: [{{ id: robot, groups: [staff] }}] }} }}
roles: {{ staff: '"staff" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [staff] }}
"#
    )
}

impl Site {
    pub fn new(staff: &str) -> Site {
        Site::of(Folder::new(), staff)
    }

    pub fn of(folder: Folder, staff: &str) -> Site {
        Site::with_rule(folder, staff, ALL)
    }

    /// With this rule in the place of the one that allows everything.
    pub fn with_rule(folder: Folder, staff: &str, rule: &str) -> Site {
        Site::over(Scripted::modern(|request| json_reply(&echoed(request))), folder, staff, rule)
    }

    pub fn over(upstream: Scripted, folder: Folder, staff: &str, rule: &str) -> Site {
        let address = free_address();
        let text = config(address, &upstream.url(), staff);
        assert!(text.contains(ALL));
        folder.write("strait.yaml", text.replace(ALL, rule));
        let driver = std::env::var("STRAIT_DRIVER").unwrap_or_else(|_| "auto".to_owned());
        let process = Process::start(&folder, &["serve", "strait.yaml", "--driver", &driver]);
        Site { folder, upstream, process, address }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A call of `echo` at a path with this credential.
    pub fn call_at(&self, path: &str, token: &str) -> Answer {
        self.client().roundtrip(call(path, token))
    }

    pub fn call(&self, token: &str) -> Answer {
        self.call_at("/mcp", token)
    }

    pub fn get(&self, path: &str, more: &str) -> Answer {
        self.ask("GET", path, more)
    }

    pub fn ask(&self, method: &str, path: &str, more: &str) -> Answer {
        let mut client = self.client();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: gw.example\r\n{more}\r\n"));
        client.answer_to(method).expect("an answer")
    }

    /// Access lines so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.folder.read("access.log")).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

pub fn call(path: &str, token: &str) -> Vec<u8> {
    call_with(path, token, json!({"say": "hi"}))
}

pub fn call_with(path: &str, token: &str, arguments: Value) -> Vec<u8> {
    let body = modern("", 7, "tools/call", json!({"name": "echo", "arguments": arguments}));
    let at = body.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "echo"),
    ];
    let request = post(&headers, &body[at..]);
    let text = String::from_utf8(request).expect("UTF-8");
    text.replacen("POST /mcp ", &format!("POST {path} "), 1).into_bytes()
}

/// Claims that are fine at `/mcp`.
pub fn claims(issuer: &str, subject: &str) -> Value {
    json!({"iss": issuer, "sub": subject, "aud": RESOURCE, "exp": now_s() + 600, "iat": now_s(),
        "groups": ["staff"], "jti": format!("token-of-{subject}"), "azp": "console"})
}

/// The stable word of a refusal; nothing where the call went through.
pub fn refused(answer: &Answer) -> Option<String> {
    answer.json()["error"]["data"]["reason"].as_str().map(str::to_owned)
}

/// Why a token is not believed, as the challenge says it.
pub fn described(answer: &Answer) -> String {
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    let said = challenge.split("error_description=\"").nth(1).unwrap_or_default();
    said.split('"').next().unwrap_or_default().to_owned()
}
