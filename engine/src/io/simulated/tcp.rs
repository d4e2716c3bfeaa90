//! Sockets of a simulated network, in the place of `tcp.rs`: the same contract, kept by [`network`].

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::buffer::Buf;
use super::simulated::network;
use super::tls::{ClientTls, HandshakeFault, ServerTls, Shaken};
use super::{runtime, signal::Signal, vigil};

/// Connections the kernel queues for a listener before it drops new ones: here there is always room.
pub const BACKLOG: i32 = 4096;

/// A socket that was bound and listens, before a worker has taken it up.
#[derive(Debug)]
pub struct Bound {
    id: u32,
    address: SocketAddr,
    holders: Arc<()>,
}

impl Bound {
    /// The bound address, with the real port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if Arc::strong_count(&self.holders) == 1 {
            network::close_listener(self.id);
        }
    }
}

/// Binds and listens.
pub fn listen(addr: SocketAddr) -> io::Result<Bound> {
    let (id, address) = network::listen(addr);
    Ok(Bound { id, address, holders: Arc::default() })
}

/// The same socket once more.
pub fn share(socket: &Bound) -> io::Result<Bound> {
    Ok(Bound { id: socket.id, address: socket.address, holders: socket.holders.clone() })
}

/// Fails when somebody listens there already.
pub fn claim(addr: SocketAddr) -> io::Result<()> {
    network::claim(addr)
}

/// A listening socket.
pub struct Listener(Bound);

impl Listener {
    /// Binds and listens.
    pub fn bind(addr: SocketAddr) -> io::Result<Listener> {
        Listener::take_up(listen(addr)?)
    }

    /// Adopts a listening socket.
    pub fn take_up(listener: Bound) -> io::Result<Listener> {
        Ok(Listener(listener))
    }

    /// The bound address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection; `None` once `stop` has been called.
    pub async fn accept(&self, stop: &Stop) -> Option<io::Result<(Stream, SocketAddr)>> {
        poll_fn(|context| {
            if let Poll::Ready((id, peer)) = network::poll_accept(self.0.id, context) {
                return Poll::Ready(Some(Ok((Stream { id }, peer))));
            }
            stop.poll_stopped(context).map(|()| None)
        })
        .await
    }
}

/// A connected socket. Dropping it closes it.
#[derive(Debug)]
pub struct Stream {
    id: u32,
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
        let connecting = async {
            runtime::sleep(Duration::from_nanos(network::handshake_ns())).await;
            match network::connect(addr) {
                Some(outcome) => outcome.map(|id| Stream { id }),
                None => pending().await,
            }
        };
        match runtime::timeout(limit, connecting).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// No TLS is spoken here.
    pub async fn serve_tls(&mut self, _tls: &ServerTls) -> Result<Shaken, HandshakeFault> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Nor here.
    pub async fn begin_tls(&mut self, _tls: &ClientTls) -> Result<(), HandshakeFault> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Both ends of a connection that nobody listened for.
    pub fn pair() -> (Stream, Stream) {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (a, b) = network::pair(nowhere, nowhere);
        (Stream { id: a }, Stream { id: b })
    }

