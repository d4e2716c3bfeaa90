//! The kernel's own time stamps of a TCP connection: when the last byte of what was written left, and when the last
//! byte of what was read came.
//!
//! A send is stamped where its packet is handed to the device and told in the socket's error queue; a reception is
//! stamped where the device hands it over and told beside its bytes, in a control message of `recvmsg`. Over loopback a send has its
//! stamp before `write` returns. Both are of the kernel's wall clock, so only a difference of two means anything.
//!
//! The decision: a stamp is matched, never guessed. The kernel names a send by the number of its last byte, counted
//! from when stamps were asked for; which bytes were a request's last is the caller's to know. Nothing here waits for a
//! stamp: one that is not there when it is looked for is missing. So are receptions for some milliseconds behind the
//! first socket of a host that asks: the kernel begins to stamp in its own time.

use std::io;
use std::mem::{size_of_val, zeroed};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// A moment by the kernel's clock, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// Nothing where the other is later: somebody set the clock.
    pub fn ns_since(self, other: Stamp) -> Option<u64> {
        self.0.checked_sub(other.0)
    }
}

/// A send that the kernel stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The number of its last byte on the connection, from 0 where stamps were asked for; it wraps.
    pub last_byte: u32,
    pub at: Stamp,
}

/// Software stamps of both ways, sends named by their bytes and told without them.
const WANTED: libc::c_uint = libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_RX_SOFTWARE
    | libc::SOF_TIMESTAMPING_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_ID
    | libc::SOF_TIMESTAMPING_OPT_TSONLY;
/// Three moments of 16 bytes and an extended error with an address, each behind a header: 128 bytes with room to spare.
const CONTROL_BYTES: usize = 256;
/// A control message begins with its length, its level and its kind.
const WORD: usize = size_of::<usize>();
const HEADER_BYTES: usize = WORD + 8;
/// `ee_info` of a send that was stamped on its way to the device.
const STAMPED_ON_SENDING: u32 = 0;

/// Asks for stamps from now on. Bytes are counted from here, so nothing may be under way.
pub fn ask(stream: &TcpStream) -> io::Result<()> {
    // Elsewhere the kernel's moments have another shape.
    if cfg!(not(target_pointer_width = "64")) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let (fd, wanted) = (stream.as_raw_fd(), WANTED);
    let bytes = size_of_val(&wanted) as libc::socklen_t;
    // SAFETY: the kernel reads `bytes` bytes, which is the size of the integer that is pointed to, before it answers;
    // the stream owns the descriptor and is borrowed for as long.
    let answer = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, (&raw const wanted).cast(), bytes)
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// As `read`; with it when the last of these bytes came, where the kernel tells.
pub fn receive(stream: &TcpStream, input: &mut [u8]) -> io::Result<(usize, Option<Stamp>)> {
    let mut control = [0; CONTROL_BYTES];
    let (received, told) = message(stream, input, &mut control, 0)?;
    Ok((received, messages(told).find_map(|told| told.stamp())))
}

/// The next send in the error queue; nothing when it is empty. It never waits.
pub fn next_sent(stream: &TcpStream) -> io::Result<Option<Sent>> {
    loop {
        let mut control = [0; CONTROL_BYTES];
        let told = match message(stream, &mut [], &mut control, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) {
            Ok((_, told)) => told,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let at = messages(told).find_map(|told| told.stamp());
        let last_byte = messages(told).find_map(|told| told.last_byte());
        // Anything else in that queue is nobody's stamp.
        if let Some((at, last_byte)) = at.zip(last_byte) {
            return Ok(Some(Sent { last_byte, at }));
        }
    }
}

/// One `recvmsg`: how many bytes came, and the control messages; none of those when they did not fit.
fn message<'a>(
    stream: &TcpStream,
    input: &mut [u8],
    control: &'a mut [u8; CONTROL_BYTES],
    flags: libc::c_int,
) -> io::Result<(usize, &'a [u8])> {
    let mut piece = libc::iovec { iov_base: input.as_mut_ptr().cast(), iov_len: input.len() };
    // SAFETY: integers and pointers, for which zeros are values: no address, no pieces, no control.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: the kernel writes into `input` and `control`, at most as many bytes as their lengths say, and into
    // `header`; all three are borrowed or owned here until it answers, and it keeps none of them. An empty `input` has
    // a pointer that is never followed. The stream owns the descriptor.
    let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut header, flags) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let was_cut = header.msg_flags & libc::MSG_CTRUNC != 0;
    let told = if was_cut { 0 } else { header.msg_controllen as usize };
    Ok((received, control.get(..told).unwrap_or_default()))
}

/// A control message.
struct Told<'a> {
    level: i32,
    kind: i32,
    contents: &'a [u8],
}

/// One after the other; what does not fit together ends the list.
fn messages(mut told: &[u8]) -> impl Iterator<Item = Told<'_>> {
    std::iter::from_fn(move || {
        let bytes = usize::from_ne_bytes(*told.first_chunk()?);
        let level = number(told, WORD)?.cast_signed();
        let kind = number(told, WORD + 4)?.cast_signed();
        let contents = told.get(HEADER_BYTES..bytes)?;
        told = told.get(bytes.next_multiple_of(WORD)..).unwrap_or_default();
        Some(Told { level, kind, contents })
    })
}

fn number(bytes: &[u8], from: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(from..)?.first_chunk()?))
}

