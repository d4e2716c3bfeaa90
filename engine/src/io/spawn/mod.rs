//! Children that speak over standard input and output.
//!
//! One long-lived thread forks, watches and reaps all of them: fork and exec may take milliseconds, which no worker
//! may spend, and the kernel's parent-death signal is tied to the *thread* that forked, so that thread must live as
//! long as the process. A child's input and output belong to the worker that asked for it; its standard error comes
//! back here, is cut into lines and handed to the log.
//!
//! Input and output are a UNIX socket pair each, not pipes: monoio drives sockets on both of its drivers (its pipe
//! type cannot be made from outside, and its file type fails with ESPIPE on epoll), sends to a socket do not raise
//! SIGPIPE, and a receive can be cancelled without losing bytes. Node gives its own children socket pairs too, so
//! servers know them. Two pairs rather than one: a child that exits with unread input makes its pair fail with
//! ECONNRESET, and its output must still end cleanly.
//!
//! A child is the leader of its own process group. When it exits, what is left of the group is killed. When the
//! gateway dies, even by SIGKILL, the kernel kills the child (its grandchildren see the end of their input).
//!
//! Read `nursery.rs` for the thread, `birth.rs` for how a process is made.

mod birth;
mod nursery;

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use monoio::net::UnixStream;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::buffer::Buf;
use super::fd::Life;
use super::operation::{receive, send_from};
use super::runtime;

/// Orders waiting for the thread; more are refused. (Requests to end a child are never refused: there are at most a
/// few per child.)
pub const ORDERS_WAITING_MAX: usize = 256;

/// Children alive at once.
pub const CHILDREN_MAX: usize = 1024;

/// A line of standard error is cut here.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// Lines per second and child that reach the log; more are counted and skipped.
pub const LOG_LINES_PER_SECOND_MAX: u32 = 200;

/// Bytes per second and child that are read at all; beyond that the child waits on its standard error.
pub const LOG_BYTES_PER_SECOND_MAX: usize = 4 * 1024 * 1024;

/// Variables a child gets from our own environment, if we have them; nothing else is passed on.
pub const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// What to start.
#[derive(Clone, Default)]
pub struct Order {
    /// Comes back in [`ChildLog`]: the upstream's number.
    pub tag: u32,
    /// A path, or a name looked up in the child's `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to (and overriding) what [`ENVIRONMENT`] passes on. May hold secrets: `Order` does not print it.
    pub env: Vec<(String, String)>,
    /// Where it runs; ours if not given.
    pub cwd: Option<PathBuf>,
}

/// A running child, owned by one worker. Dropping its parts closes its input and output; it does not kill it.
pub struct Child {
    /// Its process id, which is also its process group.
    pub pid: u32,
    /// Its standard input; dropping it is how a child is asked to end.
    pub stdin: ChildWriter,
    /// Its standard output.
    pub stdout: ChildReader,
    /// How it ended, in words ("exit code 1", "killed by signal 9"), once it has been reaped.
    pub exited: oneshot::Receiver<String>,
}

/// A line that a child wrote to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildLog {
    /// The order's tag.
    pub tag: u32,
    /// The child.
    pub pid: u32,
    /// The line, without its end; invalid UTF-8 is replaced.
    pub line: String,
    /// Whether the line was longer than [`LOG_LINE_BYTES_MAX`].
    pub cut: bool,
    /// Lines skipped before this one, for the rate.
    pub skipped: u64,
}

