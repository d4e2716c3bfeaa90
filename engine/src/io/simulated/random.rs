//! The world's random numbers, in the place of `random.rs`.
//!
//! Hash maps of the standard library take their keys from the C library's `getrandom`. It is defined here once more,
//! and the linker prefers ours, so that iterating over a map is repeated as well. Outside of a world it asks the kernel.

use std::ffi::{c_uint, c_void};
use std::io;

use rustix::rand::GetRandomFlags;

use super::simulated;

/// Fills `bytes` from the seed.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    if simulated::random_bytes(bytes) {
        return Ok(());
    }
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}

/// The C library's function, for the standard library.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: by its contract the caller passes `length` bytes that may be written, and nobody else has them meanwhile.
    // They are zeroed before they are seen as a slice of bytes.
    let bytes = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    match fill(bytes) {
        Ok(()) => length as isize,
        Err(_) => -1,
    }
}
