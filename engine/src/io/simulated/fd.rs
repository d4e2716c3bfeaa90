//! Numbers of simulated sockets, in the place of `fd.rs`: no number is ever given twice.

use std::os::fd::RawFd;

use super::simulated::network;

/// A socket by its number; does nothing once that socket is gone.
#[derive(Clone, Copy)]
pub(super) struct Remembered(u32);

impl Remembered {
    pub(super) fn of(fd: RawFd) -> Remembered {
        debug_assert!(network::is_open(fd as u32), "number {fd} belongs to no living stream");
        Remembered(fd as u32)
    }

    /// Shuts both directions down: whoever waits on the socket is woken with end-of-file or an error.
    pub(super) fn shut_down(self) {
        network::end_input(self.0);
        network::end_output(self.0);
    }

    /// Ends the input alone: whoever waits for bytes is woken with end-of-file, and may still answer.
    pub(super) fn end_input(self) {
        network::end_input(self.0);
    }

    /// True when the peer closed or reset its side, or when the socket itself is gone.
    pub(super) fn peer_closed(self) -> bool {
        network::peer_closed(self.0)
    }
}
