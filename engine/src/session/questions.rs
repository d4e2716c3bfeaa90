//! What servers have asked a legacy client and it has not answered yet.
//!
//! Many servers ask one client, each with ids of its own; the client sees ids of ours, and its answer finds the way
//! back here. A question is answered once: by the client, or by whoever gives it up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::io::signal::Queue;
use crate::limits::QUESTIONS_MAX;
use crate::upstream::Responder;

/// A server's request that waits for the client's answer.
pub struct Question {
    /// When it is given up.
    pub deadline_ms: u64,
    pub asker: Asker,
}

/// Who waits for an answer.
pub enum Asker {
    /// A legacy server: it gets a JSON-RPC response under its own id, as written, and hears of progress under its own
    /// token, if it gave one.
    Server { responder: Responder, id: Box<[u8]>, token: Option<Box<[u8]>> },
    /// A modern server's `input_required`: the entry `key` (as written, with its quotes) of a round.
    Round { answers: Rc<Queue<RoundAnswer>>, key: Box<[u8]> },
}

/// What became of one entry of a round.
pub struct RoundAnswer {
    pub key: Box<[u8]>,
    /// The client's `result` or `error`, as written; `None` when it never answered.
    pub outcome: Option<Result<Vec<u8>, Vec<u8>>>,
}

/// The questions of one session.
pub struct Questions {
    waiting: RefCell<HashMap<u64, Question>>,
    last: Cell<u64>,
    /// The first deadline of any question of this worker's sessions.
    soonest_ms: Rc<Cell<u64>>,
}

impl Questions {
    pub fn new(soonest_ms: Rc<Cell<u64>>) -> Questions {
        Questions { waiting: RefCell::default(), last: Cell::new(0), soonest_ms }
    }

    /// Numbers go on behind this one.
    pub fn begin_after(&self, last: u64) {
        self.last.set(last);
    }

    /// Remembers a question and gives the id under which the client is asked; gives it back when there are too many.
    pub fn put(&self, question: Question) -> Result<u64, Question> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= QUESTIONS_MAX {
            return Err(question);
        }
        self.soonest_ms.set(self.soonest_ms.get().min(question.deadline_ms));
        let id = self.last.get() + 1;
        self.last.set(id);
        waiting.insert(id, question);
        Ok(id)
    }

    pub fn take(&self, id: u64) -> Option<Question> {
        self.waiting.borrow_mut().remove(&id)
    }

    /// Does something with a question that was not answered yet.
    pub fn look(&self, id: u64, look: impl FnOnce(&Question)) {
        if let Some(question) = self.waiting.borrow().get(&id) {
            look(question);
        }
    }

    /// Those whose time is over; the first deadline of the others is remembered.
    pub fn take_overdue(&self, now_ms: u64) -> Vec<Question> {
        let mut waiting = self.waiting.borrow_mut();
        let overdue: Vec<u64> =
            waiting.iter().filter(|(_, q)| q.deadline_ms <= now_ms).map(|(id, _)| *id).collect();
        let overdue = overdue.into_iter().filter_map(|id| waiting.remove(&id)).collect();
        let soonest = waiting.values().map(|question| question.deadline_ms).min();
        self.soonest_ms.set(self.soonest_ms.get().min(soonest.unwrap_or(u64::MAX)));
        overdue
    }

    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
