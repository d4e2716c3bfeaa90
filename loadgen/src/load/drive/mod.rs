//! The loop that sends what is due and records what comes back.
//!
//! The decision: a plan's clock is never stopped. When every connection is busy, what is due waits and
//! is sent late; its latency still counts from when it was due, its lag is recorded, and what is never
//! sent is reported. The generator's own lateness (a connection was free, the time had come) is kept
//! apart from that, since the first says something about the target and the second about us.
//!
//! Waiting is in two steps: asleep in epoll until shortly before the next request is due, then looking
//! without sleeping. HOT: after the first requests of a run nothing allocates.

mod cancel;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

pub use cancel::Cancel;
pub(super) use cancel::Canceller;
use serde::{Deserialize, Serialize};

use super::connection::{Carried, Connection, Outcome};
use super::hope::{Hopes, Lost};
use super::interval::{IntervalFiles, Intervals};
use super::mix::Chooser;
use super::plan::{Due, Length, Loop, Plan, Portion};
use super::record::Record;
use super::steady::{Settling, Windows};
use super::think::{Think, Thinkers};
use crate::clock::Clock;
use crate::poll::{Poll, Ready};
use crate::target::{Cause, ID_FIRST, Target, Template};

/// What the generator does between requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Idle {
    /// Never sleeps.
    Spin,
    /// Sleeps until shortly before, then spins.
    Hybrid,
    /// Sleeps until the time.
    Sleep,
}

/// How often deadlines and the stop flag are looked at.
const SWEEP_NS: u64 = 20_000_000;
const PROGRESS_NS: u64 = 1_000_000_000;
/// Connections being made at once, below every usual backlog.
const CONNECTING_MAX: usize = 128;
/// The spin before a request is due is the measured oversleep, within these.
const SPIN_NS_MIN: u64 = 20_000;
const SPIN_NS_MAX: u64 = 200_000;
/// Requests sent between two looks around. One that fails at once frees its connection at once, so that
/// without a bound the stop flag and the answers of others would wait for the end of the plan.
const SENDS_PER_TURN_MAX: usize = 256;
const READ_BYTES: usize = 256 * 1024;

pub(super) struct Settings {
    pub kind: Loop,
    pub warmup: Length,
    pub length: Length,
    pub connections: usize,
    pub timeout_ns: u64,
    pub idle: Idle,
    pub seed: u64,
    /// Of a plan that several machines share.
    pub portion: Portion,
    pub clock: Clock,
    pub files: IntervalFiles,
    pub think: Option<Think>,
    /// Demands that end the run when they are lost.
    pub hopes: Option<Hopes>,
}

/// What a run leaves behind.
pub(super) struct Driven {
    pub record: Record,
    /// Measured requests that were sent, and those that never were.
    pub sent: u64,
    pub not_sent: u64,
    /// Measured requests that were due but not sent when the plan ended.
    pub behind: u64,
    pub reconnects: u64,
    pub spin_ns: u64,
    /// Of the measured part.
    pub duration_ns: u64,
    pub interrupted: bool,
    /// The demand that ended the run.
    pub lost: Option<Lost>,
    pub windows: Windows,
    /// How long the target was warmed up, once it was, and whether it was steady then.
    pub warmed_ns: Option<u64>,
    pub settled: bool,
    /// Measured requests per template.
    pub by_template: Vec<u64>,
}

/// What is told while a run goes on.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Glance {
    pub elapsed_ns: u64,
    /// Of the measured part, 0 to 1.
    pub done: f64,
    pub warming_up: bool,
    pub sent: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub causes: [u64; Cause::WORDS.len()],
    /// Due, and not sent.
    pub behind: u64,
    pub latency_p50: Option<u64>,
    pub latency_p99: Option<u64>,
    pub latency_max: Option<u64>,
    pub latency_sum_ns: u128,
}

