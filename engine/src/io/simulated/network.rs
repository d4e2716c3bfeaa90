//! Byte streams in memory between simulated sockets.
//!
//! What is sent is cut into pieces that arrive in order, each when the weather lets it. As in life: a window bounds
//! what is on its way, a close with unread bytes is a reset, bytes for a socket that is gone are answered with one, what
//! arrived before a reset can still be read, and input that was shut down goes on giving what the peer goes on sending.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::task::{Context, Poll, Waker};

use super::executor::Timer;
use super::world::{World, current, say};

const CONNECTION_REFUSED: i32 = 111;
const CONNECTION_RESET: i32 = 104;
const BROKEN_PIPE: i32 = 32;
const ADDRESS_IN_USE: i32 = 98;

/// How connections are made from now on: each draws its own figures.
#[derive(Clone, Debug)]
pub struct Climate {
    /// One way.
    pub latency_ns: Range<u64>,
    /// Added to a piece, now and then.
    pub jitter_ns: Range<u64>,
    /// Bytes on their way or unread, per direction.
    pub window_bytes: Range<u64>,
    /// The percentage of connections whose bytes arrive in crumbs.
    pub crumbs_percent: u64,
}

impl Default for Climate {
    fn default() -> Climate {
        Climate {
            latency_ns: 10_000..2_000_000,
            jitter_ns: 0..1,
            window_bytes: 4 * 1024..256 * 1024,
            crumbs_percent: 0,
        }
    }
}

/// How an address answers who connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    #[default]
    Open,
    Refuses,
    /// Nobody ever answers.
    Silent,
}

/// What happens to a connection from outside.
#[derive(Clone, Copy, Debug)]
pub enum Blow {
    /// Both ends see a reset.
    Reset,
    /// Nothing arrives for so long, in either direction.
    Freeze { ns: u64 },
}

#[derive(Default)]
pub(in crate::io) struct Network {
    sockets: BTreeMap<u32, Socket>,
    listeners: BTreeMap<u32, Listening>,
    doors: BTreeMap<SocketAddr, Door>,
    climate: Climate,
    next: u32,
}

struct Listening {
    address: SocketAddr,
    queue: VecDeque<u32>,
    waiter: Option<Waker>,
}

struct Socket {
    peer: u32,
    own: SocketAddr,
    remote: SocketAddr,
    link: Link,
    /// On its way to this socket, in order.
    coming: VecDeque<(u64, Item)>,
    coming_bytes: usize,
    /// Arrived and unread.
    here: VecDeque<u8>,
    /// The peer sends no more.
    ended: bool,
    reset: bool,
    /// This side reads no more than what comes anyway.
    input_over: bool,
    output_over: bool,
    /// Its owner dropped it.
    gone: bool,
    abandoned: bool,
    frozen_until_ns: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Link {
    latency_ns: u64,
    crumbs: bool,
    window_bytes: usize,
}

enum Item {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// From now on.
pub fn set_climate(climate: Climate) {
    current().network.borrow_mut().climate = climate;
}

/// From now on; connections that exist are left alone.
pub fn set_door(address: SocketAddr, door: Door) {
    say(|| format!("{address} is {door:?} now"));
    current().network.borrow_mut().doors.insert(address, door);
}

/// Connections to `address` that both ends still hold, by the number of the end that connected.
pub fn connections_to(address: SocketAddr) -> Vec<u32> {
    let world = current();
    let network = world.network.borrow();
    let lives = |socket: &Socket| !socket.gone && !socket.reset;
    let to = network.sockets.iter().filter(|(_, socket)| socket.remote == address && lives(socket));
    to.filter(|(_, socket)| network.sockets.get(&socket.peer).is_some_and(lives)).map(|(id, _)| *id).collect()
}

/// Sockets that somebody holds, or that wait to be accepted.
pub fn open_sockets() -> usize {
    current().network.borrow().sockets.values().filter(|socket| !socket.gone).count()
}

pub fn strike(socket: u32, blow: Blow) {
    let world = current();
    say(|| format!("connection {socket}: {blow:?}"));
    let Some(peer) = world.network.borrow().sockets.get(&socket).map(|socket| socket.peer) else { return };
    for end in [socket, peer] {
        match blow {
            Blow::Reset => {
                if let Some(socket) = world.network.borrow_mut().sockets.get_mut(&end) {
                    socket.drop_coming();
                }
                world.send_item(end, Item::Reset, 0);
            }
            Blow::Freeze { ns } => {
                let until_ns = super::now_ns() + ns;
                if let Some(socket) = world.network.borrow_mut().sockets.get_mut(&end) {
                    socket.frozen_until_ns = until_ns;
                }
            }
        }
    }
}

impl Socket {
    fn drop_coming(&mut self) {
        self.coming.clear();
        self.coming_bytes = 0;
    }

