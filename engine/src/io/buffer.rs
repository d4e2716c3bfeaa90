//! Byte buffers from a pool per thread.
//!
//! A [`Buf`] is an ordinary vector whose memory comes from this thread's free list and returns to the free list of
//! whichever thread drops it, so that steady traffic allocates nothing. Three sizes are pooled; anything larger is
//! allocated exactly and freed. Who holds how much is counted per thread ([`held_bytes`]), for the worker's cap.

use std::cell::{Cell, RefCell};
use std::ops::Deref;

/// The usual buffer: one HTTP head, a small request or reply.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// For a connection whose messages were larger than that.
pub const LARGE_BYTES: usize = 64 * 1024;

/// Pooled sizes, ascending. A request for `n` bytes gets the first that fits.
const CLASS_BYTES: [usize; 3] = [BUFFER_BYTES, LARGE_BYTES, 256 * 1024];

/// How many buffers of each size a thread keeps when nobody uses them.
const CLASS_BUFFERS_MAX: [usize; 3] = [1024, 64, 16];

/// How many of each size [`trim`] leaves.
const CLASS_BUFFERS_KEPT: [usize; 3] = [128, 8, 1];

/// What a thread's pool keeps at most: 16 MiB + 4 MiB + 4 MiB.
pub const POOL_BYTES_MAX: usize = CLASS_BYTES[0] * CLASS_BUFFERS_MAX[0]
    + CLASS_BYTES[1] * CLASS_BUFFERS_MAX[1]
    + CLASS_BYTES[2] * CLASS_BUFFERS_MAX[2];

const _: () = assert!(CLASS_BYTES[0] < CLASS_BYTES[1] && CLASS_BYTES[1] < CLASS_BYTES[2]);
const _: () = assert!(POOL_BYTES_MAX == 24 * 1024 * 1024);

thread_local! {
    static POOL: Pool = const { Pool {
        free: [RefCell::new(Vec::new()), RefCell::new(Vec::new()), RefCell::new(Vec::new())],
        spare: [const { Cell::new(0) }; 3],
        held_bytes: Cell::new(0),
    } };
}

/// Gives half of what nobody has needed since the last call back to the allocator, but keeps what steady traffic
/// of a quiet core needs. Called about once a second: a burst does not hold its memory for ever.
pub fn trim() {
    let _ = POOL.try_with(|pool| {
        for ((free, spare), keep) in pool.free.iter().zip(&pool.spare).zip(CLASS_BUFFERS_KEPT) {
            let mut free = free.borrow_mut();
            let give = (spare.get().div_ceil(2)).min(free.len().saturating_sub(keep));
            let stays = free.len() - give;
            if give > 0 {
                // Those that stay lie side by side: scattered, each would keep a page of its allocator alive.
                free.sort_unstable_by_key(|buffer| buffer.as_ptr());
                free.truncate(stays);
            }
            spare.set(stays);
        }
    });
}

/// Bytes of all buffers checked out on this thread.
pub fn held_bytes() -> usize {
    POOL.try_with(|pool| pool.held_bytes.get()).unwrap_or(0)
}

/// Bytes of all buffers that wait on this thread for their next use.
pub fn pooled_bytes() -> usize {
    let of_class = |free: &RefCell<Vec<Vec<u8>>>, bytes: usize| free.borrow().len() * bytes;
    POOL.try_with(|pool| pool.free.iter().zip(CLASS_BYTES).map(|(free, bytes)| of_class(free, bytes)).sum())
        .unwrap_or(0)
}

/// A growable byte buffer with pooled memory. `Send`; see [`Buf::depart`] for moves between threads.
pub struct Buf {
    vec: Vec<u8>,
    /// What the thread's counter knows about this buffer.
    counted_bytes: usize,
}

impl Buf {
    /// An empty buffer of [`BUFFER_BYTES`].
    pub fn new() -> Buf {
        Buf::with_capacity(BUFFER_BYTES)
    }

    /// An empty buffer without memory: a placeholder that costs nothing.
    pub const fn empty() -> Buf {
        Buf { vec: Vec::new(), counted_bytes: 0 }
    }

    /// An empty buffer with room for at least `bytes`: the smallest pooled size that fits, or exactly that.
    pub fn with_capacity(bytes: usize) -> Buf {
        let vec = match CLASS_BYTES.iter().position(|class| *class >= bytes) {
            Some(class) => take(class),
            None => Vec::with_capacity(bytes),
        };
        let mut buf = Buf { vec, counted_bytes: 0 };
        buf.settle();
        buf
    }

