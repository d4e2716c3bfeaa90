//! Who calls, where a client's certificate says it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use strait_tests::Scripted;
use strait_tests::gateway::wait_for;

use crate::authority::Authority;
use crate::issuer::{Pair, now_s};
use crate::process::{Folder, Process, strait};
use crate::{call, curl_at, curl_bare, echo, serve};

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://gw.example";

pub fn config(upstream: &str, sans: &str) -> String {
    format!(
        r#"strait: 1
listeners: {{ main: {{ bind: "127.0.0.1:0", tls: {{ cert: one.pem, key: one.key, client_ca: clients.pem, client_auth: optional }} }} }}
admin: {{ bind: "127.0.0.1:0" }}
access_log: {{ path: access.log }}
upstreams: {{ up: {{ http: "{upstream}" }} }}
identity:
  mesh: {{ mtls: {{ san: {sans}, groups: [agents], agent: helper, tenant: acme }} }}
  staff: {{ jwt: {{ issuer: "{ISSUER}", jwks: ./keys.json, audience: ["{AUDIENCE}"] }} }}
  ci: {{ api_keys: {{ generate: [{{ id: robot, groups: [agents] }}] }} }}
servers:
  mesh: {{ path: /mesh, auth: [mesh], tools: ["*"] }}
  mixed: {{ path: /mixed, auth: [mesh, staff], tools: ["*"] }}
  tokens: {{ path: /tokens, auth: [staff, mesh], tools: ["*"] }}
  keys: {{ path: /keys, auth: [ci, mesh], tools: ["*"] }}
  named: {{ path: /named, auth: [mesh], tools: ["*"] }}
roles:
  agents: '"agents" in principal.groups'
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [agents], unless: 'call.server == "named"' }}
    - {{ id: named, allow: ["*"], when: 'call.server == "named" && "spiffe://corp/agent/a" in principal.claims.san.uri && principal.claims.subject == "CN=agent" && size(principal.claims.fingerprint) == 64' }}
"#
    )
}

pub const BOTH: &str = "[\"spiffe://corp/agent/*\", \"*.agents.corp\"]";

/// A gateway whose clients are those of `clients.pem`, and who issues to them.
pub struct Mesh {
    pub folder: Folder,
    pub clients: Authority,
    pub upstream: Scripted,
    pub gateway: Process,
    pub pair: Pair,
}

impl Mesh {
    pub fn new() -> Mesh {
        Mesh::of(echo())
    }

    /// Before this upstream.
    pub fn of(upstream: Scripted) -> Mesh {
        let folder = Folder::new();
        Authority::new(&folder, "ca").server(&folder, "one", &["localhost"]);
        let clients = Authority::new(&folder, "clients");
        clients.client(&folder, "agent", "spiffe://corp/agent/a", false);
        let pair = Pair::es256("one");
        folder.write("keys.json", json!({"keys": [pair.jwk]}).to_string());
        let gateway = serve(&folder, &config(&upstream.url(), BOTH));
        Mesh { folder, clients, upstream, gateway, pair }
    }

    /// A call at a path with this certificate, and further arguments of curl.
    pub fn call(&self, path: &str, file: &str, more: &[&str]) -> Result<(u16, Value), String> {
        let (cert, key) = (format!("{file}.pem"), format!("{file}.key"));
        let mut arguments = match file {
            "" => vec![],
            _ => vec!["--cert", &cert, "--key", &key],
        };
        arguments.extend(more);
        let (status, body) =
            curl_at(&self.folder, self.gateway.address, ("localhost", path), &arguments, &call("x"))?;
        Ok((status, serde_json::from_str(&body).expect("JSON")))
    }

