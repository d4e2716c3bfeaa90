//! The two kinds of number. Both have one writer, the worker that owns them: it loads and stores, which on every
//! machine of ours is two plain instructions, where `fetch_add` would lock the cache line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// By the one thread that owns it: with two writers counts would get lost.
    #[inline]
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// For what is counted elsewhere already and is published here. Never less than before.
    pub(crate) fn publish(&self, count: u64) {
        self.0.store(count, Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
