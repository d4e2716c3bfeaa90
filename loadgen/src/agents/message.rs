//! What leader and agent say to each other, as JSON in sealed frames.
//!
//! The decision: a plan is spelt out, field by field, and not as a command line, so that there is no option by which an agent could be made to read or write
//! a file of its machine. What stands in a plan is checked by the agent as if a user had typed it.

use serde::{Deserialize, Serialize};

use crate::load::mix::{Entry, Mix};
use crate::load::plan::{Arrivals, Length, Loop, Portion};
use crate::load::rates::{Rates, STEPS_MAX, TRACE_MAX};
use crate::load::record::HIGHEST_NS;
use crate::load::think::Think;
use crate::load::{CONNECTIONS_MAX, Cancel, Fault, Glance, Idle, Options};
use crate::target::{EraChoice, Secret, Target, TargetFault, TlsFiles, Unreached};
use crate::words;

use super::merge::Found;

/// What a leader says. No `Debug`: a plan holds credentials.
#[derive(Serialize, Deserialize)]
pub(super) enum Asked {
    /// What is the time?
    Clock,
    Plan(Box<PlanForm>),
    /// The first request is due then, on the agent's clock.
    Start {
        at_ns: u64,
    },
    Stop,
    Alive,
}

/// What an agent says.
#[derive(Serialize, Deserialize)]
pub(super) enum Said {
    /// Of the clock that plans are run by, and of the one on the wall.
    Clock {
        ns: u64,
        wall_ns: i64,
    },
    /// Greeted, connected, waiting for the start.
    Ready,
    Glance(Glance),
    Over(Box<Found>),
    Refused(Refusal),
    Alive,
}

/// Why an agent does not do it.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub help: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum RefusalKind {
    /// It runs somebody's plan already.
    Busy,
    /// The plan asks for what is not done.
    Usage,
    /// The target does not answer there, or not to this caller.
    Unreached,
    NotAuthorised,
    /// That machine cannot do it.
    Machine,
    Interrupted,
}

