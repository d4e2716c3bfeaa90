//! Two system calls that neither std nor rustix (as configured) offers.

use std::ffi::{c_int, c_long, c_uint};
use std::io;
use std::os::fd::RawFd;

unsafe extern "C" {
    /// The C library's gate to any system call; std already links it.
    fn syscall(number: c_long, ...) -> c_long;
}

/// The same number on every architecture Linux added it to (they were unified in 2018).
const IO_URING_ENTER: c_long = 426;
const CLOSE_RANGE: c_long = 436;

const ENTER_GETEVENTS: c_uint = 1;
const CLOSE_RANGE_CLOEXEC: c_uint = 4;

/// Runs the deferred work of ring `ring` so that finished operations show up in its completion queue. Submits
/// nothing, waits for nothing.
pub(super) fn deliver_completions(ring: RawFd) -> io::Result<()> {
    const NOTHING: c_uint = 0;
    // SAFETY: with zero to submit, zero to wait for and a null argument the kernel reads no memory of ours; it only
    // writes completions into the ring's own mapping, at any time it likes, as it always does. A number that is not
    // a ring is an error.
    let answer = unsafe {
        syscall(
            IO_URING_ENTER,
            ring as c_uint,
            NOTHING,
            NOTHING,
            ENTER_GETEVENTS,
            std::ptr::null::<u8>(),
            0usize,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks every descriptor from 3 up as close-on-exec. Only a system call, so it may run between fork and exec.
pub(super) fn close_all_on_exec() -> io::Result<()> {
    const FIRST: c_uint = 3;
    const LAST: c_uint = !0;
    // SAFETY: three integers, no memory. Setting a flag on descriptors cannot invalidate their owners.
    let answer = unsafe { syscall(CLOSE_RANGE, FIRST, LAST, CLOSE_RANGE_CLOEXEC as c_int) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
