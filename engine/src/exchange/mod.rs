//! The story of an exchange: one request and everything that answers it.
//!
//! Each stage takes what only the stage before it can make, so leaving a check out does not compile.
//! `record` runs on every exit, refusals included; everything holds one snapshot from the first byte
//! to the record.
//!
//! | stage | gives |
//! |---|---|
//! | [`arrive`] | a [`arrive::Place`]: which virtual server, by path, Host, Origin and HTTP method |
//! | [`identify`] | a [`identify::Caller`]: who asks |
//! | [`metadata`] | instead, for what clients ask that need a token: a document |
//! | [`cors`] | instead, for a browser that asks whether a page may: that it may |
//! | [`choose`] | where there is a candidate beside the live edition: which of them tells the story |
//! | [`decode`] | a [`decode::Call`]: what is asked, in which revision |
//! | [`resolve`] | a [`resolve::Target`]: upstream item, local answer or session act |
//! | [`shape`] | a [`shape::Shaped`] call: of a tool that has a shape, what the upstream is to get |
//! | [`authorize`] | a [`authorize::Permit`] |
//! | [`meter`] | an [`meter::Admission`]; [`cost`] is what comes of its price |
//! | [`screen`] | a [`screen::Screened`] call |
//! | [`approve`] | a [`approve::Clearance`] |
//! | [`forward`] | a [`crate::upstream::Reply`]: a stream of events |
//! | [`listen`] | instead of the last two, for `subscriptions/listen`: an answer that stands open |
//! | [`stream`] | for GET, after [`identify`]: the session's stream, which stands open |
//! | [`http_sse`] | for HTTP+SSE clients: their stream, and messages that are answered on it from [`decode`] on |
//! | [`answer`] | in a session, for an answer of several messages: it goes on without its connection |
//! | [`batch`] | before [`decode`], for several messages in one POST: each has a story of its own |
//! | [`respond`] | bytes to the client, each event through [`reverse`] or [`screen::reply`] first |
//! | [`record`] | one access line |

pub mod answer;
pub mod approve;
pub mod arrive;
pub mod authorize;
pub mod batch;
mod choose;
mod cors;
mod cost;
pub mod cursor;
pub mod decode;
pub mod denied;
pub mod forward;
pub mod hand_over;
pub mod http_sse;
pub mod identify;
pub mod listen;
pub mod local;
pub mod metadata;
pub mod meter;
pub mod mirror;
mod quarantine;
mod reached;
pub mod record;
pub mod refusal;
pub mod replay;
pub mod resolve;
pub mod respond;
pub mod reverse;
pub mod rounds;
pub mod screen;
pub mod shadow;
pub mod shape;
pub mod stream;
pub mod subscriptions;
pub mod suspend;
pub mod tasks;
pub mod tell;
mod ticket;
mod timing;
pub mod uris;

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::http1::RequestHead;

use crate::connection::standing::Standing;
use crate::core::{Adopted, Core};
use crate::io::signal::Signal;
use crate::io::tcp::Stream;
use crate::io::tls::ClientCertificate;
use crate::session::wire::Wire;
use crate::upstream::Reply;
use arrive::{Place, Verb};
use authorize::Permit;
use decode::Call;
use identify::{Caller, Identified};
use listen::Opening;
use meter::Admission;
use record::{Phase, Record};
use refusal::Refusal;
use resolve::Target;
use respond::{Next, Responded, Sink};
use shape::Shaped;

/// A request as it arrived, on whichever worker tells its story.
pub struct Incoming<'a> {
    pub head: &'a RequestHead,
    /// The head's bytes.
    pub bytes: &'a [u8],
    pub body: &'a [u8],
    pub listener: u16,
    pub peer: IpAddr,
    /// Who the client is by its certificate, which the listener has verified.
    pub certificate: Option<&'a Arc<ClientCertificate>>,
    /// The client's socket, when it is on this worker.
    pub client: Option<RawFd>,
    /// Raised when a client whose socket is on another worker has gone.
    pub left: Option<Rc<Signal>>,
    /// The stream on which it is answered, for an HTTP+SSE client.
    pub wire: Option<&'a Wire>,
    /// When all of it was here, on the clock that all workers share.
    pub arrived_ns: u64,
}

impl Incoming<'_> {
    /// The same request with another body.
    pub fn with_body<'a>(&'a self, body: &'a [u8]) -> Incoming<'a> {
        Incoming { body, left: self.left.clone(), ..*self }
    }
}

