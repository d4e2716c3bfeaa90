//! The tasks: one takes up what workers tell, one pushes traces until they are taken, one pushes figures now and then.
//!
//! Figures count since the process began, so a push of them that fails is made good by the next one, and none is kept. Traces are tried
//! again, with pauses that double, as the collector asks or as it seems to need.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use prost::Message;
use strait_engine::io::random;
use strait_engine::trace::Traced;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::collector::Outcome;
use super::counts::Signal;
use super::figures::Points;
use super::outbox::Parcel;
use super::wire::*;
use super::{Config, Shared, held, hex, spans};
use crate::fetch::Fetcher;
use crate::limits::*;
use crate::log;

type Configs = watch::Receiver<Option<Arc<Config>>>;

pub fn begin(shared: &Arc<Shared>, config: &watch::Sender<Option<Arc<Config>>>) -> Vec<AbortHandle> {
    let fetcher = Fetcher::new();
    vec![
        tokio::spawn(gather(shared.clone(), config.subscribe())).abort_handle(),
        tokio::spawn(push_traces(shared.clone(), config.subscribe(), fetcher.clone())).abort_handle(),
        tokio::spawn(push_figures(shared.clone(), config.subscribe(), fetcher)).abort_handle(),
    ]
}

/// What is left when the process ends: each tried once.
pub async fn last(shared: &Shared, config: &Config) {
    let fetcher = Fetcher::new();
    shared.gather(Duration::ZERO);
    while let Some(parcel) = shared.take() {
        let Outcome::Taken { .. } = settled(shared, config, &fetcher, &parcel).await else { break };
    }
    if config.metrics {
        figures(shared, config, &fetcher).await;
    }
}

/// The configuration, once there is one that `wants` it.
async fn wanted(configs: &mut Configs, wants: fn(&Config) -> bool) -> Option<Arc<Config>> {
    let found = configs.wait_for(|config| config.as_ref().is_some_and(|config| wants(config))).await;
    found.ok()?.clone()
}

async fn gather(shared: Arc<Shared>, mut configs: Configs) {
    let mut pulse = interval(TRACES_TAKEN_EVERY);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(config) = wanted(&mut configs, |config| config.traces).await {
        pulse.tick().await;
        shared.gather(config.every.min(TRACES_LINGER_MAX));
    }
}

async fn push_traces(shared: Arc<Shared>, mut configs: Configs, fetcher: Fetcher) {
    while let Some(config) = wanted(&mut configs, |config| config.traces).await {
        let Some(parcel) = shared.take() else {
            tokio::select! { () = shared.posted.notified() => {}, _ = configs.changed() => forget(&shared, &configs) }
            continue;
        };
        let mut config = config;
        let mut pause = COLLECTOR_AGAIN_MIN;
        while let Outcome::Later { after, .. } = settled(&shared, &config, &fetcher, &parcel).await {
            let wait = after.unwrap_or_else(|| jittered(pause));
            pause = (pause * 2).min(COLLECTOR_AGAIN_MAX);
            // Another collector, or another key for it, may take it at once.
            tokio::select! {
                () = sleep(wait) => {}
                _ = configs.changed() => forget(&shared, &configs),
            }
            match configs.borrow().clone().filter(|config| config.traces) {
                Some(now) => config = now,
                None => {
                    shared.told.counts.loses(parcel.exchanges);
                    break;
                }
            }
        }
    }
}

/// What waited for a collector that is none any more.
fn forget(shared: &Shared, configs: &Configs) {
    if configs.borrow().as_ref().is_some_and(|config| config.traces) {
        return;
    }
    shared.told.counts.loses(held(&shared.outbox).clear());
    shared.told.counts.queues(0);
    shared.told.counts.ends(Signal::Traces);
}

async fn push_figures(shared: Arc<Shared>, mut configs: Configs, fetcher: Fetcher) {
    while let Some(config) = wanted(&mut configs, |config| config.metrics).await {
        figures(&shared, &config, &fetcher).await;
        tokio::select! {
            () = sleep(config.every) => {}
            _ = configs.changed() => if configs.borrow().as_ref().is_none_or(|config| !config.metrics) {
                shared.told.counts.ends(Signal::Metrics);
            }
        }
    }
}

