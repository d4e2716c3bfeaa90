//! What one worker owns. Everything here belongs to one thread: cells instead of locks, and an `Rc`
//! of it in every task. Tasks borrow a cell for the length of a few lines and never across an await.

mod adopted;
mod standing;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strait_policy::limit::Measure;
use strait_protocol::jsonrpc::{Decoder, Envelope, Scanner, Splices};
use strait_table::condition::Workspace;
use tokio::sync::mpsc;

pub use self::adopted::Adopted;
pub use self::standing::StandingPlace;
use crate::allowance::cells::{Denial, Key};
use crate::allowance::{Allowances, Held};
use crate::audit::access::LogLines;
use crate::audit::desk::Desk;
use crate::caps::{Caps, Room};
use crate::connection::Seat;
use crate::connection::audience::Audience;
use crate::edition::Edition;
use crate::exchange::identify::Tokens;
use crate::exchange::listen::Listens;
use crate::exchange::shape::Edited;
use crate::exchange::suspend::Suspensions;
use crate::exchange::tasks::older::OpenTasks;
use crate::figures::WorkerFigures;
use crate::figures::tools::Met;
use crate::handle::{Event, Level, ListenerTls};
use crate::io::buffer::held_bytes;
use crate::io::clock::Clock;
use crate::io::mailbox::Post;
use crate::io::signal::Signal;
use crate::io::spawn::Spawner;
use crate::io::tcp::Stop;
use crate::io::watch::Watches;
pub use crate::known::TraitsId;
use crate::limits::{Deadlines, REPLIES_KEPT_MAX};
use crate::pooled::Pool;
use crate::session::streams::Over;
use crate::session::{Past, Seal, Sessions};
use crate::trace::{Port, Tracer};
use crate::trial::{OnTrial, Side, Trial};
use crate::upstream::credential::lending::Purse;
use crate::upstream::http::Reading;
use crate::upstream::{Answering, Ids, Upstreams};
use crate::worker::Parcel;

/// One worker's state.
pub struct Core {
    pub id: usize,
    pub workers: usize,
    pub force_wrong_worker: bool,
    pub deadlines: Deadlines,
    room: Room,
    caps: Cell<Caps>,
    pub clock: Clock,
    pub watches: Rc<Watches>,
    pub stop: Stop,
    pub draining: Cell<bool>,
    pub connections: Cell<usize>,
    /// Of those, the ones that were answered for the last time and only drop what still comes.
    pub lingering: Cell<usize>,
    /// Connections over the cap that are being told so.
    pub turning_away: Cell<usize>,
    /// TLS handshakes under way.
    pub handshaking: Cell<usize>,
    pub handshakes_told: ToldNowAndThen,
    /// Every connection that is served, so that a drain can let the idle ones go.
    pub seats: RefCell<HashMap<RawFd, Rc<Seat>>>,
    pub inflight: Cell<usize>,
    /// What callers may still use of their limits.
    pub allowances: Allowances,
    /// Answers that stand open, of [`crate::limits::STANDING_EIGHTHS`] of the connections at most.
    pub standing: Cell<usize>,
    pub figures: Arc<WorkerFigures>,
    pub tools_met: RefCell<Met>,
    pub decoder: RefCell<Decoder>,
    pub scanner: RefCell<Scanner>,
    pub scratch: RefCell<Scratch>,
    pub sessions: RefCell<Sessions>,
    /// Sessions of earlier processes.
    pub past: Past,
    /// Answers that are over, and that clients may come back for.
    pub over: Over,
    pub listens: Listens,
    pub seal: Seal,
    /// Tokens of callers.
    pub tokens: Tokens,
    /// Tokens that callers' were exchanged for.
    pub purse: Purse,
    pub suspended: Suspensions,
    pub open_tasks: OpenTasks,
    pub upstreams: Upstreams,
    /// Replies of HTTP upstreams that are being read.
    pub replies: Pool<Reading>,
    /// Answers on their way to clients.
    pub answers: Pool<Answering>,
    /// Calls as the shapes of their tools have made them.
    pub edits: Pool<Edited>,
    /// What events of upstreams on their way to clients are.
    pub envelopes: Pool<Envelope>,
    pub post: Post<Parcel>,
    pub events: mpsc::Sender<Event>,
    pub spawner: Spawner,
    pub log: LogLines,
    pub audit: Desk,
    pub tracer: Tracer,
    adopted: RefCell<Rc<Adopted>>,
    /// Whoever is told something for longer than an answer takes.
    pub audience: Audience,
    /// What it was adopted from.
    edition: RefCell<Arc<Edition>>,
    /// A candidate beside it.
    trial: RefCell<Option<Rc<OnTrial>>>,
    /// The last number given to an [`Adopted`].
    pub serial: Cell<u64>,
    /// Raised by every edition that is adopted: what clients see may have changed.
    pub changed: Signal,
}

