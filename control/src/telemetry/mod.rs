//! What this gateway tells a collector of itself: traces of exchanges and the figures of `/metrics`, by OTLP over HTTP.
//!
//! Workers hand over numbers ([`strait_engine::trace`]); here they become spans ([`spans`]), are written together ([`outbox`]) and
//! pushed ([`collector`]) by tasks of the control thread. A collector that is slow or away costs memory up to a bound, and then traces:
//! they are counted ([`counts`]), and the log says so once. Nothing of this is on a call's way.

mod collector;
mod counts;
mod figures;
mod outbox;
mod pushing;
mod spans;
pub mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strait_engine::trace::Traced;
use strait_engine::{Handle, Secret};
use strait_table::Snapshot;
use strait_table::rules::ArchivedText;
use tokio::sync::{Notify, watch};

use crate::board::Board;
use crate::limits::{TELEMETRY_LAST_WITHIN, TRACES_WAITING_MAX};
use crate::log;
use crate::metrics::exemplars::Exemplars;
use collector::Collector;
pub use collector::retry_after;
pub use counts::{Counts, Signal};
use outbox::Outbox;
use pushing::Gathering;
pub use pushing::{jittered, resource, scope, unix_ns};

/// What is told, to whom and how often.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    collector: Collector,
    every: Duration,
    metrics: bool,
    traces: bool,
}

/// As far as others may see it.
#[derive(Clone)]
pub struct Told {
    pub counts: Arc<Counts>,
    exemplars: Arc<Mutex<Exemplars>>,
}

impl Told {
    /// Traces of requests that histograms count.
    pub fn exemplars(&self) -> Option<Exemplars> {
        Some(*held(&self.exemplars))
    }
}

/// What the tasks share.
struct Shared {
    board: Arc<Board>,
    told: Told,
    gathering: Mutex<Gathering>,
    outbox: Mutex<Outbox>,
    /// Something was put there.
    posted: Notify,
}

/// Control's end of it.
pub struct Telemetry {
    shared: Arc<Shared>,
    config: watch::Sender<Option<Arc<Config>>>,
    tasks: Vec<tokio::task::AbortHandle>,
    /// Why it tells nobody, as the log was told.
    lacks: Option<String>,
}

impl Telemetry {
    pub fn new(board: Arc<Board>) -> Telemetry {
        let told = Told { counts: Arc::default(), exemplars: Arc::default() };
        board.telemetry(told.clone());
        let shared = Shared {
            board,
            told,
            gathering: Mutex::default(),
            outbox: Mutex::default(),
            posted: Notify::new(),
        };
        let (shared, config) = (Arc::new(shared), watch::Sender::new(None));
        Telemetry { shared, config, tasks: Vec::new(), lacks: None }
    }

    /// From now on what this table says; `secret` replaces references. A header that cannot be had now leaves the collector alone:
    /// without it, it would refuse everything.
    pub fn serves(
        &mut self,
        handle: &Handle,
        snapshot: &Snapshot,
        secret: &dyn Fn(&ArchivedText) -> Result<Secret, String>,
    ) {
        let config = match Config::of(snapshot, secret) {
            Ok(config) => config.map(Arc::new),
            Err(why) => {
                if self.lacks.as_ref() != Some(&why) {
                    log::warn(format!("telemetry: the collector is told nothing: {why}"));
                }
                self.lacks = Some(why);
                None
            }
        };
        if config.is_some() {
            self.lacks = None;
        }
        if config.as_ref().is_some_and(|config| config.traces) {
            let rings = handle.traces(TRACES_WAITING_MAX);
            held(&self.shared.gathering).hears(rings);
        }
        if config.is_some() && self.tasks.is_empty() {
            self.tasks = pushing::begin(&self.shared, &self.config);
        }
        self.config.send_if_modified(|known| {
            let is_another = *known != config;
            *known = config;
            is_another
        });
    }

    /// Tells what is left, within a bounded time.
    pub async fn end(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
        let Some(config) = self.config.borrow().clone() else { return };
        let last = pushing::last(&self.shared, &config);
        if tokio::time::timeout(TELEMETRY_LAST_WITHIN, last).await.is_err() {
            log::warn("telemetry: the collector did not take what was left in time");
        }
    }
}

impl Config {
    fn of(
        snapshot: &Snapshot,
        secret: &dyn Fn(&ArchivedText) -> Result<Secret, String>,
    ) -> Result<Option<Config>, String> {
        let telemetry = &snapshot.rules().telemetry;
        let Some(otlp) = telemetry.otlp.as_ref() else { return Ok(None) };
        let header = |line: &strait_table::telemetry::ArchivedHeaderLine| {
            let value =
                secret(&line.value).map_err(|why| format!("header `{}`: {why}", line.name.as_str()))?;
            Ok::<_, String>((line.name.as_str().to_owned(), value))
        };
        let collector = Collector {
            endpoint: otlp.endpoint.as_str().to_owned(),
            headers: otlp.headers.iter().map(header).collect::<Result<_, _>>()?,
        };
        Ok(Some(Config {
            collector,
            every: Duration::from_millis(u64::from(otlp.every_ms.to_native())),
            metrics: otlp.metrics,
            traces: telemetry.traces.is_some(),
        }))
    }
}

impl Shared {
    /// Takes up what workers have told, and posts what is ready to go: all of it, or what has waited for `linger`.
    fn gather(&self, linger: Duration) {
        let mut exemplars = held(&self.told.exemplars);
        let saw = |traced: &Traced| exemplars.saw(traced);
        let ready = held(&self.gathering).gather(linger, saw);
        for parcel in ready {
            self.post(parcel);
        }
    }

    fn post(&self, parcel: outbox::Parcel) {
        let mut outbox = held(&self.outbox);
        self.told.counts.loses(outbox.put(parcel));
        self.told.counts.queues(outbox.bytes());
        self.posted.notify_one();
    }

    fn take(&self) -> Option<outbox::Parcel> {
        let mut outbox = held(&self.outbox);
        let parcel = outbox.take();
        self.told.counts.queues(outbox.bytes());
        parcel
    }
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lower case, as ids of traces are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
