//! Requests that another worker must answer.
//!
//! A session of the older revisions has one owner, written into its sealed id. `SO_REUSEPORT` may
//! deliver a request of it anywhere; the wrong worker hands it over with its bytes, and relays the
//! bytes of the answer. One trip through two mailboxes costs about 16 us and is counted; modern
//! requests never take it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::Span;
use strait_protocol::http1::RequestHead;
use strait_protocol::jsonrpc::Message;
use strait_protocol::mcp::{Declared, Revision};

use super::arrive::{Place, Verb};
use super::identify::Caller;
use super::refusal::Refusal;
use super::respond::{Next, Sink};
use super::{Ending, Incoming, run as tell};
use crate::changes::Sight;
use crate::connection::standing::{self, Framing, Standing};
use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::io::mailbox::{ReplyTx, reply};
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::io::tls::ClientCertificate;
use crate::session::outlet::Outlet;
use crate::session::wire::Wire;
use crate::session::{Carriage, Introduction, Numbers, Seal, Session, SessionId};
use crate::worker::Parcel;

/// Who must tell the story.
pub enum Owner {
    /// This worker, with the session if there is one.
    Here(Option<Rc<Session>>),
    /// This worker, for an HTTP+SSE client; with its session, once it has begun.
    Wire(Rc<Wire>, Option<Rc<Session>>),
    Worker(usize),
}

/// A request on its way to its owner.
pub struct Parcelled {
    head: RequestHead,
    bytes: Vec<u8>,
    listener: u16,
    peer: IpAddr,
    certificate: Option<Arc<ClientCertificate>>,
    arrived_ns: u64,
    answer: ReplyTx<Relayed>,
}

/// What comes back.
pub enum Relayed {
    Bytes(Buf),
    /// What follows comes now and then, until [`Relayed::End`] or for ever.
    Stands(Framing),
    End(Next),
}

pub fn owner(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
) -> Result<Owner, Refusal> {
    let head = incoming.head;
    let modern = head.protocol_version.is_some_and(|v| Revision::claims_modern(v.of(incoming.bytes)));
    let carriage = if place.verb == Verb::Say { Carriage::Url } else { Carriage::Header };
    let Some(text) = place.session.filter(|_| !modern || carriage == Carriage::Url) else {
        return Ok(if core.force_wrong_worker && core.id == 0 && core.workers > 1 && !modern {
            // A handshake: the session it begins will belong to whoever answers it.
            Owner::Worker(core.owner_of(core.clock.now_ns()))
        } else {
            Owner::Here(None)
        });
    };
    let id = core.seal.open(carriage, text.of(incoming.bytes)).ok_or(Refusal::SessionUnknown)?;
    if Some(id.server) != adopted.server_digest(place.server) || id.principal != caller.digest {
        return Err(Refusal::SessionUnknown);
    }
    // The process that made it may have had more workers.
    let owner = usize::from(id.worker) % core.workers;
    if owner != core.id {
        return Ok(Owner::Worker(owner));
    }
    let now_ms = core.clock.coarse_ms();
    let session = core.sessions.borrow().touch(id.serial, now_ms);
    if carriage == Carriage::Url {
        let wire = core.sessions.borrow().wire(id.serial).cloned().ok_or(Refusal::SessionUnknown)?;
        return Ok(Owner::Wire(wire, session));
    }
    let session = session.or_else(|| taken_up(core, adopted, place, caller, id));
    Ok(Owner::Here(Some(session.ok_or(Refusal::SessionUnknown)?)))
}

/// A session of an earlier process, whose client has come back. What it said of itself besides what it can be asked,
/// and the level of logging that it wanted, are not known any more.
fn taken_up(
    core: &Rc<Core>,
    adopted: &Adopted,
    place: &Place,
    caller: &Caller,
    id: SessionId,
) -> Option<Rc<Session>> {
    let mut sessions = core.sessions.borrow_mut();
    if sessions.find(id.serial).is_some() || !core.past.may_go_on(&id, core.clock.coarse_unix_ms()) {
        return None;
    }
    let sight = Sight::new(adopted, adopted.outline(place.server, caller.traits)?);
    let (introduction, now_ms) = (Introduction::default(), core.clock.coarse_ms());
    let numbers = Numbers::since(core.clock.coarse_unix_ms());
    let session = sessions.begin(id, introduction, sight, Outlet::new(numbers.stream), now_ms)?;
    session.questions.begin_after(numbers.question);
    drop(sessions);
    // What it saw of the lists before is not known any more.
    session.missed(core);
    Some(session)
}

