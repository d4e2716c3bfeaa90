//! One accepted socket: requests in order, one at a time, until somebody closes.
//!
//! A connection is either *active* (it has a buffer and the future of [`active`], boxed) or *parked*:
//! after [`crate::limits::PARK_AFTER_MS`] without a request it gives both back and waits for readability with a few
//! hundred bytes. The box comes from the allocator's per-thread pool and only when a connection wakes
//! up, so a busy connection allocates nothing per exchange and an idle one keeps nothing. One whose answer stands open
//! ([`standing`]) keeps as little between two events.

pub mod audience;
pub mod outside;
mod read;
mod shake;
pub mod standing;

use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use strait_protocol::http1::RequestHead;

use crate::core::Core;
use crate::exchange::refusal::Refusal;
use crate::exchange::respond::{self, Next, Sink};
use crate::exchange::{self, Ending, Incoming};
use crate::io::buffer::{BUFFER_BYTES, Buf, LARGE_BYTES, held_bytes};
use crate::io::tcp::{Idle, Stream};
use crate::io::tls::ClientCertificate;
use crate::limits::{LINGER_BYTES_MAX, LINGER_MS_MAX, PRESSED_EIGHTHS};
use read::{Arrived, Request};
use standing::Standing;

/// One client's socket and what is known of it.
pub struct Connection {
    stream: Stream,
    listener: u16,
    peer: IpAddr,
    seat: Rc<Seat>,
    /// Who the client is, if it showed a certificate.
    certificate: Option<Arc<ClientCertificate>>,
    /// What came behind a request whose answer stands open; else empty.
    unread: Buf,
}

/// What others of this worker may know of a connection: whether it waits for a request, and how to end
/// that wait.
#[derive(Default)]
pub struct Seat {
    idle: Rc<Idle>,
    /// 0 while it does not wait.
    waits_since_ms: Cell<u64>,
    /// When its standing answer last said something; 0 while it has none.
    stands_quiet_since_ms: Cell<u64>,
}

impl Seat {
    /// Ends the wait of a connection that has been idle for `idle_ms` since it could have known of a
    /// drain. What has arrived by then is still served.
    pub fn dismiss(&self, now_ms: u64, drain_began_ms: u64, idle_ms: u64) {
        let since_ms = self.waits_since_ms.get();
        if since_ms > 0 && now_ms.saturating_sub(since_ms.max(drain_began_ms)) >= idle_ms {
            self.idle.cancel();
        }
    }

    pub fn stands(&self) -> bool {
        self.stands_quiet_since_ms.get() > 0
    }

    /// Lets a standing answer see that a drain has begun, or whom its listener believes now.
    pub fn nudge_standing(&self) {
        if self.stands() {
            self.idle.cancel();
        }
    }
}

/// Lets connections go that have asked for nothing for too long; sooner when few places are left, so that
/// whoever only sits on connections cannot keep others out.
pub fn dismiss_idle(core: &Core) {
    let pressed = core.connections.get() >= core.caps().connections * PRESSED_EIGHTHS / 8;
    let idle_ms = if pressed { core.deadlines.idle_pressed_ms } else { core.deadlines.idle_ms };
    let now_ms = core.clock.coarse_ms();
    for seat in core.seats.borrow().values() {
        seat.dismiss(now_ms, 0, idle_ms);
    }
}

impl Connection {
    fn new(stream: Stream, listener: u16, peer: IpAddr) -> Connection {
        Connection { stream, listener, peer, seat: Rc::default(), certificate: None, unread: Buf::empty() }
    }
}

enum Ended {
    Idle,
    Close,
    Stand(Box<Standing>),
}

/// Serves a connection until it closes. It counts from now on, not from when its task first runs: the epoll driver
/// accepts many in one go.
pub fn serve(core: Rc<Core>, stream: Stream, listener: u16, peer: IpAddr) -> impl Future<Output = ()> {
    let connection = Connection::new(stream, listener, peer);
    let counted = Counted::new(&core, &connection);
    serve_counted(core, connection, counted)
}

async fn serve_counted(core: Rc<Core>, mut connection: Connection, _counted: Counted) {
    if !let_in(&core, &mut connection).await {
        return;
    }
    loop {
        match active(&core, &mut connection).await {
            Ended::Idle => {}
            Ended::Close => return,
            Ended::Stand(standing) => match standing::run(&core, &mut connection, standing).await {
                Next::KeepAlive => continue,
                Next::Close => return,
                Next::Linger => return Box::pin(linger(&core, &mut connection.stream, Buf::new())).await,
            },
        }
        match connection.stream.readable_idle(&connection.seat.idle).await {
            Ok(true) => {}
            // Dismissed.
            Ok(false) | Err(_) => return,
        }
    }
}

/// The handshake, where there is one. In a box, so that a connection does not keep the room for it.
async fn let_in(core: &Rc<Core>, connection: &mut Connection) -> bool {
    match core.with_listener_tls(connection.listener, |tls| tls.cloned()) {
        None => true,
        Some(tls) => Box::pin(shake::run(core, connection, tls)).await,
    }
}

