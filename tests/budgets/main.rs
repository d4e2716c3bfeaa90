//! Budgets of counts: what one exchange may cost in steady state, whatever the machine is doing.
//!
//! The gateway runs in this process under a counting allocator; the client and the upstream are
//! processes of their own (this same binary, called with a role), so that nothing but the gateway is
//! counted. Times are not looked at.

mod roles;

use std::alloc::System;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use strait_tests::{Gateway, Setup};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections of the client, each with one request under way.
const CONNECTIONS: usize = 16;
/// Measured requests per connection.
const REQUESTS: usize = 500;
/// The same where allocations are counted. Pools grow once by the largest crowd there ever was, ten allocations or so whenever a
/// loaded machine makes it: against so many exchanges they are told from one in a thousand of them.
const COUNTED: usize = 2_500;

/// The counters are the process's, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Three that a worker holds leases of, and one that is counted in the shared state.
const LIMITS: &str = r#"
prices: { "up.*": 0.000001 usd }
limits:
  - { per: [principal, tool], on: ["up.*"], rate: 1000000/s, calls: 1000000000/day, cost: 900000 usd/day }
  - { per: [upstream], to: [full], concurrency: 1000 }
"#;

#[test]
fn an_exchange_allocates_nothing_in_steady_state() {
    allocates_nothing("");
}

#[test]
fn nor_does_one_under_limits() {
    allocates_nothing(LIMITS);
}

/// Every exchange is in a trace and is told of; nobody takes it up here, which changes nothing before that.
const TRACED: &str = r#"
telemetry: { otlp: { endpoint: "http://127.0.0.1:1" }, traces: { sample: 100% }, server_timing: always }
"#;

#[test]
fn nor_does_one_that_is_traced_and_timed() {
    allocates_nothing(TRACED);
}

fn allocates_nothing(limits: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::start(limits);
    let mut client = bench.client("call", COUNTED);
    client.warm();
    let before = ALLOCATOR.stats();
    assert!(before.allocations > 1_000, "the counter does not count");
    client.measure();
    let after = ALLOCATOR.stats();
    let exchanges = (CONNECTIONS * COUNTED) as f64;
    let counts = [
        ("allocations", after.allocations - before.allocations),
        ("reallocations", after.reallocations - before.reallocations),
        ("frees", after.deallocations - before.deallocations),
    ];
    for (what, count) in counts {
        println!("{what}: {count} in {exchanges} exchanges");
    }
    // What is left is not the exchange's.
    let budget = budget("allocations_max");
    for (what, count) in counts {
        assert!(
            (count as f64) < exchanges * budget,
            "{what}: {count} in {exchanges} exchanges, the budget is {budget} each"
        );
    }
}