    fn used_bytes(&self) -> usize {
        self.coming_bytes + self.here.len()
    }

    fn wake_both(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
    }
}

impl World {
    fn socket<T>(&self, id: u32, look: impl FnOnce(&mut Socket) -> T) -> Option<T> {
        self.network.borrow_mut().sockets.get_mut(&id).map(look)
    }

    /// Sends one thing to `socket`, behind all that is on its way, so many times its latency from now.
    fn send_item(&self, socket: u32, item: Item, latencies: u64) {
        let jitter_ns = {
            let jitter = self.network.borrow().climate.jitter_ns.clone();
            let mut weather = self.weather.borrow_mut();
            if weather.percent(10) { weather.within(jitter) } else { 0 }
        };
        let now_ns = super::now_ns();
        let at_ns = self.socket(socket, |socket| {
            let soonest_ns = now_ns + socket.link.latency_ns * latencies + jitter_ns;
            let behind_ns = socket.coming.back().map_or(0, |(at_ns, _)| *at_ns);
            let at_ns = soonest_ns.max(behind_ns).max(socket.frozen_until_ns);
            if let Item::Bytes(bytes) = &item {
                socket.coming_bytes += bytes.len();
            }
            socket.coming.push_back((at_ns, item));
            at_ns
        });
        if let Some(at_ns) = at_ns {
            self.executor.at(at_ns, Timer::Socket(socket));
        }
    }

    /// Forgets a pair that nobody holds.
    fn bury(&self, id: u32) {
        let mut network = self.network.borrow_mut();
        let Some(peer) = network.sockets.get(&id).map(|socket| socket.peer) else { return };
        let is_gone = |id| network.sockets.get(&id).is_none_or(|socket: &Socket| socket.gone);
        if is_gone(id) && is_gone(peer) {
            network.sockets.remove(&id);
            network.sockets.remove(&peer);
        }
    }
}

/// What was sent to a socket and is due now.
pub(super) fn arrive(world: &World, id: u32) {
    let now_ns = super::now_ns();
    let mut wakers = Vec::new();
    let mut refused = None;
    let frozen = world.socket(id, |socket| {
        if socket.frozen_until_ns > now_ns && !socket.coming.is_empty() {
            return Some(socket.frozen_until_ns);
        }
        while socket.coming.front().is_some_and(|(at_ns, _)| *at_ns <= now_ns) {
            let Some((_, item)) = socket.coming.pop_front() else { break };
            match item {
                Item::Bytes(bytes) => {
                    world.note(u64::from(id) << 32 | bytes.len() as u64);
                    socket.coming_bytes -= bytes.len();
                    if socket.gone {
                        refused = Some(socket.peer);
                    } else if !socket.reset {
                        socket.here.extend(bytes);
                    }
                }
                Item::End => socket.ended = true,
                Item::Reset => {
                    socket.reset = true;
                    socket.wake_both(&mut wakers);
                }
            }
        }
        wakers.extend(socket.reader.take());
        None
    });
    if let Some(Some(until_ns)) = frozen {
        world.executor.at(until_ns, Timer::Socket(id));
    }
    // Whoever sends to a socket that is closed hears of it.
    if let Some(peer) = refused {
        world.send_item(peer, Item::Reset, 1);
    }
    wakers.into_iter().for_each(Waker::wake);
}

pub(in crate::io) fn is_open(id: u32) -> bool {
    current().socket(id, |socket| !socket.gone).unwrap_or(false)
}

/// Two ends of a connection: the one that connected, the one that was connected to.
pub(in crate::io) fn pair(own: SocketAddr, remote: SocketAddr) -> (u32, u32) {
    let world = current();
    let mut network = world.network.borrow_mut();
    let climate = network.climate.clone();
    let (a, b) = (network.next + 1, network.next + 2);
    network.next += 2;
    for (id, peer, own, remote) in [(a, b, own, remote), (b, a, remote, own)] {
        let mut weather = world.weather.borrow_mut();
        let link = Link {
            latency_ns: weather.magnitude(climate.latency_ns.clone()),
            crumbs: weather.percent(climate.crumbs_percent),
            window_bytes: weather.magnitude(climate.window_bytes.clone()) as usize,
        };
        network.sockets.insert(
            id,
            Socket {
                peer,
                own,
                remote,
                link,
                coming: VecDeque::new(),
                coming_bytes: 0,
                here: VecDeque::new(),
                ended: false,
                reset: false,
                input_over: false,
                output_over: false,
                gone: false,
                abandoned: false,
                frozen_until_ns: 0,
                reader: None,
                writer: None,
            },
        );
    }
    (a, b)
}

/// How long a connect to `address` takes, and what comes of it; `None`: nothing ever.
pub(in crate::io) fn connect(address: SocketAddr) -> Option<io::Result<u32>> {
    let world = current();
    let door = world.network.borrow().doors.get(&address).copied().unwrap_or_default();
    let refused = Some(Err(io::Error::from_raw_os_error(CONNECTION_REFUSED)));
    match door {
        Door::Silent => return None,
        Door::Refuses => return refused,
        Door::Open => {}
    }
    let listeners: Vec<u32> = {
        let network = world.network.borrow();
        network.listeners.iter().filter(|(_, l)| l.address == address).map(|(id, _)| *id).collect()
    };
    if listeners.is_empty() {
        return refused;
    }
    // The kernel spreads connections over the listeners of an address.
    let listener = listeners[world.weather.borrow_mut().index(listeners.len())];
    let port = 32_768 + (world.network.borrow().next % 28_000) as u16;
    let own = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), port);
    let (ours, theirs) = pair(own, address);
    let mut network = world.network.borrow_mut();
    let waiter = network.listeners.get_mut(&listener).and_then(|listening| {
        listening.queue.push_back(theirs);
        listening.waiter.take()
    });
    drop(network);
    waiter.into_iter().for_each(Waker::wake);
    Some(Ok(ours))
}

