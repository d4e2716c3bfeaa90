//! Blocking sockets for the three arms: one connection each, one request at a time.
//!
//! Nothing cleverer than a blocking write and a blocking read stands between the clock and the kernel,
//! the same for every arm. The kernel is asked for its own time stamps as well, of all arms alike: those of sends are
//! fetched when the exchange is over and its time taken, so that looking for them is in no arm's time. With `busy_poll` the socket is asked again and again instead of slept on: that
//! takes the wake-up of this thread out of all arms, and a core for itself.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::run::{Answer, Wire};
use super::samples::{Fault, Layer};
use super::schedule::{ARMS, Arm};
use crate::io::stamps::{self, Stamp};
use crate::target::{Cause, ID_FIRST, Progress, ReplyReader, Target, Template};

/// One read; larger answers take several.
const READ_BYTES: usize = 64 * 1024;

/// Where an arm goes, and what it says there.
pub struct End {
    pub target: Target,
    pub request: Template,
}

/// The arms as sockets.
pub struct Sockets {
    /// At [`Arm::index`]; a run need not have every arm.
    lines: [Option<Line>; ARMS],
    input: Vec<u8>,
    timeout: Duration,
    busy_poll: bool,
    /// Whether the kernel is asked for stamps, or why it is not.
    stamps: Result<(), String>,
}

struct Line {
    end: End,
    stream: Option<Stream>,
    reader: ReplyReader,
}

/// A connection, and what was written to it.
struct Stream {
    socket: TcpStream,
    /// Bytes since stamps were asked for, as the kernel counts them: nothing where they were not.
    written: Option<u32>,
}

impl Sockets {
    pub fn new(
        ends: Vec<(Arm, End)>,
        timeout: Duration,
        busy_poll: bool,
        stamps: Result<(), String>,
    ) -> Sockets {
        let mut lines = [const { None }; ARMS];
        for (arm, end) in ends {
            lines[arm.index()] = Some(Line { end, stream: None, reader: ReplyReader::new() });
        }
        Sockets { lines, input: vec![0; READ_BYTES], timeout, busy_poll, stamps }
    }

    /// Whether the kernel gives stamps on these sockets, or why not.
    pub fn stamps(&self) -> Result<(), String> {
        self.stamps.clone()
    }
}

impl Wire for Sockets {
    fn open(&mut self, arm: Arm) -> Result<(), Fault> {
        let Some(line) = &mut self.lines[arm.index()] else { return Err(absent(arm)) };
        let address = line.end.target.address;
        let connect = || -> std::io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, self.timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            stream.set_nonblocking(self.busy_poll)?;
            Ok(stream)
        };
        // The old one is closed first: a server may allow only so many.
        line.stream = None;
        let socket = connect().map_err(|error| {
            let message = format!("no connection to {address}: {error}");
            Fault { arm, layer: Layer::Connect, message }
        })?;
        // Refused once is refused for all: arms with stamps beside arms without could not be compared.
        if self.stamps.is_ok()
            && let Err(error) = stamps::ask(&socket)
        {
            self.stamps = Err(format!("the kernel refuses SO_TIMESTAMPING: {error}"));
        }
        let written = self.stamps.is_ok().then_some(0);
        line.stream = Some(Stream { socket, written });
        Ok(())
    }

    fn exchange(&mut self, arm: Arm, number: u64) -> Result<Answer, Fault> {
        let Some(line) = &mut self.lines[arm.index()] else { return Err(absent(arm)) };
        let fault = |cause: Cause| Fault { arm, layer: Layer::of(cause), message: cause.to_string() };
        let Some(stream) = &mut line.stream else { return Err(fault(Cause::Connect)) };
        let id = ID_FIRST + number;
        line.reader.expect(id);
        let request = line.end.request.stamp(id);
        let start = Instant::now();
        let until = start + self.timeout;
        let done = send(stream, request, until)
            .and_then(|()| receive(&stream.socket, &mut line.reader, &mut self.input, start, until));
        let Received { ns, came, reusable } = done.map_err(fault)?;
        let wire_ns = stream.left().zip(came).and_then(|(left, came)| came.ns_since(left));
        Ok(Answer { ns, wire_ns, reusable })
    }
}

