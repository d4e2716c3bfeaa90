//! Orders of operators, carried out by the control loop.
//!
//! An order is an attempt like the ones that files begin (`reload.rs`), and takes its turn with them: whoever comes second finds
//! the generation moved that he looked at, and is told so. It is written down before any worker hears of it, and answered when
//! every worker has taken it up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant as Began};

use serde_json::{Value, json};
use strait_table::Snapshot;
use tokio::sync::{mpsc, oneshot};

use super::control::Control;
use super::trial::{Asked, End};
use crate::board::Phase;
use crate::limits::ORDERS_WAITING_MAX;
use crate::load::{Candidate, Refused, Running};
use crate::log;
use crate::rollout::history::Act;
use crate::rollout::order::{Answer, No};
use crate::rollout::{Activation, Deed, Order, Rollout, Wish, plan};
use crate::watch::{Group, Marks};

/// What the loop keeps of orders.
pub struct Orders {
    /// `None`: a private gateway takes none.
    pub rollout: Option<Rollout>,
    waiting: VecDeque<Order>,
    tried: mpsc::UnboundedSender<Tried>,
    /// Who waits for every worker to take up what was put into use.
    pub answers: Vec<Waiting>,
}

/// Somebody whose order is in use by some workers, and perhaps by all.
pub struct Waiting {
    reply: oneshot::Sender<Answer>,
    facts: Value,
    began: Began,
}

/// An order that was looked into.
pub struct Tried {
    order: Order,
    outcome: Result<(Candidate, Value), No>,
    marks: Marks,
    candidate: Option<Arc<Snapshot>>,
    took: Duration,
}

/// Whose act an adoption is.
pub enum Why {
    File,
    Order { act: Act, by: Value, summary: Value, message: Option<String> },
}

impl Waiting {
    pub fn new(reply: oneshot::Sender<Answer>, facts: Value) -> Waiting {
        Waiting { reply, facts, began: Began::now() }
    }

    pub fn since(&self) -> Duration {
        self.began.elapsed()
    }

    /// Every one of so many workers has heard, but for these.
    pub fn answer(mut self, workers: usize, behind: &[usize]) {
        self.facts["workers"] = workers.into();
        self.facts["behind"] = behind.into();
        self.facts["took_us"] = (self.began.elapsed().as_micros() as u64).into();
        let facts = self.facts;
        answer(self.reply, if behind.is_empty() { Answer::Done(facts) } else { Answer::Behind(facts) });
    }
}

impl Orders {
    pub fn new(rollout: Option<Rollout>) -> (Orders, mpsc::UnboundedReceiver<Tried>) {
        let (tried, heard) = mpsc::unbounded_channel();
        (Orders { rollout, waiting: VecDeque::new(), tried, answers: Vec::new() }, heard)
    }
}

