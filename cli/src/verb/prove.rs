//! `strait prove`: what a gateway adds to direct calls, with a verdict that may be INCONCLUSIVE.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgGroup;
use strait_control::{Code, Failure};
use strait_loadgen::load;
use strait_loadgen::proof::bundle::{self, Subject};
use strait_loadgen::proof::cpu::Account;
use strait_loadgen::proof::limit::Limit;
use strait_loadgen::proof::meet::{Ask, Unmet};
use strait_loadgen::proof::result::{Context, Proof};
use strait_loadgen::proof::samples::{Layer, Samples};
use strait_loadgen::proof::schedule::Interleave;
use strait_loadgen::proof::verdict::Verdict;
use strait_loadgen::proof::{Order, Unproved, prove, prove_floor, prove_self, raw};
use strait_loadgen::target::{EraChoice, Secret, Target, Unreached};
use strait_loadgen::words;

use super::load::values::padding;
use super::load::{stopped_by_signals, target_failure, write};
use super::typed;
use crate::output::Output;

/// Enough for a limit at p99 with some to spare, and a few seconds on a gateway that answers in 100 us.
const SLOTS: usize = 20_000;
/// A self-test judges the median only, and rests between slots.
const SLOTS_SELF_TEST: usize = 3_000;
const SLOTS_MAX: u32 = 10_000_000;

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    group(ArgGroup::new("what").required(true).args(["direct", "self_test", "floor", "replay"])),
    after_help = "Each slot sends the same request straight to the server, straight to it once more, and through the \
                  gateway, in random order. PASS (exit 0) needs a quiet null arm, FAIL (1) a lower bound over the \
                  limit; all else is INCONCLUSIVE (3) and says what would settle it. docs/PROOF.md has the rule."
)]
pub struct Prove {
    #[command(subcommand)]
    instead: Option<Instead>,
    /// The MCP server itself.
    #[arg(long, value_name = "URL", requires_all = ["through", "max_added"])]
    direct: Option<String>,
    /// The same server, through the gateway.
    #[arg(long, value_name = "URL", requires = "direct")]
    through: Option<String>,
    /// The same server, through the same gateway with everything on: an arm of its own, held to the same limits.
    #[arg(long, value_name = "URL", requires = "through")]
    with_policy: Option<String>,
    /// The same server, through somebody else's gateway: an arm of its own, judged by no limit.
    #[arg(long, value_name = "URL", requires = "through")]
    rival: Option<String>,
    /// What the gateway may add: a percentile and a time; may be repeated.
    #[arg(long, value_name = "pN=TIME", conflicts_with = "self_test")]
    max_added: Vec<Limit>,
    /// How long the gateway may have a request by its own clock: a percentile and a time; may be repeated.
    #[arg(long, value_name = "pN=TIME", requires = "metrics")]
    max_residence: Vec<Limit>,
    /// The gateway's process, for its processor time per request; repeat it for a master and its workers.
    #[arg(long, value_name = "PID", requires = "direct")]
    gateway_pid: Vec<u32>,
    /// The server's process, to see whether it shares cores with the tool or the gateway.
    #[arg(long, value_name = "PID", requires = "direct")]
    server_pid: Vec<u32>,
    /// The gateway's table, for its hash in the report.
    #[arg(long, value_name = "FILE", requires = "direct")]
    table: Option<PathBuf>,
    /// The gateway's metrics page, for its own account of how long it had requests, and of processor time where
    /// no process is named.
    #[arg(long, value_name = "URL", requires = "direct")]
    metrics: Option<String>,
    /// The environment variable that holds the gateway's bearer token.
    #[arg(long, value_name = "NAME", requires = "direct", conflicts_with = "key")]
    bearer_env: Option<String>,
    /// The gateway's bearer token; one in the environment is not seen by `ps`.
    #[arg(long, value_name = "TOKEN", requires = "direct")]
    key: Option<String>,
    /// A header for the gateway alone, as NAME: VALUE; may be repeated.
    #[arg(long, value_name = "NAME: VALUE", requires = "direct")]
    header: Vec<String>,
    /// The environment variable that holds the server's own bearer token.
    #[arg(long, value_name = "NAME", requires = "direct")]
    direct_bearer_env: Option<String>,
    /// The environment variable that holds the token for `--with-policy`; that of the gateway when not said.
    #[arg(long, value_name = "NAME", requires = "with_policy")]
    with_policy_bearer_env: Option<String>,
    /// The environment variable that holds the rival's bearer token.
    #[arg(long, value_name = "NAME", requires = "rival")]
    rival_bearer_env: Option<String>,
    /// The tool to call; the first read-only one when not said.
    #[arg(long, value_name = "NAME", requires = "direct")]
    tool: Option<String>,
    /// Its name at the gateway, where it is neither the same nor `UPSTREAM__NAME`.
    #[arg(long, value_name = "NAME", requires = "tool")]
    through_tool: Option<String>,
    /// Arguments as a JSON object; {{seq}} in it is the request's number.
    #[arg(long, value_name = "JSON", requires = "direct")]
    args: Option<String>,
    /// Bytes of padding in the arguments.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = padding)]
    size: usize,
    /// The era of MCP to speak, to both.
    #[arg(long, value_enum, default_value = "auto")]
    era: Era,
    /// How arms take turns: one request each, or a block of requests each.
    #[arg(long, value_enum, default_value = "slot", conflicts_with = "self_test")]
    interleave: Turns,
    /// Slots; each is one request per arm.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SLOTS_MAX)))]
    slots: Option<u32>,
    /// Where random orders and resamples begin.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Cores for this tool to run on, such as 0 or 2,3.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Ask the socket again and again instead of sleeping: wants a core for itself.
    #[arg(long, conflicts_with = "self_test")]
    busy_poll: bool,
    /// Do not ask the kernel for its own time stamps: nothing then stands beside this tool's clock.
    #[arg(long)]
    no_kernel_stamps: bool,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = words::duration_ns)]
    timeout: u64,
    /// Write every slot's times to a file.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    raw: Option<PathBuf>,
    /// Write the report as one HTML file that needs nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "floor")]
    html: Option<PathBuf>,
    /// Write the evidence, recording and reports and hashes, into a folder of its own.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["floor", "replay"])]
    bundle: Option<PathBuf>,
    /// Judge such a file again, by its own limits or by those given.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Put 200 us into one of three equal arms, and see whether this tool finds them.
    #[arg(long)]
    self_test: bool,
    /// Tell the smallest limits that this host could prove.
    #[arg(long, conflicts_with = "max_added")]
    floor: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Era {
    Auto,
    Modern,
    Legacy,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Turns {
    Slot,
    Block,
}

/// What is done instead of measuring.
#[derive(clap::Subcommand)]
enum Instead {
    /// Judge a bundle again, and see whether it is what it says: exit 0 when it is, whatever its verdict, else 1.
    Verify(Verify),
}

#[derive(clap::Args)]
struct Verify {
    /// A folder that `--bundle` wrote.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The id it must have, as `--bundle` told it.
    #[arg(long, value_name = "SHA256")]
    id: Option<String>,
}

impl Verify {
    fn run(&self, output: &Output) -> Result<(), Failure> {
        let folder = self.folder.display();
        let altered = |why: String| {
            Failure::new(Code::Failed, format!("`{folder}` is not what it says: {}", words::printable(&why)))
        };
        if !self.folder.is_dir() {
            return Err(Failure::new(Code::Usage, format!("there is no folder `{folder}`")));
        }
        let verified = bundle::verify(&self.folder).map_err(altered)?;
        let (id, verdict) = (&verified.id, verified.proof.verdict.name());
        if let Some(wanted) = self.id.as_ref().filter(|wanted| *wanted != id) {
            return Err(altered(format!("its id is {id}, expected {wanted}")));
        }
        let facts = serde_json::json!({ "intact": true, "id": id, "report": verified.proof.to_json() });
        output.facts(&facts, || {
            format!("intact: {folder}, id {id}\njudged again: {verdict}\n\n{}", verified.proof.to_text())
        });
        Ok(())
    }
}

impl Prove {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        if let Some(Instead::Verify(verify)) = &self.instead {
            return verify.run(output);
        }
        if self.floor {
            let floor = prove_floor(&self.order()?, &*stopped_by_signals()?).map_err(failed)?;
            output.facts(&floor.to_json(), || floor.to_text());
            return Ok(());
        }
        let (context, samples) = match &self.replay {
            Some(file) => self.replayed(file)?,
            None => self.measured()?,
        };
        if let Some(file) = &self.raw {
            let text = raw::print(&context, &samples).map_err(|error| Failure::bug(error.to_string()))?;
            write(file, &text)?;
        }
        let was_interrupted = samples.slots.len() < context.slots && self.replay.is_none();
        let proof = Proof::of(context, &samples);
        if let Some(file) = &self.html {
            write(file, &proof.to_html(&samples))?;
        }
        let mut facts = proof.to_json();
        let mut id = None;
        if let Some(folder) = &self.bundle {
            let written = bundle::write(folder, &proof.context, &samples);
            let written = written.map_err(|why| Failure::new(Code::Unfit, why))?;
            facts["bundle"] = written.as_str().into();
            id = Some(format!("bundle: {}, id {written}\n", folder.display()));
        }
        output.facts(&facts, || proof.to_text() + id.as_deref().unwrap_or_default());
        match proof.verdict {
            _ if was_interrupted => Err(Failure::silent(Code::Interrupted)),
            Verdict::Pass => Ok(()),
            // The report says it all: the failure adds its exit code alone.
            Verdict::Fail => Err(Failure::silent(Code::Failed)),
            Verdict::Inconclusive => Err(Failure::silent(Code::Unfit)),
        }
    }

    fn replayed(&self, file: &Path) -> Result<(Context, Samples), Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::new(Code::Usage, format!("cannot read `{}`: {error}", file.display()))
        })?;
        let (context, samples) = raw::parse(&text).map_err(|fault| {
            let message = format!("`{}` is no recording of a proof: {fault}", file.display());
            Failure::new(Code::Failed, message).help("`strait prove --raw FILE` writes one")
        })?;
        let limits = if self.max_added.is_empty() { context.limits.clone() } else { self.max_added.clone() };
        Ok((Context { limits, ..context }, samples))
    }

    fn measured(&self) -> Result<(Context, Samples), Failure> {
        let order = self.order()?;
        let done = match self.self_test {
            true => prove_self(&order, &*stopped_by_signals()?),
            false => prove(&self.ask()?, &order, &*stopped_by_signals()?),
        };
        done.map_err(failed)
    }

    fn order(&self) -> Result<Order, Failure> {
        load::pin(&self.cores).map_err(|error| {
            Failure::new(Code::Unfit, format!("cannot run on cores {:?}: {error}", self.cores))
        })?;
        let slots = self.slots.map(|slots| slots as usize);
        Ok(Order {
            limits: self.max_added.clone(),
            slots: slots.unwrap_or(if self.self_test { SLOTS_SELF_TEST } else { SLOTS }),
            seed: self.seed,
            interleave: match self.interleave {
                Turns::Slot => Interleave::Slot,
                Turns::Block => Interleave::Block,
            },
            busy_poll: self.busy_poll,
            stamps: !self.no_kernel_stamps,
            account: self.account()?,
            metrics: self.metrics()?,
            residence_limits: self.max_residence.clone(),
            server_pids: self.server_pid.clone(),
            subjects: self.subjects()?,
            rings: Some(rings()),
            command: typed::command(),
        })
    }

    fn ask(&self) -> Result<Ask, Failure> {
        // Both are there: clap asks for them unless something else is asked for.
        let target = |url: &Option<String>, bearer_env: &Option<String>| {
            let mut target = Target::parse(url.as_deref().unwrap_or_default()).map_err(target_failure)?;
            if let Some(name) = bearer_env {
                let token = std::env::var(name).ok().filter(|token| !token.is_empty());
                let missing =
                    || Failure::new(Code::Usage, format!("the environment variable `{name}` holds no token"));
                target.bearer(&token.ok_or_else(missing)?).map_err(target_failure)?;
            }
            Ok::<Target, Failure>(target)
        };
        // The gateway's key and headers go where its full policy is asked as well: it is the same gateway.
        let ours = |url: &Option<String>, bearer_env: &Option<String>| {
            let mut target = target(url, bearer_env)?;
            if let Some(key) = self.key.as_ref().filter(|_| bearer_env.is_none()) {
                target.bearer(key).map_err(target_failure)?;
            }
            for header in &self.header {
                let colon = || Failure::new(Code::Usage, "a `--header` has no colon: expected `NAME: VALUE`");
                let (name, value) = header.split_once(':').ok_or_else(colon)?;
                target.header(name, Secret::new(value.trim())).map_err(target_failure)?;
            }
            Ok::<Target, Failure>(target)
        };
        let through = ours(&self.through, &self.bearer_env)?;
        let policy_bearer = if self.with_policy_bearer_env.is_some() {
            &self.with_policy_bearer_env
        } else {
            &self.bearer_env
        };
        let policy = match &self.with_policy {
            Some(_) => Some(ours(&self.with_policy, policy_bearer)?),
            None => None,
        };
        let rival = match &self.rival {
            Some(_) => Some(target(&self.rival, &self.rival_bearer_env)?),
            None => None,
        };
        Ok(Ask {
            direct: target(&self.direct, &self.direct_bearer_env)?,
            through,
            policy,
            rival,
            era: match self.era {
                Era::Auto => EraChoice::Auto,
                Era::Modern => EraChoice::Modern,
                Era::Legacy => EraChoice::Legacy,
            },
            tool: self.tool.clone(),
            through_tool: self.through_tool.clone(),
            arguments: self.args.clone(),
            size: self.size,
            timeout: Duration::from_nanos(self.timeout.max(1)),
        })
    }

    fn account(&self) -> Result<Option<Account>, Failure> {
        Ok(match self.gateway_pid.is_empty() {
            false => Some(Account::Processes(self.gateway_pid.clone())),
            true => self.metrics()?.map(|target| Account::Metrics(Box::new(target))),
        })
    }

    fn metrics(&self) -> Result<Option<Target>, Failure> {
        self.metrics.as_ref().map(|url| Target::parse(url).map_err(target_failure)).transpose()
    }

    /// Hashes of what runs: this tool, the gateway's binary, its table.
    fn subjects(&self) -> Result<Vec<Subject>, Failure> {
        let unreadable = |why: String| Failure::new(Code::Unfit, why);
        let exe = |pid: &dyn std::fmt::Display| PathBuf::from(format!("/proc/{pid}/exe"));
        let mut subjects = vec![Subject::of("tool", "strait", &exe(&"self")).map_err(unreadable)?];
        for pid in &self.gateway_pid {
            let name = std::fs::read_link(exe(pid)).map(|path| path.display().to_string());
            // A process that is not there is told of by its account.
            let Ok(name) = name else { continue };
            subjects.push(Subject::of("gateway", &name, &exe(pid)).map_err(unreadable)?);
        }
        if let Some(table) = &self.table {
            let missing = |why: String| Failure::new(Code::Usage, why);
            subjects.push(Subject::of("table", &table.display().to_string(), table).map_err(missing)?);
        }
        subjects.dedup();
        Ok(subjects)
    }
}