#[test]
fn an_exchange_enters_the_kernel_no_more_than_its_budget_allows() {
    if std::env::var("STRAIT_DRIVER").is_ok_and(|driver| driver == "epoll") {
        println!("the budget speaks of io_uring");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::start(LIMITS);
    let mut client = bench.client("call", REQUESTS);
    client.warm();
    let counts = Strace::attach();
    let began = Instant::now();
    client.measure();
    let counts = counts.detach();
    let ticks = began.elapsed().as_millis() as u64 / strait_engine::limits::TICK_MS + 1;
    let exchanges = (CONNECTIONS * REQUESTS) as f64;
    let of = |name: &str| counts.iter().find(|(call, _)| call == name).map_or(0, |(_, count)| *count) as f64;
    println!("{counts:?} in {exchanges} exchanges");
    let entered = of("io_uring_enter") / exchanges;
    assert!(entered > 0.0, "nothing was counted");
    let budget = budget("io_uring_enter_max");
    assert!(entered <= budget, "{entered} io_uring_enter per exchange, the budget is {budget}");
    // Access lines are handed to their writer at every tick and whenever a buffer is full, which takes
    // over a hundred of them; each time may wake it. Nothing else may call the kernel.
    let handed_over = ticks as f64 * workers().len() as f64 + exchanges / 100.0;
    let of_the_log = 3.0 * handed_over;
    for forbidden in [
        "recvfrom",
        "sendto",
        "read",
        "write",
        "epoll_wait",
        "writev",
        "sendmsg",
        "recvmsg",
        "futex",
        "brk",
        "mmap",
    ] {
        let found = of(forbidden);
        assert!(
            found <= of_the_log,
            "{found} {forbidden} in {exchanges} exchanges and {ticks} ticks, the budget is 0 per exchange"
        );
    }
    assert!(of_the_log < exchanges / 4.0, "too slow to tell calls per exchange from calls per tick");
}

/// A bound of the section `[steady]`, the last of bench/budgets.toml.
fn budget(name: &str) -> f64 {
    let text = include_str!("../../bench/budgets.toml");
    let (_, steady) = text.split_once("\n[steady]\n").expect("a section `[steady]`");
    let lines = steady.lines().filter_map(|line| line.split_once(" = "));
    let value = lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next();
    value.unwrap_or_else(|| panic!("no `{name}` under [steady]")).parse().expect("a number")
}

/// The gateway in this process, the upstream in another.
struct Bench {
    gateway: Gateway,
    upstream: Role,
}

impl Bench {
    fn start(limits: &str) -> Bench {
        let mut upstream = Role::start("upstream", &[]);
        let port = upstream.line();
        let config = format!(
            r#"
upstreams: {{ up: {{ http: "http://127.0.0.1:{port}/mcp", era: modern }} }}
servers: {{ default: {{ path: /mcp, auth: [staff], tools: ["*"] }} }}
identity: {{ staff: {{ api_keys: ./keys.yaml }} }}
roles: {{ full: '"full" in principal.groups' }}
policy: {{ default: deny, rules: [{{ id: all, allow: ["*"], to: [full] }}] }}
{limits}
"#
        );
        Bench { gateway: Gateway::start(Setup { audited: false, ..Setup::new(config) }), upstream }
    }

    fn client(&self, kind: &str, requests: usize) -> Role {
        let _ = &self.upstream;
        let port = self.gateway.address.port().to_string();
        Role::start(
            "client",
            &[("STRAIT_PORT", &port), ("STRAIT_KIND", kind), ("STRAIT_REQUESTS", &requests.to_string())],
        )
    }
}

/// This binary in another role.
struct Role {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Role {
    fn start(role: &str, env: &[(&str, &str)]) -> Role {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "roles::plays_its_role", "--nocapture", "--quiet"])
            .env("STRAIT_ROLE", role)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a role");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Role { child, stdin, stdout }
    }

    /// What it says next on a line that begins with `>`. Reads byte by byte into a fixed buffer, so
    /// that waiting allocates nothing.
    fn line(&mut self) -> String {
        let mut line = [0; 64];
        let length = self.wait(&mut line);
        String::from_utf8_lossy(&line[..length]).into_owned()
    }

    fn wait(&mut self, line: &mut [u8; 64]) -> usize {
        let (mut length, mut speaking) = (0, false);
        loop {
            let mut byte = [0];
            assert_eq!(self.stdout.read(&mut byte).expect("its words"), 1, "the role ended early");
            match byte[0] {
                b'>' => speaking = true,
                b'\n' if speaking => return length,
                byte if speaking => {
                    line[length] = byte;
                    length += 1;
                }
                _ => {}
            }
        }
    }

    fn warm(&mut self) {
        assert_eq!(self.line(), "warm");
    }

    /// Lets the client send its measured requests and waits for the last answer.
    fn measure(&mut self) {
        self.stdin.write_all(b"go\n").expect("say go");
        let mut line = [0; 64];
        let length = self.wait(&mut line);
        assert_eq!(&line[..length], b"done");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts the system calls of this process's worker threads.
struct Strace {
    child: Child,
    output: std::path::PathBuf,
}

impl Strace {
    fn attach() -> Strace {
        let output = std::env::temp_dir().join(format!("strait-strace-{}", std::process::id()));
        let mut command = Command::new("strace");
        command.args(["-c", "-o"]).arg(&output);
        for worker in workers() {
            command.args(["-p", &worker]);
        }
        let child =
            command.stderr(Stdio::null()).spawn().expect("strace; install it with `apt-get install strace`");
        strait_tests::gateway::wait_for("strace to attach", || {
            workers().iter().all(|worker| is_traced(worker))
        });
        Strace { child, output }
    }

    fn detach(mut self) -> Vec<(String, u64)> {
        let interrupt = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(interrupt.expect("kill").success());
        self.child.wait().expect("strace ends");
        let table = std::fs::read_to_string(&self.output).expect("its table");
        let _ = std::fs::remove_file(&self.output);
        // % time, seconds, usecs/call, calls, [errors,] syscall
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter_map(|row| Some((row.last()?.to_string(), row.get(3)?.parse().ok()?))).collect()
    }
}

fn workers() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").expect("our threads");
    let ids = threads.map(|thread| thread.expect("a thread").file_name().into_string().expect("a number"));
    ids.filter(|id| {
        let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
        name.starts_with("strait-worker")
    })
    .collect()
}

fn is_traced(thread: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
}