/// Something of which many happen and few are told.
#[derive(Default)]
pub struct ToldNowAndThen {
    pub next_ms: Cell<u64>,
    pub unsaid: Cell<u64>,
}

/// Buffers that are used between two awaits and kept for their capacity.
#[derive(Default)]
pub struct Scratch {
    pub text: Vec<u8>,
    pub other: Vec<u8>,
    pub splices: Splices,
    /// Of conditions.
    pub policy: Workspace,
}

/// The second of Unix time, as of the last tick.
fn unix_s(clock: &Clock) -> i64 {
    (clock.coarse_unix_ms() / 1_000) as i64
}

/// What a worker is made of that others choose.
pub struct Parts {
    pub id: usize,
    pub workers: usize,
    pub force_wrong_worker: bool,
    pub deadlines: Deadlines,
    pub room: Room,
    pub edition: Arc<Edition>,
    pub figures: Arc<WorkerFigures>,
    pub seal: Seal,
    pub past: Past,
    pub post: Post<Parcel>,
    pub events: mpsc::Sender<Event>,
    pub spawner: Spawner,
    pub log: LogLines,
    pub audit: Desk,
    pub traces: Arc<Port>,
}

impl Core {
    pub fn new(parts: Parts) -> Rc<Core> {
        let caps = Caps::configured(parts.edition.snapshot.rules()).within(&parts.room, parts.workers);
        let upstreams = Upstreams::new(Ids::of(parts.id, parts.workers));
        let clock = Clock::new();
        let named = upstreams.adopt(Side::Live, &parts.edition);
        let adopted = Adopted::new(&parts.edition, Side::Live, named, 0, unix_s(&clock));
        parts.figures.serves(&parts.edition);
        let allowances = Allowances::new(parts.workers);
        if let Some(metering) = &adopted.metering {
            allowances.prepare(metering);
        }
        Rc::new(Core {
            id: parts.id,
            workers: parts.workers,
            force_wrong_worker: parts.force_wrong_worker,
            deadlines: parts.deadlines,
            room: parts.room,
            caps: Cell::new(caps),
            clock,
            watches: Watches::new(),
            stop: Stop::new(),
            draining: Cell::new(false),
            connections: Cell::new(0),
            lingering: Cell::new(0),
            turning_away: Cell::new(0),
            handshaking: Cell::new(0),
            handshakes_told: ToldNowAndThen::default(),
            seats: RefCell::default(),
            inflight: Cell::new(0),
            allowances,
            standing: Cell::new(0),
            figures: parts.figures,
            decoder: RefCell::new(Decoder::new()),
            scanner: RefCell::default(),
            scratch: RefCell::default(),
            sessions: RefCell::new(Sessions::new(&parts.deadlines)),
            listens: Listens::default(),
            audience: Audience::default(),
            past: parts.past,
            over: Over::default(),
            seal: parts.seal,
            tools_met: RefCell::default(),
            tokens: Tokens::default(),
            purse: Purse::default(),
            suspended: Suspensions::default(),
            open_tasks: OpenTasks::default(),
            upstreams,
            replies: Pool::new(REPLIES_KEPT_MAX),
            answers: Pool::new(REPLIES_KEPT_MAX),
            edits: Pool::new(REPLIES_KEPT_MAX),
            envelopes: Pool::new(REPLIES_KEPT_MAX),
            post: parts.post,
            events: parts.events,
            spawner: parts.spawner,
            log: parts.log,
            audit: parts.audit,
            tracer: Tracer::new(parts.traces),
            adopted: RefCell::new(adopted),
            edition: RefCell::new(parts.edition),
            trial: RefCell::default(),
            serial: Cell::new(0),
            changed: Signal::new(),
        })
    }

