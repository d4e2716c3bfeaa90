//! Which driver, and the life of a worker thread.
//!
//! The ring is asked for with `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN` (0.84 to 0.86 of the default ring's CPU
//! per request at 16 connections), then with `COOP_TASKRUN` alone, then plain; when the kernel refuses a ring
//! altogether, the same program runs on epoll and says why. A throw-away ring with our own flags decides, because
//! monoio's own probe does not try them.
//!
//! DEFER_TASKRUN has a price: completions appear only while a worker *waits*, and monoio does not wait as long as a
//! task is runnable or other threads keep waking its tasks. And monoio puts a task that wakes itself first in the
//! queue. So a task that always has something to do (a flooded mailbox) would starve all sockets, and there is no
//! ordinary way to yield. [`yield_turn`] is the cure for both: it asks the kernel for finished operations without
//! waiting, and goes to the back of the queue by way of another task.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring_06::{IoUring, Probe, opcode};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::signal::Signal;
use super::sys;

/// Operations the submission queue holds: monoio panics when it is full after a submit, so it is large.
pub const RING_ENTRIES: u32 = 4096;

/// Completions the ring holds before the kernel must keep them aside. 256 KiB beside 256 KiB of submissions.
pub const RING_COMPLETIONS: u32 = 4 * RING_ENTRIES;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// io_uring with the kernel's default flags or nothing: to measure what ours gain (`bench/side-by-side`).
    IoUringPlain,
    /// epoll.
    Epoll,
}

impl DriverChoice {
    /// The rings to try, best first.
    fn rings(self) -> &'static [RingFlags] {
        match self {
            DriverChoice::IoUringPlain => &[RingFlags::Plain],
            _ => &RingFlags::BEST_FIRST,
        }
    }
}

impl FromStr for DriverChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DriverChoice, String> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "io_uring" => Ok(DriverChoice::IoUring),
            "io_uring_plain" => Ok(DriverChoice::IoUringPlain),
            "epoll" => Ok(DriverChoice::Epoll),
            _ => Err(format!("unknown driver `{text}`: expected `auto`, `io_uring` or `epoll`")),
        }
    }
}

/// What a worker runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// One ring per worker.
    IoUring,
    /// Readiness and plain system calls.
    Epoll,
}

impl Driver {
    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// How the ring is set up; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFlags {
    /// `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN`: Linux 6.1.
    Deferred,
    /// `COOP_TASKRUN`: Linux 5.19.
    Cooperative,
    /// None.
    Plain,
}

impl RingFlags {
    const BEST_FIRST: [RingFlags; 3] = [RingFlags::Deferred, RingFlags::Cooperative, RingFlags::Plain];

    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            RingFlags::Deferred => "single_issuer+defer_taskrun+coop_taskrun",
            RingFlags::Cooperative => "coop_taskrun",
            RingFlags::Plain => "default",
        }
    }

    fn builder(self) -> io_uring_06::Builder {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(RING_COMPLETIONS);
        match self {
            RingFlags::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
            }
            RingFlags::Cooperative => {
                builder.setup_coop_taskrun();
            }
            RingFlags::Plain => {}
        }
        builder
    }
}

/// The decision of [`choose`], the same for all workers.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What workers run on.
    pub driver: Driver,
    /// How their rings are set up; meaningless for epoll.
    pub flags: RingFlags,
    /// Why it is not the best there is: what was tried, what the kernel answered, the likely cause and remedy.
    pub note: Option<String>,
}

/// Why a worker could not start.
#[derive(Debug)]
pub enum DriverError {
    /// io_uring was demanded and the kernel refuses; the text says why and what helps.
    Refused(String),
    /// The runtime could not be built.
    Build(Driver, io::Error),
    /// The worker could not be bound to its core.
    Pin(usize, io::Error),
}

impl fmt::Display for DriverError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DriverError::Refused(why) => write!(out, "{why}"),
            DriverError::Build(driver, error) => {
                write!(out, "cannot build a worker's runtime on {}: {error}", driver.label())
            }
            DriverError::Pin(core, error) => write!(
                out,
                "cannot bind a worker to core {core}: {error}; the container's cpuset may exclude that core"
            ),
        }
    }
}

impl std::error::Error for DriverError {}

