//! Real MCP servers, as one worker reaches them.
//!
//! An exchange brings an [`Order`]: the client's own bytes, where everything is in them, and what the
//! upstream calls the item. The upstream's era decides how the bytes are spliced ([`dialect`]); the
//! answer comes back as a [`Reply`], a stream of [`Event`]s, whatever carried it.
//!
//! HTTP upstreams are reached from every worker over its own connections ([`http`]). A stdio child is
//! owned by one worker ([`stdio`]); others send it their orders through the mailbox and get rendered
//! events back.

pub mod dialect;
mod fault;
mod handshake;
pub mod http;
pub mod learn;
pub mod reply;
pub mod stdio;

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use strait_protocol::Span;
use strait_protocol::http1::RequestHead;
use strait_protocol::jsonrpc::{ErrorId, Message, append_error};
use strait_protocol::mcp::{Method, Revision, codes};
use strait_table::Snapshot;
use strait_table::rules::{ArchivedEra, ArchivedPer, ArchivedTransport};

use crate::core::{Core, InFlight};
use crate::handle::Reach;
use crate::io::buffer::Buf;
use crate::io::signal::Signal;
pub use fault::UpstreamFault;
pub use reply::{Event, Reply};

/// A call on its way to an upstream.
pub struct Order<'a> {
    pub upstream: usize,
    /// The client's message as received.
    pub body: &'a [u8],
    pub message: &'a Message,
    /// What the upstream calls the item; `None` when the client's word is right already.
    pub bare: Option<&'a [u8]>,
    /// The revision the client speaks.
    pub client: Revision,
    /// The client's request head, for headers that are forwarded.
    pub head: Option<(&'a RequestHead, &'a [u8])>,
    /// Digest of the principal: sessions with upstreams are not shared between principals.
    pub principal: u64,
    /// The client's session, if it has one.
    pub session: Option<u128>,
    /// The client's socket, when it is on this worker: a client that goes away ends the call.
    pub client_fd: Option<RawFd>,
}

/// Which dialect an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Modern,
    Legacy,
}

/// What all workers know of an upstream: its era is asked once.
#[derive(Default)]
pub struct SharedEra(AtomicU8);

impl SharedEra {
    pub fn get(&self) -> Option<Era> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Era::Modern),
            2 => Some(Era::Legacy),
            _ => None,
        }
    }

    pub fn set(&self, era: Option<Era>) {
        let value = match era {
            None => 0,
            Some(Era::Modern) => 1,
            Some(Era::Legacy) => 2,
        };
        self.0.store(value, Ordering::Relaxed);
    }
}

/// One upstream on this worker.
pub struct Upstream {
    pub index: usize,
    pub name: String,
    pub timeouts: Timeouts,
    /// As configured; `None`: ask.
    pub fixed_era: Option<Era>,
    pub era: Arc<SharedEra>,
    pub reach: RefCell<Rc<Reach>>,
    pub http: http::State,
    pub stdio: stdio::Children,
    /// What it told clients about itself in its handshake.
    pub instructions: RefCell<Option<String>>,
    /// Raised when its lists should be asked for again.
    pub relist: Signal,
    next_id: Cell<i64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect_ms: u32,
    pub first_byte_ms: u32,
    pub call_ms: u32,
}

impl Upstream {
    /// An id no other request of this worker to this upstream has.
    pub fn next_id(&self) -> i64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    pub fn known_era(&self) -> Option<Era> {
        self.fixed_era.or_else(|| self.era.get())
    }
}

/// All upstreams of one worker, by number.
pub struct Upstreams {
    list: RefCell<Vec<Rc<Upstream>>>,
}

