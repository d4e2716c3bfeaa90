//! What upstreams are told of who calls: verified by `jsonwebtoken`, which the gateway does not use.

use std::net::SocketAddr;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use strait_tests::client::{Answer, delete, initialize, legacy, modern, post};
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{echoed, json_reply};
use strait_tests::{Client, Scripted};

use crate::gateway::{PUBLIC, claims, free_address, refused};
use crate::issuer::Pair;
use crate::process::{Folder, Process, strait};

const KEY: &str = "a key of at least thirty-two bytes";
const OTHER_KEY: &str = "another key, thirty-two bytes also";
const ISSUER: &str = "https://idp.example";

fn config(bind: SocketAddr, told: &str, silent: &str) -> String {
    format!(
        r#"strait: 1
listeners: {{ main: {{ bind: "{bind}", public: "{PUBLIC}", hosts: ["*"] }} }}
admin: {{ bind: "127.0.0.1:0" }}
access_log: {{ path: access.log }}
upstreams:
  told: {{ http: "{told}", identity_header: {{ name: X-Strait-Identity, key: "${{secret:identity}}" }} }}
  silent: {{ http: "{silent}" }}
servers:
  default: {{ path: /mcp, auth: [staff, ci], tools: ["told.*", "silent.*"] }}
  open: {{ path: /open, auth: none, tools: ["told.*", "silent.*"] }}
identity:
  staff: {{ jwt: {{ issuer: "{ISSUER}", jwks: ./keys.json }} }}
  ci: {{ api_keys: {{ generate: [{{ id: robot, groups: [staff], tenant: acme }}, {{ id: other }}] }} }}
secrets: {{ identity: {{ file: ./identity.key }} }}
policy: {{ default: allow }}
"#
    )
}

struct Site {
    folder: Folder,
    told: Scripted,
    silent: Scripted,
    process: Process,
    address: SocketAddr,
    pair: Pair,
}

impl Site {
    fn new() -> Site {
        Site::over(Scripted::modern(|request| json_reply(&echoed(request))))
    }

    /// With this upstream to be told.
    fn over(told: Scripted) -> Site {
        let folder = Folder::new();
        let silent = Scripted::modern(|request| json_reply(&echoed(request)));
        let pair = Pair::es256("one");
        folder.write("keys.json", json!({"keys": [pair.jwk]}).to_string());
        folder.write("identity.key", KEY);
        let address = free_address();
        folder.write("strait.yaml", config(address, &told.url(), &silent.url()));
        let driver = std::env::var("STRAIT_DRIVER").unwrap_or_else(|_| "auto".to_owned());
        let process = Process::start(&folder, &["serve", "strait.yaml", "--driver", &driver]);
        Site { folder, told, silent, process, address, pair }
    }

    fn key(&self, id: &str) -> String {
        let key = self.folder.read(&format!("state/keys/ci.{id}.key"));
        String::from_utf8(key).expect("UTF-8").trim().to_owned()
    }

    /// What the upstream was told of the last call, as its header has it.
    fn call(&self, path: &str, tool: &str, credential: &str) -> Option<String> {
        let upstream = if tool.starts_with("told") { &self.told } else { &self.silent };
        let before = upstream.arrived("tools/call").len();
        let answer = ask(self.address, path, tool, credential);
        assert_eq!((answer.status, refused(&answer)), (200, None), "{path} {tool}");
        let arrived = upstream.arrived("tools/call");
        assert_eq!(arrived.len(), before + 1);
        assert!(
            arrived.iter().all(|request| !request.head.contains("forged")),
            "what a client said of itself"
        );
        arrived.last().and_then(|request| request.header("x-strait-identity").map(str::to_owned))
    }
}

/// A call by a client that claims to be somebody, in the header that upstreams believe.
fn ask(gateway: SocketAddr, path: &str, tool: &str, credential: &str) -> Answer {
    let body = modern("", 7, "tools/call", json!({"name": tool, "arguments": {"say": "hi"}}));
    let at = body.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let bearer = format!("Bearer {credential}");
    let mut headers = vec![
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", tool),
        ("X-Strait-Identity", "forged"),
        ("x-strait-identity", "forged again"),
    ];
    if !credential.is_empty() {
        headers.push(("Authorization", &bearer));
    }
    let text = String::from_utf8(post(&headers, &body[at..])).expect("UTF-8");
    let request = text.replacen("POST /mcp ", &format!("POST {path} "), 1);
    Client::connect(gateway).roundtrip(request.into_bytes())
}

/// The claims of a statement that stands and was signed with this key.
fn verified(statement: &str, key: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&["told"]);
    validation.set_issuer(&[PUBLIC]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_secret(key.as_bytes());
    jsonwebtoken::decode::<Value>(statement, &key, &validation).map(|token| token.claims)
}

