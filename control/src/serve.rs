//! A serving process, from an opened table to its last exchange.
//!
//! [`run`] prepares what can fail (addresses, state, keys, references) before anything listens, and
//! then starts one thread, `strait-control`, whose loop (`serve/control.rs`) may wait for anything:
//! names, lists, signals. Workers never wait for it. Should it panic, the workers keep serving and
//! this thread stays to drain them when the process is told to stop.

mod control;
mod reload;
mod revoke;
mod rollout;
mod trial;
mod upgrade;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use strait_engine::io::files;
use strait_engine::{Deadlines, DriverChoice, Handle, Options};
use strait_table::Snapshot;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::certificates::{Certificates, Listeners};
use crate::credentials::Grants;
use crate::failure::{Code, Failure};
use crate::fetch::Fetcher;
use crate::handover::inherited::{ADMIN, Inherited, Predecessor};
use crate::handover::notify::Manager;
use crate::handover::successor;
use crate::keys::Keys;
use crate::limits::{DRAIN_GRACE, DRAIN_WITHIN, HANDOVER_BESIDE};
use crate::load::{Loader, Refused, Start, kept};
use crate::private::Private;
use crate::reach::{Found, Scout};
use crate::revocations::File;
use crate::rollout::Rollout;
use crate::secrets::Secrets;
use crate::sessions::Sessions;
use crate::source::Opened;
use crate::state::{State, read_secret};
use crate::watch::Marks;
use crate::{admin, audit, listen, log, secrets};

/// What to serve, and how.
pub struct Setup {
    /// See [`crate::load::first`].
    pub start: Start,
    pub state: PathBuf,
    /// One per core when not said.
    pub workers: Option<usize>,
    pub driver: DriverChoice,
    /// See [`Options`].
    pub busy_poll: Duration,
    /// For tests: see [`Options`].
    pub force_wrong_worker: bool,
    /// Show a person what can be done now: endpoints, key, commands to try.
    pub banner: bool,
    /// Serve one client in this process and nobody else.
    pub private: Option<Private>,
}

/// Everything that could fail before the engine starts, done.
struct Prepared {
    snapshot: Arc<Snapshot>,
    keys: Keys,
    listeners: Listeners,
    /// A private gateway has none unless it was asked for.
    admin: Option<TcpListener>,
    admin_tokens: admin::Tokens,
    predecessor: Option<Predecessor>,
    manager: Manager,
    /// What a successor is started from.
    program: PathBuf,
    loader: Arc<Loader>,
    found: mpsc::UnboundedReceiver<Found>,
    sources: Vec<PathBuf>,
    marks: Marks,
    fallen_back: Option<Refused>,
    rollout: Option<Rollout>,
    revocations: File,
    /// Where it is written down which clients' sessions are over.
    sessions: Option<Sessions>,
    options: Options,
    banner: bool,
    /// Hears the first listener's address when the gateway is open.
    opened: oneshot::Sender<SocketAddr>,
    /// Whoever started a private gateway tells it to stop, and hears the signals in its stead.
    stop: Option<oneshot::Receiver<()>>,
}

/// Where the control thread leaves the engine's handle for the one that outlives it.
type Slot = Arc<OnceLock<Arc<Handle>>>;

/// A gateway that was started.
pub struct Running {
    thread: JoinHandle<Result<(), Failure>>,
    slot: Slot,
    /// The first listener's address, once it is open.
    pub opened: oneshot::Receiver<SocketAddr>,
    /// Tells a private one to stop.
    pub stop: oneshot::Sender<()>,
    /// Completes when it has ended, however it did.
    pub ended: oneshot::Receiver<()>,
}

/// Serves until the process is told to stop and every accepted request is answered.
pub fn run(setup: Setup) -> Result<(), Failure> {
    let Running { thread, slot, stop: _stop, .. } = start(setup)?;
    join(thread, slot)
}

