//! How long a blocking conversation may take, and who may end it sooner. The decision: every wait is cut
//! into slices, because a signal ends a wait of its thread at once but not one that is about to begin.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::tls::Stream;
use super::{Target, Unreached};

/// The longest for which a request to stop goes unheard.
const SLICE: Duration = Duration::from_millis(100);

/// What one exchange is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    pub timeout: Duration,
    pub stop: &'a AtomicBool,
}

impl Patience<'_> {
    /// How long the next wait may be, in a conversation that has time until then.
    pub(super) fn slice(&self, until: Instant) -> Result<Duration, Unreached> {
        let left = until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            _ if self.stop.load(Ordering::Relaxed) => Err(Unreached::Interrupted),
            true => Err(Unreached::Transport("no complete answer in time".to_owned())),
            false => Ok(left.min(SLICE)),
        }
    }

    /// A connection whose calls block. A handshake of TLS is part of the first of them.
    pub(super) fn dial(&self, target: &Target) -> Result<Stream, Unreached> {
        let address = target.address;
        let until = Instant::now() + self.timeout;
        let failed = |error: io::Error| Unreached::Connect(format!("{address}: {error}"));
        let socket = begin_connect(address).map_err(|error| failed(error.into()))?;
        loop {
            let slice = match self.slice(until) {
                Err(Unreached::Transport(_)) => return Err(failed(ErrorKind::TimedOut.into())),
                slice => slice?,
            };
            let slice = Timespec { tv_sec: 0, tv_nsec: slice.as_nanos() as i64 };
            match poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&slice)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(failed(error.into())),
            }
        }
        let settled = || -> io::Result<Stream> {
            sockopt::socket_error(&socket)??;
            let stream = TcpStream::from(socket);
            stream.set_nonblocking(false)?;
            match &target.tls {
                Some(tls) => tls.over(stream),
                None => Ok(Stream::Plain(stream)),
            }
        };
        settled().map_err(failed)
    }
}

/// Whether a call on a socket ended because its slice did, or for a signal.
pub(super) fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A socket that is on its way to an address and never blocks.
pub(crate) fn begin_connect(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