pub(super) struct Drive<'a> {
    target: &'a Target,
    settings: Settings,
    clock: Clock,
    /// When the plan began.
    start: u64,
    poll: Poll,
    plan: Plan,
    next: Option<Due>,
    /// The same plan, followed by the clock alone: what should have been sent by now.
    shadow: Plan,
    shadow_next: Option<Due>,
    shadow_measured: u64,
    connections: Vec<Connection>,
    /// Free connections, the longest idle first, with the time since when.
    free: VecDeque<(usize, u64)>,
    busy: usize,
    /// One set for each session.
    templates: Vec<Vec<Template>>,
    chooser: Chooser,
    driven: Driven,
    last_answer: u64,
    input: Vec<u8>,
    /// Where somebody wants to see every second.
    intervals: Option<Intervals>,
    /// While a warm-up lasts until the target is steady.
    settling: Option<Settling>,
    thinkers: Option<Thinkers>,
    canceller: Option<Canceller>,
    hopes: Option<Hopes>,
}

impl<'a> Drive<'a> {
    /// Makes all connections. At least one must be accepted; those that are not try again when used.
    pub fn prepare(
        target: &'a Target,
        settings: Settings,
        templates: Vec<Vec<Template>>,
        weights: &[f64],
        canceller: Option<Canceller>,
        stop: &AtomicBool,
    ) -> io::Result<Drive<'a>> {
        crate::echo::raise_descriptors();
        let clock = settings.clock;
        let own_seed = settings.portion.seed(settings.seed);
        let poll = Poll::new()?;
        let sessions = templates.len().max(1);
        // Notifications take a connection of their own, beside the one that waits for the answer.
        let beside =
            if canceller.as_ref().is_some_and(Canceller::notifies) { settings.connections } else { 0 };
        let connections = (0..settings.connections + beside)
            .map(|index| Connection::new(index % settings.connections.max(1) % sessions))
            .collect();
        let plan = Plan::new(settings.kind.clone(), settings.warmup, settings.length, settings.seed, 0);
        let is_told = settings.files.is_wanted();
        let intervals = is_told.then(|| Intervals::start(&settings.files)).transpose()?;
        let measured_ns = match settings.length {
            Length::Time { ns } => Some(ns),
            Length::Requests(_) | Length::Steady { .. } => None,
        };
        let think = settings.think.filter(|_| settings.kind == Loop::Closed);
        let mut drive = Drive {
            settling: matches!(settings.warmup, Length::Steady { .. }).then(Settling::new),
            thinkers: think.map(|think| Thinkers::new(think, own_seed, settings.connections)),
            hopes: settings.hopes.clone(),
            canceller,
            target,
            clock,
            start: 0,
            poll,
            shadow: plan.clone(),
            plan,
            next: None,
            shadow_next: None,
            shadow_measured: 0,
            connections,
            free: VecDeque::with_capacity(settings.connections),
            busy: 0,
            templates,
            chooser: Chooser::new(weights.iter().copied(), own_seed),
            driven: Driven {
                record: Record::new(),
                sent: 0,
                not_sent: 0,
                behind: 0,
                reconnects: 0,
                spin_ns: 0,
                duration_ns: 0,
                interrupted: false,
                lost: None,
                windows: Windows::new(measured_ns),
                warmed_ns: None,
                settled: false,
                by_template: vec![0; weights.len()],
            },
            last_answer: 0,
            input: vec![0; READ_BYTES],
            intervals,
            settings,
        };
        drive.connect_all(stop)?;
        drive.driven.spin_ns = drive.oversleep()?;
        Ok(drive)
    }

    fn connect_all(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let until = self.clock.now() + self.settings.timeout_ns;
        let (mut begun, mut settled) = (0, 0);
        let is_wanted = |now| now < until && !stop.load(Ordering::Relaxed);
        let wanted = self.settings.connections;
        while settled < wanted && is_wanted(self.clock.now()) {
            while begun < wanted && begun - settled < CONNECTING_MAX {
                let made = self.connections[begun].connect(begun, self.target, &self.poll);
                settled += usize::from(made.is_err());
                begun += 1;
            }
            let now = self.clock.now();
            self.poll.wait(now, now + SWEEP_NS)?;
            for event in 0..self.poll.count() {
                let Some(ready) = self.poll.ready(event) else { continue };
                let Some(index) = self.known(ready) else { continue };
                let connection = &mut self.connections[index];
                let mut outcome = connection.writable(index, &self.poll);
                if outcome == Outcome::Pending && ready.readable {
                    // Handshakes of TLS are no part of what is measured.
                    outcome = connection.readable(index, &mut self.input, &self.poll);
                }
                settled += usize::from(outcome != Outcome::Pending);
            }
        }
        self.free.extend((0..wanted).map(|index| (index, 0)));
        Ok(())
    }

    /// How much later than asked a short sleep ends on this machine: the spin must begin that early.
    fn oversleep(&mut self) -> io::Result<u64> {
        if self.settings.idle == Idle::Spin || (self.settings.kind == Loop::Closed && self.thinkers.is_none())
        {
            return Ok(0);
        }
        let mut late = [0; 32];
        for slot in &mut late {
            let now = self.clock.now();
            self.poll.wait(now, now + 150_000)?;
            *slot = self.clock.now().saturating_sub(now + 150_000);
        }
        late.sort_unstable();
        Ok((late[28] + late[28] / 2).clamp(SPIN_NS_MIN, SPIN_NS_MAX))
    }

    /// Runs the plan to its end, or until `stop`; from `start` on, where several begin together.
    pub fn run(
        mut self,
        start: Option<u64>,
        stop: &AtomicBool,
        glance: &mut dyn FnMut(Glance),
    ) -> io::Result<Driven> {
        let start = start.unwrap_or_else(|| self.clock.now());
        self.start = start;
        self.wait_for(start, stop)?;
        let settings = &self.settings;
        self.plan = Plan::new(settings.kind.clone(), settings.warmup, settings.length, settings.seed, start)
            .portion(settings.portion);
        self.shadow = self.plan.clone();
        self.next = self.plan.next(start);
        self.shadow_next = self.shadow.next(start);
        self.free.iter_mut().for_each(|(_, since)| *since = start);
        if let Some(thinkers) = &mut self.thinkers {
            self.free.drain(..).for_each(|(index, _)| thinkers.begin(start, index));
        }
        let (mut sweep, mut shown) = (start + SWEEP_NS, start + PROGRESS_NS);
        let mut ended = None;
        loop {
            let now = self.send_due();
            self.cancel_due(now);
            if self.next.is_none() && self.busy == 0 {
                break;
            }
            if now >= sweep {
                sweep = now + SWEEP_NS;
                if let Some(intervals) = &mut self.intervals {
                    intervals.look(self.plan.began(), now);
                }
                if stop.load(Ordering::Relaxed) {
                    self.driven.interrupted = true;
                    break;
                }
                if let Some(hopes) = self.hopes.as_ref().filter(|hopes| hopes.is_lost()) {
                    self.driven.lost = hopes.lost();
                    break;
                }
                self.expire(now);
                if self.thinkers.is_some() && self.plan.is_over_at(now) {
                    self.next = None;
                }
                if ended.is_none() && self.plan_has_ended(now) {
                    ended = Some(now);
                    self.driven.behind = self.shadow_measured.saturating_sub(self.driven.sent);
                }
                // Whatever is still waiting after so long will not be sent.
                if ended.is_some_and(|ended| now > ended + self.settings.timeout_ns) {
                    break;
                }
            }
            if now >= shown {
                shown = now + PROGRESS_NS;
                glance(self.glance(now));
            }
            self.poll.wait(now, self.until(sweep))?;
            for event in 0..self.poll.count() {
                if let Some(ready) = self.poll.ready(event) {
                    self.handle(ready);
                }
            }
        }
        self.finish()
    }

    /// Sleeps until the plan may begin: shortly before, where the plan itself says when the first request is due.
    fn wait_for(&mut self, start: u64, stop: &AtomicBool) -> io::Result<()> {
        let before = match self.settings.kind {
            Loop::Open { .. } => SPIN_NS_MAX,
            Loop::Closed => 0,
        };
        loop {
            let now = self.clock.now();
            if now + before >= start || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.poll.wait(now, (start - before).min(now + SWEEP_NS))?;
            for event in 0..self.poll.count() {
                if let Some(ready) = self.poll.ready(event) {
                    self.handle(ready);
                }
            }
        }
    }

    /// Until when nothing needs to be done but to answer events.
    fn until(&self, sweep: u64) -> u64 {
        let due = match self.next {
            None => None,
            Some(_) if self.free.is_empty() => self.thinkers.as_ref().and_then(Thinkers::next),
            Some(next) => Some(next.at),
        };
        let due = due.map(|at| match self.settings.idle {
            Idle::Spin => 0,
            Idle::Hybrid => at.saturating_sub(self.driven.spin_ns),
            Idle::Sleep => at,
        });
        let cancelled = self.canceller.as_ref().and_then(Canceller::next);
        due.into_iter().chain(cancelled).fold(sweep, u64::min)
    }

    /// Sends what is due and has a connection, up to a turn's worth; says what time it is.
    fn send_due(&mut self) -> u64 {
        let mut now = self.clock.now();
        if let Some(thinkers) = &mut self.thinkers {
            while let Some(done) = thinkers.done(now) {
                self.free.push_back(done);
            }
        }
        for _ in 0..SENDS_PER_TURN_MAX {
            let is_due = |due: &Due| due.at <= now || self.settings.kind == Loop::Closed;
            let Some(due) = self.next.filter(is_due) else { break };
            let Some((index, since)) = self.free.pop_front() else { break };
            // In a closed loop a request is due when somebody is free to send it, or has done thinking.
            let at = match self.settings.kind {
                Loop::Open { .. } => due.at,
                Loop::Closed if self.thinkers.is_some() => since,
                Loop::Closed => now,
            };
            let due = Due { at, ..due };
            self.send(index, since, due);
            now = self.clock.now();
            self.next = self.plan.next(now);
        }
        now
    }

    fn send(&mut self, index: usize, since: u64, due: Due) {
        let connection = &mut self.connections[index];
        let choice = self.chooser.choose();
        let template = &mut self.templates[connection.session][choice];
        let id = ID_FIRST + due.number;
        let bytes = template.stamp(id);
        let sent_at = self.clock.now();
        let carried = Carried { due, sent_at, recorded: false, cancelled: false, events: 0, last_event: 0 };
        connection.carried = Some(carried);
        self.busy += 1;
        if let Some(canceller) = &mut self.canceller {
            canceller.sent(index, &carried);
        }
        if due.measured {
            self.driven.sent += 1;
            self.driven.by_template[choice] += 1;
            let lag = sent_at.saturating_sub(due.at);
            self.driven.record.send_lag.record(lag);
            if let Some(hopes) = &mut self.hopes {
                hopes.sent(lag);
            }
            self.driven.record.own_lag.record(sent_at.saturating_sub(due.at.max(since)));
        }
        let mut begun = Ok(());
        if connection.is_closed() {
            self.driven.reconnects += 1;
            begun = connection.connect(index, self.target, &self.poll);
        }
        let sent = begun.and_then(|()| connection.send(index, id, bytes, &self.poll));
        if let Err(cause) = sent {
            connection.close();
            self.over(index, Err(cause));
        }
    }

    fn known(&self, ready: Ready) -> Option<usize> {
        let index = (ready.token & 0xffff_ffff) as usize;
        self.connections.get(index).filter(|connection| connection.token(index) == ready.token)?;
        Some(index)
    }

    fn handle(&mut self, ready: Ready) {
        if let Some(index) = self.known(ready).filter(|_| ready.writable) {
            let outcome = self.connections[index].writable(index, &self.poll);
            self.came(index, outcome);
        }
        if let Some(index) = self.known(ready).filter(|_| ready.readable) {
            let outcome = self.connections[index].readable(index, &mut self.input, &self.poll);
            self.came(index, outcome);
        }
    }

    fn came(&mut self, index: usize, outcome: Outcome) {
        if index >= self.settings.connections {
            return self.notified(index, outcome);
        }
        self.stream_went_on(index);
        match outcome {
            Outcome::Pending | Outcome::Connected | Outcome::Idled => {}
            Outcome::Answered(result) => self.answered(index, result),
            Outcome::Over(result) => self.over(index, result),
        }
    }

    /// The request is over one way or the other: its connection is free again.
    fn over(&mut self, index: usize, result: Result<(), Cause>) {
        self.answered(index, result);
        if self.connections[index].carried.take().is_some() {
            self.busy -= 1;
            match &mut self.thinkers {
                Some(thinkers) => thinkers.begin(self.last_answer, index),
                None => self.free.push_back((index, self.last_answer)),
            }
        }
    }

    /// Events that one read brought came at one time.
    fn stream_went_on(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let events = connection.events();
        let Some(carried) = connection.carried.as_mut().filter(|carried| events > carried.events) else {
            return;
        };
        let now = self.clock.now();
        let (had, since) = (carried.events, carried.last_event);
        (carried.events, carried.last_event) = (events, now);
        if !carried.due.measured || carried.recorded {
            return;
        }
        let record = &mut self.driven.record;
        match had {
            0 => record.first_event.record(now.saturating_sub(carried.due.at)),
            _ => record.event_gap.record(now.saturating_sub(since)),
        }
        (had + 1..events).for_each(|_| record.event_gap.record(0));
    }

    fn answered(&mut self, index: usize, result: Result<(), Cause>) {
        let now = self.clock.now();
        self.last_answer = now;
        let connection = &mut self.connections[index];
        let (body_bytes, events) = (connection.body_bytes(), connection.events());
        let Some(carried) = connection.carried.as_mut().filter(|carried| !carried.recorded) else { return };
        carried.recorded = true;
        let is_cancelled = carried.cancelled && Drive::ends_cancelled(result);
        if !carried.due.measured {
            let latency = now.saturating_sub(carried.due.at);
            self.warmed(now, latency, result);
            return;
        }
        let record = &mut self.driven.record;
        if is_cancelled {
            record.cancelled += 1;
            return;
        }
        record.crossed += u64::from(carried.cancelled);
        let (latency, service) = (now.saturating_sub(carried.due.at), now.saturating_sub(carried.sent_at));
        record.body_bytes += body_bytes;
        record.events += u64::from(events);
        match result {
            Ok(()) => {
                record.latency.record(latency);
                record.service.record(service);
                self.driven.windows.answered(now, latency);
                if let Some(hopes) = &mut self.hopes {
                    hopes.answered(latency, service);
                }
                if let Some(intervals) = &mut self.intervals {
                    intervals.answered(latency, service);
                }
            }
            Err(cause) => {
                record.failure(cause);
                if let Some(hopes) = &mut self.hopes {
                    hopes.failed();
                }
                if let Some(intervals) = &mut self.intervals {
                    intervals.failed();
                }
                record.failed_latency.record(latency);
                record.failed_service.record(service);
            }
        }
    }

    /// An answer of the warm-up: once the target is steady, measuring begins with the next request that neither plan has made yet.
    fn warmed(&mut self, now: u64, latency: u64, result: Result<(), Cause>) {
        let Some(settling) = self.settling.as_mut().filter(|_| result.is_ok()) else { return };
        if !settling.answered(now, latency) {
            return;
        }
        self.settling = None;
        self.driven.settled = true;
        let made = [self.next, self.shadow_next].into_iter().flatten().map(|due| due.at);
        let from = made.fold(now, u64::max) + 1;
        self.plan.settle(from);
        self.shadow.settle(from);
    }

    /// Requests without an answer for too long.
    fn expire(&mut self, now: u64) {
        for index in 0..self.connections.len() {
            let is_beside = index >= self.settings.connections;
            let connection = &mut self.connections[index];
            let late =
                connection.carried.is_some_and(|carried| now > carried.sent_at + self.settings.timeout_ns);
            if late {
                connection.close();
                match is_beside {
                    true => self.notified(index, Outcome::Over(Err(Cause::Timeout))),
                    false => self.over(index, Err(Cause::Timeout)),
                }
            }
        }
    }

    /// Whether the last request of the plan has been due. Follows the plan to `now`.
    fn plan_has_ended(&mut self, now: u64) -> bool {
        if self.settings.kind == Loop::Closed {
            return self.next.is_none();
        }
        while let Some(due) = self.shadow_next.filter(|due| due.at <= now) {
            self.shadow_measured += u64::from(due.measured);
            self.shadow_next = self.shadow.next(now);
        }
        self.shadow_next.is_none()
    }

    fn glance(&self, now: u64) -> Glance {
        let record = &self.driven.record;
        let measured_ns = self.plan.began().map_or(0, |began| now.saturating_sub(began));
        let of = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        Glance {
            elapsed_ns: now.saturating_sub(self.start),
            done: match self.settings.length {
                Length::Requests(requests) => of(self.driven.sent, self.settings.portion.part(requests)),
                Length::Time { ns } | Length::Steady { within_ns: ns } => of(measured_ns, ns),
            },
            warming_up: self.plan.began().is_none(),
            sent: self.driven.sent,
            succeeded: record.succeeded(),
            failed: record.failed(),
            causes: record.causes,
            behind: self.shadow_measured.saturating_sub(self.driven.sent),
            latency_p50: record.latency.percentile(0.5).known(),
            latency_p99: record.latency.percentile(0.99).known(),
            latency_max: record.latency.max(),
            latency_sum_ns: record.latency.sum_ns(),
        }
    }

    fn finish(mut self) -> io::Result<Driven> {
        // What is under way now has had its time; an interrupted run just leaves it out.
        let is_cut_short = self.driven.interrupted || self.driven.lost.is_some();
        if !is_cut_short {
            for index in 0..self.settings.connections {
                if self.connections[index].carried.is_some() {
                    self.connections[index].close();
                    self.over(index, Err(Cause::Timeout));
                }
            }
            if let Some(due) = self.next.filter(|_| matches!(self.settings.kind, Loop::Open { .. })) {
                self.driven.not_sent = u64::from(due.measured) + self.plan.left();
            }
        }
        let now = self.clock.now();
        self.driven.warmed_ns = self.plan.began().map(|began| began.saturating_sub(self.start));
        if let Some(began) = self.plan.began() {
            self.driven.duration_ns = self.last_answer.max(began) - began;
            if let (Length::Time { ns }, false) = (self.settings.length, is_cut_short) {
                self.driven.duration_ns = self.driven.duration_ns.max(ns);
            }
            if is_cut_short {
                self.driven.duration_ns = now.saturating_sub(began);
            }
        }
        if let Some(intervals) = self.intervals.take() {
            intervals.finish(self.plan.began(), now)?;
        }
        Ok(self.driven)
    }
}