/// How the story ended, short of a refusal.
pub enum Outcome {
    Reply(Reply),
    /// Another worker owns this session, or the suspended call: it tells the story.
    HandOver {
        worker: usize,
    },
    /// The answer stands open.
    Listen(Opening),
    /// So does a session's own stream.
    Stream(stream::Opening),
    /// And that of an HTTP+SSE client.
    Wire(http_sse::Opening),
    /// The answer goes there; this request was only taken up.
    Said(Box<tell::Said>),
    /// Several messages, answered on one stream.
    Batch(batch::Batch),
    /// What is said to anybody: of this server.
    Document(usize, metadata::Document),
    /// What a browser asks first.
    Preflight,
}

/// What the connection does after a story.
pub enum Ending {
    Next(Next),
    /// The answer has begun and stays open.
    Stand(Box<Standing>),
}

impl From<Next> for Ending {
    fn from(next: Next) -> Ending {
        Ending::Next(next)
    }
}

/// Tells the whole story of one request, to the last byte of its answer and its record.
pub async fn run(core: &Rc<Core>, incoming: &Incoming<'_>, mut sink: Sink<'_>) -> Ending {
    let mut adopted = core.adopted();
    let mut record = Record::begin(incoming.arrived_ns);
    record.is_watched(core, &adopted, incoming);
    let outcome = story(core, &mut adopted, incoming, &mut record).await;
    let ending = match outcome {
        Ok(Outcome::Reply(reply)) => {
            match respond::run(core, &adopted, incoming, reply, &mut sink, &mut record).await {
                Responded::Next(next) => next.into(),
                Responded::Streams(opening) => {
                    return answer::begin(core, &adopted, incoming, opening, &mut sink, record).await;
                }
            }
        }
        Ok(Outcome::HandOver { worker }) => return hand_over::run(core, worker, incoming, &mut sink).await,
        Ok(Outcome::Listen(opening)) => {
            listen::run(core, &adopted, incoming, opening, &mut sink, &mut record).await
        }
        Ok(Outcome::Stream(opening)) => stream::run(core, incoming, opening, &mut sink, &mut record).await,
        Ok(Outcome::Wire(opening)) => http_sse::begin(core, incoming, opening, &mut sink, &mut record).await,
        Ok(Outcome::Batch(asked)) => {
            batch::run(core, &adopted, incoming, asked, &mut sink, &mut record).await
        }
        Ok(Outcome::Document(server, document)) => {
            let about = (server, document);
            metadata::respond(core, incoming, &adopted, about, &mut sink, &mut record).await.into()
        }
        Ok(Outcome::Preflight) => cors::preflight(core, incoming, &mut sink, &mut record).await.into(),
        Ok(Outcome::Said(said)) => return http_sse::take_up(core, incoming, said, record, &mut sink).await,
        Err(refusal) => {
            respond::refuse(core, &adopted, incoming, &refusal, &mut sink, &mut record).await.into()
        }
    };
    // In place, and not in a function of its own: the record is large, and would be copied.
    if core.audit.is_on() && !record.tell(core, &adopted, incoming, None) {
        // What it was about is over.
        let _ = Box::pin(record.settle(core, &adopted, incoming, None)).await;
    }
    record.write(core, &adopted, incoming);
    ending
}

/// Refuses what could not even be read as a request; it leaves a record as well.
pub async fn refuse_unread(core: &Rc<Core>, listener: u16, stream: &mut Stream, refusal: &Refusal) {
    let adopted = core.adopted();
    let mut record = Record::begin(core.clock.now_ns());
    record.refused(core, refusal);
    if core.audit.is_on() {
        Box::pin(record.settle_unread(core, &adopted, listener, refusal.status(false))).await;
    }
    respond::refuse_unread(core, &mut Sink::Stream(stream), refusal).await;
    record.write_unread(core, &adopted, listener, refusal.status(false));
}

