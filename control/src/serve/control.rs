//! The control loop: what workers report goes into the ledger, a changed ledger becomes an edition, an
//! edition goes back to the workers; and signals end it. `reload.rs` tells how another table comes in.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use strait_engine::trust::Trust;
use strait_engine::{Edition, Event, Facts, Handle, Level, Reach, UpstreamId};
use strait_table::rules::ArchivedText;
use strait_table::{Snapshot, bind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::reload::{Ears, Reload};
use super::revoke::Revocations;
use super::rollout::{Orders, Tried};
use super::trial::Trials;
use super::upgrade::{Heard, Upgrade};
use super::{Prepared, Slot};
use crate::admin::Desk;
use crate::admin::doors::Doors;
use crate::audit;
use crate::banner::{self, Shown};
use crate::board::{Board, Phase};
use crate::failure::{Code, Failure};
use crate::handover::notify::Manager;
use crate::identity::Identity;
use crate::keys::Generated;
use crate::ledger::{Change, Ledger, Pending};
use crate::limits::*;
use crate::load::Loader;
use crate::log;
use crate::quarantine::Quarantine;
use crate::reach::{self, Found, Plan};
use crate::roll_call::RollCall;
use crate::rollout::Order;
use crate::sessions::Sessions;
use crate::shipping::Shipping;
use crate::suspicions::Suspicions;
use crate::telemetry::Telemetry;
use crate::watch::Group;

pub(super) struct Control {
    pub handle: Arc<Handle>,
    /// What workers serve from, or are about to.
    pub edition: Arc<Edition>,
    pub generated: Vec<Generated>,
    /// By upstream of the table, like `reaches`.
    pub plans: Arc<Vec<Plan>>,
    pub reaches: Vec<Reach>,
    pub ledger: Ledger,
    pub board: Arc<Board>,
    pub loader: Arc<Loader>,
    pub identity: Identity,
    pub revocations: Revocations,
    /// Of stores of secrets.
    news: watch::Receiver<u64>,
    pub reload: Reload,
    pub orders: Orders,
    pub trials: Trials,
    pub upgrade: Upgrade,
    pub manager: Manager,
    sessions: Option<Sessions>,
    /// Where the admin endpoints are, if they are anywhere.
    address: Option<String>,
    /// What accepts there.
    admin: Option<AbortHandle>,
    /// Not open yet: a predecessor answers there.
    doors: Option<Doors>,
    banner: bool,
    /// Told once.
    opened: Option<oneshot::Sender<SocketAddr>>,
    /// Workers that have not stopped.
    running: usize,
    pub phase: Phase,
    /// Changed lists that are not bound yet.
    pub pending: Pending,
    /// What the last `bind` found, and so was told already. Not more: upstreams choose the names in it.
    told: BTreeSet<String>,
    /// What the last `bind` held back.
    quarantine: Quarantine,
    suspicions: Suspicions,
    telemetry: Telemetry,
    erasures: Option<audit::Erasures>,
    shipping: Shipping,
}

struct Signals {
    end: End,
    hangup: Signal,
    upgrade: Signal,
}

/// Who may end it.
enum End {
    Signals {
        terminate: Signal,
        interrupt: Signal,
    },
    /// Whoever started a private gateway; empty once told.
    Owner(Option<oneshot::Receiver<()>>),
}

enum Told {
    Stop,
    Reload,
    Upgrade,
}

/// Starts the engine and keeps it until the end.
pub async fn run(prepared: Prepared, slot: &Slot) -> Result<(), Failure> {
    let open_by = Instant::now() + OPEN_WITHIN;
    let mut signals = Signals::listen(prepared.stop)?;
    let board = Arc::new(Board::default());
    let unfit = |error: std::io::Error| {
        Failure::new(Code::Unfit, format!("cannot serve the admin endpoints: {error}"))
    };
    let (orders, ordered) = mpsc::channel(ORDERS_WAITING_MAX);
    let desk = Desk {
        board: board.clone(),
        orders,
        tokens: prepared.admin_tokens,
        root: prepared.loader.state.root().to_owned(),
        file: prepared.loader.file.clone(),
        candidates: Arc::new(Semaphore::new(1)),
    };
    let mut doors = Doors { listener: None, has_socket: prepared.rollout.is_some(), desk };
    let (mut address, mut admin_socket) = (None, None);
    if let Some(listener) = prepared.admin {
        address = Some(listener.local_addr().map_err(unfit)?.to_string());
        admin_socket = Some(listener.try_clone().map_err(unfit)?);
        doors.listener = Some(listener);
    }
    // Whoever comes while a predecessor serves is answered by that one: this process may never come to serve.
    let (mut admin, mut doors) = (None, Some(doors));
    if prepared.predecessor.is_none()
        && let Some(doors) = doors.take()
    {
        admin = doors.open(false).map_err(unfit)?;
    }

    // A hangup is as good before the engine stands as after: the file is read again as soon as it does.
    let mut hung_up = false;
    let (plans, reaches, news) = {
        let (loader, snapshot) = (&prepared.loader, &prepared.snapshot);
        let reaching = async {
            loader.acquire(snapshot).await;
            // What comes later is news.
            let news = loader.secrets.stores().news();
            let plans = loader.plans(snapshot);
            (plans.clone(), loader.scout.reach(plans).await, news)
        };
        tokio::pin!(reaching);
        loop {
            tokio::select! {
                reached = &mut reaching => break reached,
                told = signals.recv() => match told {
                    Told::Stop => return Ok(()),
                    Told::Reload => hung_up = true,
                    Told::Upgrade => {}
                },
            }
        }
    };
    let (revoked, ..) = prepared.revocations.list.in_force(crate::time::unix_s());
    let mut identity = Identity::new(prepared.loader.base.clone(), Arc::new(revoked));
    let secret = |text: &ArchivedText| prepared.loader.reference(&prepared.snapshot, text);
    let facts = Facts {
        keys: Arc::new(prepared.keys.ring),
        trust: identity.trust(&prepared.snapshot, &[], &secret),
        reaches: Arc::new(reaches.clone()),
        listeners: prepared.listeners,
    };
    let edition = Arc::new(Edition::first(prepared.snapshot, facts, prepared.options.workers.max(1)));
    let (handle, events) = strait_engine::start(prepared.options, edition.clone())
        .map_err(|error| Failure::new(Code::Unfit, error.to_string()))?;
    // Workers ask from here on.
    let open_by = open_by.max(Instant::now() + ASKED_AT_LEAST);
    let handle = Arc::new(handle);
    // Nobody else writes the slot.
    let _ = slot.set(handle.clone());

    board.secrets(prepared.loader.secrets.stores());
    let telemetry = Telemetry::new(board.clone());
    let (base, state) = (prepared.loader.base.clone(), prepared.loader.state.root().to_owned());
    let folder = edition.snapshot.rules().audit.as_ref().map(|audit| base.join(audit.path.as_str()));
    let shipping = Shipping::new(folder.zip(handle.audit()), &base, &state, board.clone());
    board.engine(handle.figures(), handle.books(), handle.driver().label());
    board.audit(handle.audit());
    let (upgrade, heard) = Upgrade::new(prepared.program, admin_socket, prepared.predecessor);
    let (reload, ears) = Reload::new(prepared.sources, prepared.marks, prepared.fallen_back);
    let mut rollout = prepared.rollout;
    if let (Some(rollout), Some(_)) = (&mut rollout, handle.audit()) {
        let log = Arc::downgrade(&handle);
        rollout.tell(move |entry| {
            if let Some(handle) = log.upgrade() {
                audit::tell(&handle, audit::of_history(entry));
            }
        });
    }
    let (orders, tried) = Orders::new(rollout);
    let erasures = audit::Erasures::of(&edition.snapshot, &prepared.loader.base);
    let mut control = Control {
        running: handle.figures().len(),
        handle,
        ledger: Ledger::new(named(&edition)),
        edition,
        generated: prepared.keys.generated,
        plans: Arc::new(plans),
        reaches,
        board,
        loader: prepared.loader,
        identity,
        revocations: Revocations::new(prepared.revocations),
        news,
        sessions: prepared.sessions,
        reload,
        orders,
        trials: Trials::default(),
        upgrade,
        manager: prepared.manager,
        address,
        admin,
        doors,
        banner: prepared.banner,
        opened: Some(prepared.opened),
        phase: Phase::Starting,
        pending: Pending::default(),
        told: BTreeSet::new(),
        quarantine: Quarantine::default(),
        suspicions: Suspicions::default(),
        telemetry,
        erasures,
        shipping,
    };
    control.begin(hung_up);
    let ended =
        control.keep(events, prepared.found, ears, (ordered, tried, heard), &mut signals, open_by).await;
    control.shipping.end();
    control.telemetry.end().await;
    ended
}

impl Control {
    fn begin(&mut self, hung_up: bool) {
        for note in self.handle.notes() {
            log::warn(note);
        }
        // Only now it is known where listeners with any port are.
        self.believe();
        self.show_edition();
        self.tell_collector();
        self.show_trial();
        self.show_revocations();
        self.tell_unreachable();
        self.board.upstreams(&self.ledger);
        self.begin_reloads(hung_up);
    }

    /// Nobody will hear of an upstream that cannot be asked.
    pub fn tell_unreachable(&mut self) {
        for (upstream, why) in unreachable(&self.edition, &self.reaches) {
            self.learned(upstream, Err(why));
        }
    }

    async fn keep(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        mut found: mpsc::UnboundedReceiver<Found>,
        mut ears: Ears,
        (mut ordered, mut tried, mut heard): (
            mpsc::Receiver<Order>,
            mpsc::UnboundedReceiver<Tried>,
            mpsc::UnboundedReceiver<Heard>,
        ),
        signals: &mut Signals,
        open_by: Instant,
    ) -> Result<(), Failure> {
        let mut pulse = interval(PULSE_EVERY);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end_by = None;
        let mut outcome = Ok(());
        let keys_changed = self.identity.changed.clone();
        let (tokens_changed, tokens_told) = self.loader.grants.ears();
        let mut news = self.news.clone();
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
                () = keys_changed.notified() => self.believe(),
                () = tokens_changed.notified() => self.changed(Group::Secrets),
                () = tokens_told.notified() => self.show_tokens(),
                // A store of secrets has another value; the sender is in the loader.
                Ok(()) = news.changed() => self.changed(Group::Secrets),
                _ = at(self.pending.due()) => self.bind(),
                _ = at(self.trials.due()) => self.bind_trial(),
                _ = sleep_until(open_by), if self.phase == Phase::Starting => self.open(),
                Some(group) = ears.changes.recv() => self.changed(group),
                Some(attempt) = ears.attempts.recv() => self.attempted(attempt),
                Some(order) = ordered.recv() => self.order(order),
                Some(tried) = tried.recv() => self.tried(tried),
                _ = at(self.reload.adopt_by()) => self.tell_who_is_behind(),
                Some(heard) = heard.recv() => {
                    if let Some(by) = self.heard_of(heard) {
                        end_by = Some(by);
                    }
                }
                told = signals.recv() => match (told, end_by) {
                    (Told::Reload, _) => self.hung_up(),
                    (Told::Upgrade, _) => self.upgrade(),
                    (Told::Stop, None) => end_by = Some(self.drain()),
                    (Told::Stop, Some(_)) => return Err(interrupted("told to stop twice")),
                },
                _ = at(end_by) => return Err(interrupted("exchanges did not end before the deadline")),
                now = pulse.tick() => {
                    self.board.pulse(now.into_std());
                    self.judge_trial(now);
                    self.answer_trial();
                    self.look_at_revocations();
                    self.look_at_erasures(now);
                    self.free();
                    self.look_after_predecessor();
                    // A process in which a worker hangs is one to be ended.
                    if self.board.stalled(now.into_std()).is_empty() {
                        self.manager.alive(now.into_std());
                    }
                }
            }
        }
        outcome
    }

    fn hear(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Learned { upstream, outcome } => self.learned(upstream, outcome),
            Event::CredentialRefused { upstream } => self.loader.grants.refused(self.name(upstream)),
            Event::ChildLog { upstream, line } => log::of_child(self.name(upstream), &line),
            Event::Adopted { pause_ns, .. } => self.adopted(pause_ns),
            Event::SessionEnded { serial, begun_unix_ms, principal } => {
                if let Some(sessions) = &mut self.sessions {
                    sessions.ended(serial, begun_unix_ms, principal);
                }
                self.upgrade.session_ended(serial, principal);
            }
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

    fn learned(&mut self, upstream: UpstreamId, outcome: Result<strait_table::catalog::Lists, String>) {
        self.learned_on_trial(upstream, &outcome);
        let change = self.ledger.learned(upstream, outcome);
        if change == Change::Nothing {
            return;
        }
        if change != Change::Freshness
            && let Some(standing) = self.ledger.standing(upstream)
        {
            match &standing.error {
                Some(error) => log::of_upstream(Level::Warn, &standing.name, error),
                // At start the banner says it.
                None if self.phase == Phase::Starting => {}
                None => log::of_upstream(Level::Info, &standing.name, "its lists have changed"),
            }
        }
        self.board.upstreams(&self.ledger);
        self.pending.changed(change, Instant::now());
    }

    fn found(&mut self, found: Found) {
        log::info(format!("found {:?}", found.endpoint));
        reach::add(&self.plans, &mut self.reaches, &found);
        let facts = Facts { reaches: Arc::new(self.reaches.clone()), ..self.edition.facts() };
        self.publish(self.edition.informed(facts));
        self.found_on_trial(&found);
        self.reload.found(found);
    }

    /// What workers believe of tokens under this table.
    pub fn trust(&mut self, snapshot: &Snapshot) -> Arc<Trust> {
        let loader = self.loader.clone();
        self.identity.trust(snapshot, self.handle.addresses(), &|text| loader.reference(snapshot, text))
    }

    /// Issuers have other keys, or somebody is not believed any more.
    pub fn believe(&mut self) {
        let snapshot = self.edition.snapshot.clone();
        let trust = self.trust(&snapshot);
        if trust.is_another_than(&self.edition.trust) {
            self.publish(self.edition.informed(Facts { trust, ..self.edition.facts() }));
        }
        self.believe_on_trial();
    }

    /// What workers serve from now on.
    pub fn publish(&mut self, edition: Edition) {
        let last = std::mem::replace(&mut self.edition, Arc::new(edition));
        self.reload.leave(last);
        self.handle.adopt(self.edition.clone());
        // What is looked into meanwhile has begun to ask for its own.
        if !self.reload.is_under_way() {
            self.want_only();
        }
        self.show_edition();
        self.tell_collector();
    }

    /// Lets go of tokens that nothing in use wants.
    pub fn want_only(&self) {
        let in_use = [Some(&self.edition), self.trials.edition()].into_iter().flatten();
        self.loader.grants.want_only(in_use.map(|edition| &*edition.snapshot));
    }

    /// Whom the edition in use tells of itself.
    pub fn tell_collector(&mut self) {
        let (loader, snapshot) = (self.loader.clone(), self.edition.snapshot.clone());
        let secret = |text: &ArchivedText| loader.reference(&snapshot, text);
        self.telemetry.serves(&self.handle, &snapshot, &secret);
        self.shipping.serves(&snapshot, &secret);
    }

    fn show_tokens(&self) {
        self.board.tokens(self.loader.grants.standings());
    }

    pub fn show_edition(&self) {
        self.board.snapshot(&self.edition.snapshot);
        self.board.serves(&self.edition.tally);
        self.board.certificates(self.loader.certificates.expiries());
        self.show_tokens();
        self.board.left_out(&self.told);
        self.board.quarantine(&self.quarantine);
        self.board.suspicions(self.suspicions.to_json());
        self.board.roll_call(RollCall { rolls: self.handle.rolls(), edition: Arc::downgrade(&self.edition) });
    }

    /// Joins the rules with what upstreams offer now, and hands the result to the workers.
    fn bind(&mut self) {
        let bound = match self.pending.done() {
            true => self.bound(&self.edition.snapshot.clone()).map(Arc::new),
            false => Ok(self.edition.snapshot.clone()),
        };
        match bound {
            Ok(snapshot) => self.publish(self.edition.rebound(snapshot, self.ledger.catalog())),
            Err(why) => log::error(format!("new lists cannot be used, the last good ones stay: {why}")),
        }
    }

    /// The table, bound to what its upstreams offer according to the ledger.
    pub fn bound(&mut self, snapshot: &Snapshot) -> Result<Snapshot, String> {
        let (bound, findings) = bind(snapshot.rules(), self.ledger.catalog());
        let texts = findings.into_iter().map(|finding| {
            format!(
                "server `{}` does not show `{}.{}`: {}",
                finding.server, finding.upstream, finding.name, finding.reason
            )
        });
        let last = std::mem::replace(&mut self.told, texts.collect());
        self.told.difference(&last).for_each(log::warn);
        let before = self.quarantine.brief();
        self.quarantine.renew(snapshot, self.ledger.catalog());
        let after = self.quarantine.brief();
        if (&after["count"], &after["shown"]) != (&before["count"], &before["shown"]) {
            audit::tell(&self.handle, json!({ "act": "quarantine", "before": before, "after": after }));
        }
        self.suspicions.renew(snapshot, &self.ledger);
        snapshot.with_bound(&bound).map_err(|error| error.to_string())
    }

    fn open(&mut self) {
        if self.pending.due().is_some() {
            self.bind();
        }
        self.phase = Phase::Open;
        self.handle.open();
        self.board.phase(Phase::Open);
        if let Some(doors) = self.doors.take() {
            match doors.open(true) {
                Ok(serving) => self.admin = serving,
                Err(error) => log::error(format!("cannot serve the admin endpoints: {error}")),
            }
        }
        let shown = Shown {
            snapshot: &self.edition.snapshot,
            ledger: &self.ledger,
            addresses: self.handle.addresses(),
            generated: &self.generated,
            driver: self.handle.driver().label(),
            workers: self.running,
            admin: self.address.as_deref(),
            state: self.loader.state.root(),
            file: &self.loader.file,
            kept_instead: self.reload.kept_instead(),
        };
        match self.banner {
            true => banner::print(&shown),
            false => log::info(banner::one_line(&shown)),
        }
        if let (Some(opened), Some(address)) = (self.opened.take(), self.handle.addresses().first()) {
            // Whoever does not ask is not told.
            let _ = opened.send(*address);
        }
        self.keep_table();
        self.note_start();
        self.tell_predecessor();
    }

    /// Tells the service manager that this process serves, once it does.
    pub fn tell_ready(&mut self) {
        if self.phase == Phase::Open {
            self.manager.ready(&format!("open: generation {}", self.edition.snapshot.generation()));
        }
    }

    fn look_at_erasures(&mut self, now: Instant) {
        if let Some(erasures) = &mut self.erasures {
            erasures.look(&self.handle, now.into_std());
        }
    }

    /// Stops accepting; gives the moment after which waiting is over.
    fn drain(&mut self) -> Instant {
        log::info(format!(
            "stopping: exchanges in flight have {} s to end; a second signal ends now",
            DRAIN_WITHIN.as_secs()
        ));
        self.enter_drain();
        audit::tell(&self.handle, json!({ "act": "drain" }));
        self.handle.drain(DRAIN_WITHIN);
        Instant::now() + DRAIN_WITHIN + DRAIN_GRACE
    }

    pub fn enter_drain(&mut self) {
        self.phase = Phase::Draining;
        self.upgrade.give_up();
        self.board.phase(Phase::Draining);
        self.manager.stopping("exchanges in flight end");
    }

    /// Whoever asks is answered by another process from now on.
    pub fn stop_admin(&mut self) {
        if let Some(serving) = self.admin.take() {
            serving.abort();
        }
    }

    fn name(&self, upstream: UpstreamId) -> &str {
        let standing = self.ledger.standing(upstream).or_else(|| self.trials.standing(upstream));
        standing.map_or("?", |standing| &standing.name)
    }
}