/// Finds out what this kernel allows, with a throw-away ring.
pub fn choose(choice: DriverChoice) -> Result<Chosen, DriverError> {
    if choice == DriverChoice::Epoll {
        return Ok(Chosen { driver: Driver::Epoll, flags: RingFlags::Plain, note: None });
    }
    let mut first_error = None;
    for flags in choice.rings().iter().copied() {
        match try_ring(flags) {
            Ok(()) => {
                let note = first_error.map(|error| {
                    format!(
                        "io_uring runs with {} only: {} was refused ({error}); Linux 6.1 or newer allows it",
                        flags.label(),
                        RingFlags::Deferred.label(),
                    )
                });
                return Ok(Chosen { driver: Driver::IoUring, flags, note });
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let why = first_error.as_ref().map_or_else(|| "no ring was tried".to_owned(), explain);
    match choice {
        DriverChoice::IoUring | DriverChoice::IoUringPlain => Err(DriverError::Refused(why)),
        _ => Ok(Chosen {
            driver: Driver::Epoll,
            flags: RingFlags::Plain,
            note: Some(format!("{why}; running on epoll instead")),
        }),
    }
}

/// Every way of setting up a ring, best first, and whether this kernel allows it: each is really tried.
pub fn try_all() -> Vec<(RingFlags, io::Result<()>)> {
    RingFlags::BEST_FIRST.iter().map(|flags| (*flags, try_ring(*flags))).collect()
}

/// Runs a worker on the calling thread until `main`'s future is done: builds the runtime (with timers), binds the
/// thread to core `pin`, and calls `main` inside it. Tasks still alive at the end are abandoned with their sockets:
/// end them first.
pub fn run<F>(chosen: &Chosen, pin: Option<usize>, main: impl FnOnce() -> F) -> Result<(), DriverError>
where
    F: Future<Output = ()> + 'static,
{
    if let Some(core) = pin {
        bind_to(core).map_err(|error| DriverError::Pin(core, error))?;
    }
    let failed = |error| DriverError::Build(chosen.driver, error);
    IS_EPOLL.set(chosen.driver == Driver::Epoll);
    match chosen.driver {
        Driver::IoUring => {
            let mut runtime = build_ring_runtime(chosen.flags).map_err(failed)?;
            runtime.block_on(async {
                spawn(relay());
                main().await
            });
            DEFERRED_RING.set(None);
        }
        Driver::Epoll => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new()
                .with_entries(RING_ENTRIES)
                .enable_timer()
                .build()
                .map_err(failed)?;
            runtime.block_on(async {
                spawn(relay());
                main().await
            });
        }
    }
    Ok(())
}

/// Starts a task on this worker and forgets it. A panic inside ends the worker: see [`spawn_guarded`].
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    // The handle is dropped before the task was ever polled, so no other thread can hold its waker yet: monoio's
    // race between dropping a handle and waking from elsewhere cannot happen.
    drop(monoio::spawn(future));
}

/// Starts a task whose panic ends only the task: it is counted ([`panics`]), told on standard error in one line with
/// `what` the task was, and the worker lives on. One bad request must not drop every connection of a core.
pub fn spawn_guarded(what: &'static str, future: impl Future<Output = ()> + 'static) {
    spawn(Guarded { what, future });
}

/// A task that survives its panic. A struct rather than an `async` block, which would hold room for the future
/// twice: as what it captured and as what it polls. An idle connection is little more than this.
struct Guarded<F> {
    what: &'static str,
    future: F,
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let what = self.what;
        // SAFETY: the field is never moved out of the struct, which has no `Drop` and no other way to its fields, and
        // is `Unpin` only when the field is.
        let future = unsafe { self.map_unchecked_mut(|guarded| &mut guarded.future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(polled) => polled,
            Err(_panic) => {
                PANICS.set(PANICS.get() + 1);
                eprintln!("strait: bug: the {what} task panicked and was ended; the worker goes on");
                Poll::Ready(())
            }
        }
    }
}

/// Panics caught by [`spawn_guarded`] on this thread.
pub fn panics() -> u64 {
    PANICS.get()
}

/// Waits at least `duration`, to the millisecond.
pub async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Gives `future` at most `duration`, then drops it. **Never around `accept` or `recv`**: a receive that is dropped
/// may already have taken bytes, and they are lost; a dropped accept leaks its socket. For waits on signals, queues
/// and channels.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    monoio::time::timeout(duration, future).await.map_err(|_| Elapsed)
}

/// Ends this task's turn: everybody else who can run does, finished operations are taken in, then the task goes on.
/// For loops that may always have something at hand; about a microsecond (one system call on a deferred ring).
pub async fn yield_turn() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        RELAY.with(|relay| {
            relay.waiting.borrow_mut().push(context.waker().clone());
            relay.called.set();
        });
        Poll::Pending
    })
    .await
}

