//! `strait load agent` and `--agents`: one load, driven by several machines. The token that they share comes from a file or the environment, never from an
//! argument, which everybody on a machine may read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::json;
use strait_control::{Code, Failure};
use strait_loadgen::agents::channel::ChannelFault;
use strait_loadgen::agents::{
    Agent, AgentOptions, Agents, LeadFault, RefusalKind, TOKEN_BYTES_MIN, lead as lead_agents,
};
use strait_loadgen::load::report::Report;
use strait_loadgen::load::{self, Options, Told};
use strait_loadgen::target::{Secret, TlsFiles};
use strait_loadgen::words;

use super::{failure, stopped_by_signals};
use crate::output::Output;
use crate::verb::echo::address;

#[derive(clap::Args)]
pub struct AgentArguments {
    /// Where to listen for a leader; port 0 takes a free one. Anything but loopback takes a token.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    bind: String,
    #[command(flatten)]
    token: Token,
    /// Let a leader who says so load targets that are not this machine with a closed loop, or more than 1,000 requests per second.
    #[arg(long)]
    i_own_this: bool,
    /// PEM file of whom to trust, of an https target; default: whom this machine trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of a certificate to show an https target.
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// Cores to run on, such as 0 or 2,3.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    cores: Vec<usize>,
}

/// Where the token is.
#[derive(clap::Args)]
pub struct Token {
    /// A file with the token that leader and agents share.
    #[arg(long, value_name = "FILE", conflicts_with = "agent_token_env")]
    pub agent_token_file: Option<PathBuf>,
    /// The environment variable that holds it.
    #[arg(long, value_name = "NAME")]
    pub agent_token_env: Option<String>,
}

const MAKE: &str = "`head -c 32 /dev/urandom | base64 > agent.token` makes one";
/// A longer file is something else.
const TOKEN_BYTES_MAX: u64 = 4_096;

impl Token {
    fn read(&self) -> Result<Option<Secret>, Failure> {
        let token = match (&self.agent_token_file, &self.agent_token_env) {
            (Some(path), _) => read(path)?,
            (None, Some(name)) => std::env::var(name).map_err(|_| {
                Failure::new(Code::Usage, format!("the environment variable `{name}` holds no token"))
            })?,
            (None, None) => return Ok(None),
        };
        match token.trim() {
            token if token.len() >= TOKEN_BYTES_MIN => Ok(Some(Secret::new(token))),
            _ => Err(Failure::new(
                Code::Usage,
                format!("the agents' token is shorter than {TOKEN_BYTES_MIN} characters"),
            )
            .help(MAKE)),
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let unfit = |why: String| {
        Failure::new(Code::Usage, format!("cannot read a token from `{}`: {why}", path.display())).help(MAKE)
    };
    let length = std::fs::metadata(path).map_err(|error| unfit(error.to_string()))?.len();
    if length > TOKEN_BYTES_MAX {
        return Err(unfit(format!("{length} bytes, and a token has {TOKEN_BYTES_MAX} at most")));
    }
    std::fs::read_to_string(path).map_err(|error| unfit(error.to_string()))
}

impl AgentArguments {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let bind = address(&self.bind)?;
        let token = self.token.read()?;
        without_token(&self.bind, bind, token.as_ref())?;
        load::pin(&self.cores).map_err(|error| {
            Failure::new(Code::Unfit, format!("cannot run on cores {:?}: {error}", self.cores))
        })?;
        let tls = TlsFiles { ca: self.ca, pair: self.cert.zip(self.cert_key) };
        let options = AgentOptions { bind, token, i_own_this: self.i_own_this, tls };
        let stop = stopped_by_signals()?;
        let agent = Agent::bind(options, Box::new(|line| eprintln!("{line}"))).map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::AddrInUse => Code::Conflict,
                _ => Code::Unfit,
            };
            Failure::new(code, format!("cannot listen on {bind}: {error}"))
                .help("`--bind 127.0.0.1:0` takes a free port")
        })?;
        let unfit = |error| Failure::new(Code::Unfit, format!("the agent stopped: {error}"));
        let listening = agent.address().map_err(unfit)?.to_string();
        output.facts(&json!({ "address": listening }), || format!("{listening}\n"));
        agent.run(&stop).map_err(unfit)
    }
}

/// Whoever can reach a port can ask an agent for load.
fn without_token(named: &str, at: SocketAddr, token: Option<&Secret>) -> Result<(), Failure> {
    match at.ip().is_loopback() || token.is_some() {
        true => Ok(()),
        false => Err(Failure::new(
            Code::Usage,
            format!("`{named}` is not this machine alone: leader and agents have to share a token there"),
        )
        .help(format!("`--agent-token-file FILE` or `--agent-token-env NAME`; {MAKE}"))),
    }
}

/// The agents of a run, if any. `of_one`: an option that is theirs.
pub fn asked(
    addresses: &[String],
    token: &Token,
    of_one: Option<&'static str>,
) -> Result<Option<Agents>, Failure> {
    if addresses.is_empty() {
        return Ok(None);
    }
    if let Some(flag) = of_one {
        return Err(Failure::new(Code::Usage, format!("`{flag}` is of the machine that sends"))
            .help(format!("say it there: `strait load agent {flag} …`")));
    }
    let token = token.read()?;
    for named in addresses {
        without_token(named, address(named)?, token.as_ref())?;
    }
    Ok(Some(Agents { addresses: addresses.to_vec(), token }))
}

/// Leads the agents through a run.
pub fn lead(
    options: &Options,
    agents: &Agents,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Report, Failure> {
    lead_agents(options, agents, stop, tell).map_err(|fault| match fault {
        LeadFault::Plan(fault) => failure(&options.target, fault),
        LeadFault::Unreached { agent, fault } => unreached(&agent, &fault),
        LeadFault::Refused { agent, refusal } => {
            let code = match refusal.kind {
                RefusalKind::Busy => Code::Conflict,
                RefusalKind::Usage => Code::Usage,
                RefusalKind::Unreached => Code::Unreachable,
                RefusalKind::NotAuthorised => Code::NotAuthorised,
                RefusalKind::Machine => Code::Unfit,
                RefusalKind::Interrupted => Code::Interrupted,
            };
            let message = words::printable(&format!("agent `{agent}` refuses: {}", refusal.message));
            let help = refusal.help.map(|help| words::printable(&format!("{help} (said to the agent)")));
            Failure { help, ..Failure::new(code, message) }
        }
        LeadFault::Lost { agent, why, after, sent } => {
            let when = match after {
                Some(after) => format!("{:.1} s after the start, with {sent} requests sent", after.as_secs_f64()),
                None => "before the start".to_owned(),
            };
            let message = format!(
                "agent `{agent}` was lost {when}: {why}. The others were stopped; without it the load was not the one asked for, \
                 and no figure of it is shown"
            );
            Failure::new(Code::AgentLost, words::printable(&message))
                .help("see what became of it, or leave it out of `--agents`")
        }
        LeadFault::Interrupted => {
            Failure::new(Code::Interrupted, "interrupted before the agents had anything to tell")
        }
    })
}

fn unreached(agent: &str, fault: &ChannelFault) -> Failure {
    let message = words::printable(&format!("agent `{agent}`: {fault}"));
    match fault {
        ChannelFault::Token => Failure::new(Code::NotAuthorised, message)
            .help("`--agent-token-file` or `--agent-token-env`, the same for leader and agents"),
        ChannelFault::Version(_) => {
            Failure::new(Code::Unreachable, message).help("install the same version there")
        }
        _ => Failure::new(Code::Unreachable, message).help("does `strait load agent` run there?"),
    }
}
