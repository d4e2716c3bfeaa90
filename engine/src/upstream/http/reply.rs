//! The answer to one request, read as it arrives.
//!
//! A JSON message that fits the window is checked whole before its first byte leaves: kind, id,
//! structure. A larger one is scanned and edited while it streams. An event stream is taken apart
//! event by event, and goes on with another connection when it breaks and its server can resume it
//! ([`super::resume`]). When the body has been read to its end, the connection goes back to the pool.

use std::ops::Range;
use std::rc::Rc;

use strait_protocol::http1::{Body, ContentType, ReplyHead};
use strait_protocol::jsonrpc::{Envelope, EnvelopeFault, IdValue, Kind, Scanner};
use strait_protocol::limits::EVENT_BYTES_MAX;
use strait_protocol::mcp::{Method, codes};
use strait_protocol::sse::{self, EventKind};

use super::call::Objection;
use super::large::{self, Large};
use super::request::Request;
use super::resume;
use super::session::{Held, Session};
use super::wire::Wire;
use crate::core::Core;
use crate::io::buffer::{BUFFER_BYTES, Buf};
use crate::io::clock::Waited;
use crate::io::runtime;
use crate::io::tcp::Stream;
use crate::io::watch::Watch;
use crate::limits::{ASKED_BYTES_MAX, REPLY_WINDOW_BYTES};
use crate::pooled::Pooled;
use crate::upstream::dialect::Client;
use crate::upstream::reply::scan;
use crate::upstream::{Era, Event, Responder, UpstreamFault, decline};

/// An answer being read, where it stays from its first byte to its last.
pub type HttpReply = Pooled<Reading>;

/// What is known of an answer.
pub struct Reading {
    pub(super) wire: Option<Wire>,
    pub(super) shape: Shape,
    status: u16,
    replica: usize,
    pub(super) era: Era,
    id: Option<i64>,
    pub(super) session: Option<Rc<Session>>,
    session_id: Option<Box<[u8]>>,
    /// While there is one, its session is not idle.
    _held: Option<Held>,
    /// Attempts in a row to resume that came to nothing.
    pub(super) resumes: u32,
    /// A refusal that was read to learn what it means.
    stashed: Option<Whole>,
    may_be_asked: bool,
    tells_pauses: bool,
    /// That the server has hung up was told.
    pub(super) is_paused: bool,
    /// For the upstream, until the head of the answer was here.
    waited: Waited,
}

/// A whole message.
pub struct Whole {
    bytes: Buf,
    from: usize,
    pub envelope: Pooled<Envelope>,
}

impl Whole {
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

pub(super) enum Shape {
    Json,
    Events {
        reader: sse::Reader,
        data: Buf,
        left: Range<usize>,
    },
    /// Rare, and what it needs is several times what an answer needs.
    Large(Box<Large>),
    /// A status without a message.
    Nothing,
}

/// The head has arrived: what it says, and what is needed to read on.
pub(super) struct Opening {
    pub stream: Stream,
    /// The head, and what came with it.
    pub buf: Buf,
    pub head: ReplyHead,
    pub watch: Watch,
    pub until_ms: u64,
    pub replica: usize,
    /// For the upstream, so far.
    pub waited: Waited,
}

impl Reading {
    pub(super) fn begin(
        core: &Core,
        request: &Request<'_>,
        opening: Opening,
    ) -> Result<HttpReply, UpstreamFault> {
        let Opening { stream, buf, head, watch, until_ms, replica, waited } = opening;
        let stands = request.stands();
        if head.encoded {
            return Err(UpstreamFault::Http(
                "the body has a Content-Encoding that was not asked for".to_owned(),
            ));
        }
        let shape = match head.content_type {
            ContentType::Json => Shape::Json,
            ContentType::EventStream if head.status < 300 => {
                let data = if stands { Buf::empty() } else { Buf::new() };
                Shape::Events { reader: sse::Reader::new(), data, left: 0..0 }
            }
            _ => Shape::Nothing,
        };
        let opens = request.method == Method::Initialize;
        let session_id = head.session_id.filter(|_| opens).map(|span| span.of(&buf).into());
        let wire = Wire {
            stream,
            at: head.head_bytes as usize,
            buf,
            body: Body::of_reply(head.framing),
            watch,
            client_fd: request.client_fd,
            until_ms,
            stands,
            grip: request.grip.cloned(),
            call_ms: request.upstream.timeouts.call_ms,
            keep: head.keep_alive,
            upstream: request.upstream.clone(),
            replica,
            waited: Waited::default(),
        };
        Ok(core.replies.put(Reading {
            wire: Some(wire),
            shape,
            status: head.status,
            replica,
            era: request.era,
            id: request.id,
            session: request.session.clone(),
            session_id,
            _held: request.session.as_ref().filter(|_| request.id.is_some()).map(Held::of),
            resumes: 0,
            stashed: None,
            may_be_asked: request.may_be_asked,
            tells_pauses: request.tells_pauses,
            is_paused: false,
            waited,
        }))
    }

