//! The event stream that a client of the older revisions opens with GET: what its session says that belongs to no call.
//!
//! The exchange ends with the head; what follows stands open ([`crate::connection::standing`]). Events have ids, so a client
//! whose connection broke goes on behind the last one it has, as far back as the outlet's ring goes.

use std::cell::Cell;
use std::rc::Rc;

use strait_protocol::mcp::Revision;
use strait_protocol::{decimal, sse};

use super::arrive::Place;
use super::identify::{self, Credential};
use super::record::{self, Record};
use super::refusal::Refusal;
use super::respond::{self, Next, Sink};
use super::{Ending, Incoming};
use crate::connection::standing::{self, Framing, Standing, Tally, Tenant};
use crate::core::{Adopted, Core, StandingPlace};
use crate::limits::STREAM_RETRY_MS;
use crate::session::Session;
use crate::session::outlet::Reader;

/// A stream that was allowed and is about to begin.
pub struct Opening {
    tenant: Rc<SessionStream>,
    reader: Reader,
    revision: Revision,
    after: u64,
    is_resumed: bool,
    place: StandingPlace,
}

/// Who reads a session's stream.
struct SessionStream {
    /// Digests of the server and the principal that the session is bound to.
    server: u64,
    principal: u64,
    credential: Credential,
    /// The edition that allowed it last.
    allowed: Cell<u64>,
    opened_ns: u64,
    who: Box<[u8]>,
}

/// Takes over the session's stream: an older connection that reads it ends.
pub fn open(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    session: &Session,
    record: &mut Record,
) -> Result<Opening, Refusal> {
    if core.draining.get() {
        return Err(Refusal::Draining);
    }
    record.opens_stream();
    let credential = identify::credential(incoming, adopted, place.server).ok_or(Refusal::Unauthenticated)?;
    let standing = core.stand().map_err(Refusal::Overloaded)?;
    let resumed = incoming.head.last_event_id.and_then(|id| resumed(session, id.of(incoming.bytes)));
    let after = resumed.unwrap_or_else(|| session.standing.taken());
    let tenant = SessionStream {
        server: session.id.server,
        principal: session.id.principal,
        credential,
        allowed: Cell::new(adopted.serial),
        opened_ns: incoming.arrived_ns,
        who: record.who(adopted, usize::from(incoming.listener)),
    };
    Ok(Opening {
        tenant: Rc::new(tenant),
        reader: session.standing.read(after),
        revision: session.id.revision,
        after,
        is_resumed: resumed.is_some(),
        place: standing,
    })
}

/// What follows this event; `None` when it is none of this stream's, or fell out of its ring.
fn resumed(session: &Session, id: &[u8]) -> Option<u64> {
    let dash = id.iter().position(|byte| *byte == b'-')?;
    let stream = decimal::parse(id.get(..dash)?)?;
    let after = decimal::parse(id.get(dash + 1..)?)?;
    (stream == u64::from(session.standing.stream) && session.standing.has_after(after)).then_some(after)
}

/// Sends the head; from then on the connection stands.
pub async fn run(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    opening: Opening,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Ending {
    let chunked = !incoming.head.http10;
    let framing = Framing { chunked, close: !incoming.head.keep_alive || !chunked, ids: true };
    let Some(mut out) = respond::event_stream(None, chunked, framing.close) else {
        return Next::Close.into();
    };
    // Older clients would read the empty event as a message.
    if opening.revision >= Revision::V2025_11_25 && !opening.is_resumed {
        let (mut id, mut priming) = (Vec::new(), Vec::new());
        standing::append_id(&mut id, opening.reader.stream(), opening.after);
        sse::append_retry(&mut priming, Some(&id), Some(STREAM_RETRY_MS));
        framing.append(&priming, out.vec());
    }
    record.status(200);
    record.sent(out.len());
    if sink.send(core, out).await.is_err() {
        record.left();
        return Next::Close.into();
    }
    Ending::Stand(Box::new(Standing::of(opening.reader, framing, opening.tenant, opening.place)))
}

impl Tenant for SessionStream {
    fn is_welcome(&self, core: &Rc<Core>) -> bool {
        let adopted = core.adopted();
        if self.allowed.replace(adopted.serial) == adopted.serial {
            return true;
        }
        let caller = adopted
            .server_of(self.server)
            .and_then(|server| identify::again(&adopted, server, self.credential));
        caller.is_some_and(|caller| caller.digest == self.principal)
    }

    fn dismiss(&self, _core: &Rc<Core>) -> bool {
        false
    }

    /// The session goes on with what is left: its client lists again when it is told of a change.
    fn lost(&self, _core: &Rc<Core>) {}

    fn ended(&self, core: &Rc<Core>, tally: &Tally) {
        record::stream_ended(core, &self.who, self.opened_ns, tally);
    }
}
