//! HTTP+SSE clients, of 2024-11-05: `GET <server>/sse` opens one event stream, and every message that the client POSTs
//! is answered on it.
//!
//! The first event names the URL for POSTs, which carries a sealed token: it is of use to this principal at this server,
//! for as long as the stream is open. A POST is answered 202 as soon as it could be read; then its story goes on in a task
//! of its own, on the worker that owns the stream, with every message of the reply pushed into the stream's outlet. An
//! answer waits there for a slow reader, with its place among the exchanges under way and among the messages of its
//! client ([`Wire`]). Whatever refuses a request that has an id is told on the stream as well: clients do not look at what
//! a POST is answered.

use std::rc::Rc;

use strait_protocol::mcp::{Declared, Revision};

use super::arrive::{Place, SESSION};
use super::decode;
use super::identify::{Caller, Listener};
use super::record::{self, Record};
use super::refusal::Refusal;
use super::respond::{self, Sink};
use super::tell::{Said, To};
use super::{Ending, Incoming, Outcome, stream};
use crate::connection::standing::{Standing, Tally, Tenant};
use crate::core::{Adopted, Core, StandingPlace};
use crate::io::clock::End;
use crate::io::runtime;
use crate::session::wire::Wire;
use crate::session::{Carriage, Seal, Session, SessionId};

/// A stream that was allowed and is about to begin.
pub struct Opening {
    tenant: Rc<WireStream>,
    /// The event that names the URL.
    first: Vec<u8>,
    place: StandingPlace,
}

/// Who reads a wire.
struct WireStream {
    wire: Rc<Wire>,
    listener: Listener,
    opened_ns: u64,
    who: Box<[u8]>,
}

pub fn open(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    record: &mut Record,
) -> Result<Opening, Refusal> {
    if core.draining.get() {
        return Err(Refusal::Draining);
    }
    record.opens_stream();
    let listener = Listener::of(incoming, adopted, place.server, caller)?;
    let standing = core.stand().map_err(Refusal::Overloaded)?;
    let internal = |_| Refusal::Internal("no random numbers for a session id");
    let id = SessionId {
        worker: core.id as u16,
        server: adopted.server_digest(place.server).ok_or(Refusal::NoSuchPath)?,
        // The handshake inside may settle on a newer one.
        revision: Revision::V2024_11_05,
        principal: caller.digest,
        serial: Seal::serial().map_err(internal)?,
        declared: Declared::NOTHING,
        begun_unix_ms: core.clock.coarse_unix_ms(),
    };
    let mut first = b"event: endpoint\ndata: ".to_vec();
    first.extend_from_slice(incoming.head.path.of(incoming.bytes));
    first.push(b'?');
    first.extend_from_slice(SESSION);
    core.seal.seal(&id, Carriage::Url, &mut first).map_err(internal)?;
    first.extend_from_slice(b"\n\n");
    let wire = Wire::new(id.serial, adopted.side);
    core.sessions.borrow_mut().plug(wire.clone());
    let who = record.who(adopted, usize::from(incoming.listener));
    let tenant = Rc::new(WireStream { wire, listener, opened_ns: incoming.arrived_ns, who });
    Ok(Opening { tenant, first, place: standing })
}

/// Sends the head and the first event; from then on the connection stands.
pub async fn begin(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    opening: Opening,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Ending {
    let Opening { tenant, first, place } = opening;
    record.stands();
    let reader = tenant.wire.outlet.read(0);
    let stand = |framing| Standing::of(reader, framing, tenant, place);
    stream::begin(core, incoming, &first, false, stand, sink, record).await
}

impl Tenant for WireStream {
    fn is_welcome(&self, core: &Rc<Core>) -> bool {
        self.listener.is_welcome(core)
    }

    fn end(&self) -> End {
        self.listener.end()
    }

    /// What was asked is still answered.
    fn dismiss(&self, _core: &Rc<Core>) -> bool {
        self.wire.end();
        true
    }

    /// Notifications only: answers are never lost.
    fn lost(&self, core: &Rc<Core>) {
        let session = core.sessions.borrow().find(self.wire.serial).cloned();
        if let Some(session) = session {
            session.missed(core);
        }
    }

    fn ended(&self, core: &Rc<Core>, tally: &Tally) {
        self.wire.outlet.close();
        let mut sessions = core.sessions.borrow_mut();
        sessions.unplug(self.wire.serial);
        let session = sessions.take(self.wire.serial);
        drop(sessions);
        if let Some(session) = session {
            session.calls.cancel_all();
            session.end(core);
        }
        record::stream_ended(core, &self.who, self.opened_ns, tally);
    }
}

/// Reads a message. What has no id to be answered under is refused as the answer of the POST.
#[allow(clippy::too_many_arguments)] // the facts of every stage before meet here
pub fn said(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: Place,
    caller: Caller,
    wire: &Rc<Wire>,
    session: Option<Rc<Session>>,
    record: &mut Record,
) -> Result<Outcome, Refusal> {
    let too_many = Refusal::Overloaded("too many messages of this session at once");
    let under_way = wire.take_up().ok_or(too_many)?;
    let decoded = match decode::run(core, incoming, session, record) {
        Err(refusal) if record.id.is_none() => return Err(refusal),
        Ok(_) if record.modern => Err(Refusal::Invalid("2026-07-28 is not spoken over HTTP+SSE")),
        decoded => decoded,
    };
    record.modern = false;
    let said = Said::new(incoming, adopted, place, caller, decoded, To::Wire(under_way));
    Ok(Outcome::Said(Box::new(said)))
}

/// Answers the POST; the message is answered elsewhere.
pub async fn take_up(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    said: Box<Said>,
    mut record: Record,
    sink: &mut Sink<'_>,
) -> Ending {
    let close = !incoming.head.keep_alive || core.draining.get();
    let next = respond::empty(core, incoming, 202, close, sink, &mut record).await;
    runtime::spawn_guarded("message of an HTTP+SSE client", said.carry_out(core.clone(), record));
    next.into()
}
