//! `strait stdio` as the process that a desktop client starts: with a configuration, which it serves itself, and
//! with the address of a gateway that runs.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::gateway::{Gateway, free_port, ready};
use common::{Folder, command, strait, strait_with_input};
use serde_json::{Value, json};

/// No step takes as long.
const WITHIN: Duration = Duration::from_secs(30);

fn config(port: u16, admin: u16, auth: &str) -> String {
    format!(
        r#"
strait: 1
listeners: {{ main: {{ bind: "127.0.0.1:{port}" }} }}
admin: {{ bind: "127.0.0.1:{admin}" }}
upstreams:
  hello: {{ sample: stdio }}
  shop: {{ sample: http }}
servers:
  default: {{ path: /mcp, auth: [{auth}], tools: ["*"] }}
identity:
  you: {{ api_keys: {{ generate: [{{ id: you, groups: [everyone] }}] }} }}
  known: {{ api_keys: keys.yaml }}
roles:
  everyone: '"everyone" in principal.groups'
policy:
  default: deny
  rules:
    - {{ id: all, allow: ["*"], to: [everyone] }}
"#
    )
}

struct Front {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    errors: Receiver<String>,
}

impl Front {
    fn start(folder: &Path, arguments: &[&str]) -> Front {
        let mut command = command(folder, arguments);
        command.env_remove("STRAIT_KEY");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // Nothing but JSON-RPC may be there.
                let message: Value = serde_json::from_str(&line).expect("stdout has only JSON");
                assert_eq!(message["jsonrpc"], "2.0");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (sender, errors) = channel();
        let err = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Front { stdin: child.stdin.take(), child, lines, errors }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn read(&self) -> Value {
        self.lines.recv_timeout(WITHIN).unwrap()
    }

    /// The answer to a request; what comes before it is passed over.
    fn ask(&mut self, message: &Value) -> Value {
        self.say(message);
        std::iter::from_fn(|| Some(self.read())).find(|answer| answer["id"] == message["id"]).unwrap()
    }

    /// Ends stdin, and waits for the exit code.
    fn end(mut self) -> Option<i32> {
        self.stdin = None;
        self.wait()
    }

    fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + WITHIN;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < until, "still there"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    }

    /// The address in the line that says that it is open.
    fn port(&self) -> u16 {
        let line = loop {
            let line = self.errors.recv_timeout(WITHIN).unwrap();
            if line.contains("open: generation") {
                break line;
            }
        };
        let rest = line.split("127.0.0.1:").nth(1).unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn initialize() -> Value {
    json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18",
        "capabilities":{},"clientInfo":{"name":"t","version":"1"}}})
}

fn initialized() -> Value {
    json!({"jsonrpc":"2.0","method":"notifications/initialized"})
}

fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc":"2.0","id":id.into(),"method":"tools/call",
        "params":{"name":tool,"arguments":arguments}})
}