#[cfg(test)]
mod tests {
    use strait_protocol::mcp::Method;

    use super::*;
    use crate::target::{Call, Era};

    /// No connection is ever begun to a broadcast address: what fails at once makes room for the next at once.
    #[test]
    fn a_stop_is_heard_while_every_request_fails_at_once() {
        let target = Target::parse("http://255.255.255.255:9/mcp").unwrap();
        let template = Template::build(&target, &Era::Modern, &Call::plain(Method::ToolsList)).unwrap();
        let settings = Settings {
            kind: Loop::Closed,
            warmup: Length::Requests(0),
            length: Length::Time { ns: 3_000_000_000 },
            connections: 1,
            timeout_ns: 1_000_000_000,
            idle: Idle::Hybrid,
            seed: 1,
            portion: Portion::WHOLE,
            clock: Clock::new(),
            files: IntervalFiles::default(),
            think: None,
            hopes: None,
        };
        let stop = AtomicBool::new(true);
        let drive = Drive::prepare(&target, settings, vec![vec![template]], &[1.0], None, &stop).unwrap();
        let driven = drive.run(None, &stop, &mut |_| {}).unwrap();
        assert!(driven.interrupted, "{} requests until the end of the plan", driven.sent);
        assert_eq!(driven.record.failed(), driven.record.causes[Cause::Connect.index()]);
    }
}
