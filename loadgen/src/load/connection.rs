//! One connection of the generator: its socket, the request it carries, and the reader of its reply. No
//! schedule and no statistics here; what became of a request is told to `drive.rs`.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, SendFlags, sockopt};

use super::plan::Due;
use crate::poll::{Interest, Poll};
use crate::target::{Cause, Progress, ReplyReader, begin_connect};

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub due: Due,
    /// Its first byte was given to the kernel, or the connection for it was begun.
    pub sent_at: u64,
    /// Its answer was recorded; only the rest of its body is awaited.
    pub recorded: bool,
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
    pub fn connect(&mut self, index: usize, address: SocketAddr, poll: &Poll) -> Result<(), Cause> {
        let socket = begin_connect(address).map_err(|_| Cause::Connect)?;
        self.generation = self.generation.wrapping_add(1);
        poll.add(&socket, self.token(index), Interest::Both).map_err(|_| Cause::Connect)?;
        self.socket = Some(socket);
        self.link = Link::Connecting;
        Ok(())
    }

    /// Sends a request. A part that the socket does not take is kept and follows when it does.
    pub fn send(&mut self, index: usize, id: u64, bytes: &[u8], poll: &Poll) -> Result<(), Cause> {
        self.reader.expect(id);
        self.unsent.clear();
        self.unsent_at = 0;
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

    pub fn readable(&mut self, input: &mut [u8]) -> Outcome {
        let Some(socket) = self.socket.as_ref().filter(|_| self.link == Link::Open) else {
            return Outcome::Pending;
        };
        let read = match rustix::io::read(socket, &mut *input) {
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Outcome::Pending,
            Err(_) => 0,
        };
        if self.carried.is_none() {
            // Nothing was asked: its peer has closed it, or says what nobody wants to hear.
            self.close();
            return Outcome::Idled;
        }
        if read == 0 {
            let result = self.reader.end();
            self.close();
            return Outcome::Over(result);
        }
        match self.reader.feed(input.get(..read).unwrap_or_default()) {
            Progress::More => Outcome::Pending,
            Progress::Answered { result } => Outcome::Answered(result),
            Progress::Done { result, consumed, reusable } => {
                // An answer before the request was sent whole leaves a connection nobody can use.
                let whole = self.unsent_at == self.unsent.len();
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
        self.link = Link::Closed;
        self.generation = self.generation.wrapping_add(1);
    }
}
