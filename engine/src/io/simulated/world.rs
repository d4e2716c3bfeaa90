//! One world: its time, its chances, its turns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use super::chance::Chance;
use super::executor::{Census, Executor, TaskId, Timer, Troop};
use super::network::Network;
use super::{Program, Running};

/// A turn takes about as long as in life: whoever never waits still lets time pass, and deadlines come.
const TURN_NS: std::ops::Range<u64> = 200..3_000;

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The world of this thread.
pub struct World {
    pub(in crate::io) executor: Executor,
    pub(in crate::io) network: RefCell<Network>,
    /// What the network does to bytes.
    pub(in crate::io) weather: RefCell<Chance>,
    programs: RefCell<BTreeMap<String, Program>>,
    now_ns: Cell<u64>,
    order: RefCell<Chance>,
    entropy: RefCell<Chance>,
    trace: Cell<u64>,
    turns: Cell<u64>,
    tells: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Report<T> {
    /// What the main future gave; `None` when it did not end: nobody could run any more, or the turns were used up.
    pub outcome: Option<T>,
    /// A hash of all that happened, in order.
    pub trace: u64,
    pub turns: u64,
    pub lasted: Duration,
    /// What was said in panics, of tasks that were survived as well.
    pub panics: Vec<String>,
}

impl World {
    /// Runs what `main` makes, and all it spawns, on this thread; for at most `turns_max` turns. `tells`: on standard
    /// error, as it happens.
    pub fn run<F>(seed: u64, turns_max: u64, tells: bool, main: impl FnOnce() -> F) -> Report<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        watch_for_panics();
        let world = Rc::new(World {
            executor: Executor::default(),
            network: RefCell::new(Network::default()),
            weather: RefCell::new(Chance::new(seed, "weather")),
            programs: RefCell::default(),
            now_ns: Cell::new(0),
            order: RefCell::new(Chance::new(seed, "order")),
            entropy: RefCell::new(Chance::new(seed, "entropy")),
            trace: Cell::new(0),
            turns: Cell::new(0),
            tells,
        });
        CURRENT.set(Some(world.clone()));
        // Were the keys of hash maps not the seed's, no trace would be repeated.
        world.note(RandomState::new().hash_one(seed));
        PANICS.take();
        let outcome = Rc::new(RefCell::new(None));
        let main = {
            let (outcome, future) = (outcome.clone(), main());
            async move {
                let output = future.await;
                outcome.replace(Some(output));
            }
        };
        world.executor.spawn(Troop::Test, "main", Box::pin(main));
        while outcome.borrow().is_none() && world.turns.get() < turns_max && world.turn() {}
        // While the world is still there: what tasks hold says farewell to it.
        world.executor.abort(|_, _| true);
        world.programs.take();
        CURRENT.set(None);
        Report {
            outcome: outcome.take(),
            trace: world.trace.get(),
            turns: world.turns.get(),
            lasted: Duration::from_nanos(world.now_ns.get()),
            panics: PANICS.take(),
        }
    }

    /// Whatever comes next; `false` when nothing ever will.
    fn turn(&self) -> bool {
        while let Some(due) = self.executor.take_due(self.now_ns.get()) {
            match due {
                Timer::Wake(waker) => waker.wake(),
                Timer::Socket(socket) => super::network::arrive(self, socket),
            }
        }
        let picked = self.executor.take_ready(|count| self.order.borrow_mut().index(count));
        let Some(task) = picked else {
            let Some(next_ns) = self.executor.next_at() else { return false };
            self.now_ns.set(next_ns.max(self.now_ns.get()));
            return true;
        };
        let Some((mut future, waker, what)) = self.executor.begin(task) else { return true };
        self.note(task);
        self.turns.set(self.turns.get() + 1);
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        let goes_on = match polled {
            Ok(Poll::Pending) => Some(future),
            Ok(Poll::Ready(())) => None,
            Err(_) => {
                say(|| format!("the {what} task panicked"));
                super::super::runtime::count_panic();
                None
            }
        };
        self.executor.end(task, goes_on);
        let took_ns = self.order.borrow_mut().within(TURN_NS);
        self.now_ns.set(self.now_ns.get() + took_ns);
        true
    }

    /// Puts something that happened into the trace.
    pub(in crate::io) fn note(&self, what: u64) {
        let mixed =
            (self.trace.get().rotate_left(5) ^ what ^ self.now_ns.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace.set(mixed);
    }

    pub(in crate::io) fn program(&self, command: &str) -> Option<Program> {
        self.programs.borrow().get(command).cloned()
    }
}

/// The world of this thread. Whatever asks runs in one.
pub(in crate::io) fn current() -> Rc<World> {
    CURRENT.with_borrow(|world| world.clone()).expect("this thread runs a simulated world")
}

/// Nanoseconds since the world began; 0 outside of one.
pub fn now_ns() -> u64 {
    CURRENT.with_borrow(|world| world.as_ref().map_or(0, |world| world.now_ns.get()))
}

/// A stream of chance of this world's seed, for what a test decides.
pub fn chance(purpose: &str) -> Chance {
    let seed = current().entropy.borrow_mut().number();
    Chance::new(seed, purpose)
}

/// Tells what happens, where it is told at all, and puts it into the trace.
pub fn say(what: impl FnOnce() -> String) {
    CURRENT.with_borrow(|world| {
        let Some(world) = world else { return };
        let what = what();
        for chunk in what.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            world.note(u64::from_le_bytes(word));
        }
        if world.tells {
            eprintln!("{:>14.6} ms  {what}", world.now_ns.get() as f64 / 1e6);
        }
    });
}

/// Lets time pass at once, as for a machine that was asleep: every timer that was due meanwhile fires once.
pub fn leap(duration: Duration) {
    let world = current();
    world.now_ns.set(world.now_ns.get() + duration.as_nanos() as u64);
}

/// Tasks alive, by whose they are and what they do.
pub fn tasks() -> Census {
    current().executor.census()
}

/// Ends a task where it stands.
pub fn abort(task: TaskId) {
    current().executor.abort(|id, _| id == task);
}

/// What a stdio child of this command runs.
pub fn enlist(command: &str, program: Program) {
    current().programs.borrow_mut().insert(command.to_owned(), program);
}

pub(in crate::io) fn random_bytes(bytes: &mut [u8]) -> bool {
    // A thread that ends may still make a map.
    let filled = CURRENT.try_with(|world| {
        let Ok(world) = world.try_borrow() else { return false };
        let Some(world) = world.as_ref() else { return false };
        let mut entropy = world.entropy.borrow_mut();
        bytes
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&entropy.number().to_le_bytes()[..chunk.len()]));
        true
    });
    filled.unwrap_or(false)
}

/// Panics of tasks belong into the report, with their place.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CURRENT.with_borrow(Option::is_some) {
                PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
}

/// Starts a task of a troop.
pub(in crate::io) fn spawn(troop: Troop, what: &'static str, future: Running) -> TaskId {
    current().executor.spawn(troop, what, future)
}
