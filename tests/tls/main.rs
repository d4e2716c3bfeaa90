//! TLS of a gateway as an operator runs it, asked by clients that are not ours: `openssl s_client` and `curl`.
//!
//! Runs with the package of the binary, which it starts; the process and its folder are those of `tests/reload`. With
//! `STRAIT_DRIVER=epoll` it runs on the other driver.

mod authority;
mod bad_input;
mod bound_tokens;
mod endings;
mod expiring;
mod identities;
mod listeners;
mod trust;
mod under_load;
mod upstreams;

#[path = "../identity/issuer.rs"]
#[allow(dead_code, reason = "all of it is used by tests/identity")]
mod issuer;

#[path = "../reload/process.rs"]
#[allow(dead_code, reason = "all of it is used by tests/reload")]
mod process;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use process::{Folder, Process};
use serde_json::json;
use strait_tests::scripted::{echoed, event, event_stream, json_reply};
use strait_tests::{Scripted, Step};

/// A configuration with one upstream for everybody, and this `tls` at its listener.
fn config(tls: &str, url: &str, upstream_tls: &str) -> String {
    format!(
        "strait: 1\nlisteners: {{ main: {{ bind: \"127.0.0.1:0\", tls: {tls} }} }}\nadmin: {{ bind: \"127.0.0.1:0\" }}\n\
         access_log: {{ path: off }}\nupstreams:\n  up: {{ http: \"{url}\"{upstream_tls} }}\nservers:\n  default: {{ path: /mcp, tools: [\"up.*\"] }}\n\
         policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n"
    )
}

/// Serves the folder's `strait.yaml`.
fn serve(folder: &Folder, config: &str) -> Process {
    folder.write("strait.yaml", config);
    let driver = std::env::var("STRAIT_DRIVER").unwrap_or_else(|_| "auto".to_owned());
    Process::start(folder, &["serve", "strait.yaml", "--driver", &driver])
}

/// What curl got at `/mcp`: the status, and the body.
fn curl(
    folder: &Folder,
    gateway: SocketAddr,
    host: &str,
    arguments: &[&str],
    body: &str,
) -> Result<(u16, String), String> {
    curl_at(folder, gateway, (host, "/mcp"), arguments, body)
}

fn curl_at(
    folder: &Folder,
    gateway: SocketAddr,
    at: (&str, &str),
    arguments: &[&str],
    body: &str,
) -> Result<(u16, String), String> {
    let of_2026 = ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: echo"];
    let headers = of_2026.iter().flat_map(|header| ["-H", header]);
    let arguments: Vec<&str> = headers.chain(arguments.iter().copied()).collect();
    curl_bare(folder, gateway, at, &arguments, body)
}

/// Without the headers of a revision.
fn curl_bare(
    folder: &Folder,
    gateway: SocketAddr,
    (host, path): (&str, &str),
    arguments: &[&str],
    body: &str,
) -> Result<(u16, String), String> {
    folder.write("body.json", body);
    let port = gateway.port();
    let out = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--cacert",
            "ca.pem",
            "--data-binary",
            "@body.json",
        ])
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1"), "--write-out", "\n%{http_code}"])
        .args(["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"])
        .args(arguments)
        .arg(format!("https://{host}:{port}{path}"))
        .current_dir(&folder.0)
        .output()
        .expect("run curl");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    match out.status.success() {
        true => {
            let (body, status) = said.rsplit_once('\n').expect("a status");
            Ok((status.parse().expect("a number"), body.to_owned()))
        }
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

/// `openssl s_client` with these arguments, told this; what it printed.
fn s_client(folder: &Folder, gateway: SocketAddr, arguments: &[&str], said: &[u8]) -> String {
    let mut child = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-CAfile", "ca.pem", "-connect", &gateway.to_string()])
        .args(arguments)
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run openssl");
    // Its input ends, and it with that, unless it was told to wait for the other side.
    child.stdin.take().expect("its input").write_all(said).expect("tell it");
    let out = child.wait_with_output().expect("its end");
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The certificate that the gateway shows now, in PEM.
fn shown(folder: &Folder, gateway: SocketAddr) -> String {
    let said = s_client(folder, gateway, &[], b"");
    let begins = said.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
    let ends = said.find("-----END CERTIFICATE-----").expect("its end");
    said[begins..ends].to_owned()
}

/// A call of `echo` with this text.
fn call(text: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo",
        "arguments": {"text": text}, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}}}})
    .to_string()
}

/// A server that says what it was told; as a stream of events if that begins with `stream`.
fn echo() -> Scripted {
    Scripted::modern(|arrived| {
        let (answer, progress) = (
            echoed(arrived),
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "on the way"}}),
        );
        match arrived.argument("text").starts_with("stream") {
            false => json_reply(&answer),
            true => vec![
                Step::Send(event_stream()),
                Step::Send(event(&progress)),
                Step::Send(event(&answer)),
                Step::Send(b"0\r\n\r\n".to_vec()),
            ],
        }
    })
}
