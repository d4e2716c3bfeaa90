//! What is shown of the running process: written by the control loop, read by the admin endpoints.
//! Everything here is of the snapshot in use, never of a candidate.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_engine::WorkerFigures;
use strait_engine::audit::keeper::Standing as Audit;
use strait_engine::figures::generations::Tally;
use strait_engine::figures::places::Books;
use strait_table::Snapshot;
use strait_table::catalog::{Known, Lists};

use crate::certificates::Expiry;
use crate::credentials;
use crate::generations::Generations;
use crate::ledger::{Ledger, Standing};
use crate::limits::{LEFT_OUT_SHOWN_MAX, STALLED_AFTER};
use crate::metrics::exposition::Format;
use crate::metrics::{self, Dialect, Reloads, Revocations, Seen, Text};
use crate::quarantine::Quarantine;
use crate::roll_call::RollCall;
use crate::secrets::stores::Stores;
use crate::shipping;
use crate::telemetry::Told;
use crate::trial::Counts;
use crate::watchdog::Watchdog;

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
    left_out: Value,
    quarantine: Quarantine,
    suspicions: Value,
    watchdog: Watchdog,
    books: Books,
    reload: Value,
    reloads: Reloads,
    upgrade: Value,
    snapshots: usize,
    roll_call: Option<RollCall>,
    tools: metrics::tools::Shown,
    rollout: Value,
    /// What workers serve from; the board does not keep it in memory.
    in_use: Weak<Snapshot>,
    generations: Generations,
    trial: Value,
    trials: Counts,
    certificates: Vec<Expiry>,
    tokens: Vec<credentials::Standing>,
    revoked: Value,
    revocations: Revocations,
    secrets: Option<Stores>,
    audit: Option<Audit>,
    shipping: shipping::Shown,
    telemetry: Option<Told>,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Starting,
    Open,
    Draining,
}

impl Default for Board {
    fn default() -> Self {
        Board { started: Instant::now(), shown: Mutex::default() }
    }
}

impl Board {
    pub fn engine(&self, figures: &[Arc<WorkerFigures>], books: &Books, driver: &'static str) {
        let mut shown = self.shown();
        shown.driver = driver;
        shown.books = books.clone();
        shown.watchdog = Watchdog::new(figures, Instant::now());
    }

    /// How the audit log stands, where there is one.
    pub fn audit(&self, audit: Option<Audit>) {
        self.shown().audit = audit;
    }

    /// Whom the audit log is sent to.
    pub fn ships(&self, shipping: shipping::Shown) {
        self.shown().shipping = shipping;
    }

    /// Of whom to ask what is open; again with every edition.
    pub fn roll_call(&self, roll_call: RollCall) {
        self.shown().roll_call = Some(roll_call);
    }

    /// `None` before the engine runs.
    pub fn to_call(&self) -> Option<RollCall> {
        self.shown().roll_call.clone()
    }

    pub fn phase(&self, phase: Phase) {
        self.shown().phase = phase;
    }

    pub fn snapshot(&self, snapshot: &Arc<Snapshot>) {
        let mut shown = self.shown();
        shown.in_use = Arc::downgrade(snapshot);
        shown.generation = snapshot.generation().to_string();
        shown.catalog = snapshot.catalog().to_string();
    }

    pub fn upstreams(&self, ledger: &Ledger) {
        self.shown().upstreams = ledger.iter().map(upstream).collect();
    }

    /// What upstreams offer and no list shows, and why: how many there are, and the first of them.
    pub fn left_out(&self, told: &BTreeSet<String>) {
        let first: Vec<&String> = told.iter().take(LEFT_OUT_SHOWN_MAX).collect();
        self.shown().left_out = json!({ "count": told.len(), "first": first });
    }

    /// What upstreams offer otherwise than it is pinned.
    pub fn quarantine(&self, quarantine: &Quarantine) {
        self.shown().quarantine = quarantine.clone();
    }

    /// What is suspicious in what upstreams say.
    pub fn suspicions(&self, shown: Value) {
        self.shown().suspicions = shown;
    }

