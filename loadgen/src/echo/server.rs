//! The loop of the echo server: accept, read, answer, and send what is due.
//!
//! The decision: one thread with level-triggered epoll and a heap of due times. A reply waits in its
//! connection's buffer, complete, until its time has come; the wait of epoll ends at the earliest due
//! time, to the nanosecond as far as the kernel goes (docs/LOAD.md tells how exact that was found).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, getrlimit, setrlimit};
use strait_protocol::http1::{Body, Method as HttpMethod, RequestHead, parse_request, write};

use super::Options;
use super::answer::{Answers, Leaves, plain};
use crate::clock::Clock;
use crate::poll::{Interest, Poll, Ready};
use crate::random::Random;

/// Connections at once; each costs some 300 bytes, and its buffers while it is busy.
pub const ECHO_CONNECTIONS_MAX: usize = 65_536;
/// The largest request, head and body.
const REQUEST_BYTES_MAX: usize = 17 * 1024 * 1024;
/// A connection keeps buffers up to this between requests.
const RETAIN_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 256 * 1024;
const BACKLOG: i32 = 4096;
/// How long a wait may take before the stop flag is looked at.
const WAIT_NS_MAX: u64 = 100_000_000;
const LISTENER: u64 = u64::MAX;

/// A bound server. What it needs to run is made by the thread that runs it.
pub struct Echo {
    listener: OwnedFd,
    address: SocketAddr,
    options: Options,
}

struct Server {
    listener: OwnedFd,
    poll: Poll,
    clock: Clock,
    options: Options,
    answers: Answers,
    random: Random,
    connections: Vec<Connection>,
    free: Vec<usize>,
    /// Due time and token of calls in service.
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// Calls that wait for a worker.
    line: VecDeque<u64>,
    in_service: usize,
    /// Descriptors ran out: nobody is accepted until one is given back.
    full: bool,
    input: Vec<u8>,
    scratch: Vec<u8>,
}

/// Where a connection's exchange stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    /// Waiting for (the rest of) a request.
    #[default]
    Reading,
    /// A call in line for a worker.
    Waiting,
    /// A call in service: so many of its pieces have left.
    Serving { pieces: u32, base: u64, latency: u64 },
    /// All of the reply may leave; the socket takes it as it can.
    Sending,
}

#[derive(Default)]
struct Connection {
    socket: Option<OwnedFd>,
    generation: u32,
    stage: Stage,
    /// What was read and belongs to a request that is incomplete, or to the next one.
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Where the reply's pieces end.
    cuts: Vec<u32>,
    watching: Watching,
    close_after: bool,
}

/// What epoll was last told about a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Watching {
    #[default]
    Reads,
    Both,
}

