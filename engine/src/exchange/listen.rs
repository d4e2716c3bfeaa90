//! `subscriptions/listen` of a client of 2026-07-28: an answer that stands open and tells what changes.
//!
//! Opening it is an exchange like any other: identified, authorized, recorded. Then only a [`Listen`] remains, which is
//! told things and pushes them into an outlet, and the connection stands ([`crate::connection::standing`]). Nothing is
//! told to whom the last edition would not: with every edition a listen is decided again before its next event, and one
//! whose key or server is gone ends, with the response that says so.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Message, append_string, unescape};
use strait_protocol::mcp::{Declared, Method};
use strait_protocol::sse;

use super::approve::Clearance;
use super::arrive::Place;
use super::decode::{Asked, Call};
use super::identify::{self, Caller, Credential};
use super::record::{self, Record};
use super::refusal::Refusal;
use super::respond::{self, Next, Sink};
use super::subscriptions::{self, Subscriber, Subscriptions, render};
use super::tasks::watch::{self, Watched, Watches};
use super::{Ending, Incoming};
use crate::changes::{List, ListSet, Sight};
use crate::connection::standing::{Framing, Standing, Tally, Tenant};
use crate::core::{Adopted, Core, InFlight, StandingPlace};
use crate::fold::Fold;
use crate::io::clock::End;
use crate::limits::{SUBSCRIBE_MS_MAX, SUBSCRIPTIONS_MAX};
use crate::session::outlet::{Outlet, Reader};
use crate::upstream::Whom;
use crate::upstream::topics::{Hearer, Update};

/// What a client wants to hear of.
#[derive(Debug, Default)]
pub struct Wanted {
    lists: ListSet,
    /// URIs of resources, each once.
    uris: Vec<Vec<u8>>,
}

/// An open listen of a client.
pub struct Listen {
    /// Which of this worker's it is.
    serial: u64,
    /// Of the client's request, as written: it tags every message.
    id: Box<[u8]>,
    /// A digest of the virtual server's name.
    pub server: u64,
    credential: Credential,
    lists: ListSet,
    /// What its client declared that a server may ask of it: its subscriptions are made where its calls are.
    declared: Declared,
    principal: u64,
    /// Resources that its client wants to hear of.
    pub subscriptions: Subscriptions,
    /// Tasks that it tells of.
    pub watches: Watches,
    outlet: Rc<Outlet>,
    /// What its caller saw when it was last told, which was when it was last allowed.
    sight: Sight,
    pub opened_ns: u64,
    /// The part of its access lines that says who listens.
    who: RefCell<Box<[u8]>>,
}

/// Open listens of a worker.
#[derive(Default)]
pub struct Listens {
    open: RefCell<HashMap<u64, Rc<Listen>, Fold>>,
    last: Cell<u64>,
}

impl Listens {
    pub fn all(&self) -> Vec<Rc<Listen>> {
        self.open.borrow().values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }
}

/// A listen that was allowed and is about to be acknowledged.
pub struct Opening {
    listen: Rc<Listen>,
    /// Resources that it asks for.
    uris: Vec<Vec<u8>>,
    /// And tasks.
    tasks: Vec<Watched>,
    reader: Reader,
    place: StandingPlace,
    /// It is an exchange until its head has left.
    _admitted: InFlight,
}

/// What `params.notifications` asks for.
pub fn wanted(core: &Core, incoming: &Incoming<'_>, message: &Message) -> Result<Wanted, Refusal> {
    let asked = message.subscriptions.ok_or(Refusal::Params("`params.notifications` is missing"))?;
    let mut decoder = core.decoder.borrow_mut();
    let mut member = |key: &str| decoder.member(incoming.body, asked, key).map_err(Refusal::Decode);
    let mut wanted = Wanted::default();
    for list in List::ALL {
        match member(list.key())?.map(|said| said.of(incoming.body)) {
            Some(b"true") => wanted.lists.insert(list),
            Some(b"false" | b"null") | None => {}
            Some(_) => {
                return Err(Refusal::Params("a `…ListChanged` of `params.notifications` is no boolean"));
            }
        }
    }
    if let Some(uris) = member("resourceSubscriptions")? {
        wanted.uris = read_uris(incoming.body, uris)?;
    }
    Ok(wanted)
}