fn modern(mut message: Value) -> Value {
    message["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p"});
    message
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn a_configuration_is_served_to_this_client_and_nobody_else() {
    let folder = Folder::new();
    // Whoever holds the addresses of the configuration is not disturbed.
    let held: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
    folder.write("strait.yaml", config(ports[0], ports[1], "you"));
    // Two at once, over one configuration.
    let mut other = Front::start(folder.path(), &["stdio", "strait.yaml"]);
    let mut front = Front::start(folder.path(), &["stdio", "strait.yaml"]);
    for front in [&mut other, &mut front] {
        assert_eq!(front.ask(&initialize())["result"]["protocolVersion"], "2025-06-18");
        front.say(&initialized());
        let hello = front.ask(&call(1, "hello__greet", json!({"name":"Ada"})));
        assert!(text(&hello).contains("Ada"), "{hello}");
        let shop = front.ask(&call("s", "shop__get_order", json!({"id":"1001"})));
        assert!(text(&shop).contains("1001"), "{shop}");
    }
    // Another client of this machine finds the port, but has no key.
    let mut stranger = TcpStream::connect(("127.0.0.1", front.port())).unwrap();
    let headers = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 0";
    write!(stranger, "POST /mcp HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    stranger.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
    assert_eq!((front.end(), other.end()), (Some(0), Some(0)));
    assert_eq!(folder.names(), [".strait", "strait.yaml"]);
    assert_eq!(std::fs::read_dir(folder.path().join(".strait/keys")).unwrap().count(), 0, "a key was kept");
    assert!(!folder.path().join(".strait/kept").exists(), "a secluded table was kept");
}

#[test]
fn both_eras_meet_in_one_process() {
    let folder = Folder::new();
    folder.write("strait.yaml", config(free_port(), free_port(), "you"));
    let mut front = Front::start(folder.path(), &["stdio", "strait.yaml"]);
    front.say(&modern(call("m", "shop__track_order", json!({"id":"1001"}))));
    for step in 1..=3 {
        let progress = front.read();
        assert_eq!(
            (&progress["params"]["progressToken"], &progress["params"]["progress"]),
            (&"p".into(), &step.into())
        );
    }
    let tracked = front.read();
    assert_eq!((&tracked["id"], &tracked["result"]["resultType"]), (&"m".into(), &"complete".into()));
    let discovered = front.ask(&modern(json!({"jsonrpc":"2.0","id":1,"method":"server/discover"})));
    assert_eq!(discovered["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(front.ask(&initialize())["result"]["protocolVersion"], "2025-06-18");
    front.say(&initialized());
    assert!(text(&front.ask(&call(2, "hello__add", json!({"a":2,"b":3})))).contains('5'));
    let unknown = front.ask(&modern(call(3, "nope", json!({}))));
    assert_eq!(unknown["error"]["code"], -32602);
    front.say(&json!("no message"));
    assert_eq!(front.read()["error"]["code"], -32600);
    assert_eq!(front.end(), Some(0));
}

#[test]
fn what_a_script_pipes_in_is_answered_before_it_ends() {
    let folder = Folder::new();
    folder.write("strait.yaml", config(free_port(), free_port(), "you"));
    let lines = [
        initialize(),
        initialized(),
        call(1, "hello__greet", json!({"name":"a"})),
        modern(call(2, "shop__track_order", json!({"id":"1002"}))),
        call(3, "shop__track_order", json!({"id":"1003"})),
    ];
    let input = lines.map(|line| format!("{line}\n")).concat();
    let ran = strait_with_input(folder.path(), &["stdio", "strait.yaml"], &input);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let messages: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for id in 0..=3 {
        let answers: Vec<&Value> = messages.iter().filter(|message| message["id"] == id).collect();
        assert!(answers.len() == 1 && answers[0]["result"].is_object(), "{id}: {}", ran.stdout);
    }
}

#[test]
fn a_signal_and_a_closed_stdout_end_it() {
    let folder = Folder::new();
    folder.write("strait.yaml", config(free_port(), free_port(), "you"));
    let mut told = Front::start(folder.path(), &["stdio", "strait.yaml"]);
    told.ask(&initialize());
    told.terminate();
    assert_eq!(told.wait(), Some(0));
    let mut command = command(folder.path(), &["stdio", "strait.yaml"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", initialize()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn who_calls_is_told_by_a_key_where_only_key_files_know() {
    let folder = Folder::new();
    folder.write("strait.yaml", config(free_port(), free_port(), "known"));
    let refused = strait(folder.path(), &["stdio", "strait.yaml"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (5, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("STRAIT_KEY"), "{}", refused.stderr);
    let made =
        strait(folder.path(), &["keys", "new", "keys.yaml", "--id", "ann", "--groups", "everyone", "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    folder.write("ann.key", made["key"].as_str().unwrap());
    let mut front = Front::start(folder.path(), &["stdio", "strait.yaml", "--key-file", "ann.key"]);
    front.ask(&initialize());
    assert!(text(&front.ask(&call(1, "hello__greet", json!({"name":"a"})))).contains('a'));
    assert_eq!(front.end(), Some(0));
}

#[test]
fn a_bad_configuration_is_told_on_stderr() {
    let folder = Folder::new();
    folder.write("strait.yaml", "strait: 1\nupstream: {}\n");
    let refused = strait(folder.path(), &["stdio", "strait.yaml"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("upstream"), "{}", refused.stderr);
}

#[test]
fn a_running_gateway_is_reached_and_its_end_is_told() {
    let folder = Folder::new();
    let (port, admin) = (free_port(), free_port());
    folder.write("strait.yaml", config(port, admin, "you"));
    let gateway = Gateway::start(folder.path(), &["up", "strait.yaml", "--workers", "2"]);
    ready(admin);
    let url = format!("http://127.0.0.1:{port}/mcp");
    let mut stranger = Front::start(folder.path(), &["stdio", &url]);
    let refused = stranger.ask(&initialize());
    assert_eq!(refused["error"]["data"], json!({"layer":"gateway","status":401}));
    assert_eq!(stranger.end(), Some(0));
    let mut front = Front::start(folder.path(), &["stdio", &url, "--key-file", ".strait/keys/you.you.key"]);
    front.ask(&initialize());
    front.say(&initialized());
    assert!(text(&front.ask(&call(1, "hello__greet", json!({"name":"a"})))).contains('a'));
    let list = front.ask(&json!({"jsonrpc":"2.0","id":2,"method":"tools/list"}));
    assert!(list["result"]["tools"].as_array().unwrap().len() > 5, "{list}");
    // It dies in the middle of a call, and is not there for the next.
    front.say(&modern(call("m", "shop__track_order", json!({"id":"1001"}))));
    assert_eq!(front.read()["method"], "notifications/progress");
    drop(gateway);
    let broken = std::iter::from_fn(|| Some(front.read())).find(|answer| answer["id"] == "m").unwrap();
    assert_eq!(broken["error"]["data"]["layer"], "connection", "{broken}");
    let gone = front.ask(&call(4, "hello__greet", json!({"name":"a"})));
    assert_eq!(gone["error"]["data"]["layer"], "connection", "{gone}");
    // Another one is there: the session is begun again, and the client does not notice.
    let again = Gateway::start(folder.path(), &["up", "strait.yaml", "--workers", "2"]);
    ready(admin);
    assert!(text(&front.ask(&call(5, "hello__greet", json!({"name":"b"})))).contains('b'));
    assert_eq!(front.end(), Some(0));
    assert_eq!(again.stop().0, Some(0));
}