impl Control {
    /// Takes an order, or says at once why not.
    pub fn order(&mut self, order: Order) {
        let running = self.edition.snapshot.generation();
        if let Wish::Revoke(change) = &order.wish {
            // Whatever is under way: it is about who is believed, whatever is served, also by a successor, which reads the file.
            let change = change.clone();
            return self.revoke(change, order.by, order.reply);
        }
        let Some(rollout) = &mut self.orders.rollout else {
            return answer(order.reply, Answer::No(No::Private));
        };
        if let Wish::Refused { act, why, spoils } = &order.wish {
            rollout.refuse(*act, &order.by, running, None, why);
            if *spoils {
                rollout.reject(*act, &order.by, None, why);
            }
            log::warn(format!("{} by {} refused: {why}", act.word(), told(&order.by)));
            answer(order.reply, Answer::No(No::Unfit { why: why.clone() }));
            return self.show();
        }
        if self.phase != Phase::Open {
            return answer(order.reply, Answer::No(No::NotOpen));
        }
        if self.upgrade.is_rising() && !matches!(order.wish, Wish::Plan { .. }) {
            // Nothing is written down either: the successor has read the history.
            return answer(order.reply, Answer::No(No::HandingOver));
        }
        if order.expected != running.to_string() && order.expected != crate::rollout::whole(running) {
            return self.deny(order, None, No::Moved { running: running.to_string() });
        }
        if let Wish::Plan { table } = order.wish {
            let (loader, roll) = (self.loader.clone(), self.board.to_call());
            let (running, reply) = (self.running(), order.reply);
            tokio::spawn(async move {
                answer(reply, Answer::Done(plan::plan(&loader, &running, &table, roll).await));
            });
            return;
        }
        if let (Wish::Rollback { to: None }, true) = (&order.wish, self.trials.is_on()) {
            let Order { by, reply, message, .. } = order;
            let asked = message.map_or(String::new(), |message| format!(": {message}"));
            let facts = self.end_trial(End::RolledBack(format!("ended by {}{asked}", told(&by))));
            return self.await_trial(reply, facts);
        }
        if self.reload.is_under_way() {
            if self.orders.waiting.len() >= ORDERS_WAITING_MAX {
                return self.deny(order, None, No::Busy);
            }
            return self.orders.waiting.push_back(order);
        }
        let found = match &order.wish {
            Wish::Apply { table, .. } => Ok(table.clone()),
            Wish::Rollback { to } => rollout.earlier(running, to.as_deref()),
            Wish::Plan { .. } | Wish::Revoke(_) | Wish::Refused { .. } => return,
        };
        let table = match found {
            Ok(table) => table,
            Err(why) => return self.deny(order, None, No::Unknown { why }),
        };
        self.reload.begin();
        let (loader, mut running, tried) = (self.loader.clone(), self.running(), self.orders.tried.clone());
        if let Wish::Rollback { .. } = &order.wish {
            // To a table that was served here, on the word of somebody who may: older is what he wants.
            running.floor = None;
        }
        let marks = self.reload.marks();
        tokio::spawn(async move {
            let began = Began::now();
            let mut marks = marks;
            marks.add(loader.watched(&[], &table));
            let plan = plan::plan(&loader, &running, &table, None).await;
            let outcome = match loader.complete(table.clone(), &running).await {
                Ok(candidate) => {
                    marks.wrote(&candidate.keys.written);
                    Ok((candidate, plan["summary"].clone()))
                }
                Err(refused) => Err(No::Unfit { why: refused.why }),
            };
            // Nobody listens any more: the process is ending.
            let _ =
                tried.send(Tried { order, outcome, marks, candidate: Some(table), took: began.elapsed() });
        });
    }

    /// An order was looked into: carries it out, or refuses it.
    pub fn tried(&mut self, tried: Tried) {
        self.reload.end();
        let Tried { order, outcome, marks, candidate, took } = tried;
        if self.phase == Phase::Draining {
            return answer(order.reply, Answer::No(No::NotOpen));
        }
        match outcome {
            Ok(_) if self.upgrade.is_rising() => answer(order.reply, Answer::No(No::HandingOver)),
            Ok((candidate, summary)) => self.carry_out(order, candidate, summary, took),
            Err(no) => {
                self.want_only();
                self.deny(order, candidate.as_deref(), no);
            }
        }
        self.show();
        self.reload.watch(marks);
        self.go_on();
    }

    fn carry_out(&mut self, order: Order, candidate: Candidate, summary: Value, took: Duration) {
        let (from, table) = (self.edition.snapshot.generation(), candidate.snapshot.clone());
        let Order { wish, by, message, reply, .. } = order;
        let act = wish.act();
        if let Wish::Apply { activation: Activation::Trial(kind), .. } = &wish {
            let asked = Asked { kind: kind.clone(), by: by.clone(), summary, message };
            return match self.begin_trial(candidate, asked) {
                Ok(facts) => self.await_trial(reply, facts),
                Err(Refused { why, not_kept, .. }) => {
                    let no = if not_kept { No::NotKept { why } } else { No::Unfit { why } };
                    let order = Order { wish, by, message: None, reply, expected: String::new() };
                    self.deny(order, Some(&table), no);
                }
            };
        }
        let serial = self.edition.serial;
        let why = Why::Order { act, by: by.clone(), summary, message };
        let facts =
            json!({ "from": from.to_string(), "to": table.generation().to_string(), "act": act.word() });
        match self.adopt(candidate, took, why) {
            Ok(()) => {
                // Whoever read everything has seen the keys as well.
                self.reload.mended(Group::Keys);
                if self.orders.rollout.as_ref().is_some_and(Rollout::is_file_overruled) {
                    self.reload.mended(Group::Source);
                }
                log::info(format!(
                    "{} by {}: generation {from} -> {}",
                    act.word(),
                    told(&by),
                    table.generation()
                ));
                self.orders.answers.push(Waiting::new(reply, facts));
                if self.edition.serial == serial {
                    self.answer_all(&[]);
                }
            }
            Err(Refused { why, not_kept, .. }) => {
                let no = if not_kept { No::NotKept { why } } else { No::Unfit { why } };
                let order = Order { wish, by, message: None, reply, expected: String::new() };
                self.deny(order, Some(&table), no);
            }
        }
    }

