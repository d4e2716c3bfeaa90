//! A session on a socket: the part of [`Stream`] that a connection without TLS does not have.
//!
//! What waits here is only ever one operation of the socket, so what holds for a plain one holds here: a receive that is
//! cancelled loses nothing, a receive that is dropped loses what came.

use std::io;

use rustix::net::{RecvFlags, SendFlags};

use super::session::{PIECE_BYTES, Session};
use super::{Cause, ClientCertificate, ClientTls, HandshakeFault, PeerCertificate, ServerTls, Shaken};
use crate::io::buffer::Buf;
use crate::io::operation;
use crate::io::tcp::{Idle, Stream, borrow};

impl Stream {
    /// Speaks TLS from here on, as the one that was connected to. The socket's deadline is the caller's.
    pub async fn serve_tls(&mut self, tls: &ServerTls) -> Result<Shaken, HandshakeFault> {
        // A handshake that does not begin holds no buffer.
        self.tcp.readable(false).await.map_err(HandshakeFault::from)?;
        let mut session = Session::server(tls)?;
        let (received, buf) = operation::receive(&mut self.tcp, session.room(0)).await;
        match received {
            Ok(0) => {
                return Err(HandshakeFault::new(Cause::Closed, "the connection was closed before it began"));
            }
            Ok(_) if looks_like_http(&buf) => {
                return Err(HandshakeFault::new(Cause::PlainHttp, "a request without TLS"));
            }
            received => drop(received?),
        }
        let begun = session.took_in(buf, &mut Buf::empty());
        let session = self.shake(session, begun).await?;
        let certificate =
            ClientCertificate::read(session.peer_chain(), tls.believed.as_deref()).map_err(unreadable)?;
        let shaken = Shaken { certificate, is_resumed: session.is_resumed() };
        self.speaks(session);
        Ok(shaken)
    }

    /// The same as the one that has connected.
    pub async fn begin_tls(&mut self, tls: &ClientTls) -> Result<(), HandshakeFault> {
        let mut session = Session::client(tls)?;
        let begun = session.advance();
        let session = self.shake(session, begun).await?;
        session.peer_chain().first().map(PeerCertificate::read).transpose().map_err(unreadable)?;
        self.speaks(session);
        Ok(())
    }

