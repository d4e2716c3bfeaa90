//! Another table for a gateway that serves.
//!
//! A hangup, a changed file or a changed key file begins an *attempt* (`load/`), which waits for nothing
//! that workers need and reports back to the loop. What it brings is adopted whole, or refused loudly
//! while the last good generation serves on; `/readyz` tells of a refusal until the file is mended. One
//! attempt is under way at a time, and what happens meanwhile begins the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant as Began};

use serde_json::{Value, json};
use strait_engine::{Edition, Facts, Reach};
use strait_table::Snapshot;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::control::{Control, named};
use super::rollout::Why;
use super::trial::End;
use crate::audit;
use crate::board::Phase;
use crate::certificates::Listeners;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::limits::ADOPT_WITHIN;
use crate::load::{Attempt, Brought, Candidate, Refused, Rotated, kept};
use crate::log;
use crate::metrics::Reloads;
use crate::reach::{self, Found, Plan};
use crate::rollout::history::Act;
use crate::watch::{Group, Marks, Watch};

/// What the loop keeps of reloads.
pub struct Reload {
    attempts: mpsc::UnboundedSender<Attempt>,
    changes: mpsc::UnboundedSender<Group>,
    sources: Vec<PathBuf>,
    marks: Marks,
    watch: Option<Watch>,
    under_way: bool,
    /// To be looked at when the attempt under way has ended.
    again: Option<Group>,
    /// Files that were refused and not mended since, by group.
    refused: Vec<Rejected>,
    /// Serving what an earlier run left, since the file was bad at start.
    kept_from_before: bool,
    counts: Reloads,
    last: Option<Value>,
    adopting: Option<Adopting>,
    /// Why the table in use would not be there after a restart.
    not_kept: Option<String>,
    /// Addresses found while an attempt is under way: its table may want them, and is not known yet.
    late: Vec<Found>,
    /// Snapshots that exchanges may still hold. The last one to let go is this thread: giving memory back
    /// takes long enough to be felt in a worker.
    left: Vec<Arc<Snapshot>>,
}

/// A file that cannot be served, as it was when that was found.
struct Rejected {
    group: Group,
    /// What `/readyz` shows.
    shown: Value,
    marks: Marks,
}

/// An edition on its way into the workers.
struct Adopting {
    serial: u64,
    what: String,
    began: Began,
    /// The longest that a worker stood still for it.
    pause_ns: u64,
    by: Option<Instant>,
    /// Workers that had not adopted it in time.
    behind: Vec<usize>,
}

/// What the loop listens to on behalf of reloads.
pub struct Ears {
    pub attempts: mpsc::UnboundedReceiver<Attempt>,
    pub changes: mpsc::UnboundedReceiver<Group>,
}

impl Reload {
    pub fn new(sources: Vec<PathBuf>, marks: Marks, fallen_back: Option<Refused>) -> (Reload, Ears) {
        let (attempts, attempts_heard) = mpsc::unbounded_channel();
        let (changes, changes_heard) = mpsc::unbounded_channel();
        let kept_from_before = fallen_back.is_some();
        let refused = fallen_back.iter().map(|refused| Rejected {
            group: Group::Source,
            shown: shown(refused),
            marks: marks.clone(),
        });
        let refused = refused.collect();
        let reload = Reload {
            attempts,
            changes,
            sources,
            marks,
            watch: None,
            under_way: false,
            again: None,
            refused,
            kept_from_before,
            counts: Reloads { refused: kept_from_before.into(), ..Reloads::default() },
            last: None,
            adopting: None,
            not_kept: None,
            late: Vec::new(),
            left: Vec::new(),
        };
        (reload, Ears { attempts: attempts_heard, changes: changes_heard })
    }

    /// Why an earlier run's table is served and not the file, where that is so.
    pub fn kept_instead(&self) -> Option<&str> {
        let refused = self.refused.first().filter(|_| self.kept_from_before)?;
        refused.shown["why"].as_str()
    }