/// Pushes a parcel, and counts what became of it.
async fn settled(shared: &Shared, config: &Config, fetcher: &Fetcher, parcel: &Parcel) -> Outcome {
    let outcome = config.collector.push(fetcher, Signal::Traces, parcel.body.clone()).await;
    let counts = &shared.told.counts;
    match &outcome {
        Outcome::Taken { rejected: 0 } => counts.exports(parcel.exchanges),
        // Spans are counted by the collector, exchanges by us: what it did not take of a push is no trace any more.
        Outcome::Taken { rejected } => {
            let rejected = (*rejected).min(parcel.exchanges);
            counts.exports(parcel.exchanges - rejected);
            counts.rejects(rejected);
        }
        Outcome::Refused { .. } => counts.rejects(parcel.exchanges),
        Outcome::Later { .. } => {}
    }
    tell(shared, Signal::Traces, &outcome);
    outcome
}

async fn figures(shared: &Shared, config: &Config, fetcher: &Fetcher) {
    let mut points = Points::new(started_unix_ns(), unix_ns());
    shared.board.tell(&mut points);
    let request = MetricsRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource()),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics: points.metrics }],
        }],
    };
    let body = Bytes::from(request.encode_to_vec());
    let outcome = config.collector.push(fetcher, Signal::Metrics, body).await;
    tell(shared, Signal::Metrics, &outcome);
}

/// The log hears of a collector that goes away, and of one that is back: once each.
fn tell(shared: &Shared, signal: Signal, outcome: &Outcome) {
    let is_taken = matches!(outcome, Outcome::Taken { .. });
    if !shared.told.counts.pushed(signal, is_taken) {
        return;
    }
    let what = signal.label();
    match outcome {
        Outcome::Taken { .. } => log::info(format!("telemetry: the collector takes {what} again")),
        Outcome::Later { why, .. } => {
            log::warn(format!("telemetry: the collector takes no {what} now, and is asked again: {why}"));
        }
        Outcome::Refused { why } => log::warn(format!(
            "telemetry: the collector refuses {what}, which are lost: {why}; look at `telemetry.otlp`"
        )),
    }
}

/// Up to a half more, so that many gateways do not come back at once.
pub fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    let _ = random::fill(&mut byte);
    pause + pause.mul_f64(f64::from(byte[0]) / 512.0)
}

/// What workers have told, and what of it is not written yet.
#[derive(Default)]
pub struct Gathering {
    rings: Vec<Receiver<Traced>>,
    spans: Vec<Span>,
    exchanges: u64,
    since: Option<Instant>,
}

impl Gathering {
    /// None: they are heard already.
    pub fn hears(&mut self, rings: Vec<Receiver<Traced>>) {
        self.rings.extend(rings);
    }

    /// What is ready to go.
    pub fn gather(&mut self, linger: Duration, mut saw: impl FnMut(&Traced)) -> Vec<Parcel> {
        let mut ready = Vec::new();
        for at in 0..self.rings.len() {
            // A ring's worth at most: a worker may go on telling meanwhile.
            for _ in 0..TRACES_WAITING_MAX {
                let Some(Ok(traced)) = self.rings.get(at).map(Receiver::try_recv) else { break };
                saw(&traced);
                spans::append(&traced, &mut self.spans);
                self.exchanges += 1;
                self.since.get_or_insert_with(Instant::now);
                if self.exchanges >= TRACES_PER_PUSH_MAX as u64 {
                    ready.extend(self.written());
                }
            }
        }
        if self.since.is_some_and(|since| since.elapsed() >= linger) {
            ready.extend(self.written());
        }
        ready
    }

    fn written(&mut self) -> Option<Parcel> {
        let exchanges = std::mem::take(&mut self.exchanges);
        self.since = None;
        let spans = std::mem::take(&mut self.spans);
        if spans.is_empty() {
            return None;
        }
        let request = TracesRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource()),
                scope_spans: vec![ScopeSpans { scope: Some(scope()), spans }],
            }],
        };
        Some(Parcel { body: request.encode_to_vec().into(), exchanges })
    }
}

/// Who says it: this process, which is another one after each start.
pub fn resource() -> Resource {
    static INSTANCE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let instance = INSTANCE.get_or_init(|| {
        let mut id = [0; 8];
        let _ = random::fill(&mut id);
        hex(&id)
    });
    Resource {
        attributes: vec![
            Attribute::text("service.name", "strait"),
            Attribute::text("service.version", env!("CARGO_PKG_VERSION")),
            Attribute::text("service.instance.id", instance.as_str()),
            Attribute::number("process.pid", i64::from(std::process::id())),
        ],
    }
}

pub fn scope() -> Scope {
    Scope { name: "strait".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// When somebody first asked: since then it counts for a collector.
fn started_unix_ns() -> u64 {
    static STARTED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *STARTED.get_or_init(unix_ns)
}
