//! One TLS session: ciphertext in, plaintext out, and back. Knows no socket.
//!
//! Three buffers, all of the worker's pool and all empty while nothing is on its way: bytes of a record that is not
//! whole yet, plaintext for which the reader had no room, and what rustls itself wants to say (handshake, tickets,
//! alerts). rustls keeps offsets into the first between two calls, so it is always shown from the same byte on.

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{Error, HandshakeKind};

use super::{ClientTls, ServerTls};
use crate::io::buffer::{BUFFER_BYTES, Buf, LARGE_BYTES};

/// Plaintext that leaves at once: three whole records, which fit the second size of the pool.
pub const PIECE_BYTES: usize = 3 * 16 * 1024;

/// Bytes of one message that is not whole yet. rustls refuses larger records and handshake messages by itself.
const INCOMING_BYTES_MAX: usize = 128 * 1024;

/// What a record has beside its plaintext at most: header, nonce, content type, tag.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;
const RECORD_BYTES: usize = 16 * 1024;
const HEADER_BYTES: usize = 5;

/// Things of its own that rustls may want to say at one moment, before it is taken for a loop: a flight has six.
const SAYINGS_MAX: usize = 64;

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// The state of TLS on one connection.
pub struct Session {
    side: Side,
    incoming: Buf,
    plain: Buf,
    /// Bytes of `plain` that were taken.
    plain_at: usize,
    outgoing: Buf,
    /// The peer has said that it says no more.
    is_ended: bool,
    /// So have we.
    has_said_end: bool,
    /// Nothing can be read or written any more.
    is_broken: bool,
}

/// What the session is asked for while it looks at what has come.
enum Wish<'a> {
    /// Nothing but what there is to read.
    Read,
    /// To write this, into the buffer for what leaves.
    Seal(&'a [u8], &'a mut Vec<u8>),
    /// To say that nothing more will be written.
    End(&'a mut Vec<u8>),
}

enum Step {
    /// There may be more.
    Again,
    /// It said that it will say no more.
    Ended,
    /// Nothing happens without bytes of the peer, or without ours.
    Rests,
}

impl Session {
    pub fn server(tls: &ServerTls) -> Result<Session, Error> {
        Ok(Session::new(Side::Server(UnbufferedServerConnection::new(tls.config.clone())?)))
    }

    pub fn client(tls: &ClientTls) -> Result<Session, Error> {
        let connection = UnbufferedClientConnection::new(tls.config.clone(), tls.name.clone())?;
        Ok(Session::new(Side::Client(connection)))
    }

    fn new(side: Side) -> Session {
        Session {
            side,
            incoming: Buf::empty(),
            plain: Buf::empty(),
            plain_at: 0,
            outgoing: Buf::empty(),
            is_ended: false,
            has_said_end: false,
            is_broken: false,
        }
    }