    /// All of it, as `/admin/quarantine` says it.
    pub fn quarantined(&self) -> Value {
        self.shown().quarantine.to_json(usize::MAX)
    }

    /// How the last reload went, and how many snapshots are in use.
    pub fn reload(&self, reload: Value, counts: Reloads) {
        let mut shown = self.shown();
        (shown.reload, shown.reloads) = (reload, counts);
    }

    /// Which generation is served on whose word.
    pub fn rollout(&self, rollout: Value) {
        self.shown().rollout = rollout;
    }

    /// As `/admin/rollout` says it.
    pub fn rolled_out(&self) -> Value {
        self.shown().rollout.clone()
    }

    /// The snapshot in use; `None` before the engine runs.
    pub fn in_use(&self) -> Option<Arc<Snapshot>> {
        self.shown().in_use.upgrade()
    }

    /// The generation that is served from now on counts here.
    pub fn serves(&self, tally: &Arc<Tally>) {
        self.shown().generations.serves(tally);
    }

    /// When certificates that are shown end.
    pub fn certificates(&self, certificates: Vec<Expiry>) {
        self.shown().certificates = certificates;
    }

    /// Tokens of this gateway's own, that upstreams are shown.
    pub fn tokens(&self, tokens: Vec<credentials::Standing>) {
        self.shown().tokens = tokens;
    }

    /// Who is revoked, how many there are, and whether they are what the file says.
    pub fn revocations(&self, revoked: Value, in_force: usize, is_good: bool) {
        let mut shown = self.shown();
        (shown.revoked, shown.revocations) = (revoked, Revocations { in_force, is_good });
    }

    /// As `/admin/revocations` says it.
    pub fn revoked(&self) -> Value {
        self.shown().revoked.clone()
    }

    /// What is fetched from stores of others.
    pub fn secrets(&self, stores: &Stores) {
        self.shown().secrets = Some(stores.clone());
    }

    /// What became of what a collector was to be told.
    pub fn telemetry(&self, told: Told) {
        self.shown().telemetry = Some(told);
    }

    /// What is on trial, how trials have ended, and where the candidate's exchanges are counted.
    pub fn trial(&self, trial: Value, counts: Counts, tally: Option<&Arc<Tally>>) {
        let mut shown = self.shown();
        (shown.trial, shown.trials) = (trial, counts);
        shown.generations.tries(tally);
    }

    /// What is on trial, and how the last one ended.
    pub fn on_trial(&self) -> Value {
        self.shown().trial.clone()
    }

    /// Adds up what nobody counts in any more.
    pub fn free(&self) {
        self.shown().generations.free();
    }

    /// How the last attempt went to have another process take this one's place.
    pub fn upgrade(&self, upgrade: Value) {
        self.shown().upgrade = upgrade;
    }

    pub fn snapshots(&self, in_use: usize) {
        self.shown().snapshots = in_use;
    }

    /// Takes every worker's pulse, and tells who stalled or moves again.
    pub fn pulse(&self, now: Instant) {
        let told = self.shown().watchdog.pulse(now);
        told.iter().for_each(crate::watchdog::Told::log);
    }

    /// Workers whose beats stand still for so long that somebody should restart the process, and for how long.
    pub fn stalled(&self, now: Instant) -> Vec<(usize, Duration)> {
        self.shown().watchdog.still(now).enumerate().filter(|(_, still)| *still > STALLED_AFTER).collect()
    }

    pub fn is_open(&self) -> bool {
        self.shown().is_ready()
    }

