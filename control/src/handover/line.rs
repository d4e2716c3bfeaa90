//! What two processes of one gateway say to each other while one takes the other's place: short texts, each whole, some
//! with sockets (SCM_RIGHTS), over a pair of UNIX sockets that keep messages apart (SOCK_SEQPACKET).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::net::UnixDatagram;

use crate::limits::{HANDOVER_MESSAGE_BYTES_MAX, HANDOVER_SOCKETS_PER_MESSAGE_MAX};

/// One end.
pub struct Line(OwnedFd);

/// What was said.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    pub sockets: Vec<OwnedFd>,
}

impl Line {
    /// Our end, and the one that the other process gets as its standard input.
    pub fn pair() -> io::Result<(Line, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Line(ours), theirs))
    }

    pub fn of(socket: OwnedFd) -> Line {
        Line(socket)
    }

    /// Never waits: what the other side does not take in time is an error.
    pub fn say(&self, text: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        say(&self.0, text, sockets)
    }

    /// Waits for the next message, but not longer than `within`; `None` when the other side is gone.
    pub fn wait(&self, within: Duration) -> io::Result<Option<Said>> {
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, Some(within))?;
        hear(&self.0)
    }

    /// For use on the control thread, once all sockets have been passed.
    pub fn listen(self) -> io::Result<Ear> {
        // For the runtime any socket whose messages stay apart is a datagram socket; this one says when its peer is gone.
        let socket = std::os::unix::net::UnixDatagram::from(self.0);
        socket.set_nonblocking(true)?;
        Ok(Ear(UnixDatagram::from_std(socket)?))
    }
}

/// An end of a line that is waited on beside other things.
pub struct Ear(UnixDatagram);

impl Ear {
    pub fn say(&self, text: &str) -> io::Result<()> {
        // Not by the runtime, which would first wait to hear that the socket takes something.
        say(&self.0, text, &[])
    }

    /// The next message; `None` when the other side is gone.
    pub async fn hear(&self) -> Option<String> {
        let mut bytes = [0; HANDOVER_MESSAGE_BYTES_MAX];
        let heard = self.0.recv(&mut bytes).await.unwrap_or_default();
        let text = bytes.get(..heard).filter(|text| !text.is_empty())?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

fn say(socket: impl AsFd, text: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_SOCKETS_PER_MESSAGE_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut room);
    if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for one message"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut beside, flags)?;
    Ok(())
}

fn hear(socket: impl AsFd) -> io::Result<Option<Said>> {
    let mut bytes = [0; HANDOVER_MESSAGE_BYTES_MAX];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_SOCKETS_PER_MESSAGE_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut room);
    let heard = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    if heard.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut short"));
    }
    let text = String::from_utf8_lossy(bytes.get(..heard.bytes).unwrap_or_default()).into_owned();
    Ok((!text.is_empty()).then_some(Said { text, sockets }))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn sockets_arrive_with_their_message() {
        let (line, theirs) = Line::pair().unwrap();
        let other = Line::of(theirs);
        let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = listeners[1].local_addr().unwrap();
        let passed: Vec<BorrowedFd<'_>> = listeners.iter().map(|listener| listener.as_fd()).collect();
        line.say("sockets main", &passed).unwrap();
        line.say("end", &[]).unwrap();
        drop(listeners);
        let said = other.wait(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!((said.text.as_str(), said.sockets.len()), ("sockets main", 3));
        // Connected to before anybody accepts: the queue came along.
        let client = TcpStream::connect(address).unwrap();
        let listener = TcpListener::from(said.sockets.into_iter().nth(1).unwrap());
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        assert_eq!(other.wait(Duration::from_secs(5)).unwrap().unwrap().text, "end");
        drop(line);
        assert!(other.wait(Duration::from_secs(5)).unwrap().is_none());
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (line, _theirs) = Line::pair().unwrap();
        let error = line.wait(Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
