//! Descriptors that were open before this process began.
//!
//! A service manager passes sockets by number: from 3 on, as many as it says (sd_listen_fds(3)). Rust cannot know that
//! nobody else owns a number; so they are taken here, once, and only when what is open there is a socket that listens:
//! this process has none yet.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::sockopt::socket_acceptconn;

/// The first number that is passed.
const FIRST: RawFd = 3;

/// Takes the sockets that were passed; to be called before this process listens anywhere. A second call finds none.
pub fn listening(count: usize) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    (FIRST..).take(count).map(take).collect()
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only looked at; a number that is not open is an error of the call.
    let there = unsafe { BorrowedFd::borrow_raw(number) };
    if !socket_acceptconn(there).unwrap_or(false) {
        let text = format!("descriptor {number} is not a socket that listens");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // Else every child would have it too.
    fcntl_setfd(there, FdFlags::CLOEXEC)?;
    // SAFETY: it was open before this process began, which listens nowhere yet: nothing of Rust owns it. `listening` is carried
    // out once, so that it is owned once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What the process that started this one has put on its standard input; nothing is there afterwards.
pub fn standard_input() -> io::Result<OwnedFd> {
    let input = fcntl_dupfd_cloexec(std::io::stdin(), FIRST)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(input)
}
