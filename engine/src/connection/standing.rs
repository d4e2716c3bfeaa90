//! A connection whose answer stands open: an event stream that says something now and then, for hours.
//!
//! Between two events it holds no buffer, no exchange and no place among the exchanges under way: a socket, a task of a
//! few hundred bytes, and where it is in its [`crate::session::outlet::Outlet`]. What every such stream needs is here once,
//! whatever it is for ([`Tenant`]): a client that leaves, comments that keep the line open, a drain, and a client that
//! asks for something else on the same connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use strait_protocol::http1::write;
use strait_protocol::{decimal, sse};

use super::audience::{Ear, Who, unless_over};
use super::{Connection, Seat};
use crate::core::{Core, StandingPlace};
use crate::exchange::hand_over::Relayed;
use crate::exchange::respond::{Gone, Next, Sink};
use crate::io::buffer::Buf;
use crate::io::clock::End;
use crate::io::mailbox::{ReplyRx, ReplyTx};
use crate::io::tcp::{Idle, Stream};
use crate::limits::KEEP_ALIVES_PER_SWEEP;
use crate::session::outlet::{Found, Reader};

/// What a stream is for.
pub trait Tenant {
    /// Whether its client may still hear what is about to leave; the stream ends when not.
    fn is_welcome(&self, core: &Rc<Core>) -> bool {
        let _ = core;
        true
    }

    /// When that is over whatever happens: its client's credential ends by itself.
    fn end(&self) -> End {
        End::NEVER
    }

    /// The stream is to end. `true`: its last words are in the outlet, which ends with them; `false`: it has none.
    fn dismiss(&self, core: &Rc<Core>) -> bool;

    /// Messages have fallen out of the outlet before the client took them.
    fn lost(&self, core: &Rc<Core>);

    /// The stream is over. Said once, whatever ended it.
    fn ended(&self, core: &Rc<Core>, tally: &Tally);
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All that it had to say was said.
    Over,
    ClientGone,
    /// A newer connection reads the same outlet.
    Superseded,
    /// This gateway let go of it.
    Dismissed,
}

impl Ending {
    /// The word in the record.
    pub fn label(self) -> &'static str {
        match self {
            Ending::Over => "over",
            Ending::ClientGone => "client_gone",
            Ending::Superseded => "superseded",
            Ending::Dismissed => "dismissed",
        }
    }
}

/// What became of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    pub ending: Ending,
    pub events: u64,
    pub bytes: u64,
}

/// A stream whose head has left.
pub struct Standing {
    source: Source,
    framing: Framing,
    tenant: Option<Rc<dyn Tenant>>,
    tally: Tally,
    place: StandingPlace,
}

/// How events are put on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// Else the stream ends with its connection.
    pub chunked: bool,
    /// The connection closes after it, whatever is said before.
    pub close: bool,
    /// Events have ids, `stream-number`: the client may come back for what it missed.
    pub ids: bool,
    /// It is the answer of a call and ends by itself: a drain waits for it, and so does what the client asks next.
    pub answers: bool,
}

enum Source {
    /// What is in it, for as long as its tenant may hear it.
    Outlet(Reader, Ear),
    /// The worker that owns the outlet renders.
    Owner(ReplyRx<Relayed>),
}

enum Said {
    Event(Buf),
    Lost,
    End(Ending),
}

enum Woken {
    Said(Said),
    /// Bytes or an end have arrived from the client.
    Readable,
    /// Somebody wants this stream to look up.
    Nudged,
}

impl Standing {
    /// Reads an outlet from here on.
    pub fn of(reader: Reader, framing: Framing, tenant: Rc<dyn Tenant>, place: StandingPlace) -> Standing {
        let tally = Tally { ending: Ending::ClientGone, events: 0, bytes: 0 };
        let ear = Ear::new(place.core(), Who::Tenant(tenant.clone()));
        Standing { source: Source::Outlet(reader, ear), framing, tenant: Some(tenant), tally, place }
    }

