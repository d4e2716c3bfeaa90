//! Figures of one upstream on one worker; [`super::places`] says which.

use super::cell::Counter;
use super::histogram::Histogram;
use super::labels::Layer;

/// Figures of one upstream on one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamFigures {
    /// Calls of clients that were sent its way.
    pub calls: Counter,
    errors: [Counter; Layer::ALL.len()],
    /// From asking to the first event of the answer, less our own part.
    pub latency: Histogram,
    pub children_started: Counter,
    pub children_ended: Counter,
    /// Of those started, the ones that took the place of another.
    pub children_restarted: Counter,
}

impl UpstreamFigures {
    pub fn errors(&self, layer: Layer) -> &Counter {
        &self.errors[layer as usize]
    }
}
