//! `strait load`: requests by a plan, latency from the moment each was due.
//!
//! [`plan`] says when, [`mix`] what, `drive.rs` sends and receives over `connection.rs`, [`record`] keeps
//! what was seen, `saturation.rs` asks whether the generator kept up, and [`report`] tells it all. The
//! decision: an open loop is the default, because users do not wait for each other; a closed loop is
//! offered for throughput and labelled wherever its figures stand.

pub(crate) mod arguments;
pub mod compare;
mod connection;
mod drive;
pub mod formats;
mod hope;
pub mod interval;
pub mod mix;
mod page;
pub mod plan;
pub mod rates;
pub mod raw;
pub mod record;
pub mod report;
mod saturation;
pub mod search;
pub mod steady;
pub mod think;
pub mod threshold;
#[cfg(test)]
mod told;

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use strait_protocol::mcp::Method;

pub use drive::{Cancel, Glance, Idle};
use interval::IntervalFiles;
use mix::Mix;
use plan::{Length, Loop, Portion};
use report::{Report, Share};
use steady::Steadiness;
use think::Think;
use threshold::Threshold;

use crate::clock::Clock;
use crate::target::{
    ARGUMENT_BYTES_MAX, Call, Era, EraChoice, Patience, Peer, Target, Template, Tool, Unreached, greet, leave,
};
use crate::words::shown_ns;

/// Above this, a target that is not this machine must be declared one's own.
pub const STRANGER_RATE_MAX: f64 = 1_000.0;
/// Connections of one run.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections when nothing is said. Few enough that a stall of the target shows in the waiting and not
/// in thousands of open connections, enough for 3,200 calls a second of 5 ms each.
pub const CONNECTIONS: usize = 16;
/// Read-only tools that are called when none was named.
const TOOLS_DISCOVERED_MAX: usize = 8;
/// What ending the sessions of an interrupted run may take.
const LEAVING: Duration = Duration::from_secs(2);

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    pub target: Target,
    pub era: EraChoice,
    pub kind: Loop,
    pub warmup: Length,
    pub length: Length,
    pub connections: usize,
    pub timeout_ns: u64,
    pub idle: Idle,
    pub seed: u64,
    pub mix: Mix,
    /// Tools to call; the read-only ones that the target lists when empty.
    pub tools: Vec<String>,
    /// Arguments of every call; made from the tool's schema when none.
    pub arguments: Option<String>,
    /// Bytes of padding in the arguments.
    pub size: usize,
    /// Ask for progress events.
    pub progress: bool,
    pub thresholds: Vec<Threshold>,
    /// Ends a run with the first demand that can no longer be met.
    pub abort: bool,
    /// What a user of a closed loop does before each call.
    pub think: Option<Think>,
    pub cancel: Option<Cancel>,
    /// What is written second by second.
    pub files: IntervalFiles,
    /// Of a plan that several machines share.
    pub portion: Portion,
    pub i_own_this: bool,
}

/// Why there is no report.
#[derive(Debug)]
pub enum Fault {
    /// Asked wrongly: what, and what to do.
    Usage { message: String, help: String },
    /// The target cannot be talked to.
    Unreached(Unreached),
    /// This machine cannot do it.
    Machine(io::Error),
}

/// What is told before the report.
pub enum Told<'a> {
    /// The target does not list a tool that will be called all the same: a denial may be what is tested.
    Unlisted { name: &'a str, listed: &'a [Tool] },
    /// How far the run is, once a second.
    Glance(Glance),
}

/// Greets the target, prepares requests, runs the plan, and tells what it found.
pub fn run(options: &Options, stop: &AtomicBool, tell: &mut dyn FnMut(Told<'_>)) -> Result<Report, Fault> {
    prepare(options, Clock::new(), stop, tell)?.run(None, stop, tell)
}

/// A run that could begin at once: its target greeted, its connections made.
pub struct Prepared<'a> {
    options: &'a Options,
    server: String,
    eras: Vec<Era>,
    calls: Vec<Planned>,
    notes: Vec<String>,
    drive: drive::Drive<'a>,
}

