//! A call to an HTTP upstream, in whichever era it speaks: choose a replica, find or open a session,
//! send, and mend once what a lost session or a replaced server broke.

use std::rc::Rc;

use strait_protocol::mcp::Method;

use super::attend::{self, Attended};
use super::outgoing::Outgoing;
use super::reply::{HttpReply, settle};
use super::request::{Request, Term};
use super::session::Whose;
use super::{ask_era, session};
use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::io::clock::Waited;
use crate::limits::TASK_RESULT_MS_MAX;
use crate::session::calls::UnderWay;
use crate::upstream::dialect::{self, Channel};
use crate::upstream::reply::Source;
use crate::upstream::settings::Settings;
use crate::upstream::{Affinity, Era, Order, Upstream, UpstreamFault, handshake};

/// Sends a call. That of a client that nobody asks anything needs nobody to attend to it: its answer's head has been
/// read when this returns.
pub async fn call(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    order: &Order<'_>,
) -> Result<Source, UpstreamFault> {
    let is_legacy = upstream.known_era() == Some(Era::Legacy);
    if is_legacy && (upstream.speaks_sse() || order.declared().can_be_asked()) {
        return Ok(Source::Attended(attend::begin(core, upstream, order)));
    }
    match exchange(core, upstream, endpoints, order, None).await? {
        Exchanged::Reply(reply) => Ok(Source::Http(reply)),
        Exchanged::OverSse => Ok(Source::Attended(attend::begin(core, upstream, order))),
    }
}

/// What became of sending a call.
#[allow(clippy::large_enum_variant)] // the large one is the usual one
pub enum Exchanged {
    Reply(HttpReply),
    /// Nothing was sent: the server turned out to answer over its session's stream.
    OverSse,
}

/// Sends a call and reads the head of its answer.
pub(super) async fn exchange(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    order: &Order<'_>,
    attended: Option<&Attended>,
) -> Result<Exchanged, UpstreamFault> {
    let mut mended = false;
    let mut replicas_left = endpoints.len();
    let mut waited_ns = 0;
    loop {
        let mut used = None;
        let attempt = once(core, upstream, endpoints, order, attended, &mut used).await;
        match attempt {
            Ok(None) => return Ok(Exchanged::OverSse),
            Ok(Some(mut reply)) => match reply.objection() {
                // What was set in a session that was lost before the answer came is set in none: the next one may be
                // open already, and was told what had been taken by then.
                None if !mended && Settings::keep(order.message.method) && reply.is_of_lost_session() => {
                    waited_ns += reply.waited_ns();
                    settle(core, reply).await;
                }
                None => {
                    reply.waited_before(waited_ns);
                    return Ok(Exchanged::Reply(reply));
                }
                Some(Objection::SessionLost) if !mended => {
                    waited_ns += reply.waited_ns();
                    session::forget(upstream, order.affinity(), used);
                }
                Some(Objection::OtherEra) if !mended && upstream.fixed_era.is_none() => {
                    waited_ns += reply.waited_ns();
                    upstream.era.set(None);
                }
                // Mended once already: what it says, if that is a message, else that it said nothing.
                Some(_) if reply.explains() => return Ok(Exchanged::Reply(reply)),
                Some(_) => return Err(UpstreamFault::Status { status: reply.status() }),
            },
            // Nothing was sent: another replica may do.
            Err(UpstreamFault::Connect(_) | UpstreamFault::ConnectTimeout { .. } | UpstreamFault::Tls(_))
                if replicas_left > 1 =>
            {
                replicas_left -= 1;
                session::forget(upstream, order.affinity(), used);
                continue;
            }
            Err(fault) => return Err(fault),
        }
        mended = true;
    }
}

/// Why a reply is not the answer to what was asked, though the server proved that it did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    SessionLost,
    OtherEra,
}

