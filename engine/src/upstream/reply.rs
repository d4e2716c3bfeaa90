//! What answers an exchange: a stream of events, whatever carries it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::jsonrpc::{Envelope, Splices};
use strait_protocol::mcp::{Declared, Method, codes};

use strait_table::Kind;
use strait_table::bound::ArchivedItem;
use strait_table::shape::ArchivedShape;

use super::dialect::{self, Client};
use super::statement::Statement;
use super::{Era, InUse, Order, Repeated, Responder, Upstream, UpstreamFault, Whom, http, stdio};
use crate::core::{Adopted, Core, InFlight};
use crate::exchange::rounds::Rounds;
use crate::exchange::suspend::Parked;
use crate::exchange::tasks;
use crate::io::buffer::Buf;
use crate::pooled::Pooled;
use crate::trace::Trace;

/// One event of a reply.
pub enum Event {
    /// A whole JSON-RPC message of an upstream; it is edited for the client when it leaves.
    Message {
        bytes: Buf,
        /// Where in `bytes` it begins.
        from: usize,
        envelope: Pooled<Envelope>,
        last: bool,
    },
    /// A whole message that is right as it is.
    Ready { bytes: Buf, last: bool },
    /// A piece of a message too large to hold, edited already.
    Fragment { bytes: Buf, last: bool },
    /// The server has hung up and wants to be asked again after so long; told only for a client that knows of it
    /// ([`super::Order::knows_pauses`]).
    Paused { retry_ms: u64 },
}

impl Event {
    pub fn is_last(&self) -> bool {
        match self {
            Event::Message { last, .. } | Event::Ready { last, .. } | Event::Fragment { last, .. } => *last,
            Event::Paused { .. } => false,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Event::Message { bytes, from, .. } => bytes.get(*from..).unwrap_or_default(),
            Event::Ready { bytes, .. } | Event::Fragment { bytes, .. } => bytes,
            Event::Paused { .. } => &[],
        }
    }
}

/// What a whole message of an upstream is.
pub fn scan(core: &Core, message: &[u8]) -> Result<Pooled<Envelope>, UpstreamFault> {
    let mut scanner = core.scanner.borrow_mut();
    scanner.reset();
    let envelope = scanner.feed(message).and_then(|()| scanner.finish());
    envelope
        .map(|envelope| core.envelopes.put(*envelope))
        .map_err(|fault| UpstreamFault::NotMcp(fault.message()))
}

/// The answer of an exchange, which stays where it is from its first byte to its last.
pub type Reply = Pooled<Answering>;

/// What is known of an answer.
pub struct Answering {
    source: Source,
    upstream: Option<InUse>,
    method: Method,
    session_id: Option<Vec<u8>>,
    empty_status: Option<u16>,
    subject: Option<Subject>,
    /// The input that the upstream wants of a client of the older revisions.
    pub rounds: Option<Box<Rounds>>,
    /// For a call that concerns tasks.
    pub tasks: Option<Box<tasks::Answers>>,
    /// The last progress that the client was told of.
    progress: f64,
    /// Where an answer that streams by was cut, if that may be in a URI which is shown as another.
    pub half_uri: Cell<Vec<u8>>,
    /// Not for the upstream that answers now.
    waited_elsewhere_ns: u64,
    /// Held until the last byte has left.
    _admitted: InFlight,
}

/// The item that a call is for, where its upstream's word for it is found again.
#[derive(Clone)]
pub struct Subject {
    pub adopted: Rc<Adopted>,
    pub server: usize,
    pub kind: Kind,
    pub index: usize,
    /// The client named it by a URI that the template covers.
    pub covered: bool,
    /// What its upstream calls that URI, where the client was shown another.
    pub own_uri: Option<Rc<str>>,
    /// Which shape the tool has, if results of it lose something.
    pub drops: Option<u16>,
    /// Digest of the caller.
    /// What its upstream is told of the caller.
    pub statement: Option<Arc<Statement>>,
    /// Where the call is in a trace.
    pub trace: Option<Arc<Trace>>,
    pub principal: u64,
}

impl Subject {
    /// What is bound to its server says so by this.
    pub fn server_digest(&self) -> u64 {
        self.adopted.server_digest(self.server).unwrap_or(u64::MAX)
    }