impl Refusal {
    pub fn of(fault: Fault) -> Refusal {
        let refusal = |kind, message: String| Refusal { kind, message, help: None };
        match fault {
            Fault::Usage { message, help } => Refusal { kind: RefusalKind::Usage, message, help: Some(help) },
            Fault::Unreached(Unreached::Interrupted) => {
                refusal(RefusalKind::Interrupted, "it was told to stop".to_owned())
            }
            Fault::Unreached(fault) => {
                let kind = match fault {
                    Unreached::NotAuthorised(_) => RefusalKind::NotAuthorised,
                    _ => RefusalKind::Unreached,
                };
                refusal(kind, format!("the target, from there, at layer {}: {fault}", fault.layer()))
            }
            Fault::Machine(error) => {
                refusal(RefusalKind::Machine, format!("that machine cannot run the load: {error}"))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
enum RatesForm {
    Constant(f64),
    Ramp { from: f64, to: f64, over_ns: u64 },
    Steps { rates: Vec<f64>, each_ns: u64 },
    Trace(Vec<u64>),
}

/// A run, without what stays with the leader: demands and files.
#[derive(Serialize, Deserialize)]
pub(super) struct PlanForm {
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    era: EraChoice,
    /// None: a closed loop.
    open: Option<(RatesForm, Arrivals)>,
    warmup: Length,
    length: Length,
    portion: Portion,
    connections: usize,
    timeout_ns: u64,
    idle: Idle,
    seed: u64,
    mix: Vec<(String, Option<String>, f64)>,
    tools: Vec<String>,
    arguments: Option<String>,
    size: usize,
    progress: bool,
    think: Option<Think>,
    cancel: Option<Cancel>,
    i_own_this: bool,
}

impl PlanForm {
    /// One agent's portion of what was asked for.
    pub fn of(options: &Options, portion: Portion) -> PlanForm {
        let rates = |rates: &Rates| match rates {
            Rates::Constant(rate) => RatesForm::Constant(*rate),
            Rates::Ramp { from, to, over_ns } => RatesForm::Ramp { from: *from, to: *to, over_ns: *over_ns },
            Rates::Steps { rates, each_ns } => RatesForm::Steps { rates: rates.to_vec(), each_ns: *each_ns },
            Rates::Trace(times) => RatesForm::Trace(times.to_vec()),
        };
        let headers = options.target.headers();
        let mix = options.mix.entries.iter();
        PlanForm {
            url: options.target.url.clone(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            era: options.era,
            open: match &options.kind {
                Loop::Open { rates: of, arrivals } => Some((rates(of), *arrivals)),
                Loop::Closed => None,
            },
            warmup: options.warmup,
            length: options.length,
            portion,
            connections: portion.part(options.connections as u64) as usize,
            timeout_ns: options.timeout_ns,
            idle: options.idle,
            seed: options.seed,
            mix: mix
                .map(|entry| (entry.method.as_str().to_owned(), entry.name.clone(), entry.weight))
                .collect(),
            tools: options.tools.clone(),
            arguments: options.arguments.clone(),
            size: options.size,
            progress: options.progress,
            think: options.think,
            cancel: options.cancel,
            i_own_this: options.i_own_this,
        }
    }

    /// What the agent is to do. `owned`: whoever started the agent said that targets elsewhere are theirs as well.
    pub fn options(self, files: &TlsFiles, owned: bool) -> Result<Options, Fault> {
        self.check().map_err(|message| Fault::Usage { message, help: SAME.to_owned() })?;
        let target_fault = |fault: TargetFault| match fault {
            TargetFault::Usage(message) => Fault::Usage { message, help: SAME.to_owned() },
            TargetFault::Name(message) => Fault::Unreached(Unreached::Connect(message)),
        };
        let mut target = Target::parse_with(&self.url, Some(files)).map_err(target_fault)?;
        for (name, value) in self.headers {
            target.header(&name, Secret::new(value)).map_err(target_fault)?;
        }
        let entries = self.mix.into_iter().map(|(method, name, weight)| Entry::of(&method, name, weight));
        let mix = entries.collect::<Result<Vec<Entry>, String>>().and_then(Mix::of);
        let mix = mix.map_err(|message| Fault::Usage { message, help: SAME.to_owned() })?;
        let kind = match self.open {
            None => Loop::Closed,
            Some((rates, arrivals)) => Loop::Open { rates: rates.into(), arrivals },
        };
        Ok(Options {
            target,
            era: self.era,
            kind,
            warmup: self.warmup,
            length: self.length,
            connections: self.connections,
            timeout_ns: self.timeout_ns,
            idle: self.idle,
            seed: self.seed,
            mix,
            tools: self.tools,
            arguments: self.arguments,
            size: self.size,
            progress: self.progress,
            thresholds: Vec::new(),
            abort: false,
            think: self.think,
            cancel: self.cancel,
            files: Default::default(),
            portion: self.portion,
            i_own_this: self.i_own_this && owned,
        })
    }

    /// What the command line would not have let through.
    fn check(&self) -> Result<(), String> {
        let rates: &[f64] = match &self.open {
            Some((RatesForm::Constant(rate), _)) => &[*rate],
            Some((RatesForm::Ramp { from, to, over_ns: 1.. }, _)) => &[*from, *to],
            Some((RatesForm::Steps { rates, each_ns: 1.. }, _)) if (1..=STEPS_MAX).contains(&rates.len()) => {
                rates
            }
            Some((RatesForm::Trace(times), _)) if times.is_sorted() && times.len() <= TRACE_MAX => &[],
            None => &[],
            Some(_) => return Err("a schedule that is none".to_owned()),
        };
        if !rates.iter().all(|rate| words::rate(&rate.to_string()).is_ok()) {
            return Err("a rate that is none".to_owned());
        }
        let is_share = |cancel: Cancel| cancel.share > 0.0 && cancel.share <= 1.0;
        let is_fit = (1..=CONNECTIONS_MAX).contains(&self.connections)
            && (1..=HIGHEST_NS).contains(&self.timeout_ns)
            && self.portion.index < self.portion.of
            && self.portion.of <= super::AGENTS_MAX as u64
            && self.cancel.is_none_or(is_share)
            && self.think.is_none_or(Think::is_fit);
        match is_fit {
            true => Ok(()),
            false => Err("a plan that nothing of this version would have written".to_owned()),
        }
    }
}

const SAME: &str = "leader and agents are to be the same build";

impl From<RatesForm> for Rates {
    fn from(form: RatesForm) -> Rates {
        match form {
            RatesForm::Constant(rate) => Rates::Constant(rate),
            RatesForm::Ramp { from, to, over_ns } => Rates::Ramp { from, to, over_ns },
            RatesForm::Steps { rates, each_ns } => Rates::Steps { rates: rates.into(), each_ns },
            RatesForm::Trace(times) => Rates::Trace(times.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> PlanForm {
        PlanForm {
            url: "http://127.0.0.1:1/mcp".to_owned(),
            headers: vec![("X-Key".to_owned(), b"hidden".to_vec())],
            era: EraChoice::Auto,
            open: Some((RatesForm::Constant(100.0), Arrivals::Constant)),
            warmup: Length::Requests(0),
            length: Length::Requests(5),
            portion: Portion { index: 1, of: 2 },
            connections: 8,
            timeout_ns: 1_000_000_000,
            idle: Idle::Hybrid,
            seed: 1,
            mix: vec![("tools/call".to_owned(), None, 1.0)],
            tools: Vec::new(),
            arguments: None,
            size: 0,
            progress: false,
            think: None,
            cancel: None,
            i_own_this: true,
        }
    }

    /// There and back it is the same plan, and whose the target is takes the word of both.
    #[test]
    fn a_plan_comes_over_whole() {
        for open in [
            Some((RatesForm::Trace(vec![0, 5, 5]), Arrivals::Constant)),
            Some((RatesForm::Steps { rates: vec![1.5, 0.1], each_ns: 7 }, Arrivals::Poisson)),
            Some((RatesForm::Ramp { from: 1.0, to: 2.0, over_ns: 9 }, Arrivals::Poisson)),
            None,
        ] {
            let bytes = serde_json::to_vec(&PlanForm { open, ..form() }).unwrap();
            let come: PlanForm = serde_json::from_slice(&bytes).unwrap();
            let options = come.options(&TlsFiles::default(), false).unwrap_or_else(|_| panic!("a plan"));
            assert!(!options.i_own_this);
            let again = PlanForm { connections: 8, ..PlanForm::of(&options, options.portion) };
            let again = PlanForm { i_own_this: true, ..again };
            assert_eq!(serde_json::to_vec(&again).unwrap(), bytes);
        }
        assert!(form().options(&TlsFiles::default(), true).is_ok_and(|options| options.i_own_this));
    }

    #[test]
    fn a_plan_that_no_leader_writes_is_refused() {
        let open = |rates| Some((rates, Arrivals::Constant));
        let unfit = [
            PlanForm { connections: 0, ..form() },
            PlanForm { connections: CONNECTIONS_MAX + 1, ..form() },
            PlanForm { timeout_ns: HIGHEST_NS + 1, ..form() },
            PlanForm { portion: Portion { index: 2, of: 2 }, ..form() },
            PlanForm { portion: Portion { index: 0, of: 0 }, ..form() },
            PlanForm { open: open(RatesForm::Constant(-1.0)), ..form() },
            PlanForm { open: open(RatesForm::Ramp { from: 1.0, to: f64::MAX, over_ns: 1 }), ..form() },
            PlanForm { open: open(RatesForm::Steps { rates: Vec::new(), each_ns: 1 }), ..form() },
            PlanForm { open: open(RatesForm::Trace(vec![5, 4])), ..form() },
            PlanForm { cancel: Some(Cancel { share: 2.0, after_ns: 0 }), ..form() },
            PlanForm { think: Some(Think::Uniform { from_ns: 2, to_ns: 1 }), ..form() },
            PlanForm { mix: vec![("initialize".to_owned(), None, 1.0)], ..form() },
            PlanForm { mix: Vec::new(), ..form() },
            PlanForm { headers: vec![("X".to_owned(), b"a\r\nb".to_vec())], ..form() },
            PlanForm { url: "ftp://127.0.0.1/".to_owned(), ..form() },
        ];
        for (place, unfit) in unfit.into_iter().enumerate() {
            let refused = unfit.options(&TlsFiles::default(), true);
            assert!(matches!(refused, Err(Fault::Usage { .. })), "{place}");
        }
    }
}
