//! One connection of the generator: its socket, the request it carries, and the reader of its reply. No
//! schedule and no statistics here; what became of a request is told to `drive.rs`.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, SendFlags, sockopt};
use rustls::ClientConnection;

use super::plan::Due;
use crate::poll::{Interest, Poll};
use crate::target::{Cause, Progress, ReplyReader, Target, begin_connect};

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub due: Due,
    /// Its first byte was given to the kernel, or the connection for it was begun.
    pub sent_at: u64,
    /// Its answer was recorded; only the rest of its body is awaited.
    pub recorded: bool,
    /// Its server was told that nobody waits for it.
    pub cancelled: bool,
    /// Events of its stream so far, and when the last of them came.
    pub events: u32,
    pub last_event: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Closed,
    Connecting,
    Open,
}

pub(super) struct Connection {
    socket: Option<OwnedFd>,
    link: Link,
    /// What it speaks on its socket, where that is not clear text. It allocates; the clear path does not.
    tls: Option<Box<ClientConnection>>,
    generation: u32,
    pub carried: Option<Carried>,
    /// Bytes of the request that the socket did not take at once.
    unsent: Vec<u8>,
    unsent_at: usize,
    reader: ReplyReader,
    /// Which set of templates it sends: its session's.
    pub session: usize,
}

/// What an event on a connection came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// It is connected, and carried nothing.
    Connected,
    /// The answer is known, the connection still busy with the rest of it.
    Answered(Result<(), Cause>),
    /// The request is over, and the connection free, connected or not.
    Over(Result<(), Cause>),
    /// It was idle and its peer closed it.
    Idled,
}

impl Connection {
    pub fn new(session: usize) -> Connection {
        Connection {
            socket: None,
            link: Link::Closed,
            tls: None,
            generation: 0,
            carried: None,
            unsent: Vec::new(),
            unsent_at: 0,
            reader: ReplyReader::new(),
            session,
        }
    }

    pub fn token(&self, index: usize) -> u64 {
        u64::from(self.generation) << 32 | index as u64
    }

    pub fn is_closed(&self) -> bool {
        self.link == Link::Closed
    }

    pub fn body_bytes(&self) -> u64 {
        self.reader.body_bytes()
    }

    pub fn events(&self) -> u32 {
        self.reader.events()
    }

    /// Begins to connect; what is carried leaves when that is done.
    pub fn connect(&mut self, index: usize, target: &Target, poll: &Poll) -> Result<(), Cause> {
        let socket = begin_connect(target.address).map_err(|_| Cause::Connect)?;
        let tls = target.tls.as_ref().map(|tls| tls.begin().map(Box::new)).transpose();
        self.tls = tls.map_err(|_| Cause::Connect)?;
        self.generation = self.generation.wrapping_add(1);
        poll.add(&socket, self.token(index), Interest::Both).map_err(|_| Cause::Connect)?;
        self.socket = Some(socket);
        self.link = Link::Connecting;
        Ok(())
    }

    /// Sends what is accepted and not answered.
    pub fn notify(&mut self, index: usize, bytes: &[u8], poll: &Poll) -> Result<(), Cause> {
        self.send(index, 0, bytes, poll)?;
        self.reader.expect_accepted();
        Ok(())
    }