/// Starts to serve.
pub fn start(setup: Setup) -> Result<Running, Failure> {
    let (opened, open) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let (ends, ended) = oneshot::channel::<()>();
    let stopped = setup.private.is_some().then_some(stopped);
    let prepared = prepare(setup, opened, stopped)?;
    let slot = Slot::default();
    let for_control = slot.clone();
    let thread = std::thread::Builder::new()
        .name("strait-control".into())
        .spawn(move || {
            let _ends = ends;
            let runtime = runtime()?;
            let ended = runtime.block_on(control::run(prepared, &for_control));
            // A host name still being looked up is nothing to wait for.
            runtime.shutdown_background();
            ended
        })
        .map_err(|error| Failure::new(Code::Unfit, format!("cannot start the control thread: {error}")))?;
    Ok(Running { thread, slot, opened: open, stop, ended })
}

impl Running {
    /// Tells a private one to stop, and how it ended. Nobody is left to wait for what takes longer than `within`:
    /// that ends with the process.
    pub fn stop(self, within: Duration) -> Result<(), Failure> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let ended = runtime()?.block_on(async { tokio::time::timeout(within, self.ended).await });
        match ended {
            Ok(_) => join(self.thread, self.slot),
            Err(_) => Ok(()),
        }
    }
}

fn join(thread: JoinHandle<Result<(), Failure>>, slot: Slot) -> Result<(), Failure> {
    let ended = thread.join().unwrap_or_else(|_| orphaned(&slot));
    // After an interruption exchanges may hang, and workers with them: they end with the process.
    let is_interrupted = ended.as_ref().is_err_and(|failure| failure.code == Code::Interrupted);
    let handle = Arc::into_inner(slot).and_then(OnceLock::into_inner).and_then(Arc::into_inner);
    if let (Some(handle), false) = (handle, is_interrupted) {
        handle.join();
    }
    ended
}

fn prepare(
    setup: Setup,
    opened: oneshot::Sender<SocketAddr>,
    stop: Option<oneshot::Receiver<()>>,
) -> Result<Prepared, Failure> {
    secrets::hygiene::leave_no_core();
    let Start { opened: of_file, file, sources, marks, fallen_back, rollout, trust } = setup.start;
    let Opened { snapshot, base, .. } = of_file;
    let state = State::open(&setup.state)?;
    // Whoever cannot tell who was revoked lets nobody in.
    let revocations = File::open(state.root()).map_err(|why| {
        Failure::new(Code::Unfit, why)
            .help("mend the file, or remove it: whoever is in it would be believed again")
    })?;
    let token = |path: std::io::Result<PathBuf>| {
        path.and_then(|path| read_secret(&path)).map_err(|error| {
            let message = format!("cannot write the admin tokens in `{}`: {error}", state.root().display());
            Failure::new(Code::Unfit, message)
        })
    };
    let (operator, viewer) = (token(state.admin_token())?, token(state.viewer_token())?);
    let this_program = std::env::current_exe().map_err(|error| {
        Failure::new(Code::Unfit, format!("cannot find this program's own file: {error}"))
    })?;
    let (sender, found) = mpsc::unbounded_channel();
    let (scout, private) = (Scout::new(sender), setup.private);
    let certificates = Certificates::default();
    let loader = Loader {
        file,
        base: base.clone(),
        secrets: Secrets::of(&state),
        state,
        this_program,
        scout,
        private,
        trust,
        certificates,
        grants: Grants::new(Fetcher::new()),
    };
    let snapshot = loader.secluded(snapshot)?;
    let Listening { sockets, admin, predecessor } = listen_anywhere(&snapshot, loader.private.as_ref())?;
    let mut marks = marks;
    marks.add(loader.watched(&sources, &snapshot));
    let (keys, listeners) = loader.assemble(&snapshot)?;
    marks.wrote(&keys.written);
    let workers = setup.workers.unwrap_or_else(cores);
    // The one client of a private gateway lives no longer than it.
    let (sessions, ids) = match loader.private {
        Some(_) => (None, None),
        None => {
            let opened = Sessions::open(&loader.state, &kept::name(&loader.file));
            let (sessions, ids) = opened.map_err(|error| {
                let path = loader.state.root().display();
                Failure::new(Code::Unfit, format!("cannot keep the key of sessions in `{path}`: {error}"))
            })?;
            (Some(sessions), Some(ids))
        }
    };
    let mut ids = ids;
    if let (Some(ids), Some(_)) = (&mut ids, &predecessor) {
        ids.beside_ms = HANDOVER_BESIDE.as_millis() as u64;
    }
    let audit = audit::keeping(&snapshot, &loader.state, workers, predecessor.is_some())?;
    // It listens already, in the way of its driver.
    let driver = match (&predecessor, setup.driver) {
        (Some(predecessor), DriverChoice::Auto) => predecessor.driver,
        (_, asked_for) => asked_for,
    };
    let program = successor::this_program().map_err(|error| {
        Failure::new(Code::Unfit, format!("cannot find this program's own file: {error}"))
    })?;
    // What that is too little for, the engine tells.
    files::raise();
    let options = Options {
        base,
        workers,
        driver,
        busy_poll: setup.busy_poll,
        force_wrong_worker: setup.force_wrong_worker,
        deadlines: Deadlines::default(),
        sessions: ids,
        audit,
        sockets: Arc::new(sockets),
    };
    Ok(Prepared {
        snapshot,
        keys,
        listeners,
        admin,
        admin_tokens: admin::Tokens::of(&operator, &viewer),
        manager: match loader.private {
            Some(_) => Manager::default(),
            None => Manager::of_environment(predecessor.is_some()),
        },
        predecessor,
        program,
        loader: Arc::new(loader),
        found,
        sources,
        marks,
        fallen_back,
        rollout,
        revocations,
        sessions,
        options,
        banner: setup.banner,
        opened,
        stop,
    })
}

