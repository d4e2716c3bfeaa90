//! File descriptor numbers that cannot be mistaken.
//!
//! A deadline knows its socket by number, and the kernel gives a closed number to the next socket. So each number
//! has a birth count on the thread that owns it: odd while a socket lives, raised again when it is dropped. A
//! [`Remembered`] number acts only while its own socket lives. One `u32` per number, no allocation per socket.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use crate::fold::Fold;

thread_local! {
    static BIRTHS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// Sockets that TLS is spoken on.
    static WITH_LAST_WORDS: RefCell<HashSet<RawFd, Fold>> = RefCell::default();
}

/// Marks a number as alive on this thread for as long as it exists. Must be dropped before the socket closes:
/// declare it above the socket in the owning struct.
pub(super) struct Life(RawFd);

impl Life {
    pub(super) fn begin(fd: RawFd) -> Life {
        BIRTHS.with_borrow_mut(|births| {
            let index = fd as usize;
            if births.len() <= index {
                births.resize((index + 1).next_power_of_two(), 0);
            }
            births[index] = births[index].wrapping_add(1) | 1;
        });
        Life(fd)
    }
}

impl Life {
    /// From now on its peer is gone when it has closed its side, whatever it said before: over TLS a client says that
    /// it goes, and those last words would stand before the end for ever.
    pub(super) fn ends_with_the_socket(&self) {
        WITH_LAST_WORDS.with_borrow_mut(|sockets| sockets.insert(self.0));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = BIRTHS.try_with(|births| {
            let mut births = births.borrow_mut();
            let birth = &mut births[self.0 as usize];
            *birth = birth.wrapping_add(1) & !1;
        });
        let _ = WITH_LAST_WORDS.try_with(|sockets| sockets.borrow_mut().remove(&self.0));
    }
}

/// A number together with the birth it had; does nothing once that socket is gone.
#[derive(Clone, Copy)]
pub(super) struct Remembered {
    fd: RawFd,
    birth: u32,
}

impl Remembered {
    pub(super) fn of(fd: RawFd) -> Remembered {
        let birth = birth(fd);
        debug_assert!(birth & 1 == 1, "descriptor {fd} belongs to no living stream of this thread");
        Remembered { fd, birth }
    }

    /// Shuts both directions down: whoever waits on the socket is woken with end-of-file or an error.
    pub(super) fn shut_down(self) {
        if let Some(fd) = self.borrow() {
            let _ = shutdown(fd, Shutdown::Both);
        }
    }

    /// Ends the input alone: whoever waits for bytes is woken with end-of-file, and may still answer.
    pub(super) fn end_input(self) {
        if let Some(fd) = self.borrow() {
            let _ = shutdown(fd, Shutdown::Read);
        }
    }

    /// True when the peer closed or reset its side, or when the socket itself is gone.
    pub(super) fn peer_closed(self) -> bool {
        self.borrow().is_none_or(|fd| {
            match WITH_LAST_WORDS.with_borrow(|sockets| sockets.contains(&self.fd)) {
                true => peer_hung_up(fd),
                false => peer_closed(fd),
            }
        })
    }

    fn borrow(&self) -> Option<BorrowedFd<'_>> {
        if self.birth & 1 == 0 || birth(self.fd) != self.birth {
            return None;
        }
        // SAFETY: an odd, unchanged birth count means that the `Life` of this number is still held by the stream
        // that owns it, on this thread; nothing on this thread can drop it while the borrow is used.
        Some(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }
}

/// Looks without taking anything: end-of-file or an error counts as closed, pending bytes or silence do not.
pub(super) fn peer_closed(fd: BorrowedFd<'_>) -> bool {
    let mut byte = [0u8; 1];
    match recv(fd, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, bytes)) => bytes == 0,
        Err(errno) => errno != rustix::io::Errno::AGAIN && errno != rustix::io::Errno::INTR,
    }
}

/// The same, whatever there is to be read before it.
fn peer_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut looked_at = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    match poll(&mut looked_at, Some(&Timespec::default())) {
        Ok(_) => looked_at
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)),
        Err(errno) => errno != rustix::io::Errno::INTR,
    }
}

fn birth(fd: RawFd) -> u32 {
    BIRTHS.with_borrow(|births| births.get(fd as usize).copied().unwrap_or(0))
}
