//! Bringing the engine up: choose a driver, bind every listener once per worker, start the threads.

use std::net::SocketAddr;
use std::sync::Arc;

use strait_table::Snapshot;
use strait_table::rules::ArchivedLogTo;
use tokio::sync::mpsc;

use crate::audit::{AccessLog, Destination};
use crate::caps::{Caps, Room};
use crate::core::Parts;
use crate::edition::{Edition, UpstreamId};
use crate::figures::WorkerFigures;
use crate::handle::{Event, Handle, Options};
use crate::io::driver::{self, DriverError};
use crate::io::spawn::Spawner;
use crate::io::tcp::Bound;
use crate::io::{mailbox, runtime, tcp, vigil};
use crate::limits::{BUSY_POLL_MAX, EVENTS_MAX};
use crate::session::{Past, Seal};
use crate::worker;

/// Why the engine did not start.
#[derive(Debug)]
pub enum StartError {
    Driver(DriverError),
    Listen { listener: String, address: SocketAddr, error: std::io::Error },
    Address(String),
    Log { error: std::io::Error },
    Thread { error: std::io::Error },
    Random { error: std::io::Error },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Driver(error) => write!(f, "{error}"),
            StartError::Listen { listener, address, error } => {
                write!(f, "cannot listen on {address} (listener `{listener}`): {error}")?;
                match error.kind() {
                    std::io::ErrorKind::AddrInUse => write!(
                        f,
                        "; another process has it: `ss -ltnp 'sport = :{}'` names it, or choose another `bind`",
                        address.port()
                    ),
                    std::io::ErrorKind::PermissionDenied => {
                        write!(f, "; ports under 1024 need CAP_NET_BIND_SERVICE, or choose a higher one")
                    }
                    std::io::ErrorKind::AddrNotAvailable => {
                        write!(f, "; no interface of this machine has that address")
                    }
                    _ => Ok(()),
                }
            }
            StartError::Address(what) => f.write_str(what),
            StartError::Log { error } => write!(f, "cannot open the access log: {error}"),
            StartError::Thread { error } => write!(f, "cannot start a thread: {error}"),
            StartError::Random { error } => write!(f, "the kernel gives no random numbers: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Starts the engine. It learns from upstreams at once, but accepts only after [`Handle::open`].
pub fn start(options: Options, edition: Arc<Edition>) -> Result<(Handle, mpsc::Receiver<Event>), StartError> {
    let chosen = driver::choose(options.driver).map_err(StartError::Driver)?;
    let workers = options.workers.max(1);
    let rules = edition.snapshot.rules();
    let destination = match &rules.access_log.to {
        ArchivedLogTo::Off => Destination::Off,
        ArchivedLogTo::Stdout => Destination::Stdout,
        ArchivedLogTo::File(path) => Destination::File(options.base.join(path.as_str())),
    };
    let listeners = bind(&edition.snapshot, workers, options.force_wrong_worker)?;
    let addresses = listeners
        .first()
        .map(|of_worker| of_worker.iter().filter_map(|l| l.local_addr().ok()).collect())
        .unwrap_or_default();
    let (log, lines) = AccessLog::start(&destination, workers).map_err(|error| StartError::Log { error })?;
    let (events, reports) = mpsc::channel(EVENTS_MAX);
    let child_lines = events.clone();
    let spawner = Spawner::start(move |line| {
        let _ = child_lines.try_send(Event::ChildLog { upstream: UpstreamId(line.tag), line: line.line });
    })
    .map_err(|error| StartError::Thread { error })?;
    let kept = options.sessions.map(Arc::new);
    let seal = match &kept {
        Some(kept) => Seal::of(&kept.key),
        None => Seal::random().map_err(|error| StartError::Random { error })?,
    };
    let cores = driver::cores();
    let room = Room::look();
    let configured = Caps::configured(rules);
    let lowered = configured.within(&room, workers).note(&configured);
    let mut handle = Handle {
        commands: Vec::new(),
        figures: Vec::new(),
        books: edition.books.clone(),
        driver: chosen.driver,
        notes: [&chosen.note, &lowered].into_iter().flatten().cloned().collect(),
        addresses,
        threads: Vec::new(),
        spawner: spawner.clone(),
        log,
    };
    let posts = mailbox::grid(workers);
    for (id, ((post, lines), listeners)) in posts.into_iter().zip(lines).zip(listeners).enumerate() {
        let (commands, orders) = mpsc::unbounded_channel();
        let figures = Arc::new(WorkerFigures::default());
        handle.commands.push(commands);
        handle.figures.push(figures.clone());
        let (edition, seal, past) = (edition.clone(), seal.clone(), Past::new(kept.clone()));
        let (spawner, chosen, reports) = (spawner.clone(), chosen.clone(), events.clone());
        let (force_wrong_worker, deadlines) = (options.force_wrong_worker, options.deadlines);
        let busy_poll = options.busy_poll.min(BUSY_POLL_MAX);
        // With fewer than three cores a pinned worker would compete with its neighbours for one core.
        let pin = (cores.len() >= 3).then(|| cores[id % cores.len()]);
        let events = reports.clone();
        let main = move || {
            let parts = Parts {
                id,
                workers,
                force_wrong_worker,
                deadlines,
                room,
                edition,
                figures,
                seal,
                past,
                post,
                events,
                spawner,
                log: lines,
            };
            vigil::begin(busy_poll);
            worker::run(parts, listeners, orders)
        };
        let ended = move |outcome: Result<(), DriverError>| {
            let outcome = outcome.map_err(|error| error.to_string());
            let _ = reports.blocking_send(Event::Stopped { worker: id, outcome });
        };
        let thread = runtime::launch(format!("strait-worker-{id}"), chosen, pin, main, ended);
        handle.threads.push(thread.map_err(|error| StartError::Thread { error })?);
    }
    Ok((handle, reports))
}

/// One socket per worker and listener on the same address, bound before any thread starts: a port that
/// is taken fails here, whole.
fn bind(snapshot: &Snapshot, workers: usize, only_first: bool) -> Result<Vec<Vec<Bound>>, StartError> {
    let rules = snapshot.rules();
    let mut addresses = worker::addresses(rules).map_err(StartError::Address)?;
    let mut all = Vec::new();
    for id in 0..workers {
        let mut of_worker = Vec::new();
        if id > 0 && only_first {
            all.push(of_worker);
            continue;
        }
        for (address, listener) in addresses.iter_mut().zip(rules.listeners.iter()) {
            let failed = |error| StartError::Listen {
                listener: listener.name.as_str().to_owned(),
                address: *address,
                error,
            };
            if id == 0 {
                tcp::claim(*address).map_err(failed)?;
            }
            let bound = tcp::listen(*address).map_err(failed)?;
            // Port 0 means any; the other workers join the first one's.
            *address = bound.local_addr().map_err(failed)?;
            of_worker.push(bound);
        }
        all.push(of_worker);
    }
    Ok(all)
}
