//! The event stream that a client of the older revisions opens with GET: what its session says that belongs to no call,
//! or the rest of a call's answer ([`super::answer`]) whose connection broke.
//!
//! The exchange ends with the head; what follows stands open ([`crate::connection::standing`]). Events have ids, so a client
//! whose connection broke goes on behind the last one it has, as far back as the outlet's ring goes.

use std::rc::Rc;

use strait_protocol::mcp::Revision;
use strait_protocol::{decimal, sse};

use super::arrive::Place;
use super::identify::{Caller, Listener};
use super::record::{self, Record};
use super::refusal::Refusal;
use super::respond::{self, Next, Sink};
use super::{Ending, Incoming};
use crate::connection::standing::{self, Framing, Standing, Tally, Tenant};
use crate::core::{Adopted, Core, StandingPlace};
use crate::io::clock::End;
use crate::limits::STREAM_RETRY_MS;
use crate::session::outlet::{Outlet, Reader};
use crate::session::{Numbers, Session};

/// A stream that was allowed and is about to begin.
pub struct Opening {
    tenant: Rc<SessionStream>,
    reader: Reader,
    revision: Revision,
    after: u64,
    is_resumed: bool,
    /// It is the rest of a call's answer, not the session's own stream.
    answers: bool,
    place: StandingPlace,
}

/// Who reads a session's stream.
struct SessionStream {
    listener: Listener,
    /// Whose own stream this is; `None`: the rest of an answer.
    serial: Option<u128>,
    opened_ns: u64,
    who: Box<[u8]>,
}

/// Takes over the session's stream: an older connection that reads it ends.
pub fn open(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    session: &Session,
    record: &mut Record,
) -> Result<Opening, Refusal> {
    if core.draining.get() {
        return Err(Refusal::Draining);
    }
    record.opens_stream();
    let listener = Listener::of(incoming, adopted, place.server, caller)?;
    let standing = core.stand().map_err(Refusal::Overloaded)?;
    let last = incoming.head.last_event_id.map_or(&b""[..], |id| id.of(incoming.bytes));
    let resumed = resumed(session, last);
    let is_resumed = resumed.is_some();
    let (outlet, after) = resumed.unwrap_or_else(|| (session.standing.clone(), session.standing.taken()));
    let answers = !Rc::ptr_eq(&outlet, &session.standing);
    let tenant = SessionStream {
        listener,
        serial: (!answers).then_some(session.id.serial),
        opened_ns: incoming.arrived_ns,
        who: record.who(adopted, usize::from(incoming.listener)),
    };
    Ok(Opening {
        tenant: Rc::new(tenant),
        answers,
        reader: outlet.read(after),
        revision: session.id.revision,
        after,
        is_resumed,
        place: standing,
    })
}

/// The stream that this event is of, and its number there. `None` when it is of none, or fell out of the ring of the
/// session's own stream: that goes on with what comes from now on.
fn resumed(session: &Session, id: &[u8]) -> Option<(Rc<Outlet>, u64)> {
    let dash = id.iter().position(|byte| *byte == b'-')?;
    let stream = decimal::parse(id.get(..dash)?)?;
    let after = decimal::parse(id.get(dash + 1..)?)?;
    let own = stream == session.standing.stream;
    let outlet = if own { Some(session.standing.clone()) } else { session.streams.find(stream) };
    // Of an answer's parts the older may be gone: what is left of it, its end above all, is worth having.
    match outlet.filter(|outlet| if own { outlet.has_after(after) } else { after <= outlet.last() }) {
        Some(outlet) => Some((outlet, after)),
        // Of the own stream of an earlier process nothing is left, and nothing of it is said under other ids.
        None if own || Numbers::is_own(stream) => None,
        // Of an answer that is over. The session's own stream would never say the rest, and may have its reader.
        None => Some((over(stream), 0)),
    }
}

/// A stream that says nothing and ends.
fn over(stream: u64) -> Rc<Outlet> {
    let outlet = Outlet::new(stream);
    outlet.close();
    outlet
}

/// Sends the head; from then on the connection stands.
pub async fn run(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    opening: Opening,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Ending {
    let mut first = Vec::new();
    // Older clients would read the empty event as a message.
    if opening.revision >= Revision::V2025_11_25 && !opening.is_resumed {
        append_priming(&mut first, opening.reader.stream(), opening.after, STREAM_RETRY_MS);
    }
    let answers = opening.answers;
    record.stands();
    let stand =
        |framing| Standing::of(opening.reader, Framing { answers, ..framing }, opening.tenant, opening.place);
    begin(core, incoming, &first, true, stand, sink, record).await
}

/// Appends the event that says nothing but where a client may go on that loses its connection, and when.
pub fn append_priming(out: &mut Vec<u8>, stream: u64, after: u64, retry_ms: u64) {
    let mut id = Vec::new();
    standing::append_id(&mut id, stream, after);
    sse::append_retry(out, Some(&id), Some(retry_ms));
}

/// The head of a stream and its `first` bytes; what follows stands open.
pub async fn begin(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    first: &[u8],
    ids: bool,
    stand: impl FnOnce(Framing) -> Standing,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Ending {
    let chunked = !incoming.head.http10;
    let framing = Framing { chunked, close: !incoming.head.keep_alive || !chunked, ids, answers: false };
    let standing = stand(framing);
    let Some(mut out) = respond::event_stream(incoming, record, None, chunked, framing.close) else {
        return Next::Close.into();
    };
    if !first.is_empty() {
        framing.append(first, out.vec());
    }
    record.status(200);
    record.sent(out.len());
    if sink.send(core, out).await.is_err() {
        record.left();
        return Next::Close.into();
    }
    Ending::Stand(Box::new(standing))
}

impl Tenant for SessionStream {
    fn is_welcome(&self, core: &Rc<Core>) -> bool {
        self.listener.is_welcome(core)
    }

    fn end(&self) -> End {
        self.listener.end()
    }

    fn dismiss(&self, _core: &Rc<Core>) -> bool {
        false
    }

    /// The session goes on with what is left, and its client asks for the lists again.
    fn lost(&self, core: &Rc<Core>) {
        let session = self.serial.and_then(|serial| core.sessions.borrow().find(serial).cloned());
        if let Some(session) = session {
            session.missed(core);
        }
    }

    fn ended(&self, core: &Rc<Core>, tally: &Tally) {
        record::stream_ended(core, &self.who, self.opened_ns, tally);
    }
}
