//! What several files here need.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;
use serde_json::{Value, json};
use strait_engine::WorkerFigures;
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;
use strait_tests::scripted::{Arrived, echoed, json_reply};
use strait_tests::{Answer, Client, Gateway, Scripted, Step};

pub const KEY: &str = "key-full";

/// A config with one upstream, `up`, and these further lines of YAML.
pub fn config(upstream: &Scripted, more: &str) -> String {
    config_of(&format!("up: {{ http: \"{}\", era: modern }}", upstream.url()), more)
}

/// The same with this upstream.
pub fn config_of(upstream: &str, more: &str) -> String {
    format!(
        r#"
{more}
upstreams:
  {upstream}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups', small: '"small" in principal.groups' }}
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [full, small] }}
"#
    )
}

/// An upstream that echoes, except for calls whose argument `case` is not empty: those are up to `attack`.
pub fn upstream(attack: impl Fn(&Arrived) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
    Scripted::modern(move |request| match request.argument("case") {
        "" => json_reply(&echoed(request)),
        _ => attack(request),
    })
}

/// An upstream that echoes.
pub fn echo() -> Scripted {
    upstream(|request| json_reply(&echoed(request)))
}

/// A call of `echo` with these arguments.
pub fn call(id: i64, arguments: Value) -> Vec<u8> {
    modern(KEY, id, "tools/call", json!({"name": "echo", "arguments": arguments}))
}

/// A call that the upstream attacks with.
pub fn attack(id: i64, case: &str) -> Vec<u8> {
    call(id, json!({"case": case}))
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The stable word of a refusal.
pub fn reason(answer: &Answer) -> String {
    answer.messages().last().expect("a message")["error"]["data"]["reason"].as_str().unwrap_or("").to_owned()
}

/// So many calls on one new connection are answered as they should be.
pub fn assert_serves(address: SocketAddr, calls: i64) {
    let mut client = Client::connect(address);
    for id in 0..calls {
        let answer = client.roundtrip(call(id, json!({})));
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{}", text(&answer));
    }
}

/// The sum of a figure over the workers of a gateway in this process.
pub fn figure(gateway: &Gateway, of: impl Fn(&WorkerFigures) -> u64) -> u64 {
    gateway.handle().figures().iter().map(|worker| of(worker)).sum()
}

/// Every connection and call is over, and nothing is kept for them.
pub fn wait_for_quiet(gateway: &Gateway) {
    // Figures are as old as the last beat.
    let beats = || gateway.handle().figures().iter().map(|worker| worker.beats.get());
    let before: Vec<u64> = beats().collect();
    wait_for("fresh figures", || beats().zip(&before).all(|(now, before)| now > before + 1));
    wait_for("every connection and call to be over", || {
        figure(gateway, |worker| worker.connections.get()) == 0
            && figure(gateway, |worker| worker.inflight.get()) == 0
            && figure(gateway, |worker| worker.held_bytes.get()) <= 256 * KIB
    });
}

/// Ends a connection by a reset: what is on its way is lost.
pub fn reset(client: Client) {
    sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("linger");
}

/// The same for an upstream's side, of which others hold clones.
pub fn reset_stream(stream: &TcpStream) {
    rustix::net::connect_unspec(stream).expect("reset");
}

/// Says what was measured and fails when it is over the bound. These lines are the table of docs/ABUSE.md.
pub fn at_most(attack: &str, what: &str, measured: u64, bound: u64) {
    println!("bound: {attack}: {what}: {measured} (at most {bound})");
    assert!(measured <= bound, "{attack}: {what}: expected at most {bound}, found {measured}");
}

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