    fn deny(&mut self, order: Order, candidate: Option<&Snapshot>, no: No) {
        let running = self.edition.snapshot.generation();
        let act = order.wish.act();
        let candidate = candidate.map(Snapshot::generation).or(match &order.wish {
            Wish::Apply { table, .. } => Some(table.generation()),
            _ => None,
        });
        let why = no.told();
        log::warn(format!(
            "{} by {} refused, generation {running} serves on: {why}",
            act.word(),
            told(&order.by)
        ));
        if let Some(rollout) = &mut self.orders.rollout {
            rollout.refuse(act, &order.by, running, candidate, &why);
            if matches!(no, No::Unfit { .. }) {
                rollout.reject(act, &order.by, candidate, &why);
            }
        }
        answer(order.reply, Answer::No(no));
        self.show();
    }

    /// Writes down what is about to be put into use; it is not when that fails.
    pub fn commit(&mut self, to: &Snapshot, why: &Why) -> Result<(), String> {
        let Why::Order { act, by, summary, message } = why else { return Ok(()) };
        let from = self.edition.snapshot.generation();
        let Some(rollout) = &mut self.orders.rollout else { return Ok(()) };
        let done = rollout.commit(Deed {
            act: *act,
            by: by.clone(),
            from,
            to,
            summary: summary.clone(),
            message: message.clone(),
        });
        done.map_err(|error| format!("it cannot be kept for a restart, so it is not put into use: {error}"))
    }

    /// Every worker has taken up what was ordered, but for these.
    pub fn answer_all(&mut self, behind: &[usize]) {
        let workers = self.handle.figures().len();
        self.orders.answers.drain(..).for_each(|waiting| waiting.answer(workers, behind));
    }

    /// The next order in line, now that no attempt is under way.
    pub fn next_order(&mut self) {
        while !self.reload.is_under_way() {
            let Some(order) = self.orders.waiting.pop_front() else { return };
            self.order(order);
        }
    }

    pub fn running(&self) -> Running {
        Running {
            snapshot: self.edition.snapshot.clone(),
            plans: self.plans.clone(),
            keys: self.edition.keys.clone(),
            listeners: self.edition.listeners.clone(),
            tried: self.trials.tried(),
            over: self.orders.rollout.as_ref().and_then(Rollout::over),
            floor: self.edition.snapshot.signature().map(|signature| signature.sequence),
        }
    }

    /// Writes down what is served from this start on, when it is not what was served last.
    pub fn note_start(&mut self) {
        let running = self.edition.snapshot.generation();
        if self.orders.rollout.as_ref().is_some_and(|rollout| !rollout.is_last(running)) {
            self.note(Act::Start, running, Value::Null);
        }
        self.show();
    }

    /// Writes down that what the file brought was refused.
    pub fn note_refused(&mut self, refused: &Refused) {
        let (by, running) = (self.file(), self.edition.snapshot.generation());
        if let Some(rollout) = &mut self.orders.rollout {
            rollout.refuse(Act::File, &by, running, None, &refused.why);
        }
    }

    fn file(&self) -> Value {
        json!({ "via": "file", "path": self.loader.file.display().to_string() })
    }

    /// Writes down what is served since the file or a start brought it.
    pub fn note(&mut self, act: Act, from: strait_table::file::Generation, summary: Value) {
        let by = self.file();
        let to = self.edition.snapshot.clone();
        if let Some(rollout) = &mut self.orders.rollout {
            rollout.note(Deed { act, by, from, to: &to, summary, message: None });
        }
    }
}

impl No {
    pub fn told(&self) -> String {
        match self {
            No::Moved { running } => {
                format!("generation {running} is running by now: look at it and plan again")
            }
            No::Busy => "too many others are waiting: try again".to_owned(),
            No::Usage { why } | No::Unfit { why } | No::Unknown { why } | No::NotKept { why } => why.clone(),
            No::Private => "this process serves one client and takes no other configuration".to_owned(),
            No::NotOpen => "the gateway is not open yet, or about to end".to_owned(),
            No::HandingOver => {
                "another process is taking this one's place, and would not know of it: ask again when it serves".to_owned()
            }
        }
    }
}

/// Somebody as a line of the log names him.
pub fn told(by: &Value) -> String {
    let members = by.as_object().into_iter().flatten();
    let words: Vec<String> = members
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            other => format!("{name} {other}"),
        })
        .collect();
    words.join(", ")
}

pub fn answer(reply: oneshot::Sender<Answer>, answer: Answer) {
    // Whoever asked has gone; the history knows what became of it.
    let _ = reply.send(answer);
}