/// How long the handshake takes.
pub(in crate::io) fn handshake_ns() -> u64 {
    let world = current();
    let latency_ns = world.network.borrow().climate.latency_ns.clone();
    world.weather.borrow_mut().magnitude(latency_ns)
}

pub(in crate::io) fn listen(mut address: SocketAddr) -> (u32, SocketAddr) {
    let world = current();
    let mut network = world.network.borrow_mut();
    network.next += 1;
    let id = network.next;
    if address.port() == 0 {
        address.set_port(1_024 + id as u16);
    }
    network.listeners.insert(id, Listening { address, queue: VecDeque::new(), waiter: None });
    (id, address)
}

pub(in crate::io) fn claim(address: SocketAddr) -> io::Result<()> {
    let world = current();
    let taken = world.network.borrow().listeners.values().any(|listening| listening.address == address);
    if taken { Err(io::Error::from_raw_os_error(ADDRESS_IN_USE)) } else { Ok(()) }
}

pub(in crate::io) fn poll_accept(listener: u32, context: &mut Context<'_>) -> Poll<(u32, SocketAddr)> {
    let world = current();
    let mut network = world.network.borrow_mut();
    let Some(listening) = network.listeners.get_mut(&listener) else { return Poll::Pending };
    let Some(id) = listening.queue.pop_front() else {
        listening.waiter = Some(context.waker().clone());
        return Poll::Pending;
    };
    let peer = network.sockets.get(&id).map_or(listening_address(&network, listener), |socket| socket.remote);
    Poll::Ready((id, peer))
}

fn listening_address(network: &Network, listener: u32) -> SocketAddr {
    network
        .listeners
        .get(&listener)
        .map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |listening| listening.address)
}

/// No more connections; those that nobody accepted are reset.
pub(in crate::io) fn close_listener(listener: u32) {
    let world = current();
    let closed = world.network.borrow_mut().listeners.remove(&listener);
    for id in closed.into_iter().flat_map(|listening| listening.queue) {
        world.socket(id, |socket| socket.abandoned = true);
        close(id);
    }
}

pub(in crate::io) fn addresses(id: u32) -> Option<(SocketAddr, SocketAddr)> {
    current().socket(id, |socket| (socket.own, socket.remote))
}

/// Moves what is here into `into`, up to `room`; 0 is the end.
pub(in crate::io) fn poll_recv(
    id: u32,
    into: &mut Vec<u8>,
    room: usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let world = current();
    let received = world.socket(id, |socket| {
        if socket.here.is_empty() {
            return if socket.reset {
                Poll::Ready(Err(io::Error::from_raw_os_error(CONNECTION_RESET)))
            } else if socket.ended || socket.input_over {
                Poll::Ready(Ok((0, None)))
            } else {
                socket.reader = Some(context.waker().clone());
                Poll::Pending
            };
        }
        let count = socket.here.len().min(room);
        into.extend(socket.here.drain(..count));
        Poll::Ready(Ok((count, Some(socket.peer))))
    });
    let received = received.unwrap_or(Poll::Ready(Ok((0, None))));
    received.map_ok(|(count, peer)| {
        // There is room again for whoever sends.
        let writer = peer.and_then(|peer| world.socket(peer, |peer| peer.writer.take())).flatten();
        writer.into_iter().for_each(Waker::wake);
        count
    })
}

