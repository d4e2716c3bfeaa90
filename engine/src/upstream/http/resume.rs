//! An event stream that broke and goes on: servers of the older revisions number their events, and give those after
//! a number to a GET that names it. A server of 2025-11-25 may hang up on purpose and be asked again later; that is the
//! same thing. How often is bounded by the server's own `retry` and our floor for it, how long by the call's deadline.

use std::rc::Rc;

use super::outgoing::Outgoing;
use super::reply::{Reading, Shape};
use super::request::{Request, Term, Verb};
use crate::core::Core;
use crate::handle::Reach;
use crate::io::signal::Signal;
use crate::io::watch::Cause;
use crate::limits::{RESUME_MS, RESUMES_MAX, RETRY_MS_MAX, TICK_MS};
use crate::upstream::UpstreamFault;

const BROKEN: UpstreamFault = UpstreamFault::Closed { after_bytes: true };

/// How long to wait before a stream is asked for again.
pub(super) fn pause_ms(retry_ms: Option<u64>) -> u64 {
    retry_ms.unwrap_or(RESUME_MS).clamp(TICK_MS, RETRY_MS_MAX)
}

impl Reading {
    /// Goes on behind the last event, on another connection.
    pub(super) async fn resume(&mut self, core: &Rc<Core>) -> Result<(), UpstreamFault> {
        let (id, retry_ms) = self.mark();
        let id = id.to_vec();
        let (Some(wire), Some(session), false) = (&self.wire, self.session.clone(), id.is_empty()) else {
            return Err(BROKEN);
        };
        let (upstream, replica) = (wire.upstream.clone(), wire.replica);
        let (client_fd, until_ms, call_ms) = (wire.client_fd, wire.until_ms, wire.call_ms);
        let grip = wire.grip.clone();
        while self.resumes < RESUMES_MAX && session.is_live() {
            self.resumes += 1;
            let now_ms = core.clock.coarse_ms();
            let woken = Rc::new(Signal::new());
            let watch = core.watches.wake_at(until_ms.min(now_ms + pause_ms(retry_ms)), woken.clone());
            let watch = match client_fd {
                Some(client) => watch.also_client(client),
                None => watch,
            };
            woken.wait().await;
            if watch.cause() == Cause::ClientGone {
                return Err(UpstreamFault::ClientGone);
            }
            if core.clock.coarse_ms() >= until_ms {
                return Err(UpstreamFault::CallTimeout { ms: call_ms });
            }
            if grip.as_ref().is_some_and(|grip| grip.is_over()) {
                return Err(BROKEN);
            }
            let reach = upstream.reach.borrow().clone();
            let Reach::Http { endpoints } = &*reach else { return Err(BROKEN) };
            let request = Request {
                verb: Verb::Get { last_event_id: &id },
                term: Term::Until(until_ms),
                session: Some(session.clone()),
                client_fd,
                grip: grip.as_ref(),
                ..Request::new(&upstream, strait_protocol::mcp::Method::Unknown, self.era)
            };
            match request.send(core, endpoints, replica, Outgoing::from(&b""[..])).await {
                Ok(mut fresh) if fresh.is_stream() => {
                    self.wire = fresh.wire.take();
                    if let Shape::Events { reader, data, left } = &mut self.shape {
                        reader.restart();
                        data.clear();
                        *left = 0..0;
                    }
                    // A server that is asked again and again was reached each time.
                    self.resumes = 0;
                    self.is_paused = false;
                    return Ok(());
                }
                // It does not know the stream, or it never resumes any.
                Ok(refused) if refused.status() < 500 => return Err(BROKEN),
                Err(fault @ UpstreamFault::ClientGone) => return Err(fault),
                Ok(_) | Err(_) => {}
            }
        }
        Err(BROKEN)
    }
}