/// Does all that comes before the first request of a plan.
pub fn prepare<'a>(
    options: &'a Options,
    clock: Clock,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Prepared<'a>, Fault> {
    check_ownership(options)?;
    let patience = Patience { timeout: Duration::from_nanos(options.timeout_ns), stop };
    let peer = greet(&options.target, options.era, patience).map_err(Fault::Unreached)?;
    let mut notes = Vec::new();
    let calls = calls(options, &peer, patience, &mut notes, tell)?;
    let eras = eras(options, &peer, patience)?;
    let templates = eras.iter().map(|era| calls.iter().map(|call| call.template(options, era)).collect());
    let templates = templates.collect::<Result<Vec<Vec<Template>>, Fault>>()?;
    let weights: Vec<f64> = calls.iter().map(|call| call.weight).collect();
    let canceller = options.cancel.map(|cancel| canceller(options, cancel, &eras)).transpose()?;
    let settings = drive::Settings {
        kind: options.kind.clone(),
        warmup: options.warmup,
        length: options.length,
        connections: options.connections,
        timeout_ns: options.timeout_ns,
        idle: options.idle,
        seed: options.seed,
        portion: options.portion,
        clock,
        files: options.files.clone(),
        think: options.think,
        hopes: options.abort.then(|| hope::Hopes::new(&options.thresholds, &options.kind, options.length)),
    };
    let drive = drive::Drive::prepare(&options.target, settings, templates, &weights, canceller, stop)
        .map_err(Fault::Machine)?;
    Ok(Prepared { options, server: peer.server, eras, calls, notes, drive })
}

impl Prepared<'_> {
    /// Runs the plan, from `start` on where that is given: a point on the clock that it was prepared with.
    pub fn run(
        self,
        start: Option<u64>,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<Report, Fault> {
        let Prepared { options, server, eras, calls, notes, drive } = self;
        let driven =
            drive.run(start, stop, &mut |glance| tell(Told::Glance(glance))).map_err(Fault::Machine)?;
        let leaving = if driven.interrupted { LEAVING } else { Duration::from_nanos(options.timeout_ns) };
        leave_all(&options.target, &eras, leaving);
        let shares = calls.into_iter().zip(&driven.by_template).map(|(call, sent)| Share {
            method: call.method.as_str(),
            name: call.name,
            weight: call.weight,
            sent: *sent,
        });
        let shares = shares.collect();
        let revision = eras.first().map_or("", |era| era.revision().as_str());
        Ok(report(options, server, revision, shares, notes, driven))
    }
}

/// What a run found, judged.
fn report(
    options: &Options,
    server: String,
    revision: &'static str,
    shares: Vec<Share>,
    mut notes: Vec<String>,
    driven: drive::Driven,
) -> Report {
    let own_fault = saturation::own_lag(&options.kind, options.idle, &driven);
    let mut saturation = saturation::unsent(&options.kind, options.connections, &driven);
    saturation.extend(own_fault.clone());
    let longest = [driven.record.latency.max(), driven.record.send_lag.max()].into_iter().flatten().max();
    if longest.is_some_and(|ns| ns > record::HIGHEST_NS) {
        notes.push(format!(
            "times above {} count as that in percentiles; maximum and mean are exact",
            shown_ns(record::HIGHEST_NS as f64)
        ));
    }
    let windows = driven.windows.medians();
    let steadiness = match &options.kind {
        Loop::Open { rates, .. } if rates.constant().is_none() => {
            Steadiness::Unknown("the rate changes, and latencies with it".to_owned())
        }
        _ => Steadiness::of(&windows),
    };
    let mut report = Report {
        think: options.think,
        cancel: options.cancel,
        size: options.size,
        progress: options.progress,
        timeout_ns: options.timeout_ns,
        lost: driven.lost,
        warmed_ns: driven.warmed_ns,
        settled: driven.settled,
        steadiness,
        windows: driven.windows,
        url: options.target.url.clone(),
        server,
        revision,
        kind: options.kind.clone(),
        warmup: options.warmup,
        connections: options.connections,
        reconnects: driven.reconnects,
        seed: options.seed,
        spin_ns: driven.spin_ns,
        not_sent: driven.not_sent,
        behind: driven.behind,
        duration_ns: driven.duration_ns,
        interrupted: driven.interrupted,
        shares,
        saturation,
        own_fault,
        record: driven.record,
        notes,
        judged: Vec::new(),
        agents: Vec::new(),
    };
    report.judge(&options.thresholds);
    report
}

