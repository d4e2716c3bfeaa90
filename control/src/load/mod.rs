//! From a file to everything that serving it takes: the one way in, at start and at every reload.
//!
//! A table is opened; a configuration is compiled, at start by this process, which serves nobody yet,
//! and later by a confined child (`compile.rs`), so that no source text can cost a serving process its
//! memory or its core. Then keys and references are read. What came of it is a [`Candidate`], or
//! [`Refused`] with what an operator must know; whether a candidate may replace what runs is decided in
//! `serve/reload.rs`.

pub mod compile;
mod first;
pub mod kept;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use strait_engine::{KeyRing, Reach, Secret};
use strait_table::Snapshot;
use strait_table::file::Generation;
use strait_table::rules::{ArchivedLogTo, ArchivedText};
use tokio::time::Instant;

use crate::answers::diff::parts;
use crate::audit;
use crate::certificates::{self, Certificates, Listeners};
use crate::credentials::Grants;
use crate::failure::{Code, Failure};
use crate::keys::{self, Keys};
use crate::limits::{SETTLE, SETTLE_BAD, SETTLE_WITHIN, STORES_WITHIN};
use crate::private::Private;
use crate::reach::{self, Given, Plan, Scout};
use crate::rollout::plan;
use crate::secrets::Secrets;
use crate::signing::{Trust, takes};
use crate::source::Source;
use crate::state::State;
use crate::watch::{Group, Marks};
pub use first::{Start, first};

/// What stays the same from load to load.
pub struct Loader {
    /// As the operator named it.
    pub file: PathBuf,
    pub base: PathBuf,
    pub state: State,
    pub this_program: PathBuf,
    pub scout: Scout,
    /// The one client, where there is only one.
    pub private: Option<Private>,
    /// Whose tables are served.
    pub trust: Trust,
    pub certificates: Certificates,
    pub grants: Grants,
    pub secrets: Secrets,
}

/// What the running edition was made from: what a candidate is compared with.
#[derive(Clone)]
pub struct Running {
    pub snapshot: Arc<Snapshot>,
    pub plans: Arc<Vec<Plan>>,
    pub keys: Arc<KeyRing>,
    pub listeners: Listeners,
    /// What is on trial beside it.
    pub tried: Option<OnTrial>,
    /// What the file says that this was put in the place of.
    pub over: Option<Generation>,
    /// The sequence that a candidate must have at least, where tables are signed; `None`: somebody goes back on purpose.
    pub floor: Option<u64>,
}

/// A candidate on trial, by the trial's number.
#[derive(Clone)]
pub struct OnTrial {
    pub number: u64,
    pub snapshot: Arc<Snapshot>,
    pub plans: Arc<Vec<Plan>>,
}

/// Everything that serving a table takes.
pub struct Candidate {
    pub snapshot: Arc<Snapshot>,
    pub keys: Keys,
    pub listeners: Listeners,
    pub plans: Vec<Plan>,
    /// By upstream; `None`: as the upstream of this name is reached now.
    pub reaches: Vec<Option<Reach>>,
    /// What the history says of it.
    pub summary: Value,
}

/// Why a file is not served.
#[derive(Clone, Debug)]
pub struct Refused {
    pub why: String,
    /// The generation it would have been, where it has one.
    pub candidate: Option<String>,
    /// It could be served, and not be kept for a restart.
    pub not_kept: bool,
}

/// What an attempt brought.
pub enum Brought {
    Candidate(Candidate),
    /// Only the key files and the listeners' certificates were read.
    Keys(Keys, Listeners),
    /// Only references were resolved again, and those of the trial of this number.
    Secrets(Rotated, Option<(u64, Rotated)>),
}

/// Plans of the running table, with the secrets of now.
pub struct Rotated {
    pub plans: Vec<Plan>,
    /// By upstream; `None`: where it is reached now.
    pub reaches: Vec<Option<Reach>>,
    /// Secrets that were there and are not: their upstreams go on with what they had.
    pub lost: Option<Refused>,
}