pub(super) fn unreachable(edition: &Edition, reaches: &[Reach]) -> Vec<(UpstreamId, String)> {
    let why = |(id, reach): (UpstreamId, &Reach)| match reach {
        Reach::Unreachable(why) => Some((id, why.clone())),
        _ => None,
    };
    edition.ids().zip(reaches).filter_map(why).collect()
}

/// The upstreams of an edition, as the ledger wants them.
pub(super) fn named(edition: &Edition) -> impl Iterator<Item = (UpstreamId, String)> + '_ {
    let names = edition.snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str().to_owned());
    edition.ids().zip(names)
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
    fn listen(owner: Option<oneshot::Receiver<()>>) -> Result<Signals, Failure> {
        let on = |kind| {
            signal(kind).map_err(|e| Failure::new(Code::Unfit, format!("cannot listen for signals: {e}")))
        };
        let end = match owner {
            Some(owner) => End::Owner(Some(owner)),
            None => End::Signals {
                terminate: on(SignalKind::terminate())?,
                interrupt: on(SignalKind::interrupt())?,
            },
        };
        Ok(Signals { end, hangup: on(SignalKind::hangup())?, upgrade: on(SignalKind::user_defined2())? })
    }

    async fn recv(&mut self) -> Told {
        tokio::select! {
            () = self.end.told() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
            _ = self.upgrade.recv() => Told::Upgrade,
        }
    }
}

impl End {
    async fn told(&mut self) {
        match self {
            End::Signals { terminate, interrupt } => {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            }
            End::Owner(owner) => {
                match owner {
                    // An owner that is gone wants nothing any more.
                    Some(told) => drop(told.await),
                    None => std::future::pending().await,
                }
                *owner = None;
            }
        }
    }
}
