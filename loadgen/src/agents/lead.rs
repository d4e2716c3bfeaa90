//! The side that asks: agents are found, their clocks read, each is given its portion, all begin together, and what they found is put together.
//!
//! The decision: a run of several machines is all of them or none. An agent that is lost, comes too late to the start or says what nobody understands
//! ends the run; the others are stopped, and no figure is shown, because a sum with a hole in it looks like a slow target. How
//! far the clocks agree is measured before and after, by the fastest of several exchanges, whose half round trip is the bound.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Events, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use super::channel::{ChannelFault, Receiver, Sender, Side, open};
use super::merge::{ClockSeen, Found, Part, merged};
use super::message::{Asked, PlanForm, Refusal, RefusalKind, Said};
use super::{AGENTS_MAX, ALIVE, CLOCK_EXCHANGES, START_AHEAD};
use crate::clock::Clock;
use crate::load::plan::{Length, Portion};
use crate::load::report::Report;
use crate::load::{Fault, Glance, Options, Told, check_ownership};
use crate::target::Secret;

const CONNECT: Duration = Duration::from_secs(5);
const SLICE: Duration = Duration::from_millis(100);
/// What agents have for ending a run that was stopped.
const STOPPING: Duration = Duration::from_secs(10);
/// Words of all agents that wait to be read.
const EVENTS_MAX: usize = 1024;

/// Who drives.
#[derive(Clone, Debug)]
pub struct Agents {
    /// `host:port`, as given.
    pub addresses: Vec<String>,
    pub token: Option<Secret>,
}

/// Why there is no report.
#[derive(Debug)]
pub enum LeadFault {
    /// The plan itself: asked wrongly.
    Plan(Fault),
    /// An agent cannot be talked to.
    Unreached {
        agent: String,
        fault: ChannelFault,
    },
    /// An agent does not do it, before anything was sent.
    Refused {
        agent: String,
        refusal: Refusal,
    },
    /// An agent was there, and is no more or cannot be used.
    Lost {
        agent: String,
        why: String,
        after: Option<Duration>,
        sent: u64,
    },
    Interrupted,
}

struct Link {
    address: String,
    sender: Sender,
    before: ClockSeen,
    ready: bool,
    glance: Glance,
    found: Option<Found>,
}

/// When it came, from whom, and what.
type Event = (u64, usize, Result<Said, ChannelFault>);