impl Told<'_> {
    /// The first of three moments is that of software; zeros say that there is none.
    fn stamp(&self) -> Option<Stamp> {
        if (self.level, self.kind) != (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) {
            return None;
        }
        let seconds = i64::from_ne_bytes(*self.contents.first_chunk()?);
        let nanos = i64::from_ne_bytes(*self.contents.get(8..)?.first_chunk()?);
        let seconds = u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?;
        let ns = seconds.checked_add(u64::try_from(nanos).ok()?)?;
        (ns > 0).then_some(Stamp(ns))
    }

    /// Which send an entry of the error queue speaks of, where it speaks of one that left.
    fn last_byte(&self) -> Option<u32> {
        let is_extended = [(libc::SOL_IP, libc::IP_RECVERR), (libc::SOL_IPV6, libc::IPV6_RECVERR)]
            .contains(&(self.level, self.kind));
        // errno; origin, type, code and padding of a byte each; info; data.
        let (errno, origin) = (number(self.contents, 0)?, *self.contents.get(4)?);
        let (info, data) = (number(self.contents, 8)?, number(self.contents, 12)?);
        let is_send = errno == libc::ENOMSG.cast_unsigned()
            && origin == libc::SO_EE_ORIGIN_TIMESTAMPING
            && info == STAMPED_ON_SENDING;
        (is_extended && is_send).then_some(data)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// So many bytes there and back: the stamps of all sends since the last time, that of the answer's last byte, and how long
    /// it took from outside.
    fn echo(client: &mut TcpStream, server: &mut TcpStream, size: usize) -> (Vec<Sent>, Option<Stamp>, u128) {
        let start = Instant::now();
        let (mut received, mut came, mut input) = (0, None, vec![0; 1 << 20]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut left = size;
                while left > 0 {
                    left -= server.read(&mut vec![0; left]).unwrap();
                }
                server.write_all(&vec![b'x'; size]).unwrap();
            });
            client.write_all(&vec![b'x'; size]).unwrap();
            while received < size {
                let (bytes, stamp) = receive(client, &mut input).unwrap();
                assert_ne!(bytes, 0);
                (received, came) = (received + bytes, stamp);
            }
        });
        let took = start.elapsed().as_nanos();
        let sent = std::iter::from_fn(|| next_sent(client).unwrap()).collect();
        (sent, came, took)
    }

    /// Sizes around a packet's and a buffer's: every send is named by its last byte, however it was cut up.
    #[test]
    fn sends_are_named_by_their_last_byte_and_receptions_have_stamps() {
        const FIRST_MAX: usize = 100_000;
        let (mut client, mut server) = pair();
        ask(&client).unwrap();
        // The kernel begins to stamp receptions in its own time when the first socket of the host asks for it.
        let without = (0..FIRST_MAX).position(|_| echo(&mut client, &mut server, 1).1.is_some());
        let mut sent = without.expect("receptions are never stamped") + 1;
        for size in [1usize, 300, 1_448, 16_384, 65_483, 65_484, 200_000] {
            let (stamps, came, took) = echo(&mut client, &mut server, size);
            sent += size;
            let left = stamps.iter().find(|stamp| stamp.last_byte as usize == sent - 1);
            let (left, came) = (left.expect("the last byte's stamp").at, came.expect("a stamp"));
            let ns = came.ns_since(left).expect("it came after it left");
            assert!(u128::from(ns) <= took, "{size}: {ns} ns of {took}");
        }
    }

    #[test]
    fn who_did_not_ask_gets_bytes_and_no_stamp() {
        let (client, mut server) = pair();
        server.write_all(b"x").unwrap();
        assert_eq!(receive(&client, &mut [0; 16]).unwrap(), (1, None));
        assert_eq!(next_sent(&client).unwrap(), None);
        drop(server);
        assert_eq!(receive(&client, &mut [0; 16]).unwrap(), (0, None), "the end is the end");
    }

    /// Whatever stands in there: nothing beyond it is read, and no list is endless.
    #[test]
    fn control_messages_that_do_not_fit_together_end_the_list() {
        let told = |bytes: usize, contents: &[u8]| {
            let kind = [libc::SOL_SOCKET.to_ne_bytes(), libc::SO_TIMESTAMPING.to_ne_bytes()].concat();
            [&bytes.to_ne_bytes()[..], &kind, contents].concat()
        };
        let good =
            told(HEADER_BYTES + 48, &[&7i64.to_ne_bytes()[..], &9i64.to_ne_bytes(), &[0; 32]].concat());
        let stamp = |bytes: &[u8]| messages(bytes).find_map(|told| told.stamp());
        assert_eq!(stamp(&good), Some(Stamp(7_000_000_009)));
        assert_eq!(
            stamp(&[&told(HEADER_BYTES + 4, &[0; 8])[..], &good].concat()),
            Some(Stamp(7_000_000_009))
        );
        for cut in 0..good.len() {
            assert_eq!(stamp(&good[..cut]), None, "{cut}");
        }
        for bytes in [0, 1, HEADER_BYTES - 1, good.len() + 1, usize::MAX] {
            assert_eq!(stamp(&told(bytes, &good[HEADER_BYTES..])), None, "{bytes}");
        }
        let none = told(HEADER_BYTES + 48, &[0; 48]);
        let before_1970 = told(HEADER_BYTES + 48, &[&(-1i64).to_ne_bytes()[..], &[0; 40]].concat());
        assert_eq!((stamp(&none), stamp(&before_1970)), (None, None));
    }
}
