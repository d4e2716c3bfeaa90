//! `strait load URL`: what was typed becomes a plan; the report goes to stdout, the verdict into the exit
//! code. Secrets come from the environment or a flag and are printed nowhere.

mod agent;
mod compare;
mod live;
mod progress;
mod search;
pub mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strait_config_compiler::walk::suggest;
use strait_control::{Code, Failure};
use strait_loadgen::load::formats;
use strait_loadgen::load::interval::IntervalFiles;
use strait_loadgen::load::mix::Mix;
use strait_loadgen::load::plan::{Arrivals, Length, Loop, Portion};
use strait_loadgen::load::rates::{self, Rates, STEPS_MAX};
use strait_loadgen::load::report::{Report, Verdict};
use strait_loadgen::load::think::Think;
use strait_loadgen::load::threshold::Threshold;
use strait_loadgen::load::{self, Cancel, Fault, Options, Told};
use strait_loadgen::proof::environment::Look;
use strait_loadgen::target::{EraChoice, Secret, Target, TargetFault, TlsFiles, Tool, Unreached};
use strait_loadgen::words;

use super::typed;
use crate::output::{Output, print};
use agent::{AgentArguments, Token};
use compare::Compare;
use progress::{Progress, live};
use search::Search;
use values::{duration, padding, timeout, warmup};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Load {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    once: Option<Once>,
}

#[derive(clap::Subcommand)]
enum Other {
    /// Find the highest rate that meets the demands, by one run after the other.
    Search(Box<Search>),
    /// Wait for a run that several machines drive together (`--agents`), and drive its portion.
    Agent(AgentArguments),
    /// Tell what differs between two results of `--json` by more than their noise.
    Compare(Compare),
}

