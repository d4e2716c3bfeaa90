//! Tasks and timers of a world: who can run, who is woken when.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use super::Running;

/// A task; never the same for two.
pub type TaskId = u64;

/// Whose a task is: a worker, a child, or the test itself. A task's own tasks belong to its troop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Troop {
    Test,
    Worker(usize),
    Child(u32),
}

/// How many tasks of one kind live.
pub type Census = BTreeMap<(Troop, &'static str), usize>;

/// What fires at a moment.
pub(in crate::io) enum Timer {
    Wake(Waker),
    /// Something reaches a socket.
    Socket(u32),
}

/// A task that is not running now.
pub(super) struct Task {
    pub troop: Troop,
    pub what: &'static str,
    /// `None` in its own turn.
    pub future: Option<Running>,
    alarm: Arc<Alarm>,
}

#[derive(Default)]
pub(in crate::io) struct Executor {
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    ready: Arc<Mutex<Vec<TaskId>>>,
    timers: RefCell<BTreeMap<(u64, u64), Timer>>,
    next_task: Cell<TaskId>,
    next_timer: Cell<u64>,
    running: Cell<Option<(TaskId, Troop)>>,
}

impl Executor {
    pub fn spawn(&self, troop: Troop, what: &'static str, future: Running) -> TaskId {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let alarm = Arc::new(Alarm { id, is_ready: AtomicBool::new(true), ready: self.ready.clone() });
        self.tasks.borrow_mut().insert(id, Task { troop, what, future: Some(future), alarm });
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        id
    }

    /// The troop of the task that runs.
    pub fn troop(&self) -> Troop {
        self.running.get().map_or(Troop::Test, |(_, troop)| troop)
    }

    /// Takes the task out that is `pick`ed among those that can run.
    pub fn take_ready(&self, pick: impl FnOnce(usize) -> usize) -> Option<TaskId> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let index = pick(ready.len());
        Some(ready.swap_remove(index))
    }

    /// Begins a turn of a task; `None` when it has ended meanwhile.
    pub fn begin(&self, id: TaskId) -> Option<(Running, Waker, &'static str)> {
        let mut tasks = self.tasks.borrow_mut();
        let task = tasks.get_mut(&id)?;
        task.alarm.is_ready.store(false, Ordering::Relaxed);
        let future = task.future.take()?;
        self.running.set(Some((id, task.troop)));
        Some((future, Waker::from(task.alarm.clone()), task.what))
    }

    /// Ends a turn: with its future if the task goes on.
    pub fn end(&self, id: TaskId, future: Option<Running>) {
        self.running.set(None);
        let ended = {
            let mut tasks = self.tasks.borrow_mut();
            match (future, tasks.get_mut(&id)) {
                (Some(future), Some(task)) => {
                    task.future = Some(future);
                    return;
                }
                // Aborted in its own turn.
                (future, _) => (future, tasks.remove(&id)),
            }
        };
        // Behind the borrow: what a task holds may wake and start others.
        drop(ended);
    }

    /// Ends a task, or every task of a troop, where it stands.
    pub fn abort(&self, meant: impl Fn(TaskId, Troop) -> bool) {
        let mut doomed = Vec::new();
        {
            let mut tasks = self.tasks.borrow_mut();
            let ids: Vec<TaskId> =
                tasks.iter().filter(|(id, task)| meant(**id, task.troop)).map(|(id, _)| *id).collect();
            doomed.extend(ids.into_iter().filter_map(|id| tasks.remove(&id)));
        }
        drop(doomed);
    }

    pub fn at(&self, at_ns: u64, timer: Timer) -> (u64, u64) {
        let key = (at_ns, self.next_timer.get());
        self.next_timer.set(key.1 + 1);
        self.timers.borrow_mut().insert(key, timer);
        key
    }

    pub fn forget(&self, key: (u64, u64)) {
        let timer = self.timers.borrow_mut().remove(&key);
        drop(timer);
    }

    pub fn next_at(&self) -> Option<u64> {
        self.timers.borrow().first_key_value().map(|((at_ns, _), _)| *at_ns)
    }

    pub fn take_due(&self, now_ns: u64) -> Option<Timer> {
        let mut timers = self.timers.borrow_mut();
        let first = timers.first_entry()?;
        (first.key().0 <= now_ns).then(|| first.remove())
    }

    pub fn census(&self) -> Census {
        let mut census = Census::new();
        for task in self.tasks.borrow().values() {
            *census.entry((task.troop, task.what)).or_default() += 1;
        }
        census
    }
}

/// What a task's wakers ring.
struct Alarm {
    id: TaskId,
    is_ready: AtomicBool,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        }
    }
}
