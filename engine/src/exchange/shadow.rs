//! What a candidate would decide of a call that the live edition decides, and how the two differ.
//!
//! The decision: the same stages run under the candidate's edition, up to and without the one that takes something: limits are
//! looked at, not used. They have no other effect, wait for nothing, and cost what the live decision costs, which is counted apart.
//! What differs is counted by what was asked for, and told with samples that never hold what a call was called with.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::decode::Call;
use super::record::{Decided, Record};
use super::refusal::Refusal;
use super::{Incoming, arrive, identify, meter, permitted};
use crate::core::{Adopted, Core};
use crate::figures::labels::{Difference, Outcome};
use crate::io::moment;
use crate::limits::{SHADOW_NAMES_MAX, SHADOW_SAMPLES_MAX};
use crate::trial::OnTrial;

/// What one worker found.
#[derive(Debug, Default)]
pub struct Shadow {
    counts: RefCell<BTreeMap<String, Counts>>,
    samples: RefCell<VecDeque<Sample>>,
}

/// How often, by [`Difference`].
pub type Counts = [u64; Difference::ALL.len()];

/// A call that the two decide differently.
#[derive(Clone, Debug)]
pub struct Sample {
    pub unix_ms: u64,
    pub principal: Option<String>,
    /// `tool up.echo`; a method where it is about no item.
    pub what: String,
    pub difference: Difference,
    pub live: Ruling,
    pub candidate: Ruling,
}

/// What one side decided.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// `permit`, or the reason of a refusal.
    pub word: &'static str,
    pub rule: Option<String>,
    pub limit: Option<String>,
}

/// Of one worker, as control asks for it.
#[derive(Debug)]
pub struct Differences {
    /// Of the trial.
    pub number: u64,
    pub counts: Vec<(String, Counts)>,
    /// The newest last.
    pub samples: Vec<Sample>,
}

/// What the names count as that came when there was no more room.
pub const OTHERS: &str = "others";

/// What the candidate would say.
pub struct Foreseen {
    record: Record,
    refusal: Option<Refusal>,
}

/// Decides under the candidate, before the live edition does: limits are as that will find them.
pub fn foresee(core: &Rc<Core>, on_trial: &OnTrial, incoming: &Incoming<'_>, call: &Call) -> Foreseen {
    let began_ns = core.clock.now_ns();
    let mut record = Record::begin(incoming.arrived_ns);
    record.modern = call.revision.is_modern();
    let refusal = decide(core, &on_trial.adopted, incoming, call, &mut record).err();
    core.figures.shadow_decision.record(core.clock.now_ns().saturating_sub(began_ns));
    Foreseen { record, refusal }
}

fn decide(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    call: &Call,
    record: &mut Record,
) -> Result<(), Refusal> {
    let place = arrive::run(incoming, adopted, record)?;
    let caller = identify::run(core, incoming, adopted, &place, record)?.at_once(adopted, record)?;
    let (target, ..) = permitted(core, adopted, incoming, &place, &caller, call, record)?;
    meter::foresee(core, adopted, incoming, &place, &caller, call, &target, record)
}

impl Foreseen {
    /// Counts what this is beside the live decision.
    pub fn compare(
        &self,
        core: &Core,
        on_trial: &OnTrial,
        adopted: &Adopted,
        record: &Record,
        refusal: Option<&Refusal>,
    ) {
        let is_decision = |refusal: &Refusal| refusal.outcome() == Outcome::Refused;
        if !refusal.into_iter().chain(&self.refusal).all(is_decision) {
            // A fault, or a cap: it says nothing about the policy.
            return;
        }
        let live = record.decided(adopted, refusal);
        let candidate = self.record.decided(&on_trial.adopted, self.refusal.as_ref());
        let difference = differ(&live, &candidate);
        if let Some(counter) = core.figures.shadow.get(difference as usize) {
            counter.add(1);
        }
        let Some(shadow) = on_trial.shadow.as_ref().filter(|_| difference != Difference::Same) else {
            return;
        };
        let what = if live.item.is_some() { live.what() } else { candidate.what() };
        shadow.count(&what, difference);
        let sample = Sample {
            unix_ms: moment::since_1970().as_millis() as u64,
            principal: live.principal.or(candidate.principal).map(str::to_owned),
            what,
            difference,
            live: live.into(),
            candidate: candidate.into(),
        };
        shadow.keep(sample);
    }
}

fn differ(live: &Decided<'_>, candidate: &Decided<'_>) -> Difference {
    match (live.permits(), candidate.permits()) {
        (false, true) => Difference::Opens,
        (true, false) => Difference::Closes,
        _ if live.word == candidate.word && live.rule == candidate.rule && live.limit == candidate.limit => {
            Difference::Same
        }
        _ => Difference::OtherRule,
    }
}

impl From<Decided<'_>> for Ruling {
    fn from(decided: Decided<'_>) -> Ruling {
        Ruling {
            word: decided.word,
            rule: decided.rule.map(str::to_owned),
            limit: decided.limit.map(str::to_owned),
        }
    }
}

impl Shadow {
    fn count(&self, what: &str, difference: Difference) {
        let mut counts = self.counts.borrow_mut();
        let is_known = counts.contains_key(what) || counts.len() < SHADOW_NAMES_MAX;
        let counts = counts.entry(if is_known { what } else { OTHERS }.to_owned()).or_default();
        if let Some(count) = counts.get_mut(difference as usize) {
            *count += 1;
        }
    }

    fn keep(&self, sample: Sample) {
        let mut samples = self.samples.borrow_mut();
        if samples.len() >= SHADOW_SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    pub fn read(&self, number: u64) -> Differences {
        let counts = self.counts.borrow().iter().map(|(what, counts)| (what.clone(), *counts)).collect();
        Differences { number, counts, samples: self.samples.borrow().iter().cloned().collect() }
    }
}