    /// Who was let in, as the access log has it.
    pub fn principal(&self, path: &str, file: &str, more: &[&str]) -> String {
        let before = self.lines().len();
        let (status, body) = self.call(path, file, more).expect("an answer");
        assert_eq!((status, body["error"].is_null()), (200, true), "{path} {file}: {body}");
        // Lines are written behind the answers.
        wait_for("a line", || self.lines().len() > before);
        let line = self.lines().pop().expect("a line");
        line["principal"].as_str().expect("a principal").to_owned()
    }

    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.folder.read("access.log")).expect("UTF-8");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.filter(|line: &Value| line["tool"] == "echo").collect()
    }

    /// A token of the issuer, with these claims beside those that make it a good one.
    pub fn token(&self, subject: &str, more: Value) -> String {
        let mut claims = json!({"iss": ISSUER, "sub": subject, "aud": AUDIENCE, "exp": now_s() + 600,
            "iat": now_s(), "groups": ["agents"]});
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        format!("Authorization: Bearer {}", self.pair.sign(&claims))
    }
}

fn message(answer: &(u16, Value)) -> &str {
    answer.1["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_certificate_shows_a_principal_and_others_are_told_what_is_missing() {
    let mesh = Mesh::new();
    assert_eq!(mesh.principal("/mesh", "agent", &[]), "spiffe://corp/agent/a");
    let line = mesh.lines().pop().expect("a line");
    assert_eq!(line["agent"], "helper");
    // Conditions see all that it says.
    assert_eq!(mesh.principal("/named", "agent", &[]), "spiffe://corp/agent/a");
    mesh.clients.client(&mesh.folder, "other", "spiffe://corp/agent/b", false);
    assert_eq!(mesh.call("/named", "other", &[]).expect("an answer").0, 200);
    assert!(message(&mesh.call("/named", "other", &[]).expect("an answer")).contains("Unknown tool"));

    let nothing = mesh.call("/mesh", "", &["-D", "head"]).expect("an answer");
    assert_eq!(nothing.0, 401);
    assert!(message(&nothing).contains("this connection has shown none"), "{nothing:?}");
    assert!(String::from_utf8_lossy(&mesh.folder.read("head")).contains("WWW-Authenticate: Certificate\r\n"));
    let either = mesh.call("/mixed", "", &["-D", "head"]).expect("an answer");
    assert_eq!(either.0, 401);
    assert!(message(&either).contains("a token or an API key") && message(&either).contains("certificate"));
    assert!(String::from_utf8_lossy(&mesh.folder.read("head")).contains("WWW-Authenticate: Bearer "));

    mesh.clients.client(&mesh.folder, "stranger", "spiffe://corp/robot/a", false);
    let stranger = mesh.call("/mesh", "stranger", &[]).expect("an answer");
    assert_eq!(stranger.0, 401);
    assert!(message(&stranger).contains("has no such name"), "{stranger:?}");
    // These do not come so far.
    Authority::new(&mesh.folder, "foreigners").client(
        &mesh.folder,
        "foreign",
        "spiffe://corp/agent/a",
        false,
    );
    mesh.clients.client(&mesh.folder, "old", "spiffe://corp/agent/a", true);
    for file in ["foreign", "old"] {
        assert!(mesh.call("/mesh", file, &[]).is_err(), "{file}");
    }
    assert_eq!(mesh.gateway.stop(), Some(0));
}

#[test]
fn of_several_names_the_first_pattern_decides_and_two_spiffe_ids_are_nobody() {
    let mesh = Mesh::new();
    let check = |file: &str, names: &[&str], expected: Option<&str>| {
        mesh.clients.client_of(&mesh.folder, file, names);
        match expected {
            Some(id) => assert_eq!(mesh.principal("/mesh", file, &[]), id),
            None => assert_eq!(mesh.call("/mesh", file, &[]).expect("an answer").0, 401, "{file}"),
        }
    };
    check("both", &["a.agents.corp", "spiffe://corp/agent/b"], Some("spiffe://corp/agent/b"));
    check("host", &["spiffe://other/a", "A.Agents.corp"], Some("a.agents.corp"));
    check("mail", &["a@a.agents.corp"], None);
    check("wild", &["*.agents.corp"], None);
    check("two", &["spiffe://corp/agent/a", "spiffe://corp/agent/b"], None);
    check("nameless", &[], None);
    assert_eq!(mesh.gateway.stop(), Some(0));
}

#[test]
fn of_a_certificate_and_a_bearer_the_first_identity_that_accepts_decides() {
    let mesh = Mesh::new();
    let spiffe = "spiffe://corp/agent/a";
    let good = mesh.token("ada", json!({}));
    let bad = mesh.token("ada", json!({"aud": "https://elsewhere.example"}));
    let key = String::from_utf8(mesh.folder.read("state/keys/ci.robot.key")).expect("UTF-8");
    let key = format!("Authorization: Bearer {}", key.trim());
    // Twice, since what is unknown goes another way than what is known.
    for _ in 0..2 {
        assert_eq!(mesh.principal("/mixed", "agent", &["-H", &good]), spiffe);
        assert_eq!(mesh.principal("/mixed", "agent", &["-H", &bad]), spiffe);
        assert_eq!(mesh.principal("/mixed", "", &["-H", &good]), "ada");
        assert_eq!(mesh.principal("/mixed", "agent", &["-H", &good]), spiffe, "a token that is known");
        assert_eq!(mesh.principal("/tokens", "agent", &["-H", &good]), "ada");
        assert_eq!(mesh.principal("/tokens", "agent", &["-H", &bad]), spiffe);
        assert_eq!(mesh.principal("/tokens", "agent", &[]), spiffe);
        assert_eq!(mesh.principal("/keys", "agent", &["-H", &key]), "robot");
        assert_eq!(mesh.principal("/keys", "agent", &["-H", &good]), spiffe);
        assert_eq!(mesh.call("/tokens", "", &["-H", &bad]).expect("an answer").0, 401);
        assert_eq!(mesh.call("/mesh", "", &["-H", &good]).expect("an answer").0, 401);
    }
    // Figures tell by what each was known, and nobody's name.
    let (_, text) = mesh.gateway.ask("/metrics");
    let requests = |server: &str, caller: &str, verdict: &str| {
        let series = format!(
            r#"strait_server_requests_total{{server="{server}",caller="{caller}",verdict="{verdict}"}} "#
        );
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert_eq!((requests("mixed", "mtls", "permit"), requests("mixed", "jwt", "permit")), (6, 2));
    assert_eq!((requests("keys", "api_key", "permit"), requests("keys", "mtls", "permit")), (2, 2));
    assert_eq!((requests("tokens", "unknown", "none"), requests("mesh", "unknown", "none")), (2, 2));
    assert!(!["ada", "robot", "spiffe:"].iter().any(|name| text.contains(name)));
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// A session of the older revisions is its principal's, whichever certificate that shows.
#[test]
fn a_renewed_certificate_goes_on_with_its_session_and_another_ones_does_not() {
    let mesh = Mesh::new();
    let older = |file: &str, session: &str, body: Value| {
        let (cert, key) = (format!("{file}.pem"), format!("{file}.key"));
        let session = format!("Mcp-Session-Id: {session}");
        let mut arguments = vec!["--cert", &cert, "--key", &key, "-D", "head"];
        arguments.extend(["-H", "MCP-Protocol-Version: 2025-06-18"]);
        if !session.ends_with(' ') {
            arguments.extend(["-H", &session]);
        }
        let body = body.to_string();
        curl_bare(&mesh.folder, mesh.gateway.address, ("localhost", "/mesh"), &arguments, &body)
            .expect("an answer")
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let (status, body) = older("agent", "", hello);
    assert_eq!(status, 200, "{body}");
    let head = String::from_utf8(mesh.folder.read("head")).expect("UTF-8");
    let session = head.lines().find_map(|line| line.strip_prefix("Mcp-Session-Id: ")).expect("a session");
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    assert_eq!(older("agent", session, ping.clone()).0, 200);
    mesh.clients.client(&mesh.folder, "agent", "spiffe://corp/agent/a", false);
    assert_eq!(older("agent", session, ping.clone()).0, 200, "a renewed certificate");
    mesh.clients.client(&mesh.folder, "other", "spiffe://corp/agent/b", false);
    assert_eq!(older("other", session, ping).0, 404, "somebody else");
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// `curl`, reading an answer that stands open.
struct Listening {
    child: Child,
    heard: BufReader<std::process::ChildStdout>,
}

fn listen(mesh: &Mesh) -> Listening {
    let body = json!({"jsonrpc": "2.0", "id": 9, "method": "subscriptions/listen", "params": {
        "notifications": {"toolsListChanged": true},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}}}});
    let port = mesh.gateway.address.port();
    let mut child = Command::new("curl")
        .args(["--silent", "--no-buffer", "--max-time", "60", "--cacert", "ca.pem", "--cert", "agent.pem"])
        .args(["--key", "agent.key", "--resolve", &format!("localhost:{port}:127.0.0.1"), "--data-binary"])
        .arg(body.to_string())
        .args(["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"])
        .args(["-H", "MCP-Protocol-Version: 2026-07-28", "-H", "Mcp-Method: subscriptions/listen"])
        .arg(format!("https://localhost:{port}/mesh"))
        .current_dir(&mesh.folder.0)
        .stdout(Stdio::piped())
        .spawn()
        .expect("run curl");
    let heard = BufReader::new(child.stdout.take().expect("its output"));
    Listening { child, heard }
}

#[test]
fn an_open_stream_ends_when_its_certificate_is_accepted_no_more() {
    let mesh = Mesh::new();
    let mut listening = listen(&mesh);
    let mut line = String::new();
    while !line.contains("notifications/subscriptions/acknowledged") {
        line.clear();
        assert_ne!(listening.heard.read_line(&mut line).expect("a line"), 0, "it ended");
    }
    let narrower = config(&mesh.upstream.url(), "[\"spiffe://corp/agent/b\"]");
    mesh.folder.replace("strait.yaml", narrower);
    let rest: Vec<String> = listening.heard.lines().map_while(Result::ok).collect();
    assert!(listening.child.wait().expect("its end").success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("\"id\":9")), "{rest:?}");
    assert_eq!(mesh.call("/mesh", "agent", &[]).expect("an answer").0, 401);
    mesh.clients.client(&mesh.folder, "other", "spiffe://corp/agent/b", false);
    assert_eq!(mesh.principal("/mesh", "other", &[]), "spiffe://corp/agent/b");
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// A connection that stays open through it: what was learnt of its certificate under one table is worth nothing under the next.
#[test]
fn an_open_connection_is_judged_anew_when_another_table_comes_into_use() {
    let mesh = Mesh::new();
    let narrower = config(&mesh.upstream.url(), "[\"spiffe://corp/agent/b\"]");
    assert_eq!(through(&mesh, || mesh.folder.replace("strait.yaml", narrower)), ["200 1", "401 0"]);
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// The identity says what it said, and the server asks for another one.
#[test]
fn an_open_connection_is_nobodys_where_its_identity_is_accepted_no_more() {
    let mesh = Mesh::new();
    let elsewhere =
        config(&mesh.upstream.url(), BOTH).replace("path: /mesh, auth: [mesh]", "path: /mesh, auth: [staff]");
    assert_eq!(through(&mesh, || mesh.folder.replace("strait.yaml", elsewhere)), ["200 1", "401 0"]);
    assert_eq!(mesh.gateway.stop(), Some(0));
}

/// Calls with a certificate, so many a second, all on one connection: curl asks for several URLs in turn, until one is refused.
fn calling(mesh: &Mesh, who: &str, rate: &str) -> Command {
    let port = mesh.gateway.address.port();
    let (cert, key) = (format!("{who}.pem"), format!("{who}.key"));
    let mut curl = Command::new("timeout");
    curl.args(["60", "curl", "--silent", "--cacert", "ca.pem", "--cert", &cert, "--key", &key])
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
        .args([
            "--rate",
            rate,
            "--fail-early",
            "--fail",
            "--output",
            "/dev/null",
            "--data-binary",
            &call("x"),
        ])
        .args(["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"])
        .args([
            "-H",
            "MCP-Protocol-Version: 2026-07-28",
            "-H",
            "Mcp-Method: tools/call",
            "-H",
            "Mcp-Name: echo",
        ])
        .arg(format!("https://localhost:{port}/mesh?[1-400]"))
        .current_dir(&mesh.folder.0);
    curl
}

/// Calls on one connection until one is refused, and something that happens after the first: the first answer's status with the
/// connections that it took, and the last one's.
pub fn through(mesh: &Mesh, happens: impl FnOnce()) -> [String; 2] {
    let mut child = calling(mesh, "agent", "8/s")
        // What it writes to its output it may keep for a while.
        .args(["--write-out", "%{stderr}%{http_code} %{num_connects}\n"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("run curl");
    let mut said = BufReader::new(child.stderr.take().expect("its output")).lines().map_while(Result::ok);
    let first = said.next().expect("an answer");
    happens();
    let rest: Vec<String> = said.collect();
    assert!(child.wait().is_ok(), "{rest:?}");
    let (last, between) = rest.split_last().expect("more than one");
    assert!(between.iter().all(|line| line == "200 0"), "one connection: {rest:?}");
    [first, last.clone()]
}

#[test]
fn a_certificate_that_ends_takes_its_connection_with_it() {
    let mesh = Mesh::new();
    let until = SystemTime::now() + Duration::from_secs(8);
    mesh.clients.client_until(&mesh.folder, "short", &["spiffe://corp/agent/short"], until);
    let out = calling(&mesh, "short", "4/s")
        .args(["--write-out", "%{http_code} %{num_connects}\n"])
        .output()
        .expect("run curl");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.first(), Some(&"200 1"), "{said}");
    assert_eq!(lines.last(), Some(&"401 0"), "{said}");
    assert!(lines.len() > 2, "{said}");
    assert_eq!(mesh.gateway.stop(), Some(0));
}

#[test]
fn a_policy_can_be_asked_about_a_name_in_a_certificate() {
    let mesh = Mesh::new();
    let ask = |arguments: &[&str]| {
        let out = strait(&mesh.folder.0, arguments);
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    let explain = |who: &str| {
        ask(&["explain", "strait.yaml", "--as", who, "--server", "mesh", "--tool", "up.echo", "--json"])
    };
    let shown: Value = serde_json::from_str(&explain("spiffe://corp/agent/a")).expect("JSON");
    assert_eq!(shown["verdict"], "permit", "{shown}");
    assert!(explain("spiffe://corp/robot/a").contains("no key has the id"));
    assert!(
        ask(&["inspect", "strait.yaml"]).contains("certificates of spiffe://corp/agent/*, *.agents.corp")
    );
    assert_eq!(mesh.gateway.stop(), Some(0));
}

#[test]
fn whoever_is_revoked_is_refused_with_a_certificate_too() {
    let mesh = Mesh::new();
    assert_eq!(mesh.principal("/mesh", "agent", &[]), "spiffe://corp/agent/a");
    let told = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", "agent.pem"])
        .current_dir(&mesh.folder.0)
        .output()
        .expect("openssl");
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    let fingerprint = told.trim().split_once('=').expect("a fingerprint").1.replace(':', "").to_lowercase();
    for who in ["spiffe://corp/agent/a", "helper", &fingerprint] {
        let verb = |more: &[&str]| {
            let out = strait(&mesh.folder.0, &[&["revoke", who, "--state", "state"], more].concat());
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        verb(&[]);
        // With and without something else that nobody knows.
        for path in ["/mesh", "/tokens", "/keys"] {
            let (status, body) = mesh.call(path, "agent", &[]).expect("an answer");
            assert_eq!(
                (status, &body["error"]["data"]["reason"]),
                (401, &json!("revoked")),
                "{path} {who}: {body}"
            );
        }
        verb(&["--undo"]);
        assert_eq!(mesh.principal("/mesh", "agent", &[]), "spiffe://corp/agent/a");
    }
}
