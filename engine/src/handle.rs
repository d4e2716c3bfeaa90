//! The engine as control sees it: what it is given, what it reports, and nothing else.
//!
//! Control hands over editions ([`crate::Edition`]: a snapshot with its keys and addresses); workers report
//! lists they learned and the state they are in. Workers never wait for control: every message to them is a
//! value they adopt between exchanges, and every report is dropped or retried rather than waited for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strait_policy::Principal;
use strait_table::catalog::Lists;

use crate::audit::keeper::{Keeping, Standing};
use crate::edition::{Edition, UpstreamId};
use crate::exchange::shadow::Differences;
use crate::figures::WorkerFigures;
use crate::figures::places::Books;
use crate::fold::Fold;
use crate::io::driver::{Driver, DriverChoice};
use crate::io::runtime::Thread;
use crate::io::tcp::{self, Bound};
use crate::io::tls::{ClientTls, ServerTls};
use crate::limits::Deadlines;
use crate::roll::Roll;
use crate::session::Kept;
use crate::trace::{Port, Traced};
use crate::trial::Trial;
use crate::trust::Trust;
use crate::upstream::credential::Lines;
use crate::upstream::credential::lending::Lender;
use crate::upstream::statement::Stated;
use tokio::sync::mpsc;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    pub workers: usize,
    pub driver: DriverChoice,
    /// What relative paths of the table start from: the config's folder.
    pub base: PathBuf,
    /// How long a worker that has just received something looks for more before it sleeps; zero: not at all.
    pub busy_poll: Duration,
    /// Only worker 0 accepts, and everything that has an owner is owned by another worker: every such
    /// request is forced onto the wrong worker first. For tests.
    pub force_wrong_worker: bool,
    /// For tests, which cannot wait as long as the product does.
    pub deadlines: Deadlines,
    /// What lets clients' sessions outlive the process; `None`: they end with it.
    pub sessions: Option<Kept>,
    /// What the audit log of the table is kept with; `None`: there is none.
    pub audit: Option<Keeping>,
    /// Sockets that listen already, by listener of the table. One that has none gets its own, one per worker.
    pub sockets: Arc<Vec<Vec<Bound>>>,
}

/// Everything workers need that is not in the table.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub keys: Arc<KeyRing>,
    /// Which tokens are believed.
    pub trust: Arc<Trust>,
    pub reaches: Arc<Vec<Reach>>,
    /// By listener of the table: how it speaks TLS, if it does.
    pub listeners: Arc<Vec<Option<ListenerTls>>>,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    Ready(ServerTls),
    /// Not now: it lets nobody in. The text says why.
    Broken(String),
}

/// Who may present which key. Secrets are not here: only keyed digests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyRing {
    /// Index 0 is [`Principal::anonymous`].
    pub principals: Vec<Principal>,
    /// By identity of the table.
    pub identities: Vec<IdentityKeys>,
}

/// The keys of one identity: blake3 keyed with `pepper`, over the key as presented.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct IdentityKeys {
    pub pepper: [u8; 32],
    /// Digest to index into [`KeyRing::principals`].
    pub by_digest: HashMap<[u8; 32], u32, Fold>,
}

/// How an upstream is reached, by upstream of the table: names resolved, references replaced.
#[derive(Clone, PartialEq, Eq)]
pub enum Reach {
    Http {
        endpoints: Vec<HttpEndpoint>,
    },
    Stdio {
        command: String,
        args: Vec<String>,
        env: Lines,
        cwd: Option<PathBuf>,
        /// Each caller's child gets a token for its caller.
        lender: Option<Lender>,
    },
    /// Not now; the text says which layer, and what to do.
    Unreachable(String),
}

// Values of `env` and headers are secrets: they are left out.
impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reach::Http { endpoints } => f.debug_struct("Http").field("endpoints", endpoints).finish(),
            Reach::Stdio { command, args, .. } => {
                f.debug_struct("Stdio").field("command", command).field("args", args).finish_non_exhaustive()
            }
            Reach::Unreachable(why) => f.debug_tuple("Unreachable").field(why).finish(),
        }
    }
}

/// One address of an HTTP upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpEndpoint {
    pub address: SocketAddr,
    /// `Host` as sent.
    pub host: String,
    pub path: String,
    /// Further headers, the credential among them.
    pub headers: Lines,
    /// What stood there before a secret was rotated; empty: nothing, or nothing that is worth another try.
    pub previous: Lines,
    /// How it is told who calls, if it is told.
    pub stated: Option<Arc<Stated>>,
    /// `None`: it is spoken to in the clear.
    pub tls: Option<ClientTls>,
    /// It is shown a token for each caller; what stands in `headers` is for our own questions.
    pub lender: Option<Lender>,
}