#[derive(clap::Args)]
struct Once {
    /// The MCP endpoint, as http://host:port/path or https://….
    #[arg(value_name = "URL")]
    url: String,
    /// Requests per second of an open loop.
    #[arg(long, value_name = "N", value_parser = words::rate, conflicts_with = "closed")]
    rate: Option<f64>,
    /// Requests per second from one rate to another, in a straight line over the measured part.
    #[arg(long, value_name = "FROM..TO", value_parser = rates::ramp, conflicts_with_all = ["closed", "rate", "requests"])]
    ramp: Option<(f64, f64)>,
    /// Rates one after the other, each for the same part of the measured time.
    #[arg(long, value_name = "N,…", value_parser = words::rate, value_delimiter = ',',
          conflicts_with_all = ["closed", "rate", "ramp", "requests"])]
    steps: Vec<f64>,
    /// A file of times at which requests are due: one a line, in seconds.
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["closed", "rate", "ramp", "steps", "requests", "duration", "arrivals"])]
    trace: Option<PathBuf>,
    /// How requests arrive in an open loop.
    #[arg(long, value_enum, value_name = "ARRIVALS", default_value = "constant", conflicts_with = "closed")]
    arrivals: ArrivalsChoice,
    /// A closed loop: each connection sends when it has its answer. Its percentiles are not comparable.
    #[arg(long)]
    closed: bool,
    /// Connections; in an open loop the most that are busy at once.
    #[arg(short, long, value_name = "N", default_value_t = load::CONNECTIONS as u32,
          value_parser = clap::value_parser!(u32).range(1..=load::CONNECTIONS_MAX as i64))]
    connections: u32,
    /// Measured requests, warm-up not counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "duration")]
    requests: Option<u64>,
    /// Length of the measured part, such as 10s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<u64>,
    /// Requests, or a time, before measuring begins; `steady` waits for latencies that change no more, for 30s or for `steady:TIME`.
    #[arg(long, value_name = "N|TIME|steady", default_value = "0", value_parser = warmup)]
    warmup: Length,
    /// What a user does between an answer and the next call of a closed loop: TIME, exp:MEAN or uniform:FROM,TO.
    #[arg(long, value_name = "TIME", value_parser = Think::parse, requires = "closed")]
    think: Option<Think>,
    /// Give up a share of the calls after a time, such as 5%:20ms.
    #[arg(long, value_name = "SHARE:TIME", value_parser = Cancel::parse)]
    cancel: Option<Cancel>,
    /// A call without an answer for so long has failed; up to 60s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: u64,
    /// Which era of MCP to speak; auto asks.
    #[arg(long, value_enum, value_name = "ERA", default_value = "auto")]
    era: EraWord,
    /// Weighted methods, such as tools/call=8,tools/list=1,ping=1.
    #[arg(long, value_name = "METHOD=WEIGHT,…", value_parser = Mix::parse)]
    mix: Option<Mix>,
    /// A tool to call; may be repeated. Without it, tools annotated read-only are.
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// Arguments of every call, as JSON; {{seq}} becomes a number of its own in each.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Bytes of padding in the arguments.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = padding)]
    size: usize,
    /// Ask for progress events.
    #[arg(long)]
    progress: bool,
    /// A header of every request, as NAME: VALUE; may be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The environment variable that holds a bearer token.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    bearer_env: Option<String>,
    /// A bearer token; one in the environment is not seen by `ps`.
    #[arg(long, value_name = "TOKEN")]
    key: Option<String>,
    /// PEM file of whom to trust, of an https target; default: whom this machine trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of a certificate to show an https target.
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// A demand on the result, such as p99<500us, errors==0, rate>=1900; may be repeated.
    #[arg(long = "assert", value_name = "FIGURE<LIMIT", value_parser = Threshold::parse)]
    thresholds: Vec<Threshold>,
    /// End the run with the first demand that can no longer be met, with exit code 1.
    #[arg(long)]
    abort_on_fail: bool,
    /// Write an HdrHistogram interval log (V2, one second a line) to a file.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write the percentile distribution of latencies, in milliseconds, as HdrHistogram's tools do.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write a line for every second.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the demands as JUnit test cases.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the figures as Prometheus text.
    #[arg(long, value_name = "FILE")]
    prom: Option<PathBuf>,
    /// Write a page with figures: one file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// No picture on a terminal while the run goes on: a line.
    #[arg(long)]
    no_live: bool,
    /// What the generator does until the next request is due.
    #[arg(long, value_enum, value_name = "IDLE", default_value = "hybrid")]
    idle: IdleWord,
    /// Cores to run on, such as 0 or 2,3.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Drive the load from these machines, where `strait load agent` waits; each sends its portion of the plan.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    agents: Vec<String>,
    // Not flattened: clap would not know any more whether a run was asked for.
    /// A file with the token that leader and agents share.
    #[arg(long, value_name = "FILE", conflicts_with = "agent_token_env", requires = "agents")]
    agent_token_file: Option<PathBuf>,
    /// The environment variable that holds it.
    #[arg(long, value_name = "NAME", requires = "agents")]
    agent_token_env: Option<String>,
    /// Where random arrivals and choices begin.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Load a target that is not this machine with a closed loop, or more than 1,000 requests per second.
    #[arg(long)]
    i_own_this: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ArrivalsChoice {
    Constant,
    Poisson,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum EraWord {
    Auto,
    /// 2026-07-28.
    Modern,
    /// 2025-11-25 and before, with a session.
    Legacy,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum IdleWord {
    /// Never sleep.
    Spin,
    /// Sleep until shortly before, then spin.
    Hybrid,
    Sleep,
}

const RATE: f64 = 100.0;
const DURATION_NS: u64 = 10_000_000_000;

impl Load {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match (self.other, self.once) {
            (Some(Other::Search(search)), _) => search.run(output),
            (Some(Other::Agent(agent)), _) => agent.run(output),
            (Some(Other::Compare(files)), _) => files.run(output),
            (None, Some(once)) => once.run(output),
            (None, None) => Err(Failure::new(Code::Usage, "no URL: what is to be loaded?")),
        }
    }
}

impl Once {
    fn pin(&self) -> Result<(), Failure> {
        load::pin(&self.cores).map_err(|error| {
            Failure::new(Code::Unfit, format!("cannot run on cores {:?}: {error}", self.cores))
        })
    }

    /// What was said that makes sense for a single run only.
    fn of_one_run(&self) -> Option<&'static str> {
        let said = [
            ("--closed", self.closed),
            ("--rate", self.rate.is_some()),
            ("--ramp", self.ramp.is_some()),
            ("--steps", !self.steps.is_empty()),
            ("--trace", self.trace.is_some()),
            ("--requests", self.requests.is_some()),
            ("--hlog", self.hlog.is_some()),
            ("--hgrm", self.hgrm.is_some()),
            ("--csv", self.csv.is_some()),
            ("--junit", self.junit.is_some()),
            ("--prom", self.prom.is_some()),
            ("--html", self.html.is_some()),
            ("--agents", !self.agents.is_empty()),
        ];
        said.into_iter().find_map(|(flag, is_said)| is_said.then_some(flag))
    }

    /// What was said that makes sense only for the machine that sends.
    fn of_one_machine(&self) -> Option<&'static str> {
        let said = [
            ("--cores", !self.cores.is_empty()),
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
        ];
        said.into_iter().find_map(|(flag, is_said)| is_said.then_some(flag))
    }

    fn run(self, output: &Output) -> Result<(), Failure> {
        let first_run = self.rate.is_none()
            && self.ramp.is_none()
            && self.steps.is_empty()
            && self.trace.is_none()
            && !self.closed
            && self.requests.is_none()
            && self.duration.is_none();
        let forms = [
            (self.hgrm.clone(), (|report| formats::hgrm(&report.record.latency)) as fn(&Report) -> String),
            (self.junit.clone(), formats::junit),
            (self.prom.clone(), formats::prometheus),
        ];
        let html = self.html.clone();
        let no_live = self.no_live;
        let token = Token {
            agent_token_file: self.agent_token_file.clone(),
            agent_token_env: self.agent_token_env.clone(),
        };
        let agents = agent::asked(&self.agents, &token, self.of_one_machine())?;
        self.pin()?;
        let options = self.options()?;
        let stop = stopped_by_signals()?;
        let mut progress = Progress::new(output);
        let live = live(output, no_live, &options, &stop);
        let mut warnings = Vec::new();
        let mut tell = |told: Told<'_>| match (told, &live) {
            (Told::Glance(glance), Some(live)) => live.show(glance),
            (Told::Glance(glance), None) => progress.show(glance),
            (Told::Unlisted { name, listed }, live) => {
                let warning = words::printable(&unlisted(name, listed));
                match live {
                    // Said when the terminal shows lines again.
                    Some(_) => warnings.push(warning),
                    None => eprintln!("{warning}"),
                }
            }
        };
        let before = html.as_ref().map(|_| Look::now());
        let outcome = match &agents {
            None => load::run(&options, &stop, &mut tell).map_err(|fault| failure(&options.target, fault)),
            Some(agents) => agent::lead(&options, agents, &stop, &mut tell),
        };
        match live {
            Some(live) => live.end(),
            None => progress.clear(),
        }
        warnings.iter().for_each(|warning| eprintln!("{warning}"));
        let report = outcome?;
        if let (Some(path), Some(before)) = (&html, before) {
            let environment = before.until(&Look::now(), &[], &[]);
            write(path, &report.to_html(&environment, typed::command()))?;
        }
        for (path, form) in forms.iter().filter_map(|(path, form)| Some((path.as_ref()?, form))) {
            write(path, &form(&report))?;
        }
        match output.json {
            true => print(&format!("{:#}\n", report.to_json())),
            false => {
                print(&report.text());
                if first_run && report.verdict() == Verdict::Passed {
                    print(&hints(&options.target.url));
                }
            }
        }
        ended(report.verdict())
    }

    fn options(self) -> Result<Options, Failure> {
        let files = TlsFiles { ca: self.ca, pair: self.cert.zip(self.cert_key) };
        let mut target = Target::parse_with(&self.url, Some(&files)).map_err(target_failure)?;
        for header in &self.header {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Failure::new(Code::Usage, "a `--header` has no colon: expected `NAME: VALUE`"));
            };
            target.header(name, Secret::new(value.trim())).map_err(target_failure)?;
        }
        if let Some(name) = &self.bearer_env {
            let token = std::env::var(name).ok().filter(|token| !token.is_empty());
            let token = token.ok_or_else(|| {
                Failure::new(Code::Usage, format!("the environment variable `{name}` holds no token"))
            })?;
            target.bearer(&token).map_err(target_failure)?;
        }
        if let Some(key) = &self.key {
            target.bearer(key).map_err(target_failure)?;
        }
        let arrivals = match self.arrivals {
            ArrivalsChoice::Constant => Arrivals::Constant,
            ArrivalsChoice::Poisson => Arrivals::Poisson,
        };
        if self.steps.len() > STEPS_MAX {
            let why = format!("{} steps: a run has {STEPS_MAX} at most", self.steps.len());
            return Err(Failure::new(Code::Usage, why));
        }
        let over_ns = self.duration.unwrap_or(DURATION_NS);
        let trace = self.trace.as_deref().map(read_trace).transpose()?;
        let length = match (&trace, self.requests) {
            (Some(times), _) => Length::Requests(times.len() as u64),
            (None, Some(requests)) => Length::Requests(requests),
            (None, None) => Length::Time { ns: over_ns },
        };
        let rates = match (trace, self.ramp) {
            (Some(times), _) => Rates::Trace(times),
            (None, Some((from, to))) => Rates::Ramp { from, to, over_ns },
            (None, None) if !self.steps.is_empty() => {
                let each_ns = over_ns / self.steps.len() as u64;
                Rates::Steps { rates: self.steps.into(), each_ns }
            }
            (None, None) => Rates::Constant(self.rate.unwrap_or(RATE)),
        };
        let kind = match self.closed {
            true => Loop::Closed,
            false => Loop::Open { rates, arrivals },
        };
        Ok(Options {
            target,
            era: match self.era {
                EraWord::Auto => EraChoice::Auto,
                EraWord::Modern => EraChoice::Modern,
                EraWord::Legacy => EraChoice::Legacy,
            },
            kind,
            warmup: self.warmup,
            length,
            connections: self.connections as usize,
            timeout_ns: self.timeout,
            idle: match self.idle {
                IdleWord::Spin => load::Idle::Spin,
                IdleWord::Hybrid => load::Idle::Hybrid,
                IdleWord::Sleep => load::Idle::Sleep,
            },
            seed: self.seed,
            mix: self.mix.unwrap_or_default(),
            tools: self.tool,
            arguments: self.args,
            size: self.size,
            progress: self.progress,
            thresholds: self.thresholds,
            abort: self.abort_on_fail,
            think: self.think,
            cancel: self.cancel,
            files: IntervalFiles { hlog: self.hlog, csv: self.csv },
            portion: Portion::WHOLE,
            i_own_this: self.i_own_this,
        })
    }
}

