//! One request to an upstream: the head is written from scratch, the connection is the pool's or new, and
//! a pooled connection that turns out to be dead is replaced once when that cannot repeat anything.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use strait_protocol::http1::{ReplyHead, parse_reply, worth_parsing, write};
use strait_protocol::mcp::{Method, Revision, header};

use super::outgoing::Outgoing;
use super::pool::{self, Line};
use super::reply::{HttpReply, Opening, Reading};
use super::session::Session;
use super::wire::Grip;
use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::io::buffer::{BUFFER_BYTES, Buf, LARGE_BYTES};
use crate::io::clock::Waited;
use crate::io::moment;
use crate::io::watch::{Cause, Watch};
use crate::limits::PARAMETERS_BYTES_MAX;
use crate::upstream::credential::lending::Lent;
use crate::upstream::credential::{Lines, Shown};
use crate::upstream::{Affinity, Era, Order, Repeated, Upstream, UpstreamFault};

/// What the head of a request says.
pub struct Request<'a> {
    pub upstream: &'a Rc<Upstream>,
    pub verb: Verb<'a>,
    pub term: Term,
    pub method: Method,
    pub era: Era,
    /// `None` for a notification.
    pub id: Option<i64>,
    /// For `Mcp-Name`, as text.
    pub name: Option<&'a [u8]>,
    pub session: Option<Rc<Session>>,
    /// The call it carries, for `Mcp-Param-*`.
    pub order: Option<&'a Order<'a>>,
    pub client_fd: Option<RawFd>,
    /// The client behind it answers what it declared; else nobody does.
    pub may_be_asked: bool,
    /// Whoever reads the answer wants to know when the server hangs up before it.
    pub tells_pauses: bool,
    /// By which somebody else may end it.
    pub grip: Option<&'a Rc<Grip>>,
    /// For whom it is, where neither an order nor a session says it.
    pub whose: Option<Affinity>,
}

#[derive(Clone, Copy)]
pub enum Verb<'a> {
    Post,
    /// An event stream; one that broke goes on behind an id, if there is one.
    Get {
        last_event_id: &'a [u8],
    },
    /// Ends a session.
    Delete,
}

/// How long an answer may take.
#[derive(Clone, Copy)]
pub enum Term {
    /// As configured for calls.
    Call,
    /// Until that moment, head and all.
    Until(u64),
    /// As long as it likes, head and all: a stream of what belongs to no call.
    Standing,
}