/// One attempt; `used` becomes the serial of its session. `None`: see [`Exchanged::OverSse`].
async fn once(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    order: &Order<'_>,
    attended: Option<&Attended>,
    used: &mut Option<i64>,
) -> Result<Option<HttpReply>, UpstreamFault> {
    let mut waited = Waited::default();
    if let (Some(lent), false) = (&order.whom.lent, upstream.known_era() == Some(Era::Modern)) {
        upstream.http.lend(core, order.affinity(), lent);
    }
    let era = match upstream.known_era() {
        Some(era) => era,
        None => waited.on(ask_era(core, upstream, endpoints, order.affinity())).await?,
    };
    let session = match era {
        Era::Legacy => Some(waited.on(session::session(core, upstream, Whose::of(order))).await?),
        Era::Modern => None,
    };
    *used = session.as_ref().map(|session| session.serial);
    let held = order.whom.replica.map(usize::from).filter(|replica| *replica < endpoints.len());
    let replica = session.as_ref().map(|session| session.replica).or(held);
    let replica = replica.unwrap_or_else(|| upstream.http.next_turn(endpoints.len()));
    if let Some(session) = &session {
        match attended {
            Some(attended) => attended.join(session),
            None if session.post_at.is_some() => return Ok(None),
            None => {}
        }
    }
    if let (Some(session), Some(level)) = (&session, order.wanted_level(upstream)) {
        waited.on(session.raise_level(core, upstream, level)).await;
    }
    let id = attended.map_or_else(|| upstream.next_id(), |attended| attended.pending.id);
    let mut body = Outgoing::with_room(order.body.len() + BODY_ROOM);
    let channel = if era == Era::Legacy { Channel::Shared } else { Channel::Own };
    dialect::request(core, order, era, channel, id, body.body())?;
    let mut said = Vec::new();
    let request = Request {
        id: order.message.id.map(|_| id),
        name: name(order, &mut said),
        session: session.clone(),
        order: Some(order),
        may_be_asked: era == Era::Legacy && order.declared().can_be_asked(),
        // Before 2026-07-28 a client that leaves has not cancelled: its call runs on to its own deadline.
        client_fd: order.client_fd.filter(|_| order.client.is_modern()),
        grip: attended.map(|attended| &attended.grip),
        tells_pauses: attended.map_or_else(|| order.knows_pauses(), |attended| attended.knows_pauses),
        term: match order.message.method {
            // Whoever waits for an attended call keeps its deadlines.
            _ if attended.is_some() => Term::Until(u64::MAX),
            // Answered when the task has ended.
            Method::TasksResult => Term::Until(core.clock.coarse_ms() + TASK_RESULT_MS_MAX),
            _ => Term::Call,
        },
        ..Request::new(upstream, order.message.method, era)
    };
    let unanswered = Unanswered { core, upstream, order, session: session.as_ref(), id };
    let sent = request.send(core, endpoints, replica, body).await;
    drop(unanswered);
    if let (
        Err(fault @ (UpstreamFault::ClientGone | UpstreamFault::FirstByteTimeout { .. })),
        Some(session),
    ) = (&sent, &session)
    {
        session.cancel(core, upstream, id, fault.giving_up());
    }
    let mut reply = sent?;
    reply.waited_before(waited.ns);
    reply.look_at_refusal(core).await?;
    if let Some(session) = &session {
        session.channel.settings.note(order);
    }
    Ok(Some(reply))
}

/// A call whose answer has not begun. The client may cancel it: then nobody waits for the head any more, and a legacy
/// server, which would go on, is told. A modern one learns it from its connection's end.
struct Unanswered<'a> {
    core: &'a Rc<Core>,
    upstream: &'a Rc<Upstream>,
    order: &'a Order<'a>,
    session: Option<&'a Rc<session::Session>>,
    id: i64,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session
            && self.order.under_way.is_some_and(UnderWay::is_cancelled)
        {
            session.cancel(self.core, self.upstream, self.id, UpstreamFault::Cancelled.giving_up());
        }
    }
}

/// Room for what splices add: a synthesised `_meta` is under 300 bytes.
const BODY_ROOM: usize = 512;

/// What `Mcp-Name` must say: the upstream's own name for the item.
fn name<'n>(order: &'n Order<'_>, said: &'n mut Vec<u8>) -> Option<&'n [u8]> {
    let text = order.message.mirrored_name()?;
    Some(order.bare.unwrap_or_else(|| text.read(order.body, said)))
}

/// Asks a server of unknown era what it is.
pub async fn probe(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    whose: Affinity,
) -> Result<Era, UpstreamFault> {
    let id = upstream.next_id();
    let mut fault = UpstreamFault::Unreachable("it has no endpoint".to_owned());
    for replica in 0..endpoints.len() {
        let request = Request {
            id: Some(id),
            whose: Some(whose),
            ..Request::new(upstream, Method::ServerDiscover, Era::Modern)
        };
        let body = Outgoing::from(handshake::discover(id).as_slice());
        match request.send(core, endpoints, replica, body).await {
            Ok(mut reply) => {
                let status = reply.status();
                if matches!(status, 401 | 403 | 407 | 500..) {
                    return Err(UpstreamFault::Status { status });
                }
                return Ok(match reply.whole(core).await {
                    Ok(answer) => {
                        upstream.said.replace(handshake::said(answer.bytes(), &answer.envelope));
                        handshake::era(answer.bytes(), &answer.envelope, status)
                    }
                    Err(_) => Era::Legacy,
                });
            }
            Err(
                other @ (UpstreamFault::Connect(_)
                | UpstreamFault::ConnectTimeout { .. }
                | UpstreamFault::Tls(_)),
            ) => fault = other,
            Err(other) => return Err(other),
        }
    }
    Err(fault)
}
