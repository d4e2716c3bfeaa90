//! The life of a worker thread: its runtime, its tasks and its waits, on the driver that `driver.rs` chose.
//!
//! DEFER_TASKRUN has a price: completions appear only while a worker *waits*, and monoio does not wait as long as a
//! task is runnable or other threads keep waking its tasks. And monoio puts a task that wakes itself first in the
//! queue. So a task that always has something to do (a flooded mailbox) would starve all sockets, and there is no
//! ordinary way to yield. [`yield_turn`] is the cure for both: it asks the kernel for finished operations without
//! waiting, and goes to the back of the queue by way of another task.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::driver::{Chosen, Driver, DriverError, RING_ENTRIES, RingFlags};
use super::signal::Signal;
use super::sys;

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

/// A worker's thread.
pub type Thread = std::thread::JoinHandle<()>;

/// Starts a thread that [`run`]s `main` and, at its end, tells `ended` how that went.
pub fn launch<F>(
    name: String,
    chosen: Chosen,
    pin: Option<usize>,
    main: impl FnOnce() -> F + Send + 'static,
    ended: impl FnOnce(Result<(), DriverError>) + Send + 'static,
) -> io::Result<Thread>
where
    F: Future<Output = ()> + 'static,
{
    std::thread::Builder::new().name(name).spawn(move || ended(run(&chosen, pin, main)))
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