impl Upstreams {
    pub fn new(snapshot: &Snapshot, reaches: &[Reach], eras: &[Arc<SharedEra>]) -> Upstreams {
        let list = snapshot.rules().upstreams.iter().enumerate().map(|(index, rules)| {
            let stdio = match &rules.transport {
                ArchivedTransport::Stdio(stdio) => stdio::Children::new(
                    match stdio.per {
                        ArchivedPer::Shared => stdio::Per::Shared,
                        ArchivedPer::Session => stdio::Per::Session,
                        ArchivedPer::Principal => stdio::Per::Principal,
                    },
                    stdio.max.to_native() as usize,
                    stdio.idle_ms.to_native(),
                ),
                ArchivedTransport::Http { .. } | ArchivedTransport::Sample(_) => stdio::Children::shared(),
            };
            Rc::new(Upstream {
                index,
                name: rules.name.as_str().to_owned(),
                timeouts: Timeouts {
                    connect_ms: rules.timeout.connect_ms.to_native(),
                    first_byte_ms: rules.timeout.first_byte_ms.to_native(),
                    call_ms: rules.timeout.call_ms.to_native(),
                },
                fixed_era: match rules.era {
                    ArchivedEra::Auto => None,
                    ArchivedEra::Modern => Some(Era::Modern),
                    ArchivedEra::Legacy => Some(Era::Legacy),
                },
                era: eras.get(index).cloned().unwrap_or_default(),
                reach: RefCell::new(Rc::new(reach_of(reaches, index))),
                http: http::State::default(),
                stdio,
                instructions: RefCell::default(),
                relist: Signal::new(),
                next_id: Cell::new(1),
            })
        });
        Upstreams { list: RefCell::new(list.collect()) }
    }

    pub fn get(&self, index: usize) -> Option<Rc<Upstream>> {
        self.list.borrow().get(index).cloned()
    }

    pub fn all(&self) -> Vec<Rc<Upstream>> {
        self.list.borrow().clone()
    }

    /// New addresses or credentials: connections to old ones are not used again.
    pub fn learn(&self, reaches: &[Reach]) {
        for upstream in self.list.borrow().iter() {
            upstream.reach.replace(Rc::new(reach_of(reaches, upstream.index)));
            upstream.http.forget();
        }
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self, core: &Rc<Core>) {
        for upstream in self.list.borrow().iter() {
            upstream.http.sweep(core.clock.coarse_ms());
            upstream.stdio.sweep(core);
        }
    }
}

fn reach_of(reaches: &[Reach], index: usize) -> Reach {
    reaches.get(index).cloned().unwrap_or_else(|| Reach::Unreachable("not resolved yet".to_owned()))
}

/// Sends a call to its upstream. What could go wrong before the first byte of the answer is an error
/// here; what goes wrong later is an error of [`Reply::next`].
pub async fn call(core: &Rc<Core>, order: &Order<'_>, admitted: InFlight) -> Result<Reply, UpstreamFault> {
    let gone = || UpstreamFault::Unreachable("no longer configured".to_owned());
    let upstream = core.upstreams.get(order.upstream).ok_or_else(gone)?;
    let reach = upstream.reach.borrow().clone();
    let source = match &*reach {
        Reach::Unreachable(why) => return Err(UpstreamFault::Unreachable(why.clone())),
        Reach::Http { endpoints } => {
            reply::Source::Http(http::call(core, &upstream, endpoints, order).await?)
        }
        Reach::Stdio { .. } => {
            let owner = upstream.stdio.owner(core, &upstream, order);
            if owner == core.id {
                reply::Source::Child(stdio::call(core, &upstream, order).await?)
            } else {
                reply::Source::Elsewhere(stdio::elsewhere::send(core, owner, order)?)
            }
        }
    };
    Ok(Reply::of(source, upstream, order, admitted))
}

/// The answer to a server's own request: this gateway declared no capability on any client's behalf.
pub fn decline(message: &[u8], id: Span, method: Option<Method>) -> Buf {
    let mut out = Buf::new();
    let id = id.of(message);
    if method == Some(Method::Ping) {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id);
        out.extend_from_slice(b",\"result\":{}}");
    } else {
        let why = "the client declared no such capability";
        append_error(out.vec(), ErrorId::Raw(id), codes::METHOD_NOT_FOUND, why, None);
    }
    out
}
