//! Upstreams that speak HTTP+SSE of 2024-11-05: one event stream is the session, messages are posted beside it.
//!
//! The stream's first event says where. Whatever the server says, answers too, comes over the stream, so calls wait at
//! the session's [`Channel`](crate::upstream::channel::Channel), as those to a stdio child do. The session ends with the
//! stream; what was under way in it fails, because whether it ran is not known.

mod endpoint;

use std::rc::Rc;

use strait_protocol::mcp::{Method, Revision};
use strait_protocol::sse::EventKind;

use super::channel::{Channel, Pending};
use super::http::outgoing::Outgoing;
use super::http::reply::{HttpReply, settle};
use super::http::request::{Request, Verb};
use super::http::session::{Opened, Session, Whose};
use super::http::standing;
use super::waiting::{Missed, Waiting};
use super::{Era, Event, Upstream, UpstreamFault, handshake};
use crate::changes::ListSet;
use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::io::runtime;
use crate::limits::ATTENDED_EVENTS_MAX;

/// Opens the stream and goes through the handshake over it.
pub async fn open(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    whose: Whose,
    channel: Rc<Channel>,
) -> Result<Rc<Session>, UpstreamFault> {
    let replica = upstream.http.next_turn(endpoints.len());
    let endpoint =
        endpoints.get(replica).ok_or_else(|| UpstreamFault::Unreachable("it has no endpoint".to_owned()))?;
    let grip = Rc::default();
    let get = Request {
        verb: Verb::Get { last_event_id: b"" },
        grip: Some(&grip),
        whose: Some(whose.affinity),
        ..Request::new(upstream, Method::Unknown, Era::Legacy)
    };
    let mut stream = get.send(core, endpoints, replica, Outgoing::from(&b""[..])).await?;
    if !stream.is_stream() {
        let status = stream.status();
        return Err(UpstreamFault::Handshake(format!(
            "GET was answered with HTTP {status}, expected an event stream (HTTP+SSE of 2024-11-05)"
        )));
    }
    let post_at = loop {
        match stream.datum(core).await? {
            Some((EventKind::Endpoint, uri)) => {
                break endpoint::path(endpoint, &uri).map_err(UpstreamFault::Handshake)?;
            }
            Some(_) => {}
            None => return Err(UpstreamFault::Closed { after_bytes: true }),
        }
    };
    stream.stand();
    let revision = Revision::V2024_11_05;
    let opened = Opened { id: None, revision, replica, channel, post_at: Some(post_at), grip };
    let session = Session::new(core, upstream, whose, opened);
    let ends = End { upstream: upstream.clone(), session: session.clone() };
    runtime::spawn_guarded("stream of an HTTP+SSE session", ends.hear(core.clone(), stream));
    let greeted = greet(core, upstream, endpoints, &session).await;
    if greeted.is_err() {
        session.lose();
    }
    greeted.map(|()| session)
}

/// What the end of a session's stream means, whatever brought it about.
struct End {
    upstream: Rc<Upstream>,
    session: Rc<Session>,
}

impl End {
    async fn hear(self, core: Rc<Core>, mut stream: HttpReply) {
        standing::hear(&core, &self.upstream, &self.session, &mut stream).await;
        if self.session.is_live() && self.session.whose.affinity == super::Affinity::NOBODY {
            // Nobody hears it until the lists are learnt again.
            self.upstream.lists_changed(&core, ListSet::default());
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.session.lose();
        self.session.channel.fail(&UpstreamFault::Closed { after_bytes: true });
    }
}

async fn greet(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    session: &Rc<Session>,
) -> Result<(), UpstreamFault> {
    let id = upstream.next_id();
    let pending = session.channel.wait(Pending::with_room(id, ATTENDED_EVENTS_MAX));
    let mut waiting = Waiting::begin(core, upstream.timeouts, pending, None);
    let initialize = handshake::initialize(id, session.whose.affinity.declares());
    post(core, upstream, endpoints, session, &initialize).await?;
    let (bytes, envelope) = loop {
        match waiting.next(core).await {
            Ok(Event::Message { bytes, envelope, last: true, .. }) => break (bytes, envelope),
            Ok(_) => {}
            Err(Missed::GaveUp(fault)) => {
                session.channel.forget(id);
                return Err(fault);
            }
            Err(Missed::Over(fault)) => {
                return Err(fault.unwrap_or(UpstreamFault::Closed { after_bytes: true }));
            }
        }
    };
    session.revision.set(handshake::negotiated(&bytes, &envelope)?);
    upstream.said.replace(handshake::said(&bytes, &envelope));
    post(core, upstream, endpoints, session, handshake::INITIALIZED.as_bytes()).await
}

/// Posts a message of the handshake.
async fn post(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    session: &Rc<Session>,
    message: &[u8],
) -> Result<(), UpstreamFault> {
    let request =
        Request { session: Some(session.clone()), ..Request::new(upstream, Method::Initialize, Era::Legacy) };
    let reply = request.send(core, endpoints, session.replica, Outgoing::from(message)).await?;
    let status = reply.status();
    settle(core, reply).await;
    if (200..300).contains(&status) { Ok(()) } else { Err(UpstreamFault::Status { status }) }
}