/// The other task: wakes those who yielded, who are not running now and so go to the back of the queue.
async fn relay() {
    let mut woken: Vec<Waker> = Vec::new();
    loop {
        poll_fn(|context| RELAY.with(|relay| relay.called.poll_wait(context))).await;
        if let Some(ring) = DEFERRED_RING.get() {
            let _ = sys::deliver_completions(ring);
        }
        RELAY.with(|relay| std::mem::swap(&mut *relay.waiting.borrow_mut(), &mut woken));
        woken.drain(..).for_each(Waker::wake);
    }
}

#[derive(Default)]
struct Relay {
    waiting: RefCell<Vec<Waker>>,
    called: Signal,
}

/// Whether this thread's worker runs on epoll.
pub(super) fn is_epoll() -> bool {
    IS_EPOLL.get()
}

/// Cores this process may use, in order.
pub fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
        Err(_) => vec![0],
    }
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
    static IS_EPOLL: Cell<bool> = const { Cell::new(false) };
    /// The ring of this thread, when its completions must be asked for.
    static DEFERRED_RING: Cell<Option<RawFd>> = const { Cell::new(None) };
    static RELAY: Relay = Relay::default();
}

type RingRuntime = monoio::Runtime<monoio::time::TimeDriver<IoUringDriver>>;

fn build_ring_runtime(flags: RingFlags) -> io::Result<RingRuntime> {
    let build = |flags: RingFlags| {
        RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(flags.builder())
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()
    };
    if flags != RingFlags::Deferred {
        return build(flags);
    }
    let before = rings();
    let runtime = build(flags)?;
    let ring = rings().into_iter().find(|ring| !before.contains(ring) && is_ours_alone(*ring));
    match ring {
        Some(ring) => {
            DEFERRED_RING.set(Some(ring));
            Ok(runtime)
        }
        // Without /proc the ring cannot be found, and unable to ask for completions it must not defer.
        None => build(RingFlags::Cooperative),
    }
}

/// monoio keeps its ring's descriptor to itself. A ring with a single issuer obeys the thread that made it and
/// refuses all others, which no other ring in the process does for this thread.
fn is_ours_alone(ring: RawFd) -> bool {
    let obeys = move || sys::deliver_completions(ring).is_ok();
    obeys() && std::thread::spawn(obeys).join().is_ok_and(|obeyed| !obeyed)
}

fn rings() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]")
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn bind_to(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// A ring of our size and flags that knows our operations and completes one.
fn try_ring(flags: RingFlags) -> io::Result<()> {
    let mut ring = flags.builder().build(RING_ENTRIES)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::Accept::CODE,
        opcode::Connect::CODE,
        opcode::Recv::CODE,
        opcode::Send::CODE,
        opcode::Read::CODE,
        opcode::Close::CODE,
        opcode::PollAdd::CODE,
        opcode::AsyncCancel::CODE,
    ];
    if needed.iter().any(|code| !probe.is_supported(*code)) {
        return Err(io::Error::other("the kernel's io_uring lacks operations we need (Linux 5.6 has them)"));
    }
    let nop = opcode::Nop::new().build();
    // SAFETY: a no-op refers to no memory.
    unsafe { ring.submission().push(&nop) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(done) if done.result() == 0 => Ok(()),
        _ => Err(io::Error::other("a no-op did not complete")),
    }
}

/// The likely cause of a refused ring, and what helps.
pub fn explain(error: &io::Error) -> String {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let seccomp = status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'));
    let errno = rustix::io::Errno::from_io_error(error);
    let cause = match errno {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) if matches!(sysctl.trim(), "1" | "2") => {
            "the sysctl kernel.io_uring_disabled forbids it: `sysctl -w kernel.io_uring_disabled=0`"
        }
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::NOSYS) if seccomp => {
            "a seccomp filter forbids it, as container engines do by default: allow io_uring_setup, io_uring_enter \
             and io_uring_register in the container's seccomp profile"
        }
        Some(rustix::io::Errno::NOSYS) => "this kernel has no io_uring: Linux 5.6 or newer does",
        Some(rustix::io::Errno::NOMEM) => {
            "the ring does not fit into the locked-memory limit: raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK=)"
        }
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            "no file descriptors are left: raise RLIMIT_NOFILE (`ulimit -n`, LimitNOFILE=)"
        }
        _ => "the kernel is too old or a security policy forbids it",
    };
    format!("io_uring is not available ({error}): {cause}")
}
