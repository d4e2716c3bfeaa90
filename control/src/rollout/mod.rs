//! Another configuration on somebody's word: `strait plan`, `apply`, `rollback`, `history`, and the admin endpoints for the same.
//!
//! The decision: the last act wins, and a restart is no act. Whatever is put into use is written down first: its table (`store.rs`),
//! then a line of the history (`history.rs`), and only then do workers hear of it. What an apply puts in the place of the
//! file stays, through hangups and restarts, for as long as the file says what it said then; a file that is changed is a newer act.
//! `serve/rollout.rs` carries orders out, `plan.rs` tells what one would do, `admin/` takes them from the network.

pub mod history;
pub mod order;
pub mod plan;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strait_table::Snapshot;
use strait_table::file::Generation;

use crate::limits::{
    HISTORY_TEXT_BYTES_MAX, REFUSALS_RECORDED_PER_HOUR_MAX, REVOCATIONS_RECORDED_PER_HOUR_MAX,
};
use crate::load::kept;
use crate::log;
use crate::signing::Trust;
use history::{Act, Entry, History, Outcome};
pub use order::{Activation, Order, Wish};
use store::Store;

/// A generation's whole hash, as files and the history name it.
pub fn whole(generation: Generation) -> String {
    blake3::Hash::from_bytes(generation.0).to_hex().to_string()
}

/// As everybody else names it.
pub fn short(whole: &str) -> &str {
    whole.get(..12).unwrap_or(whole)
}

/// What is known of the generations of one gateway: of the file that it serves, in its state folder.
pub struct Rollout {
    folder: PathBuf,
    history: History,
    store: Store,
    /// What was put into use last.
    last: Option<Entry>,
    /// Generations that were served, newest first, each once.
    served: Vec<String>,
    entries: u64,
    /// What the file says, when it was last read and could be.
    says: Option<Generation>,
    /// What the file said when something else was put in its place, as long as that is served.
    over: Option<Generation>,
    /// The last candidate that was sent and refused, until another one is adopted.
    rejected: Option<Value>,
    /// Refusals that were written down within an hour, and revocations.
    recorded: Vec<Instant>,
    revocations: Vec<Instant>,
    unrecorded: u64,
    /// Why the history lacks something.
    unwritten: Option<String>,
    /// What was found wrong with the history at start.
    found: Option<String>,
    /// Hears every line of the history.
    ear: Option<Ear>,
}

/// Whoever is told what was written down.
type Ear = Box<dyn Fn(&Entry) + Send>;

/// An act, before it has its place in the history.
pub struct Deed<'a> {
    pub act: Act,
    pub by: Value,
    pub from: Generation,
    pub to: &'a Snapshot,
    pub summary: Value,
    pub message: Option<String>,
}

impl Rollout {
    /// What an earlier run left for the gateway of `file`. A history that is broken is put aside, and said.
    pub fn open(root: &Path, file: &Path) -> Rollout {
        let folder = root.join("rollout").join(kept::name(file));
        let (history, store) = (History::at(&folder), Store::at(&folder));
        let mut rollout = Rollout {
            folder,
            history,
            store,
            last: None,
            served: Vec::new(),
            entries: 0,
            says: None,
            over: None,
            rejected: None,
            recorded: Vec::new(),
            revocations: Vec::new(),
            unrecorded: 0,
            unwritten: None,
            found: None,
            ear: None,
        };
        match rollout.history.read() {
            Ok(told) => rollout.take(told),
            Err(error) => rollout.found(format!("the history cannot be read: {error}")),
        }
        rollout
    }

    fn take(&mut self, told: history::Told) {
        self.last = told.standing().cloned();
        self.entries = told.entries.last().map_or(0, |entry| entry.n);
        for entry in told.entries.iter().filter(|entry| entry.is_adopted()) {
            self.serves(&entry.to);
        }
        if told.torn > 0 {
            self.found(format!(
                "the history ends in {} bytes of a line that was not finished: they count for nothing",
                told.torn
            ));
        }
        if let Some(broken) = told.broken {
            // What it says after that place cannot be believed, and nothing can be added to it.
            self.last = None;
            let aside = match self.history.set_aside() {
                Ok(path) => format!("it was put aside as `{}`", path.display()),
                Err(error) => format!("and it cannot be put aside: {error}"),
            };
            self.found(format!("the history is broken, {aside}: {broken}"));
        }
    }

    fn found(&mut self, what: String) {
        log::error(format!("{what} (`{}`)", self.folder.display()));
        self.found = Some(what);
    }

    fn serves(&mut self, generation: &str) {
        self.served.retain(|known| known != generation);
        self.served.insert(0, generation.to_owned());
    }

    /// The table that was put in the place of what the file says, as long as it says that.
    pub fn instead_of(&mut self, says: Generation, trust: &Trust) -> Option<Arc<Snapshot>> {
        self.says = Some(says);
        let last = self.last.as_ref().filter(|last| last.over.as_deref() == Some(whole(says).as_str()))?;
        match self.trusted(&last.to, trust) {
            Ok(snapshot) => {
                log::info(format!(
                    "serving generation {}, put into use by {} at {} in the place of generation {says}, which the file \
                     says as it did then",
                    snapshot.generation(),
                    last.act.word(),
                    last.at
                ));
                self.over = Some(says);
                Some(snapshot)
            }
            Err(why) => {
                log::error(format!(
                    "generation {}, which was put in the place of the file's at {}, cannot be served again: {why}; \
                     serving what the file says",
                    short(&last.to),
                    last.at
                ));
                None
            }
        }
    }