/// Answers a connection that is one too many, and closes it. It counts from now on too.
pub fn turn_away(core: Rc<Core>, stream: Stream, listener: u16, peer: IpAddr) -> impl Future<Output = ()> {
    let counted = TurningAway::new(&core);
    turn_away_counted(core, Connection::new(stream, listener, peer), counted)
}

async fn turn_away_counted(core: Rc<Core>, mut connection: Connection, _counted: TurningAway) {
    if !let_in(&core, &mut connection).await {
        return;
    }
    let refusal = Refusal::Overloaded("too many connections");
    respond::refuse_unread(&core, &mut Sink::Stream(&mut connection.stream), &refusal).await;
    linger(&core, &mut connection.stream, Buf::new()).await;
}

/// Boxed outside the task that waits for it: a future that is made inside another leaves its room there, and an
/// idle connection would keep the 10 KiB of a busy one.
fn active<'c>(
    core: &'c Rc<Core>,
    connection: &'c mut Connection,
) -> Pin<Box<impl Future<Output = Ended> + 'c>> {
    Box::pin(until_idle(core, connection))
}

async fn until_idle(core: &Rc<Core>, connection: &mut Connection) -> Ended {
    let unread = std::mem::take(&mut connection.unread);
    let mut buf = if unread.is_empty() { Buf::new() } else { unread };
    loop {
        let request = match read::request(core, connection, &mut buf).await {
            Arrived::Request(request) => request,
            Arrived::Idle => return Ended::Idle,
            Arrived::Closed => return Ended::Close,
            Arrived::Refused(refusal) => {
                exchange::refuse_unread(core, connection.listener, &mut connection.stream, &refusal).await;
                linger(core, &mut connection.stream, buf).await;
                return Ended::Close;
            }
        };
        match answer(core, connection, &request, &buf).await {
            Ending::Next(Next::KeepAlive) => {}
            Ending::Next(Next::Close) => return Ended::Close,
            Ending::Next(Next::Linger) => {
                linger(core, &mut connection.stream, buf).await;
                return Ended::Close;
            }
            Ending::Stand(standing) => {
                buf.consume_front(request.consumed);
                if !buf.is_empty() {
                    connection.unread = buf;
                }
                return Ended::Stand(standing);
            }
        }
        buf.consume_front(request.consumed);
        if !buf.is_empty() {
            continue;
        }
        // What grew for one large request stays for a next one like it, until the connection is parked, while
        // there is memory to spare.
        let another = request.consumed > BUFFER_BYTES && held_bytes() < core.caps().bytes / 4;
        let kept_bytes_max = if another { LARGE_BYTES } else { BUFFER_BYTES };
        if buf.capacity() > kept_bytes_max {
            buf = Buf::new();
        }
    }
}

async fn answer(core: &Rc<Core>, connection: &mut Connection, request: &Request, buf: &Buf) -> Ending {
    let head: &RequestHead = &request.head;
    let incoming = Incoming {
        head,
        bytes: buf.get(..head.head_bytes as usize).unwrap_or_default(),
        body: request.body(buf),
        listener: connection.listener,
        peer: connection.peer,
        certificate: outside::taken(core, connection.listener, connection.certificate.as_ref()),
        client: Some(connection.stream.fd()),
        left: None,
        wire: None,
        arrived_ns: core.clock.now_ns(),
    };
    exchange::run(core, &incoming, Sink::Stream(&mut connection.stream)).await
}

/// Lets a client that is still sending read the refusal: no more from us, then read and drop for a
/// bounded while. Closing at once would reset the connection and destroy what we said.
async fn linger(core: &Rc<Core>, stream: &mut Stream, mut buf: Buf) {
    let _ = stream.shutdown_write();
    let _lingering = Lingering::new(core);
    let watch = core.watches.shutdown_at(core.clock.coarse_ms() + LINGER_MS_MAX, stream.fd());
    let mut dropped = 0;
    while dropped < LINGER_BYTES_MAX && !watch.fired() {
        buf.clear();
        let (received, returned) = stream.recv(buf).await;
        buf = returned;
        match received {
            Ok(0) | Err(_) => return,
            Ok(count) => dropped += count,
        }
    }
}

struct Counted {
    core: Rc<Core>,
    fd: RawFd,
}

impl Counted {
    fn new(core: &Rc<Core>, connection: &Connection) -> Counted {
        core.connections.set(core.connections.get() + 1);
        let fd = connection.stream.fd();
        core.seats.borrow_mut().insert(fd, connection.seat.clone());
        Counted { core: core.clone(), fd }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.core.connections.set(self.core.connections.get() - 1);
        self.core.seats.borrow_mut().remove(&self.fd);
    }
}

struct TurningAway {
    core: Rc<Core>,
}

impl TurningAway {
    fn new(core: &Rc<Core>) -> TurningAway {
        core.turning_away.set(core.turning_away.get() + 1);
        TurningAway { core: core.clone() }
    }
}

impl Drop for TurningAway {
    fn drop(&mut self) {
        self.core.turning_away.set(self.core.turning_away.get() - 1);
    }
}

struct Lingering {
    core: Rc<Core>,
}

impl Lingering {
    fn new(core: &Rc<Core>) -> Lingering {
        core.lingering.set(core.lingering.get() + 1);
        Lingering { core: core.clone() }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.core.lingering.set(self.core.lingering.get() - 1);
    }
}