/// How calls are given up: by closing their stream, or by a notification of each session.
fn canceller(options: &Options, cancel: Cancel, eras: &[Era]) -> Result<drive::Canceller, Fault> {
    let older = eras.iter().filter(|era| !era.is_modern());
    let notifications = older.map(|era| Template::cancellation(&options.target, era));
    let notifications =
        notifications.collect::<Result<Vec<Template>, _>>().map_err(|fault| Fault::Usage {
            message: fault.to_string(),
            help: "`--cancel` sends `notifications/cancelled` with the same headers".to_owned(),
        })?;
    Ok(drive::Canceller::new(cancel, options.portion.seed(options.seed), options.connections, notifications))
}

/// A target that is somebody else's is not loaded unasked.
pub fn check_ownership(options: &Options) -> Result<(), Fault> {
    let fast = match &options.kind {
        Loop::Open { rates, .. } => rates.highest() > STRANGER_RATE_MAX,
        Loop::Closed => true,
    };
    match fast && !options.target.is_loopback() && !options.i_own_this {
        true => Err(Fault::Usage {
            message: format!(
                "`{}` is not this machine: a closed loop, or more than {STRANGER_RATE_MAX} requests per second, may \
                 bring it down",
                options.target.url
            ),
            help: "say `--i-own-this` if it is yours to load".to_owned(),
        }),
        false => Ok(()),
    }
}

/// Ends the sessions; a server that is asked to and says nothing is waited for once and no more.
fn leave_all(target: &Target, eras: &[Era], timeout: Duration) {
    let until = Instant::now() + timeout;
    for era in eras {
        let timeout = until.saturating_duration_since(Instant::now());
        if timeout.is_zero() {
            return;
        }
        // Whoever wanted to stop has done so already: this is the end.
        leave(target, era, Patience { timeout, stop: &AtomicBool::new(false) });
    }
}

/// A modern peer is spoken to alike on every connection; an older one gives each its session.
fn eras(options: &Options, peer: &Peer, patience: Patience<'_>) -> Result<Vec<Era>, Fault> {
    let sessions = match &peer.era {
        Era::Legacy { session: Some(_), .. } => options.connections.saturating_sub(1),
        _ => 0,
    };
    let mut eras = vec![peer.era.clone()];
    for _ in 0..sessions {
        eras.push(peer.again(&options.target, patience).map_err(Fault::Unreached)?);
    }
    Ok(eras)
}

/// One kind of request of a run.
struct Planned {
    method: Method,
    name: Option<String>,
    arguments: String,
    weight: f64,
}

impl Planned {
    fn template(&self, options: &Options, era: &Era) -> Result<Template, Fault> {
        let call = Call {
            method: self.method,
            name: self.name.as_deref(),
            arguments: &self.arguments,
            progress: options.progress && self.method == Method::ToolsCall,
        };
        Template::build(&options.target, era, &call).map_err(|fault| Fault::Usage {
            message: fault.to_string(),
            help: r#"`--args '{"text": "call {{seq}}"}'` is one way to write them"#.to_owned(),
        })
    }
}