    /// The table that was served last, whatever the file says.
    pub fn last_table(&self, trust: &Trust) -> Option<Arc<Snapshot>> {
        let last = self.last.as_ref()?;
        self.trusted(&last.to, trust).inspect_err(|why| log::error(why)).ok()
    }

    /// The state folder is a place like any other: what lies in it is served when it is signed.
    fn trusted(&self, generation: &str, trust: &Trust) -> Result<Arc<Snapshot>, String> {
        let table = self.store.take(generation)?;
        trust.verify(&table).map_err(|why| format!("generation {}: {why}", short(generation)))?;
        Ok(table)
    }

    /// The generation in use, signed anew: as such it is to be there after a restart.
    pub fn renew(&self, table: &Snapshot) -> io::Result<()> {
        self.store.put(table)
    }

    /// What the file says, as somebody has just read; `None`: it cannot be used.
    pub fn file_says(&mut self, says: Option<Generation>) {
        self.says = says;
    }

    /// What the file says that is not served because something else was put in its place.
    pub fn over(&self) -> Option<Generation> {
        self.over
    }

    /// Writes down what is about to be put into use: its table, then its line.
    pub fn commit(&mut self, deed: Deed<'_>) -> io::Result<()> {
        self.store.put(deed.to)?;
        let to = whole(deed.to.generation());
        let over = self.says.filter(|says| whole(*says) != to);
        let sources = deed.to.rules().sources.iter().map(|source| {
            let hash = blake3::Hash::from_bytes(source.blake3).to_hex().to_string();
            (source.path.as_str().to_owned(), hash)
        });
        let entry = Entry {
            outcome: Outcome::Adopted,
            over: over.map(whole),
            sources: sources.take(crate::limits::HISTORY_SOURCES_MAX).collect(),
            summary: deed.summary,
            message: deed.message.map(|text| clipped(&text)),
            ..self.entry(deed.act, deed.by, deed.from, to)
        };
        let entry = self.append(entry)?;
        self.serves(&entry.to);
        self.last = Some(entry);
        self.over = over;
        self.rejected = None;
        self.store.keep_only(&self.served);
        Ok(())
    }

    /// As [`Rollout::commit`], of what is in use already: serving goes on when it cannot be written.
    pub fn note(&mut self, deed: Deed<'_>) {
        // Said by the next status, too.
        let _ = self.commit(deed);
    }

    /// A candidate goes on trial beside what is served: nothing is served before that is written down.
    pub fn tries(&mut self, deed: Deed<'_>, what: &str) -> io::Result<()> {
        let to = whole(deed.to.generation());
        let entry = Entry {
            outcome: Outcome::Tried,
            summary: deed.summary,
            why: Some(clipped(what)),
            message: deed.message.map(|text| clipped(&text)),
            ..self.entry(deed.act, deed.by, deed.from, to)
        };
        self.append(entry)?;
        self.rejected = None;
        Ok(())
    }

    /// A candidate is not on trial any more, and was not put into use.
    pub fn gives_up(&mut self, act: Act, by: &Value, from: Generation, to: Generation, why: &str) {
        let entry = self.entry(act, by.clone(), from, whole(to));
        // Said by the next status, too.
        let _ = self.append(Entry { outcome: Outcome::RolledBack, why: Some(clipped(why)), ..entry });
    }

    /// Something was not put into use.
    pub fn refuse(&mut self, act: Act, by: &Value, from: Generation, to: Option<Generation>, why: &str) {
        if !may_record(&mut self.recorded, REFUSALS_RECORDED_PER_HOUR_MAX) {
            self.unrecorded += 1;
            return;
        }
        let entry = self.entry(act, by.clone(), from, to.map(whole).unwrap_or_default());
        let entry = Entry { outcome: Outcome::Refused, why: Some(clipped(why)), ..entry };
        // Said by the next status, too.
        let _ = self.append(entry);
    }

    /// Somebody is not believed any more, or is again, while `running` is served on.
    pub fn revokes(&mut self, act: Act, by: &Value, running: Generation, summary: Value, why: Option<&str>) {
        if !may_record(&mut self.revocations, REVOCATIONS_RECORDED_PER_HOUR_MAX) {
            self.unrecorded += 1;
            return;
        }
        let entry = self.entry(act, by.clone(), running, whole(running));
        // Said by the next status, too.
        let _ = self.append(Entry { summary, message: why.map(clipped), ..entry });
    }

    /// A candidate was found unfit: shown until another one is adopted.
    pub fn reject(&mut self, act: Act, by: &Value, candidate: Option<Generation>, why: &str) {
        self.rejected = Some(json!({
            "at": crate::time::now(),
            "act": act.word(),
            "by": by,
            "candidate": candidate.map(|generation| generation.to_string()),
            "why": why,
        }));
    }

