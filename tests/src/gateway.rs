//! A gateway in this process.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strait_audit::SigningKey;
use strait_audit::segment::{Next, Segment};
use strait_audit::verify::{Against, verify};
use strait_engine::audit::keeper::Keeping;
use strait_engine::exchange::shadow::Differences;
use strait_engine::figures::generations::Tally;
use strait_engine::trial::{Mode, Trial};
use strait_engine::trust::{Revoked, Role, Trust};
use strait_engine::{Deadlines, DriverChoice, Edition, Event, Facts, Handle, Kept, Options};
use strait_table::catalog::{Catalog, Lists};
use strait_table::{Snapshot, bind};

use crate::edition::{Key, Ledger, facts};

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long exchanges under way may take when a gateway ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What to start.
pub struct Setup {
    pub config: String,
    /// The text of `strait.lock` beside it.
    pub lock: Option<String>,
    pub workers: usize,
    pub driver: DriverChoice,
    pub force_wrong_worker: bool,
    pub deadlines: Deadlines,
    /// What a gateway before it has left.
    pub sessions: Option<Kept>,
    /// Keys as `(key, principal, groups)`, for every identity of the config.
    pub keys: Vec<Key>,
    /// It keeps an audit log, also where its config has none; `STRAIT_AUDIT=on` has a whole test binary do so.
    pub audited: bool,
}

impl Setup {
    pub fn new(config: impl Into<String>) -> Setup {
        Setup {
            config: config.into(),
            lock: None,
            workers: 2,
            driver: driver_from_environment(),
            force_wrong_worker: false,
            deadlines: Deadlines::default(),
            sessions: None,
            keys: vec![("key-full", "ann", &["full"]), ("key-small", "sam", &["small"])],
            audited: std::env::var("STRAIT_AUDIT").is_ok_and(|choice| choice == "on"),
        }
    }
}

/// `STRAIT_DRIVER=epoll` runs a whole test binary on the other driver.
fn driver_from_environment() -> DriverChoice {
    match std::env::var("STRAIT_DRIVER") {
        Ok(choice) => {
            choice.parse().unwrap_or_else(|_| panic!("STRAIT_DRIVER: expected auto, io_uring or epoll"))
        }
        Err(_) => DriverChoice::Auto,
    }
}

/// A running gateway; ends when dropped.
pub struct Gateway {
    handle: Option<Arc<Handle>>,
    binder: Option<std::thread::JoinHandle<()>>,
    state: Arc<Mutex<State>>,
    pub address: SocketAddr,
    pub log: PathBuf,
    folder: PathBuf,
    keys: Vec<Key>,
    audited: bool,
}

#[derive(Default)]
struct State {
    learned: HashMap<usize, Result<(), String>>,
    notices: Vec<String>,
    child_lines: Vec<String>,
    /// Serials of sessions that are over, and whose they were.
    ended: HashMap<u128, u64>,
    /// The last one that workers were given.
    edition: Option<Arc<Edition>>,
    /// What its upstreams told.
    catalog: Catalog,
    /// A candidate beside it, and what its upstreams offer.
    trial: Option<(Arc<Edition>, Catalog)>,
    /// How often workers were told of candidates.
    trials: u64,
    stopped: usize,
}