    pub fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Server(connection) => connection.is_handshaking(),
            Side::Client(connection) => connection.is_handshaking(),
        }
    }

    /// Whether the peer was known by a ticket.
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.side {
            Side::Server(connection) => connection.handshake_kind(),
            Side::Client(connection) => connection.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// The peer's chain, which was verified, its own certificate first; empty where it has shown none.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        let certificates = match &self.side {
            Side::Server(connection) => connection.peer_certificates(),
            Side::Client(connection) => connection.peer_certificates(),
        };
        certificates.unwrap_or_default()
    }

    /// The peer says no more, and all that it said was taken.
    pub fn is_ended(&self) -> bool {
        self.is_ended && self.plain.is_empty()
    }

    pub fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Bytes of a record that is not whole yet are kept: what comes must follow them.
    pub fn holds_part(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// The buffer to receive into, behind what is there of a record; [`Session::took_in`] takes it back. Whoever has
    /// much room waits for much.
    pub fn room(&mut self, of_reader: usize) -> Buf {
        let mut incoming = std::mem::take(&mut self.incoming);
        if incoming.is_empty() && of_reader > BUFFER_BYTES {
            return Buf::with_capacity(LARGE_BYTES);
        }
        let wanted = match incoming.get(..HEADER_BYTES) {
            Some([_, _, _, high, low]) => {
                let record = HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
                record.saturating_sub(incoming.len())
            }
            _ => RECORD_BYTES - incoming.len().min(RECORD_BYTES - 1),
        };
        incoming.reserve(wanted.max(1));
        incoming
    }

    /// Decrypts what has come into a buffer from [`Session::room`], for a reader with this buffer.
    pub fn took_in(&mut self, incoming: Buf, buf: &mut Buf) -> Result<(), Error> {
        // Plaintext is shorter than what it comes in.
        let fits = incoming.len() <= buf.room();
        self.incoming = incoming;
        self.work(Wish::Read, fits.then_some(buf))
    }

    /// The same of what was received into the reader's own buffer, which held nothing: so a reader that waits has one
    /// buffer, not two. It becomes ours, and the reader gets another one like it with what was decrypted.
    pub fn took_in_place(&mut self, buf: &mut Buf) -> Result<(), Error> {
        debug_assert!(self.incoming.is_empty());
        let mut decrypted = Buf::with_capacity(buf.capacity());
        std::mem::swap(buf, &mut decrypted);
        self.incoming = decrypted;
        self.work(Wish::Read, Some(buf))
    }

    /// Gives what was decrypted and not yet taken, as much as there is room for.
    pub fn take_plain(&mut self, buf: &mut Buf) -> usize {
        let waiting = self.plain.get(self.plain_at..).unwrap_or_default();
        let taken = waiting.len().min(buf.room());
        buf.vec().extend_from_slice(waiting.get(..taken).unwrap_or_default());
        self.plain_at += taken;
        if self.plain_at == self.plain.len() {
            self.plain = Buf::empty();
            self.plain_at = 0;
        }
        taken
    }

    /// What rustls wants to say by itself.
    pub fn take_outgoing(&mut self) -> Option<Buf> {
        (!self.outgoing.is_empty()).then(|| std::mem::take(&mut self.outgoing))
    }

    /// Takes a buffer of [`Session::room`] back into which nothing has come.
    pub fn give_back_room(&mut self, room: Buf) {
        self.incoming = if room.is_empty() { Buf::empty() } else { room };
    }

    /// Lets rustls say and decrypt what it can.
    pub fn advance(&mut self) -> Result<(), Error> {
        self.work(Wish::Read, None)
    }

    /// `plain` as records, behind what must leave before it.
    pub fn seal(&mut self, plain: &[u8]) -> io::Result<Buf> {
        let mut sealed = Buf::empty();
        if self.is_broken || self.has_said_end {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let records = plain.len().div_ceil(RECORD_BYTES).max(1);
        sealed.reserve(self.outgoing.len() + plain.len() + records * RECORD_OVERHEAD);
        let mut out = Vec::new();
        std::mem::swap(&mut out, sealed.vec());
        let worked = self.work(Wish::Seal(plain, &mut out), None);
        *sealed.vec() = out;
        worked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match self.take_outgoing() {
            None => Ok(sealed),
            Some(mut first) => {
                first.extend_from_slice(&sealed);
                Ok(first)
            }
        }
    }

    /// The record that says that nothing follows; nothing if that was said, or cannot be.
    pub fn seal_end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.is_broken && !self.has_said_end && !self.is_handshaking() {
            let _ = self.work(Wish::End(&mut out), None);
        }
        self.has_said_end = true;
        match self.take_outgoing() {
            None => out,
            Some(first) => [&first[..], &out].concat(),
        }
    }

    /// Shows rustls what is there, until it rests. Plaintext goes to `reader`, or waits.
    fn work(&mut self, mut wish: Wish<'_>, mut reader: Option<&mut Buf>) -> Result<(), Error> {
        if self.is_broken {
            return Err(Error::General("it was broken before".to_owned()));
        }
        let (mut at, mut sayings) = (0, 0);
        let outcome = loop {
            let plain = match &mut reader {
                Some(reader) => &mut **reader,
                None => &mut self.plain,
            };
            let shown = self.incoming.vec().get_mut(at..).unwrap_or_default();
            let (discard, step) = match &mut self.side {
                Side::Server(connection) => {
                    step(connection.process_tls_records(shown), &mut wish, plain, &mut self.outgoing)
                }
                Side::Client(connection) => {
                    step(connection.process_tls_records(shown), &mut wish, plain, &mut self.outgoing)
                }
            };
            at += discard;
            sayings = if discard > 0 { 0 } else { sayings + 1 };
            match step {
                Ok(Step::Again) if sayings > SAYINGS_MAX => break Err(Error::General("no end".to_owned())),
                Ok(Step::Again) => {}
                Ok(Step::Ended) => self.is_ended = true,
                Ok(Step::Rests) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let outcome = outcome.and_then(|()| match self.incoming.len() - at.min(self.incoming.len()) {
            ..=INCOMING_BYTES_MAX => Ok(()),
            _ => Err(Error::General("a message that does not end".to_owned())),
        });
        if outcome.is_err() {
            self.last_words(at);
            self.is_broken = true;
        }
        self.keep_from(at);
        outcome
    }

    /// The alert that rustls has for the peer after an error. It is asked once: everything before that was said already, and what
    /// comes next would be the bytes that are wrong, once more.
    fn last_words(&mut self, at: usize) {
        let shown = self.incoming.vec().get_mut(at..).unwrap_or_default();
        match &mut self.side {
            Side::Server(connection) => alert(connection.process_tls_records(shown), &mut self.outgoing),
            Side::Client(connection) => alert(connection.process_tls_records(shown), &mut self.outgoing),
        }
    }

    /// Keeps what is not dealt with, in as small a buffer as it needs.
    fn keep_from(&mut self, at: usize) {
        let rest = self.incoming.get(at..).unwrap_or_default();
        if rest.is_empty() || self.is_broken {
            self.incoming = Buf::empty();
        } else if at > 0 {
            self.incoming = Buf::from(rest);
        }
    }
}

/// One state of rustls. Returns how many bytes it is done with.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    wish: &mut Wish<'_>,
    plain: &mut Buf,
    outgoing: &mut Buf,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.extend_from_slice(record?.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(data) => encode(data, outgoing).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(data) => {
            // It leaves before anything else does: whoever called sends it, or keeps it for that.
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::PeerClosed => Ok(Step::Ended),
        ConnectionState::WriteTraffic(mut traffic) => {
            match wish {
                Wish::Read => {}
                Wish::Seal(bytes, out) => {
                    let records = bytes.len().div_ceil(RECORD_BYTES).max(1);
                    let size = bytes.len() + records * RECORD_OVERHEAD;
                    append(out, size, |room| sized(traffic.encrypt(bytes, room)))?;
                }
                Wish::End(out) => append(out, 64, |room| sized(traffic.queue_close_notify(room)))?,
            }
            Ok(Step::Rests)
        }
        ConnectionState::BlockedHandshake | ConnectionState::Closed => match wish {
            Wish::Read => Ok(Step::Rests),
            Wish::Seal(..) | Wish::End(_) => Err(Error::HandshakeNotComplete),
        },
        // Early data is not offered, and a state that we do not know is none to go on from.
        _ => Err(Error::General("a state that was not asked for".to_owned())),
    });
    (discard, step)
}

/// What there is to say is in `outgoing` afterwards.
fn alert<Data>(status: UnbufferedStatus<'_, '_, Data>, outgoing: &mut Buf) {
    if let Ok(ConnectionState::EncodeTlsData(data)) = status.state {
        // Without it the connection ends as it would with it.
        let _ = encode(data, outgoing);
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Buf) -> Result<(), Error> {
    // The first of it takes a buffer of the pool.
    outgoing.reserve(1);
    append(outgoing.vec(), 0, |room| match data.encode(room) {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(EncodeError::InsufficientSize(needs)) => Ok(Err(needs.required_size)),
        Err(EncodeError::AlreadyEncoded) => Err(Error::General("said twice".to_owned())),
    })
}

fn sized(written: Result<usize, EncryptError>) -> Result<Result<usize, usize>, Error> {
    match written {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(EncryptError::InsufficientSize(needs)) => Ok(Err(needs.required_size)),
        Err(EncryptError::EncryptExhausted) => Err(Error::EncryptError),
    }
}

/// Lets `write` append to `out`: it says how many bytes it wrote, or how many it needs.
fn append(
    out: &mut Vec<u8>,
    size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>, Error>,
) -> Result<(), Error> {
    let from = out.len();
    let mut size = size;
    for _ in 0..2 {
        out.resize(from + size, 0);
        match write(out.get_mut(from..).unwrap_or_default()) {
            Ok(Ok(bytes)) => {
                out.truncate(from + bytes);
                return Ok(());
            }
            Ok(Err(needs)) => size = needs,
            Err(error) => {
                out.truncate(from);
                return Err(error);
            }
        }
    }
    out.truncate(from);
    Err(Error::EncryptError)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Session({} bytes of a record, {} of plaintext)", self.incoming.len(), self.plain.len())
    }
}

#[cfg(test)]
mod tests;
