//! Receiving into and sending from a [`Buf`], over any monoio stream.
//!
//! monoio takes buffers by value for as long as the kernel may touch them and gives them back with the result;
//! two small wrappers tell it which part of a `Buf` to use, so nothing is copied and nothing is allocated.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelHandle, CancelableAsyncReadRent};

use super::buffer::Buf;
use super::{clock, runtime, vigil};

/// `ECANCELED`, as monoio spells a cancelled operation on either driver.
const CANCELED: i32 = 125;

pub(super) fn is_canceled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(CANCELED)
}

/// Appends what arrives behind `buf.len()`, at most up to its capacity. 0 is the end of the stream.
pub(super) async fn receive(stream: &mut impl AsyncReadRent, mut buf: Buf) -> (io::Result<usize>, Buf) {
    buf.settle();
    if buf.room() == 0 {
        return (Err(io::ErrorKind::InvalidInput.into()), buf);
    }
    let mut tail = Tail(buf);
    fair_turn().await;
    loop {
        let (result, back) = stream.read(tail).await;
        match result {
            // The epoll driver can leave a stale cancellation behind when a cancelled wait was dropped.
            Err(error) if is_canceled(&error) || error.kind() == io::ErrorKind::Interrupted => tail = back,
            result => {
                vigil::touched();
                return (result, back.0);
            }
        }
    }
}

/// On epoll an operation that can be done at once is done without giving the others a turn, so a fast peer would
/// keep a worker to itself: every so many operations, of whichever task, end the turn. A ring always gives turns.
const OPERATIONS_PER_TURN: u32 = 64;

thread_local! {
    static UNTIL_YIELD: Cell<u32> = const { Cell::new(OPERATIONS_PER_TURN) };
}

async fn fair_turn() {
    if runtime::is_epoll() {
        match UNTIL_YIELD.get().checked_sub(1) {
            Some(left) => UNTIL_YIELD.set(left),
            None => {
                UNTIL_YIELD.set(OPERATIONS_PER_TURN);
                runtime::yield_turn().await;
                // Timers fire only when nobody can run. Peers that always have something ready would put off every
                // deadline, their own among them: each waits until the clock has ticked.
                if clock::tick_is_late() {
                    runtime::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }
}

/// [`receive`] that `handle` may cancel; the answer is always the operation's own, so bytes that came are kept.
pub(super) async fn receive_cancelable(
    stream: &mut impl CancelableAsyncReadRent,
    mut buf: Buf,
    handle: CancelHandle,
) -> (io::Result<usize>, Buf) {
    buf.settle();
    if buf.room() == 0 {
        return (Err(io::ErrorKind::InvalidInput.into()), buf);
    }
    // A cancel during this turn is remembered by `handle`.
    fair_turn().await;
    let (result, tail) = stream.cancelable_read(Tail(buf), handle).await;
    vigil::touched();
    (result, tail.0)
}

/// Sends `buf` from byte `at` to its end.
pub(super) async fn send_from(
    stream: &mut impl AsyncWriteRent,
    buf: Buf,
    at: usize,
) -> (io::Result<()>, Buf) {
    let mut rest = Rest { buf, at };
    while rest.at < rest.buf.len() {
        fair_turn().await;
        let (result, back) = stream.write(rest).await;
        rest = back;
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), rest.buf),
            Ok(bytes) => rest.at += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (Err(error), rest.buf),
        }
    }
    (Ok(()), rest.buf)
}

/// The unused end of a buffer.
struct Tail(Buf);

// SAFETY: the pointer is into the vector's heap memory, which neither moves nor is freed while monoio owns the
// `Buf`; `bytes_total` is exactly the spare capacity behind it.
unsafe impl IoBufMut for Tail {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.vec().spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.0.room()
    }

    unsafe fn set_init(&mut self, bytes: usize) {
        let len = self.0.len() + bytes;
        debug_assert!(len <= self.0.capacity());
        // SAFETY: the kernel wrote `bytes` bytes at `write_ptr`, which is at the vector's old length.
        unsafe { self.0.vec().set_len(len) };
    }
}

/// A buffer from a byte to its end.
struct Rest {
    buf: Buf,
    at: usize,
}

// SAFETY: pointer and length are those of an initialised slice of the vector's heap memory, which neither moves
// nor is freed while monoio owns the `Buf`.
unsafe impl IoBuf for Rest {
    fn read_ptr(&self) -> *const u8 {
        self.buf[self.at..].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.buf.len() - self.at
    }
}
