//! Children of a simulated world, in the place of `spawn/`: tasks that read and write in memory, by the names under
//! which a test has enlisted them.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::buffer::Buf;
use super::runtime;
use super::simulated::{self, Troop, current};
use super::tcp::Stream;

/// What to start.
#[derive(Clone, Default)]
pub struct Order {
    /// The upstream's number.
    pub tag: u32,
    /// The name of an enlisted program.
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: Option<PathBuf>,
}

/// A running child, owned by one worker.
pub struct Child {
    pub pid: u32,
    pub stdin: ChildWriter,
    pub stdout: ChildReader,
    /// How it ended.
    pub exited: oneshot::Receiver<String>,
}

/// A line that a child wrote to standard error: simulated children write none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildLog {
    pub tag: u32,
    pub pid: u32,
    pub line: String,
    pub cut: bool,
    pub skipped: u64,
}

/// Why a child did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    pub command: String,
    pub problem: String,
    pub help: Option<String>,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot start `{}`: {}", self.command, self.problem)
    }
}

impl std::error::Error for SpawnError {}

/// Starts children.
#[derive(Clone)]
pub struct Spawner;

impl Spawner {
    /// One that starts what is enlisted.
    pub fn start(_log: impl Fn(ChildLog) + Send + 'static) -> io::Result<Spawner> {
        Ok(Spawner)
    }

    /// Starts a child for the calling worker.
    pub async fn spawn(&self, order: Order) -> Result<Child, SpawnError> {
        runtime::yield_turn().await;
        let world = current();
        let Some(program) = world.program(&order.command) else {
            let problem = "no program of this name is enlisted".to_owned();
            return Err(SpawnError { command: order.command, problem, help: None });
        };
        let ((stdin, reads), (writes, stdout)) = (Stream::pair(), Stream::pair());
        // No two children of a world share a number: sockets do not either.
        let pid = stdin.fd() as u32;
        let (exit, exited) = oneshot::channel();
        let running = program(reads, writes);
        let child = async move {
            running.await;
            let _ = exit.send("exit code 0".to_owned());
        };
        simulated::spawn(Troop::Child(pid), "child", Box::pin(child));
        Ok(Child { pid, stdin: ChildWriter(stdin), stdout: ChildReader(stdout), exited })
    }

    /// Ends a child that does not end by itself within `grace` of the end of its input.
    pub fn kill(&self, pid: u32, grace: Duration) {
        let killing = async move {
            runtime::sleep(grace).await;
            current().executor.abort(|_, whose| whose == Troop::Child(pid));
        };
        simulated::spawn(Troop::Test, "end of a child", Box::pin(killing));
    }

    /// Children end with their world.
    pub fn shutdown(self, _deadline: Duration) {}
}

/// The worker's end of a child's standard output.
pub struct ChildReader(Stream);

impl ChildReader {
    /// Appends what arrives behind `buf.len()`, up to its capacity; 0 is the end.
    pub async fn recv(&mut self, buf: Buf) -> (io::Result<usize>, Buf) {
        self.0.recv(buf).await
    }

    /// The number, for [`super::watch::Watches`].
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// Wakes whoever waits in `recv` with the end of the stream.
    pub fn shut(&self) {
        let _ = self.0.shutdown_both();
    }
}

/// The worker's end of a child's standard input.
pub struct ChildWriter(Stream);

impl ChildWriter {
    /// Sends all bytes of `buf` and gives it back unchanged.
    pub async fn send_all(&mut self, buf: Buf) -> (io::Result<()>, Buf) {
        self.0.send_all(buf).await
    }

    /// The number, for [`super::watch::Watches`].
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// The child sees the end of its input at once, even while a send waits.
    pub fn shut(&self) {
        let _ = self.0.shutdown_both();
    }
}