fn calls(
    options: &Options,
    peer: &Peer,
    patience: Patience<'_>,
    notes: &mut Vec<String>,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Vec<Planned>, Fault> {
    let mut planned = Vec::new();
    if options.arguments.as_deref().is_some_and(|given| !given.contains(arguments::SEQUENCE)) {
        notes.push("every call has the same arguments, so that a cache may answer for the target; `{{seq}}` in `--args` tells them apart".to_owned());
    }
    for entry in options.mix.entries.iter().filter(|entry| entry.weight > 0.0) {
        let plain = |method| Planned {
            method,
            name: entry.name.clone(),
            arguments: "{}".to_owned(),
            weight: entry.weight,
        };
        match entry.method {
            Method::ToolsCall => {
                let named: Vec<String> = match &entry.name {
                    Some(name) => vec![name.clone()],
                    None => options.tools.clone(),
                };
                let tools = tools(options, peer, patience, &named, notes, tell)?;
                let weight = entry.weight / tools.len() as f64;
                planned.extend(tools.into_iter().map(|(name, arguments)| Planned {
                    method: Method::ToolsCall,
                    name: Some(name),
                    arguments,
                    weight,
                }));
            }
            method if method.is_known_in(peer.era.revision()) => planned.push(plain(method)),
            // Each era has one small request that asks for nothing; a mix may be written for either.
            Method::Ping => {
                notes.push("2026-07-28 has no `ping`: `server/discover` is sent in its place".to_owned());
                planned.push(plain(Method::ServerDiscover));
            }
            Method::ServerDiscover => {
                notes.push(format!(
                    "{} has no `server/discover`: `ping` is sent in its place",
                    peer.era.revision().as_str()
                ));
                planned.push(plain(Method::Ping));
            }
            method => {
                return Err(Fault::Usage {
                    message: format!("{} has no `{}`", peer.era.revision().as_str(), method.as_str()),
                    help: "`--era` chooses another one".to_owned(),
                });
            }
        }
    }
    Ok(planned)
}

/// Which tools are called, each with its arguments.
fn tools(
    options: &Options,
    peer: &Peer,
    patience: Patience<'_>,
    named: &[String],
    notes: &mut Vec<String>,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Vec<(String, String)>, Fault> {
    if options.size > ARGUMENT_BYTES_MAX {
        return Err(Fault::Usage {
            message: format!("arguments of {} bytes are more than {ARGUMENT_BYTES_MAX}", options.size),
            help: "`--size` is the padding of each call".to_owned(),
        });
    }
    let arguments = |tool: Option<&Tool>| {
        let given = options.arguments.clone();
        let made = given.unwrap_or_else(|| match tool {
            Some(tool) => arguments::for_schema(&tool.schema),
            // Not in the list: to be denied, perhaps.
            None => r#"{"text":"call {{seq}}"}"#.to_owned(),
        });
        arguments::padded(&made, options.size)
    };
    let found = |tools: &[Tool]| match named.is_empty() {
        true => tools.iter().filter(|tool| tool.read_only).count() >= TOOLS_DISCOVERED_MAX,
        false => named.iter().all(|name| tools.iter().any(|tool| tool.name == *name)),
    };
    let listed = match peer.tools(&options.target, patience, found) {
        // Named tools with given arguments can be called without a list.
        Err(fault) if fault != Unreached::Interrupted && !named.is_empty() && options.arguments.is_some() => {
            return Ok(named.iter().map(|name| (name.clone(), arguments(None))).collect());
        }
        listed => listed.map_err(Fault::Unreached)?,
    };
    if !named.is_empty() {
        let tool = |name: &String| listed.iter().find(|tool| tool.name == *name);
        for name in named.iter().filter(|name| tool(name).is_none()) {
            tell(Told::Unlisted { name, listed: &listed });
        }
        return Ok(named.iter().map(|name| (name.clone(), arguments(tool(name)))).collect());
    }
    let read_only = listed.iter().filter(|tool| tool.read_only).take(TOOLS_DISCOVERED_MAX);
    let chosen: Vec<(String, String)> =
        read_only.map(|tool| (tool.name.clone(), arguments(Some(tool)))).collect();
    if chosen.is_empty() {
        if listed.is_empty() {
            return Err(Fault::Usage {
                message: "the target lists no tools to this caller".to_owned(),
                help: "does the credential sent see any? `--mix tools/list=1` loads it without calls"
                    .to_owned(),
            });
        }
        return Err(Fault::Usage {
            message: format!(
                "none of the {} tools listed is annotated `readOnlyHint: true`, and no other is called unasked",
                listed.len()
            ),
            help: "`--tool NAME` calls a tool that you know to be harmless".to_owned(),
        });
    }
    match options.arguments {
        Some(_) => Ok(chosen),
        None => without_misfits(options, peer, patience, chosen, notes),
    }
}

/// A schema does not say everything: tools that cannot do with made-up arguments are left out, by name.
fn without_misfits(
    options: &Options,
    peer: &Peer,
    patience: Patience<'_>,
    chosen: Vec<(String, String)>,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, String)>, Fault> {
    // One time for all: the number in the arguments is only a number here.
    let calls: Vec<Call<'_>> = chosen
        .iter()
        .map(|(name, arguments)| Call {
            method: Method::ToolsCall,
            name: Some(name),
            arguments,
            progress: false,
        })
        .collect();
    let fit = peer.try_out(&options.target, patience, &calls).map_err(Fault::Unreached)?;
    if !fit.contains(&true) {
        return Ok(chosen);
    }
    let (kept, left): (Vec<_>, Vec<_>) = chosen.into_iter().zip(fit).partition(|(_, fits)| *fits);
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|((name, _), _)| name.as_str()).collect();
        notes.push(format!(
            "left out, since made-up arguments fail there: {}; `--tool` and `--args` call one properly",
            names.join(", ")
        ));
    }
    Ok(kept.into_iter().map(|(tool, _)| tool).collect())
}

/// Keeps this thread on these cores; on any when there are none.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores {
        if *core >= CpuSet::MAX_CPU {
            return Err(io::Error::other(format!("there is no core {core}")));
        }
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}
