//! The life of a worker in a simulated world, in the place of `runtime.rs`: workers are tasks of one thread, and so is
//! everything they start.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::driver::{Chosen, DriverError};
use super::simulated::{self, Timer, Troop, current};

/// What stands for a worker's thread.
pub struct Thread;

impl Thread {
    /// Workers end with their world.
    pub fn join(self) -> std::thread::Result<()> {
        Ok(())
    }
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
    static WORKERS: Cell<usize> = const { Cell::new(0) };
}

/// Starts a worker: its tasks are a troop, and those that are left when `main` has ended end with it.
pub fn launch<F>(
    _name: String,
    _chosen: Chosen,
    _pin: Option<usize>,
    main: impl FnOnce() -> F + Send + 'static,
    ended: impl FnOnce(Result<(), DriverError>) + Send + 'static,
) -> io::Result<Thread>
where
    F: Future<Output = ()> + 'static,
{
    let troop = Troop::Worker(WORKERS.replace(WORKERS.get() + 1));
    let worker = async move {
        main().await;
        ended(Ok(()));
        current().executor.abort(|_, whose| whose == troop);
    };
    simulated::spawn(troop, "worker", Box::pin(worker));
    Ok(Thread)
}

/// Starts a task of whoever runs now.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    spawn_guarded("unnamed", future);
}

/// The same, with a name: every task survives the panic of another.
pub fn spawn_guarded(what: &'static str, future: impl Future<Output = ()> + 'static) {
    simulated::spawn(current().executor.troop(), what, Box::pin(future));
}

/// Tasks that have panicked on this thread.
pub fn panics() -> u64 {
    PANICS.get()
}

pub(super) fn count_panic() {
    PANICS.set(PANICS.get() + 1);
}

/// Waits at least `duration`.
pub async fn sleep(duration: Duration) {
    let world = current();
    let mut alarm: Option<Alarm> = None;
    poll_fn(|context| {
        let now_ns = simulated::now_ns();
        let until_ns =
            alarm.as_ref().map_or(now_ns.saturating_add(duration.as_nanos() as u64), |a| a.until_ns);
        if alarm.is_some() && now_ns >= until_ns {
            return Poll::Ready(());
        }
        // Whoever polls now may be another than before.
        let key = world.executor.at(until_ns, Timer::Wake(context.waker().clone()));
        alarm = Some(Alarm { until_ns, key });
        Poll::Pending
    })
    .await
}

/// A timer that is forgotten with its sleep.
struct Alarm {
    until_ns: u64,
    key: (u64, u64),
}

impl Drop for Alarm {
    fn drop(&mut self) {
        current().executor.forget(self.key);
    }
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Gives `future` at most `duration`, then drops it.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut over = pin!(sleep(duration));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        over.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// Ends this task's turn.
pub async fn yield_turn() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
