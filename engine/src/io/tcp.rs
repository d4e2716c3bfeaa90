//! TCP sockets of one worker.
//!
//! Buffers travel by value ([`Buf`] in, `Buf` out). Nothing here has a timeout of its own except `connect`: a
//! socket gets its deadline from [`super::watch::Watches`], which shuts it down, and an idle connection ends
//! through an [`Idle`], because a timeout around `recv` or `accept` would lose what has just arrived.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use monoio::io::Canceller;
use monoio::net::{TcpListener, TcpStream};
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, sockopt};

use super::buffer::Buf;
use super::fd::{self, Life};
use super::operation::{is_canceled, receive, receive_cancelable, send_from};
use super::tls::session::Session;
use super::{runtime, signal::Signal};

/// Connections the kernel queues for a listener before it drops new ones (capped by `net.core.somaxconn`).
pub const BACKLOG: i32 = 4096;

/// A socket that was bound and listens, before a worker has taken it up: made by [`listen`] on any thread.
pub type Bound = std::net::TcpListener;

/// A listening socket; each worker has its own on the same address (`SO_REUSEPORT`).
pub struct Listener(TcpListener);

impl Listener {
    /// Binds and listens. Needs a running worker; [`listen`] does the same for any thread.
    pub fn bind(addr: SocketAddr) -> io::Result<Listener> {
        Listener::take_up(listen(addr)?)
    }