impl Echo {
    pub fn bind(options: &Options) -> io::Result<Echo> {
        raise_descriptors();
        let family = if options.bind.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        // Accepted sockets inherit it.
        sockopt::set_tcp_nodelay(&listener, true)?;
        net::bind(&listener, &options.bind)?;
        net::listen(&listener, BACKLOG)?;
        let address = SocketAddr::try_from(net::getsockname(&listener)?)?;
        Ok(Echo { listener, address, options: options.clone() })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is set.
    pub fn run(self, stop: &AtomicBool) -> io::Result<()> {
        let poll = Poll::new()?;
        poll.add(&self.listener, LISTENER, Interest::Read)?;
        let mut server = Server {
            listener: self.listener,
            poll,
            clock: Clock::new(),
            answers: Answers::new(&self.options),
            random: Random::new(self.options.seed),
            options: self.options,
            connections: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            line: VecDeque::new(),
            in_service: 0,
            full: false,
            input: vec![0; READ_BYTES],
            scratch: Vec::new(),
        };
        while !stop.load(Ordering::Relaxed) {
            server.turn()?;
        }
        Ok(())
    }
}

impl Server {
    fn turn(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        let glance = now - now % WAIT_NS_MAX + WAIT_NS_MAX;
        self.poll.wait(now, self.due.peek().map_or(glance, |Reverse((due, _))| glance.min(*due)))?;
        // What is due leaves before anything new is looked at.
        self.send_due();
        for index in 0..self.poll.count() {
            match self.poll.ready(index) {
                Some(ready) if ready.token == LISTENER => self.accept()?,
                Some(ready) => self.serve(ready),
                None => {}
            }
        }
        self.relieve();
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.full = true;
                    return self.poll.remove(&self.listener);
                }
                Err(error) => return Err(error.into()),
            };
            if self.connections.len() - self.free.len() >= ECHO_CONNECTIONS_MAX {
                continue;
            }
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(Connection::default());
                self.connections.len() - 1
            });
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if self.poll.add(&socket, token(index, connection.generation), Interest::Read).is_ok() {
                connection.socket = Some(socket);
            } else {
                self.free.push(index);
            }
        }
    }

    fn serve(&mut self, ready: Ready) {
        let index = (ready.token & 0xffff_ffff) as usize;
        let current =
            |server: &Server| server.connections.get(index).is_some_and(|c| c.token(index) == ready.token);
        if ready.writable && current(self) {
            self.flush(index);
        }
        if ready.readable && current(self) {
            self.read(index);
        }
    }

    fn read(&mut self, index: usize) {
        let mut input = std::mem::take(&mut self.input);
        let Some(connection) = self.connections.get_mut(index) else { return };
        let read = match &connection.socket {
            Some(socket) => rustix::io::read(socket, input.as_mut_slice()),
            None => Err(Errno::BADF),
        };
        match read {
            Ok(0) => self.close(index),
            Ok(read) => {
                let fresh = input.get(..read).unwrap_or_default();
                // A whole request in one read, which is nearly every one, is answered where it stands.
                if connection.input.is_empty() && connection.stage == Stage::Reading {
                    self.take(index, fresh);
                } else if connection.input.len() + read > REQUEST_BYTES_MAX {
                    self.close(index);
                } else {
                    connection.input.extend_from_slice(fresh);
                    self.resume(index);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.close(index),
        }
        self.input = input;
    }

    /// Goes on with what a connection has already sent.
    fn resume(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.stage == Stage::Reading && !connection.input.is_empty() {
            let held = std::mem::take(&mut connection.input);
            self.take(index, &held);
            if let Some(connection) = self.connections.get_mut(index).filter(|c| c.socket.is_some()) {
                // Gives the vector back, with what `take` kept of it.
                let kept = std::mem::replace(&mut connection.input, held);
                connection.input.clear();
                connection.input.extend_from_slice(&kept);
                connection.input.shrink_to(RETAIN_BYTES.max(kept.len()));
            }
        }
    }

    /// Answers the requests in `bytes`, one after another, and keeps what is left of them.
    fn take(&mut self, index: usize, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            match self.request(index, rest) {
                Some(consumed) => at += consumed,
                None => {
                    if let Some(connection) = self.connections.get_mut(index).filter(|c| c.socket.is_some()) {
                        connection.input.extend_from_slice(rest);
                    }
                    return;
                }
            }
        }
    }

    /// Answers the first request in `bytes` and says how long it was; `None` when it is incomplete, its
    /// turn has not come, or the connection is gone.
    fn request(&mut self, index: usize, bytes: &[u8]) -> Option<usize> {
        let connection = self.connections.get_mut(index)?;
        if connection.stage != Stage::Reading || connection.socket.is_none() {
            return None;
        }
        let head = match parse_request(bytes) {
            Ok(head) => head?,
            Err(fault) => {
                plain(&mut connection.output, fault.status());
                connection.close_after = true;
                connection.stage = Stage::Sending;
                self.flush(index);
                return None;
            }
        };
        let start = head.head_bytes as usize;
        let mut dechunked = std::mem::take(&mut self.scratch);
        dechunked.clear();
        let found = message(&head, bytes.get(start..).unwrap_or_default(), &mut dechunked);
        let leaves = match &found {
            Found::Whole { message, .. } => {
                connection.close_after = !head.keep_alive;
                Some(self.answers.answer(&head, bytes, message, &mut connection.output, &mut connection.cuts))
            }
            Found::Broken => {
                plain(&mut connection.output, 400);
                connection.close_after = true;
                Some(Leaves::AtOnce)
            }
            Found::Part => {
                if head.expect_continue && connection.input.is_empty() && bytes.len() == start {
                    connection.output.extend_from_slice(write::CONTINUE);
                }
                None
            }
        };
        let consumed = match found {
            Found::Whole { consumed, .. } => Some(start + consumed),
            _ => None,
        };
        self.scratch = dechunked;
        match leaves {
            Some(Leaves::AtOnce) => {
                connection.stage = Stage::Sending;
                self.flush(index);
            }
            Some(Leaves::InTime) => self.enqueue(index),
            // An invitation to go on, perhaps.
            None => self.flush(index),
        }
        consumed
    }

    /// A call whose reply is ready: into service, or into the line.
    fn enqueue(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if self.options.workers.is_some_and(|workers| self.in_service >= workers) {
            connection.stage = Stage::Waiting;
            self.line.push_back(connection.token(index));
        } else {
            self.begin(index);
        }
    }

    fn begin(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        self.in_service += 1;
        let latency = self.options.latency.draw(&mut self.random, self.clock.now());
        connection.stage = Stage::Serving { pieces: 0, base: self.clock.now(), latency };
        self.advance(index);
    }

    /// Sends the pieces of a call that are due, and either ends it or waits for the next one.
    fn advance(&mut self, index: usize) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Stage::Serving { mut pieces, base, latency } = connection.stage else { return };
        let events = connection.cuts.len() as u32;
        loop {
            let last = pieces >= events;
            let wait = u64::from(pieces + u32::from(!last)) * self.options.interval_ns;
            let due = self.options.latency.leave(base + wait + if last { latency } else { 0 });
            if due > now {
                connection.stage = Stage::Serving { pieces, base, latency };
                let token = connection.token(index);
                self.due.push(Reverse((due, token)));
                break;
            }
            if last {
                connection.stage = Stage::Sending;
                self.in_service -= 1;
                break;
            }
            pieces += 1;
        }
        self.flush(index);
    }

    fn send_due(&mut self) {
        let now = self.clock.now();
        while let Some(Reverse((due, token))) = self.due.peek().copied() {
            if due > now {
                break;
            }
            self.due.pop();
            let index = (token & 0xffff_ffff) as usize;
            if self.connections.get(index).is_some_and(|c| c.token(index) == token) {
                self.advance(index);
            }
        }
    }

    /// Lets calls in line take the places that have become free.
    fn relieve(&mut self) {
        let workers = self.options.workers.unwrap_or(usize::MAX);
        while self.in_service < workers {
            let Some(token) = self.line.pop_front() else { return };
            let index = (token & 0xffff_ffff) as usize;
            if self.connections.get(index).is_some_and(|c| c.token(index) == token) {
                self.begin(index);
            }
        }
    }

    /// Sends what may leave. At the end of a reply the connection goes back to reading.
    fn flush(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let Some(socket) = &connection.socket else { return };
        let free = match connection.stage {
            Stage::Waiting => 0,
            Stage::Serving { pieces, .. } => match pieces.checked_sub(1) {
                Some(last) => connection.cuts.get(last as usize).map_or(0, |cut| *cut as usize),
                None => 0,
            },
            Stage::Reading | Stage::Sending => connection.output.len(),
        };
        while connection.sent < free {
            let rest = connection.output.get(connection.sent..free).unwrap_or_default();
            match net::send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => connection.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if connection.watching != Watching::Both {
                        connection.watching = Watching::Both;
                        let token = connection.token(index);
                        let _ = self.poll.change(socket, token, Interest::Both);
                    }
                    return;
                }
                Err(_) => return self.close(index),
            }
        }
        if connection.watching == Watching::Both {
            connection.watching = Watching::Reads;
            let token = connection.token(index);
            let _ = self.poll.change(socket, token, Interest::Read);
        }
        if connection.sent == connection.output.len() {
            connection.output.clear();
            connection.output.shrink_to(RETAIN_BYTES);
            connection.sent = 0;
        }
        if connection.stage == Stage::Sending {
            connection.cuts.clear();
            connection.stage = Stage::Reading;
            match connection.close_after {
                true => self.close(index),
                false => self.resume(index),
            }
        }
    }

    fn close(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.socket.take().is_none() {
            return;
        }
        if matches!(connection.stage, Stage::Serving { .. }) {
            self.in_service -= 1;
        }
        *connection =
            Connection { generation: connection.generation.wrapping_add(1), ..Connection::default() };
        self.free.push(index);
        if std::mem::take(&mut self.full) {
            // Failing would leave the server deaf; the next close tries again.
            self.full = self.poll.add(&self.listener, LISTENER, Interest::Read).is_err();
        }
    }
}