/// Where the table says that this process listens.
struct Listening {
    /// By listener, as far as they were passed on; the engine makes the others.
    sockets: Vec<Vec<TcpListener>>,
    admin: Option<TcpListener>,
    predecessor: Option<Predecessor>,
}

fn listen_anywhere(snapshot: &Snapshot, private: Option<&Private>) -> Result<Listening, Failure> {
    let rules = snapshot.rules();
    // The one client of a private gateway was passed on by nobody.
    let mut inherited = match private {
        Some(_) => Inherited::default(),
        None => Inherited::take()?,
    };
    let (mut sockets, mut wanted) = (Vec::new(), Vec::new());
    for listener in rules.listeners.iter() {
        let what = format!("listener `{}`", listener.name.as_str());
        let of_it = inherited.of(&what, &listener.name, &listener.bind)?;
        if of_it.is_empty() {
            listen::probe(&what, &listener.bind)?;
        }
        wanted.push(format!("{what} at {}", listener.bind.as_str()));
        sockets.push(of_it);
    }
    let mut admin = None;
    if private.is_none_or(Private::wants_admin) {
        let of_it = inherited.of("`admin`", ADMIN, &rules.admin_bind)?.into_iter().next();
        admin = Some(of_it.map_or_else(|| listen::bind("`admin`", &rules.admin_bind), Ok)?);
        wanted.push(format!("admin at {}", rules.admin_bind.as_str()));
    }
    let predecessor = inherited.finish(&wanted.join(", "))?;
    Ok(Listening { sockets, admin, predecessor })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::new(Code::Unfit, format!("cannot start the control runtime: {error}")))
}

/// The control thread panicked. Workers serve what they have until the process is told to stop.
fn orphaned(slot: &Slot) -> Result<(), Failure> {
    let failure = || Failure::bug("the control thread panicked");
    let Some(handle) = slot.get() else { return Err(failure()) };
    log::error(
        "the control thread panicked: requests are served on, but lists, keys and health are no longer kept; \
         start this process again soon",
    );
    runtime()?.block_on(async {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        handle.drain(DRAIN_WITHIN);
        // Nobody hears when workers have stopped: their reports went to the thread that is gone.
        tokio::select! {
            _ = tokio::time::sleep(DRAIN_WITHIN + DRAIN_GRACE) => {},
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
    });
    Err(failure())
}
