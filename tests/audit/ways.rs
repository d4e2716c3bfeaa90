//! The way to collectors: over TLS, broken in the middle, and gone for so long that there are many batches to make good.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use strait_tests::client::modern;
use strait_tests::gateway::wait_for;

use crate::collectors::*;
use crate::folder::*;
use crate::process::{Folder, Process};
use crate::shipping::*;

/// Ends TLS before a stub.
struct Terminator {
    child: Child,
    port: u16,
}

impl Terminator {
    /// With the certificate `FILE.pem` and its key.
    fn start(folder: &Folder, file: &str, backend: u16) -> Terminator {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/audit/terminator.py");
        let mut child = Command::new("python3")
            .args([script, &format!("{file}.pem"), &format!("{file}.key"), &backend.to_string()])
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        Terminator { child, port: line.trim().parse().expect("a port") }
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_collector_over_https_is_told_and_one_whose_certificate_is_another_ones_is_not() {
    let (folder, upstream, hook, hec) = (Folder::new(), echo(), Http::start(), Http::start());
    let authority = crate::authority::Authority::new(&folder, "authority");
    authority.server(&folder, "good", &["localhost"]);
    authority.server(&folder, "other", &["elsewhere.example"]);
    let good = Terminator::start(&folder, "good", hook.address.port());
    let splunk = Terminator::start(&folder, "good", hec.address.port());
    let (wrong, nobody) = (Http::start(), Http::start());
    let other = Terminator::start(&folder, "other", wrong.address.port());
    crate::authority::Authority::new(&folder, "stranger").server(&folder, "strange", &["localhost"]);
    let strange = Terminator::start(&folder, "strange", nobody.address.port());
    let of = |id: &str, port: u16| {
        format!("{{ id: {id}, webhook: \"https://localhost:{port}/in\", secret: \"{SECRET}\" }}")
    };
    let ship = format!(
        "{}, {{ id: splunk, hec: \"https://localhost:{}\", token: t }}, {}, {}",
        of("good", good.port),
        splunk.port,
        of("other", other.port),
        of("strange", strange.port)
    );
    folder.write("strait.yaml", shipped(&upstream.url(), "", &ship));
    let process = trusting(&folder, "authority.pem");
    calls(&process, 20);
    let up = |id: &str| {
        let (_, text) = process.ask("/metrics");
        let series = format!("strait_audit_ship_up{{collector=\"{id}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok())
    };
    wait_for("those with a good certificate", || up("good") == Some(1) && up("splunk") == Some(1));
    wait_for("those without", || up("other") == Some(0) && up("strange") == Some(0));
    wait_for("all of it", || hook.lines().len() > 20 && !hec.taken().is_empty());
    assert_eq!((wrong.arrived(), nobody.arrived()), (0, 0), "whoever is not known is told nothing");
    assert_eq!(process.stop(), Some(0));
    assert_eq!(names(&hook.lines()), expected(&folder)[..hook.lines().len()]);
}

/// A gateway that trusts the authorities of this file and nobody else.
fn trusting(folder: &Folder, file: &str) -> Process {
    let log = folder.at("log-trusting");
    let out = std::fs::File::create(&log).expect("make the log");
    let child = Command::new(crate::process::binary())
        .args(["serve", "strait.yaml", "--state", "state", "--workers", "2"])
        .env("SSL_CERT_FILE", folder.at(file))
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("clone"))
        .stderr(out)
        .spawn()
        .expect("start strait");
    Process::opened(child, log)
}

/// A receiver of syslog that reads so many bytes of each of its first connections and resets them, and then takes everything.
struct Relay {
    port: u16,
    /// Bytes of connections that were read to their end.
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Bytes of those that were reset.
    broken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Relay {
    fn start(breaks_after: Vec<usize>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let (taken, broken) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (of_taken, of_broken) = (taken.clone(), broken.clone());
        std::thread::spawn(move || {
            let mut breaks = breaks_after.into_iter();
            for mut stream in listener.incoming().flatten() {
                match breaks.next() {
                    Some(after) => of_broken.lock().unwrap().push(resets(stream, after)),
                    None => {
                        let mut bytes = Vec::new();
                        if stream.read_to_end(&mut bytes).is_ok() {
                            of_taken.lock().unwrap().push(bytes);
                        }
                    }
                }
            }
        });
        Relay { port, taken, broken }
    }

    /// Records of whole frames, in the order in which they came.
    fn records(&self) -> Vec<Value> {
        self.taken.lock().unwrap().iter().flat_map(|bytes| frames(bytes)).collect()
    }
}

fn resets(mut stream: TcpStream, after: usize) -> Vec<u8> {
    let mut bytes = vec![0; after];
    let read = stream.read_exact(&mut bytes);
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::from_secs(0)));
    if read.is_ok() { bytes } else { Vec::new() }
}

/// The records of octet-counted messages, all of which must be whole.
fn frames(mut bytes: &[u8]) -> Vec<Value> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').expect("a count");
        let count: usize = std::str::from_utf8(&bytes[..blank]).expect("digits").parse().expect("a number");
        let message = std::str::from_utf8(&bytes[blank + 1..blank + 1 + count]).expect("UTF-8");
        let (_, record) = message.split_once("] ").expect("structured data");
        records.push(serde_json::from_str(record).expect("JSON"));
        bytes = &bytes[blank + 1 + count..];
    }
    records
}