    /// How long the upstream let us wait so far.
    pub fn waited_ns(&self) -> u64 {
        self.waited.ns + self.wire.as_ref().map_or(0, |wire| wire.waited.ns)
    }

    /// Adds what was waited before this answer: for a session, or for an answer that was not one.
    pub(super) fn waited_before(&mut self, ns: u64) {
        self.waited.ns += ns;
    }

    pub fn era(&self) -> Era {
        self.era
    }

    pub fn replica(&self) -> usize {
        self.replica
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn take_session_id(&mut self) -> Option<Box<[u8]>> {
        self.session_id.take()
    }

    /// Reads a refusal whole, so that [`Reading::objection`] knows what it says.
    pub(super) async fn look_at_refusal(&mut self, core: &Rc<Core>) -> Result<(), UpstreamFault> {
        if self.status >= 300 {
            let refusal = self.message(core, &Client::nobody()).await;
            match refusal {
                Ok(Some(whole)) if is_error(&whole.envelope) => self.stashed = Some(whole),
                Ok(_) | Err(UpstreamFault::NotMcp(_)) if self.objection().is_some() => {}
                Ok(_) | Err(UpstreamFault::NotMcp(_)) => {
                    return Err(UpstreamFault::Status { status: self.status });
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// An event stream began.
    pub fn is_stream(&self) -> bool {
        matches!(self.shape, Shape::Events { .. })
    }

    /// From here on the stream may take as long as it likes.
    pub fn stand(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.stands = true;
            (wire.until_ms, wire.client_fd) = (u64::MAX, None);
            wire.watch.extend(u64::MAX);
        }
    }

    /// Where an event stream goes on, and when its server wants to be asked.
    pub fn mark(&self) -> (&[u8], Option<u64>) {
        match &self.shape {
            Shape::Events { reader, .. } => (reader.last_event_id(), reader.retry_ms()),
            _ => (&[], None),
        }
    }

    /// Whether a refusal came with a JSON-RPC error that says why.
    pub(super) fn explains(&self) -> bool {
        self.stashed.is_some()
    }

    pub(super) fn objection(&self) -> Option<Objection> {
        let code = self.stashed.as_ref().and_then(|whole| whole.envelope.error_code);
        let session = self.session.as_ref().is_some_and(|session| session.is_named());
        match (self.era, self.status) {
            // A server that lost a session says 404; some say 400, but not about what was asked.
            (Era::Legacy, 404) if session => Some(Objection::SessionLost),
            (Era::Legacy, 400) if session && !code.is_some_and(is_about_the_request) => {
                Some(Objection::SessionLost)
            }
            // Modern servers have their own codes for 400 and 404; anything else is not one.
            (Era::Modern, 400 | 404 | 405)
                if !code.is_some_and(|code| {
                    codes::is_modern_only(code)
                        || code == codes::INVALID_PARAMS
                        || code == codes::METHOD_NOT_FOUND
                }) =>
            {
                Some(Objection::OtherEra)
            }
            _ => None,
        }
    }

    /// The session that it was asked in was lost meanwhile.
    pub(super) fn is_of_lost_session(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_lost())
    }

    /// The next event of the answer. Whoever gives up lets the server know.
    pub async fn next(&mut self, core: &Rc<Core>, client: &Client<'_>) -> Result<Event, UpstreamFault> {
        let next = self.read_on(core, client).await;
        if let Err(fault @ (UpstreamFault::ClientGone | UpstreamFault::CallTimeout { .. })) = &next {
            self.cancel(core, fault.giving_up());
        }
        next
    }

    async fn read_on(&mut self, core: &Rc<Core>, client: &Client<'_>) -> Result<Event, UpstreamFault> {
        if let Some(whole) = self.stashed.take() {
            return self.accept(whole).map(|whole| last(whole, true));
        }
        if matches!(self.shape, Shape::Json) {
            let whole = self.message(core, client).await?;
            if let Some(whole) = whole {
                return self.accept(whole).map(|whole| last(whole, true));
            }
        }
        match &self.shape {
            Shape::Large(_) => self.fragment(core, client).await,
            Shape::Events { .. } => self.event(core).await,
            Shape::Json | Shape::Nothing => {
                Err(UpstreamFault::NotMcp(format!("HTTP {} with no JSON and no event stream", self.status)))
            }
        }
    }

    /// The final message, whatever carries it: for questions of our own.
    pub async fn whole(&mut self, core: &Rc<Core>) -> Result<Whole, UpstreamFault> {
        let mut gathered = Buf::empty();
        let id = self.id.unwrap_or_default().to_string();
        let client = Client {
            id: id.as_bytes(),
            token: None,
            modern: false,
            method: Method::Unknown,
            session: None,
            body: b"",
        };
        loop {
            match self.next(core, &client).await? {
                Event::Message { bytes, from, envelope, last: true } => {
                    return Ok(Whole { bytes, from, envelope });
                }
                Event::Message { .. } | Event::Paused { .. } => {}
                Event::Ready { bytes, last } | Event::Fragment { bytes, last } => {
                    gathered.extend_from_slice(&bytes);
                    if gathered.len() > ASKED_BYTES_MAX {
                        return Err(UpstreamFault::TooLarge { limit: ASKED_BYTES_MAX });
                    }
                    if last {
                        let envelope = scan(core, &gathered)?;
                        return Ok(Whole { bytes: gathered, from: 0, envelope });
                    }
                }
            }
        }
    }

    fn accept(&self, whole: Whole) -> Result<Whole, UpstreamFault> {
        let envelope = &whole.envelope;
        let ours = envelope.id_value == self.id.map_or(IdValue::Absent, IdValue::Integer);
        // An error about a request that the server could not read has no id to echo.
        let unread = envelope.has_error && matches!(envelope.id_value, IdValue::Null | IdValue::Absent);
        match envelope.kind() {
            // An error of somebody in front of the server: not one that a client could make anything of.
            Some(Kind::Response) if unread && !is_error(envelope) => {
                Err(UpstreamFault::NotMcp("its `error` is not JSON-RPC's".to_owned()))
            }
            Some(Kind::Response) if ours || unread => Ok(whole),
            Some(Kind::Response) => Err(UpstreamFault::WrongId),
            _ => {
                Err(UpstreamFault::NotMcp("expected a response, found a request or notification".to_owned()))
            }
        }
    }

    /// The whole JSON body; `None` when it is too large for the window, which turns the reply into [`Shape::Large`].
    async fn message(
        &mut self,
        core: &Rc<Core>,
        client: &Client<'_>,
    ) -> Result<Option<Whole>, UpstreamFault> {
        if !matches!(self.shape, Shape::Json) {
            return Err(UpstreamFault::NotMcp(format!("HTTP {} without JSON", self.status)));
        }
        let wire = self.wire.as_mut().ok_or(UpstreamFault::Closed { after_bytes: true })?;
        let length = wire.body.left().and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        if (1..=REPLY_WINDOW_BYTES).contains(&length) {
            wire.fill_to(wire.at + length).await?;
            wire.upstream.http.replies_are_large.set(wire.buf.len() > BUFFER_BYTES);
        }
        if wire.buf.len() - wire.at == length {
            // All of it is here, unframed: it is used where it lies.
            let envelope = scan(core, wire.buf.get(wire.at..).unwrap_or_default())?;
            let (bytes, from) = (std::mem::take(&mut wire.buf), wire.at);
            wire.at = 0;
            wire.body = Body::Length { left: 0 };
            self.finish(core);
            return Ok(Some(Whole { bytes, from, envelope }));
        }
        let not_mcp = |fault: EnvelopeFault| UpstreamFault::NotMcp(fault.message());
        let (mut gathered, mut scanner) = (Buf::with_capacity(REPLY_WINDOW_BYTES), Scanner::new());
        while let Some(range) = wire.pull().await? {
            let piece = wire.buf.get(range).unwrap_or_default();
            scanner.feed(piece).map_err(not_mcp)?;
            gathered.extend_from_slice(piece);
            if gathered.len() > REPLY_WINDOW_BYTES && core.is_full_with(0) {
                return Err(UpstreamFault::NoRoom);
            }
            let legacy = self.era == Era::Legacy;
            if gathered.len() >= EVENT_BYTES_MAX
                || gathered.len() >= REPLY_WINDOW_BYTES
                    && large::may_stream(client, scanner.envelope(), legacy)
            {
                self.shape = Shape::Large(Box::new(Large::begin(scanner, gathered)));
                return Ok(None);
            }
        }
        let envelope = core.envelopes.put(*scanner.finish().map_err(not_mcp)?);
        self.finish(core);
        Ok(Some(Whole { bytes: gathered, from: 0, envelope }))
    }

    async fn fragment(&mut self, core: &Rc<Core>, client: &Client<'_>) -> Result<Event, UpstreamFault> {
        let (Shape::Large(large), Some(wire)) = (&mut self.shape, self.wire.as_mut()) else {
            return Err(UpstreamFault::Closed { after_bytes: true });
        };
        let legacy = self.era == Era::Legacy;
        loop {
            if let Some(bytes) = large.take(core, client, legacy, self.id)? {
                return Ok(Event::Fragment { bytes, last: false });
            }
            match wire.pull().await? {
                Some(range) => large.feed(wire.buf.get(range).unwrap_or_default())?,
                None => {
                    let bytes = large.finish(core, client, legacy, self.id)?;
                    self.finish(core);
                    return Ok(Event::Fragment { bytes, last: true });
                }
            }
        }
    }

    /// The next event of an event stream as it came, with its data; `None` at the stream's end.
    pub async fn datum(&mut self, core: &Rc<Core>) -> Result<Option<(EventKind, Buf)>, UpstreamFault> {
        loop {
            let (Shape::Events { reader, data, left }, Some(wire)) = (&mut self.shape, self.wire.as_mut())
            else {
                return Err(UpstreamFault::Closed { after_bytes: true });
            };
            if left.start >= left.end {
                match wire.pull().await? {
                    Some(range) => *left = range,
                    None => return Ok(None),
                }
            }
            let input = wire.buf.get(left.clone()).unwrap_or_default();
            let step = reader
                .push(input, data.vec())
                .map_err(|fault| UpstreamFault::NotMcp(fault.message().into()))?;
            left.start += step.consumed;
            data.settle();
            if data.len() > REPLY_WINDOW_BYTES && core.is_full_with(0) {
                return Err(UpstreamFault::NoRoom);
            }
            if let Some(event) = step.event {
                let next = if wire.stands { Buf::empty() } else { Buf::new() };
                self.resumes = 0;
                return Ok(Some((event.kind, std::mem::replace(data, next))));
            }
        }
    }

    async fn event(&mut self, core: &Rc<Core>) -> Result<Event, UpstreamFault> {
        loop {
            let data = match self.datum(core).await {
                Ok(Some((EventKind::Message, data))) => data,
                Ok(Some(_)) => continue,
                Ok(None) if self.tells_pauses && !self.is_paused && self.mark().1.is_some() => {
                    self.is_paused = true;
                    return Ok(Event::Paused { retry_ms: resume::pause_ms(self.mark().1) });
                }
                Ok(None) | Err(UpstreamFault::Closed { .. }) => {
                    // Rare, and its future is large.
                    Box::pin(self.resume(core)).await?;
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let envelope = scan(core, &data)?;
            let whole = Whole { bytes: data, from: 0, envelope };
            match whole.envelope.kind() {
                Some(Kind::Response) => {
                    let whole = self.accept(whole)?;
                    self.finish_behind(core);
                    return Ok(last(whole, true));
                }
                Some(Kind::Request)
                    if self.may_be_asked && whole.envelope.method_known != Some(Method::Ping) =>
                {
                    return Ok(last(whole, false));
                }
                Some(Kind::Request) => self.decline(core, &whole),
                Some(Kind::Notification) | None => return Ok(last(whole, false)),
            }
        }
    }

    /// How a request of the server's own is answered.
    pub fn responder(&self) -> Option<Responder> {
        let upstream = self.wire.as_ref()?.upstream.clone();
        Some(Responder::Http { upstream, session: self.session.clone()? })
    }

    fn decline(&self, core: &Rc<Core>, whole: &Whole) {
        if let (Some(responder), Some(id)) = (self.responder(), whole.envelope.id) {
            responder.send(core, decline(whole.bytes(), id, whole.envelope.method_known));
        }
    }

    /// The call is over for us: a legacy server is told so, a modern one learns it from its stream's end.
    pub fn cancel(&mut self, core: &Rc<Core>, reason: &str) {
        let Some(wire) = self.wire.take() else { return };
        if let (Some(session), Some(id)) = (&self.session, self.id) {
            session.cancel(core, &wire.upstream, id, reason);
        }
    }

    /// Its client may leave without ending it.
    pub fn detach_client(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.client_fd = None;
            wire.watch.forget_client();
        }
    }

    /// The call may take until then.
    pub fn extend_deadline(&mut self, at_ms: u64) {
        if let Some(wire) = &mut self.wire {
            wire.until_ms = at_ms;
            wire.watch.extend(at_ms);
        }
    }

    /// The body is at its end: the connection can serve another call.
    fn finish(&mut self, core: &Rc<Core>) {
        if let Some(wire) = self.wire.take() {
            self.waited.ns += wire.waited.ns;
            wire.give_back(core);
        }
    }

    /// The answer is complete, but the event stream has not ended yet. Servers end it right away; the
    /// client does not wait for that.
    fn finish_behind(&mut self, core: &Rc<Core>) {
        let Some(mut wire) = self.wire.take() else { return };
        self.waited.ns += wire.waited.ns;
        if !wire.keep {
            return;
        }
        let core = core.clone();
        wire.watch.extend(core.clock.coarse_ms() + STREAM_END_MS);
        runtime::spawn_guarded("end of an event stream", async move {
            while let Ok(Some(_)) = wire.pull().await {}
            if wire.body.is_done() {
                wire.give_back(&core);
            }
        });
    }
}

/// Reads what is left of an answer that nobody needs, so that its connection can serve another call.
pub async fn settle(core: &Rc<Core>, mut reply: HttpReply) {
    if let Some(mut wire) = reply.wire.take() {
        wire.watch.extend(core.clock.coarse_ms() + STREAM_END_MS);
        while let Ok(Some(_)) = wire.pull().await {}
        wire.give_back(core);
    }
}

/// How long a server may take to end an event stream after its last event before the connection is
/// closed instead of kept.
const STREAM_END_MS: u64 = 500;

/// Whether it is an error of JSON-RPC: other protocols have an `error` too, OAuth's among them.
fn is_error(envelope: &Envelope) -> bool {
    envelope.has_error && envelope.jsonrpc_ok && envelope.error_code.is_some()
}

fn is_about_the_request(code: i64) -> bool {
    use codes::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, PARSE_ERROR};
    [PARSE_ERROR, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR].contains(&code)
}

fn last(whole: Whole, last: bool) -> Event {
    Event::Message { bytes: whole.bytes, from: whole.from, envelope: whole.envelope, last }
}
