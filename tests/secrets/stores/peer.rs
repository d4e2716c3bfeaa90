//! What tests of stores have in common: a program that is ended with its test, an HTTP client, callers.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use strait_tests::Client;
use strait_tests::gateway::wait_for;

use crate::process::*;

/// A program of `tests/peers/.cache/py-stores`; STRAIT_STORES names another environment.
pub struct Peer {
    child: Child,
    pub log: PathBuf,
    pub address: SocketAddr,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port()
}

impl Peer {
    /// Starts it, and waits until `path` is answered.
    pub fn start(folder: &Folder, program: &str, port: u16, arguments: &[&str], path: &str) -> Peer {
        let root = std::env::var_os("STRAIT_STORES").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/.cache/py-stores"),
            PathBuf::from,
        );
        let program = root.join("bin").join(program);
        assert!(program.exists(), "`{}` is not there: run tests/peers/install", program.display());
        let log = folder.at(&format!("store-{port}.log"));
        let out = File::create(&log).expect("make the log");
        let child = Command::new(program)
            .args(arguments)
            .env("HOME", &folder.0)
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("clone"))
            .stderr(out)
            .spawn()
            .expect("start the store");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let peer = Peer { child, log, address };
        wait_for("the store", || ask(address, "GET", path, &[], "").is_some());
        peer
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("read the log")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body; `None`: nobody is there.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
}

/// Four callers, until they are told to end.
pub struct Callers {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Value>>>,
}

impl Callers {
    pub fn start(address: SocketAddr) -> Callers {
        let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let caller = |_| {
            let (done, answered) = (done.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut failed = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let answer = call(&mut client, "", "echo", json!({"x": 1}));
                    if !answer["result"].is_object() {
                        failed.push(answer);
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        };
        let threads = (0..4).map(caller).collect();
        Callers { done, answered, threads }
    }

    /// Waits for some more calls.
    pub fn go_on(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        wait_for("calls", || self.answered.load(Ordering::SeqCst) > before + 20);
    }

    pub fn none_failed(self) {
        self.go_on();
        self.done.store(true, Ordering::SeqCst);
        let failed: Vec<Value> =
            self.threads.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect();
        let answered = self.answered.load(Ordering::SeqCst);
        assert!(failed.is_empty(), "{} of {answered} failed: {}", failed.len(), failed[0]);
        println!("{answered} calls, none failed");
    }
}

/// One upstream `up` with this secret.
pub fn with_secret(url: &str, secret: &str) -> String {
    let open = open_to_all(url);
    let plain = format!("http: \"{url}\"");
    let open = open.replace(&plain, &format!("{plain}, credential: {{ bearer: \"${{secret:crm}}\" }}"));
    format!("{open}secrets:\n  crm: {{ {secret} }}\n")
}

/// What `/readyz` says of the secret.
pub fn failing(process: &Process) -> Value {
    process.ready()["secrets"][0].clone()
}

/// The value of a series.
pub fn metric(process: &Process, series: &str) -> Option<f64> {
    let (_, text) = process.ask("/metrics");
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}