    fn item(&self) -> Option<&ArchivedItem> {
        self.adopted.shelf(self.server, self.kind)?.items.get(self.index)
    }

    /// What its upstream calls it; `None`: as the client said it, byte for byte.
    pub fn bare(&self) -> Option<&[u8]> {
        if self.covered {
            return self.own_uri.as_deref().map(str::as_bytes);
        }
        self.item().filter(|item| item.is_renamed()).map(|item| item.bare.as_bytes())
    }

    /// The arguments that a tool wants repeated in headers, if any.
    pub fn annotated(&self) -> Option<Repeated<'_>> {
        let mirrored = &self.item().filter(|_| self.kind == Kind::Tool)?.mirrored;
        (!mirrored.is_empty()).then(|| Repeated::Annotated(mirrored.as_slice()))
    }
}

/// Where events come from.
#[allow(clippy::large_enum_variant)] // the large one is the usual one, and a box would be an allocation per exchange
pub enum Source {
    /// Everything is here already.
    Local(Option<Buf>),
    Http(http::HttpReply),
    /// An HTTP server's, read by a task of its own.
    Attended(http::AttendedReply),
    Child(stdio::ChildReply),
    /// From the worker that owns the child.
    Elsewhere(stdio::elsewhere::Answers),
    /// From a call that goes on without its client.
    Parked(Parked),
}

impl Source {
    fn waited_ns(&self) -> u64 {
        match self {
            Source::Local(_) => 0,
            Source::Http(reply) => reply.waited_ns(),
            Source::Attended(reply) => reply.waited_ns(),
            Source::Child(reply) => reply.waited_ns(),
            Source::Elsewhere(answers) => answers.waited_ns(),
            Source::Parked(parked) => parked.waited_ns(),
        }
    }

    async fn next(&mut self, core: &Rc<Core>, client: &Client<'_>) -> Result<Event, UpstreamFault> {
        match self {
            Source::Local(body) => {
                let bytes = body.take().ok_or(UpstreamFault::Closed { after_bytes: true })?;
                Ok(Event::Ready { bytes, last: true })
            }
            Source::Http(reply) => reply.next(core, client).await,
            Source::Attended(reply) => reply.next(core).await,
            Source::Child(reply) => reply.next(core).await,
            Source::Elsewhere(answers) => answers.next(core).await,
            Source::Parked(parked) => parked.next(core, client).await,
        }
    }
}

impl Answering {
    pub fn of(core: &Core, source: Source, upstream: InUse, order: &Order<'_>, admitted: InFlight) -> Reply {
        core.answers.put(Answering {
            source,
            upstream: Some(upstream),
            method: order.message.method,
            tasks: tasks::Answers::of(order),
            ..Answering::nothing(admitted)
        })
    }

    /// An answer made here.
    pub fn ready(core: &Core, body: Buf, session_id: Option<Vec<u8>>, admitted: InFlight) -> Reply {
        let source = Source::Local(Some(body));
        core.answers.put(Answering { source, session_id, ..Answering::nothing(admitted) })
    }

    /// A status and nothing else.
    pub fn empty(core: &Core, status: u16, admitted: InFlight) -> Reply {
        core.answers.put(Answering { empty_status: Some(status), ..Answering::nothing(admitted) })
    }

    fn nothing(admitted: InFlight) -> Answering {
        Answering {
            source: Source::Local(None),
            upstream: None,
            method: Method::Unknown,
            session_id: None,
            empty_status: None,
            subject: None,
            rounds: None,
            tasks: None,
            progress: f64::NEG_INFINITY,
            half_uri: Cell::default(),
            waited_elsewhere_ns: 0,
            _admitted: admitted,
        }
    }

    /// An answer of a call that a client has come back for.
    pub fn resumed(
        core: &Core,
        parked: Parked,
        upstream: &Rc<Upstream>,
        method: Method,
        subject: Subject,
        admitted: InFlight,
    ) -> Reply {
        let source = Source::Parked(parked);
        let upstream = Some(InUse::new(upstream));
        // It may have been a task.
        let tasks = Some(Box::default());
        let subject = Some(subject);
        let resumed = Answering { source, upstream, method, tasks, subject, ..Answering::nothing(admitted) };
        core.answers.put(resumed)
    }