    /// Passes on what the owner of the outlet renders; its framing is [`Standing::framing`] there.
    pub fn relayed(events: ReplyRx<Relayed>, framing: Framing, place: StandingPlace) -> Standing {
        let tally = Tally { ending: Ending::ClientGone, events: 0, bytes: 0 };
        Standing { source: Source::Owner(events), framing, tenant: None, tally, place }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    async fn next(&mut self) -> Said {
        let framing = self.framing;
        match &mut self.source {
            Source::Outlet(reader, ear) => match unless_over(ear, reader.next()).await {
                None => Said::End(Ending::Dismissed),
                Some(Found::Message { .. })
                    if self.tenant.as_ref().is_some_and(|tenant| !tenant.is_welcome(self.place.core())) =>
                {
                    Said::End(Ending::Dismissed)
                }
                Some(Found::Message { number, bytes }) => {
                    self.tally.events += 1;
                    Said::Event(framing.render(reader.stream(), number, &bytes))
                }
                Some(Found::Lost) => {
                    reader.skip_lost();
                    Said::Lost
                }
                Some(Found::End) => Said::End(Ending::Over),
                Some(Found::Superseded) => Said::End(Ending::Superseded),
            },
            Source::Owner(events) => match events.recv().await {
                Some(Relayed::Bytes(mut bytes)) => {
                    bytes.arrive();
                    self.tally.events += 1;
                    Said::Event(bytes)
                }
                Some(Relayed::Stands(_) | Relayed::End(_)) | None => Said::End(Ending::Over),
            },
        }
    }

    fn dismiss(&self) -> bool {
        self.framing.answers || self.tenant.as_ref().is_some_and(|tenant| tenant.dismiss(self.place.core()))
    }

    fn lost(&self) {
        if let Some(tenant) = &self.tenant {
            tenant.lost(self.place.core());
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Some(tenant) = self.tenant.take() {
            tenant.ended(self.place.core(), &self.tally);
        }
    }
}

impl Framing {
    fn render(self, stream: u64, number: u64, message: &[u8]) -> Buf {
        let mut id = Vec::new();
        if self.ids {
            append_id(&mut id, stream, number);
        }
        let mut event = Vec::with_capacity(message.len() + 64);
        sse::append_event(&mut event, self.ids.then_some(&id[..]), message);
        let mut out = Buf::with_capacity(event.len() + CHUNK_ROOM);
        self.append(&event, out.vec());
        out
    }

    /// Appends a piece of the stream.
    pub fn append(self, piece: &[u8], out: &mut Vec<u8>) {
        if self.chunked {
            write::chunk(out, piece);
        } else {
            out.extend_from_slice(piece);
        }
    }

    fn comment(self) -> Buf {
        let (mut comment, mut out) = (Vec::new(), Buf::new());
        sse::append_comment(&mut comment);
        self.append(&comment, out.vec());
        out
    }
}

/// A chunk's size and its line ends.
const CHUNK_ROOM: usize = 24;

/// Appends an event id: the outlet's number and the message's.
pub fn append_id(out: &mut Vec<u8>, stream: u64, number: u64) {
    decimal::append(out, stream);
    out.push(b'-');
    decimal::append(out, number);
}

/// Nudges streams that have said nothing for a while, so that nobody between here and the client takes them for dead; as
/// many as a sweep may.
pub fn keep_alive(core: &Core) {
    let now_ms = core.clock.coarse_ms();
    let seats = core.seats.borrow();
    let quiet = seats.values().filter(|seat| {
        let since_ms = seat.stands_quiet_since_ms.get();
        since_ms > 0 && now_ms.saturating_sub(since_ms) >= core.deadlines.keep_alive_ms
    });
    quiet.take(KEEP_ALIVES_PER_SWEEP).for_each(|seat| seat.idle.cancel());
}

/// Serves a stream until it is over. In a box of its own, so that a connection that has none does not have the room for
/// one.
pub(super) fn run<'c>(
    core: &'c Rc<Core>,
    connection: &'c mut Connection,
    standing: Box<Standing>,
) -> Pin<Box<impl Future<Output = Next> + 'c>> {
    Box::pin(serve(core, connection, standing))
}

