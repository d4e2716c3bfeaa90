//! What the tests of this crate share: options for a run, and a server that does exactly what a script
//! says, one request after another.
#![allow(dead_code)] // each test program uses a part

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use strait_loadgen::load::interval::IntervalFiles;
use strait_loadgen::load::mix::Mix;
use strait_loadgen::load::plan::{Arrivals, Length, Loop, Portion};
use strait_loadgen::load::rates::Rates;
use strait_loadgen::load::report::Report;
use strait_loadgen::load::{self, Idle, Options};
use strait_loadgen::target::{EraChoice, Target};

pub const MS: u64 = 1_000_000;

pub fn open(rate: f64) -> Loop {
    Loop::Open { rates: Rates::Constant(rate), arrivals: Arrivals::Constant }
}

pub fn options(url: &str, kind: Loop, length: Length) -> Options {
    Options {
        target: Target::parse(url).expect("a URL"),
        era: EraChoice::Auto,
        kind,
        warmup: Length::Requests(0),
        length,
        connections: 16,
        timeout_ns: 10_000 * MS,
        idle: Idle::Hybrid,
        seed: 1,
        mix: Mix::default(),
        tools: Vec::new(),
        arguments: None,
        size: 0,
        progress: false,
        thresholds: Vec::new(),
        abort: false,
        think: None,
        cancel: None,
        files: IntervalFiles::default(),
        portion: Portion::WHOLE,
        i_own_this: false,
    }
}

pub fn run(options: &Options) -> Report {
    load::run(options, &AtomicBool::new(false), &mut |_| {}).expect("a report")
}

/// What a scripted server does with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Answer,
    AnswerThenClose,
    IsError,
    JsonRpcError,
    Deny,
    OtherId,
    Status(u16),
    /// Half of an answer, and the end.
    Cut,
    /// An event stream that ends in order, without the answer.
    NoAnswer,
    /// The end, without a word.
    HangUp,
    Garbage,
    /// No word until the caller hangs up.
    Silence,
}

/// A server of one connection at a time that greets like a modern peer and answers calls by a script.
/// After the script it is gone, its port closed.
pub struct Scripted {
    pub address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(script: &[Act]) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let script = script.to_vec();
        let thread = std::thread::spawn(move || {
            let mut acts = script.into_iter();
            while let Ok((mut stream, _)) = listener.accept() {
                if !serve(&mut stream, &mut acts) {
                    return;
                }
            }
        });
        Scripted { address, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Waits until its script is through.
    pub fn join(mut self) {
        self.thread.take().expect("not joined yet").join().expect("it ends in order");
    }
}

/// Serves one connection; false when the script is through.
fn serve(stream: &mut TcpStream, acts: &mut std::vec::IntoIter<Act>) -> bool {
    while let Some((method, id)) = request(stream) {
        let tools = r#"{"tools":[{"name":"t","inputSchema":{},"annotations":{"readOnlyHint":true}}]}"#;
        let greeting = match method.as_str() {
            "server/discover" => Some(r#"{"supportedVersions":["2026-07-28"]}"#),
            "tools/list" => Some(tools),
            _ => None,
        };
        if let Some(result) = greeting {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
            stream.write_all(&http(200, "application/json", &body)).expect("greet");
            continue;
        }
        let Some(act) = acts.next() else { return false };
        let result = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#);
        let answer = match act {
            Act::Answer | Act::AnswerThenClose => http(200, "application/json", &result),
            Act::IsError => {
                let body =
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"isError":true,"content":[]}}}}"#);
                http(200, "application/json", &body)
            }
            Act::JsonRpcError | Act::Deny => {
                let (code, words) =
                    if act == Act::Deny { (-32602, "Unknown tool: t") } else { (-32603, "no") };
                let error = format!(r#"{{"code":{code},"message":"{words}"}}"#);
                http(200, "application/json", &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
            }
            Act::OtherId => http(200, "application/json", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            Act::Status(status) => http(status, "text/plain", "no"),
            Act::Cut => http(200, "application/json", &result)[..90].to_vec(),
            Act::NoAnswer => {
                let event =
                    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
                http(200, "text/event-stream", event)
            }
            Act::Garbage => http(200, "application/json", "<html>"),
            Act::HangUp | Act::Silence => Vec::new(),
        };
        // Whoever has given up does not listen.
        let _ = stream.write_all(&answer);
        match act {
            Act::Silence => {
                let _ = stream.read(&mut [0; 1]);
                return acts.len() > 0;
            }
            Act::Cut | Act::HangUp | Act::AnswerThenClose => return acts.len() > 0,
            _ if acts.len() == 0 => return false,
            _ => {}
        }
    }
    true
}

pub fn http(status: u16, kind: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Method and id of the next request.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let message = message(stream)?;
    Some((message["method"].as_str()?.to_owned(), message["id"].to_string()))
}

/// The next message; none when the connection has ended.
pub fn message(stream: &mut TcpStream) -> Option<serde_json::Value> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.expect("a length").parse::<usize>().expect("digits") {
                return Some(serde_json::from_str(body).expect("JSON"));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