/// In the count, in the head of a message, in its record, behind several messages: what was on its way comes again whole, with the same ids.
#[test]
fn a_connection_that_is_reset_amid_a_message_loses_nothing() {
    let (folder, upstream) = (Folder::new(), echo());
    let relay = Relay::start(vec![1, 2, 40, 300, 1_500]);
    let ship = format!("{{ id: relay, syslog: \"tcp://127.0.0.1:{}\" }}", relay.port);
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    calls(&process, 30);
    wait_for("all resets", || relay.broken.lock().unwrap().len() == 5);
    settled(&process, 30);
    assert!(metric(&process, "strait_audit_ship_failures_total") >= 5);
    assert_eq!(process.stop(), Some(0));
    let found = names(&relay.records());
    assert!(found.len() > 30);
    assert_eq!(found, expected(&folder)[..found.len()], "each once, in order, from the first");
    // What came in the connections that broke came again.
    let first = relay.taken.lock().unwrap()[0].clone();
    for bytes in relay.broken.lock().unwrap().iter().filter(|bytes| !bytes.is_empty()) {
        let shared = bytes.iter().zip(&first).take_while(|(one, other)| one == other).count();
        assert_eq!(shared, bytes.len().min(first.len()), "the same messages from their beginning");
    }
}

/// Away for so long that more waits than one batch holds: all of it comes, in batches, each record once, and no call waited for it.
#[test]
fn a_collector_that_was_away_for_long_gets_all_of_it_in_order() {
    const CALLS: usize = 9_000;
    const AT_ONCE: usize = 100;
    let (folder, upstream, port) = (Folder::new(), echo(), free_port());
    let ship = format!("{{ id: hook, webhook: \"http://127.0.0.1:{port}\", secret: \"{SECRET}\" }}");
    let process = serve(&folder, &shipped(&upstream.url(), "", &ship));
    let mut client = process.client();
    for _ in 0..CALLS / AT_ONCE {
        // A name that nobody offers is refused at once, and recorded as everything is.
        (0..AT_ONCE)
            .for_each(|_| client.send(modern("", 1, "tools/call", serde_json::json!({"name": "nobody"}))));
        (0..AT_ONCE).for_each(|_| drop(client.answer()));
    }
    wait_for("all to be signed", || metric(&process, "strait_audit_ship_lag_records") > CALLS as u64);
    let hook = Http::at(([127, 0, 0, 1], port).into());
    settled(&process, CALLS as u64);
    assert_eq!(metric(&process, "strait_audit_ship_missed_records_total"), 0);
    assert_eq!(process.stop(), Some(0));
    let sent = names(&hook.lines());
    assert!(sent.len() > CALLS && hook.taken().len() > 2, "{} in {} batches", sent.len(), hook.taken().len());
    assert_eq!(sent, expected(&folder)[..sent.len()]);
}