/// One look at the files, with the marks that were taken before they were read.
pub struct Attempt {
    /// What was looked at.
    pub group: Group,
    pub outcome: Result<Brought, Refused>,
    /// What the file says, as far as it could be read.
    pub says: Option<Generation>,
    pub marks: Marks,
    /// What the file is made from, as far as it could be read.
    pub sources: Vec<PathBuf>,
    pub took: Duration,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Refused {
        Refused { why: failure.told(), candidate: None, not_kept: false }
    }
}

impl Loader {
    /// Reads the file until it holds still: a file that is being written is bad for a moment, and no
    /// reason to call it bad.
    pub async fn attempt(self: Arc<Loader>, running: Running, mut sources: Vec<PathBuf>) -> Attempt {
        let began = Instant::now();
        loop {
            let mut marks = Marks::of(self.watched(&sources, &running.snapshot));
            let mut says = None;
            let outcome = match self.read(&mut sources).await {
                Ok(snapshot) => {
                    says = Some(snapshot.generation());
                    // Nobody changed the file since something else was put in its place.
                    let snapshot = if running.over == says { running.snapshot.clone() } else { snapshot };
                    marks.add(self.watched(&sources, &snapshot));
                    let completed = self.complete(snapshot, &running).await;
                    if let Ok(candidate) = &completed {
                        marks.wrote(&candidate.keys.written);
                    }
                    completed.map(Brought::Candidate)
                }
                Err(refused) => {
                    marks.add(self.watched(&sources, &running.snapshot));
                    Err(refused)
                }
            };
            let took = began.elapsed();
            if outcome.is_err() && took < SETTLE_WITHIN && settles(&marks).await {
                continue;
            }
            return Attempt { group: Group::Source, outcome, says, marks, sources, took };
        }
    }

    /// Reads the key files of the running table again, and nothing else.
    pub async fn attempt_keys(
        self: Arc<Loader>,
        running: Running,
        mut marks: Marks,
        sources: Vec<PathBuf>,
    ) -> Attempt {
        let began = Instant::now();
        loop {
            marks.renew(Group::Keys);
            let there = self.keys_are_there(&running.snapshot, &running);
            let there = there.map_err(|why| Failure::new(Code::Failed, why));
            let outcome = there.and_then(|()| self.keys(&running.snapshot));
            let took = began.elapsed();
            if outcome.is_err() && took < SETTLE_WITHIN && settles(&marks).await {
                continue;
            }
            if let Ok(keys) = &outcome {
                marks.wrote(&keys.written);
            }
            let renewed = || self.certificates.renewed(&running.snapshot, &self.base, &running.listeners);
            let outcome = outcome.map(|keys| Brought::Keys(keys, renewed())).map_err(Refused::from);
            return Attempt { group: Group::Keys, outcome, says: None, marks, sources, took };
        }
    }

    /// Resolves the references of the running table again, and nothing else.
    pub async fn attempt_secrets(
        self: Arc<Loader>,
        running: Running,
        mut marks: Marks,
        sources: Vec<PathBuf>,
    ) -> Attempt {
        let began = Instant::now();
        self.secrets.stores().again();
        loop {
            marks.renew(Group::Secrets);
            let rotated = self.rotated(&running.snapshot, &running.plans).await;
            let took = began.elapsed();
            if rotated.lost.is_some() && took < SETTLE_WITHIN && settles(&marks).await {
                continue;
            }
            let tried = match &running.tried {
                Some(tried) => Some((tried.number, self.rotated(&tried.snapshot, &tried.plans).await)),
                None => None,
            };
            let outcome = Ok(Brought::Secrets(rotated, tried));
            return Attempt { group: Group::Secrets, outcome, says: None, marks, sources, took };
        }
    }