/// Why a child did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// The command of the order.
    pub command: String,
    /// What the kernel, or the spawner, answered.
    pub problem: String,
    /// The likely remedy.
    pub help: Option<String>,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot start `{}`: {}", self.command, self.problem)?;
        match &self.help {
            Some(help) => write!(out, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SpawnError {}

/// The handle to the spawner thread; clones are the same thread. When the last one is dropped, all children end.
#[derive(Clone)]
pub struct Spawner(Arc<Shared>);

impl Spawner {
    /// Starts the thread. `log` gets every line of every child's standard error, on that thread: it must not wait.
    pub fn start(log: impl Fn(ChildLog) + Send + 'static) -> io::Result<Spawner> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (errands, received) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut nursery = nursery::Nursery::open(received, bell.clone(), waiting.clone(), Box::new(log))?;
        let thread =
            std::thread::Builder::new().name("strait-spawner".into()).spawn(move || nursery.run())?;
        let thread = Mutex::new(Some(thread));
        Ok(Spawner(Arc::new(Shared { errands: Some(errands), waiting, bell, thread })))
    }

    /// Starts a child for the calling worker. If the caller goes away before the answer, the child is killed.
    pub async fn spawn(&self, order: Order) -> Result<Child, SpawnError> {
        let command = order.command.clone();
        let failed =
            |problem: &str| SpawnError { command: command.clone(), problem: problem.into(), help: None };
        let (answer, answered) = oneshot::channel();
        if self.0.waiting.fetch_add(1, Ordering::Relaxed) >= ORDERS_WAITING_MAX {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(failed("too many children are being started at once"));
        }
        self.0.send(Errand::Spawn(Box::new(order), answer));
        let born = answered.await.map_err(|_| failed("the gateway is shutting down"))??;
        let pid = born.pid;
        let adopt = || {
            let stdin = ChildWriter(Half::adopt(born.stdin, Shutdown::Read)?);
            let stdout = ChildReader(Half::adopt(born.stdout, Shutdown::Write)?);
            Ok(Child { pid, stdin, stdout, exited: born.exited })
        };
        adopt().map_err(|error: io::Error| {
            self.kill(pid, Duration::ZERO);
            failed(&error.to_string())
        })
    }

    /// Ends a child that does not end by itself after its input was closed (which is the worker's part): SIGTERM to
    /// its process group after `grace`, SIGKILL after twice that. A child that has already been reaped is left alone,
    /// whoever has its number now.
    pub fn kill(&self, pid: u32, grace: Duration) {
        self.0.send(Errand::Kill { pid, at: Instant::now(), grace });
    }

    /// Ends all children: SIGTERM now, SIGKILL after `deadline`. Returns when the last one has been reaped and the
    /// thread has ended. Blocks: not for workers.
    pub fn shutdown(self, deadline: Duration) {
        self.0.send(Errand::Shutdown { deadline: Instant::now() + deadline });
        let thread = self.0.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The worker's end of a child's standard output.
pub struct ChildReader(Half);

impl ChildReader {
    /// Appends what arrives behind `buf.len()`, up to its capacity; 0 is the end.
    pub async fn recv(&mut self, buf: Buf) -> (io::Result<usize>, Buf) {
        receive(&mut self.0.unix, buf).await
    }

    /// The number, for [`super::watch::Watches`].
    pub fn fd(&self) -> RawFd {
        self.0.unix.as_raw_fd()
    }

    /// Wakes whoever waits in `recv` with the end of the stream.
    pub fn shut(&self) {
        self.0.shut();
    }
}

/// The worker's end of a child's standard input.
pub struct ChildWriter(Half);

impl ChildWriter {
    /// Sends all bytes of `buf` and gives it back unchanged.
    pub async fn send_all(&mut self, buf: Buf) -> (io::Result<()>, Buf) {
        send_from(&mut self.0.unix, buf, 0).await
    }

    /// The number, for [`super::watch::Watches`].
    pub fn fd(&self) -> RawFd {
        self.0.unix.as_raw_fd()
    }

    /// The child sees the end of its input at once, even while a send waits.
    pub fn shut(&self) {
        self.0.shut();
    }
}

struct Half {
    // Above `unix`, so that the number is forgotten before it can be reused.
    life: Life,
    unix: UnixStream,
}

impl Half {
    /// Puts a socket into the mode this worker's driver wants, and makes it one-way like a pipe.
    fn adopt(socket: StdUnixStream, unused: Shutdown) -> io::Result<Half> {
        socket.set_nonblocking(runtime::is_epoll())?;
        socket.shutdown(unused)?;
        let unix = UnixStream::from_std(socket)?;
        Ok(Half { life: Life::begin(unix.as_raw_fd()), unix })
    }

    fn shut(&self) {
        let _ = &self.life;
        super::fd::Remembered::of(self.unix.as_raw_fd()).shut_down();
    }
}

struct Shared {
    errands: Option<Sender<Errand>>,
    /// Orders sent and not yet taken up.
    waiting: Arc<AtomicUsize>,
    bell: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    /// After the thread has ended an errand is dropped, and with it the answer's channel: the asker hears of it.
    fn send(&self, errand: Errand) {
        if let Some(errands) = &self.errands {
            let _ = errands.send(errand);
            let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Closing the channel before ringing tells the thread that nobody can ask any more.
        self.errands = None;
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

enum Errand {
    Spawn(Box<Order>, oneshot::Sender<Result<Born, SpawnError>>),
    Kill { pid: u32, at: Instant, grace: Duration },
    Shutdown { deadline: Instant },
}

/// A child on its way from the spawner thread to its worker.
struct Born {
    pid: u32,
    stdin: StdUnixStream,
    stdout: StdUnixStream,
    exited: oneshot::Receiver<String>,
}
