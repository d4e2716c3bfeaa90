//! The admin endpoints themselves: who may, what must be said, and what is not believed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use strait_tests::client::modern;

use crate::gateway::Site;
use crate::process::*;

/// Status, head and body.
type Answer = (u16, String, Vec<u8>);

fn exchange(mut stream: impl Read + Write, head: &str, body: &[u8]) -> Answer {
    let head = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("send");
    // It may be refused before it is read.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("UTF-8");
    (head[9..12].parse().expect("a status"), head.to_ascii_lowercase(), answer[end + 4..].to_vec())
}

fn at(process: &Process, head: &str, body: &[u8]) -> Answer {
    let stream = TcpStream::connect(process.admin).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
    exchange(stream, head, body)
}

impl Site {
    fn token(&self, role: &str) -> String {
        String::from_utf8(self.folder.read(&format!("state/{role}.token"))).unwrap().trim().to_owned()
    }

    fn head(&self, role: &str, request: &str) -> String {
        let token = self.token(role);
        format!("{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n")
    }

    /// What `/admin/config` says of what is in use.
    pub fn effective(&self, process: &Process) -> (u16, Value) {
        let (status, _, body) = at(process, &self.head("viewer", "GET /admin/config"), b"");
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[test]
fn a_viewer_looks_and_an_operator_acts() {
    let site = Site::new();
    let process = site.serve();
    let table = site.folder.read("fewer");
    let matching = format!("If-Match: \"{}\"\r\n", site.all);
    let post = |role: &str| format!("{}{matching}", site.head(role, "POST /admin/config"));
    let (status, head, _) = at(&process, &site.head("viewer", "GET /admin/config"), b"");
    assert!(status == 200 && head.contains(&format!("etag: \"{}\"", site.all)), "{head}");
    let (status, _, served) = at(&process, &site.head("viewer", "GET /admin/config/table"), b"");
    assert_eq!((status, served == site.folder.read("all")), (200, true));
    assert_eq!(at(&process, &post("viewer"), &table).0, 403);
    let refused = site.history()[0].clone();
    assert_eq!(
        (&refused["outcome"], &refused["by"]["role"]),
        (&json!("refused"), &json!("viewer")),
        "{refused}"
    );
    // Nobody without a token, from a foreign page, or by another name.
    let stranger = |head: &str| at(&process, head, &table).0;
    assert_eq!(stranger(&format!("POST /admin/config HTTP/1.1\r\nHost: localhost\r\n{matching}")), 401);
    let foreign = post("operator".replace("operator", "admin").as_str());
    assert_eq!(stranger(&format!("{foreign}Origin: https://evil.example\r\n")), 403);
    assert_eq!(stranger(&foreign.replace("Host: localhost", "Host: evil.example")), 403);
    assert_eq!(process.generation(), site.all);
    let (status, _, body) = at(&process, &foreign, &table);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert_eq!(process.generation(), site.fewer);
    assert_eq!(site.history()[0]["by"]["role"], "operator");
}

#[test]
fn whoever_changes_something_says_what_he_looked_at() {
    let site = Site::new();
    let process = site.serve();
    let table = site.folder.read("fewer");
    let post = |query: &str, more: &str| {
        at(&process, &format!("{}{more}", site.head("admin", &format!("POST /admin/config{query}"))), &table)
    };
    let matching = format!("If-Match: \"{}\"\r\n", site.all);
    assert_eq!(post("", "").0, 428);
    assert_eq!(post("", "If-Match: *\r\n").0, 400);
    assert_eq!(post("?dryrun=true", &matching).0, 400);
    let (status, _, body) = post("", &format!("If-Match: \"{}\"\r\n", site.fewer));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (412, &json!("conflict")));
    let (status, _, plan) = post("?dry_run=true", &matching);
    let plan: Value = serde_json::from_slice(&plan).unwrap();
    assert_eq!((status, &plan["to"]), (200, &json!(site.fewer)));
    assert_eq!(process.generation(), site.all);
    assert_eq!(post("", &matching).0, 200);
    assert_eq!(process.generation(), site.fewer);
    let back_by = |query: &str, body: &str| {
        let head = format!(
            "{}If-Match: \"{}\"\r\n",
            site.head("admin", &format!("POST /admin/rollback{query}")),
            process.generation()
        );
        at(&process, &head, body.as_bytes()).0
    };
    let back = |body: &str| back_by("", body);
    // Whoever asks what it would do must not have it done.
    assert_eq!(back_by("?dry_run=true", ""), 400);
    assert_eq!(process.generation(), site.fewer);
    assert_eq!(back("{\"too\": \"x\"}"), 400);
    assert_eq!(back("{\"to\": \"ffff\"}"), 404);
    assert_eq!(back(&"x".repeat(5_000)), 413);
    assert_eq!(back(""), 200);
    assert_eq!(process.generation(), site.all);
}

#[test]
fn what_is_no_table_is_refused_and_shown() {
    let site = Site::new();
    let process = site.serve();
    let matching = format!("If-Match: \"{}\"\r\n", site.all);
    let table = site.folder.read("fewer");
    let mut next = table.clone();
    next[8] += 1;
    let cases: [(&str, &[u8], &str); 4] = [
        ("text", b"strait: 1\n", "table"),
        ("nothing", b"", "table"),
        ("half", &table[..table.len() / 2], "truncated"),
        ("the next version", &next, "version"),
    ];
    for (what, bytes, word) in cases {
        let (status, _, body) =
            at(&process, &format!("{}{matching}", site.head("admin", "POST /admin/config")), bytes);
        let body = String::from_utf8(body).unwrap();
        assert!(status == 422 && body.contains(word), "{what}: {status} {body}");
        let rollout = site.json(&["status"])["rollout"].clone();
        assert!(rollout["rejected"]["why"].as_str().unwrap().contains(word), "{what}: {rollout}");
        assert_eq!(process.generation(), site.all, "{what}");
    }
    let refused = site.history().iter().filter(|entry| entry["outcome"] == "refused").count();
    assert_eq!(refused, cases.len());
    let head = site.head("admin", "POST /admin/config");
    let long = format!("{head}{matching}Content-Length: {}\r\n\r\n", 300u64 << 20);
    let mut stream = TcpStream::connect(process.admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(long.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start[9..], b"413");
}

#[test]
fn the_socket_is_for_one_user_and_needs_no_token() {
    let site = Site::new();
    let process = site.serve();
    let path = site.folder.at("state/admin.sock");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.clone()), mode(site.folder.at("state/rollout"))), (0o600, 0o700));
    let ask = |host: &str| {
        let stream = UnixStream::connect(&path).unwrap();
        exchange(stream, &format!("GET /admin/rollout HTTP/1.1\r\nHost: {host}\r\n"), b"").0
    };
    assert_eq!((ask("localhost"), ask("evil.example")), (200, 403));
    // The other way in, with the token of the state folder.
    let admin = process.admin.to_string();
    assert_eq!(site.json(&["history", "--admin", &admin])["verified"], true);
    // A second gateway with this state folder has none, says so, and takes the first one's away from nobody.
    site.folder.write("other", site.folder.read("all"));
    let other = Process::serve(&site.folder, "other");
    assert!(other.log().contains("no admin socket"), "{}", other.log());
    assert_eq!(other.stop(), Some(0));
    assert_eq!(site.run(&["apply", "fewer"]).code, 0);
    assert_eq!(process.generation(), site.fewer);
}

/// Whoever only sits on connections of the admin listener takes neither the gateway's files nor its operators' way in.
#[test]
fn idle_connections_are_bounded_and_the_socket_is_another_way_in() {
    let site = Site::new();
    let process = site.serve();
    process.wait_for_tools("", &["echo", "slow", "secret"]);
    let files = || std::fs::read_dir(format!("/proc/{}/fd", process.pid())).expect("its files").count();
    let before = files();
    let sitting: Vec<TcpStream> = (0..220)
        .map(|_| {
            let mut stream = TcpStream::connect(process.admin).expect("connect");
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("send");
            stream
        })
        .collect();
    assert_eq!(site.json(&["status"])["gateway"]["generation"], json!(site.all));
    assert_eq!(process.client().roundtrip(modern("", 1, "tools/list", json!({}))).status, 200);
    let taken = files() - before;
    assert!((32..=160).contains(&taken), "{taken} files for {} connections", sitting.len());
    drop(sitting);
    assert_eq!(process.ask("/readyz").0, 200);
}