/// True once Ctrl-C was pressed, or the process was asked to end.
pub fn stopped_by_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::bug(format!("cannot watch for signals: {error}")))?;
    }
    Ok(stop)
}

fn read_trace(path: &Path) -> Result<Arc<[u64]>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Code::Usage, format!("cannot read `{}`: {error}", path.display())))?;
    rates::trace(&text).map_err(|why| {
        Failure::new(Code::Usage, format!("`{}` is no trace: {why}", path.display()))
            .help("one time a line, in seconds, in order: `0`, `0.25`, `0.25`, `1.5`")
    })
}

pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", path.display())))
}

/// The report has said it all: the exit code alone is added.
fn ended(verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Passed => Ok(()),
        Verdict::Failed => Err(Failure::silent(Code::Failed)),
        Verdict::Inconclusive => Err(Failure::silent(Code::Unfit)),
        Verdict::Interrupted => Err(Failure::silent(Code::Interrupted)),
    }
}

/// It is called all the same: what happens to a caller who may not is worth a test, too.
fn unlisted(name: &str, listed: &[Tool]) -> String {
    let mut names: Vec<&str> = listed.iter().map(|tool| tool.name.as_str()).collect();
    let meant = match suggest::nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            names.sort_unstable();
            format!("it lists {}", suggest::listed(&names))
        }
    };
    format!(
        "warning: the target lists no tool `{name}` to this caller, and every call of it may fail; {meant}"
    )
}

