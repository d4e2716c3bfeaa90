//! What is counted of TLS handshakes at listeners.

use super::cell::Counter;
use super::histogram::Histogram;
use crate::io::tls::Cause;

#[derive(Debug, Default)]
pub struct Handshakes {
    /// With a signature of ours.
    pub full: Counter,
    /// Of clients that were known by a ticket.
    pub resumed: Counter,
    failed: [Counter; Cause::ALL.len()],
    /// Of those that came to something, from the accepted connection on: the client's time is in it.
    pub duration: Histogram,
}

impl Handshakes {
    pub fn failed(&self, cause: Cause) -> &Counter {
        &self.failed[cause as usize]
    }
}
