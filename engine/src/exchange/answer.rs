//! The answer of a call of a session that is more than one message: an event stream apart from its connection.
//!
//! Before 2026-07-28 a client that leaves has not cancelled, and comes back with `Last-Event-ID` for what it missed. So a
//! task of its own carries the call on and tells the answer into an outlet of the session ([`crate::session::streams`]);
//! the connection only reads that, and stands ([`crate::connection::standing`]). A slow client slows its server, a client
//! that is gone does not. A plain answer never comes here.

use std::rc::Rc;

use strait_protocol::http1::write;
use strait_protocol::mcp::Revision;

use super::record::Record;
use super::respond::{self, Next, Sink};
use super::tell::{self, Apart};
use super::{Ending, Incoming, stream};
use crate::connection::standing::{Framing, Standing, Tally, Tenant};
use crate::core::{Adopted, Core, StandingPlace};
use crate::io::runtime;
use crate::limits::STREAM_RETRY_MS;
use crate::session::Session;
use crate::session::outlet::Outlet;
use crate::upstream::{Event, Reply};

/// An answer that turned out to be a stream, and has a place.
pub struct Opening {
    session: Rc<Session>,
    outlet: Rc<Outlet>,
    place: StandingPlace,
    reply: Reply,
    first: Event,
}

/// A place for the answer of this call; `None` when it is none of a session, or there is none.
pub fn place(core: &Rc<Core>, record: &Record) -> Option<(Rc<Session>, Rc<Outlet>, StandingPlace)> {
    let session = record.session.clone().filter(|_| record.under_way.is_some())?;
    let place = core.stand().ok()?;
    let outlet = session.streams.begin()?;
    Some((session, outlet, place))
}

impl Opening {
    pub fn new(
        (session, outlet, place): (Rc<Session>, Rc<Outlet>, StandingPlace),
        reply: Reply,
        first: Event,
    ) -> Box<Opening> {
        Box::new(Opening { session, outlet, place, reply, first })
    }
}

/// Sends the head; from then on the connection stands, and the call goes on without it.
pub async fn begin(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    opening: Box<Opening>,
    sink: &mut Sink<'_>,
    mut record: Record,
) -> Ending {
    let Opening { session, outlet, place, mut reply, first } = *opening;
    let mut priming = Vec::new();
    let pause_ms = match first {
        Event::Paused { retry_ms } => Some(retry_ms),
        _ => None,
    };
    // Older clients would read the empty event as a message.
    if session.id.revision >= Revision::V2025_11_25 {
        let retry_ms = pause_ms.unwrap_or(STREAM_RETRY_MS);
        stream::append_priming(&mut priming, outlet.stream, 0, retry_ms);
    }
    let ending = if pause_ms.is_some() {
        drop(place);
        hang_up(core, incoming, &priming, sink, &mut record).await.into()
    } else {
        let reader = outlet.read(0);
        let reads = Reads::of(adopted, &record, None);
        let stand = |framing| Standing::of(reader, Framing { answers: true, ..framing }, reads, place);
        stream::begin(core, incoming, &priming, true, stand, sink, &mut record).await
    };
    reply.detach_client(core);
    let call = Carried { core: core.clone(), request: Apart::of(incoming, adopted), session, outlet };
    runtime::spawn_guarded("answer of a call", call.carry(reply, first, record));
    ending
}

/// The server has hung up before it said anything, and wants to be asked later: so do we, as its client has told us
/// that it knows of that by its revision. Whoever comes back finds the answer.
async fn hang_up(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    priming: &[u8],
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Next {
    let chunked = !incoming.head.http10;
    let close = !incoming.head.keep_alive || core.draining.get() || !chunked;
    let Some(mut out) = respond::event_stream(incoming, record, None, chunked, close) else {
        return Next::Close;
    };
    if chunked {
        write::chunk(out.vec(), priming);
        write::last_chunk(out.vec());
    } else {
        out.extend_from_slice(priming);
    }
    record.status(200);
    record.sent(out.len());
    Next::after(sink.send(core, out).await, close)
}

/// A call apart from its connection.
struct Carried {
    core: Rc<Core>,
    request: Apart,
    session: Rc<Session>,
    outlet: Rc<Outlet>,
}

impl Carried {
    async fn carry(self, reply: Reply, first: Event, mut record: Record) {
        let incoming = self.request.incoming(None);
        let adopted = &self.request.adopted;
        tell::run(&self.core, adopted, &incoming, &self.outlet, Ok(reply), Some(first), &mut record).await;
        record.settle_and_write(&self.core, adopted, &incoming).await;
    }
}

impl Drop for Carried {
    /// Also when the task panics: whoever reads must not wait for ever.
    fn drop(&mut self) {
        self.core.over.end(&self.core, &self.session, &self.outlet);
    }
}

/// The connection of answers. What is answered has records of its own.
pub struct Reads {
    caller: Option<(Rc<Adopted>, u32)>,
    only_here: Option<Rc<Outlet>>,
}

impl Reads {
    /// Those of the caller of `record`; `only_here`: what they come from, where nobody may come back for the rest.
    pub fn of(adopted: &Rc<Adopted>, record: &Record, only_here: Option<Rc<Outlet>>) -> Rc<Reads> {
        Rc::new(Reads { caller: record.caller().map(|caller| (adopted.clone(), caller)), only_here })
    }
}

impl Tenant for Reads {
    fn is_welcome(&self, core: &Rc<Core>) -> bool {
        !self.caller.as_ref().is_some_and(|(adopted, principal)| core.has_revoked(adopted, *principal))
    }

    fn dismiss(&self, _core: &Rc<Core>) -> bool {
        true
    }

    /// Only a client that came back late misses something, and that is not the answer.
    fn lost(&self, _core: &Rc<Core>) {}

    fn ended(&self, _core: &Rc<Core>, _tally: &Tally) {
        // Answers that nobody will ever read must not wait for room.
        if let Some(outlet) = &self.only_here {
            outlet.close();
        }
    }
}