async fn serve(core: &Rc<Core>, connection: &mut Connection, mut standing: Box<Standing>) -> Next {
    let framing = standing.framing;
    let stands = Stands::new(core, connection.seat.clone());
    // A client that has already asked for something else is done listening.
    let mut is_over = !connection.unread.is_empty();
    let mut is_dismissed = false;
    let ending = loop {
        if connection.is_outside(core) {
            break Ending::Dismissed;
        }
        if (is_over || core.draining.get()) && !is_dismissed {
            is_dismissed = true;
            if !standing.dismiss() {
                break Ending::Dismissed;
            }
        }
        // What the client asks next waits in its socket.
        let said = match is_over {
            true => Woken::Said(standing.next().await),
            false => wait(&mut connection.stream, &mut standing, &connection.seat.idle).await,
        };
        match said {
            // It came to be so while this stream waited.
            _ if connection.is_outside(core) => break Ending::Dismissed,
            Woken::Said(Said::Event(event)) => {
                standing.tally.bytes += event.len() as u64;
                if send(core, &mut connection.stream, event).await.is_err() {
                    break Ending::ClientGone;
                }
                stands.said(core);
            }
            Woken::Said(Said::Lost) => standing.lost(),
            Woken::Said(Said::End(ending)) => break ending,
            Woken::Readable if connection.stream.peer_closed() => break Ending::ClientGone,
            Woken::Readable => is_over = true,
            Woken::Nudged if stands.is_quiet(core) => {
                if send(core, &mut connection.stream, framing.comment()).await.is_err() {
                    break Ending::ClientGone;
                }
                stands.said(core);
            }
            Woken::Nudged => {}
        }
    };
    standing.tally.ending = ending;
    drop((standing, stands));
    if ending == Ending::ClientGone {
        return Next::Close;
    }
    if framing.chunked {
        let mut end = Buf::new();
        write::last_chunk(end.vec());
        if send(core, &mut connection.stream, end).await.is_err() {
            return Next::Close;
        }
    }
    let closes = framing.close || !framing.chunked || core.draining.get() || connection.is_outside(core);
    if closes { Next::Linger } else { Next::KeepAlive }
}

/// Boxed: sending is rare, and its future would be kept while nothing is sent.
async fn send(core: &Rc<Core>, stream: &mut Stream, bytes: Buf) -> Result<(), Gone> {
    Box::pin(async move { Sink::Stream(stream).send(core, bytes).await }).await
}

async fn wait(stream: &mut Stream, standing: &mut Standing, idle: &Idle) -> Woken {
    let mut next = pin!(standing.next());
    let mut readable = pin!(stream.readable_idle(idle));
    poll_fn(|context| {
        if let Poll::Ready(said) = next.as_mut().poll(context) {
            return Poll::Ready(Woken::Said(said));
        }
        readable.as_mut().poll(context).map(|readable| match readable {
            Ok(false) => Woken::Nudged,
            // A socket that failed is readable: looking at it tells.
            Ok(true) | Err(_) => Woken::Readable,
        })
    })
    .await
}

/// The owner's side of [`Standing::relayed`]: renders for a client whose socket another worker has.
pub async fn relay(mut standing: Box<Standing>, answer: ReplyTx<Relayed>) {
    standing.tally.ending = loop {
        let said = tokio::select! {
            biased;
            () = answer.closed() => break Ending::ClientGone,
            said = standing.next() => said,
        };
        match said {
            Said::Event(mut event) => {
                standing.tally.bytes += event.len() as u64;
                event.depart();
                if answer.send(Relayed::Bytes(event)).await.is_err() {
                    break Ending::ClientGone;
                }
            }
            Said::Lost => standing.lost(),
            Said::End(ending) => break ending,
        }
    };
}

/// The seat of a connection that stands, for as long as it does.
struct Stands {
    seat: Rc<Seat>,
}

impl Stands {
    fn new(core: &Core, seat: Rc<Seat>) -> Stands {
        let stands = Stands { seat };
        stands.said(core);
        stands
    }

    fn said(&self, core: &Core) {
        self.seat.stands_quiet_since_ms.set(core.clock.coarse_ms().max(1));
    }

    fn is_quiet(&self, core: &Core) -> bool {
        core.clock.coarse_ms().saturating_sub(self.seat.stands_quiet_since_ms.get())
            >= core.deadlines.keep_alive_ms
    }
}

impl Drop for Stands {
    fn drop(&mut self) {
        self.seat.stands_quiet_since_ms.set(0);
    }
}
