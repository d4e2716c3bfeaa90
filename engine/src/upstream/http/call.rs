//! A call to an HTTP upstream, in whichever era it speaks: choose a replica, find or open a session,
//! send, and mend once what a lost session or a replaced server broke.

use std::rc::Rc;

use strait_protocol::mcp::Method;

use super::outgoing::Outgoing;
use super::post::Post;
use super::reply::HttpReply;
use super::{ask_era, session};
use crate::core::Core;
use crate::handle::HttpEndpoint;
use crate::io::clock::Waited;
use crate::upstream::dialect::{self, Channel};
use crate::upstream::{Era, Order, Upstream, UpstreamFault, handshake};

/// Sends a call and reads the head of its answer.
pub async fn call(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    order: &Order<'_>,
) -> Result<HttpReply, UpstreamFault> {
    let mut mended = false;
    let mut replicas_left = endpoints.len();
    let mut waited_ns = 0;
    loop {
        let mut used = None;
        let attempt = once(core, upstream, endpoints, order, &mut used).await;
        match attempt {
            Ok(mut reply) => match reply.objection() {
                None => {
                    reply.waited_before(waited_ns);
                    return Ok(reply);
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
                Some(_) if reply.explains() => return Ok(reply),
                Some(_) => return Err(UpstreamFault::Status { status: reply.status() }),
            },
            // Nothing was sent: another replica may do.
            Err(UpstreamFault::Connect(_) | UpstreamFault::ConnectTimeout { .. }) if replicas_left > 1 => {
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

/// One attempt; `used` becomes the serial of its session.
async fn once(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    endpoints: &[HttpEndpoint],
    order: &Order<'_>,
    used: &mut Option<i64>,
) -> Result<HttpReply, UpstreamFault> {
    let mut waited = Waited::default();
    let era = match upstream.known_era() {
        Some(era) => era,
        None => waited.on(ask_era(core, upstream, endpoints)).await?,
    };
    let session = match era {
        Era::Legacy => Some(waited.on(session::session(core, upstream, order.affinity())).await?),
        Era::Modern => None,
    };
    *used = session.as_ref().map(|session| session.serial);
    let replica = session.as_ref().map_or_else(|| upstream.http.next_turn(endpoints.len()), |s| s.replica);
    let id = upstream.next_id();
    let mut request = Outgoing::with_room(order.body.len() + BODY_ROOM);
    let channel = if era == Era::Legacy { Channel::Shared } else { Channel::Own };
    dialect::request(core, order, era, channel, id, request.body())?;
    let mut said = Vec::new();
    let post = Post {
        id: order.message.id.map(|_| id),
        name: name(order, &mut said),
        session,
        head: order.head,
        may_be_asked: era == Era::Legacy && order.declared().can_be_asked(),
        // Before 2026-07-28 a client that leaves has not cancelled: its call runs on to its own deadline.
        client_fd: order.client_fd.filter(|_| order.client.is_modern()),
        ..Post::new(upstream, order.message.method, era)
    };
    let mut reply = post.send(core, endpoints, replica, request).await?;
    reply.waited_before(waited.ns);
    reply.look_at_refusal(core).await?;
    Ok(reply)
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
) -> Result<Era, UpstreamFault> {
    let id = upstream.next_id();
    let mut fault = UpstreamFault::Unreachable("it has no endpoint".to_owned());
    for replica in 0..endpoints.len() {
        let post = Post { id: Some(id), ..Post::new(upstream, Method::ServerDiscover, Era::Modern) };
        let request = Outgoing::from(handshake::discover(id).as_slice());
        match post.send(core, endpoints, replica, request).await {
            Ok(mut reply) => {
                let status = reply.status();
                if matches!(status, 401 | 403 | 407 | 500..) {
                    return Err(UpstreamFault::Status { status });
                }
                return Ok(match reply.whole(core).await {
                    Ok(answer) => {
                        upstream.said.replace(handshake::said(answer.bytes(), &answer.envelope));
                        handshake::era(&answer.envelope, status)
                    }
                    Err(_) => Era::Legacy,
                });
            }
            Err(other @ (UpstreamFault::Connect(_) | UpstreamFault::ConnectTimeout { .. })) => fault = other,
            Err(other) => return Err(other),
        }
    }
    Err(fault)
}
