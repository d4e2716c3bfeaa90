//! What is shown of the running process: written by the control loop, read by the admin endpoints.
//! Everything here is of the snapshot in use, never of a candidate.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_engine::WorkerFigures;
use strait_table::Snapshot;
use strait_table::catalog::{Known, Lists};

use crate::ledger::{Ledger, Standing};
use crate::limits::STALLED_AFTER;

pub struct Board {
    started: Instant,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    phase: Phase,
    generation: String,
    catalog: String,
    driver: &'static str,
    upstreams: Vec<Value>,
    workers: Vec<Pulse>,
    reload: Value,
    snapshots: usize,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Starting,
    Open,
    Draining,
}

/// A worker's beats, and since when they stand still.
struct Pulse {
    figures: Arc<WorkerFigures>,
    beats: u64,
    since: Instant,
}

impl Default for Board {
    fn default() -> Self {
        Board { started: Instant::now(), shown: Mutex::default() }
    }
}

impl Board {
    pub fn engine(&self, figures: &[Arc<WorkerFigures>], driver: &'static str) {
        let mut shown = self.shown();
        shown.driver = driver;
        let pulse = |figures: &Arc<WorkerFigures>| Pulse {
            figures: figures.clone(),
            beats: 0,
            since: Instant::now(),
        };
        shown.workers = figures.iter().map(pulse).collect();
    }

    pub fn phase(&self, phase: Phase) {
        self.shown().phase = phase;
    }

    pub fn snapshot(&self, snapshot: &Snapshot) {
        let mut shown = self.shown();
        shown.generation = snapshot.generation().to_string();
        shown.catalog = snapshot.catalog().to_string();
    }

    pub fn upstreams(&self, ledger: &Ledger) {
        self.shown().upstreams = ledger.iter().map(upstream).collect();
    }

    /// How the last reload went, and how many snapshots are in use.
    pub fn reload(&self, reload: Value) {
        self.shown().reload = reload;
    }

    pub fn snapshots(&self, in_use: usize) {
        self.shown().snapshots = in_use;
    }

    /// Takes every worker's pulse; to be called about once a second.
    pub fn pulse(&self, now: Instant) {
        for pulse in &mut self.shown().workers {
            let beats = pulse.figures.beats.load(Ordering::Relaxed);
            if beats != pulse.beats {
                (pulse.beats, pulse.since) = (beats, now);
            }
        }
    }

    /// Workers whose beats stand still, and for how long.
    pub fn stalled(&self, now: Instant) -> Vec<(usize, Duration)> {
        let shown = self.shown();
        let workers = shown.workers.iter().enumerate();
        workers
            .map(|(worker, pulse)| (worker, now.saturating_duration_since(pulse.since)))
            .filter(|(_, still)| *still > STALLED_AFTER)
            .collect()
    }

    pub fn is_open(&self) -> bool {
        self.shown().phase == Phase::Open
    }

    /// What `/readyz` says.
    pub fn ready(&self) -> Value {
        let shown = self.shown();
        let workers: Vec<Value> = shown.workers.iter().map(|pulse| worker(&pulse.figures)).collect();
        json!({
            "ready": shown.phase == Phase::Open,
            "phase": match shown.phase {
                Phase::Starting => "starting",
                Phase::Open => "open",
                Phase::Draining => "draining",
            },
            "version": env!("CARGO_PKG_VERSION"),
            "generation": shown.generation,
            "catalog": shown.catalog,
            "driver": shown.driver,
            "uptime_s": self.started.elapsed().as_secs(),
            "reload": shown.reload,
            "snapshots": shown.snapshots,
            "upstreams": shown.upstreams,
            "workers": workers,
        })
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `waiting` until it was heard of, then what its lists are.
pub fn state_of(standing: &Standing, lists: &Lists) -> &'static str {
    match lists.known {
        Known::Fresh => "ready",
        Known::Stale => "stale",
        Known::Not if standing.heard => "unreachable",
        Known::Not => "waiting",
    }
}

fn upstream((standing, lists): (&Standing, &Lists)) -> Value {
    let mut shown = json!({
        "name": standing.name,
        "state": state_of(standing, lists),
        "tools": lists.tools.len(),
        "prompts": lists.prompts.len(),
        "resources": lists.resources.len() + lists.templates.len(),
    });
    if let Some(error) = &standing.error {
        shown["error"] = error.as_str().into();
    }
    shown
}

fn worker(figures: &WorkerFigures) -> Value {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "exchanges": read(&figures.exchanges),
        "refusals": read(&figures.refusals),
        "connections": read(&figures.connections),
        "inflight": read(&figures.inflight),
        "sessions": read(&figures.sessions),
    })
}