    /// Appends what arrives behind `buf.len()`, at most up to its capacity; 0 is the end of the stream.
    pub async fn recv(&mut self, mut buf: Buf) -> (io::Result<usize>, Buf) {
        buf.settle();
        if buf.room() == 0 {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        let room = buf.room();
        let result = poll_fn(|context| network::poll_recv(self.id, buf.vec(), room, context)).await;
        vigil::touched();
        (result, buf)
    }

    /// [`Stream::recv`] that [`Idle::cancel`] ends without losing a byte: what has arrived by then wins.
    pub async fn recv_idle(&mut self, mut buf: Buf, idle: &Idle) -> (Received, Buf) {
        buf.settle();
        let room = buf.room();
        if room == 0 {
            return (Received::Failed(io::ErrorKind::InvalidInput.into()), buf);
        }
        let result = poll_fn(|context| {
            if let Poll::Ready(received) = network::poll_recv(self.id, buf.vec(), room, context) {
                return Poll::Ready(Some(received));
            }
            idle.poll_raised(context).map(|()| None)
        })
        .await;
        idle.raised.set(false);
        let received = match result {
            Some(Ok(0)) => Received::End,
            Some(Ok(bytes)) => Received::Bytes(bytes),
            Some(Err(error)) => Received::Failed(error),
            None => Received::Idle,
        };
        (received, buf)
    }

    /// Sends all bytes of `buf` and gives it back unchanged.
    pub async fn send_all(&mut self, buf: Buf) -> (io::Result<()>, Buf) {
        self.send_from(buf, 0).await
    }

    /// Sends the bytes of `buf` from `at` on and gives it back unchanged.
    pub async fn send_from(&mut self, buf: Buf, mut at: usize) -> (io::Result<()>, Buf) {
        while at < buf.len() {
            match poll_fn(|context| network::poll_send(self.id, &buf[at..], context)).await {
                Ok(sent) => at += sent,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    /// Waits until there is something to receive (bytes, end or error) without holding a buffer.
    pub async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|context| network::poll_readable(self.id, context)).await;
        Ok(())
    }

    /// [`Stream::readable`] that [`Idle::cancel`] ends: `Ok(false)` then, `Ok(true)` when readable.
    pub async fn readable_idle(&mut self, idle: &Idle) -> io::Result<bool> {
        let mut readable = pin!(self.readable());
        let readable = poll_fn(|context| {
            if readable.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            idle.poll_raised(context).map(|()| false)
        })
        .await;
        idle.raised.set(false);
        Ok(readable)
    }

    /// No more bytes to the peer; it sees the end of the stream.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        network::end_output(self.id);
        Ok(())
    }

    /// Ends both directions; whoever waits on this socket is woken.
    pub fn shutdown_both(&self) -> io::Result<()> {
        network::end_input(self.id);
        network::end_output(self.id);
        Ok(())
    }

    /// Closing it will reset it.
    pub fn abandon(&self) {
        network::abandon(self.id);
    }

    /// The number, for [`super::watch::Watches`].
    pub fn fd(&self) -> RawFd {
        self.id as RawFd
    }

    /// Whether end-of-file or a reset has been seen, without waiting and without taking bytes.
    pub fn peer_closed(&mut self) -> bool {
        network::peer_closed(self.id)
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        network::addresses(self.id)
            .map(|(_, remote)| remote)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Our own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        network::addresses(self.id).map(|(own, _)| own).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        network::close(self.id);
    }
}

/// Ends waits of one connection from elsewhere on this thread: keep-alive deadline, drain.
#[derive(Default)]
pub struct Idle {
    raised: Cell<bool>,
    signal: Signal,
}

impl Idle {
    /// A fresh one.
    pub fn new() -> Idle {
        Idle::default()
    }

    /// Ends the wait in progress, or the next one if none is. A wait that ends, however it ends, uses this up.
    pub fn cancel(&self) {
        self.raised.set(true);
        self.signal.set();
    }

    fn poll_raised(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.raised.get() {
                self.signal.clear();
                return Poll::Ready(());
            }
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
    waiters: RefCell<Vec<Waker>>,
}

impl Stop {
    /// One that has not stopped.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Stops for good.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        for waiter in self.0.waiters.take() {
            waiter.wake();
        }
    }

    /// Nobody shares a socket here.
    pub fn look_again(&self) {}

    /// Whether it has.
    pub fn stopped(&self) -> bool {
        self.0.stopped.get()
    }

    /// Waits until it has.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll_stopped(context)).await
    }

    fn poll_stopped(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.stopped() {
            return Poll::Ready(());
        }
        let mut waiters = self.0.waiters.borrow_mut();
        if !waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
            waiters.push(context.waker().clone());
        }
        Poll::Pending
    }
}