    /// What `/readyz` says.
    pub fn ready(&self) -> Value {
        let shown = self.shown();
        let dog = &shown.watchdog;
        let workers = dog.workers().zip(dog.still(Instant::now()));
        let workers: Vec<Value> = workers
            .map(|((figures, is_stalled, _), still)| {
                let mut shown = worker(figures);
                if is_stalled {
                    shown["stalled_ms"] = (still.as_millis() as u64).into();
                }
                shown
            })
            .collect();
        json!({
            "ready": shown.is_ready(),
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
            "trial": shown.trial,
            "upgrade": shown.upgrade,
            "snapshots": shown.snapshots,
            "secrets": shown.secrets.as_ref().map_or_else(|| json!([]), Stores::failing),
            "upstreams": shown.upstreams,
            "tokens": shown.tokens.iter().map(credentials::Standing::to_json).collect::<Vec<_>>(),
            "left_out": shown.left_out,
            "quarantine": shown.quarantine.brief(),
            "suspicions": shown.suspicions,
            "revocations": { "in_force": shown.revocations.in_force, "problem": shown.revoked["problem"] },
            "audit": shown.audit.as_ref().map(|audit| json!({
                "state": if audit.fault().is_none() { "ok" } else { "failing" },
                "why": audit.fault(),
                "lost": audit.lost(),
                "shipping": shown.shipping.to_json(),
            })),
            "workers": workers,
        })
    }

    /// What `/metrics` says.
    pub fn metrics(&self, dialect: Dialect) -> String {
        let mut text = Text::new(dialect);
        self.tell(&mut text);
        text.into_text()
    }

    /// The same, to whoever wants it otherwise.
    pub fn tell(&self, to: &mut dyn Format) {
        let mut shown = self.shown();
        let mut tools = std::mem::take(&mut shown.tools);
        tools.look(&shown.watchdog.workers().map(|(figures, ..)| &**figures).collect::<Vec<_>>());
        shown.tools = tools;
        let worker = |(figures, stalled, stalls): (&Arc<WorkerFigures>, bool, u64)| metrics::Worker {
            figures: figures.clone(),
            stalled,
            stalls,
        };
        // By name: the ledger and the book may be of two generations while one follows the other.
        let is_ready = |name: &str| {
            let of = shown.upstreams.iter().find(|upstream| upstream["name"] == name);
            of.map(|upstream| upstream["state"] == "ready")
        };
        let upstreams = shown.books.upstreams.read().into_iter();
        let upstreams = upstreams.map(|(name, place)| {
            let is_ready = is_ready(&name);
            metrics::Upstream { name, place, is_ready }
        });
        let seen = Seen {
            workers: shown.watchdog.workers().map(worker).collect(),
            upstreams: upstreams.collect(),
            servers: shown.books.servers.read(),
            limits: shown.books.limits.read(),
            tools: &shown.tools,
            driver: shown.driver,
            generation: &shown.generation,
            catalog: &shown.catalog,
            ready: shown.is_ready(),
            reloads: shown.reloads,
            snapshots: shown.snapshots,
            quarantine: &shown.quarantine,
            generations: &shown.generations,
            trials: shown.trials,
            certificates: &shown.certificates,
            tokens: &shown.tokens,
            revocations: shown.revocations,
            secrets: shown.secrets.as_ref().map(Stores::figures).unwrap_or_default(),
            audit: shown.audit.as_ref(),
            shipping: &shown.shipping,
            telemetry: shown.telemetry.as_ref().map(|told| &*told.counts),
            exemplars: shown.telemetry.as_ref().and_then(Told::exemplars),
        };
        metrics::tell(&seen, to);
    }

    /// What `/admin/traffic` says.
    pub fn traffic(&self) -> Value {
        let shown = self.shown();
        let workers: Vec<&WorkerFigures> = shown.watchdog.workers().map(|(figures, ..)| &**figures).collect();
        metrics::by_name(&workers)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// Whether to send it requests: not while what they do cannot be recorded.
    fn is_ready(&self) -> bool {
        self.phase == Phase::Open && self.audit.as_ref().is_none_or(|audit| audit.fault().is_none())
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
    json!({
        "exchanges": figures.exchanges(),
        "refusals": figures.refused(),
        "connections": figures.connections.get(),
        "inflight": figures.inflight.get(),
        "sessions": figures.sessions.get(),
        "suspended": figures.suspended.get(),
        "listens": figures.listens.get(),
        "standing": figures.standing.get(),
    })
}
