//! The stream of what belongs to no call in a session of Streamable HTTP: a GET that stays open.
//!
//! A server that answers it with 4xx offers none and is not asked again. One that breaks is opened again, behind the
//! last event if the server numbers them; else something may have been missed, so the lists are learnt again.

use std::rc::Rc;

use strait_protocol::mcp::Method;
use strait_protocol::sse::EventKind;

use super::outgoing::Outgoing;
use super::reply::HttpReply;
use super::request::{Request, Term, Verb};
use super::resume;
use super::session::Session;
use crate::changes::ListSet;
use crate::core::Core;
use crate::handle::Reach;
use crate::io::runtime;
use crate::limits::{STREAM_AGAIN_MS, UPSTREAM_STREAMS_MAX};
use crate::upstream::reply::scan;
use crate::upstream::{Era, Responder, Upstream};

/// Opens the stream of a session, and keeps it open for as long as the session lives.
pub fn begin(core: &Rc<Core>, upstream: &Rc<Upstream>, session: &Rc<Session>) {
    let streams = &upstream.http.streams;
    if session.post_at.is_some() || session.stands.get() || streams.get() >= UPSTREAM_STREAMS_MAX {
        return;
    }
    session.stands.set(true);
    streams.set(streams.get() + 1);
    let standing = Standing { core: core.clone(), upstream: upstream.clone(), session: session.clone() };
    runtime::spawn_guarded("stream of an upstream's session", standing.keep());
}

struct Standing {
    core: Rc<Core>,
    upstream: Rc<Upstream>,
    session: Rc<Session>,
}

/// How a stream ended.
enum End {
    /// The server has none.
    NotOffered,
    /// The server does not know the session any more.
    SessionLost,
    Broken,
}

/// Where it goes on.
#[derive(Default)]
struct Mark {
    id: Vec<u8>,
    retry_ms: Option<u64>,
    /// It was open before.
    was_open: bool,
}

impl Standing {
    async fn keep(self) {
        let mut mark = Mark::default();
        let mut again_ms = STREAM_AGAIN_MS.0;
        while self.session.is_live() {
            let began_ms = self.core.clock.coarse_ms();
            let end = self.once(&mut mark).await;
            match end {
                End::NotOffered => return self.session.has_stood(false),
                End::SessionLost => return self.session.lose(),
                End::Broken if !self.session.is_live() => return,
                End::Broken => {}
            }
            if self.core.clock.coarse_ms() - began_ms > STREAM_AGAIN_MS.1 {
                again_ms = STREAM_AGAIN_MS.0;
            }
            let pause_ms = match mark.retry_ms {
                // It said when it wants to be asked.
                Some(retry_ms) if again_ms == STREAM_AGAIN_MS.0 => resume::pause_ms(Some(retry_ms)),
                _ => {
                    // Sessions were opened one after the other; this spreads them without a source of chance.
                    let jitter =
                        self.session.serial.unsigned_abs().wrapping_mul(0x9e37_79b9) % (again_ms / 4);
                    again_ms + jitter
                }
            };
            again_ms = (again_ms * 2).min(STREAM_AGAIN_MS.1);
            runtime::sleep(std::time::Duration::from_millis(pause_ms)).await;
        }
    }

    async fn once(&self, mark: &mut Mark) -> End {
        let Standing { core, upstream, session } = self;
        let reach = upstream.reach.borrow().clone();
        let Reach::Http { endpoints } = &*reach else { return End::Broken };
        let resumes = !mark.id.is_empty();
        let request = Request {
            verb: Verb::Get { last_event_id: &mark.id },
            term: Term::Standing,
            session: Some(session.clone()),
            grip: Some(&session.grip),
            ..Request::new(upstream, Method::Unknown, Era::Legacy)
        };
        let sent = request.send(core, endpoints, session.replica, Outgoing::from(&b""[..])).await;
        let mut stream = match sent {
            Ok(stream) if stream.is_stream() => stream,
            Ok(refused) => {
                return match refused.status() {
                    404 if mark.was_open && session.is_named() => End::SessionLost,
                    // It does not know the number any more: from now on, then.
                    400..=499 if resumes => {
                        mark.id.clear();
                        End::Broken
                    }
                    500..=599 => End::Broken,
                    _ => End::NotOffered,
                };
            }
            Err(_) => return End::Broken,
        };
        if mark.was_open && !resumes {
            // What came in between was missed.
            upstream.lists_changed(core, ListSet::default());
            session.channel.missed(core, upstream);
        }
        mark.was_open = true;
        session.has_stood(true);
        hear(core, upstream, session, &mut stream).await;
        let (id, retry_ms) = stream.mark();
        if !id.is_empty() {
            mark.id = id.to_vec();
        }
        mark.retry_ms = retry_ms.or(mark.retry_ms);
        End::Broken
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let streams = &self.upstream.http.streams;
        streams.set(streams.get() - 1);
    }
}

/// Passes on what a session's stream says, to its end.
pub async fn hear(core: &Rc<Core>, upstream: &Rc<Upstream>, session: &Rc<Session>, stream: &mut HttpReply) {
    let responder = Responder::Http { upstream: upstream.clone(), session: session.clone() };
    while let Ok(Some((kind, data))) = stream.datum(core).await {
        // What is no message is nobody's.
        if kind == EventKind::Message
            && let Ok(envelope) = scan(core, &data)
        {
            session.channel.heard(core, upstream, &responder, &data, &envelope);
        }
    }
}
