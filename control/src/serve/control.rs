//! The control loop: what workers report goes into the ledger, a changed ledger becomes a snapshot, a
//! snapshot goes back to the workers; and signals end it.

use std::collections::HashSet;
use std::sync::Arc;

use strait_engine::{Event, Facts, Handle, KeyRing, Level, Reach};
use strait_table::{Snapshot, bind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Prepared, Slot};
use crate::banner::{self, Shown};
use crate::board::{Board, Phase};
use crate::failure::{Code, Failure};
use crate::keys::Generated;
use crate::ledger::{Change, Ledger, Pending};
use crate::limits::*;
use crate::reach::{self, Found};
use crate::state::State;
use crate::{admin, log};

struct Control {
    handle: Arc<Handle>,
    snapshot: Arc<Snapshot>,
    keys: Arc<KeyRing>,
    generated: Vec<Generated>,
    reaches: Vec<Reach>,
    ledger: Ledger,
    board: Arc<Board>,
    state: State,
    admin: String,
    banner: bool,
    /// Workers that have not stopped.
    running: usize,
    phase: Phase,
    /// Changed lists that are not bound yet.
    pending: Pending,
    /// Findings of `bind` that were told already.
    told: HashSet<String>,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Told {
    Stop,
    Reload,
}

/// Starts the engine and keeps it until the end.
pub async fn run(prepared: Prepared, slot: &Slot) -> Result<(), Failure> {
    let open_by = Instant::now() + OPEN_WITHIN;
    let mut signals = Signals::listen()?;
    let board = Arc::new(Board::default());
    let unfit = |error: std::io::Error| {
        Failure::new(Code::Unfit, format!("cannot serve the admin endpoints: {error}"))
    };
    let admin = prepared.admin.local_addr().map_err(unfit)?.to_string();
    admin::start(prepared.admin, board.clone()).map_err(unfit)?;

    let (found_sender, mut found) = mpsc::unbounded_channel();
    let reaches = tokio::select! {
        reaches = reach::reach(prepared.plans, &found_sender) => reaches,
        _ = signals.stop() => return Ok(()),
    };
    let keys = Arc::new(prepared.keys.ring);
    let facts = Facts { keys: keys.clone(), reaches: Arc::new(reaches.clone()) };
    let (handle, events) = strait_engine::start(prepared.options, prepared.snapshot.clone(), facts)
        .map_err(|error| Failure::new(Code::Unfit, error.to_string()))?;
    let handle = Arc::new(handle);
    // Nobody else writes the slot.
    let _ = slot.set(handle.clone());

    let names = prepared.snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str().to_owned());
    let ledger = Ledger::new(names);
    board.engine(handle.figures(), handle.driver().label());
    let mut control = Control {
        running: handle.figures().len(),
        handle,
        snapshot: prepared.snapshot,
        keys,
        generated: prepared.keys.generated,
        reaches,
        ledger,
        board,
        state: prepared.state,
        admin,
        banner: prepared.banner,
        phase: Phase::Starting,
        pending: Pending::default(),
        told: HashSet::new(),
    };
    control.begin();
    control.keep(events, &mut found, &mut signals, open_by).await
}

impl Control {
    fn begin(&mut self) {
        for note in self.handle.notes() {
            log::warn(note);
        }
        self.board.snapshot(&self.snapshot);
        for (upstream, why) in unreachable(&self.reaches) {
            self.learned(upstream, Err(why));
        }
        self.board.upstreams(&self.ledger);
    }