async fn story(
    core: &Rc<Core>,
    adopted: &mut Rc<Adopted>,
    incoming: &Incoming<'_>,
    record: &mut Record,
) -> Result<Outcome, Refusal> {
    let mut place = arrive::run(incoming, adopted, record)?;
    if let Some(outside) = core.outside(incoming.listener, incoming.certificate.map(|shown| &**shown)) {
        return Err(Refusal::Outside(outside));
    }
    if let Verb::Document(document) = place.verb {
        return Ok(Outcome::Document(place.server, document));
    }
    if place.verb == Verb::Preflight {
        return Ok(Outcome::Preflight);
    }
    let mut caller = match identify::run(core, incoming, adopted, &place, record)? {
        Identified::Caller(caller) => caller,
        // Boxed: it is rare, and every exchange would have room for it.
        Identified::Asks(token) => {
            Box::pin(identify::settle(core, incoming, adopted, &place, token, record)).await?
        }
    };
    record.mark(core, Phase::Identify);
    let owner = hand_over::owner(core, adopted, incoming, &place, &caller)?;
    if let Some(on_trial) = core.trial() {
        choose::run(core, &on_trial, adopted, incoming, &owner, &mut place, &mut caller, record).await?;
    }
    let adopted = &*adopted;
    let session = match owner {
        hand_over::Owner::Here(Some(session)) if place.verb == Verb::Stream => {
            return stream::open(core, adopted, incoming, &place, &caller, &session, record)
                .map(Outcome::Stream);
        }
        hand_over::Owner::Here(_) if place.verb == Verb::Wire => {
            return http_sse::open(core, adopted, incoming, &place, &caller, record).map(Outcome::Wire);
        }
        hand_over::Owner::Here(session) => session,
        hand_over::Owner::Wire(wire, session) => {
            return http_sse::said(core, adopted, incoming, place, caller, &wire, session, record);
        }
        hand_over::Owner::Worker(worker) => return Ok(Outcome::HandOver { worker }),
    };
    if place.verb == Verb::Post
        && let Some(asked) = batch::of(incoming, session.as_ref())?
    {
        return Ok(Outcome::Batch(asked));
    }
    let call = decode::run(core, incoming, session, record)?;
    let elsewhere = suspend::elsewhere(core, incoming, &call)
        .or_else(|| tasks::older::elsewhere(core, adopted, incoming, &place, &call));
    if let Some(worker) = elsewhere {
        return Ok(Outcome::HandOver { worker });
    }
    carry_out(core, adopted, incoming, &place, &caller, &call, record).await
}

/// The story from a decoded call on.
async fn carry_out(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    record: &mut Record,
) -> Result<Outcome, Refusal> {
    record.mark(core, Phase::Decode);
    let shadow = core.trial().filter(|on_trial| on_trial.shadow.is_some());
    let foreseen = shadow.map(|on_trial| (shadow::foresee(core, &on_trial, incoming, call), on_trial));
    let admitted = admitted(core, adopted, incoming, place, caller, call, record);
    if let Some((foreseen, on_trial)) = foreseen {
        foreseen.compare(core, &on_trial, adopted, record, admitted.as_ref().err());
    }
    let (target, shaped, admission) = admitted?;
    let call = screen::call(call, &shaped);
    let clearance = approve::run(admission);
    record.mark(core, Phase::Policy);
    if let Target::Listen(wanted) = target {
        let call = call.call();
        return listen::open(core, adopted, incoming, place, caller, call, wanted, clearance)
            .map(Outcome::Listen);
    }
    let edited = shaped.edited().map(|edited| edited.incoming(incoming));
    let sent = edited.as_ref().unwrap_or(incoming);
    if core.audit.is_on() && record.is_held_up(core, adopted) {
        // Boxed: it is rare, and every exchange would have room for it.
        Box::pin(record.intends(core, adopted, sent, call.call().arguments())).await?;
    }
    let reply = forward::run(core, adopted, sent, place, caller, call, &target, clearance, record).await;
    if let Some(edited) = shaped.into_edited() {
        record.arguments(edited.call().arguments());
        record.edited = Some(edited);
    }
    Ok(Outcome::Reply(reply?))
}

/// What is asked for, allowed and within limits.
fn admitted(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    record: &mut Record,
) -> Result<(Target, Shaped, Admission), Refusal> {
    let (target, shaped, permit) = permitted(core, adopted, incoming, place, caller, call, record)?;
    let admission = meter::run(core, adopted, incoming, place, caller, call, &target, permit, record)?;
    Ok((target, shaped, admission))
}

/// What is asked for, and allowed. Nothing has been taken from anybody, and nobody been told.
fn permitted(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    record: &mut Record,
) -> Result<(Target, Shaped, Permit), Refusal> {
    let target = resolve::run(core, adopted, incoming, place, caller, call, record)?;
    // Policy decides on what the upstream gets. What a shape refuses is told only to who may call the tool.
    let shaped = shape::run(core, adopted, incoming, place, call, &target);
    let permit = match shaped.as_ref().ok().and_then(Shaped::edited) {
        Some(edited) => {
            let sent = edited.incoming(incoming);
            authorize::run(core, adopted, &sent, place.server, caller, edited.call(), &target, record)
        }
        None => authorize::run(core, adopted, incoming, place.server, caller, call, &target, record),
    };
    let (permit, shaped) = match (permit, shaped) {
        // It may call the tool, and not like this: what would be decided on never came to be.
        (Err(Refusal::Denied(_)), Err(refusal)) => return Err(refusal),
        (permit, shaped) => (permit?, shaped?),
    };
    mirror::run(core, adopted, incoming, place, call, &target)?;
    Ok((target, shaped, permit))
}
