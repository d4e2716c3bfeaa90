//! A proof from start to end: greet, run the schedule, read the gateway's processor time, look around.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::bundle::Subject;
use super::cpu::{Account, Cpu};
use super::environment::{Environment, Look};
use super::estimates;
use super::floor::{Floor, Habits, provable_limits};
use super::limit::{Limit, Percentile};
use super::meet::{Ask, Met, Unmet};
use super::metrics;
use super::residence::Residence;
use super::result::{Context, Proof, Purpose, made_by};
use super::run::{Arms, Ended, run};
use super::samples::{Fault, Samples};
use super::schedule::{Arm, Interleave, Schedule};
use super::self_test::{self, Relay};
use super::wire::{End, Sockets};
use crate::echo;
use crate::target::{EraChoice, Secret, Target, TargetFault};

/// What is to be proved, and how.
#[derive(Clone, Debug)]
pub struct Order {
    pub limits: Vec<Limit>,
    pub slots: usize,
    pub seed: u64,
    pub interleave: Interleave,
    pub busy_poll: bool,
    /// Whether the kernel is asked for its own time stamps.
    pub stamps: bool,
    pub account: Option<Account>,
    /// The gateway's metrics, for its residence time.
    pub metrics: Option<Target>,
    pub residence_limits: Vec<Limit>,
    /// Processes of the server, to see whether it shares cores.
    pub server_pids: Vec<u32>,
    /// What ran, by hash.
    pub subjects: Vec<Subject>,
    /// What is told of io_uring on this host.
    pub rings: Option<String>,
    /// The command line that asked, without credentials.
    pub command: String,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Unproved {
    Unmet(Unmet),
    /// An arm stopped answering after so many slots.
    Broken {
        fault: Fault,
        url: String,
        after: usize,
    },
    /// The gateway's processor time cannot be read.
    Account(String),
    /// The self-test's own server or relay did not start.
    Machine(std::io::Error),
}

/// Requests of the part that is accounted: enough for a tenth of a microsecond on a quiet gateway.
const ACCOUNTED_MIN: u64 = 500;
const ACCOUNTED_MAX: u64 = 5_000;
/// Enough for a p99, and no more than a few seconds of them.
const FLOOR_SLOTS_MAX: usize = 10_100;
const FLOOR_TIME_MAX: Duration = Duration::from_secs(4);
/// How long the gateway is watched doing nothing.
const IDLE: Duration = Duration::from_millis(700);

/// Measures a gateway; `stop` ends it, with what was measured until then.
pub fn prove(ask: &Ask, order: &Order, stop: &AtomicBool) -> Result<(Context, Samples), Unproved> {
    // Before anything is sent: an account that cannot be read is found out now, not after the run.
    if let Some(account) = &order.account {
        account.read().map_err(Unproved::Account)?;
    }
    let Met { ends, call } = ask.meet(stop).map_err(Unproved::Unmet)?;
    let mut sockets = order.sockets(ends, ask);
    let floor = floor_first(&mut sockets, ask, order, stop)?;
    let residence = || match &order.metrics {
        Some(target) => metrics::page(target).map(|page| Residence::parse(&page)).map_err(Unproved::Account),
        None => Ok(None),
    };
    let mut stayed_before = Ok(None);
    let mut is_first = true;
    let goes_on = || {
        if std::mem::take(&mut is_first) {
            // Behind the warm-up, before the first slot.
            stayed_before = residence();
        }
        is_wanted(stop)
    };
    let (samples, environment) = measure(&mut sockets, ask, order, goes_on)?;
    let residence = stayed_before?.zip(residence()?).and_then(|(before, after)| before.until(&after));
    let was_interrupted = samples.slots.len() < order.slots;
    let cpu = match order.account.as_ref().filter(|_| !was_interrupted) {
        Some(account) => Some(spent(account, &mut sockets, order, ask)?),
        None => None,
    };
    let context = context(ask, order, &sockets, environment);
    Ok((Context { purpose: Purpose::Prove, cpu, call, floor, residence, ..context }, samples))
}

/// Measures this tool: a known delay in one of three arms that are equal otherwise. Client, relay and
/// server share one core: they take turns anyway, and nobody's wake-up from an idle core is then longer
/// after 200 us than after 50.
pub fn self_test(order: &Order, stop: &AtomicBool) -> Result<(Context, Samples), Unproved> {
    let on_one_core = || {
        // Threads begin on the cores of the thread that starts them. Refused, the test runs anywhere.
        let mut core = CpuSet::new();
        core.set(sched_getcpu());
        let _ = sched_setaffinity(None, &core);
        find_delay(order, stop)
    };
    std::thread::scope(|scope| {
        let ended = scope.spawn(on_one_core).join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn find_delay(order: &Order, stop: &AtomicBool) -> Result<(Context, Samples), Unproved> {
    let echo = start_echo()?;
    let relay = Relay::start(echo.address()).map_err(Unproved::Machine)?;
    let url = format!("http://{}/mcp", relay.address);
    let held = |hold: Duration| {
        let mut target = Target::parse(&url).map_err(nothing)?;
        let value = format!("{:03}", hold.as_micros());
        target.header(self_test::HEADER, Secret::new(value)).map_err(nothing)?;
        Ok(target)
    };
    let ask = own(held(self_test::HOLD)?, held(self_test::HOLD + self_test::INSERTED)?);
    let Met { ends, call } = ask.meet(stop).map_err(Unproved::Unmet)?;
    let mut sockets = order.sockets(ends, &ask);
    let rested = || {
        std::thread::sleep(self_test::REST);
        is_wanted(stop)
    };
    let (samples, environment) = measure(&mut sockets, &ask, order, rested)?;
    let context = context(&ask, order, &sockets, environment);
    drop(sockets);
    let inserted_ns = u64::try_from(self_test::INSERTED.as_nanos()).unwrap_or(u64::MAX);
    let purpose = Purpose::SelfTest { inserted_ns, clocked_ns: relay.stop() };
    Ok((Context { purpose, call, ..context }, samples))
}

/// Measures this host: three direct arms, and nothing to be proved.
pub fn floor(order: &Order, stop: &AtomicBool) -> Result<Floor, Unproved> {
    let habits = Habits::watch();
    let echo = start_echo()?;
    let target = Target::parse(&echo.url()).map_err(nothing)?;
    let ask = own(target.clone(), target);
    let Met { ends, call } = ask.meet(stop).map_err(Unproved::Unmet)?;
    let mut sockets = order.sockets(ends, &ask);
    let (samples, environment) = measure(&mut sockets, &ask, order, || is_wanted(stop))?;
    let context = Context { call, ..context(&ask, order, &sockets, environment) };
    Ok(Floor::of(Proof::of(context, &samples), habits))
}

fn is_wanted(stop: &AtomicBool) -> bool {
    !stop.load(Ordering::Relaxed)
}

fn start_echo() -> Result<echo::Running, Unproved> {
    echo::Running::start(echo::Options::new(([127, 0, 0, 1], 0).into())).map_err(Unproved::Machine)
}

fn nothing(fault: TargetFault) -> Unproved {
    Unproved::Unmet(Unmet::Nothing(fault.to_string()))
}

/// What is asked of ends of our own.
fn own(direct: Target, through: Target) -> Ask {
    Ask {
        direct,
        through,
        policy: None,
        rival: None,
        era: EraChoice::Modern,
        tool: None,
        through_tool: None,
        arguments: None,
        size: 0,
        timeout: Duration::from_secs(5),
    }
}

fn measure(
    sockets: &mut Sockets,
    ask: &Ask,
    order: &Order,
    mut goes_on: impl FnMut() -> bool,
) -> Result<(Samples, Environment), Unproved> {
    let arms: Vec<Arm> = ask.arms().collect();
    let schedule = Schedule::new(order.slots, order.seed, &arms, order.interleave);
    let before = Look::now();
    let samples = match run(sockets, &schedule, |_| goes_on()) {
        Ok(samples) | Err(Ended::Interrupted(samples)) => samples,
        Err(Ended::Broken { fault, after }) => {
            let url = ask.target(fault.arm).url.clone();
            return Err(Unproved::Broken { fault, url, after });
        }
    };
    let pids = order.account.as_ref().map_or(&[][..], Account::pids);
    let environment = before.until(&Look::now(), pids, &order.server_pids);
    Ok((samples, Environment { rings: order.rings.clone(), ..environment }))
}

/// What this host could prove against this server, found out in a few seconds with the two direct arms alone:
/// told before anything is told of the gateway.
fn floor_first(
    sockets: &mut Sockets,
    ask: &Ask,
    order: &Order,
    stop: &AtomicBool,
) -> Result<Vec<(Percentile, i64)>, Unproved> {
    let slots = order.slots.min(FLOOR_SLOTS_MAX);
    let alone = [Arm::Direct, Arm::Again];
    let schedule = Schedule::new(slots, !order.seed, &alone, Interleave::Slot);
    let (before, began) = (Look::now(), Instant::now());
    let samples = match run(sockets, &schedule, |_| is_wanted(stop) && began.elapsed() < FLOOR_TIME_MAX) {
        Ok(samples) | Err(Ended::Interrupted(samples)) => samples,
        Err(Ended::Broken { fault, .. }) => {
            let url = ask.target(fault.arm).url.clone();
            return Err(Unproved::Broken { fault, url, after: 0 });
        }
    };
    let environment = before.until(&Look::now(), &[], &[]);
    let method = Purpose::Prove.method(order.seed);
    let rows = estimates::rows(&samples.whole(), &alone, &order.limits, method);
    Ok(provable_limits(&rows, samples.slots.len(), &environment))
}

/// The gateway's processor time: first left alone, then asked by one arm only.
fn spent(account: &Account, sockets: &mut Sockets, order: &Order, ask: &Ask) -> Result<Cpu, Unproved> {
    let read = || account.read().map_err(Unproved::Account);
    let requests = (order.slots as u64 / 4).clamp(ACCOUNTED_MIN, ACCOUNTED_MAX);
    let (resting, rest) = (read()?, Instant::now());
    std::thread::sleep(IDLE);
    let (rested, rest) = (read()?, rest.elapsed());
    let mut arms = Arms::new(sockets);
    let broken = |fault| Unproved::Broken { fault, url: ask.through.url.clone(), after: order.slots };
    arms.warm(Arm::Through, ACCOUNTED_MIN / 10).map_err(broken)?;
    let (before, start) = (read()?, Instant::now());
    arms.send(Arm::Through, requests).map_err(broken)?;
    let (after, wall) = (read()?, start.elapsed());
    let incomparable = || Unproved::Account(format!("the account of {} went backwards", account.name()));
    let busy = before.until(&after).ok_or_else(incomparable)?;
    let idle = resting.until(&rested).ok_or_else(incomparable)?;
    Ok(Cpu {
        account: account.name(),
        requests,
        us_per_request: busy.as_secs_f64() * 1e6 / requests as f64,
        idle_us_per_second: idle.as_secs_f64() * 1e6 / rest.as_secs_f64(),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    })
}

impl Order {
    fn sockets(&self, ends: Vec<(Arm, End)>, ask: &Ask) -> Sockets {
        let stamps = if self.stamps { Ok(()) } else { Err("nobody asked for them".to_owned()) };
        Sockets::new(ends, ask.timeout, self.busy_poll, stamps)
    }
}

fn context(ask: &Ask, order: &Order, sockets: &Sockets, environment: Environment) -> Context {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Context {
        purpose: Purpose::Prove,
        direct: ask.direct.url.clone(),
        through: ask.through.url.clone(),
        policy: ask.policy.as_ref().map(|target| target.url.clone()),
        rival: ask.rival.as_ref().map(|target| target.url.clone()),
        interleave: order.interleave,
        call: String::new(),
        seed: order.seed,
        slots: order.slots,
        blocks: Schedule::new(order.slots, order.seed, &[], order.interleave).blocks(),
        limits: order.limits.clone(),
        cpu: None,
        busy_poll: order.busy_poll,
        kernel_stamps: sockets.stamps().is_ok(),
        unstamped: sockets.stamps().err(),
        residence: None,
        residence_limits: order.residence_limits.clone(),
        floor: Vec::new(),
        subjects: order.subjects.clone(),
        made_by: made_by(),
        environment,
        started_unix_s: since_1970.as_secs(),
        command: order.command.clone(),
    }
}