/// Runs the plan on all agents, and tells what they found.
pub fn lead(
    options: &Options,
    agents: &Agents,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Report, LeadFault> {
    check(options, agents).map_err(LeadFault::Plan)?;
    let clock = Clock::new();
    let (told, events) = sync_channel(EVENTS_MAX);
    let mut leader = Leader { clock, links: Vec::new(), events, alive: Instant::now(), began: None };
    for (index, address) in agents.addresses.iter().enumerate() {
        let unreached = |fault| LeadFault::Unreached { agent: address.clone(), fault };
        let (sender, receiver) = connect(address, agents.token.as_ref()).map_err(unreached)?;
        let (link, receiver) = meet(address, sender, receiver, clock)?;
        leader.links.push(link);
        hear(index, receiver, clock, told.clone());
    }
    let outcome = leader.run(options, stop, tell);
    leader.links.iter().for_each(|link| link.sender.close());
    outcome
}

/// What several machines do not do together, and what agents would refuse one by one.
fn check(options: &Options, agents: &Agents) -> Result<(), Fault> {
    check_ownership(options)?;
    let several = agents.addresses.len();
    let usage = |message: String, help: &str| Err(Fault::Usage { message, help: help.to_owned() });
    if several == 0 || several > AGENTS_MAX {
        return usage(format!("{several} agents: expected 1 to {AGENTS_MAX}"), "`--agents HOST:PORT,…`");
    }
    if options.connections < several {
        let message = format!("{} connections for {several} agents", options.connections);
        return usage(message, "`--connections` are shared out: every agent takes one at least");
    }
    if matches!(options.warmup, Length::Steady { .. }) {
        let message = "`--warmup steady` is of one machine: each would begin to measure at another time";
        return usage(message.to_owned(), "`--warmup TIME` is the same for all of them");
    }
    if options.abort || options.files.is_wanted() {
        let message = "`--abort-on-fail`, `--hlog` and `--csv` are of one machine";
        return usage(message.to_owned(), "leave them out, or leave `--agents` out");
    }
    Ok(())
}

fn connect(address: &str, token: Option<&Secret>) -> Result<(Sender, Receiver), ChannelFault> {
    let mut found = address.to_socket_addrs()?;
    let found = found.next().ok_or_else(|| ChannelFault::Foreign("a name without an address".to_owned()))?;
    open(TcpStream::connect_timeout(&found, CONNECT)?, Side::Leader, token)
}

/// Reads the agent's clock; the first answer also shows that it has the same token.
fn meet(
    address: &str,
    mut sender: Sender,
    mut receiver: Receiver,
    clock: Clock,
) -> Result<(Link, Receiver), LeadFault> {
    let agent = || address.to_owned();
    let unreached = |fault| LeadFault::Unreached { agent: agent(), fault };
    let mut before: Option<ClockSeen> = None;
    for _ in 0..CLOCK_EXCHANGES {
        let asked = Asking::now(clock);
        sender.send(&Asked::Clock).map_err(unreached)?;
        match receiver.receive().map_err(unreached)? {
            Said::Clock { ns, wall_ns } => closest(&mut before, asked.seen(clock.now(), ns, wall_ns)),
            Said::Refused(refusal) => return Err(LeadFault::Refused { agent: agent(), refusal }),
            _ => return Err(unreached(ChannelFault::Damaged("no answer to what time it is".to_owned()))),
        }
    }
    let before = before.ok_or_else(|| unreached(ChannelFault::Ended))?;
    let glance = Glance::default();
    Ok((Link { address: agent(), sender, before, ready: false, glance, found: None }, receiver))
}

/// A question about the time, on its way.
struct Asking {
    at: u64,
    wall_ns: i128,
}

impl Asking {
    fn now(clock: Clock) -> Asking {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Asking { at: clock.now(), wall_ns: wall.as_nanos() as i128 }
    }

    /// The answer was given at some time between asking and hearing; the middle is off by half of that at most.
    fn seen(&self, heard: u64, ns: u64, wall_ns: i64) -> ClockSeen {
        let trip = heard.saturating_sub(self.at);
        let middle = i128::from(self.at + trip / 2);
        let wall = i128::from(wall_ns) - (self.wall_ns + i128::from(trip / 2));
        ClockSeen {
            wall_ns: wall.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
            plan_ns: i128::from(ns) - middle,
            bound_ns: trip.div_ceil(2),
        }
    }
}

fn closest(best: &mut Option<ClockSeen>, seen: ClockSeen) {
    if best.is_none_or(|best| seen.bound_ns < best.bound_ns) {
        *best = Some(seen);
    }
}

/// A thread that hears one agent until it is gone.
fn hear(index: usize, mut receiver: Receiver, clock: Clock, told: SyncSender<Event>) {
    std::thread::spawn(move || {
        loop {
            let said = receiver.receive();
            let is_end = said.is_err();
            if told.send((clock.now(), index, said)).is_err() || is_end {
                return;
            }
        }
    });
}

struct Leader {
    clock: Clock,
    links: Vec<Link>,
    events: Events<Event>,
    /// When all were last told that we are here.
    alive: Instant,
    began: Option<Instant>,
}

impl Leader {
    fn run(
        &mut self,
        options: &Options,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<Report, LeadFault> {
        let of = self.links.len() as u64;
        for index in 0..self.links.len() {
            let portion = Portion { index: index as u64, of };
            self.say(index, &Asked::Plan(Box::new(PlanForm::of(options, portion))))?;
        }
        self.wait(stop, tell, |link| link.ready)?;
        if stop.load(Ordering::Relaxed) {
            return Err(LeadFault::Interrupted);
        }
        self.began = Some(Instant::now() + START_AHEAD);
        let at = i128::from(self.clock.now()) + START_AHEAD.as_nanos() as i128;
        for index in 0..self.links.len() {
            let at_ns = (at + self.links[index].before.plan_ns).clamp(0, u64::MAX.into()) as u64;
            self.say(index, &Asked::Start { at_ns })?;
        }
        self.wait(stop, tell, |link| link.found.is_some())?;
        let after = self.clocks();
        let mut parts = Vec::new();
        for (index, (link, after)) in self.links.iter_mut().zip(after).enumerate() {
            let Some(found) = link.found.take() else { continue };
            let portion = Portion { index: index as u64, of };
            parts.push(Part {
                address: link.address.clone(),
                connections: portion.part(options.connections as u64) as usize,
                before: link.before,
                after,
                found,
            });
        }
        merged(options, &parts).map_err(|(agent, why)| {
            let why = format!("what it found cannot be read: expected figures, found {why}");
            LeadFault::Lost { agent, why, after: None, sent: 0 }
        })
    }

    fn say(&mut self, index: usize, asked: &Asked) -> Result<(), LeadFault> {
        match self.links[index].sender.send(asked) {
            Ok(()) => Ok(()),
            Err(ChannelFault::Damaged(why)) => Err(LeadFault::Plan(Fault::Usage {
                message: format!("the plan cannot be sent to an agent: {why}"),
                help: "a trace of a million times, or a smaller `--args`, fits".to_owned(),
            })),
            Err(fault) => Err(self.lost(index, fault.to_string())),
        }
    }

    fn lost(&self, index: usize, why: String) -> LeadFault {
        let link = &self.links[index];
        let after = self.began.map(|began| Instant::now().saturating_duration_since(began));
        LeadFault::Lost { agent: link.address.clone(), why, after, sent: link.glance.sent }
    }

    /// Until all agents have come so far, or one never will.
    fn wait(
        &mut self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Told<'_>),
        is_there: fn(&Link) -> bool,
    ) -> Result<(), LeadFault> {
        let mut stopped: Option<Instant> = None;
        while !self.links.iter().all(is_there) {
            if self.alive.elapsed() >= ALIVE {
                self.alive = Instant::now();
                for index in 0..self.links.len() {
                    self.say(index, &Asked::Alive)?;
                }
                tell(Told::Glance(self.glance()));
            }
            if stop.load(Ordering::Relaxed) && stopped.is_none() {
                stopped = Some(Instant::now());
                for index in 0..self.links.len() {
                    self.say(index, &Asked::Stop)?;
                }
            }
            if stopped.is_some_and(|stopped| stopped.elapsed() > STOPPING) {
                return Err(LeadFault::Interrupted);
            }
            match self.events.recv_timeout(SLICE) {
                Ok((_, index, said)) => self.heard(index, said)?,
                Err(RecvTimeoutError::Timeout) => {}
                // We hold one end ourselves for as long as agents are made.
                Err(RecvTimeoutError::Disconnected) => return Err(LeadFault::Interrupted),
            }
        }
        Ok(())
    }

    fn heard(&mut self, index: usize, said: Result<Said, ChannelFault>) -> Result<(), LeadFault> {
        let link = &mut self.links[index];
        match said {
            Ok(Said::Alive) => {}
            Ok(Said::Ready) if !link.ready => link.ready = true,
            Ok(Said::Glance(glance)) => link.glance = glance,
            Ok(Said::Over(found)) if self.began.is_some() && link.found.is_none() => {
                link.found = Some(*found)
            }
            Ok(Said::Refused(refusal)) if refusal.kind == RefusalKind::Interrupted => {
                return Err(LeadFault::Interrupted);
            }
            Ok(Said::Refused(refusal)) if self.began.is_none() => {
                return Err(LeadFault::Refused { agent: link.address.clone(), refusal });
            }
            Ok(Said::Refused(refusal)) => return Err(self.lost(index, refusal.message)),
            Ok(_) => return Err(self.lost(index, "it speaks out of turn".to_owned())),
            Err(fault) => return Err(self.lost(index, fault.to_string())),
        }
        Ok(())
    }

    /// What all of them show, as one. Percentiles cannot be added: they come with the report.
    fn glance(&self) -> Glance {
        let mut whole = Glance { done: 1.0, ..Glance::default() };
        for Link { glance, .. } in &self.links {
            whole.elapsed_ns = whole.elapsed_ns.max(glance.elapsed_ns);
            whole.done = whole.done.min(glance.done);
            whole.warming_up |= glance.warming_up || glance.elapsed_ns == 0;
            whole.sent += glance.sent;
            whole.succeeded += glance.succeeded;
            whole.failed += glance.failed;
            whole.behind += glance.behind;
            whole.latency_max = whole.latency_max.max(glance.latency_max);
            whole.latency_sum_ns += glance.latency_sum_ns;
            whole.causes.iter_mut().zip(glance.causes).for_each(|(sum, count)| *sum += count);
        }
        whole
    }

    /// Clocks once more, after the run. An agent that does not answer any more has done its part: how far its clock went is not known then.
    fn clocks(&mut self) -> Vec<Option<ClockSeen>> {
        let mut all = vec![None; self.links.len()];
        for (index, best) in all.iter_mut().enumerate() {
            for _ in 0..CLOCK_EXCHANGES {
                let asked = Asking::now(self.clock);
                if self.links[index].sender.send(&Asked::Clock).is_err() {
                    break;
                }
                match self.answer(index) {
                    Some((heard, ns, wall_ns)) => closest(best, asked.seen(heard, ns, wall_ns)),
                    None => break,
                }
            }
        }
        all
    }

    /// Others may say meanwhile that they are there.
    fn answer(&self, index: usize) -> Option<(u64, u64, i64)> {
        let until = Instant::now() + ALIVE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((heard, from, Ok(Said::Clock { ns, wall_ns }))) if from == index => {
                    return Some((heard, ns, wall_ns));
                }
                Ok((_, from, Err(_))) if from == index => return None,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
