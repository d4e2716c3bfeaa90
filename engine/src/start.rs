//! Bringing the engine up: choose a driver, bind every listener once per worker, start the threads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use strait_table::Snapshot;
use strait_table::rules::{ArchivedListener, ArchivedLogTo};
use tokio::sync::mpsc;

use crate::audit::access::{AccessLog, Destination};
use crate::audit::desk::Desk;
use crate::audit::keeper::{AuditError, AuditLog};
use crate::caps::{Caps, Room};
use crate::core::Parts;
use crate::edition::{Edition, UpstreamId};
use crate::figures::WorkerFigures;
use crate::handle::{Event, Handle, Options};
use crate::io::driver::{self, Driver, DriverError};
use crate::io::spawn::Spawner;
use crate::io::tcp::Bound;
use crate::io::{mailbox, runtime, tcp, vigil};
use crate::limits::{BUSY_POLL_MAX, EVENTS_MAX};
use crate::session::{Past, Seal};
use crate::trace::Port;
use crate::worker;

/// Why the engine did not start.
#[derive(Debug)]
pub enum StartError {
    Driver(DriverError),
    Listen { listener: String, address: SocketAddr, error: std::io::Error },
    Address(String),
    Share { error: std::io::Error },
    Log { error: std::io::Error },
    Audit { error: AuditError },
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
            StartError::Share { error } => {
                write!(f, "cannot share a listening socket among workers: {error}")
            }
            StartError::Log { error } => write!(f, "cannot open the access log: {error}"),
            StartError::Audit { error } => write!(f, "{error}"),
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
    let accepting = if options.force_wrong_worker { 1 } else { workers };
    let sockets = bind(&edition.snapshot, accepting, &options.sockets)?;
    let addresses = sockets.iter().filter_map(|of| of.first()?.local_addr().ok()).collect();
    let mut listeners = share_out(&sockets, accepting).map_err(|error| StartError::Share { error })?;
    listeners.resize_with(workers, Vec::new);
    let (log, lines) = AccessLog::start(&destination, workers).map_err(|error| StartError::Log { error })?;
    let (events, reports) = mpsc::channel(EVENTS_MAX);
    let plain = chosen.driver == Driver::Epoll;
    let (audit, desks) = match (&options.audit, rules.audit.as_ref()) {
        (Some(keeping), Some(audit)) => {
            let folder = options.base.join(audit.path.as_str());
            let opened = AuditLog::start(&folder, audit, keeping, (workers, plain), events.clone());
            let (log, desks) = opened.map_err(|error| StartError::Audit { error })?;
            (Some(log), desks)
        }
        _ => (None, (0..workers).map(|_| Desk::off()).collect()),
    };
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
        sockets: Mutex::new(sockets),
        threads: Vec::new(),
        spawner: spawner.clone(),
        log,
        audit,
        traces: Vec::new(),
    };
    let posts = mailbox::grid(workers);
    let ends = posts.into_iter().zip(lines).zip(desks);
    for (id, (((post, lines), desk), listeners)) in ends.zip(listeners).enumerate() {
        let (commands, orders) = mpsc::unbounded_channel();
        let figures = Arc::new(WorkerFigures::default());
        handle.commands.push(commands);
        handle.figures.push(figures.clone());
        let traces = Arc::new(Port::new());
        handle.traces.push(traces.clone());
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
                audit: desk,
                traces,
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

/// The sockets of each listener: those that listen already, else one for each worker that accepts, on the same address
/// and bound before any thread starts: a port that is taken fails here, whole.
fn bind(
    snapshot: &Snapshot,
    accepting: usize,
    listening: &[Vec<Bound>],
) -> Result<Vec<Vec<Bound>>, StartError> {
    let rules = snapshot.rules();
    let addresses = worker::addresses(rules).map_err(StartError::Address)?;
    let listeners = addresses.into_iter().zip(rules.listeners.iter()).enumerate();
    let of = |(index, (mut address, listener)): (usize, (SocketAddr, &ArchivedListener))| {
        let of_it = listening.get(index).map_or(&[][..], Vec::as_slice);
        let mut sockets: Vec<Bound> = of_it
            .iter()
            .map(tcp::share)
            .collect::<Result<_, _>>()
            .map_err(|error| StartError::Share { error })?;
        let failed = |address, error| StartError::Listen {
            listener: listener.name.as_str().to_owned(),
            address,
            error,
        };
        if sockets.is_empty() {
            tcp::claim(address).map_err(|error| failed(address, error))?;
            for _ in 0..accepting {
                let bound = tcp::listen(address).map_err(|error| failed(address, error))?;
                // Port 0 means any; the other workers join the first one's.
                address = bound.local_addr().map_err(|error| failed(address, error))?;
                sockets.push(bound);
            }
        }
        Ok(sockets)
    };
    listeners.map(of).collect()
}

/// What each of the workers that accept gets, with the number of the listener. None is left without a socket, and
/// no socket without somebody who accepts from it: it may have been made for another number of workers.
fn share_out(sockets: &[Vec<Bound>], accepting: usize) -> std::io::Result<Vec<Vec<(u16, Bound)>>> {
    let mut all: Vec<Vec<(u16, Bound)>> = (0..accepting).map(|_| Vec::new()).collect();
    for (listener, of_it) in (0..).zip(sockets) {
        let rounds = of_it.len().max(accepting);
        for (socket, at) in of_it.iter().cycle().zip(0..rounds) {
            if let Some(of_worker) = all.get_mut(at % accepting) {
                of_worker.push((listener, tcp::share(socket)?));
            }
        }
    }
    Ok(all)
}
