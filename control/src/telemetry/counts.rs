//! What became of what a collector was to be told.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a collector is told, each below a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    pub const ALL: [Signal; 2] = [Signal::Traces, Signal::Metrics];

    pub fn label(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        }
    }
}

/// Written by the tasks of telemetry, read by a scrape.
#[derive(Debug, Default)]
pub struct Counts {
    /// Exchanges that the collector took.
    exported: AtomicU64,
    /// Those that gave way to others while it took nothing.
    lost: AtomicU64,
    /// Those that it does not want, however often it is told.
    rejected: AtomicU64,
    queued_bytes: AtomicU64,
    signals: [OfSignal; 2],
}

#[derive(Debug, Default)]
struct OfSignal {
    taken: AtomicU64,
    failed: AtomicU64,
    /// 0: it is told nothing; 1: it took what it was told last; 2: it did not.
    standing: AtomicU64,
}

impl Counts {
    pub fn exports(&self, exchanges: u64) {
        self.exported.fetch_add(exchanges, Ordering::Relaxed);
    }

    pub fn loses(&self, exchanges: u64) {
        self.lost.fetch_add(exchanges, Ordering::Relaxed);
    }

    pub fn rejects(&self, exchanges: u64) {
        self.rejected.fetch_add(exchanges, Ordering::Relaxed);
    }

    pub fn queues(&self, bytes: usize) {
        self.queued_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// By what became of them; `dropped` is the workers' own.
    pub fn traces(&self, dropped: u64) -> [(&'static str, u64); 4] {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("exported", get(&self.exported)),
            ("dropped", dropped),
            ("lost", get(&self.lost)),
            ("rejected", get(&self.rejected)),
        ]
    }

    pub fn queued(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// How often it took something, and how often not.
    pub fn pushes(&self, signal: Signal) -> (u64, u64) {
        let of = &self.signals[signal as usize];
        (of.taken.load(Ordering::Relaxed), of.failed.load(Ordering::Relaxed))
    }

    /// `None`: it is told nothing of the kind.
    pub fn is_up(&self, signal: Signal) -> Option<bool> {
        match self.signals[signal as usize].standing.load(Ordering::Relaxed) {
            0 => None,
            standing => Some(standing == 1),
        }
    }

    /// Counts a push, and says whether that is another standing than before.
    pub fn pushed(&self, signal: Signal, is_taken: bool) -> bool {
        let of = &self.signals[signal as usize];
        let (count, standing) = if is_taken { (&of.taken, 1) } else { (&of.failed, 2) };
        count.fetch_add(1, Ordering::Relaxed);
        let before = of.standing.swap(standing, Ordering::Relaxed);
        before != standing && (before != 0 || !is_taken)
    }

    /// It is told nothing of the kind any more.
    pub fn ends(&self, signal: Signal) {
        self.signals[signal as usize].standing.store(0, Ordering::Relaxed);
    }
}
