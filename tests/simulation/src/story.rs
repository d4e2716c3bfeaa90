//! What a run has seen, and what of it must not be: shared by everybody in it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strait_engine::io::simulated::{Chance, now_ns, say};

use crate::upstream::Kind;

/// After a list has changed.
const SETTLED_NS: u64 = 4_000_000_000;

/// One run.
pub struct Story {
    pub seed: u64,
    /// Nothing disturbs it from outside: everybody gets exactly what the deed of their call says.
    pub is_calm: bool,
    /// What the upstreams are, in the order of the table.
    pub kinds: [Kind; 3],
    wrongs: RefCell<Vec<String>>,
    /// How often each call was carried out by an upstream.
    done: RefCell<BTreeMap<String, u32>>,
    /// Calls whose clients went away in the middle: what servers asked in them may stay without an answer.
    gone: RefCell<BTreeSet<String>>,
    /// What servers said in sessions of clients, by its own mark.
    asides: RefCell<BTreeSet<String>>,
    /// When each question was asked last, by the mark of its call and its key.
    asked_ns: RefCell<BTreeMap<(String, String), u64>>,
    /// When lists changed last; `None`: they still do.
    pub changed_ns: Cell<Option<u64>>,
    pub tally: Tally,
    /// Sessions that upstreams have lost: a call is carried to a new one, but only once.
    pub losses: Cell<u64>,
}

/// How much happened, so that a run in which nothing does is noticed.
#[derive(Default)]
pub struct Tally {
    pub calls: Cell<u64>,
    pub results: Cell<u64>,
    pub errors: Cell<u64>,
    pub refused: Cell<u64>,
    pub cut: Cell<u64>,
    pub left: Cell<u64>,
    pub notes: Cell<u64>,
    /// Servers' questions that reached a client, or its call's next round.
    pub questions: Cell<u64>,
    /// Those that a client's answer reached the server of.
    pub answered: Cell<u64>,
    pub comebacks: Cell<u64>,
    pub cancelled: Cell<u64>,
    pub resumed: Cell<u64>,
    /// Messages on streams of sessions, and those streams.
    pub asides: Cell<u64>,
    pub streams: Cell<u64>,
    pub takeovers: Cell<u64>,
    pub listens: Cell<u64>,
    /// Clients of HTTP+SSE, and POSTs of several messages.
    pub wired: Cell<u64>,
    pub batches: Cell<u64>,
    pub list_changes: Cell<u64>,
}

impl Tally {
    pub fn sums(&self) -> Sums {
        [
            ("asked", &self.calls),
            ("results", &self.results),
            ("errors", &self.errors),
            ("refused", &self.refused),
            ("cut off", &self.cut),
            ("left early", &self.left),
            ("notes", &self.notes),
            ("questions", &self.questions),
            ("answers to them", &self.answered),
            ("comebacks", &self.comebacks),
            ("cancelled", &self.cancelled),
            ("resumed", &self.resumed),
            ("asides", &self.asides),
            ("streams", &self.streams),
            ("takeovers", &self.takeovers),
            ("listens", &self.listens),
            ("clients of HTTP+SSE", &self.wired),
            ("batches", &self.batches),
            ("changed lists", &self.list_changes),
        ]
        .into_iter()
        .map(|(what, count)| (what, count.get()))
        .collect()
    }
}

/// A tally as it can leave its world.
pub type Sums = Vec<(&'static str, u64)>;

pub fn count(of: &Cell<u64>) {
    of.set(of.get() + 1);
}

impl Story {
    pub fn new(seed: u64, is_calm: bool, kinds: [Kind; 3]) -> Story {
        Story {
            seed,
            is_calm,
            kinds,
            wrongs: RefCell::default(),
            done: RefCell::default(),
            gone: RefCell::default(),
            asides: RefCell::default(),
            asked_ns: RefCell::default(),
            changed_ns: Cell::new(Some(0)),
            tally: Tally::default(),
            losses: Cell::new(0),
        }
    }

    /// A stream of chance for one purpose.
    pub fn chance(&self, purpose: &str) -> Chance {
        Chance::new(self.seed, purpose)
    }

    pub fn wrong(&self, what: String) {
        say(|| format!("WRONG: {what}"));
        self.wrongs.borrow_mut().push(what);
    }

    pub fn wrongs(&self) -> Vec<String> {
        self.wrongs.borrow().clone()
    }

    /// An upstream carries out a call, or one leg of it. A tool may have done something: it must not run twice.
    pub fn carries_out(&self, leg: &str) {
        let times = {
            let mut done = self.done.borrow_mut();
            let times = done.entry(leg.to_owned()).or_default();
            *times += 1;
            *times
        };
        if times > 1 {
            self.wrong(format!("call {leg} was carried out {times} times"));
        }
    }

    /// The client of a call went away in the middle of it.
    pub fn goes(&self, marker: &str) {
        self.gone.borrow_mut().insert(marker.to_owned());
    }

    pub fn is_gone(&self, marker: &str) -> bool {
        self.gone.borrow().contains(marker)
    }

    /// Nobody changes lists any more, and those who listen have had time to be told.
    pub fn is_settled(&self) -> bool {
        self.changed_ns.get().is_some_and(|changed_ns| now_ns() > changed_ns + SETTLED_NS)
    }

    /// A server says something that belongs to no call.
    pub fn says_aside(&self, what: &str) {
        self.asides.borrow_mut().insert(what.to_owned());
    }

    /// What was said so in the sessions of a client.
    pub fn asides_for(&self, prefix: &str) -> BTreeSet<String> {
        self.asides.borrow().iter().filter(|what| what.starts_with(prefix)).cloned().collect()
    }

    /// A server asks a question in a call.
    pub fn asks(&self, marker: &str, key: &str) {
        self.asked_ns.borrow_mut().insert((marker.to_owned(), key.to_owned()), now_ns());
    }

    pub fn since_asked(&self, marker: &str, key: &str) -> Duration {
        let asked_ns = self.asked_ns.borrow().get(&(marker.to_owned(), key.to_owned())).copied();
        Duration::from_nanos(asked_ns.map_or(0, |asked_ns| now_ns().saturating_sub(asked_ns)))
    }

    /// Looks for marks of others in what somebody received.
    pub fn look_for_strangers(&self, bytes: &[u8], own: &str, who: &str) {
        for found in markers(bytes) {
            if found != own {
                self.wrong(format!("{who}, who waits for {own}, was sent what belongs to {found}"));
            }
        }
    }
}

/// Every mark in some bytes. A sealed state may hold `mk-` and `-x` by chance, but no principal's name between them.
pub fn markers(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let parts = text.split("mk-").skip(1).filter_map(|rest| rest.split_once("-x"));
    let is_mark = |inner: &str| ["ann-", "sam-", "nobody"].iter().any(|name| inner.starts_with(name));
    parts.filter(|(inner, _)| is_mark(inner)).map(|(inner, _)| format!("mk-{inner}-x")).collect()
}