impl<'a> Request<'a> {
    /// A POST.
    pub fn new(upstream: &'a Rc<Upstream>, method: Method, era: Era) -> Request<'a> {
        Request {
            upstream,
            verb: Verb::Post,
            term: Term::Call,
            method,
            era,
            id: None,
            name: None,
            session: None,
            order: None,
            client_fd: None,
            may_be_asked: false,
            tells_pauses: false,
            grip: None,
            whose: None,
        }
    }

    /// Sends the request's body under a head of our own and reads the head of the answer.
    pub async fn send(
        &self,
        core: &Rc<Core>,
        endpoints: &[HttpEndpoint],
        replica: usize,
        mut request: Outgoing,
    ) -> Result<HttpReply, UpstreamFault> {
        let endpoint = endpoints
            .get(replica)
            .ok_or_else(|| UpstreamFault::Unreachable("it has no endpoint".to_owned()))?;
        let lent = self.lent(endpoint)?;
        let mut shown = Shown::Current;
        self.put_head(
            core,
            endpoint,
            lent.as_deref().map_or(shown.lines(endpoint), |lent| &lent.lines),
            &mut request,
        )?;
        let began_ms = core.clock.coarse_ms();
        let timeouts = self.upstream.timeouts;
        let (first_byte_at_ms, until_ms) = match self.term {
            Term::Call => {
                (began_ms + u64::from(timeouts.first_byte_ms), began_ms + u64::from(timeouts.call_ms))
            }
            Term::Until(until_ms) => (until_ms, until_ms),
            Term::Standing => (u64::MAX, u64::MAX),
        };
        let asked = moment::now();
        let mut line = pool::line(core, self.upstream, endpoint, replica).await?;
        loop {
            let reused = line.reused;
            let watch = self.watch(core, first_byte_at_ms, &line);
            if let Err(error) = request.send(&mut line.stream).await {
                self.check(&watch, timeouts.first_byte_ms)?;
                pool::distrust(self.upstream, replica);
                if !reused {
                    return Err(UpstreamFault::Send(pool::plain(&error)));
                }
            } else {
                match self.receive(&mut line, &watch, asked).await {
                    Ok((buf, head, waited)) => {
                        if let Some(next) = self.refused(core, &head, (endpoint, lent.as_deref()), shown) {
                            shown = next;
                            self.put_head(core, endpoint, shown.lines(endpoint), &mut request)?;
                            line = Box::pin(pool::fresh(self.upstream, endpoint)).await?;
                            continue;
                        }
                        watch.extend(until_ms);
                        let stream = line.stream;
                        let opening = Opening { stream, buf, head, watch, until_ms, replica, waited };
                        return Reading::begin(core, self, opening);
                    }
                    Err(fault @ UpstreamFault::Closed { after_bytes }) => {
                        pool::distrust(self.upstream, replica);
                        if after_bytes || !reused || !self.may_repeat() {
                            return Err(fault);
                        }
                    }
                    Err(fault) => return Err(fault),
                }
            }
            line = Box::pin(pool::fresh(self.upstream, endpoint)).await?;
        }
    }

    /// What is shown on a caller's behalf; `None`: what stands with the endpoint. Whoever is a caller and has nothing is not
    /// shown as anybody else.
    fn lent(&self, endpoint: &HttpEndpoint) -> Result<Option<Arc<Lent>>, UpstreamFault> {
        if endpoint.lender.is_none() {
            return Ok(None);
        }
        if let Some(lent) = self.order.and_then(|order| order.whom.lent.as_ref()) {
            return Ok(Some(lent.clone()));
        }
        let of_order = || self.order.map(Order::affinity);
        let whose = self.whose.or_else(|| self.session.as_ref().map(|session| session.whose.affinity));
        let whose = whose.or_else(of_order);
        if whose == Some(Affinity::NOBODY) {
            return Ok(None);
        }
        whose.and_then(|whose| self.upstream.http.lent_to(whose)).map(Some).ok_or_else(|| {
            UpstreamFault::Credential("there is no token of the caller that this is for".to_owned())
        })
    }

    /// What to show after an answer that does not take what was shown, if there is anything left to show.
    fn refused(
        &self,
        core: &Core,
        head: &ReplyHead,
        (endpoint, lent): (&HttpEndpoint, Option<&Lent>),
        shown: Shown,
    ) -> Option<Shown> {
        if head.status != 401 {
            return None;
        }
        if let Some(lent) = lent {
            lent.refuse();
            return None;
        }
        let overlap = &self.upstream.http.overlap;
        if shown == Shown::Current && !endpoint.headers.is_empty() {
            overlap.report(core, self.upstream.id);
        }
        // It did nothing, and says so: the credential before may be the one that it knows.
        let next = shown.after(head.status, endpoint)?;
        overlap.refused(core, &self.upstream.name);
        Some(next)
    }

    fn put_head(
        &self,
        core: &Rc<Core>,
        endpoint: &HttpEndpoint,
        lines: &Lines,
        request: &mut Outgoing,
    ) -> Result<(), UpstreamFault> {
        let head = &mut core.scratch.borrow_mut().text;
        head.clear();
        self.write_head(core, endpoint, lines, request.body_bytes(), head)?;
        request.put_head(head);
        Ok(())
    }

    /// A pooled connection may have died while idle. Nothing of an answer came, but a tool may have
    /// run: only what is safe to repeat is sent again.
    fn may_repeat(&self) -> bool {
        !matches!(self.method, Method::ToolsCall | Method::Unknown) || !matches!(self.verb, Verb::Post)
    }

    /// What answers it may say nothing for a long time: no buffer waits for that.
    pub(super) fn stands(&self) -> bool {
        matches!(self.term, Term::Standing)
            || matches!(self.method, Method::SubscriptionsListen | Method::TasksResult)
    }

    fn watch(&self, core: &Rc<Core>, deadline_ms: u64, line: &Line) -> Watch {
        let watch = core.watches.shutdown_at(deadline_ms, line.stream.fd());
        if let Some(grip) = self.grip {
            grip.hold(core, &line.stream);
        }
        match self.client_fd {
            Some(client) => watch.also_client(client),
            None => watch,
        }
    }

    fn check(&self, watch: &Watch, ms: u32) -> Result<(), UpstreamFault> {
        match (watch.fired(), watch.cause()) {
            (false, _) => Ok(()),
            (true, Cause::Deadline) => Err(UpstreamFault::FirstByteTimeout { ms }),
            (true, Cause::ClientGone) => Err(UpstreamFault::ClientGone),
        }
    }

    /// The head of the answer, and the buffer that holds it.
    async fn receive(
        &self,
        line: &mut Line,
        watch: &Watch,
        asked: Instant,
    ) -> Result<(Buf, ReplyHead, Waited), UpstreamFault> {
        if self.stands() {
            // Some servers send the head with their first message.
            let _ = line.stream.readable().await;
        }
        let room = if self.upstream.http.replies_are_large.get() { LARGE_BYTES } else { BUFFER_BYTES };
        let mut buf = Buf::with_capacity(room);
        let mut seen = 0;
        let mut waited = Waited::default();
        loop {
            if worth_parsing(&buf, seen) {
                let parsed =
                    parse_reply(&buf).map_err(|fault| UpstreamFault::Http(fault.message().into_owned()))?;
                match parsed {
                    Some(head) if head.is_interim() => {
                        buf.consume_front(head.head_bytes as usize);
                        seen = 0;
                        continue;
                    }
                    Some(head) => return Ok((buf, head, waited)),
                    None => {}
                }
            }
            seen = buf.len();
            if buf.room() == 0 {
                buf.reserve(buf.len());
            }
            let (received, returned) = line.stream.recv(buf).await;
            waited = Waited::since(asked);
            buf = returned;
            match received {
                // A socket that was shut down goes on giving what its peer goes on sending.
                Ok(1..) if !watch.fired() => {}
                Ok(_) | Err(_) => {
                    line.stream.abandon();
                    self.check(watch, self.upstream.timeouts.first_byte_ms)?;
                    return Err(UpstreamFault::Closed { after_bytes: !buf.is_empty() });
                }
            }
        }
    }

    fn write_head(
        &self,
        core: &Core,
        endpoint: &HttpEndpoint,
        lines: &Lines,
        body_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), UpstreamFault> {
        let mut named = Vec::new();
        let path = self.session.as_ref().and_then(|session| session.post_at.as_deref());
        let path = path.unwrap_or(&endpoint.path).as_bytes();
        let host = endpoint.host.as_bytes();
        let mut head = match self.verb {
            Verb::Post => write::request(out, b"POST", path)
                .header("Host", host)
                .lines("Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n")
                .content_length(body_bytes as u64),
            Verb::Get { last_event_id } => write::request(out, b"GET", path)
                .header("Host", host)
                .header("Accept", b"text/event-stream")
                .header_if("Last-Event-ID", Some(last_event_id).filter(|id| !id.is_empty())),
            Verb::Delete => write::request(out, b"DELETE", path).header("Host", host),
        };
        match (self.era, &self.session) {
            (Era::Modern, _) => {
                head = head
                    .header(header::PROTOCOL_VERSION, Revision::V2026_07_28.as_str().as_bytes())
                    .header(header::METHOD, self.method_text(&mut named));
                named.clear();
                if let Some(name) = self.name {
                    let plain =
                        name.iter().all(|byte| (0x21..=0x7e).contains(byte)) && !name.starts_with(b"=?");
                    if plain {
                        head = head.header(header::NAME, name);
                    } else {
                        header::encode(&mut named, name);
                        head = head.header(header::NAME, &named);
                    }
                }
                head = self.repeat_parameters(head)?;
            }
            // HTTP+SSE knows neither header.
            (Era::Legacy, Some(session)) if session.post_at.is_some() => {}
            (Era::Legacy, Some(session)) => {
                head = head.header_if(header::SESSION_ID, session.id.as_deref());
                head = head.header(header::PROTOCOL_VERSION, session.revision.get().as_str().as_bytes());
            }
            (Era::Legacy, None) => {}
        }
        for (name, value) in lines {
            head = head.named(name.as_bytes(), value.as_bytes());
        }
        if let (Some(stated), Some(order)) = (&endpoint.stated, self.order)
            && let Some(statement) = &order.whom.statement
        {
            head = head.named(stated.header.as_bytes(), statement.value(stated, &core.clock).as_bytes());
        }
        if let Some(trace) = self.order.and_then(|order| order.whom.trace.as_ref()) {
            head = head.header("traceparent", &trace.asks().written()).header_if("tracestate", trace.state());
        }
        head.finish().map_err(|_| {
            UpstreamFault::Http("a header of ours is not printable; see its credential".to_owned())
        })
    }

    /// As the client wrote it, where nobody here knows it.
    fn method_text<'t>(&'t self, said: &'t mut Vec<u8>) -> &'t [u8] {
        let foreign = self.order.filter(|_| self.method == Method::Unknown);
        match foreign.and_then(|order| Some((order, order.message.method_text?))) {
            Some((order, text)) => text.read(order.body, said),
            None => self.method.as_str().as_bytes(),
        }
    }

    /// `Mcp-Param-*`, as the client sent them or as the call's arguments say.
    fn repeat_parameters<'h>(&self, mut head: write::Head<'h>) -> Result<write::Head<'h>, UpstreamFault> {
        let Some((order, repeated)) = self.order.and_then(|order| Some((order, order.head?))) else {
            return Ok(head);
        };
        let prefix = header::PARAMETER_PREFIX.as_bytes();
        match repeated {
            Repeated::Said(client, bytes) if client.mcp_params > 0 => {
                for (name, value) in client.headers(bytes) {
                    if name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
                        head = head.named(name, value);
                    }
                }
            }
            Repeated::Said(..) => {}
            Repeated::Annotated(annotated) => {
                let (mut name, mut value, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
                let mut bytes_left = PARAMETERS_BYTES_MAX;
                for one in annotated {
                    let Some(raw) = one.argument(order.body, order.message.arguments) else { continue };
                    value.clear();
                    if !header::encode_argument(&mut value, raw, &mut scratch) {
                        continue;
                    }
                    name.clear();
                    name.extend_from_slice(prefix);
                    name.extend_from_slice(one.header.as_bytes());
                    bytes_left = bytes_left.checked_sub(name.len() + value.len()).ok_or_else(|| {
                        UpstreamFault::Input(format!(
                            "arguments that its tool wants in headers have over {PARAMETERS_BYTES_MAX} bytes"
                        ))
                    })?;
                    head = head.named(&name, &value);
                }
            }
        }
        Ok(head)
    }
}