    /// When a worker that has not adopted the last edition is named.
    pub fn adopt_by(&self) -> Option<Instant> {
        self.adopting.as_ref().and_then(|adopting| adopting.by)
    }

    /// An address that was found, for the table that may come.
    pub fn found(&mut self, found: Found) {
        if self.under_way {
            self.late.push(found);
        }
    }

    /// Adds what was found between the first look-up of a candidate and now: nobody looks for it any more.
    pub fn add_late(&self, plans: &[Plan], reaches: &mut [Reach]) {
        self.late.iter().for_each(|found| reach::add(plans, reaches, found));
    }

    /// An edition that is in use no more, except by exchanges under way.
    pub fn leave(&mut self, edition: Arc<Edition>) {
        let snapshot = edition.snapshot.clone();
        if !self.left.iter().any(|left| Arc::ptr_eq(left, &snapshot)) {
            self.left.push(snapshot);
        }
    }

    /// One attempt is under way at a time, whether files or an operator began it.
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    pub fn begin(&mut self) {
        self.under_way = true;
    }

    pub fn end(&mut self) {
        self.under_way = false;
        self.late.clear();
    }

    pub fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// Nothing of this group is bad any more.
    pub fn mended(&mut self, group: Group) {
        self.refused.retain(|of| of.group != group);
    }

    pub fn is_rejected(&self) -> bool {
        self.refused.iter().any(|of| of.group == Group::Source)
    }

    pub fn watch(&mut self, marks: Marks) {
        self.marks = marks.clone();
        self.watch = Watch::start(marks, self.changes.clone())
            .inspect_err(|error| {
                log::error(format!("files are not looked at, use SIGHUP after a change: no thread: {error}"))
            })
            .ok();
    }

    fn shown(&self) -> Value {
        let mut shown = json!({
            "state": if self.refused.is_empty() { "ok" } else { "rejected" },
            "adopted": self.counts.adopted,
            "unchanged": self.counts.unchanged,
            "rejected": self.counts.refused,
        });
        if let Some(Rejected { shown: refused, .. }) = self.refused.first() {
            for member in ["at", "why", "candidate"] {
                shown[member] = refused[member].clone();
            }
        }
        if self.kept_from_before {
            shown["serving"] = "the last good table of an earlier run".into();
        }
        if let Some(adopting) = &self.adopting {
            shown["adopting"] = adopting.what.as_str().into();
            if !adopting.behind.is_empty() {
                shown["behind"] = adopting.behind.clone().into();
            }
        }
        if let Some(why) = &self.not_kept {
            shown["not_kept"] = why.as_str().into();
        }
        if let Some(last) = &self.last {
            shown["last"] = last.clone();
        }
        shown
    }
}

fn shown(refused: &Refused) -> Value {
    json!({ "at": crate::time::now(), "why": refused.why, "candidate": refused.candidate })
}

impl Control {
    pub fn begin_reloads(&mut self, hung_up: bool) {
        let marks = std::mem::take(&mut self.reload.marks);
        self.reload.watch(marks);
        self.show();
        if hung_up {
            self.hung_up();
        }
    }

    pub fn hung_up(&mut self) {
        if self.phase == Phase::Draining {
            return log::info("SIGHUP: stopping already, nothing is read again");
        }
        log::info("SIGHUP: reading everything again");
        self.attempt(Group::Source);
    }

    pub fn changed(&mut self, group: Group) {
        if self.phase != Phase::Draining {
            self.attempt(group);
        }
    }

    fn attempt(&mut self, group: Group) {
        if self.reload.under_way {
            // Reading everything is reading keys and secrets as well.
            let again = self.reload.again.filter(|again| *again != group);
            self.reload.again = Some(again.map_or(group, |_| Group::Source));
            return;
        }
        self.reload.begin();
        self.manager.reloading();
        let running = self.running();
        let (loader, report) = (self.loader.clone(), self.reload.attempts.clone());
        let (sources, marks) = (self.reload.sources.clone(), self.reload.marks.clone());
        tokio::spawn(async move {
            let attempt = match group {
                Group::Source => loader.attempt(running, sources).await,
                Group::Keys => loader.attempt_keys(running, marks, sources).await,
                Group::Secrets => loader.attempt_secrets(running, marks, sources).await,
            };
            // Nobody listens any more: the process is ending.
            let _ = report.send(attempt);
        });
    }