impl HttpEndpoint {
    /// Whether it is the same place, whatever is shown there.
    pub fn is_at(&self, other: &HttpEndpoint) -> bool {
        (self.address, &self.host, &self.path, &self.tls, &self.lender)
            == (other.address, &other.host, &other.path, &other.tls, &other.lender)
    }
}

impl Reach {
    /// How whoever is reached is told who calls: all its replicas alike.
    pub fn stated(&self) -> Option<&Arc<Stated>> {
        match self {
            Reach::Http { endpoints } => endpoints.first()?.stated.as_ref(),
            Reach::Stdio { .. } | Reach::Unreachable(_) => None,
        }
    }

    /// Who has tokens for callers, where it is shown such.
    pub fn lender(&self) -> Option<&Lender> {
        match self {
            Reach::Http { endpoints } => endpoints.first()?.lender.as_ref(),
            Reach::Stdio { lender, .. } => lender.as_ref(),
            Reach::Unreachable(_) => None,
        }
    }

    /// Whether the same server is reached in the same way, whatever it is shown: connections and sessions with it stay.
    pub fn is_same_but_for_credentials(&self, other: &Reach) -> bool {
        match (self, other) {
            (Reach::Http { endpoints }, Reach::Http { endpoints: others }) => {
                endpoints.len() == others.len()
                    && endpoints.iter().zip(others).all(|(one, other)| one.is_at(other))
            }
            // What this gateway has of its own is for our own questions, and the child of those takes up another when it is started.
            (
                Reach::Stdio { command, args, env, cwd, lender: Some(lender) },
                Reach::Stdio { command: c, args: a, env: e, cwd: d, lender: Some(other) },
            ) => (command, args, env, cwd) == (c, a, e, d) && lender.is_same_but_for_own(other),
            _ => self == other,
        }
    }
}

impl std::fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}{})", self.address, self.host, self.path)
    }
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Adopt(Arc<Edition>),
    /// Begin to accept.
    Open,
    /// A candidate beside the live edition, or none any more.
    Try {
        trial: Option<Arc<Trial>>,
        serial: u64,
    },
    /// Tell what a shadow has found, if there is one.
    Differences(mpsc::Sender<Differences>),
    /// Tell what is open.
    Roll(mpsc::Sender<Roll>),
    /// Look for connections that another process was woken for and did not take.
    LookAgain,
    /// A session is over that another process of this gateway knew as well.
    SessionEnded {
        serial: u128,
        principal: u64,
    },
    /// Stop accepting, let exchanges end, then stop. Sent once.
    Drain {
        deadline: Duration,
        to: To,
    },
}

/// Who serves after a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Nobody,
    /// A process that accepts from the same sockets already.
    Successor,
}

/// What workers report.
#[derive(Debug)]
pub enum Event {
    /// An upstream was asked what it offers.
    Learned { upstream: UpstreamId, outcome: Result<Lists, String> },
    /// An upstream answers 401 to the credential in use; told now and then while it does.
    CredentialRefused { upstream: UpstreamId },
    /// A line a stdio child wrote to stderr.
    ChildLog { upstream: UpstreamId, line: String },
    /// A worker has begun to serve from an edition; [`WorkerFigures::edition`] says the same and is never lost.
    /// `pause_ns`: for how long it did nothing else.
    Adopted { worker: usize, pause_ns: u64 },
    /// A client's session is over: told only when sessions are kept.
    SessionEnded { serial: u128, begun_unix_ms: u64, principal: u64 },
    /// Something an operator should read.
    Notice { level: Level, text: String },
    /// The worker ended; `Err` when it was not asked to.
    Stopped { worker: usize, outcome: Result<(), String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// Asks workers what they have open.
#[derive(Clone)]
pub struct Rolls {
    commands: Vec<mpsc::UnboundedSender<Command>>,
}

impl Rolls {
    /// One roll from every worker that is alive, as they come; each answers between two exchanges.
    pub fn call(&self) -> mpsc::Receiver<Roll> {
        let (sender, rolls) = mpsc::channel(self.commands.len().max(1));
        for worker in &self.commands {
            // A worker that is gone has nothing open.
            let _ = worker.send(Command::Roll(sender.clone()));
        }
        rolls
    }

    /// What a shadow has found on every worker that has one, in the same way.
    pub fn differences(&self) -> mpsc::Receiver<Differences> {
        let (sender, found) = mpsc::channel(self.commands.len().max(1));
        for worker in &self.commands {
            let _ = worker.send(Command::Differences(sender.clone()));
        }
        found
    }

    pub fn workers(&self) -> usize {
        self.commands.len()
    }
}

/// The running engine.
pub struct Handle {
    pub(crate) commands: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) figures: Vec<Arc<WorkerFigures>>,
    pub(crate) books: Books,
    pub(crate) driver: Driver,
    pub(crate) notes: Vec<String>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// By listener, as long as connections are accepted: a socket is closed when nobody has it any more.
    pub(crate) sockets: Mutex<Vec<Vec<Bound>>>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) spawner: crate::io::spawn::Spawner,
    pub(crate) log: crate::audit::access::AccessLog,
    pub(crate) audit: Option<crate::audit::keeper::AuditLog>,
    /// By worker.
    pub(crate) traces: Vec<Arc<Port>>,
}