    /// A table in use, with the secrets of now.
    async fn rotated(&self, snapshot: &Snapshot, before: &[Plan]) -> Rotated {
        let mut plans = self.plans(snapshot);
        self.grants.begin(snapshot, Instant::now() + STORES_WITHIN).await;
        if plans.iter().any(Plan::waits) {
            plans = self.plans(snapshot);
        }
        let names = snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str());
        let (mut lost, mut new) = (Vec::new(), Vec::new());
        for ((plan, last), name) in plans.iter_mut().zip(before).zip(names) {
            if let (Some(why), None) = (plan.missing(), last.missing()) {
                lost.push(format!("upstream `{name}` goes on with the secret it had: {why}"));
                *plan = last.clone();
            }
            plan.after(last);
            new.push((!plan.is_same_but_for_credentials(last)).then(|| plan.clone()));
        }
        let mut found = self.scout.reach(new.iter().flatten().cloned().collect()).await.into_iter();
        let reaches = new.iter().map(|new| new.as_ref().and_then(|_| found.next())).collect();
        let lost =
            (!lost.is_empty()).then(|| Refused { why: lost.join("\n"), candidate: None, not_kept: false });
        Rotated { plans, reaches, lost }
    }

    /// The table that the file is or becomes; `sources` become what it was made from.
    async fn read(&self, sources: &mut Vec<PathBuf>) -> Result<Arc<Snapshot>, Refused> {
        let file = self.file.clone();
        // A file system that hangs holds up a thread of the pool, never the one that hears signals.
        let source = tokio::task::spawn_blocking(move || Source::detect(&file)).await.map_err(bug)??;
        takes(&self.trust, &source)?;
        match source {
            Source::Table(path) => {
                *sources = vec![path.clone()];
                let opened = tokio::task::spawn_blocking(move || Source::Table(path).open());
                let table = opened.await.map_err(bug)??.snapshot;
                // Also of one that something else is served in the place of.
                self.trust.verify(&table).map_err(|why| unfit(&table, why))?;
                self.secluded(table).map_err(Refused::from)
            }
            Source::Config(path) => {
                let compiled = compile::confined(&path, &self.state).await;
                if !compiled.watched.is_empty() {
                    *sources = compiled.watched;
                }
                compiled.table.and_then(|table| self.secluded(table).map_err(Refused::from))
            }
        }
    }

    /// Keys, references and addresses of a table that may replace the running one.
    pub async fn complete(&self, snapshot: Arc<Snapshot>, running: &Running) -> Result<Candidate, Refused> {
        self.acquire(&snapshot).await;
        let (plans, kept) = self.weigh(&snapshot, running)?;
        let keys = self.keys(&snapshot);
        let keys = keys.map_err(|failure| unfit(&snapshot, failure.told()))?;
        let listeners =
            self.certificates.listeners(&snapshot, &self.base).map_err(|why| unfit(&snapshot, why))?;
        let new = plans.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(plan, _)| plan.clone());
        let mut found = self.scout.reach(new.collect()).await.into_iter();
        let reaches = kept.iter().map(|kept| if *kept { None } else { found.next() }).collect();
        let (before, after) = (running.snapshot.clone(), snapshot.clone());
        let summary = tokio::task::spawn_blocking(move || match before.generation() == after.generation() {
            true => Value::Null,
            false => plan::summary(&parts(&before, &after).unwrap_or_default(), None),
        });
        let summary = summary.await.unwrap_or_default();
        Ok(Candidate { snapshot, keys, listeners, plans, reaches, summary })
    }

    /// Whether a table may replace the running one, without a change to anything: how its upstreams are reached, and which of them
    /// as before.
    pub fn weigh(&self, snapshot: &Snapshot, running: &Running) -> Result<(Vec<Plan>, Vec<bool>), Refused> {
        let refused = |why: String| unfit(snapshot, why);
        self.trust
            .verify(snapshot)
            .and_then(|()| self.trust.follows(running.floor, snapshot))
            .map_err(refused)?;
        needs_a_restart(running.snapshot.as_ref(), snapshot).map_err(refused)?;
        self.keys_are_there(snapshot, running).map_err(refused)?;
        let mut plans = self.plans(snapshot);
        if running.snapshot.generation() == snapshot.generation() {
            plans.iter_mut().zip(running.plans.iter()).for_each(|(plan, last)| plan.after(last));
        }
        let names = |snapshot: &Snapshot| -> Vec<String> {
            snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str().to_owned()).collect()
        };
        let (before, after) = (names(&running.snapshot), names(snapshot));
        let as_before = |(name, plan): (&String, &Plan)| {
            before.iter().zip(running.plans.iter()).any(|(known, reached)| known == name && reached == plan)
        };
        let kept: Vec<bool> = after.iter().zip(&plans).map(as_before).collect();
        let missing: Vec<String> = after
            .iter()
            .zip(&plans)
            .zip(&kept)
            // What was missing before is missing still; a reload may not make it worse.
            .filter(|(_, kept)| !**kept)
            .filter_map(|((name, plan), _)| plan.missing().map(|why| format!("upstream `{name}`: {why}")))
            .collect();
        if !missing.is_empty() {
            return Err(refused(missing.join("\n")));
        }
        Ok((plans, kept))
    }

    /// A key file that is missing at start is one that will be made. One that was read and is missing now
    /// was lost: to forget all its keys would lock everybody out for one wrong `mv`.
    fn keys_are_there(&self, candidate: &Snapshot, running: &Running) -> Result<(), String> {
        let files = self.key_files(&running.snapshot);
        let read = files.iter().zip(&running.keys.identities).filter(|(_, keys)| !keys.by_digest.is_empty());
        let read: Vec<&PathBuf> = read.map(|(path, _)| path).collect();
        let lost = self.key_files(candidate);
        let lost = lost.iter().find(|path| read.contains(path) && !path.exists());
        match lost {
            Some(path) => {
                Err(format!("key file `{}` is gone: put it back, or revoke its keys", path.display()))
            }
            None => Ok(()),
        }
    }

    /// Keys and certificates of a table.
    pub fn assemble(&self, snapshot: &Snapshot) -> Result<(Keys, Listeners), Failure> {
        let keys = self.keys(snapshot)?;
        let listeners = self.certificates.listeners(snapshot, &self.base);
        let listeners = listeners.map_err(|why| Failure::new(Code::Unfit, why))?;
        Ok((keys, listeners))
    }

    /// A text of this table with its references replaced.
    pub fn reference(&self, snapshot: &Snapshot, text: &ArchivedText) -> Result<Secret, String> {
        self.secrets.references(&self.base, snapshot.rules()).resolve(text)
    }

    /// Has what this table wants of others, as far as it is there within a bounded time: secrets of stores and tokens, side by side.
    pub async fn acquire(&self, snapshot: &Snapshot) {
        if !self.is_trusted(snapshot) {
            return;
        }
        let by = Instant::now() + STORES_WITHIN;
        // A token is wanted once the secret is there that it is asked for with.
        drop(self.plans(snapshot));
        tokio::join!(self.gather(snapshot), self.grants.begin(snapshot, by));
        drop(self.plans(snapshot));
        self.grants.begin(snapshot, by).await;
    }

    /// Waits a bounded time for secrets of this table that are in stores of others and were never fetched.
    pub async fn gather(&self, snapshot: &Snapshot) {
        if self.is_trusted(snapshot) {
            self.secrets.stores().gather(&self.base, snapshot.rules()).await;
        }
    }

    /// Whoever a table names that nobody signed is asked nothing and shown nothing: it could name whom it likes.
    fn is_trusted(&self, snapshot: &Snapshot) -> bool {
        self.trust.verify(snapshot).is_ok()
    }

    pub fn plans(&self, snapshot: &Snapshot) -> Vec<Plan> {
        let references = self.secrets.references(&self.base, snapshot.rules());
        let given = Given {
            base: &self.base,
            references: &references,
            certificates: &self.certificates,
            grants: &self.grants,
            this_program: &self.this_program,
        };
        reach::plan(snapshot, &given)
    }

    /// The table as this process serves it.
    pub fn secluded(&self, snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>, Failure> {
        match &self.private {
            Some(private) => Ok(Arc::new(private.seclude(&snapshot, &self.base, &self.state)?)),
            None => Ok(snapshot),
        }
    }

    fn keys(&self, snapshot: &Snapshot) -> Result<Keys, Failure> {
        match &self.private {
            Some(private) => Ok(private.keys(snapshot)),
            None => keys::load(snapshot, &self.base, &self.state),
        }
    }

    /// A private gateway's key is in no file.
    fn key_files(&self, snapshot: &Snapshot) -> Vec<PathBuf> {
        match &self.private {
            Some(_) => Vec::new(),
            None => keys::files(snapshot, &self.base, &self.state),
        }
    }

    /// What can change what is served: the sources, and the key files of the table.
    pub fn watched(&self, sources: &[PathBuf], snapshot: &Snapshot) -> Vec<(Group, PathBuf)> {
        let mut all: Vec<(Group, PathBuf)> = vec![(Group::Source, self.file.clone())];
        for source in sources {
            all.push((Group::Source, source.clone()));
        }
        for path in self.key_files(snapshot) {
            all.push((Group::Keys, path));
        }
        for path in certificates::files_of_listeners(snapshot, &self.base) {
            all.push((Group::Keys, path));
        }
        for path in certificates::files_of_upstreams(snapshot, &self.base) {
            all.push((Group::Source, path));
        }
        for path in self.secrets.files(&self.base, snapshot.rules()) {
            all.push((Group::Secrets, path));
        }
        all
    }
}

