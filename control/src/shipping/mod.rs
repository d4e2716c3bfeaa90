//! The audit log on its way out: every record to collectors (`audit.ship`), every now and then a signed checkpoint to anchors
//! (`audit.anchors`).
//!
//! The decision: what is sent is what a checkpoint covers ([`signed`]), read from the log's files, as an auditor would read it. A
//! record that a checkpoint covers is on the disk and is never cut off after a crash, so no collector ever has one that the log has
//! not, and each can be proved. How far a collector has come is a number in a file ([`cursor`]); between that number and the log
//! there is one batch in memory ([`source`]) and nothing else, so a collector that is slow or away costs no memory and no call
//! anything. It gets everything at least once, each record with an id that is made of its bytes.

mod anchors;
mod batch;
mod collector;
mod cursor;
mod hook;
mod post;
mod signed;
mod source;
mod standing;
mod task;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strait_engine::Secret;
use strait_engine::audit::keeper;
use strait_table::Snapshot;
use strait_table::rules::ArchivedText;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::board::Board;
use crate::fetch::Fetcher;
use crate::log;
use collector::Collector;
use signed::Signed;
pub use standing::{Shown, Standing};

/// What replaces references in a table's texts.
type Resolve<'r> = &'r dyn Fn(&ArchivedText) -> Result<Secret, String>;

/// What is sent to whom, by the table.
#[derive(Clone, PartialEq, Eq)]
struct Ship {
    id: String,
    to: Collector,
    form: strait_audit::export::Format,
    from_now: bool,
}

/// Control's end of it.
pub struct Shipping {
    log: Option<Log>,
    board: Arc<Board>,
    collectors: BTreeMap<String, Sending>,
    anchors: Vec<anchors::Sending>,
}

/// The log that is read.
struct Log {
    folder: PathBuf,
    /// Where cursors are.
    cursors: PathBuf,
    base: PathBuf,
    fetcher: Fetcher,
    figures: keeper::Standing,
    signed: watch::Sender<Option<Arc<Signed>>>,
    looking: Option<AbortHandle>,
}

/// A collector that is sent to.
struct Sending {
    /// Empty: something that it needs cannot be had.
    ship: Option<Ship>,
    standing: Arc<Standing>,
    task: Option<AbortHandle>,
}

impl Shipping {
    /// `log`: its folder and its writer's figures, where there is one. `base` is what relative paths begin with.
    pub fn new(
        log: Option<(PathBuf, keeper::Standing)>,
        base: &Path,
        state: &Path,
        board: Arc<Board>,
    ) -> Shipping {
        let log = log.map(|(folder, figures)| Log {
            folder,
            cursors: state.join("ship"),
            base: base.to_owned(),
            fetcher: Fetcher::new(),
            figures,
            signed: watch::Sender::new(None),
            looking: None,
        });
        Shipping { log, board, collectors: BTreeMap::new(), anchors: Vec::new() }
    }

    /// From now on what this table says. Who is sent to as before goes on where it is.
    pub fn serves(&mut self, snapshot: &Snapshot, secret: Resolve<'_>) {
        let (Some(log), Some(audit)) = (&mut self.log, snapshot.rules().audit.as_ref()) else { return };
        let mut before = std::mem::take(&mut self.collectors);
        for ship in audit.ship.iter() {
            let id = ship.id.as_str().to_owned();
            let known = before.remove(&id);
            let sending = log.sends(known, collector::of(ship, secret), &id);
            self.collectors.insert(id, sending);
        }
        before.into_values().for_each(|sending| sending.end());
        let mut before = std::mem::take(&mut self.anchors);
        for anchor in audit.anchors.iter() {
            let config = anchors::Config::of(anchor, &log.base, secret);
            let known = before.iter().position(|sending| sending.config == config);
            let sending = match known {
                Some(at) => before.swap_remove(at),
                None => anchors::begin(config, log.fetcher.clone(), log.signed.subscribe()),
            };
            self.anchors.push(sending);
        }
        before.into_iter().for_each(anchors::Sending::end);
        if log.looking.is_none() && !(self.collectors.is_empty() && self.anchors.is_empty()) {
            let task = signed::look(log.folder.clone(), log.figures.clone(), log.signed.clone());
            log.looking = Some(tokio::spawn(task).abort_handle());
        }
        let collectors = self.collectors.iter();
        self.board.ships(Shown {
            collectors: collectors.map(|(id, sending)| (id.clone(), sending.standing.clone())).collect(),
            anchors: self.anchors.iter().map(|sending| sending.standing.clone()).collect(),
        });
    }

    /// Nothing is sent any more; what was not goes out after the next start.
    pub fn end(&mut self) {
        std::mem::take(&mut self.collectors).into_values().for_each(|sending| sending.end());
        self.anchors.drain(..).for_each(anchors::Sending::end);
        if let Some(looking) = self.log.as_mut().and_then(|log| log.looking.take()) {
            looking.abort();
        }
    }
}

impl Log {
    fn sends(&self, known: Option<Sending>, ship: Result<Ship, String>, id: &str) -> Sending {
        let (ship, why) = match ship {
            Ok(ship) => (Some(ship), None),
            Err(why) => (None, Some(why)),
        };
        if let Some(known) = known {
            if known.ship == ship && ship.is_some() {
                return known;
            }
            known.end();
            return self.begins(ship, why, known.standing);
        }
        let standing = Standing::new(id, cursor::path(&self.cursors, id), self.signed.subscribe());
        self.begins(ship, why, Arc::new(standing))
    }

    fn begins(&self, ship: Option<Ship>, why: Option<String>, standing: Arc<Standing>) -> Sending {
        if let Some(why) = why
            && standing.fails(&why)
        {
            let id = &standing.id;
            log::warn(format!("audit: collector `{id}` is sent nothing: {why}; its records wait in the log"));
        }
        let task = ship.as_ref().map(|ship| {
            let task = task::Task::new(ship.clone(), self.folder.clone(), standing.clone());
            tokio::spawn(task.run(self.fetcher.clone(), self.signed.subscribe())).abort_handle()
        });
        Sending { ship, standing, task }
    }
}

impl Sending {
    fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What this machine calls itself.
fn host() -> &'static str {
    static HOST: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HOST.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}