    async fn keep(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        found: &mut mpsc::UnboundedReceiver<Found>,
        signals: &mut Signals,
        open_by: Instant,
    ) -> Result<(), Failure> {
        let mut pulse = interval(PULSE_EVERY);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end_by = None;
        let mut outcome = Ok(());
        while self.running > 0 {
            if self.phase == Phase::Starting && self.ledger.all_heard() {
                self.open();
            }
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return Err(Failure::bug("every worker is gone without a word")) };
                    if let Err(failure) = self.hear(event) {
                        outcome = Err(failure);
                        end_by.get_or_insert_with(|| self.drain());
                    }
                }
                Some(found) = found.recv() => self.found(found),
                _ = at(self.pending.due()) => self.bind(),
                _ = sleep_until(open_by), if self.phase == Phase::Starting => self.open(),
                told = signals.recv() => match (told, end_by) {
                    (Told::Reload, _) => log::warn("SIGHUP: reloading is not in this version; start again to serve a changed file"),
                    (Told::Stop, None) => end_by = Some(self.drain()),
                    (Told::Stop, Some(_)) => return Err(interrupted("told to stop twice")),
                },
                _ = at(end_by) => return Err(interrupted("exchanges did not end before the deadline")),
                now = pulse.tick() => self.board.pulse(now.into_std()),
            }
        }
        outcome
    }

    fn hear(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Learned { upstream, outcome } => self.learned(upstream, outcome),
            Event::ChildLog { upstream, line } => log::of_child(self.name(upstream), &line),
            Event::Notice { level, text } => log::at(level, &text),
            Event::Stopped { worker, outcome } => {
                self.running -= 1;
                let why = match outcome {
                    Ok(()) if self.phase == Phase::Draining => return Ok(()),
                    Ok(()) => "it was not asked to".to_owned(),
                    Err(why) => why,
                };
                let text = format!("worker {worker} stopped: {why}");
                log::error(&text);
                return Err(Failure::bug(text));
            }
        }
        Ok(())
    }

    fn learned(&mut self, upstream: usize, outcome: Result<strait_table::catalog::Lists, String>) {
        let change = self.ledger.learned(upstream, outcome);
        if change == Change::Nothing {
            return;
        }
        if let Some(standing) = self.ledger.standing(upstream) {
            match &standing.error {
                Some(error) => log::of_upstream(Level::Warn, &standing.name, error),
                // At start the banner says it.
                None if self.phase == Phase::Starting => {}
                None => log::of_upstream(Level::Info, &standing.name, "its lists have changed"),
            }
        }
        self.board.upstreams(&self.ledger);
        if change == Change::Catalog {
            self.pending.changed(Instant::now());
        }
    }

    fn found(&mut self, found: Found) {
        log::of_upstream(Level::Info, self.name(found.upstream), &format!("found at {:?}", found.endpoint));
        reach::add(&mut self.reaches, found);
        self.handle.learn(Facts { keys: self.keys.clone(), reaches: Arc::new(self.reaches.clone()) });
    }

    /// Joins the rules with what upstreams offer now, and hands the result to the workers.
    fn bind(&mut self) {
        self.pending.done();
        let (bound, findings) = bind(self.snapshot.rules(), self.ledger.catalog());
        for finding in findings {
            let text = format!(
                "server `{}` does not show `{}.{}`: {}",
                finding.server, finding.upstream, finding.name, finding.reason
            );
            if self.told.insert(text.clone()) {
                log::warn(text);
            }
        }
        match self.snapshot.with_bound(&bound) {
            Ok(snapshot) => {
                self.snapshot = Arc::new(snapshot);
                self.handle.adopt(self.snapshot.clone());
                self.board.snapshot(&self.snapshot);
            }
            Err(error) => log::error(format!("new lists cannot be used, the last good ones stay: {error}")),
        }
    }

    fn open(&mut self) {
        if self.pending.due().is_some() {
            self.bind();
        }
        self.phase = Phase::Open;
        self.handle.open();
        self.board.phase(Phase::Open);
        let shown = Shown {
            snapshot: &self.snapshot,
            ledger: &self.ledger,
            addresses: self.handle.addresses(),
            generated: &self.generated,
            driver: self.handle.driver().label(),
            workers: self.running,
            admin: &self.admin,
            state: self.state.root(),
        };
        match self.banner {
            true => banner::print(&shown),
            false => log::info(banner::one_line(&shown)),
        }
    }

    /// Stops accepting; gives the moment after which waiting is over.
    fn drain(&mut self) -> Instant {
        log::info(format!(
            "stopping: exchanges in flight have {} s to end; a second signal ends now",
            DRAIN_WITHIN.as_secs()
        ));
        self.phase = Phase::Draining;
        self.board.phase(Phase::Draining);
        self.handle.drain(DRAIN_WITHIN);
        Instant::now() + DRAIN_WITHIN + DRAIN_GRACE
    }

    fn name(&self, upstream: usize) -> &str {
        self.ledger.standing(upstream).map_or("?", |standing| &standing.name)
    }
}

fn unreachable(reaches: &[Reach]) -> Vec<(usize, String)> {
    let why = |(at, reach): (usize, &Reach)| match reach {
        Reach::Unreachable(why) => Some((at, why.clone())),
        _ => None,
    };
    reaches.iter().enumerate().filter_map(why).collect()
}

fn interrupted(why: &str) -> Failure {
    Failure::new(Code::Interrupted, format!("stopped before every worker had ended: {why}"))
}

/// Waits for a moment, or for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Signals {
    fn listen() -> Result<Signals, Failure> {
        let on = |kind| {
            signal(kind).map_err(|e| Failure::new(Code::Unfit, format!("cannot listen for signals: {e}")))
        };
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn recv(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    async fn stop(&mut self) {
        while !matches!(self.recv().await, Told::Stop) {}
    }
}