#[test]
fn an_upstream_is_told_who_calls_and_no_client_can_say_it_for_itself() {
    let site = Site::new();
    let mut claims = claims(ISSUER, "ada");
    claims["act"] = json!({"sub": "ops-agent", "act": {"sub": "planner"}});
    let ada = site.pair.sign(&claims);
    claims["act"] = json!({"sub": "another-agent"});
    let ada_by_another = site.pair.sign(&claims);
    // Twice, on both workers now and then: what was made is shown again, to the same caller alone.
    let mut seen = Vec::new();
    for _ in 0..4 {
        for (credential, subject, identity) in [
            (site.key("robot"), "robot", "ci"),
            (site.key("other"), "other", "ci"),
            (ada.clone(), "ada", "staff"),
            (ada_by_another.clone(), "ada", "staff"),
        ] {
            let statement = site.call("/mcp", "told__echo", &credential).expect("a statement");
            let said = verified(&statement, KEY).expect("a good one");
            assert_eq!((&said["sub"], &said["identity"]), (&json!(subject), &json!(identity)));
            let life_s = said["exp"].as_i64().expect("exp") - said["iat"].as_i64().expect("iat");
            assert_eq!(life_s, 60);
            assert!(!statement.contains(&credential) && verified(&statement, OTHER_KEY).is_err());
            match credential {
                ref token if *token == ada => {
                    assert_eq!(said["act"], json!({"sub": "ops-agent", "act": {"sub": "planner"}}));
                    assert_eq!(said["agent"], "ops-agent");
                }
                ref token if *token == ada_by_another => assert_eq!(said["agent"], "another-agent"),
                _ if subject == "robot" => {
                    assert_eq!((&said["tenant"], &said["groups"]), (&json!("acme"), &json!(["staff"])));
                }
                _ => assert_eq!(said["groups"], Value::Null),
            }
            seen.push((credential, statement));
        }
    }
    // No two callers share one.
    for (credential, statement) in &seen {
        assert!(seen.iter().all(|(other, said)| other == credential || said != statement));
    }
    assert_eq!(site.call("/open", "told__echo", ""), None, "of nobody nothing is said");
    // Nor is anything of it said, or let through, to an upstream that is not to hear it.
    assert_eq!(site.call("/mcp", "silent__echo", &ada), None);
    assert_eq!(site.call("/open", "silent__echo", ""), None);
    assert_eq!(site.process.stop(), Some(0));
}

#[test]
fn an_older_server_is_told_with_each_call_and_with_nothing_that_the_gateway_asks_for_itself() {
    let site = Site::over(Scripted::legacy(|request| json_reply(&echoed(request))));
    let robot = site.key("robot");
    for credential in [robot.clone(), site.key("other")] {
        let statement = site.call("/mcp", "told__echo", &credential).expect("a statement");
        let said = verified(&statement, KEY).expect("a good one");
        assert_eq!(said["sub"], if credential == robot { "robot" } else { "other" });
    }
    // A client of that revision, in a session of its own.
    let mut client = Client::connect(site.address);
    let session = initialize(&mut client, &robot, "2025-06-18");
    let params = json!({"name": "told__echo", "arguments": {"say": "hi"}});
    assert_eq!(client.roundtrip(legacy(&robot, &session, 1, "tools/call", params)).status, 200);
    let calls = site.told.arrived("tools/call");
    let statement = calls.last().and_then(|call| call.header("x-strait-identity")).expect("a statement");
    assert_eq!(verified(statement, KEY).expect("a good one")["sub"], "robot");
    assert_eq!(client.roundtrip(delete(&robot, &session)).status, 204);
    // A list is asked for again, and a session ended, for nobody.
    site.process.hang_up();
    let mut asked = 0;
    for method in [
        "initialize",
        "notifications/initialized",
        "tools/list",
        "prompts/list",
        "resources/list",
        "GET",
        "DELETE",
    ] {
        for request in site.told.arrived(method) {
            assert_eq!(request.header("x-strait-identity"), None, "{method}");
            asked += 1;
        }
    }
    assert!(asked > 3, "{asked}");
    assert_eq!(site.process.stop(), Some(0));
}

#[test]
fn another_key_is_used_from_the_next_call_on_and_a_bad_one_is_not() {
    let site = Site::new();
    let robot = site.key("robot");
    let statement = || site.call("/mcp", "told__echo", &robot).expect("a statement");
    assert!(verified(&statement(), KEY).is_ok());
    let kid = |statement: &str| jsonwebtoken::decode_header(statement).expect("a head").kid.expect("a kid");
    let before = kid(&statement());
    site.folder.replace("identity.key", OTHER_KEY);
    wait_for("the new key", || verified(&statement(), OTHER_KEY).is_ok());
    assert_ne!(kid(&statement()), before);
    // What cannot be used changes nothing.
    site.folder.replace("identity.key", "short");
    site.process.wait_for_log("identity_header");
    assert!(verified(&statement(), OTHER_KEY).is_ok());
    assert_eq!(site.process.stop(), Some(0));
}

#[test]
fn what_cannot_be_stated_is_refused_at_the_desk() {
    let folder = Folder::new();
    let check = |upstream: &str, said: &str| {
        folder.write(
            "strait.yaml",
            format!(
                "strait: 1\nupstreams: {{ up: {{ {upstream} }} }}\nservers: {{ default: {{ path: /mcp, tools: [\"*\"] }} }}\n\
                 policy: {{ default: allow }}\n"
            ),
        );
        let out = strait(&folder.0, &["check", "strait.yaml"]);
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(!out.status.success() && text.contains(said), "{upstream}: {text}");
    };
    let key = "key: \"${secret:identity}\"";
    check(&format!("sample: http, identity_header: {{ name: X-Id, {key} }}"), "has no `http` URL");
    check(
        &format!("http: \"http://127.0.0.1:1/mcp\", identity_header: {{ name: Mcp-Param-Id, {key} }}"),
        "Strait writes this header itself",
    );
    check(
        &format!(
            "http: \"http://127.0.0.1:1/mcp\", identity_header: {{ name: Authorization, {key} }}, credential: {{ bearer: \"${{secret:a}}\" }}"
        ),
        "same header",
    );
    check("http: \"http://127.0.0.1:1/mcp\", identity_header: { name: X-Id }", "key");
}
