//! Collectors of the audit log that keep what they are sent and do what a test wants: a stub of Splunk's HTTP Event Collector, a
//! receiver of webhooks, and a real rsyslog.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use crate::process::Folder;

/// How a POST is answered.
#[derive(Clone, Debug)]
pub enum Script {
    Status(u16),
    /// Whatever this is, with 200.
    Garbage,
    /// Nothing, until the other side gives up.
    Hangs,
    /// The connection is reset in the middle of the request.
    Resets,
    /// Of an HEC: it takes the events and acknowledges them never.
    Forgets,
}

#[derive(Default)]
struct Kept {
    /// Bodies that were taken, with their heads.
    taken: Vec<(String, Vec<u8>)>,
    /// POSTs that arrived.
    arrived: u64,
    scripts: VecDeque<Script>,
    /// Events that wait to be acknowledged, by channel: HEC alone.
    waiting: BTreeMap<String, (String, Vec<u8>)>,
    asked: u64,
}

/// Takes POSTs. As an HEC it acknowledges what it was asked about twice.
pub struct Http {
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Http {
    pub fn start() -> Http {
        Http::at("127.0.0.1:0".parse().unwrap())
    }

    pub fn at(address: SocketAddr) -> Http {
        let listener = TcpListener::bind(address).expect("bind");
        let (address, kept) = (listener.local_addr().expect("an address"), Arc::<Mutex<Kept>>::default());
        let of_thread = kept.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = of_thread.clone();
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Http { address, kept }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next POSTs are answered so, one after the other.
    pub fn will(&self, scripts: impl IntoIterator<Item = Script>) {
        self.kept.lock().unwrap().scripts.extend(scripts);
    }

    /// How often it was asked to take something.
    pub fn arrived(&self) -> u64 {
        self.kept.lock().unwrap().arrived
    }

    pub fn taken(&self) -> Vec<(String, Vec<u8>)> {
        self.kept.lock().unwrap().taken.clone()
    }

    /// Every line that was taken, as JSON.
    pub fn lines(&self) -> Vec<Value> {
        let lines = |(_, body): (String, Vec<u8>)| -> Vec<Value> {
            let text = String::from_utf8(body).expect("UTF-8");
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        self.taken().into_iter().flat_map(lines).collect()
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Kept>) {
    let mut bytes = Vec::new();
    let mut piece = [0; 65_536];
    let (head, body) = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap_or(0));
            if bytes.len() >= at + 4 + length {
                break (head, bytes[at + 4..at + 4 + length].to_vec());
            }
        }
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return,
        }
    };
    let (status, said) = {
        let mut kept = kept.lock().unwrap();
        kept.arrived += 1;
        if head.contains("/services/collector/ack") {
            acknowledged(&mut kept, &head, &body)
        } else {
            let script = kept.scripts.pop_front();
            match script {
                None => took(&mut kept, head, body, true),
                Some(Script::Forgets) => took(&mut kept, head, body, false),
                Some(Script::Status(status)) => (status, b"no".to_vec()),
                Some(Script::Garbage) => (200, b"\x00<html>{{{".to_vec()),
                Some(Script::Resets) => {
                    drop(kept);
                    // Unread bytes make the kernel reset it; there are none, so it is asked to.
                    let _ = rustix::net::sockopt::set_socket_linger(
                        &stream,
                        Some(std::time::Duration::from_secs(0)),
                    );
                    return;
                }
                Some(Script::Hangs) => {
                    drop(kept);
                    let _ = stream.read(&mut piece);
                    return;
                }
            }
        }
    };
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", said.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&said));
}

pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn took(kept: &mut Kept, head: String, body: Vec<u8>, will_acknowledge: bool) -> (u16, Vec<u8>) {
    if !head.contains("/services/collector/event") {
        kept.taken.push((head, body));
        return (204, Vec::new());
    }
    let channel = header(&head, "x-splunk-request-channel").expect("a channel").to_owned();
    if will_acknowledge {
        kept.waiting.insert(channel, (head, body));
    }
    (200, json!({ "text": "Success", "code": 0, "ackId": 0 }).to_string().into_bytes())
}

/// Every other time it does not know yet.
fn acknowledged(kept: &mut Kept, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let asked: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(asked["acks"], json!([0]));
    let channel = header(head, "x-splunk-request-channel").expect("a channel");
    assert!(head.lines().next().unwrap().contains(&format!("ack?channel={channel}")), "{head}");
    kept.asked += 1;
    let events = if kept.asked.is_multiple_of(2) { kept.waiting.remove(channel) } else { None };
    let is_there = events.is_some();
    kept.taken.extend(events);
    (200, json!({ "acks": { "0": is_there } }).to_string().into_bytes())
}

/// A real rsyslog that writes each message it took as a line of JSON.
pub struct Rsyslog {
    child: Child,
    out: PathBuf,
}

impl Rsyslog {
    pub fn is_here() -> bool {
        let found = Rsyslog::command().arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    }

    fn command() -> Command {
        let mut command = Command::new("rsyslogd");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command
    }

    /// `tls`: files of its certificate and key.
    pub fn start(folder: &Folder, name: &str, port: u16, tls: Option<(&str, &str)>) -> Rsyslog {
        let out = folder.at(&format!("{name}.out"));
        let spool = folder.at(&format!("{name}.spool"));
        std::fs::create_dir_all(&spool).expect("make a folder");
        let at = |file: &str| folder.at(file).display().to_string();
        let driver = tls.map_or(String::new(), |(certificate, key)| {
            format!(
                "global(DefaultNetstreamDriver=\"ossl\" DefaultNetstreamDriverCertFile=\"{}\" \
                 DefaultNetstreamDriverKeyFile=\"{}\" DefaultNetstreamDriverCAFile=\"{}\")\n",
                at(certificate),
                at(key),
                at(certificate)
            )
        });
        let mode = tls.map_or(
            "",
            |_| " StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.Authmode=\"anon\"",
        );
        let conf = format!(
            "global(workDirectory=\"{spool}\" maxMessageSize=\"256k\")\n{driver}module(load=\"imtcp\"{mode})\n\
             template(name=\"json\" type=\"string\" string=\"%jsonmesg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{out}\" template=\"json\")\n",
            spool = spool.display(),
            out = out.display(),
        );
        folder.write(&format!("{name}.conf"), conf);
        let log = std::fs::File::create(folder.at(&format!("{name}.log"))).expect("make a log");
        let child = Rsyslog::command()
            .args(["-n", "-f", &at(&format!("{name}.conf")), "-i", &at(&format!("{name}.pid"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone"))
            .stderr(log)
            .spawn()
            .expect("start rsyslogd");
        let mut rsyslog = Rsyslog { child, out };
        wait_for("rsyslog to listen", || {
            if let Some(status) = rsyslog.child.try_wait().expect("look at it") {
                panic!(
                    "rsyslogd ended ({status}): {}",
                    std::fs::read_to_string(folder.at(&format!("{name}.log"))).unwrap()
                );
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        rsyslog
    }

    /// The messages that it has written, as it understood them.
    pub fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The records in them.
    pub fn records(&self) -> Vec<Value> {
        let record = |message: &Value| {
            let text = message["msg"].as_str().expect("a text");
            serde_json::from_str(text.trim_start()).unwrap_or_else(|error| panic!("{error}: {text:?}"))
        };
        self.messages().iter().map(record).collect()
    }

    /// Ends it as an operator does.
    pub fn stop(mut self) {
        crate::process::signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens at now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port()
}
