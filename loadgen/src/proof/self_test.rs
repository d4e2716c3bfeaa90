//! Does the tool find what is there? A delay of known length is put into one arm, and has to be found;
//! the null arm has nothing in it, and nothing may be found there.
//!
//! All three arms go the same way: through one relay thread, which has one connection to one server, so
//! that the delay is the only thing in which they differ. Each request says in a header how long its
//! answer is to be held: 200 us in the two equal arms, 400 us in the third. The relay has then read the
//! whole answer, looks at the clock until that time has passed (it neither sleeps nor yields), and passes
//! the answer on. So what is inserted is 200 us, give or take one look at the clock; how long holds really
//! were is recorded and told. Every arm is held, because whatever follows a wait is slower than what follows none:
//! between 0 and 200 us that alone made 1.5 to 5 us on a machine with two cores, between 200 and 400 us 0.4 us.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bootstrap::Estimate;
use super::limit::Percentile;
use super::schedule::Arm;
use super::verdict::{Evidence, Verdict, micros};
use crate::target::{Progress, ReplyReader};

/// Every answer is held so long.
pub const HOLD: Duration = Duration::from_micros(200);
/// What is inserted.
pub const INSERTED: Duration = Duration::from_micros(200);
/// Between two slots. A thread that keeps a core busy beyond its share is made to wait in the middle of
/// its work, and the longer hold is then met by that more often than the shorter.
pub const REST: Duration = Duration::from_millis(2);
/// A 95 % interval misses the truth in one run of twenty, and a self-test with two of them in one of ten,
/// with nothing wrong. It is therefore judged by intervals that miss in one run of a thousand.
pub const CONFIDENCE: f64 = 0.999;
/// The header by which a request asks to be held, in microseconds of three digits.
pub const HEADER: &str = "X-Strait-Hold-Us";
/// An interval wider than this share of the delay, to either side, contains it too easily.
const HALF_WIDTH_DIVISOR: i64 = 10;
/// A tool that waited for its core longer than this share of the time cannot be said to measure wrongly.
const RUN_DELAY_MAX: f64 = 0.1;
/// Requests of a self-test are a few hundred bytes, its answers about as much.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How often the relay looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Something that had to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: &'static str,
    pub verdict: Verdict,
    pub cause: String,
}

/// The delay is in the gateway's arm, and nothing is in the null arm.
pub fn checks(inserted_ns: u64, evidence: &Evidence<'_>) -> Vec<Check> {
    let inserted = i64::try_from(inserted_ns).unwrap_or(i64::MAX);
    let row = evidence.rows.iter().find(|row| row.percentile == Percentile::P50);
    let check = |name, truth: i64, estimate: Option<Estimate>| {
        let (verdict, cause) = match estimate.filter(|_| evidence.failures == 0) {
            Some(estimate) => find(estimate, truth, inserted, evidence.disturbance.run_delay),
            None => {
                let (failures, slots) = (evidence.failures, evidence.slots);
                (Verdict::Inconclusive, format!("{failures} of {slots} slots failed, or too few were done"))
            }
        };
        Check { name, verdict, cause }
    };
    vec![
        check("the delay is found at p50", inserted, row.and_then(|row| Some(row.of(Arm::Through)?.added))),
        check("the null arm holds nothing at p50", 0, row.map(|row| row.null)),
    ]
}

fn find(estimate: Estimate, truth: i64, inserted: i64, run_delay: Option<f64>) -> (Verdict, String) {
    let interval = format!("{} to {}", micros(estimate.low), micros(estimate.high));
    let truth_told = micros(truth);
    let waited = run_delay.filter(|share| *share > RUN_DELAY_MAX);
    if estimate.half_width() > inserted / HALF_WIDTH_DIVISOR {
        return (Verdict::Inconclusive, format!("{interval} is too wide to tell anything"));
    }
    match (estimate.contains(truth), waited) {
        (true, _) => (Verdict::Pass, format!("{interval} contains {truth_told}")),
        (false, None) => (Verdict::Fail, format!("{interval} does not contain {truth_told}")),
        (false, Some(share)) => {
            let waited = format!("this tool waited for a core {:.0} % of the time", share * 100.0);
            (Verdict::Inconclusive, format!("{interval} does not contain {truth_told}, but {waited}"))
        }
    }
}