impl Connection {
    fn token(&self, index: usize) -> u64 {
        token(index, self.generation)
    }
}

fn token(index: usize, generation: u32) -> u64 {
    // Never the listener's: an index is below the number of connections.
    u64::from(generation) << 32 | index as u64
}

enum Found<'a> {
    Whole { message: &'a [u8], consumed: usize },
    Part,
    Broken,
}

/// The body of a request, when all of it is there.
fn message<'a>(head: &RequestHead, bytes: &'a [u8], dechunked: &'a mut Vec<u8>) -> Found<'a> {
    let mut body = Body::of_request(head.framing);
    if head.method != HttpMethod::Post && body.is_done() {
        return Found::Whole { message: b"", consumed: 0 };
    }
    if let Some(length) = body.left() {
        return match usize::try_from(length).ok().filter(|length| *length <= REQUEST_BYTES_MAX) {
            None => Found::Broken,
            Some(length) => match bytes.get(..length) {
                Some(message) => Found::Whole { message, consumed: length },
                None => Found::Part,
            },
        };
    }
    let mut at = 0;
    while !body.is_done() {
        let rest = bytes.get(at..).unwrap_or_default();
        let Ok(step) = body.next(rest) else { return Found::Broken };
        dechunked.extend_from_slice(rest.get(step.data.clone()).unwrap_or_default());
        at += step.consumed;
        if !step.done && at >= bytes.len() {
            return Found::Part;
        }
    }
    Found::Whole { message: dechunked, consumed: at }
}

/// 12,000 connections need more descriptors than a shell usually allows; what the system allows is taken.
pub(crate) fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Refused, the cap stays lower, and running out of descriptors is handled.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