    /// The same call without its client, which holds `parked` of it from now on.
    pub fn park(&mut self, core: &Core, parked: Parked) -> Reply {
        self.waited_elsewhere_ns += self.source.waited_ns();
        let source = std::mem::replace(&mut self.source, Source::Parked(parked));
        let upstream = self.upstream.as_deref().map(InUse::new);
        let method = self.method;
        // Whoever reads on has what there is to be cancelled.
        let tasks = self.tasks.take();
        self.tasks = tasks.is_some().then(Box::default);
        let admitted = InFlight::uncounted();
        core.answers.put(Answering { source, upstream, method, tasks, ..Answering::nothing(admitted) })
    }

    pub fn parked(&mut self) -> Option<&mut Parked> {
        match &mut self.source {
            Source::Parked(parked) => Some(parked),
            _ => None,
        }
    }

    /// Whether the tool that answers has a shape that takes something out of its results.
    pub fn loses_something(&self) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.drops.is_some())
    }

    /// That shape.
    pub fn drops(&self) -> Option<&ArchivedShape> {
        let subject = self.subject.as_ref()?;
        let shape = subject.drops?;
        subject.adopted.snapshot.rules().servers.get(subject.server)?.shapes.get(usize::from(shape))
    }

    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Remembers which item the call is for.
    pub fn about(&mut self, subject: Subject) {
        self.subject = Some(subject);
    }

    /// With what was declared on the client's behalf since.
    pub fn declared_for(&self, mut whom: Whom) -> Whom {
        whom.statement = self.subject.as_ref().and_then(|subject| subject.statement.clone());
        whom.trace = self.subject.as_ref().and_then(|subject| subject.trace.clone());
        if self.tasks.as_ref().is_some_and(|tasks| tasks.is_declared) {
            whom.declared = whom.declared.and(Declared::TASKS);
        }
        whom
    }

    pub fn upstream(&self) -> Option<Rc<Upstream>> {
        self.upstream.as_deref().cloned()
    }

    /// The same call was made again: what follows comes from there.
    pub fn go_on_with(&mut self, mut again: Reply) {
        self.waited_elsewhere_ns += self.source.waited_ns();
        self.source = std::mem::replace(&mut again.source, Source::Local(None));
        self.upstream = again.upstream.take();
    }

    /// Time spent waiting for somebody else than the upstream.
    pub fn waited_elsewhere(&mut self, ns: u64) {
        self.waited_elsewhere_ns += ns;
    }

    /// Whether this progress goes on from what the client was told before: a call that is made again counts anew.
    pub fn progresses(&mut self, progress: f64) -> bool {
        let goes_on = progress > self.progress;
        if goes_on {
            self.progress = progress;
        }
        goes_on
    }

    /// Which replica of an HTTP server of 2026-07-28 answers.
    pub fn replica(&self) -> Option<u16> {
        match &self.source {
            Source::Http(reply) => u16::try_from(reply.replica()).ok(),
            _ => None,
        }
    }

    /// Whether what answers speaks 2026-07-28.
    pub fn era(&self) -> Option<Era> {
        match &self.source {
            Source::Http(reply) => Some(reply.era()),
            Source::Attended(_) => Some(Era::Legacy),
            Source::Child(reply) => Some(reply.era()),
            Source::Elsewhere(answers) => Some(answers.era()),
            Source::Parked(_) => Some(Era::Legacy),
            Source::Local(_) => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.empty_status.is_some()
    }

    pub fn empty_status(&self) -> u16 {
        self.empty_status.unwrap_or(202)
    }

    /// The session that the answer begins.
    pub fn session_id(&self) -> Option<&[u8]> {
        self.session_id.as_deref()
    }

    /// Whether an HTTP upstream answers: letting go of its reply is to it as if a client had left.
    pub fn is_http(&self) -> bool {
        matches!(self.source, Source::Http(_))
    }

    /// How a request of the server's own is answered.
    pub fn responder(&self) -> Option<Responder> {
        match &self.source {
            Source::Http(reply) => reply.responder(),
            Source::Attended(reply) => reply.responder(),
            Source::Child(reply) => Some(reply.responder()),
            Source::Elsewhere(answers) => Some(answers.responder()),
            Source::Parked(parked) => Some(parked.responder()),
            Source::Local(_) => None,
        }
    }

    /// The call is over for us: its server is told why (letting go of a modern server's stream tells it), and nothing
    /// more comes of it.
    pub fn cancel(&mut self, core: &Rc<Core>, reason: &str) {
        match &mut self.source {
            Source::Local(_) | Source::Parked(_) => {}
            Source::Http(reply) => reply.cancel(core, reason),
            Source::Attended(reply) => reply.cancel(reason),
            Source::Child(reply) => reply.cancel(reason),
            Source::Elsewhere(answers) => answers.cancel(),
        }
    }

    /// Its client may leave without ending it: the reply is kept for whoever comes back for it.
    pub fn detach_client(&mut self, core: &Rc<Core>) {
        match &mut self.source {
            Source::Local(_) | Source::Parked(_) => {}
            Source::Http(reply) => reply.detach_client(),
            Source::Attended(reply) => reply.detach_client(core),
            Source::Child(reply) => reply.detach_client(core),
            Source::Elsewhere(answers) => answers.detach_client(),
        }
    }

    /// The call may take until then, on the worker's coarse clock.
    pub fn extend_deadline(&mut self, at_ms: u64) {
        match &mut self.source {
            Source::Local(_) | Source::Parked(_) => {}
            Source::Http(reply) => reply.extend_deadline(at_ms),
            Source::Attended(reply) => reply.extend_deadline(at_ms),
            Source::Child(reply) => reply.extend_deadline(at_ms),
            Source::Elsewhere(answers) => answers.extend_deadline(at_ms),
        }
    }

    /// What the client asked, for the answer to be edited by.
    pub fn method(&self) -> Method {
        self.method
    }

    pub fn upstream_name(&self) -> String {
        self.upstream.as_ref().map_or_else(String::new, |upstream| upstream.name.clone())
    }

    /// The next event. After the last one there is none to wait for.
    pub async fn next(&mut self, core: &Rc<Core>, client: &Client<'_>) -> Result<Event, UpstreamFault> {
        let event = self.source.next(core, client).await?;
        if let Some(tasks) = self.tasks.as_mut().filter(|_| event.is_last()) {
            tasks.is_answered();
        }
        Ok(event)
    }

    /// How long others let us wait so far.
    pub fn waited_ns(&self) -> u64 {
        self.waited_elsewhere_ns + self.source.waited_ns()
    }

    /// Whether the event just taken is a JSON-RPC error of the upstream.
    pub fn is_error(&self, event: &Event) -> bool {
        matches!(event, Event::Message { envelope, .. } if envelope.has_error)
    }

    /// Plans the edits that make an event the client's, and says how many bytes it will have.
    pub fn plan(&self, event: &Event, client: &Client<'_>, splices: &mut Splices) -> usize {
        splices.clear();
        let Event::Message { envelope, .. } = event else { return event.bytes().len() };
        dialect::answer(splices, event.bytes(), envelope, client, self.era() == Some(Era::Legacy));
        if envelope.has_error && envelope.id.is_none() {
            dialect::identify(splices, event.bytes(), client);
        }
        event.bytes().len().saturating_add_signed(splices.delta() as isize)
    }

    /// The HTTP status under which a final message goes to the client: an error under which the upstream
    /// itself refused the request keeps its status; errors of handlers ride on 200, whatever carried them.
    pub fn status(&self, event: &Event, modern: bool) -> u16 {
        match (event, &self.source) {
            (Event::Message { envelope, .. }, Source::Http(reply))
                if modern && envelope.has_error && reply.status() >= 300 =>
            {
                envelope.error_code.map_or(200, codes::modern_status)
            }
            // A legacy server says on 200 that it does not have the method.
            (Event::Message { envelope, .. }, _)
                if modern
                    && self.era() == Some(Era::Legacy)
                    && envelope.error_code == Some(codes::METHOD_NOT_FOUND) =>
            {
                codes::modern_status(codes::METHOD_NOT_FOUND)
            }
            _ => 200,
        }
    }
}
