//! A gateway as an operator runs it: a process with a folder of its own, its log in a file, its admin
//! endpoints asked over HTTP.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use strait_tests::Client;
pub use strait_tests::client::modern;
use strait_tests::gateway::{scratch_folder, wait_for};

/// A folder that is removed when the test has passed.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        Folder(scratch_folder())
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes in place.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.at(name), contents).expect("write");
    }

    /// Writes beside and renames over, as careful writers do.
    pub fn replace(&self, name: &str, contents: impl AsRef<[u8]>) {
        let beside = self.at(&format!("{name}.beside"));
        fs::write(&beside, contents).expect("write");
        fs::rename(beside, self.at(name)).expect("rename");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).expect("read")
    }

    /// Compiles a configuration and gives the table's bytes and its generation.
    pub fn compile(&self, config: &str) -> (Vec<u8>, String) {
        self.write("to-compile.yaml", config);
        let out = strait(&self.0, &["compile", "to-compile.yaml", "-o", "compiled", "--json"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let facts: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        (self.read("compiled"), facts["generation"].as_str().expect("a generation").to_owned())
    }

    /// The one table that is kept, if there is one.
    pub fn kept(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.at("state/kept")).into_iter().flatten().flatten();
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        all.retain(|path| path.extension().is_some_and(|extension| extension == "table"));
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// The program under test: this build's, or the one that `STRAIT_BIN` names.
pub fn binary() -> PathBuf {
    std::env::var_os("STRAIT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_strait").into(), PathBuf::from)
}

/// Runs a verb to its end. A gateway that starts where it should have refused is ended after 20 s, with code 124.
pub fn strait(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new("timeout")
        .arg("20")
        .arg(binary())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("run strait")
}

/// A config that differs from others in what follows the listeners.
pub fn config(rest: &str) -> String {
    format!(
        "strait: 1\nlisteners: {{ main: {{ bind: \"127.0.0.1:0\" }} }}\nadmin: {{ bind: \"127.0.0.1:0\" }}\n\
         access_log: {{ path: off }}\n{rest}"
    )
}

/// One upstream `up` at `url`, all of it for everybody.
pub fn open_to_all(url: &str) -> String {
    config(&format!(
        "upstreams:\n  up: {{ http: \"{url}\" }}\nservers:\n  default: {{ path: /mcp, tools: [\"up.*\"] }}\n\
         policy:\n  default: deny\n  rules:\n    - {{ id: all, allow: [\"*\"] }}\n"
    ))
}

/// The same without one tool.
pub fn open_but_for(url: &str, tool: &str) -> String {
    format!("{}    - {{ id: but, deny: [\"up.{tool}\"] }}\n", open_to_all(url))
}

/// A running process.
pub struct Process {
    child: Child,
    log: PathBuf,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl Process {
    /// Starts `serve FILE` and waits until it is open.
    pub fn serve(folder: &Folder, file: &str) -> Process {
        Process::start(folder, &["serve", file])
    }

    pub fn start(folder: &Folder, arguments: &[&str]) -> Process {
        let (child, log) = Process::spawn(folder, arguments);
        Process::opened(child, log)
    }

    /// Starts without waiting for anything.
    pub fn spawn(folder: &Folder, arguments: &[&str]) -> (Child, PathBuf) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = folder.at(&format!("log-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).expect("make the log");
        let child = Command::new(binary())
            .args(arguments)
            .args(["--state", "state", "--workers", "2"])
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone"))
            .stderr(file)
            .spawn()
            .expect("start strait");
        (child, log)
    }

    pub fn opened(mut child: Child, log: PathBuf) -> Process {
        let mut found = None;
        wait_for("the gateway to open", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(ended) = child.try_wait().expect("look at the child") {
                panic!("ended ({ended}): {text}");
            }
            found = opened(&text);
            found.is_some()
        });
        let (address, admin) = found.expect("open");
        Process { child, log, address, admin }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("read the log")
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("`{text}` in {}", self.log.display()), || self.log().contains(text));
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What an admin endpoint says.
    pub fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    pub fn ready(&self) -> Value {
        let (status, body) = self.ask("/readyz");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub fn generation(&self) -> String {
        self.ready()["generation"].as_str().expect("a generation").to_owned()
    }

    pub fn wait_for_generation(&self, generation: &str) {
        wait_for(&format!("generation {generation}"), || self.generation() == generation);
        wait_for("every worker", || self.ready()["reload"]["adopting"].is_null());
    }

    pub fn reload(&self) -> Value {
        self.ready()["reload"].clone()
    }

    pub fn wait_for_state(&self, state: &str) {
        wait_for(&format!("the reload to be `{state}`"), || self.reload()["state"] == state);
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The names that `tools/list` shows.
    pub fn tools(&self, key: &str) -> Vec<String> {
        names(&mut self.client(), key)
    }

    pub fn wait_for_tools(&self, key: &str, expected: &[&str]) {
        let mut last = Vec::new();
        wait_for(&format!("the tools {expected:?}"), || {
            last = self.tools(key);
            last == expected
        });
    }

    /// Kilobytes that are resident.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends SIGTERM; gives the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended()
    }

    pub fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_for("the gateway to end", || {
            status = self.child.try_wait().expect("look at the child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill");
    assert!(status.success(), "kill -s {name} {pid}");
}

/// Traffic and admin addresses, from what the log of a gateway says when it opens.
fn opened(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let after = |text: &str, mark: &str| -> Option<SocketAddr> {
        let rest = &text[text.find(mark)? + mark.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    // `up` greets, `serve` logs a line.
    if let Some(at) = log.find("Strait is open") {
        return Some((after(&log[at..], "http://")?, after(&log[at..], "Health: curl http://")?));
    }
    let line = &log[log.find("\"open: generation")?..];
    Some((after(line, "http://")?, after(line, "admin http://")?))
}

pub fn names(client: &mut Client, key: &str) -> Vec<String> {
    let answer = client.roundtrip(modern(key, 1, "tools/list", json!({}))).json();
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

/// Calls a tool and gives the answer's JSON.
pub fn call(client: &mut Client, key: &str, tool: &str, arguments: Value) -> Value {
    client.roundtrip(modern(key, 1, "tools/call", json!({"name": tool, "arguments": arguments}))).json()
}