fn hints(url: &str) -> String {
    format!(
        "\nto try next:\n  strait load {url} --rate 1000 --duration 30s --warmup 2s --assert 'p99<5ms'\n  \
         strait load {url} --closed -c 16 --requests 20000      (throughput; percentiles not comparable)\n  \
         strait load {url} --mix tools/call=8,tools/list=1,ping=1 --json\n"
    )
}

pub fn target_failure(fault: TargetFault) -> Failure {
    match fault {
        TargetFault::Usage(message) => Failure::new(Code::Usage, message),
        TargetFault::Name(message) => Failure::new(Code::Unreachable, message),
    }
}

/// A target that cannot be talked to, with the layer at fault and what to look at.
pub fn unreached(target: &Target, fault: &Unreached) -> Failure {
    let message = words::printable(&format!("`{}` at layer {}: {fault}", target.url, fault.layer()));
    match fault {
        Unreached::NotAuthorised(_) => Failure::new(Code::NotAuthorised, message)
            .help("`--bearer-env NAME` or `--key TOKEN` sends a token, `--header` any other credential"),
        Unreached::Connect(_) => {
            Failure::new(Code::Unreachable, message).help("is the server running there?")
        }
        Unreached::Status(404, _) => {
            Failure::new(Code::Unreachable, message).help("is the path of the URL the server's MCP endpoint?")
        }
        Unreached::Interrupted => Failure::new(
            Code::Interrupted,
            format!("interrupted before the first request to `{}`: nothing was measured", target.url),
        ),
        _ => Failure::new(Code::Unreachable, message),
    }
}

fn failure(target: &Target, fault: Fault) -> Failure {
    match fault {
        Fault::Usage { message, help } => Failure::new(Code::Usage, words::printable(&message)).help(help),
        Fault::Unreached(unreached_by) => unreached(target, &unreached_by),
        Fault::Machine(error) => {
            Failure::new(Code::Unfit, format!("this machine cannot run the load: {error}"))
        }
    }
}