/// Whether [`poll_recv`] would answer at once.
pub(in crate::io) fn poll_readable(id: u32, context: &mut Context<'_>) -> Poll<()> {
    let ready = current().socket(id, |socket| {
        let ready = !socket.here.is_empty() || socket.reset || socket.ended || socket.input_over;
        if !ready {
            socket.reader = Some(context.waker().clone());
        }
        ready
    });
    if ready.unwrap_or(true) { Poll::Ready(()) } else { Poll::Pending }
}

/// Sends some of `bytes`.
pub(in crate::io) fn poll_send(id: u32, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let world = current();
    let fault = |number| Poll::Ready(Err(io::Error::from_raw_os_error(number)));
    let state = world.socket(id, |socket| (socket.reset, socket.output_over, socket.peer));
    let Some((reset, output_over, peer)) = state else { return fault(BROKEN_PIPE) };
    if reset || output_over {
        return fault(if reset { CONNECTION_RESET } else { BROKEN_PIPE });
    }
    // A peer that is gone takes what comes, and answers with a reset.
    let room = world.socket(peer, |peer| {
        let used = if peer.gone { peer.coming_bytes } else { peer.used_bytes() };
        (peer.link.window_bytes.saturating_sub(used), peer.link.crumbs)
    });
    let (room, crumbs) = room.unwrap_or((bytes.len(), false));
    if room == 0 {
        world.socket(id, |socket| socket.writer = Some(context.waker().clone()));
        return Poll::Pending;
    }
    let mut rest = &bytes[..room.min(bytes.len())];
    let sent = rest.len();
    let mut crumbs_left = if crumbs { CRUMBS_MAX } else { 0 };
    while !rest.is_empty() {
        let piece = if crumbs_left > 0 {
            crumbs_left -= 1;
            world.weather.borrow_mut().magnitude(1..64) as usize
        } else {
            world.weather.borrow_mut().magnitude(512..64 * 1024) as usize
        };
        let (now, later) = rest.split_at(piece.min(rest.len()));
        world.send_item(peer, Item::Bytes(now.to_vec()), 1);
        rest = later;
    }
    Poll::Ready(Ok(sent))
}

/// Crumbs of one send; the rest of it goes in larger pieces, or a run would be nothing but crumbs.
const CRUMBS_MAX: usize = 24;

/// Input is over for this side, whatever still comes.
pub(in crate::io) fn end_input(id: u32) {
    let reader = current().socket(id, |socket| {
        socket.input_over = true;
        socket.reader.take()
    });
    reader.flatten().into_iter().for_each(Waker::wake);
}

/// The peer will see the end.
pub(in crate::io) fn end_output(id: u32) {
    let world = current();
    let told = world.socket(id, |socket| {
        (!std::mem::replace(&mut socket.output_over, true)).then(|| (socket.peer, socket.writer.take()))
    });
    if let Some(Some((peer, writer))) = told {
        world.send_item(peer, Item::End, 1);
        writer.into_iter().for_each(Waker::wake);
    }
}

pub(in crate::io) fn peer_closed(id: u32) -> bool {
    let closed = |socket: &mut Socket| {
        socket.gone || (socket.here.is_empty() && (socket.ended || socket.reset || socket.input_over))
    };
    current().socket(id, closed).unwrap_or(true)
}

/// Closing it will reset it.
pub(in crate::io) fn abandon(id: u32) {
    current().socket(id, |socket| socket.abandoned = true);
}

/// Its owner has dropped it.
pub(in crate::io) fn close(id: u32) {
    let world = current();
    let farewell = world.socket(id, |socket| {
        socket.gone = true;
        let unread = !socket.here.is_empty();
        socket.here.clear();
        let silent = socket.reset || (socket.output_over && !unread && !socket.abandoned);
        let item = if socket.abandoned || unread { Item::Reset } else { Item::End };
        (!silent).then_some((socket.peer, item, socket.abandoned))
    });
    if let Some(Some((peer, item, abandoned))) = farewell {
        // A reset may overtake what is still on its way.
        if abandoned && world.weather.borrow_mut().percent(50) {
            world.socket(peer, Socket::drop_coming);
        }
        world.send_item(peer, item, 1);
    }
    world.bury(id);
}