    /// The live snapshot. An exchange takes it once, or chooses the one on trial ([`Core::trial`]), and keeps it to its record.
    pub fn adopted(&self) -> Rc<Adopted> {
        let adopted = self.adopted.borrow().clone();
        if unix_s(&self.clock) < adopted.windows.until {
            return adopted;
        }
        self.turn();
        self.adopted.borrow().clone()
    }

    /// What becomes of how a listener speaks TLS now, if it does.
    pub fn with_listener_tls<T>(&self, listener: u16, then: impl FnOnce(Option<&ListenerTls>) -> T) -> T {
        then(self.edition.borrow().listeners.get(usize::from(listener)).and_then(Option::as_ref))
    }

    /// How all of them do.
    pub fn listeners(&self) -> Arc<Vec<Option<ListenerTls>>> {
        self.edition.borrow().listeners.clone()
    }

    /// The candidate beside it, if there is one.
    pub fn trial(&self) -> Option<Rc<OnTrial>> {
        let on_trial = self.trial.borrow().clone()?;
        if unix_s(&self.clock) < on_trial.adopted.windows.until {
            return Some(on_trial);
        }
        self.turn_trial(&on_trial);
        self.trial.borrow().clone()
    }

    /// The snapshot for what was begun on this side.
    pub fn adopted_on(&self, side: Side) -> Rc<Adopted> {
        match (side, self.trial.borrow().is_some()) {
            (Side::Trial(_), true) => match self.trial() {
                Some(on_trial) if on_trial.side() == side => on_trial.adopted.clone(),
                _ => self.adopted(),
            },
            _ => self.adopted(),
        }
    }

    /// Looks whether other windows hold now, traffic or not: who listens is told, and a clock that was put back does not leave
    /// a window open.
    pub fn look_at_windows(&self) {
        let now_unix_s = unix_s(&self.clock);
        let turned = |adopted: &Adopted| {
            !adopted.snapshot.rules().windows.is_empty()
                && adopted.snapshot.windows_at(now_unix_s).bits != adopted.windows.bits
        };
        let adopted = self.adopted.borrow().clone();
        if turned(&adopted) || adopted.strangers.is_crowded() {
            self.turn();
        }
        let on_trial = self.trial.borrow().clone();
        if let Some(on_trial) = on_trial.filter(|of| turned(&of.adopted) || of.adopted.strangers.is_crowded())
        {
            self.turn_trial(&on_trial);
        }
    }

    /// Serves from the same edition under the windows that hold now.
    fn turn(&self) {
        let edition = self.edition.borrow().clone();
        self.adopted.replace(self.take_up(Side::Live, &edition));
        self.changed.set();
    }

    fn turn_trial(&self, on_trial: &OnTrial) {
        let adopted = self.take_up(on_trial.side(), &on_trial.trial.edition);
        self.trial.replace(Some(Rc::new(OnTrial::new(on_trial.trial.clone(), adopted, Some(on_trial)))));
        self.changed.set();
    }

    fn take_up(&self, side: Side, edition: &Edition) -> Rc<Adopted> {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        let upstreams = self.upstreams.adopt(side, edition);
        let adopted = Adopted::new(edition, side, upstreams, serial, unix_s(&self.clock));
        if let Some(metering) = &adopted.metering {
            self.allowances.prepare(metering);
        }
        adopted
    }