    /// Adopts a listening socket, inherited or made by [`listen`], and puts it into the mode this driver wants.
    pub fn take_up(listener: Bound) -> io::Result<Listener> {
        // io_uring answers EAGAIN at once for a non-blocking listener; epoll needs one.
        listener.set_nonblocking(runtime::is_epoll())?;
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Listener(TcpListener::from_std(listener)?))
    }

    /// The bound address, with the real port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection; `None` once `stop` has been called. Keep one task per listener in here and end it with
    /// `stop`, never with a timeout. On an error such as EMFILE back off (a timer), then call again.
    pub async fn accept(&self, stop: &Stop) -> Option<io::Result<(Stream, SocketAddr)>> {
        loop {
            if stop.stopped() {
                return None;
            }
            let handle = stop.0.canceller.borrow().handle();
            match self.0.cancelable_accept(handle).await {
                Ok((stream, peer)) => return Some(Stream::adopt(stream).map(|stream| (stream, peer))),
                Err(error) if is_canceled(&error) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Binds and listens on any thread: `SO_REUSEPORT`, `SO_REUSEADDR`, close-on-exec, [`BACKLOG`].
pub fn listen(addr: SocketAddr) -> io::Result<Bound> {
    let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The same socket once more, with the same queue: whoever accepts first has the connection.
pub fn share(socket: &Bound) -> io::Result<Bound> {
    socket.try_clone()
}

/// Fails when somebody listens there already: with `SO_REUSEPORT` a second gateway of the same user would silently
/// share the port.
pub fn claim(addr: SocketAddr) -> io::Result<()> {
    Bound::bind(addr).map(drop)
}

/// A connected socket. Dropping it closes it.
pub struct Stream {
    // Above `tcp`, so that the number is forgotten before it can be reused.
    pub(super) life: Life,
    pub(super) tcp: TcpStream,
    /// What is read and written passes through it, once there was a handshake.
    pub(super) tls: Option<Box<Session>>,
}

/// How a wait that may end idly ended.
#[derive(Debug)]
pub enum Received {
    /// That many bytes were appended.
    Bytes(usize),
    /// The peer has closed its sending side.
    End,
    /// [`Idle::cancel`] was called and nothing had arrived.
    Idle,
    /// The socket failed.
    Failed(io::Error),
}

impl Stream {
    /// Connects within `limit`; past it the error is `TimedOut`.
    pub async fn connect(addr: SocketAddr, limit: Duration) -> io::Result<Stream> {
        // A connect may be dropped at any time: the operation owns its socket and brings no bytes.
        match runtime::timeout(limit, TcpStream::connect_addr(addr)).await {
            Ok(stream) => Stream::adopt(stream?),
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Appends what arrives behind `buf.len()`, at most up to its capacity; 0 is the end of the stream. A buffer
    /// without room is an error (`InvalidInput`), never mistaken for the end.
    pub async fn recv(&mut self, buf: Buf) -> (io::Result<usize>, Buf) {
        if self.tls.is_some() {
            return self.recv_tls(buf, None).await;
        }
        receive(&mut self.tcp, buf).await
    }

    /// [`Stream::recv`] that [`Idle::cancel`] ends without losing a byte: what has arrived by then wins.
    pub async fn recv_idle(&mut self, buf: Buf, idle: &Idle) -> (Received, Buf) {
        let (result, buf) = match self.tls {
            Some(_) => self.recv_tls(buf, Some(idle)).await,
            None => self.receive_raw(buf, Some(idle)).await,
        };
        idle.raised.set(false);
        let received = match result {
            Ok(0) => Received::End,
            Ok(bytes) => Received::Bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Idle,
            Err(error) => Received::Failed(error),
        };
        (received, buf)
    }

    /// Receives from the socket itself; `WouldBlock` when `idle` has ended that.
    pub(super) async fn receive_raw(&mut self, buf: Buf, idle: Option<&Idle>) -> (io::Result<usize>, Buf) {
        let Some(idle) = idle else { return receive(&mut self.tcp, buf).await };
        if idle.raised.get() {
            return self.recv_now(buf);
        }
        let handle = idle.canceller.borrow().handle();
        match receive_cancelable(&mut self.tcp, buf, handle).await {
            (Err(error), buf) if is_canceled(&error) => self.recv_now(buf),
            done => done,
        }
    }

    /// What has already arrived, or `WouldBlock`.
    fn recv_now(&mut self, mut buf: Buf) -> (io::Result<usize>, Buf) {
        if buf.room() == 0 {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        let spare = rustix::buffer::spare_capacity(buf.vec());
        let result = rustix::net::recv(borrow(&self.tcp), spare, RecvFlags::DONTWAIT);
        (result.map(|(bytes, _)| bytes).map_err(io::Error::from), buf)
    }

    /// Sends all bytes of `buf` and gives it back unchanged.
    pub async fn send_all(&mut self, buf: Buf) -> (io::Result<()>, Buf) {
        self.send_from(buf, 0).await
    }

    /// Sends the bytes of `buf` from `at` on and gives it back unchanged.
    pub async fn send_from(&mut self, buf: Buf, at: usize) -> (io::Result<()>, Buf) {
        if self.tls.is_some() {
            return self.send_tls(buf, at).await;
        }
        send_from(&mut self.tcp, buf, at).await
    }

    /// Waits until there is something to receive (bytes, end or error) without holding a buffer.
    pub async fn readable(&mut self) -> io::Result<()> {
        loop {
            if self.tls.is_some() && self.look_tls() {
                return Ok(());
            }
            self.tcp.readable(false).await?;
            if self.tls.is_none() {
                return Ok(());
            }
        }
    }

    /// [`Stream::readable`] that [`Idle::cancel`] ends: `Ok(false)` then, `Ok(true)` when readable.
    pub async fn readable_idle(&mut self, idle: &Idle) -> io::Result<bool> {
        // Dropping a poll operation takes nothing from the socket, so here a race is harmless.
        let mut readable = pin!(self.readable());
        let result = poll_fn(|context| {
            if let Poll::Ready(result) = readable.as_mut().poll(context) {
                return Poll::Ready(result.map(|()| true));
            }
            idle.poll_raised(context).map(|()| Ok(false))
        })
        .await;
        idle.raised.set(false);
        result
    }

    /// No more bytes to the peer; it sees the end of the stream.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.end_tls();
        Ok(rustix::net::shutdown(borrow(&self.tcp), Shutdown::Write)?)
    }

    /// Ends both directions; whoever waits on this socket is woken.
    pub fn shutdown_both(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(borrow(&self.tcp), Shutdown::Both)?)
    }

    /// Closing it will reset it. A peer that is still sending to a socket that was shut down would otherwise wait for
    /// the kernel to forget it, about a minute.
    pub fn abandon(&self) {
        let _ = sockopt::set_socket_linger(borrow(&self.tcp), Some(Duration::ZERO));
    }

    /// The number, for [`super::watch::Watches`].
    pub fn fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    /// Whether end-of-file or a reset has been seen, without waiting and without taking bytes. One system call:
    /// for connections that are idle or calls that run long, not per exchange.
    pub fn peer_closed(&mut self) -> bool {
        if self.tls.is_some() {
            return self.peer_closed_tls();
        }
        fd::peer_closed(borrow(&self.tcp))
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// Our own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    fn adopt(tcp: TcpStream) -> io::Result<Stream> {
        // monoio's io_uring accept gives no flags: without this every client socket leaks into stdio children.
        rustix::io::fcntl_setfd(borrow(&tcp), rustix::io::FdFlags::CLOEXEC)?;
        // A peer that has already reset makes this fail; the first read will tell.
        let _ = tcp.set_nodelay(true);
        Ok(Stream { life: Life::begin(tcp.as_raw_fd()), tcp, tls: None })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A peer that sees its connection end without a word takes it for an attack.
        self.end_tls();
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = &self.life;
        write!(out, "Stream({})", self.fd())
    }
}

/// Ends waits of one connection from elsewhere on this thread: keep-alive deadline, drain. Make one per connection
/// and reuse it: neither waiting nor receiving allocates, only `cancel` does.
#[derive(Default)]
pub struct Idle {
    canceller: RefCell<Canceller>,
    raised: Cell<bool>,
    signal: Signal,
}

impl Idle {
    /// A fresh one.
    pub fn new() -> Idle {
        Idle::default()
    }

    /// Ends the wait in progress, or the next one if none is. A wait that ends, however it ends, uses this up: a
    /// caller that drains looks at its own flag after every exchange.
    pub fn cancel(&self) {
        self.raised.set(true);
        self.signal.set();
        let mut canceller = self.canceller.borrow_mut();
        *canceller = std::mem::take(&mut *canceller).cancel();
    }

    fn poll_raised(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.raised.get() {
                self.signal.clear();
                return Poll::Ready(());
            }
            // A signal without `raised` was left over by a cancelled receive: take it and wait properly.
            if self.signal.poll_wait(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Ends the accepting of one worker. Clones are the same stop.
#[derive(Clone, Default)]
pub struct Stop(Rc<StopState>);

#[derive(Default)]
struct StopState {
    stopped: Cell<bool>,
    canceller: RefCell<Canceller>,
    waiters: RefCell<Vec<Waker>>,
}

impl Stop {
    /// One that has not stopped.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Stops for good: every `accept` answers `None` (a connection that has just arrived is still delivered), every
    /// waiter is woken.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        {
            let mut canceller = self.0.canceller.borrow_mut();
            *canceller = std::mem::take(&mut *canceller).cancel();
        }
        for waiter in self.0.waiters.take() {
            waiter.wake();
        }
    }

    /// Every `accept` looks at its queue anew. The kernel wakes one of those who wait for a connection; when that one has just given
    /// up waiting, in another process that shares the socket, nobody else is told.
    pub fn look_again(&self) {
        let mut canceller = self.0.canceller.borrow_mut();
        *canceller = std::mem::take(&mut *canceller).cancel();
    }

    /// Whether it has.
    pub fn stopped(&self) -> bool {
        self.0.stopped.get()
    }

    /// Waits until it has. For a few long-lived tasks, not one per connection: waiters are kept until the stop.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.stopped() {
                return Poll::Ready(());
            }
            let mut waiters = self.0.waiters.borrow_mut();
            if !waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
                waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

pub(super) fn borrow(tcp: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and cannot close it while it is borrowed.
    unsafe { BorrowedFd::borrow_raw(tcp.as_raw_fd()) }
}