    pub fn attempted(&mut self, attempt: Attempt) {
        self.reload.under_way = false;
        if self.phase == Phase::Draining {
            return;
        }
        let Attempt { group, outcome, says, marks, sources, took } = attempt;
        self.reload.sources = sources;
        if let (Group::Source, Some(rollout)) = (group, &mut self.orders.rollout) {
            rollout.file_says(says);
        }
        let done = match outcome {
            Ok(Brought::Candidate(candidate)) => self.adopt(candidate, took, Why::File),
            Ok(Brought::Keys(keys, listeners)) => {
                self.adopt_keys(keys, listeners, took);
                Ok(())
            }
            Ok(Brought::Secrets(rotated, tried)) => {
                // Those that issuers are shown who are asked about tokens.
                self.believe();
                let done = self.adopt_secrets(rotated, took);
                self.rotate_trial(tried);
                done
            }
            Err(refused) => {
                self.want_only();
                Err(refused)
            }
        };
        match done {
            Ok(()) => {
                // With another value of a secret that it is shown, too.
                self.tell_collector();
                // Whoever read everything has seen keys and secrets as well.
                self.reload.refused.retain(|of| group != Group::Source && of.group != group);
                self.reload.kept_from_before &= group != Group::Source;
                // What was refused as a source was so perhaps for these very keys or secrets: its own file may never change.
                if self.reload.is_rejected() {
                    self.reload.again = Some(Group::Source);
                }
            }
            Err(refused) => self.refuse(group, &refused, &marks),
        }
        self.show();
        self.reload.watch(marks);
        self.reload.late.clear();
        self.go_on();
    }

    /// What has waited for an attempt to end.
    pub fn go_on(&mut self) {
        match self.reload.again.take() {
            Some(group) => self.attempt(group),
            None => self.tell_ready(),
        }
        self.next_order();
    }