impl Gateway {
    /// Starts a gateway and waits until every upstream has answered or failed.
    pub fn start(setup: Setup) -> Gateway {
        watch_for_panics();
        let folder = scratch_folder();
        let log = folder.join("access.log");
        if let Some(lock) = &setup.lock {
            std::fs::write(folder.join("strait.lock"), lock).expect("write the lock file");
        }
        let snapshot = Arc::new(compiled((&folder, &log), &setup.config, setup.audited));
        let edition =
            Arc::new(Edition::first(snapshot.clone(), facts(&snapshot, &setup.keys), setup.workers));
        let options = Options {
            workers: setup.workers,
            driver: setup.driver,
            busy_poll: Duration::ZERO,
            base: folder.clone(),
            force_wrong_worker: setup.force_wrong_worker,
            deadlines: setup.deadlines,
            sessions: setup.sessions,
            audit: snapshot.rules().audit.as_ref().map(|_| Keeping {
                key: SigningKey::open_or_make(&folder.join("audit.key")).expect("a key for the audit log"),
                start: "{}".to_owned(),
            }),
            sockets: Arc::default(),
        };
        let (handle, events) = strait_engine::start(options, edition.clone()).expect("start the engine");
        let handle = Arc::new(handle);
        let state = Arc::new(Mutex::new(State::default()));
        let binder = std::thread::spawn({
            let (handle, state) = (handle.clone(), state.clone());
            move || bind_lists(&handle, edition, events, &state)
        });
        let address = handle.addresses()[0];
        let (upstreams, keys, audited) = (snapshot.rules().upstreams.len(), setup.keys, setup.audited);
        let gateway = Gateway {
            handle: Some(handle),
            binder: Some(binder),
            state,
            address,
            log,
            folder,
            keys,
            audited,
        };
        wait_for("every upstream to answer or fail", || {
            gateway.state.lock().unwrap().learned.len() == upstreams
        });
        gateway.handle().open();
        gateway
    }

