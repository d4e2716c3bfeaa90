//! Numbers that nobody can guess.
//!
//! A file of its own because it is one of the leaves that the simulation replaces (`simulated/random.rs`).

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Fills `bytes` from the kernel's generator.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}
