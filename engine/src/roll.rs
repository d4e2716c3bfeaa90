//! What a worker has open, told when control asks: sessions, and how upstreams are spoken to.
//!
//! Figures say how many without asking; this says which. A worker writes at most [`ROLL_LINES_MAX`] of a kind, between
//! two exchanges, and never an id that a client could use.

use std::rc::Rc;

use strait_protocol::mcp::{Declared, LogLevel, Method, Revision};

use crate::core::Core;
use crate::edition::UpstreamId;
use crate::exchange::listen::Listen;
use crate::exchange::suspend::Suspended;
use crate::limits::ROLL_LINES_MAX;
use crate::session::Session;
use crate::upstream::{Affinity, Era, Upstream};

/// Of one worker.
#[derive(Debug)]
pub struct Roll {
    pub worker: usize,
    pub sessions: Kind<SessionLine>,
    pub suspended: Kind<SuspendedLine>,
    pub listens: Kind<ListenLine>,
    pub upstreams: Vec<UpstreamLine>,
    #[cfg(feature = "simulation")]
    pub held: Vec<(&'static str, usize)>,
}

/// As many as are told, and how many there are.
#[derive(Debug)]
pub struct Kind<T> {
    pub told: Vec<T>,
    pub total: usize,
}

impl<T> Kind<T> {
    fn of<'a, S: 'a>(all: impl ExactSizeIterator<Item = &'a S>, line: impl Fn(&'a S) -> T) -> Kind<T> {
        Kind { total: all.len(), told: all.take(ROLL_LINES_MAX).map(line).collect() }
    }
}

/// A session of the older revisions.
#[derive(Debug)]
pub struct SessionLine {
    /// Tells sessions apart; of no use to a client.
    pub mark: u64,
    /// Digest of the virtual server's name.
    pub server: u64,
    /// Digest of the principal's id.
    pub principal: u64,
    pub revision: Revision,
    pub declared: Declared,
    pub log_level: Option<LogLevel>,
    pub idle_ms: u64,
    /// Questions of servers that it has not answered.
    pub questions: usize,
    /// Resources of whose changes it is told.
    pub subscriptions: usize,
    /// A connection carries what belongs to no call.
    pub is_listening: bool,
}

/// A call that waits for its client to bring input. What it was called with is nobody's business.
#[derive(Debug)]
pub struct SuspendedLine {
    /// Digest of the virtual server's name.
    pub server: u64,
    /// Digest of the principal's id.
    pub principal: u64,
    pub upstream: String,
    pub method: Method,
    /// What clients call it; for a resource of a template, the template.
    pub item: String,
    /// Questions that it has not been answered.
    pub questions: usize,
    /// Since the server first asked.
    pub age_ms: u64,
    /// Until it is given up.
    pub left_ms: u64,
}

/// An open `subscriptions/listen`.
#[derive(Debug)]
pub struct ListenLine {
    /// Digest of the virtual server's name.
    pub server: u64,
    /// Digest of the principal's id; `None` when the key is not known any more.
    pub principal: Option<u64>,
    /// The lists that it hears of.
    pub filter: Vec<&'static str>,
    /// Resources of whose changes it is told.
    pub subscriptions: usize,
    pub age_ms: u64,
}

/// An upstream, as one worker knows it.
#[derive(Debug)]
pub struct UpstreamLine {
    pub id: UpstreamId,
    pub name: String,
    /// `None`: not asked yet.
    pub era: Option<Era>,
    /// Reached over HTTP+SSE.
    pub is_sse: bool,
    pub calls: usize,
    /// Sessions with a legacy HTTP server.
    pub sessions: usize,
    pub children: usize,
}

impl Roll {
    pub(crate) fn call(core: &Core) -> Roll {
        let now_ms = core.clock.coarse_ms();
        let sessions = core.sessions.borrow();
        let session = |session: &Rc<Session>| SessionLine {
            mark: Affinity::key_of(session.id.serial),
            server: session.id.server,
            principal: session.id.principal,
            revision: session.id.revision,
            declared: session.declared,
            log_level: session.log_level.get(),
            idle_ms: session.idle_ms(now_ms),
            questions: session.questions.len(),
            subscriptions: session.subscriptions.count(),
            is_listening: session.standing.is_read(),
        };
        let upstreams = core.upstreams.all();
        let line = |upstream: &Rc<Upstream>| UpstreamLine {
            id: upstream.id,
            name: upstream.name.clone(),
            era: upstream.known_era(),
            is_sse: upstream.speaks_sse(),
            calls: upstream.calls_under_way(),
            sessions: upstream.http.session_count(),
            children: upstream.stdio.count(),
        };
        Roll {
            worker: core.id,
            sessions: Kind::of(sessions.all(), session),
            suspended: Kind::of(core.suspended.all().iter(), |call| suspended(call, now_ms)),
            listens: Kind::of(core.listens.all().iter(), |listen| listen_line(core, listen)),
            upstreams: upstreams.iter().map(line).collect(),
            #[cfg(feature = "simulation")]
            held: held(core),
        }
    }
}

/// Everything that this worker keeps for somebody, by name: a test looks whether it is given back.
#[cfg(feature = "simulation")]
fn held(core: &Core) -> Vec<(&'static str, usize)> {
    let sessions = core.sessions.borrow();
    let mut held = vec![
        ("sessions", sessions.count()),
        ("questions", sessions.all().map(|session| session.questions.len()).sum()),
        ("suspended calls", core.suspended.count()),
        ("listens", core.listens.count()),
        ("answers that stand open", core.standing.get()),
        ("calls under way", core.inflight.get()),
        ("connections", core.connections.get()),
        ("watches", core.watches.len()),
    ];
    for upstream in core.upstreams.all() {
        held.push(("calls on upstreams", upstream.calls_under_way()));
        held.push(("sessions with upstreams", upstream.http.session_count()));
        held.extend(upstream.http.held());
    }
    held
}

fn suspended(call: &Rc<Suspended>, now_ms: u64) -> SuspendedLine {
    let subject = &call.subject;
    let item = subject
        .adopted
        .shelf(subject.server, subject.kind)
        .and_then(|shelf| shelf.items.get(subject.index).map(|item| item.exposed.as_str().to_owned()));
    SuspendedLine {
        server: subject.server_digest(),
        principal: subject.principal,
        upstream: call.upstream.name.clone(),
        method: call.method,
        item: item.unwrap_or_default(),
        questions: call.questions(),
        age_ms: now_ms.saturating_sub(call.since_ms),
        left_ms: call.expires_ms.get().saturating_sub(now_ms),
    }
}

fn listen_line(core: &Core, listen: &Rc<Listen>) -> ListenLine {
    ListenLine {
        server: listen.server,
        principal: listen.principal(core),
        filter: listen.filter(),
        subscriptions: listen.subscriptions.count(),
        age_ms: core.clock.now_ns().saturating_sub(listen.opened_ns) / 1_000_000,
    }
}