    async fn shake(
        &mut self,
        mut session: Session,
        mut worked: Result<(), rustls::Error>,
    ) -> Result<Session, HandshakeFault> {
        loop {
            if let Some(said) = session.take_outgoing() {
                let (sent, _) = operation::send_from(&mut self.tcp, said, 0).await;
                // What went wrong is more than that nobody hears of it.
                worked.clone()?;
                sent?;
            }
            worked.clone()?;
            if !session.is_handshaking() {
                break;
            }
            if session.is_ended() {
                return Err(HandshakeFault::new(Cause::Closed, "the peer ended it"));
            }
            let (received, buf) = operation::receive(&mut self.tcp, session.room(0)).await;
            match received? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                _ => worked = session.took_in(buf, &mut Buf::empty()),
            }
        }
        Ok(session)
    }

    fn speaks(&mut self, session: Session) {
        self.life.ends_with_the_socket();
        self.tls = Some(Box::new(session));
    }

    /// [`Stream::recv`], and with `idle` [`Stream::recv_idle`], of plaintext.
    pub(in crate::io) async fn recv_tls(
        &mut self,
        mut buf: Buf,
        idle: Option<&Idle>,
    ) -> (io::Result<usize>, Buf) {
        buf.settle();
        if buf.room() == 0 {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        let before = buf.len();
        loop {
            let Some(session) = self.tls.as_mut() else {
                return (Err(io::ErrorKind::NotConnected.into()), buf);
            };
            session.take_plain(&mut buf);
            if buf.len() > before {
                return (Ok(buf.len() - before), buf);
            }
            if let Some(said) = session.take_outgoing() {
                let (sent, _) = operation::send_from(&mut self.tcp, said, 0).await;
                if let Err(error) = sent {
                    return (Err(error), buf);
                }
                continue;
            }
            if session.is_ended() {
                return (Ok(0), buf);
            }
            let is_in_place = !session.holds_part() && before == 0;
            let into = if is_in_place { std::mem::take(&mut buf) } else { session.room(buf.room()) };
            let (received, into) = self.receive_raw(into, idle).await;
            let Some(session) = self.tls.as_mut() else {
                return (Err(io::ErrorKind::NotConnected.into()), buf);
            };
            let worked = match (&received, is_in_place) {
                (Ok(1..), true) => {
                    buf = into;
                    session.took_in_place(&mut buf)
                }
                (Ok(1..), false) => session.took_in(into, &mut buf),
                (_, true) => {
                    buf = into;
                    Ok(())
                }
                (_, false) => {
                    session.give_back_room(into);
                    Ok(())
                }
            };
            match (received, worked) {
                (Ok(0), _) => return (Err(io::ErrorKind::UnexpectedEof.into()), buf),
                (Err(error), _) => return (Err(error), buf),
                (Ok(_), Ok(())) => {}
                (Ok(_), Err(error)) => {
                    self.say_now();
                    return (Err(io::Error::new(io::ErrorKind::InvalidData, error)), buf);
                }
            }
        }
    }

    /// [`Stream::send_from`] of plaintext.
    pub(in crate::io) async fn send_tls(&mut self, buf: Buf, at: usize) -> (io::Result<()>, Buf) {
        let mut at = at;
        while let Some(rest) = buf.get(at..).filter(|rest| !rest.is_empty()) {
            let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
            let sealed = match self.tls.as_mut().map(|session| session.seal(piece)) {
                Some(Ok(sealed)) => sealed,
                Some(Err(error)) => return (Err(error), buf),
                None => return (Err(io::ErrorKind::NotConnected.into()), buf),
            };
            at += piece.len();
            let (sent, _) = operation::send_from(&mut self.tcp, sealed, 0).await;
            if let Err(error) = sent {
                return (Err(error), buf);
            }
        }
        (Ok(()), buf)
    }

    /// Takes in what has arrived, without waiting. `true`: there is plaintext, an end or an error to be received.
    pub(in crate::io) fn look_tls(&mut self) -> bool {
        let Some(session) = self.tls.as_mut() else { return true };
        loop {
            if session.has_plain() || session.is_ended() {
                return true;
            }
            let mut room = session.room(0);
            let spare = rustix::buffer::spare_capacity(room.vec());
            match rustix::net::recv(borrow(&self.tcp), spare, RecvFlags::DONTWAIT) {
                Ok((_, 1..)) => {
                    if session.took_in(room, &mut Buf::empty()).is_err() {
                        self.say_now();
                        return true;
                    }
                }
                Err(rustix::io::Errno::INTR) => session.give_back_room(room),
                received => {
                    session.give_back_room(room);
                    return !matches!(received, Err(rustix::io::Errno::AGAIN));
                }
            }
        }
    }

    /// Whether what is there to be received is an end or an error.
    pub(in crate::io) fn peer_closed_tls(&mut self) -> bool {
        self.look_tls() && !self.tls.as_ref().is_some_and(|session| session.has_plain())
    }

    /// Says that nothing follows, as far as the socket takes it without waiting.
    pub(in crate::io) fn end_tls(&mut self) {
        if let Some(session) = self.tls.as_mut() {
            let said = session.seal_end();
            send_now(&self.tcp, &said);
        }
    }

    /// Sends what rustls has to say, an alert, as far as the socket takes it without waiting.
    fn say_now(&mut self) {
        if let Some(said) = self.tls.as_mut().and_then(|session| session.take_outgoing()) {
            send_now(&self.tcp, &said);
        }
    }
}

fn unreadable(why: &'static str) -> HandshakeFault {
    HandshakeFault::new(Cause::Certificate, why)
}

fn send_now(tcp: &monoio::net::TcpStream, bytes: &[u8]) {
    if !bytes.is_empty() {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // It is a courtesy: who does not take it now sees the socket close.
        let _ = rustix::net::send(borrow(tcp), bytes, flags);
    }
}

/// Whether somebody speaks HTTP where TLS is spoken: a request line begins with capital letters, a record never.
fn looks_like_http(bytes: &[u8]) -> bool {
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    (3..=7).contains(&method.len()) && method.iter().all(u8::is_ascii_uppercase) && bytes.len() > method.len()
}