    fn entry(&self, act: Act, by: Value, from: Generation, to: String) -> Entry {
        Entry {
            prev: String::new(),
            n: 0,
            at: crate::time::now(),
            act,
            outcome: Outcome::Adopted,
            by,
            from: whole(from),
            to,
            over: None,
            sources: Vec::new(),
            summary: Value::Null,
            why: None,
            message: None,
            unrecorded: self.unrecorded,
            torn: 0,
        }
    }

    /// From now on `ear` hears of every line that is written.
    pub fn tell(&mut self, ear: impl Fn(&Entry) + Send + 'static) {
        self.ear = Some(Box::new(ear));
    }

    fn append(&mut self, entry: Entry) -> io::Result<Entry> {
        match self.history.append(entry) {
            Ok(entry) => {
                (self.unrecorded, self.unwritten) = (0, None);
                self.entries = entry.n;
                self.ear.iter().for_each(|ear| ear(&entry));
                Ok(entry)
            }
            Err(error) => {
                self.unrecorded += 1;
                let why = format!("cannot write the history: {error} (`{}`)", self.folder.display());
                log::error(&why);
                self.unwritten = Some(why);
                Err(error)
            }
        }
    }

    /// Whether `generation` is what was put into use last.
    pub fn is_last(&self, generation: Generation) -> bool {
        self.last.as_ref().is_some_and(|last| last.to == whole(generation))
    }

    /// Whether what the file says was replaced by an operator, fit or not.
    pub fn is_file_overruled(&self) -> bool {
        self.says.is_some() && self.says == self.over
    }

    /// The table to go back to: the one that `id` begins the hash of, or the one before the running one.
    pub fn earlier(&self, running: Generation, id: Option<&str>) -> Result<Arc<Snapshot>, String> {
        let running = whole(running);
        let kept: Vec<&String> = self.served.iter().filter(|known| self.store.has(known)).collect();
        let names = || {
            let others = kept.iter().filter(|known| ***known != running).map(|known| short(known));
            match others.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "no other generation is kept".to_owned(),
                names => format!("kept are {names}"),
            }
        };
        let found = match id {
            None => kept.iter().find(|known| ***known != running).copied(),
            Some(id) => {
                let mut begin = kept.iter().filter(|known| known.starts_with(id));
                match (begin.next(), begin.next()) {
                    (Some(one), None) if id.len() >= 4 => Some(*one),
                    _ => None,
                }
            }
        };
        let Some(found) = found else {
            let what = id.map_or("an earlier generation".to_owned(), |id| format!("generation `{id}`"));
            return Err(format!("{what} is not here to go back to: {}", names()));
        };
        self.store.take(found)
    }

    /// What `/admin/rollout` says.
    pub fn shown(&self, running: Generation, file: &Path, is_rejected: bool) -> Value {
        let state = match (is_rejected, self.says) {
            (true, _) | (_, None) => "rejected",
            (_, Some(says)) if says == running => "served",
            _ => "overruled",
        };
        let last = self.last.as_ref().filter(|last| last.to == whole(running));
        json!({
            "generation": running.to_string(),
            "hash": whole(running),
            "file": {
                "path": file.display().to_string(),
                "state": state,
                "generation": self.says.map(|says| says.to_string()),
            },
            "since": last.map(|last| json!({ "at": last.at, "act": last.act.word(), "by": last.by, "n": last.n })),
            "rejected": self.rejected,
            "kept": self.served.iter().filter(|known| self.store.has(known)).map(|known| short(known)).collect::<Vec<_>>(),
            "history": {
                "entries": self.entries,
                "found": self.found,
                "not_written": self.unwritten,
                "unrecorded": self.unrecorded,
            },
        })
    }
}

/// Counts what is written down, of which there may be so many in an hour.
fn may_record(recorded: &mut Vec<Instant>, most: usize) -> bool {
    recorded.retain(|then| then.elapsed() < Duration::from_secs(60 * 60));
    if recorded.len() >= most {
        return false;
    }
    recorded.push(Instant::now());
    true
}

/// What an operator or a compiler says at length, as the history has it.
fn clipped(text: &str) -> String {
    let mut end = text.len().min(HISTORY_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = if end < text.len() { " …" } else { "" };
    format!("{}{cut}", &text[..end])
}

/// What `/admin/history` says: the newest first, at most `limit`, from the one before number `before` on.
pub fn told(root: &Path, file: &Path, before: Option<u64>, limit: usize) -> io::Result<Value> {
    let history = History::at(&root.join("rollout").join(kept::name(file)));
    let told = history.read()?;
    let wanted = told.entries.iter().rev().filter(|entry| before.is_none_or(|before| entry.n < before));
    let entries: Vec<&Entry> = wanted.take(limit).collect();
    Ok(json!({
        "entries": entries,
        "total": told.entries.last().map_or(0, |last| last.n),
        "oldest": told.entries.first().map_or(0, |first| first.n),
        "head": told.head,
        "verified": told.broken.is_none(),
        "broken": told.broken,
        "torn": told.torn,
    }))
}
