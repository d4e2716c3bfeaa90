//! A stub of Vault and of AWS Secrets Manager, for what real ones do not do on demand: it holds still, sends elsewhere, answers garbage or without end, and
//! counts who comes. What it says when it is well is as much of what OpenBao 2.7 and moto say as anybody reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

#[derive(Clone)]
pub struct Stub {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    mood: Mood,
    value: String,
    logins: usize,
    reads: usize,
    /// Heads that came, with their bodies.
    heard: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    /// Takes the question and says nothing.
    Silent,
    /// Closes without a word.
    Closes,
    Elsewhere,
    Garbage,
    /// Twice what anybody reads.
    Endless,
    Sealed,
}

impl Stub {
    pub fn start(value: &str) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let state =
            State { mood: Mood::Well, value: value.to_owned(), logins: 0, reads: 0, heard: Vec::new() };
        let stub = Stub { address, state: Arc::new(Mutex::new(state)) };
        let answering = stub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answering = answering.clone();
                std::thread::spawn(move || answering.answer(stream));
            }
        });
        stub
    }

    pub fn is(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub fn logins(&self) -> usize {
        self.state.lock().unwrap().logins
    }

    pub fn reads(&self) -> usize {
        self.state.lock().unwrap().reads
    }

    pub fn heard(&self) -> String {
        self.state.lock().unwrap().heard.join("\n")
    }

    fn answer(&self, mut stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let asked = question(&mut stream);
        let (mood, answer) = {
            let mut state = self.state.lock().unwrap();
            state.heard.push(asked.clone());
            (state.mood, state.well(&asked))
        };
        let whole = |status: &str, extra: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match mood {
            Mood::Well => whole("200 OK", "", &answer),
            Mood::Silent => {
                // Until the other side has enough of it.
                let _ = stream.read(&mut [0; 64]);
                return;
            }
            Mood::Closes => return,
            Mood::Elsewhere => {
                let at = format!("Location: http://{}/v1/elsewhere\r\n", self.address);
                whole("307 Temporary Redirect", &at, "")
            }
            Mood::Garbage => whole("200 OK", "", "{\"data\": {\"data\": {\"token\": \"kanarie-"),
            Mood::Endless => whole("200 OK", "", &"x".repeat(2 << 20)),
            Mood::Sealed => whole("503 Service Unavailable", "", "{\"errors\":[\"kanarie-error\"]}"),
        };
        let _ = stream.write_all(text.as_bytes());
    }
}

impl State {
    fn well(&mut self, asked: &str) -> String {
        if asked.starts_with("POST /v1/auth/approle/login ") {
            self.logins += 1;
            return json!({"auth": {"client_token": "kanarie-token", "lease_duration": 3600, "renewable": true}})
                .to_string();
        }
        if asked.starts_with("GET /v1/kv/data/") {
            self.reads += 1;
            return json!({"data": {"data": {"token": self.value}, "metadata": {"version": 1}}}).to_string();
        }
        if asked.starts_with("POST / ") {
            return json!({"SecretString": self.value, "VersionId": "1"}).to_string();
        }
        json!({"data": {"ttl": 3600, "renewable": true}}).to_string()
    }
}

fn question(stream: &mut TcpStream) -> String {
    let (mut asked, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(count) => asked.extend_from_slice(&part[..count]),
        }
        let text = String::from_utf8_lossy(&asked);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    String::from_utf8_lossy(&asked).into_owned()
}
