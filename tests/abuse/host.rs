//! The gateway of `tests/src/bin/abuse_host.rs`, as seen from outside: by its sockets and by `/proc`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A running gateway process; ended, and its end looked at, when dropped.
pub struct Host {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub address: SocketAddr,
}

impl Host {
    pub fn start(config: &str, more: Value) -> Host {
        Host::start_with(config, more, |command| command)
    }

    /// With more in its environment.
    pub fn start_with(config: &str, more: Value, add: impl Fn(&mut Command) -> &mut Command) -> Host {
        let mut spec = more;
        spec["config"] = json!(config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_abuse_host"));
        // Its bounds of memory are those of a gateway without a log.
        let command = command.env_remove("STRAIT_AUDIT").stdin(Stdio::piped()).stdout(Stdio::piped());
        let command = add(command);
        let mut process = command.spawn().expect("start a gateway");
        let mut orders = process.stdin.take().expect("stdin");
        writeln!(orders, "{spec}").expect("order");
        let mut answers = BufReader::new(process.stdout.take().expect("stdout"));
        let told = line(&mut answers);
        let address = told["address"].as_str().expect("an address").parse().expect("an address");
        Host { process, orders: Some(orders), answers, address }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sums over its workers.
    pub fn figures(&mut self) -> Value {
        writeln!(self.orders.as_mut().expect("running"), "figures").expect("ask");
        line(&mut self.answers)
    }

    pub fn figure(&mut self, name: &str) -> u64 {
        self.figures()[name].as_u64().expect("a figure")
    }

    /// Memory in use now, in bytes.
    pub fn rss(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory since [`Host::forget_peak`].
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("clear_refs");
    }

    /// Processor time so far, in ms.
    pub fn cpu_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        let rest = stat.rsplit(") ").next().expect("fields");
        let ticks: u64 =
            rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
        ticks * 1_000 / rustix::param::clock_ticks_per_second()
    }

    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("fd").count()
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.orders.take());
        if std::thread::panicking() {
            let _ = self.process.kill();
            let _ = self.process.wait();
            return;
        }
        let status = self.process.wait().expect("its end");
        assert!(status.success(), "the gateway's process ended with {status}");
    }
}

fn line(answers: &mut BufReader<ChildStdout>) -> Value {
    let mut text = String::new();
    answers.read_line(&mut text).expect("a line");
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("the gateway's process has died? {error}: {text:?}"))
}