/// Begins a session that this worker owns, and gives its id, unless it has none but that of its stream. `message` is
/// the client's `initialize`.
pub fn begin_session(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    revision: Revision,
    message: &Message,
) -> Result<Option<Vec<u8>>, Refusal> {
    let internal = |_| Refusal::Internal("no random numbers for a session id");
    let said = |span: Option<Span>| span.map(|span| span.of(incoming.body)).unwrap_or_default();
    let declared = message.capabilities.map(|said| Declared::read(incoming.body, said)).unwrap_or_default();
    let (serial, standing) = match incoming.wire {
        Some(wire) if core.sessions.borrow().find(wire.serial).is_some() => {
            return Err(Refusal::Invalid("this session was initialized already"));
        }
        Some(wire) => (wire.serial, wire.outlet.clone()),
        None => (Seal::serial().map_err(internal)?, Outlet::new(Numbers::FIRST.stream)),
    };
    let id = SessionId {
        worker: core.id as u16,
        server: adopted.server_digest(place.server).ok_or(Refusal::NoSuchPath)?,
        revision,
        principal: caller.digest,
        serial,
        declared: declared.within(revision),
        // One of HTTP+SSE ends with its stream: no later process takes it up.
        begun_unix_ms: if incoming.wire.is_some() { 0 } else { core.clock.coarse_unix_ms() },
    };
    let introduction = Introduction { client_info: said(message.initialize_info).into() };
    let seen = adopted.outline(place.server, caller.traits).ok_or(Refusal::NoSuchPath)?;
    let (sight, now_ms) = (Sight::new(adopted, seen), core.clock.coarse_ms());
    let begun = core.sessions.borrow_mut().begin(id, introduction, sight, standing, now_ms);
    begun.ok_or(Refusal::Overloaded("too many sessions"))?;
    if incoming.wire.is_some() {
        return Ok(None);
    }
    let mut text = Vec::new();
    core.seal.seal(&id, Carriage::Header, &mut text).map_err(internal)?;
    Ok(Some(text))
}

/// Hands a request over and relays its answer.
pub async fn run(core: &Rc<Core>, worker: usize, incoming: &Incoming<'_>, sink: &mut Sink<'_>) -> Ending {
    // The request is under way here too: a drain must not end this worker before the answer has left.
    let _place = match core.admit() {
        Ok(place) => place,
        Err(full) => {
            return super::respond::refuse_plain(core, incoming, &Refusal::Overloaded(full), sink)
                .await
                .into();
        }
    };
    let (answer, mut answers) = reply();
    let mut bytes = Vec::with_capacity(incoming.bytes.len() + incoming.body.len());
    bytes.extend_from_slice(incoming.bytes);
    bytes.extend_from_slice(incoming.body);
    let parcel = Parcelled {
        head: *incoming.head,
        bytes,
        listener: incoming.listener,
        peer: incoming.peer,
        certificate: incoming.certificate.cloned(),
        arrived_ns: incoming.arrived_ns,
        answer,
    };
    if core.post.send(worker, Parcel::Exchange(Box::new(parcel))).is_err() {
        let refusal = Refusal::Overloaded("the worker that owns this session is too busy");
        return super::respond::refuse_plain(core, incoming, &refusal, sink).await.into();
    }
    // The owner cannot see the client's socket. A session's request goes on when its client has left; the retry of a
    // suspended call hears of it (`Incoming::left`).
    let gone = Rc::new(Signal::new());
    let _watch = incoming.client.map(|fd| core.watches.wake_at(u64::MAX, gone.clone()).also_client(fd));
    let mut begun = false;
    loop {
        let relayed = tokio::select! {
            biased;
            relayed = answers.recv() => relayed,
            () = gone.wait() => return Next::Close.into(),
        };
        match relayed {
            Some(Relayed::Bytes(mut bytes)) => {
                bytes.arrive();
                begun = true;
                if sink.send(core, bytes).await.is_err() {
                    return Next::Close.into();
                }
            }
            Some(Relayed::Stands(framing)) => {
                // Without a place here the owner sees that nobody reads.
                let Ok(place) = core.stand() else { return Next::Close.into() };
                return Ending::Stand(Box::new(Standing::relayed(answers, framing, place)));
            }
            Some(Relayed::End(next)) => return next.into(),
            // The owner ended before it took the request up, or gave up in the middle.
            None if !begun => {
                return super::respond::refuse_plain(core, incoming, &Refusal::Draining, sink).await.into();
            }
            None => return Next::Close.into(),
        }
    }
}

/// The owner's side.
pub async fn receive(core: Rc<Core>, parcel: Box<Parcelled>) {
    let parcel = *parcel;
    let (bytes, body) = parcel.bytes.split_at(parcel.head.head_bytes as usize);
    let left = Rc::new(Signal::new());
    let incoming = Incoming {
        head: &parcel.head,
        bytes,
        body,
        listener: parcel.listener,
        peer: parcel.peer,
        certificate: parcel.certificate.as_ref(),
        client: None,
        left: Some(left.clone()),
        wire: None,
        arrived_ns: parcel.arrived_ns,
    };
    let ending = {
        let told = tell(&core, &incoming, Sink::Relay(&parcel.answer));
        tokio::pin!(told);
        tokio::select! {
            biased;
            ending = &mut told => ending,
            () = parcel.answer.closed() => {
                left.set();
                told.await
            }
        }
    };
    match ending {
        Ending::Next(next) => drop(parcel.answer.send(Relayed::End(next)).await),
        Ending::Stand(standing) => {
            let stands = parcel.answer.send(Relayed::Stands(standing.framing())).await;
            if stands.is_ok() {
                runtime::spawn_guarded("stream for another worker", standing::relay(standing, parcel.answer));
            }
        }
    }
}

/// Keeps [`Parcelled`] small enough to pass around and `Send`.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Parcelled>();
    is_send::<Arc<Relayed>>();
};