impl Stream {
    /// When the last byte of all that was written left; takes every stamp that waits.
    fn left(&self) -> Option<Stamp> {
        let last_byte = self.written?.wrapping_sub(1);
        let mut left = None;
        // An error ends the list as its end does: what was not found is missing.
        while let Ok(Some(sent)) = stamps::next_sent(&self.socket) {
            // The first: a packet that is sent again is stamped again.
            if sent.last_byte == last_byte {
                left = left.or(Some(sent.at));
            }
        }
        left
    }
}

/// The answer, and when its last byte came.
struct Received {
    ns: u64,
    came: Option<Stamp>,
    reusable: bool,
}

fn absent(arm: Arm) -> Fault {
    Fault { arm, layer: Layer::Connect, message: "this run has no such arm".to_owned() }
}

fn send(stream: &mut Stream, mut rest: &[u8], until: Instant) -> Result<(), Cause> {
    while !rest.is_empty() {
        match stream.socket.write(rest) {
            Ok(0) => return Err(Cause::Transport),
            Ok(sent) => {
                rest = &rest[sent..];
                // The kernel's count has 32 bits as well.
                stream.written = stream.written.map(|written| written.wrapping_add(sent as u32));
            }
            Err(error) => again(&error, until)?,
        }
    }
    Ok(())
}

fn receive(
    socket: &TcpStream,
    reader: &mut ReplyReader,
    input: &mut [u8],
    start: Instant,
    until: Instant,
) -> Result<Received, Cause> {
    let mut answered = None;
    loop {
        let (received, came) = match stamps::receive(socket, input) {
            Ok(received) => received,
            Err(error) => {
                again(&error, until)?;
                continue;
            }
        };
        // Before the answer is looked at: looking is not part of the time.
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if received == 0 {
            reader.end()?;
            let (ns, came) = answered.unwrap_or((ns, None));
            return Ok(Received { ns, came, reusable: false });
        }
        match reader.feed(&input[..received]) {
            Progress::More => {}
            Progress::Answered { result } => {
                result?;
                answered = Some((ns, came));
            }
            Progress::Done { result, consumed, reusable } => {
                result?;
                // What follows an answer belongs to no request.
                let reusable = reusable && consumed == received;
                let (ns, came) = answered.unwrap_or((ns, came));
                return Ok(Received { ns, came, reusable });
            }
        }
        // A peer that goes on and on never lets a read run into its time.
        if Instant::now() >= until {
            return Err(Cause::Timeout);
        }
    }
}

/// Whether a call that gave nothing may be repeated: it was interrupted, or this socket is polled.
fn again(error: &std::io::Error, until: Instant) -> Result<(), Cause> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock if Instant::now() < until => {
            std::hint::spin_loop();
            Ok(())
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Cause::Timeout),
        _ => Err(Cause::Transport),
    }
}

impl Layer {
    /// The layer at which a call of this kind ends.
    fn of(cause: Cause) -> Layer {
        match cause {
            Cause::Connect => Layer::Connect,
            Cause::Transport | Cause::Timeout | Cause::Truncated => Layer::Transport,
            Cause::HttpStatus(401 | 403) => Layer::Auth,
            Cause::HttpStatus(_) => Layer::Http,
            Cause::JsonRpc(_) | Cause::WrongId | Cause::Malformed => Layer::Rpc,
            Cause::IsError | Cause::Denied => Layer::Mcp,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use strait_protocol::mcp::Method;

    use super::*;
    use crate::target::{Call, Era};

    /// It answers, but the stream goes on: without an end of its own the exchange would have none.
    #[test]
    fn a_stream_that_goes_on_behind_the_answer_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&format!("http://{}/mcp", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _request = stream.read(&mut [0; 4096]).unwrap();
            let answer = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{ID_FIRST},\"result\":{{}}}}\n\n");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.write_all(format!("{head}{answer}").as_bytes()).unwrap();
            while stream.write_all(b": still here\n\n").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let end = || {
            let request = Template::build(&target, &Era::Modern, &Call::plain(Method::ServerDiscover));
            End { target: target.clone(), request: request.unwrap() }
        };
        let mut sockets =
            Sockets::new(Vec::from([(Arm::Direct, end())]), Duration::from_millis(200), false, Ok(()));
        sockets.open(Arm::Direct).unwrap();
        let fault = sockets.exchange(Arm::Direct, 0).map(|answer| answer.ns).unwrap_err();
        assert_eq!(fault.message, Cause::Timeout.to_string());
        drop(sockets);
        server.join().unwrap();
    }
}