    /// Whether somebody was revoked since `adopted` was taken up who was believed then.
    pub fn has_revoked(&self, adopted: &Adopted, principal: u32) -> bool {
        if self.serial.get() == adopted.serial {
            return false;
        }
        let revoked = &self.adopted_on(adopted.side).trust.revoked;
        !Arc::ptr_eq(revoked, &adopted.trust.revoked) && revoked.has(&adopted.names(principal))
    }

    /// What this core takes on at once.
    pub fn caps(&self) -> Caps {
        self.caps.get()
    }

    /// Whether `bytes` more would be more than this core may hold.
    pub fn is_full_with(&self, bytes: usize) -> bool {
        held_bytes().saturating_add(bytes) > self.caps.get().bytes
    }

    /// Serves from another edition from the next exchange on. Nothing here grows with the table: views are
    /// worked out again by the exchanges that need them, and memory is given back by control.
    pub fn adopt(&self, edition: Arc<Edition>) {
        let began_ns = self.clock.now_ns();
        let rules = edition.snapshot.rules();
        self.caps.set(Caps::configured(rules).within(&self.room, self.workers));
        self.adopted.replace(self.take_up(Side::Live, &edition));
        self.figures.serves(&edition);
        self.edition.replace(edition);
        self.adopted_since(began_ns);
    }

    /// Has a candidate beside the live edition from the next exchange on, or none any more. `serial`: counts what control said of
    /// trials.
    pub fn attempt(&self, trial: Option<Arc<Trial>>, serial: u64) {
        let began_ns = self.clock.now_ns();
        let before = self.trial.borrow().clone();
        let on_trial = trial.map(|trial| {
            let adopted = self.take_up(Side::Trial(trial.number), &trial.edition);
            self.figures.meets(&trial.edition);
            Rc::new(OnTrial::new(trial, adopted, before.as_deref()))
        });
        if on_trial.is_none() {
            self.upstreams.leave_trial();
        }
        self.trial.replace(on_trial);
        self.figures.trial.store(serial, Ordering::Release);
        self.adopted_since(began_ns);
    }

    fn adopted_since(&self, began_ns: u64) {
        self.changed.set();
        let pause_ns = self.clock.now_ns().saturating_sub(began_ns);
        self.report(Event::Adopted { worker: self.id, pause_ns });
    }

    /// Which worker owns what hashes to `key`: stdio children, and nothing of the hot path.
    pub fn owner_of(&self, key: u64) -> usize {
        if self.force_wrong_worker && self.workers > 1 {
            return 1 + (key % (self.workers as u64 - 1)) as usize;
        }
        (key % self.workers as u64) as usize
    }

    /// Reports to control, unless it is too far behind to listen: workers do not wait for it.
    pub fn report(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    pub fn notice(&self, level: Level, text: String) {
        self.report(Event::Notice { level, text });
    }

    /// Takes a place among the exchanges under way, or says what is full.
    pub fn admit(self: &Rc<Self>) -> Result<InFlight, &'static str> {
        if self.inflight.get() >= self.caps.get().calls {
            return Err("too many calls at once");
        }
        if self.is_full_with(0) {
            return Err("too many bytes on their way");
        }
        self.inflight.set(self.inflight.get() + 1);
        Ok(InFlight { core: Some(self.clone()), held: Held::default() })
    }
}

/// A place among the exchanges under way, and those among calls at once that limits count; given back when dropped.
pub struct InFlight {
    core: Option<Rc<Core>>,
    held: Held,
}

impl InFlight {
    /// No place: a question of our own, which no drain waits for.
    pub fn uncounted() -> InFlight {
        InFlight { core: None, held: Held::default() }
    }

    /// Takes a place among the calls at once of a limit's key as well.
    pub fn hold(&mut self, key: Key, measure: &Measure) -> Result<(), Denial> {
        let Some(core) = &self.core else { return Err(Denial::Full) };
        core.allowances.hold(&core.clock, key, measure, &mut self.held)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(core) = &self.core {
            core.inflight.set(core.inflight.get() - 1);
            core.allowances.release(&core.clock, &mut self.held);
        }
    }
}