    /// Serves another table from now on; or the same one, with what else has changed.
    pub fn adopt(&mut self, candidate: Candidate, took: Duration, why: Why) -> Result<(), Refused> {
        let Candidate { snapshot, keys, listeners, plans, reaches, summary } = candidate;
        let (old, new) = (self.edition.snapshot.generation(), snapshot.generation());
        let refused =
            |why: String, not_kept: bool| Refused { why, candidate: Some(new.to_string()), not_kept };
        let is_signed_anew = old == new && snapshot.signature() != self.edition.snapshot.signature();
        if old == new && !is_signed_anew && reaches.iter().all(Option::is_none) {
            self.commit(&snapshot, &why).map_err(|why| refused(why, true))?;
            self.adopt_keys(keys, listeners, took);
            return Ok(());
        }
        let mut reaches = self.reaches_of(&snapshot, reaches);
        self.reload.add_late(&plans, &mut reaches);
        let facts = Facts {
            keys: Arc::new(keys.ring),
            trust: self.trust(&snapshot),
            reaches: Arc::new(reaches.clone()),
            listeners,
        };
        let edition = self.edition.succeed(snapshot.clone(), facts);
        let (bound, last) = self
            .follow(&edition)
            .map_err(|why| refused(format!("its catalog cannot be made: {why}"), false))?;
        if let Err(why) = self.commit(&snapshot, &why) {
            self.ledger = last;
            // What is shown of quarantine and the like is of the table in use.
            let _ = self.bound(&self.edition.snapshot.clone());
            return Err(refused(why, true));
        }
        self.end_trial(End::RolledBack(format!(
            "generation {new} was put in the place of the one beside it"
        )));
        self.pending.done();
        self.generated = keys.generated;
        self.plans = Arc::new(plans);
        self.loader.scout.want_only(&self.plans);
        self.loader.secrets.stores().want_only(&self.loader.base, &[snapshot.rules()]);
        self.reaches = reaches;
        self.publish(edition.rebound(Arc::new(bound), self.ledger.catalog()));
        self.tell_unreachable();
        self.board.upstreams(&self.ledger);
        let what = match (old == new, is_signed_anew) {
            (true, true) => format!("generation {new}, signed anew"),
            (true, false) => format!("generation {new} with other secrets"),
            (false, _) => format!("generation {old} -> {new}"),
        };
        self.swapped(what, took);
        self.reload.last =
            Some(json!({ "at": crate::time::now(), "from": old.to_string(), "to": new.to_string() }));
        self.keep_table();
        match (&why, &self.orders.rollout) {
            (Why::File, _) if old != new => self.note(Act::File, old, summary),
            (Why::File, Some(rollout)) if is_signed_anew => {
                // It is kept as the last good one as well.
                if let Err(error) = rollout.renew(&snapshot) {
                    log::error(format!("cannot keep generation {new} as it is signed now: {error}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Addresses of a candidate's upstreams: those that were found for it, and those in use.
    pub fn reaches_of(&self, snapshot: &Snapshot, found: Vec<Option<Reach>>) -> Vec<Reach> {
        let running = self.edition.snapshot.rules();
        let in_use = |name: &str| {
            let at = running.upstreams.iter().position(|upstream| upstream.name.as_str() == name)?;
            self.reaches.get(at).cloned()
        };
        let names = snapshot.rules().upstreams.iter().map(|upstream| upstream.name.as_str());
        let reach = |(name, found): (&str, Option<Reach>)| {
            let missing = || Reach::Unreachable("a bug in strait: its address was lost".to_owned());
            found.or_else(|| in_use(name)).unwrap_or_else(missing)
        };
        names.zip(found).map(reach).collect()
    }

    fn adopt_keys(&mut self, keys: Keys, listeners: Listeners, took: Duration) {
        self.generated = keys.generated;
        let before = self.edition.keys.clone();
        let has_renewed = *listeners != *self.edition.listeners;
        if keys.ring == *before && !has_renewed {
            self.rekey_trial(&before, &before);
            self.reload.counts.unchanged += 1;
            return log::info(format!(
                "nothing to reload: generation {} as before",
                self.edition.snapshot.generation()
            ));
        }
        let facts = Facts { keys: Arc::new(keys.ring), listeners, ..self.edition.facts() };
        self.publish(self.edition.informed(facts));
        self.rekey_trial(&before, &self.edition.keys.clone());
        let what = if has_renewed { "keys and certificates" } else { "keys" };
        self.swapped(format!("{what} of generation {}", self.edition.snapshot.generation()), took);
    }

    /// Shows upstreams the secrets of now. What is shown in headers changes nothing else; a child whose environment has changed is
    /// another upstream.
    fn adopt_secrets(&mut self, rotated: Rotated, took: Duration) -> Result<(), Refused> {
        let Rotated { plans, reaches, lost } = rotated;
        let generation = self.edition.snapshot.generation();
        // Another table came in between, and with it all of its secrets.
        let is_of_it = plans.len() == self.plans.len();
        if is_of_it && plans != *self.plans {
            let reaches = plans.iter().zip(reaches).zip(&self.reaches);
            let reaches: Vec<Reach> =
                reaches.map(|((plan, new), last)| new.unwrap_or_else(|| plan.shown_at(last))).collect();
            self.show_secrets(plans, reaches).map_err(|why| Refused {
                why: format!("its catalog cannot be made: {why}"),
                candidate: Some(generation.to_string()),
                not_kept: false,
            })?;
            self.swapped(format!("secrets of generation {generation}"), took);
        } else if lost.is_none() {
            self.reload.counts.unchanged += 1;
        }
        lost.map_or(Ok(()), Err)
    }

    /// The catalog of an edition that is to follow, and the ledger of before; that one stays where no catalog can be made.
    fn follow(&mut self, edition: &Edition) -> Result<(Snapshot, Ledger), String> {
        let ledger = self.ledger.succeed(named(edition));
        let last = std::mem::replace(&mut self.ledger, ledger);
        match self.bound(&edition.snapshot) {
            Ok(bound) => Ok((bound, last)),
            Err(why) => {
                self.ledger = last;
                Err(why)
            }
        }
    }

    fn show_secrets(&mut self, plans: Vec<Plan>, reaches: Vec<Reach>) -> Result<(), String> {
        let snapshot = self.edition.snapshot.clone();
        let facts = Facts { reaches: Arc::new(reaches.clone()), ..self.edition.facts() };
        let edition = self.edition.succeed(snapshot, facts);
        let (bound, _) = self.follow(&edition)?;
        self.plans = Arc::new(plans);
        self.reaches = reaches;
        self.publish(edition.rebound(Arc::new(bound), self.ledger.catalog()));
        self.tell_unreachable();
        self.board.upstreams(&self.ledger);
        Ok(())
    }

    pub fn swapped(&mut self, what: String, took: Duration) {
        self.reload.counts.adopted += 1;
        log::info(format!("reloaded: {what}, read in {} ms", took.as_millis()));
        audit::tell(&self.handle, json!({ "act": "reload", "outcome": "adopted", "what": what }));
        self.reload.adopting = Some(Adopting {
            serial: self.edition.serial,
            what,
            began: Began::now(),
            pause_ns: 0,
            by: Some(Instant::now() + ADOPT_WITHIN),
            behind: Vec::new(),
        });
    }

    fn refuse(&mut self, group: Group, refused: &Refused, marks: &Marks) {
        let serving = self.edition.snapshot.generation();
        // A hangup and the watch may both bring the same file, and a person may ask again.
        let is_known = |of: &Rejected| {
            of.group == group && of.shown["why"] == refused.why && of.marks.same(group, marks)
        };
        if self.reload.refused.iter().any(is_known) {
            let why = refused.why.lines().next().unwrap_or_default();
            return log::info(format!("still refused, generation {serving} serves on: {why}"));
        }
        self.reload.counts.refused += 1;
        self.note_refused(refused);
        let candidate = refused.candidate.as_ref().map_or(String::new(), |id| format!(" (generation {id})"));
        log::error(format!("reload refused{candidate}, generation {serving} serves on: {}", refused.why));
        let why = refused.why.lines().next().unwrap_or_default();
        audit::tell(
            &self.handle,
            json!({ "act": "reload", "outcome": "refused", "why": why, "to": refused.candidate }),
        );
        self.reload.refused.retain(|of| of.group != group);
        self.reload.refused.push(Rejected { group, shown: shown(refused), marks: marks.clone() });
    }

    /// A worker has adopted an edition, and stood still for so long.
    pub fn adopted(&mut self, pause_ns: u64) {
        self.answer_trial();
        self.answer_revocations();
        let Some(adopting) = &mut self.reload.adopting else { return };
        adopting.pause_ns = adopting.pause_ns.max(pause_ns);
        if self.handle.behind(adopting.serial).is_empty() {
            log::info(format!(
                "{}: in use by every worker after {} us; none stood still for more than {} us",
                adopting.what,
                adopting.began.elapsed().as_micros(),
                adopting.pause_ns.div_ceil(1_000)
            ));
            self.reload.adopting = None;
            self.answer_all(&[]);
            self.free();
            self.show();
        }
    }

    /// Some worker still serves from an older edition: it is stalled, and serves nobody either.
    pub fn tell_who_is_behind(&mut self) {
        self.adopted(0);
        let Some(adopting) = &mut self.reload.adopting else { return };
        adopting.by = None;
        let behind = self.handle.behind(adopting.serial);
        adopting.behind = behind.clone();
        let named: Vec<String> = behind.iter().map(|worker| format!("worker {worker}")).collect();
        log::error(format!(
            "{}: not taken up within {} s by {}",
            adopting.what,
            ADOPT_WITHIN.as_secs(),
            named.join(", ")
        ));
        self.answer_all(&behind);
        self.show();
    }

    /// Lets go of snapshots that no exchange holds any more.
    pub fn free(&mut self) {
        self.reload.left.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.board.snapshots(self.reload.left.len() + 1 + usize::from(self.trials.is_on()));
        self.board.free();
    }

    pub fn show(&self) {
        if let Some(rollout) = &self.orders.rollout {
            let running = self.edition.snapshot.generation();
            let mut shown = rollout.shown(running, &self.loader.file, self.reload.is_rejected());
            shown["signed"] = self.loader.trust.shown(&self.edition.snapshot);
            self.board.rollout(shown);
        }
        let counts = Reloads { last_good: self.reload.refused.is_empty(), ..self.reload.counts };
        self.board.reload(self.reload.shown(), counts);
    }

    /// Keeps the table for a restart with a bad file. A private one is nothing that others could serve.
    pub fn keep_table(&mut self) {
        if self.loader.private.is_some() {
            return self.show();
        }
        let (state, file) = (&self.loader.state, &self.loader.file);
        let kept = kept::keep(state, file, &self.edition.snapshot);
        self.reload.not_kept = kept.err().map(|error| {
            let path = kept::path(state.root(), file);
            format!("cannot keep this table for a restart, serving goes on: {error} (`{}`)", path.display())
        });
        if let Some(why) = &self.reload.not_kept {
            log::error(why);
        }
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use strait_engine::HttpEndpoint;
    use strait_table::rules::{Endpoint, Era, Rules, Timeouts, Transport, Upstream};

    use super::*;
    use crate::credentials::Grants;
    use crate::fetch::Fetcher;
    use crate::secrets::references::References;
    use crate::test_support::Folder;

    fn plans(hosts: &[&str]) -> Vec<Plan> {
        let upstream = |host: &&str| Upstream {
            name: (*host).into(),
            transport: Transport::Http {
                endpoints: vec![Endpoint { host: (*host).into(), port: 80, path: "/".into(), https: false }],
            },
            era: Era::Auto,
            credential: None,
            identity_header: None,
            timeout: Timeouts::default(),
            list_ttl_ms: 0,
            tls: Default::default(),
        };
        let upstreams = hosts.iter().map(upstream).collect();
        let rules = Rules { upstreams, ..crate::test_support::rules() };
        let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
        let folder = Folder::new();
        let references = References::local(folder.path(), folder.path(), &|_| None);
        let given = reach::Given {
            base: folder.path(),
            references: &references,
            certificates: &Default::default(),
            grants: &Grants::new(Fetcher::trusting(rustls::RootCertStore::empty())),
            this_program: folder.path(),
        };
        reach::plan(&snapshot, &given)
    }

    fn found(plan: &Plan) -> Found {
        let Plan::Http(all) = plan else { panic!("{plan:?}") };
        let address = "127.0.0.1:80".parse().unwrap();
        let endpoint = HttpEndpoint {
            address,
            host: "found".into(),
            path: "/".into(),
            headers: Vec::new(),
            previous: Vec::new(),
            stated: None,
            tls: None,
            lender: None,
        };
        Found { wanted: all[0].clone(), endpoint }
    }

    #[test]
    fn an_address_found_during_an_attempt_reaches_the_table_that_wants_it() {
        let (mut reload, _ears) = Reload::new(Vec::new(), Marks::default(), None);
        // Not under way: whoever looks up from now on finds it again.
        reload.found(found(&plans(&["early"])[0]));
        reload.under_way = true;
        let candidate = plans(&["early", "other", "late"]);
        reload.found(found(&candidate[2]));
        let missing = || Reach::Unreachable("not found".into());
        let mut reaches = vec![missing(), missing(), missing()];
        reload.add_late(&candidate, &mut reaches);
        let reached: Vec<bool> = reaches.iter().map(|reach| matches!(reach, Reach::Http { .. })).collect();
        assert_eq!(reached, [false, false, true]);
    }
}