impl Handle {
    /// Every worker serves from `edition` from its next exchange on, and says so.
    pub fn adopt(&self, edition: Arc<Edition>) {
        self.tell(Command::Adopt(edition));
    }

    /// Workers that serve from an older edition than `serial`.
    pub fn behind(&self, serial: u64) -> Vec<usize> {
        let workers = self.figures.iter().enumerate();
        workers
            .filter(|(_, w)| w.edition.load(Ordering::Acquire) < serial)
            .map(|(worker, _)| worker)
            .collect()
    }

    /// Every worker has this candidate beside what it serves from its next exchange on, or none any more, and says so. `serial`
    /// counts what workers were told of candidates.
    pub fn attempt(&self, trial: Option<Arc<Trial>>, serial: u64) {
        self.tell(Command::Try { trial, serial });
    }

    /// Workers that have not heard the last of candidates.
    pub fn behind_trial(&self, serial: u64) -> Vec<usize> {
        let workers = self.figures.iter().enumerate();
        workers.filter(|(_, w)| w.trial.load(Ordering::Acquire) < serial).map(|(worker, _)| worker).collect()
    }

    /// Workers begin to accept connections; until then they wait in the listen queue.
    pub fn open(&self) {
        self.tell(Command::Open);
    }

    /// A way to ask workers what they have open.
    pub fn rolls(&self) -> Rolls {
        Rolls { commands: self.commands.clone() }
    }

    /// Stops accepting and lets exchanges end until `deadline`; each worker then reports
    /// [`Event::Stopped`].
    pub fn drain(&self, deadline: Duration) {
        self.sockets().clear();
        self.tell(Command::Drain { deadline, to: To::Nobody });
    }

    /// [`Handle::drain`], while another process accepts from the same sockets: idle clients have time to hear of it.
    pub fn hand_over(&self, deadline: Duration) {
        self.sockets().clear();
        self.tell(Command::Drain { deadline, to: To::Successor });
    }

    /// The listening sockets, by listener of the table, for a process that is to accept from them too; none once a
    /// drain has begun.
    pub fn share_sockets(&self) -> std::io::Result<Vec<Vec<Bound>>> {
        let share = |of_listener: &Vec<Bound>| of_listener.iter().map(tcp::share).collect();
        self.sockets().iter().map(share).collect()
    }

    /// To be called now and then while another process that accepts from the same sockets ends, and once when it has: a
    /// connection for which that one was woken would wait for the next one to come.
    pub fn look_again(&self) {
        self.tell(Command::LookAgain);
    }

    /// A session is over that this process may have taken up, or would.
    pub fn session_ended(&self, serial: u128, principal: u64) {
        self.tell(Command::SessionEnded { serial, principal });
    }

    /// Has the audit log tell what an administrator did: `facts` is a JSON object. `false`: it is too far behind to take it.
    pub fn act(&self, facts: String) -> bool {
        self.audit.as_ref().is_none_or(|audit| audit.act(facts))
    }

    /// How the audit log stands, where there is one.
    pub fn audit(&self) -> Option<Standing> {
        Some(self.audit.as_ref()?.standing())
    }

    /// Waits for the threads of a drained engine, ends its children, flushes the access log and ends the audit log.
    pub fn join(self) {
        drop(self.commands);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.spawner.shutdown(Duration::from_secs(5));
        self.log.close();
        if let Some(audit) = self.audit {
            audit.close();
        }
    }

    pub fn figures(&self) -> &[Arc<WorkerFigures>] {
        &self.figures
    }

    /// From now on every worker tells of exchanges that are traced, of `waiting_max` at most before they are taken; whoever asks for
    /// this a second time gets nothing.
    pub fn traces(&self, waiting_max: usize) -> Vec<Receiver<Traced>> {
        let of = |port: &Arc<Port>| {
            let (sender, traced) = sync_channel(waiting_max);
            port.set(sender).is_ok().then_some(traced)
        };
        self.traces.iter().filter_map(of).collect()
    }

    /// Whose figures are in which place of [`WorkerFigures`].
    pub fn books(&self) -> &Books {
        &self.books
    }

    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// What an operator should know of how the engine started, such as why io_uring is not used.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where the listeners are bound, in the table's order; with real ports where the config said 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Vec<Bound>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: Command) {
        for worker in &self.commands {
            // A worker that is gone has reported `Stopped`.
            let _ = worker.send(command.clone());
        }
    }
}