    /// The vector itself, for code that writes into one. Growth beyond the capacity is an ordinary allocation;
    /// prefer [`Buf::reserve`], which moves to the next pooled size.
    pub fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.vec
    }

    /// Bytes in the buffer.
    pub fn len(&self) -> usize {
        self.vec.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.vec.is_empty()
    }

    /// Bytes the buffer holds before it must grow.
    pub fn capacity(&self) -> usize {
        self.vec.capacity()
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.vec.capacity() - self.vec.len()
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.vec.clear();
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.vec.truncate(len);
    }

    /// Appends bytes, moving to a larger buffer when they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.vec.extend_from_slice(bytes);
    }

    /// Makes room for `bytes` more, moving to a larger pooled size (or at least twice the capacity beyond those).
    pub fn reserve(&mut self, bytes: usize) {
        if self.room() >= bytes {
            return;
        }
        let wanted = self.vec.len().saturating_add(bytes);
        let wanted = if wanted > CLASS_BYTES[2] { wanted.max(self.vec.capacity() * 2) } else { wanted };
        let mut larger = Buf::with_capacity(wanted);
        larger.vec.extend_from_slice(&self.vec);
        *self = larger;
    }

    /// Removes the first `bytes` and moves the rest to the front.
    pub fn consume_front(&mut self, bytes: usize) {
        if bytes >= self.vec.len() {
            self.vec.clear();
        } else {
            self.vec.copy_within(bytes.., 0);
            self.vec.truncate(self.vec.len() - bytes);
        }
    }

    /// Takes the buffer off this thread's account, before it is sent to another thread.
    pub fn depart(&mut self) {
        release(std::mem::take(&mut self.counted_bytes));
    }

    /// Puts the buffer on this thread's account, after it came from another thread.
    pub fn arrive(&mut self) {
        self.settle();
    }

    /// Brings the account in line with the capacity, which [`Buf::vec`] may have changed.
    pub fn settle(&mut self) {
        let capacity = self.vec.capacity();
        if capacity != self.counted_bytes {
            release(self.counted_bytes);
            let _ = POOL.try_with(|pool| pool.held_bytes.set(pool.held_bytes.get() + capacity));
            self.counted_bytes = capacity;
        }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        release(self.counted_bytes);
        give_back(std::mem::take(&mut self.vec));
    }
}

impl Default for Buf {
    fn default() -> Buf {
        Buf::empty()
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.vec
    }
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Buf {
        let mut buf = Buf::with_capacity(bytes.len());
        buf.vec.extend_from_slice(bytes);
        buf
    }
}

impl From<Vec<u8>> for Buf {
    /// Adopts a vector; its memory is pooled only if it happens to have a pooled size.
    fn from(vec: Vec<u8>) -> Buf {
        let mut buf = Buf { vec, counted_bytes: 0 };
        buf.settle();
        buf
    }
}

impl std::io::Write for Buf {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Buf {
    /// Sizes only: a buffer may hold credentials.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Buf({} of {} bytes)", self.len(), self.capacity())
    }
}

struct Pool {
    free: [RefCell<Vec<Vec<u8>>>; 3],
    /// How few of each size were free at any moment since the last [`trim`].
    spare: [Cell<usize>; 3],
    held_bytes: Cell<usize>,
}

fn take(class: usize) -> Vec<u8> {
    let pooled = POOL.try_with(|pool| {
        let mut free = pool.free[class].borrow_mut();
        let taken = free.pop();
        pool.spare[class].set(pool.spare[class].get().min(free.len()));
        taken
    });
    let pooled = pooled.ok().flatten();
    pooled.unwrap_or_else(|| Vec::with_capacity(CLASS_BYTES[class]))
}

fn give_back(mut vec: Vec<u8>) {
    let Some(class) = CLASS_BYTES.iter().position(|class| *class == vec.capacity()) else { return };
    vec.clear();
    // After the thread's locals are gone the vector is simply freed.
    let _ = POOL.try_with(|pool| {
        let mut free = pool.free[class].borrow_mut();
        if free.len() < CLASS_BUFFERS_MAX[class] {
            free.push(vec);
        }
    });
}

fn release(bytes: usize) {
    if bytes > 0 {
        let _ = POOL.try_with(|pool| pool.held_bytes.set(pool.held_bytes.get().saturating_sub(bytes)));
    }
}