    pub fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("running")
    }

    /// Why an upstream could not be asked, if so.
    pub fn learning_fault(&self, upstream: usize) -> Option<String> {
        self.state.lock().unwrap().learned.get(&upstream).and_then(|outcome| outcome.clone().err())
    }

    pub fn notices(&self) -> Vec<String> {
        let reported = self.state.lock().unwrap().notices.clone();
        self.handle().notes().iter().cloned().chain(reported).collect()
    }

    pub fn child_lines(&self) -> Vec<String> {
        self.state.lock().unwrap().child_lines.clone()
    }

    /// Sessions that are over, as far as the gateway has told.
    pub fn ended_sessions(&self) -> HashSet<u128> {
        self.state.lock().unwrap().ended.keys().copied().collect()
    }

    /// Whose they were: digests of principals.
    pub fn ended_principals(&self) -> HashSet<u64> {
        self.state.lock().unwrap().ended.values().copied().collect()
    }

    /// From now on the upstreams offer these lists, whatever they told.
    pub fn offer(&self, upstreams: Vec<Lists>) {
        self.succeed(|edition| {
            let catalog = Catalog { upstreams };
            let (bound, _) = bind(edition.snapshot.rules(), &catalog);
            edition.rebound(Arc::new(edition.snapshot.with_bound(&bound).expect("bind")), &catalog)
        });
    }

    /// From now on it serves this config, whose upstreams are those of before and offer what they told.
    pub fn reconfigure(&self, config: &str) {
        let snapshot = Arc::new(compiled((&self.folder, &self.log), config, self.audited));
        let catalog = self.state.lock().unwrap().catalog.clone();
        let (bound, _) = bind(snapshot.rules(), &catalog);
        let bound = Arc::new(snapshot.with_bound(&bound).expect("bind"));
        let facts = facts(&snapshot, &self.keys);
        self.succeed(|edition| edition.succeed(snapshot, facts).rebound(bound, &catalog));
    }

    /// From now on there is a candidate of this config beside what is served; its upstreams offer what those of their names told.
    /// Gives its generation.
    pub fn attempt(&self, config: &str, mode: Mode) -> String {
        let snapshot = Arc::new(compiled((&self.folder, &self.log), config, self.audited));
        let mut state = self.state.lock().unwrap();
        let live = state.edition.clone().expect("an edition that was adopted");
        let names = |snapshot: &Snapshot| -> Vec<String> {
            snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str().to_owned()).collect()
        };
        let known: HashMap<String, Lists> =
            names(&live.snapshot).into_iter().zip(state.catalog.upstreams.iter().cloned()).collect();
        let lists = |name: String| known.get(&name).cloned().unwrap_or_default();
        let catalog = Catalog { upstreams: names(&snapshot).into_iter().map(lists).collect() };
        let (bound, _) = bind(snapshot.rules(), &catalog);
        let bound = Arc::new(snapshot.with_bound(&bound).expect("bind"));
        let candidate = live.succeed(snapshot.clone(), facts(&snapshot, &self.keys)).rebound(bound, &catalog);
        let candidate = Arc::new(candidate);
        state.trials += 1;
        let number = state.trials;
        state.trial = Some((candidate.clone(), catalog));
        drop(state);
        self.tell_trial(Some(Arc::new(Trial { number, edition: candidate, mode })), number);
        snapshot.generation().to_string()
    }

    /// There is no candidate any more; `promoted`: it is what is served.
    pub fn end_trial(&self, promoted: bool) {
        let mut state = self.state.lock().unwrap();
        let (candidate, catalog) = state.trial.take().expect("a candidate");
        if promoted {
            let live = state.edition.as_ref().expect("an edition that was adopted");
            let edition = Arc::new(candidate.promoted(live));
            (state.edition, state.catalog) = (Some(edition.clone()), catalog);
            self.handle().adopt(edition);
        }
        state.trials += 1;
        let serial = state.trials;
        drop(state);
        self.tell_trial(None, serial);
    }

    fn tell_trial(&self, trial: Option<Arc<Trial>>, serial: u64) {
        self.handle().attempt(trial, serial);
        wait_for("every worker to have heard of it", || self.handle().behind_trial(serial).is_empty());
    }

    /// What a shadow has found, on all workers.
    pub fn differences(&self) -> Vec<Differences> {
        let mut found = self.handle().rolls().differences();
        std::iter::from_fn(|| found.blocking_recv()).collect()
    }

    /// Generation and tally of the edition that workers were given last, and of the candidate.
    pub fn tallies(&self) -> (Arc<Tally>, Option<Arc<Tally>>) {
        let state = self.state.lock().unwrap();
        let live = state.edition.as_ref().expect("an edition that was adopted");
        (live.tally.clone(), state.trial.as_ref().map(|(candidate, _)| candidate.tally.clone()))
    }

    /// Of the edition that workers were given last.
    pub fn serial(&self) -> u64 {
        self.state.lock().unwrap().edition.as_ref().map_or(0, |edition| edition.serial)
    }

    /// From now on these keys are known, and no others.
    pub fn rekey(&self, keys: Vec<Key>) {
        self.succeed(|edition| edition.informed(facts(&edition.snapshot, &keys)));
    }

    /// Nobody believes these any more, whatever they bring.
    pub fn revoke(&self, principals: &[&str]) {
        let mut revoked = Revoked::default();
        principals.iter().for_each(|principal| revoked.add(Role::Principal, principal));
        let trust = Arc::new(Trust { revoked: Arc::new(revoked), ..Trust::default() });
        self.succeed(|edition| edition.informed(Facts { trust, ..edition.facts() }));
    }

    fn succeed(&self, next: impl FnOnce(&Edition) -> Edition) {
        let mut state = self.state.lock().unwrap();
        let edition = Arc::new(next(state.edition.as_ref().expect("an edition that was adopted")));
        state.edition = Some(edition.clone());
        self.handle().adopt(edition);
    }

    /// Begins to drain; [`Gateway::stop`] waits for its end.
    pub fn drain(&self) {
        self.handle().drain(DRAIN_DEADLINE);
    }

    /// Drains the gateway and returns its access lines.
    pub fn stop(mut self) -> Vec<serde_json::Value> {
        self.end();
        let lines = std::fs::read_to_string(&self.log).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).expect("an access line is JSON")).collect()
    }

    fn end(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        // Harmless after a drain that a test began.
        handle.drain(DRAIN_DEADLINE);
        if let Some(binder) = self.binder.take() {
            binder.join().expect("the binder ends when all workers have");
        }
        let told: u64 = handle.figures().iter().map(|worker| worker.exchanges()).sum();
        let is_audited = handle.audit().is_some();
        match Arc::try_unwrap(handle) {
            Ok(handle) => handle.join(),
            Err(_) => panic!("somebody still holds the handle"),
        }
        if is_audited {
            let log = self.folder.join("audit");
            verify(&log, &Against::default()).unwrap_or_else(|error| panic!("{error}"));
        }
        if is_audited && self.audited {
            assert_eq!(
                recorded(&self.folder.join("audit")),
                told,
                "records of exchanges, and requests that were counted"
            );
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
            assert_no_worker_panicked();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Records of exchanges in an audit log.
fn recorded(folder: &Path) -> u64 {
    let mut count = 0;
    for first in strait_audit::segment::firsts(folder, "entries").expect("list the segments") {
        let mut segment = Segment::open(folder, first).expect("open a segment");
        while let Next::Frame(record) = segment.read().expect("read a segment") {
            let record: serde_json::Value = serde_json::from_slice(record).expect("a record is JSON");
            count += u64::from(record["kind"] == "exchange" || record["kind"] == "stream_opened");
        }
    }
    count
}

fn compiled((folder, log): (&Path, &Path), config: &str, audited: bool) -> Snapshot {
    let audit = match audited && !config.contains("\naudit:") {
        true => "audit: { path: ./audit }\n",
        false => "",
    };
    let text = format!(
        "strait: 1\nlisteners: {{ main: {{ bind: \"127.0.0.1:0\" }} }}\naccess_log: {{ path: {} }}\n{audit}{config}",
        log.display(),
    );
    let path = folder.join("strait.yaml");
    std::fs::write(&path, text).expect("write the config");
    let outcome = strait_config_compiler::load(&path, &|name| std::env::var(name).ok());
    let rendered = strait_config_compiler::render(&outcome, false);
    let rules = outcome.rules.unwrap_or_else(|| panic!("the config has findings:\n{rendered}"));
    strait_table::snapshot::of_rules(&rules).expect("open the table")
}

fn bind_lists(
    handle: &Arc<Handle>,
    edition: Arc<Edition>,
    mut events: tokio::sync::mpsc::Receiver<Event>,
    state: &Mutex<State>,
) {
    let mut ledger = Ledger::of(edition);
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Learned { upstream, outcome } => {
                // Of a later table's or a candidate's nothing is kept here.
                let Some(upstream) = ledger.index_of(upstream) else { continue };
                let told = outcome.as_ref().map(|_| ()).map_err(String::clone);
                let edition = ledger.learned(upstream, outcome);
                handle.adopt(edition.clone());
                state.lock().unwrap().catalog = ledger.catalog().clone();
                state.lock().unwrap().edition = Some(edition);
                state.lock().unwrap().learned.insert(upstream, told);
            }
            Event::Adopted { .. } | Event::CredentialRefused { .. } => {}
            Event::Notice { text, .. } => state.lock().unwrap().notices.push(text),
            Event::SessionEnded { serial, principal, .. } => {
                state.lock().unwrap().ended.insert(serial, principal);
            }
            Event::ChildLog { line, .. } => state.lock().unwrap().child_lines.push(line),
            Event::Stopped { worker, outcome } => {
                outcome.unwrap_or_else(|error| panic!("worker {worker} ended: {error}"));
                let mut state = state.lock().unwrap();
                state.stopped += 1;
                if state.stopped == handle.figures().len() {
                    return;
                }
            }
        }
    }
}

/// What workers of any gateway of this process said when they panicked. A worker survives the panic of
/// a task, so nothing else would show it.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_for_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("strait-")) {
                PANICS.lock().unwrap().push(info.to_string());
            }
            usual(info);
        }));
    });
}

/// Fails when a worker of any gateway of this process has panicked.
pub fn assert_no_worker_panicked() {
    let panics = PANICS.lock().unwrap().clone();
    assert!(panics.is_empty(), "a worker panicked: {panics:?}");
}

/// Waits until something is true; fails the test after [`PATIENCE`].
pub fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A fresh folder that nobody else uses.
pub fn scratch_folder() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("strait-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("make a scratch folder");
    folder
}