    /// Sends a request. A part that the socket does not take is kept and follows when it does.
    pub fn send(&mut self, index: usize, id: u64, bytes: &[u8], poll: &Poll) -> Result<(), Cause> {
        self.reader.expect(id);
        self.unsent.clear();
        self.unsent_at = 0;
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes).map_err(|_| Cause::Transport)?;
            return match self.link {
                Link::Open => self.flush(index, poll),
                Link::Closed | Link::Connecting => Ok(()),
            };
        }
        let sent = match (self.link, &self.socket) {
            (Link::Open, Some(socket)) => match net::send(socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => sent,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => return Err(Cause::Transport),
            },
            _ => 0,
        };
        let rest = bytes.get(sent..).unwrap_or_default();
        if !rest.is_empty() {
            self.unsent.extend_from_slice(rest);
            if let (Link::Open, Some(socket)) = (self.link, &self.socket) {
                poll.change(socket, self.token(index), Interest::Both).map_err(|_| Cause::Transport)?;
            }
        }
        Ok(())
    }

    pub fn writable(&mut self, index: usize, poll: &Poll) -> Outcome {
        let Some(socket) = &self.socket else { return Outcome::Pending };
        let connected = self.link == Link::Connecting;
        if connected {
            if !matches!(sockopt::socket_error(socket), Ok(Ok(()))) {
                self.close();
                return Outcome::Over(Err(Cause::Connect));
            }
            self.link = Link::Open;
        }
        if self.tls.is_some() {
            if let Err(cause) = self.flush(index, poll) {
                self.close();
                return Outcome::Over(Err(cause));
            }
            return Outcome::Pending;
        }
        while let Some(rest) = self.unsent.get(self.unsent_at..).filter(|rest| !rest.is_empty()) {
            match net::send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => self.unsent_at += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Outcome::Pending,
                Err(_) => {
                    self.close();
                    return Outcome::Over(Err(Cause::Transport));
                }
            }
        }
        if poll.change(socket, self.token(index), Interest::Read).is_err() {
            self.close();
            return Outcome::Over(Err(Cause::Transport));
        }
        if connected && self.carried.is_none() { Outcome::Connected } else { Outcome::Pending }
    }

    /// Gives the socket what TLS has for it, and asks to be told when it takes more.
    fn flush(&mut self, index: usize, poll: &Poll) -> Result<(), Cause> {
        let (Some(tls), Some(socket)) = (&mut self.tls, &self.socket) else { return Ok(()) };
        let was_shaking = tls.is_handshaking();
        let broken = if was_shaking { Cause::Connect } else { Cause::Transport };
        while tls.wants_write() {
            match tls.write_tls(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Err(broken),
            }
        }
        let more = tls.wants_write();
        let interest = if more { Interest::Both } else { Interest::Read };
        poll.change(socket, self.token(index), interest).map_err(|_| broken)
    }

    /// What arrived under TLS. What is said to nobody (tickets) is taken in silence.
    fn decrypted(&mut self, index: usize, input: &mut [u8], poll: &Poll) -> Outcome {
        let (Some(tls), Some(socket)) = (&mut self.tls, &self.socket) else { return Outcome::Pending };
        let broken = if tls.is_handshaking() { Cause::Connect } else { Cause::Transport };
        let mut ended = match tls.read_tls(&mut Socket(socket)) {
            Ok(read) => read == 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Pending,
            Err(_) => true,
        };
        let taken = tls.process_new_packets();
        // Also the alert that says what was wrong with them.
        let flushed = self.flush(index, poll);
        if taken.is_err() || flushed.is_err() {
            self.close();
            return Outcome::Over(Err(broken));
        }
        let shook = broken == Cause::Connect && self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        let mut answered = None;
        while let Some(tls) = &mut self.tls {
            let read = match tls.reader().read(input) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            };
            match self.took(input, read) {
                Outcome::Pending => {}
                Outcome::Answered(result) => answered = Some(result),
                other => return other,
            }
        }
        match (ended, answered) {
            (true, _) if self.carried.is_none() => {
                self.close();
                Outcome::Idled
            }
            (true, _) if broken == Cause::Connect => {
                self.close();
                Outcome::Over(Err(Cause::Connect))
            }
            (true, _) => {
                let result = self.reader.end();
                self.close();
                Outcome::Over(result)
            }
            (false, Some(result)) => Outcome::Answered(result),
            (false, None) if shook && self.carried.is_none() => Outcome::Connected,
            (false, None) => Outcome::Pending,
        }
    }

    pub fn readable(&mut self, index: usize, input: &mut [u8], poll: &Poll) -> Outcome {
        if self.tls.is_some() && self.link == Link::Open {
            return self.decrypted(index, input, poll);
        }
        let Some(socket) = self.socket.as_ref().filter(|_| self.link == Link::Open) else {
            return Outcome::Pending;
        };
        let read = match rustix::io::read(socket, &mut *input) {
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Outcome::Pending,
            Err(_) => 0,
        };
        if read == 0 && self.carried.is_some() {
            let result = self.reader.end();
            self.close();
            return Outcome::Over(result);
        }
        self.took(input, read)
    }

    /// Bytes of an answer.
    fn took(&mut self, input: &[u8], read: usize) -> Outcome {
        if self.carried.is_none() {
            // Nothing was asked: its peer has closed it, or says what nobody wants to hear.
            self.close();
            return Outcome::Idled;
        }
        match self.reader.feed(input.get(..read).unwrap_or_default()) {
            Progress::More => Outcome::Pending,
            Progress::Answered { result } => Outcome::Answered(result),
            Progress::Done { result, consumed, reusable } => {
                // An answer before the request was sent whole leaves a connection nobody can use.
                let sealed = self.tls.as_ref().is_some_and(|tls| tls.wants_write());
                let whole = self.unsent_at == self.unsent.len() && !sealed;
                if !reusable || consumed < read || !whole {
                    self.close();
                }
                Outcome::Over(result)
            }
        }
    }

    /// Events that were on their way for it are no longer its own.
    pub fn close(&mut self) {
        self.socket = None;
        self.tls = None;
        self.link = Link::Closed;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// A socket as TLS reads and writes it.
struct Socket<'a>(&'a OwnedFd);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(self.0, &mut *into))?)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| net::send(self.0, bytes, SendFlags::NOSIGNAL))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