/// Whether bad files are about to change: gives them a while to.
async fn settles(marks: &Marks) -> bool {
    tokio::time::sleep(if marks.have_changed() { SETTLE } else { SETTLE_BAD }).await;
    marks.have_changed()
}

fn bug(error: tokio::task::JoinError) -> Refused {
    Refused { why: format!("a bug in strait: {error}"), candidate: None, not_kept: false }
}

/// A table that cannot be served.
pub fn unfit(candidate: &Snapshot, why: String) -> Refused {
    Refused { why, candidate: Some(candidate.generation().to_string()), not_kept: false }
}

/// What a reload cannot change, because sockets and the log's file are opened once.
fn needs_a_restart(running: &Snapshot, candidate: &Snapshot) -> Result<(), String> {
    let (old, new) = (running.rules(), candidate.rules());
    let mut all = Vec::new();
    let binds = |snapshot: &Snapshot| -> Vec<String> {
        snapshot.rules().listeners.iter().map(|listener| listener.bind.as_str().to_owned()).collect()
    };
    let (before, after) = (binds(running), binds(candidate));
    if before != after {
        all.push(format!("`listeners` bind {} instead of {}", after.join(", "), before.join(", ")));
    }
    if old.admin_bind.as_str() != new.admin_bind.as_str() {
        all.push(format!(
            "`admin.bind` is {} instead of {}",
            new.admin_bind.as_str(),
            old.admin_bind.as_str()
        ));
    }
    let log = |to: &ArchivedLogTo| match to {
        ArchivedLogTo::Off => "off".to_owned(),
        ArchivedLogTo::Stdout => "stdout".to_owned(),
        ArchivedLogTo::File(path) => path.as_str().to_owned(),
    };
    let (before, after) = (log(&old.access_log.to), log(&new.access_log.to));
    if before != after {
        all.push(format!("`access_log.path` is {after} instead of {before}"));
    }
    all.extend(audit::needs_a_restart(running, candidate));
    if all.is_empty() {
        return Ok(());
    }
    Err(format!("needs a restart: {}", all.join("; ")))
}
