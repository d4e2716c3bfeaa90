//! How a collector or an anchor stands: written by its task, read by whoever asks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::cursor::{self, Cursor};
use super::signed::Signed;

/// Whoever is sent to.
#[derive(Clone, Default)]
pub struct Shown {
    pub collectors: Vec<(String, Arc<Standing>)>,
    pub anchors: Vec<Arc<super::anchors::Standing>>,
}

impl Shown {
    pub fn to_json(&self) -> Value {
        let collectors: Vec<Value> = self.collectors.iter().map(|(_, standing)| standing.to_json()).collect();
        let anchors: Vec<Value> = self.anchors.iter().map(|standing| standing.to_json()).collect();
        json!({ "collectors": collectors, "anchors": anchors })
    }
}

/// Whether it took what it was sent last.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<Result<(), String>>>);

impl Health {
    /// `None`: it was sent nothing yet.
    pub fn is_up(&self) -> Option<bool> {
        self.held().as_ref().map(Result::is_ok)
    }

    pub fn why(&self) -> Option<String> {
        self.held().clone()?.err()
    }

    /// `true`: it was otherwise before, and somebody should hear of it.
    pub fn well(&self) -> bool {
        self.held().replace(Ok(())).is_some_and(|before| before.is_err())
    }

    pub fn fails(&self, why: &str) -> bool {
        self.held().replace(Err(why.to_owned())).is_none_or(|before| before.is_ok())
    }

    fn held(&self) -> MutexGuard<'_, Option<Result<(), String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of a collector.
pub struct Standing {
    pub id: String,
    path: PathBuf,
    /// Where it is; `None` before that is known.
    cursor: Mutex<Option<Cursor>>,
    saving: Mutex<()>,
    signed: watch::Receiver<Option<Arc<Signed>>>,
    health: Health,
    /// When the oldest record was written that it has not: Unix time in milliseconds.
    oldest_ms: AtomicU64,
    pub shipped: AtomicU64,
    pub failures: AtomicU64,
    /// Records that it does not want, however often it is sent them.
    pub rejected: AtomicU64,
    /// Records that were removed from the log before they were sent.
    pub missed: AtomicU64,
}

impl Standing {
    pub fn new(id: &str, path: PathBuf, signed: watch::Receiver<Option<Arc<Signed>>>) -> Standing {
        Standing {
            id: id.to_owned(),
            path,
            cursor: Mutex::default(),
            saving: Mutex::default(),
            signed,
            health: Health::default(),
            oldest_ms: AtomicU64::new(0),
            shipped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// Where it is, by what is in memory or else in its file.
    pub fn cursor(&self) -> Result<Option<Cursor>, String> {
        let mut known = self.held();
        if known.is_none() {
            *known = cursor::read(&self.path)?;
        }
        Ok(*known)
    }

    pub fn moves(&self, to: Cursor) {
        *self.held() = Some(to);
    }

    /// Writes down where it is now. Who is late writes no older number.
    pub fn save(&self) -> std::io::Result<()> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        // Not while somebody who may not wait for a disk wants to read it.
        let known = *self.held();
        known.map_or(Ok(()), |cursor| cursor::write(&self.path, &cursor))
    }

    pub fn well(&self) -> bool {
        self.health.well()
    }

    pub fn fails(&self, why: &str) -> bool {
        self.failures.fetch_add(1, Relaxed);
        self.health.fails(why)
    }

    pub fn is_up(&self) -> Option<bool> {
        self.health.is_up()
    }

    /// Records that are signed and that it has not.
    pub fn lag(&self) -> u64 {
        let size = self.signed.borrow().as_ref().map_or(0, |signed| signed.size);
        size.saturating_sub(self.held().map_or(0, |cursor| cursor.next))
    }

    pub fn waits_since(&self, ms: u64) {
        self.oldest_ms.store(ms, Relaxed);
    }

    /// How long the oldest of them has waited.
    pub fn lag_s(&self) -> f64 {
        let oldest = self.oldest_ms.load(Relaxed);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        match self.lag() {
            0 => 0.0,
            _ if oldest == 0 => 0.0,
            _ => (now.as_millis() as u64).saturating_sub(oldest) as f64 / 1e3,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "state": state(self.is_up()),
            "why": self.health.why(),
            "shipped": self.shipped.load(Relaxed),
            "lag": self.lag(),
            "lag_s": self.lag_s(),
            "rejected": self.rejected.load(Relaxed),
            "missed": self.missed.load(Relaxed),
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<Cursor>> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn state(is_up: Option<bool>) -> &'static str {
    match is_up {
        None => "idle",
        Some(true) => "ok",
        Some(false) => "failing",
    }
}