/// What `strait doctor` says of io_uring.
fn rings() -> String {
    strait_control::doctor::rings().into_iter().map(|line| line.found).collect::<Vec<_>>().join("; ")
}

fn failed(unproved: Unproved) -> Failure {
    match unproved {
        Unproved::Unmet(Unmet::Nothing(message)) => Failure::new(Code::Usage, words::printable(&message)),
        Unproved::Unmet(Unmet::Unreached { arm, url, unreached: Unreached::Interrupted }) => Failure::new(
            Code::Interrupted,
            format!("interrupted while arm {} was greeted, {url}: nothing was measured", arm.name()),
        ),
        Unproved::Unmet(Unmet::Unreached { arm, url, unreached }) => {
            let message = format!("arm {}, {url}, layer {}: {unreached}", arm.name(), unreached.layer());
            let message = words::printable(&message);
            match unreached {
                Unreached::NotAuthorised(_) => not_authorised(message),
                Unreached::Connect(_) => {
                    Failure::new(Code::Unreachable, message).help("is the server running there?")
                }
                _ => Failure::new(Code::Unreachable, message),
            }
        }
        Unproved::Broken { fault, url, after } => {
            let (arm, layer) = (fault.arm.name(), fault.layer.name());
            let when = if after == 0 { "at the start".to_owned() } else { format!("after {after} slots") };
            let message = format!("arm {arm}, {url}, layer {layer}: {} ({when})", fault.message);
            match fault.layer {
                Layer::Auth => not_authorised(message),
                _ => Failure::new(Code::Unreachable, message),
            }
        }
        Unproved::Account(message) => Failure::new(Code::Unfit, message).help(
            "`--gateway-pid` wants a process of this user, `--metrics` a page in Prometheus' text format",
        ),
        Unproved::Machine(error) => {
            Failure::new(Code::Unfit, format!("the self-test's own server or relay did not start: {error}"))
        }
    }
}

fn not_authorised(message: String) -> Failure {
    Failure::new(Code::NotAuthorised, message).help(
        "`--bearer-env NAME` sends the gateway the token in that variable, `--direct-bearer-env NAME` the server",
    )
}
