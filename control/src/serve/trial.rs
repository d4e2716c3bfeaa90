//! A candidate beside what is served: begun on somebody's word, kept up with what upstreams tell, judged at every pulse, and ended.
//!
//! The decision: a candidate is compared with what is served, so whatever puts another generation in that place ends the trial
//! first; lists, addresses and keys that change reach both. A trial is no part of what a restart finds: it ends with the process, and what
//! was served is served.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::trial::{Mode, Trial};
use strait_engine::{Edition, Facts, KeyRing, Reach, UpstreamId};
use strait_table::catalog::Lists;
use strait_table::rules::{ArchivedListener, ArchivedRules, ArchivedServer};
use strait_table::{Snapshot, bind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::control::{Control, named, unreachable};
use super::rollout::{Waiting, Why};
use crate::board::Phase;
use crate::keys::Generated;
use crate::ledger::{Ledger, Pending, Standing};
use crate::limits::ADOPT_WITHIN;
use crate::load::{self, Candidate, Refused, Rotated, unfit};
use crate::log;
use crate::reach::{self, Found, Plan};
use crate::rollout::Deed;
use crate::rollout::history::Act;
use crate::rollout::order::Answer;
use crate::trial::judge::{self, Reading, Verdict};
use crate::trial::terms::{Bound, Terms};
use crate::trial::{Counts, Kind};

/// What the loop keeps of trials.
#[derive(Default)]
pub struct Trials {
    /// How often workers were told of candidates: they acknowledge by it.
    told: u64,
    on: Option<OnTrial>,
    /// How the last one ended.
    last: Option<Value>,
    counts: Counts,
    /// Who waits for every worker to have heard of it.
    answers: Vec<Waiting>,
}

/// A candidate, and everything that is kept of the served edition as well.
struct OnTrial {
    number: u64,
    edition: Arc<Edition>,
    ledger: Ledger,
    pending: Pending,
    plans: Arc<Vec<Plan>>,
    reaches: Vec<Reach>,
    generated: Vec<Generated>,
    asked: Asked,
    began: Instant,
    at: String,
    /// What was counted of the live generation by then.
    live_then: Reading,
}

/// Who wants what.
pub struct Asked {
    pub kind: Kind,
    pub by: Value,
    pub summary: Value,
    pub message: Option<String>,
}

/// Why a trial is over.
pub enum End {
    Promoted,
    RolledBack(String),
}

impl Trials {
    /// When changed lists of the candidate are to be bound.
    pub fn due(&self) -> Option<Instant> {
        self.on.as_ref().and_then(|on| on.pending.due())
    }

    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// What workers have beside what they serve.
    pub fn edition(&self) -> Option<&Arc<Edition>> {
        Some(&self.on.as_ref()?.edition)
    }

    /// The same, as whoever reads its secrets again wants it.
    pub fn tried(&self) -> Option<load::OnTrial> {
        let on = self.on.as_ref()?;
        let (snapshot, plans) = (on.edition.snapshot.clone(), on.plans.clone());
        Some(load::OnTrial { number: on.number, snapshot, plans })
    }

    /// How often workers were told of candidates.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Of an upstream of the candidate.
    pub fn standing(&self, upstream: UpstreamId) -> Option<&Standing> {
        self.on.as_ref()?.ledger.standing(upstream)
    }
}

impl Control {
    /// Has workers try a candidate beside what they serve. One that is on trial already is rolled back for it.
    pub fn begin_trial(&mut self, candidate: Candidate, asked: Asked) -> Result<Value, Refused> {
        let Candidate { snapshot, keys, plans, reaches, .. } = candidate;
        let generation = snapshot.generation();
        let refused = |why: String| unfit(&snapshot, why);
        if generation == self.edition.snapshot.generation() {
            return Err(refused(format!(
                "generation {generation} is what is served: there is nothing to try"
            )));
        }
        beyond_trial(self.edition.snapshot.rules(), snapshot.rules()).map_err(refused)?;
        let mut reaches = self.reaches_of(&snapshot, reaches);
        self.reload.add_late(&plans, &mut reaches);
        let facts = Facts {
            keys: Arc::new(keys.ring),
            trust: self.trust(&snapshot),
            reaches: Arc::new(reaches.clone()),
            ..self.edition.facts()
        };
        let edition = self.edition.succeed(snapshot.clone(), facts);
        let ledger = self.ledger.succeed(named(&edition));
        let bound = bound(&snapshot, &ledger);
        let bound = bound.map_err(|why| refused(format!("its catalog cannot be made: {why}")))?;
        let edition = Arc::new(edition.rebound(bound, ledger.catalog()));
        let said = match &asked.kind {
            Kind::Canary(terms) => format!("canary for {}, {} s", terms.whom, terms.bake.as_secs()),
            Kind::Shadow => "shadow".to_owned(),
        };
        let from = self.edition.snapshot.generation();
        if let Some(rollout) = &mut self.orders.rollout {
            let Asked { by, summary, message, .. } = &asked;
            let (by, summary, message) = (by.clone(), summary.clone(), message.clone());
            let deed = Deed { act: Act::Apply, by, from, to: &snapshot, summary, message };
            let written = rollout.tries(deed, &said);
            let not_kept = |error| format!("it cannot be written down, so it is not tried: {error}");
            written.map_err(|error| Refused { not_kept: true, ..refused(not_kept(error)) })?;
        }
        self.end_trial(End::RolledBack("another candidate took its place".to_owned()));
        log::info(format!("generation {generation} is on trial beside {from}: {said}"));
        let facts = json!({
            "act": Act::Apply.word(),
            "from": from.to_string(),
            "to": generation.to_string(),
            "trial": asked.kind.word(),
        });
        self.trials.counts.begun += 1;
        self.trials.on = Some(OnTrial {
            number: self.trials.told + 1,
            edition,
            ledger,
            pending: Pending::default(),
            plans: Arc::new(plans),
            reaches,
            generated: keys.generated,
            asked,
            began: Instant::now(),
            at: crate::time::now(),
            live_then: Reading::of(&self.edition.tally),
        });
        self.tell_trial();
        self.trial_unreachable();
        Ok(facts)
    }

    /// Tells workers what is on trial now, or that nothing is.
    fn tell_trial(&mut self) {
        self.trials.told += 1;
        let trial = self.trials.on.as_ref().map(|on| {
            let mode = match &on.asked.kind {
                Kind::Canary(terms) => Mode::Canary(terms.selector.clone()),
                Kind::Shadow => Mode::Shadow,
            };
            Arc::new(Trial { number: on.number, edition: on.edition.clone(), mode })
        });
        self.handle.attempt(trial, self.trials.told);
        self.show_trial();
    }

    fn renew_trial(&mut self, edition: Edition) {
        let Some(on) = &mut self.trials.on else { return };
        let last = std::mem::replace(&mut on.edition, Arc::new(edition));
        self.reload.leave(last);
        self.tell_trial();
    }

    fn trial_unreachable(&mut self) {
        let Some(on) = &self.trials.on else { return };
        for (upstream, why) in unreachable(&on.edition, &on.reaches) {
            self.learned_on_trial(upstream, &Err(why));
        }
    }

    /// An upstream of the candidate, which may be one of what is served as well, has told its lists.
    pub fn learned_on_trial(&mut self, upstream: UpstreamId, outcome: &Result<Lists, String>) {
        let Some(on) = &mut self.trials.on else { return };
        let is_served = self.ledger.standing(upstream).is_some();
        let change = on.ledger.learned(upstream, outcome.clone());
        on.pending.changed(change, Instant::now());
        if let (false, Some(standing), Err(error)) = (is_served, on.ledger.standing(upstream), outcome) {
            log::of_upstream(strait_engine::Level::Warn, &standing.name, &format!("on trial: {error}"));
        }
    }

    /// Joins the candidate's rules with what its upstreams offer now.
    pub fn bind_trial(&mut self) {
        let Some(on) = &mut self.trials.on else { return };
        let bound = match on.pending.done() {
            true => bound(&on.edition.snapshot, &on.ledger),
            false => Ok(on.edition.snapshot.clone()),
        };
        match bound {
            Ok(bound) => {
                let edition = on.edition.rebound(bound, on.ledger.catalog());
                self.renew_trial(edition);
            }
            Err(why) => {
                self.end_trial(End::RolledBack(format!("its catalog cannot be made: {why}")));
            }
        }
    }

    /// An address was found that the candidate may want.
    pub fn found_on_trial(&mut self, found: &Found) {
        let Some(on) = &mut self.trials.on else { return };
        reach::add(&on.plans, &mut on.reaches, found);
        let facts = Facts { reaches: Arc::new(on.reaches.clone()), ..on.edition.facts() };
        let edition = on.edition.informed(facts);
        self.renew_trial(edition);
    }

    /// What the live edition believes of tokens has changed; so it does for the candidate, by its own table.
    pub fn believe_on_trial(&mut self) {
        let Some(on) = &self.trials.on else { return };
        let edition = on.edition.clone();
        let trust = self.trust(&edition.snapshot);
        if trust.is_another_than(&edition.trust) {
            self.renew_trial(edition.informed(Facts { trust, ..edition.facts() }));
        }
    }

    /// Secrets were read again, also those of the candidate of this number: its upstreams are shown them, and those that are served as
    /// well what these are shown.
    pub fn rotate_trial(&mut self, tried: Option<(u64, Rotated)>) {
        let (Some(on), Some((number, rotated))) = (&mut self.trials.on, tried) else { return };
        // Another one took its place meanwhile.
        if on.number != number {
            return;
        }
        let Rotated { mut plans, reaches, lost } = rotated;
        if let Some(lost) = lost {
            log::warn(format!("on trial: {}", lost.why));
        }
        for plan in &mut plans {
            if let Some(now) = self.plans.iter().find(|now| now.is_same_but_for_credentials(plan)) {
                *plan = now.clone();
            }
        }
        if plans == *on.plans {
            return;
        }
        let reaches = plans.iter().zip(reaches).zip(&on.reaches);
        on.reaches = reaches.map(|((plan, new), last)| new.unwrap_or_else(|| plan.shown_at(last))).collect();
        on.plans = Arc::new(plans);
        let facts = Facts { reaches: Arc::new(on.reaches.clone()), ..on.edition.facts() };
        // A child whose environment has changed is another upstream.
        let edition = on.edition.succeed(on.edition.snapshot.clone(), facts);
        on.ledger = on.ledger.succeed(named(&edition));
        match bound(&edition.snapshot, &on.ledger) {
            Ok(bound) => {
                let edition = edition.rebound(bound, on.ledger.catalog());
                self.renew_trial(edition);
                self.trial_unreachable();
            }
            Err(why) => drop(self.end_trial(End::RolledBack(format!("its catalog cannot be made: {why}")))),
        }
    }

    /// Keys of what is served were read again. A key that was revoked must not go on in the candidate.
    pub fn rekey_trial(&mut self, before: &KeyRing, now: &Arc<KeyRing>) {
        let Some(on) = &self.trials.on else { return };
        if *on.edition.keys != *before {
            let why = "key files were read again, and it has others than what is served";
            self.end_trial(End::RolledBack(why.to_owned()));
            return;
        }
        if before != &**now {
            let facts =
                Facts { keys: now.clone(), reaches: Arc::new(on.reaches.clone()), ..on.edition.facts() };
            let edition = on.edition.informed(facts);
            self.renew_trial(edition);
        }
    }

    /// Looks how a canary does.
    pub fn judge_trial(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        let Some((terms, passed, live, candidate)) =
            self.trials.on.as_ref().and_then(|on| on.read(self, now))
        else {
            return;
        };
        match judge::look(terms, passed, &live, &candidate) {
            Verdict::Bakes => self.show_trial(),
            // Whatever is looked into now was compared with what is served now; that must not move meanwhile.
            Verdict::Promote if self.reload.is_under_way() => self.show_trial(),
            Verdict::Promote => drop(self.end_trial(End::Promoted)),
            Verdict::RollBack(why) => drop(self.end_trial(End::RolledBack(why))),
        }
    }

    /// The trial is over, if there is one.
    pub fn end_trial(&mut self, end: End) -> Value {
        let Some(on) = self.trials.on.take() else { return Value::Null };
        let generation = on.edition.snapshot.generation();
        let figures = on.figures(self, Instant::now());
        let end = match end {
            End::Promoted => match self.commit_trial(&on) {
                Ok(()) => End::Promoted,
                Err(why) => End::RolledBack(why),
            },
            end => end,
        };
        let (word, why) = match end {
            End::Promoted => {
                self.trials.counts.promoted += 1;
                log::info(format!("generation {generation} did well on trial and is served from now on"));
                self.promote(on);
                ("promoted", Value::Null)
            }
            End::RolledBack(why) => {
                self.trials.counts.rolled_back += 1;
                let serving = self.edition.snapshot.generation();
                log::warn(format!(
                    "generation {generation} is not on trial any more, {serving} serves on: {why}"
                ));
                self.note_rolled_back(&on, &why);
                self.reload.leave(on.edition);
                ("rolled_back", why.into())
            }
        };
        self.trials.last = Some(json!({
            "generation": generation.to_string(),
            "ended": word,
            "at": crate::time::now(),
            "why": why,
            "figures": figures,
        }));
        self.tell_trial();
        self.show();
        let serving = self.edition.snapshot.generation().to_string();
        json!({ "act": Act::Rollback.word(), "from": generation.to_string(), "to": serving, "trial": word })
    }

    /// Answers when every worker has heard.
    pub fn await_trial(&mut self, reply: oneshot::Sender<Answer>, facts: Value) {
        self.trials.answers.push(Waiting::new(reply, facts));
        self.answer_trial();
    }

    /// Workers may have heard of what is on trial.
    pub fn answer_trial(&mut self) {
        let Some(first) = self.trials.answers.first() else { return };
        let behind = self.handle.behind_trial(self.trials.told);
        if behind.is_empty() || first.since() > ADOPT_WITHIN {
            let workers = self.handle.figures().len();
            self.trials.answers.drain(..).for_each(|waiting| waiting.answer(workers, &behind));
        }
    }

    fn commit_trial(&mut self, on: &OnTrial) -> Result<(), String> {
        let Asked { by, summary, message, .. } = &on.asked;
        let (by, summary, message) = (by.clone(), summary.clone(), message.clone());
        self.commit(&on.edition.snapshot, &Why::Order { act: Act::Apply, by, summary, message })
    }

    fn note_rolled_back(&mut self, on: &OnTrial, why: &str) {
        let (from, to) = (self.edition.snapshot.generation(), on.edition.snapshot.generation());
        if let Some(rollout) = &mut self.orders.rollout {
            rollout.gives_up(Act::Apply, &on.asked.by, from, to, why);
        }
    }

    fn promote(&mut self, on: OnTrial) {
        let edition = on.edition.promoted(&self.edition);
        self.ledger = on.ledger;
        self.pending = on.pending;
        self.generated = on.generated;
        self.plans = on.plans;
        self.loader.scout.want_only(&self.plans);
        self.reaches = on.reaches;
        let old = self.edition.snapshot.generation();
        self.publish(edition);
        let snapshot = self.edition.snapshot.clone();
        self.loader.secrets.stores().want_only(&self.loader.base, &[snapshot.rules()]);
        // What is held back, and suspicious, is that of this table from now on.
        if let Err(why) = self.bound(&snapshot) {
            log::error(format!("new lists cannot be used, the last good ones stay: {why}"));
        }
        self.show_edition();
        self.board.upstreams(&self.ledger);
        self.swapped(format!("generation {old} -> {}", snapshot.generation()), Duration::ZERO);
        self.keep_table();
    }

    /// What is shown of trials.
    pub fn show_trial(&mut self) {
        let mut shown = match &self.trials.on {
            None => json!({ "state": "none" }),
            Some(on) => on.to_json(self, Instant::now()),
        };
        shown["last"] = self.trials.last.clone().unwrap_or_default();
        let tally = self.trials.on.as_ref().map(|on| &on.edition.tally);
        self.board.trial(shown, self.trials.counts, tally);
    }
}

impl OnTrial {
    /// What a canary is judged by, and how it did; `None`: a shadow is not judged.
    fn read(&self, control: &Control, now: Instant) -> Option<(&Terms, Duration, Reading, Reading)> {
        let Kind::Canary(terms) = &self.asked.kind else { return None };
        let live = Reading::of(&control.edition.tally).since(&self.live_then);
        Some((terms, now.saturating_duration_since(self.began), live, Reading::of(&self.edition.tally)))
    }

    fn figures(&self, control: &Control, now: Instant) -> Value {
        match self.read(control, now) {
            Some((_, _, live, candidate)) => {
                json!({ "live": live.to_json(), "candidate": candidate.to_json() })
            }
            None => Value::Null,
        }
    }

    fn to_json(&self, control: &Control, now: Instant) -> Value {
        let mut shown = json!({
            "state": self.asked.kind.word(),
            "generation": self.edition.snapshot.generation().to_string(),
            "beside": control.edition.snapshot.generation().to_string(),
            "since": self.at,
            "by": self.asked.by,
            "behind": control.handle.behind_trial(control.trials.told),
        });
        if let Kind::Canary(terms) = &self.asked.kind {
            let passed = now.saturating_duration_since(self.began);
            shown["serves"] = terms.whom.as_str().into();
            shown["bake_s"] = terms.bake.as_secs().into();
            shown["left_s"] = terms.bake.saturating_sub(passed).as_secs().into();
            shown["abort_if"] = terms.abort_if.iter().map(Bound::to_string).collect();
            shown["samples_min"] = terms.samples.into();
            shown["figures"] = self.figures(control, now);
        }
        shown
    }
}

fn bound(snapshot: &Snapshot, ledger: &Ledger) -> Result<Arc<Snapshot>, String> {
    let (bound, _) = bind(snapshot.rules(), ledger.catalog());
    snapshot.with_bound(&bound).map(Arc::new).map_err(|error| error.to_string())
}

/// What belongs to the process and is one for everybody, so that nobody could try another: by name.
fn beyond_trial(live: &ArchivedRules, candidate: &ArchivedRules) -> Result<(), String> {
    let listeners = |rules: &ArchivedRules| -> Vec<Value> {
        let listener = |of: &ArchivedListener| {
            let public = of.public.as_ref().map(|public| public.as_str());
            let hosts: Vec<&str> = of.hosts.iter().map(|host| host.as_str()).collect();
            let origins: Vec<&str> = of.origins.iter().map(|origin| origin.as_str()).collect();
            json!([of.name.as_str(), of.bind.as_str(), public, hosts, origins])
        };
        rules.listeners.iter().map(listener).collect()
    };
    let caps = |rules: &ArchivedRules| {
        let caps = &rules.caps;
        (caps.connections.to_native(), caps.calls.to_native(), caps.bytes.to_native())
    };
    let differ = [
        ("`listeners`", listeners(live) != listeners(candidate)),
        ("`admin`", live.admin_bind.as_str() != candidate.admin_bind.as_str()),
        ("`caps`", caps(live) != caps(candidate)),
        ("`body_max`", live.body_bytes_max != candidate.body_bytes_max),
    ];
    let path = |server: &ArchivedServer| server.path.as_str().to_owned();
    let renamed = live.servers.iter().find_map(|server| {
        let same = candidate.servers.iter().find(|other| path(other) == path(server))?;
        (same.name.as_str() != server.name.as_str()).then(|| {
            format!(
                "the server at `{}` cannot be tried under another name, `{}`: clients' sessions hang on `{}`",
                path(server),
                same.name.as_str(),
                server.name.as_str()
            )
        })
    });
    if let Some(why) = renamed {
        return Err(why);
    }
    let differ: Vec<&str> = differ.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name).collect();
    match differ.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{} cannot be tried: a gateway has one for everybody; apply it without --canary and --shadow",
            differ.join(", ")
        )),
    }
}