fn read_uris(body: &[u8], array: Span) -> Result<Vec<Vec<u8>>, Refusal> {
    if !array.of(body).starts_with(b"[") {
        return Err(Refusal::Params("`resourceSubscriptions` is no array"));
    }
    let mut uris: Vec<Vec<u8>> = Vec::new();
    for (count, uri) in Elements::of(body, array).enumerate() {
        let inner = uri.ok().and_then(|uri| uri.of(body).strip_prefix(b"\"")?.strip_suffix(b"\""));
        let Some(inner) = inner else {
            return Err(Refusal::Params("`resourceSubscriptions` holds something else than strings"));
        };
        if count >= SUBSCRIPTIONS_MAX {
            return Err(Refusal::Params("`resourceSubscriptions` has more than 256 URIs"));
        }
        let mut uri = Vec::new();
        unescape(inner, &mut uri);
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    Ok(uris)
}

const _: () = assert!(SUBSCRIPTIONS_MAX == 256, "the refusal says so");

/// Takes up a listen. Everything that could refuse it is behind it when this returns.
#[allow(clippy::too_many_arguments)] // the proofs and facts of every stage before meet here
pub fn open(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    place: &Place,
    caller: &Caller,
    call: &Call,
    wanted: Wanted,
    clearance: Clearance,
) -> Result<Opening, Refusal> {
    let admitted = clearance.into_place();
    if core.draining.get() {
        return Err(Refusal::Draining);
    }
    let Asked::Message(message) = &call.asked else {
        return Err(Refusal::Internal("a listen without a message"));
    };
    let id = message.id.map(|id| id.of(incoming.body)).ok_or(Refusal::Invalid("a listen needs an id"))?;
    let credential =
        identify::credential(incoming, adopted, place.server, caller).ok_or(Refusal::Unauthenticated)?;
    let server = adopted.server_digest(place.server).ok_or(Refusal::NoSuchPath)?;
    let seen = adopted.outline(place.server, caller.traits).ok_or(Refusal::NoSuchPath)?;
    let tasks = watch::wanted(core, adopted, incoming, place, caller, message)?;
    let standing = core.stand().map_err(Refusal::Overloaded)?;
    let serial = core.listens.last.get() + 1;
    core.listens.last.set(serial);
    let listen = Rc::new(Listen {
        serial,
        id: id.into(),
        server,
        credential,
        lists: wanted.lists,
        declared: message
            .client_capabilities
            .map(|said| Declared::read(incoming.body, said))
            .unwrap_or_default(),
        principal: caller.digest,
        subscriptions: Subscriptions::default(),
        watches: Watches::default(),
        outlet: Outlet::passing(),
        sight: Sight::new(adopted, seen),
        opened_ns: incoming.arrived_ns,
        who: RefCell::default(),
    });
    let reader = listen.outlet.read(0);
    core.listens.open.borrow_mut().insert(serial, listen.clone());
    Ok(Opening { listen, uris: wanted.uris, tasks, reader, place: standing, _admitted: admitted })
}

/// Has servers take the subscriptions, sends the head and the acknowledgement; from then on the connection stands.
pub async fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    opening: Opening,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Ending {
    let chunked = !incoming.head.http10;
    let framing =
        Framing { chunked, close: !incoming.head.keep_alive || !chunked, ids: false, answers: false };
    let listen = opening.listen.clone();
    if !opening.uris.is_empty() {
        Box::pin(listen.subscribe(core, adopted, &opening.uris)).await;
    }
    if !opening.tasks.is_empty() {
        Box::pin(watch::begin(core, &listen, opening.tasks)).await;
    }
    record.stands();
    listen.who.replace(record.who(adopted, usize::from(incoming.listener)));
    let standing = Standing::of(opening.reader, framing, listen.clone(), opening.place);
    let Some(mut out) = respond::event_stream(incoming, record, None, chunked, framing.close) else {
        return Next::Close.into();
    };
    let mut event = Vec::new();
    sse::append_event(&mut event, None, &listen.acknowledgement());
    framing.append(&event, out.vec());
    record.status(200);
    record.sent(out.len());
    if sink.send(core, out).await.is_err() {
        record.left();
        return Next::Close.into();
    }
    // An edition may have come between the decision and now.
    listen.look_again(core);
    Ending::Stand(Box::new(standing))
}

impl Listen {
    /// A digest of whose it is, if that is still known.
    pub fn principal(&self, core: &Core) -> Option<u64> {
        let adopted = self.sight.adopted(core);
        Some(identify::again(core, &adopted, adopted.server_of(self.server)?, &self.credential)?.digest)
    }

    /// What it hears of.
    pub fn filter(&self) -> Vec<&'static str> {
        let resources = (self.subscriptions.count() > 0).then_some("resourceSubscriptions");
        self.lists.iter().map(List::key).chain(resources).collect()
    }

    /// Subscribes to what its caller may read. It has what servers have taken when this returns, and hears of it already.
    async fn subscribe(self: &Rc<Self>, core: &Rc<Core>, adopted: &Rc<Adopted>, uris: &[Vec<u8>]) {
        let caller = adopted
            .server_of(self.server)
            .and_then(|server| Some((server, identify::again(core, adopted, server, &self.credential)?)));
        let Some((server, caller)) = caller else { return };
        let mut begun = Vec::new();
        for uri in uris {
            let found = subscriptions::find(core, adopted, server, &caller, uri).filter(|found| found.tells);
            let Some(found) = found else { continue };
            let hearer = subscriptions::hearer(self);
            if let Ok(interest) = self.subscriptions.begin(core, &found, self.whom(), uri, hearer).await {
                begun.push((uri, interest));
            }
        }
        let until_ms = core.clock.coarse_ms() + SUBSCRIBE_MS_MAX;
        for (uri, interest) in begun {
            let left_ms = until_ms.saturating_sub(core.clock.coarse_ms());
            // What was refused is not acknowledged.
            let _ = self.subscriptions.settled(uri, interest, left_ms).await;
        }
    }

    fn whom(&self) -> Whom {
        Whom { declared: self.declared, ..Whom::of(self.principal, None) }
    }

    /// Compares what its caller sees with what it saw, and tells the difference; ends when nobody may listen any more.
    pub fn look_again(self: &Rc<Self>, core: &Rc<Core>) {
        let adopted = self.sight.adopted(core);
        if self.outlet.is_closed() || !self.sight.is_due(&adopted) {
            return;
        }
        let now = adopted.server_of(self.server).and_then(|server| {
            let caller = identify::again(core, &adopted, server, &self.credential)?;
            let moved = self.subscriptions.look_again(core, &adopted, server, &caller);
            subscriptions::follow(core, self, self.whom(), moved);
            self.watches.look_again(core, &adopted, server, &caller);
            adopted.outline(server, caller.traits)
        });
        let Some(now) = now else { return self.end() };
        for list in self.sight.look(now).iter().filter(|list| self.lists.contains(*list)) {
            self.push(list.method(), b"");
        }
    }

    /// Tells something; `members` are further members of `params`, each with a comma before it.
    pub fn push(&self, method: Method, members: &[u8]) {
        let mut out = Vec::with_capacity(128 + members.len());
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
        out.extend_from_slice(method.as_str().as_bytes());
        out.extend_from_slice(b"\",\"params\":{");
        self.append_tag(&mut out);
        out.extend_from_slice(members);
        out.extend_from_slice(b"}}");
        self.outlet.push(&out);
    }

    fn acknowledgement(&self) -> Vec<u8> {
        let mut out = b"{\"jsonrpc\":\"2.0\",\"method\":\"".to_vec();
        out.extend_from_slice(Method::NotifySubscriptionsAcknowledged.as_str().as_bytes());
        out.extend_from_slice(b"\",\"params\":{");
        self.append_tag(&mut out);
        out.extend_from_slice(b",\"notifications\":{");
        for list in self.lists.iter() {
            out.push(b'"');
            out.extend_from_slice(list.key().as_bytes());
            out.extend_from_slice(b"\":true,");
        }
        if self.subscriptions.count() > 0 {
            out.extend_from_slice(b"\"resourceSubscriptions\":[");
            for uri in self.subscriptions.uris() {
                append_string(&mut out, &uri);
                out.push(b',');
            }
            out.pop();
            out.extend_from_slice(b"],");
        }
        self.watches.append(&mut out);
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(b"}}}");
        out
    }

    fn append_tag(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":");
        out.extend_from_slice(&self.id);
        out.push(b'}');
    }

    /// Ends it as a server does that has nothing more to say: with the response.
    pub fn end(&self) {
        let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
        out.extend_from_slice(&self.id);
        out.extend_from_slice(b",\"result\":{\"resultType\":\"complete\",");
        self.append_tag(&mut out);
        out.extend_from_slice(b"}}");
        self.outlet.push(&out);
        self.outlet.close();
        self.subscriptions.clear();
        self.watches.end();
    }
}

impl Subscriber for Listen {
    fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }
}

impl Hearer for Listen {
    fn updated(&self, core: &Rc<Core>, update: &Update<'_>, known_as: &[u8]) {
        let listen = core.listens.open.borrow().get(&self.serial).cloned();
        // An edition may have come that its task has not told of yet.
        if let Some(listen) = listen {
            listen.look_again(core);
        }
        if self.subscriptions.has(known_as) {
            self.outlet.push(&render(update, known_as, Some(&self.id)));
        }
    }
}

impl Tenant for Listen {
    fn is_welcome(&self, core: &Rc<Core>) -> bool {
        !self.credential.is_over(core)
    }

    fn end(&self) -> End {
        self.credential.end()
    }

    fn dismiss(&self, _core: &Rc<Core>) -> bool {
        self.end();
        true
    }

    /// What was lost cannot be told again: the client starts over, and asks for the lists.
    fn lost(&self, _core: &Rc<Core>) {
        self.end();
    }

    fn ended(&self, core: &Rc<Core>, tally: &Tally) {
        core.listens.open.borrow_mut().remove(&self.serial);
        self.subscriptions.clear();
        self.watches.end();
        record::stream_ended(core, &self.who.borrow(), self.opened_ns, tally);
    }
}