/// How long an answer was to be held, and how long it was, ns.
type Holds = Vec<(Duration, u64)>;

/// The relay, until it is dropped or stopped.
pub struct Relay {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Holds>>,
}

impl Relay {
    pub fn start(server: SocketAddr) -> std::io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let upstream = TcpStream::connect(server)?;
        upstream.set_nodelay(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut relaying = Relaying {
            listener,
            clients: Vec::new(),
            upstream,
            input: vec![0; MESSAGE_BYTES_MAX],
            holds: Vec::new(),
            stop: stop.clone(),
        };
        let name = std::thread::Builder::new().name("strait-relay".to_owned());
        let thread = name.spawn(move || {
            // An end without a word shows as a broken connection in every arm.
            let _ = relaying.run();
            relaying.holds
        })?;
        Ok(Relay { address, stop, thread: Some(thread) })
    }

    /// Ends the relay; gives what was inserted by its own clock: the median of the longer holds minus that
    /// of the shorter.
    pub fn stop(mut self) -> u64 {
        let holds = self.end();
        let median = |wanted: Duration| {
            let mut ns: Vec<u64> = holds.iter().filter(|hold| hold.0 == wanted).map(|hold| hold.1).collect();
            ns.sort_unstable();
            ns.get(ns.len() / 2).copied().unwrap_or_default()
        };
        median(HOLD + INSERTED).saturating_sub(median(HOLD))
    }

    fn end(&mut self) -> Holds {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

struct Relaying {
    listener: TcpListener,
    clients: Vec<TcpStream>,
    upstream: TcpStream,
    input: Vec<u8>,
    holds: Holds,
    stop: Arc<AtomicBool>,
}

impl Relaying {
    fn run(&mut self) -> std::io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let mut watched: Vec<PollFd<'_>> =
                self.clients.iter().map(|client| PollFd::new(client, PollFlags::IN)).collect();
            watched.push(PollFd::new(&self.listener, PollFlags::IN));
            match poll(&mut watched, Some(&LOOK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(watched);
            // From the back, so that a client that left moves nobody who is still to be served.
            for index in (0..self.clients.len()).rev().filter(|index| ready[*index]) {
                if !self.exchange(index)? {
                    self.clients.swap_remove(index);
                }
            }
            match self.listener.accept() {
                Ok((client, _)) => {
                    client.set_nodelay(true)?;
                    client.set_nonblocking(false)?;
                    self.clients.push(client);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One request of a client and its answer; false when the client has left.
    fn exchange(&mut self, index: usize) -> std::io::Result<bool> {
        let client = &mut self.clients[index];
        let mut filled = 0;
        let request = loop {
            let received = client.read(&mut self.input[filled..]).unwrap_or(0);
            filled += received;
            match whole(&self.input[..filled]) {
                Some(request) => break request,
                None if received == 0 => return Ok(false),
                None => {}
            }
        };
        self.upstream.write_all(&self.input[..request.bytes])?;
        let (mut reader, mut filled) = (ReplyReader::new(), 0);
        reader.expect(0);
        loop {
            let received = self.upstream.read(&mut self.input[filled..])?;
            let piece = filled..filled + received;
            filled += received;
            // Whether it is the right answer is the client's to say.
            let done = matches!(reader.feed(&self.input[piece]), Progress::Done { .. });
            match done {
                true => break,
                false if received == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                false => {}
            }
        }
        let answered = Instant::now();
        let held = loop {
            let passed = answered.elapsed();
            if passed >= request.hold {
                break passed;
            }
            std::hint::spin_loop();
        };
        let written = client.write_all(&self.input[..filled]);
        self.holds.push((request.hold, u64::try_from(held.as_nanos()).unwrap_or(u64::MAX)));
        Ok(written.is_ok())
    }
}

struct Request {
    bytes: usize,
    hold: Duration,
}

/// A request that has arrived whole. Only this crate's own templates are read here.
fn whole(input: &[u8]) -> Option<Request> {
    let head_bytes = memchr::memmem::find(input, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&input[..head_bytes]).ok()?;
    let number = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name))?.1.trim().parse::<u64>().ok()
    };
    let bytes = head_bytes + usize::try_from(number("Content-Length")?).ok()?;
    let hold = Duration::from_micros(number(HEADER).unwrap_or(0));
    (bytes <= input.len()).then_some(Request { bytes, hold })
}
